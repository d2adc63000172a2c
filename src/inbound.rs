//! Receives a message: examine, stamp, deliver. Invariant: after `Ok` from [`Inbound::receive`] the message is on disk
//! for every recipient, in one transaction; otherwise for none. RFC 5321 §4.4 (trace fields), §6.3 (loops).

use crate::address::{Address, DomainName, ReversePath};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Platform};
use crate::dkim;
use crate::envelope::Recipients;
use crate::id::{ArrivalId, InboxId};
use crate::mailbox::MailboxService;
use crate::message::{self, Trace};
use crate::net::connections::network_of;
use crate::rates::{Exceeded, Hourly, Limit};
use crate::resources::Owner;
use crate::resources::work::{WorkBudget, WorkError, WorkPool};
use crate::store::deliver::LocalDelivery;
use crate::store::quota::DeliverError;
use crate::store::routing::{LocalRecipient, Route};
use crate::store::{Store, StoreError};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;

/// The origin of a message, from the SMTP session.
#[derive(Clone, Debug)]
pub struct Origin {
    pub mail_from: ReversePath,
    /// The EHLO name. Untrusted text.
    pub helo: String,
    pub client: IpAddr,
    /// `ESMTP`, `ESMTPS`, `SMTP` (RFC 3848).
    pub protocol: &'static str,
}

/// Why a message was refused.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// Too many Received fields: 554 5.4.6.
    #[error("this message has passed through too many servers: a mail loop")]
    Loop,
    /// It has NUL octets: 550 5.6.0.
    #[error("{}", message::NUL_REFUSED)]
    Nul,
    /// Its From is at the platform domain or may be read so, and it neither comes from a relay of ours nor has a valid
    /// signature of ours: 550 5.7.1.
    #[error(
        "the From of this message is at {0}, or malformed so that it may be read so, and it was not sent by this server: its DKIM signature is missing or broken"
    )]
    ForgedFrom(DomainName),
    /// These inboxes are full: 452 4.2.2.
    #[error("no room in {}", .0.iter().map(InboxId::as_str).collect::<Vec<_>>().join(", "))]
    Full(Vec<InboxId>),
    /// The sending network has reached its hourly limit: 450 4.7.1.
    #[error("{0} for your address; try again later")]
    RateLimited(#[from] Exceeded),
    /// The store failed: 451 4.3.0.
    #[error("local error, try again later")]
    Temporary(#[from] StoreError),
    /// It could not be examined: 451 4.3.0.
    #[error("the message could not be examined: {0}")]
    NotExamined(#[from] WorkError),
}

impl From<DeliverError> for Rejection {
    fn from(error: DeliverError) -> Self {
        match error {
            DeliverError::Full(inboxes) => Self::Full(inboxes),
            DeliverError::Store(error) => Self::Temporary(error),
        }
    }
}

/// The result of examining a message.
struct Examined {
    header: usize,
    /// The header block without Authentication-Results that forge our name, which would be trusted (RFC 8601 §5).
    kept: Vec<u8>,
    /// Its From is at the platform domain.
    is_from_us: bool,
}

fn examined(raw: &[u8], hop_limit: usize, platform: &Platform) -> Result<Examined, Rejection> {
    if message::has_nul(raw) {
        return Err(Rejection::Nul);
    }
    let header = message::split(raw).0;
    if message::hop_count(header) > hop_limit {
        return Err(Rejection::Loop);
    }
    Ok(Examined {
        header: header.len(),
        kept: message::without_results_of(header, &[&platform.hostname, &platform.domain]),
        is_from_us: message::is_from_domain(raw, &platform.domain),
    })
}

/// The service; clones share it.
#[derive(Clone, Debug)]
pub struct Inbound {
    config: Arc<Config>,
    store: Store,
    clock: Clock,
    mailboxes: MailboxService,
    handed_in: Arc<Hourly<IpAddr, 2>>,
    work: WorkPool,
}

impl Inbound {
    /// Large messages are examined in `work`.
    pub fn new(config: Arc<Config>, store: Store, clock: Clock, mailboxes: MailboxService, work: WorkPool) -> Self {
        let limits = &config.limits;
        let handed_in = Arc::new(Hourly::new(
            [
                Limit { key: "mx_messages_per_hour", what: "messages", limit: limits.mx_messages_per_hour },
                Limit { key: "mx_recipients_per_hour", what: "recipients", limit: limits.mx_recipients_per_hour },
            ],
            &store,
        ));
        Self { config, store, clock, mailboxes, handed_in, work }
    }

    /// The current route of mail for an address.
    pub async fn route(&self, owner: Owner, address: &Address) -> Result<Route, StoreError> {
        self.store.for_owner(owner).route(&self.config.platform.domain, address, self.clock.now()).await
    }

    /// True if the recipient's inbox currently accepts a message of this size; a full one accepts none.
    /// [`Inbound::receive`] decides finally.
    pub async fn is_within_quota(
        &self,
        owner: Owner,
        recipient: &LocalRecipient,
        size: usize,
    ) -> Result<bool, StoreError> {
        let size = u64::try_from(size.max(1)).unwrap_or(u64::MAX);
        self.mailboxes.for_owner(owner).is_within_quota(recipient.inbox(), size).await
    }

    /// Receives a message for local inboxes. `raw` has CRLF lines only.
    pub async fn receive(
        &self,
        origin: Origin,
        recipients: Recipients<LocalRecipient>,
        raw: Bytes,
    ) -> Result<ArrivalId, Rejection> {
        let id = ArrivalId::new();
        let log = MailLog::new(&id, &origin, &recipients, raw.len());
        let result = self.take_in(&id, origin, recipients, raw).await;
        log.write(&result);
        result.map(|()| id)
    }

    /// The path of a message: refusals, the sender's rate limit, our trace fields, delivery to all inboxes in one
    /// transaction.
    async fn take_in(
        &self,
        id: &ArrivalId,
        origin: Origin,
        recipients: Recipients<LocalRecipient>,
        raw: Bytes,
    ) -> Result<(), Rejection> {
        let network = network_of(origin.client);
        let Examined { header, kept, .. } = self.examine(origin.client, &raw).await?;
        self.handed_in.charge::<Rejection>(network, [1, recipients.as_slice().len()], self.clock.now()).await?;
        let now = Timestamp::real();
        let body = raw.slice(header..);
        let header = self.stamp(id, &origin, &recipients, &kept, now);
        let delivery = LocalDelivery { mail_from: origin.mail_from, recipients, header, received_at: now };
        self.mailboxes.for_owner(Owner::Network(network)).deliver(delivery, body).await?;
        Ok(())
    }

    /// Refuses what may not come in. Work that grows with the message runs in the pool.
    async fn examine(&self, client: IpAddr, raw: &Bytes) -> Result<Examined, Rejection> {
        let (owner, octets, hop_limit) = (Owner::Network(network_of(client)), raw.len(), self.config.queue.hop_limit);
        let (config, message) = (Arc::clone(&self.config), raw.clone());
        let work = move |_: &WorkBudget| Ok(examined(&message, hop_limit, &config.platform));
        let examined = self.work.run(&owner, octets, work).await??;
        if !examined.is_from_us || self.config.smtp.trusted_relays.contains(client) {
            return Ok(examined);
        }
        let (domain, selector) = (self.config.platform.domain.clone(), self.config.dkim.platform_selector.clone());
        let record = self.store.dkim_public(&selector).await?;
        let (message, header) = (raw.clone(), examined.header);
        let signed = move |_: &WorkBudget| {
            let header = message.get(..header).unwrap_or_default();
            Ok(record.is_some_and(|record| dkim::is_signed_by(&message, header, &domain, &selector, &record)))
        };
        match self.work.run(&owner, octets, signed).await? {
            true => Ok(examined),
            false => Err(Rejection::ForgedFrom(self.config.platform.domain.clone())),
        }
    }

    /// The stored header block: our trace fields, the sender's fields unchanged, the empty line. Results about the
    /// sender (SPF, DKIM, DMARC) belong here, where header and body are known: an Authentication-Results field (RFC
    /// 8601) goes above the Received field added here.
    fn stamp(
        &self,
        id: &ArrivalId,
        origin: &Origin,
        recipients: &Recipients<LocalRecipient>,
        kept: &[u8],
        now: Timestamp,
    ) -> Vec<u8> {
        // With several recipients the field would disclose them to each other, Bcc included (RFC 5321 §7.2).
        let for_address = match recipients.as_slice() {
            [only] => Some(only.address()),
            _ => None,
        };
        let mut stamped = message::trace(&Trace {
            return_path: &origin.mail_from,
            helo: &origin.helo,
            client: origin.client,
            hostname: &self.config.platform.hostname,
            protocol: origin.protocol,
            id: id.as_str(),
            for_address,
            now,
        });
        stamped.extend_from_slice(kept);
        // A message of header fields only may lack the empty line.
        if !(kept == b"\r\n" || kept.ends_with(b"\r\n\r\n")) {
            stamped.extend_from_slice(b"\r\n");
        }
        stamped
    }
}

/// The log fields of a message.
struct MailLog {
    id: ArrivalId,
    mail_from: ReversePath,
    rcpt: String,
    size: usize,
    peer: IpAddr,
    protocol: &'static str,
}

impl MailLog {
    fn new(id: &ArrivalId, origin: &Origin, recipients: &Recipients<LocalRecipient>, size: usize) -> Self {
        let rcpt = recipients.as_slice().iter().map(|r| r.address().to_string()).collect::<Vec<_>>().join(",");
        let Origin { mail_from, client, protocol, .. } = origin;
        Self { id: id.clone(), mail_from: mail_from.clone(), rcpt, size, peer: *client, protocol }
    }

    fn write(&self, result: &Result<(), Rejection>) {
        let Self { id, mail_from, rcpt, size, peer, protocol } = self;
        let Err(error) = result else {
            tracing::info!(%id, %mail_from, %rcpt, size, %peer, protocol, result = "delivered", "mail in");
            return;
        };
        let result = error.word();
        if error.is_our_fault() {
            tracing::error!(%id, %mail_from, %rcpt, size, %peer, protocol, result, %error, "mail not stored");
        } else {
            tracing::info!(%id, %mail_from, %rcpt, size, %peer, protocol, result, %error, "mail refused");
        }
    }
}

impl Rejection {
    fn word(&self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Nul => "nul",
            Self::ForgedFrom(_) => "forged",
            Self::Full(_) => "full",
            Self::RateLimited(_) => "limited",
            Self::Temporary(StoreError::DiskLow(_)) => "disk low",
            Self::Temporary(StoreError::InboxDisabled(_)) => "disabled",
            Self::Temporary(_) | Self::NotExamined(_) => "deferred",
        }
    }

    fn is_our_fault(&self) -> bool {
        self.word() == "deferred"
    }
}
