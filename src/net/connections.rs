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
        let most = ranks.peek().map_or(0, |(most, ..)| *most);
        while order.len() < count
            && let Some((many, _, at)) = ranks.pop()
            && many > most / 2
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
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn connections(total: usize, per_address: usize, per_network: usize, idle: Duration) -> Arc<Connections> {
        Connections::new(Capacity { total, per_address, per_network, idle_under_load: idle })
    }

    fn admit(connections: &Arc<Connections>, address: IpAddr) -> Result<Place, Refused> {
        connections.try_admit(address, false)
    }

    const LONG: Duration = Duration::from_secs(3600);

    fn closing(place: &Place) -> bool {
        place.activity.closing.load(Ordering::Relaxed)
    }

    #[test]
    fn a_slot_is_freed_and_a_v6_network_counts_as_one() {
        let connections = connections(3, 2, 3, LONG);
        let first = admit(&connections, ip("2001:db8::1")).unwrap();
        let _second = admit(&connections, ip("2001:db8::2")).unwrap();
        assert!(admit(&connections, ip("2001:db8::3")).is_err());
        let other = admit(&connections, ip("192.0.2.1")).unwrap();
        drop(first);
        assert!(admit(&connections, ip("::ffff:192.0.2.1")).is_ok());
        drop(other);
        let open = connections.open.lock().unwrap();
        assert_eq!((open.by_network.len(), open.by_address.len()), (1, 1));
    }

    #[test]
    fn no_network_exceeds_its_share() {
        let connections = connections(100, 100, 2, LONG);
        for network in ["192.0.2.", "192.0.3.", "2001:db8::", "2001:db8:1::"] {
            let _places = [1, 2].map(|host| admit(&connections, ip(&format!("{network}{host}"))).unwrap());
            assert!(admit(&connections, ip(&format!("{network}3"))).is_err(), "{network}");
        }
        // A /48 has many /64s.
        let _places = [1, 2].map(|net| admit(&connections, ip(&format!("2001:db8:2:{net}::1"))).unwrap());
        assert!(admit(&connections, ip("2001:db8:2:3::1")).is_err());
    }

    #[test]
    fn a_proxy_is_exempt_from_address_limits() {
        let connections = connections(3, 1, 1, LONG);
        let _places = [1, 2, 3].map(|_| connections.try_admit(ip("192.0.2.1"), true).unwrap());
        assert!(admit(&connections, ip("192.0.2.1")).is_err());
    }

    #[test]
    fn the_longest_waiting_of_the_largest_network_is_closed_first() {
        let connections = connections(5, 5, 5, LONG);
        let alone = admit(&connections, ip("198.51.100.1")).unwrap();
        let mut crowd = Vec::new();
        for host in 1..=4 {
            std::thread::sleep(Duration::from_millis(2));
            crowd.push(admit(&connections, ip(&format!("192.0.2.{host}"))).unwrap());
        }
        // The oldest connection was just active, and the next is being served.
        crowd[1].activity.works();
        std::thread::sleep(Duration::from_millis(2));
        crowd[0].activity.waits();
        let _new = admit(&connections, ip("203.0.113.1")).unwrap();
        assert!(closing(&crowd[2]) && !closing(&alone));
        assert_eq!(crowd.iter().filter(|place| closing(place)).count(), 1);
        // A closing connection is not closed again and frees no second slot.
        crowd[2].activity.waits();
        drop(crowd.swap_remove(2));
        assert_eq!(connections.open.lock().unwrap().total, 5);
    }

    #[test]
    fn connections_are_closed_in_order_and_those_that_went_on_meanwhile_are_not() {
        let connections = connections(64, 64, 64, LONG);
        let mut crowd = Vec::new();
        for host in 0..64 {
            crowd.push(admit(&connections, ip(&format!("192.0.2.{host}"))).unwrap());
            while now() == crowd[host].activity.waiting_since().unwrap() {
                std::hint::spin_loop();
            }
        }
        let mut new = Vec::new();
        for n in 0..30 {
            let left = crowd.iter().filter(|place| place.activity.waiting_since().is_some());
            let next = left.min_by_key(|place| place.activity.waiting_since()).unwrap();
            match n % 5 {
                1 => next.activity.works(),
                2 => next.activity.waits(),
                _ => {}
            }
            let before = crowd.iter().filter(|place| closing(place)).count();
            new.push(admit(&connections, ip(&format!("198.51.{n}.1"))).unwrap());
            let since = |place: &&Place| place.activity.waiting_since();
            let first_left = crowd.iter().filter_map(|place| since(&place)).min().unwrap();
            let closed = crowd.iter().filter(|place| closing(place));
            let last_closed = closed.map(|place| place.activity.since.load(Ordering::Relaxed)).max().unwrap();
            assert!(last_closed < first_left, "{n}");
            assert_eq!(crowd.iter().filter(|place| closing(place)).count(), before + 1);
            // Its session has ended.
            connections.open.lock().unwrap().closing = 0;
        }
        let waiting = || connections.open.lock().unwrap().waiting.load(Ordering::Relaxed);
        assert_eq!(waiting(), 64 + 30 - 6);
        crowd.drain(..).for_each(drop);
        new.iter().for_each(|place| place.activity.works());
        assert_eq!(waiting(), 0);
        assert!(matches!(admit(&connections, ip("203.0.113.1")), Ok(_) | Err(Refused::ListenerFull)));
    }

    #[test]
    fn a_crowd_that_reconnects_closes_none_of_those_who_came_alone() {
        for first in 0..40 {
            let connections = connections(40, 40, 10, LONG);
            let of_crowd = |n: usize| admit(&connections, ip(&format!("198.51.{}.{}", n % 8, 1 + n / 8)));
            let (mut crowd, mut alone) = (Vec::new(), Vec::new());
            for n in 0..160 {
                crowd.extend(of_crowd(n));
                if n >= first && n % 4 == 0 && alone.len() < 20 {
                    alone.push(admit(&connections, ip(&format!("203.0.{n}.1"))).unwrap());
                }
                // Closed sessions end.
                crowd.retain(|place| !closing(place));
                assert!(!alone.iter().any(closing), "{first}, {n}");
            }
            assert_eq!((alone.len(), crowd.len()), (20, 20));
        }
    }

    #[test]
    fn logged_in_connections_do_not_count_against_a_new_one_of_their_network() {
        let connections = connections(6, 6, 6, LONG);
        let users = [1, 2, 3].map(|host| admit(&connections, ip(&format!("192.0.2.{host}"))).unwrap());
        users.iter().for_each(|place| place.activity.works());
        let colleague = admit(&connections, ip("192.0.2.4")).unwrap();
        let crowd = [1, 2].map(|host| admit(&connections, ip(&format!("198.51.100.{host}"))).unwrap());
        let _new = admit(&connections, ip("203.0.113.1")).unwrap();
        assert!(closing(&crowd[0]) && !closing(&colleague) && !users.iter().any(closing));
    }

    #[test]
    fn a_served_or_logged_in_connection_is_not_closed() {
        let connections = connections(2, 2, 2, Duration::ZERO);
        let places = ["192.0.2.1", "192.0.2.2"].map(|host| admit(&connections, ip(host)).unwrap());
        places.iter().for_each(|place| place.activity.works());
        assert!(admit(&connections, ip("203.0.113.1")).is_err());
        places[0].activity.waits();
        assert!(admit(&connections, ip("203.0.113.1")).is_ok());
        assert!(closing(&places[0]) && !closing(&places[1]));
    }

    #[test]
    fn above_three_quarters_idle_connections_are_closed() {
        let connections = connections(4, 4, 4, Duration::ZERO);
        let three = ["192.0.2.1", "192.0.3.1", "192.0.4.1"].map(|host| admit(&connections, ip(host)).unwrap());
        let fourth = admit(&connections, ip("192.0.5.1")).unwrap();
        assert!(!three.iter().any(closing));
        connections.open.lock().unwrap().swept = 0;
        // The clock starts with the process; the second sweep is a second after the first.
        while now() < SWEEP_PAUSE {
            std::thread::sleep(Duration::from_millis(20));
        }
        fourth.activity.works();
        let _new = admit(&connections, ip("203.0.113.1")).unwrap();
        assert!(three.iter().all(closing) && !closing(&fourth));
    }

    /// While closing connections have not ended, at most an eighth of the slots are given away beside them.
    #[test]
    fn sockets_do_not_pile_up() {
        let connections = connections(16, 16, 1000, LONG);
        let mut places = Vec::new();
        for host in 0..100 {
            places.extend(admit(&connections, ip(&format!("192.0.{host}.1"))));
        }
        assert_eq!(places.len(), 16 + 16 / 8 + 1);
        assert_eq!(places.iter().filter(|place| closing(place)).count(), 3);
    }
}
