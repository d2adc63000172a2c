//! A message on its way into an inbox or out of it, and what tells it from others of its mailbox.

use crate::clock::Timestamp;
use crate::message::date::date;
use crate::message::fields::{Header, ReadLimits, header_end};
use crate::message::overview::Overview;
use crate::message::{NUL_REFUSED, has_nul, line_ends_as_crlf};
use serde_json::Value;

/// Octets of a message that are read at most. The daemon's limit is lower, and decides.
pub(super) const LARGEST: usize = 256 * 1024 * 1024;

/// A message with what its mailbox notes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Lines end in CRLF.
    pub(super) raw: Vec<u8>,
    /// System flags and keywords, as over IMAP.
    pub(super) flags: Vec<String>,
    pub(super) received_at: Timestamp,
}

impl Message {
    /// Fails with the reason for which no mailbox takes it.
    pub(super) fn new(raw: &[u8], flags: Vec<String>, received_at: Timestamp) -> Result<Self, String> {
        if raw.is_empty() {
            return Err("it is empty".to_owned());
        }
        if has_nul(raw) {
            return Err(NUL_REFUSED.to_owned());
        }
        Ok(Self { raw: line_ends_as_crlf(raw), flags, received_at })
    }

    pub(super) fn identity(&self) -> Identity {
        let header = Header::read(&self.raw, &ReadLimits::default());
        Identity {
            message_id: Overview::read(&header).message_id,
            size: self.raw.len(),
            received_at: self.received_at.millis(),
        }
    }
}

/// What two copies of a message in a mailbox have in common, and other messages do not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    message_id: Option<String>,
    size: usize,
    received_at: i64,
}

impl Identity {
    /// Of an email in a list of the API.
    pub(super) fn listed(email: &Value) -> Option<Self> {
        let received_at: Timestamp = email.get("received_at")?.as_str()?.parse().ok()?;
        Some(Self {
            message_id: email.get("message_id").and_then(Value::as_str).map(str::to_owned),
            size: usize::try_from(email.get("size")?.as_u64()?).ok()?,
            received_at: received_at.millis(),
        })
    }
}

/// When a message came in by its header: the date of the last server's Received, else that of Date.
pub(super) fn date_of(raw: &[u8]) -> Option<Timestamp> {
    let block = raw.get(..header_end(raw)).unwrap_or(raw);
    let header = Header::read(block, &ReadLimits::default());
    let received = header.find("Received").and_then(|value| value.rsplit(|octet| *octet == b';').next());
    let found = received.and_then(date).or_else(|| header.find("Date").and_then(date))?;
    Some(Timestamp::from_millis(found.seconds().saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_listed_email_has_the_identity_of_the_message() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let message = Message::new(b"Message-ID: <a@x>\nSubject: s\n\nbody\n", vec![], at).unwrap();
        let listed = json!({"message_id": "a@x", "size": 39, "received_at": "2023-11-14T22:13:20.000Z"});
        assert_eq!(Identity::listed(&listed), Some(message.identity()));
        assert_eq!(Message::new(b"a\0b", vec![], at), Err(NUL_REFUSED.to_owned()));
        assert!(Message::new(b"", vec![], at).is_err());
    }

    #[test]
    fn a_message_came_in_when_the_last_server_says() {
        let received =
            "Received: from a by b; Thu, 1 Jan 1970 00:01:00 +0000\nReceived: by c; Thu, 1 Jan 1970 00:00:30 +0000\n";
        let date = "Date: Thu, 1 Jan 1970 00:00:10 +0000\n";
        for (header, seconds) in [
            (format!("{received}{date}"), Some(60)),
            (date.to_owned(), Some(10)),
            (format!("Received: by someone\n{date}"), Some(10)),
            ("Subject: x\n".to_owned(), None),
        ] {
            let found = date_of(format!("{header}\nDate: Thu, 1 Jan 1970 00:00:20 +0000\n").as_bytes());
            assert_eq!(found.map(Timestamp::seconds), seconds, "{header}");
        }
    }
}
