//! The transaction that a verb runs in, on SQLite or PostgreSQL.
//!
//! SQL is limited to the subset that both support; parameters are `?1`, `?2` …; booleans are 1 and 0.

#[cfg(feature = "cluster")]
pub(super) mod postgres;
pub(super) mod search;
pub(super) mod sqlite;
mod value;

pub use value::{FromValue, List, ToValue, Unexpected, Value};

use super::StoreError;
use super::hot_rows::HotRow;
use crate::clock::Timestamp;
use crate::events::{Cursor, Event};
use crate::id::{AccountId, BodyId, ContentId};
use crate::resources::Owner;
use bytes::Bytes;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::{ControlFlow, Range};

/// Built by [`params`].
pub type Params<'a> = &'a [&'a dyn ToValue];

/// The parameters of a statement, `?1` first.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::store::engine::ToValue),*]
    };
}
pub(crate) use params;

#[derive(Debug)]
pub(super) enum Engine {
    Sqlite(sqlite::Sqlite),
    #[cfg(feature = "cluster")]
    Postgres(Box<postgres::Postgres>),
}

impl Engine {
    /// On PostgreSQL, writes with a hot row in common are serialized; on SQLite, all writes are.
    pub async fn write<T, E, F>(
        &self,
        owner: &Owner,
        #[cfg_attr(not(feature = "cluster"), expect(unused_variables, reason = "one thread writes"))]
        hot_rows: &[HotRow],
        work: F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        match self {
            Self::Sqlite(engine) => engine.write(owner, work).await,
            #[cfg(feature = "cluster")]
            Self::Postgres(engine) => engine.write(owner, hot_rows, work).await,
        }
    }

    pub async fn read<T, E, F>(&self, owner: &Owner, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        match self {
            Self::Sqlite(engine) => engine.read(owner, work).await,
            #[cfg(feature = "cluster")]
            Self::Postgres(engine) => engine.read(owner, work).await,
        }
    }

    /// The source's name if the database was an incomplete copy when it was opened.
    pub fn incomplete_copy_of(&self) -> Option<&str> {
        match self {
            Self::Sqlite(engine) => engine.incomplete_copy_of.as_deref(),
            #[cfg(feature = "cluster")]
            Self::Postgres(engine) => engine.incomplete_copy_of.as_deref(),
        }
    }

    /// True if other daemons may write to the same database.
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            #[cfg(feature = "cluster")]
            Self::Postgres(_) => true,
        }
    }

    /// Wakes the runners of other daemons: work has been handed back.
    pub fn notify_of_work(&self) {
        #[cfg(feature = "cluster")]
        if let Self::Postgres(engine) = self {
            engine.notify_of_work();
        }
    }

    /// Waits for running transactions, then closes. Later ones return [`StoreError::Closed`].
    pub async fn close(&self) {
        match self {
            Self::Sqlite(engine) => engine.close().await,
            #[cfg(feature = "cluster")]
            Self::Postgres(engine) => engine.close().await,
        }
    }
}

/// A transaction, with the events to publish once it is committed.
pub struct Transaction<'a> {
    connection: Connection<'a>,
    place: LogPlace,
    events: RefCell<Vec<(AccountId, Event)>>,
}

/// A transaction's position in the event log.
#[derive(Clone, Copy, Debug)]
struct LogPlace {
    /// The first position of the epoch.
    base: i64,
    /// Shared by all events of the transaction.
    position: i64,
}

impl LogPlace {
    /// Positions per epoch; more than the transactions of a server.
    const EPOCH: i64 = 1 << 48;

    /// `transaction` is the server's transaction ID, or 0 on SQLite and for reads.
    fn new(epoch: i64, transaction: i64) -> Self {
        let base = epoch.saturating_mul(Self::EPOCH);
        Self { base, position: base.saturating_add(transaction) }
    }
}

enum Connection<'a> {
    Sqlite(&'a rusqlite::Connection),
    #[cfg(feature = "cluster")]
    Postgres(&'a postgres::Session),
}

pub enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    #[cfg(feature = "cluster")]
    Postgres(&'a ::postgres::Row),
}

impl Row<'_> {
    /// The value of a column, counted from 0. Fails if no version of the program writes such a value.
    pub fn get<T: FromValue>(&self, column: usize) -> Result<T, StoreError> {
        T::from_value(self.column(column)?)
            .map_err(|Unexpected(what)| StoreError::Corrupt(format!("column {column}: {what}")))
    }

    /// The text of a column, borrowed from the row.
    pub fn text(&self, column: usize) -> Result<Cow<'_, str>, StoreError> {
        match self.column(column)? {
            Value::Text(text) => Ok(text),
            other => Err(StoreError::Corrupt(format!("column {column}: expected text, found {other:?}"))),
        }
    }

    fn column(&self, column: usize) -> Result<Value<'_>, StoreError> {
        match self {
            Self::Sqlite(row) => sqlite::column(row, column),
            #[cfg(feature = "cluster")]
            Self::Postgres(row) => postgres::column(row, column),
        }
    }
}

/// Queries on the system catalog, which differ between the engines.
#[derive(Debug)]
struct Catalog {
    tables: &'static str,
    columns: &'static str,
    /// The statements that set sequences past the highest value in use, where an INSERT with an explicit value does not.
    reset_sequences: &'static str,
}

/// A large value, read by range.
#[derive(Clone, Copy, Debug)]
pub enum Octets {
    Header(ContentId),
    Body(BodyId),
}

impl<'a> Transaction<'a> {
    fn new(connection: Connection<'a>, place: LogPlace) -> Self {
        Self { connection, place, events: RefCell::default() }
    }

    fn into_events(self) -> Vec<(AccountId, Event)> {
        self.events.into_inner()
    }

    /// Runs a statement and returns the number of rows changed.
    pub fn execute(&self, sql: &str, params: Params<'_>) -> Result<usize, StoreError> {
        match &self.connection {
            Connection::Sqlite(connection) => sqlite::execute(connection, sql, params),
            #[cfg(feature = "cluster")]
            Connection::Postgres(session) => session.execute(sql, params),
        }
    }

    /// Calls `row` for each row until it returns `Break`.
    pub fn for_each(
        &self,
        sql: &str,
        params: Params<'_>,
        row: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        match &self.connection {
            Connection::Sqlite(connection) => sqlite::for_each(connection, sql, params, row),
            #[cfg(feature = "cluster")]
            Connection::Postgres(session) => session.for_each(sql, params, row),
        }
    }

    pub fn query<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        mut row: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut rows = Vec::new();
        self.for_each(sql, params, |found| {
            rows.push(row(found)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// The first row, if there is one.
    pub fn query_opt<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        mut row: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut first = None;
        self.for_each(sql, params, |found| {
            first = Some(row(found)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(first)
    }

    /// The first row; [`StoreError::NoRow`] if there is none.
    pub fn query_row<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        row: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.query_opt(sql, params, row)?.ok_or_else(|| StoreError::NoRow(sql.to_owned()))
    }

    pub fn exists(&self, sql: &str, params: Params<'_>) -> Result<bool, StoreError> {
        Ok(self.query_opt(sql, params, |_| Ok(()))?.is_some())
    }

    /// SQL for a table of the items of the [`List`] in parameter `number`, with the column `value`. A number is
    /// `CAST(value AS BIGINT)`; the first of a row is `CAST(value ->> 0 AS BIGINT)`, as text `value ->> 0`.
    pub fn items(&self, number: usize) -> String {
        match self.connection {
            Connection::Sqlite(_) => sqlite::items(number),
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => postgres::items(number),
        }
    }

    const fn catalog(&self) -> &'static Catalog {
        match self.connection {
            Connection::Sqlite(_) => &sqlite::CATALOG,
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => &postgres::CATALOG,
        }
    }

    pub fn table_names(&self) -> Result<Vec<String>, StoreError> {
        self.query(self.catalog().tables, params![], |row| row.get(0))
    }

    /// A table's columns that are not generated, each with its position in the primary key, counted from 1, or 0.
    pub fn columns(&self, table: &str) -> Result<Vec<(String, i64)>, StoreError> {
        self.query(self.catalog().columns, params![table], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Sets sequences past the highest value in use. Required after rows were inserted with explicit row numbers.
    pub fn reset_sequences(&self) -> Result<(), StoreError> {
        let statements: Vec<String> = self.query(self.catalog().reset_sequences, params![], |row| row.get(0))?;
        statements.iter().try_for_each(|sql| self.query_row(sql, params![], |_| Ok(())))
    }

    /// Stores the concatenation of `pieces` as a body.
    pub fn insert_body(&self, pieces: &[Bytes]) -> Result<BodyId, StoreError> {
        match &self.connection {
            Connection::Sqlite(connection) => sqlite::insert_body(connection, pieces),
            #[cfg(feature = "cluster")]
            Connection::Postgres(session) => session.insert_body(pieces),
        }
    }

    /// Replaces the octets of a stored body; unchanged ones are written too, which repairs damaged pages.
    pub fn overwrite_body(&self, id: BodyId, pieces: &[Bytes]) -> Result<(), StoreError> {
        match &self.connection {
            Connection::Sqlite(connection) => sqlite::overwrite_body(connection, id, pieces),
            #[cfg(feature = "cluster")]
            Connection::Postgres(session) => session.overwrite_body(id, pieces),
        }
    }

    /// The total length, and the octets of `range`, clipped to it. Octets outside the range are not read.
    pub fn read_range(&self, of: Octets, range: Range<usize>) -> Result<(usize, Vec<u8>), StoreError> {
        match &self.connection {
            Connection::Sqlite(connection) => sqlite::read_range(connection, of, range),
            #[cfg(feature = "cluster")]
            Connection::Postgres(session) => session.read_range(of, range),
        }
    }

    /// Runs statements without parameters, separated by semicolons.
    #[cfg(test)]
    pub fn batch(&self, sql: &str) -> Result<(), StoreError> {
        sql.split(';').filter(|sql| !sql.trim().is_empty()).try_for_each(|sql| self.execute(sql, &[]).map(|_| ()))
    }

    /// For features that only SQLite has.
    #[cfg(test)]
    pub fn sqlite(&self) -> &rusqlite::Connection {
        match &self.connection {
            Connection::Sqlite(connection) => connection,
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => panic!("the store is not on SQLite"),
        }
    }

    pub fn log_position(&self) -> i64 {
        self.place.position
    }

    /// The stable end of the event log: no transaction can still commit an event before it.
    pub fn log_end(&self) -> Result<Cursor, StoreError> {
        match &self.connection {
            Connection::Sqlite(_) => sqlite::events::end(self, self.place.base),
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => postgres::events::end(self, self.place.base),
        }
    }

    /// The place in the log after which this transaction sees no event, and the positions before it of transactions that are open:
    /// of these it sees none, either.
    pub fn log_seen(&self) -> Result<(Cursor, Vec<i64>), StoreError> {
        match &self.connection {
            Connection::Sqlite(_) => Ok((self.log_end()?, Vec::new())),
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => postgres::events::seen(self, self.place.base),
        }
    }

    /// The oldest events of the log, in order.
    pub fn oldest_events(&self, limit: i64) -> Result<Vec<(Cursor, Timestamp)>, StoreError> {
        let sql = match &self.connection {
            Connection::Sqlite(_) => sqlite::events::OLDEST,
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => postgres::events::OLDEST,
        };
        self.query(sql, params![limit], |row| Ok((Cursor { position: row.get(0)?, number: row.get(1)? }, row.get(2)?)))
    }

    /// Removes the events up to and including `last`, which must be one that [`Self::oldest_events`] returned.
    pub fn remove_events(&self, last: Cursor) -> Result<usize, StoreError> {
        let sql = match &self.connection {
            Connection::Sqlite(_) => sqlite::events::REMOVE,
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => postgres::events::REMOVE,
        };
        self.execute(sql, params![last.position, last.number])
    }

    /// Publishes the event after the commit; not after a rollback.
    pub fn publish_at_commit(&self, account: AccountId, event: Event) {
        self.events.borrow_mut().push((account, event));
    }
}
