//! Before log-in: CAPABILITY, NOOP, ID, LOGOUT, STARTTLS, LOGIN, AUTHENTICATE. RFC 3501 §6.1, §6.2; RFC 4959.
//!
//! Invariant: no password is checked without TLS, and none is logged.

use super::alert::degraded_sending;
use super::context::End;
use super::server::ImapServer;
use super::wire::capability::Phase;
use super::wire::code::Code;
use super::wire::command::Body;
use super::wire::frame::Tag;
use super::wire::parser::Mode;
use super::wire::response::Reply;
use super::wire::{Input, Wire};
use crate::auth::login::{LoginError, Permissions};
use crate::auth::sasl::{self, Credentials, Mechanism, SaslError};
use crate::auth::session::{AuthSession, OpenError};
use crate::secret::Secret;
use imap_codec::imap_types::auth::AuthMechanism;
use std::io;
use std::net::IpAddr;

/// BAD replies that end a connection.
const BAD_REPLIES: u32 = 10;
/// Failed log-ins that end a connection.
const FAILED_LOGINS: u32 = 10;

/// What a connection has done wrong so far.
#[derive(Debug, Default)]
pub(super) struct Errors {
    bad_replies: u32,
    failed_logins: u32,
}

/// How the connection goes on.
#[derive(Debug)]
pub(super) enum Step {
    /// With the next command.
    Continue,
    /// With the next command, after a failed log-in.
    LoginFailed,
    /// With the TLS handshake.
    StartTls,
    LoggedIn(Box<AuthSession>),
    End(End),
}

/// Reads and runs one command.
pub(super) async fn step(
    server: &ImapServer,
    wire: &mut Wire,
    peer: IpAddr,
    is_tls: bool,
    errors: &mut Errors,
) -> Step {
    match try_step(server, wire, peer, is_tls, errors).await {
        Ok(step) => step,
        Err(_) => Step::End(End::Gone),
    }
}

async fn try_step(
    server: &ImapServer,
    wire: &mut Wire,
    peer: IpAddr,
    is_tls: bool,
    errors: &mut Errors,
) -> io::Result<Step> {
    wire.flush().await?;
    let mode = Mode { is_authenticated: false, utf8: false };
    let (tag, reply, step) = match wire.command(mode).await? {
        Input::Command(command, _) => {
            let (reply, step) = dispatch(server, wire, peer, is_tls, command.body).await?;
            (Some(command.tag), reply, step)
        }
        Input::Unreadable(tag, error) => (tag, Reply::bad(error.to_string()), Step::Continue),
        Input::Refused(tag, refusal) => (tag, refusal.into(), Step::Continue),
        Input::Lost(text) => return Ok(Step::End(End::bye(text))),
        Input::End => return Ok(Step::End(End::Gone)),
    };
    if let Some(text) = reply.refusal() {
        tracing::info!(listener = "imap", %peer, reply = text, "refused");
    }
    if reply.is_bad() {
        errors.bad_replies += 1;
        if errors.bad_replies >= BAD_REPLIES {
            return Ok(Step::End(End::bye("too many errors, closing connection")));
        }
    }
    wire.reply(tag.as_ref().map(Tag::as_str), &reply);
    wire.flush().await?;
    if matches!(step, Step::LoginFailed) {
        errors.failed_logins += 1;
        if errors.failed_logins >= FAILED_LOGINS {
            return Ok(Step::End(End::bye("too many failed log-ins, closing connection")));
        }
    }
    Ok(step)
}

async fn dispatch(
    server: &ImapServer,
    wire: &mut Wire,
    peer: IpAddr,
    is_tls: bool,
    body: Body,
) -> io::Result<(Reply, Step)> {
    let stay = |reply| Ok((reply, Step::Continue));
    match body {
        Body::Capability => {
            wire.writer().capability(if is_tls { Phase::NotAuthenticated } else { Phase::Plaintext });
            stay(Reply::completed())
        }
        Body::Noop => stay(Reply::completed()),
        Body::Id => {
            wire.writer().id();
            stay(Reply::completed())
        }
        Body::Logout => {
            wire.writer().bye("logging out");
            Ok((Reply::completed(), Step::End(End::LoggedOut)))
        }
        Body::StartTls if is_tls => stay(Reply::bad("TLS already active")),
        Body::StartTls => Ok((Reply::ok("begin TLS negotiation now"), Step::StartTls)),
        Body::Login { .. } | Body::Authenticate { .. } if !is_tls => {
            stay(Reply::no("TLS required to log in, use STARTTLS first").code(Code::PrivacyRequired))
        }
        Body::Login { user, password } => {
            let password = Secret::new(lossy(password.declassify().as_ref()));
            Ok(log_in(server, wire, peer, Credentials { user: lossy(user.as_ref()), password }).await)
        }
        Body::Authenticate { mechanism, initial } => {
            let mechanism = match mechanism {
                AuthMechanism::Plain => Mechanism::Plain,
                AuthMechanism::Login => Mechanism::Login,
                AuthMechanism::OAuthBearer => Mechanism::OAuthBearer,
                AuthMechanism::XOAuth2 => Mechanism::XOAuth2,
                _ => {
                    let text = "authentication mechanism not supported, use PLAIN, LOGIN, OAUTHBEARER or XOAUTH2";
                    return stay(Reply::no(text).code(Code::Cannot));
                }
            };
            let initial = initial.as_ref().map(|response| response.declassify().as_ref());
            authenticate(server, wire, peer, mechanism, initial).await
        }
        // The table of commands allows no others here.
        _ => stay(Reply::bad("not authenticated, log in first")),
    }
}

/// Neither an address nor a token has other characters than ASCII: these fail to log in like any wrong ones.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn log_in(server: &ImapServer, wire: &mut Wire, peer: IpAddr, credentials: Credentials) -> (Reply, Step) {
    match server.authenticator.open_session(peer, &credentials, Permissions::MESSAGES_READ).await {
        Ok(session) => {
            if let Some(alert) = degraded_sending(server, session.login()).await {
                wire.writer().untagged_ok(Some(&Code::Alert), &alert);
            }
            let reply = Reply::ok("logged in").code(Code::Capability(Phase::Authenticated));
            (reply, Step::LoggedIn(Box::new(session)))
        }
        Err(OpenError::Login(error)) => login_failed(&error, peer),
        Err(OpenError::TooManySessions(error)) => (Reply::no(error.to_string()).code(Code::Limit), Step::Continue),
    }
}

fn login_failed(error: &LoginError, peer: IpAddr) -> (Reply, Step) {
    let reply = Reply::no(error.to_string());
    match error {
        LoginError::Refused => (reply.code(Code::AuthenticationFailed), Step::LoginFailed),
        LoginError::RateLimited { .. } => (reply.code(Code::Unavailable), Step::LoginFailed),
        LoginError::Unavailable(error) => {
            tracing::error!(listener = "imap", %error, %peer, "a log-in could not be checked");
            let text = "temporary authentication failure, try again later";
            (Reply::no(text).code(Code::Unavailable), Step::Continue)
        }
    }
}

async fn authenticate(
    server: &ImapServer,
    wire: &mut Wire,
    peer: IpAddr,
    mechanism: Mechanism,
    initial: Option<&[u8]>,
) -> io::Result<(Reply, Step)> {
    let mut step = sasl::begin_decoded(mechanism, initial);
    loop {
        step = match step {
            sasl::Step::Challenge(exchange, challenge) => {
                wire.push_continuation(challenge);
                wire.flush().await?;
                let Some(line) = wire.line().await? else {
                    return Ok((Reply::bad("SASL response too long"), Step::Continue));
                };
                exchange.respond(line.strip_suffix(b"\r\n").unwrap_or(&line))
            }
            sasl::Step::Credentials(credentials) => {
                let (reply, step) = log_in(server, wire, peer, credentials).await;
                if let (Step::LoginFailed, Some(refusal)) = (&step, mechanism.refusal()) {
                    wire.push_continuation(refusal);
                    wire.flush().await?;
                    // It only says that the client has read the refusal.
                    wire.line().await?;
                }
                return Ok((reply, step));
            }
            sasl::Step::Failed(SaslError::OtherIdentity) => return Ok(login_failed(&LoginError::Refused, peer)),
            // RFC 3501 §6.2.2: BAD also when the client cancels.
            sasl::Step::Failed(error) => return Ok((Reply::bad(error.to_string()), Step::Continue)),
        };
    }
}
