//! The accept loop of the IMAP server.

use super::connection;
use crate::auth::login::Authenticator;
use crate::config::Config;
use crate::events::Events;
use crate::mailbox::MailboxService;
use crate::net::connections::Capacity;
use crate::net::listener::{Proxies, Shutdown};
use crate::net::tls::ServerTls;
use crate::reading::Reading;
use crate::resources::spool::Spool;
use crate::store::Store;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What the server works with. Each session shares it.
#[derive(Clone, Debug)]
pub struct ImapServer {
    /// Limits and names.
    pub config: Arc<Config>,
    /// The mailboxes; the account's handle after log-in.
    pub store: Store,
    /// Where messages are taken apart.
    pub reading: Reading,
    /// What changes them, likewise.
    pub mailboxes: MailboxService,
    /// What sessions must hear of.
    pub events: Events,
    /// Who may come in.
    pub authenticator: Authenticator,
    /// Where messages are while they come in, and the budget of memory.
    pub spool: Spool,
    /// For STARTTLS and for the port with TLS at once.
    pub tls: ServerTls,
}

/// Serves clients until the shutdown. `implicit_tls`: TLS from the first octet (993); else STARTTLS (143).
pub async fn serve(listener: TcpListener, server: Arc<ImapServer>, implicit_tls: bool, shutdown: Shutdown) {
    let capacity = Capacity::of(&server.config.limits);
    let name = if implicit_tls { "imaps" } else { "imap" };
    let refuse = b"* BYE [UNAVAILABLE] too many connections, try again later\r\n";
    let proxies = Proxies::WithHeader(server.config.trusted_proxies.clone());
    let ending = shutdown.clone();
    crate::net::listener::serve(name, listener, capacity, refuse, proxies, shutdown, move |stream, peer, activity| {
        connection::run(Arc::clone(&server), stream, peer.ip(), activity, implicit_tls, ending.clone())
    })
    .await;
}
