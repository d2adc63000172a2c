//! Lease owners of a process.
//!
//! Invariant: the IDs of a process's lease owners begin with its name, and the name is in its data directory before the first of
//! them has a lease. The next process that locks the directory knows that this one has ended, and releases its leases before they
//! expire.

use crate::id::RunnerId;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

const FILE: &str = "process";
/// Characters of a name: the time of a ULID and part of its randomness. The other six are the number of the owner.
const NAME_LENGTH: usize = 20;

#[derive(Debug)]
pub(super) struct Process {
    name: String,
    owners: AtomicU32,
}

/// The lease owners of a process that has ended.
#[derive(Clone, Debug)]
pub(super) struct Owners(String);

impl Owners {
    /// The range of their IDs; the end is exclusive.
    pub fn bounds(&self) -> (String, String) {
        // `{` is the octet after `z`.
        (self.0.clone(), format!("{}{{", self.0))
    }
}

impl Process {
    pub fn new() -> Self {
        let name = RunnerId::new().as_str().chars().take(RunnerId::PREFIX.len() + NAME_LENGTH).collect();
        Self { name, owners: AtomicU32::new(0) }
    }

    /// A new lease owner.
    pub fn owner(&self) -> RunnerId {
        let number = self.owners.fetch_add(1, Ordering::Relaxed) % 1_000_000;
        // Always a valid ID: 26 digits and letters.
        format!("{}{number:06}", self.name).parse().unwrap_or_else(|_| RunnerId::new())
    }

    /// Writes the name into the data directory, which this process must have locked. Returns the lease owners of the previous
    /// process.
    pub fn replace_previous(&self, data_dir: &Path) -> io::Result<Option<Owners>> {
        let path = data_dir.join(FILE);
        let before = match std::fs::read_to_string(&path) {
            Ok(name) => Some(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let draft = path.with_extension("draft");
        std::fs::write(&draft, &self.name)?;
        std::fs::rename(&draft, &path)?;
        let is_name = |name: &String| name.len() == self.name.len() && name.starts_with(RunnerId::PREFIX);
        Ok(before.filter(is_name).map(Owners))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_the_lease_owners_of_the_previous_one_only() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (Process::new(), Process::new());
        assert!(first.replace_previous(dir.path()).unwrap().is_none());
        let (begin, end) = second.replace_previous(dir.path()).unwrap().unwrap().bounds();
        let is_within = |owner: RunnerId| *owner.as_str() >= *begin && *owner.as_str() < *end;
        let owners = [first.owner(), first.owner()];
        assert_ne!(owners[0], owners[1]);
        assert!(owners.into_iter().all(is_within));
        assert!(!is_within(second.owner()) && !is_within(RunnerId::new()));
    }
}
