//! Giving disk that the database does not use back to the file system.
//!
//! Invariant: at every moment the database's file is the old one or the new one, each whole. The new one is written beside
//! the old one and synced before it takes its name, and by then the old one's write-ahead log is empty, so that nothing in
//! it can be taken for the new one's.

use super::copy::{self, CopyError};
use crate::store::engine::Engine;
use crate::store::{OpenError, Store, StoreError};
use rusqlite::Connection;
use std::path::Path;

/// Octets of a store's files before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub before: u64,
    pub after: u64,
}

/// Why a store was not compacted. Nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its writer.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("another process has the database open")]
    Busy,
    #[error("the store is on PostgreSQL, which gives disk back by itself (autovacuum): only SQLite's is compacted")]
    NotSqlite,
}

/// Makes the database as small as it can be, and closes the store, whose lock keeps daemons out until then. It needs as much
/// free disk as the database will have.
pub async fn compact(store: Store) -> Result<Compacted, CompactError> {
    let path = match &store.inner.engine {
        Engine::Sqlite(engine) => engine.path().to_owned(),
        #[cfg(feature = "cluster")]
        Engine::Postgres(_) => return Err(CompactError::NotSqlite),
    };
    store.close().await;
    let before = size(&path)?;
    let done = tokio::task::spawn_blocking(move || rewrite(&path).and_then(|()| Ok(size(&path)?)));
    let after = done.await.map_err(std::io::Error::other)??;
    drop(store);
    Ok(Compacted { before, after })
}

fn rewrite(path: &Path) -> Result<(), CompactError> {
    let new = path.with_extension("compact");
    let connection = Connection::open(path)?;
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        return Err(CompactError::Busy);
    }
    copy::write(&connection, &new)?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(copy::rename(&new, path)?)
}

/// Octets of the database and its log.
fn size(path: &Path) -> std::io::Result<u64> {
    let mut octets = std::fs::metadata(path)?.len();
    match std::fs::metadata(path.with_extension("db-wal")) {
        Ok(log) => octets = octets.saturating_add(log.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::MailboxService;
    use crate::store::testing::{inbox, limits, put, store_with_account};
    use crate::store::{Transaction, params};

    #[tokio::test]
    async fn what_was_deleted_is_given_back_and_the_rest_is_there() {
        use std::os::unix::fs::PermissionsExt;
        crate::store::testing::sqlite_only();
        let (dir, store, account) = store_with_account().await;
        let (gone, stays) = (inbox(&store, &account, "gone").await, inbox(&store, &account, "stays").await);
        // Octets that do not compress.
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        let large = [b"Subject: x\r\n\r\n".to_vec(), noise.take(3_000_000).collect()].concat();
        let kept = put(&store, &stays, b"Subject: kept\r\n\r\nbody\r\n").await;
        put(&store, &gone, &large).await;
        assert!(store.inbox_delete(&account, &gone).await.unwrap());
        MailboxService::new(store.clone(), limits(u64::MAX)).finish_long_changes().await.unwrap();
        while store.bodies_sweep(std::time::Duration::ZERO).await.unwrap() {}
        assert!(matches!(Store::open(dir.path()), Err(OpenError::InUse { .. })));
        // One that was cut off.
        std::fs::write(dir.path().join("inboxlayer.compact"), "half").unwrap();

        let done = compact(store).await.unwrap();
        assert!(done.before > 3_000_000 && done.after < 1_000_000, "{done:?}");
        assert!(!dir.path().join("inboxlayer.compact").exists());
        let mode = std::fs::metadata(dir.path().join("inboxlayer.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        let store = Store::open(dir.path()).unwrap();
        let raw = store.message_raw(&stays, &kept.id).await.unwrap().unwrap();
        assert_eq!(&raw.body[..], b"body\r\n");
        let check = |c: &Transaction<'_>| c.query_row("PRAGMA integrity_check", params![], |row| row.get::<String>(0));
        assert_eq!(store.read::<_, StoreError, _>(check).await.unwrap(), "ok");
        put(&store, &stays, b"Subject: new\r\n\r\n").await;
    }
}
