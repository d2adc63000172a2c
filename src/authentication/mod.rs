//! Who is speaking: API tokens over HTTP, SMTP and IMAP; and who a message is from: DKIM signing.

pub mod dkim;
mod failures;
pub mod login;
pub mod token;
