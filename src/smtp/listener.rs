//! The accept loops of the two servers.
//!
//! Invariant: each listener has its own limit of connections.

use super::connection;
use super::handler::Rules;
use super::mx::MxServer;
use super::submission::SubmissionServer;
use crate::config::Config;
use crate::net::listener::{self, Proxies, Shutdown};
use crate::resources::spool::Spool;
use std::sync::Arc;
use tokio::net::TcpListener;

const FULL: &[u8] = b"421 4.7.0 too many connections; try again later\r\n";

/// Serves submission until the shutdown: 587 with STARTTLS, or 465 with `implicit_tls`.
pub async fn submission(listener: TcpListener, server: Arc<SubmissionServer>, implicit_tls: bool, shutdown: Shutdown) {
    let shared = shared(&server.config, server.tls.clone(), implicit_tls, &server.spool, &shutdown);
    let name = if implicit_tls { "submissions" } else { "submission" };
    let proxies = Proxies::WithHeader(server.config.trusted_proxies.clone());
    listener::serve(
        name,
        listener,
        server.config.limits.capacity(),
        || FULL.into(),
        proxies,
        shutdown,
        move |stream, peer, activity| connection::serve(Arc::clone(&server), shared.clone(), stream, peer, activity),
    )
    .await;
}

/// Serves the MX until the shutdown.
pub async fn mx(listener: TcpListener, server: Arc<MxServer>, shutdown: Shutdown) {
    let shared = shared(&server.config, server.tls.clone(), false, &server.spool, &shutdown);
    let proxies = Proxies::WithHeader(server.config.trusted_proxies.clone());
    listener::serve(
        "mx",
        listener,
        server.config.limits.capacity(),
        || FULL.into(),
        proxies,
        shutdown,
        move |stream, peer, activity| connection::serve(Arc::clone(&server), shared.clone(), stream, peer, activity),
    )
    .await;
}

fn shared(
    config: &Config,
    tls: crate::net::tls::ServerTls,
    implicit_tls: bool,
    spool: &Spool,
    shutdown: &Shutdown,
) -> Arc<connection::Shared> {
    Arc::new(connection::Shared {
        rules: Arc::new(Rules {
            hostname: config.platform.hostname.clone(),
            platform: config.platform.domain.clone(),
            message_size: config.limits.message_size,
            recipients: config.limits.recipients,
        }),
        tls,
        implicit_tls,
        timeout: config.limits.smtp_timeout.0,
        spool: spool.clone(),
        shutdown: shutdown.clone(),
    })
}
