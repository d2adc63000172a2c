//! What has changed in the selected mailbox, as untagged responses.
//!
//! Invariant: the client is sent EXPUNGE responses only where RFC 3501 §7.4.1 allows it, and VANISHED in place of them once it has
//! enabled QRESYNC (RFC 7162 §3.2.10) or UIDONLY (RFC 9586).

use super::context::{CommandError, Context, Enabled};
use super::flags::push_flags;
use super::wire::Wire;
use super::wire::code::Code;

/// Sends what has changed in the selected mailbox, if the client wants that. True if messages were expunged.
pub(super) async fn push_changes(
    context: &mut Context<'_>,
    wire: &mut Wire,
    may_expunge: bool,
) -> Result<bool, CommandError> {
    match context.notified.as_deref() {
        Some(notified) if !notified.selected.messages => {
            context.changed.take();
            Ok(false)
        }
        _ => push_all_changes(context, wire, may_expunge).await,
    }
}

/// The same, also if it wants no notifications: after EXPUNGE and MOVE.
pub(super) async fn push_all_changes(
    context: &mut Context<'_>,
    wire: &mut Wire,
    may_expunge: bool,
) -> Result<bool, CommandError> {
    context.changed.take();
    let Some(selected) = &mut context.selected else { return Ok(false) };
    let (store, inbox) = (&context.server.store, &context.login.inbox);
    let changes = store.mailbox_changes(inbox, selected.mailbox, selected.seen).await?;
    let changes = changes.ok_or(CommandError::MailboxDeleted)?;
    // RFC 3501 §2.3.2: a read-only session does not take `\Recent` from the next one.
    let mut recent = changes.recent_from..changes.seen.uid_next;
    let is_rev2 = context.enabled.contains(Enabled::IMAP4REV2);
    if is_rev2 {
        recent = recent.end..recent.end;
    } else if !selected.read_only && !recent.is_empty() && selected.has_arrivals(&changes) {
        recent = store.claim_recent(inbox, selected.mailbox, recent.end).await;
    }
    let last = selected.uids().last().copied().unwrap_or(0);
    let mut updates = selected.update(changes, &recent);
    if let Some(notified) = &mut context.notified {
        if !notified.selected.flags {
            updates.changed.clear();
        }
        if !notified.selected.items.is_empty() {
            notified.arrived.extend(selected.uids().iter().filter(|uid| **uid > last));
        }
    }
    for (uid, modseq) in updates.changed {
        let Some(flags) = selected.flags(uid) else { continue };
        push_flags(wire, selected, &flags, modseq, context.enabled);
        wire.flush_batch().await?;
    }
    let has_expunged = may_expunge && push_expunged(context, wire);
    if let (Some(_), Some(selected)) = (updates.exists, &context.selected) {
        wire.writer().counted(selected.exists(), "EXISTS");
        if !is_rev2 {
            wire.writer().counted(selected.recent(), "RECENT");
        }
    }
    Ok(has_expunged)
}

/// Sends EXPUNGE responses, or one VANISHED, for expunged messages. True if there were some.
pub(super) fn push_expunged(context: &mut Context<'_>, wire: &mut Wire) -> bool {
    let Some(selected) = &mut context.selected else { return false };
    let expunged = selected.take_expunged();
    if expunged.is_empty() {
        return false;
    }
    if context.enabled.intersects(Enabled::QRESYNC | Enabled::UIDONLY) {
        wire.writer().vanished(&expunged.into_iter().map(|(_, uid)| uid).collect(), false);
        return true;
    }
    for (sequence, _) in expunged {
        wire.writer().counted(sequence, "EXPUNGE");
    }
    true
}

/// While an EXPUNGE is delayed, tells a client that synchronizes by QRESYNC up to where it knows all changes: it may have been sent
/// higher mod-sequences (RFC 7162 §3.2, §6).
pub(super) fn push_highest_modseq(context: &Context<'_>, wire: &mut Wire) {
    if let Some(selected) = &context.selected
        && selected.has_expunged()
        && context.enabled.contains(Enabled::QRESYNC)
    {
        let code = Code::HighestModSeq(selected.highest_modseq());
        wire.writer().untagged_ok(Some(&code), "expunged messages will be reported later");
    }
}

/// The client takes part in CONDSTORE from here on (RFC 7162 §3.1).
pub(super) fn enable_condstore(context: &mut Context<'_>, wire: &mut Wire) {
    if context.enabled.contains(Enabled::CONDSTORE) {
        return;
    }
    context.enabled |= Enabled::CONDSTORE;
    if let Some(selected) = &context.selected {
        wire.writer().untagged_ok(Some(&Code::HighestModSeq(selected.highest_modseq())), "CONDSTORE is enabled");
    }
}
