//! Re-reads the messages that were being parsed when the last daemon ended, each in a separate process. A `kill -9`
//! leaves the same trace as a parser's abort; a process that reads the message to its end tells them apart.

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

/// Time limit for all of them together, since the start waits for it. A message not read by then is set aside for this
/// run.
const TIME: Duration = Duration::from_secs(60);

/// The command that reads a message from standard input and prints nothing.
pub const COMMAND: &str = "read-message";

/// Logs the messages, sets aside those that cannot be read, and starts a new record. Works on a full disk, where mail
/// can still be read.
pub(super) async fn reading_log(data_dir: &Path, store: &Store, limits: &Limits) -> ReadingLog {
    let left = match LeftOver::read(data_dir) {
        Ok(left) => left,
        Err(error) => {
            tracing::error!(%error, "cannot record which messages are being parsed");
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
            tracing::error!(%error, "cannot record the messages that the last daemon was parsing; the next start checks them again");
            store.set_aside_unrecorded(judged).await.unwrap_or_else(|error| {
                tracing::error!(%error, contents = ?left.contents, "cannot read the list of messages set aside");
                (Vec::new(), left.contents.iter().copied().collect())
            })
        }
    };
    for Suspect { content, messages, aborts } in suspects {
        let what = "the last daemon ended while parsing this message";
        if aside.contains(&content) {
            tracing::error!(?content, ?messages, aborts, "{what}: set aside, shown without parsing");
        } else {
            tracing::warn!(?content, ?messages, aborts, "{what}: a separate process has parsed it completely");
        }
    }
    if is_recorded { left.begin(aside) } else { left.begin_unrecorded(aside) }
}

async fn verdict(store: &Store, content: ContentId, limits: &Limits, end: Instant) -> Verdict {
    let raw = match store.content(content).await {
        Ok(message) => [message.header, message.body.to_vec()].concat(),
        // Deleted meanwhile.
        Err(StoreError::NoRow(_)) => return Verdict::Harmless,
        Err(error) => {
            tracing::error!(%error, ?content, "cannot read from the store a message that the last daemon was parsing");
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
            tracing::error!(%error, ?content, "cannot start a process to parse a message");
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

/// The exit status of the process after reading the message.
async fn end_of(mut child: Child, raw: &[u8]) -> io::Result<ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        // A process that ends before it has read everything has failed, and its status says so.
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
    async fn an_abort_or_failure_is_distinguished_from_a_completed_read() {
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
