//! How far mailboxes of another server are fetched: UIDVALIDITY and the last UID, in a file of the user's state folder.
//!
//! Invariant: the file says that a message is fetched after that is so. Without the file, what is there already is found by comparing.

use crate::cli::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// What is fetched of a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fetched {
    pub(super) uid_validity: u32,
    /// Messages up to this UID are fetched, but for those of `left_out`.
    pub(super) last_uid: u32,
    pub(super) left_out: Vec<u32>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Mailboxes {
    /// By their names on the server.
    mailboxes: BTreeMap<String, Fetched>,
}

/// The state of fetching from one user of a server into one inbox.
#[derive(Debug)]
pub(super) struct State {
    /// None where the user has no home.
    path: Option<PathBuf>,
    known: Mailboxes,
}

impl State {
    /// `of` names the source and the inbox.
    pub(super) fn load(of: &[&str]) -> Result<Self, Failure> {
        let name = blake3::hash(of.join("\0").as_bytes()).to_hex();
        let folder = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        let home =
            || Some(PathBuf::from(std::env::var_os("HOME").filter(|path| !path.is_empty())?).join(".local/state"));
        let name = format!("fetch-{}.json", name.get(..32).unwrap_or_default());
        Self::at(folder.or_else(home).map(|folder| folder.join("inboxlayer").join(name)))
    }

    fn at(path: Option<PathBuf>) -> Result<Self, Failure> {
        let Some(file) = &path else { return Ok(Self { path, known: Mailboxes::default() }) };
        let known = match fs::read(file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let fix = "remove it: the next run compares messages instead, which takes longer";
                Failure::new(format!("{} is damaged: {error}", file.display()), fix)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Mailboxes::default(),
            Err(error) => return Err(cannot(file, &error)),
        };
        Ok(Self { path, known })
    }

    /// What is fetched of a mailbox while it has this UIDVALIDITY.
    pub(super) fn of(&self, mailbox: &str, uid_validity: u32) -> Option<Fetched> {
        self.known.mailboxes.get(mailbox).filter(|fetched| fetched.uid_validity == uid_validity).cloned()
    }

    pub(super) fn set(&mut self, mailbox: &str, fetched: Fetched) -> Result<(), Failure> {
        self.known.mailboxes.insert(mailbox.to_owned(), fetched);
        let Some(path) = &self.path else { return Ok(()) };
        self.write(path).map_err(|error| cannot(path, &error))
    }

    fn write(&self, path: &PathBuf) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&self.known)?)?;
        fs::rename(new, path)
    }
}

fn cannot(path: &std::path::Path, error: &io::Error) -> Failure {
    let what = format!("cannot keep how far the fetch is in {}: {error}", path.display());
    Failure::new(what, "set XDG_STATE_HOME to a folder that can be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_holds_for_a_uid_validity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        let mut state = State::at(Some(path.clone())).unwrap();
        assert_eq!(state.of("INBOX", 1), None);
        let fetched = Fetched { uid_validity: 1, last_uid: 7, left_out: vec![3] };
        state.set("INBOX", fetched.clone()).unwrap();
        let state = State::at(Some(path.clone())).unwrap();
        assert_eq!((state.of("INBOX", 1), state.of("INBOX", 2)), (Some(fetched), None));
        fs::write(&path, "{").unwrap();
        assert!(State::at(Some(path)).unwrap_err().fix.contains("remove it"));
    }
}
