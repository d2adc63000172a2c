//! SMTP: the submission server (587 and 465) and the MX server (25).
//!
//! Invariant: a session is a sans-I/O state machine ([`state`]); only [`connection`] reads, writes and waits. Who may send to
//! whom is in the types of each server: see [`handler::SmtpHandler`].
//!
//! | file | what |
//! | --- | --- |
//! | [`listener`] | the accept loops |
//! | [`connection`] | one client: TLS, buffers, time-outs, the end of its log-in, shutdown |
//! | [`codec`] | octets to lines, lines to commands, message data; every fixed reply |
//! | [`state`] | which commands are allowed when, and what they do |
//! | [`handler`] | what differs between the servers |
//! | [`counts`] | limits of errors and idle commands per session |
//! | [`submission`], [`mx`] | the servers |
//!
//! RFC 5321, RFC 6409 (submission), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 1870 (SIZE), RFC 2920 (PIPELINING),
//! RFC 6152 (8BITMIME), RFC 2034 (ENHANCEDSTATUSCODES), RFC 3030 (CHUNKING), RFC 9422 (LIMITS), RFC 7628 (OAUTHBEARER),
//! RFC 8314 (465). RFC 3461 (DSN) at submission. SMTPUTF8 (RFC 6531) is not offered.

mod codec;
mod connection;
mod counts;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/smtp.rs"]
pub(crate) mod fuzz;
mod handler;
mod listener;
mod mx;
mod state;
mod submission;
#[cfg(test)]
mod tests;

pub use listener::{mx, submission};
pub use mx::MxServer;
pub use submission::SubmissionServer;
