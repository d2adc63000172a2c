//! What has changed in the selected mailbox, as untagged responses.
//!
//! Invariant: the client is sent EXPUNGE responses only where RFC 3501 §7.4.1 allows it.

use super::context::{CommandError, Context};
use super::flags::push_flags;
use super::wire::Wire;

/// Sends what has changed in the selected mailbox.
pub(super) async fn push_changes(
    context: &mut Context<'_>,
    wire: &mut Wire,
    may_expunge: bool,
) -> Result<(), CommandError> {
    context.changed.take();
    let Some(selected) = &mut context.selected else { return Ok(()) };
    let (store, inbox) = (&context.server.store, &context.login.inbox);
    let changes = store.mailbox_changes(inbox, selected.mailbox, selected.seen).await?;
    let changes = changes.ok_or(CommandError::MailboxDeleted)?;
    // RFC 3501 §2.3.2: a read-only session does not take `\Recent` from the next one.
    let mut recent = changes.recent_from..changes.seen.uid_next;
    if !selected.read_only && !recent.is_empty() && selected.has_arrivals(&changes) {
        recent = store.claim_recent(inbox, selected.mailbox, recent.end).await;
    }
    let updates = selected.update(changes, &recent);
    for uid in updates.changed {
        let (Some(sequence), Some(flags)) = (selected.sequence_number(uid), selected.flags(uid)) else { continue };
        push_flags(wire, selected, sequence, &flags);
        wire.flush_batch().await?;
    }
    if may_expunge {
        push_expunged(context, wire);
    }
    if let (Some(_), Some(selected)) = (updates.exists, &context.selected) {
        wire.writer().counted(selected.exists(), "EXISTS");
        wire.writer().counted(selected.recent(), "RECENT");
    }
    Ok(())
}

/// Sends EXPUNGE responses for expunged messages.
pub(super) fn push_expunged(context: &mut Context<'_>, wire: &mut Wire) {
    let Some(selected) = &mut context.selected else { return };
    for sequence in selected.take_expunged() {
        wire.writer().counted(sequence, "EXPUNGE");
    }
}
