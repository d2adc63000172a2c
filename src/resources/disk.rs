//! Free disk: below a floor no new mail is taken in; what there is is served, changed, delivered and deleted as before.
//!
//! Invariant: what the database can use again counts as free, so that deleting mail makes room for new mail.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Too little is free. Temporary: 452 4.3.1, `NO [UNAVAILABLE]`, 503.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("less than {floor} octets (limits.free_disk) are free for {}: free some, or delete mail", .directory.display())]
pub struct DiskLow {
    floor: u64,
    directory: PathBuf,
}

/// The disk that a directory is on; clones share what is known of it.
#[derive(Clone, Debug)]
pub struct FreeDisk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    floor: u64,
    /// Octets of the database that hold nothing.
    reusable: AtomicU64,
    /// As last logged.
    is_low: AtomicBool,
}

impl FreeDisk {
    /// The disk of a directory, of which `floor` octets stay free.
    pub fn new(directory: &Path, floor: u64) -> Self {
        Self(Arc::new(Inner {
            directory: directory.to_owned(),
            floor,
            reusable: AtomicU64::new(0),
            is_low: AtomicBool::new(false),
        }))
    }

    /// Whether new mail may be stored now. Logs when that changes.
    pub fn check(&self) -> Result<(), DiskLow> {
        let Inner { directory, floor, reusable, is_low } = &*self.0;
        if *floor == 0 {
            return Ok(());
        }
        let free = match rustix::fs::statvfs(directory) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(reusable.load(Ordering::Relaxed)),
            Err(error) => {
                tracing::error!(%error, directory = %directory.display(), "the free disk could not be read");
                return Ok(());
            }
        };
        let low = free < *floor;
        if is_low.swap(low, Ordering::Relaxed) != low {
            match low {
                true => {
                    tracing::warn!(free, floor, directory = %directory.display(), "disk is low: no new mail is accepted")
                }
                false => {
                    tracing::info!(free, directory = %directory.display(), "enough disk is free: new mail is accepted")
                }
            }
        }
        if low { Err(DiskLow { floor: *floor, directory: directory.clone() }) } else { Ok(()) }
    }

    /// Says how many octets of the database hold nothing now.
    pub fn set_reusable(&self, octets: u64) {
        self.0.reusable.store(octets, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
