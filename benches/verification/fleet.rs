//! Many domains in one store, a DNS that holds the records of those that are checked, and a clock that is moved.

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use inboxlayer::clock::{Clock, Timestamp};
use inboxlayer::config::{Config, HumanDuration};
use inboxlayer::dns::Resolver;
use inboxlayer::dns::authority::play::{Kind, Play};
use inboxlayer::dns::authority::{Authority, Zones};
use inboxlayer::domain::status::{State, VerifiedStatus};
use inboxlayer::net::listener::Shutdown;
use inboxlayer::net::ranges::AllowedNetworks;
use inboxlayer::store::Store;
use inboxlayer::store::domains::NewDomain;
use inboxlayer::store::ownership::Ownership;
use inboxlayer::verifier::{Rules, Verifier};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::broadcast::error::RecvError;

const PER_ACCOUNT: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);

pub struct Fleet {
    _dir: TempDir,
    store: Store,
    clock: Clock,
    play: Play,
    config: Config,
    size: usize,
    /// When the next round is due.
    due: Timestamp,
}

/// How a fleet came back.
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
        let play = Play::new(Ipv4Addr::LOCALHOST);
        let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let server = authority.address();
        tokio::spawn(authority.serve(Zones::of_play(play.clone()), false, Shutdown::new()));
        let mut config = Config::default();
        config.dns.resolvers = vec![server];
        config.dns.authoritative_port = server.port();
        config.dns.allow_networks = AllowedNetworks::loopback();
        config.dns.timeout = HumanDuration(Duration::from_secs(2));
        let clock = Clock::manual();
        let due = clock.now().after(HOUR);
        Ok(Self { _dir: dir, store, clock, play, config, size: 0, due })
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds verified domains up to `size`. Of the new ones `per_round` are due in each of the coming rounds, and their
    /// records are there; the others are due much later.
    pub async fn grow(&mut self, size: usize, rounds: usize, per_round: usize) -> Result<()> {
        let rules = Rules::of(&self.config);
        let (first, now) = (self.size, self.clock.now());
        let mut account = None;
        while self.size < size {
            if account.is_none() || self.size.is_multiple_of(PER_ACCOUNT) {
                account = Some(self.store.account_create(format!("a{}", self.size), now).await?.id);
            }
            let owner = account.as_ref().context("an account")?;
            let end = size.min(self.size + PER_ACCOUNT - self.size % PER_ACCOUNT);
            let news = (self.size..end).map(|i| {
                let due = match (i - first).checked_div(per_round) {
                    Some(round) if round < rounds => self.due.after(HOUR * u32::try_from(round).unwrap_or(0)),
                    _ => now.after(HOUR * 20),
                };
                let state = State {
                    status: VerifiedStatus::Verified,
                    window_ends_at: None,
                    next_check_at: Some(due),
                    ..State::created(now, &rules.policy)
                };
                let tokens = [1, 2, 3].map(|t| format!("d{i}t{t}"));
                let name = format!("d{i}.test").parse();
                (
                    i,
                    name.map(|name| NewDomain {
                        account: owner.clone(),
                        name,
                        tokens,
                        ownership: Ownership::ByTokens,
                        state,
                    }),
                )
            });
            let (fleet, rules) = (&*self, &rules);
            let made = news.map(|(i, new)| async move {
                let row = fleet.store.domain_create(new.context("a name")?, u32::MAX, now).await?;
                if i - first < rounds * per_round {
                    for record in rules.expected(&row) {
                        let kind = Kind::parse(record.record_type.as_str())?;
                        let value = record.priority.map(|p| format!("{p} ")).unwrap_or_default() + &record.value;
                        fleet.play.set(&record.name, kind, &[value], 60)?;
                    }
                }
                anyhow::Ok(())
            });
            try_join_all(made).await?;
            self.size = end;
        }
        Ok(())
    }

    /// Runs the verifier, as fast as it can, until so many checks have settled.
    pub async fn check_round(&mut self, checks: usize) -> Result<Duration> {
        self.clock.advance_to(self.due);
        self.due = self.due.after(HOUR);
        let mut config = self.config.clone();
        config.verification.checks_per_second = u32::MAX;
        let verifier = self.verifier(config)?;
        let (mut settled, shutdown) = (verifier.settled(), Shutdown::new());
        let start = Instant::now();
        shutdown.spawn(verifier.run(shutdown.clone()));
        let mut done = 0;
        while done < checks {
            done += match settled.recv().await {
                Ok(_) => 1,
                Err(RecvError::Lagged(missed)) => usize::try_from(missed)?,
                Err(RecvError::Closed) => anyhow::bail!("the verifier has ended"),
            };
        }
        let span = start.elapsed();
        shutdown.request();
        shutdown.finished(Duration::from_secs(10)).await;
        Ok(span)
    }

    /// A day later the daemon starts again, with its own configuration: everything is overdue.
    pub async fn come_back(&mut self, span: Duration) -> Result<Back> {
        self.clock.advance_to(self.clock.now().after(HOUR * 48));
        let most_per_second = self.config.verification.checks_per_second;
        let start = Instant::now();
        let overdue = self.store.domain_spread_overdue(self.clock.now(), most_per_second).await?;
        let spread_ms = start.elapsed().as_secs_f64() * 1000.0;
        let verifier = self.verifier(self.config.clone())?;
        let (mut settled, shutdown) = (verifier.settled(), Shutdown::new());
        shutdown.spawn(verifier.run(shutdown.clone()));
        let start = Instant::now();
        let mut per_second = vec![0; usize::try_from(span.as_secs())?];
        while let Ok(heard) = tokio::time::timeout(span.saturating_sub(start.elapsed()), settled.recv()).await {
            let count = match heard {
                Ok(_) => 1,
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

    fn verifier(&self, config: Config) -> Result<Verifier> {
        let resolver = Resolver::new(&config.dns)?;
        Ok(Verifier::new(Arc::new(config), self.store.clone(), self.clock.clone(), resolver))
    }
}
