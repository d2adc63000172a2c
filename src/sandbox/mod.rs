//! The sandbox: the whole daemon on loopback with a simulated internet, for developers and tests.
//!
//! Invariant: it is the same app that `serve` runs, with another configuration, a movable clock and additional routes;
//! nothing leaves this machine.
//!
//! | file | what |
//! | --- | --- |
//! | [`ports`], [`certificates`], [`first`], [`ready`] | everything set up before the first request, and the ready file |
//! | [`outside`] | the mail server of every foreign domain |
//! | [`verbs`], [`publish`], [`inbound`], [`time`] | the HTTP verbs under `/sandbox` ([`body`] reads their bodies, [`problem`] shows their errors) |
//! | [`world`], [`state`] | their shared state, and its persistent part |
//!
//! Its DNS is [`crate::dns::authority::play`].

mod body;
mod certificates;
mod first;
mod inbound;
mod outside;
mod ports;
mod problem;
mod publish;
mod ready;
mod state;
mod time;
mod verbs;
mod world;

pub use ports::DEFAULT_BASE;

use crate::app::{App, Services, StartError};
use crate::auth::passwords::Passwords;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, DataDir, HumanDuration, Setting};
use crate::dns::authority::play::Play;
use crate::dns::authority::{Authority, KeysZone, Zones};
use crate::net::listener::Shutdown;
use crate::net::ranges::AllowedNetworks;
use crate::net::tls::{ServerTls, TlsError};
use crate::secret::Secret;
use crate::store::StoreError;
use certificates::Certificates;
use outside::Outside;
use ports::Ports;
use ready::Ready;
use state::State;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;
use world::World;

/// Time limit for the simulated internet's connections to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Options of the sandbox.
#[derive(Clone, Debug, Default)]
pub struct SandboxOptions {
    /// Added to every standard port; 0 uses free ports; `None`: [`DEFAULT_BASE`].
    pub port_base: Option<u16>,
    /// The data directory. `None`: a temporary folder, removed at the end.
    pub data_dir: Option<PathBuf>,
    /// Where to write addresses, tokens and ids.
    pub ready_json: Option<PathBuf>,
    /// Configuration keys, except those that the sandbox sets itself.
    pub settings: Vec<Setting>,
}

/// Why the sandbox did not start, or a request to it failed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("--port-base {0}: with the standard ports added, up to 993, it must stay under 65536")]
    PortBase(u16),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}: the sandbox sets this key itself")]
    OwnKey(String),
    #[error("cannot listen at {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    #[error("the certificates could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An internal error.
    #[error("cannot advance the clock: {0}")]
    Interrupted(String),
    #[error("cannot create the first account and records: {0}")]
    First(String),
}

#[derive(Debug)]
pub struct Sandbox {
    app: App,
    internet: Shutdown,
    ready: Ready,
    /// Kept until the sandbox ends.
    temporary: Option<Temporary>,
}

/// Runs the sandbox until SIGTERM or SIGINT.
pub async fn run(options: SandboxOptions) -> anyhow::Result<()> {
    let ready_json = options.ready_json.clone();
    let sandbox = Sandbox::start(options).await?;
    if let Some(path) = ready_json {
        sandbox.ready.write(&path)?;
    }
    println!("{}", sandbox.ready.page());
    sandbox.run_until_signal().await;
    Ok(())
}

/// Everything but the daemon's own servers: the simulated internet is up, the store is open.
struct Prepared {
    world: World,
    internet: Shutdown,
    dns: SocketAddr,
    certificates: Certificates,
    dir: PathBuf,
    temporary: Option<Temporary>,
}

impl Prepared {
    async fn new(options: SandboxOptions) -> Result<Self, SandboxError> {
        let ports = Ports::new(options.port_base.unwrap_or(DEFAULT_BASE))?;
        let bind = |e| SandboxError::Bind(ports.outside, e);
        let outside_listener = TcpListener::bind(ports.outside).await.map_err(bind)?;
        let smtp_port = outside_listener.local_addr().map_err(bind)?.port();
        let authority = Authority::bind(ports.dns).await.map_err(|e| SandboxError::Bind(ports.dns, e))?;
        let dns = authority.address();
        let mut further = Vec::new();
        for (number, ip) in Play::further_servers() {
            // Where other loopback addresses than 127.0.0.1 are not set up, as on macOS, there are fewer.
            match Authority::bind((ip, dns.port()).into()).await {
                Ok(authority) => further.push((number, authority)),
                Err(error) => {
                    tracing::info!(%ip, %error, "the simulated internet has fewer name servers");
                    break;
                }
            }
        }
        let servers = u8::try_from(further.len()).unwrap_or_default().saturating_add(1);
        let (dir, temporary) = data_dir(options.data_dir)?;

        // DNS is up before the daemon starts, which may query it at once.
        let (play, internet) = (Play::with_servers(Ipv4Addr::LOCALHOST, servers), Shutdown::new());
        let zones = Zones::of_play(play.clone());
        for (number, authority) in further {
            internet.spawn(authority.serve(zones.at_server(number), false, internet.clone()));
        }
        internet.spawn(authority.serve(zones.clone(), false, internet.clone()));

        let certificates = Certificates::in_dir(&dir);
        let config = configuration(options.settings, &ports, dns, smtp_port, &dir, &certificates)?;
        let clock = Clock::manual();
        // The queue reads the authority's certificate when it is built. A second sandbox on this folder, stopped next
        // by the store's lock, only renews the server certificate under the same authority.
        certificates.make(&config.platform.domain, &config.platform.hostname)?;
        let services = Services::open(config, clock.clone()).await?;
        let state = State::open(dir.join("sandbox.json"))?;
        clock.advance_to(clock.now().after(Duration::from_secs(state.clock_ahead_seconds())));
        let zone = KeysZone::new(&services.config.dkim, services.store.clone())
            .map_err(|e| SandboxError::First(e.to_string()))?;
        zones.add_keys(zone);
        let outside = Outside::open(dir.join("outside"))?;
        let tls = ServerTls::load(&certificates.certificate, &certificates.private_key)?;
        internet.spawn(outside.clone().serve(outside_listener, tls, internet.clone()));

        let world = World::new(services, play, outside, state);
        world.publish_platform()?;
        Ok(Self { world, internet, dns, certificates, dir, temporary })
    }
}

impl Sandbox {
    /// Starts everything. When it returns, every listener is up.
    pub async fn start(options: SandboxOptions) -> Result<Self, SandboxError> {
        let Prepared { world, internet, dns, certificates, dir, temporary } = Prepared::new(options).await?;
        let app = App::start(world.services.clone(), Some(verbs::router(world.clone()))).await?;
        if let Some(mx) = app.addresses().mx {
            let _ = world.mx.set(mx);
        }
        let first = first::account(&world.services, &world.state).await?;
        let code = Passwords::generate().map_err(|error| SandboxError::First(error.to_string()))?;
        let sign_in = world.services.once.link(&code, Secret::new(&first.token));
        let ready = Ready::new(app.addresses(), &sign_in, dns, certificates.ca, dir, first);
        Ok(Self { app, internet, ready, temporary })
    }

    async fn run_until_signal(self) {
        self.app.run_until_signal().await;
        self.internet.request();
        self.internet.finished(PATIENCE).await;
        drop(self.temporary);
    }
}

/// A temporary folder, removed on drop.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "cannot remove the temporary data");
        }
    }
}

fn data_dir(wanted: Option<PathBuf>) -> Result<(PathBuf, Option<Temporary>), SandboxError> {
    let (dir, temporary) = match wanted {
        Some(dir) => (dir, false),
        None => {
            let name = format!("inboxlayer-sandbox-{}", ulid::Ulid::new().to_string().to_ascii_lowercase());
            (std::env::temp_dir().join(name), true)
        }
    };
    let file = |e| SandboxError::File(dir.clone(), e);
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
        .recursive(true)
        .create(&dir)
        .map_err(file)?;
    // The ready file contains this path for programs started in other directories.
    let dir = dir.canonicalize().map_err(file)?;
    let temporary = temporary.then(|| Temporary(dir.clone()));
    Ok((dir, temporary))
}

/// Sections and keys that the sandbox sets itself.
const OWN: [&str; 15] = [
    "data_dir",
    "tls",
    "http",
    "smtp",
    "imap",
    "dns",
    "dkim.provider",
    "dkim.zone",
    "dkim.listen",
    "dkim.name_server",
    "queue.smtp_port",
    "queue.allow_networks",
    "queue.extra_roots",
    "webhooks.allow_networks",
    "log",
];

/// The documented names and values with the given settings; differs from `serve` in its addresses and in having
/// loopback as the whole internet.
fn configuration(
    settings: Vec<Setting>,
    ports: &Ports,
    dns: SocketAddr,
    smtp_port: u16,
    dir: &Path,
    certificates: &Certificates,
) -> Result<Config, SandboxError> {
    let first = |e: &dyn std::fmt::Display| SandboxError::First(e.to_string());
    let is_own =
        |key: &str| OWN.iter().any(|own| key.strip_prefix(own).is_some_and(|r| r.is_empty() || r.starts_with('.')));
    if let Some(setting) = settings.iter().find(|setting| is_own(setting.key())) {
        return Err(SandboxError::OwnKey(setting.key().to_owned()));
    }
    let is_set = |key: &str| settings.iter().any(|setting| setting.key() == key);
    // All clients come from one address here.
    let one_address = !is_set("limits.connections_per_address");
    let special_use = !is_set("platform.allow_special_use");
    let mut config = Config { data_dir: DataDir(dir.to_owned()), ..Config::of_settings(settings)? };
    if special_use {
        config.platform.allow_special_use = vec!["test".into()];
    }
    config.tls.certificate = Some(certificates.certificate.clone());
    config.tls.private_key = Some(certificates.private_key.clone());
    config.http.listen = ports.http;
    config.smtp.mx = Some(ports.mx);
    config.smtp.submission = Some(ports.submission);
    config.smtp.submissions = Some(ports.submissions);
    config.imap.imap = Some(ports.imap);
    config.imap.imaps = Some(ports.imaps);
    config.dns.resolvers = vec![dns];
    config.dns.authoritative_port = dns.port();
    config.dns.allow_networks = AllowedNetworks::loopback();
    // A name with the timeout fault must not delay a test for long.
    config.dns.timeout = HumanDuration::seconds(1);
    config.dkim.zone = "dkim.amazonses.com".parse().map_err(|e| first(&e))?;
    config.dkim.name_server = "ns.play.test".parse().map_err(|e| first(&e))?;
    config.queue.smtp_port = smtp_port;
    config.queue.allow_networks = AllowedNetworks::loopback();
    config.queue.extra_roots = Some(certificates.ca.clone());
    config.webhooks.allow_networks = AllowedNetworks::loopback();
    if one_address {
        config.limits.connections_per_address = config.limits.connections;
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
