//! Messages as bytes: header blocks read and rewritten without touching what need not change, trace fields, bounces.
//! (stub: owner message)
//!
//! Invariant: every octet that the rules do not name leaves as it came. RFC 5322, RFC 5321 §4.4, RFC 3464.

use crate::address::{Address, DomainName, InboxName};
use crate::clock::Timestamp;
use crate::identity::Choice;
use std::net::IpAddr;

/// Splits a message after the empty line that ends its header block. A message without one is all header; then the empty
/// line is missing and [`outgoing`] adds it.
pub fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    let _ = raw;
    todo!("owner: message")
}

/// What an outgoing header block is made with.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Under which address it leaves, and whether that is a fallback.
    pub choice: &'a Choice,
    /// The sender's inbox: with `aliases`, decides which addresses are its own.
    pub inbox: &'a InboxName,
    /// The local parts of the inbox's aliases at the identity's own domain (lower case).
    pub aliases: &'a [String],
    /// Every custom domain of the account and the platform's: for "an address of I" in Sender and Resent-From.
    pub own_domains: &'a [DomainName],
    /// Our name, for Received and Authentication-Results.
    pub hostname: &'a DomainName,
    /// The queue id, in Received.
    pub queue_id: &'a str,
    /// `ESMTPSA`, `HTTP`.
    pub protocol: &'static str,
    /// The client's address, only where the configuration wants it shown.
    pub client: Option<IpAddr>,
    /// Real time, for Date and Received.
    pub now: Timestamp,
    /// Unique local part for a missing Message-ID, which stands at the identity's domain.
    pub message_id: &'a str,
}

/// The header block that leaves: ends with the empty line. Also the final From, which is the envelope sender too.
pub fn outgoing(header: &[u8], with: &Outgoing<'_>) -> (Vec<u8>, Address) {
    let _ = (header, with);
    todo!("owner: message")
}

/// How many Received fields a header block has (RFC 5321 §6.3).
pub fn hop_count(header: &[u8]) -> usize {
    let _ = header;
    todo!("owner: message")
}

/// The fields put before a message that arrives at the MX (Return-Path and Received), or that is delivered from inbox to
/// inbox.
#[derive(Debug)]
pub struct Trace<'a> {
    /// The envelope sender, for Return-Path; `None` leaves that field out.
    pub return_path: Option<&'a crate::address::ReversePath>,
    /// What the client said in EHLO. Untrusted text.
    pub helo: &'a str,
    /// Its address.
    pub client: IpAddr,
    /// Our name.
    pub hostname: &'a DomainName,
    /// `ESMTP`, `ESMTPS`, `SMTP`.
    pub protocol: &'a str,
    /// An id for the log.
    pub id: &'a str,
    /// The recipient, when there is only one.
    pub for_address: Option<&'a Address>,
    /// Real time.
    pub now: Timestamp,
}

/// Those fields as bytes, CRLF at the end. Never contains a line break from `helo`.
pub fn trace(with: &Trace<'_>) -> Vec<u8> {
    let _ = with;
    todo!("owner: message")
}

/// One recipient of a bounce.
#[derive(Debug)]
pub struct FailedRecipient<'a> {
    /// Who.
    pub address: &'a Address,
    /// `Status:`; 5.x.x, or 4.4.7 when it expired.
    pub status: crate::envelope::EnhancedCode,
    /// `Diagnostic-Code: smtp; …`: what the remote server said, or we ourselves.
    pub diagnostic: &'a str,
    /// `Remote-MTA: dns; …`.
    pub remote_mta: Option<&'a str>,
    /// When last tried.
    pub last_attempt: Timestamp,
}

/// A bounce (RFC 3461 §6, RFC 3464).
#[derive(Debug)]
pub struct Bounce<'a> {
    /// Whom it tells.
    pub to: &'a Address,
    /// Our name: From is `mailer-daemon@` the platform's domain.
    pub platform: &'a DomainName,
    /// `Reporting-MTA: dns; …`.
    pub hostname: &'a DomainName,
    /// The id of the message that bounced.
    pub queue_id: &'a str,
    /// When it was accepted.
    pub arrived_at: Timestamp,
    /// At least one.
    pub failed: &'a [FailedRecipient<'a>],
    /// The header block of the message, returned as text/rfc822-headers.
    pub original_header: &'a [u8],
    /// Real time.
    pub now: Timestamp,
    /// Unique local part for its Message-ID.
    pub message_id: &'a str,
}

/// The whole message: multipart/report with its three parts, CRLF lines, 7-bit.
pub fn bounce(with: &Bounce<'_>) -> Vec<u8> {
    let _ = with;
    todo!("owner: message")
}
