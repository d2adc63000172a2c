//! Mail on its way out: durable, tried again with growing pauses, settled once.
//!
//! Invariant: a recipient stays in the queue until the next host has answered 250, or the sender has a bounce in the inbox;
//! nothing leaves under a domain that is not verified at that moment. RFC 5321 §4.5.4, RFC 3464.
//!
//! The way of an attempt: [`scheduler`] claims it and gives it one of the [`slots`], [`delivery`] carries it ([`mx`] says where to, [`conversation`] speaks
//! SMTP), [`outcome`] says what the answer means, [`conclusion`] what follows from it, and the store settles it.

mod conclusion;
mod connections;
mod conversation;
mod delivery;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/queue.rs"]
pub(crate) mod fuzz;
pub(crate) mod letter;
mod metered;
mod mx;
mod outcome;
mod scheduler;
mod slots;
#[cfg(test)]
mod tests;
mod transparency;

use crate::authentication::dkim::Signer;
use crate::clock::Clock;
use crate::config::Config;
use crate::dns::Resolver;
use crate::mailbox::MailboxService;
use crate::net::client_tls::ClientTls;
use crate::net::tls::TlsError;
use crate::resources::memory::{MemoryBudget, Shares};
use crate::store::Store;
use conversation::{PATIENCE, Patience, Voice};
use delivery::Courier;
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};

/// The queue; clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    courier: Courier,
    mailboxes: MailboxService,
    slots: slots::Slots,
    dispatching: Mutex<()>,
    // Something may be due.
    bell: Notify,
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
        Self::with_patience(config, store, clock, mailboxes, signer, resolver, PATIENCE)
    }

    fn with_patience(
        config: Arc<Config>,
        store: Store,
        clock: Clock,
        mailboxes: MailboxService,
        signer: Signer,
        resolver: Resolver,
        patience: Patience,
    ) -> Result<Self, TlsError> {
        let tls = ClientTls::new(config.queue.extra_roots.as_deref())?;
        let limits = &config.limits;
        let memory = MemoryBudget::new(Shares {
            total: limits.memory,
            per_account: limits.memory_per_account,
            per_network: limits.memory,
            keys: ["limits.memory", "limits.memory_per_account", "limits.memory"],
        });
        let voice = Voice { hostname: config.platform.hostname.to_string(), tls, patience };
        Ok(Self {
            inner: Arc::new(Inner {
                courier: Courier { config, store, clock, signer, resolver, voice, connections: Arc::default(), memory },
                mailboxes,
                slots: slots::Slots::default(),
                dispatching: Mutex::new(()),
                bell: Notify::new(),
                ended: Notify::new(),
            }),
        })
    }

    /// Something may be due: a message was taken in, an operator wants one tried, a domain was verified, the clock moved.
    pub fn wake(&self) {
        self.inner.bell.notify_one();
    }
}
