//! Mail on its way out: durable, tried again with growing pauses, settled once.
//!
//! Invariant: a recipient stays in the queue until the next host has answered 250, or the sender has a bounce in the inbox;
//! nothing leaves under a domain that is not verified at that moment. RFC 5321 §4.5.4, RFC 3464.
//!
//! The path of an attempt: the [runner](crate::jobs) claims it, [`attempts`] gives it one of the [`slots`], [`delivery`] finds the identity it leaves
//! under, [`hosts`] tries the servers in order ([`mx`] lists them) with the [SMTP client](crate::smtp_client), [`outcome`] says
//! what an answer means, [`conclusion`] what follows from it, and the store settles it.

mod address_limits;
mod attempts;
mod conclusion;
mod delivery;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/queue.rs"]
pub(crate) mod fuzz;
mod hosts;
mod mx;
mod outcome;
pub(crate) mod outgoing;
mod slots;
#[cfg(test)]
mod tests;

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::dkim::Signer;
use crate::dns::Resolver;
use crate::jobs::Runner;
use crate::mailbox::MailboxService;
use crate::net::client_tls::ClientTls;
use crate::net::listener::Shutdown;
use crate::net::tls::TlsError;
use crate::resources::concurrency::{DestinationLimits, Scope};
use crate::resources::memory::{MemoryBudget, Shares};
use crate::smtp_client::{CONNECTIONS_PER_ADDRESS, SmtpClient, Timeouts};
use crate::store::Store;
use attempts::Attempts;
use delivery::Deliverer;
use std::sync::Arc;
use std::time::Duration;

/// The whole of an attempt up to the message, while others wait for its slot.
const SLOT_TIME: Duration = Duration::from_secs(60);

/// The queue; clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    runner: Runner<Attempts>,
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
        let places = config.queue.concurrency;
        let deliverer = Deliverer {
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
        };
        let (store, clock) = (deliverer.store.clone(), deliverer.clock.clone());
        Ok(Self { runner: Runner::new(Attempts { deliverer, slot_time, mailboxes }, places, store, clock) })
    }

    /// Something may be due: a message was taken in, an operator wants one tried, a domain was verified, the clock moved.
    pub fn wake(&self) {
        self.runner.wake();
    }

    /// Runs the queue until the shutdown; then waits for the attempts under way, and closes the connections.
    pub async fn run(self, shutdown: Shutdown) {
        let deliverer = &self.runner.work().deliverer;
        let mut key_made = deliverer.signer.key_made();
        let wake_for_keys = async {
            // Mail may have waited for the key of its domain.
            while key_made.changed().await.is_ok() {
                self.wake();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.runner.run(&shutdown) => {}
            () = wake_for_keys => {}
        }
        deliverer.client.close_idle().await;
    }

    /// Tries everything that is due now, and resolves when no attempt runs any more.
    pub async fn settle(&self) {
        self.runner.settle().await;
    }

    /// When the next attempt is due; none when the queue is empty.
    pub async fn next_due(&self) -> Option<Timestamp> {
        self.runner.next_due().await
    }
}
