//! The event log on PostgreSQL, and the notification of other daemons.
//!
//! Invariant: a committed event is published in every daemon: in the daemon that wrote it before the verb returns, in the others
//! by the [follower](super::follower), which NOTIFY wakes. NOTIFY is sent after the commit, in a transaction of its own: within
//! the write it would serialize all commits of the database on a global lock. It carries no data; one is sent per
//! [`NOTIFY_INTERVAL`].

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

/// The minimum between two notifications of a daemon.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(5);
/// After a notification failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);
pub(super) const CHANNEL: &str = "inboxlayer_event";
/// Of daemons that have handed work back.
pub(super) const WORK_CHANNEL: &str = "inboxlayer_work";

/// At most `?1` rows, the oldest first.
pub(in crate::store::engine) const OLDEST: &str =
    "SELECT position, number, at FROM event ORDER BY position, number LIMIT ?1";
/// Up to the row at `?1`, `?2`.
pub(in crate::store::engine) const REMOVE: &str = "DELETE FROM event WHERE (position, number) <= (?1, ?2)";

/// The last position before the oldest transaction that was open when this one took its snapshot.
pub(in crate::store::engine) fn end(transaction: &Transaction<'_>, base: i64) -> Result<Cursor, StoreError> {
    let sql = "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)";
    let oldest: i64 = transaction.query_row(sql, params![], |row| row.get(0))?;
    Ok(Cursor { position: base.saturating_add(oldest).saturating_sub(1), number: i64::MAX })
}

/// The last position that this transaction may see, and those before it of transactions that were open when it took its snapshot.
pub(in crate::store::engine) fn seen(
    transaction: &Transaction<'_>,
    base: i64,
) -> Result<(Cursor, Vec<i64>), StoreError> {
    let sql = "SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS TEXT) AS BIGINT)";
    let next: i64 = transaction.query_row(sql, params![], |row| row.get(0))?;
    let sql = "SELECT CAST(CAST(pg_snapshot_xip(pg_current_snapshot()) AS TEXT) AS BIGINT)";
    let open = transaction.query(sql, params![], |row| Ok(base.saturating_add(row.get::<i64>(0)?)))?;
    Ok((Cursor { position: base.saturating_add(next).saturating_sub(1), number: i64::MAX }, open))
}

/// The event log of this daemon's store.
#[derive(Debug)]
pub(super) struct EventLog {
    pub hub: Events,
    /// Identifies this daemon in its notifications.
    pub daemon: String,
    pub epoch: i64,
    /// Positions of this daemon's writes with events, kept from before the commit until the follower has read past them.
    own: Mutex<BTreeSet<i64>>,
    state: Mutex<State>,
    changed: Condvar,
    /// Set once another program has upgraded the schema to a version that this program does not support.
    schema_error: OnceLock<SchemaError>,
    #[cfg(test)]
    pub faults: Faults,
}

/// What tests change.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Between two looks at the log, instead of the follower's.
    pub looks_every: OnceLock<Duration>,
    /// Notifications are not sent.
    pub loses_notifications: OnceLock<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Events were committed since the last notification.
    is_pending: bool,
    /// The same, of work that was handed back.
    is_work: bool,
    is_closing: bool,
    /// The notifier thread runs.
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
            schema_error: OnceLock::new(),
            #[cfg(test)]
            faults: Faults::default(),
        }
    }

    /// `transaction` is its ID on the server, or 0 for a read.
    pub fn place(&self, transaction: i64) -> LogPlace {
        LogPlace::new(self.epoch, transaction)
    }

    /// To be called before COMMIT is sent: from now on the follower skips these events.
    pub fn committing(&self, place: LogPlace, events: Vec<(AccountId, Event)>) -> Committing<'_> {
        if !events.is_empty() {
            lock(&self.own).insert(place.position);
        }
        Committing { log: self, position: place.position, events }
    }

    /// True if this daemon wrote the events at `position`.
    pub fn is_own(&self, position: i64) -> bool {
        lock(&self.own).contains(&position)
    }

    /// Forgets own writes before `position`, which the follower has read past.
    pub fn forget_before(&self, position: i64) {
        let mut own = lock(&self.own);
        *own = own.split_off(&position);
    }

    /// Makes [`Self::check_schema`] fail from now on.
    pub fn refuse_schema(&self, error: SchemaError) {
        if !self.is_closing() && self.schema_error.get().is_none() {
            tracing::error!(%error, "another program has upgraded the schema, refusing all reads and writes");
            let _ = self.schema_error.set(error);
        }
    }

    /// Fails after [`Self::refuse_schema`].
    pub fn check_schema(&self) -> Result<(), StoreError> {
        self.schema_error.get().map_or(Ok(()), |error| Err(StoreError::Aborted(error.to_string())))
    }

    pub fn is_closing(&self) -> bool {
        lock(&self.state).is_closing
    }

    /// Sleeps; returns early when the store is closed.
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

    /// Stops the notifier and the follower. A pending notification is still sent.
    pub fn close(&self) {
        lock(&self.state).is_closing = true;
        self.changed.notify_all();
    }

    /// Notifies of work that was handed back, once that is committed.
    pub fn notify_of_work(&self) {
        lock(&self.state).is_work = true;
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
        while let Some(channel) = self.next_notification() {
            #[cfg(test)]
            if self.faults.loses_notifications.get().is_some() {
                continue;
            }
            let sql = format!("NOTIFY {channel}, '{}'", self.daemon);
            let sent = match session.take().map_or_else(|| connector.connect(), Ok) {
                Ok(connected) => connected.command(&sql).map(|_| session = Some(connected)),
                Err(error) => Err(error),
            };
            match sent {
                Ok(()) => self.pause(NOTIFY_INTERVAL),
                Err(error) => {
                    // Without it, other daemons find events and work by polling.
                    tracing::debug!(error = in_words(&error), channel, "cannot notify other daemons, retrying");
                    self.pause(RETRY_DELAY);
                    let mut state = lock(&self.state);
                    if !state.is_closing {
                        *state.of(channel) = true;
                    }
                }
            }
        }
    }

    /// Waits for something to notify of; the channel. `None` once there is nothing and the store is closed.
    fn next_notification(&self) -> Option<&'static str> {
        let mut state = lock(&self.state);
        loop {
            if let Some(channel) = [CHANNEL, WORK_CHANNEL].into_iter().find(|channel| std::mem::take(state.of(channel)))
            {
                return Some(channel);
            }
            if state.is_closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// Whether a channel is to be notified.
    fn of(&mut self, channel: &str) -> &mut bool {
        if channel == WORK_CHANNEL { &mut self.is_work } else { &mut self.is_pending }
    }
}

/// A write whose COMMIT is about to be sent. Dropping it means that the write was not committed.
pub(super) struct Committing<'a> {
    log: &'a EventLog,
    position: i64,
    events: Vec<(AccountId, Event)>,
}

impl Committing<'_> {
    /// Publishes the events in this daemon and notifies the others.
    pub fn committed(mut self) {
        if self.events.is_empty() {
            return;
        }
        for (account, event) in self.events.drain(..) {
            self.log.hub.publish(&account, event);
        }
        lock(&self.log.state).is_pending = true;
        self.log.changed.notify_all();
    }

    /// The outcome of the commit is unknown: makes all sessions of this daemon reload from the store.
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
