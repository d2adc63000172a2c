//! Which connection is admitted, and which one is closed for it.

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
