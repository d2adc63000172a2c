//! GETMETADATA and SETMETADATA. RFC 5464.

use super::{BAD_NAME, NO_SUCH_MAILBOX, no_memory};
use crate::imap::context::{CommandError, Context};
use crate::imap::names;
use crate::imap::wire::Wire;
use crate::imap::wire::code::{Code, MetadataCode};
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::metadata::{Depth, GetMetadata, SetMetadata};
use crate::imap::wire::values::Mailbox;
use crate::store::metadata::{Annotated, EntryDepth, EntryName, MetadataError};

/// Entries in one command.
const ENTRIES: usize = 100;
/// Entries in one response.
const AT_ONCE: usize = 10;

/// What has the entries that a command names, and the name of the mailbox as it is stored. The empty name is the whole inbox.
fn annotated(context: &Context<'_>, mailbox: &Mailbox) -> Option<(Annotated, String)> {
    if mailbox.0.is_empty() {
        return Some((Annotated::Inbox, String::new()));
    }
    let name = context.mailbox_name(mailbox)?;
    Some((Annotated::Mailbox(name.clone()), name))
}

/// The name of an entry as it was sent; `Err`: the reply to an invalid one.
pub(super) fn entry_name(octets: &[u8]) -> Result<EntryName, Reply> {
    let name = String::from_utf8_lossy(octets);
    let invalid = || Reply::bad(format!("invalid entry name {name:?}, use /private/… or /shared/… (RFC 5464)"));
    EntryName::parse(&name).ok_or_else(invalid)
}

/// The names of entries, no more than a command may have.
pub(super) fn entry_names<'a>(names: impl ExactSizeIterator<Item = &'a Vec<u8>>) -> Result<Vec<EntryName>, Reply> {
    if names.len() > ENTRIES {
        return Err(Reply::no(format!("too many metadata entries, the limit is {ENTRIES}")).code(Code::Limit));
    }
    names.map(|name| entry_name(name)).collect()
}

/// GETMETADATA.
pub async fn get(context: &mut Context<'_>, wire: &mut Wire, command: GetMetadata) -> Result<Reply, CommandError> {
    let Some((of, name)) = annotated(context, &command.mailbox) else {
        return Ok(Reply::no(BAD_NAME).code(Code::Cannot));
    };
    let names = match entry_names(command.entries.iter()) {
        Ok(names) => names,
        Err(refused) => return Ok(refused),
    };
    let depth = match command.depth {
        Depth::Zero => EntryDepth::Zero,
        Depth::One => EntryDepth::One,
        Depth::Infinity => EntryDepth::Infinity,
    };
    let mut found = match context.server.store.metadata(&context.login.inbox, of, names, depth).await {
        Ok(found) => found,
        Err(error) => return refused(error),
    };
    let limit = command.max_size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
    let longest = found.iter().map(|(_, value)| value.len()).filter(|length| *length > limit).max();
    found.retain(|(_, value)| value.len() <= limit);
    let mut claim = wire.claim();
    if claim.grow_to(found.iter().map(|(_, value)| value.len()).sum()).is_err() {
        return Ok(no_memory());
    }
    let utf8 = context.enabled.takes_utf8();
    let mailbox = names::write(&name, utf8);
    for entries in found.chunks(AT_ONCE) {
        let entries = entries.iter().map(|(entry, value)| (entry.as_str(), Some(value.as_slice())));
        wire.writer_for(utf8).metadata(&mailbox, entries);
        wire.flush_batch().await?;
    }
    let reply = Reply::completed();
    Ok(match longest.and_then(|longest| u64::try_from(longest).ok()) {
        Some(longest) => reply.code(Code::Metadata(MetadataCode::LongEntries(longest))),
        None => reply,
    })
}

/// SETMETADATA: all entries are set, or none.
pub async fn set(context: &mut Context<'_>, command: SetMetadata) -> Result<Reply, CommandError> {
    let Some((of, _)) = annotated(context, &command.mailbox) else {
        return Ok(Reply::no(BAD_NAME).code(Code::Cannot));
    };
    let names = match entry_names(command.entries.iter().map(|(name, _)| name)) {
        Ok(names) => names,
        Err(refused) => return Ok(refused),
    };
    let entries = names.into_iter().zip(command.entries.into_iter().map(|(_, value)| value)).collect();
    match context.server.mailboxes.set_metadata(&context.login.inbox, of, entries).await {
        Ok(()) => Ok(Reply::completed()),
        Err(error) => refused(error),
    }
}

fn refused(error: MetadataError) -> Result<Reply, CommandError> {
    let text = error.to_string();
    let number = |limit: usize| u64::try_from(limit).unwrap_or(u64::MAX);
    Ok(match error {
        MetadataError::NoSuchMailbox => Reply::no(NO_SUCH_MAILBOX).code(Code::NonExistent),
        MetadataError::IsRoot(_) => Reply::bad(text),
        MetadataError::TooLarge(limit) => Reply::no(text).code(Code::Metadata(MetadataCode::MaxSize(number(limit)))),
        MetadataError::TooMany(_) => Reply::no(text).code(Code::Metadata(MetadataCode::TooMany)),
        MetadataError::Store(error) => return Err(error.into()),
    })
}
