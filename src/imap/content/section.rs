//! BODY[…]: sections and partial ranges of a message. RFC 3501 §6.4.5.
//!
//! Invariant: a section is slices of the stored octets; only HEADER.FIELDS puts some together anew.

use super::fields::{fields, slice};
use super::mime::{Kind, Part, Tree};
use imap_codec::imap_types::core::{AString, Vec1};
use imap_codec::imap_types::fetch::{Part as Path, Section};
use std::borrow::Cow;

/// The octets of a section: in one or two pieces, so that a whole message needs no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::imap) struct Octets<'a>(Cow<'a, [u8]>, &'a [u8]);

impl<'a> Octets<'a> {
    /// Two pieces, one after the other.
    pub fn pair(first: &'a [u8], second: &'a [u8]) -> Self {
        Self(Cow::Borrowed(first), second)
    }

    fn one(bytes: &'a [u8]) -> Self {
        Self::pair(bytes, &[])
    }

    /// The pieces of a part of them: `count` octets from `offset` on, fewer at the end.
    pub fn partial(&self, offset: usize, count: usize) -> [&[u8]; 2] {
        let end = offset.saturating_add(count);
        let first = self.0.len();
        [slice(&self.0, offset..end), slice(self.1, offset.saturating_sub(first)..end.saturating_sub(first))]
    }

    /// All of them.
    pub fn pieces(&self) -> [&[u8]; 2] {
        [&self.0, self.1]
    }
}

/// What has to be read of a message for a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::imap) enum Reach {
    /// The header block is enough.
    Header,
    /// The body too, but not its structure.
    Body,
    /// The structure has to be read.
    Structure,
}

/// What a section needs.
pub(in crate::imap) fn reach(section: Option<&Section<'_>>) -> Reach {
    match section {
        Some(Section::Header(None) | Section::HeaderFields(None, _) | Section::HeaderFieldsNot(None, _)) => {
            Reach::Header
        }
        None | Some(Section::Text(None)) => Reach::Body,
        Some(_) => Reach::Structure,
    }
}

/// A section of a message, or nothing where there is no such part. `tree` is asked for only where [`reach`] says so.
pub(in crate::imap) fn section<'a>(
    header: &'a [u8],
    body: &'a [u8],
    tree: Option<&Tree<'a>>,
    section: Option<&Section<'_>>,
) -> Option<Octets<'a>> {
    let inner = |path: &Option<Path>| match path {
        None => Some(header),
        Some(path) => tree.and_then(|tree| message_at(tree, path).map(|inner| tree.header_of(inner))),
    };
    match section {
        None => Some(Octets::pair(header, body)),
        Some(Section::Header(path)) => inner(path).map(Octets::one),
        Some(Section::Text(None)) => Some(Octets::one(body)),
        Some(Section::Text(Some(path))) => {
            tree.and_then(|tree| message_at(tree, path).map(|m| Octets::one(tree.body_of(m))))
        }
        Some(Section::HeaderFields(path, names)) => inner(path).map(|header| some_fields(header, names, true)),
        Some(Section::HeaderFieldsNot(path, names)) => inner(path).map(|header| some_fields(header, names, false)),
        Some(Section::Part(path)) => {
            tree.and_then(|tree| part_at(&tree.root, path).map(|part| Octets::one(tree.body_of(part))))
        }
        Some(Section::Mime(path)) => {
            tree.and_then(|tree| part_at(&tree.root, path).map(|part| Octets::one(tree.header_of(part))))
        }
    }
}

/// The part a path names. In a message that is no multipart, 1 is its body.
pub(in crate::imap) fn part_at<'t>(root: &'t Part, path: &Path) -> Option<&'t Part> {
    let mut at = root;
    let mut is_message = true;
    for number in path.0.as_ref() {
        let inside = if is_message {
            at
        } else {
            match &at.kind {
                Kind::Message(inner) => inner,
                _ => at,
            }
        };
        let entered = is_message || matches!(at.kind, Kind::Message(_));
        let index = usize::try_from(number.get()).ok()?.checked_sub(1)?;
        at = match &inside.kind {
            Kind::Multipart(parts) => parts.get(index)?,
            _ if entered && index == 0 => inside,
            _ => return None,
        };
        is_message = false;
    }
    Some(at)
}

/// The message inside the message/rfc822 part that a path names.
fn message_at<'t>(tree: &'t Tree<'_>, path: &Path) -> Option<&'t Part> {
    match &part_at(&tree.root, path)?.kind {
        Kind::Message(inner) => Some(inner),
        _ => None,
    }
}

fn some_fields<'a>(header: &[u8], names: &Vec1<AString<'_>>, wanted: bool) -> Octets<'a> {
    let mut kept = Vec::new();
    for field in fields(header) {
        let named = names.as_ref().iter().any(|name| name.as_ref().eq_ignore_ascii_case(field.name));
        if named == wanted {
            kept.extend_from_slice(field.whole);
        }
    }
    // The empty line comes always (RFC 3501 §6.4.5).
    kept.extend_from_slice(b"\r\n");
    Octets(Cow::Owned(kept), &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use imap_codec::CommandCodec;
    use imap_codec::decode::Decoder;
    use imap_codec::imap_types::command::CommandBody;
    use imap_codec::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItemName};
    use proptest::prelude::*;

    const HEADER: &[u8] = b"Subject: s\r\nTo: t\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    const BODY: &[u8] = b"--b\r\nX: 1\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\ndeep\r\n--c--\r\n\r\n--b--\r\n";

    fn get(name: &str) -> Option<String> {
        let line = format!("a FETCH 1 BODY[{name}]\r\n");
        let (_, command) = CommandCodec::new().decode(line.as_bytes()).unwrap();
        let CommandBody::Fetch {
            macro_or_item_names: MacroOrMessageDataItemNames::MessageDataItemNames(names), ..
        } = command.body
        else {
            panic!("{name}")
        };
        let MessageDataItemName::BodyExt { section: wanted, .. } = &names[0] else { panic!("{name}") };
        let tree = Tree::parse(HEADER, BODY);
        let octets = section(HEADER, BODY, Some(&tree), wanted.as_ref())?;
        Some(String::from_utf8(octets.pieces().concat()).unwrap())
    }

    #[test]
    fn sections_are_named_as_in_rfc_3501() {
        assert_eq!(get("").unwrap().as_bytes(), [HEADER, BODY].concat());
        assert_eq!(get("HEADER").unwrap().as_bytes(), HEADER);
        assert_eq!(get("TEXT").unwrap().as_bytes(), BODY);
        assert_eq!(get("HEADER.FIELDS (to SUBJECT)").unwrap(), "Subject: s\r\nTo: t\r\n\r\n");
        assert_eq!(get("HEADER.FIELDS (nothing)").unwrap(), "\r\n");
        assert_eq!(get("HEADER.FIELDS.NOT (Content-Type To)").unwrap(), "Subject: s\r\n\r\n");
        assert_eq!(get("1").unwrap(), "one");
        assert_eq!(get("1.MIME").unwrap(), "X: 1\r\n\r\n");
        assert_eq!(get("2.HEADER.FIELDS (subject)").unwrap(), "Subject: in\r\n\r\n");
        assert_eq!(get("2.TEXT").unwrap(), "--c\r\n\r\ndeep\r\n--c--\r\n");
        assert_eq!(get("2.1").unwrap(), "deep");
        assert_eq!(get("2.MIME").unwrap(), "Content-Type: message/rfc822\r\n\r\n");
        for none in ["3", "1.1", "1.HEADER", "2.2", "2.1.1"] {
            assert_eq!(get(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn partial_ranges_put_together_are_the_whole(
            first in proptest::collection::vec(any::<u8>(), 0..40),
            second in proptest::collection::vec(any::<u8>(), 0..40),
            step in 1_usize..30,
        ) {
            let octets = Octets::pair(&first, &second);
            let length = first.len() + second.len();
            let mut whole = Vec::new();
            let mut offset = 0;
            while offset < length {
                whole.extend(octets.partial(offset, step).concat());
                offset += step;
            }
            prop_assert_eq!(whole, [first.clone(), second.clone()].concat());
            prop_assert!(octets.partial(length, step).concat().is_empty());
        }

        #[test]
        fn no_bytes_break_the_parsers(header in ".{0,80}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let header = format!("From: {header}\r\nContent-Type: {header}\r\nContent-Type: multipart/mixed; boundary=-\r\n\r\n");
            let tree = Tree::parse(header.as_bytes(), &body);
            let _ = crate::imap::content::structure::structure(&tree, true);
            let _ = crate::imap::content::envelope::envelope(header.as_bytes());
        }
    }
}
