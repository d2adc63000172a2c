//! The MX server: anybody sends, to inboxes here. RFC 5321; the codes of refused recipients are RFC 3463's.
//!
//! Invariant: a recipient of this server is a [`LocalRecipient`], which the store alone makes: there is no way from here to
//! the queue, so this server is no open relay.

use super::codec::data::BareLf;
use super::codec::reply;
use super::sasl::Credentials;
use super::state::{Mail, SmtpHandler};
use crate::address::{Address, AddressError, ReversePath};
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
    /// Names, limits, time-outs.
    pub config: Arc<Config>,
    /// The certificate.
    pub tls: ServerTls,
    /// Where messages go.
    pub inbound: Inbound,
    /// Where they are while they come in.
    pub spool: Spool,
}

/// Whoever connects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stranger;

impl SmtpHandler for MxServer {
    type Client = Stranger;
    type Recipient = LocalRecipient;
    const NAME: &'static str = "mx";
    const OFFERS_AUTH: bool = false;
    const BARE_LF: BareLf = BareLf::Refused;

    fn stranger() -> Option<Stranger> {
        Some(Stranger)
    }

    fn sender(from: Result<ReversePath, AddressError>) -> Result<ReversePath, Reply> {
        from.map_err(|_| reply::bad_sender())
    }

    async fn log_in(&self, _: SocketAddr, _: Credentials) -> Result<Stranger, Reply> {
        Err(reply::not_implemented())
    }

    async fn recipient(&self, owner: Owner, address: Address, size: usize) -> Result<LocalRecipient, Reply> {
        match self.inbound.route(owner.clone(), &address).await {
            // Asked here for what the client announced: one full inbox must not keep the message from the others.
            Ok(Route::Inbox(recipient)) => match self.inbound.has_room(owner, &recipient, size).await {
                Ok(true) => Ok(recipient),
                Ok(false) => Err(reply::inbox_full()),
                Err(error) => {
                    tracing::error!(%error, rcpt = %address, "could not look into an inbox");
                    Err(reply::try_later())
                }
            },
            Ok(Route::NoSuchUser) => Err(reply::no_such_user(&address)),
            Ok(Route::PendingDomain) => Err(Reply::new(
                451,
                EnhancedCode(4, 7, 1),
                format!("{} is waiting for its DNS records; try again later", address.domain),
            )),
            Ok(Route::NotHosted) => Err(Reply::new(
                554,
                EnhancedCode(5, 7, 1),
                format!("this server takes no mail for {}: relaying denied", address.domain),
            )),
            Err(error) => {
                tracing::error!(%error, rcpt = %address, "could not look for a recipient");
                Err(reply::try_later())
            }
        }
    }

    async fn store(&self, peer: SocketAddr, _: &Stranger, mail: Mail<LocalRecipient>) -> Reply {
        let origin = Origin { mail_from: mail.mail_from, helo: mail.helo, client: peer.ip(), protocol: mail.protocol };
        match self.inbound.receive(origin, mail.recipients, mail.message).await {
            Ok(id) => Reply::new(250, EnhancedCode(2, 0, 0), format!("received as {id}")),
            Err(rejection @ Rejection::Loop) => Reply::new(554, EnhancedCode(5, 4, 6), rejection.to_string()),
            Err(rejection @ Rejection::RateLimited(_)) => Reply::new(450, EnhancedCode(4, 7, 1), rejection.to_string()),
            Err(rejection @ Rejection::Nul) => Reply::new(550, EnhancedCode(5, 6, 0), rejection.to_string()),
            Err(Rejection::Full(_)) => reply::inbox_full(),
            Err(rejection @ Rejection::ForgedFrom(_)) => Reply::new(550, EnhancedCode(5, 7, 1), rejection.to_string()),
            Err(Rejection::Temporary(StoreError::DiskLow(_))) => reply::no_room(),
            Err(Rejection::Temporary(_) | Rejection::NotExamined(_)) => reply::try_later(),
        }
    }

    fn account(_: &Stranger) -> Option<&AccountId> {
        None
    }

    async fn ended(_: &mut Stranger) {
        std::future::pending().await
    }
}
