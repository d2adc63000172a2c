//! Deletes unreferenced bodies and objects, and hashes bodies that were stored before bodies had hashes.
//!
//! Invariant: the row of a body is deleted only if no content refers to it, in one transaction. An object is deleted only after
//! it was condemned, which requires that no row refers to it. See docs/decisions/0015-bodies-by-hash.md.

use super::format::encode;
#[cfg(feature = "cluster")]
use super::name::ObjectName;
use super::rows;
use crate::clock::Timestamp;
use crate::id::BodyId;
use crate::store::engine::{Octets, Row, Transaction, params};
use crate::store::{Store, StoreError};
use std::time::Duration;

/// Bodies checked in one transaction.
const BATCH: i64 = 64;
/// A transaction ends once the bodies that it has deleted reach this size.
const BATCH_OCTETS: usize = 32 * 1024 * 1024;
/// Between two checks while there is no work.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
#[cfg(feature = "cluster")]
const LIST_INTERVAL: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// Runs the sweep until the store is closed.
    pub(crate) async fn run_body_sweep(self, grace: Duration) {
        #[cfg(feature = "cluster")]
        let mut listed: Option<std::time::Instant> = None;
        let mut is_failing = false;
        loop {
            let done = async {
                let released = self.bodies_sweep(grace).await?;
                let hashed = self.body_hash_oldest().await?;
                #[cfg(feature = "cluster")]
                {
                    self.objects_condemn_unreferenced().await?;
                    self.objects_delete(grace).await?;
                    if listed.is_none_or(|at| at.elapsed() > LIST_INTERVAL) {
                        self.objects_condemn_orphans(grace).await?;
                        listed = Some(std::time::Instant::now());
                    }
                }
                Ok::<_, StoreError>(released || hashed)
            };
            match done.await {
                Ok(true) => is_failing = false,
                Ok(false) => {
                    is_failing = false;
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Err(StoreError::Closed) => return,
                Err(error) => {
                    // Logged once per outage.
                    if !is_failing {
                        tracing::error!(%error, "cannot delete unreferenced bodies, retrying");
                    }
                    is_failing = true;
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
        }
    }

    /// Checks a batch of released bodies. False if none is due.
    pub(crate) async fn bodies_sweep(&self, grace: Duration) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM body_released WHERE due_at <= ?1";
        let is_due = move |transaction: &Transaction<'_>| transaction.exists(sql, params![Timestamp::real()]);
        if !self.read(is_due).await? {
            return Ok(false);
        }
        self.write(move |transaction| sweep(transaction, grace)).await
    }

    /// Hashes and encodes the oldest body without a hash. False if there is none.
    pub(crate) async fn body_hash_oldest(&self) -> Result<bool, StoreError> {
        let oldest = self.read(|transaction| {
            let sql = "SELECT body_id FROM body_unnamed ORDER BY body_id LIMIT 1";
            let found: Option<BodyId> = transaction.query_opt(sql, &[], |row| row.get(0))?;
            let Some(id) = found else { return Ok(None) };
            Ok::<_, StoreError>(Some((id, transaction.read_range(Octets::Body(id), 0..usize::MAX)?.1)))
        });
        let Some((id, body)) = oldest.await? else { return Ok(false) };
        let encoded = tokio::task::spawn_blocking(move || encode(&body.into())).await;
        let encoded = encoded.map_err(|error| StoreError::Aborted(format!("encoding a body was aborted: {error}")))?;
        self.write(move |transaction| {
            // Deleted meanwhile, or hashed by another daemon.
            if transaction.execute("DELETE FROM body_unnamed WHERE body_id = ?1", params![id])? == 0 {
                return Ok(true);
            }
            let sql = "SELECT body_id FROM body_name WHERE hash = ?1";
            let same: Option<BodyId> = transaction.query_opt(sql, params![encoded.info.hash], |row| row.get(0))?;
            match same {
                Some(same) => {
                    transaction.execute("UPDATE content SET body_id = ?2 WHERE body_id = ?1", params![id, same])?;
                    rows::release(transaction, vec![id])?;
                }
                None => {
                    transaction.overwrite_body(id, &encoded.pieces)?;
                    rows::insert_name(transaction, id, &encoded.info, None)?;
                }
            }
            Ok(true)
        })
        .await
    }
}

fn sweep(transaction: &Transaction<'_>, grace: Duration) -> Result<bool, StoreError> {
    let now = Timestamp::real();
    let sql = "SELECT body_id, has_waited FROM body_released WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let due: Vec<(BodyId, bool)> = transaction.query(sql, params![now, BATCH], row)?;
    let mut octets = 0_usize;
    for (id, has_waited) in due {
        if transaction.exists("SELECT 1 FROM content WHERE body_id = ?1", params![id])? {
            transaction.execute("DELETE FROM body_released WHERE body_id = ?1", params![id])?;
            continue;
        }
        let known = rows::known(transaction, id)?;
        octets = octets.saturating_add(known.as_ref().map_or(BATCH_OCTETS, |(info, _)| info.stored_size));
        match known {
            Some((_, Some(_))) if !has_waited => {
                let sql = "UPDATE body_released SET due_at = ?2, has_waited = 1 WHERE body_id = ?1";
                transaction.execute(sql, params![id, now.after(grace)])?;
            }
            known => {
                if let Some((_, Some(name))) = &known {
                    rows::condemn(transaction, name)?;
                }
                // Fails on the foreign key of `content` if a concurrent transaction refers to the body.
                transaction.execute("DELETE FROM body WHERE id = ?1", params![id])?;
            }
        }
        if octets >= BATCH_OCTETS {
            break;
        }
    }
    Ok(true)
}

#[cfg(feature = "cluster")]
impl Store {
    /// Deletes condemned objects, and removes the rows of those deleted long ago.
    pub(crate) async fn objects_delete(&self, grace: Duration) -> Result<(), StoreError> {
        let Some(objects) = self.objects() else { return Ok(()) };
        let kept = grace.max(rows::MAX_PUT_AGE);
        loop {
            let names = self.read(|transaction| {
                let sql = "SELECT name FROM object_condemned WHERE is_deleted = 0 ORDER BY at LIMIT ?1";
                transaction.query(sql, params![BATCH], |row| row.get::<String>(0))
            });
            let names: Vec<String> = names.await?;
            if names.is_empty() {
                break;
            }
            for name in names.iter().filter_map(|name| ObjectName::parse(name)) {
                objects.delete(&name).await?;
            }
            self.write(move |transaction| {
                names.iter().try_for_each(|name| {
                    let sql = "UPDATE object_condemned SET is_deleted = 1, at = ?2 WHERE name = ?1";
                    transaction.execute(sql, params![name, Timestamp::real()]).map(|_| ())
                })
            })
            .await?;
        }
        let before = Timestamp::real().millis().saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
        let sql = "SELECT 1 FROM object_condemned WHERE is_deleted = 1 AND at < ?1";
        if !self.read(move |transaction| transaction.exists(sql, params![before])).await? {
            return Ok(());
        }
        self.write(move |transaction| {
            let sql = "DELETE FROM object_condemned WHERE is_deleted = 1 AND at < ?1";
            transaction.execute(sql, params![before]).map(|_| ())
        })
        .await
    }

    /// Condemns the objects whose transactions failed or were cancelled.
    pub(crate) async fn objects_condemn_unreferenced(&self) -> Result<(), StoreError> {
        let names = self.inner.unreferenced.take();
        if names.is_empty() { Ok(()) } else { self.objects_condemn(names).await }
    }

    /// Condemns those of the objects that no row refers to.
    async fn objects_condemn(&self, names: Vec<ObjectName>) -> Result<(), StoreError> {
        self.write(move |transaction| {
            names.iter().try_for_each(|name| {
                let sql = "SELECT 1 FROM body_name WHERE object = ?1";
                match transaction.exists(sql, params![name.as_str()])? {
                    true => Ok(()),
                    false => rows::condemn(transaction, name),
                }
            })
        })
        .await
    }

    /// Lists the object store and condemns objects that are older than `grace` and that no row refers to.
    pub(crate) async fn objects_condemn_orphans(&self, grace: Duration) -> Result<(), StoreError> {
        let Some(objects) = self.objects() else { return Ok(()) };
        let before = std::time::SystemTime::now() - grace;
        let folder = objects.clone();
        // A put takes less than an hour.
        let unfinished = std::time::SystemTime::now() - grace.max(rows::MAX_PUT_AGE);
        match tokio::task::spawn_blocking(move || folder.remove_unfinished(unfinished)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "removed files of interrupted puts"),
            Ok(Err(error)) => tracing::error!(%error, "cannot remove files of interrupted puts"),
            Err(error) => tracing::error!(%error, "cannot remove files of interrupted puts"),
        }
        objects.older_than(before, 500, |names| self.objects_condemn(names)).await
    }
}
