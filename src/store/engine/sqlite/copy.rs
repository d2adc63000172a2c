//! Copies of the database file, such as the one before a schema migration.
//!
//! Invariant: a copy with its final name is complete and on disk.

use crate::clock::Timestamp;
use crate::resources::disk::FreeDisk;
use crate::store::private_file;
use rusqlite::Connection;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Copies kept, of any schema version.
const KEPT_COPIES: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("the copy needs {needed} octets, but only {free} are free above limits.free_disk: free disk space")]
    NoRoom { needed: u64, free: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Writes the database to a file, without unused pages. An existing file is replaced. On failure the file is removed.
pub(super) fn write(connection: &Connection, to: &Path) -> Result<(), CopyError> {
    // A file left by an interrupted run.
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    private_file(to)?;
    let written = connection.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(CopyError::from);
    let synced = written.and_then(|_| Ok(File::open(to)?.sync_all()?));
    if synced.is_err() {
        fs::remove_file(to)?;
    }
    synced
}

/// Renames a file and syncs its directory.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Copies the database `path`, of schema version `version`, into the same directory. If nothing was written since the last copy
/// of that version, returns that copy: a daemon that restarts in a loop makes only one.
pub(super) fn before_upgrade(
    connection: &Connection,
    path: &Path,
    version: u32,
    disk: &FreeDisk,
) -> Result<PathBuf, CopyError> {
    let mut copies = copies(path)?;
    let of_version = |copy: &&PathBuf| copy.extension().is_some_and(|end| end == format!("schema-{version}").as_str());
    if let Some(newest) = copies.iter().rev().find(of_version)
        && written_at(newest)? >= last_write(path)?
    {
        return Ok(newest.clone());
    }
    let octets = |pragma: &str| {
        connection.query_row(&format!("PRAGMA {pragma}"), [], |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))
    };
    let needed = octets("page_count")?.saturating_sub(octets("freelist_count")?).saturating_mul(octets("page_size")?);
    match disk.free_above_floor() {
        Some(free) if free < needed => return Err(CopyError::NoRoom { needed, free }),
        _ => {}
    }
    let partial = path.with_extension("db.copy");
    let at = Timestamp::real().to_jiff().strftime("%Y%m%dT%H%M%S%3fZ");
    let copy = path.with_extension(format!("db.{at}.schema-{version}"));
    tracing::info!(copy = %copy.display(), octets = needed, "copying the database before its schema is migrated");
    write(connection, &partial)?;
    rename(&partial, &copy)?;
    copies.push(copy.clone());
    for old in copies.iter().rev().skip(KEPT_COPIES) {
        fs::remove_file(old)?;
        tracing::info!(copy = %old.display(), "removed an old copy of the database");
    }
    Ok(copy)
}

/// The copies made by [`before_upgrade`], the oldest first.
fn copies(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_copy = entry.file_name().to_str().and_then(|file| file.strip_prefix(name)).is_some_and(|rest| {
            let mut parts = rest.split('.');
            let parts = (parts.next(), parts.next(), parts.next(), parts.next());
            matches!(parts, (Some(""), Some(_), Some(schema), None) if schema.starts_with("schema-"))
        });
        if is_copy {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn written_at(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// The time of the last write to the database file or its write-ahead log.
fn last_write(path: &Path) -> io::Result<SystemTime> {
    let file = written_at(path)?;
    match fs::metadata(path.with_extension("db-wal")) {
        // Opening the database creates an empty one.
        Ok(log) if log.len() > 0 => Ok(file.max(log.modified()?)),
        Ok(_) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(file),
        Err(error) => Err(error),
    }
}
