//! Mailbox names: modified UTF-7 on the wire, UTF-8 in the store; and the patterns of LIST.
//!
//! Invariant: a decoded name is canonical, as [`canonical_name`] has it. RFC 3501 §5.1 and §6.3.8.

use super::wire::values::Mailbox;
pub(super) use crate::store::mailboxes::DELIMITER;
use crate::store::mailboxes::{NAME_OCTETS, canonical_name, with_inbox_in_capitals};
use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization;

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// Decodes a name, in UTF-8 from clients that have enabled that (RFC 6855 §3), else in modified UTF-7; `None` if it is invalid, or
/// not the canonical encoding (RFC 3501 §5.1.3).
pub(super) fn read(mailbox: &Mailbox, utf8: bool) -> Option<String> {
    let Mailbox(octets) = mailbox;
    let name = match utf8 {
        true => String::from_utf8(octets.clone()).ok()?,
        false => decode(octets).filter(|name| encode(name).as_bytes() == octets)?,
    };
    // RFC 3501 §6.3.3: a delimiter at the end only says that children will follow.
    canonical_name(name.strip_suffix(DELIMITER).unwrap_or(&name))
}

/// A name as it goes over the wire: in UTF-8 to clients that take it, else in modified UTF-7.
pub(super) fn write(name: &str, utf8: bool) -> Cow<'_, str> {
    let is_plain = |octet| matches!(octet, b' '..=b'~' if octet != b'&');
    if utf8 || name.bytes().all(is_plain) { Cow::Borrowed(name) } else { Cow::Owned(encode(name)) }
}

/// The levels above a name, the nearest last.
pub(super) fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(DELIMITER).filter_map(|(at, _)| name.get(..at))
}

/// Modified UTF-7 as text, also where it is not the canonical encoding; `None` if it is none.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii())?;
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, shifted)) = rest.split_once('&') {
        name.push_str(plain);
        let (coded, after) = shifted.split_once('-')?;
        if coded.is_empty() {
            name.push('&');
        } else {
            let units = BASE64.decode(coded).ok()?;
            let units: Vec<u16> =
                units.chunks(2).map(|pair| pair.iter().fold(0, |n, b| n << 8 | u16::from(*b))).collect();
            name.push_str(&String::from_utf16(&units).ok()?);
        }
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

/// A name in modified UTF-7 (RFC 3501 §5.1.3).
pub(crate) fn encode(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut units: Vec<u8> = Vec::new();
    let flush = |units: &mut Vec<u8>, text: &mut String| {
        if !units.is_empty() {
            text.push('&');
            text.push_str(&BASE64.encode(&units));
            text.push('-');
            units.clear();
        }
    };
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut units, &mut text);
            text.push(c);
            if c == '&' {
                text.push('-');
            }
        } else {
            units.extend(c.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    flush(&mut units, &mut text);
    text
}

/// The pattern of a LIST or LSUB: `*` for anything, `%` for anything within a level.
#[derive(Debug)]
pub(super) struct Pattern(Vec<char>);

impl Pattern {
    /// Joins reference and pattern; `None` if they are not encoded as a name is, or longer than any name.
    pub fn read(reference: &Mailbox, pattern: &[u8], utf8: bool) -> Option<Self> {
        let octets = [&reference.0, pattern].concat();
        let text = if utf8 { String::from_utf8(octets).ok() } else { decode(&octets) };
        let text = text.filter(|text| text.len() <= NAME_OCTETS)?;
        // As names are in the store.
        let text: String = text.nfc().collect();
        let mut pattern: Vec<char> = Vec::new();
        for c in with_inbox_in_capitals(&text).chars() {
            // A run of wildcards is one: `*` where there is one among them.
            match (pattern.last_mut(), c) {
                (Some(last @ ('*' | '%')), '*' | '%') => *last = if *last == '*' { '*' } else { c },
                _ => pattern.push(c),
            }
        }
        Some(Self(pattern))
    }

    /// Whether a name matches. The set of places in the pattern moves on with each character, so no pattern takes longer
    /// than its length times the name's.
    pub fn matches(&self, name: &str) -> bool {
        let skip = |places: &mut [bool]| {
            // A wildcard may stand for nothing.
            for at in 0..self.0.len() {
                if matches!(self.0.get(at), Some('*' | '%')) && places.get(at) == Some(&true) {
                    places.iter_mut().skip(at + 1).take(1).for_each(|place| *place = true);
                }
            }
        };
        let mut places = vec![false; self.0.len() + 1];
        places.iter_mut().take(1).for_each(|place| *place = true);
        skip(&mut places);
        for c in name.chars() {
            let mut next = vec![false; places.len()];
            for (at, wanted) in self.0.iter().enumerate().filter(|(at, _)| places.get(*at) == Some(&true)) {
                let to = match wanted {
                    '*' => at,
                    '%' if c != DELIMITER => at,
                    _ if *wanted == c => at + 1,
                    _ => continue,
                };
                next.iter_mut().skip(to).take(1).for_each(|place| *place = true);
            }
            skip(&mut next);
            places = next;
        }
        places.last() == Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Option<String> {
        read(&Mailbox(text.as_bytes().to_vec()), false)
    }

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::read(&Mailbox(Vec::new()), pattern.as_bytes(), false).unwrap().matches(name)
    }

    #[test]
    fn names_are_decoded_as_in_rfc_3501() {
        assert_eq!(name("~peter/mail/&U,BTFw-/&ZeVnLIqe-").as_deref(), Some("~peter/mail/台北/日本語"));
        assert_eq!(name("R&-D").as_deref(), Some("R&D"));
        assert_eq!(name("iNbOx").as_deref(), Some("INBOX"));
        assert_eq!(name("inbox/a").as_deref(), Some("INBOX/a"));
        assert_eq!(name("a/").as_deref(), Some("a"));
        assert_eq!(name(&format!("a{}", "/a".repeat(49))).map(|name| name.len()), Some(99));
        assert_eq!(name(&format!("a{}", "/a".repeat(50))), None);
        for bad in [
            "",
            "/a",
            "a//b",
            "/",
            "R&D",
            "&AAAA",
            "a&AAo-b",
            "&2AA-",
            "a*",
            "a%b",
            "ü",
            "&AGE-",
            "&ZeU-&Zyw-",
            "a&ACY-b",
        ] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn patterns_match_within_and_across_levels() {
        for (pattern, name, expected) in [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("%/%", "a/b", true),
            ("a*b", "a/x/b", true),
            ("a%b", "a/b", false),
            ("inbox", "INBOX", true),
            ("INB%", "INBOX", true),
            ("%*%", "a/b/c", true),
            ("a", "ab", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        let hostile = "*a".repeat(400);
        assert!(!matches(&hostile, &"a".repeat(399)));
    }

    proptest! {
        #[test]
        fn every_name_round_trips(text in "[^/%*\\pC\u{2028}\u{2029}]{1,30}(/[^/%*\\pC\u{2028}\u{2029}]{1,10}){0,3}") {
            prop_assume!(!text.to_ascii_lowercase().starts_with("inbox"));
            let composed: String = text.nfc().collect();
            prop_assume!(composed.len() <= NAME_OCTETS);
            prop_assert_eq!(name(&write(&text, false)), Some(composed.clone()));
            prop_assert_eq!(&write(&text, true), &text);
            prop_assert_eq!(read(&Mailbox(text.into_bytes()), true), Some(composed));
        }
    }
}
