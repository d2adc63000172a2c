//! Incoming data: in memory if small, otherwise in an unnamed file.
//!
//! Invariant: the memory for one incoming message or body is bounded ([`IN_MEMORY`] and one read) and counted against a budget, like its
//! octets on disk; nothing of it is left when it is dropped or the daemon ends.

use super::Client;
use super::disk::FreeDisk;
use super::memory::{Buffer, Claim, MemoryBudget, NoRoom, SMALL, Shares};
use super::rate::{MinimumRate, Progress};
use crate::config::Limits;
use crate::id::AccountId;
use bytes::Bytes;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// Maximum octets of a message in memory.
pub const IN_MEMORY: usize = SMALL;

/// Memory for a message that is being stored, in multiples of its size: itself, and its stored form, which is at most as large.
pub const STORED_FACTOR: usize = 2;

/// How long work waits for memory to be released.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why octets could not be stored or read back; temporary.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A budget is exhausted.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("the spool: {0}")]
    Disk(#[from] io::Error),
}

/// The budgets for incoming data and for the process's memory. Clones share them.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    memory: MemoryBudget,
    disk: MemoryBudget,
    free_disk: FreeDisk,
    minimum_rate: MinimumRate,
}

impl Inner {
    /// An unnamed file.
    fn new_file(&self) -> io::Result<File> {
        match tempfile::tempfile_in(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
                tempfile::tempfile_in(&self.directory)
            }
            made => made,
        }
    }
}

impl Spool {
    /// The spool in a data directory; files that an earlier process left there are removed.
    pub fn open(data_dir: &Path, limits: &Limits) -> io::Result<Self> {
        Self::open_on(data_dir, limits, FreeDisk::new(data_dir, 0))
    }

    /// The same, accepting nothing while the disk is low.
    pub fn open_on(data_dir: &Path, limits: &Limits, free_disk: FreeDisk) -> io::Result<Self> {
        let directory = data_dir.join("spool");
        match std::fs::read_dir(&directory) {
            Ok(entries) => entries.into_iter().try_for_each(|entry| std::fs::remove_file(entry?.path()))?,
            // Created with the first file, so that a start needs no free disk.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let memory = MemoryBudget::new(Shares {
            total: limits.memory,
            per_account: limits.memory_per_account,
            per_network: limits.memory_per_address,
            keys: ["limits.memory", "limits.memory_per_account", "limits.memory_per_address"],
        });
        let spool = limits.spool;
        let disk = MemoryBudget::new(Shares {
            total: spool,
            per_account: spool / 4,
            per_network: spool / 8,
            keys: ["limits.spool", "an account's quarter of limits.spool", "an address's eighth of limits.spool"],
        });
        let minimum_rate = MinimumRate::of(limits);
        Ok(Self(Arc::new(Inner { directory, memory, disk, free_disk, minimum_rate })))
    }

    pub fn memory(&self) -> &MemoryBudget {
        &self.0.memory
    }

    /// For a client before log-in.
    pub fn client(&self, address: IpAddr) -> ClientSpool {
        ClientSpool { spool: self.clone(), client: Client::new(address) }
    }
}

/// The spool and the memory budget for one client.
#[derive(Clone, Debug)]
pub struct ClientSpool {
    spool: Spool,
    client: Client,
}

impl ClientSpool {
    /// For the same client after log-in.
    #[must_use]
    pub fn logged_in(&self, account: &AccountId) -> Self {
        Self { spool: self.spool.clone(), client: self.client.logged_in(account) }
    }

    /// An empty claim of memory.
    pub fn claim(&self) -> Claim {
        self.spool.0.memory.claim(&self.client)
    }

    /// The progress of a transfer that begins now.
    pub fn progress(&self) -> Progress {
        Progress::new(self.spool.0.minimum_rate, Instant::now())
    }

    /// How fast the client has to read.
    pub fn minimum_rate(&self) -> MinimumRate {
        self.spool.0.minimum_rate
    }

    /// Fails if a message of this size would find no room now.
    pub fn has_capacity(&self, octets: usize) -> Result<(), NoRoom> {
        let Inner { memory, disk, free_disk, .. } = &*self.spool.0;
        free_disk.check().map_err(|_| NoRoom("limits.free_disk"))?;
        memory.has_capacity(&self.client, octets.min(IN_MEMORY))?;
        if octets > IN_MEMORY { disk.has_capacity(&self.client, octets) } else { Ok(()) }
    }

    /// An empty spool for data whose transfer starts now.
    pub fn begin(&self) -> Incoming {
        Incoming {
            buffer: Buffer::new(self.claim()),
            file: None,
            in_file: 0,
            on_disk: self.spool.0.disk.claim(&self.client),
            client: self.clone(),
        }
    }
}

/// Incoming octets.
#[derive(Debug)]
pub struct Incoming {
    client: ClientSpool,
    /// Not in the file yet.
    buffer: Buffer,
    file: Option<Arc<File>>,
    in_file: usize,
    on_disk: Claim,
}

impl Incoming {
    /// Octets so far.
    pub fn len(&self) -> usize {
        self.in_file.saturating_add(self.buffer.as_ref().len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Claims room for this many octets in total, in advance.
    pub fn reserve(&mut self, octets: usize) -> Result<(), NoRoom> {
        if octets > IN_MEMORY { self.on_disk.grow_to(octets) } else { self.buffer.reserve(octets) }
    }

    /// Adds octets. Call [`Incoming::spill`] before the next.
    pub fn push(&mut self, octets: &[u8]) -> Result<(), NoRoom> {
        let length = self.len().saturating_add(octets.len());
        if length > IN_MEMORY {
            self.on_disk.grow_to(length)?;
        }
        self.buffer.extend(octets)
    }

    /// Writes to the file what exceeds memory. Not cancel safe: after cancelling, the data must be dropped.
    pub async fn spill(&mut self) -> io::Result<()> {
        if self.buffer.as_ref().len() < IN_MEMORY {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Buffer::new(self.client.claim()));
        let (file, spool) = (self.file.take(), self.client.spool.clone());
        let written = spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(spool.0.new_file()?),
            };
            (&*file).write_all(full.as_ref())?;
            Ok::<_, io::Error>((file, full))
        });
        let (file, mut buffer) = written.await.map_err(io::Error::other)??;
        self.in_file = self.in_file.saturating_add(buffer.as_ref().len());
        buffer.empty();
        (self.file, self.buffer) = (Some(file), buffer);
        Ok(())
    }

    /// Drops the data and releases its room.
    pub fn clear(&mut self) {
        self.buffer.clear();
        (self.file, self.in_file) = (None, 0);
        self.on_disk.shrink_to(0);
    }

    /// Everything, in memory.
    pub async fn into_bytes(self) -> Result<Bytes, SpoolError> {
        self.into_memory(1).await
    }

    /// The same for a message that is going to be stored: its stored form, which is in memory beside it, is counted with it.
    pub async fn into_message(self) -> Result<Bytes, SpoolError> {
        self.into_memory(STORED_FACTOR).await
    }

    /// Everything, in memory, counted so many times.
    async fn into_memory(mut self, times: usize) -> Result<Bytes, SpoolError> {
        let length = self.len();
        let Some(file) = self.file else {
            self.buffer.reserve(length.saturating_mul(times))?;
            return Ok(self.buffer.into_bytes());
        };
        let mut claim = self.client.claim();
        claim.wait_to_grow(length.saturating_mul(times), PATIENCE).await?;
        let mut whole = Buffer::zeroed(claim, length);
        let (in_file, rest) = (self.in_file, self.buffer);
        let read = spawn_blocking(move || {
            let (from_file, from_memory) = whole.octets_mut().split_at_mut(in_file);
            file.read_exact_at(from_file, 0)?;
            from_memory.copy_from_slice(rest.as_ref());
            Ok::<_, io::Error>(whole)
        });
        Ok(read.await.map_err(io::Error::other)??.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(change: impl FnOnce(&mut Limits)) -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().unwrap();
        let mut limits = Limits::default();
        change(&mut limits);
        let spool = Spool::open(dir.path(), &limits).unwrap();
        (dir, spool)
    }

    fn client(spool: &Spool) -> ClientSpool {
        spool.client(IpAddr::from([192, 0, 2, 1]))
    }

    #[tokio::test]
    async fn what_comes_in_comes_out_and_little_of_it_is_in_memory_meanwhile() {
        let (dir, spool) = spool(|_| {});
        for length in [0, 1, 5000, IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, 3 * IN_MEMORY, 5_000_000] {
            let octets: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut incoming = client(&spool).begin();
            for piece in octets.chunks(20_000) {
                incoming.push(piece).unwrap();
                incoming.spill().await.unwrap();
                assert!(spool.memory().used() <= IN_MEMORY + 20_000);
            }
            assert_eq!(incoming.len(), length);
            let bytes = incoming.into_bytes().await.unwrap();
            assert!(bytes == octets, "{length}");
            assert_eq!(spool.0.disk.used(), 0);
        }
        assert_eq!(spool.memory().used(), 0);
        assert_eq!(std::fs::read_dir(dir.path().join("spool")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn no_room_on_disk_or_in_memory_is_told_before_octets_are_lost() {
        let (_dir, spool) = spool(|limits| {
            limits.spool = 8_000_000;
            limits.memory_per_address = 600_000;
        });
        assert!(client(&spool).has_capacity(IN_MEMORY).is_ok());
        assert_eq!(client(&spool).has_capacity(1_100_000), Err(NoRoom("an address's eighth of limits.spool")));
        let mut first = client(&spool).begin();
        assert!(first.reserve(1_100_000).is_err());
        while first.len() < 900_000 {
            first.push(&[b'x'; 20_000]).unwrap();
            first.spill().await.unwrap();
        }
        let mut second = client(&spool).begin();
        assert!(second.reserve(IN_MEMORY + 1).is_err());
        second.push(&[b'x'; 200_000]).unwrap();
        // Fits on disk; as a whole it does not fit in this client's share of the memory.
        assert!(matches!(first.into_bytes().await, Err(SpoolError::NoRoom(NoRoom("limits.memory_per_address")))));
        second.clear();
        assert_eq!((spool.memory().used(), spool.0.disk.used()), (0, 0));
    }

    #[test]
    fn what_an_earlier_process_left_is_removed() {
        let (dir, _) = spool(|_| {});
        std::fs::create_dir(dir.path().join("spool")).unwrap();
        std::fs::write(dir.path().join("spool/.tmpAbc"), "left").unwrap();
        Spool::open(dir.path(), &Limits::default()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("spool")).unwrap().count(), 0);
    }
}
