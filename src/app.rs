//! Assembles the daemon: opens the store, builds the services, binds the servers, shuts down in order. Invariant: when
//! [`App::start`] returns, every listener is bound; [`App::stop`] closes the servers first, then the queue and the
//! verifier, then the store, so that nothing is accepted that could not be stored. The sandbox is the same app with
//! its own configuration, a movable clock and additional routes.

mod listeners;
mod provider;
mod reindex;
mod self_check;
#[cfg(all(test, feature = "cluster"))]
mod several_daemons;
pub(crate) mod suspects;
#[cfg(all(test, feature = "cluster"))]
mod two_daemons_tests;
mod watchdog;

pub use listeners::Addresses;
pub use reindex::{ReindexError, reindex};

use crate::auth::login::Authenticator;
use crate::clock::Clock;
use crate::config::Config;
use crate::dkim::{Keys, KeysError, Provider};
use crate::dns::{Resolver, ResolverError};
use crate::events::Events;
use crate::http::Readiness;
use crate::inbound::Inbound;
use crate::mailbox::MailboxService;
use crate::net::listener::Shutdown;
use crate::net::tls::{ServerTls, TlsError};
use crate::public_events::PublicEvents;
use crate::queue::{AttemptTimes, Queue};
use crate::rates;
use crate::reading::Reading;
use crate::registry::Registry;
use crate::resources::disk::FreeDisk;
use crate::resources::spool::Spool;
use crate::resources::work::WorkPool;
use crate::rotation::Rotation;
use crate::search::SearchIndex;
#[cfg(feature = "cluster")]
use crate::store::bodies::objects::Objects;
use crate::store::{Access, OpenError, Store, StoreError};
use crate::submission::Submission;
use crate::verifier::Verifier;
use crate::web::Once;
use crate::webhooks::Webhooks;
use listeners::Bound;
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

/// Interval between checks of the certificate files.
const CERTIFICATE_PAUSE: Duration = Duration::from_secs(5);
/// Time limit for open sessions to end after the shutdown request.
const SERVERS_TIMEOUT: Duration = Duration::from_secs(15);
/// Time limit for the services. Deliveries in progress have 30 seconds; then they are interrupted, and are due again.
const SERVICES_TIMEOUT: Duration = Duration::from_secs(40);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The first reads and writes of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("[bodies] store: {0}")]
    Bodies(String),
    #[error("the signing keys: {0}")]
    Keys(#[from] KeysError),
    #[error("the spool, a directory in data_dir: {0}")]
    Spool(std::io::Error),
    /// The root certificates for outbound TLS.
    #[error("queue.extra_roots: {0}")]
    Roots(TlsError),
    #[error("[dns]: {0}")]
    Resolver(#[from] ResolverError),
    #[error("[tls]: {0}")]
    Tls(#[from] TlsError),
    #[error("[dkim] provider: {0}")]
    Provider(String),
    #[error("[dkim]: {0}")]
    Zone(String),
    #[error("cannot install handlers for SIGTERM and SIGINT: {0}")]
    Signals(std::io::Error),
    #[error("{key}: cannot listen at {address}: {source}")]
    Bind {
        /// The configuration key.
        key: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// Every service, built but not running. Clones share them.
#[derive(Clone, Debug)]
pub struct Services {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub store: Store,
    pub mailboxes: MailboxService,
    /// What happened in an account, for open sessions.
    pub events: Events,
    pub resolver: Resolver,
    pub keys: Keys,
    /// Which keys sign.
    pub rotation: Rotation,
    /// Provides DKIM tokens and signs.
    pub provider: Provider,
    pub verifier: Verifier,
    pub registry: Registry,
    /// Shows what has happened in an account.
    pub public_events: PublicEvents,
    pub queue: Queue,
    pub submission: Submission,
    pub inbound: Inbound,
    pub reading: Reading,
    pub search: SearchIndex,
    pub webhooks: Webhooks,
    pub authenticator: Authenticator,
    /// Holds incoming messages, within the memory budget.
    pub spool: Spool,
    /// What `/readyz` shows.
    pub readiness: Readiness,
    /// Links to the web page that sign in once.
    pub once: Once,
}

/// Opens the store of a configuration, with what its bodies are kept in.
fn open_store(config: &Config, access: Access) -> Result<(Store, FreeDisk), StartError> {
    let disk = FreeDisk::new(&config.data_dir.0, config.limits.free_disk);
    let store = Store::open_with_access(config, disk.clone(), access)?;
    #[cfg(feature = "cluster")]
    if let Some(objects) = Objects::open(&config.bodies).map_err(|error| StartError::Bodies(error.to_string()))? {
        store.keep_bodies_in(objects);
    }
    Ok((store, disk))
}

impl Services {
    pub async fn open(config: Config, clock: Clock) -> Result<Self, StartError> {
        let mut config = config;
        let (store, disk) = open_store(&config, Access::Shared)?;
        // Logs a warning if free disk space is low.
        let _ = disk.check();
        // Mail for postmaster must be accepted from the first connection on (RFC 5321 §4.5.1).
        store.ensure_platform_account(clock.now()).await?;
        let reading_log = suspects::reading_log(&config.data_dir.0, &store, &config.limits).await;
        let spool = Spool::open_on(&config.data_dir.0, &config.limits, disk).map_err(StartError::Spool)?;
        let (events, work) = (store.events().clone(), WorkPool::default());
        let mailboxes = MailboxService::new(store.clone(), &config.limits);
        let resolver = Resolver::new(&config.dns)?;
        let keys = Keys::open(store.clone(), &config.data_dir.0, &config, clock.clone()).await?;
        let provider = provider::choose(&mut config, &keys, &store, &clock).await?;
        let config = Arc::new(config);
        let rotation = Rotation::new(&config, store.clone(), clock.clone(), resolver.clone(), keys.clone());
        let queue = Queue::new(
            Arc::clone(&config),
            store.clone(),
            clock.clone(),
            mailboxes.clone(),
            keys.signer().in_pool(work.clone()),
            resolver.clone(),
            AttemptTimes::default(),
        )
        .map_err(StartError::Roots)?;
        let submission = Submission::new(
            Arc::clone(&config),
            store.clone(),
            clock.clone(),
            mailboxes.clone(),
            keys.signer().in_pool(work.clone()),
            keys.secrets(),
            queue.clone(),
        );
        let verifier = Verifier::signed_by(
            Some(provider.clone()),
            Arc::clone(&config),
            store.clone(),
            clock.clone(),
            resolver.clone(),
        );
        let registry =
            Registry::new(Arc::clone(&config), store.clone(), clock.clone(), provider.clone(), verifier.clone());
        let inbound = Inbound::new(Arc::clone(&config), store.clone(), clock.clone(), mailboxes.clone(), work.clone());
        let authenticator =
            Authenticator::new(store.clone(), clock.clone(), config.platform.domain.clone(), &config.limits);
        let reading = Reading::new(&config, work, reading_log);
        let search = SearchIndex::new(store.clone(), clock.clone(), reading.clone(), &spool);
        let platform = config.platform.domain.clone();
        let public_events =
            PublicEvents::new(store.clone(), clock.clone(), platform, registry.clone(), reading.clone(), &spool);
        let webhooks =
            Webhooks::new(&config, store.clone(), clock.clone(), &resolver, keys.secrets(), public_events.clone())
                .map_err(StartError::Roots)?;
        let readiness = Readiness::new(store.clone());
        Ok(Self {
            config,
            clock,
            store,
            mailboxes,
            events,
            resolver,
            keys,
            rotation,
            provider,
            verifier,
            registry,
            public_events,
            queue,
            submission,
            inbound,
            reading,
            search,
            webhooks,
            authenticator,
            spool,
            readiness,
            once: Once::default(),
        })
    }
}

#[derive(Debug)]
pub struct App {
    services: Services,
    addresses: Addresses,
    servers: Shutdown,
    background: Shutdown,
    signals: Signals,
}

/// Shutdown signals.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on SIGTERM and SIGINT no longer terminate the process but resolve `self`.
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn heard(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl App {
    /// Binds every listener, then starts everything. `sandbox` are its verbs.
    pub async fn start(services: Services, sandbox: Option<axum::Router>) -> Result<Self, StartError> {
        let config = Arc::clone(&services.config);
        let tls = match (&config.tls.certificate, &config.tls.private_key) {
            (Some(certificate), Some(key)) => Some(ServerTls::load(certificate, key)?),
            _ => None,
        };
        let bound = Bound::bind(&config).await?;
        // Before the servers open, so that a stop request is never lost.
        let signals = Signals::listen().map_err(StartError::Signals)?;
        let addresses = bound.addresses();
        let (servers, background) = (Shutdown::new(), Shutdown::new());
        bound.open(&services, tls.clone(), sandbox, &servers)?;
        let queue = services.queue.clone();
        let ending = background.clone();
        background.spawn(queue.run(ending));
        let (provider, ending) = (services.provider.clone(), background.clone());
        background.spawn(provider.run(ending));
        let (verifier, ending) = (services.verifier.clone(), background.clone());
        background.spawn(verifier.run(ending));
        let (rotation, ending) = (services.rotation.clone(), background.clone());
        // With an external provider, keys rotate there.
        if !services.provider.is_elsewhere() {
            background.spawn(rotation.run(ending));
            let (keys, ending) = (services.keys.clone(), background.clone());
            background.spawn(async move {
                tokio::select! {
                    () = keys.keep_making() => {}
                    () = ending.requested() => {}
                }
            });
        }
        let (search, ending) = (services.search.clone(), background.clone());
        background.spawn(search.run(ending));
        let (webhooks, ending) = (services.webhooks.clone(), background.clone());
        background.spawn(webhooks.run(ending));
        // Changes of many messages that were interrupted, here or on another daemon, are completed in the background.
        let (mailboxes, ending) = (services.mailboxes.clone(), background.clone());
        background.spawn(async move {
            tokio::select! {
                () = mailboxes.keep_finishing_long_changes() => {}
                () = ending.requested() => {}
            }
        });
        let (store, clock, ending) = (services.store.clone(), services.clock.clone(), background.clone());
        background.spawn(async move {
            tokio::select! {
                () = rates::keep_removing_ended(store, || clock.now()) => {}
                () = ending.requested() => {}
            }
        });
        let (store, clock, ending) = (services.store.clone(), services.clock.clone(), background.clone());
        background.spawn(async move {
            tokio::select! {
                () = store.run_idempotency_expiry(|| clock.now()) => {}
                () = ending.requested() => {}
            }
        });
        // Bodies that no message needs any more are removed in the background.
        let (store, ending) = (services.store.clone(), background.clone());
        let grace = services.config.bodies.grace.0;
        background.spawn(async move {
            tokio::select! {
                () = store.run_body_sweep(grace) => {}
                () = ending.requested() => {}
            }
        });
        // So are old events.
        let (store, ending) = (services.store.clone(), background.clone());
        let retention = services.config.store.event_retention.0;
        background.spawn(async move {
            tokio::select! {
                () = store.run_event_expiry(retention) => {}
                () = ending.requested() => {}
            }
        });
        let (mailboxes, reading, ending) = (services.mailboxes.clone(), services.reading.clone(), background.clone());
        background.spawn(async move {
            tokio::select! {
                () = mailboxes.thread_old_messages(&reading) => {}
                () = ending.requested() => {}
            }
        });
        let (mailboxes, clock, ending) = (services.mailboxes.clone(), services.clock.clone(), background.clone());
        background.spawn(async move {
            tokio::select! {
                () = mailboxes.keep_removing_sent_records(&clock) => {}
                () = ending.requested() => {}
            }
        });
        let (mailboxes, clock, ending) = (services.mailboxes.clone(), services.clock.clone(), background.clone());
        let retention = services.config.retention;
        background.spawn(async move {
            tokio::select! {
                () = mailboxes.run_retention(&clock, retention) => {}
                () = ending.requested() => {}
            }
        });
        // Mail held for a domain, or waiting under a fallback, is reconsidered when the domain's status changes.
        let (queue, ending, mut events) = (services.queue.clone(), background.clone(), services.events.of_domains());
        background.spawn(async move {
            loop {
                tokio::select! {
                    () = ending.requested() => return,
                    event = events.recv() => match event {
                        Err(RecvError::Closed) => return,
                        Ok(event) if !event.frees_mail() => {}
                        // If events were missed, the queue looks at everything due.
                        Ok(_) | Err(RecvError::Lagged(_)) => queue.wake(),
                    },
                }
            }
        });
        if let Some(tls) = tls {
            let ending = background.clone();
            background.spawn(async move {
                tokio::select! {
                    () = tls.reload_forever(CERTIFICATE_PAUSE) => {}
                    () = ending.requested() => {}
                }
            });
        }
        Ok(Self { services, addresses, servers, background, signals })
    }

    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The addresses the servers listen on.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Checks our own DNS in the background, and warns where it does not match the configuration.
    pub fn check_dns(&self) {
        let (services, ending) = (self.services.clone(), self.background.clone());
        self.background.spawn(async move {
            tokio::select! {
                () = self_check::run(services) => {}
                () = ending.requested() => {}
            }
        });
    }

    /// Notifies the service manager, waits for SIGTERM or SIGINT, and stops: first `/readyz` is 503, and after `drain` nothing more
    /// is accepted. A second signal ends that time.
    pub async fn run_until_signal(mut self) {
        watchdog::notify(NotifyState::Ready);
        watchdog::start(Handle::current(), self.services.store.clone());
        self.signals.heard().await;
        watchdog::notify(NotifyState::Stopping);
        self.services.readiness.end();
        let drain = self.services.config.drain.0;
        if !drain.is_zero() {
            tracing::info!(seconds = drain.as_secs(), "stopping: /readyz is 503; listeners stay open for a while");
            tokio::select! {
                () = tokio::time::sleep(drain) => {}
                () = self.signals.heard() => {}
            }
        }
        tracing::info!("stopping: closing listeners and open sessions");
        self.stop().await;
        tracing::info!("stopped");
    }

    /// Shuts everything down in order.
    pub async fn stop(self) {
        // Reads in progress are not waited for: their clients get a temporary failure.
        self.services.reading.work().close();
        self.servers.request();
        if !self.servers.finished(SERVERS_TIMEOUT).await {
            tracing::warn!("some sessions did not end in time, closing their connections");
        }
        self.background.request();
        if !self.background.finished(SERVICES_TIMEOUT).await {
            tracing::warn!("some deliveries or checks did not end in time; they are repeated when their leases end");
        }
        self.services.store.close().await;
    }
}
