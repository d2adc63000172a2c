//! The connection: octets to commands, responses to octets.
//!
//! Commands: [`input`] reads octets, [`frame`] finds the lines and literals of one command, [`command`] says which commands there
//! are, [`parser`] is a cursor over their octets, [`terminals`] and [`syntax`] are the grammar, [`values`] what is read. Messages in
//! literals are spooled as they come. imap-codec parses LOGIN, AUTHENTICATE and ID, and is an oracle for the rest in
//! tests ([`differential`]).
//!
//! Responses: [`writer`] is the syntax, [`code`], [`response`] and [`data`] are what is written in it, and [`capability`] what is
//! offered; [`output`] sends it in batches, and large bodies as they are read.
//!
//! Invariant: what is kept of a command is bounded by [`Limits`] whatever the client announces, and counted against the
//! budget of memory, as is output that waits; octets of a literal are never parsed as a command. RFC 3501 §2.2.1, §4.3;
//! RFC 7888 (non-synchronising literals).

pub mod capability;
pub mod code;
pub mod command;
pub mod data;
pub mod deflate;
#[cfg(any(test, fuzzing))]
mod differences;
#[cfg(any(test, fuzzing))]
pub mod differential;
pub mod frame;
#[cfg(test)]
mod generated;
mod input;
mod output;
pub mod parser;
pub mod response;
pub mod stream;
pub mod syntax;
mod terminals;
pub mod values;
pub mod writer;

use self::command::Command;
use self::deflate::Compressible;
use self::frame::{Frame, Tag};
use self::input::Incoming;
use self::parser::SyntaxError;
use self::stream::Stream;
use crate::resources::memory::{Claim, NoRoom};
use crate::resources::spool::{self, ClientSpool};
use crate::resources::write_timeout::{WriteLimits, WriteTimeout};
use std::io;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// How long one write may make no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);
/// Responses are gathered up to this size before they are written.
pub const BATCH: usize = 64 * 1024;
/// The text of a BYE.
pub const NO_MEMORY: &str = "[UNAVAILABLE] out of memory, try again later";
/// What an idle connection keeps for reading.
const READ_AT_ONCE: usize = 1024;
/// How much of later commands is read while one runs.
const READ_AHEAD: usize = 4 * READ_AT_ONCE;
/// How often the connection is checked once that much has been read.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// After which time without input a connection frees the memory of its compression.
const COMPRESSION_RESTS: Duration = Duration::from_secs(10);

/// How much a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of a command without the messages in its literals.
    pub command: u32,
    /// Octets of such a message; none before log-in.
    pub message: Option<usize>,
}

/// What the client sent.
#[derive(Debug)]
pub enum Input {
    /// A command, and the messages in its literals.
    Command(Box<Command>, Vec<spool::Incoming>),
    /// A whole command with a syntax error, an unknown one, or one that is not allowed now.
    Unreadable(Option<Tag>, SyntaxError),
    /// A command that is not executed.
    Refused(Option<Tag>, Refusal),
    /// Where the next command begins cannot be known: the connection has to end, with a BYE of this text.
    Lost(&'static str),
    /// The client has disconnected.
    End,
}

/// Why a command is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The command is over its limit.
    CommandTooLong,
    /// The message is over its limit.
    MessageTooLong,
    /// It has too many messages.
    TooManyMessages,
    /// The budget of memory or disk is used up.
    NoRoom,
    /// Its line does not end in CRLF.
    BareLineFeed,
}

fn octets(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The two directions of a connection.
#[derive(Debug)]
pub struct Wire {
    stream: WriteTimeout<Compressible<Stream>>,
    spool: ClientSpool,
    /// For input and output.
    claim: Claim,
    input: Vec<u8>,
    frame: Frame,
    limits: Limits,
    /// The message that is being received.
    incoming: Option<Incoming>,
    /// The messages of this command so far.
    messages: Vec<spool::Incoming>,
    /// Why this command is read on and will not be executed.
    refusal: Option<Refusal>,
    output: Vec<u8>,
    /// False while the client has half a response.
    at_line_start: bool,
}

impl Wire {
    pub fn new(stream: Stream, limits: Limits, spool: ClientSpool) -> Self {
        Self {
            stream: WriteTimeout::new(
                Compressible::new(stream),
                WriteLimits { timeout: WRITE_TIMEOUT, rate: spool.minimum_rate() },
            ),
            claim: spool.claim(),
            spool,
            input: Vec::new(),
            frame: Frame::new(octets(limits.command)),
            limits,
            incoming: None,
            messages: Vec::new(),
            refusal: None,
            output: Vec::new(),
            at_line_start: true,
        }
    }

    /// Sets the limits and the account's share, from the next command on.
    pub fn set_limits(&mut self, limits: Limits, spool: ClientSpool) {
        self.limits = limits;
        (self.claim, self.spool) = (spool.claim(), spool);
        self.frame = Frame::new(octets(limits.command));
    }

    /// A claim of no memory yet, for what a command needs.
    pub fn claim(&self) -> Claim {
        self.spool.claim()
    }

    /// An empty message, in the client's share of the spool.
    pub fn begin_message(&self) -> spool::Incoming {
        self.spool.begin()
    }

    /// The stream, for TLS, and how many octets the client sent behind STARTTLS. They are dropped: they were not protected
    /// (RFC 3501 §6.2.1).
    pub fn into_stream(self) -> (Stream, usize) {
        (self.stream.into_inner().into_inner(), self.input.len())
    }

    fn command_limit(&self) -> usize {
        octets(self.limits.command)
    }

    /// Octets of memory that are in use.
    fn buffered(&self) -> usize {
        let buffers = self.input.capacity() + self.frame.memory() + self.output.capacity();
        buffers + self.stream.get_ref().memory()
    }

    /// Claims memory for what is buffered.
    fn count(&mut self) -> Result<(), NoRoom> {
        let octets = self.buffered();
        self.claim.shrink_to(octets);
        self.claim.grow_to(octets)
    }

    /// Reads some octets; false at the end of the stream.
    async fn fill(&mut self, capacity: usize) -> io::Result<bool> {
        self.input.reserve(capacity);
        if self.stream.get_ref().can_rest() {
            match timeout(COMPRESSION_RESTS, self.stream.read_buf(&mut self.input)).await {
                Ok(read) => return Ok(read? > 0),
                Err(_) => {
                    self.stream.get_mut().rest();
                    self.claim.shrink_to(self.buffered());
                }
            }
        }
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    /// Compresses both directions from here on (RFC 4978). What has been read ahead is compressed already.
    pub fn compress(&mut self) {
        let ahead = std::mem::take(&mut self.input);
        self.stream.get_mut().compress(ahead);
    }

    pub fn is_compressed(&self) -> bool {
        self.stream.get_ref().is_compressed()
    }

    /// Waits for work on a command; fails as soon as the client disconnects. What it sends meanwhile is kept for the next
    /// command, up to a limit.
    pub async fn watch<T>(&mut self, work: impl Future<Output = T>) -> io::Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let is_there = async {
                if self.input.len() < READ_AHEAD {
                    return self.fill(READ_AT_ONCE).await;
                }
                tokio::time::sleep(WATCH_PAUSE).await;
                Ok(!self.stream.get_ref().get_ref().is_read_closed().await?)
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
}
