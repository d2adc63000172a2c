//! The one runner of background work: deliveries, checks of domains, the rotation of keys, identities at Amazon SES.
//!
//! A runner claims due jobs while it has free places ([`crate::resources::places`]), runs them concurrently, and sleeps until the
//! next one is due or it is woken. Invariant: a running job has a lease in the store ([`crate::store::jobs`]), which its runner
//! renews. So runners of several processes can share a store, and the jobs of a dead one are due again when their leases end. A job
//! frees its place however it ends.

use crate::clock::{Clock, Timestamp};
use crate::id::RunnerId;
use crate::net::listener::Shutdown;
use crate::resources::Owner;
use crate::resources::places::Places;
use crate::store::jobs::{Claim, JobKey, Lease};
use crate::store::{Store, StoreError};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

/// Duration of a lease that is not renewed.
pub const LEASE: Duration = Duration::from_secs(120);
/// Between renewals. Three may fail before the lease ends.
pub const RENEW_PAUSE: Duration = Duration::from_secs(30);
/// At shutdown, time limit for the jobs that are waited for.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum sleep, in case a wake-up is missed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Before a retry after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// While jobs run, other due jobs wait for a place; the end of a job wakes the runner.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Minimum sleep, in case a job stays due.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);

/// A kind of background work.
pub trait Work: Debug + Send + Sync + 'static {
    type Job: Send + 'static;

    /// For log lines.
    const NAME: &'static str;
    /// Shutdown waits for running jobs, for a limited time. Otherwise they are cancelled at once. What is cancelled is due again.
    const ENDS_JOBS_AT_SHUTDOWN: bool;

    /// Claims due jobs that have a place. `at_once` disregards any rate limit.
    fn claim(
        &self,
        claim: Claim,
        at_once: bool,
    ) -> impl Future<Output = Result<Vec<Claimed<Self::Job>>, StoreError>> + Send;

    /// Runs a job, and records its result if the runner still has the lease.
    fn run(&self, job: Self::Job, runner: RunnerId) -> impl Future<Output = ()> + Send;

    /// When the first job with a place is due. A running one is due when its lease ends.
    fn next_due(&self, places: Places) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send;

    /// Time until the rate limit allows another job.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }
}

/// A claimed job.
#[derive(Debug)]
pub struct Claimed<J> {
    pub key: JobKey,
    pub owner: Owner,
    pub job: J,
}

/// Runs one kind of work; clones share it.
#[derive(Debug)]
pub struct Runner<W>(Arc<Inner<W>>);

impl<W> Clone for Runner<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Inner<W> {
    id: RunnerId,
    work: W,
    places: usize,
    store: Store,
    clock: Clock,
    /// Locked while jobs are claimed, so that places are not taken twice.
    claiming: Mutex<()>,
    /// Running jobs and their owners.
    running: watch::Sender<HashMap<JobKey, Owner>>,
    wake: Notify,
    cut_off: CancellationToken,
}

impl<W: Work> Runner<W> {
    /// Runs at most `places` jobs at once. It does nothing until [`Runner::run`] or [`Runner::settle`].
    pub fn new(work: W, places: usize, store: Store, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            id: store.lease_owner(),
            work,
            places: places.max(1),
            store,
            clock,
            claiming: Mutex::new(()),
            running: watch::Sender::default(),
            wake: Notify::new(),
            cut_off: CancellationToken::new(),
        }))
    }

    /// The owner of its leases.
    #[cfg(feature = "ses")]
    pub fn id(&self) -> &RunnerId {
        &self.0.id
    }

    pub fn work(&self) -> &W {
        &self.0.work
    }

    /// To be called when a job may have become due.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Runs due jobs until shutdown.
    pub async fn run(&self, shutdown: &Shutdown) {
        let mut handed_back = self.0.store.events().work();
        let work = async {
            while !shutdown.is_requested() {
                // Before claiming, so that a wake-up during it is not missed.
                let woken = self.0.wake.notified();
                let sleep = self.start_due().await;
                tokio::select! {
                    () = shutdown.requested() => {}
                    () = woken => {}
                    // The store, which is open, has the sender.
                    _ = handed_back.changed() => {}
                    () = tokio::time::sleep(sleep) => {}
                }
            }
            // Those that take longer are cancelled.
            let limit = if W::ENDS_JOBS_AT_SHUTDOWN { END_TIMEOUT } else { Duration::ZERO };
            let _ = tokio::time::timeout(limit, self.idle()).await;
        };
        tokio::select! {
            () = work => {}
            () = self.keep_leases() => {}
        }
        self.cut_off().await;
    }

    /// Cancels the running jobs and hands them back, so that other daemons take them at once.
    async fn cut_off(&self) {
        let cut = {
            // What is being claimed is running then.
            let _claiming = self.0.claiming.lock().await;
            self.0.cut_off.cancel();
            let running: Vec<JobKey> = self.0.running.borrow().keys().cloned().collect();
            running
        };
        self.idle().await;
        if cut.is_empty() {
            return;
        }
        tracing::info!(jobs = cut.len(), "interrupted {}, which are due again", W::NAME);
        let ended = Lease { runner: self.0.id.clone(), until: self.0.clock.now() };
        if let Err(error) = self.0.store.hand_back(ended, cut).await {
            tracing::warn!(%error, "cannot end the leases of {}; they end by themselves", W::NAME);
        }
    }

    /// Runs all due jobs, and resolves when no job of this runner is running.
    pub async fn settle(&self) {
        let now = self.0.clock.now();
        loop {
            self.idle().await;
            match self.start(now, true).await {
                // Jobs started by `run` may hold places that a due job needs.
                Ok(0) if self.0.running.borrow().is_empty() => return,
                Ok(_) => {}
                Err(error) => return tracing::error!(%error, "cannot claim due {}", W::NAME),
            }
        }
    }

    /// When the next job is due; `None` if there is none.
    pub async fn next_due(&self) -> Option<Timestamp> {
        let next = self.0.work.next_due(Places::all_free(usize::MAX)).await;
        next.inspect_err(|error| tracing::error!(%error, "cannot read when the next of the {} are due", W::NAME))
            .ok()?
    }

    /// Renews the leases of running jobs.
    pub(crate) async fn renew(&self) {
        let running: Vec<JobKey> = self.0.running.borrow().keys().cloned().collect();
        if !running.is_empty()
            && let Err(error) = self.0.store.renew_leases(self.lease(), running).await
        {
            tracing::error!(%error, "cannot renew the leases of {}", W::NAME);
        }
    }

    async fn keep_leases(&self) {
        loop {
            tokio::time::sleep(RENEW_PAUSE).await;
            self.renew().await;
        }
    }

    fn lease(&self) -> Lease {
        Lease { runner: self.0.id.clone(), until: self.0.clock.now().after(LEASE) }
    }

    /// Resolves when no job is running.
    async fn idle(&self) {
        // The sender lives as long as this handle.
        let _ = self.0.running.subscribe().wait_for(HashMap::is_empty).await;
    }

    /// Starts due jobs; returns the time until the next one is due.
    async fn start_due(&self) -> Duration {
        let next = match self.start(self.0.clock.now(), false).await {
            Ok(_) => self.0.work.next_due(self.places()).await,
            Err(error) => Err(error),
        };
        match next {
            Ok(Some(due)) => {
                let pause = due.since(self.0.clock.now()).max(self.0.work.pause());
                let is_idle = self.0.running.borrow().is_empty();
                match pause.is_zero() {
                    true => {
                        if is_idle {
                            SHORTEST_SLEEP
                        } else {
                            BUSY_PAUSE
                        }
                    }
                    false => pause.min(LONGEST_SLEEP),
                }
            }
            Ok(None) => LONGEST_SLEEP,
            Err(error) => {
                tracing::error!(%error, "cannot claim due {}", W::NAME);
                STORE_PAUSE
            }
        }
    }

    fn places(&self) -> Places {
        Places::beside(self.0.places, self.0.running.borrow().values())
    }

    /// Claims and starts jobs due at `now`; returns their number.
    async fn start(&self, now: Timestamp, at_once: bool) -> Result<usize, StoreError> {
        // In a separate task, so that a cancelled caller leaves no job claimed but not running.
        let runner = self.clone();
        let started = tokio::spawn(async move { runner.claim_and_start(now, at_once).await });
        started.await.unwrap_or_else(|error| Err(StoreError::Aborted(format!("a claim did not end: {error}"))))
    }

    async fn claim_and_start(&self, now: Timestamp, at_once: bool) -> Result<usize, StoreError> {
        let _claiming = self.0.claiming.lock().await;
        if self.0.cut_off.is_cancelled() {
            return Ok(0);
        }
        let running = self.0.running.borrow().keys().cloned().collect();
        let claim = Claim { now, lease: self.lease(), places: self.places(), running };
        let claimed = self.0.work.claim(claim, at_once).await?;
        let count = claimed.len();
        for Claimed { key, owner, job } in claimed {
            let running = Running::new(self.clone(), key, owner);
            tokio::spawn(async move {
                let inner = &running.runner.0;
                tokio::select! {
                    biased;
                    () = inner.cut_off.cancelled() => {}
                    () = inner.work.run(job, inner.id.clone()) => {}
                }
            });
        }
        Ok(count)
    }
}

/// A running job. However it ends, its place is freed and waiting tasks are woken.
struct Running<W: Work> {
    runner: Runner<W>,
    key: JobKey,
}

impl<W: Work> Running<W> {
    fn new(runner: Runner<W>, key: JobKey, owner: Owner) -> Self {
        runner.0.running.send_modify(|running| {
            running.insert(key.clone(), owner);
        });
        Self { runner, key }
    }
}

impl<W: Work> Drop for Running<W> {
    fn drop(&mut self) {
        self.runner.0.running.send_modify(|running| {
            running.remove(&self.key);
        });
        self.runner.wake();
    }
}
