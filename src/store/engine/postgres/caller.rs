//! The caller of a read: once it is cancelled, so is the statement that runs for it.

use super::connect::Connector;
use super::session::{Session, in_words};
use crate::store::lock;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// Requests to cancel that are sent at the same time, for all stores: each is a connection of its own. Beyond that a statement ends by itself,
/// at the latest by `statement_timeout`.
static CANCELLING: Semaphore = Semaphore::const_new(2);

/// The caller of a read, as the thread sees it that reads.
#[derive(Default)]
pub(super) struct Caller(Mutex<State>);

#[derive(Default)]
struct State {
    is_gone: bool,
    /// While a connection reads for it.
    token: Option<postgres::CancelToken>,
}

impl Caller {
    /// From now on a connection reads for the caller.
    pub fn reads_on(&self, session: &Session) {
        lock(&self.0).token = session.cancel_token().ok();
    }

    /// The connection has read, and is not cancelled any more. Waits for a request to cancel that is being sent: so that it does not
    /// end what the connection does next.
    pub fn has_read(&self) {
        lock(&self.0).token = None;
    }

    /// The caller is cancelled.
    pub fn is_gone(&self) -> bool {
        lock(&self.0).is_gone
    }

    fn cancel(&self, connector: &Connector) {
        let mut state = lock(&self.0);
        if let Some(token) = state.token.take()
            && let Err(error) = connector.cancel(&token)
        {
            tracing::debug!(error = in_words(&error), "a read was not cancelled");
        }
    }
}

/// The caller itself: dropped when its future is.
pub(super) struct Waiting {
    pub caller: Arc<Caller>,
    pub connector: Connector,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let is_reading = {
            let mut state = lock(&self.caller.0);
            state.is_gone = true;
            state.token.is_some()
        };
        if is_reading
            && let Ok(place) = CANCELLING.try_acquire()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (caller, connector) = (Arc::clone(&self.caller), self.connector.clone());
            runtime.spawn_blocking(move || {
                caller.cancel(&connector);
                drop(place);
            });
        }
    }
}
