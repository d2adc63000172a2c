//! The outside world's mailbox: every message sent to a foreign domain. Invariant: a message is on disk before the
//! 250, so that a test that kills the daemon can count what had left; the number of messages is bounded, and the
//! oldest is deleted first.

mod session;

use super::SandboxError;
use crate::clock::Timestamp;
use crate::message::addresses::mailboxes;
use crate::message::fields::Header;
use crate::message::mime::Tree;
use crate::message::text::content;
use crate::message::words::{decoded_words, without_controls};
use crate::message::{self, ReadLimits};
use crate::net::connections::Capacity;
use crate::net::listener::{self, Proxies, Shutdown};
use crate::net::tls::ServerTls;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

const MAX_MESSAGES: usize = 10_000;
/// Maximum octets of one message.
const MESSAGE_SIZE: usize = 64 * 1024 * 1024;
/// Maximum octets of a text that is shown.
const SHOWN_TEXT: usize = 1024 * 1024;
const CONNECTIONS: usize = 200;

/// The listed fields of a message.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct ReceivedMessage {
    pub(super) id: String,
    pub(super) mail_from: String,
    pub(super) rcpt_to: Vec<String>,
    pub(super) from: String,
    pub(super) subject: String,
    pub(super) size: usize,
    /// RFC 3339.
    pub(super) received_at: String,
}

/// A message with what a reader sees.
#[derive(Debug, serde::Serialize)]
pub(super) struct ShownMessage {
    #[serde(flatten)]
    received: ReceivedMessage,
    headers: Vec<ShownField>,
    text_body: Option<String>,
    html_body: Option<String>,
}

#[derive(Debug, serde::Serialize)]
struct ShownField {
    name: String,
    value: String,
}

/// The mailbox; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    dir: PathBuf,
    messages: Arc<Mutex<BTreeMap<String, ReceivedMessage>>>,
}

impl Outside {
    /// Opens the mailbox in a folder with its messages.
    pub(super) fn open(dir: PathBuf) -> Result<Self, SandboxError> {
        let file = |e| SandboxError::File(dir.clone(), e);
        std::fs::create_dir_all(&dir).map_err(file)?;
        let mut messages = BTreeMap::new();
        for entry in std::fs::read_dir(&dir).map_err(file)? {
            let path = entry.map_err(file)?.path();
            // The description is written after the message: without it the message was never acknowledged.
            if path.extension().is_some_and(|e| e == "json")
                && let Ok(received) = serde_json::from_slice::<ReceivedMessage>(&std::fs::read(&path).map_err(file)?)
            {
                messages.insert(received.id.clone(), received);
            }
        }
        Ok(Self { dir, messages: Arc::new(Mutex::new(messages)) })
    }

    /// All messages, oldest first.
    pub(super) fn list(&self) -> Vec<ReceivedMessage> {
        self.messages().values().cloned().collect()
    }

    /// A message as received.
    pub(super) async fn raw(&self, id: &str) -> Option<Vec<u8>> {
        let known = self.messages().contains_key(id);
        // Only a known id is used in a path.
        if known { tokio::fs::read(self.dir.join(format!("{id}.eml"))).await.ok() } else { None }
    }

    /// A message as a reader shows it.
    pub(super) async fn show(&self, id: &str) -> Option<ShownMessage> {
        let received = self.messages().get(id).cloned()?;
        let raw = self.raw(id).await?;
        tokio::task::spawn_blocking(move || shown(received, &raw)).await.ok()
    }

    /// Deletes all messages.
    pub(super) async fn clear(&self) {
        let gone: Vec<String> = std::mem::take(&mut *self.messages()).into_keys().collect();
        for id in gone {
            self.erase(&id).await;
        }
    }

    pub(super) async fn keep(&self, mail_from: String, rcpt_to: Vec<String>, raw: Vec<u8>) -> std::io::Result<()> {
        let received = describe(mail_from, rcpt_to, &raw);
        let (dir, written) = (self.dir.clone(), received.clone());
        tokio::task::spawn_blocking(move || {
            write_synced(&dir.join(format!("{}.eml", written.id)), &raw)?;
            let description = serde_json::to_vec(&written).map_err(std::io::Error::other)?;
            write_synced(&dir.join(format!("{}.json", written.id)), &description)?;
            std::fs::File::open(&dir)?.sync_all()
        })
        .await
        .map_err(std::io::Error::other)??;
        let oldest = {
            let mut messages = self.messages();
            messages.insert(received.id.clone(), received);
            if messages.len() > MAX_MESSAGES { messages.pop_first().map(|(id, _)| id) } else { None }
        };
        if let Some(oldest) = oldest {
            self.erase(&oldest).await;
        }
        Ok(())
    }

    async fn erase(&self, id: &str) {
        for extension in ["json", "eml"] {
            let path = self.dir.join(format!("{id}.{extension}"));
            if let Err(error) = tokio::fs::remove_file(&path).await {
                tracing::warn!(path = %path.display(), %error, "cannot remove a message of the outside world");
            }
        }
    }

    fn messages(&self) -> MutexGuard<'_, BTreeMap<String, ReceivedMessage>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives mail until shutdown, as the mail server of every foreign domain.
    pub(super) async fn serve(self, listener: TcpListener, tls: ServerTls, shutdown: Shutdown) {
        let refuse = || b"421 4.3.2 outside.test: too many connections\r\n".into();
        let capacity = Capacity::of_one_address(CONNECTIONS);
        listener::serve("outside", listener, capacity, refuse, Proxies::None, shutdown, move |stream, _, activity| {
            // Only our own queue connects: no connection is closed for another.
            activity.works();
            session::run(stream, tls.clone(), self.clone())
        })
        .await;
    }
}

fn describe(mail_from: String, rcpt_to: Vec<String>, raw: &[u8]) -> ReceivedMessage {
    let header = Header::read(message::split(raw).0, &ReadLimits::default());
    let from = mailboxes(&header, "From").next().map(|from| {
        let address = from.shown_address().unwrap_or_default();
        from.display_name().map_or_else(|| address.clone(), |name| format!("{name} <{address}>"))
    });
    let subject = header.find("Subject").map(decoded_words);
    ReceivedMessage {
        id: format!("out_{}", ulid::Ulid::new().to_string().to_ascii_lowercase()),
        mail_from,
        rcpt_to,
        from: from.unwrap_or_default(),
        subject: subject.unwrap_or_default(),
        size: raw.len(),
        received_at: Timestamp::real().to_string(),
    }
}

fn shown(received: ReceivedMessage, raw: &[u8]) -> ShownMessage {
    let (limits, (header, body)) = (ReadLimits::default(), message::split(raw));
    let content = content(&Tree::parse(header, body, &limits), SHOWN_TEXT);
    let header = Header::read(header, &limits);
    let text = |octets: &[u8]| without_controls(String::from_utf8_lossy(octets).into_owned());
    let fields = header.fields().iter().filter(|field| !field.name.is_empty());
    let headers =
        fields.map(|field| ShownField { name: text(field.name), value: decoded_words(field.value) }).collect();
    ShownMessage { received, headers, text_body: content.text, html_body: content.html }
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
