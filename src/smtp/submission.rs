//! The submission server (MSA): mail from clients that have logged in, to anybody. RFC 6409; RFC 8314 (465, implicit TLS).
//!
//! Invariant: a client is an [`AuthSession`], which the authenticator alone makes.
//!
//! `MAIL FROM` may be any address, even an invalid one: the message is sent under the identity of the log-in, which also
//! becomes the envelope sender. Many clients send an address from an outdated setting.

use super::codec::data::BareLf;
use super::codec::reply;
use super::handler::{Addressee, Mail, SmtpHandler};
use crate::address::{Address, AddressError, ReversePath};
use crate::auth::login::{Authenticator, LoginError, Permissions};
use crate::auth::sasl::Credentials;
use crate::auth::session::{AuthSession, OpenError, SessionEnd};
use crate::config::Config;
use crate::envelope::{EnhancedCode, Reply};
use crate::id::{AccountId, MessageId};
use crate::net::tls::ServerTls;
use crate::resources::Owner;
use crate::resources::spool::Spool;
use crate::store::sent::Note;
use crate::submission::{Accepted, Draft, Recipient, RecipientError, Refusal, Submission};
use std::net::SocketAddr;
use std::sync::Arc;

/// What the submission server needs.
#[derive(Clone, Debug)]
pub struct SubmissionServer {
    /// Names and limits.
    pub config: Arc<Config>,
    /// The certificate.
    pub tls: ServerTls,
    /// Checks log-ins.
    pub authenticator: Authenticator,
    /// Accepts messages.
    pub submission: Submission,
    /// Holds messages while they are received.
    pub spool: Spool,
}

impl SmtpHandler for SubmissionServer {
    type Client = AuthSession;
    type Recipient = Recipient;
    const NAME: &'static str = "submission";
    const OFFERS_AUTH: bool = true;
    const OFFERS_DSN: bool = true;
    const BARE_LF: BareLf = BareLf::Repaired;

    fn anonymous() -> Option<AuthSession> {
        None
    }

    fn sender(from: Result<ReversePath, AddressError>) -> Result<ReversePath, Reply> {
        Ok(from.unwrap_or(ReversePath::Null))
    }

    async fn log_in(&self, peer: SocketAddr, credentials: Credentials) -> Result<AuthSession, Reply> {
        let opened = self.authenticator.open_session(peer.ip(), &credentials, Permissions::MESSAGES_SEND).await;
        let session = opened.map_err(|error| refused_login(peer, &error))?;
        let login = session.login();
        tracing::info!(%peer, account = %login.account, inbox = %login.inbox_name, address = %login.address, "logged in");
        Ok(session)
    }

    async fn recipient(
        &self,
        client: Option<&AuthSession>,
        owner: Owner,
        address: Address,
        size: usize,
    ) -> Result<Recipient, Reply> {
        let Some(client) = client else { return Err(reply::login_required()) };
        let inbox = &client.login().inbox;
        let found = self.submission.recipients(owner, inbox, vec![address.clone()], size).await;
        found.map(|mut found| found.pop().unwrap_or(Recipient::Elsewhere(address))).map_err(|error| match error {
            RecipientError::NoSuchUser(address) => reply::no_such_user(&address),
            RecipientError::Full(_) => reply::inbox_full(),
            RecipientError::Disabled(_) => reply::inbox_disabled(),
            RecipientError::Blocked { .. } => Reply::new(550, EnhancedCode(5, 7, 1), error.to_string()),
            RecipientError::Temporary(error) => {
                tracing::error!(%error, "could not look up a recipient");
                reply::local_error()
            }
        })
    }

    async fn store(&self, peer: SocketAddr, client: &AuthSession, mail: Mail<Recipient>) -> Reply {
        // The end of the session may not have been seen yet, and an expired token publishes no event.
        match client.check().await {
            Ok(()) => {}
            Err(SessionEnd::NotChecked) => return reply::local_error(),
            Err(end) => return reply::session_ended(end),
        }
        let draft = Draft {
            parameters: mail.parameters,
            rcpt_to: mail.recipients.map(|Addressee { recipient, parameters }| (recipient, parameters)),
            raw: mail.message,
            protocol: mail.protocol,
            client: Some(peer.ip()),
            send_at: None,
            note: Note::default(),
        };
        match self.submission.accept(client.login(), draft).await {
            Ok(accepted) => queued(&accepted),
            Err(refusal) => refused(&refusal),
        }
    }

    fn account(client: &AuthSession) -> Option<&AccountId> {
        Some(&client.login().account)
    }

    fn session(client: &mut AuthSession) -> Option<&mut AuthSession> {
        Some(client)
    }
}

fn refused_login(peer: SocketAddr, error: &OpenError) -> Reply {
    match error {
        OpenError::Login(LoginError::Refused) => reply::auth_wrong(),
        OpenError::Login(LoginError::RateLimited { .. }) | OpenError::TooManySessions(_) => {
            Reply::new(454, EnhancedCode(4, 7, 0), error.to_string())
        }
        OpenError::Login(LoginError::Unavailable(cause)) => {
            tracing::error!(%peer, error = %cause, "a log-in could not be checked");
            reply::login_unavailable()
        }
    }
}

/// Names the identity, and the reason of a fallback.
fn queued(accepted: &Accepted) -> Reply {
    let verb = if accepted.held { "held" } else { "queued" };
    let mut text = format!("{verb} as {} from {}", MessageId::of_sent(&accepted.id), accepted.from);
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
        Refusal::HoldsSecret(_) => (550, EnhancedCode(5, 7, 1)),
        Refusal::ThreadFull { .. } => (450, EnhancedCode(4, 7, 1)),
        Refusal::Malformed(_) => (550, EnhancedCode(5, 6, 0)),
        Refusal::Loop => (554, EnhancedCode(5, 4, 6)),
        Refusal::RateLimited { .. } => (452, EnhancedCode(4, 7, 1)),
        Refusal::RecipientFull(_) | Refusal::SenderFull => (452, EnhancedCode(4, 2, 2)),
        Refusal::QueueFull { .. } | Refusal::DiskLow => (452, EnhancedCode(4, 3, 1)),
        // No draft is sent over SMTP.
        Refusal::NoSuchDraft | Refusal::DraftChanged | Refusal::Temporary => (451, EnhancedCode(4, 3, 0)),
    };
    Reply::new(code, enhanced, refusal.to_string())
}
