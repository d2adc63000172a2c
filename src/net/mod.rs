//! Listening: sockets, TLS, and how many may knock; and which addresses may be dialled.
//!
//! Invariant: a connection is counted from accept to end, per door and per address, and no door serves one that is over
//! its limit; when the daemon stops, no new connection is taken and those that are open are told.

pub mod client_tls;
pub mod hourly;
pub mod listener;
pub mod ranges;
pub mod tls;
