//! SMTP: the submission server (587 and 465) and the MX server (25).
//!
//! Invariant: a session is a machine without I/O ([`state`]); [`connection`] alone reads, writes and waits. What the two
//! servers let in differs by type: see [`state::SmtpHandler`].
//!
//! | file | what |
//! | --- | --- |
//! | [`listener`] | the accept loops; what a server is given |
//! | [`connection`] | one client: TLS, buffers, time-outs, the end of log-ins and of the daemon |
//! | [`codec`] | octets to lines, lines to commands, message data; every fixed reply |
//! | [`sasl`] | the AUTH exchange |
//! | [`state`] | which command may come when, and what it does |
//! | [`counts`] | how many errors and idle commands a session may have |
//! | [`submission`], [`mx`] | the servers |
//!
//! RFC 5321, RFC 6409 (submission), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 1870 (SIZE), RFC 2920 (PIPELINING),
//! RFC 6152 (8BITMIME), RFC 2034 (ENHANCEDSTATUSCODES), RFC 8314 (465). SMTPUTF8 (RFC 6531), DSN (RFC 3461) and CHUNKING
//! (RFC 3030) are not offered.

mod codec;
mod connection;
mod counts;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/smtp.rs"]
pub(crate) mod fuzz;
mod listener;
mod mx;
mod sasl;
mod state;
mod submission;
#[cfg(test)]
mod tests;

pub use listener::{mx, submission};
pub use mx::MxServer;
pub use submission::SubmissionServer;
