//! Free disk: below a floor no new mail is accepted; existing mail is served, changed, delivered and deleted as before.
//!
//! Invariant: unused octets of the database count as free, so that deleting mail makes room for new mail.

use rustix::fs::FallocateFlags;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A file in the directory that reserves space for writes on a full disk.
const RESERVE: &str = "reserve";
/// Its size. Deletions, flags and log-ins need some pages of the database's log, which keeps its space.
const RESERVE_SIZE: u64 = 16 * 1024 * 1024;
/// With less free space than this, it is released.
const FULL: u64 = 4 * 1024 * 1024;

/// Too little free disk; temporary. 452 4.3.1, `NO [UNAVAILABLE]`, 503.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("less than {floor} octets (limits.free_disk) are free for {}: free some, or delete mail", .directory.display())]
pub struct DiskLow {
    floor: u64,
    directory: PathBuf,
}

/// The disk of a directory; clones share its state.
#[derive(Clone, Debug)]
pub struct FreeDisk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    floor: u64,
    /// Unused octets of the database.
    reusable: AtomicU64,
    /// As last logged.
    is_low: AtomicBool,
}

impl FreeDisk {
    /// `floor` octets are kept free.
    pub fn new(directory: &Path, floor: u64) -> Self {
        Self(Arc::new(Inner {
            directory: directory.to_owned(),
            floor,
            reusable: AtomicU64::new(0),
            is_low: AtomicBool::new(false),
        }))
    }

    /// Fails if no new mail may be stored now. Logs changes.
    pub fn check(&self) -> Result<(), DiskLow> {
        let Inner { directory, floor, reusable, is_low } = &*self.0;
        if *floor == 0 {
            return Ok(());
        }
        let Some(free) = self.free() else { return Ok(()) };
        let free = free.saturating_add(reusable.load(Ordering::Relaxed));
        let low = free < *floor;
        if is_low.swap(low, Ordering::Relaxed) != low {
            match low {
                true => {
                    tracing::warn!(free, floor, directory = %directory.display(), "disk is low: no new mail is accepted")
                }
                false => {
                    tracing::info!(free, directory = %directory.display(), "enough disk is free: new mail is accepted");
                    self.hold_reserve();
                }
            }
        }
        if low { Err(DiskLow { floor: *floor, directory: directory.clone() }) } else { Ok(()) }
    }

    /// Makes the reserve, unless it exists or would make the disk low.
    pub fn hold_reserve(&self) {
        let Inner { directory, floor, .. } = &*self.0;
        let path = directory.join(RESERVE);
        if *floor == 0 || path.exists() || self.free().is_none_or(|free| free < floor.saturating_add(RESERVE_SIZE)) {
            return;
        }
        let made = File::options().write(true).create_new(true).mode(0o600).open(&path).and_then(|file| {
            rustix::fs::fallocate(file, FallocateFlags::empty(), 0, RESERVE_SIZE)?;
            Ok(())
        });
        if let Err(error) = made {
            tracing::warn!(%error, path = %path.display(), "cannot reserve space for deletions on a full disk");
            let _ = std::fs::remove_file(path);
        }
    }

    /// To be called before a write: releases the reserve if the disk is full.
    pub fn release_reserve_if_full(&self) {
        let Inner { directory, floor, .. } = &*self.0;
        if *floor == 0 || self.free().is_none_or(|free| free >= FULL) {
            return;
        }
        if std::fs::remove_file(directory.join(RESERVE)).is_ok() {
            tracing::warn!(directory = %directory.display(), "the disk is full: the reserve is released, mail can be deleted");
        }
    }

    /// Octets that can be written before the disk is low; none where they cannot be read.
    pub fn free_above_floor(&self) -> Option<u64> {
        Some(self.free()?.saturating_sub(self.0.floor))
    }

    /// Free octets of the file system.
    fn free(&self) -> Option<u64> {
        let directory = &self.0.directory;
        match rustix::fs::statvfs(directory) {
            Ok(disk) => Some(disk.f_bavail.saturating_mul(disk.f_frsize)),
            Err(error) => {
                tracing::error!(%error, directory = %directory.display(), "cannot read the free disk space");
                None
            }
        }
    }

    /// Sets the unused octets of the database.
    pub fn set_reusable(&self, octets: u64) {
        self.0.reusable.store(octets, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_reserve_is_held_where_there_is_space_and_none_where_the_floor_is_0() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = dir.path().join(RESERVE);
        for floor in [0, u64::MAX] {
            FreeDisk::new(dir.path(), floor).hold_reserve();
            assert!(!reserve.exists());
        }
        let disk = FreeDisk::new(dir.path(), 1);
        disk.hold_reserve();
        let file = std::fs::metadata(&reserve).unwrap();
        assert_eq!((file.len(), file.blocks() * 512 >= RESERVE_SIZE), (RESERVE_SIZE, true));
        // The test's disk is not full.
        disk.release_reserve_if_full();
        assert!(reserve.exists());
    }

    #[test]
    fn what_the_database_can_use_again_counts_as_free() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FreeDisk::new(dir.path(), u64::MAX);
        let refused = disk.check().unwrap_err().to_string();
        assert!(refused.contains("limits.free_disk") && refused.contains(dir.path().to_str().unwrap()), "{refused}");
        disk.set_reusable(u64::MAX);
        assert_eq!(disk.check(), Ok(()));
        assert_eq!(FreeDisk::new(Path::new("/nowhere"), 0).check(), Ok(()));
    }
}
