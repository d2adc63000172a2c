//! What IMAP shows of a message's bytes: structure, envelope, sections.
//!
//! Pure: bytes in, bytes out. Invariant: every section is a slice of the message as it was delivered, octet for octet.

pub(super) mod binary;
pub(super) mod envelope;
#[cfg(test)]
mod linear_time;
#[cfg(test)]
mod oracle;
pub(super) mod section;
pub(super) mod structure;

use super::wire::writer::Writer;
use crate::message::ReadLimits;
use crate::message::fields::Header;
use crate::message::mime::Tree;
use crate::message::searched::{searched_field, searched_texts};
use crate::message::text::content;

/// Reads all that REST and IMAP read of a message.
pub(crate) fn read_all(header: &[u8], body: &[u8], limits: &ReadLimits) {
    let tree = Tree::parse(header, body, limits);
    let header = Header::read(header, limits);
    let mut output = Vec::new();
    let mut writer = Writer::new(&mut output, false);
    structure::write_structure(&mut writer, &tree, true);
    envelope::write_envelope(&mut writer, &header, &mut { envelope::ADDRESSES });
    drop(content(&tree, usize::MAX));
    drop(searched_texts(&tree));
    header.fields().iter().for_each(|field| drop(searched_field(field)));
}
