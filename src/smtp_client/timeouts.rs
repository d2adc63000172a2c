//! Time limits of the client.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Added for each reply to RCPT.
pub(super) const PER_RECIPIENT: Duration = Duration::from_secs(1);
/// Added for each block accepted by the server: 64 KiB per second.
pub(super) const PER_BLOCK: Duration = Duration::from_secs(1);
/// Time for the reply to the end of data. A shorter attempt might have delivered the message without knowing.
pub(super) const END_OF_DATA: Duration = Duration::from_secs(120);

/// Timeouts of single steps (RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// TCP connect. Shorter than the system's minutes, since other addresses may work.
    pub connect: Duration,
    /// The greeting, a TLS handshake, and the reply to a command.
    pub command: Duration,
    /// Writing one block of the message.
    pub block: Duration,
    /// The reply to the end of data.
    pub end_of_data: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            command: Duration::from_secs(300),
            block: Duration::from_secs(180),
            end_of_data: Duration::from_secs(600),
        }
    }
}

/// When a server counts as slow. Each step it takes gives it more time.
#[derive(Debug)]
pub struct TimeAllowance(Mutex<Instant>);

impl TimeAllowance {
    /// Ends in `span`.
    pub fn new(span: Duration) -> Self {
        Self(Mutex::new(Instant::now() + span))
    }

    /// Ends later by `span`.
    pub fn extend(&self, span: Duration) {
        *self.lock() += span;
    }

    /// Ends in `span` from now, or later.
    pub fn at_least(&self, span: Duration) {
        let mut end = self.lock();
        *end = (*end).max(Instant::now() + span);
    }

    /// True when it has ended at `now`.
    pub fn has_ended(&self, now: Instant) -> bool {
        *self.lock() <= now
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
