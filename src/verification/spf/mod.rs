//! SPF: what a domain's record authorises, its cost to receivers, and how to add our include.
//!
//! Invariant: pure. An [`Evaluation`] returns its questions, is fed the answers, and produces the [`Report`].
//! RFC 7208 §4.6 (the record), §4.6.4 (limits), §5 (mechanisms), §6 (modifiers).

mod evaluation;
mod merge;
mod offer;
mod record;
mod repair;
#[cfg(test)]
mod tests;

pub use evaluation::{
    Crowded, Evaluation, Fault, IncludeFault, LOOKUP_LIMIT, MAIL_HOST_LIMIT, Report, Step, VOID_LIMIT,
};
pub use merge::{merge, strings};
pub use offer::{Offer, decides, lacking, needed, offer, terms};
pub use record::{Kind, Mechanism, Qualifier, Record, SyntaxError, Term};
pub use repair::{Repaired, is_meant, is_misspelt, repair};

/// The texts that receivers take for SPF records; if there is none, those meant to be.
pub fn candidates<'a>(texts: &[&'a str]) -> Vec<&'a str> {
    let read: Vec<&str> = texts.iter().copied().filter(|text| is_spf(text)).collect();
    if read.is_empty() { texts.iter().copied().filter(|text| is_meant(text)).collect() } else { read }
}

/// True for a TXT record that receivers take for an SPF record: `v=spf1` and then a space or the end (RFC 7208 §4.5).
pub fn is_spf(text: &str) -> bool {
    text.split(' ').next().is_some_and(|version| version.eq_ignore_ascii_case("v=spf1"))
}
