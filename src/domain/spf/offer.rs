//! What an owner should publish instead of the SPF records that stand there, and whether ours is in them already.
//!
//! Invariant: what is offered is one record that can be read and lets ours send, and nothing is left out of it unsaid.
//! RFC 7208 §3.2 (one record), §4.6.2 (the first match decides), §5.1 (nothing counts after `all`).

use super::{Qualifier, Record, Report, SyntaxError, is_spf, merge};
use crate::domain::bounds::{MENDINGS, TXT, cut, is_cut};

/// Octets that are shown of what could not be read.
const SHOWN: usize = 255;

/// One record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The record.
    pub text: String,
    /// Terms of the records before that could not be read, and what was meant not be guessed.
    pub left_out: Vec<String>,
    /// Nothing of the records is in it: together they would be too long to be read.
    pub is_ours_alone: bool,
}

/// The records put right, put together, and ours put in.
pub fn offer(records: &[&str], ours: &str) -> Offer {
    let mut left_out = Vec::new();
    let mended: Vec<String> = records.iter().filter_map(|record| mend(record, &mut left_out)).collect();
    let mended: Vec<&str> = mended.iter().map(String::as_str).collect();
    // One that is as long would not be read either.
    let is_ours_alone = mended.iter().map(|record| record.len()).sum::<usize>() > TXT;
    let text = if mended.is_empty() || is_ours_alone { ours.to_owned() } else { merge(&mended, ours) };
    Offer { text, left_out, is_ours_alone }
}

/// The record that should stand in place of these, unless there is one and nothing is to be said against it.
pub fn needed(records: &[&str], ours: &str, report: Option<&Report>) -> Option<Offer> {
    let right = |record: &str| Record::parse(record).is_ok_and(|parsed| lacking(ours, &parsed, report).is_empty());
    match records {
        [] => None,
        [one] if right(one) => None,
        records => Some(offer(records, ours)),
    }
}

/// The terms of our record that let nobody pass here, nor by way of an include.
pub fn lacking(ours: &str, parsed: &Record, report: Option<&Report>) -> Vec<String> {
    let everybody = parsed.all() == Some(Qualifier::Pass) || report.is_some_and(|report| report.everybody);
    let passes = |term: &String| match decides(term, parsed) {
        Some((_, qualifier)) => qualifier == Qualifier::Pass,
        None => everybody || report.is_some_and(|report| report.passes.contains(term)),
    };
    terms(ours).into_iter().filter(|term| !passes(term)).collect()
}

/// The first directive that is this term, whatever a match means: as it is written, and what it means.
pub fn decides<'a>(term: &str, parsed: &'a Record) -> Option<(&'a str, Qualifier)> {
    parsed.directives().find_map(|(found, qualifier, _)| {
        let same = found.normal().trim_start_matches(['-', '~', '?']) == term;
        same.then_some((found.text.as_str(), qualifier))
    })
}

/// The terms of our record: what it leads to is ours to keep in order.
pub fn terms(ours: &str) -> Vec<String> {
    let terms = Record::parse(ours).map(|record| record.directives().map(|(term, ..)| term.normal()).collect());
    terms.unwrap_or_default()
}

/// The record as it was meant: term by term, until what is left can be read. `None` where that is nothing.
fn mend(record: &str, left_out: &mut Vec<String>) -> Option<String> {
    let mut text = record.to_owned();
    let before = left_out.len();
    for _ in 0..=MENDINGS {
        let Err(error) = Record::parse(&text) else { return Some(respelt(&text)) };
        if !is_spf(&text) || is_cut(record) {
            break;
        }
        text = replaced(&text, &error, left_out);
    }
    left_out.truncate(before);
    left_out.push(cut(record, SHOWN));
    None
}

/// The record with the term at fault replaced by what was meant, or left out.
fn replaced(text: &str, error: &SyntaxError, left_out: &mut Vec<String>) -> String {
    let SyntaxError { position, term, instead, .. } = error;
    let before: String = text.chars().take(position.saturating_sub(1)).collect();
    let after: String = text.chars().skip(position.saturating_sub(1) + term.chars().count()).collect();
    // A space after the colon cuts a value off.
    if term.ends_with(':')
        && let Some(cut) = after.trim_start().split(' ').next().filter(|cut| !cut.is_empty())
        && Record::parse(&format!("v=spf1 {term}{cut}")).is_ok()
    {
        let rest: String = after.trim_start().chars().skip(cut.chars().count()).collect();
        return format!("{before}{term}{cut}{rest}");
    }
    if instead.is_none() {
        left_out.push(cut(term, SHOWN));
    }
    let text = format!("{before}{}{after}", instead.as_deref().unwrap_or_default());
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// An `include=` is a modifier that nobody knows, and passed over: a colon was meant.
pub fn is_misspelt(term: &str) -> bool {
    term.get(.."include=".len()).is_some_and(|begins| begins.eq_ignore_ascii_case("include="))
        && Record::parse(&format!("v=spf1 {}", term.replacen('=', ":", 1))).is_ok()
}

/// What was misspelt goes to the end of the terms, where it was never looked at before.
fn respelt(text: &str) -> String {
    let (misspelt, kept): (Vec<&str>, Vec<&str>) = text.split(' ').partition(|term| is_misspelt(term));
    let misspelt: Vec<String> = misspelt.iter().map(|term| term.replacen('=', ":", 1)).collect();
    match misspelt.as_slice() {
        [] => text.to_owned(),
        misspelt => merge(&[&kept.join(" "), &format!("v=spf1 {}", misspelt.join(" "))], "v=spf1"),
    }
}
