//! Bad input at the servers of the real daemon: each gets its protocol's error and a line in the log; the daemon continues, and
//! nothing is stored, not even in part.

mod crowds;
mod disk;
mod http;
mod imap;
mod limits;
mod memory;
mod reading;
mod smtp;
mod streams;
mod webhooks;

use crate::crash_keeps_mail::check_store;
use crate::rude::Rude;
use crate::serve::{Relay, Serve, rows};
use std::time::{Duration, Instant};

/// The address of the attacked inbox.
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
    /// With a `message_size` of 20,000.
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

    /// An IMAP client before log-in.
    pub fn anonymous(&self) -> Rude {
        let mut client = Rude::secure(self.daemon.imaps, &self.daemon.ca());
        assert!(client.line().unwrap().starts_with("* OK"));
        client
    }

    /// An IMAP client after log-in.
    pub fn user(&self) -> Rude {
        let mut client = self.anonymous();
        client.ask(&format!("LOGIN {READER} {}", self.token), "OK");
        client
    }

    /// Waits for a log line that contains all of these words.
    #[track_caller]
    pub fn logged(&self, words: &[&str]) {
        let began = Instant::now();
        while !self.daemon.log().lines().any(|line| words.iter().all(|word| line.contains(word))) {
            assert!(began.elapsed() < Duration::from_secs(60), "not in the log: {words:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The daemon is healthy, the inbox has this number of messages outside Sent, and the queue is empty; it stops properly and
    /// leaves a consistent store. The log does not contain the token.
    #[track_caller]
    pub fn ends_with(mut self, messages: usize) {
        let api = self.daemon.api();
        // With a low connection limit, the story's clients may still be connected.
        api.poll("/healthz", |answer| answer.status == 200);
        let found = api.get(&format!("/api/v1/emails?inbox={}", self.inbox)).expect(200);
        let received = rows(&found.body).iter().filter(|row| row["mailbox"] != "Sent").count();
        assert_eq!(received, messages, "{}", found.text);
        assert!(rows(&api.get("/api/v1/queue").expect(200).body).is_empty());
        assert!(self.daemon.terminate(), "the end on SIGTERM");
        check_store(&self.daemon);
        let log = self.daemon.log();
        assert!(!log.contains(&self.token) && !log.contains("panicked"), "{log}");
    }
}

/// The initial response of AUTH PLAIN (RFC 4616).
fn plain(user: &str, password: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"))
}
