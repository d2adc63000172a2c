//! STORE. RFC 3501 §6.4.6.

use super::fetch::push_flags;
use super::{Fault, NO_SUCH_MESSAGE, READ_ONLY};
use crate::imap::response::{Answer, other};
use crate::imap::session::Session;
use crate::imap::wire::Wire;
use crate::store::mailbox_changes::FlagChange;
use crate::store::messages::Flags;
use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::sequence::SequenceSet;

/// Keywords that one command may name, and their octets.
const KEYWORDS: usize = 32;
const KEYWORD_LENGTH: usize = 64;
/// Messages in one transaction: others' mail waits for it.
const AT_ONCE: usize = 500;

/// More or longer keywords than a message may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooManyKeywords;

/// Why a list of flags cannot be set.
#[derive(Clone, Copy, Debug)]
pub(super) enum UnknownFlag {
    /// A system flag that there is none of, `\Recent` too.
    System,
    /// Keywords over the limits.
    Keywords(TooManyKeywords),
}

/// System flags and keywords of a list.
pub(super) fn read_flags(list: &[Flag<'_>]) -> Result<(Flags, Vec<String>), UnknownFlag> {
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
                if keywords.len() >= KEYWORDS || keyword.len() > KEYWORD_LENGTH {
                    return Err(UnknownFlag::Keywords(TooManyKeywords));
                }
                if !keywords.iter().any(|known| known.eq_ignore_ascii_case(keyword)) {
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
        let Some(view) = &mut self.selected else { return Ok(Answer::bad(super::NOTHING_SELECTED)) };
        let Ok(uids) = view.select(set, by_uid) else { return Ok(Answer::bad(NO_SUCH_MESSAGE)) };
        if view.read_only {
            return Ok(Answer::no(READ_ONLY));
        }
        let (flags, keywords) = match read_flags(flags) {
            Ok(read) => read,
            Err(UnknownFlag::System) => return Ok(Answer::bad("there is no such flag")),
            Err(UnknownFlag::Keywords(TooManyKeywords)) => {
                return Ok(Answer::no("too many keywords").code(other("LIMIT")));
            }
        };
        let change = match kind {
            StoreType::Replace => FlagChange::Replace,
            StoreType::Add => FlagChange::Add,
            StoreType::Remove => FlagChange::Remove,
        };
        let (mailbox, mut missing) = (view.mailbox, false);
        for batch in uids.chunks(AT_ONCE) {
            let after = self
                .door
                .store
                .messages_flag(&self.login.inbox, mailbox, batch.to_vec(), change, flags, keywords.clone())
                .await?;
            missing |= after.len() < batch.len();
            for marks in after {
                // Silent about what the client can know by itself; another session may have changed more.
                let expected = view.marks(marks.uid).map(|known| change.apply(&known, flags, &keywords));
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
        if !uids.is_empty() {
            self.publish(mailbox);
        }
        // RFC 2180 §4.2.1: the others are done.
        if missing && !by_uid {
            return Ok(Answer::no("some of these messages are gone").code(other("EXPUNGEISSUED")));
        }
        Ok(Answer::ok("done"))
    }
}
