//! Reads the event log for accounts with subscriptions, and records a delivery of each event for each subscription that wants it.
//!
//! A job is an account. It begins when this daemon has committed an event of the account, or a second after another daemon has,
//! in case that one did not come to it. Invariant: the store records an event once, whichever daemon reads it, and however
//! often ([`crate::store::webhooks::feed`]); all feeds that are behind are found once a minute.

use crate::clock::{Clock, Timestamp};
use crate::events::{Cursor, EventId, Events, Origin, PublicType};
use crate::id::{AccountId, RunnerId};
use crate::jobs::{Claimed, Work};
use crate::public_events::{PublicEvent, PublicEvents, RenderError};
use crate::resources::Owner;
use crate::resources::places::{Line, Places};
use crate::store::events::{EventPage, LoggedEvent};
use crate::store::jobs::{Claim, JobKey};
use crate::store::webhooks::body::{Body, BodyError};
use crate::store::webhooks::capacity::Limits;
use crate::store::webhooks::feed::{FeedPage, Read, Recorded};
use crate::store::{Store, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Events that are read at once.
const PAGE: u32 = 100;
/// Events that are rendered together.
const GROUP: usize = 8;
/// Octets of compressed bodies recorded in a transaction, but for a body that alone has more.
const OCTETS: usize = 1024 * 1024;
/// How long the daemon that has committed an event has to read it, before others do.
const OTHERS_WAIT: Duration = Duration::from_secs(1);
/// Before another look at events that are not settled: until all transactions that began before have ended.
const UNSETTLED_PAUSE: Duration = Duration::from_millis(20);
/// After a fault.
const FAULT_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks at all feeds.
const LOOK_AT_ALL: Duration = Duration::from_secs(60);
/// Between two moves of the cursors of accounts without new events, so that the removal of old events leaves no gap.
const ADVANCE: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct FanOut {
    pub store: Store,
    pub clock: Clock,
    pub events: Events,
    pub public_events: PublicEvents,
    pub limits: Limits,
    /// Wakes the deliveries.
    pub recorded: Arc<Notify>,
    pub pending: Mutex<Pending>,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// Which accounts are looked at, and when.
#[derive(Debug, Default)]
pub(super) struct Pending {
    accounts: HashMap<AccountId, Instant>,
    all_at: Option<Instant>,
    advance_at: Option<Instant>,
}

impl Pending {
    fn add(&mut self, account: AccountId, at: Instant) {
        let earliest = self.accounts.entry(account).or_insert(at);
        *earliest = at.min(*earliest);
    }
}

impl Work for FanOut {
    type Job = AccountId;
    const NAME: &'static str = "events for webhooks";
    const ENDS_JOBS_AT_SHUTDOWN: bool = false;

    async fn claim(&self, claim: Claim, at_once: bool) -> Result<Vec<Claimed<AccountId>>, StoreError> {
        let now = Instant::now();
        for (account, origin) in self.events.take_new() {
            let at = match origin {
                Origin::Here => now,
                Origin::Elsewhere => now + OTHERS_WAIT,
            };
            self.pending().add(account, at);
        }
        if at_once || self.pending().all_at.is_none_or(|at| at <= now) {
            self.look_at_all(now).await?;
        }
        let due: Vec<AccountId> = {
            let mut pending = self.pending();
            let due = pending.accounts.extract_if(|_, at| at_once || *at <= now).map(|(account, _)| account);
            due.collect()
        };
        self.choose(due, &claim).await
    }

    async fn run(&self, account: AccountId, _runner: RunnerId) {
        if let Err(error) = self.read(&account).await {
            tracing::warn!(%error, %account, "cannot record the events of an account for its webhooks; trying again");
            self.pending().add(account, Instant::now() + FAULT_PAUSE);
        }
    }

    async fn next_due(&self, _places: Places) -> Result<Option<Timestamp>, StoreError> {
        let earliest = self.pending().accounts.values().min().copied();
        Ok(earliest.map(|at| self.clock.now().after(at.saturating_duration_since(Instant::now()))))
    }
}

impl FanOut {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the accounts with feeds, and finds those that are behind.
    async fn look_at_all(&self, now: Instant) -> Result<(), StoreError> {
        self.events.follow(self.store.webhook_feeds()).await?;
        for behind in self.store.webhook_feeds_behind(None).await? {
            self.pending().add(behind.account, now);
        }
        if self.pending().advance_at.is_none_or(|at| at <= now) {
            self.store.webhook_feeds_advance().await?;
            self.pending().advance_at = Some(now + ADVANCE);
        }
        self.pending().all_at = Some(now + LOOK_AT_ALL);
        Ok(())
    }

    /// Those of the accounts that have a place and settled events.
    async fn choose(&self, due: Vec<AccountId>, claim: &Claim) -> Result<Vec<Claimed<AccountId>>, StoreError> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let behind = match self.store.webhook_feeds_behind(Some(due.clone())).await {
            Ok(behind) => behind,
            Err(error) => {
                let at = Instant::now() + FAULT_PAUSE;
                due.into_iter().for_each(|account| self.pending().add(account, at));
                return Err(error);
            }
        };
        let later = Instant::now() + UNSETTLED_PAUSE;
        let is_running = |account: &AccountId| claim.running.contains(&JobKey::WebhookFeed(account.clone()));
        let (ready, others): (Vec<_>, Vec<_>) =
            behind.into_iter().partition(|behind| behind.is_settled && !is_running(&behind.account));
        others.into_iter().for_each(|behind| self.pending().add(behind.account, later));
        let mut line = Line::new(claim.places.clone(), []);
        let mut claimed = Vec::new();
        for behind in ready {
            let owner = Owner::Account(behind.account.clone());
            // An account has one job at a time.
            if line.take(behind.waiting()) {
                let account = behind.account;
                claimed.push(Claimed { key: JobKey::WebhookFeed(account.clone()), owner, job: account });
            } else {
                self.pending().add(behind.account, later);
            }
        }
        Ok(claimed)
    }

    /// Reads an account's events up to the settled end of the log.
    async fn read(&self, account: &AccountId) -> Result<(), ReadError> {
        let store = self.store.for_account(account);
        let mut is_first = true;
        while let Some(page) = store.webhook_feed_page(account, PAGE).await? {
            // The first page may have events of unknown kinds alone, and is passed.
            if page.page.events.is_empty() && !is_first {
                break;
            }
            is_first = false;
            if page.page.has_gap {
                tracing::error!(%account, "events of an account were removed before its webhooks got them: no daemon has read the log for as long as [store] event_retention");
            }
            let from = page.from;
            let (to, read) = self.shown(account, page).await?;
            let recorded = store.webhook_fan_out(account, (from, to), read, self.limits, self.clock.now()).await?;
            let Some(Recorded { not_sent, removed }) = recorded else { break };
            if not_sent + removed > 0 {
                tracing::warn!(%account, not_sent, removed, "limits of webhooks were reached: not_sent deliveries were recorded as failed, and removed ones that had ended can no longer be sent again");
            }
            self.recorded.notify_one();
        }
        Ok(())
    }

    /// The public events of a page, up to a number of octets, and the cursor after them.
    async fn shown(&self, account: &AccountId, page: FeedPage) -> Result<(Cursor, Vec<Read>), ReadError> {
        let FeedPage { page: EventPage { events, next, .. }, wanted, .. } = page;
        let is_wanted = |event: &&LoggedEvent| {
            PublicType::of(&event.event).is_some_and(|kind| wanted.iter().any(|one| one.includes(event.cursor, kind)))
        };
        let of_interest: Vec<LoggedEvent> = events.iter().filter(is_wanted).cloned().collect();
        let mut groups = of_interest.chunks(GROUP);
        let mut shown: BTreeMap<EventId, PublicEvent> = BTreeMap::new();
        let (mut octets, mut last, mut read) = (0_usize, None, Vec::new());
        for event in events {
            if octets > OCTETS {
                // The rest is read again.
                return Ok((last.unwrap_or(next), read));
            }
            last = Some(event.cursor);
            let (id, inbox) = (EventId(event.cursor), event.event.inbox().cloned());
            let Some(kind) = PublicType::of(&event.event) else { continue };
            if shown.is_empty()
                && is_wanted(&&event)
                && let Some(group) = groups.next()
            {
                // It begins with this event.
                let group = self.public_events.render(account, group).await?;
                shown.extend(group.into_iter().map(|event| (event.id, event)));
            }
            let body = shown.remove(&id).map(|event| Body::new(&event)).transpose()?;
            octets = octets.saturating_add(body.as_ref().map_or(0, |body| body.octets().len()));
            read.push(Read { at: event.cursor, id: id.to_string(), kind, inbox, body });
        }
        Ok((next, read))
    }
}
