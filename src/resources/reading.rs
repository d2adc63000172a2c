//! Records which messages are being parsed, before a parser sees them.
//!
//! Invariant: a message that was being parsed when the process ended is known to the next start, which decides whether it may be parsed
//! again (`app/suspects.rs`).
//!
//! Code that parses stored messages has a [`Parser`], which it tells of each message. That writes eight octets to a file in the page
//! cache, which outlives the process. Nothing is synced, since a power cut is not a parser's fault.

use crate::id::ContentId;
use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file in the data directory: eight octets for each active parser, the id of its content, or 0.
const FILE: &str = "reading";
/// Maximum active parsers recorded; there are fewer threads.
const SLOTS: u64 = 4096;
const ID: usize = size_of::<i64>();
/// Written by an idle parser; no row has this number.
const NONE: i64 = 0;

/// The message must not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is set aside: the daemon aborted while parsing it")]
pub struct SetAside;

/// The record of active parsers; clones share it. By default nothing is recorded or set aside.
#[derive(Clone, Debug, Default)]
pub struct ReadingLog(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    file: Option<File>,
    slots: Mutex<Slots>,
    aside: HashSet<ContentId>,
    /// The last write failed.
    is_failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Slots {
    free: Vec<u64>,
    used: u64,
}

/// An active parser, until dropped.
#[derive(Debug)]
pub struct Parser<'a> {
    log: &'a Inner,
    /// Assigned with the first message.
    slot: Cell<Option<u64>>,
}

/// The contents that were being parsed when the last process ended, and the file for this one.
#[derive(Debug)]
pub struct LeftOver {
    file: File,
    /// Without duplicates.
    pub contents: Vec<ContentId>,
}

impl LeftOver {
    /// Reads the record of the last process in a data directory.
    pub fn read(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        let options = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
        let file = options.open(path)?;
        let mut left = vec![0; usize::try_from(file.metadata()?.len().min(SLOTS * ID as u64)).unwrap_or(0)];
        file.read_exact_at(&mut left, 0)?;
        let ids = left.chunks_exact(ID).filter_map(|id| id.try_into().ok()).map(i64::from_le_bytes);
        let mut contents: Vec<_> = ids.filter(|id| *id != NONE).map(ContentId::new).collect();
        contents.sort_unstable();
        contents.dedup();
        Ok(Self { file, contents })
    }

    /// Starts a new record, in which the contents of `aside` are never parsed. To be called once these are recorded.
    pub fn begin(self, aside: HashSet<ContentId>) -> ReadingLog {
        self.start(&[], aside)
    }

    /// Starts without recording the contents: the next start finds them again.
    pub fn begin_unrecorded(self, aside: HashSet<ContentId>) -> ReadingLog {
        let kept: Vec<u8> = self.contents.iter().flat_map(|content| content.row().to_le_bytes()).collect();
        self.start(&kept, aside)
    }

    fn start(self, kept: &[u8], aside: HashSet<ContentId>) -> ReadingLog {
        // The file does not grow, so this works on a full disk.
        let octets = kept.len() as u64;
        if let Err(error) = self.file.write_all_at(kept, 0).and_then(|()| self.file.set_len(octets)) {
            tracing::warn!(%error, "cannot clear the record of messages being parsed; the next start checks them again");
        }
        let slots = Mutex::new(Slots { free: Vec::new(), used: octets / ID as u64 });
        ReadingLog(Arc::new(Inner { file: Some(self.file), slots, aside, is_failing: AtomicBool::new(false) }))
    }
}

impl ReadingLog {
    pub fn parser(&self) -> Parser<'_> {
        Parser { log: &self.0, slot: Cell::new(None) }
    }
}

impl Parser<'_> {
    pub fn sets_aside(&self, content: ContentId) -> bool {
        self.log.aside.contains(&content)
    }

    /// Records that it parses a content from now on. Fails if that is set aside.
    pub fn begin(&self, content: ContentId) -> Result<(), SetAside> {
        if self.sets_aside(content) {
            return Err(SetAside);
        }
        if self.slot.get().is_none() {
            self.slot.set(self.log.take());
        }
        if let Some(slot) = self.slot.get() {
            self.log.write(slot, content.row());
        }
        Ok(())
    }
}

impl Inner {
    fn take(&self) -> Option<u64> {
        let mut slots = lock(&self.slots);
        let fresh = slots.used;
        let slot = slots.free.pop().or((fresh < SLOTS).then_some(fresh));
        slots.used += u64::from(slot == Some(fresh));
        slot
    }

    fn write(&self, slot: u64, content: i64) {
        let Some(file) = &self.file else { return };
        // A full disk does not prevent reading mail, and must not fill the log.
        let written = file.write_all_at(&content.to_le_bytes(), slot * ID as u64);
        let was_failing = self.is_failing.swap(written.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (written, was_failing) {
            tracing::warn!(%error, "cannot record which messages are being parsed");
        }
    }
}

impl Drop for Parser<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.get() {
            self.log.write(slot, NONE);
            lock(&self.log.slots).free.push(slot);
        }
    }
}

fn lock(slots: &Mutex<Slots>) -> MutexGuard<'_, Slots> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Set in the child process of the test below: the data directory.
    const CHILD: &str = "INBOXLAYER_TEST_READING";

    #[test]
    fn what_was_being_read_when_the_process_aborted_is_named_and_nothing_else() {
        if let Some(dir) = std::env::var_os(CHILD) {
            let log = LeftOver::read(Path::new(&dir)).unwrap().begin(HashSet::new());
            let (one, other) = (log.parser(), log.parser());
            for content in [5, 6, 7] {
                one.begin(ContentId::new(content)).unwrap();
            }
            other.begin(ContentId::new(8)).unwrap();
            log.parser().begin(ContentId::new(9)).unwrap();
            std::process::abort();
        }
        let dir = tempfile::tempdir().unwrap();
        let name = "resources::reading::tests::what_was_being_read_when_the_process_aborted_is_named_and_nothing_else";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let ended = child.args(["--exact", name, "--nocapture"]).env(CHILD, dir.path()).output().unwrap();
        assert_eq!(ended.status.signal(), Some(6), "{ended:?}");

        let left = LeftOver::read(dir.path()).unwrap();
        assert_eq!(left.contents, [7, 8].map(ContentId::new));
        let log = left.begin(HashSet::from([ContentId::new(7)]));
        let parser = log.parser();
        assert_eq!(parser.begin(ContentId::new(7)), Err(SetAside));
        assert_eq!(parser.begin(ContentId::new(8)), Ok(()));
        drop(parser);
        // No parse of this process was aborted.
        assert!(LeftOver::read(dir.path()).unwrap().contents.is_empty());

        std::fs::write(dir.path().join(FILE), [0_i64, 7, 0, 8].map(i64::to_le_bytes).concat()).unwrap();
        let log = LeftOver::read(dir.path()).unwrap().begin_unrecorded(HashSet::from([7, 8].map(ContentId::new)));
        let parser = log.parser();
        parser.begin(ContentId::new(9)).unwrap();
        assert_eq!(LeftOver::read(dir.path()).unwrap().contents, [7, 8, 9].map(ContentId::new));
        drop(parser);
        assert_eq!(LeftOver::read(dir.path()).unwrap().contents, [7, 8].map(ContentId::new));
    }

    #[test]
    fn a_panic_ends_a_reading_and_slots_are_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let log = LeftOver::read(dir.path()).unwrap().begin(HashSet::new());
        for content in 1..1000 {
            let log = log.clone();
            let parse = move || {
                let parser = log.parser();
                parser.begin(ContentId::new(content)).unwrap();
                assert!(content % 2 == 0, "a bug");
            };
            assert_eq!(std::panic::catch_unwind(parse).is_ok(), content % 2 == 0);
        }
        assert!(LeftOver::read(dir.path()).unwrap().contents.is_empty());
        assert_eq!(std::fs::metadata(dir.path().join(FILE)).unwrap().len(), ID as u64);
    }
}
