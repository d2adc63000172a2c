//! Addresses for programs whose addresses are configured.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Set for a story that another one runs in a separate process: the two share no ports.
pub const INNER: &str = "INNER_STORY";

/// An unused address that no other test gets, below the ephemeral ports, so that no outgoing connection takes it before
/// its program listens.
pub fn free_address() -> SocketAddr {
    const MANY: u32 = 10_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = if std::env::var_os(INNER).is_some() { 20_000 } else { 10_000 };
    // Concurrent runs start at different ports.
    let start = std::process::id().wrapping_mul(500);
    for _ in 0..MANY {
        let next = start.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % MANY;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(first + next).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free between {first} and {}", first + MANY);
}
