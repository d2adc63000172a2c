//! The IMAP server: IMAP4rev1 on 143 with STARTTLS and on 993.
//!
//! Invariant: there is no log-in without TLS; the commands of a session run one after the other; a session is sent changes only
//! where the protocol allows it, and ends at once when its log-in does.
//!
//! | file | what |
//! | --- | --- |
//! | [`listener`] | the accept loop |
//! | [`connection`] | one client from greeting to BYE: TLS, time-outs, the end of its log-in, shutdown |
//! | [`not_authenticated`], [`authenticated`] | the commands before log-in; the loop of commands after it |
//! | [`alert`] | what a user has to know at log-in |
//! | [`commands`] | a file for each family of commands |
//! | [`updates`] | what has changed in the selected mailbox, as untagged responses |
//! | [`flags`] | flags of messages, as responses |
//! | [`context`] | what a command runs with: the log-in, what is enabled, the selected mailbox |
//! | [`notified`] | what NOTIFY has asked for, and what was reported |
//! | [`server`], [`watch`] | what sessions share; whether the selected mailbox has changed |
//! | [`selected`] | sequence numbers and flags as the client knows them |
//! | [`content`] | structure, envelope and sections of a message |
//! | [`names`] | mailbox names and patterns |
//! | [`wire`] | octets to commands, responses to octets |
//!
//! A module imports only from rows below its own.
//!
//! RFC 3501 (IMAP4rev1); [`wire::capability`] lists what is offered beside it, and `docs/rfc.md` the RFCs.

mod alert;
mod authenticated;
mod commands;
mod connection;
pub(crate) mod content;
mod context;
mod flags;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/imap.rs"]
pub(crate) mod fuzz;
mod listener;
mod mailbox_sets;
mod names;
mod not_authenticated;
mod notified;
mod selected;
mod server;
#[cfg(test)]
mod tests;
mod updates;
mod watch;
mod wire;

pub use listener::serve;
pub(crate) use names::{decode as from_utf7, encode as to_utf7};
pub use server::{ImapServer, PROGRESS_EVERY};
