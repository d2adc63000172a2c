//! How much mail somebody has handed in in the hour: an account by submission, a network address at the MX.
//!
//! Invariant: a message is charged whole or not at all. The counts are in memory: a restart forgives.

use crate::clock::Timestamp;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// What each of many may hand in in an hour.
#[derive(Debug)]
pub struct Hourly<K> {
    messages: u32,
    recipients: u32,
    spent: Mutex<Book<K>>,
}

#[derive(Debug)]
struct Book<K> {
    spent: HashMap<K, Spent>,
    /// How many there may be before those whose hour is over are cleared away.
    clear_at: usize,
}

#[derive(Debug)]
struct Spent {
    since: Timestamp,
    messages: u32,
    recipients: u32,
}

/// An hour's limit has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {limit} {what} in an hour has been reached")]
pub struct Exceeded {
    /// `messages` or `recipients`.
    pub what: &'static str,
    /// How many there may be.
    pub limit: u32,
}

impl<K: Eq + Hash> Hourly<K> {
    /// Nobody has handed in anything.
    pub fn new(messages: u32, recipients: u32) -> Self {
        Self { messages, recipients, spent: Mutex::new(Book { spent: HashMap::new(), clear_at: 0 }) }
    }

    /// Charges one for a message to so many recipients. Its hour begins with its first message.
    pub fn charge(&self, key: K, recipients: usize, now: Timestamp) -> Result<(), Exceeded> {
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        let mut book = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |spent: &Spent| now.since(spent.since) >= HOUR;
        if book.spent.len() >= book.clear_at {
            book.spent.retain(|_, spent| !over(spent));
            book.clear_at = 64.max(2 * book.spent.len());
        }
        let fresh = || Spent { since: now, messages: 0, recipients: 0 };
        let spent = book.spent.entry(key).or_insert_with(fresh);
        if over(spent) {
            *spent = fresh();
        }
        if spent.messages >= self.messages {
            return Err(Exceeded { what: "messages", limit: self.messages });
        }
        if spent.recipients.saturating_add(recipients) > self.recipients {
            return Err(Exceeded { what: "recipients", limit: self.recipients });
        }
        spent.messages += 1;
        spent.recipients = spent.recipients.saturating_add(recipients);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AccountId;

    #[test]
    fn an_account_has_its_hour_and_others_are_not_touched() {
        let (quota, ours, theirs) = (Hourly::new(2, 5), AccountId::new(), AccountId::new());
        let start = Timestamp::from_millis(0);
        let what = |charged: Result<(), Exceeded>| charged.map_or_else(|exceeded| exceeded.what, |()| "ok");
        assert_eq!(what(quota.charge(&ours, 6, start)), "recipients");
        assert_eq!(what(quota.charge(&ours, 3, start)), "ok");
        assert_eq!(what(quota.charge(&ours, 3, start)), "recipients");
        assert_eq!(what(quota.charge(&ours, 2, start)), "ok");
        assert_eq!(what(quota.charge(&ours, 1, start)), "messages");
        assert_eq!(what(quota.charge(&theirs, 1, start)), "ok");
        assert_eq!(what(quota.charge(&ours, 5, start.after(HOUR))), "ok");
    }

    #[test]
    fn those_whose_hour_is_over_do_not_pile_up() {
        let quota = Hourly::new(1, 1);
        for n in 0..10_000 {
            assert_eq!(quota.charge(n, 1, Timestamp::from_millis(n * 60_000)), Ok(()));
        }
        assert!(quota.spent.lock().unwrap().spent.len() <= 130);
    }
}
