//! SELECT, EXAMINE, CLOSE, UNSELECT. RFC 3501 §6.3.1, §6.3.2, §6.4.2; RFC 3691; RFC 7162 (HIGHESTMODSEQ, QRESYNC, CLOSED); RFC 9051 §6.3.2.

use super::copy::expunge_deleted;
use super::list::push_listed;
use super::{BAD_NAME, NO_SUCH_MAILBOX, known_modseq};
use crate::imap::context::{CommandError, Context, Enabled};
use crate::imap::flags::push_flags;
use crate::imap::selected::SelectedMailbox;
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::select::{QResync, Select};
use crate::imap::wire::values::NumberRanges;
use crate::store::object_ids::mailbox_id;
use crate::store::resync::{Known, Resync};

/// Pairs of a sequence number and a UID that are compared: what a client sends beyond these is passed over.
const MATCHES: usize = 10_000;

/// SELECT, or EXAMINE.
pub async fn select(context: &mut Context<'_>, wire: &mut Wire, command: Select) -> Result<Reply, CommandError> {
    let Select { mailbox, read_only, condstore, qresync } = command;
    if qresync.is_some() && !context.enabled.contains(Enabled::QRESYNC) {
        return Ok(Reply::bad("QRESYNC has to be enabled first"));
    }
    let is_uid_only = context.enabled.contains(Enabled::UIDONLY);
    if is_uid_only && qresync.as_ref().is_some_and(|known| known.matches.is_some()) {
        return Ok(Reply::bad("QRESYNC names no sequence numbers once UIDONLY is enabled").code(Code::UidRequired));
    }
    // A SELECT that fails leaves nothing selected (RFC 3501 §6.3.1).
    if context.selected.is_some() {
        unselect(context);
        wire.writer().untagged_ok(Some(&Code::Closed), "the mailbox selected before is closed");
    }
    let Some(name) = context.mailbox_name(&mailbox) else { return Ok(Reply::no(BAD_NAME).code(Code::Cannot)) };
    let (store, inbox) = (&context.server.store, &context.login.inbox);
    // RFC 9051 Appendix E: neither RECENT nor UNSEEN; LIST names what is selected.
    let is_rev2 = context.enabled.contains(Enabled::IMAP4REV2);
    let claims_recent = !read_only && !is_rev2;
    let opened = match qresync {
        None => store.mailbox_open(inbox, &name, claims_recent).await?.map(|open| (open, None)),
        Some(known) => store.mailbox_resync(inbox, &name, claims_recent, known_of(known)).await?,
    };
    let Some((open, resync)) = opened else {
        return Ok(Reply::no(NO_SUCH_MAILBOX).code(Code::NonExistent));
    };
    let (uid_validity, uid_next) = (open.uid_validity, open.seen.uid_next);
    // What has changed since the mailbox was read is sent before the OK.
    context.changed.watch(Some(open.id));
    context.changed.set();
    let mut selected = SelectedMailbox::new(open, read_only);
    if is_rev2 {
        selected.forget_recent();
        push_listed(wire, &mailbox, &name);
    }
    let mut writer = wire.writer();
    writer.flags(selected.all_flags());
    writer.counted(selected.exists(), "EXISTS");
    if !is_rev2 {
        writer.counted(selected.recent(), "RECENT");
        if let (false, Some(unseen)) = (is_uid_only, selected.first_unseen()) {
            writer.untagged_ok(Some(&Code::Unseen(unseen)), "first unseen");
        }
    }
    let permanent = if read_only { Vec::new() } else { selected.all_flags().chain(["\\*"]).collect() };
    writer.untagged_ok(Some(&Code::PermanentFlags(permanent)), "permanent flags");
    writer.untagged_ok(Some(&Code::UidNext(uid_next)), "next UID");
    writer.untagged_ok(Some(&Code::UidValidity(uid_validity)), "UIDs valid");
    // RFC 8474 §4.2.
    writer.untagged_ok(Some(&Code::MailboxId(mailbox_id(uid_validity))), "mailbox ID");
    writer.untagged_ok(Some(&Code::HighestModSeq(selected.highest_modseq())), "highest mod-sequence");
    if condstore {
        context.enabled |= Enabled::CONDSTORE;
    }
    if let Some(resync) = resync {
        push_resync(wire, &mut selected, resync, context.enabled).await?;
    }
    context.selected = Some(selected);
    Ok(Reply::ok("selected").code(if read_only { Code::ReadOnly } else { Code::ReadWrite }))
}

/// The parameter QRESYNC (RFC 7162 §3.2.5).
fn known_of(known: QResync) -> Known {
    let ranges = |ranges: NumberRanges| ranges.into_iter().map(|(a, b)| a.min(b).get()..=a.max(b).get());
    let (numbers, uids) = known.matches.unwrap_or_default();
    Known {
        uid_validity: known.uid_validity.get(),
        modseq: known_modseq(known.mod_sequence),
        uids: known.known_uids.map(|uids| ranges(uids).collect()),
        numbered: ranges(numbers).flatten().zip(ranges(uids).flatten()).take(MATCHES).collect(),
    }
}

/// What the client does not know: `VANISHED (EARLIER)`, and the flags of new and changed messages.
async fn push_resync(
    wire: &mut Wire,
    selected: &mut SelectedMailbox,
    resync: Resync,
    enabled: Enabled,
) -> Result<(), CommandError> {
    if !resync.vanished.is_empty() {
        wire.writer().vanished(&resync.vanished, true);
    }
    for (flags, modseq) in resync.changed.iter().zip(resync.modseqs) {
        push_flags(wire, selected, &flags, modseq, enabled);
        wire.flush_batch().await?;
    }
    Ok(())
}

/// UNSELECT: nothing is expunged.
pub fn unselect(context: &mut Context<'_>) -> Reply {
    context.changed.watch(None);
    context.selected = None;
    Reply::ok("no mailbox selected")
}

/// CLOSE: expunges without EXPUNGE responses.
pub async fn close(context: &mut Context<'_>) -> Result<Reply, CommandError> {
    if let Some(selected) = &context.selected
        && !selected.read_only
    {
        let mailbox = selected.mailbox;
        expunge_deleted(context, mailbox, None).await?;
    }
    Ok(unselect(context))
}
