//! The IMAP server: IMAP4rev1 on 143 with STARTTLS and on 993.
//!
//! Invariant: nobody logs in without TLS; commands of one session run one after the other; a session is told of changes only
//! where the protocol allows it, and ends at once when what it logged in with does.
//!
//! | file | what |
//! | --- | --- |
//! | [`listener`] | the accept loop; what the server is given |
//! | [`connection`] | one client from greeting to BYE: TLS, time-outs, the end of log-ins and of the daemon |
//! | [`wire`], [`stream`] | octets to commands, responses to octets |
//! | [`not_authenticated`] | before log-in |
//! | [`session`] | after it: what may come when, and telling what changed |
//! | [`selected`] | which sequence number is which message |
//! | [`commands`] | a file for each family of commands |
//! | [`content`] | what is shown of a message's octets: structure, envelope, sections |
//! | [`names`] | mailbox names and patterns |
//!
//! RFC 3501 (IMAP4rev1); RFC 2087 is not offered; RFC 2177 (IDLE), RFC 2342 (NAMESPACE), RFC 2971 (ID), RFC 3348 (CHILDREN),
//! RFC 3691 (UNSELECT), RFC 4315 (UIDPLUS), RFC 4959 (SASL-IR), RFC 5530 (response codes), RFC 6154 (SPECIAL-USE), RFC 6851
//! (MOVE), RFC 7888 (LITERAL+).

mod commands;
mod connection;
pub(crate) mod content;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/imap.rs"]
pub(crate) mod fuzz;
mod listener;
mod names;
mod not_authenticated;
mod response;
mod selected;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

pub use listener::{ImapServer, serve};
