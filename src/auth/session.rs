//! An authenticated session over SMTP or IMAP: the log-in, the events of its account, and the end of both.
//!
//! Invariant: a session is opened only for a log-in that is valid after its events are subscribed to, so that no
//! revocation is missed in between. Each session holds one of the account's `limits.connections_per_account`.

use super::login::{Authenticator, Login, LoginError, Permissions, TooManySessions};
use super::sasl::Credentials;
use crate::events::{Event, Subscription};
use crate::id::MailboxId;
use std::net::IpAddr;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

/// A client that has logged in.
#[derive(Debug)]
pub struct AuthSession {
    login: Login,
    authenticator: Authenticator,
    events: Subscription,
    /// When the log-in is to be checked next.
    check_at: Instant,
}

/// A change in the session's inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// In this mailbox.
    Mailbox(MailboxId),
    /// Of the names of mailboxes, or of subscriptions.
    Mailboxes,
    /// Of these metadata entries of a mailbox, or of the inbox as a whole.
    Metadata(Option<MailboxId>, Vec<String>),
    /// Events were missed: in any mailbox.
    Unknown,
}

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    #[error("this API token has been revoked")]
    TokenRevoked,
    #[error("this domain has been deleted")]
    DomainDeleted,
    #[error("this inbox has been deleted")]
    InboxDeleted,
    #[error("this inbox has been disabled")]
    InboxDisabled,
    /// A check found that the token has expired, or one of the other causes whose event was missed.
    #[error("this log-in is no longer valid")]
    Invalid,
    /// The store failed: temporary.
    #[error("local error, try again later")]
    NotChecked,
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    TooManySessions(#[from] TooManySessions),
}

impl Authenticator {
    /// SMTP and IMAP: `user` is an address of an inbox (or a bare inbox name), `password` an API token with the permissions.
    pub async fn open_session(
        &self,
        peer: IpAddr,
        Credentials { user, password }: &Credentials,
        needed: Permissions,
    ) -> Result<AuthSession, OpenError> {
        let login = self.log_in(peer, (user, password), needed).await?;
        let events = self.subscribe(&login.account)?;
        if !self.is_valid(&login).await.map_err(LoginError::from)? {
            return Err(LoginError::Refused.into());
        }
        Ok(AuthSession { login, authenticator: self.clone(), events, check_at: Instant::now() + self.check_every })
    }
}

impl AuthSession {
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// The next change of the inbox, or the end of the session. Cancel safe.
    pub async fn next(&mut self) -> Result<Change, SessionEnd> {
        loop {
            if Instant::now() >= self.check_at {
                self.check().await?;
                self.check_at = Instant::now() + self.authenticator.check_every;
            }
            let Ok(event) = timeout_at(self.check_at, self.events.recv()).await else { continue };
            match event {
                Ok(Event::TokenRevoked { token_id }) if token_id == self.login.token => {
                    return Err(SessionEnd::TokenRevoked);
                }
                Ok(Event::DomainDeleted { domain_id, .. }) if self.login.domain.as_ref() == Some(&domain_id) => {
                    return Err(SessionEnd::DomainDeleted);
                }
                Ok(Event::InboxDeleted { inbox_id }) if inbox_id == self.login.inbox => {
                    return Err(SessionEnd::InboxDeleted);
                }
                Ok(Event::InboxDisabled { inbox_id }) if inbox_id == self.login.inbox => {
                    return Err(SessionEnd::InboxDisabled);
                }
                Ok(Event::MailboxesChanged { inbox_id }) if inbox_id == self.login.inbox => {
                    return Ok(Change::Mailboxes);
                }
                Ok(Event::MetadataChanged { inbox_id, mailbox, entries }) if inbox_id == self.login.inbox => {
                    return Ok(Change::Metadata(mailbox, entries));
                }
                Ok(event) => match event.mailbox() {
                    Some((inbox, mailbox)) if *inbox == self.login.inbox => return Ok(Change::Mailbox(mailbox)),
                    _ => {}
                },
                Err(RecvError::Lagged(_)) => {
                    self.check_at = Instant::now();
                    return Ok(Change::Unknown);
                }
                // The sender lives as long as the store that the authenticator holds.
                Err(RecvError::Closed) => return Err(SessionEnd::Invalid),
            }
        }
    }

    /// Resolves when the session has ended. Cancel safe.
    pub async fn ended(&mut self) -> SessionEnd {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }

    /// Checks the log-in against the store.
    pub async fn check(&self) -> Result<(), SessionEnd> {
        match self.authenticator.is_valid(&self.login).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SessionEnd::Invalid),
            Err(error) => {
                tracing::error!(%error, inbox = %self.login.inbox, "a log-in could not be checked");
                Err(SessionEnd::NotChecked)
            }
        }
    }
}
