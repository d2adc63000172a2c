//! The commands after log-in, a file for each family.
//!
//! Invariant: OK means that all of the command is done, and on disk.

mod append;
mod copy;
mod fetch;
mod idle;
mod mailboxes;
mod search;
mod select;
mod store;

use super::context::{CommandError, Context, Enabled};
use super::wire::Wire;
use super::wire::capability::Phase;
use super::wire::code::Code;
use super::wire::response::Reply;
use crate::auth::login::Permissions;
use crate::resources::memory::Claim;
use crate::store::open_mailbox::Fetched;
use bytes::Bytes;
use copy::Transfer;
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::extensions::compress::CompressionAlgorithm;

const NOTHING_SELECTED: &str = "no mailbox selected";
const NO_SUCH_MAILBOX: &str = "no such mailbox";
const NO_SUCH_MESSAGE: &str = "no such message";
const READ_ONLY: &str = "mailbox is open read-only";
const BAD_NAME: &str = "invalid mailbox name";
const EXPUNGED: &str = "some of the messages have been expunged";
const NOT_SUPPORTED: &str = "not supported";

/// RFC 5530.
fn over_quota() -> Reply {
    Reply::no("the inbox is full").code(Code::OverQuota)
}

fn no_memory() -> Reply {
    Reply::no("out of memory, try again later").code(Code::Unavailable)
}

/// Messages that cannot be read, by their UIDs; the others were. RFC 5530.
fn damaged(uids: &[u32]) -> Reply {
    const NAMED: usize = 10;
    let named: Vec<String> = uids.iter().take(NAMED).map(u32::to_string).collect();
    let more = if uids.len() > NAMED { " and more" } else { "" };
    let text = format!(
        "the stored body of these messages is damaged, UID {}{more}: the server's log names it",
        named.join(",")
    );
    Reply::no(text).code(Code::Corruption)
}

/// Sets a claim to the size of these messages. False if that exceeds the budget.
fn claim_memory(claim: &mut Claim, messages: &[Fetched]) -> bool {
    let octets = messages.iter().map(|message| message.header.len() + message.body.len()).sum();
    claim.shrink_to(octets);
    claim.grow_to(octets).is_ok()
}

/// Commands that need the permission to change messages (RFC 5530 `NOPERM`).
fn changes_mailboxes(body: &CommandBody<'_>) -> bool {
    use CommandBody as C;
    matches!(
        body,
        C::Create { .. }
            | C::Delete { .. }
            | C::Rename { .. }
            | C::Subscribe { .. }
            | C::Unsubscribe { .. }
            | C::Append { .. }
            | C::Expunge
            | C::ExpungeUid { .. }
            | C::Store { .. }
            | C::Copy { .. }
            | C::Move { .. }
    )
}

/// Commands that name messages by sequence number.
fn names_by_sequence_number(body: &CommandBody<'_>) -> bool {
    use CommandBody as C;
    matches!(
        body,
        C::Fetch { uid: false, .. }
            | C::Store { uid: false, .. }
            | C::Copy { uid: false, .. }
            | C::Move { uid: false, .. }
    )
}

/// COMPRESS DEFLATE: the loop of commands begins with it once the reply is written (RFC 4978 §3).
fn compress(wire: &Wire) -> Reply {
    match wire.is_compressed() {
        true => Reply::no("the connection is compressed already").code(Code::CompressionActive),
        false => Reply::ok("compression begins now"),
    }
}

/// Runs a command, other than LOGOUT.
pub(super) async fn dispatch(
    context: &mut Context<'_>,
    wire: &mut Wire,
    body: CommandBody<'static>,
    message: Option<Bytes>,
) -> Result<Reply, CommandError> {
    use CommandBody as C;
    let may_change = context.login.permissions.contains(Permissions::MESSAGES_WRITE);
    if !may_change && changes_mailboxes(&body) {
        return Ok(Reply::no("this API token may not change messages (messages:write)").code(Code::NoPerm));
    }
    // RFC 9586 §3.
    if context.enabled.contains(Enabled::UIDONLY) && names_by_sequence_number(&body) {
        return Ok(Reply::bad("messages are named by UID once UIDONLY is enabled").code(Code::UidRequired));
    }
    match body {
        C::Capability => {
            wire.writer().capability(Phase::Authenticated);
            Ok(Reply::completed())
        }
        C::Noop => Ok(Reply::completed()),
        C::Compress { algorithm: CompressionAlgorithm::Deflate } => Ok(compress(wire)),
        C::Id { .. } => {
            wire.writer().id();
            Ok(Reply::completed())
        }
        C::StartTLS | C::Login { .. } | C::Authenticate { .. } => Ok(Reply::bad("already authenticated")),

        C::List { reference, mailbox_wildcard } => mailboxes::list(context, wire, &reference, &mailbox_wildcard).await,
        C::Lsub { reference, mailbox_wildcard } => mailboxes::lsub(context, wire, &reference, &mailbox_wildcard).await,
        C::Namespace => Ok(mailboxes::namespace(wire)),
        C::Create { mailbox } => mailboxes::create(context, &mailbox).await,
        C::Delete { mailbox } => mailboxes::delete(context, &mailbox).await,
        C::Rename { from, to } => mailboxes::rename(context, &from, &to).await,
        C::Subscribe { mailbox } => mailboxes::subscribe(context, &mailbox, true).await,
        C::Unsubscribe { mailbox } => mailboxes::subscribe(context, &mailbox, false).await,
        C::Status { mailbox, item_names } => select::status(context, wire, &mailbox, &item_names).await,
        C::Append { mailbox, flags, date, .. } => {
            append::append(context, &mailbox, &flags, date.as_ref(), message).await
        }

        C::Select { mailbox, parameters } if parameters.is_empty() => {
            select::select(context, wire, &mailbox, !may_change).await
        }
        C::Examine { mailbox, parameters } if parameters.is_empty() => {
            select::select(context, wire, &mailbox, true).await
        }
        C::Idle => idle::idle(context, wire).await,

        C::Check
        | C::Close
        | C::Unselect
        | C::Expunge
        | C::ExpungeUid { .. }
        | C::Search { .. }
        | C::Fetch { .. }
        | C::Store { .. }
        | C::Copy { .. }
        | C::Move { .. }
            if context.selected.is_none() =>
        {
            Ok(Reply::bad(NOTHING_SELECTED))
        }
        C::Check => Ok(Reply::completed()),
        C::Close => select::close(context).await,
        C::Unselect => Ok(select::unselect(context)),
        C::Expunge => copy::expunge(context, None).await,
        C::ExpungeUid { sequence_set } => copy::expunge(context, Some(&sequence_set)).await,
        C::Search { charset, criteria, uid } => search::search(context, wire, charset.as_ref(), criteria, uid).await,
        C::Fetch { sequence_set, macro_or_item_names, uid, modifiers } if modifiers.is_empty() => {
            fetch::fetch(context, wire, &sequence_set, macro_or_item_names, uid).await
        }
        C::Store { sequence_set, kind, response, flags, uid, modifiers } if modifiers.is_empty() => {
            store::store(context, wire, &sequence_set, kind, response, &flags, uid).await
        }
        C::Copy { sequence_set, mailbox, uid } => {
            copy::transfer(context, wire, Transfer::Copy, &sequence_set, &mailbox, uid).await
        }
        C::Move { sequence_set, mailbox, uid } => {
            copy::transfer(context, wire, Transfer::Move, &sequence_set, &mailbox, uid).await
        }
        // Extensions that the codec parses and CAPABILITY does not list.
        _ => Ok(Reply::bad(NOT_SUPPORTED)),
    }
}
