//! The accept loop of the IMAP server.

use super::connection;
use super::server::ImapServer;
use crate::net::listener::{Proxies, Shutdown};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves clients until the shutdown. `implicit_tls`: TLS from the first octet (993); else STARTTLS (143).
pub async fn serve(listener: TcpListener, server: Arc<ImapServer>, implicit_tls: bool, shutdown: Shutdown) {
    let capacity = server.config.limits.capacity();
    let name = if implicit_tls { "imaps" } else { "imap" };
    let refuse = || b"* BYE [UNAVAILABLE] too many connections, try again later\r\n".into();
    let proxies = Proxies::WithHeader(server.config.trusted_proxies.clone());
    let ending = shutdown.clone();
    crate::net::listener::serve(name, listener, capacity, refuse, proxies, shutdown, move |stream, peer, activity| {
        connection::run(Arc::clone(&server), stream, peer.ip(), activity, implicit_tls, ending.clone())
    })
    .await;
}
