//! Bad input at the servers of the real daemon: each gets its protocol's proper error and a line of the log; the daemon goes
//! on, and nothing of it is stored, not even in part.

mod crowds;
mod disk;
mod http;
mod imap;
mod limits;
mod memory;
mod reading;
mod smtp;

use crate::crash_keeps_mail::check_store;
use crate::rude::Rude;
use crate::serve::{Relay, Serve, rows};
use std::time::{Duration, Instant};

/// The address of the inbox that all of this is aimed at.
const READER: &str = "reader@inboxlayer.dev";

/// A daemon with an account and its inbox.
pub struct Scene {
    pub daemon: Serve,
    pub relay: Relay,
    pub account: String,
    pub inbox: String,
    pub token: String,
}

impl Scene {
    /// With messages of 20,000 octets at most.
    pub fn open() -> Self {
        Self::with("message_size = 20000")
    }

    /// With these lines in `[limits]`.
    pub fn with(limits: &str) -> Self {
        let relay = Relay::start();
        let daemon = Serve::start(relay.address, &format!("[limits]\n{limits}\n"));
        let (account, inbox, token) = daemon.account("reader");
        Self { daemon, relay, account, inbox, token }
    }

    /// A client at the MX server, after EHLO.
    pub fn mx(&self) -> Rude {
        let mut client = Rude::connect(self.daemon.mx);
        client.reply("220 ");
        client.say("EHLO outside.example", "250");
        client
    }

    /// A client that has logged in to send.
    pub fn sender(&self) -> Rude {
        let mut client = Rude::secure(self.daemon.submissions, &self.daemon.ca());
        client.reply("220 ");
        client.say("EHLO client.example", "250");
        client.say(&format!("AUTH PLAIN {}", plain(READER, &self.token)), "235 ");
        client
    }

    /// An IMAP client before its log-in.
    pub fn anonymous(&self) -> Rude {
        let mut client = Rude::secure(self.daemon.imaps, &self.daemon.ca());
        assert!(client.line().unwrap().starts_with("* OK"));
        client
    }

    /// An IMAP client after it.
    pub fn user(&self) -> Rude {
        let mut client = self.anonymous();
        client.ask(&format!("LOGIN {READER} {}", self.token), "OK");
        client
    }

    /// Waits for a line of the log that has all of these words.
    #[track_caller]
    pub fn logged(&self, words: &[&str]) {
        let began = Instant::now();
        while !self.daemon.log().lines().any(|line| words.iter().all(|word| line.contains(word))) {
            assert!(began.elapsed() < Duration::from_secs(60), "not in the log: {words:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The daemon is well, so many messages are in the inbox beside the copies of what it sent, and the queue is empty; it ends
    /// in good order, and leaves a store that opens clean. The token is in no line of the log.
    #[track_caller]
    pub fn ends_with(mut self, messages: usize) {
        let api = self.daemon.api();
        // Where connections are few, the clients of the story may not have gone yet.
        api.poll("/healthz", |answer| answer.status == 200);
        let found = api.get(&format!("/api/v1/inboxes/{}/messages", self.inbox)).expect(200);
        let received = rows(&found.body).iter().filter(|row| row["mailbox"] != "Sent").count();
        assert_eq!(received, messages, "{}", found.text);
        assert!(rows(&api.get("/api/v1/queue").expect(200).body).is_empty());
        assert!(self.daemon.terminate(), "the end on SIGTERM");
        check_store(&self.daemon);
        let log = self.daemon.log();
        assert!(!log.contains(&self.token) && !log.contains("panicked"), "{log}");
    }
}

/// What AUTH PLAIN says (RFC 4616).
fn plain(user: &str, password: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"))
}
