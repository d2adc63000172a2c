//! How far a copy of mail is, and what was left out. Invariant: standard output has a line for each mailbox, standard error one for
//! each message that is left out, and on a terminal how far the mailbox is.

use crate::cli::printable::printable;
use crate::cli::rest::print_json;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The exit code where all is done but for what was named.
const SOME_LEFT_OUT: u8 = 4;
/// Between two changes of the line on a terminal.
const PAUSE: Duration = Duration::from_millis(200);

/// What has become of the messages of a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) copied: u64,
    /// They were there before.
    pub(super) existing: u64,
    pub(super) left_out: u64,
}

pub(super) struct Progress {
    /// What the copied messages are: `imported`, `exported`, `fetched`.
    verb: &'static str,
    json: bool,
    is_terminal: bool,
    shown: Option<Instant>,
    mailboxes: Vec<Value>,
    left_out: Vec<Value>,
    /// Named beside mailboxes and messages of one.
    has_failed: bool,
}

impl Progress {
    pub(super) fn new(verb: &'static str, json: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { verb, json, is_terminal, shown: None, mailboxes: Vec::new(), left_out: Vec::new(), has_failed: false }
    }

    /// `total` is the number of messages of the mailbox, where it is known.
    pub(super) fn at(&mut self, mailbox: &str, counts: Counts, total: Option<u64>) {
        if !self.is_terminal || self.shown.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let done = counts.copied.saturating_add(counts.existing).saturating_add(counts.left_out);
        let total = total.map(|total| format!(" of {total}")).unwrap_or_default();
        eprint!("\r\u{1b}[K{}: {done}{total}", printable(mailbox));
        let _ = std::io::stderr().flush();
        self.shown = Some(Instant::now());
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\u{1b}[K");
        }
    }

    /// Names what is left out.
    pub(super) fn leave_out(&mut self, what: &str, reason: &str) {
        self.clear();
        self.has_failed = true;
        eprintln!("left out: {}: {}", printable(what), printable(reason));
        if self.json {
            self.left_out.push(json!({"what": what, "reason": reason}));
        }
    }

    pub(super) fn mailbox_done(&mut self, mailbox: &str, counts: Counts) {
        self.clear();
        let Counts { copied, existing, left_out } = counts;
        if self.json {
            self.mailboxes
                .push(json!({"mailbox": mailbox, self.verb: copied, "existing": existing, "left_out": left_out}));
            return;
        }
        let mut line = format!("{}: {copied} {}", printable(mailbox), self.verb);
        for (count, word) in [(existing, "already there"), (left_out, "left out")] {
            if count > 0 {
                line.push_str(&format!(", {count} {word}"));
            }
        }
        println!("{line}");
    }

    /// 0, or 4 if something was left out.
    pub(super) fn finish(mut self) -> ExitCode {
        self.clear();
        if self.json {
            print_json(&json!({"mailboxes": self.mailboxes, "left_out": self.left_out}));
        }
        if self.has_failed { ExitCode::from(SOME_LEFT_OUT) } else { ExitCode::SUCCESS }
    }
}
