//! API tokens, log-ins, and authenticated sessions over HTTP, SMTP and IMAP.

pub(crate) mod login;
pub(crate) mod passwords;
pub(crate) mod sasl;
pub(crate) mod session;
mod throttle;
pub mod token;
mod users;
