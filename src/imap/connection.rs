//! One client, from greeting to BYE.
//!
//! Invariant: STARTTLS starts over with nothing kept of what came before; whatever a session waits for, it ends when the
//! daemon does, when its log-in does, or when its client is silent for too long (RFC 3501 §5.4).

use super::listener::ImapServer;
use super::not_authenticated::{self, Step};
use super::response::{Phase, bye, capabilities, untagged_ok};
use super::session::{End, Session};
use super::stream::Stream;
use super::watch::{Changed, until_end};
use super::wire::{Limits, Wire};
use crate::auth::login::Login;
use crate::events::Event;
use crate::net::connections::Activity;
use crate::net::listener::Shutdown;
use crate::resources::Owner;
use imap_codec::imap_types::response::Code;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, timeout, timeout_at};

/// From connection to log-in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(180);
/// For a TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(30);
/// Before log-in: enough for the longest ID (RFC 2971 §3.3), thirty values of 1,024 octets, each of them escaped.
const GUEST: Limits = Limits { command: 66 * 1024, message: None };
/// After it: long enough for the UID sets that clients send.
const USER_COMMAND: u32 = 256 * 1024;

const CLOSING: &str = "the server is closing";
const OVERLOADED: &str = "[UNAVAILABLE] too many connections, closing this idle one; try again later";

/// Serves one client.
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
    // A not_authenticated's state is small and gone once it is a user.
    let Some((mut wire, login, events)) =
        Box::pin(welcome(&server, stream, peer, &activity, implicit_tls, deadline, &shutdown)).await
    else {
        return;
    };
    activity.works();
    let spool = server.spool.client(peer).logged_in(&login.account);
    wire.set_limits(Limits { command: USER_COMMAND, message: Some(server.config.limits.message_size) }, spool);
    tracing::debug!(%peer, inbox = %login.inbox, "logged in over IMAP");

    let store = server.store.for_account(&login.account);
    let mailboxes = server.mailboxes.for_owner(Owner::Account(login.account.clone()));
    let server = Arc::new(ImapServer { store, mailboxes, ..ImapServer::clone(&server) });
    let changed = Changed::default();
    let mut session = Session::new(&server, &login, &changed);
    let end = tokio::select! {
        biased;
        () = shutdown.requested() => End::Bye(CLOSING),
        words = until_end(&server, &login, events, &changed) => End::Bye(words),
        end = session.serve(&mut wire) => end,
    };
    finish(wire, &end, peer).await;
}

/// Greets and waits for a log-in.
async fn welcome(
    server: &ImapServer,
    stream: Stream,
    peer: IpAddr,
    activity: &Activity,
    mut is_tls: bool,
    deadline: Instant,
    shutdown: &Shutdown,
) -> Option<(Wire, Login, Receiver<Event>)> {
    let mut wire = Wire::new(stream, GUEST, server.spool.client(peer));
    let phase = if is_tls { Phase::NotAuthenticated } else { Phase::Plaintext };
    let code = capabilities(phase).try_into().ok().map(Code::Capability);
    wire.push(&untagged_ok(code, "Inboxlayer is ready"));
    let mut mistakes = not_authenticated::Mistakes::default();
    loop {
        let step = tokio::select! {
            biased;
            () = shutdown.requested() => Step::End(End::Bye(CLOSING)),
            () = activity.has_to_close() => Step::End(End::Bye(OVERLOADED)),
            step = timeout_at(deadline, not_authenticated::step(server, &mut wire, peer, is_tls, &mut mistakes)) => {
                step.unwrap_or(Step::End(End::Bye("too slow to log in")))
            }
        };
        match step {
            Step::Stay | Step::LogInFailed => {}
            Step::LoggedIn(login, events) => return Some((wire, login, events)),
            Step::StartTls => {
                let (stream, ahead) = wire.into_stream();
                if ahead > 0 {
                    tracing::warn!(listener = "imap", %peer, octets = ahead, "plaintext behind STARTTLS was dropped");
                }
                let Stream::Plain(tcp) = stream else { return None };
                let encrypted = encrypt(server, tcp, peer, activity, shutdown).await?;
                wire = Wire::new(encrypted, GUEST, server.spool.client(peer));
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
            tracing::info!(%peer, %error, "IMAP: no TLS came about");
            None
        }
        Err(_) => {
            tracing::info!(%peer, "IMAP: the client stalled in the TLS handshake");
            None
        }
    }
}

async fn finish(wire: Wire, end: &End, peer: IpAddr) {
    match end {
        End::Bye(words) => {
            // Whoever fills the listener writes no line of the log for each connection.
            if *words == OVERLOADED {
                tracing::debug!(listener = "imap", %peer, "closed: the listener is full");
                // Another client waits for the place.
                let _ = timeout(Duration::from_millis(100), wire.close(&bye(words))).await;
                return;
            }
            tracing::info!(listener = "imap", %peer, reply = format!("BYE {words}"), "a session was ended");
            wire.close(&bye(words)).await;
        }
        End::LoggedOut => wire.close_flushed().await,
        End::Gone => {}
    }
}
