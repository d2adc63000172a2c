//! Outgoing mail: stored durably, retried with growing pauses, settled once.
//!
//! Invariant: a recipient stays in the queue until the next host has replied 250 or the sender's inbox has a bounce; nothing leaves
//! under a domain that is not verified at that moment. RFC 5321 §4.5.4, RFC 3464.
//!
//! The path of an attempt: the [runner](crate::jobs) claims it, [`attempts`] gives it one of the [`slots`], [`delivery`] determines its
//! identity, [`hosts`] tries the servers in order ([`mx`] lists them) with the [SMTP client](crate::smtp_client), [`outcome`]
//! interprets the answers, [`conclusion`] makes the settlement, and the store records it.

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

/// Time limits of attempts.
#[derive(Clone, Copy, Debug)]
pub struct AttemptTimes {
    /// Of the SMTP client.
    pub smtp: Timeouts,
    /// Of an attempt up to the message, while others wait for its slot.
    pub slot: Duration,
}

impl Default for AttemptTimes {
    fn default() -> Self {
        Self { smtp: Timeouts::default(), slot: Duration::from_secs(60) }
    }
}

/// The queue; clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    runner: Runner<Attempts>,
}

impl Queue {
    /// Does nothing until [`Queue::run`] or [`Queue::settle`]. Fails if `queue.extra_roots` cannot be read.
    pub fn new(
        config: Arc<Config>,
        store: Store,
        clock: Clock,
        mailboxes: MailboxService,
        signer: Signer,
        resolver: Resolver,
        times: AttemptTimes,
    ) -> Result<Self, TlsError> {
        let tls = ClientTls::new(config.queue.extra_roots.as_deref())?;
        let limits = &config.limits;
        let memory = MemoryBudget::new(Shares {
            total: limits.memory,
            per_account: limits.memory_per_account,
            per_network: limits.memory,
            keys: ["limits.memory", "limits.memory_per_account", "limits.memory"],
        });
        let client = SmtpClient::new(config.platform.hostname.to_string(), tls, times.smtp);
        // For a relay, the operator configures the concurrency.
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
        Ok(Self { runner: Runner::new(Attempts { deliverer, slot_time: times.slot, mailboxes }, places, store, clock) })
    }

    /// To be called when a delivery may have become due: a message was accepted, a retry requested, a domain verified, the clock moved.
    pub fn wake(&self) {
        self.runner.wake();
    }

    /// Runs the queue until shutdown; then waits for running attempts, and closes idle connections.
    pub async fn run(self, shutdown: Shutdown) {
        let deliverer = &self.runner.work().deliverer;
        let mut key_made = deliverer.signer.key_made();
        let wake_for_keys = async {
            // Mail may be waiting for its domain's key.
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

    /// Makes all due attempts, and resolves when none is running.
    pub async fn settle(&self) {
        self.runner.settle().await;
    }

    /// When the next attempt is due; `None` if the queue is empty.
    pub async fn next_due(&self) -> Option<Timestamp> {
        self.runner.next_due().await
    }
}
