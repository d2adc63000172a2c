//! The messages that were being read when the last daemon ended: each is read again, in a process of its own.
//!
//! A `kill -9` leaves the same trace as an abort of a parser. A process that reads the message to its end tells them apart.

use crate::config::Limits;
use crate::id::ContentId;
use crate::resources::reading::{LeftOver, ReadingLog};
use crate::store::unreadable::{Suspect, Verdict};
use crate::store::{Store, StoreError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

/// For all of them together: the start waits for it. One that is not read by then is set aside for this run.
const TIME: Duration = Duration::from_secs(60);

/// The command that reads a message from standard input and shows nothing.
pub const COMMAND: &str = "read-message";

/// Names the messages in the log, sets aside those that cannot be read, and begins a new record. On a full disk too: mail can
/// be read there.
pub(super) async fn reading_log(data_dir: &Path, store: &Store, limits: &Limits) -> ReadingLog {
    let left = match LeftOver::read(data_dir) {
        Ok(left) => left,
        Err(error) => {
            tracing::error!(%error, "what parsers read cannot be written down");
            return ReadingLog::default();
        }
    };
    let end = Instant::now() + TIME;
    let mut judged = Vec::with_capacity(left.contents.len());
    for content in &left.contents {
        judged.push((*content, verdict(store, *content, limits, end).await));
    }
    let recorded = store.set_aside(judged.clone()).await;
    let is_recorded = recorded.is_ok();
    let (suspects, aside) = match recorded {
        Ok(recorded) => recorded,
        Err(error) => {
            tracing::error!(%error, "what the last daemon was reading cannot be recorded: the next start looks at it again");
            store.set_aside_unrecorded(judged).await.unwrap_or_else(|error| {
                tracing::error!(%error, contents = ?left.contents, "what was set aside before cannot be read");
                (Vec::new(), left.contents.iter().copied().collect())
            })
        }
    };
    for Suspect { content, messages, aborts } in suspects {
        let what = "the last daemon ended while it read this message";
        if aside.contains(&content) {
            tracing::error!(?content, ?messages, aborts, "{what}: it is set aside, and shown without being read");
        } else {
            tracing::warn!(?content, ?messages, aborts, "{what}: a process of its own has read it to the end");
        }
    }
    if is_recorded { left.begin(aside) } else { left.begin_unrecorded(aside) }
}

async fn verdict(store: &Store, content: ContentId, limits: &Limits, end: Instant) -> Verdict {
    let raw = match store.content(content).await {
        Ok(message) => [message.header, message.body.to_vec()].concat(),
        // Deleted while it was read.
        Err(StoreError::Sqlite(rusqlite::Error::QueryReturnedNoRows)) => return Verdict::Harmless,
        Err(error) => {
            tracing::error!(%error, ?content, "what the last daemon was reading cannot be read from the store");
            return Verdict::Unknown;
        }
    };
    let ended = match std::env::current_exe().and_then(|program| start(program, limits)) {
        Ok(child) => timeout_at(end, end_of(child, &raw)).await,
        Err(error) => Ok(Err(error)),
    };
    match ended {
        Ok(Ok(status)) if status.success() => Verdict::Harmless,
        Ok(Ok(_)) => Verdict::Aborts,
        Ok(Err(error)) => {
            tracing::error!(%error, ?content, "no process could read what the last daemon was reading");
            Verdict::Unknown
        }
        Err(_) => Verdict::Unknown,
    }
}

fn start(program: PathBuf, limits: &Limits) -> io::Result<Child> {
    let limits = [limits.message_nesting, limits.message_parts, limits.message_header_size, limits.message_fields];
    let mut command = Command::new(program);
    command.arg(COMMAND).args(limits.map(|limit| limit.to_string()));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()
}

/// How the process ends that is given a message.
async fn end_of(mut child: Child, raw: &[u8]) -> io::Result<ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it has read everything has failed, and its status says so.
        match stdin.write_all(raw).await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    child.wait().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_aborts_or_fails_is_told_from_one_that_reads_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let program = |text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = dir.path().join("program");
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
            path
        };
        let raw = vec![b'x'; 1_000_000];
        for (text, succeeds) in [
            ("test \"$1 $#\" = \"read-message 5\" && test $(wc -c) = 1000000", true),
            ("kill -SEGV $$", false),
            ("head -c 10; exit 1", false),
        ] {
            let child = start(program(text), &Limits::default()).unwrap();
            assert_eq!(end_of(child, &raw).await.unwrap().success(), succeeds, "{text}");
        }
    }
}
