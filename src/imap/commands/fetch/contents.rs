//! What the items of a FETCH show of one message. Pure: the octets of the message in, those of the response out.

use super::index;
use super::items::{depth, is_decoded, needs_structure};
use crate::imap::content::binary::{UnknownEncoding, decoded, decoded_size};
use crate::imap::content::envelope::{ADDRESSES, write_envelope};
use crate::imap::content::section::{Octets, section, write_path};
use crate::imap::content::structure::write_structure;
use crate::imap::wire::syntax::fetch::{Item, Partial, Section};
use crate::imap::wire::writer::Writer;
use crate::message::ReadLimits;
use crate::message::fields::Header;
use crate::message::mime::Tree;
use crate::message::preview;
use crate::resources::work::{Cancelled, WorkBudget};
use crate::store::open_mailbox::{Depth, Fetched};

/// The content of one item.
#[derive(Debug)]
pub(super) enum Content {
    /// The whole item, encoded.
    Encoded(Vec<u8>),
    /// The octets after the item's label; NIL for none.
    Octets(Option<Octets>),
    /// Not made from the content, or read in pieces.
    Nothing,
}

/// Why the items of a message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmade {
    /// The transfer encoding of a part cannot be decoded.
    UnknownEncoding,
    /// Parts that overlap have, decoded, more octets than the message.
    TooLarge,
}

impl From<UnknownEncoding> for Unmade {
    fn from(_: UnknownEncoding) -> Self {
        Self::UnknownEncoding
    }
}

/// Estimated octets of work for a message: its size, once for every four of the `parsed` items, rounded up.
pub(super) fn octets_to_read(parsed: usize, message: &Fetched) -> usize {
    message.header.len().saturating_add(message.body.len()).saturating_mul(parsed.div_ceil(4))
}

/// Octets that were made, and are in memory beside the message.
pub(super) fn made_octets(contents: &[Content]) -> usize {
    let octets = contents.iter().map(|content| match content {
        Content::Encoded(item) => item.len(),
        Content::Octets(Some(Octets::Made(octets))) => octets.len(),
        _ => 0,
    });
    octets.sum()
}

/// The content of each item; `of_header`: only of those that need only the header.
pub(super) fn contents(
    names: &[Item],
    message: &Fetched,
    limits: &ReadLimits,
    budget: &WorkBudget,
    of_header: bool,
    utf8: bool,
) -> Result<Result<Vec<Content>, Unmade>, Cancelled> {
    let needs_tree = !of_header && names.iter().any(needs_structure);
    let tree = needs_tree.then(|| Tree::parse(&message.header, &message.body, limits));
    let mut contents = Vec::with_capacity(names.len());
    // Decoded parts are no larger than they are stored, and parts of a part count twice.
    let mut left = message.body_size;
    for name in names {
        budget.check()?;
        let content = match depth(name) {
            Depth::Body if of_header => Content::Nothing,
            _ => match content(name, message, tree.as_ref(), limits, utf8) {
                Ok(content) => content,
                Err(unmade) => return Ok(Err(unmade)),
            },
        };
        if let (true, Content::Octets(Some(Octets::Made(octets)))) = (is_decoded(name), &content) {
            match left.checked_sub(octets.len()) {
                Some(still) => left = still,
                None => return Ok(Err(Unmade::TooLarge)),
            }
        }
        contents.push(content);
    }
    Ok(Ok(contents))
}

fn content(
    name: &Item,
    message: &Fetched,
    tree: Option<&Tree<'_>>,
    limits: &ReadLimits,
    utf8: bool,
) -> Result<Content, Unmade> {
    let (header, body) = (&message.header, &message.body);
    let encoded = |write: &dyn Fn(&mut Writer<'_>)| {
        let mut item = Vec::new();
        write(&mut Writer::new(&mut item, utf8));
        Ok(Content::Encoded(item))
    };
    let (wanted, partial) = match name {
        Item::Envelope => {
            return encoded(&|writer| {
                write_envelope(writer.raw("ENVELOPE "), &Header::read(header, limits), &mut { ADDRESSES });
            });
        }
        Item::Body | Item::BodyStructure => {
            let Some(tree) = tree else { return Ok(Content::Nothing) };
            let (label, extended) = if *name == Item::Body { ("BODY ", false) } else { ("BODYSTRUCTURE ", true) };
            return encoded(&|writer| write_structure(writer.raw(label), tree, extended));
        }
        Item::Preview { .. } => {
            let raw: Vec<u8> = header.iter().chain(body).take(preview::READ).copied().collect();
            let is_cut = header.len().saturating_add(message.body_size) > raw.len();
            let (text, _) = preview::beginning(&raw, is_cut, limits);
            return encoded(&|writer| {
                writer.raw("PREVIEW ").string(text.as_bytes());
            });
        }
        Item::BinarySize { path: Some(path) } => {
            let Some(tree) = tree else { return Ok(Content::Nothing) };
            let size = u32::try_from(decoded_size(tree, path)?).unwrap_or(u32::MAX);
            return encoded(&|writer| {
                write_path(writer.raw("BINARY.SIZE["), Some(path));
                writer.raw("] ").number(size);
            });
        }
        Item::Binary { path: Some(path), partial, .. } => {
            let Some(tree) = tree else { return Ok(Content::Nothing) };
            return Ok(Content::Octets(cut(decoded(tree, path)?, *partial)));
        }
        Item::Binary { path: None, partial, .. } => (Section::Whole, *partial),
        Item::Rfc822 { .. } => (Section::Whole, None),
        Item::Rfc822Header => (Section::Header(None), None),
        Item::Rfc822Text { .. } => (Section::Text(None), None),
        Item::Section { section, partial, .. } => (section.clone(), *partial),
        _ => return Ok(Content::Nothing),
    };
    Ok(Content::Octets(cut(section(header, (body, message.body_size), tree, &wanted, limits), partial)))
}

/// The octets that a partial FETCH names.
fn cut(octets: Option<Octets>, partial: Option<Partial>) -> Option<Octets> {
    match partial {
        Some((offset, count)) => octets.map(|octets| octets.partial(index(offset), index(count.get()))),
        None => octets,
    }
}
