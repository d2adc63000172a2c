//! APPEND. RFC 3501 §6.3.11, RFC 4315 §3, RFC 5530 (OVERQUOTA).

use super::store::{flags_failed, read_flags};
use super::{BAD_NAME, NO_SUCH_MAILBOX};
use crate::clock::Timestamp;
use crate::imap::context::{CommandError, Context};
use crate::imap::wire::Refusal;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::values::{Flag, Mailbox};
use crate::message::fields::header_end;
use crate::message::{NUL_REFUSED, has_nul, with_crlf};
use crate::resources::spool::Incoming;
use crate::store::append::Append;
use crate::store::keywords::KeywordLimits;

const BINARY_REFUSED: &str = "binary content is not stored: lines must end in CRLF, encode the parts in base64";

/// How the octets of a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteralKind {
    /// `{n}`, and in `UTF8 (~{n})`.
    Text,
    /// `~{n}`: RFC 3516 §4.4.
    Binary,
}

/// APPEND.
pub async fn append(
    context: &mut Context<'_>,
    mailbox: &Mailbox,
    flags: &[Flag],
    date: Option<jiff::Timestamp>,
    message: Incoming,
    kind: LiteralKind,
) -> Result<Reply, CommandError> {
    let Some(name) = context.mailbox_name(mailbox) else { return Ok(Reply::no(BAD_NAME).code(Code::Cannot)) };
    let limits = KeywordLimits::from(&context.server.config.limits);
    let (flags, keywords) = match read_flags(flags, limits) {
        Ok(read) => read,
        Err(error) => return Ok(error.reply()),
    };
    let message = match message.into_message().await {
        Ok(message) => message,
        Err(error) => return Ok(Refusal::from(error).into()),
    };
    // RFC 3516 §4.3: what is binary is not stored.
    if has_nul(&message) {
        return Ok(Reply::no(NUL_REFUSED).code(Code::UnknownCte));
    }
    let limit = context.server.config.limits.message_size;
    let length = message.len();
    let message = match with_crlf(message) {
        // Line ends of binary content may not be changed.
        Ok(octets) if kind == LiteralKind::Binary && octets.len() != length => {
            return Ok(Reply::no(BINARY_REFUSED).code(Code::UnknownCte));
        }
        Err(_) if kind == LiteralKind::Binary => return Ok(Reply::no(BINARY_REFUSED).code(Code::UnknownCte)),
        Ok(octets) if octets.len() <= limit => octets,
        Ok(_) => return Ok(Refusal::MessageTooLong.into()),
        Err(error) => return Ok(Reply::no(error.to_string()).code(Code::Cannot)),
    };
    let end = header_end(&message);
    let (header, body) = (message.slice(..end), message.slice(end..));
    let internal_date = match date {
        Some(date) => Timestamp::from_millis(date.as_second().saturating_mul(1000)),
        None => Timestamp::real(),
    };
    let append = Append { flags, keywords: keywords.join(" "), internal_date, header, body };
    let done = match context.server.mailboxes.append(&context.login.inbox, &name, append).await {
        Ok(Some(done)) => done,
        Ok(None) => return Ok(Reply::no(NO_SUCH_MAILBOX).code(Code::TryCreate)),
        Err(error) => return flags_failed(error),
    };
    context.has_changed(done.mailbox);
    let code = Code::AppendUid { uid_validity: done.uid_validity, uids: vec![done.uid] };
    Ok(Reply::ok("appended").code(code))
}
