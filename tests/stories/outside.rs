//! The sandbox's outside mailbox, which keeps everything sent.

use crate::daemon::Daemon;
use crate::rest::{Answer, Rest};
use serde_json::Value;

pub struct Outside(Rest);

/// A sent message.
#[derive(Debug)]
pub struct Mail {
    pub mail_from: String,
    pub rcpt_to: Vec<String>,
    pub raw: String,
}

impl Outside {
    pub fn of(daemon: &Daemon) -> Self {
        Self(daemon.api())
    }

    pub fn list(&self) -> Vec<Value> {
        rows(&self.0.get("/sandbox/mail").expect(200))
    }

    /// Waits for the message with this subject.
    #[track_caller]
    pub fn wait_for(&self, subject: &str) -> Mail {
        let has = |answer: &Answer| rows(answer).into_iter().find(|mail| mail["subject"] == subject);
        let answer = self.0.poll("/sandbox/mail", |answer| has(answer).is_some());
        let mail = has(&answer).unwrap();
        let raw = self.0.get(&format!("/sandbox/mail/{}/raw", text(&mail["id"]))).expect(200).text;
        let rcpt_to = match &mail["rcpt_to"] {
            Value::Array(list) => list.iter().map(text).collect(),
            one => vec![text(one)],
        };
        Mail { mail_from: text(&mail["mail_from"]), rcpt_to, raw }
    }
}

fn rows(answer: &Answer) -> Vec<Value> {
    answer.body["data"].as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
