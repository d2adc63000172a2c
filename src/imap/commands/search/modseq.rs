//! The key MODSEQ. RFC 7162 §3.1.5, §3.1.6.
//!
//! A message has one mod-sequence for all its flags: the metadata item that the key may name does not matter.

use super::super::known_modseq;
use super::results::saved;
use crate::imap::context::{CommandError, Context};
use crate::imap::selected::SelectedMailbox;
use crate::imap::wire::syntax::search::ReturnOptions;
use crate::imap::wire::syntax::search_keys::SearchKey;
use crate::store::uid_ranges::UidRanges;

/// UIDs of messages that some MODSEQ of a search may match, ascending, and their mod-sequences.
#[derive(Debug, Default)]
pub(super) struct ModSeqs(Vec<(u32, i64)>);

/// The lowest mod-sequence that a search names.
fn lowest(key: &SearchKey) -> Option<u64> {
    match key {
        SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().filter_map(lowest).min(),
        SearchKey::Not(key) => lowest(key),
        SearchKey::ModSeq(_, modseq) => Some(*modseq),
        _ => None,
    }
}

/// Whether a search names a mod-sequence.
pub(super) fn is_in(key: &SearchKey) -> bool {
    lowest(key).is_some()
}

/// The messages of a mailbox that have at least the lowest mod-sequence of a search; none if it names none.
pub(super) async fn read(
    context: &Context<'_>,
    selected: &SelectedMailbox,
    key: &SearchKey,
) -> Result<ModSeqs, CommandError> {
    let Some(lowest) = lowest(key) else { return Ok(ModSeqs::default()) };
    of_messages(context, selected, UidRanges::up_to(u32::MAX), known_modseq(lowest).saturating_sub(1)).await
}

async fn of_messages(
    context: &Context<'_>,
    selected: &SelectedMailbox,
    within: UidRanges,
    since: i64,
) -> Result<ModSeqs, CommandError> {
    let (store, inbox) = (&context.server.store, &context.login.inbox);
    let (changed, modseqs) = store.messages_changed(inbox, selected.mailbox, within, since).await?;
    Ok(ModSeqs(changed.uids.into_iter().zip(modseqs).collect()))
}

/// The highest mod-sequence of the messages that were found in a mailbox, where the search names one; `None` of none. With `MIN` or
/// `MAX` alone, of these messages (RFC 4731 §3.2).
pub(super) async fn highest(
    context: &Context<'_>,
    mailbox: Option<&SelectedMailbox>,
    key: &SearchKey,
    options: Option<&ReturnOptions>,
    found: &[u32],
) -> Result<Option<u64>, CommandError> {
    let Some(mailbox) = mailbox.filter(|_| is_in(key)) else { return Ok(None) };
    let mut returned = options.map_or_else(|| found.to_vec(), |options| saved(options, found.to_vec()));
    returned.sort_unstable();
    let within = returned.into_iter().collect();
    let of_found = of_messages(context, mailbox, within, 0).await?;
    Ok(of_found.0.into_iter().map(|(_, modseq)| modseq.unsigned_abs()).max())
}

impl ModSeqs {
    /// Ranges of UIDs with at least this mod-sequence.
    pub fn at_least(&self, modseq: u64) -> Vec<(u32, u32)> {
        let modseq = known_modseq(modseq);
        let matching = self.0.iter().filter(|(_, of_message)| *of_message >= modseq);
        let ranges: UidRanges = matching.map(|(uid, _)| *uid).collect();
        ranges.iter().map(|range| (*range.start(), *range.end())).collect()
    }
}
