//! A message goes out: parse, identity, rewrite, sign, enqueue, 250. (stub: owner outbound)

use crate::address::Address;
use crate::authentication::login::Login;
use crate::envelope::Recipients;
use crate::id::SubmissionId;
use crate::identity::Fallback;
use std::net::IpAddr;

/// A message as a client handed it in.
#[derive(Debug)]
pub struct Draft {
    /// Who it goes to.
    pub rcpt_to: Recipients,
    /// Header and body, CRLF lines, already free of bare CR and LF.
    pub raw: Vec<u8>,
    /// How it came, for the Received field: `ESMTPSA`, `HTTP` (RFC 3848).
    pub protocol: &'static str,
    /// From where.
    pub client: Option<IpAddr>,
}

/// It is on disk.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The queue id.
    pub id: SubmissionId,
    /// The address it leaves under.
    pub from: Address,
    /// Set when that is a fallback.
    pub fallback: Option<Fallback>,
    /// Kept until its domain is verified.
    pub held: bool,
}

/// It is not, and why.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The domain is not verified and its owner wants no fallback: 550 5.7.1.
    #[error(
        "{from} cannot be used while its domain is {reason}: publish its records and verify it, or set on_unverified to fallback"
    )]
    Unverified {
        /// The address.
        from: Address,
        /// pending or failed.
        reason: crate::domain::status::VerifiedStatus,
    },
    /// The message is no message: 550 5.6.0.
    #[error("{0}")]
    Malformed(String),
    /// Too many Received fields: 554 5.4.6.
    #[error("this message has passed through too many servers: a mail loop")]
    Loop,
    /// The account's hourly limit: 452 4.7.1 / 429.
    #[error("this account has reached its limit of {limit} {what} in an hour")]
    RateLimited {
        /// messages or recipients.
        what: &'static str,
        /// The limit.
        limit: u32,
    },
    /// Ours, temporary: 451 4.3.0.
    #[error("the message could not be stored now")]
    Temporary,
}

/// The service; clones share it.
#[derive(Clone, Debug)]
pub struct Submission {}

impl Submission {
    /// Takes a message in: when this answers `Ok` it is on disk.
    pub async fn accept(&self, login: &Login, draft: Draft) -> Result<Accepted, Refusal> {
        let _ = (login, draft);
        todo!("owner: outbound")
    }
}
