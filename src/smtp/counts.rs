//! How many errors, idle commands and failed log-ins a session may have.
//!
//! Invariant: a session in which no message is taken ends after a bounded number of commands, with a reply that says which
//! limit it has reached.

use super::codec::reply;
use crate::envelope::Reply;

/// What a client's errors may cost before it is sent away.
const ERRORS: u32 = 100;
/// Commands that bring no message nearer (NOOP, RSET, VRFY, HELP, EHLO) before a client is sent away.
const IDLE_COMMANDS: u32 = 100;
/// Log-ins that may fail before a client is sent away.
const FAILED_LOGINS: u32 = 5;

/// What a command counts as.
#[derive(Clone, Copy)]
pub(super) enum Cost {
    /// It is right, and brings no message nearer.
    Idle,
    /// A recipient or message that is refused, of which 100 end a session.
    Refused,
    /// A command that is wrong, of which 20 do.
    Wrong,
    /// A log-in that failed, of which 5 do.
    FailedLogin,
}

/// How often a client has done so. A message that is taken sets errors and idle commands to 0.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    errors: u32,
    idle: u32,
    failed_logins: u32,
}

impl Counts {
    /// The reply that ends the session, if this is one too many.
    pub(super) fn add(&mut self, cost: Cost) -> Result<(), Reply> {
        match cost {
            Cost::Idle => self.idle += 1,
            Cost::Refused => self.errors += 1,
            Cost::Wrong => self.errors += 5,
            Cost::FailedLogin => self.failed_logins += 1,
        }
        if self.errors >= ERRORS {
            Err(reply::too_many_errors())
        } else if self.idle > IDLE_COMMANDS {
            Err(reply::too_many_idle_commands())
        } else if self.failed_logins >= FAILED_LOGINS {
            Err(reply::too_many_failed_logins())
        } else {
            Ok(())
        }
    }

    /// A message was taken.
    pub(super) fn message_taken(&mut self) {
        (self.errors, self.idle) = (0, 0);
    }
}
