//! The process that owns leases.
//!
//! Invariant: the owners that a process makes begin with its name, and the name is in its data directory before the first of
//! them has a lease. The next process that holds the lock of the directory knows that this one is gone, and ends its leases
//! without waiting for their time.

use crate::id::RunnerId;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

const FILE: &str = "process";
/// Characters of a name: the time of a ULID, and half of its randomness. The owner's number takes the others.
const NAME: usize = 20;

/// This process.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    owners: AtomicU32,
}

/// What the owners of a process that is gone begin with.
#[derive(Clone, Debug)]
pub(super) struct Owners(String);

impl Owners {
    /// Where they begin and end, in the order of octets.
    pub fn bounds(&self) -> (String, String) {
        // The octet after the last letter.
        (self.0.clone(), format!("{}{{", self.0))
    }
}

impl Process {
    pub fn new() -> Self {
        let name = RunnerId::new().as_str().chars().take(RunnerId::PREFIX.len() + NAME).collect();
        Self { name, owners: AtomicU32::new(0) }
    }

    /// A fresh owner of leases.
    pub fn owner(&self) -> RunnerId {
        let number = self.owners.fetch_add(1, Ordering::Relaxed) % 1_000_000;
        // Always an id: 26 digits and letters.
        format!("{}{number:06}", self.name).parse().unwrap_or_else(|_| RunnerId::new())
    }

    /// Writes the name into the data directory, whose lock this process holds; the owners of the process before.
    pub fn succeed(&self, data_dir: &Path) -> io::Result<Option<Owners>> {
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
    fn the_next_process_knows_the_owners_of_the_one_before_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (Process::new(), Process::new());
        assert!(first.succeed(dir.path()).unwrap().is_none());
        let (begin, end) = second.succeed(dir.path()).unwrap().unwrap().bounds();
        let is_within = |owner: RunnerId| *owner.as_str() >= *begin && *owner.as_str() < *end;
        let owners = [first.owner(), first.owner()];
        assert_ne!(owners[0], owners[1]);
        assert!(owners.into_iter().all(is_within));
        assert!(!is_within(second.owner()) && !is_within(RunnerId::new()));
    }
}
