//! APPEND and REPLACE. RFC 9051 §6.3.12, RFC 4315 §3, RFC 5530 (OVERQUOTA), RFC 3502 (MULTIAPPEND), RFC 3516 §4.4 (literal8), RFC 4469
//! (CATENATE), RFC 8508 (REPLACE).
//!
//! Invariant: all messages of a command are stored or none. One of them is in memory at a time; of those before it, what is going to be
//! stored, and it is counted.

mod catenate;
mod url;

use self::catenate::{Pieces, catenated};
use super::store::{flags_failed, read_flags};
use super::{BAD_NAME, NO_SUCH_MAILBOX, NO_SUCH_MESSAGE, NOTHING_SELECTED, READ_ONLY, no_memory};
use crate::clock::Timestamp;
use crate::imap::context::{CommandError, Context};
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::append::{Append, Content, NewMessage, Replace};
use crate::imap::wire::values::SequenceSet;
use crate::imap::wire::{Refusal, Wire};
use crate::message::fields::header_end;
use crate::message::{NUL_REFUSED, has_nul, with_crlf};
use crate::resources::memory::Claim;
use crate::resources::spool::{Incoming, SpoolError};
use crate::resources::work::WorkError;
use crate::store::StoreError;
use crate::store::append::{Append as ToAppend, AppendError, AppendedAll, PreparedAppend, ReplacedMessage};
use crate::store::keywords::KeywordLimits;
use bytes::Bytes;

const BINARY_REFUSED: &str = "binary content is not stored: lines must end in CRLF, encode the parts in base64";

/// Why nothing is appended.
#[derive(Debug)]
enum Stop {
    Refused(Reply),
    Failed(CommandError),
}

impl From<Reply> for Stop {
    fn from(reply: Reply) -> Self {
        Self::Refused(reply)
    }
}

impl From<CommandError> for Stop {
    fn from(error: CommandError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<WorkError> for Stop {
    fn from(error: WorkError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SpoolError> for Stop {
    fn from(error: SpoolError) -> Self {
        Self::Refused(Refusal::from(error).into())
    }
}

/// How the octets of a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// `~{n}`: RFC 3516 §4.4.
    Binary,
}

/// The reply, or the failure.
fn reply(done: Result<Reply, Stop>) -> Result<Reply, CommandError> {
    match done {
        Ok(reply) | Err(Stop::Refused(reply)) => Ok(reply),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// APPEND. `literals` are the octets of its messages.
pub async fn append(
    context: &mut Context<'_>,
    wire: &mut Wire,
    command: Append,
    literals: Vec<Incoming>,
) -> Result<Reply, CommandError> {
    reply(append_all(context, wire, command, literals).await)
}

async fn append_all(
    context: &mut Context<'_>,
    wire: &mut Wire,
    Append { mailbox, messages }: Append,
    literals: Vec<Incoming>,
) -> Result<Reply, Stop> {
    let name = context.mailbox_name(&mailbox).ok_or_else(|| Reply::no(BAD_NAME).code(Code::Cannot))?;
    let mut preparing = Preparing::new(wire, literals);
    for message in messages {
        preparing.take(context, wire, message).await?;
    }
    let Preparing { prepared, claim, .. } = preparing;
    let stored = context.server.mailboxes.append_prepared(&context.login.inbox, &name, prepared).await;
    drop(claim);
    let AppendedAll { mailbox, uid_validity, uids } = stored.map_err(not_stored)?;
    context.has_changed(mailbox);
    Ok(Reply::ok("appended").code(Code::AppendUid { uid_validity, uids }))
}

/// REPLACE and UID REPLACE.
pub async fn replace(
    context: &mut Context<'_>,
    wire: &mut Wire,
    command: Replace,
    literals: Vec<Incoming>,
) -> Result<Reply, CommandError> {
    reply(replace_one(context, wire, command, literals).await)
}

async fn replace_one(
    context: &mut Context<'_>,
    wire: &mut Wire,
    Replace { replaced, mailbox, message, by_uid }: Replace,
    literals: Vec<Incoming>,
) -> Result<Reply, Stop> {
    let selected = context.selected.as_ref().ok_or_else(|| Reply::bad(NOTHING_SELECTED))?;
    let set = SequenceSet::Ranges(vec![(replaced, replaced)]);
    let uids = selected.select(&set, by_uid).map_err(|_| Reply::bad(NO_SUCH_MESSAGE))?;
    let uid = *uids.first().ok_or_else(|| Reply::no(NO_SUCH_MESSAGE).code(Code::NonExistent))?;
    if selected.read_only {
        return Err(Reply::no(READ_ONLY).into());
    }
    let replaced = ReplacedMessage { mailbox: selected.mailbox, uid };
    let name = context.mailbox_name(&mailbox).ok_or_else(|| Reply::no(BAD_NAME).code(Code::Cannot))?;
    let mut preparing = Preparing::new(wire, literals);
    preparing.take(context, wire, message).await?;
    let Preparing { prepared, claim, .. } = preparing;
    let stored = context.server.mailboxes.replace(&context.login.inbox, replaced, &name, prepared).await;
    drop(claim);
    let AppendedAll { mailbox, uid_validity, uids } = stored.map_err(not_stored)?;
    context.has_changed(mailbox);
    context.has_changed(replaced.mailbox);
    // RFC 8508 §3.3: before the EXPUNGE response.
    wire.writer().untagged_ok(Some(&Code::AppendUid { uid_validity, uids }), "the replacement is stored");
    Ok(Reply::completed())
}

fn not_stored(error: AppendError) -> Stop {
    match error {
        AppendError::NoSuchMailbox => Reply::no(NO_SUCH_MAILBOX).code(Code::TryCreate).into(),
        AppendError::NoSuchMessage => Reply::no(error.to_string()).code(Code::ExpungeIssued).into(),
        AppendError::TooMany => Reply::no(error.to_string()).code(Code::Limit).into(),
        AppendError::Flags(error) => match flags_failed(error) {
            Ok(reply) => reply.into(),
            Err(error) => error.into(),
        },
    }
}

/// The messages of a command, one after the other made ready to be stored.
struct Preparing {
    /// By the index of the literal; `None` once it was used.
    literals: Vec<Option<Incoming>>,
    prepared: Vec<PreparedAppend>,
    /// Their octets.
    octets: usize,
    claim: Claim,
    /// How many URLs there were.
    urls: usize,
}

impl Preparing {
    fn new(wire: &Wire, literals: Vec<Incoming>) -> Self {
        let literals = literals.into_iter().map(Some).collect();
        Self { literals, prepared: Vec::new(), octets: 0, claim: wire.claim(), urls: 0 }
    }

    async fn take(&mut self, context: &mut Context<'_>, wire: &mut Wire, message: NewMessage) -> Result<(), Stop> {
        let NewMessage { flags, date, content } = message;
        let limits = &context.server.config.limits;
        let read = read_flags(&flags, KeywordLimits::from(limits));
        let (flags, keywords) = read.map_err(|unknown| Stop::Refused(unknown.reply()))?;
        let (message, kind) = self.content(context, wire, content).await?;
        let octets = with_line_ends(message.into_message().await?, kind, limits.message_size)?;
        let end = header_end(&octets);
        // A copy, so that the octets can be dropped.
        let header = Bytes::copy_from_slice(octets.get(..end).unwrap_or_default());
        let internal_date = match date {
            Some(date) => Timestamp::from_millis(date.as_second().saturating_mul(1000)),
            None => Timestamp::real(),
        };
        let body = octets.slice(end..);
        drop(octets);
        let message = ToAppend { flags, keywords: keywords.join(" "), internal_date, header, body };
        let prepared = context.server.mailboxes.prepare(message).await?;
        self.octets = self.octets.saturating_add(prepared.memory());
        self.prepared.push(prepared);
        self.claim.grow_to(self.octets).map_err(|_| no_memory())?;
        Ok(())
    }

    /// The octets of a message.
    async fn content(
        &mut self,
        context: &mut Context<'_>,
        wire: &mut Wire,
        content: Content,
    ) -> Result<(Incoming, Kind), Stop> {
        Ok(match content {
            Content::Literal(spooled) => {
                let kind = if spooled.is_binary { Kind::Binary } else { Kind::Text };
                (self.literal(spooled.index)?, kind)
            }
            // RFC 6855 §4.
            Content::Utf8(_) if !context.enabled.takes_utf8() => {
                return Err(Reply::bad("UTF8 needs ENABLE UTF8=ACCEPT").into());
            }
            Content::Utf8(spooled) => (self.literal(spooled.index)?, Kind::Text),
            Content::Catenated(pieces) => {
                let pieces = Pieces { pieces, literals: &mut self.literals, urls: &mut self.urls };
                (catenated(context, wire, pieces).await?, Kind::Text)
            }
        })
    }

    fn literal(&mut self, index: usize) -> Result<Incoming, Stop> {
        let literal = self.literals.get_mut(index).and_then(Option::take);
        literal.ok_or_else(|| Reply::bad("the message is missing").into())
    }
}

/// The octets of a message as they are stored, with CRLF.
fn with_line_ends(octets: Bytes, kind: Kind, limit: usize) -> Result<Bytes, Reply> {
    // RFC 3502 §6.3.11: so a client cancels the command.
    if octets.is_empty() {
        return Err(Reply::no("an empty message is not stored").code(Code::Cannot));
    }
    // RFC 3516 §4.3: what is binary is not stored.
    if has_nul(&octets) {
        return Err(Reply::no(NUL_REFUSED).code(Code::UnknownCte));
    }
    let length = octets.len();
    match with_crlf(octets) {
        // Line ends of binary content may not be changed.
        Ok(octets) if kind == Kind::Binary && octets.len() != length => {
            Err(Reply::no(BINARY_REFUSED).code(Code::UnknownCte))
        }
        Err(_) if kind == Kind::Binary => Err(Reply::no(BINARY_REFUSED).code(Code::UnknownCte)),
        Ok(octets) if octets.len() > limit => Err(Refusal::MessageTooLong.into()),
        Ok(octets) => Ok(octets),
        Err(bare) => Err(Reply::no(bare.to_string()).code(Code::Cannot)),
    }
}
