//! What orders and threads are made of: facts of each message that was found.
//!
//! Invariant: they are counted against the budget of memory for as long as they are kept.

use super::super::no_memory;
use super::find::{Finder, MESSAGES, Stop};
use crate::imap::selected::SelectedMailbox;
use crate::imap::wire::Wire;
use crate::message::ReadLimits;
use crate::message::date::date;
use crate::message::fields::Header;
use crate::resources::memory::Claim;
use crate::resources::work::WorkError;
use crate::store::open_mailbox::{Depth, Fetched};
use std::sync::Arc;

/// Facts of one message.
pub(super) trait Facts: Sized + Send + 'static {
    /// What is read of each.
    type Wanted: Send + Sync + 'static;

    fn of(message: &Fetched, limits: &ReadLimits, wanted: &Self::Wanted) -> Self;

    /// Octets of memory.
    fn memory(&self) -> usize;
}

/// The facts of messages with their UIDs, ascending. Messages that have been expunged meanwhile are left out.
pub(super) struct Known<F> {
    pub of: Vec<(u32, F)>,
    /// For the memory they take.
    pub claim: Claim,
}

/// Reads the facts of messages, UIDs ascending, as deep as they need.
pub(super) async fn read<F: Facts>(
    finder: &mut Finder<'_>,
    wire: &mut Wire,
    selected: &SelectedMailbox,
    uids: &[u32],
    (depth, wanted): (Depth, F::Wanted),
) -> Result<Known<F>, Stop> {
    let wanted = Arc::new(wanted);
    let (mut of_batch, mut claim) = (wire.claim(), wire.claim());
    let (mut known, mut memory, mut rest) = (Vec::new(), 0_usize, uids);
    while !rest.is_empty() {
        let batch = rest.get(..rest.len().min(MESSAGES)).unwrap_or(rest);
        let (messages, looked_for) = finder.fetch(selected, batch, depth, &mut of_batch).await?;
        rest = rest.get(looked_for.max(1)..).unwrap_or_default();
        let octets = messages.iter().map(|message| message.header.len()).sum();
        let wanted = Arc::clone(&wanted);
        let work = finder.server.reading.read(&finder.owner, octets, move |reader, budget| {
            let fact = |message: Fetched| {
                budget.check()?;
                let limits = reader.begin(message.content).limits;
                Ok((message.flags.uid, F::of(&message, &limits, &wanted)))
            };
            messages.into_iter().map(fact).collect::<Result<Vec<_>, _>>()
        });
        let facts: Result<Vec<(u32, F)>, WorkError> = wire.watch(work).await?;
        let facts = facts?;
        memory = facts.iter().fold(memory, |sum, (_, fact)| sum.saturating_add(fact.memory()));
        if claim.grow_to(memory).is_err() {
            return Err(no_memory().into());
        }
        finder.progress.done += facts.len();
        finder.progress.tell(wire).await?;
        known.extend(facts);
    }
    Ok(Known { of: known, claim })
}

/// The sent date in seconds since 1970: the Date field, or else INTERNALDATE (RFC 5256 §2.2).
pub(super) fn sent_at(message: &Fetched, header: &Header<'_>) -> i64 {
    let sent = header.find("Date").and_then(date);
    sent.map_or(message.internal_date.seconds(), |date| date.seconds())
}
