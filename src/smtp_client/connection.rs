//! A connection to one mail server: greeting, EHLO, STARTTLS, AUTH, QUIT.
//!
//! Invariant: credentials are sent only over TLS that verified. RFC 5321 §3.1, §4.5.3.2 (timeouts); RFC 3207 (STARTTLS),
//! RFC 4954 (AUTH), RFC 8314 (implicit TLS).

use super::answer::{Answer, Failure};
use super::mail::{OutgoingMail, RcptTo};
use super::open::OpenConnection;
use super::read_limited::ReadLimited;
use super::timeouts::Timeouts;
use crate::config::Relay;
use crate::envelope::{EnhancedCode, MailParameters, RecipientParameters};
use crate::net::client_tls::ClientTls;
use mail_send::smtp::AssertReply;
use mail_send::{Credentials, Error, SmtpClient};
use rustls_pki_types::ServerName;
use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN, EXT_8BIT_MIME, EXT_DSN, EXT_SIZE, EXT_START_TLS, EhloResponse};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// Timeout of QUIT, whose reply does not matter.
const QUIT: Duration = Duration::from_secs(5);

pub(super) type Stream = Either<ReadLimited<TcpStream>, Box<TlsStream<ReadLimited<TcpStream>>>>;

/// The protection of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Protection {
    /// No connection, or plaintext.
    None,
    /// TLS with a certificate that is not valid for the host.
    Unverified,
    /// TLS with a valid certificate.
    Verified,
}

/// No mail was sent on this connection, or there is none: another server may be tried.
#[derive(Debug)]
pub struct TryNextHost {
    /// The server's reply, or the failure.
    pub answer: Answer,
    /// The protection of the connection.
    pub protection: Protection,
    /// The server already has connections from us and accepts no more.
    pub is_crowded: bool,
}

/// A connection after EHLO.
pub struct Connection {
    pub(super) client: SmtpClient<Stream>,
    pub(super) timeouts: Timeouts,
    offers: EhloResponse<String>,
    pub(super) protection: Protection,
    /// Why it is in plaintext although the server offers TLS.
    pub(super) no_tls: Option<Failure>,
    /// Messages sent, accepted or not.
    pub(super) messages: usize,
    pub(super) state: State,
    /// Counts as a connection to its address.
    pub(super) _open: Option<OpenConnection>,
}

/// What the connection can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// A transaction is incomplete: RSET is needed.
    NeedsReset,
    /// Unusable.
    Broken,
}

impl Connection {
    /// Connects in plaintext and sends EHLO.
    pub async fn open(host: &str, socket: SocketAddr, hostname: &str, timeouts: Timeouts) -> Result<Self, TryNextHost> {
        let mut connection = Self::tcp(host, socket, timeouts).await?;
        connection.greeting().await?;
        connection.ehlo(hostname).await?;
        Ok(connection)
    }

    /// Connects with implicit TLS and sends EHLO.
    pub(super) async fn open_tls(
        host: &str,
        socket: SocketAddr,
        hostname: &str,
        tls: &ClientTls,
        timeouts: Timeouts,
    ) -> Result<Self, TryNextHost> {
        let connection = Self::tcp(host, socket, timeouts).await?;
        let mut connection = connection.handshake(tls.verifying(), host).await.map_err(lost)?;
        connection.protection = Protection::Verified;
        connection.greeting().await?;
        connection.ehlo(hostname).await?;
        Ok(connection)
    }

    async fn tcp(host: &str, socket: SocketAddr, timeouts: Timeouts) -> Result<Self, TryNextHost> {
        let connected = tokio::time::timeout(timeouts.connect, TcpStream::connect(socket)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        // No Nagle: a command does not wait for the acknowledgement of the previous one.
        let stream = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)).map_err(|error| {
            let text = format!("cannot connect to {host} ({socket}): {error}");
            lost(Failure::new(EnhancedCode(4, 4, 1), text))
        })?;
        Ok(Self {
            client: SmtpClient { stream: Either::Left(ReadLimited::new(stream)), timeout: timeouts.command },
            timeouts,
            offers: EhloResponse::default(),
            protection: Protection::None,
            no_tls: None,
            messages: 0,
            state: State::Ready,
            _open: None,
        })
    }

    async fn greeting(&mut self) -> Result<(), TryNextHost> {
        let greeting = tokio::time::timeout(self.client.timeout, self.client.read()).await;
        match greeting.unwrap_or(Err(Error::Timeout)).and_then(|reply| reply.assert_code(220)) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.next_host(Answer::of_error(&error))),
        }
    }

    /// EHLO, or HELO for a server that does not support it.
    pub(super) async fn ehlo(&mut self, hostname: &str) -> Result<(), TryNextHost> {
        self.offers = match self.client.ehlo(hostname).await {
            Ok(offers) => offers,
            Err(Error::UnexpectedReply(no)) if matches!(no.code, 500..=504) => {
                let helo = self.command(&format!("HELO {hostname}\r\n")).await;
                if !helo.is_accepted() {
                    return Err(self.next_host(helo));
                }
                EhloResponse::default()
            }
            Err(error) => return Err(self.next_host(Answer::of_error(&error))),
        };
        Ok(())
    }

    pub(super) fn next_host(&self, answer: Answer) -> TryNextHost {
        TryNextHost { answer, protection: self.protection, is_crowded: false }
    }

    pub(super) async fn command(&mut self, line: &str) -> Answer {
        Answer::of(self.client.cmd(line).await)
    }

    pub(super) fn offers_tls(&self) -> bool {
        self.offers.has_capability(EXT_START_TLS)
    }

    /// Performs the TLS handshake. EHLO has to be sent again afterwards.
    pub(super) async fn handshake(self, connector: &TlsConnector, host: &str) -> Result<Self, Failure> {
        let broken = |why: String| Failure::new(EnhancedCode(4, 7, 5), format!("no TLS with {host}: {why}"));
        let Either::Left(stream) = self.client.stream else {
            return Err(broken("TLS already active".into()));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| broken(error.to_string()))?;
        let stream = match tokio::time::timeout(self.timeouts.command, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Either::Right(Box::new(stream)),
            Ok(Err(error)) => return Err(broken(error.to_string())),
            Err(_) => return Err(broken("handshake timed out".into())),
        };
        let client = SmtpClient { stream, timeout: self.client.timeout };
        Ok(Self { client, offers: EhloResponse::default(), ..self })
    }

    pub(super) fn tls(&self) -> Option<&rustls::ClientConnection> {
        match &self.client.stream {
            Either::Left(_) => None,
            Either::Right(stream) => Some(stream.get_ref().1),
        }
    }

    /// Authenticates if the relay has credentials.
    pub(super) async fn authenticate(&mut self, relay: &Relay) -> Result<(), TryNextHost> {
        let (Some(user), Some(password)) = (&relay.username, &relay.password) else { return Ok(()) };
        if self.protection != Protection::Verified {
            return Err(self.next_host(Answer::Lost(no_tls(&relay.host))));
        }
        // The library's other mechanisms add nothing inside TLS.
        self.offers.auth_mechanisms &= AUTH_PLAIN | AUTH_LOGIN;
        let credentials = Credentials::new(user.as_str(), password.reveal());
        match self.client.authenticate(&Wrapped(credentials), &Wrapped(&self.offers)).await {
            Ok(_) => Ok(()),
            Err(error @ (Error::Timeout | Error::Io(_) | Error::UnparseableReply)) => {
                Err(self.next_host(Answer::of_error(&error)))
            }
            Err(error) => {
                // A configuration error, not a fault of the message, which is deferred.
                tracing::error!(relay = relay.host, %error, "the relay does not accept our credentials");
                let text = format!("the relay {} does not accept our credentials", relay.host);
                Err(self.next_host(Answer::Lost(Failure::new(EnhancedCode(4, 7, 8), text))))
            }
        }
    }

    /// Why the server cannot accept this message, given its extensions.
    pub(super) fn check(&self, mail: &OutgoingMail<'_>) -> Result<(), Failure> {
        let (size, limit) = (mail.size(), self.offers.size);
        // Zero means that there is no fixed limit (RFC 1870 §4).
        if self.offers.has_capability(EXT_SIZE) && limit > 0 && size > limit {
            let text = format!("the message has {size} octets, and the server's limit is {limit}");
            return Err(Failure::new(EnhancedCode(5, 3, 4), text));
        }
        if mail.is_8bit && !self.offers.has_capability(EXT_8BIT_MIME) {
            let text = "the message has octets beyond ASCII, and the server does not offer 8BITMIME";
            return Err(Failure::new(EnhancedCode(5, 6, 3), text));
        }
        Ok(())
    }

    /// MAIL with the supported parameters (RFC 1870, RFC 6152, RFC 3461).
    pub(super) fn mail_command(&self, mail: &OutgoingMail<'_>) -> String {
        let size = if self.offers.has_capability(EXT_SIZE) { format!(" SIZE={}", mail.size()) } else { String::new() };
        let body = if mail.is_8bit && self.offers.has_capability(EXT_8BIT_MIME) { " BODY=8BITMIME" } else { "" };
        let mut command = format!("MAIL FROM:<{}>{size}{body}", mail.mail_from);
        if self.offers_dsn() {
            let MailParameters { returned, envelope_id } = mail.parameters;
            command.extend(returned.map(|returned| format!(" RET={}", returned.as_str())));
            command.extend(envelope_id.as_ref().map(|id| format!(" ENVID={id}")));
        }
        command + "\r\n"
    }

    /// RCPT with the supported parameters (RFC 3461).
    pub(super) fn rcpt_command(&self, RcptTo { path, parameters }: &RcptTo) -> String {
        let mut command = format!("RCPT TO:<{path}>");
        if self.offers_dsn() {
            let RecipientParameters { notify, original } = parameters;
            command.extend(notify.map(|notify| format!(" NOTIFY={notify}")));
            command.extend(original.as_ref().map(|original| format!(" ORCPT={original}")));
        }
        command + "\r\n"
    }

    /// Whether the server reports deliveries to who asks for it (RFC 3461).
    pub(super) fn offers_dsn(&self) -> bool {
        self.offers.has_capability(EXT_DSN)
    }

    /// True if nothing unsolicited was received: neither a reply (like 421) nor the end of the connection.
    pub(super) fn is_silent(&mut self) -> bool {
        let mut octet = [0];
        let mut buffer = ReadBuf::new(&mut octet);
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut self.client.stream).poll_read(&mut context, &mut buffer).is_pending()
    }

    /// Ends the session. The reply is ignored.
    pub async fn quit(mut self) {
        self.client.timeout = self.client.timeout.min(QUIT);
        let _ = self.command("QUIT\r\n").await;
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("protection", &self.protection).finish_non_exhaustive()
    }
}

pub(super) fn lost(failure: Failure) -> TryNextHost {
    TryNextHost { answer: Answer::Lost(failure), protection: Protection::None, is_crowded: false }
}

pub(super) fn no_tls(host: &str) -> Failure {
    let text = format!("the relay {host} does not offer STARTTLS, and plaintext is not allowed for relays");
    Failure::new(EnhancedCode(4, 7, 4), text)
}

struct Wrapped<T>(T);

impl<'a> AsRef<Credentials<&'a str>> for Wrapped<Credentials<&'a str>> {
    fn as_ref(&self) -> &Credentials<&'a str> {
        &self.0
    }
}

impl AsRef<EhloResponse<String>> for Wrapped<&EhloResponse<String>> {
    fn as_ref(&self) -> &EhloResponse<String> {
        self.0
    }
}
