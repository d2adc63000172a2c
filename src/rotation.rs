//! Rotates keys as [`crate::verification::rotation`] decides.
//!
//! Invariant: a change is decided in the store, in the transaction that makes it. The configured resolvers decide whether a key is in the
//! DNS, so that a zone published by hand is treated like one served here.

#[cfg(test)]
mod tests;

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::dkim::{Keys, KeysError};
use crate::dns::Resolver;
use crate::id::{AccountId, DomainId, RunnerId};
use crate::jobs::{Claimed, Runner, Work};
use crate::net::listener::Shutdown;
use crate::resources::Owner;
use crate::resources::places::Places;
use crate::store::jobs::{Claim, JobKey};
use crate::store::rotation::{KeyRing, KeyRow};
use crate::store::{Store, StoreError};
use crate::verification::observed::{Answer, RecordData, RecordType};
use crate::verification::rotation::{Cname, NotYet, Role, Step, same_key};
use serde::Serialize;

/// Claims processed at once: each waits for the DNS or for a key to be generated.
const CONCURRENCY: usize = 8;
/// Maximum consecutive steps for one claim; more would be a bug.
const STEPS: usize = 12;

/// Why the next key does not sign.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The claim is gone: 404.
    #[error("there is no such domain")]
    NotFound,
    /// Not possible now, with the token of the key concerned and when to retry, if known.
    #[error("{message}")]
    NotYet { message: String, fix: String },
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A key as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = DkimKey)]
pub struct ShownKey {
    /// Its token: the selector.
    pub token: String,
    /// `signing`, `ready` or `retiring`; `None` while it is being generated.
    pub role: Option<Role>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When it was first seen in the DNS.
    pub seen_at: Option<Timestamp>,
    /// The customer's CNAME, as last seen.
    pub cname: Option<Cname>,
    /// Its TXT record.
    pub public: Option<String>,
}

/// The service; clones share it.
#[derive(Clone, Debug)]
pub struct Rotation {
    runner: Runner<Rotations>,
}

/// Rotations as background work.
#[derive(Debug)]
struct Rotations {
    zone: String,
    store: Store,
    clock: Clock,
    resolver: Resolver,
    keys: Keys,
}

impl Rotation {
    /// Does nothing until it runs.
    pub fn new(config: &Config, store: Store, clock: Clock, resolver: Resolver, keys: Keys) -> Self {
        let zone = config.dkim.zone.to_string();
        let rotations = Rotations { zone, store: store.clone(), clock: clock.clone(), resolver, keys };
        Self { runner: Runner::new(rotations, CONCURRENCY, store, clock) }
    }

    /// Runs due rotations until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        self.runner.run(&shutdown).await;
    }

    /// Runs all due rotations.
    pub async fn settle(&self) {
        self.runner.settle().await;
    }

    /// When the next rotation is due.
    pub async fn next_due(&self) -> Option<Timestamp> {
        self.runner.next_due().await
    }

    /// A claim's keys, in the order of its tokens. `None` if there is no such claim.
    pub async fn show(&self, domain: &DomainId) -> Result<Option<Vec<ShownKey>>, StoreError> {
        let Some(ring) = self.runner.work().store.key_ring(domain).await? else { return Ok(None) };
        let shown = ring.tokens.iter().zip(&ring.rows).map(|(token, row)| ShownKey {
            token: token.clone(),
            role: row.as_ref().map(|row| row.key.role),
            since: row.as_ref().map(|row| row.key.since),
            seen_at: row.as_ref().and_then(|row| row.key.seen_at),
            cname: row.as_ref().map(|row| row.key.cname),
            public: row.as_ref().map(|row| row.public.clone()),
        });
        Ok(Some(shown.collect()))
    }

    /// Makes a claim's next key sign now, if possible.
    pub async fn rotate(&self, domain: &DomainId) -> Result<(), RotateError> {
        let rotations = self.runner.work();
        let Some(ring) = rotations.store.key_ring(domain).await? else { return Err(RotateError::NotFound) };
        // It may have been published since the last look.
        for row in ring.rows.iter().flatten().filter(|row| row.key.seen_at.is_none()) {
            rotations.look(row).await?;
        }
        let (plan, now) = (rotations.keys.plan(), rotations.clock.now());
        match rotations.store.rotation_now(domain, plan, now).await? {
            None => Err(RotateError::NotFound),
            Some(Ok(())) => {
                tracing::info!(%domain, cause = "asked", "the next key signs");
                Ok(())
            }
            Some(Err(why)) => Err(rotations.explain(why, &ring)),
        }
    }
}

impl Work for Rotations {
    type Job = DomainId;
    const NAME: &'static str = "rotations of keys";
    const ENDS_JOBS_AT_SHUTDOWN: bool = false;

    async fn claim(&self, claim: Claim, _at_once: bool) -> Result<Vec<Claimed<DomainId>>, StoreError> {
        self.store.dkim_remove_retired(claim.now, self.keys.plan().retire_after).await?;
        let job = |(id, account): (DomainId, AccountId)| Claimed {
            key: JobKey::Rotation(id.clone()),
            owner: Owner::Account(account),
            job: id,
        };
        Ok(self.store.rotation_claim(claim).await?.into_iter().map(job).collect())
    }

    async fn next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        self.store.rotation_next_due(places).await
    }

    async fn run(&self, domain: DomainId, runner: RunnerId) {
        if let Err(error) = self.rotate(&domain, &runner).await {
            tracing::error!(%domain, %error, "cannot rotate a domain's keys; trying again when the lease ends");
        }
    }
}

impl Rotations {
    /// Makes steps until nothing is left to do.
    async fn rotate(&self, domain: &DomainId, runner: &RunnerId) -> Result<(), KeysError> {
        let mut looked = false;
        for _ in 0..STEPS {
            let (plan, now) = (self.keys.plan(), self.clock.now());
            let Some((step, ring)) = self.store.rotation_step(domain, runner.clone(), plan, now, looked).await? else {
                return Ok(());
            };
            match step {
                Step::Rest(_) => return Ok(()),
                Step::Look(positions) => {
                    looked = true;
                    for row in positions.into_iter().filter_map(|position| ring.at(position)) {
                        self.look(row).await?;
                    }
                }
                Step::Rotate { to, .. } => {
                    let selector = ring.at(to).map_or("", |row| &row.token);
                    tracing::info!(%domain, selector, cause = "schedule", "the next key signs");
                }
                Step::Renew(position) => {
                    let Some(row) = ring.at(position) else { return Ok(()) };
                    if self.keys.renew(domain, &row.token, row.generation).await? {
                        tracing::info!(%domain, selector = %row.token, "a key that had signed was replaced");
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks for a key in the DNS, and records that it was seen.
    async fn look(&self, row: &KeyRow) -> Result<(), StoreError> {
        let name = format!("{}.{}", row.token, self.zone);
        let is_it = |data: &RecordData| matches!(data, RecordData::Txt(text) if same_key(text, &row.public));
        match self.resolver.lookup(&name, RecordType::Txt).await {
            Answer::Found { records, .. } if records.iter().any(is_it) => {
                self.store.key_seen(&row.token, row.generation, self.clock.now()).await
            }
            Answer::Indefinite { reason, .. } => {
                tracing::info!(%name, %reason, "cannot find out whether a key is in the DNS");
                Ok(())
            }
            Answer::Found { .. } | Answer::NoRecord { .. } => {
                tracing::warn!(
                    %name,
                    "a key is not in the DNS yet, so it does not sign: check the zone's delegation to [dkim] listen, or publish what `inboxlayer domain zone` prints"
                );
                Ok(())
            }
        }
    }

    fn explain(&self, why: NotYet, ring: &KeyRing) -> RotateError {
        let zone = &self.zone;
        let token = |position: usize| ring.tokens.get(position).map(String::as_str).unwrap_or_default();
        let (message, fix) = match why {
            NotYet::Making => ("The keys are still being made.".into(), "Try again in a minute.".into()),
            NotYet::Retiring(at) => (
                format!("Both other keys have signed not long ago; the first of them is replaced at {at}, or later."),
                "Wait for that: mail that they signed is still being verified.".into(),
            ),
            NotYet::Cname(position) => {
                let token = token(position);
                (
                    format!("The next key's CNAME {token}._domainkey was not valid when last seen."),
                    format!("Publish it with the value {token}.{zone}, verify the domain, and try again."),
                )
            }
            NotYet::Unseen(position) => {
                let name = format!("{}.{zone}", token(position));
                (
                    format!("The next key is not in the DNS at {name}."),
                    "The operator publishes the zone of keys; try again when it is there.".into(),
                )
            }
            NotYet::Fresh(position, at) => (
                format!("The key behind {} is fresh: others may remember the one before it.", token(position)),
                format!("Try again at {at}; the schedule does it by itself."),
            ),
        };
        RotateError::NotYet { message, fix }
    }
}
