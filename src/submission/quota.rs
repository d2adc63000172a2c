//! How much an account has sent in the hour.
//!
//! Invariant: a message is charged whole or not at all. The counts are in memory: a restart forgives.

use super::Refusal;
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::id::AccountId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Quota {
    messages: u32,
    recipients: u32,
    spent: Mutex<HashMap<AccountId, Spent>>,
}

#[derive(Debug)]
struct Spent {
    since: Timestamp,
    messages: u32,
    recipients: u32,
}

impl Quota {
    pub fn new(limits: &Limits) -> Self {
        Self { messages: limits.messages_per_hour, recipients: limits.recipients_per_hour, spent: Mutex::default() }
    }

    /// Charges an account for a message to so many recipients. Its hour begins with its first message.
    pub fn charge(&self, account: &AccountId, recipients: usize, now: Timestamp) -> Result<(), Refusal> {
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |spent: &Spent| now.since(spent.since) >= HOUR;
        if spent.get(account).is_none_or(over) {
            // Whoever begins an hour clears up after those whose hour is over.
            spent.retain(|_, spent| !over(spent));
            spent.insert(account.clone(), Spent { since: now, messages: 0, recipients: 0 });
        }
        let Some(spent) = spent.get_mut(account) else { return Ok(()) };
        if spent.messages >= self.messages {
            return Err(Refusal::RateLimited { what: "messages", limit: self.messages });
        }
        if spent.recipients.saturating_add(recipients) > self.recipients {
            return Err(Refusal::RateLimited { what: "recipients", limit: self.recipients });
        }
        spent.messages += 1;
        spent.recipients = spent.recipients.saturating_add(recipients);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_its_hour_and_others_are_not_touched() {
        let limits = Limits { messages_per_hour: 2, recipients_per_hour: 5, ..Limits::default() };
        let (quota, ours, theirs) = (Quota::new(&limits), AccountId::new(), AccountId::new());
        let start = Timestamp::from_millis(0);
        let what = |charged: Result<(), Refusal>| match charged {
            Ok(()) => "ok",
            Err(Refusal::RateLimited { what, .. }) => what,
            Err(_) => "other",
        };
        assert_eq!(what(quota.charge(&ours, 6, start)), "recipients");
        assert_eq!(what(quota.charge(&ours, 3, start)), "ok");
        assert_eq!(what(quota.charge(&ours, 3, start)), "recipients");
        assert_eq!(what(quota.charge(&ours, 2, start)), "ok");
        assert_eq!(what(quota.charge(&ours, 1, start)), "messages");
        assert_eq!(what(quota.charge(&theirs, 1, start)), "ok");
        assert_eq!(what(quota.charge(&ours, 5, start.after(HOUR))), "ok");
    }
}
