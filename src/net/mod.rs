//! Listening: sockets, TLS, and how many may knock; and which addresses may be dialled.
//!
//! Invariant: a connection is counted from accept to end, per listener, address and network, and no listener serves one
//! that is over its limit; when the daemon stops, no new connection is taken and those that are open are told.

pub mod client_tls;
pub mod connections;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/net.rs"]
pub(crate) mod fuzz;
pub mod hourly;
pub mod listener;
mod proxy_protocol;
pub mod ranges;
pub mod tls;
