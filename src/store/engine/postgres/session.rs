//! A connection, as the verbs of a transaction use it.

use super::statement::{Bound, Statements, no_statements, numbered};
use crate::id::BodyId;
use crate::store::StoreError;
use crate::store::engine::{Octets, Params, Row};
use bytes::Bytes;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, SimpleQueryMessage, Statement};
use std::cell::{Cell, RefCell, RefMut};
use std::ops::{ControlFlow, Range};
use std::time::Duration;

/// Rows, and octets of them, that are read before the first is given to the verb: so that it may run a statement of its own
/// for each of them. Of a longer answer the rows come as they are read, and the connection is theirs until the last.
const ROWS_AHEAD: usize = 1000;
const OCTETS_AHEAD: usize = 1024 * 1024;

/// Why a statement failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It runs into another transaction (40001, 40P01): run again, it may pass.
    Conflict,
    /// The connection is gone, and so is the transaction unless its commit was sent.
    Lost,
    /// It took too long, or its reader has gone.
    Cancelled,
    /// Anything else: it fails again.
    Other,
}

impl Failure {
    pub fn of(error: &postgres::Error) -> Self {
        let is_io = || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
        match error.code() {
            Some(
                &(SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED | SqlState::LOCK_NOT_AVAILABLE),
            ) => Self::Conflict,
            Some(&SqlState::QUERY_CANCELED) => Self::Cancelled,
            // Another version of the program has changed a table: a new connection prepares the statement anew.
            Some(&SqlState::FEATURE_NOT_SUPPORTED) if routine(error) == Some("RevalidateCachedQuery") => Self::Lost,
            Some(code) if ends_connection(code) => Self::Lost,
            Some(_) => Self::Other,
            None if error.is_closed() || is_io() => Self::Lost,
            None => Self::Other,
        }
    }
}

/// The error with its causes. Of itself, [`postgres::Error`] names a kind alone: "db error".
pub(in crate::store) fn in_words(error: &postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        let detail = refusal.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        return format!("{} ({}){detail}", refusal.message(), refusal.code().code());
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn routine(error: &postgres::Error) -> Option<&str> {
    error.as_db_error()?.routine()
}

/// The server is ending the connection, or has (classes 08 and 57P), or takes no more of them.
fn ends_connection(code: &SqlState) -> bool {
    code.code().starts_with("08")
        || code.code().starts_with("57P")
        || *code == SqlState::TOO_MANY_CONNECTIONS
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
}

/// A connection.
pub(in crate::store) struct Session {
    client: RefCell<Client>,
    statements: RefCell<Statements>,
    failure: Cell<Option<Failure>>,
}

impl Session {
    pub(super) fn new(client: Client) -> Self {
        Self { client: RefCell::new(client), statements: RefCell::new(no_statements()), failure: Cell::new(None) }
    }

    /// The first failure of the transaction: whatever the verb makes of it, the transaction cannot be committed.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.get()
    }

    /// Ends the request that runs, from another thread.
    pub(super) fn cancel_token(&self) -> Result<postgres::CancelToken, StoreError> {
        Ok(self.client()?.cancel_token())
    }

    /// Runs statements without parameters, as one request. The first column of the last row, if any.
    pub(in crate::store) fn command(&self, sql: &str) -> Result<Option<String>, postgres::Error> {
        self.failure.set(None);
        let messages = self.client.borrow_mut().simple_query(sql)?;
        Ok(messages.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    /// Waits for notifications on the channels that it listens to, so long at most. True when one is of another daemon.
    pub(super) fn is_notified(&self, wait: Duration, own: &str) -> Result<bool, StoreError> {
        let mut client = self.client()?;
        if client.is_closed() {
            return Err(StoreError::Aborted("the connection to the database was lost".into()));
        }
        let mut notifications = client.notifications();
        let mut is_other = false;
        let mut found = notifications.timeout_iter(wait).next()?;
        // With the first, those that have come with it.
        while let Some(notification) = found {
            is_other |= notification.payload() != own;
            found = notifications.iter().next()?;
        }
        Ok(is_other)
    }

    /// Ends the transaction without a commit.
    pub(super) fn roll_back(&self) -> Result<(), StoreError> {
        match self.failure.replace(None) {
            Some(Failure::Lost) => Err(StoreError::Closed),
            _ => self.command("ROLLBACK").map(|_| ()).map_err(StoreError::from),
        }
    }

    fn client(&self) -> Result<RefMut<'_, Client>, StoreError> {
        self.client.try_borrow_mut().map_err(|_| {
            StoreError::Aborted("a statement was run while the connection reads the rows of another".into())
        })
    }

    fn noted<T>(&self, done: Result<T, postgres::Error>) -> Result<T, StoreError> {
        done.map_err(|error| {
            self.failure.set(self.failure.get().or(Some(Failure::of(&error))));
            error.into()
        })
    }

    fn statement(&self, client: &mut Client, sql: &str) -> Result<Statement, StoreError> {
        if let Some(found) = self.statements.borrow_mut().get(sql) {
            return Ok(found.clone());
        }
        let statement = self.noted(client.prepare(&numbered(sql)))?;
        self.statements.borrow_mut().put(sql.into(), statement.clone());
        Ok(statement)
    }

    pub fn execute(&self, sql: &str, params: Params<'_>) -> Result<usize, StoreError> {
        let mut client = self.client()?;
        let statement = self.statement(&mut client, sql)?;
        let bound: Vec<Bound<'_>> = params.iter().map(|param| Bound(param.to_value())).collect();
        let mut rows = self.noted(client.query_raw(&statement, &bound))?;
        while self.noted(rows.next())?.is_some() {}
        Ok(rows.rows_affected().and_then(|count| count.try_into().ok()).unwrap_or_default())
    }

    pub fn for_each(
        &self,
        sql: &str,
        params: Params<'_>,
        mut row: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut client = self.client()?;
        let statement = self.statement(&mut client, sql)?;
        let bound: Vec<Bound<'_>> = params.iter().map(|param| Bound(param.to_value())).collect();
        let mut rows = self.noted(client.query_raw(&statement, &bound))?;
        let (mut ahead, mut octets) = (Vec::new(), 0_usize);
        let is_whole = loop {
            if ahead.len() == ROWS_AHEAD || octets >= OCTETS_AHEAD {
                break false;
            }
            match self.noted(rows.next())? {
                Some(found) => {
                    octets = octets.saturating_add(found.raw_size_bytes());
                    ahead.push(found);
                }
                None => break true,
            }
        };
        if is_whole {
            drop(rows);
            drop(client);
            for found in &ahead {
                if row(&Row::Postgres(found))?.is_break() {
                    break;
                }
            }
            return Ok(());
        }
        for found in ahead {
            if row(&Row::Postgres(&found))?.is_break() {
                return Ok(());
            }
        }
        while let Some(found) = self.noted(rows.next())? {
            if row(&Row::Postgres(&found))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Stores the octets of a body.
    pub fn insert_body(&self, pieces: &[Bytes]) -> Result<BodyId, StoreError> {
        let (mut id, body) = (None, pieces.concat());
        self.for_each("INSERT INTO body (data) VALUES (?1) RETURNING id", &[&body], |row| {
            id = Some(row.get(0)?);
            Ok(ControlFlow::Break(()))
        })?;
        id.ok_or_else(|| StoreError::Corrupt("a body that was just stored has no number".into()))
    }

    /// Writes other octets over those of a body; those that are the same, too.
    pub fn overwrite_body(&self, id: BodyId, pieces: &[Bytes]) -> Result<(), StoreError> {
        self.execute("UPDATE body SET data = ?2 WHERE id = ?1", &[&id, &pieces.concat()]).map(|_| ())
    }

    /// How many octets there are, and those of a range; fewer at its end. The others are not read: the column is stored
    /// EXTERNAL.
    pub fn read_range(&self, of: Octets, range: Range<usize>) -> Result<(usize, Vec<u8>), StoreError> {
        let (sql, id) = match of {
            Octets::Header(content) => {
                ("SELECT length(header), substring(header FROM ?2 FOR ?3) FROM content WHERE id = ?1", content.row())
            }
            Octets::Body(body) => {
                ("SELECT length(data), substring(data FROM ?2 FOR ?3) FROM body WHERE id = ?1", body.row())
            }
        };
        // A column has less than 1 GiB, and counts from 1.
        let number = |octets: usize| i64::from(i32::try_from(octets).unwrap_or(i32::MAX - 1));
        let (first, count) = (number(range.start) + 1, number(range.end.saturating_sub(range.start)));
        let mut found = None;
        self.for_each(sql, &[&id, &first, &count], |row| {
            found = Some((row.get::<u32>(0)?, row.get(1)?));
            Ok(ControlFlow::Break(()))
        })?;
        let (length, octets) = found.ok_or_else(|| StoreError::NoRow(sql.to_owned()))?;
        Ok((usize::try_from(length).unwrap_or(usize::MAX), octets))
    }
}
