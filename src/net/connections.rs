//! The connections of one listener, and which of them is closed to make room. Invariant: no address and no network
//! exceeds its share; while some connection is waiting for a client that has not logged in, a new connection is
//! admitted. The connection to close is the longest-waiting one of the network with the most waiting connections, so
//! that opening many closes only one's own. A full listener looks through its connections once for many new ones: the next ones to close
//! are kept in order for a moment, and while none is waiting a count says so.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Connection limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// In all.
    pub total: usize,
    /// From one address: an IPv4 address, or an IPv6 /64.
    pub per_address: usize,
    /// From one network: an IPv4 /24, or an IPv6 /48.
    pub per_network: usize,
    /// Idle time after which a waiting connection is closed while more than three quarters of `total` are in use.
    pub idle_under_load: Duration,
}

impl Capacity {
    /// The same limit for the total, an address and a network: for listeners on loopback.
    pub fn of_one_address(total: usize) -> Self {
        Self { total, per_address: total, per_network: total, idle_under_load: Duration::from_secs(10) }
    }
}

/// The key of the address limit: an IPv6 host has a whole /64; an IPv4-mapped address is its IPv4 address.
pub fn network_of(address: IpAddr) -> IpAddr {
    prefix_of(address, 32, 64)
}

/// The key of the network limit: IPv4 /24 or IPv6 /48, as assigned to one customer.
fn subnet_of(address: IpAddr) -> IpAddr {
    prefix_of(address, 24, 48)
}

fn prefix_of(address: IpAddr, v4: u32, v6: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & u32::MAX.checked_shl(32 - v4).unwrap_or(0)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & u128::MAX.checked_shl(128 - v6).unwrap_or(0)).into(),
    }
}

/// Value of [`Activity::since`] while the server works for the client, or after log-in.
const NOT_WAITING: u64 = u64::MAX;

/// How long a new connection waits for a closing one. Sessions close faster than this.
const CLOSING_PAUSE: Duration = Duration::from_millis(200);
/// Minimum microseconds between sweeps for idle connections.
const SWEEP_PAUSE: u64 = 1_000_000;

/// How long the connections to close next are kept in order, in microseconds.
const ORDER_KEPT: u64 = 100_000;
/// One connection in this many is put in order, so that a walk over all of them serves that share of new connections.
const ORDERED: usize = 64;
/// The minimum number of connections that are put in order.
const FEWEST_ORDERED: usize = 16;

/// Microseconds since the first call.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_micros()).unwrap_or(NOT_WAITING - 1)
}

/// What a connection is doing, updated by its session. A new connection is waiting.
#[derive(Debug)]
pub struct Activity {
    /// Microseconds of the clock since when it has been waiting for the client.
    since: AtomicU64,
    /// It has to close; its slot has been given to another.
    closing: AtomicBool,
    close: Notify,
    /// How many of the listener are waiting, closing ones too.
    waiting: Arc<AtomicI64>,
}

impl Activity {
    fn new(waiting: Arc<AtomicI64>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self { since: AtomicU64::new(now()), closing: AtomicBool::new(false), close: Notify::new(), waiting }
    }

    /// Marks it as waiting for the client from now on.
    pub fn waits(&self) {
        if self.since.swap(now(), Ordering::Relaxed) == NOT_WAITING {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Marks it as not waiting: the server is working, or the client has logged in.
    pub fn works(&self) {
        if self.since.swap(NOT_WAITING, Ordering::Relaxed) != NOT_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The client read part of a response: restarts the wait, if it is waiting.
    pub fn goes_on(&self) {
        if self.is_waiting() {
            self.waits();
        }
    }

    pub fn is_waiting(&self) -> bool {
        self.since.load(Ordering::Relaxed) != NOT_WAITING
    }

    /// Resolves once when the connection has to close to free its slot. Cancel safe.
    pub async fn has_to_close(&self) {
        self.close.notified().await;
    }

    fn waiting_since(&self) -> Option<u64> {
        let since = self.since.load(Ordering::Relaxed);
        (since != NOT_WAITING && !self.closing.load(Ordering::Relaxed)).then_some(since)
    }
}

#[derive(Debug)]
pub(super) struct Connections {
    capacity: Capacity,
    open: Mutex<Open>,
    /// Notified when a closing connection has ended.
    gone: Notify,
}

#[derive(Debug, Default)]
struct Open {
    /// Connections that hold a slot; closing ones have given theirs up.
    total: usize,
    closing: usize,
    /// All connections, by [`subnet_of`] their address.
    by_network: HashMap<IpAddr, HashMap<u64, Arc<Activity>>>,
    /// How many there are, by [`network_of`] their address.
    by_address: HashMap<IpAddr, usize>,
    /// How many are waiting, closing ones too.
    waiting: Arc<AtomicI64>,
    /// The next ones to close, with since when they have been waiting.
    order: VecDeque<(u64, Arc<Activity>)>,
    /// When they were put in order.
    ordered: u64,
    /// The key of the last one.
    last: u64,
    /// When the last sweep for idle connections took place.
    swept: u64,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("too many connections of this address")]
    AddressFull,
    #[error("too many connections of this network")]
    NetworkFull,
    /// No connection is waiting that could be closed.
    #[error("too many connections")]
    ListenerFull,
    /// Too many are still closing: sockets must not pile up.
    #[error("too many connections, of which many are closing")]
    ManyAreClosing,
}

/// A connection's slot, freed on drop.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
    key: u64,
    pub(super) activity: Arc<Activity>,
}

impl Connections {
    pub(super) fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Self { capacity, open: Mutex::default(), gone: Notify::new() })
    }

    /// Admits a connection from `address`. A proxy is exempt from the limits by address and network. If many
    /// connections are closing, waits briefly for the first to end.
    pub(super) async fn admit(self: &Arc<Self>, address: IpAddr, is_proxy: bool) -> Result<Place, Refused> {
        let one_has_gone = async {
            loop {
                match self.try_admit(address, is_proxy) {
                    Err(Refused::ManyAreClosing) => self.gone.notified().await,
                    decided => return decided,
                }
            }
        };
        tokio::time::timeout(CLOSING_PAUSE, one_has_gone).await.unwrap_or(Err(Refused::ManyAreClosing))
    }

    fn try_admit(self: &Arc<Self>, address: IpAddr, is_proxy: bool) -> Result<Place, Refused> {
        let (address, capacity) = (address.to_canonical(), self.capacity);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let same_address = open.by_address.get(&network_of(address)).copied().unwrap_or_default();
        if same_address >= capacity.per_address && !is_proxy {
            return Err(Refused::AddressFull);
        }
        let same_network = open.by_network.get(&subnet_of(address)).map_or(0, HashMap::len);
        if same_network >= capacity.per_network && !is_proxy {
            return Err(Refused::NetworkFull);
        }
        open.close_idle(&capacity);
        if open.total >= capacity.total {
            open.close_longest_waiting(&capacity)?;
        }
        open.total += 1;
        open.last += 1;
        let (key, activity) = (open.last, Arc::new(Activity::new(Arc::clone(&open.waiting))));
        *open.by_address.entry(network_of(address)).or_default() += 1;
        open.by_network.entry(subnet_of(address)).or_default().insert(key, Arc::clone(&activity));
        Ok(Place { connections: Arc::clone(self), address, key, activity })
    }
}

impl Open {
    /// Under load, closes connections that have waited too long. Runs at most once a second.
    fn close_idle(&mut self, capacity: &Capacity) {
        let now = now();
        let loaded = self.total.saturating_mul(4) > capacity.total.saturating_mul(3);
        if !loaded || now.saturating_sub(self.swept) < SWEEP_PAUSE {
            return;
        }
        self.swept = now;
        let limit = u64::try_from(capacity.idle_under_load.as_micros()).unwrap_or(u64::MAX);
        let idle =
            |activity: &Activity| activity.waiting_since().is_some_and(|since| now.saturating_sub(since) >= limit);
        let all = self.by_network.values().flat_map(HashMap::values);
        let idle: Vec<_> = all.filter(|activity| idle(activity)).map(Arc::clone).collect();
        idle.iter().for_each(|activity| self.close(activity));
    }

    /// Frees one slot.
    fn close_longest_waiting(&mut self, capacity: &Capacity) -> Result<(), Refused> {
        if self.closing > capacity.total / 8 {
            return Err(Refused::ManyAreClosing);
        }
        if self.waiting.load(Ordering::Relaxed) <= 0 {
            return Err(Refused::ListenerFull);
        }
        if now().saturating_sub(self.ordered) >= ORDER_KEPT {
            self.order.clear();
        }
        let next = self.next_in_order().or_else(|| {
            self.put_in_order((capacity.total / ORDERED).max(FEWEST_ORDERED));
            self.next_in_order()
        });
        let next = next.ok_or(Refused::ListenerFull)?;
        self.close(&next);
        Ok(())
    }

    /// The first that has been waiting all the time since they were put in order.
    fn next_in_order(&mut self) -> Option<Arc<Activity>> {
        while let Some((since, activity)) = self.order.pop_front() {
            if activity.waiting_since() == Some(since) {
                return Some(activity);
            }
        }
        None
    }

    /// Finds the next ones to close, at most `count`: each the longest-waiting one of the network that has the most waiting, without
    /// those before it. Ends at networks with half as many as the largest: a network that opens more meanwhile is larger than they are.
    fn put_in_order(&mut self, count: usize) {
        let waiting = |all: &HashMap<u64, Arc<Activity>>| {
            let waiting = all.iter().filter_map(|(key, one)| Some(Reverse((one.waiting_since()?, *key))));
            waiting.collect::<BinaryHeap<Reverse<(u64, u64)>>>()
        };
        let rank = |at: usize, waiting: &BinaryHeap<Reverse<(u64, u64)>>| {
            waiting.peek().map(|Reverse((since, _))| (waiting.len(), Reverse(*since), at))
        };
        let mut networks: Vec<_> = self.by_network.values().map(|all| (all, waiting(all))).collect();
        let ranks = networks.iter().enumerate().filter_map(|(at, (_, waiting))| rank(at, waiting));
        let (mut ranks, mut order) = (ranks.collect::<BinaryHeap<_>>(), VecDeque::new());
        let largest = ranks.peek().map_or(0, |(waiting, ..)| *waiting);
        while order.len() < count
            && let Some((many, _, at)) = ranks.pop()
            && many > largest / 2
            && let Some((all, waiting)) = networks.get_mut(at)
        {
            let longest = waiting.pop().and_then(|Reverse((since, key))| Some((since, Arc::clone(all.get(&key)?))));
            order.extend(longest);
            ranks.extend(rank(at, waiting));
        }
        (self.order, self.ordered) = (order, now());
    }

    fn close(&mut self, activity: &Activity) {
        activity.closing.store(true, Ordering::Relaxed);
        activity.close.notify_one();
        self.total -= 1;
        self.closing += 1;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.activity.works();
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if self.activity.closing.load(Ordering::Relaxed) {
            open.closing = open.closing.saturating_sub(1);
            self.connections.gone.notify_one();
        } else {
            open.total = open.total.saturating_sub(1);
        }
        if let Entry::Occupied(mut of_address) = open.by_address.entry(network_of(self.address)) {
            *of_address.get_mut() -= 1;
            if *of_address.get() == 0 {
                of_address.remove();
            }
        }
        if let Entry::Occupied(mut of_network) = open.by_network.entry(subnet_of(self.address)) {
            of_network.get_mut().remove(&self.key);
            if of_network.get().is_empty() {
                of_network.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
