//! The URLs of CATENATE: relative ones that name a message of this inbox, or a part of it. RFC 5092 §6, §7.2, RFC 4469 §3.

use crate::imap::wire::syntax::fetch::{Partial, Section, section_named};
use crate::message::decode::unescape;
use std::num::NonZeroU32;

/// What a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageUrl {
    /// In UTF-8; `None` for the selected mailbox.
    pub mailbox: Option<Vec<u8>>,
    pub uid_validity: Option<u32>,
    pub uid: u32,
    pub section: Section,
    pub partial: Option<Partial>,
}

impl MessageUrl {
    /// `None`: it is absolute, or not of this form. The slashes between its parts may be missing, as in the examples of RFC 4469.
    pub fn parse(url: &[u8]) -> Option<Self> {
        let mut parts = url.split(|octet| *octet == b';');
        let (path, relative) = (parts.next()?, url.first() != Some(&b'/'));
        let mailbox = match path.strip_prefix(b"/").map(without_slash) {
            Some(path) if !path.is_empty() => Some(decoded(path)),
            None if relative && path.is_empty() => None,
            _ => return None,
        };
        let (mut uid_validity, mut uid, mut section, mut partial) = (None, None, None, None);
        for part in parts {
            let at = part.iter().position(|octet| *octet == b'=')?;
            let (name, value) = part.split_at_checked(at)?;
            let value = decoded(without_slash(value.get(1..)?));
            let text = std::str::from_utf8(&value).ok()?;
            let is_first = match name.to_ascii_uppercase().as_slice() {
                b"UIDVALIDITY" => uid_validity.replace(text.parse().ok()?).is_none() && mailbox.is_some(),
                b"UID" => uid.replace(text.parse::<NonZeroU32>().ok()?.get()).is_none(),
                b"SECTION" => section.replace(section_named(&value)?).is_none(),
                b"PARTIAL" => partial.replace(range(text)?).is_none(),
                _ => false,
            };
            if !is_first {
                return None;
            }
        }
        let section = section.unwrap_or(Section::Whole);
        Some(Self { mailbox, uid_validity, uid: uid?, section, partial })
    }
}

/// `offset.length`, or the offset alone.
fn range(text: &str) -> Option<Partial> {
    let (offset, length) = text.split_once('.').unwrap_or((text, "4294967295"));
    Some((offset.parse().ok()?, length.parse().ok()?))
}

fn without_slash(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"/").unwrap_or(text)
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    unescape(text, b'%', &mut octets);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_this_inbox_are_read() {
        let parse = |url: &str| MessageUrl::parse(url.as_bytes());
        let url = parse("/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER").unwrap();
        assert_eq!(url.mailbox.as_deref(), Some(&b"Drafts"[..]));
        assert_eq!((url.uid_validity, url.uid, url.section), (Some(385_759_045), 20, Section::Header(None)));
        let path = |numbers: &[u32]| numbers.iter().filter_map(|number| NonZeroU32::new(*number)).collect::<Vec<_>>();
        let url = parse("/INBOX;UIDVALIDITY=785799047/;UID=113330;section=1.5.9").unwrap();
        assert_eq!(url.section, Section::Part(path(&[1, 5, 9])));
        assert_eq!(parse("/a;UID=1/;SECTION=1.MIME").unwrap().section, Section::Mime(path(&[1])));
        let url = parse("/gr%C3%BCn%2Fa%3Bb/;uid=7/;Section=TEXT/;PARTIAL=0.1024").unwrap();
        assert_eq!(url.mailbox.as_deref(), Some("grün/a;b".as_bytes()));
        assert_eq!(url.partial, Some((0, NonZeroU32::new(1024).unwrap())));
        assert_eq!(parse("/a;UID=7/;PARTIAL=9").unwrap().partial, Some((9, NonZeroU32::MAX)));
        let url = parse(";UID=3").unwrap();
        assert_eq!((url.mailbox, url.uid, url.section), (None, 3, Section::Whole));
        let fields = Section::Fields(None, vec![b"To".to_vec(), b"Cc".to_vec()]);
        assert_eq!(parse("/a;UID=1/;SECTION=HEADER.FIELDS%20(To%20Cc)").unwrap().section, fields);
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "",
            "/",
            "/INBOX",
            "/;UID=1",
            "/INBOX;UID=0",
            "/INBOX;UID=1;UID=2",
            "/INBOX;UID=x",
            "/INBOX;UID=1/;SECTION=FOO",
            "/INBOX;UID=1/;SECTION=1]",
            "/INBOX;UID=1/;SECTION=1%0D%0A",
            "/INBOX;UID=1/;SECTION={1}",
            "/INBOX;UID=1/;PARTIAL=1.0",
            "/INBOX;UID=1/;URLAUTH=anonymous",
            ";UIDVALIDITY=1/;UID=1",
            "INBOX;UID=1",
            "imap://example.com/INBOX;UID=1",
            "http://example.com",
        ] {
            assert_eq!(MessageUrl::parse(url.as_bytes()), None, "{url}");
        }
    }
}
