//! SQLite: the store of one daemon, in one file.
//!
//! Invariant: a write has returned only when it is on disk (`synchronous=FULL`). One thread writes; concurrent writes share a
//! commit (group commit), and the rollback of one does not affect the others. Readers have their
//! own connections and see the last commit (WAL).

mod catalog;
pub(crate) mod compact;
mod copy;
pub(super) mod events;
pub(in crate::store) mod migrations;
mod readers;
pub(in crate::store) mod search;
mod writer;

pub(super) use catalog::{CATALOG, items};

use super::{Connection, LogPlace, Octets, Params, Row, Transaction, Value};
use crate::events::{Event, Events};
use crate::id::{AccountId, BodyId};
use crate::resources::Owner;
use crate::resources::disk::FreeDisk;
use crate::store::copy::incomplete_copy_of;
use crate::store::{OpenError, StoreError, jobs, private_file};
use bytes::Bytes;
use readers::Readers;
use rusqlite::blob::ZeroBlob;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, MAIN_DB, OpenFlags};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use writer::Writer;

/// Concurrent reads, which are short and mostly served from the page cache.
pub(in crate::store) const READERS: usize = 4;
/// The length of the write-ahead log, in pages of 4 KiB, from which a commit copies it into the database file, with two more syncs. A page
/// that was changed by several commits is copied once. Half of the reserve of disk space, which is for it when the disk is full.
const CHECKPOINT_PAGES: u32 = 2000;
/// A larger body is written by incremental blob I/O, since a parameter is copied.
const MAX_BODY_PARAMETER: usize = 256 * 1024;

pub(in crate::store) struct Sqlite {
    readers: Readers,
    writer: Writer,
    path: PathBuf,
    place: LogPlace,
    /// Events are published here after the commit.
    hub: Events,
    pub incomplete_copy_of: Option<String>,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens or creates the database in a data directory that the caller has locked, and migrates its schema.
    pub fn open(data_dir: &Path, disk: &FreeDisk, hub: Events) -> Result<Self, OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        disk.release_reserve_if_full();
        let path = data_dir.join("inboxlayer.db");
        // SQLite gives the same mode to the files that it creates beside it.
        private_file(&path).map_err(io(&path))?;
        let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
        let mut writer = rusqlite::Connection::open(&path).map_err(sqlite)?;
        configure(&writer).map_err(sqlite)?;
        writer.pragma_update(None, "journal_mode", "WAL").map_err(sqlite)?;
        // Every commit is synced: accepted mail survives a power failure.
        writer.pragma_update(None, "synchronous", "FULL").map_err(sqlite)?;
        writer.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(sqlite)?;
        migrations::run(&mut writer, &path, disk).map_err(Box::new)?;
        let epoch =
            writer.query_row("SELECT coalesce(max(epoch), 0) FROM event_log", [], |row| row.get(0)).map_err(sqlite)?;
        let place = LogPlace::new(epoch, 0);
        let verbs = Transaction::new(Connection::Sqlite(&writer), place);
        let store = |error| OpenError::Store { path: path.clone(), error };
        let incomplete_copy_of = incomplete_copy_of(&verbs).map_err(store)?;
        if incomplete_copy_of.is_none() {
            // The data directory is locked, so the processes that held leases have ended.
            match jobs::end_leases(&verbs, None).map_err(store)? {
                0 => {}
                ended => tracing::info!(ended, "released the leases of interrupted jobs"),
            }
        }

        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let reader = rusqlite::Connection::open_with_flags(&path, flags).map_err(sqlite)?;
            configure(&reader).map_err(sqlite)?;
            readers.push(reader);
        }
        disk.hold_reserve();
        let writer = Writer::start(writer, disk.clone()).map_err(io(&path))?;
        Ok(Self { readers: Readers::new(readers), writer, path, place, hub, incomplete_copy_of })
    }

    pub async fn write<T, E, F>(&self, owner: &Owner, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let place = self.place;
        let work = move |connection: &rusqlite::Connection| {
            let transaction = Transaction::new(Connection::Sqlite(connection), place);
            let value = work(&transaction)?;
            Ok((value, transaction.into_events()))
        };
        let hub = self.hub.clone();
        let committed = move |(value, events): (T, Vec<(AccountId, Event)>)| {
            for (account, event) in events {
                hub.publish(&account, event);
            }
            value
        };
        self.writer.run(owner, work, committed).await
    }

    pub async fn read<T, E, F>(&self, owner: &Owner, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let place = self.place;
        let work =
            move |connection: &rusqlite::Connection| work(&Transaction::new(Connection::Sqlite(connection), place));
        self.readers.run(owner, work).await
    }

    /// Waits for queued writes, then closes. Later verbs return [`StoreError::Closed`].
    pub async fn close(&self) {
        self.readers.close();
        self.writer.close().await;
    }

    /// The number of an owner's queued writes.
    #[cfg(test)]
    pub fn waiting(&self, owner: &Owner) -> usize {
        self.writer.waiting(owner)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn configure(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    // A savepoint's journal is in memory up to 64 KiB, then in a file. Completely in memory, it takes time quadratic in the
    // changes of the savepoint (32,000 deletes: minutes instead of two seconds).
    connection.pragma_update(None, "temp_store", "FILE")?;
    // Query planner stability guarantee: otherwise SQLite prepares a statement again when a bound value that affects the plan,
    // such as that of LIMIT, changes. That took a quarter of the time of a FETCH.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn bind<'a>(
    connection: &'a rusqlite::Connection,
    sql: &str,
    params: Params<'_>,
) -> rusqlite::Result<CachedStatement<'a>> {
    let mut statement = connection.prepare_cached(sql)?;
    for (number, param) in (1..).zip(params) {
        let value = param.to_value();
        statement.raw_bind_parameter(
            number,
            ToSqlOutput::Borrowed(match &value {
                Value::Null => ValueRef::Null,
                Value::Integer(integer) => ValueRef::Integer(*integer),
                Value::Text(text) => ValueRef::Text(text.as_bytes()),
                Value::Octets(octets) => ValueRef::Blob(octets),
            }),
        )?;
    }
    Ok(statement)
}

pub(super) fn execute(connection: &rusqlite::Connection, sql: &str, params: Params<'_>) -> Result<usize, StoreError> {
    Ok(bind(connection, sql, params)?.raw_execute()?)
}

pub(super) fn for_each(
    connection: &rusqlite::Connection,
    sql: &str,
    params: Params<'_>,
    mut row: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = bind(connection, sql, params)?;
    let mut rows = statement.raw_query();
    while let Some(found) = rows.next()? {
        if row(&Row::Sqlite(found))?.is_break() {
            break;
        }
    }
    Ok(())
}

pub(super) fn column<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Result<Value<'a>, StoreError> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(text.into()),
            Err(error) => return Err(StoreError::Corrupt(format!("column {column}: {error}"))),
        },
        ValueRef::Blob(octets) => Value::Octets(octets),
        ValueRef::Real(number) => return Err(StoreError::Corrupt(format!("column {column}: {number}"))),
    })
}

pub(super) fn insert_body(connection: &rusqlite::Connection, pieces: &[Bytes]) -> Result<BodyId, StoreError> {
    let size: usize = pieces.iter().map(Bytes::len).sum();
    let mut insert = connection.prepare_cached("INSERT INTO body (data) VALUES (?1)")?;
    if size <= MAX_BODY_PARAMETER {
        insert.execute([pieces.concat()])?;
        return Ok(BodyId::new(connection.last_insert_rowid()));
    }
    insert.execute([ZeroBlob(u64::try_from(size).unwrap_or(u64::MAX))])?;
    let id = BodyId::new(connection.last_insert_rowid());
    write_pieces(connection, id, pieces)?;
    Ok(id)
}

pub(super) fn overwrite_body(
    connection: &rusqlite::Connection,
    id: BodyId,
    pieces: &[Bytes],
) -> Result<(), StoreError> {
    let size: usize = pieces.iter().map(Bytes::len).sum();
    let sql = "UPDATE body SET data = zeroblob(?2) WHERE id = ?1 AND length(data) <> ?2";
    connection.prepare_cached(sql)?.execute((id.row(), i64::try_from(size).unwrap_or(i64::MAX)))?;
    // An UPDATE does not write unchanged pages, which may be damaged on disk.
    write_pieces(connection, id, pieces)
}

fn write_pieces(connection: &rusqlite::Connection, id: BodyId, pieces: &[Bytes]) -> Result<(), StoreError> {
    let mut blob = connection.blob_open(MAIN_DB, "body", "data", id.row(), false)?;
    let mut at = 0;
    for piece in pieces {
        blob.write_at(piece, at)?;
        at += piece.len();
    }
    Ok(())
}

pub(super) fn read_range(
    connection: &rusqlite::Connection,
    of: Octets,
    range: Range<usize>,
) -> Result<(usize, Vec<u8>), StoreError> {
    let blob = match of {
        Octets::Header(content) => connection.blob_open(MAIN_DB, "content", "header", content.row(), true),
        Octets::Body(body) => connection.blob_open(MAIN_DB, "body", "data", body.row(), true),
    }?;
    let end = range.end.min(blob.len());
    let start = range.start.min(end);
    let mut octets = vec![0; end - start];
    blob.read_at_exact(&mut octets, start)?;
    Ok((blob.len(), octets))
}
