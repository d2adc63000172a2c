//! A mailbox as a folder of Maildir++.
//!
//! Invariant: a file in `cur` is whole: its name says how long it is, and one of another length is written again. A message keeps the
//! beginning of its name, so it is found again when its flags have changed, and the file is renamed.

use super::Listed;
use crate::cli::inbox::maildir::{Keywords, folder_of};
use crate::store::mailboxes::INBOX;
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

pub(super) struct Folder {
    path: PathBuf,
    keywords: Keywords,
    /// Names of whole files by the id of the message.
    there: HashMap<String, String>,
}

impl Folder {
    /// Makes the folder of a mailbox, and names the keywords that have no code in it.
    pub(super) fn open(root: &Path, mailbox: &str, emails: &[Listed]) -> io::Result<(Self, Vec<String>)> {
        let path = if mailbox == INBOX { root.to_owned() } else { root.join(folder_of(mailbox)) };
        for part in ["cur", "new", "tmp"] {
            DirBuilder::new().recursive(true).mode(0o700).create(path.join(part))?;
        }
        if mailbox != INBOX {
            // Maildir++: it tells programs that deliver mail that this is not the Maildir itself.
            OpenOptions::new().append(true).create(true).mode(0o600).open(path.join("maildirfolder"))?;
        }
        let mut keywords = Keywords::read(&path)?;
        let mut rest: Vec<String> = Vec::new();
        for email in emails {
            for keyword in keywords.info_of(&email.flags()).1 {
                if !rest.iter().any(|known| known == keyword) {
                    rest.push(keyword.to_owned());
                }
            }
        }
        keywords.write(&path)?;
        let mut there = HashMap::new();
        for entry in fs::read_dir(path.join("cur"))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if let Some((id, size)) = id_and_size(&name)
                && entry.metadata()?.len() == size
            {
                there.insert(id.to_owned(), name);
            }
        }
        let mut folder = Self { path, keywords, there };
        emails.iter().try_for_each(|email| folder.rename(email))?;
        Ok((folder, rest))
    }

    pub(super) fn has(&self, email: &Listed) -> bool {
        self.there.contains_key(&email.id)
    }

    /// Gives the file of a message the flags that the message has now.
    fn rename(&mut self, email: &Listed) -> io::Result<()> {
        let (info, _) = self.keywords.info_of(&email.flags());
        let Some(name) = self.there.get_mut(&email.id) else { return Ok(()) };
        let Some((base, before)) = name.rsplit_once(":2,") else { return Ok(()) };
        if before != info {
            let new = format!("{base}:2,{info}");
            fs::rename(self.path.join("cur").join(&*name), self.path.join("cur").join(&new))?;
            *name = new;
        }
        Ok(())
    }

    pub(super) fn put(&mut self, email: &Listed, raw: &[u8]) -> io::Result<()> {
        let text = with_lf(raw);
        let base = base(email, text.len());
        let new = self.path.join("tmp").join(&base);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        let seconds = u64::try_from(email.received_at.seconds()).unwrap_or(0);
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))?;
        let (info, _) = self.keywords.info_of(&email.flags());
        fs::rename(new, self.path.join("cur").join(format!("{base}:2,{info}")))
    }

    /// Ensures that all of it is on the disk.
    pub(super) fn finish(self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(self.path.join("cur"))?)?)
    }
}

/// The name of a file without flags. `S` and `W` are its size with LF and with CRLF, as Dovecot writes them.
fn base(email: &Listed, size: usize) -> String {
    format!("{}.{}.inboxlayer,S={size},W={}", email.received_at.seconds(), email.id, email.size)
}

/// The id of the message and the size of the file, by its name.
fn id_and_size(name: &str) -> Option<(&str, u64)> {
    let (_, rest) = name.split_once('.')?;
    let (id, rest) = rest.split_once(".inboxlayer,S=")?;
    let (size, _) = rest.split_once(',')?;
    Some((id, size.parse().ok()?))
}

/// Lines that end in CRLF as lines that end in LF.
fn with_lf(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    for line in raw.split_inclusive(|octet| *octet == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
            None => text.extend_from_slice(line),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn email(id: &str, flags: &[&str]) -> Listed {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Listed { id: id.to_owned(), flags, received_at: Timestamp::from_millis(60_000), size: 6, mail_from: None }
    }

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(root.join("cur")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn whole_files_are_kept_and_get_new_flags() {
        let root = tempfile::tempdir().unwrap();
        let emails = [email("msg_a", &["\\Seen", "work"]), email("msg_b", &[]), email("msg_c", &[])];
        let (mut folder, rest) = Folder::open(root.path(), INBOX, &emails).unwrap();
        assert!(rest.is_empty() && emails.iter().all(|email| !folder.has(email)));
        for email in emails.iter().take(2) {
            folder.put(email, b"ab\r\n\r\n").unwrap();
        }
        folder.finish().unwrap();
        let a = "60.msg_a.inboxlayer,S=4,W=6:2,Sa";
        assert_eq!(names(root.path()), [a, "60.msg_b.inboxlayer,S=4,W=6:2,"]);
        assert_eq!(fs::read(root.path().join("cur").join(a)).unwrap(), b"ab\n\n");
        assert_eq!(fs::read_to_string(root.path().join("dovecot-keywords")).unwrap(), "0 work\n");
        // One was cut off, the flags of the other have changed.
        fs::write(root.path().join("cur/60.msg_b.inboxlayer,S=4,W=6:2,"), "ab").unwrap();
        let emails = [email("msg_a", &["\\Flagged"]), email("msg_b", &[])];
        let (folder, _) = Folder::open(root.path(), INBOX, &emails).unwrap();
        assert_eq!(emails.map(|email| folder.has(&email)), [true, false]);
        assert!(names(root.path()).contains(&"60.msg_a.inboxlayer,S=4,W=6:2,F".to_owned()));
    }
}
