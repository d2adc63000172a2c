//! STORE. RFC 3501 §6.4.6; RFC 7162 §3.1.3 (UNCHANGEDSINCE).

use super::{EXPUNGED, NO_SUCH_MESSAGE, READ_ONLY, known_modseq, over_quota};
use crate::imap::context::{CommandError, Context, Enabled};
use crate::imap::flags::{push_flags, push_modseq};
use crate::imap::updates::enable_condstore;
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::store::{Change, Store};
use crate::imap::wire::values::Flag;
use crate::store::keywords::{FlagError, KeywordLimits};
use crate::store::mailbox_changes::{FlagChange, FlagUpdate};
use crate::store::messages::Flags;

/// Messages in one transaction, for which all other writes wait.
const AT_ONCE: usize = 500;

/// Why a list of flags is refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum UnknownFlag {
    /// An unknown system flag, or `\Recent`.
    System,
    /// More keywords than `limits.keywords_per_message`.
    TooMany(usize),
    /// A keyword longer than `limits.keyword_length`.
    TooLong(usize),
}

impl UnknownFlag {
    pub fn reply(self) -> Reply {
        match self {
            Self::System => Reply::bad("invalid system flag"),
            Self::TooMany(limit) => {
                let text = format!("too many keywords, a message has at most {limit} (limits.keywords_per_message)");
                Reply::no(text).code(Code::Limit)
            }
            Self::TooLong(limit) => {
                let text = format!("keyword too long, the limit is {limit} octets (limits.keyword_length)");
                Reply::no(text).code(Code::Limit)
            }
        }
    }
}

/// The reply when flags could not be set.
pub(super) fn flags_failed(error: FlagError) -> Result<Reply, CommandError> {
    match error {
        FlagError::Full => Ok(over_quota()),
        FlagError::TooManyOfMessage(_) | FlagError::TooManyOfMailbox(_) => {
            Ok(Reply::no(error.to_string()).code(Code::Limit))
        }
        FlagError::Store(error) => Err(error.into()),
    }
}

/// The system flags and keywords of a list.
pub(super) fn read_flags(list: &[Flag], limits: KeywordLimits) -> Result<(Flags, Vec<String>), UnknownFlag> {
    let (mut flags, mut keywords) = (Flags::default(), Vec::<String>::new());
    for flag in list {
        match flag {
            Flag::Seen => flags = flags.union(Flags::SEEN),
            Flag::Answered => flags = flags.union(Flags::ANSWERED),
            Flag::Flagged => flags = flags.union(Flags::FLAGGED),
            Flag::Deleted => flags = flags.union(Flags::DELETED),
            Flag::Draft => flags = flags.union(Flags::DRAFT),
            Flag::OtherSystem(_) => return Err(UnknownFlag::System),
            Flag::Keyword(keyword) => {
                if keyword.len() > limits.length {
                    return Err(UnknownFlag::TooLong(limits.length));
                }
                if !keywords.iter().any(|known| known.eq_ignore_ascii_case(keyword)) {
                    if keywords.len() >= limits.per_message {
                        return Err(UnknownFlag::TooMany(limits.per_message));
                    }
                    keywords.push(keyword.clone());
                }
            }
        }
    }
    Ok((flags, keywords))
}

/// STORE and UID STORE.
pub async fn store(context: &mut Context<'_>, wire: &mut Wire, command: Store) -> Result<Reply, CommandError> {
    let Store { set, change, is_silent, flags, by_uid, unchanged_since } = command;
    let unchanged_since = unchanged_since.map(known_modseq);
    if unchanged_since.is_some() {
        enable_condstore(context, wire);
    }
    let enabled = context.enabled;
    let (mailboxes, inbox, changed) = (&context.server.mailboxes, &context.login.inbox, context.changed);
    let Some(selected) = &mut context.selected else { return Ok(Reply::bad(super::NOTHING_SELECTED)) };
    let Ok(uids) = selected.select(&set, by_uid) else { return Ok(Reply::bad(NO_SUCH_MESSAGE)) };
    if selected.read_only {
        return Ok(Reply::no(READ_ONLY));
    }
    let limits = KeywordLimits::from(&context.server.config.limits);
    let (flags, keywords) = match read_flags(&flags, limits) {
        Ok(read) => read,
        Err(error) => return Ok(error.reply()),
    };
    let change = match change {
        Change::Replace => FlagChange::Replace,
        Change::Add => FlagChange::Add,
        Change::Remove => FlagChange::Remove,
    };
    let update = FlagUpdate { change, flags, keywords };
    let (mailbox, mut missing, mut refused, mut modified) = (selected.mailbox, false, None, Vec::new());
    for batch in uids.chunks(AT_ONCE) {
        let flagging =
            mailboxes.set_flags_of_unchanged(inbox, mailbox, batch.to_vec(), unchanged_since, update.clone());
        let after = match flagging.await {
            Ok(after) => after,
            Err(error) => {
                // The earlier batches are done.
                refused = Some(flags_failed(error)?);
                break;
            }
        };
        changed.set_for(mailbox);
        missing |= after.messages.len() + after.changed.len() < batch.len();
        for (flags, modseq) in after.messages {
            // With .SILENT, only flags that another session has changed are sent.
            let expected = selected.flags(flags.uid).map(|known| update.apply(&known));
            let is_expected = expected.as_ref() == Some(&flags);
            selected.set_flags(&flags);
            match is_silent && is_expected {
                false => push_flags(wire, selected, &flags, modseq, enabled),
                true if enabled.contains(Enabled::CONDSTORE) => push_modseq(wire, selected, flags.uid, modseq, enabled),
                true => {}
            }
        }
        modified.extend(after.changed);
        wire.flush_batch().await?;
    }
    // The client learns why, and need not ask.
    if let (Some(since), false) = (unchanged_since, modified.is_empty()) {
        let within = modified.iter().copied().collect();
        let (changed, modseqs) = context.server.store.messages_changed(inbox, mailbox, within, since).await?;
        for (flags, modseq) in changed.iter().zip(modseqs) {
            selected.set_flags(&flags);
            push_flags(wire, selected, &flags, modseq, enabled);
            wire.flush_batch().await?;
        }
    }
    if let Some(reply) = refused {
        return Ok(reply);
    }
    let number = |uid: &u32| if by_uid { Some(*uid) } else { selected.sequence_number(*uid) };
    let failed: Vec<u32> = modified.iter().filter_map(number).collect();
    // RFC 2180 §4.2.1: the flags of the others are set.
    let reply = match missing && !by_uid {
        true => Reply::no(EXPUNGED).code(Code::ExpungeIssued),
        false => Reply::completed(),
    };
    Ok(if failed.is_empty() { reply } else { reply.code(Code::Modified(failed)) })
}
