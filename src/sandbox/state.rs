//! The sandbox's state beside the store: the first account's tokens, DNS records, the offset of the clock. Invariant:
//! with `--data-dir`, a killed sandbox restarts with the same simulated internet. The file is written atomically,
//! readable by this user only, since it contains tokens.

use super::SandboxError;
use super::certificates::write_private;
use crate::dns::authority::play::{Fault, Kind, Play};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The first account, as in the ready file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct First {
    pub(super) token: String,
    pub(super) operator_token: String,
    pub(super) account_id: String,
    /// The email that a user of the account logs in with.
    #[serde(default)]
    pub(super) user: String,
    #[serde(default)]
    pub(super) password: String,
    /// The inbox's platform address.
    pub(super) inbox: String,
    pub(super) inbox_id: String,
}

/// A record set set by a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RecordSet {
    pub(super) values: Vec<String>,
    pub(super) ttl: u32,
}

/// A record set as a request shows it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    set: RecordSet,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownFault {
    name: String,
    /// `null`: all name servers, and the resolver.
    server: Option<u8>,
    fault: Fault,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    first: Option<First>,
    clock_ahead_seconds: u64,
    /// Keyed by name and type, separated by a space.
    records: BTreeMap<String, RecordSet>,
    /// Keyed by name; for one name server by name and its number, separated by a space.
    faults: BTreeMap<String, Fault>,
}

/// The file and its content; clones share it.
#[derive(Clone, Debug)]
pub(super) struct State {
    path: PathBuf,
    kept: Arc<Mutex<Kept>>,
}

impl State {
    /// Reads the file, if it exists.
    pub(super) fn open(path: PathBuf) -> Result<Self, SandboxError> {
        let kept = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| SandboxError::File(path.clone(), std::io::Error::other(e)))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(SandboxError::File(path, error)),
        };
        Ok(Self { path, kept: Arc::new(Mutex::new(kept)) })
    }

    /// Restores record sets and faults in the simulated internet.
    pub(super) fn restore(&self, play: &Play) {
        let kept = self.kept();
        for (key, set) in &kept.records {
            let Some((name, kind)) = key.split_once(' ') else { continue };
            let restored = Kind::parse(kind).and_then(|kind| play.set(name, kind, &set.values, set.ttl));
            if let Err(error) = restored {
                tracing::warn!(%name, %kind, %error, "cannot restore a record set");
            }
        }
        for (of, fault) in &kept.faults {
            let (name, server) = place(of);
            if let Err(error) = play.set_fault_at(name, server, Some(*fault)) {
                tracing::warn!(%name, %error, "cannot restore a fault");
            }
        }
    }

    pub(super) fn first(&self) -> Option<First> {
        self.kept().first.clone()
    }

    pub(super) async fn set_first(&self, first: First) -> Result<(), SandboxError> {
        self.change(|kept| kept.first = Some(first)).await
    }

    pub(super) fn clock_ahead_seconds(&self) -> u64 {
        self.kept().clock_ahead_seconds
    }

    pub(super) async fn set_clock_ahead(&self, seconds: u64) -> Result<(), SandboxError> {
        self.change(|kept| kept.clock_ahead_seconds = seconds).await
    }

    /// Stores record sets; `None` for a removed one.
    pub(super) async fn note_records(
        &self,
        sets: impl IntoIterator<Item = (String, Kind, Option<RecordSet>)>,
    ) -> Result<(), SandboxError> {
        self.change(|kept| {
            for (name, kind, set) in sets {
                let key = format!("{} {kind}", plain(&name));
                match set {
                    Some(set) => drop(kept.records.insert(key, set)),
                    None => drop(kept.records.remove(&key)),
                }
            }
        })
        .await
    }

    /// The values set by requests.
    pub(super) fn values(&self, name: &str, kind: Kind) -> Vec<String> {
        let key = format!("{} {kind}", plain(name));
        self.kept().records.get(&key).map(|set| set.values.clone()).unwrap_or_default()
    }

    /// Every record set that a request has set.
    pub(super) fn records(&self) -> Vec<Shown> {
        let shown = |(key, set): (&String, &RecordSet)| {
            let (name, kind) = key.split_once(' ')?;
            Some(Shown { name: name.to_owned(), kind: kind.to_owned(), set: set.clone() })
        };
        self.kept().records.iter().filter_map(shown).collect()
    }

    /// The faults by name.
    pub(super) fn faults(&self) -> Vec<ShownFault> {
        let kept = self.kept();
        let shown = |(of, fault): (&String, &Fault)| {
            let (name, server) = place(of);
            ShownFault { name: name.to_owned(), server, fault: *fault }
        };
        kept.faults.iter().map(shown).collect()
    }

    pub(super) async fn note_fault(
        &self,
        name: &str,
        server: Option<u8>,
        fault: Option<Fault>,
    ) -> Result<(), SandboxError> {
        let of = server.map_or_else(|| plain(name), |server| format!("{} {server}", plain(name)));
        self.change(|kept| match fault {
            Some(fault) => drop(kept.faults.insert(of, fault)),
            None => drop(kept.faults.remove(&of)),
        })
        .await
    }

    async fn change(&self, change: impl FnOnce(&mut Kept)) -> Result<(), SandboxError> {
        change(&mut self.kept());
        let state = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            // Under the lock, so that an older state never overwrites a newer one.
            let kept = state.kept();
            let bytes = serde_json::to_vec_pretty(&*kept).map_err(std::io::Error::other);
            bytes.map_err(|e| SandboxError::File(state.path.clone(), e)).and_then(|b| write_private(&state.path, &b))
        });
        written.await.map_err(|e| SandboxError::File(self.path.clone(), std::io::Error::other(e)))?
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name and the name server of a fault's key.
fn place(of: &str) -> (&str, Option<u8>) {
    match of.split_once(' ') {
        Some((name, server)) => (name, server.parse().ok()),
        None => (of, None),
    }
}

/// The canonical spelling of a name.
fn plain(name: &str) -> String {
    name.trim().trim_end_matches('.').to_ascii_lowercase()
}
