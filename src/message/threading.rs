//! What decides which thread a message belongs to: the ids that it names, its base subject, and who wrote it to whom. RFC 5256 §2.1.
//! Invariant: what is read of a header block is bounded, whatever is in it.

use super::addresses;
use super::fields::{Header, ReadLimits};
use super::text::message_ids;
use super::words::decoded_words;

/// Ids of References that count: the newest, which are at the end.
const REFERENCES: usize = 20;
/// Letters of a base subject that are compared.
const SUBJECT: usize = 200;
/// Addresses of From, and of To and Cc, at most.
pub(crate) const PARTICIPANTS: usize = 20;
/// Octets of an address at most.
const ADDRESS: usize = 254;
/// Octets of a header block that are read.
const READ: usize = 64 * 1024;

/// What is known of a message for threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Threading {
    /// The Message-ID, then those of In-Reply-To and References, the nearest first. As [`reference`] makes them.
    pub ids: Vec<i64>,
    /// The subject as it is shown.
    pub subject: String,
    /// In lower case, without `Re:`, `Fwd:` and their like.
    pub base_subject: String,
    /// The subject says that it answers or forwards another message.
    pub is_reply: bool,
    /// Addresses of From, in lower case.
    pub from: Vec<String>,
    /// Addresses of To and Cc, in lower case.
    pub to: Vec<String>,
}

/// A Message-ID as a number: of 64 bits, so that it is small in the store.
fn reference(id: &str) -> i64 {
    let hash = blake3::hash(id.as_bytes());
    i64::from_le_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

impl Threading {
    pub(crate) fn of(header: &[u8]) -> Self {
        let limits = ReadLimits { header_size: READ, ..ReadLimits::default() };
        let header = Header::read(header, &limits);
        let ids = |name| header.find(name).map(message_ids).unwrap_or_default();
        let own = ids("Message-ID").into_iter().take(1);
        let answered = ids("In-Reply-To").into_iter().take(1);
        let references = ids("References").into_iter().rev().take(REFERENCES);
        let mut known = Vec::new();
        for id in own.chain(answered).chain(references).map(|id| reference(&id)) {
            if !known.contains(&id) {
                known.push(id);
            }
        }
        let subject: String =
            header.find("Subject").map(decoded_words).unwrap_or_default().chars().take(SUBJECT).collect();
        let (base_subject, is_reply) = base_subject(&subject);
        let addresses = |name| {
            let shown = addresses::mailboxes(&header, name).filter_map(|mailbox| mailbox.address());
            let shown = shown.map(|address| address.to_string().to_lowercase());
            shown.filter(|address| address.len() <= ADDRESS && !address.contains(' ')).take(PARTICIPANTS)
        };
        let to = addresses("To").chain(addresses("Cc")).take(PARTICIPANTS).collect();
        Self { ids: known, subject, base_subject, is_reply, from: addresses("From").collect(), to }
    }
}

/// The base subject in lower case, and whether what was removed marks a reply or a forward (RFC 5256 §2.1).
pub(crate) fn base_subject(subject: &str) -> (String, bool) {
    let lower = subject.to_lowercase();
    let joined = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut text, mut is_reply) = (joined.as_str(), false);
    loop {
        let before = text;
        while let Some(rest) = text.strip_suffix("(fwd)") {
            (text, is_reply) = (rest.trim_end(), true);
        }
        while let Some(rest) = without_leader(text) {
            (text, is_reply) = (rest, true);
        }
        if let Some(rest) = blob(text).filter(|rest| !rest.is_empty()) {
            text = rest;
        }
        if let Some(inner) = text.strip_prefix("[fwd:").and_then(|rest| rest.strip_suffix(']')) {
            (text, is_reply) = (inner.trim(), true);
        }
        if text == before {
            return (text.to_owned(), is_reply);
        }
    }
}

/// The rest after `re:`, `re [x]:`, `[x] re:` and the like.
fn without_leader(text: &str) -> Option<&str> {
    let mut start = text;
    while let Some(rest) = blob(start) {
        start = rest;
    }
    let rest = ["re", "fwd", "fw"].into_iter().find_map(|word| start.strip_prefix(word))?.trim_start();
    let rest = blob(rest).unwrap_or(rest);
    rest.strip_prefix(':').map(str::trim_start)
}

/// The rest after one `[…]`.
fn blob(text: &str) -> Option<&str> {
    let (inner, rest) = text.strip_prefix('[')?.split_once(']')?;
    (!inner.contains('[')).then(|| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_subjects_are_those_of_rfc_5256() {
        for (subject, base, is_reply) in [
            ("Lunch", "lunch", false),
            ("Re: Lunch", "lunch", true),
            ("RE :  Fwd: [list] re[2]: Lunch  (fwd)", "lunch", true),
            ("[list] Lunch", "lunch", false),
            ("[list]", "[list]", false),
            ("[list] Re: Lunch", "lunch", true),
            ("[Fwd: Lunch]", "lunch", true),
            ("Re:", "", true),
            ("Reply to all", "reply to all", false),
            ("a  \t b", "a b", false),
            ("[[x]] y", "[[x]] y", false),
            ("(fwd)", "", true),
        ] {
            assert_eq!(base_subject(subject), (base.to_owned(), is_reply), "{subject:?}");
        }
        let long = format!("{}{}", "Re: ".repeat(20_000), "[x] ".repeat(20_000));
        assert!(base_subject(&long).1);
    }

    #[test]
    fn the_nearest_references_count() {
        let references: String = (0..40).map(|n| format!("<{n}@x>\r\n ")).collect();
        let header = format!(
            "Message-ID: <own@x>\r\nIn-Reply-To: <39@x> <1@x>\r\nReferences: {references}\r\nSubject: Re: a\r\n\
             From: Ann <Ann@X.org>\r\nTo: b@x.org, bad\r\nCc: c@x.org\r\n\r\n"
        );
        let read = Threading::of(header.as_bytes());
        let wanted: Vec<i64> = std::iter::once("own@x".to_owned())
            .chain((20..40).rev().map(|n| format!("{n}@x")))
            .map(|id| reference(&id))
            .collect();
        assert_eq!(read.ids, wanted);
        assert_eq!(
            (read.from, read.to),
            (vec!["ann@x.org".to_owned()], vec!["b@x.org".to_owned(), "c@x.org".to_owned()])
        );
        assert_eq!(Threading::of(b""), Threading::default());
    }
}
