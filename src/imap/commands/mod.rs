//! The commands after log-in, a file for each family.
//!
//! Invariant: OK means that all of the command is done, and on disk.

mod append;
mod copy;
mod enable;
mod fetch;
mod idle;
mod list;
mod mailboxes;
mod metadata;
pub(super) mod notify;
mod quota;
mod search;
mod select;
mod status;
mod store;

use super::context::{CommandError, Context, Enabled};
use super::wire::Wire;
use super::wire::capability::Phase;
use super::wire::code::Code;
use super::wire::command::{Body, Row, State};
use super::wire::frame::Tag;
use super::wire::response::Reply;
use super::wire::syntax::select::Select;
use crate::auth::login::Permissions;
use crate::resources::memory::Claim;
use crate::resources::spool::Incoming;
use crate::store::open_mailbox::Fetched;
use copy::Kind;

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

/// A mod-sequence that the client sent. No higher one is ever assigned than the highest that can be stored.
fn known_modseq(modseq: u64) -> i64 {
    i64::try_from(modseq).unwrap_or(i64::MAX)
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

/// COMPRESS DEFLATE: the loop of commands begins with it once the reply is written (RFC 4978 §3).
fn compress(wire: &Wire, algorithm: &str) -> Reply {
    match wire.is_compressed() {
        _ if algorithm != "DEFLATE" => Reply::bad(NOT_SUPPORTED),
        true => Reply::no("the connection is compressed already").code(Code::CompressionActive),
        false => Reply::ok("compression begins now"),
    }
}

/// Runs a command, other than LOGOUT. `messages` are those in its literals.
pub(super) async fn dispatch(
    context: &mut Context<'_>,
    wire: &mut Wire,
    (tag, row): (&Tag, &Row),
    body: Body,
    messages: Vec<Incoming>,
) -> Result<Reply, CommandError> {
    let may_change = context.login.permissions.contains(Permissions::MESSAGES_WRITE);
    if !may_change && row.changes {
        return Ok(Reply::no("this API token may not change messages (messages:write)").code(Code::NoPerm));
    }
    // RFC 9586 §3.
    if context.enabled.contains(Enabled::UIDONLY) && row.by_sequence {
        return Ok(Reply::bad("messages are named by UID once UIDONLY is enabled").code(Code::UidRequired));
    }
    if row.state == State::Selected && context.selected.is_none() {
        return Ok(Reply::bad(NOTHING_SELECTED));
    }
    match body {
        Body::Capability => {
            wire.writer().capability(Phase::Authenticated);
            Ok(Reply::completed())
        }
        Body::Compress(algorithm) => Ok(compress(wire, &algorithm)),
        Body::Enable(names) => Ok(enable::enable(context, wire, &names)),
        Body::Id => {
            wire.writer().id();
            Ok(Reply::completed())
        }
        Body::Noop | Body::Check => Ok(Reply::completed()),
        Body::List(list) => list::list(context, wire, list).await,
        Body::Lsub { reference, pattern } => list::lsub(context, wire, &reference, &pattern).await,
        Body::Namespace => Ok(mailboxes::namespace(wire)),
        Body::Create(create) => mailboxes::create(context, wire, &create).await,
        Body::Delete(mailbox) => mailboxes::delete(context, &mailbox).await,
        Body::Rename { from, to } => mailboxes::rename(context, &from, &to).await,
        Body::Subscribe(mailbox) => mailboxes::subscribe(context, &mailbox, true).await,
        Body::Unsubscribe(mailbox) => mailboxes::subscribe(context, &mailbox, false).await,
        Body::Status(status) => status::status(context, wire, &status).await,
        Body::Append(command) => append::append(context, wire, command, messages).await,
        Body::Replace(command) => append::replace(context, wire, command, messages).await,
        Body::Select(select) => {
            let read_only = select.read_only || !may_change;
            select::select(context, wire, Select { read_only, ..select }).await
        }
        Body::GetQuota { root } => quota::get_quota(context, wire, &root).await,
        Body::GetQuotaRoot(mailbox) => quota::get_quota_root(context, wire, &mailbox).await,
        Body::SetQuota(_) => Ok(quota::set_quota()),
        Body::GetMetadata(command) => metadata::get(context, wire, command).await,
        Body::SetMetadata(command) => metadata::set(context, command).await,
        Body::Notify(command) => notify::notify(context, wire, command).await,
        Body::Idle => idle::idle(context, wire).await,
        Body::Close => select::close(context).await,
        Body::Unselect => Ok(select::unselect(context)),
        Body::Expunge(set) => copy::expunge(context, set.as_ref()).await,
        Body::Search(search) => search::search(context, wire, tag, search).await,
        Body::MultiSearch(search) => search::multi_search(context, wire, tag, search).await,
        Body::Sort(sort) => search::sort(context, wire, tag, sort).await,
        Body::Thread(thread) => search::thread(context, wire, tag, thread).await,
        Body::Fetch(fetch) => fetch::fetch(context, wire, fetch).await,
        Body::Store(store) => store::store(context, wire, store).await,
        Body::Copy(transfer) => copy::transfer(context, wire, Kind::Copy, transfer).await,
        Body::Move(transfer) => copy::transfer(context, wire, Kind::Move, transfer).await,
        // Not offered, or not allowed after log-in.
        _ => Ok(Reply::bad(NOT_SUPPORTED)),
    }
}
