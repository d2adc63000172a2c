//! Shared or exclusive access to the database.
//!
//! Invariant: the connection of an open store's follower holds an advisory lock of the database: daemons a shared one, a program
//! that needs exclusive access an exclusive one. The lock ends with the connection, so also when the process dies. A daemon that
//! reconnects while a program has exclusive access fails to get the lock, logs it, and does not follow the event log.

use super::session::Session;
use crate::store::engine::params;
use crate::store::{Access, StoreError};

/// The lock's number: `present` in ASCII.
const LOCK: i64 = i64::from_be_bytes(*b"\0present");

/// Takes the lock. Fails with [`StoreError::InUse`], which names the holders.
pub(super) fn take(session: &Session, access: Access) -> Result<(), StoreError> {
    let lock = match access {
        Access::Shared => "pg_try_advisory_lock_shared",
        Access::Exclusive => "pg_try_advisory_lock",
    };
    match session.command(&format!("SELECT {lock}({LOCK})"))?.as_deref() {
        Some("t") => Ok(()),
        _ => Err(StoreError::InUse(holders(session)?)),
    }
}

fn holders(session: &Session) -> Result<String, StoreError> {
    let sql = "SELECT a.application_name || ' from ' || coalesce(host(a.client_addr), 'this machine') || ' since '
            || to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database()
            AND CAST(l.classid AS BIGINT) = ?1 AND CAST(l.objid AS BIGINT) = ?2 ORDER BY a.backend_start";
    let mut holders: Vec<String> = Vec::new();
    session.for_each(sql, params![LOCK >> 32, LOCK & 0xFFFF_FFFF], |row| {
        holders.push(row.get(0)?);
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(if holders.is_empty() { "a program that has just exited".to_owned() } else { holders.join(", ") })
}
