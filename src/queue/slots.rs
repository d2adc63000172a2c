//! The slots of attempts, and when one is withdrawn.
//!
//! Invariant: a slot is freed however its attempt ends. While slots are free, an attempt may take the time-outs of RFC 5321
//! §4.5.3.2. While an account waits for a slot, attempts with slow servers are ended, those of the account with the most slots
//! first.

use crate::address::DomainName;
use crate::id::{AccountId, SubmissionId};
use crate::resources::concurrency::Destination;
use crate::smtp_client::TimeAllowance;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) type Attempt = (SubmissionId, DomainName);

/// The slots in use.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<HashMap<Attempt, Arc<Slot>>>);

/// The slot of one attempt.
#[derive(Debug)]
pub(super) struct Slot {
    account: AccountId,
    started_at: Instant,
    /// Until it ends, the server does not count as slow.
    allowance: TimeAllowance,
    withdrawn: CancellationToken,
}

impl Slot {
    /// The server has `span` from now on, and extensions by the client.
    pub fn new(account: AccountId, span: Duration) -> Self {
        let allowance = TimeAllowance::new(span);
        Self { account, started_at: Instant::now(), allowance, withdrawn: CancellationToken::new() }
    }

    pub fn account(&self) -> &AccountId {
        &self.account
    }

    pub fn allowance(&self) -> &TimeAllowance {
        &self.allowance
    }

    /// Resolves when the slot is withdrawn.
    pub async fn withdrawn(&self) {
        self.withdrawn.cancelled().await;
    }
}

impl Slots {
    /// The number of running attempts to a destination.
    pub fn running_to(&self, destination: &Destination) -> usize {
        let running = lock(&self.0);
        match destination {
            Destination::Domain(domain) => running.keys().filter(|(_, to)| to == domain).count(),
            Destination::Relay => running.len(),
        }
    }

    pub fn take(&self, attempt: Attempt, slot: Arc<Slot>) {
        lock(&self.0).insert(attempt, slot);
    }

    pub fn free(&self, attempt: &Attempt) {
        lock(&self.0).remove(attempt);
    }

    /// This many accounts wait: ends as many attempts with slow servers.
    pub fn withdraw(&self, waiting: usize) {
        let (running, now) = (lock(&self.0), Instant::now());
        let (ending, mut rest): (Vec<_>, Vec<_>) = running.values().partition(|slot| slot.withdrawn.is_cancelled());
        for _ in ending.len()..waiting {
            let mut held: HashMap<&AccountId, usize> = HashMap::new();
            rest.iter().for_each(|slot| *held.entry(&slot.account).or_default() += 1);
            let slow = rest.iter().enumerate().filter(|(_, slot)| slot.allowance.has_ended(now));
            let longest = slow.max_by_key(|(_, slot)| (held.get(&slot.account), Reverse(slot.started_at)));
            let Some((at, slot)) = longest else { return };
            slot.withdrawn.cancel();
            rest.swap_remove(at);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(slots: &Slots, account: &AccountId, span: Duration) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(account.clone(), span));
        slots.take((SubmissionId::new(), "example.org".parse().unwrap()), Arc::clone(&slot));
        slot
    }

    #[test]
    fn the_slow_attempts_of_those_with_the_most_slots_end_first_and_no_more_than_are_waited_for() {
        let (slots, large, small) = (Slots::default(), AccountId::new(), AccountId::new());
        let minute = Duration::from_secs(60);
        let of_large: Vec<_> =
            [Duration::ZERO, minute, Duration::ZERO].into_iter().map(|p| taken(&slots, &large, p)).collect();
        let of_small: Vec<_> = [Duration::ZERO, Duration::ZERO].into_iter().map(|p| taken(&slots, &small, p)).collect();
        let ended = |slots: &[Arc<Slot>]| slots.iter().map(|slot| slot.withdrawn.is_cancelled()).collect::<Vec<_>>();
        slots.withdraw(1);
        assert_eq!((ended(&of_large), ended(&of_small)), (vec![true, false, false], vec![false, false]));
        // Its slot is about to be freed: no other is withdrawn.
        slots.withdraw(1);
        assert_eq!(ended(&of_large), [true, false, false]);
        of_small[0].allowance.extend(minute);
        of_small[1].allowance.at_least(minute);
        slots.withdraw(5);
        assert_eq!((ended(&of_large), ended(&of_small)), (vec![true, false, true], vec![false, false]));
    }
}
