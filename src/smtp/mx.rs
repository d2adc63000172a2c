//! The MX server: mail from anybody to inboxes here. RFC 5321; enhanced codes RFC 3463.
//!
//! Invariant: a recipient is a [`LocalRecipient`], which only the store makes, so this server is no open relay.

use super::codec::data::BareLf;
use super::codec::reply;
use super::handler::{Mail, SmtpHandler};
use crate::address::{Address, AddressError, ReversePath};
use crate::auth::sasl::Credentials;
use crate::auth::session::AuthSession;
use crate::config::Config;
use crate::envelope::{EnhancedCode, Reply};
use crate::id::AccountId;
use crate::inbound::{Inbound, Origin, Rejection};
use crate::net::tls::ServerTls;
use crate::resources::Owner;
use crate::resources::spool::Spool;
use crate::store::StoreError;
use crate::store::routing::{LocalRecipient, Route};
use std::net::SocketAddr;
use std::sync::Arc;

/// What the MX server needs.
#[derive(Clone, Debug)]
pub struct MxServer {
    /// Names and limits.
    pub config: Arc<Config>,
    /// The certificate.
    pub tls: ServerTls,
    /// Accepts messages.
    pub inbound: Inbound,
    /// Holds messages while they are received.
    pub spool: Spool,
}

/// A client; none logs in here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anonymous;

impl SmtpHandler for MxServer {
    type Client = Anonymous;
    type Recipient = LocalRecipient;
    const NAME: &'static str = "mx";
    const OFFERS_AUTH: bool = false;
    // A report of success goes to whatever sender a stranger names.
    const OFFERS_DSN: bool = false;
    const BARE_LF: BareLf = BareLf::Refused;

    fn anonymous() -> Option<Anonymous> {
        Some(Anonymous)
    }

    fn sender(from: Result<ReversePath, AddressError>) -> Result<ReversePath, Reply> {
        from.map_err(|_| reply::bad_sender())
    }

    async fn log_in(&self, _: SocketAddr, _: Credentials) -> Result<Anonymous, Reply> {
        Err(reply::not_implemented())
    }

    async fn recipient(
        &self,
        _: Option<&Anonymous>,
        owner: Owner,
        address: Address,
        size: usize,
    ) -> Result<LocalRecipient, Reply> {
        match self.inbound.route(owner.clone(), &address).await {
            // Checked here, so that one full inbox does not keep the message from the others.
            Ok(Route::Inbox(recipient)) => match self.inbound.is_within_quota(owner, &recipient, size).await {
                Ok(true) => Ok(recipient),
                Ok(false) => Err(reply::inbox_full()),
                Err(error) => {
                    tracing::error!(%error, rcpt = %address, "could not read the quota of an inbox");
                    Err(reply::local_error())
                }
            },
            Ok(Route::Disabled) => Err(reply::inbox_disabled()),
            Ok(Route::NoSuchUser) => Err(reply::no_such_user(&address)),
            Ok(Route::PendingDomain) => Err(Reply::new(
                451,
                EnhancedCode(4, 7, 1),
                format!("{} is not verified yet, try again later", address.domain),
            )),
            Ok(Route::NotHosted) => Err(Reply::new(
                554,
                EnhancedCode(5, 7, 1),
                format!("relay access denied: {} is not hosted here", address.domain),
            )),
            Err(error) => {
                tracing::error!(%error, rcpt = %address, "could not look up a recipient");
                Err(reply::local_error())
            }
        }
    }

    async fn store(&self, peer: SocketAddr, _: &Anonymous, mail: Mail<LocalRecipient>) -> Reply {
        let origin = Origin { mail_from: mail.mail_from, helo: mail.helo, client: peer.ip(), protocol: mail.protocol };
        match self.inbound.receive(origin, mail.recipients.map(|to| to.recipient), mail.message).await {
            Ok(id) => Reply::new(250, EnhancedCode(2, 0, 0), format!("received as {id}")),
            Err(rejection @ Rejection::Loop) => Reply::new(554, EnhancedCode(5, 4, 6), rejection.to_string()),
            Err(rejection @ Rejection::RateLimited(_)) => Reply::new(450, EnhancedCode(4, 7, 1), rejection.to_string()),
            Err(rejection @ Rejection::Nul) => Reply::new(550, EnhancedCode(5, 6, 0), rejection.to_string()),
            Err(Rejection::Full(_)) => reply::inbox_full(),
            Err(rejection @ Rejection::ForgedFrom(_)) => Reply::new(550, EnhancedCode(5, 7, 1), rejection.to_string()),
            Err(Rejection::Temporary(StoreError::DiskLow(_))) => reply::no_storage(),
            Err(Rejection::Temporary(StoreError::InboxDisabled(_))) => reply::inbox_disabled(),
            Err(Rejection::Temporary(_) | Rejection::NotExamined(_)) => reply::local_error(),
        }
    }

    fn account(_: &Anonymous) -> Option<&AccountId> {
        None
    }

    fn session(_: &mut Anonymous) -> Option<&mut AuthSession> {
        None
    }
}
