//! An outgoing message with its envelope.

use super::timeouts::TimeAllowance;
use crate::address::{Address, ReversePath};
use crate::envelope::{MailParameters, RecipientParameters};
use crate::id::SubmissionId;
use crate::store::Store;
use std::fmt;
use std::io;

/// One message for one server.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingMail<'a> {
    pub mail_from: &'a ReversePath,
    pub parameters: &'a MailParameters,
    /// At least one.
    pub rcpt_to: &'a [RcptTo],
    /// The header block with the empty line that ends it.
    pub header: &'a [u8],
    pub body: Body<'a>,
    /// The message needs 8BITMIME.
    pub is_8bit: bool,
    /// Extended while the server makes progress.
    pub allowance: &'a TimeAllowance,
}

impl OutgoingMail<'_> {
    /// Octets of header block and body.
    pub fn size(&self) -> usize {
        self.header.len().saturating_add(self.body.size())
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    InMemory(&'a [u8]),
    /// Read from the store while sending, so that a slow server does not keep a large body in memory.
    Stored {
        store: &'a Store,
        submission: &'a SubmissionId,
        size: usize,
    },
}

impl Body<'_> {
    /// Octets read from the store at a time.
    pub const PIECE: usize = 1024 * 1024;

    pub fn size(&self) -> usize {
        match self {
            Self::InMemory(octets) => octets.len(),
            Self::Stored { size, .. } => *size,
        }
    }
}

/// A piece of a stored body, starting at octet `at`.
pub(super) async fn stored_piece(store: &Store, submission: &SubmissionId, at: usize) -> io::Result<Vec<u8>> {
    let range = at..at.saturating_add(Body::PIECE);
    let piece = store.submission_body_range(submission, range).await.map_err(io::Error::other)?;
    if piece.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(piece) }
}

/// A recipient with what is said beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RcptTo {
    pub path: ForwardPath,
    pub parameters: RecipientParameters,
}

/// A recipient in RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardPath {
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
