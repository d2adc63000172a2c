//! The submission server (MSA): who logs in sends, to anybody. RFC 6409; RFC 8314 (465, TLS from the first octet).
//!
//! Invariant: a [`Sender`] exists only where the authenticator has answered with a [`Login`] that still held afterwards.
//!
//! `MAIL FROM` may name any address, well-formed or not: the message leaves under the log-in's identity, which also
//! becomes the envelope sender. Refusing the others would break the clients that send what the user typed in years ago.

use super::codec::data::BareLf;
use super::codec::reply;
use super::sasl::Credentials;
use super::state::{Mail, SmtpHandler};
use crate::address::{Address, AddressError, ReversePath};
use crate::auth::login::{Authenticator, Login, LoginError};
use crate::config::Config;
use crate::envelope::{EnhancedCode, Reply};
use crate::events::{Event, Events};
use crate::id::AccountId;
use crate::net::tls::ServerTls;
use crate::resources::Owner;
use crate::resources::spool::Spool;
use crate::submission::{Accepted, Draft, Recipient, RecipientError, Refusal, Submission};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// What the submission server needs.
#[derive(Clone, Debug)]
pub struct SubmissionServer {
    /// Names, limits, time-outs.
    pub config: Arc<Config>,
    /// The certificate.
    pub tls: ServerTls,
    /// Where ends of log-ins are heard.
    pub events: Events,
    /// Who may log in.
    pub authenticator: Authenticator,
    /// Where messages go.
    pub submission: Submission,
    /// Where they are while they come in.
    pub spool: Spool,
}

/// A client that has logged in.
#[derive(Debug)]
pub(super) struct Sender {
    login: Login,
    events: broadcast::Receiver<Event>,
    /// Events were missed: the log-in is to be checked. Whoever waits for its end may be cancelled while it is.
    must_check: bool,
    authenticator: Authenticator,
}

impl Sender {
    fn is_ended_by(&self, event: &Event) -> bool {
        match event {
            Event::TokenRevoked(token) => *token == self.login.token,
            Event::DomainDeleted(domain) => self.login.domain.as_ref() == Some(domain),
            Event::InboxDeleted(inbox) => *inbox == self.login.inbox,
            Event::MailboxChanged { .. } => false,
        }
    }
}

impl SmtpHandler for SubmissionServer {
    type Client = Sender;
    type Recipient = Recipient;
    const NAME: &'static str = "submission";
    const OFFERS_AUTH: bool = true;
    const BARE_LF: BareLf = BareLf::Repaired;

    fn stranger() -> Option<Sender> {
        None
    }

    fn sender(from: Result<ReversePath, AddressError>) -> Result<ReversePath, Reply> {
        Ok(from.unwrap_or(ReversePath::Null))
    }

    async fn log_in(&self, peer: SocketAddr, credentials: Credentials) -> Result<Sender, Reply> {
        let Credentials { user, password } = credentials;
        let login =
            self.authenticator.log_in(peer.ip(), &user, &password).await.map_err(|e| refused_login(peer, &e))?;
        // Listen first, then look again: a revocation between log-in and listening is not missed.
        let most = self.config.limits.connections_per_account;
        let Some(events) = self.events.subscribe(&login.account, most) else {
            tracing::info!(%peer, account = %login.account, "refused: too many sessions of the account");
            return Err(Reply::new(
                454,
                EnhancedCode(4, 7, 0),
                format!("this account has {most} sessions open already"),
            ));
        };
        match self.authenticator.still_holds(&login).await {
            Ok(true) => {}
            Ok(false) => return Err(reply::auth_wrong()),
            Err(error) => return Err(refused_login(peer, &LoginError::Unavailable(error))),
        }
        tracing::info!(%peer, account = %login.account, inbox = %login.inbox_name, address = %login.address, "logged in");
        Ok(Sender { login, events, must_check: false, authenticator: self.authenticator.clone() })
    }

    async fn recipient(&self, owner: Owner, address: Address, size: usize) -> Result<Recipient, Reply> {
        let found = self.submission.recipients(owner, vec![address.clone()], size).await;
        found.map(|mut found| found.pop().unwrap_or(Recipient::Elsewhere(address))).map_err(|error| match error {
            RecipientError::NoSuchUser(address) => reply::no_such_user(&address),
            RecipientError::Full(_) => reply::inbox_full(),
            RecipientError::Temporary(error) => {
                tracing::error!(%error, "could not look for a recipient");
                reply::try_later()
            }
        })
    }

    async fn store(&self, peer: SocketAddr, client: &Sender, mail: Mail<Recipient>) -> Reply {
        // A token may have expired in the middle of a session, which no event tells.
        match self.authenticator.still_holds(&client.login).await {
            Ok(true) => {}
            Ok(false) => return reply::log_in_ended(),
            Err(error) => {
                tracing::error!(%peer, %error, "a log-in could not be checked again");
                return reply::try_later();
            }
        }
        let draft =
            Draft { rcpt_to: mail.recipients, raw: mail.message, protocol: mail.protocol, client: Some(peer.ip()) };
        match self.submission.accept(&client.login, draft).await {
            Ok(accepted) => queued(&accepted),
            Err(refusal) => refused(&refusal),
        }
    }

    fn account(client: &Sender) -> Option<&AccountId> {
        Some(&client.login.account)
    }

    async fn ended(client: &mut Sender) {
        loop {
            if client.must_check {
                match client.authenticator.still_holds(&client.login).await {
                    Ok(true) => client.must_check = false,
                    Ok(false) => return,
                    Err(error) => {
                        tracing::error!(%error, "could not check a log-in again; the session ends");
                        return;
                    }
                }
            }
            match client.events.recv().await {
                Ok(event) if client.is_ended_by(&event) => return,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => client.must_check = true,
                // The hub has gone: the daemon stops, and says so by other means.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

fn refused_login(peer: SocketAddr, error: &LoginError) -> Reply {
    match error {
        LoginError::Refused => reply::auth_wrong(),
        LoginError::RateLimited { .. } => Reply::new(454, EnhancedCode(4, 7, 0), error.to_string()),
        LoginError::Unavailable(cause) => {
            tracing::error!(%peer, error = %cause, "a log-in could not be checked");
            reply::log_in_unavailable()
        }
    }
}

/// The reply names the identity, and a fallback's reason, so that nobody is surprised by the From that arrives.
fn queued(accepted: &Accepted) -> Reply {
    let verb = if accepted.held { "held" } else { "queued" };
    let mut text = format!("{verb} as {} from {}", accepted.id, accepted.from);
    if accepted.held {
        text.push_str(&format!(" until {} is verified", accepted.from.domain));
    }
    if let Some(fallback) = &accepted.fallback {
        text.push_str(&format!(" (fallback: {} is {})", fallback.from.domain, fallback.reason));
    }
    Reply::new(250, EnhancedCode(2, 0, 0), text)
}

fn refused(refusal: &Refusal) -> Reply {
    let (code, enhanced) = match refusal {
        Refusal::Unverified { .. } => (550, EnhancedCode(5, 7, 1)),
        Refusal::Malformed(_) => (550, EnhancedCode(5, 6, 0)),
        Refusal::Loop => (554, EnhancedCode(5, 4, 6)),
        Refusal::RateLimited { .. } => (452, EnhancedCode(4, 7, 1)),
        Refusal::RecipientFull(_) | Refusal::SenderFull => (452, EnhancedCode(4, 2, 2)),
        Refusal::QueueFull { .. } | Refusal::DiskLow => (452, EnhancedCode(4, 3, 1)),
        Refusal::Temporary => (451, EnhancedCode(4, 3, 0)),
    };
    Reply::new(code, enhanced, refusal.to_string())
}
