//! Commands and their literals out of the octets a client sends.

use super::command;
use super::frame::{Announcement, Frame, Step};
use super::parser::Mode;
use super::{BATCH, Input, NO_MEMORY, READ_AT_ONCE, Refusal, Wire};
use crate::resources::rate::Progress;
use crate::resources::spool::{self, SpoolError};
use std::io;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

/// Messages of one command: each may have a file of its own in the spool.
const MESSAGES: usize = 100;

/// A message while it is received.
#[derive(Debug)]
pub(super) struct Incoming {
    /// Octets still to come.
    left: usize,
    /// Or why it is read and discarded.
    kept: Result<spool::Incoming, Refusal>,
    progress: Progress,
}

impl Wire {
    /// The next command. Not cancel safe: a message may be half written to disk.
    pub async fn command(&mut self, mode: Mode) -> io::Result<Input> {
        loop {
            if let Some(incoming) = self.incoming.take_if(|incoming| incoming.left == 0) {
                match incoming.kept {
                    Ok(message) => self.messages.push(message),
                    Err(refusal) => self.refusal = Some(refusal),
                }
            }
            if self.incoming.is_some() {
                if let Some(end) = self.message().await? {
                    return Ok(end);
                }
                continue;
            }
            let capacity = self.frame.literal_left().clamp(READ_AT_ONCE, BATCH);
            if self.input.is_empty() && !self.fill(capacity).await? {
                return Ok(Input::End);
            }
            let (count, step) = self.frame.take(&self.input);
            self.input.drain(..count);
            // A command over the limit is read and not kept, up to a second limit.
            if self.frame.taken() / 16 > self.command_limit() {
                return Ok(Input::Lost("command too long, closing connection"));
            }
            if self.count().is_err() {
                return Ok(Input::Lost(NO_MEMORY));
            }
            match step {
                Step::More => {}
                Step::UnreadableLiteral => return Ok(Input::Lost("invalid literal, closing connection")),
                Step::Announced(literal) => {
                    if let Some(refused) = self.announced(literal) {
                        return Ok(refused);
                    }
                    self.flush().await?;
                }
                Step::Complete => return Ok(self.complete(mode)),
            }
        }
    }

    /// Resolves once there are octets of a command, or the client has disconnected. Cancel safe.
    pub async fn has_input(&mut self) -> io::Result<()> {
        if self.input.is_empty() {
            self.fill(READ_AT_ONCE).await?;
        }
        Ok(())
    }

    /// One line that is not a command: `DONE`, or a SASL response. `None`: it is too long. Cancel safe.
    pub async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.input.iter().position(|b| *b == b'\n') {
                return Ok(Some(self.input.drain(..=at).collect()));
            }
            if self.input.len() > self.command_limit() {
                return Ok(None);
            }
            if !self.fill(READ_AT_ONCE).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.count().map_err(|full| io::Error::new(io::ErrorKind::OutOfMemory, full))?;
        }
    }

    /// Octets of a message: those that are there, or else those of one read. Some: there will be no more.
    async fn message(&mut self) -> io::Result<Option<Input>> {
        let Some(incoming) = &mut self.incoming else { return Ok(None) };
        let count = incoming.left.min(self.input.len());
        if count > 0 {
            incoming.take(self.input.drain(..count).as_slice()).await;
            return Ok(None);
        }
        self.input.reserve(incoming.left.min(BATCH));
        match timeout_at(incoming.progress.period_ends(), self.stream.read_buf(&mut self.input)).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(0)) => Ok(Some(Input::End)),
            Err(_) if incoming.progress.is_too_slow(Instant::now()) => {
                Ok(Some(Input::Lost("data rate too low, closing connection")))
            }
            Ok(Ok(_)) | Err(_) => Ok(None),
        }
    }

    /// A literal was announced: sends the continuation request, or refuses.
    fn announced(&mut self, literal: Announcement) -> Option<Input> {
        let mut message = self.spool.begin();
        let message_limit = self.limits.message.filter(|_| literal.is_message);
        let (limit, too_long) = match message_limit {
            Some(limit) => (limit, Refusal::MessageTooLong),
            None => (self.frame.left(), Refusal::CommandTooLong),
        };
        let refusal = match message_limit {
            _ if self.refusal.is_some() => self.refusal,
            _ if literal.length > limit => Some(too_long),
            Some(_) if self.messages.len() >= MESSAGES => Some(Refusal::TooManyMessages),
            Some(_) if message.reserve(literal.length).is_err() => Some(Refusal::NoRoom),
            _ => None,
        };
        if let Some(refusal) = refusal {
            if literal.is_sync {
                let tag = self.frame.tag();
                self.start_over();
                return Some(Input::Refused(tag, refusal));
            }
            // It follows in any case; the next command begins after it.
            if literal.length / 8 > limit.max(BATCH) {
                return Some(Input::Lost("literal too long, closing connection"));
            }
        }
        if message_limit.is_some() {
            let kept = refusal.map_or(Ok(message), Err);
            self.incoming = Some(Incoming { left: literal.length, kept, progress: self.spool.progress() });
            self.frame.spool(literal);
        } else {
            self.frame.keep(literal);
        }
        if literal.is_sync {
            self.push_continuation("ready for literal");
        }
        None
    }

    fn complete(&mut self, mode: Mode) -> Input {
        let (frame, messages, refusal) = self.start_over();
        let refusal = match () {
            () if frame.has_bare_line_feed() => Some(Refusal::BareLineFeed),
            () if frame.is_over() => Some(Refusal::CommandTooLong),
            () => refusal,
        };
        match refusal {
            Some(refusal) => Input::Refused(frame.tag(), refusal),
            None => match command::read(&frame, mode) {
                Ok(command) => Input::Command(Box::new(command), messages),
                Err(unreadable) => Input::Unreadable(unreadable.tag, unreadable.error),
            },
        }
    }

    /// Begins the next command; what has come of the last one.
    fn start_over(&mut self) -> (Frame, Vec<spool::Incoming>, Option<Refusal>) {
        self.incoming = None;
        if self.input.is_empty() && self.input.capacity() > READ_AT_ONCE {
            self.input = Vec::new();
        }
        let next = Frame::new(self.command_limit());
        let frame = std::mem::replace(&mut self.frame, next);
        (frame, std::mem::take(&mut self.messages), self.refusal.take())
    }
}

impl Incoming {
    /// Keeps octets of the message.
    async fn take(&mut self, octets: &[u8]) {
        self.left = self.left.saturating_sub(octets.len());
        self.progress.received(octets.len());
        let Ok(kept) = &mut self.kept else { return };
        let taken = match kept.push(octets) {
            Ok(()) => kept.spill().await.map_err(SpoolError::Disk),
            Err(full) => Err(full.into()),
        };
        if let Err(error) = taken {
            self.kept = Err(error.into());
        }
    }
}

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::NoRoom(_) => {}
            SpoolError::Disk(error) => {
                tracing::error!(listener = "imap", %error, "could not write a message to the spool, or read it from there");
            }
        }
        Self::NoRoom
    }
}
