//! Commands and their literals out of the octets a client sends.

use super::{BATCH, Input, NO_MEMORY, READ_AT_ONCE, Refusal, Wire, search};
use crate::resources::rate::Progress;
use crate::resources::spool::{self, SpoolError};
use imap_codec::CommandCodec;
use imap_codec::fragmentizer::{DecodeMessageError, FragmentInfo, LineEnding, LiteralAnnouncement};
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::command::Command;
use imap_codec::imap_types::core::LiteralMode;
use std::io;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

/// The message of an APPEND while it is received.
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
    pub async fn command(&mut self) -> io::Result<Input> {
        loop {
            if let Some(incoming) = &mut self.incoming
                && incoming.left > 0
            {
                let count = incoming.left.min(self.input.len());
                if count > 0 {
                    incoming.take(self.input.drain(..count).as_slice()).await;
                    continue;
                }
                let room = incoming.left.min(BATCH);
                self.input.reserve(room);
                match timeout_at(incoming.progress.period_ends(), self.stream.read_buf(&mut self.input)).await {
                    Ok(Err(error)) => return Err(error),
                    Ok(Ok(0)) => return Ok(Input::End),
                    Ok(Ok(_)) => {}
                    Err(_) if incoming.progress.is_too_slow(Instant::now()) => {
                        return Ok(Input::Lost("data rate too low, closing connection"));
                    }
                    Err(_) => {}
                }
                continue;
            }
            match self.fragments.progress() {
                Some(FragmentInfo::Line { announcement: None, ending, .. }) => {
                    self.bare_line_feed |= ending == LineEnding::Lf;
                    return Ok(self.complete().await);
                }
                Some(FragmentInfo::Line { announcement: Some(literal), .. }) => {
                    if let Some(refused) = self.announced(literal) {
                        return Ok(refused);
                    }
                    self.flush().await?;
                }
                Some(FragmentInfo::Literal { .. }) => {}
                None => {
                    if let Some(lost) = self.feed().await? {
                        return Ok(lost);
                    }
                }
            }
        }
    }

    /// One line that is not a command: `DONE`, or a SASL response. `None`: it is too long. Cancel safe.
    pub async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let limit = usize::try_from(self.limits.command).unwrap_or(usize::MAX);
        loop {
            if let Some(at) = self.input.iter().position(|b| *b == b'\n') {
                return Ok(Some(self.input.drain(..=at).collect()));
            }
            if self.input.len() > limit {
                return Ok(None);
            }
            if !self.fill(READ_AT_ONCE).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.count().map_err(|full| io::Error::new(io::ErrorKind::OutOfMemory, full))?;
        }
    }

    /// Passes octets of this command to the fragmentizer, none behind its end.
    async fn feed(&mut self) -> io::Result<Option<Input>> {
        if self.input.is_empty() && !self.fill(self.literal_left.clamp(READ_AT_ONCE, BATCH)).await? {
            return Ok(Some(Input::End));
        }
        let count = if self.literal_left > 0 {
            self.literal_left.min(self.input.len())
        } else {
            self.input.iter().position(|b| *b == b'\n').map_or(self.input.len(), |at| at + 1)
        };
        self.literal_left = self.literal_left.saturating_sub(count);
        self.taken += count;
        // A command over the limit is read and not kept, up to a second limit.
        if self.taken / 16 > usize::try_from(self.limits.command).unwrap_or(usize::MAX) {
            return Ok(Some(Input::Lost("command too long, closing connection")));
        }
        self.fragments.enqueue_bytes(self.input.drain(..count).as_slice());
        if self.count().is_err() {
            return Ok(Some(Input::Lost(NO_MEMORY)));
        }
        Ok(None)
    }

    /// A literal was announced: sends the continuation request, or refuses.
    fn announced(&mut self, literal: LiteralAnnouncement) -> Option<Input> {
        if self.incoming.is_some() {
            // The empty literal that takes the place of the message.
            return match (literal.length, self.incoming.as_ref().map(|incoming| incoming.left)) {
                (0, Some(0)) => None,
                _ => Some(Input::Lost("only one message per APPEND, closing connection")),
            };
        }
        let length = usize::try_from(literal.length).unwrap_or(usize::MAX);
        let is_sync = literal.mode == LiteralMode::Sync;
        let mut message = self.spool.begin();
        let (limit, mut refusal) = match self.limits.message {
            Some(limit) if is_message_of_append(self.fragments.message_bytes()) => (limit, Refusal::MessageTooLong),
            _ => {
                let limit = usize::try_from(self.limits.command).unwrap_or(usize::MAX);
                (limit.saturating_sub(self.fragments.message_bytes().len()), Refusal::CommandTooLong)
            }
        };
        let is_message = refusal == Refusal::MessageTooLong;
        let no_room = is_message && length <= limit && message.reserve(length).is_err();
        if no_room {
            refusal = Refusal::NoRoom;
        }
        if length > limit || no_room {
            if is_sync {
                let tag = self.fragments.decode_tag().map(IntoStatic::into_static);
                self.fragments.skip_message();
                self.start_over();
                return Some(Input::Refused(tag, refusal));
            }
            // It follows in any case; the next command begins after it.
            if length / 8 > limit.max(BATCH) {
                return Some(Input::Lost("literal too long, closing connection"));
            }
        }
        if is_message {
            let kept = if length > limit || no_room { Err(refusal) } else { Ok(message) };
            self.incoming = Some(Incoming { left: length, kept, progress: self.spool.progress() });
            let mut start = self.fragments.message_bytes().to_vec();
            start.truncate(start.iter().rposition(|b| *b == b'{').unwrap_or(0));
            start.extend_from_slice(b"{0}\r\n");
            self.fragments.skip_message();
            self.fragments.enqueue_bytes(&start);
        } else {
            self.literal_left = length;
        }
        if is_sync {
            self.output.extend_from_slice(b"+ ready for literal\r\n");
        }
        None
    }

    async fn complete(&mut self) -> Input {
        let tag = self.fragments.decode_tag().map(IntoStatic::into_static);
        let bare_line_feed = self.bare_line_feed;
        let incoming = self.incoming.take();
        self.start_over();
        if bare_line_feed {
            return Input::Refused(tag, Refusal::BareLineFeed);
        }
        let command = match self.fragments.decode_message(&CommandCodec::new()) {
            Ok(command) => command.into_static(),
            Err(DecodeMessageError::MessageTooLong { .. }) => return Input::Refused(tag, Refusal::CommandTooLong),
            Err(_) => {
                let bytes = self.fragments.message_bytes();
                // A literal that the fragmentizer did not recognise (`{99999999999+}`): its octets follow unmarked.
                if announces_literal(bytes) {
                    return Input::Lost("invalid literal, closing connection");
                }
                match (tag, search::parse(bytes)) {
                    (Some(tag), Some(body)) => Command { tag, body },
                    (tag, _) => return Input::Unreadable(tag),
                }
            }
        };
        match incoming.map(|incoming| incoming.kept) {
            Some(Ok(message)) => match message.into_message().await {
                Ok(message) => Input::Command(Box::new(command), Some(message)),
                Err(error) => Input::Refused(Some(command.tag), refused_by(error)),
            },
            Some(Err(refusal)) => Input::Refused(Some(command.tag), refusal),
            None => Input::Command(Box::new(command), None),
        }
    }

    fn start_over(&mut self) {
        self.taken = 0;
        self.literal_left = 0;
        self.bare_line_feed = false;
        self.incoming = None;
        if self.input.is_empty() && self.input.capacity() > READ_AT_ONCE {
            self.input = Vec::new();
        }
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
            self.kept = Err(refused_by(error));
        }
    }
}

fn refused_by(error: SpoolError) -> Refusal {
    match error {
        SpoolError::NoRoom(_) => {}
        SpoolError::Disk(error) => tracing::error!(listener = "imap", %error, "could not write a message to the spool"),
    }
    Refusal::NoRoom
}

/// Whether a whole command ends with the announcement of a literal.
fn announces_literal(command: &[u8]) -> bool {
    let line = command.strip_suffix(b"\n").unwrap_or(command);
    let Some(line) = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}") else { return false };
    let digits = line.rsplit(|octet| *octet == b'{').next().unwrap_or_default();
    digits.len() < line.len() && digits.iter().all(|octet| octet.is_ascii_digit() || *octet == b'+')
}

/// Whether the literal announced at the end of `command` is the message of an APPEND, not its mailbox's name.
fn is_message_of_append(command: &[u8]) -> bool {
    let Some(space) = command.iter().position(|b| *b == b' ') else { return false };
    let rest = command.get(space + 1..).unwrap_or_default();
    let Some((verb, rest)) = rest.split_at_checked(7) else { return false };
    verb.eq_ignore_ascii_case(b"APPEND ") && !rest.starts_with(b"{")
        || verb.eq_ignore_ascii_case(b"APPEND ") && rest.iter().filter(|b| **b == b'\n').count() > 1
}
