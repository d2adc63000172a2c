//! Messages into mailboxes of an inbox, many in one request, and none that is there already.
//!
//! Invariant: a message is left out of an upload for each copy that its mailbox had when it was opened, so that a run that was cut off is
//! continued by the next, without a file that says how far it came.

use super::message::{Identity, Message};
use super::progress::{Counts, Progress};
use crate::cli::failure::Failure;
use crate::cli::rest::{Refused, Rest, encoded};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;

/// Messages of a request.
const MESSAGES: usize = 200;
/// Octets of messages after which a request is sent.
const OCTETS: usize = 4 * 1024 * 1024;
/// How often a request that the daemon has no room for now is sent.
const ATTEMPTS: usize = 60;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const AGAIN: &str = "run it again when this is solved: it goes on where it was, without duplicates";

#[derive(Serialize)]
struct Email {
    raw: String,
    flags: Vec<String>,
    received_at: String,
    /// Where it comes from.
    #[serde(skip)]
    label: String,
}

#[derive(Serialize)]
struct Request<'a> {
    mailbox: &'a str,
    emails: &'a [Email],
}

/// Uploads to one inbox, a mailbox after the other.
pub(super) struct Upload<'a> {
    rest: &'a Rest,
    inbox: &'a str,
    progress: &'a mut Progress,
}

/// The upload to a mailbox.
pub(super) struct ToMailbox<'a, 'b> {
    upload: &'b mut Upload<'a>,
    name: &'b str,
    total: Option<u64>,
    /// How many copies of a message are in the mailbox, and not yet met.
    there: HashMap<Identity, u32>,
    waiting: Vec<Email>,
    octets: usize,
    counts: Counts,
    left_out: Vec<String>,
}

impl<'a> Upload<'a> {
    /// `inbox` is its id.
    pub(super) fn new(rest: &'a Rest, inbox: &'a str, progress: &'a mut Progress) -> Self {
        Self { rest, inbox, progress }
    }

    /// Names something that is no message of a mailbox.
    pub(super) fn leave_out(&mut self, what: &str, reason: &str) {
        self.progress.leave_out(what, reason);
    }

    /// Tells the user that a mailbox has no message that is not there.
    pub(super) fn nothing_new(&mut self, name: &str) {
        self.progress.mailbox_done(name, Counts::default());
    }

    /// Opens a mailbox for messages, of which there are `total`.
    pub(super) async fn open<'b>(
        &'b mut self,
        name: &'b str,
        total: Option<u64>,
    ) -> Result<ToMailbox<'a, 'b>, Failure> {
        let mut there = HashMap::new();
        let list = format!("/api/v1/emails?inbox={}&mailbox={}&per_page=100", encoded(self.inbox), encoded(name));
        let count = |email| Identity::listed(&email).into_iter().for_each(|id| *there.entry(id).or_insert(0) += 1);
        self.rest.each_row(list, count).await?;
        let counts = Counts::default();
        Ok(ToMailbox { upload: self, name, total, there, waiting: Vec::new(), octets: 0, counts, left_out: Vec::new() })
    }
}

impl ToMailbox<'_, '_> {
    /// Adds a message, which `label` names to the user.
    pub(super) async fn add(&mut self, label: String, message: Message) -> Result<(), Failure> {
        match self.there.get_mut(&message.identity()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                self.counts.existing += 1;
            }
            _ => {
                let Message { raw, flags, received_at } = message;
                self.octets = self.octets.saturating_add(raw.len());
                let (raw, received_at) = (STANDARD.encode(raw), received_at.to_string());
                self.waiting.push(Email { raw, flags, received_at, label });
                if self.waiting.len() >= MESSAGES || self.octets >= OCTETS {
                    self.flush().await?;
                }
            }
        }
        self.upload.progress.at(self.name, self.counts, self.total);
        Ok(())
    }

    pub(super) fn leave_out(&mut self, label: &str, reason: &str) {
        self.counts.left_out += 1;
        self.left_out.push(label.to_owned());
        self.upload.progress.leave_out(label, reason);
    }

    /// The labels of messages that were left out since the last call.
    pub(super) fn take_left_out(&mut self) -> Vec<String> {
        std::mem::take(&mut self.left_out)
    }

    /// Uploads what was added. Of a request that is refused for one of its messages, the others are uploaded.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        let mut requests = vec![std::mem::take(&mut self.waiting)];
        self.octets = 0;
        while let Some(mut emails) = requests.pop() {
            match self.send(&emails).await? {
                Ok(()) => self.counts.copied += u64::try_from(emails.len()).unwrap_or(u64::MAX),
                Err(refused) => match emails.as_slice() {
                    [] => return Err(refused),
                    [email] => {
                        let label = email.label.clone();
                        self.leave_out(&label, &refused.what);
                    }
                    several => {
                        let second = emails.split_off(several.len() / 2);
                        requests.extend([second, emails]);
                    }
                },
            }
        }
        Ok(())
    }

    /// The inner result is the refusal of these messages.
    async fn send(&self, emails: &[Email]) -> Result<Result<(), Failure>, Failure> {
        let path = format!("/api/v1/inboxes/{}/import", encoded(self.upload.inbox));
        let body = serde_json::to_vec(&Request { mailbox: self.name, emails })
            .map_err(|error| Failure::new(error.to_string(), AGAIN))?;
        let mut attempts = 1;
        loop {
            let Err(Refused { status, retry_after, failure }) = self.upload.rest.post_once(&path, body.clone()).await?
            else {
                return Ok(Ok(()));
            };
            match status {
                StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => return Ok(Err(failure)),
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS if attempts < ATTEMPTS => {
                    attempts += 1;
                    tokio::time::sleep(retry_after.unwrap_or(Duration::from_secs(1)).min(LONGEST_PAUSE)).await;
                }
                _ => {
                    let fix =
                        if failure.fix.is_empty() { AGAIN.to_owned() } else { format!("{} Then {AGAIN}", failure.fix) };
                    return Err(Failure { fix, ..failure });
                }
            }
        }
    }

    /// Uploads the rest, creates the mailbox where there was none, and tells the user.
    pub(super) async fn close(mut self) -> Result<(), Failure> {
        if !self.waiting.is_empty() || self.counts == Counts::default() {
            self.flush().await?;
        }
        self.upload.progress.mailbox_done(self.name, self.counts);
        Ok(())
    }
}
