//! The flags of messages in FLAGS and FETCH responses. RFC 3501 §7.2.6, §7.4.2; RFC 7162 §3.1.4.2 (MODSEQ); RFC 9586
//! (UIDFETCH).

use super::context::Enabled;
use super::selected::SelectedMailbox;
use super::wire::Wire;
use super::wire::writer::Writer;
use crate::store::open_mailbox::MessageFlags;

/// `* n FETCH (UID u FLAGS (…))`, with MODSEQ once CONDSTORE is enabled; nothing of a message without a sequence number.
pub(super) fn push_flags(
    wire: &mut Wire,
    selected: &mut SelectedMailbox,
    flags: &MessageFlags,
    modseq: i64,
    enabled: Enabled,
) {
    if selected.sequence_number(flags.uid).is_none() {
        return;
    }
    push_new_keywords(wire, selected, flags);
    let mut writer = wire.writer();
    begin_with_uid(&mut writer, selected, flags.uid, enabled);
    write_flags(&mut writer, selected, flags);
    if enabled.contains(Enabled::CONDSTORE) {
        write_modseq(writer.raw(" "), modseq);
    }
    writer.raw(")").end();
}

/// `* n FETCH (UID u MODSEQ (m))`
pub(super) fn push_modseq(wire: &mut Wire, selected: &SelectedMailbox, uid: u32, modseq: i64, enabled: Enabled) {
    if selected.sequence_number(uid).is_none() {
        return;
    }
    let mut writer = wire.writer();
    begin_with_uid(&mut writer, selected, uid, enabled);
    write_modseq(&mut writer, modseq);
    writer.raw(")").end();
}

fn begin_with_uid(writer: &mut Writer<'_>, selected: &SelectedMailbox, uid: u32, enabled: Enabled) {
    begin_fetch(writer, selected, uid, enabled);
    if !enabled.contains(Enabled::UIDONLY) {
        writer.raw("UID ").number(uid).raw(" ");
    }
}

/// `* n FETCH (`, or `* u UIDFETCH (` once UIDONLY is enabled (RFC 9586 §3.3).
pub(super) fn begin_fetch(writer: &mut Writer<'_>, selected: &SelectedMailbox, uid: u32, enabled: Enabled) {
    match selected.sequence_number(uid) {
        Some(sequence) if !enabled.contains(Enabled::UIDONLY) => {
            writer.raw("* ").number(sequence).raw(" FETCH (");
        }
        _ => {
            writer.raw("* ").number(uid).raw(" UIDFETCH (");
        }
    }
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
