//! The items of a FETCH: which there are, and what each needs of a message.

use crate::imap::content::section::{Reach, reach, write_path, write_section};
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::fetch::{Item, Partial, Section};
use crate::imap::wire::writer::Writer;
use crate::store::open_mailbox::Depth;
use std::sync::Arc;

/// Different items of one FETCH.
const ITEMS: usize = 256;
/// Names of header fields in one FETCH.
const FIELD_NAMES: usize = 1000;

/// The items of a FETCH, each once; or why it is refused.
pub(super) fn once(mut names: Vec<Item>, by_uid: bool) -> Result<Arc<[Item]>, Reply> {
    if by_uid && !names.contains(&Item::Uid) {
        names.insert(0, Item::Uid);
    }
    // A repeated item is sent once, to bound the work and the response.
    let mut once: Vec<Item> = Vec::new();
    for name in names {
        if once.len() >= ITEMS {
            return Err(Reply::no("too many items in FETCH, the limit is 256").code(Code::Limit));
        }
        if !once.contains(&name) {
            once.push(name);
        }
    }
    if once.iter().map(field_names).sum::<usize>() > FIELD_NAMES {
        return Err(Reply::no("too many field names in FETCH, the limit is 1000").code(Code::Limit));
    }
    Ok(once.into())
}

/// How much of a message an item needs.
pub(super) fn depth(name: &Item) -> Depth {
    match name {
        Item::Flags | Item::Uid | Item::InternalDate | Item::SaveDate | Item::ModSeq => Depth::Flags,
        Item::EmailId | Item::ThreadId => Depth::Flags,
        Item::Rfc822Size | Item::BinarySize { path: None } => Depth::Size,
        Item::Envelope | Item::Rfc822Header => Depth::Header,
        Item::Section { section, .. } if reach(section) == Reach::Header => Depth::Header,
        _ => Depth::Body,
    }
}

/// Whether an item needs the structure of the message.
pub(super) fn needs_structure(name: &Item) -> bool {
    match name {
        Item::Body | Item::BodyStructure => true,
        Item::Binary { path, .. } | Item::BinarySize { path } => path.is_some(),
        Item::Section { section, .. } => reach(section) == Reach::Structure,
        _ => false,
    }
}

/// How many header fields an item names.
pub(super) fn field_names(name: &Item) -> usize {
    match name {
        Item::Section { section: Section::Fields(_, names) | Section::FieldsNot(_, names), .. } => names.len(),
        _ => 0,
    }
}

/// Whether an item sets `\Seen`.
pub(super) fn sets_seen(name: &Item) -> bool {
    matches!(
        name,
        Item::Section { peek: false, .. }
            | Item::Binary { peek: false, .. }
            | Item::Rfc822 { peek: false }
            | Item::Rfc822Text { peek: false }
    )
}

/// Whether an item is decoded, which can fail.
pub(super) fn is_decoded(name: &Item) -> bool {
    matches!(name, Item::Binary { path: Some(_), .. } | Item::BinarySize { path: Some(_) })
}

/// Writes the label of an item with octets: its name, section and origin, and a space.
pub(super) fn write_label(writer: &mut Writer<'_>, name: &Item) {
    match name {
        Item::Rfc822Header => writer.raw("RFC822.HEADER "),
        Item::Rfc822Text { .. } => writer.raw("RFC822.TEXT "),
        Item::Section { section, partial, .. } => {
            writer.raw("BODY[");
            write_section(writer, section);
            write_origin(writer, *partial)
        }
        Item::Binary { path, partial, .. } => {
            write_path(writer.raw("BINARY["), path.as_ref());
            write_origin(writer, *partial)
        }
        _ => writer.raw("RFC822 "),
    };
}

/// The end of a label: where a partial FETCH begins, and a space.
fn write_origin<'w, 'a>(writer: &'w mut Writer<'a>, partial: Option<Partial>) -> &'w mut Writer<'a> {
    writer.raw("]");
    if let Some((origin, _)) = partial {
        writer.raw("<").number(origin).raw(">");
    }
    writer.raw(" ")
}

/// Whether an item is made by parsing.
pub(super) fn is_parsed(name: &Item) -> bool {
    match name {
        Item::Envelope | Item::Preview { .. } => true,
        Item::Section { section: Section::Fields(..) | Section::FieldsNot(..), .. } => true,
        _ => needs_structure(name),
    }
}
