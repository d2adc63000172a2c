//! Returns unused pages of the database file to the file system.
//!
//! Invariant: at every moment the database file is completely the old one or completely the new one. The new file is written
//! beside the old one and synced before it is renamed. By then the old file's write-ahead log is empty, so that SQLite cannot
//! apply it to the new file.

use super::copy::{self, CopyError};
use crate::store::engine::Engine;
use crate::store::{OpenError, Store, StoreError};
use rusqlite::Connection;
use std::path::Path;

/// Sizes of the database and its write-ahead log, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub before: u64,
    pub after: u64,
}

/// After any of these, the old file is intact.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("database error: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("another process has the database open")]
    Busy,
    #[error("only an SQLite store can be compacted; PostgreSQL reuses unused space by itself (autovacuum)")]
    NotSqlite,
}

/// Rewrites the database file without unused pages, and closes the store; its lock is held until then. Requires as much free disk
/// as the new file takes.
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

/// Of the database and its write-ahead log.
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
    async fn compacting_frees_the_space_of_deleted_messages_and_keeps_the_others() {
        use std::os::unix::fs::PermissionsExt;
        crate::store::testing::sqlite_only("VACUUM");
        let (dir, store, account) = store_with_account().await;
        let (gone, stays) = (inbox(&store, &account, "gone").await, inbox(&store, &account, "stays").await);
        // Incompressible octets.
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
        // Left by an interrupted run.
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
