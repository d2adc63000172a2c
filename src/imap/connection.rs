//! One client, from greeting to BYE.
//!
//! Invariant: nothing from before STARTTLS is kept; whatever a session waits for, it ends when the daemon stops, when its
//! log-in ends, or at the idle timeout (RFC 3501 §5.4).

use super::authenticated;
use super::context::{Context, End};
use super::not_authenticated::{self, Step};
use super::server::ImapServer;
use super::watch::{Changed, follow};
use super::wire::capability::Phase;
use super::wire::code::Code;
use super::wire::stream::Stream;
use super::wire::{Limits, Wire};
use crate::auth::session::AuthSession;
use crate::net::connections::Activity;
use crate::net::listener::Shutdown;
use crate::resources::Owner;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// From connection to log-in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(180);
const TLS_TIMEOUT: Duration = Duration::from_secs(30);
/// Before log-in: the longest ID (RFC 2971 §3.3), thirty values of 1,024 octets, each of them escaped.
const BEFORE_LOGIN: Limits = Limits { command: 66 * 1024, message: None };
/// After log-in: the UID sets that clients send.
const COMMAND: u32 = 256 * 1024;
/// How long the BYE to an overloaded server's client may take.
const OVERLOADED_TIMEOUT: Duration = Duration::from_millis(100);

const STOPPING: &str = "server is shutting down, closing connection";
const OVERLOADED: &str = "[UNAVAILABLE] too many connections, closing idle connection; try again later";

pub(super) async fn run(
    server: Arc<ImapServer>,
    tcp: TcpStream,
    peer: IpAddr,
    activity: Arc<Activity>,
    implicit_tls: bool,
    shutdown: Shutdown,
) {
    let stream = if implicit_tls {
        match encrypt(&server, tcp, peer, &activity, &shutdown).await {
            Some(stream) => stream,
            None => return,
        }
    } else {
        Stream::Plain(tcp)
    };
    let deadline = Instant::now() + LOGIN_TIMEOUT.min(server.config.limits.imap_timeout.0);
    // Boxed: a session after log-in does not keep the room for the state before.
    let Some((mut wire, mut auth)) =
        Box::pin(authenticate(&server, stream, peer, &activity, implicit_tls, deadline, &shutdown)).await
    else {
        return;
    };
    activity.works();
    let login = auth.login().clone();
    let spool = server.spool.client(peer).logged_in(&login.account);
    wire.set_limits(Limits { command: COMMAND, message: Some(server.config.limits.message_size) }, spool);
    tracing::debug!(%peer, inbox = %login.inbox, "logged in over IMAP");

    let store = server.store.for_account(&login.account);
    let mailboxes = server.mailboxes.for_owner(Owner::Account(login.account.clone()));
    let server = Arc::new(ImapServer { store, mailboxes, ..ImapServer::clone(&server) });
    let changed = Changed::default();
    let mut context = Context::new(&server, &login, &changed);
    let end = tokio::select! {
        biased;
        () = shutdown.requested() => End::bye(STOPPING),
        end = follow(&mut auth, &changed) => End::bye(end.to_string()),
        end = authenticated::serve(&mut context, &mut wire) => end,
    };
    finish(wire, &end, peer).await;
}

/// From the greeting to a log-in.
async fn authenticate(
    server: &ImapServer,
    stream: Stream,
    peer: IpAddr,
    activity: &Activity,
    mut is_tls: bool,
    deadline: Instant,
    shutdown: &Shutdown,
) -> Option<(Wire, AuthSession)> {
    let mut wire = Wire::new(stream, BEFORE_LOGIN, server.spool.client(peer));
    let phase = if is_tls { Phase::NotAuthenticated } else { Phase::Plaintext };
    wire.writer().untagged_ok(Some(&Code::Capability(phase)), "Inboxlayer ready");
    let mut errors = not_authenticated::Errors::default();
    loop {
        let step = tokio::select! {
            biased;
            () = shutdown.requested() => Step::End(End::bye(STOPPING)),
            () = activity.has_to_close() => Step::End(End::Overloaded),
            step = timeout_at(deadline, not_authenticated::step(server, &mut wire, peer, is_tls, &mut errors)) => {
                step.unwrap_or(Step::End(End::bye("log-in timeout, closing connection")))
            }
        };
        match step {
            Step::Continue | Step::LoginFailed => {}
            Step::LoggedIn(session) => return Some((wire, *session)),
            Step::StartTls => {
                let (stream, ahead) = wire.into_stream();
                if ahead > 0 {
                    tracing::warn!(listener = "imap", %peer, octets = ahead, "plaintext behind STARTTLS was dropped");
                }
                let Stream::Plain(tcp) = stream else { return None };
                let encrypted = encrypt(server, tcp, peer, activity, shutdown).await?;
                wire = Wire::new(encrypted, BEFORE_LOGIN, server.spool.client(peer));
                is_tls = true;
            }
            Step::End(end) => {
                finish(wire, &end, peer).await;
                return None;
            }
        }
    }
}

async fn encrypt(
    server: &ImapServer,
    tcp: TcpStream,
    peer: IpAddr,
    activity: &Activity,
    shutdown: &Shutdown,
) -> Option<Stream> {
    let accepted = tokio::select! {
        () = shutdown.requested() => return None,
        () = activity.has_to_close() => return None,
        accepted = timeout(TLS_TIMEOUT, server.tls.accept(tcp)) => accepted,
    };
    match accepted {
        Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::info!(listener = "imap", %peer, %error, "the TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::info!(listener = "imap", %peer, "TLS handshake timed out");
            None
        }
    }
}

async fn finish(wire: Wire, end: &End, peer: IpAddr) {
    match end {
        End::Bye(text) => {
            tracing::info!(listener = "imap", %peer, reply = format!("BYE {text}"), "a session was ended");
            wire.close(text).await;
        }
        // At debug level, since an attacker can cause many.
        End::Overloaded => {
            tracing::debug!(listener = "imap", %peer, "closed: the listener is full");
            let _ = timeout(OVERLOADED_TIMEOUT, wire.close(OVERLOADED)).await;
        }
        End::LoggedOut => wire.close_flushed().await,
        End::Gone => {}
    }
}
