//! The verifier: checks claims when they are due, and when their owners request it.
//!
//! The path of a check: claim due -> expected records -> observe -> judge -> record (which runs the status machine). Invariant: a
//! claim has one check at a time (the [runner](crate::jobs) holds a lease); concurrency and rate of checks are limited. Within a
//! check no question is asked twice, even if it covers two claims to one name.

mod pace;
#[cfg(test)]
mod tests;

use crate::clock::{Clock, Timestamp};
use crate::config::{self, Config, Required};
use crate::dkim::Provider;
use crate::dns::{Counts, Progress, Resolver};
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
    CheckedRecord, judge, outcome, return_path_unconfirmed, unconfirmed, valid_return_path, was_confirmed,
};
use crate::verification::records::{Bounces, Expected, Purpose, Template};
use crate::verification::status::{Finding, Policy, VerifiedStatus};
use pace::Pace;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The configured records and periods.
#[derive(Clone, Debug)]
pub struct Rules {
    pub template: Template,
    /// The records of return paths.
    pub bounces: Bounces,
    pub policy: Policy,
}

impl Rules {
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

/// Our own host, or that of Amazon SES if it sends.
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
    /// Makes the keys behind the records; without it, a check waits for no key.
    provider: Option<Provider>,
    running: Running,
}

/// The checks that run in this daemon.
pub(crate) type Running = watch::Sender<HashMap<DomainId, Arc<Progress>>>;

impl Verifier {
    /// Does nothing until it runs.
    pub fn new(config: Arc<Config>, store: Store, clock: Clock, resolver: Resolver) -> Self {
        Self::signed_by(None, config, store, clock, resolver)
    }

    /// With the signing provider: a check waits for keys being generated, and an external provider has to confirm the records.
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
            running: Running::default(),
        };
        Self { runner: Runner::new(checks, config.verification.concurrency, store, clock) }
    }

    /// Runs due checks until shutdown, which cancels running ones.
    pub async fn run(self, shutdown: Shutdown) {
        let checks = self.runner.work();
        match checks.store.domain_spread_overdue(checks.clock.now(), checks.per_second).await {
            Ok(0) => {}
            Ok(spread) => tracing::info!(spread, "spreading overdue checks"),
            Err(error) => tracing::error!(%error, "cannot spread overdue checks"),
        }
        self.runner.run(&shutdown).await;
    }

    /// To be called when a check may have become due.
    pub fn wake(&self) {
        self.runner.wake();
    }

    /// Runs all due checks, and waits until none is running.
    pub async fn settle(&self) {
        self.runner.settle().await;
    }

    /// When the next check is due.
    pub async fn next_due(&self) -> Option<Timestamp> {
        self.runner.next_due().await
    }

    /// The checks that run in this daemon, as they begin and end.
    pub(crate) fn running(&self) -> &Running {
        &self.runner.work().running
    }

    /// How far a check is that runs in this daemon.
    pub(crate) fn progress(&self, domain: &DomainId) -> Option<Counts> {
        self.running().borrow().get(domain).map(|progress| progress.counts())
    }

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

    /// One check, from the claim to its recorded result.
    async fn run(&self, row: DomainRow, runner: RunnerId) {
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

    async fn check(&self, row: &DomainRow, runner: RunnerId) {
        let shown = Shown::new(&self.running, &row.id);
        let recorded = self.check_and_record(row, runner, &shown.progress).await;
        drop(shown);
        match recorded {
            Ok(Some(recorded)) => {
                if let Some(change) = recorded.change {
                    let (from, to) = (change.from, change.to);
                    tracing::info!(domain = %row.name, id = %row.id, %from, %to, cause = ?change.cause, "a domain's status changed");
                    // The provider's set-up follows the verified claim.
                    if let Some(provider) = &self.provider {
                        provider.changed();
                    }
                }
                if let Some((_, id)) = recorded.displaced {
                    tracing::info!(domain = %row.name, %id, "a domain failed: its records are gone");
                }
            }
            Ok(None) => {
                tracing::debug!(domain = %row.name, id = %row.id, "deleted, or taken over by another daemon, while it was checked")
            }
            Err(error) => tracing::error!(domain = %row.name, id = %row.id, %error, "cannot record a check"),
        }
    }

    async fn check_and_record(
        &self,
        row: &DomainRow,
        runner: RunnerId,
        progress: &Progress,
    ) -> Result<Option<Recorded>, StoreError> {
        // Keys still being generated deserve no warning.
        if let Some(provider) = &self.provider {
            provider.keys_made(&row.id).await;
        }
        let store = self.store.for_account(&row.account);
        // A verified claim to the same name is displaced first, and only by fresh evidence.
        let rival = match row.state.status {
            VerifiedStatus::Pending => store.domain_rival(row).await?,
            VerifiedStatus::Verified | VerifiedStatus::Failed => None,
        };
        let mut reports = self.reports(&row.account, &[Some(row), rival.as_ref()], progress).await.into_iter();
        let (report, rival) = (reports.next().flatten(), reports.next().flatten());
        let (now, policy) = (self.clock.now(), self.rules.policy);
        let Some(mut report) = report else { return Ok(None) };
        self.confirm(row, &mut report).await;
        store.domain_record_check(runner, report, rival, policy, now, spread()).await
    }

    /// An external signing provider has to confirm valid records as well.
    async fn confirm(&self, row: &DomainRow, report: &mut Report) {
        let Some(provider) = self.provider.as_ref().filter(|provider| provider.is_elsewhere()) else { return };
        let required = outcome(&report.records).required;
        let all_good = required.iter().all(|(_, finding)| *finding == Finding::Good);
        let return_path = valid_return_path(&report.records);
        if !all_good && return_path.is_none() {
            return;
        }
        let is_verified = row.state.status == VerifiedStatus::Verified;
        // Without an answer, earlier confirmations stay valid.
        let before =
            |of_kind: fn(Purpose) -> bool| is_verified && was_confirmed(&report.records, &row.evidence, of_kind);
        let (sends, sends_from) = match provider.confirms(&row.name).await {
            Some(confirmed) => (confirmed.sends, confirmed.mail_from.map(|name| name.to_string())),
            None => (
                before(|purpose| purpose == Purpose::Dkim),
                return_path.clone().filter(|_| before(Purpose::is_return_path)),
            ),
        };
        if all_good && !sends {
            unconfirmed(&mut report.records, is_verified);
        }
        if return_path.is_some() && return_path != sends_from {
            return_path_unconfirmed(&mut report.records);
        }
    }

    /// Observes the records of all claims at once, so that shared questions are asked once, on behalf of `account`.
    async fn reports(
        &self,
        account: &AccountId,
        rows: &[Option<&DomainRow>],
        progress: &Progress,
    ) -> Vec<Option<Report>> {
        let expected: Vec<_> = rows.iter().map(|row| row.map(|row| (row, self.rules.expected(row)))).collect();
        let wanted: Vec<&Expected> = expected.iter().flatten().flat_map(|(_, all)| all).collect();
        let mut observations = self.resolver.on_behalf_of(account).observe(&wanted, progress).await.into_iter();
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

/// A running check, shown until this is dropped.
struct Shown<'a> {
    running: &'a Running,
    domain: &'a DomainId,
    progress: Arc<Progress>,
}

impl<'a> Shown<'a> {
    fn new(running: &'a Running, domain: &'a DomainId) -> Self {
        let progress = Arc::<Progress>::default();
        running.send_modify(|running| drop(running.insert(domain.clone(), Arc::clone(&progress))));
        Self { running, domain, progress }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.running.send_modify(|running| drop(running.remove(self.domain)));
    }
}

/// A random number below 1000, which distributes the checks of many claims.
fn spread() -> u32 {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u32::try_from(random % 1000).unwrap_or(0)
}
