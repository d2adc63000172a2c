//! Tells the client that a long command is still running. RFC 9585.

use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use std::io;
use std::time::{Duration, Instant};

/// How far a command is.
#[derive(Debug)]
pub(super) struct Progress {
    tag: String,
    every: Duration,
    told_at: Instant,
    /// Messages that have been dealt with.
    pub done: usize,
    /// Of how many; `None` if that is not known.
    pub goal: Option<usize>,
}

impl Progress {
    pub fn new(tag: &str, every: Duration) -> Self {
        Self { tag: tag.to_owned(), every, told_at: Instant::now(), done: 0, goal: None }
    }

    /// Sends a response if the last one was long ago. Between responses only.
    pub async fn tell(&mut self, wire: &mut Wire) -> io::Result<()> {
        if self.told_at.elapsed() < self.every {
            return Ok(());
        }
        self.told_at = Instant::now();
        let octets = |number| u64::try_from(number).unwrap_or(u64::MAX);
        let (done, goal) = match self.goal {
            // A command that is still running has not reached its goal.
            Some(goal) => (self.done.min(goal.saturating_sub(1)), Some(octets(goal))),
            None => (self.done, None),
        };
        let code = Code::InProgress { tag: self.tag.clone(), done: octets(done), goal };
        wire.writer().untagged_ok(Some(&code), "still searching");
        wire.flush().await
    }
}
