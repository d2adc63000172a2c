//! Mail on its way out: durable, tried again with growing pauses, settled once.
//!
//! Invariant: a recipient stays in the queue until the next host has answered 250, or the sender has a bounce in the inbox;
//! nothing leaves under a domain that is not verified at that moment. RFC 5321 §4.5.4, RFC 3464.
//!
//! The path of an attempt: [`scheduler`] claims it and gives it one of the [`slots`], [`delivery`] finds the identity it leaves
//! under, [`hosts`] tries the servers in order ([`mx`] lists them) with the [SMTP client](crate::smtp_client), [`outcome`] says
//! what an answer means, [`conclusion`] what follows from it, and the store settles it.

mod address_limits;
mod conclusion;
mod delivery;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/queue.rs"]
pub(crate) mod fuzz;
mod hosts;
mod mx;
mod outcome;
pub(crate) mod outgoing;
mod scheduler;
mod slots;
#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::config::Config;
use crate::dkim::Signer;
use crate::dns::Resolver;
use crate::mailbox::MailboxService;
use crate::net::client_tls::ClientTls;
use crate::net::tls::TlsError;
use crate::resources::concurrency::{DestinationLimits, Scope};
use crate::resources::memory::{MemoryBudget, Shares};
use crate::smtp_client::{CONNECTIONS_PER_ADDRESS, SmtpClient, Timeouts};
use crate::store::Store;
use delivery::Deliverer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

/// The whole of an attempt up to the message, while others wait for its slot.
const SLOT_TIME: Duration = Duration::from_secs(60);

/// The queue; clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    deliverer: Deliverer,
    /// How long an attempt keeps its slot while others wait.
    slot_time: Duration,
    mailboxes: MailboxService,
    dispatching: Mutex<()>,
    // Something may be due.
    wake: Notify,
    // An attempt has ended.
    ended: Notify,
}

impl Queue {
    /// A queue that does nothing until [`Queue::run`] or [`Queue::settle`]. Fails when `queue.extra_roots` cannot be read.
    pub fn new(
        config: Arc<Config>,
        store: Store,
        clock: Clock,
        mailboxes: MailboxService,
        signer: Signer,
        resolver: Resolver,
    ) -> Result<Self, TlsError> {
        Self::with_timeouts(config, store, clock, mailboxes, signer, resolver, (Timeouts::default(), SLOT_TIME))
    }

    fn with_timeouts(
        config: Arc<Config>,
        store: Store,
        clock: Clock,
        mailboxes: MailboxService,
        signer: Signer,
        resolver: Resolver,
        (timeouts, slot_time): (Timeouts, Duration),
    ) -> Result<Self, TlsError> {
        let tls = ClientTls::new(config.queue.extra_roots.as_deref())?;
        let limits = &config.limits;
        let memory = MemoryBudget::new(Shares {
            total: limits.memory,
            per_account: limits.memory_per_account,
            per_network: limits.memory,
            keys: ["limits.memory", "limits.memory_per_account", "limits.memory"],
        });
        let client = SmtpClient::new(config.platform.hostname.to_string(), tls, timeouts);
        // The operator knows how much the relay takes.
        let destinations = match config.queue.relay {
            Some(_) => DestinationLimits::new(Scope::Relay, config.queue.concurrency),
            None => DestinationLimits::new(Scope::Domain, CONNECTIONS_PER_ADDRESS),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                deliverer: Deliverer {
                    config,
                    store,
                    clock,
                    signer,
                    resolver,
                    client,
                    addresses: Arc::default(),
                    destinations,
                    slots: Arc::default(),
                    memory,
                },
                slot_time,
                mailboxes,
                dispatching: Mutex::new(()),
                wake: Notify::new(),
                ended: Notify::new(),
            }),
        })
    }

    /// Something may be due: a message was taken in, an operator wants one tried, a domain was verified, the clock moved.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }
}
