//! Events for the sessions and the background work of this daemon.
//!
//! Invariant: the store publishes an event after the commit that made it true, and before the verb returns; one of another daemon
//! follows its commit within a moment. There is one channel per account, made with its first session and dropped some time after its
//! last; an idle session costs a receiver.

use super::{Event, PublicType};
use crate::id::{AccountId, InboxId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};

/// Events that a slow session may fall behind before it gets `Lagged`.
const BACKLOG: usize = 64;
/// The same for what follows the events of all domains.
const DOMAIN_BACKLOG: usize = 256;

/// Channels up to which those without receivers are kept.
const CLEAR_AT: usize = 64;

/// `None`: events were missed.
type Sender = broadcast::Sender<Option<Event>>;

/// Receives events from its start on.
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<Option<Event>>);

impl Subscription {
    /// The next event. On `Lagged` some were missed: look at the store. Cancel safe.
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        self.0.recv().await?.ok_or(RecvError::Lagged(1))
    }

    /// An event that has been published already.
    #[cfg(test)]
    pub fn try_recv(&mut self) -> Option<Event> {
        self.0.try_recv().ok().flatten()
    }
}

/// Wakes a reader of the log: there may be public events of its account, or of its inbox.
#[derive(Debug)]
pub struct Wakes(watch::Receiver<u32>);

impl Wakes {
    /// Resolves at the next wake since it has resolved last. Cancel safe.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The hub is gone, and with it the store.
            std::future::pending().await
        }
    }

    /// Changes when readers have to check their tokens.
    pub fn checks(&self) -> u32 {
        *self.0.borrow()
    }
}

/// The readers of an account's log. The value counts how often they had to check their tokens.
#[derive(Debug, Default)]
struct Readers {
    all: watch::Sender<u32>,
    by_inbox: HashMap<InboxId, watch::Sender<u32>>,
}

impl Readers {
    fn are_there(&mut self) -> bool {
        self.by_inbox.retain(|_, sender| sender.receiver_count() > 0);
        self.all.receiver_count() > 0 || !self.by_inbox.is_empty()
    }

    /// Wakes the readers of the account, and those of one inbox or of all.
    fn wake(&self, inbox: Option<&InboxId>, is_check: bool) {
        let wake =
            |sender: &watch::Sender<u32>| sender.send_modify(|checks| *checks = checks.wrapping_add(is_check.into()));
        wake(&self.all);
        if is_check {
            self.by_inbox.values().for_each(wake);
        } else {
            inbox.and_then(|inbox| self.by_inbox.get(inbox)).into_iter().for_each(wake);
        }
    }
}

/// The hub; clones share it.
#[derive(Clone, Debug)]
pub struct Events(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    accounts: Mutex<Channels>,
    readers: Mutex<ReadersOfAll>,
    /// Of custom domains, whosever they are.
    domains: Sender,
    /// Changes when another daemon has handed work back.
    work: watch::Sender<()>,
    followed: Mutex<Followed>,
    has_new: Notify,
}

/// Accounts whose events are read from the log.
#[derive(Debug, Default)]
struct Followed {
    accounts: HashSet<AccountId>,
    /// Those that were added while the list of all was read.
    added: HashSet<AccountId>,
    /// Those with events that no reader has heard of. Apart, since there are few.
    new: HashMap<AccountId, Origin>,
}

/// Which daemon has committed an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Here,
    Elsewhere,
}

#[derive(Debug, Default)]
struct Channels {
    by_account: HashMap<AccountId, Sender>,
    /// When there are this many channels, those without receivers are removed.
    clear_at: usize,
}

#[derive(Debug, Default)]
struct ReadersOfAll {
    by_account: HashMap<AccountId, Readers>,
    /// When there are this many accounts, those without readers are removed.
    clear_at: usize,
}

impl Default for Events {
    fn default() -> Self {
        let domains = broadcast::Sender::new(DOMAIN_BACKLOG);
        Self(Arc::new(Hub {
            accounts: Mutex::default(),
            readers: Mutex::default(),
            domains,
            work: watch::Sender::default(),
            followed: Mutex::default(),
            has_new: Notify::new(),
        }))
    }
}

impl Events {
    /// A hub without listeners.
    pub fn new() -> Self {
        Self::default()
    }

    /// Subscribes a session to its account's events; `None` where `limit` sessions are subscribed. On `Lagged`, read the
    /// store and check the log-in again.
    pub fn subscribe(&self, account: &AccountId, limit: usize) -> Option<Subscription> {
        let mut channels = self.channels();
        // Channels without receivers are dropped when there are twice as many as were left the last time.
        if channels.by_account.len() >= channels.clear_at {
            channels.by_account.retain(|_, sender| sender.receiver_count() > 0);
            channels.clear_at = CLEAR_AT.max(2 * channels.by_account.len());
        }
        let channel = channels.by_account.entry(account.clone()).or_insert_with(|| broadcast::Sender::new(BACKLOG));
        (channel.receiver_count() < limit).then(|| Subscription(channel.subscribe()))
    }

    /// Wakes a reader of the log of an account, or of one of its inboxes, from now on. An idle reader costs a receiver.
    pub fn wakes(&self, account: &AccountId, inbox: Option<&InboxId>) -> Wakes {
        let mut readers = self.readers();
        if readers.by_account.len() >= readers.clear_at {
            readers.by_account.retain(|_, readers| readers.are_there());
            readers.clear_at = CLEAR_AT.max(2 * readers.by_account.len());
        }
        let of_account = readers.by_account.entry(account.clone()).or_default();
        let sender = match inbox {
            Some(inbox) => {
                of_account.by_inbox.retain(|_, sender| sender.receiver_count() > 0);
                of_account.by_inbox.entry(inbox.clone()).or_default()
            }
            None => &of_account.all,
        };
        Wakes(sender.subscribe())
    }

    /// The events of custom domains of all accounts.
    pub fn of_domains(&self) -> Subscription {
        Subscription(self.0.domains.subscribe())
    }

    /// Changes when work that another daemon has not ended is due.
    pub fn work(&self) -> watch::Receiver<()> {
        self.0.work.subscribe()
    }

    /// Another daemon has ended its leases.
    #[cfg(feature = "cluster")]
    pub fn work_is_due(&self) {
        self.0.work.send_replace(());
    }

    /// Sends an event of this daemon to the account's open sessions, and to what follows custom domains; wakes readers of the log.
    pub fn publish(&self, account: &AccountId, event: Event) {
        self.publish_from(Origin::Here, account, event);
    }

    /// The same for an event of another daemon.
    #[cfg(feature = "cluster")]
    pub fn publish_of_another(&self, account: &AccountId, event: Event) {
        self.publish_from(Origin::Elsewhere, account, event);
    }

    fn publish_from(&self, origin: Origin, account: &AccountId, event: Event) {
        let is_check = matches!(event, Event::TokenRevoked { .. });
        if (is_check || PublicType::of(&event).is_some())
            && let Some(readers) = self.readers().by_account.get(account)
        {
            readers.wake(event.inbox(), is_check);
        }
        // Fails when nothing is subscribed.
        if event.domain().is_some() {
            let _ = self.0.domains.send(Some(event.clone()));
        }
        if let Some(sender) = self.channels().by_account.get(account) {
            let _ = sender.send(Some(event));
        }
        let mut followed = self.followed();
        if followed.accounts.contains(account) {
            let new = followed.new.entry(account.clone()).or_insert(origin);
            *new = origin.min(*new);
            self.0.has_new.notify_one();
        }
    }

    /// Follows the events of the accounts that `read` returns, of those that are added while it runs, and of no others.
    pub async fn follow<E>(&self, read: impl Future<Output = Result<Vec<AccountId>, E>>) -> Result<(), E> {
        self.followed().added.clear();
        let found = read.await?;
        let mut followed = self.followed();
        let Followed { accounts, added, new } = &mut *followed;
        *accounts = found.into_iter().chain(added.drain()).collect();
        new.retain(|account, _| accounts.contains(account));
        Ok(())
    }

    /// Follows the events of one more account, which the store has already.
    pub fn follow_also(&self, account: AccountId) {
        let mut followed = self.followed();
        followed.added.insert(account.clone());
        followed.accounts.insert(account);
    }

    /// The followed accounts with events since the last call.
    pub fn take_new(&self) -> Vec<(AccountId, Origin)> {
        std::mem::take(&mut self.followed().new).into_iter().collect()
    }

    /// Resolves when a followed account has a new event. For one reader.
    pub async fn has_new(&self) {
        self.0.has_new.notified().await;
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.0.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All subscribers are to look at the store: events of other daemons were missed.
    #[cfg(feature = "cluster")]
    pub fn missed(&self) {
        let _ = self.0.domains.send(None);
        for sender in self.channels().by_account.values() {
            let _ = sender.send(None);
        }
        {
            let mut followed = self.followed();
            let Followed { accounts, new, .. } = &mut *followed;
            for account in accounts.iter() {
                new.entry(account.clone()).or_insert(Origin::Elsewhere);
            }
        }
        self.0.has_new.notify_one();
        self.readers().by_account.values().for_each(|readers| readers.wake(None, true));
    }

    fn readers(&self) -> MutexGuard<'_, ReadersOfAll> {
        self.0.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{MailboxId, TokenId};

    fn revoked() -> Event {
        Event::TokenRevoked { token_id: TokenId::new() }
    }

    #[tokio::test]
    async fn an_account_hears_its_own_events_only() {
        let (events, ours, theirs) = (Events::new(), AccountId::new(), AccountId::new());
        let mut receiver = events.subscribe(&ours, usize::MAX).unwrap();
        let event = revoked();
        events.publish(&theirs, revoked());
        events.publish(&ours, event.clone());
        assert_eq!(receiver.recv().await, Ok(event));
        assert!(receiver.try_recv().is_none());
    }

    #[cfg(feature = "cluster")]
    #[tokio::test]
    async fn missed_events_reach_every_subscriber_as_a_gap() {
        let (events, account) = (Events::new(), AccountId::new());
        let mut subscribers = [events.subscribe(&account, 1).unwrap(), events.of_domains()];
        events.missed();
        for subscriber in &mut subscribers {
            assert!(matches!(subscriber.recv().await, Err(RecvError::Lagged(_))));
        }
    }

    #[tokio::test]
    async fn followed_accounts_have_events_until_they_are_taken() {
        let (events, one, other) = (Events::new(), AccountId::new(), AccountId::new());
        events.follow_also(one.clone());
        for account in [&one, &one, &other] {
            events.publish(account, revoked());
        }
        events.has_new().await;
        assert_eq!(events.take_new(), [(one.clone(), Origin::Here)]);
        assert_eq!(events.take_new(), []);
        events.publish(&one, revoked());
        let follow = async |accounts: &[&AccountId]| {
            let accounts = accounts.iter().map(|account| (*account).clone()).collect();
            events.follow(std::future::ready(Ok::<_, ()>(accounts))).await.unwrap();
        };
        follow(&[&one, &other]).await;
        assert_eq!(events.take_new(), [(one.clone(), Origin::Here)], "what is followed on stays new");
        events.publish(&one, revoked());
        follow(&[&other]).await;
        assert_eq!(events.take_new(), []);
    }

    #[tokio::test]
    async fn an_account_that_is_added_while_the_list_is_read_is_followed() {
        let (events, account) = (Events::new(), AccountId::new());
        let list = async {
            // It was not in the list yet.
            events.follow_also(account.clone());
            Ok::<_, ()>(Vec::new())
        };
        events.follow(list).await.unwrap();
        events.publish(&account, revoked());
        assert_eq!(events.take_new(), [(account.clone(), Origin::Here)]);
        events.follow(std::future::ready(Ok::<_, ()>(Vec::new()))).await.unwrap();
        events.publish(&account, revoked());
        assert_eq!(events.take_new(), []);
    }

    #[tokio::test]
    async fn readers_are_woken_by_public_events_of_their_account_or_inbox() {
        let (events, account, inbox_id, other) = (Events::new(), AccountId::new(), InboxId::new(), InboxId::new());
        let mut of_account = events.wakes(&account, None);
        let mut of_inbox = events.wakes(&account, Some(&inbox_id));
        let mut of_other = events.wakes(&account, Some(&other));
        let mut of_others = events.wakes(&AccountId::new(), None);
        let mut woken = || {
            [&mut of_account, &mut of_inbox, &mut of_other, &mut of_others].map(|wakes| {
                let is_woken = wakes.0.has_changed().unwrap();
                (is_woken, *wakes.0.borrow_and_update())
            })
        };
        events.publish(&account, Event::InboxDeleted { inbox_id: inbox_id.clone() });
        assert_eq!(woken(), [(true, 0), (true, 0), (false, 0), (false, 0)]);
        // Not public.
        events.publish(&account, Event::MailboxDeleted { inbox_id: inbox_id.clone(), mailbox: MailboxId::new(1) });
        assert_eq!(woken(), [(false, 0); 4]);
        events.publish(&account, revoked());
        assert_eq!(woken(), [(true, 1), (true, 1), (true, 1), (false, 0)]);
        #[cfg(feature = "cluster")]
        {
            events.missed();
            assert_eq!(woken(), [(true, 2), (true, 2), (true, 2), (true, 1)]);
        }
    }

    #[tokio::test]
    async fn readers_that_have_gone_do_not_pile_up() {
        let events = Events::new();
        let account = AccountId::new();
        let stays = events.wakes(&account, Some(&InboxId::new()));
        for _ in 0..1000 {
            drop(events.wakes(&AccountId::new(), None));
            drop(events.wakes(&account, Some(&InboxId::new())));
        }
        let readers = events.readers();
        assert!(readers.by_account.len() <= CLEAR_AT, "{}", readers.by_account.len());
        assert!(readers.by_account[&account].by_inbox.len() <= 2);
        drop((readers, stays));
    }

    #[tokio::test]
    async fn channels_without_listeners_do_not_pile_up() {
        let events = Events::new();
        let stays = AccountId::new();
        let mut receiver = events.subscribe(&stays, usize::MAX).unwrap();
        for _ in 0..1000 {
            drop(events.subscribe(&AccountId::new(), usize::MAX).unwrap());
        }
        assert!(events.channels().by_account.len() <= 64);
        events.publish(&stays, Event::InboxDeleted { inbox_id: InboxId::new() });
        assert!(receiver.recv().await.is_ok());
    }
}
