//! A message that the last daemon was reading when it ended: the next one names it in its log, has it read by a process of its
//! own, and after three such ends reads it no more.

use crate::daemon::Daemon;
use crate::engine::Engine;
use crate::rude::Rude;
use serde_json::{Value, json};
use std::path::Path;

const RAW: &str = "From: Zoe <zoe@outside.example>\r\nSubject: hidden\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--\r\n";

struct Kept {
    daemon: Daemon,
    path: String,
}

impl Kept {
    /// Starts the daemon as after an abort while it read the message with this subject; none: after a clean end.
    fn start_after_abort(&mut self, subject: Option<&str>) {
        self.daemon.kill();
        let ids: Vec<u8> = subject.into_iter().flat_map(|subject| self.content(subject).to_le_bytes()).collect();
        std::fs::write(self.daemon.data_dir().join("reading"), ids).unwrap();
        self.daemon.launch();
    }

    fn content(&self, subject: &str) -> i64 {
        let (position, octets) = match self.daemon.engine() {
            Engine::Sqlite => ("instr(header, CAST('", "' AS BLOB))"),
            Engine::Postgres(..) => ("position(convert_to('", "', 'UTF8') IN header)"),
        };
        let sql = format!("SELECT CAST(id AS TEXT) FROM content WHERE {position}Subject: {subject}{octets} > 0");
        self.daemon.engine().ask(&self.daemon.data_dir(), &sql).parse().unwrap()
    }

    fn show(&self) -> Value {
        self.daemon.api().get(&self.path).expect(200).body
    }

    fn imap(&self) -> Rude {
        let mut client = Rude::secure(self.daemon.ready("imaps").parse().unwrap(), Path::new(self.daemon.ready("ca")));
        client.reply("* OK");
        client.ask(&format!("LOGIN {} {}", self.daemon.ready("inbox"), self.daemon.ready("token")), "OK");
        client.ask("SELECT INBOX", "OK");
        client
    }

    fn is_set_aside(&self) {
        let shown = self.show();
        assert_eq!((&shown["unreadable"], &shown["subject"], &shown["from"]), (&json!(true), &json!(""), &json!([])));
        assert_eq!(shown["attachments"], json!([]));
        assert!(shown["text_body"].as_str().unwrap().contains("Content-Type: image/png"), "{shown}");
        assert_eq!(self.daemon.api().get(&format!("{}/raw", self.path)).expect(200).text.matches(RAW).count(), 1);
        let mut client = self.imap();
        let structure = client.ask("FETCH 1:2 (BODYSTRUCTURE)", "OK").concat().to_lowercase();
        assert!(structure.contains("\"text\" \"plain\"") && !structure.contains("\"image\""), "{structure}");
        let octets = client.ask("FETCH 1:2 BODY.PEEK[]", "OK").concat();
        assert!(octets.contains("Subject: hidden") && octets.contains("Content-Type: image/png"), "{octets}");
        assert_eq!(client.ask("SEARCH SUBJECT hidden", "OK")[0].trim(), "* SEARCH");
        assert_eq!(client.ask("SEARCH SUBJECT plain", "OK")[0].trim(), "* SEARCH 2");
    }

    fn is_read(&self) {
        let shown = self.show();
        assert_eq!((&shown["subject"], shown["attachments"].as_array().unwrap().len()), (&json!("hidden"), 1));
        assert_eq!(shown.get("unreadable"), None);
        assert!(self.imap().ask("FETCH 1:2 (BODYSTRUCTURE)", "OK").concat().to_lowercase().contains("\"image\""));
    }
}

#[test]
fn a_message_that_was_being_read_when_the_daemon_ended_is_named_and_set_aside() {
    let daemon = Daemon::start();
    let deliver = |raw: &str| {
        let message = json!({"mail_from": "zoe@outside.example", "rcpt_to": daemon.ready("inbox"), "raw": raw});
        daemon.api().post("/sandbox/inbound", message).expect(200);
    };
    deliver(RAW);
    deliver("From: zoe@outside.example\r\nSubject: plain\r\n\r\nhello\r\n");
    let messages = format!("/api/v1/emails?inbox={}", daemon.ready("inbox_id"));
    let listed = daemon.api().get(&messages).expect(200);
    let rows = crate::serve::rows(&listed.body);
    let id = rows.iter().find(|row| row["subject"] == "hidden").unwrap()["id"].as_str().unwrap().to_owned();
    let mut kept = Kept { path: format!("/api/v1/emails/{id}"), daemon };
    kept.is_read();

    // A kill: it is named, and a process of its own reads it to the end.
    let named = |log: &str, what: &str| {
        let line = format!("the last daemon ended while parsing this message: {what}");
        assert!(log.lines().any(|logged| logged.contains(&line) && logged.contains(&id)), "{what}: {log}");
    };
    for _ in 0..2 {
        kept.start_after_abort(Some("hidden"));
        named(&kept.daemon.log(), "a separate process has parsed it completely");
        kept.is_read();
    }
    kept.start_after_abort(None);
    kept.is_read();

    // The third time it is set aside, and stays so.
    kept.start_after_abort(Some("hidden"));
    named(&kept.daemon.log(), "set aside, shown without parsing");
    kept.is_set_aside();
    let listed = kept.daemon.api().get(&messages).expect(200);
    let marked: Vec<bool> = crate::serve::rows(&listed.body).iter().map(|row| row["unreadable"] == true).collect();
    assert_eq!(marked, [false, true], "{}", listed.text);
    kept.start_after_abort(None);
    kept.is_set_aside();
}
