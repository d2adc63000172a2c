//! BODY[…]: sections and partial ranges of a message. RFC 3501 §6.4.5.
//!
//! Invariant: a section is a range of the stored octets; only HEADER.FIELDS puts some together anew.

use crate::imap::wire::syntax::fetch::{Path, Section};
use crate::imap::wire::writer::Writer;
use crate::message::ReadLimits;
use crate::message::fields::{Header, slice};
use crate::message::mime::{Kind, Part, Tree};
use crate::message::octets_read;
use std::num::NonZeroU32;
use std::ops::Range;

/// The octets of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::imap) enum Octets {
    /// Some of the stored header block, then some of the stored body.
    Stored { header: Range<usize>, body: Range<usize> },
    /// Put together anew.
    Made(Vec<u8>),
}

impl Octets {
    fn of_body(body: Range<usize>) -> Self {
        Self::Stored { header: 0..0, body }
    }

    /// A part of them: `count` octets from `offset` on, fewer at the end.
    pub fn partial(self, offset: usize, count: usize) -> Self {
        let end = offset.saturating_add(count);
        // The wanted range, counted from where a piece begins, in the octets the piece is of.
        let cut = |piece: Range<usize>, begins: usize| {
            let within = |at: usize| piece.start.saturating_add(at.saturating_sub(begins)).min(piece.end);
            within(offset)..within(end)
        };
        match self {
            Self::Stored { header, body } => {
                let length = header.len();
                Self::Stored { header: cut(header, 0), body: cut(body, length) }
            }
            Self::Made(octets) => Self::Made(slice(&octets, offset..end).to_vec()),
        }
    }

    /// The octets, in pieces of the message they are of.
    pub fn pieces<'a>(&'a self, header: &'a [u8], body: &'a [u8]) -> [&'a [u8]; 2] {
        match self {
            Self::Stored { header: of_header, body: of_body } => {
                [slice(header, of_header.clone()), slice(body, of_body.clone())]
            }
            Self::Made(octets) => [octets, &[]],
        }
    }
}

/// How much of a message a section needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::imap) enum Reach {
    Header,
    /// Header and body, but not the structure.
    Body,
    Structure,
}

pub(in crate::imap) fn reach(section: &Section) -> Reach {
    match section {
        Section::Header(None) | Section::Fields(None, _) | Section::FieldsNot(None, _) => Reach::Header,
        Section::Whole | Section::Text(None) => Reach::Body,
        _ => Reach::Structure,
    }
}

/// Writes the name of a section.
pub(in crate::imap) fn write_section(writer: &mut Writer<'_>, section: &Section) {
    let (path, name, fields) = match section {
        Section::Whole => (None, "", None),
        Section::Part(path) => (Some(path), "", None),
        Section::Header(path) => (path.as_ref(), "HEADER", None),
        Section::Fields(path, names) => (path.as_ref(), "HEADER.FIELDS ", Some(names)),
        Section::FieldsNot(path, names) => (path.as_ref(), "HEADER.FIELDS.NOT ", Some(names)),
        Section::Text(path) => (path.as_ref(), "TEXT", None),
        Section::Mime(path) => (Some(path), "MIME", None),
    };
    write_path(writer, path);
    writer.raw(if path.is_some() && !name.is_empty() { "." } else { "" }).raw(name);
    if let Some(names) = fields {
        writer.raw("(").joined(names, |writer, name| {
            writer.astring(name);
        });
        writer.raw(")");
    }
}

/// Writes the number of a part; nothing for the message itself.
pub(in crate::imap) fn write_path(writer: &mut Writer<'_>, path: Option<&Path>) {
    for (at, number) in path.into_iter().flatten().enumerate() {
        writer.raw(if at > 0 { "." } else { "" }).number(number.get());
    }
}

/// A section of a message; `None` if there is no such part. [`reach`] says whether it needs `tree`, and with it the body's octets.
pub(in crate::imap) fn section(
    header: &[u8],
    (body, body_size): (&[u8], usize),
    tree: Option<&Tree<'_>>,
    section: &Section,
    limits: &ReadLimits,
) -> Option<Octets> {
    let part = |path: &[NonZeroU32]| part_at(&tree?.root, path);
    let message = |path: &[NonZeroU32]| message_at(tree?, path);
    let whole_header = || Octets::Stored { header: 0..header.len(), body: 0..0 };
    let fields = |path: &Option<Path>, names: &[Vec<u8>], wanted: bool| {
        let block = match path {
            None => header,
            Some(path) => slice(body, message(path)?.header.clone()),
        };
        Some(some_fields(block, names, wanted, limits))
    };
    match section {
        Section::Whole => Some(Octets::Stored { header: 0..header.len(), body: 0..body_size }),
        Section::Header(None) => Some(whole_header()),
        Section::Header(Some(path)) => Some(Octets::of_body(message(path)?.header.clone())),
        Section::Text(None) => Some(Octets::of_body(0..body_size)),
        Section::Text(Some(path)) => Some(Octets::of_body(message(path)?.body.clone())),
        Section::Fields(path, names) => fields(path, names, true),
        Section::FieldsNot(path, names) => fields(path, names, false),
        Section::Part(path) => Some(Octets::of_body(part(path)?.body.clone())),
        Section::Mime(path) => {
            let part = part(path)?;
            let is_root = tree.is_some_and(|tree| std::ptr::eq(part, &raw const tree.root));
            Some(if is_root { whole_header() } else { Octets::of_body(part.header.clone()) })
        }
    }
}

/// The part of a path. In a message that is no multipart, 1 is its body.
pub(in crate::imap) fn part_at<'t>(root: &'t Part, path: &[NonZeroU32]) -> Option<&'t Part> {
    let mut at = root;
    let mut is_message = true;
    for number in path {
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

/// The message inside the message/rfc822 part of a path.
fn message_at<'t>(tree: &'t Tree<'_>, path: &[NonZeroU32]) -> Option<&'t Part> {
    match &part_at(&tree.root, path)?.kind {
        Kind::Message(inner) => Some(inner),
        _ => None,
    }
}

/// The fields of these names, or all others. Names are sorted: each field costs a binary search.
fn some_fields(block: &[u8], names: &[Vec<u8>], wanted: bool, limits: &ReadLimits) -> Octets {
    let mut names: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    let is_named = |name: &[u8]| {
        let lower = || name.iter().map(u8::to_ascii_lowercase);
        let compare = |one: &Vec<u8>| {
            octets_read::count(one.len().min(name.len()));
            one.iter().copied().cmp(lower())
        };
        names.binary_search_by(compare).is_ok()
    };
    let mut kept = Vec::new();
    let mut without_empty_line = 0;
    for field in Header::read(block, limits).fields() {
        without_empty_line += field.whole.len();
        if is_named(field.name) == wanted {
            kept.extend_from_slice(field.whole);
        }
    }
    // RFC 9051 §6.4.5: the empty line is always included, unless the message has none.
    if without_empty_line < block.len() {
        kept.extend_from_slice(b"\r\n");
    }
    Octets::Made(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::wire::parser::tests::read;
    use crate::imap::wire::syntax::fetch::{Item, item};
    use proptest::prelude::*;

    const HEADER: &[u8] = b"Subject: s\r\nTo: t\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    const BODY: &[u8] = b"--b\r\nX: 1\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\ndeep\r\n--c--\r\n\r\n--b--\r\n";

    fn get(name: &str) -> Option<String> {
        let Ok(Item::Section { section: wanted, .. }) = read(&format!("BODY[{name}]"), false, item) else {
            panic!("{name}")
        };
        let limits = ReadLimits::default();
        let tree = Tree::parse(HEADER, BODY, &limits);
        let octets = section(HEADER, (BODY, BODY.len()), Some(&tree), &wanted, &limits)?;
        Some(String::from_utf8(octets.pieces(HEADER, BODY).concat()).unwrap())
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

    #[test]
    fn some_fields_end_in_an_empty_line_if_the_message_has_one() {
        let names = [b"TO".to_vec()];
        for (block, with, without) in [
            ("To: t\r\nX: x\r\n\r\n", "To: t\r\n\r\n", "X: x\r\n\r\n"),
            ("To: t\r\nX: x\r\n", "To: t\r\n", "X: x\r\n"),
            ("To: t", "To: t", ""),
            ("\r\n", "\r\n", "\r\n"),
            ("", "", ""),
        ] {
            for (wanted, kept) in [(true, with), (false, without)] {
                let octets = some_fields(block.as_bytes(), &names, wanted, &ReadLimits::default());
                assert_eq!(octets, Octets::Made(kept.into()), "{block:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn partial_ranges_add_up_to_the_whole(
            first in proptest::collection::vec(any::<u8>(), 0..40),
            second in proptest::collection::vec(any::<u8>(), 0..40),
            step in 1_usize..30,
        ) {
            let length = first.len() + second.len();
            let whole = Octets::Stored { header: 0..first.len(), body: 0..second.len() };
            let made = Octets::Made([first.clone(), second.clone()].concat());
            for octets in [whole, made] {
                let piece = |offset| octets.clone().partial(offset, step).pieces(&first, &second).concat();
                let all: Vec<u8> = (0..length).step_by(step).flat_map(piece).collect();
                prop_assert_eq!(all, [first.clone(), second.clone()].concat());
                prop_assert!(piece(length).is_empty());
            }
        }

        #[test]
        fn no_octets_panic(header in ".{0,80}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let header = format!("From: {header}\r\nContent-Type: {header}\r\nContent-Type: multipart/mixed; boundary=-\r\n\r\n");
            let limits = ReadLimits::default();
            crate::imap::content::read_all(header.as_bytes(), &body, &limits);
        }
    }
}
