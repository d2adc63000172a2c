//! Many verified domains in one store, with a manual clock.

use crate::dns;
use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use inboxlayer::clock::Clock;
use inboxlayer::config::{Config, HumanDuration};
use inboxlayer::dns::Resolver;
use inboxlayer::events::Event;
use inboxlayer::id::{AccountId, DomainId};
use inboxlayer::net::listener::Shutdown;
use inboxlayer::net::ranges::AllowedNetworks;
use inboxlayer::store::Store;
use inboxlayer::store::domains::NewDomain;
use inboxlayer::store::names::NameLimits;
use inboxlayer::store::ownership::Ownership;
use inboxlayer::verification::status::{State, VerifiedStatus};
use inboxlayer::verifier::{Rules, Verifier};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::broadcast::error::RecvError;

const PER_ACCOUNT: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);

pub struct Fleet {
    _dir: TempDir,
    store: Store,
    clock: Clock,
    config: Config,
    questions: Arc<AtomicUsize>,
    domains: Vec<(AccountId, DomainId)>,
}

/// The restart of a fleet.
pub struct Back {
    pub overdue: usize,
    pub most_per_second: u32,
    pub spread_ms: f64,
    pub per_second: Vec<usize>,
}

impl Fleet {
    pub async fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let store = Store::open(dir.path())?;
        let mut config = Config::default();
        let (server, questions) = dns::serve(&config).await?;
        config.dns.resolvers = vec![server];
        config.dns.authoritative_port = server.port();
        config.dns.allow_networks = AllowedNetworks::loopback();
        config.dns.timeout = HumanDuration(Duration::from_secs(2));
        Ok(Self { _dir: dir, store, clock: Clock::manual(), config, questions, domains: Vec::new() })
    }

    pub fn size(&self) -> usize {
        self.domains.len()
    }

    /// Questions to the DNS.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }

    /// Adds verified domains up to `size`; none is due for a long time.
    pub async fn grow(&mut self, size: usize) -> Result<()> {
        let (policy, now) = (Rules::of(&self.config).policy, self.clock.now());
        let state = State {
            status: VerifiedStatus::Verified,
            window_ends_at: None,
            next_check_at: Some(now.after(24 * HOUR)),
            ..State::created(now, &policy)
        };
        while self.size() < size {
            let first = self.size();
            let owner = self.store.account_create(format!("a{first}"), now).await?.id;
            let made = (first..size.min(first + PER_ACCOUNT)).map(|i| {
                let (account, state, store) = (owner.clone(), state.clone(), &self.store);
                async move {
                    let name = format!("d{i}.test").parse().ok().context("a name")?;
                    let tokens = [1, 2, 3].map(|t| format!("d{i}t{t}"));
                    let new =
                        NewDomain { account, name, tokens, ownership: Ownership::ByTokens, state, client_id: None };
                    let row = store.domain_create(new, NameLimits::new(u32::MAX, u32::MAX), now).await?;
                    anyhow::Ok((row.account, row.id))
                }
            });
            let made = try_join_all(made).await?;
            self.domains.extend(made);
        }
        Ok(())
    }

    /// Checks this number of domains, evenly distributed over the store, without a rate limit. Each round takes others, if there are
    /// any.
    pub async fn check(&mut self, round: usize, checks: usize) -> Result<Duration> {
        self.clock.advance_to(self.clock.now().after(Duration::from_secs(60)));
        let (now, step) = (self.clock.now(), (self.size() / checks).max(1));
        for i in 0..checks {
            let (account, id) = &self.domains[(i * step + round) % self.size()];
            self.store.domain_request_check(account, id, Rules::of(&self.config).policy, now).await?;
        }
        let verifier = self.verifier()?;
        let (mut events, shutdown) = (self.store.events().of_domains(), Shutdown::new());
        let start = Instant::now();
        shutdown.spawn(verifier.run(shutdown.clone()));
        let mut done = 0;
        while done < checks {
            done += match events.recv().await {
                Ok(Event::DomainChecked { .. }) => 1,
                Ok(_) => 0,
                Err(RecvError::Lagged(missed)) => usize::try_from(missed)?,
                Err(RecvError::Closed) => anyhow::bail!("the verifier has ended"),
            };
        }
        let span = start.elapsed();
        shutdown.request();
        shutdown.finished(Duration::from_secs(10)).await;
        Ok(span)
    }

    /// Restarts the daemon two days later, when everything is overdue.
    pub async fn come_back(&mut self, span: Duration) -> Result<Back> {
        self.clock.advance_to(self.clock.now().after(48 * HOUR));
        let most_per_second = self.config.verification.checks_per_second;
        let start = Instant::now();
        let overdue = self.store.domain_spread_overdue(self.clock.now(), most_per_second).await?;
        let spread_ms = start.elapsed().as_secs_f64() * 1000.0;
        let verifier = self.verifier()?;
        let (mut events, shutdown) = (self.store.events().of_domains(), Shutdown::new());
        shutdown.spawn(verifier.run(shutdown.clone()));
        let start = Instant::now();
        let mut per_second = vec![0; usize::try_from(span.as_secs())?];
        while let Ok(heard) = tokio::time::timeout(span.saturating_sub(start.elapsed()), events.recv()).await {
            let count = match heard {
                Ok(Event::DomainChecked { .. }) => 1,
                Ok(_) => 0,
                Err(RecvError::Lagged(missed)) => usize::try_from(missed)?,
                Err(RecvError::Closed) => break,
            };
            if let Some(second) = per_second.get_mut(usize::try_from(start.elapsed().as_secs())?) {
                *second += count;
            }
        }
        shutdown.request();
        shutdown.finished(Duration::from_secs(10)).await;
        Ok(Back { overdue, most_per_second, spread_ms, per_second })
    }

    fn verifier(&self) -> Result<Verifier> {
        let resolver = Resolver::new(&self.config.dns)?;
        Ok(Verifier::new(Arc::new(self.config.clone()), self.store.clone(), self.clock.clone(), resolver))
    }
}
