//! A connection and its prepared statements.

use super::statement::{Bound, Statements, statement_cache, with_dollar_parameters};
use crate::id::BodyId;
use crate::store::StoreError;
use crate::store::engine::{Octets, Params, Row};
use bytes::Bytes;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, SimpleQueryMessage, Statement};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

/// A result within these limits is read completely before the first row is passed on, so that a verb may run other statements per
/// row. The rows of a larger result are passed on as they arrive, and the connection is busy until the last.
const BUFFERED_ROWS: usize = 1000;
const BUFFERED_OCTETS: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// With another transaction (40001, 40P01, 55P03): a retry may succeed.
    Conflict,
    /// The connection was lost; the transaction is rolled back unless COMMIT was sent.
    Lost,
    /// By `statement_timeout`, or because the caller of the read was cancelled.
    Cancelled,
    /// A retry would fail too.
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
            // A migration has changed a table: the statement must be prepared again, on a new connection.
            Some(&SqlState::FEATURE_NOT_SUPPORTED) if routine(error) == Some("RevalidateCachedQuery") => Self::Lost,
            Some(code) if ends_connection(code) => Self::Lost,
            Some(_) => Self::Other,
            None if error.is_closed() || is_io() => Self::Lost,
            None => Self::Other,
        }
    }
}

/// The server's message, code and detail, or the cause: the `Display` of [`postgres::Error`] is only "db error".
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

/// The server closes the connection (classes 08 and 57P), or refuses a new one.
fn ends_connection(code: &SqlState) -> bool {
    code.code().starts_with("08")
        || code.code().starts_with("57P")
        || *code == SqlState::TOO_MANY_CONNECTIONS
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
}

pub(in crate::store) struct Session {
    client: RefCell<Client>,
    statements: RefCell<Statements>,
    failure: Cell<Option<Failure>>,
}

impl Session {
    pub(super) fn new(client: Client) -> Self {
        Self { client: RefCell::new(client), statements: RefCell::new(statement_cache()), failure: Cell::new(None) }
    }

    /// The first failure in the transaction. It cannot be committed then, even if the verb ignores the error.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.get()
    }

    /// Cancels the running statement from another thread.
    pub(super) fn cancel_token(&self) -> Result<postgres::CancelToken, StoreError> {
        Ok(self.client()?.cancel_token())
    }

    /// Runs statements without parameters as one request. Returns the first column of the last row, if any.
    pub(in crate::store) fn command(&self, sql: &str) -> Result<Option<String>, postgres::Error> {
        self.failure.set(None);
        let messages = self.client.borrow_mut().simple_query(sql)?;
        Ok(messages.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    /// Waits up to `timeout` for notifications. The channels of those that have another payload than `own`.
    pub(super) fn wait_for_notifications(&self, timeout: Duration, own: &str) -> Result<BTreeSet<String>, StoreError> {
        let mut client = self.client()?;
        if client.is_closed() {
            return Err(StoreError::Aborted("the connection to the database was lost".into()));
        }
        let mut notifications = client.notifications();
        let mut channels = BTreeSet::new();
        let mut found = notifications.timeout_iter(timeout).next()?;
        // Those that arrived with the first are consumed too.
        while let Some(notification) = found {
            if notification.payload() != own {
                channels.insert(notification.channel().to_owned());
            }
            found = notifications.iter().next()?;
        }
        Ok(channels)
    }

    pub(super) fn roll_back(&self) -> Result<(), StoreError> {
        match self.failure.replace(None) {
            Some(Failure::Lost) => Err(StoreError::Closed),
            _ => self.command("ROLLBACK").map(|_| ()).map_err(StoreError::from),
        }
    }

    fn client(&self) -> Result<RefMut<'_, Client>, StoreError> {
        self.client.try_borrow_mut().map_err(|_| {
            StoreError::Aborted("cannot run a statement while the connection reads the rows of another".into())
        })
    }

    /// Records the first failure of the transaction.
    fn recorded<T>(&self, done: Result<T, postgres::Error>) -> Result<T, StoreError> {
        done.map_err(|error| {
            self.failure.set(self.failure.get().or(Some(Failure::of(&error))));
            error.into()
        })
    }

    fn statement(&self, client: &mut Client, sql: &str) -> Result<Statement, StoreError> {
        if let Some(found) = self.statements.borrow_mut().get(sql) {
            return Ok(found.clone());
        }
        let statement = self.recorded(client.prepare(&with_dollar_parameters(sql)))?;
        self.statements.borrow_mut().put(sql.into(), statement.clone());
        Ok(statement)
    }

    pub fn execute(&self, sql: &str, params: Params<'_>) -> Result<usize, StoreError> {
        let mut client = self.client()?;
        let statement = self.statement(&mut client, sql)?;
        let bound: Vec<Bound<'_>> = params.iter().map(|param| Bound(param.to_value())).collect();
        let mut rows = self.recorded(client.query_raw(&statement, &bound))?;
        while self.recorded(rows.next())?.is_some() {}
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
        let mut rows = self.recorded(client.query_raw(&statement, &bound))?;
        let (mut buffered, mut octets) = (Vec::new(), 0_usize);
        let is_complete = loop {
            if buffered.len() == BUFFERED_ROWS || octets >= BUFFERED_OCTETS {
                break false;
            }
            match self.recorded(rows.next())? {
                Some(found) => {
                    octets = octets.saturating_add(found.raw_size_bytes());
                    buffered.push(found);
                }
                None => break true,
            }
        };
        if is_complete {
            drop(rows);
            drop(client);
            for found in &buffered {
                if row(&Row::Postgres(found))?.is_break() {
                    break;
                }
            }
            return Ok(());
        }
        for found in buffered {
            if row(&Row::Postgres(&found))?.is_break() {
                return Ok(());
            }
        }
        while let Some(found) = self.recorded(rows.next())? {
            if row(&Row::Postgres(&found))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    pub fn insert_body(&self, pieces: &[Bytes]) -> Result<BodyId, StoreError> {
        let (mut id, body) = (None, pieces.concat());
        self.for_each("INSERT INTO body (data) VALUES (?1) RETURNING id", &[&body], |row| {
            id = Some(row.get(0)?);
            Ok(ControlFlow::Break(()))
        })?;
        id.ok_or_else(|| StoreError::Corrupt("INSERT INTO body returned no id".into()))
    }

    pub fn overwrite_body(&self, id: BodyId, pieces: &[Bytes]) -> Result<(), StoreError> {
        self.execute("UPDATE body SET data = ?2 WHERE id = ?1", &[&id, &pieces.concat()]).map(|_| ())
    }

    /// Reads only the range's octets: the columns have storage EXTERNAL.
    pub fn read_range(&self, of: Octets, range: Range<usize>) -> Result<(usize, Vec<u8>), StoreError> {
        let (sql, id) = match of {
            Octets::Header(content) => {
                ("SELECT length(header), substring(header FROM ?2 FOR ?3) FROM content WHERE id = ?1", content.row())
            }
            Octets::Body(body) => {
                ("SELECT length(data), substring(data FROM ?2 FOR ?3) FROM body WHERE id = ?1", body.row())
            }
        };
        // A value has less than 1 GiB; `substring` counts from 1.
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
