//! The flags of messages in FLAGS and FETCH responses. RFC 3501 §7.2.6, §7.4.2; RFC 7162 §3.1.4.2 (MODSEQ).

use super::selected::SelectedMailbox;
use super::wire::Wire;
use super::wire::writer::Writer;
use crate::store::open_mailbox::MessageFlags;

/// `* n FETCH (UID u FLAGS (…) MODSEQ (m))`; nothing of a message without a sequence number.
pub(super) fn push_flags(wire: &mut Wire, selected: &mut SelectedMailbox, flags: &MessageFlags, modseq: Option<i64>) {
    let Some(sequence) = selected.sequence_number(flags.uid) else { return };
    push_new_keywords(wire, selected, flags);
    let mut writer = wire.writer();
    writer.raw("* ").number(sequence).raw(" FETCH (UID ").number(flags.uid).raw(" ");
    write_flags(&mut writer, selected, flags);
    if let Some(modseq) = modseq {
        write_modseq(writer.raw(" "), modseq);
    }
    writer.raw(")").end();
}

/// `* n FETCH (UID u MODSEQ (m))`
pub(super) fn push_modseq(wire: &mut Wire, selected: &SelectedMailbox, uid: u32, modseq: i64) {
    let Some(sequence) = selected.sequence_number(uid) else { return };
    let mut writer = wire.writer();
    writer.raw("* ").number(sequence).raw(" FETCH (UID ").number(uid).raw(" ");
    write_modseq(&mut writer, modseq);
    writer.raw(")").end();
}

/// A keyword that no FLAGS response has named is named in one first (RFC 3501 §7.2.6).
pub(super) fn push_new_keywords(wire: &mut Wire, selected: &mut SelectedMailbox, flags: &MessageFlags) {
    if selected.learn_keywords(flags) {
        wire.writer().flags(selected.all_flags());
    }
}

/// `FLAGS (…)`
pub(super) fn write_flags(writer: &mut Writer<'_>, selected: &SelectedMailbox, flags: &MessageFlags) {
    let recent = selected.is_recent(flags.uid).then_some("\\Recent");
    let system = flags.flags.names().map(|name| -> &str { name });
    writer.raw("FLAGS ").atoms(system.chain(recent).chain(flags.keywords.split_ascii_whitespace()));
}

/// `MODSEQ (m)`
pub(super) fn write_modseq(writer: &mut Writer<'_>, modseq: i64) {
    writer.raw("MODSEQ (").number(modseq.unsigned_abs()).raw(")");
}
