//! Publishes the events that other daemons commit.
//!
//! Invariant: each event that is committed after the store was opened is published once, as soon as its transaction is visible: what
//! is new is what this snapshot of the server shows and the one before did not, so it does not matter in which order numbers
//! were given out and transactions committed. Where events may have been missed, all sessions are to look at the store.

use super::connect::Connector;
use super::events::{CHANNEL, EventLog};
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

/// Between two looks at the log at most: a notification may be lost, with its daemon or with the connection.
const POLL: Duration = Duration::from_secs(1);
/// Of the wait for a notification, between looks whether the store is closed.
const SLICE: Duration = Duration::from_millis(100);
/// Events that are published one by one; where there are more at a time, sessions look at the store.
const ROWS: i64 = 10_000;
/// Out of touch with the server for so long, the follower begins anew. Events are kept for an hour at least.
const OUT_OF_TOUCH: Duration = Duration::from_secs(600);

/// What the server's last snapshot showed.
struct Seen {
    /// As PostgreSQL writes it.
    snapshot: String,
    /// The oldest transaction that was open.
    oldest: i64,
}

pub(super) struct Follower {
    log: Arc<EventLog>,
    connector: Connector,
    /// Listens for notifications.
    session: Option<Session>,
    /// None: it begins anew.
    seen: Option<Seen>,
    lost_at: Option<Instant>,
    schema_seen_at: Option<Instant>,
}

/// The events that a snapshot shows, which the one before did not.
struct New {
    seen: Seen,
    events: Vec<(AccountId, Event)>,
    count: i64,
}

impl Follower {
    /// Begins at what is committed now. Blocks.
    pub fn begin(log: Arc<EventLog>, connector: Connector) -> Result<Self, StoreError> {
        let session = listening(&connector)?;
        let seen = Some(present(&session)?);
        Ok(Self { log, connector, session: Some(session), seen, lost_at: None, schema_seen_at: None })
    }

    /// Starts the thread.
    pub fn start(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("event-follower".into()).spawn(move || self.run())?;
        Ok(())
    }

    fn run(mut self) {
        while !self.log.is_closing() {
            let Err(error) = self.step() else { continue };
            self.session = None;
            let Some(lost_at) = self.lost_at else {
                tracing::warn!(%error, "the event log cannot be followed, trying again: sessions do not learn of other daemons' changes");
                self.lost_at = Some(Instant::now());
                continue;
            };
            if lost_at.elapsed() > OUT_OF_TOUCH {
                self.seen = None;
                self.log.passed(i64::MAX);
            }
            self.log.pause(POLL);
        }
    }

    /// Publishes what is new, and waits for more.
    fn step(&mut self) -> Result<(), StoreError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => listening(&self.connector)?,
        };
        let session = self.session.insert(session);
        if self.schema_seen_at.is_none_or(|at| at.elapsed() >= POLL) {
            match schema::check_version(session) {
                Err(SchemaError::Database(error)) => return Err(error.into()),
                Err(error) => self.log.refuse_schema(error),
                Ok(_) => {}
            }
            self.schema_seen_at = Some(Instant::now());
        }
        match &self.seen {
            Some(seen) => {
                let new = new_events(session, &self.log, seen)?;
                // Published before it is noted as seen, so that a panic loses none.
                if new.count > ROWS {
                    self.log.hub.missed();
                } else {
                    for (account, event) in new.events {
                        self.log.hub.publish(&account, event);
                    }
                }
                self.log.passed(self.log.place(new.seen.oldest).position);
                self.seen = Some(new.seen);
            }
            None => {
                self.seen = Some(present(session)?);
                self.log.hub.missed();
            }
        }
        if self.lost_at.take().is_some() {
            tracing::info!("the event log is followed again");
        }
        let end = Instant::now() + POLL;
        while !self.log.is_closing() && Instant::now() < end {
            if session.is_notified(SLICE, &self.log.daemon)? {
                break;
            }
        }
        Ok(())
    }
}

fn listening(connector: &Connector) -> Result<Session, StoreError> {
    let session = connector.connect()?;
    presence::take(&session, connector.access)?;
    session.command(&format!("LISTEN {CHANNEL}"))?;
    Ok(session)
}

fn present(session: &Session) -> Result<Seen, postgres::Error> {
    let snapshot = session.command("SELECT pg_current_snapshot()")?.unwrap_or_default();
    // xmin:xmax:xip_list
    let oldest = snapshot.split(':').next().and_then(|oldest| oldest.parse().ok()).unwrap_or_default();
    Ok(Seen { snapshot, oldest })
}

/// One statement has one snapshot. The row with it comes also where there are no events.
const NEW: &str = "SELECT CAST(s.now AS TEXT), CAST(CAST(pg_snapshot_xmin(s.now) AS TEXT) AS BIGINT), e.position, e.account_id, e.kind, e.data
    FROM (SELECT pg_current_snapshot() AS now) s LEFT JOIN event e ON e.position >= ?1
        AND NOT pg_visible_in_snapshot(CAST(CAST(e.position - ?2 AS TEXT) AS xid8), CAST(CAST(?3 AS TEXT) AS pg_snapshot))
    ORDER BY e.position, e.number LIMIT ?4";

fn new_events(session: &Session, log: &EventLog, seen: &Seen) -> Result<New, StoreError> {
    let (first, base) = (log.place(seen.oldest).position, log.place(0).position);
    let mut new = New { seen: Seen { snapshot: String::new(), oldest: seen.oldest }, events: Vec::new(), count: 0 };
    session.for_each(NEW, params![first, base, seen.snapshot, ROWS + 1], |row: &Row<'_>| {
        new.seen = Seen { snapshot: row.get(0)?, oldest: row.get(1)? };
        let Some(position) = row.get::<Option<i64>>(2)? else { return Ok(ControlFlow::Continue(())) };
        new.count += 1;
        if !log.is_own(position) {
            let (kind, data): (String, String) = (row.get(4)?, row.get(5)?);
            match Event::from_columns(&kind, &data) {
                Ok(event) => new.events.push((row.get(3)?, event)),
                Err(error) => tracing::debug!(%error, kind, "an event of an unknown kind is passed over"),
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(new)
}
