//! What is known of an HTTP request besides its octets. It is in the request's extensions.

use super::connections::Activity;
use super::listener::Shutdown;
use std::net::IpAddr;
use std::sync::Arc;

/// The client's address: the connection's peer, or the address given by a trusted proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) IpAddr);

/// The connection of a request, for responses that go on for long.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) activity: Arc<Activity>,
    pub(crate) shutdown: Shutdown,
}
