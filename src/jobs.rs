//! The one runner of background work: deliveries, checks of domains, the rotation of keys, identities at Amazon SES.
//!
//! A runner claims jobs that are due as places for them are free ([`crate::resources::places`]), runs them side by side, and
//! sleeps until the next one is due or it is woken. Invariant: a job has a lease in the store ([`crate::store::jobs`]), which
//! its runner renews as long as it runs; so runners of several processes share a store, and what one of them leaves undone
//! when it dies is due again when the lease ends. A job frees its place however it ends.

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

/// How long a job is its runner's unless that renews the lease.
pub const LEASE: Duration = Duration::from_secs(120);
/// Between renewals: three may fail.
const RENEW_PAUSE: Duration = Duration::from_secs(30);
/// The longest sleep, should a wake-up be missed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Before the store is tried again when it failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// While jobs run, the others that are due wait for one to end, which wakes the runner.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Never a busy loop, should a job stay due.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);

/// A kind of background work.
pub trait Work: Debug + Send + Sync + 'static {
    /// What is to be done.
    type Job: Send + 'static;

    /// The work, in log lines.
    const NAME: &'static str;
    /// A shutdown waits until jobs that run have ended. Otherwise they are cut off, and are due again when their lease ends.
    const ENDS_JOBS_AT_SHUTDOWN: bool;

    /// Takes what is due and has a place. `at_once`: as fast as it goes, whatever rate is kept otherwise.
    fn claim(
        &self,
        claim: Claim,
        at_once: bool,
    ) -> impl Future<Output = Result<Vec<Claimed<Self::Job>>, StoreError>> + Send;

    /// Does a job, and records its end where the runner still has the lease.
    fn run(&self, job: Self::Job, runner: RunnerId) -> impl Future<Output = ()> + Send;

    /// When the first job is due of those there is a place for. One that runs is due when its lease ends.
    fn next_due(&self, places: Places) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send;

    /// How long nothing more may begin for the sake of a rate.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }
}

/// A job that was taken.
#[derive(Debug)]
pub struct Claimed<J> {
    /// What it is about.
    pub key: JobKey,
    /// Whose place it takes.
    pub owner: Owner,
    /// What is to be done.
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
    /// Held while jobs are claimed: the places are counted before they are taken.
    claiming: Mutex<()>,
    /// The jobs that run, and whose they are.
    running: watch::Sender<HashMap<JobKey, Owner>>,
    /// Something may be due.
    wake: Notify,
    cut_off: CancellationToken,
}

impl<W: Work> Runner<W> {
    /// A runner of at most `places` jobs at once. It does nothing until [`Runner::run`] or [`Runner::settle`].
    pub fn new(work: W, places: usize, store: Store, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            id: RunnerId::new(),
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

    /// What it runs.
    pub fn work(&self) -> &W {
        &self.0.work
    }

    /// Something may be due now.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Does what is due until the shutdown.
    pub async fn run(&self, shutdown: &Shutdown) {
        let work = async {
            while !shutdown.is_requested() {
                // Before the look, so that what happens during it is not missed.
                let woken = self.0.wake.notified();
                let sleep = self.start_due().await;
                tokio::select! {
                    () = shutdown.requested() => {}
                    () = woken => {}
                    () = tokio::time::sleep(sleep) => {}
                }
            }
            if !W::ENDS_JOBS_AT_SHUTDOWN {
                self.0.cut_off.cancel();
            }
            self.idle().await;
        };
        tokio::select! {
            () = work => {}
            () = self.keep_leases() => {}
        }
    }

    /// Does everything that is due now, and resolves when no job of this runner runs any more.
    pub async fn settle(&self) {
        let now = self.0.clock.now();
        loop {
            self.idle().await;
            match self.start(now, true).await {
                // Jobs started by `run` meanwhile may hold places that a due job needs.
                Ok(0) if self.0.running.borrow().is_empty() => return,
                Ok(_) => {}
                Err(error) => return tracing::error!(%error, "{} that are due could not be taken", W::NAME),
            }
        }
    }

    /// When the next job is due, by the clock; none when there is nothing to do.
    pub async fn next_due(&self) -> Option<Timestamp> {
        let next = self.0.work.next_due(Places::all_free(usize::MAX)).await;
        next.inspect_err(|error| tracing::error!(%error, "{}: the next that is due could not be read", W::NAME)).ok()?
    }

    /// Renews the leases of the jobs that run.
    pub(crate) async fn renew(&self) {
        let running: Vec<JobKey> = self.0.running.borrow().keys().cloned().collect();
        if !running.is_empty()
            && let Err(error) = self.0.store.renew_leases(self.lease(), running).await
        {
            tracing::error!(%error, "{}: the leases of those under way could not be renewed", W::NAME);
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

    /// Resolves when no job runs.
    async fn idle(&self) {
        // The sender lives as long as this handle.
        let _ = self.0.running.subscribe().wait_for(HashMap::is_empty).await;
    }

    /// Begins what is due, and says how long nothing else will be.
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
                tracing::error!(%error, "{} that are due could not be taken", W::NAME);
                STORE_PAUSE
            }
        }
    }

    fn places(&self) -> Places {
        Places::beside(self.0.places, self.0.running.borrow().values())
    }

    /// Claims what is due at `now` and has a place, and begins it. How many jobs that were.
    async fn start(&self, now: Timestamp, at_once: bool) -> Result<usize, StoreError> {
        // A task of its own: a cancelled caller leaves no job claimed that does not run.
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
                    () = inner.cut_off.cancelled() => {}
                    () = inner.work.run(job, inner.id.clone()) => {}
                }
            });
        }
        Ok(count)
    }
}

/// A job that runs. However it ends, its place is free again and those who wait for it are woken.
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
