//! How much of what strangers say is read, kept and shown: tenants choose their name servers, and those say what they like.
//!
//! Invariant: a text or a set of records is never longer here than the numbers below, whatever came over the wire. A text
//! that was cut is longer than [`TXT`], and one that was not never is; so one that is too long is known as such.

use super::observed::RecordData;

/// Octets of one TXT record. An SPF record should fit in 512 (RFC 7208 §3.4), and the longest that are used have about 2000.
pub const TXT: usize = 4096;
/// Aliases on the way to a record. BIND follows 16, Unbound 11.
pub const ALIASES: usize = 16;
/// Times that a record with faults is read anew to offer it mended: whoever has made more of them starts from ours.
pub const MENDINGS: usize = 10;

/// At most `most` octets of a text; where there are more, it says how many there were.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{}… (cut off: {} octets)", text.get(..end).unwrap_or_default(), text.len())
}

/// True for the text of a TXT record of which a part is not known.
pub fn is_cut(text: &str) -> bool {
    text.len() > TXT
}

/// The same record, with no more text than is read.
pub fn read(record: RecordData) -> RecordData {
    match record {
        RecordData::Txt(text) => RecordData::Txt(cut(&text, TXT)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_was_cut_is_known_as_such() {
        for (text, is_too_long) in [("a".repeat(TXT), false), ("ä".repeat(TXT), true), ("a".repeat(61_000), true)] {
            let RecordData::Txt(read) = read(RecordData::Txt(text.clone())) else { panic!() };
            assert_eq!((is_cut(&read), read == text), (is_too_long, !is_too_long));
            assert!(read.len() <= TXT + 40, "{}", read.len());
        }
        assert_eq!(cut("äää", 3), "ä… (cut off: 6 octets)");
        assert_eq!(cut("äää", 6), "äää");
    }
}
