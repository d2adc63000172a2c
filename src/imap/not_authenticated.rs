//! Before log-in: CAPABILITY, NOOP, ID, LOGOUT, STARTTLS, LOGIN, AUTHENTICATE. RFC 3501 §6.1 and §6.2, RFC 4616, RFC 4959.
//!
//! Invariant: no password is looked at before TLS, and none is in a log.

use super::listener::ImapServer;
use super::response::{Answer, Phase, bye, capabilities, capability, other};
use super::session::{End, refused};
use super::wire::{Input, Wire};
use crate::auth::login::{Login, LoginError};
use crate::events::Event;
use crate::secret::Secret;
use imap_codec::AuthenticateDataCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::auth::{AuthMechanism, AuthenticateData};
use imap_codec::imap_types::command::{Command, CommandBody};
use imap_codec::imap_types::response::{Code, CommandContinuationRequest, Data, Response};
use std::io;
use std::net::IpAddr;
use tokio::sync::broadcast::Receiver;

/// Commands that make no sense, before a not_authenticated is sent away.
const MISTAKES: u32 = 10;
/// Log-ins that fail, before the connection is closed.
const FAILED_LOG_INS: u32 = 10;

/// What went wrong on a connection.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    commands: u32,
    log_ins: u32,
}

/// Where a command leads.
#[derive(Debug)]
pub(super) enum Step {
    /// To the next one.
    Stay,
    /// To the next one: a log-in was refused.
    LogInFailed,
    /// Over to TLS: the OK has been said.
    StartTls,
    /// In, hearing what happens in the account.
    LoggedIn(Login, Receiver<Event>),
    /// Out.
    End(End),
}

/// Reads one command and does it.
pub(super) async fn step(
    server: &ImapServer,
    wire: &mut Wire,
    peer: IpAddr,
    is_tls: bool,
    mistakes: &mut Mistakes,
) -> Step {
    match try_step(server, wire, peer, is_tls, mistakes).await {
        Ok(step) => step,
        Err(_) => Step::End(End::Gone),
    }
}

async fn try_step(
    server: &ImapServer,
    wire: &mut Wire,
    peer: IpAddr,
    is_tls: bool,
    mistakes: &mut Mistakes,
) -> io::Result<Step> {
    wire.flush().await?;
    let (tag, answer, step) = match wire.command().await? {
        Input::Command(command, _) => {
            let Command { tag, body } = *command;
            let (answer, step) = dispatch(server, wire, peer, is_tls, body).await?;
            (Some(tag), answer, step)
        }
        Input::Unreadable(tag, _) => (tag, Answer::bad("this command cannot be read"), Step::Stay),
        Input::Refused(tag, refusal) => (tag, refused(refusal), Step::Stay),
        Input::Lost(words) => return Ok(Step::End(End::Bye(words))),
        Input::End => return Ok(Step::End(End::Gone)),
    };
    if let Some(reply) = answer.refusal() {
        tracing::info!(listener = "imap", %peer, reply, "refused");
    }
    if answer.is_bad() {
        mistakes.commands += 1;
        if mistakes.commands >= MISTAKES {
            return Ok(Step::End(End::Bye("too many errors")));
        }
    }
    wire.push(&answer.tagged(tag));
    wire.flush().await?;
    if matches!(step, Step::LogInFailed) {
        mistakes.log_ins += 1;
        if mistakes.log_ins >= FAILED_LOG_INS {
            return Ok(Step::End(End::Bye("too many failed log-ins")));
        }
    }
    Ok(step)
}

async fn dispatch(
    server: &ImapServer,
    wire: &mut Wire,
    peer: IpAddr,
    is_tls: bool,
    body: CommandBody<'static>,
) -> io::Result<(Answer, Step)> {
    let stay = |answer| Ok((answer, Step::Stay));
    match body {
        CommandBody::Capability => {
            wire.push(&capability(capabilities(if is_tls { Phase::NotAuthenticated } else { Phase::Plaintext })));
            stay(Answer::ok("done"))
        }
        CommandBody::Noop => stay(Answer::ok("done")),
        CommandBody::Id { .. } => {
            wire.push(&id());
            stay(Answer::ok("done"))
        }
        CommandBody::Logout => {
            wire.push(&bye("good-bye"));
            Ok((Answer::ok("done"), Step::End(End::LoggedOut)))
        }
        CommandBody::StartTLS if is_tls => stay(Answer::bad("TLS is on already")),
        CommandBody::StartTLS => Ok((Answer::ok("begin TLS now"), Step::StartTls)),
        CommandBody::Login { .. } | CommandBody::Authenticate { .. } if !is_tls => {
            stay(Answer::no("use STARTTLS first: without TLS nobody logs in").code(other("PRIVACYREQUIRED")))
        }
        CommandBody::Login { username, password } => {
            log_in(server, peer, username.as_ref(), password.declassify().as_ref()).await
        }
        CommandBody::Authenticate { mechanism, initial_response } => {
            let initial = initial_response.map(|response| Secret::new(lossy(response.declassify())));
            authenticate(server, wire, peer, &mechanism, initial).await
        }
        _ => stay(Answer::bad("log in first")),
    }
}

/// What is said about ourselves (RFC 2971): the name alone.
pub(super) fn id() -> Response<'static> {
    let pair = |name: &'static str, value: &'static str| Some((name.try_into().ok()?, value.try_into().ok()?));
    Response::Data(Data::Id { parameters: pair("name", "Inboxlayer").map(|pair| vec![pair]) })
}

/// Not UTF-8 is no address and no token: it is refused like any other wrong one.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn log_in(server: &ImapServer, peer: IpAddr, user: &[u8], password: &[u8]) -> io::Result<(Answer, Step)> {
    let password = Secret::new(lossy(password));
    match server.authenticator.log_in(peer, &lossy(user), &password).await {
        Ok(login) => {
            let most = server.config.limits.connections_per_account;
            let Some(events) = server.events.subscribe(&login.account, most) else {
                tracing::info!(%peer, account = %login.account, "refused: too many sessions of the account");
                let words = format!("this account has {most} sessions open already: close one");
                return Ok((Answer::no(words).code(other("LIMIT")), Step::Stay));
            };
            let answer = Answer::ok("logged in");
            let answer = match capabilities(Phase::User).try_into() {
                Ok(list) => answer.code(Code::Capability(list)),
                Err(_) => answer,
            };
            Ok((answer, Step::LoggedIn(login, events)))
        }
        Err(error @ LoginError::Refused) => {
            Ok((Answer::no(error.to_string()).code(other("AUTHENTICATIONFAILED")), Step::LogInFailed))
        }
        Err(error @ LoginError::RateLimited { .. }) => {
            Ok((Answer::no(error.to_string()).code(other("UNAVAILABLE")), Step::LogInFailed))
        }
        Err(LoginError::Unavailable(error)) => {
            tracing::error!(%error, %peer, "IMAP: log-in is not possible");
            Ok((Answer::no("log-in is not possible now, try again later").code(other("UNAVAILABLE")), Step::Stay))
        }
    }
}

/// AUTHENTICATE PLAIN (RFC 4616) and LOGIN (which no RFC describes and old clients want).
async fn authenticate(
    server: &ImapServer,
    wire: &mut Wire,
    peer: IpAddr,
    mechanism: &AuthMechanism<'_>,
    initial: Option<Secret>,
) -> io::Result<(Answer, Step)> {
    let malformed = || Ok((Answer::bad("this is no answer to the challenge"), Step::Stay));
    match mechanism {
        AuthMechanism::Plain => {
            let Some(response) = or_asked(wire, initial, b"").await? else { return malformed() };
            let mut parts = response.reveal().split('\0');
            let (Some(acts_as), Some(user), Some(password), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return malformed();
            };
            if !acts_as.is_empty() && acts_as != user {
                // Nobody acts as somebody else here; the answer is the one for a wrong password.
                return log_in(server, peer, b"", b"").await;
            }
            log_in(server, peer, user.as_bytes(), password.as_bytes()).await
        }
        AuthMechanism::Login => {
            let Some(user) = or_asked(wire, initial, b"User Name\0").await? else { return malformed() };
            let Some(password) = or_asked(wire, None, b"Password\0").await? else { return malformed() };
            log_in(server, peer, user.reveal().as_bytes(), password.reveal().as_bytes()).await
        }
        _ => Ok((Answer::no("PLAIN and LOGIN are offered").code(other("CANNOT")), Step::Stay)),
    }
}

/// The initial response, or the client's answer to a challenge; `None` when it cancels or makes no sense.
async fn or_asked(wire: &mut Wire, initial: Option<Secret>, challenge: &'static [u8]) -> io::Result<Option<Secret>> {
    if initial.is_some() {
        return Ok(initial);
    }
    wire.push(&Response::CommandContinuationRequest(CommandContinuationRequest::base64(challenge)));
    wire.flush().await?;
    let Some(line) = wire.line().await? else { return Ok(None) };
    match AuthenticateDataCodec::new().decode(&line) {
        Ok(([], AuthenticateData::Continue(response))) => Ok(Some(Secret::new(lossy(response.declassify())))),
        _ => Ok(None),
    }
}
