//! A mailbox as an mbox file.
//!
//! Invariant: the file has its name once it is whole. Until then it is `.NAME.partial`, and `.NAME.journal` has a line for each message in
//! it, with the offset at which it ends: the next run cuts off what is behind the last of them and goes on.

use super::Listed;
use crate::cli::inbox::mbox;
use crate::imap::to_utf7;
use crate::store::mailboxes::DELIMITER;
use std::collections::HashSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub(super) struct File {
    partial: fs::File,
    journal: fs::File,
    /// Ids of messages that are in it.
    there: HashSet<String>,
    end: u64,
    paths: Paths,
}

struct Paths {
    partial: PathBuf,
    journal: PathBuf,
    whole: PathBuf,
}

impl Paths {
    fn of(root: &Path, mailbox: &str) -> Self {
        let name = mailbox.split(DELIMITER).map(level).collect::<Vec<_>>().join("/");
        let whole = root.join(format!("{name}.mbox"));
        let name = whole.file_name().unwrap_or_default().to_string_lossy();
        let [partial, journal] = ["partial", "journal"].map(|what| whole.with_file_name(format!(".{name}.{what}")));
        Self { partial, journal, whole }
    }
}

/// A level of a name as a name of a file: in modified UTF-7 where it could be taken for that, or hides the file.
fn level(level: &str) -> String {
    if level.starts_with('.') || level.contains('&') { to_utf7(level).replace('.', "&AC4-") } else { level.to_owned() }
}

/// Ids and ends of the messages of a journal whose file has this length.
fn read_journal(text: &str, length: u64) -> (HashSet<String>, u64) {
    let (mut there, mut end) = (HashSet::new(), 0);
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let Some((id, at)) = line.split_once(' ').and_then(|(id, at)| Some((id, at.parse().ok()?))) else { break };
        if at > length {
            break;
        }
        there.insert(id.to_owned());
        end = at;
    }
    (there, end)
}

impl File {
    pub(super) fn open(root: &Path, mailbox: &str) -> io::Result<Self> {
        let paths = Paths::of(root, mailbox);
        if let Some(folder) = paths.whole.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        if paths.whole.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let open = |path| OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let (mut partial, mut journal) = (open(&paths.partial)?, open(&paths.journal)?);
        let text = fs::read_to_string(&paths.journal)?;
        let (there, end) = read_journal(&text, partial.metadata()?.len());
        partial.set_len(end)?;
        partial.seek(SeekFrom::End(0))?;
        // A line that was cut off, and those of messages that are not there.
        let kept: usize = text.split_inclusive('\n').take(there.len()).map(str::len).sum();
        journal.set_len(u64::try_from(kept).unwrap_or(0))?;
        journal.seek(SeekFrom::End(0))?;
        Ok(Self { partial, journal, there, end, paths })
    }

    pub(super) fn has(&self, email: &Listed) -> bool {
        self.there.contains(&email.id)
    }

    pub(super) fn put(&mut self, email: &Listed, raw: &[u8]) -> io::Result<()> {
        let mut text = Vec::with_capacity(raw.len().saturating_add(256));
        mbox::write(&mut text, email.mail_from.as_deref(), email.received_at, &email.flags(), raw)?;
        self.partial.write_all(&text)?;
        self.end = self.end.saturating_add(u64::try_from(text.len()).unwrap_or(0));
        self.journal.write_all(format!("{} {}\n", email.id, self.end).as_bytes())
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.partial.sync_all()?;
        fs::rename(&self.paths.partial, &self.paths.whole)?;
        fs::remove_file(&self.paths.journal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn email(id: &str) -> Listed {
        Listed {
            id: id.to_owned(),
            flags: vec!["\\Seen".to_owned()],
            received_at: Timestamp::from_millis(60_000),
            size: 9,
            mail_from: None,
        }
    }

    const ONE: &str = "From MAILER-DAEMON Thu Jan  1 00:01:00 1970\nS: 1\nStatus: RO\n\nx\n\n";

    #[test]
    fn a_file_that_was_cut_off_is_continued() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (email("msg_a"), email("msg_b"));
        let mut file = File::open(root.path(), "A/.b").unwrap();
        file.put(&a, b"S: 1\r\n\r\nx\r\n").unwrap();
        file.partial.write_all(b"From half a mess").unwrap();
        file.journal.write_all(b"msg_b 99").unwrap();
        drop(file);
        let mut file = File::open(root.path(), "A/.b").unwrap();
        assert_eq!([file.has(&a), file.has(&b)], [true, false]);
        file.put(&b, b"S: 1\r\n\r\nx\r\n").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read_to_string(root.path().join("A/&AC4-b.mbox")).unwrap(), format!("{ONE}{ONE}"));
        assert_eq!(fs::read_dir(root.path().join("A")).unwrap().count(), 1);
        // Another run begins anew.
        let file = File::open(root.path(), "A/.b").unwrap();
        assert!(!file.has(&a));
    }
}
