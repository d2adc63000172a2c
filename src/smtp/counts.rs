//! Limits of errors, idle commands and failed log-ins per session.
//!
//! Invariant: a session without an accepted message ends after a bounded number of commands, with a reply that names the
//! limit reached.

use super::codec::reply;
use crate::envelope::Reply;

/// Points for errors: see [`Cost`].
const ERRORS: u32 = 100;
/// NOOP, RSET, VRFY, HELP, EHLO.
const IDLE_COMMANDS: u32 = 100;
const FAILED_LOGINS: u32 = 5;

/// What a command counts as.
#[derive(Clone, Copy)]
pub(super) enum Cost {
    /// NOOP, RSET, VRFY, HELP or EHLO: the session ends after 100.
    Idle,
    /// A refused recipient or message: it ends at 100.
    Refused,
    /// A syntax error or a command out of order: it ends at 20.
    Wrong,
    /// It ends at 5.
    FailedLogin,
}

/// The counts of a session. An accepted message resets errors and idle commands.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    errors: u32,
    idle: u32,
    failed_logins: u32,
}

impl Counts {
    /// Err: the reply that ends the session.
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

    pub(super) fn message_accepted(&mut self) {
        (self.errors, self.idle) = (0, 0);
    }
}
