//! The commands, a file for each family.
//!
//! Invariant: a command does all of its work or answers NO; what it changed is on disk before its OK.

mod append;
mod copy;
pub(super) mod fetch;
mod idle;
mod mailboxes;
pub(super) mod search;
mod select;
mod store;

use super::not_authenticated::id;
use super::response::{Answer, Phase, capabilities, capability, other};
use super::session::Session;
use super::wire::Wire;
use crate::resources::memory::Claim;
use crate::resources::work::WorkError;
use crate::store::StoreError;
use crate::store::keywords::FlagError;
use crate::store::open_mailbox::Fetched;
use bytes::Bytes;
use imap_codec::imap_types::command::CommandBody;

/// Why a command came to nothing, and not by the client's fault.
#[derive(Debug)]
pub(super) enum Fault {
    /// The store failed: `NO [UNAVAILABLE]`.
    Store(StoreError),
    /// Heavy work was cut off, or failed by a bug of ours: `NO [UNAVAILABLE]`.
    Work(WorkError),
    /// The client cannot be reached any more.
    Wire(std::io::Error),
    /// The open mailbox has been deleted: BYE (RFC 2180 §3.3).
    MailboxGone,
    /// The client was silent for too long in an IDLE.
    Silent,
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WorkError> for Fault {
    fn from(error: WorkError) -> Self {
        Self::Work(error)
    }
}

impl From<FlagError> for Fault {
    fn from(error: FlagError) -> Self {
        match error {
            FlagError::Store(error) => Self::Store(error),
            // Only keywords can be too many, or too large.
            other => Self::Store(StoreError::Corrupt(other.to_string())),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Wire(error)
    }
}

const NOTHING_SELECTED: &str = "select a mailbox first";
const NO_SUCH_MESSAGE: &str = "there is no message of this number";
const READ_ONLY: &str = "this mailbox was opened read-only";
const BAD_NAME: &str = "this is no name a mailbox can have";

/// The inbox has no room for it (RFC 5530).
fn over_quota() -> Answer {
    Answer::no("the inbox is full").code(other("OVERQUOTA"))
}

/// The budget of memory is used up.
fn no_memory() -> Answer {
    Answer::no("no memory for this now, try again later").code(other("UNAVAILABLE"))
}

/// Makes a claim that of these messages. False where there is no room for them.
fn counted(claim: &mut Claim, messages: &[Fetched]) -> bool {
    let octets = messages.iter().map(|message| message.header.len() + message.body.len()).sum();
    claim.shrink_to(octets);
    claim.grow_to(octets).is_ok()
}

/// Does a command. LOGOUT is the session's own.
pub(super) async fn dispatch(
    session: &mut Session<'_>,
    wire: &mut Wire,
    body: CommandBody<'static>,
    message: Option<Bytes>,
) -> Result<Answer, Fault> {
    use CommandBody as C;
    match body {
        C::Capability => {
            wire.push(&capability(capabilities(Phase::User)));
            Ok(Answer::ok("done"))
        }
        C::Noop => Ok(Answer::ok("done")),
        C::Id { .. } => {
            wire.push(&id());
            Ok(Answer::ok("done"))
        }
        C::StartTLS | C::Login { .. } | C::Authenticate { .. } => Ok(Answer::bad("already logged in")),

        C::List { reference, mailbox_wildcard } => session.list(wire, &reference, &mailbox_wildcard).await,
        C::Lsub { reference, mailbox_wildcard } => session.lsub(wire, &reference, &mailbox_wildcard).await,
        C::Namespace => Ok(mailboxes::namespace(wire)),
        C::Create { mailbox } => session.create(&mailbox).await,
        C::Delete { mailbox } => session.delete(&mailbox).await,
        C::Rename { from, to } => session.rename(&from, &to).await,
        C::Subscribe { mailbox } => session.subscribe(&mailbox, true).await,
        C::Unsubscribe { mailbox } => session.subscribe(&mailbox, false).await,
        C::Status { mailbox, item_names } => session.status(wire, &mailbox, &item_names).await,
        C::Append { mailbox, flags, date, .. } => session.append(&mailbox, &flags, date.as_ref(), message).await,

        C::Select { mailbox, parameters } if parameters.is_empty() => session.select(wire, &mailbox, false).await,
        C::Examine { mailbox, parameters } if parameters.is_empty() => session.select(wire, &mailbox, true).await,
        C::Idle => session.idle(wire).await,

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
            if session.selected.is_none() =>
        {
            Ok(Answer::bad(NOTHING_SELECTED))
        }
        C::Check => Ok(Answer::ok("done")),
        C::Close => session.close().await,
        C::Unselect => Ok(session.unselect()),
        C::Expunge => session.expunge(None).await,
        C::ExpungeUid { sequence_set } => session.expunge(Some(&sequence_set)).await,
        C::Search { charset, criteria, uid } => session.search(wire, charset.as_ref(), criteria, uid).await,
        C::Fetch { sequence_set, macro_or_item_names, uid, modifiers } if modifiers.is_empty() => {
            session.fetch(wire, &sequence_set, macro_or_item_names, uid).await
        }
        C::Store { sequence_set, kind, response, flags, uid, modifiers } if modifiers.is_empty() => {
            session.store(wire, &sequence_set, kind, response, &flags, uid).await
        }
        C::Copy { sequence_set, mailbox, uid } => session.copy(wire, &sequence_set, &mailbox, uid, false).await,
        C::Move { sequence_set, mailbox, uid } => session.copy(wire, &sequence_set, &mailbox, uid, true).await,
        // What the codec reads and CAPABILITY does not offer.
        _ => Ok(Answer::bad("this is not offered here")),
    }
}
