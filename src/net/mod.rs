//! Listening sockets, TLS, connection limits, and which addresses may be dialled. Invariant: a connection is counted
//! from accept to close, by listener, address and network, and one over a limit is not served; on shutdown no new
//! connection is accepted and open sessions are closed with their protocol's message.

pub mod client_tls;
pub mod connections;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/net.rs"]
pub(crate) mod fuzz;
pub mod listener;
mod proxy_protocol;
pub mod ranges;
pub(crate) mod request;
pub mod tls;
