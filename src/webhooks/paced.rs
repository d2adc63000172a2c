//! Requests of accounts that make the daemon send much: one at a time for each account, and one within [`PAUSE`].

use crate::id::AccountId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Minimum time between the tests of an account, so that they cannot flood an endpoint, and between its redeliveries.
pub const PAUSE: Duration = Duration::from_secs(1);

/// Accounts with a running or recent request.
#[derive(Debug, Default)]
pub(super) struct Paced(Mutex<HashMap<AccountId, Last>>);

/// The last request of an account.
#[derive(Debug)]
struct Last {
    begun: Instant,
    is_running: bool,
}

/// Another request of the account is running, or has begun less than [`PAUSE`] ago.
#[derive(Debug)]
pub(super) struct Busy;

/// A running request of an account.
#[derive(Debug)]
pub(super) struct Running<'a> {
    paced: &'a Paced,
    account: AccountId,
}

impl Paced {
    pub fn begin(&self, account: &AccountId) -> Result<Running<'_>, Busy> {
        let mut requests = self.requests();
        requests.retain(|_, last| last.is_running || last.begun.elapsed() < PAUSE);
        if requests.contains_key(account) {
            return Err(Busy);
        }
        requests.insert(account.clone(), Last { begun: Instant::now(), is_running: true });
        Ok(Running { paced: self, account: account.clone() })
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<AccountId, Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(last) = self.paced.requests().get_mut(&self.account) {
            last.is_running = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_account_has_one_request_at_a_time_and_one_a_second() {
        let (paced, one, other) = (Paced::default(), AccountId::new(), AccountId::new());
        let running = paced.begin(&one).unwrap();
        assert!(paced.begin(&one).is_err());
        drop(paced.begin(&other).unwrap());
        drop(running);
        assert!(paced.begin(&one).is_err(), "it began less than a second ago");
        tokio::time::sleep(PAUSE).await;
        let running = paced.begin(&one).unwrap();
        tokio::time::sleep(PAUSE).await;
        assert!(paced.begin(&one).is_err(), "it is still running");
        drop(running);
        drop(paced.begin(&one).unwrap());
        assert_eq!(paced.requests().len(), 1, "others are not kept");
    }
}
