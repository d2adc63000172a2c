//! The verifier: checks claims when they are due, and when their owners ask.
//!
//! A claim is checked in one straight path: claim due -> expected records -> observe -> judge -> record (which asks the
//! status machine). Invariant: a claim is checked once at a time (a lease in the store says so, and a restart goes on
//! with what was cut off), and never more at once nor more in a second than configured; no account has all places. Within one check nothing is asked
//! twice, also where two claims to one name are looked at.

mod pace;
#[cfg(test)]
mod tests;

use crate::clock::{Clock, Timestamp};
use crate::config::{self, Config, Required};
use crate::dkim::Provider;
use crate::dns::Resolver;
use crate::id::{AccountId, DomainId};
use crate::net::listener::Shutdown;
use crate::store::checks::{Recorded, Report};
use crate::store::domains::DomainRow;
use crate::store::{Store, StoreError};
use crate::verification::judge::{
    CheckedRecord, judge, outcome, return_path_unconfirmed, right_return_path, unconfirmed, was_confirmed,
};
use crate::verification::records::{Bounces, Expected, Purpose, Template};
use crate::verification::share::Places;
use crate::verification::status::{Finding, Policy, VerifiedStatus};
use pace::Pace;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Looks at the store at least this often, whatever it was told.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Before the store is tried again when it failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);
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
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: Rules,
    lease: Duration,
    per_second: u32,
    store: Store,
    clock: Clock,
    resolver: Resolver,
    /// Whose keys the records lead to; none: nobody's that a check would wait for.
    provider: Option<Provider>,
    permits: Arc<Semaphore>,
    /// Held while free places are matched with due claims, so that nobody takes a place that is only being looked at for
    /// one that is taken.
    turn: Mutex<()>,
    wake: Notify,
    /// How many checks of each account run.
    running: watch::Sender<BTreeMap<AccountId, usize>>,
    settled: broadcast::Sender<DomainId>,
    changes: broadcast::Sender<DomainId>,
    end: CancellationToken,
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
        Self(Arc::new(Inner {
            rules: Rules::of(&config),
            // An observation of four answers one after the other, twice over, and some time to write.
            lease: config.dns.timeout.0.saturating_mul(8) + Duration::from_secs(60),
            per_second: config.verification.checks_per_second.max(1),
            store,
            clock,
            resolver,
            provider,
            permits: Arc::new(Semaphore::new(config.verification.concurrency.max(1))),
            turn: Mutex::new(()),
            wake: Notify::new(),
            running: watch::Sender::default(),
            settled: broadcast::Sender::new(BACKLOG),
            changes: broadcast::Sender::new(BACKLOG),
            end: CancellationToken::new(),
        }))
    }

    /// Checks what is due until the shutdown; a check under way is then cut off, and done again after the next start.
    pub async fn run(self, shutdown: Shutdown) {
        self.take_over().await;
        let mut pace = Pace::new(self.0.per_second, Instant::now());
        loop {
            let pause = match self.start_due(pace.free(Instant::now())).await {
                Ok(Started { begun, .. }) => {
                    pace.take(begun);
                    self.until_next(&pace).await
                }
                Err(error) => {
                    tracing::error!(%error, "the claims that are due could not be read");
                    STORE_PAUSE
                }
            };
            tokio::select! {
                () = shutdown.requested() => break,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.0.end.cancel();
        self.idle().await;
    }

    /// Goes on where the last daemon ended.
    async fn take_over(&self) {
        let store = &self.0.store;
        match store.domain_spread_overdue(self.0.clock.now(), self.0.per_second).await {
            Ok(0) => {}
            Ok(spread) => tracing::info!(spread, "checks that are overdue are spread"),
            Err(error) => tracing::error!(%error, "checks that are overdue could not be spread"),
        }
        // This store is ours alone: what is leased was cut off by the end of the last daemon.
        if let Err(error) = store.domain_release_leases().await {
            tracing::error!(%error, "checks that were cut off wait for their lease to lapse");
        }
    }

    /// Looks for due checks now.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Checks everything that is due now, and waits until no check is under way.
    pub async fn settle(&self) -> Result<(), StoreError> {
        loop {
            let started = self.start_due(usize::MAX).await?;
            self.idle().await;
            if started == (Started { begun: 0, others: false }) {
                return Ok(());
            }
        }
    }

    /// When the next check is due.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.0.store.domain_next_due(Places::all_free(usize::MAX)).await
    }

    /// Hears of every claim whose status has changed or that has been deleted: mail that waits for it can be looked at.
    pub fn changes(&self) -> broadcast::Receiver<DomainId> {
        self.0.changes.subscribe()
    }

    /// Hears of every check that has settled, also of one that could not be recorded.
    pub fn settled(&self) -> broadcast::Receiver<DomainId> {
        self.0.settled.subscribe()
    }

    /// Tells those who listen that a claim has changed by other means than a check.
    pub(crate) fn changed(&self, id: &DomainId) {
        // Without a listener there is nobody to tell.
        let _ = self.0.changes.send(id.clone());
    }

    /// The rules claims are held to.
    pub(crate) fn rules(&self) -> &Rules {
        &self.0.rules
    }

    async fn idle(&self) {
        // The sender lives as long as this handle.
        let _ = self.0.running.subscribe().wait_for(BTreeMap::is_empty).await;
    }

    async fn until_next(&self, pace: &Pace) -> Duration {
        if self.0.permits.available_permits() == 0 {
            // The end of a check wakes the loop.
            return LONGEST_SLEEP;
        }
        // What waits for its account's own checks to end is not looked at before one does: that wakes the loop too.
        match self.0.store.domain_next_due(self.places(self.0.permits.available_permits())).await {
            Ok(Some(due)) => due.since(self.0.clock.now()).max(pace.until_next()).min(LONGEST_SLEEP),
            Ok(None) => LONGEST_SLEEP,
            Err(error) => {
                tracing::error!(%error, "the next check could not be read");
                STORE_PAUSE
            }
        }
    }

    /// Who has how many places, with so many free.
    fn places(&self, free: usize) -> Places {
        Places { free, taken: self.0.running.borrow().clone() }
    }

    /// Starts as many of the due checks as may run, of those that nobody asked for at most `scheduled`.
    async fn start_due(&self, scheduled: usize) -> Result<Started, StoreError> {
        let _turn = self.0.turn.lock().await;
        let mut permits: Vec<OwnedSemaphorePermit> = Vec::new();
        while let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned() {
            permits.push(permit);
        }
        let places = self.places(permits.len());
        let others = !places.taken.is_empty();
        if self.0.end.is_cancelled() || places.free == 0 {
            return Ok(Started { begun: 0, others });
        }
        let now = self.0.clock.now();
        let due = self.0.store.domain_claim_due(now, now.after(self.0.lease), places, scheduled).await?;
        let begun = due.len();
        for (row, permit) in due.into_iter().zip(permits) {
            let under_way = UnderWay::new(self.clone(), &row, permit);
            tokio::spawn(async move {
                tokio::select! {
                    () = under_way.verifier.0.end.cancelled() => {}
                    () = under_way.verifier.check(&row) => {}
                }
            });
        }
        Ok(Started { begun, others })
    }

    /// One check, from the claim to its record.
    async fn check(&self, row: &DomainRow) {
        let recorded = self.check_and_record(row).await;
        match recorded {
            Ok(Some(recorded)) => {
                if let Some(change) = recorded.change {
                    let (from, to) = (change.from, change.to);
                    tracing::info!(domain = %row.name, id = %row.id, %from, %to, cause = ?change.cause, "a domain's status changed");
                    self.changed(&row.id);
                    // What it does for the name follows the claim that is verified.
                    if let Some(provider) = &self.0.provider {
                        provider.changed();
                    }
                }
                if let Some((_, id)) = recorded.displaced {
                    tracing::info!(domain = %row.name, %id, "a domain failed: its records are gone");
                    self.changed(&id);
                }
            }
            Ok(None) => tracing::debug!(domain = %row.name, id = %row.id, "deleted while it was checked"),
            Err(error) => tracing::error!(domain = %row.name, id = %row.id, %error, "a check could not be recorded"),
        }
    }

    async fn check_and_record(&self, row: &DomainRow) -> Result<Option<Recorded>, StoreError> {
        // What is missing because we are not done yet is not worth a warning.
        if let Some(provider) = &self.0.provider {
            provider.keys_made(&row.id).await;
        }
        let store = self.0.store.for_account(&row.account);
        // A verified claim to the same name has to yield first, and does on fresh evidence only.
        let rival = match row.state.status {
            VerifiedStatus::Pending => store.domain_rival(row).await?,
            VerifiedStatus::Verified | VerifiedStatus::Failed => None,
        };
        let mut reports = self.reports(&row.account, &[Some(row), rival.as_ref()]).await.into_iter();
        let (report, rival) = (reports.next().flatten(), reports.next().flatten());
        let (now, policy) = (self.0.clock.now(), self.0.rules.policy);
        let Some(mut report) = report else { return Ok(None) };
        self.confirm(row, &mut report).await;
        store.domain_record_check(report, rival, policy, now, spread()).await
    }

    /// Where another provider signs, it has to see what is right in the DNS as well.
    async fn confirm(&self, row: &DomainRow, report: &mut Report) {
        let Some(provider) = self.0.provider.as_ref().filter(|provider| provider.is_elsewhere()) else { return };
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
        let expected: Vec<_> = rows.iter().map(|row| row.map(|row| (row, self.0.rules.expected(row)))).collect();
        let wanted: Vec<&Expected> = expected.iter().flatten().flat_map(|(_, all)| all).collect();
        let mut observations = self.0.resolver.on_behalf_of(account).observe(&wanted).await.into_iter();
        let now = self.0.clock.now();
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

/// How many due checks could be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Started {
    /// So many.
    begun: usize,
    /// Others ran already: more may be due than there were places for.
    others: bool,
}

/// A check under way. However it ends, its place is free again and those who wait for it are told.
struct UnderWay {
    verifier: Verifier,
    id: DomainId,
    account: AccountId,
    permit: Option<OwnedSemaphorePermit>,
}

impl UnderWay {
    fn new(verifier: Verifier, row: &DomainRow, permit: OwnedSemaphorePermit) -> Self {
        verifier.0.running.send_modify(|running| *running.entry(row.account.clone()).or_default() += 1);
        Self { verifier, id: row.id.clone(), account: row.account.clone(), permit: Some(permit) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        drop(self.permit.take());
        let inner = &self.verifier.0;
        inner.running.send_modify(|running| {
            if let Some(count) = running.get_mut(&self.account) {
                *count = count.saturating_sub(1);
            }
            running.retain(|_, count| *count > 0);
        });
        let _ = inner.settled.send(self.id.clone());
        // The loop may have waited for a free place, or for this claim's next check.
        inner.wake.notify_one();
    }
}

/// A random number below 1000, which keeps the checks of many claims apart.
fn spread() -> u32 {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u32::try_from(random % 1000).unwrap_or(0)
}
