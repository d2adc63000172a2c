//! The verifier: checks claims when they are due, and when their owners ask.
//!
//! A claim is checked in one straight path: claim due -> expected records -> observe -> judge -> record (which asks the
//! status machine). Invariant: a claim is checked once at a time (the [runner](crate::jobs) holds a lease), and never more at
//! once nor more in a second than configured. Within one check nothing is asked twice, also where two claims to one name are
//! looked at.

mod pace;
#[cfg(test)]
mod tests;

use crate::clock::{Clock, Timestamp};
use crate::config::{self, Config, Required};
use crate::dkim::Provider;
use crate::dns::Resolver;
use crate::id::{AccountId, DomainId, RunnerId};
use crate::jobs::{Claimed, Runner, Work};
use crate::net::listener::Shutdown;
use crate::resources::Owner;
use crate::resources::places::Places;
use crate::store::checks::{Recorded, Report};
use crate::store::domains::DomainRow;
use crate::store::jobs::{Claim, JobKey};
use crate::store::{Store, StoreError};
use crate::verification::judge::{
    CheckedRecord, judge, outcome, return_path_unconfirmed, right_return_path, unconfirmed, was_confirmed,
};
use crate::verification::records::{Bounces, Expected, Purpose, Template};
use crate::verification::status::{Finding, Policy, VerifiedStatus};
use pace::Pace;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// What a listener may fall behind before it must look for itself.
const BACKLOG: usize = 256;

/// What the configuration says of records and pauses.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The records that every claim needs.
    pub template: Template,
    /// Who takes what comes back to a return path, and sends from there.
    pub bounces: Bounces,
    /// The spans of the status machine.
    pub policy: Policy,
}

impl Rules {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let purpose = |required: &Required| match required {
            Required::Dkim => Purpose::Dkim,
            Required::Mx => Purpose::Mx,
            Required::Spf => Purpose::Spf,
            Required::Dmarc => Purpose::Dmarc,
        };
        let (records, verification) = (&config.records, &config.verification);
        Self {
            template: Template {
                dkim_zone: config.dkim.zone.clone(),
                mx_host: records.mx_host.clone(),
                mx_priority: records.mx_priority,
                spf: records.spf.clone(),
                dmarc: records.dmarc.clone(),
                required: records.required.iter().map(purpose).collect(),
            },
            bounces: bounces(config),
            policy: Policy {
                window: verification.window.0,
                grace: verification.grace.0,
                recheck: verification.recheck.0,
                first_pause: verification.first_pause.0,
                longest_pause: verification.longest_pause.0,
            },
        }
    }

    /// The records of a claim.
    pub fn expected(&self, row: &DomainRow) -> Vec<Expected> {
        let mut records = self.template.records(&row.name, &row.tokens, row.ownership_secret.as_deref());
        let return_path = row.return_path.as_deref();
        records.extend(return_path.into_iter().flat_map(|label| self.bounces.records(&row.name, label)));
        records
    }
}

/// Us; or Amazon SES, where that sends, which wants it exactly so.
fn bounces(config: &Config) -> Bounces {
    let records = &config.records;
    let elsewhere = match config.dkim.provider {
        config::Provider::Local => None,
        config::Provider::Ses => config.ses.feedback_host(),
    };
    match elsewhere {
        Some(mx_host) => Bounces { mx_host, mx_priority: 10, spf: "v=spf1 include:amazonses.com ~all".into() },
        None => {
            Bounces { mx_host: records.mx_host.clone(), mx_priority: records.mx_priority, spf: records.spf.clone() }
        }
    }
}

/// The service; clones share it.
#[derive(Clone, Debug)]
pub struct Verifier {
    runner: Runner<Checks>,
}

/// The checks as background work.
#[derive(Debug)]
struct Checks {
    rules: Rules,
    per_second: u32,
    pace: Mutex<Pace>,
    store: Store,
    clock: Clock,
    resolver: Resolver,
    /// Who makes the keys that the records lead to; with none, a check waits for no key.
    provider: Option<Provider>,
    settled: broadcast::Sender<DomainId>,
    changes: broadcast::Sender<DomainId>,
}

impl Verifier {
    /// A verifier that is not running yet.
    pub fn new(config: Arc<Config>, store: Store, clock: Clock, resolver: Resolver) -> Self {
        Self::signed_by(None, config, store, clock, resolver)
    }

    /// The same, with the provider that makes the keys: a check waits for those that are being made, and one that signs
    /// elsewhere has to see the records too.
    pub fn signed_by(
        provider: Option<Provider>,
        config: Arc<Config>,
        store: Store,
        clock: Clock,
        resolver: Resolver,
    ) -> Self {
        let per_second = config.verification.checks_per_second.max(1);
        let checks = Checks {
            rules: Rules::of(&config),
            per_second,
            pace: Mutex::new(Pace::new(per_second, Instant::now())),
            store: store.clone(),
            clock: clock.clone(),
            resolver,
            provider,
            settled: broadcast::Sender::new(BACKLOG),
            changes: broadcast::Sender::new(BACKLOG),
        };
        Self { runner: Runner::new(checks, config.verification.concurrency, store, clock) }
    }

    /// Checks what is due until the shutdown; a check under way is then cut off.
    pub async fn run(self, shutdown: Shutdown) {
        let checks = self.runner.work();
        match checks.store.domain_spread_overdue(checks.clock.now(), checks.per_second).await {
            Ok(0) => {}
            Ok(spread) => tracing::info!(spread, "checks that are overdue are spread"),
            Err(error) => tracing::error!(%error, "checks that are overdue could not be spread"),
        }
        self.runner.run(&shutdown).await;
    }

    /// Looks for due checks now.
    pub fn wake(&self) {
        self.runner.wake();
    }

    /// Checks everything that is due now, and waits until no check is under way.
    pub async fn settle(&self) {
        self.runner.settle().await;
    }

    /// When the next check is due.
    pub async fn next_due(&self) -> Option<Timestamp> {
        self.runner.next_due().await
    }

    /// Every claim whose status has changed or that has been deleted: mail may wait for it.
    pub fn changes(&self) -> broadcast::Receiver<DomainId> {
        self.runner.work().changes.subscribe()
    }

    /// Every check that has ended, also one that could not be recorded.
    pub fn settled(&self) -> broadcast::Receiver<DomainId> {
        self.runner.work().settled.subscribe()
    }

    /// Says to those who listen that a claim has changed by other means than a check.
    pub(crate) fn changed(&self, id: &DomainId) {
        self.runner.work().changed(id);
    }

    /// The rules claims are held to.
    pub(crate) fn rules(&self) -> &Rules {
        &self.runner.work().rules
    }
}

impl Work for Checks {
    type Job = DomainRow;
    const NAME: &'static str = "checks of domains";
    const ENDS_JOBS_AT_SHUTDOWN: bool = false;

    async fn claim(&self, claim: Claim, at_once: bool) -> Result<Vec<Claimed<DomainRow>>, StoreError> {
        let scheduled = if at_once { usize::MAX } else { self.pace().free(Instant::now()) };
        let due = self.store.domain_claim_due(claim, scheduled).await?;
        if !at_once {
            self.pace().take(due.len());
        }
        let job = |row: DomainRow| Claimed {
            key: JobKey::Check(row.id.clone()),
            owner: Owner::Account(row.account.clone()),
            job: row,
        };
        Ok(due.into_iter().map(job).collect())
    }

    async fn next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        self.store.domain_next_due(places).await
    }

    /// One check, from the claim to its record.
    async fn run(&self, row: DomainRow, runner: RunnerId) {
        // However it ends, those who wait for it hear of it.
        let _settled = Settled { checks: self, id: &row.id };
        self.check(&row, runner).await;
    }

    fn pause(&self) -> Duration {
        self.pace().until_next()
    }
}

impl Checks {
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, id: &DomainId) {
        // Without a listener there is nothing to do.
        let _ = self.changes.send(id.clone());
    }

    async fn check(&self, row: &DomainRow, runner: RunnerId) {
        let recorded = self.check_and_record(row, runner).await;
        match recorded {
            Ok(Some(recorded)) => {
                if let Some(change) = recorded.change {
                    let (from, to) = (change.from, change.to);
                    tracing::info!(domain = %row.name, id = %row.id, %from, %to, cause = ?change.cause, "a domain's status changed");
                    self.changed(&row.id);
                    // What it does for the name follows the claim that is verified.
                    if let Some(provider) = &self.provider {
                        provider.changed();
                    }
                }
                if let Some((_, id)) = recorded.displaced {
                    tracing::info!(domain = %row.name, %id, "a domain failed: its records are gone");
                    self.changed(&id);
                }
            }
            Ok(None) => {
                tracing::debug!(domain = %row.name, id = %row.id, "deleted, or taken over by another daemon, while it was checked")
            }
            Err(error) => tracing::error!(domain = %row.name, id = %row.id, %error, "a check could not be recorded"),
        }
    }

    async fn check_and_record(&self, row: &DomainRow, runner: RunnerId) -> Result<Option<Recorded>, StoreError> {
        // What is missing because we are not done yet is not worth a warning.
        if let Some(provider) = &self.provider {
            provider.keys_made(&row.id).await;
        }
        let store = self.store.for_account(&row.account);
        // A verified claim to the same name has to yield first, and does on fresh evidence only.
        let rival = match row.state.status {
            VerifiedStatus::Pending => store.domain_rival(row).await?,
            VerifiedStatus::Verified | VerifiedStatus::Failed => None,
        };
        let mut reports = self.reports(&row.account, &[Some(row), rival.as_ref()]).await.into_iter();
        let (report, rival) = (reports.next().flatten(), reports.next().flatten());
        let (now, policy) = (self.clock.now(), self.rules.policy);
        let Some(mut report) = report else { return Ok(None) };
        self.confirm(row, &mut report).await;
        store.domain_record_check(runner, report, rival, policy, now, spread()).await
    }

    /// Where another provider signs, it has to see what is right in the DNS as well.
    async fn confirm(&self, row: &DomainRow, report: &mut Report) {
        let Some(provider) = self.provider.as_ref().filter(|provider| provider.is_elsewhere()) else { return };
        let required = outcome(&report.records).required;
        let right = required.iter().all(|(_, finding)| *finding == Finding::Good);
        let return_path = right_return_path(&report.records);
        if !right && return_path.is_none() {
            return;
        }
        let is_verified = row.state.status == VerifiedStatus::Verified;
        // While it does not say, nothing that it has confirmed before is doubted.
        let before =
            |of_kind: fn(Purpose) -> bool| is_verified && was_confirmed(&report.records, &row.evidence, of_kind);
        let (sends, sends_from) = match provider.confirms(&row.name).await {
            Some(confirmed) => (confirmed.sends, confirmed.mail_from.map(|name| name.to_string())),
            None => (
                before(|purpose| purpose == Purpose::Dkim),
                return_path.clone().filter(|_| before(Purpose::is_return_path)),
            ),
        };
        if right && !sends {
            unconfirmed(&mut report.records, is_verified);
        }
        if return_path.is_some() && return_path != sends_from {
            return_path_unconfirmed(&mut report.records);
        }
    }

    /// What the DNS holds of each claim, by one observation: what several need is asked once. `account` is whose check it is.
    async fn reports(&self, account: &AccountId, rows: &[Option<&DomainRow>]) -> Vec<Option<Report>> {
        let expected: Vec<_> = rows.iter().map(|row| row.map(|row| (row, self.rules.expected(row)))).collect();
        let wanted: Vec<&Expected> = expected.iter().flatten().flat_map(|(_, all)| all).collect();
        let mut observations = self.resolver.on_behalf_of(account).observe(&wanted).await.into_iter();
        let now = self.clock.now();
        let mut report = |(row, expected): (&DomainRow, Vec<Expected>)| {
            let checked = expected.iter().zip(&mut observations).map(|(record, observation)| CheckedRecord {
                expected: record.clone(),
                evidence: judge(record, &expected, &observation, now),
            });
            Report { domain: row.id.clone(), records: checked.collect() }
        };
        expected.into_iter().map(|claim| claim.map(&mut report)).collect()
    }
}

/// A check under way.
struct Settled<'a> {
    checks: &'a Checks,
    id: &'a DomainId,
}

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        let _ = self.checks.settled.send(self.id.clone());
    }
}

/// A random number below 1000, which keeps the checks of many claims apart.
fn spread() -> u32 {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u32::try_from(random % 1000).unwrap_or(0)
}
