//! The flags of messages in FLAGS and FETCH responses. RFC 3501 §7.2.6, §7.4.2.

use super::selected::SelectedMailbox;
use super::wire::Wire;
use crate::store::open_mailbox::MessageFlags;
use imap_codec::imap_types::response::{Data, Response};
use std::fmt::Write;

/// `* n FETCH (UID u FLAGS (…))`
pub(super) fn push_flags(wire: &mut Wire, selected: &mut SelectedMailbox, sequence: u32, flags: &MessageFlags) {
    push_new_keywords(wire, selected, flags);
    let mut line = format!("* {sequence} FETCH (UID {} ", flags.uid);
    write_flags(&mut line, selected, flags);
    line.push_str(")\r\n");
    wire.push_bytes(line.as_bytes());
}

/// A keyword that no FLAGS response has named is named in one first (RFC 3501 §7.2.6).
pub(super) fn push_new_keywords(wire: &mut Wire, selected: &mut SelectedMailbox, flags: &MessageFlags) {
    if selected.learn_keywords(flags) {
        wire.push(&Response::Data(Data::Flags(selected.all_flags())));
    }
}

pub(super) fn write_flags(line: &mut String, selected: &SelectedMailbox, flags: &MessageFlags) {
    let recent = selected.is_recent(flags.uid).then_some("\\Recent");
    let system = flags.flags.names().map(|name| -> &str { name });
    let names: Vec<&str> = system.chain(recent).chain(flags.keywords.split_ascii_whitespace()).collect();
    let _ = write!(line, "FLAGS ({})", names.join(" "));
}
