//! Cancels the statement of a read when the future that awaits it is dropped.

use super::connect::Connector;
use super::session::{Session, in_words};
use crate::store::lock;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// Concurrent cancel requests of the process; each opens a connection. Without a permit no request is sent, and the statement
/// runs until it ends or reaches `statement_timeout`.
static CANCEL_REQUESTS: Semaphore = Semaphore::const_new(2);

/// The state of a read's caller, shared with the thread that reads.
#[derive(Default)]
pub(super) struct Caller(Mutex<State>);

#[derive(Default)]
struct State {
    is_gone: bool,
    /// Set while a connection reads.
    token: Option<postgres::CancelToken>,
}

impl Caller {
    /// The session may be cancelled from now on.
    pub fn reads_on(&self, session: &Session) {
        lock(&self.0).token = session.cancel_token().ok();
    }

    /// The session is not cancelled from now on. Waits for a cancel request that is being sent, so that it cannot cancel the
    /// session's next statement.
    pub fn has_read(&self) {
        lock(&self.0).token = None;
    }

    /// True once the caller is cancelled.
    pub fn is_gone(&self) -> bool {
        lock(&self.0).is_gone
    }

    fn cancel(&self, connector: &Connector) {
        let mut state = lock(&self.0);
        if let Some(token) = state.token.take()
            && let Err(error) = connector.cancel(&token)
        {
            tracing::debug!(error = in_words(&error), "cannot cancel a read");
        }
    }
}

/// Held by the caller's future.
pub(super) struct CancelOnDrop {
    pub caller: Arc<Caller>,
    pub connector: Connector,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let is_reading = {
            let mut state = lock(&self.caller.0);
            state.is_gone = true;
            state.token.is_some()
        };
        if is_reading
            && let Ok(permit) = CANCEL_REQUESTS.try_acquire()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (caller, connector) = (Arc::clone(&self.caller), self.connector.clone());
            runtime.spawn_blocking(move || {
                caller.cancel(&connector);
                drop(permit);
            });
        }
    }
}
