//! GETQUOTA, GETQUOTAROOT, SETQUOTA. RFC 9208.
//!
//! An inbox has one quota root, the empty name, for all its mailboxes.

use super::{BAD_NAME, NO_SUCH_MAILBOX};
use crate::imap::context::{CommandError, Context};
use crate::imap::names;
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::values::Mailbox;

const ROOT: &str = "";
/// Octets in a unit of STORAGE (RFC 9208 §4.1.1).
const UNIT: u64 = 1024;

/// GETQUOTA.
pub async fn get_quota(context: &mut Context<'_>, wire: &mut Wire, root: &[u8]) -> Result<Reply, CommandError> {
    if root != ROOT.as_bytes() {
        return Ok(Reply::no("no such quota root").code(Code::NonExistent));
    }
    push_quota(context, wire).await?;
    Ok(Reply::completed())
}

/// GETQUOTAROOT.
pub async fn get_quota_root(
    context: &mut Context<'_>,
    wire: &mut Wire,
    mailbox: &Mailbox,
) -> Result<Reply, CommandError> {
    let Some(name) = context.mailbox_name(mailbox) else { return Ok(Reply::no(BAD_NAME).code(Code::Cannot)) };
    if context.server.store.mailbox_status(&context.login.inbox, &name).await?.is_none() {
        return Ok(Reply::no(NO_SUCH_MAILBOX).code(Code::NonExistent));
    }
    let utf8 = context.enabled.takes_utf8();
    wire.writer_for(utf8).quota_root(&names::write(&name, utf8), ROOT);
    push_quota(context, wire).await?;
    Ok(Reply::completed())
}

/// SETQUOTA.
pub fn set_quota() -> Reply {
    Reply::no("quotas are set by the operator (limits.inbox_size, limits.messages)").code(Code::NoPerm)
}

async fn push_quota(context: &Context<'_>, wire: &mut Wire) -> Result<(), CommandError> {
    if let Some(usage) = context.server.mailboxes.usage(&context.login.inbox).await? {
        let (used, limit) = (usage.used, usage.limit);
        let storage = ("STORAGE", storage(used.octets), limit.octets / UNIT);
        wire.writer().quota(ROOT, [storage, ("MESSAGE", used.messages, limit.messages)]);
    }
    Ok(())
}

/// Octets as STORAGE counts them, rounded up.
pub(super) fn storage(octets: u64) -> u64 {
    octets.div_ceil(UNIT)
}
