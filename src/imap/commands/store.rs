//! STORE. RFC 3501 §6.4.6.

use super::fetch::push_flags;
use super::{Fault, NO_SUCH_MESSAGE, READ_ONLY, over_quota};
use crate::imap::response::{Answer, other};
use crate::imap::session::Session;
use crate::imap::wire::Wire;
use crate::store::keywords::{FlagError, KeywordLimits};
use crate::store::mailbox_changes::{FlagChange, FlagUpdate};
use crate::store::messages::Flags;
use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::sequence::SequenceSet;

/// Messages in one transaction: others' mail waits for it.
const AT_ONCE: usize = 500;

/// Why a list of flags cannot be set.
#[derive(Clone, Copy, Debug)]
pub(super) enum UnknownFlag {
    /// A system flag that there is none of, `\Recent` too.
    System,
    /// More keywords than a message may have.
    TooMany(usize),
    /// A keyword is longer than it may be.
    TooLong(usize),
}

impl UnknownFlag {
    pub fn answer(self) -> Answer {
        match self {
            Self::System => Answer::bad("there is no such flag"),
            Self::TooMany(limit) => {
                let text = format!("a message has at most {limit} keywords (limits.keywords_per_message)");
                Answer::no(text).code(other("LIMIT"))
            }
            Self::TooLong(limit) => {
                let text = format!("a keyword has at most {limit} octets (limits.keyword_length)");
                Answer::no(text).code(other("LIMIT"))
            }
        }
    }
}

/// The answer where messages did not get their flags.
pub(super) fn not_set(error: FlagError) -> Result<Answer, Fault> {
    match error {
        FlagError::Full => Ok(over_quota()),
        FlagError::TooManyOfMessage(_) | FlagError::TooManyOfMailbox(_) => {
            Ok(Answer::no(error.to_string()).code(other("LIMIT")))
        }
        FlagError::Store(error) => Err(error.into()),
    }
}

/// System flags and keywords of a list.
pub(super) fn read_flags(list: &[Flag<'_>], limits: KeywordLimits) -> Result<(Flags, Vec<String>), UnknownFlag> {
    let (mut flags, mut keywords) = (Flags::default(), Vec::<String>::new());
    for flag in list {
        match flag {
            Flag::Seen => flags = flags.with(Flags::SEEN),
            Flag::Answered => flags = flags.with(Flags::ANSWERED),
            Flag::Flagged => flags = flags.with(Flags::FLAGGED),
            Flag::Deleted => flags = flags.with(Flags::DELETED),
            Flag::Draft => flags = flags.with(Flags::DRAFT),
            Flag::Extension(_) => return Err(UnknownFlag::System),
            Flag::Keyword(keyword) => {
                let keyword = keyword.inner();
                if keyword.len() > limits.length {
                    return Err(UnknownFlag::TooLong(limits.length));
                }
                if !keywords.iter().any(|known| known.eq_ignore_ascii_case(keyword)) {
                    if keywords.len() >= limits.per_message {
                        return Err(UnknownFlag::TooMany(limits.per_message));
                    }
                    keywords.push(keyword.to_owned());
                }
            }
        }
    }
    Ok((flags, keywords))
}

impl Session<'_> {
    /// STORE and UID STORE.
    pub async fn store(
        &mut self,
        wire: &mut Wire,
        set: &SequenceSet,
        kind: StoreType,
        response: StoreResponse,
        flags: &[Flag<'_>],
        by_uid: bool,
    ) -> Result<Answer, Fault> {
        let (mailboxes, inbox, changed) = (&self.server.mailboxes, &self.login.inbox, self.changed);
        let Some(view) = &mut self.selected else { return Ok(Answer::bad(super::NOTHING_SELECTED)) };
        let Ok(uids) = view.select(set, by_uid) else { return Ok(Answer::bad(NO_SUCH_MESSAGE)) };
        if view.read_only {
            return Ok(Answer::no(READ_ONLY));
        }
        let limits = KeywordLimits::from(&self.server.config.limits);
        let (flags, keywords) = match read_flags(flags, limits) {
            Ok(read) => read,
            Err(error) => return Ok(error.answer()),
        };
        let change = match kind {
            StoreType::Replace => FlagChange::Replace,
            StoreType::Add => FlagChange::Add,
            StoreType::Remove => FlagChange::Remove,
        };
        let update = FlagUpdate { change, flags, keywords };
        let (mailbox, mut missing, mut refused) = (view.mailbox, false, None);
        for batch in uids.chunks(AT_ONCE) {
            let after = match mailboxes.set_flags(inbox, mailbox, batch.to_vec(), update.clone()).await {
                Ok(after) => after,
                Err(error) => {
                    // Those of the batches before have their flags.
                    refused = Some(not_set(error)?);
                    break;
                }
            };
            changed.set_for(mailbox);
            missing |= after.len() < batch.len();
            for marks in after {
                // Silent about what the client can know by itself; another session may have changed more.
                let expected = view.marks(marks.uid).map(|known| update.apply(&known));
                let is_expected = expected.as_ref() == Some(&marks);
                view.note(&marks);
                if (response == StoreResponse::Answer || !is_expected)
                    && let Some(sequence) = view.sequence_number(marks.uid)
                {
                    push_flags(wire, view, sequence, &marks);
                }
            }
            wire.flush_batch().await?;
        }
        if let Some(answer) = refused {
            return Ok(answer);
        }
        // RFC 2180 §4.2.1: the others are done.
        if missing && !by_uid {
            return Ok(Answer::no("some of these messages are gone").code(other("EXPUNGEISSUED")));
        }
        Ok(Answer::ok("done"))
    }
}
