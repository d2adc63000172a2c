//! The items of a FETCH: which there are, and what each needs of a message.

use super::super::NOT_SUPPORTED;
use crate::imap::content::section::{Reach, reach, write_section};
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::writer::Writer;
use crate::store::open_mailbox::Depth;
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItemName, Section};
use std::sync::Arc;

/// Different items of one FETCH.
const ITEMS: usize = 256;
/// Names of header fields in one FETCH.
const FIELD_NAMES: usize = 1000;

pub(super) type Name = MessageDataItemName<'static>;

/// The items of a FETCH, each once; or why it is refused.
pub(super) fn once(names: MacroOrMessageDataItemNames<'static>, by_uid: bool) -> Result<Arc<[Name]>, Reply> {
    let mut names = match names {
        MacroOrMessageDataItemNames::Macro(name) => name.expand().into_iter().map(IntoStatic::into_static).collect(),
        MacroOrMessageDataItemNames::MessageDataItemNames(names) => names,
    };
    if names.iter().any(|name| matches!(name, Name::Binary { .. } | Name::BinarySize { .. } | Name::ModSeq)) {
        return Err(Reply::bad(NOT_SUPPORTED));
    }
    if by_uid && !names.contains(&Name::Uid) {
        names.insert(0, Name::Uid);
    }
    // A repeated item is sent once, to bound the work and the response.
    let mut once: Vec<Name> = Vec::new();
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
pub(super) fn depth(name: &Name) -> Depth {
    match name {
        Name::Flags | Name::Uid | Name::InternalDate => Depth::Flags,
        Name::Rfc822Size => Depth::Size,
        Name::Envelope | Name::Rfc822Header => Depth::Header,
        Name::BodyExt { section, .. } if reach(section.as_ref()) == Reach::Header => Depth::Header,
        _ => Depth::Body,
    }
}

/// Whether an item needs the structure of the message.
pub(super) fn needs_structure(name: &Name) -> bool {
    match name {
        Name::Body | Name::BodyStructure => true,
        Name::BodyExt { section, .. } => reach(section.as_ref()) == Reach::Structure,
        _ => false,
    }
}

/// How many header fields an item names.
pub(super) fn field_names(name: &Name) -> usize {
    match name {
        Name::BodyExt {
            section: Some(Section::HeaderFields(_, names) | Section::HeaderFieldsNot(_, names)), ..
        } => names.as_ref().len(),
        _ => 0,
    }
}

/// Whether an item sets `\Seen`.
pub(super) fn sets_seen(name: &Name) -> bool {
    matches!(name, Name::BodyExt { peek: false, .. } | Name::Rfc822 | Name::Rfc822Text)
}

/// Writes the label of an item with octets: its name, section and origin, and a space.
pub(super) fn write_label(writer: &mut Writer<'_>, name: &Name) {
    match name {
        Name::Rfc822Header => writer.raw("RFC822.HEADER "),
        Name::Rfc822Text => writer.raw("RFC822.TEXT "),
        Name::BodyExt { section, partial, .. } => {
            writer.raw("BODY[");
            if let Some(section) = section {
                write_section(writer, section);
            }
            writer.raw("]");
            if let Some((origin, _)) = partial {
                writer.raw("<").number(*origin).raw(">");
            }
            writer.raw(" ")
        }
        _ => writer.raw("RFC822 "),
    };
}

/// Whether an item is made by parsing.
pub(super) fn is_parsed(name: &Name) -> bool {
    match name {
        Name::Envelope => true,
        Name::BodyExt { section: Some(Section::HeaderFields(..) | Section::HeaderFieldsNot(..)), .. } => true,
        _ => needs_structure(name),
    }
}
