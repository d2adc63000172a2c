//! What puts the daemon together: opens the store, builds the services, binds the servers, and ends all in order.
//!
//! Invariant: [`App::start`] answers when every listener is bound, so whoever connects after it is served; [`App::stop`]
//! closes the servers first, then ends the queue and the verifier, then the store, so that nothing is accepted that could
//! not be stored. The sandbox is this same app with its own configuration, a clock it can move, and routes of its own.

mod listeners;
mod notify;
mod provider;
mod self_check;
pub(crate) mod suspects;
mod watchdog;

pub use listeners::Addresses;

use crate::auth::login::Authenticator;
use crate::clock::Clock;
use crate::config::Config;
use crate::dkim::{Keys, KeysError, Provider};
use crate::dns::{Resolver, ResolverError};
use crate::events::Events;
use crate::inbound::Inbound;
use crate::mailbox::MailboxService;
use crate::net::listener::Shutdown;
use crate::net::tls::{ServerTls, TlsError};
use crate::queue::Queue;
use crate::reading::Reading;
use crate::registry::Registry;
use crate::resources::disk::FreeDisk;
use crate::resources::spool::Spool;
use crate::resources::work::WorkPool;
use crate::rotation::Rotation;
use crate::store::{OpenError, Store, StoreError};
use crate::submission::Submission;
use crate::verifier::Verifier;
use listeners::Bound;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

/// How often the certificate's files are looked at.
const CERTIFICATE_PAUSE: Duration = Duration::from_secs(5);
/// How long open sessions have to end after they were told.
const SERVERS_TIMEOUT: Duration = Duration::from_secs(15);
/// How long deliveries and checks under way have to end. What is cut off is tried again after the next start.
const SERVICES_PATIENCE: Duration = Duration::from_secs(30);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The first reads and writes of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signing keys.
    #[error("the signing keys: {0}")]
    Keys(#[from] KeysError),
    /// The spool's directory.
    #[error("the spool, a directory in data_dir: {0}")]
    Spool(std::io::Error),
    /// The roots that outbound TLS trusts.
    #[error("queue.extra_roots: {0}")]
    Roots(TlsError),
    /// The resolvers.
    #[error("[dns]: {0}")]
    Resolver(#[from] ResolverError),
    /// The certificate.
    #[error("[tls]: {0}")]
    Tls(#[from] TlsError),
    /// The signing provider.
    #[error("[dkim] provider: {0}")]
    Provider(String),
    /// The DKIM zone.
    #[error("[dkim]: {0}")]
    Zone(String),
    /// The system's signals.
    #[error("SIGTERM and SIGINT cannot be listened for: {0}")]
    Signals(std::io::Error),
    /// A listener.
    #[error("{key}: cannot listen at {address}: {source}")]
    Bind {
        /// The key of the configuration.
        key: &'static str,
        /// The address in it.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Every service, built and not yet running. Clones share them.
#[derive(Clone, Debug)]
pub struct Services {
    /// What all of them were built with.
    pub config: Arc<Config>,
    /// The clock of timers and statuses.
    pub clock: Clock,
    /// The store.
    pub store: Store,
    /// What changes mailboxes.
    pub mailboxes: MailboxService,
    /// What happened in an account, for open sessions.
    pub events: Events,
    /// The recursive resolvers.
    pub resolver: Resolver,
    /// DKIM keys.
    pub keys: Keys,
    /// Which of them sign.
    pub rotation: Rotation,
    /// Who gives out tokens and signs with their keys.
    pub provider: Provider,
    /// Checks of custom domains.
    pub verifier: Verifier,
    /// Custom domains.
    pub registry: Registry,
    /// Mail on its way out.
    pub queue: Queue,
    /// Mail that is handed in.
    pub submission: Submission,
    /// Mail that comes in.
    pub inbound: Inbound,
    /// Where messages are taken apart.
    pub reading: Reading,
    /// Checks credentials.
    pub authenticator: Authenticator,
    /// Where messages are while they come in, and the budget of memory.
    pub spool: Spool,
}

impl Services {
    /// Opens the store and builds the services on it.
    pub async fn open(config: Config, clock: Clock) -> Result<Self, StartError> {
        let mut config = config;
        let disk = FreeDisk::new(&config.data_dir.0, config.limits.free_disk);
        let store = Store::open_on(&config.data_dir.0, disk.clone())?;
        // Says so in the log, if it is low.
        let _ = disk.check();
        // Mail for postmaster must find an inbox from the first connection on (RFC 5321 §4.5.1).
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
        )
        .map_err(StartError::Roots)?;
        let submission = Submission::new(
            Arc::clone(&config),
            store.clone(),
            clock.clone(),
            mailboxes.clone(),
            keys.signer().in_pool(work.clone()),
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
        let authenticator = Authenticator::new(
            store.clone(),
            clock.clone(),
            config.platform.domain.clone(),
            config.limits.failed_logins,
        );
        let reading = Reading::new(&config, work, reading_log);
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
            queue,
            submission,
            inbound,
            reading,
            authenticator,
            spool,
        })
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct App {
    services: Services,
    addresses: Addresses,
    servers: Shutdown,
    background: Shutdown,
    signals: Signals,
}

/// What asks the daemon to end.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on SIGTERM and SIGINT kill no more, but are heard.
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
    /// Binds every listener, then starts everything. `routes` are added to the REST API's.
    pub async fn start(services: Services, routes: axum::Router) -> Result<Self, StartError> {
        let config = Arc::clone(&services.config);
        let tls = match (&config.tls.certificate, &config.tls.private_key) {
            (Some(certificate), Some(key)) => Some(ServerTls::load(certificate, key)?),
            _ => None,
        };
        let bound = Bound::bind(&config).await?;
        // Before the servers open: whoever sees the daemon up may ask it to end.
        let signals = Signals::listen().map_err(StartError::Signals)?;
        let addresses = bound.addresses();
        let (servers, background) = (Shutdown::new(), Shutdown::new());
        bound.open(&services, tls.clone(), routes, &servers)?;
        let queue = services.queue.clone();
        let ending = background.clone();
        background.spawn(queue.run(ending));
        let (provider, ending) = (services.provider.clone(), background.clone());
        background.spawn(provider.run(ending));
        let (verifier, ending) = (services.verifier.clone(), background.clone());
        background.spawn(verifier.run(ending));
        let (rotation, ending) = (services.rotation.clone(), background.clone());
        // Keys that are elsewhere take turns there.
        if !services.provider.is_elsewhere() {
            background.spawn(rotation.run(ending));
        }
        // What a crash left of changes of many messages is finished beside everything else.
        let (store, ending) = (services.store.clone(), background.clone());
        background.spawn(async move {
            tokio::select! {
                done = store.finish_long_changes() => if let Err(error) = done {
                    tracing::error!(%error, "changes of mailboxes that were interrupted are finished after the next start");
                },
                () = ending.requested() => {}
            }
        });
        // Mail that is held for a domain, or waits under a fallback, is looked at again when its status changes.
        let (queue, ending, mut changes) = (services.queue.clone(), background.clone(), services.verifier.changes());
        background.spawn(async move {
            loop {
                tokio::select! {
                    () = ending.requested() => return,
                    change = changes.recv() => match change {
                        Err(RecvError::Closed) => return,
                        // Whatever was missed, the queue looks at all that is due.
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

    /// The services, for those who compose the app.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Where the servers listen.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Looks at our own DNS in the background, and warns where it does not agree with the configuration.
    pub fn check_dns(&self) {
        let (services, ending) = (self.services.clone(), self.background.clone());
        self.background.spawn(async move {
            tokio::select! {
                () = self_check::run(services) => {}
                () = ending.requested() => {}
            }
        });
    }

    /// Tells the service manager that all is up, waits for SIGTERM or SIGINT, and stops.
    pub async fn run_until_signal(mut self) {
        notify::service_manager("READY=1");
        watchdog::start(Handle::current(), self.services.store.clone());
        self.signals.heard().await;
        notify::service_manager("STOPPING=1");
        tracing::info!("stopping: no new connections; open sessions are told");
        self.stop().await;
        tracing::info!("stopped");
    }

    /// Ends everything in order.
    pub async fn stop(self) {
        // What is being worked on is not waited for: its client hears of a temporary failure.
        self.services.reading.work().close();
        self.servers.request();
        if !self.servers.finished(SERVERS_TIMEOUT).await {
            tracing::warn!("some sessions did not end in time and are cut off");
        }
        self.background.request();
        if !self.background.finished(SERVICES_PATIENCE).await {
            tracing::warn!("some deliveries or checks did not end in time: they are done again after the next start");
        }
        self.services.store.close().await;
    }
}
