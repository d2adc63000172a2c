//! API tokens and log-ins over HTTP, SMTP and IMAP.

mod failures;
pub mod login;
pub mod token;
