//! What a command after log-in runs with: who logged in, what the client has enabled, and which mailbox is selected.

use super::names;
use super::notified::Notified;
use super::selected::SelectedMailbox;
use super::server::ImapServer;
use super::watch::Changed;
use super::wire::values::Mailbox;
use crate::auth::login::Login;
use crate::id::MailboxId;
use crate::resources::Owner;
use crate::resources::work::WorkError;
use crate::store::StoreError;
use crate::store::keywords::FlagError;
use std::borrow::Cow;

/// How a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// With a BYE of this text.
    Bye(Cow<'static, str>),
    /// With a BYE, since another client needs the connection.
    Overloaded,
    /// The replies to LOGOUT have been written.
    LoggedOut,
    /// The client has disconnected.
    Gone,
}

impl End {
    pub fn bye(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Bye(text.into())
    }
}

/// Why a command has failed, other than by the client's fault.
#[derive(Debug)]
pub(super) enum CommandError {
    /// `NO [UNAVAILABLE]`
    Store(StoreError),
    /// Work on a message was cancelled or panicked: `NO [UNAVAILABLE]`.
    Work(WorkError),
    /// The store failed when part of a response had been sent: the connection is closed.
    Interrupted(StoreError),
    /// The connection failed.
    Wire(std::io::Error),
    /// The selected mailbox has been deleted: BYE (RFC 2180 §3.3).
    MailboxDeleted,
    /// The client sent no DONE in time.
    IdleTimeout,
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WorkError> for CommandError {
    fn from(error: WorkError) -> Self {
        Self::Work(error)
    }
}

impl From<FlagError> for CommandError {
    fn from(error: FlagError) -> Self {
        match error {
            FlagError::Store(error) => Self::Store(error),
            // Only keywords can be too many, or too large.
            other => Self::Store(StoreError::Corrupt(other.to_string())),
        }
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        Self::Wire(error)
    }
}

bitflags::bitflags! {
    /// What the client has switched on by ENABLE (RFC 5161), or by a command that implies it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Enabled: u8 {
        /// FETCH responses to changes carry MODSEQ (RFC 7162).
        const CONDSTORE = 1;
        /// VANISHED in place of EXPUNGE (RFC 7162).
        const QRESYNC = 1 << 1;
        /// Mailbox names and headers in UTF-8 (RFC 6855).
        const UTF8_ACCEPT = 1 << 2;
        /// Responses as in RFC 9051.
        const IMAP4REV2 = 1 << 3;
        /// Messages are named by UID only (RFC 9586).
        const UIDONLY = 1 << 4;
    }
}

impl Enabled {
    /// Whether responses may be in UTF-8: names of mailboxes, and quoted strings.
    pub fn takes_utf8(self) -> bool {
        self.intersects(Self::UTF8_ACCEPT | Self::IMAP4REV2)
    }
}

/// The context of the commands of a session after log-in.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub server: &'a ImapServer,
    pub login: &'a Login,
    /// Whose share of resources the work counts against.
    pub owner: Owner,
    /// Whether the selected mailbox has changed.
    pub changed: &'a Changed,
    pub enabled: Enabled,
    pub selected: Option<SelectedMailbox>,
    /// What NOTIFY has asked for; `None` before the first.
    pub notified: Option<Box<Notified>>,
}

impl<'a> Context<'a> {
    /// With nothing enabled or selected.
    pub fn new(server: &'a ImapServer, login: &'a Login, changed: &'a Changed) -> Self {
        let owner = Owner::Account(login.account.clone());
        Self { server, login, owner, changed, enabled: Enabled::empty(), selected: None, notified: None }
    }

    /// The name of a mailbox, as it is stored; `None` if it is invalid.
    pub fn mailbox_name(&self, mailbox: &Mailbox) -> Option<String> {
        names::read(mailbox, self.enabled.takes_utf8())
    }

    /// This session has changed a mailbox: its own response must show that, and the event may come later.
    pub fn has_changed(&self, mailbox: MailboxId) {
        self.changed.set_for(mailbox);
    }
}
