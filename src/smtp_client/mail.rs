//! A message to be handed over, with its envelope.

use super::timeouts::TimeAllowance;
use crate::address::{Address, ReversePath};
use crate::id::SubmissionId;
use crate::store::Store;
use std::fmt;
use std::io;

/// One message for one server.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingMail<'a> {
    /// `MAIL FROM`.
    pub mail_from: &'a ReversePath,
    /// `RCPT TO`, at least one.
    pub rcpt_to: &'a [ForwardPath],
    /// The header block, with the empty line after it.
    pub header: &'a [u8],
    /// What follows it.
    pub body: Body<'a>,
    /// It needs 8BITMIME.
    pub is_8bit: bool,
    /// Extended as the server makes progress.
    pub allowance: &'a TimeAllowance,
}

impl OutgoingMail<'_> {
    /// Octets of header block and body.
    pub fn size(&self) -> usize {
        self.header.len().saturating_add(self.body.size())
    }
}

/// The body of a message.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// All of it.
    InMemory(&'a [u8]),
    /// Read from the store as it is sent: a slow server keeps none of a large body in memory.
    Stored {
        /// Where it is.
        store: &'a Store,
        /// The message it belongs to.
        submission: &'a SubmissionId,
        /// Octets.
        size: usize,
    },
}

impl Body<'_> {
    /// Octets that are read from the store at once.
    pub const PIECE: usize = 1024 * 1024;

    /// Octets.
    pub fn size(&self) -> usize {
        match self {
            Self::InMemory(octets) => octets.len(),
            Self::Stored { size, .. } => *size,
        }
    }
}

/// A piece of a stored body, from octet `at`.
pub(super) async fn stored_piece(store: &Store, submission: &SubmissionId, at: usize) -> io::Result<Vec<u8>> {
    let range = at..at.saturating_add(Body::PIECE);
    let piece = store.submission_body_range(submission, range).await.map_err(io::Error::other)?;
    if piece.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(piece) }
}

/// A recipient as RCPT names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardPath {
    /// A mailbox.
    Mailbox(Address),
    /// `postmaster` without a domain (RFC 5321 §4.5.1).
    Postmaster,
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(address) => address.fmt(f),
            Self::Postmaster => f.write_str("postmaster"),
        }
    }
}
