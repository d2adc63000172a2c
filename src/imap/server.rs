//! What the sessions of the IMAP server share.

use crate::auth::login::Authenticator;
use crate::config::Config;
use crate::mailbox::MailboxService;
use crate::net::tls::ServerTls;
use crate::reading::Reading;
use crate::resources::spool::Spool;
use crate::store::Store;
use std::sync::Arc;
use std::time::Duration;

/// How often a client is informed that a long command is still running: less than the time after which clients give up.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Configuration and services; shared by all sessions.
#[derive(Clone, Debug)]
pub struct ImapServer {
    /// Limits and names.
    pub config: Arc<Config>,
    /// Reads mailboxes; after log-in, on the account's behalf.
    pub store: Store,
    /// Parses messages off the async workers.
    pub reading: Reading,
    /// Changes mailboxes; after log-in, on the account's behalf.
    pub mailboxes: MailboxService,
    /// Checks log-ins.
    pub authenticator: Authenticator,
    /// Holds incoming messages, and the budget of memory.
    pub spool: Spool,
    /// How often a client is informed that a long command is still running.
    pub progress_every: Duration,
    /// For STARTTLS and for implicit TLS.
    pub tls: ServerTls,
}
