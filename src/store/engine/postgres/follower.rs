//! Publishes the events that other daemons commit.
//!
//! Invariant: each event committed after the store was opened is published once, as soon as its transaction is visible. New
//! events are those visible in the current snapshot and not in the previous one, so transactions may commit in another order than
//! that of their IDs. If events may have been missed, all sessions reload from the store.

use super::connect::Connector;
use super::events::{CHANNEL, EventLog, WORK_CHANNEL};
use super::presence;
use super::schema::{self, SchemaError};
use super::session::Session;
use crate::events::Event;
use crate::id::AccountId;
use crate::store::StoreError;
use crate::store::engine::{Row, params};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The log is read at least this often: a notification is lost if its sender or the connection fails.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// While it waits for a notification, the follower checks this often whether the store is closed.
const CLOSE_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// With more new events than this, sessions reload from the store instead.
const MAX_EVENTS: i64 = 10_000;
/// After this long without a connection, the follower skips to the end of the log. Events are kept for at least an hour.
const MAX_OUTAGE: Duration = Duration::from_secs(600);

struct Snapshot {
    /// A `pg_snapshot`, as text.
    text: String,
    /// The ID of the oldest transaction that was open (xmin).
    oldest: i64,
}

pub(super) struct Follower {
    log: Arc<EventLog>,
    connector: Connector,
    /// Listens for notifications.
    session: Option<Session>,
    /// The last snapshot read; `None` to skip to the end of the log.
    seen: Option<Snapshot>,
    lost_at: Option<Instant>,
    schema_checked_at: Option<Instant>,
}

/// The events that are visible in a snapshot and were not in the previous one.
struct NewEvents {
    snapshot: Snapshot,
    /// Without those of this daemon.
    events: Vec<(AccountId, Event)>,
    /// With those of this daemon.
    count: i64,
}

impl Follower {
    /// Follows the log from its current end. Fails with [`StoreError::InUse`]. Blocks.
    pub fn begin(log: Arc<EventLog>, connector: Connector) -> Result<Self, StoreError> {
        let session = connect(&connector)?;
        let seen = Some(current_snapshot(&session)?);
        Ok(Self { log, connector, session: Some(session), seen, lost_at: None, schema_checked_at: None })
    }

    pub fn start(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("event-follower".into()).spawn(move || self.run())?;
        Ok(())
    }

    fn run(mut self) {
        while !self.log.is_closing() {
            let Err(error) = self.step() else { continue };
            self.session = None;
            let Some(lost_at) = self.lost_at else {
                tracing::warn!(%error, "cannot read the event log, retrying; changes by other daemons are not published meanwhile");
                self.lost_at = Some(Instant::now());
                continue;
            };
            if lost_at.elapsed() > MAX_OUTAGE {
                self.seen = None;
                self.log.forget_before(i64::MAX);
            }
            self.log.pause(POLL_INTERVAL);
        }
    }

    /// Publishes new events, then waits for a notification.
    fn step(&mut self) -> Result<(), StoreError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => connect(&self.connector)?,
        };
        let session = self.session.insert(session);
        if self.schema_checked_at.is_none_or(|at| at.elapsed() >= POLL_INTERVAL) {
            match schema::check_version(session) {
                Err(SchemaError::Database(error)) => return Err(error.into()),
                Err(error) => self.log.refuse_schema(error),
                Ok(_) => {}
            }
            self.schema_checked_at = Some(Instant::now());
        }
        match &self.seen {
            Some(seen) => {
                let new = new_events(session, &self.log, seen)?;
                // The snapshot is recorded after publishing, so that a panic loses no event.
                if new.count > MAX_EVENTS {
                    self.log.hub.missed();
                } else {
                    for (account, event) in new.events {
                        self.log.hub.publish_of_another(&account, event);
                    }
                }
                self.log.forget_before(self.log.place(new.snapshot.oldest).position);
                self.seen = Some(new.snapshot);
            }
            None => {
                self.seen = Some(current_snapshot(session)?);
                self.log.hub.missed();
            }
        }
        if self.lost_at.take().is_some() {
            tracing::info!("the event log is available again");
        }
        let looked = Instant::now();
        while !self.log.is_closing() && looked.elapsed() < looks_every(&self.log) {
            let channels = session.wait_for_notifications(CLOSE_CHECK_INTERVAL, &self.log.daemon)?;
            if channels.contains(WORK_CHANNEL) {
                self.log.hub.work_is_due();
            }
            if channels.contains(CHANNEL) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg_attr(not(test), expect(unused_variables, reason = "tests change it"))]
fn looks_every(log: &EventLog) -> Duration {
    #[cfg(test)]
    if let Some(pause) = log.faults.looks_every.get() {
        return *pause;
    }
    POLL_INTERVAL
}

fn connect(connector: &Connector) -> Result<Session, StoreError> {
    let session = connector.connect()?;
    presence::take(&session, connector.access)?;
    session.command(&format!("LISTEN {CHANNEL}; LISTEN {WORK_CHANNEL}"))?;
    Ok(session)
}

fn current_snapshot(session: &Session) -> Result<Snapshot, postgres::Error> {
    let text = session.command("SELECT pg_current_snapshot()")?.unwrap_or_default();
    // xmin:xmax:xip_list
    let oldest = text.split(':').next().and_then(|oldest| oldest.parse().ok()).unwrap_or_default();
    Ok(Snapshot { text, oldest })
}

/// Reads the snapshot and the events in one statement, so that they agree. Without events it returns one row, of the snapshot.
const NEW_EVENTS: &str = "SELECT CAST(s.now AS TEXT), CAST(CAST(pg_snapshot_xmin(s.now) AS TEXT) AS BIGINT), e.position, e.account_id, e.kind, e.data
    FROM (SELECT pg_current_snapshot() AS now) s LEFT JOIN event e ON e.position >= ?1
        AND NOT pg_visible_in_snapshot(CAST(CAST(e.position - ?2 AS TEXT) AS xid8), CAST(CAST(?3 AS TEXT) AS pg_snapshot))
    ORDER BY e.position, e.number LIMIT ?4";

fn new_events(session: &Session, log: &EventLog, seen: &Snapshot) -> Result<NewEvents, StoreError> {
    let (first, base) = (log.place(seen.oldest).position, log.place(0).position);
    let snapshot = Snapshot { text: String::new(), oldest: seen.oldest };
    let mut new = NewEvents { snapshot, events: Vec::new(), count: 0 };
    session.for_each(NEW_EVENTS, params![first, base, seen.text, MAX_EVENTS + 1], |row: &Row<'_>| {
        new.snapshot = Snapshot { text: row.get(0)?, oldest: row.get(1)? };
        let Some(position) = row.get::<Option<i64>>(2)? else { return Ok(ControlFlow::Continue(())) };
        new.count += 1;
        if !log.is_own(position) {
            let (kind, data): (String, String) = (row.get(4)?, row.get(5)?);
            match Event::from_columns(&kind, &data) {
                Ok(event) => new.events.push((row.get(3)?, event)),
                Err(error) => tracing::debug!(%error, kind, "skipping an event of an unknown kind"),
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(new)
}
