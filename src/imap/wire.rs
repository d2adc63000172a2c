//! Octets in, commands out; responses in, octets out.
//!
//! Invariant: what is kept of a command is bounded by [`Limits`] whatever the client announces; octets of a literal are never
//! read as a command. A message to APPEND is taken off beside the command, which the codec sees with an empty literal; it
//! stands in the spool while it comes. Commands and output that wait are counted against the budget of memory.
//! RFC 3501 §2.2.1, §4.3; RFC 7888 (non-synchronising literals).

use super::stream::Stream;
use crate::resources::memory::{Claim, NoRoom};
use crate::resources::rate::Progress;
use crate::resources::spool::{self, ClientSpool, SpoolError};
use crate::resources::write_timeout::{WriteLimits, WriteTimeout};
use bytes::Bytes;
use imap_codec::encode::Encoder;
use imap_codec::fragmentizer::{DecodeMessageError, FragmentInfo, Fragmentizer, LineEnding, LiteralAnnouncement};
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::command::Command;
use imap_codec::imap_types::core::{LiteralMode, Tag};
use imap_codec::imap_types::response::Response;
use imap_codec::{CommandCodec, ResponseCodec};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// A client that reads nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);
/// Responses are gathered up to this size before they are written.
pub(super) const BATCH: usize = 64 * 1024;
/// What a client is told that has to go.
pub(super) const NO_MEMORY: &str = "[UNAVAILABLE] no memory for this now, try again later";
/// What an idle connection keeps for reading.
const READ_AT_ONCE: usize = 1024;
/// What is read of later commands while one is worked on.
const READ_AHEAD: usize = 4 * READ_AT_ONCE;
/// How often a client that has sent more than that is looked at.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// How much a client may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Octets of a command without the message of an APPEND.
    pub command: u32,
    /// Octets of that message; none before log-in.
    pub message: Option<usize>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Input {
    /// A command, and the message of an APPEND.
    Command(Box<Command<'static>>, Option<Bytes>),
    /// A whole command that the codec cannot read.
    Unreadable(Option<Tag<'static>>, Vec<u8>),
    /// A command that is not looked at, and why.
    Refused(Option<Tag<'static>>, Refusal),
    /// The client's octets can no longer be told apart: the connection ends.
    Lost(&'static str),
    /// The client has gone.
    End,
}

/// Why a command is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The command is over its limit.
    CommandTooLong,
    /// The message is over its limit.
    MessageTooLong,
    /// There is no room for the message now.
    NoRoom,
    /// Its line does not end in CRLF.
    BareLineFeed,
}

/// The message of an APPEND on its way in.
#[derive(Debug)]
struct Incoming {
    left: usize,
    /// Or why it is read and thrown away.
    kept: Result<spool::Incoming, Refusal>,
    progress: Progress,
}

/// One connection's two directions.
#[derive(Debug)]
pub(super) struct Wire {
    stream: WriteTimeout<Stream>,
    spool: ClientSpool,
    /// For input and output.
    claim: Claim,
    input: Vec<u8>,
    fragments: Fragmentizer,
    limits: Limits,
    /// Octets of an ordinary literal that are still to come.
    literal_left: usize,
    incoming: Option<Incoming>,
    /// Octets of this command so far, kept or not.
    taken: usize,
    bare_line_feed: bool,
    output: Vec<u8>,
    /// False while the client has half a response.
    at_line_start: bool,
}

impl Wire {
    pub fn new(stream: Stream, limits: Limits, spool: ClientSpool) -> Self {
        Self {
            stream: WriteTimeout::new(stream, WriteLimits { timeout: WRITE_TIMEOUT, rate: spool.minimum_rate() }),
            claim: spool.claim(),
            spool,
            input: Vec::new(),
            fragments: Fragmentizer::new(limits.command),
            limits,
            literal_left: 0,
            incoming: None,
            taken: 0,
            bare_line_feed: false,
            output: Vec::new(),
            at_line_start: true,
        }
    }

    /// Other limits and the room of an account, from the next command on.
    pub fn set_limits(&mut self, limits: Limits, spool: ClientSpool) {
        self.limits = limits;
        (self.claim, self.spool) = (spool.claim(), spool);
        self.fragments = Fragmentizer::new(limits.command);
    }

    /// A claim of no memory yet, for what a command holds.
    pub fn claim(&self) -> Claim {
        self.spool.claim()
    }

    /// The bare stream, for TLS, and how many octets the client sent ahead. They are dropped: they were not protected (RFC
    /// 3501 §6.2.1).
    pub fn into_stream(self) -> (Stream, usize) {
        (self.stream.into_inner(), self.input.len())
    }

    /// The next command. Who cancels it ends the connection: a message may be on its way to the disk.
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
                        return Ok(Input::Lost("the message comes too slowly"));
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

    /// One line that is no command: `DONE`, or an answer in an AUTHENTICATE. `None` when it is too long. Cancel safe.
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

    /// Gives the fragmentizer what belongs to this command: never what lies behind its end.
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
        // What is over the limit is not kept, but somebody who never stops is not listened to for ever.
        if self.taken / 16 > usize::try_from(self.limits.command).unwrap_or(usize::MAX) {
            return Ok(Some(Input::Lost("the command is too long")));
        }
        self.fragments.enqueue_bytes(self.input.drain(..count).as_slice());
        if self.count().is_err() {
            return Ok(Some(Input::Lost(NO_MEMORY)));
        }
        Ok(None)
    }

    /// A literal was announced: asks for it, or refuses.
    fn announced(&mut self, literal: LiteralAnnouncement) -> Option<Input> {
        if self.incoming.is_some() {
            // The empty literal that stands for the message.
            return match (literal.length, self.incoming.as_ref().map(|incoming| incoming.left)) {
                (0, Some(0)) => None,
                _ => Some(Input::Lost("one message at a time")),
            };
        }
        let length = usize::try_from(literal.length).unwrap_or(usize::MAX);
        let asked = literal.mode == LiteralMode::Sync;
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
            if asked {
                let tag = self.fragments.decode_tag().map(IntoStatic::into_static);
                self.fragments.skip_message();
                self.start_over();
                return Some(Input::Refused(tag, refusal));
            }
            // It comes in any case. Reading it all is the only way to find the next command.
            if length / 8 > limit.max(BATCH) {
                return Some(Input::Lost("the literal is too long"));
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
        if asked {
            self.output.extend_from_slice(b"+ go ahead\r\n");
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
        let decoded = match self.fragments.decode_message(&CommandCodec::new()) {
            Ok(command) => Ok(command.into_static()),
            Err(DecodeMessageError::MessageTooLong { .. }) => Err(Input::Refused(tag, Refusal::CommandTooLong)),
            Err(_) => Err(Input::Unreadable(tag, self.fragments.message_bytes().to_vec())),
        };
        match (decoded, incoming) {
            // What announces a literal that the framing could not read (`{99999999999+}`) leaves its octets unmarked.
            (Err(Input::Unreadable(_, bytes)), _) if announces_literal(&bytes) => {
                Input::Lost("the literal cannot be read")
            }
            (Err(input), _) => input,
            (Ok(command), Some(Incoming { kept: Err(refusal), .. })) => Input::Refused(Some(command.tag), refusal),
            (Ok(command), Some(Incoming { kept: Ok(message), .. })) => match message.into_bytes().await {
                Ok(message) => Input::Command(Box::new(command), Some(message)),
                Err(error) => Input::Refused(Some(command.tag), refused_by(error)),
            },
            (Ok(command), None) => Input::Command(Box::new(command), None),
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

    /// Counts what waits here.
    fn count(&mut self) -> Result<(), NoRoom> {
        let octets = self.input.capacity() + self.fragments.message_bytes().len() + self.output.capacity();
        self.claim.shrink_to(octets);
        self.claim.grow_to(octets)
    }

    /// Reads some octets; false at the end of the stream.
    async fn fill(&mut self, room: usize) -> io::Result<bool> {
        self.input.reserve(room);
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    /// Waits for work on a command, and watches the client meanwhile: fails as soon as it has hung up. What it sends is
    /// kept for the next command, up to a bound.
    pub async fn watch<T>(&mut self, work: impl Future<Output = T>) -> io::Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let is_there = async {
                if self.input.len() < READ_AHEAD {
                    return self.fill(READ_AT_ONCE).await;
                }
                tokio::time::sleep(WATCH_PAUSE).await;
                Ok(!self.stream.get_ref().is_read_closed().await?)
            };
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                is_there = is_there => if !is_there? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                },
            }
        }
    }

    /// Adds a response to what is to be written.
    pub fn push(&mut self, response: &Response<'_>) {
        for fragment in ResponseCodec::new().encode(response) {
            use imap_codec::encode::Fragment::{Line, Literal};
            let (Line { data } | Literal { data, .. }) = fragment;
            self.output.extend_from_slice(&data);
        }
    }

    /// Adds octets as they are.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Adds octets, writing when there are many: a large body is not copied.
    pub async fn push_large(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.output.len() + bytes.len() <= BATCH {
            self.output.extend_from_slice(bytes);
            return Ok(());
        }
        self.at_line_start = false;
        self.write_out().await?;
        self.stream.write_all(bytes).await
    }

    /// Writes what has been gathered once it is a batch. Between responses only.
    pub async fn flush_batch(&mut self) -> io::Result<()> {
        if self.output.len() >= BATCH { self.flush().await } else { Ok(()) }
    }

    /// Writes what has been gathered. Between responses only.
    pub async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.at_line_start = false;
            self.write_out().await?;
        }
        self.stream.flush().await?;
        self.at_line_start = true;
        if self.output.capacity() > BATCH {
            self.output = Vec::new();
        }
        Ok(())
    }

    async fn write_out(&mut self) -> io::Result<()> {
        self.count().map_err(|full| io::Error::new(io::ErrorKind::OutOfMemory, full))?;
        let output = std::mem::take(&mut self.output);
        self.stream.write_all(&output).await?;
        self.output = output;
        self.output.clear();
        Ok(())
    }

    /// Writes what is left, and closes.
    pub async fn close_flushed(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.flush()).await;
        let _ = tokio::time::timeout(Duration::from_secs(2), self.stream.shutdown()).await;
    }

    /// Says a last word, if the client can still read it as one, and closes.
    pub async fn close(mut self, last: &Response<'_>) {
        if self.at_line_start {
            self.output.clear();
            self.push(last);
            let _ = tokio::time::timeout(Duration::from_secs(2), self.flush()).await;
        }
        let _ = tokio::time::timeout(Duration::from_secs(2), self.stream.shutdown()).await;
    }
}

impl Incoming {
    /// Takes octets of the message.
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
        SpoolError::Disk(error) => tracing::error!(listener = "imap", %error, "a message could not be kept on disk"),
    }
    Refusal::NoRoom
}

/// Whether a whole command ends as if a literal followed.
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
