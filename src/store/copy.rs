//! Copies the database of a stopped deployment to another database, of either engine.
//!
//! Rows are copied table by table in the order of their keys, one batch per transaction, so an interrupted copy continues after
//! the last key in the target. Then the digests of both are compared. Invariant: from its first row until the digests are equal,
//! the target is marked as incomplete, and daemons refuse to open it.

mod rows;

use super::engine::params;
use super::{Store, StoreError, Transaction, search};
use rows::{Digest, Row, Table};
use std::sync::Arc;

/// The tables, each after those that it has foreign keys to.
const TABLES: &[&str] = &[
    "account",
    "inbox_name",
    "claimed_name",
    "dkim_serial",
    "sealing_check",
    "uid_validity",
    "last_uid_validity",
    "account_user",
    "notification_token",
    "token",
    "idempotency",
    "inbox",
    "long_change",
    "token_inbox",
    "custom_domain",
    "alias",
    "access_entry",
    "domain_record",
    "domain_event",
    "domain_check",
    "domain_finding",
    "dkim_key",
    "dkim_kept",
    "dkim_rotation",
    "ses_identity",
    "due_account",
    "event",
    "event_log",
    "webhook_subscription",
    "webhook_feed",
    "webhook_sequence",
    "webhook_event",
    "webhook_delivery",
    "webhook_attempt",
    "webhook_usage",
    "body",
    "body_name",
    "body_released",
    "body_unnamed",
    "object_condemned",
    "content",
    "unreadable",
    "mailbox",
    "mailbox_keyword",
    "inbox_metadata",
    "mailbox_metadata",
    "subscription",
    "message",
    "thread",
    "thread_reference",
    "label",
    "sent_email",
    "sent_result",
    "expunged",
    "submission",
    "delivery",
];
/// Tables that are not copied: metadata of a database, the counters of hourly limits, and the search index and the overviews, which
/// are built again.
const NOT_COPIED: &[&str] =
    &["incomplete_copy", "overview", "rate", "schema_version", "search_account", "search_document", "search_tail"];
/// Prefix of the tables of SQLite's search index.
const SEARCH_INDEX: &str = "search_gram";
/// Tables with rows in a new database, which the source's rows replace.
const SEEDED: &[&str] = &["account", "dkim_serial", "event_log", "uid_validity"];
/// Columns that refer to a later row or table; written after all rows.
const DEFERRED: &[(&str, &str)] = &[("inbox", "default_domain_id"), ("mailbox", "part_of")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub step: Step,
    pub table: &'static str,
    pub rows: u64,
    pub of: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Step {
    Copied,
    Compared,
}

/// After any of these, the source is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the target is not empty: table {0} has rows; use a new database")]
    NotEmpty(&'static str),
    #[error("the target is an incomplete copy of {0}; continue from there, or use a new database")]
    OtherSource(String),
    #[error("the schemas differ: {0}")]
    Schema(String),
    #[error("table {table} differs: {found} rows in the target, {wanted} in the source, or different values")]
    Different { table: &'static str, wanted: u64, found: u64 },
}

impl Store {
    /// Copies all rows to a new database, or continues an incomplete copy of this one. `source` is this database's name in the
    /// mark. Returns the number of rows.
    pub async fn copy_to(
        &self,
        target: &Self,
        source: &str,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<u64, CopyError> {
        let (tables, theirs) = (self.tables().await?, target.tables().await?);
        if let Some((table, _)) = tables.iter().zip(&theirs).find(|(ours, theirs)| ours.columns != theirs.columns) {
            return Err(CopyError::Schema(format!("the columns of {}", table.name)));
        }
        let name = source.to_owned();
        target.write(move |c| begin(c, &name)).await?;
        let mut rows = 0;
        for table in &tables {
            rows += self.copy_table(target, table, report).await?;
        }
        for table in &tables {
            self.copy_deferred(target, table).await?;
        }
        target.write(|c| c.reset_sequences()).await?;
        for (ours, theirs) in tables.iter().zip(&theirs) {
            let (wanted, found) = (self.digest(ours).await?, target.digest(theirs).await?);
            let table = ours.name;
            if wanted != found {
                return Err(CopyError::Different { table, wanted: wanted.rows, found: found.rows });
            }
            report(Progress { step: Step::Compared, table, rows: found.rows, of: wanted.rows });
        }
        target.write(complete).await?;
        Ok(rows)
    }

    async fn copy_table(
        &self,
        target: &Self,
        table: &Arc<Table>,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<u64, CopyError> {
        let (counted, there) = (Arc::clone(table), Arc::clone(table));
        let of = self.read(move |c| counted.count(c)).await?;
        let (mut rows, mut last) =
            target.read(move |c| Ok::<_, StoreError>((there.count(c)?, there.last_key(c)?))).await?;
        loop {
            let batch = self.batch(table, last.take()).await?;
            let Some(row) = batch.last() else { return Ok(rows) };
            last = Some(table.key_of(row));
            rows += batch.len() as u64;
            let table = Arc::clone(table);
            let name = table.name;
            target.write(move |c| table.insert(c, &batch)).await?;
            report(Progress { step: Step::Copied, table: name, rows, of });
        }
    }

    async fn batch(&self, table: &Arc<Table>, after: Option<Row>) -> Result<Vec<Row>, StoreError> {
        let table = Arc::clone(table);
        self.read(move |c| table.batch(c, after.as_deref())).await
    }

    /// Writes the deferred column.
    async fn copy_deferred(&self, target: &Self, table: &Arc<Table>) -> Result<(), StoreError> {
        if table.deferred.is_none() {
            return Ok(());
        }
        let mut last = None;
        loop {
            let batch = self.batch(table, last.take()).await?;
            let Some(row) = batch.last() else { return Ok(()) };
            last = Some(table.key_of(row));
            let table = Arc::clone(table);
            target.write(move |c| table.update_deferred(c, &batch)).await?;
        }
    }

    async fn digest(&self, table: &Arc<Table>) -> Result<Digest, StoreError> {
        let (mut digest, mut last) = (Digest::default(), None);
        loop {
            let batch = self.batch(table, last.take()).await?;
            let Some(row) = batch.last() else { return Ok(digest) };
            last = Some(table.key_of(row));
            batch.iter().for_each(|row| digest.add(row));
        }
    }

    async fn tables(&self) -> Result<Vec<Arc<Table>>, CopyError> {
        self.read(tables).await
    }
}

/// The source's name if the database is an incomplete copy.
pub(super) fn incomplete_copy_of(c: &Transaction<'_>) -> Result<Option<String>, StoreError> {
    c.query_opt("SELECT source FROM incomplete_copy", params![], |row| row.get(0))
}

/// Fails if the database has a table that is in none of the lists.
fn tables(c: &Transaction<'_>) -> Result<Vec<Arc<Table>>, CopyError> {
    let unknown = |name: &String| {
        let is_listed = TABLES.contains(&name.as_str()) || NOT_COPIED.contains(&name.as_str());
        !is_listed && !name.starts_with(SEARCH_INDEX)
    };
    if let Some(unknown) = c.table_names()?.into_iter().find(unknown) {
        return Err(CopyError::Schema(format!("unknown table {unknown}")));
    }
    TABLES.iter().map(|name| Ok(Arc::new(Table::of(c, name, DEFERRED)?))).collect()
}

/// Removes the mark, starts a new epoch of the target's event log, and marks all messages as not indexed for searches.
fn complete(c: &Transaction<'_>) -> Result<(), StoreError> {
    c.execute("UPDATE event_log SET epoch = epoch + 1", params![])?;
    c.execute("DELETE FROM incomplete_copy", params![])?;
    search::clear(c)
}

/// Marks a new target as incomplete and removes its initial rows.
fn begin(c: &Transaction<'_>, source: &str) -> Result<(), CopyError> {
    match incomplete_copy_of(c)? {
        Some(begun) if begun == source => return Ok(()),
        Some(begun) => return Err(CopyError::OtherSource(begun)),
        None => {}
    }
    let has_rows = |table: &&&str| c.exists(&format!("SELECT 1 FROM {table} LIMIT 1"), params![]);
    for table in TABLES.iter().filter(|table| !SEEDED.contains(table)) {
        if has_rows(&table)? {
            return Err(CopyError::NotEmpty(table));
        }
    }
    if c.query_row("SELECT count(*) FROM account", params![], |row| row.get::<i64>(0))? > 1 {
        return Err(CopyError::NotEmpty("account"));
    }
    for table in SEEDED {
        c.execute(&format!("DELETE FROM {table}"), params![])?;
    }
    c.execute("INSERT INTO incomplete_copy (source) VALUES (?1)", params![source])?;
    Ok(())
}

#[cfg(test)]
mod tests;
