//! The state of an authenticated session: who logged in, and which mailbox is selected.
//!
//! Invariant: the client is sent EXPUNGE responses only where RFC 3501 §7.4.1 allows it.

use super::flags::push_flags;
use super::selected::SelectedMailbox;
use super::server::ImapServer;
use super::watch::Changed;
use super::wire::Wire;
use crate::auth::login::Login;
use crate::id::MailboxId;
use crate::resources::Owner;
use crate::resources::work::WorkError;
use crate::store::StoreError;
use crate::store::keywords::FlagError;
use imap_codec::imap_types::response::{Data, Response};
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

/// A session after log-in.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub server: &'a ImapServer,
    pub login: &'a Login,
    pub changed: &'a Changed,
    pub selected: Option<SelectedMailbox>,
    /// Whose share of resources its work counts against.
    pub owner: Owner,
}

impl<'a> Session<'a> {
    /// With nothing selected.
    pub fn new(server: &'a ImapServer, login: &'a Login, changed: &'a Changed) -> Self {
        Self { server, login, changed, selected: None, owner: Owner::Account(login.account.clone()) }
    }

    /// Sends what has changed in the selected mailbox.
    pub async fn push_changes(&mut self, wire: &mut Wire, may_expunge: bool) -> Result<(), CommandError> {
        self.changed.take();
        let Some(selected) = &mut self.selected else { return Ok(()) };
        let (store, inbox) = (&self.server.store, &self.login.inbox);
        let changes = store.mailbox_changes(inbox, selected.mailbox, selected.seen).await?;
        let changes = changes.ok_or(CommandError::MailboxDeleted)?;
        // RFC 3501 §2.3.2: a read-only session does not take `\Recent` from the next one.
        let mut recent = changes.recent_from..changes.seen.uid_next;
        if !selected.read_only && !recent.is_empty() && selected.has_arrivals(&changes) {
            recent = store.claim_recent(inbox, selected.mailbox, recent.end).await;
        }
        let updates = selected.update(changes, &recent);
        for uid in updates.changed {
            let (Some(sequence), Some(flags)) = (selected.sequence_number(uid), selected.flags(uid)) else { continue };
            push_flags(wire, selected, sequence, &flags);
            wire.flush_batch().await?;
        }
        if may_expunge {
            self.push_expunged(wire);
        }
        if let (Some(_), Some(selected)) = (updates.exists, &self.selected) {
            wire.push(&Response::Data(Data::Exists(selected.exists())));
            wire.push(&Response::Data(Data::Recent(selected.recent())));
        }
        Ok(())
    }

    /// Sends EXPUNGE responses for expunged messages.
    pub fn push_expunged(&mut self, wire: &mut Wire) {
        let Some(selected) = &mut self.selected else { return };
        for sequence in selected.take_expunged() {
            if let Ok(data) = Data::expunge(sequence) {
                wire.push(&Response::Data(data));
            }
        }
    }

    /// This session has changed a mailbox: its own response must show that, and the event may come later.
    pub fn has_changed(&self, mailbox: MailboxId) {
        self.changed.set_for(mailbox);
    }
}
