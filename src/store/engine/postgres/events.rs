//! The event log on PostgreSQL, and how daemons learn of one another's events.
//!
//! Invariant: a committed event is published in each daemon: by the write itself in the daemon that made it, before the verb returns; in the
//! others by the [follower](super::follower), which a notification wakes. The notification is sent after the commit, by a
//! statement of its own: within the transaction it would make all commits of the database wait for one another. It carries no
//! data, and one is sent for all commits of [`PAUSE`].

use super::connect::Connector;
use super::schema::SchemaError;
use super::session::{Session, in_words};
use crate::events::{Cursor, Event, Events};
use crate::id::AccountId;
use crate::store::engine::{LogPlace, Transaction, params};
use crate::store::{StoreError, lock};
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Between two notifications of a daemon.
const PAUSE: Duration = Duration::from_millis(5);
/// Before a notification that could not be sent is tried again.
const RETRY: Duration = Duration::from_secs(1);
pub(super) const CHANNEL: &str = "inboxlayer_event";

/// At most `?1` rows, the oldest first.
pub(in crate::store::engine) const OLDEST: &str =
    "SELECT position, number, at FROM event ORDER BY position, number LIMIT ?1";
/// Up to the row at `?1`, `?2`.
pub(in crate::store::engine) const REMOVE: &str = "DELETE FROM event WHERE (position, number) <= (?1, ?2)";

/// Before the first position of a transaction that was open when this one took its snapshot.
pub(in crate::store::engine) fn end(transaction: &Transaction<'_>, base: i64) -> Result<Cursor, StoreError> {
    let sql = "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)";
    let oldest: i64 = transaction.query_row(sql, params![], |row| row.get(0))?;
    Ok(Cursor { position: base.saturating_add(oldest).saturating_sub(1), number: i64::MAX })
}

/// The log as this daemon writes it.
#[derive(Debug)]
pub(super) struct EventLog {
    pub hub: Events,
    /// Names this daemon in its notifications.
    pub daemon: String,
    pub epoch: i64,
    /// Positions of this daemon's writes with events, from before their commits until the follower has passed them.
    own: Mutex<BTreeSet<i64>>,
    state: Mutex<State>,
    changed: Condvar,
    /// Why this program cannot use the schema any more.
    refused: OnceLock<SchemaError>,
}

#[derive(Debug, Default)]
struct State {
    /// A commit with events has not been notified yet.
    is_new: bool,
    is_closing: bool,
    /// The notifier runs.
    is_running: bool,
}

impl EventLog {
    pub fn new(hub: Events, epoch: i64) -> Self {
        let daemon = ulid::Ulid::new().to_string();
        Self {
            hub,
            daemon,
            epoch,
            own: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            refused: OnceLock::new(),
        }
    }

    /// Of the transaction of this number; 0: of one that only reads.
    pub fn place(&self, transaction: i64) -> LogPlace {
        LogPlace::new(self.epoch, transaction)
    }

    /// The transaction is about to be committed with these events. From here on the follower leaves them out.
    pub fn committing(&self, place: LogPlace, events: Vec<(AccountId, Event)>) -> Committing<'_> {
        if !events.is_empty() {
            lock(&self.own).insert(place.position);
        }
        Committing { log: self, position: place.position, events }
    }

    /// True for a write of this daemon.
    pub fn is_own(&self, position: i64) -> bool {
        lock(&self.own).contains(&position)
    }

    /// The follower has passed all events before this position.
    pub fn passed(&self, position: i64) {
        let mut own = lock(&self.own);
        *own = own.split_off(&position);
    }

    /// From now on [`Self::check_schema`] fails.
    pub fn refuse_schema(&self, error: SchemaError) {
        if !self.is_closing() && self.refused.get().is_none() {
            tracing::error!(%error, "the store is not used any more: another program has changed its schema");
            let _ = self.refused.set(error);
        }
    }

    /// Fails once another program has changed the schema to one that this program cannot use.
    pub fn check_schema(&self) -> Result<(), StoreError> {
        self.refused.get().map_or(Ok(()), |error| Err(StoreError::Aborted(error.to_string())))
    }

    pub fn is_closing(&self) -> bool {
        lock(&self.state).is_closing
    }

    /// Waits, until the store is closed at most.
    pub fn pause(&self, pause: Duration) {
        let end = Instant::now() + pause;
        let mut state = lock(&self.state);
        while !state.is_closing
            && let Some(left) = end.checked_duration_since(Instant::now())
        {
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Starts the thread that sends notifications.
    pub fn start_notifier(self: &Arc<Self>, connector: Connector) -> std::io::Result<()> {
        let log = Arc::clone(self);
        lock(&self.state).is_running = true;
        let thread = std::thread::Builder::new().name("event-notifier".into());
        thread.spawn(move || {
            log.notify(&connector);
            lock(&log.state).is_running = false;
            log.changed.notify_all();
        })?;
        Ok(())
    }

    /// Ends the threads. What is committed is notified first.
    pub fn close(&self) {
        lock(&self.state).is_closing = true;
        self.changed.notify_all();
    }

    /// Waits until the notifier has ended. Blocks.
    pub fn wait_closed(&self) {
        let mut state = lock(&self.state);
        while state.is_running {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn notify(&self, connector: &Connector) {
        let mut session: Option<Session> = None;
        let sql = format!("NOTIFY {CHANNEL}, '{}'", self.daemon);
        while self.next_notification() {
            let sent = match session.take().map_or_else(|| connector.connect(), Ok) {
                Ok(connected) => connected.command(&sql).map(|_| session = Some(connected)),
                Err(error) => Err(error),
            };
            match sent {
                Ok(()) => self.pause(PAUSE),
                Err(error) => {
                    // Other daemons look at the log by themselves.
                    tracing::debug!(error = in_words(&error), "other daemons were not notified of events");
                    self.pause(RETRY);
                    let mut state = lock(&self.state);
                    state.is_new |= !state.is_closing;
                }
            }
        }
    }

    /// Waits for a commit to notify of. False once there is none and the store is closed.
    fn next_notification(&self) -> bool {
        let mut state = lock(&self.state);
        while !state.is_new && !state.is_closing {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut state.is_new)
    }
}

/// A write whose COMMIT is sent next. Dropped: it was not committed.
pub(super) struct Committing<'a> {
    log: &'a EventLog,
    position: i64,
    events: Vec<(AccountId, Event)>,
}

impl Committing<'_> {
    /// Publishes the events in this daemon, and notifies the others.
    pub fn committed(mut self) {
        if self.events.is_empty() {
            return;
        }
        for (account, event) in self.events.drain(..) {
            self.log.hub.publish(&account, event);
        }
        lock(&self.log.state).is_new = true;
        self.log.changed.notify_all();
    }

    /// Whether it was committed is not known: sessions look at the store.
    pub fn uncertain(self) {
        if !self.events.is_empty() {
            self.log.hub.missed();
        }
    }
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        if !self.events.is_empty() {
            lock(&self.log.own).remove(&self.position);
        }
    }
}
