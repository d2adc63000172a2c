//! One conversation with one mail server: greeting, TLS, envelope, data.
//!
//! Invariant: what follows DATA ends where the message ends, whatever the message holds; credentials are sent only over TLS
//! that verified; a recipient is delivered only when the server has answered 250 to the end of data.
//! RFC 5321 §3.3, §4.5.2 (transparency), §4.5.3.2 (time-outs); RFC 1870 (SIZE), RFC 3207 (STARTTLS), RFC 4954 (AUTH),
//! RFC 6152 (8BITMIME).

use super::metered::Metered;
use super::outcome::{Outcome, Protection, of_error, of_reply, reply};
use super::slots::{END_OF_DATA, PER_BLOCK, PER_RECIPIENT, Slot};
use super::transparency::Stuffing;
use crate::address::{Address, ReversePath};
use crate::config::Relay;
use crate::envelope::EnhancedCode;
use crate::id::SubmissionId;
use crate::net::client_tls::ClientTls;
use crate::store::Store;
use mail_send::smtp::AssertReply;
use mail_send::{Credentials, Error, SmtpClient};
use rustls_pki_types::ServerName;
use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN, EXT_8BIT_MIME, EXT_SIZE, EXT_START_TLS, EhloResponse, Response};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Octets of a message between two looks at the time.
const BLOCK: usize = 64 * 1024;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// A connection; less than the system's minutes, and than `slot`, since other addresses may answer.
    pub connect: Duration,
    /// The greeting and the reply to a command.
    pub command: Duration,
    /// One block of the message to be taken.
    pub block: Duration,
    /// The reply to the end of data.
    pub end_of_data: Duration,
    /// The whole of an attempt up to the message, while others wait for its slot.
    pub slot: Duration,
}

/// RFC 5321 §4.5.3.2.
pub(super) const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(20),
    command: Duration::from_secs(300),
    block: Duration::from_secs(180),
    end_of_data: Duration::from_secs(600),
    slot: Duration::from_secs(60),
};

/// A server to talk to.
#[derive(Clone, Debug)]
pub(super) struct Hop<'a> {
    /// Its name, which TLS asks for.
    pub host: &'a str,
    /// Where it is.
    pub socket: SocketAddr,
    /// How it is trusted.
    pub trust: Trust<'a>,
}

/// How a server is trusted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trust<'a> {
    /// An MX: TLS when it offers that, with any certificate.
    Opportunistic,
    /// An MX whose TLS is broken: in plaintext (RFC 7435 §3).
    Plaintext,
    /// A relay with credentials: TLS that verifies, or nothing.
    Relay(&'a Relay),
}

/// The body of a message. A large one is read from the store as it leaves: a slow server keeps none of it in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a> {
    /// All of a small one, nothing of a large one.
    pub in_memory: &'a [u8],
    pub store: &'a Store,
    pub submission: &'a SubmissionId,
    pub size: usize,
}

impl Body<'_> {
    /// Larger ones are read as they leave.
    pub const IN_MEMORY: usize = 256 * 1024;
    /// Octets read at once.
    pub const PIECE: usize = 1024 * 1024;

    async fn piece(&self, at: usize) -> io::Result<Vec<u8>> {
        let range = at..at.saturating_add(Self::PIECE);
        let piece = self.store.submission_body_range(self.submission, range).await.map_err(io::Error::other)?;
        if piece.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(piece) }
    }
}

/// What is to be handed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parcel<'a> {
    pub mail_from: &'a ReversePath,
    pub rcpt_to: &'a [Address],
    pub header: &'a [u8],
    pub body: Body<'a>,
    pub is_8bit: bool,
    /// Which a server that is slow may lose.
    pub slot: &'a Slot,
}

/// Why a server was left before any recipient was named: another may be tried.
#[derive(Debug)]
pub(super) enum Turned {
    /// The TLS handshake failed.
    TlsBroken(Outcome),
    /// Anything else.
    Away(Outcome),
}

type Visit = Result<Vec<Outcome>, Turned>;

/// Whom the conversation is led as, and with what.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    /// Our name, for EHLO.
    pub hostname: String,
    pub tls: ClientTls,
    pub patience: Patience,
}

impl Voice {
    /// Hands a parcel over: an outcome for each recipient, in order.
    pub async fn hand_over(&self, hop: &Hop<'_>, parcel: &Parcel<'_>) -> Visit {
        let connection = tokio::time::timeout(self.patience.connect, TcpStream::connect(hop.socket)).await;
        let client = match connection.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(stream) => SmtpClient { stream: Metered::new(stream), timeout: self.patience.command },
            Err(error) => {
                let text = format!("no connection to {} ({}): {error}", hop.host, hop.socket);
                return Err(Turned::Away(Outcome::deferred(EnhancedCode(4, 4, 1), text)));
            }
        };
        match hop.trust {
            Trust::Relay(relay) => self.through_relay(client, hop, relay, parcel).await,
            Trust::Opportunistic => self.at_mx(client, hop, parcel, true).await,
            Trust::Plaintext => self.at_mx(client, hop, parcel, false).await,
        }
    }

    async fn at_mx(
        &self,
        mut client: SmtpClient<Metered<TcpStream>>,
        hop: &Hop<'_>,
        parcel: &Parcel<'_>,
        tls: bool,
    ) -> Visit {
        let away = |error: Error, protection| Turned::Away(of_error(&error).by(hop.host, protection));
        let none = |error| away(error, Protection::None);
        let offers = self.greet(&mut client, true).await.map_err(none)?;
        let start = tls && offers.has_capability(EXT_START_TLS);
        if !start || !client.cmd("STARTTLS\r\n").await.map_err(none)?.is_positive_completion() {
            return self.transact(client, &offers, hop, Protection::None, parcel).await;
        }
        let mut client = secure(client, self.tls.opportunistic(), hop).await?;
        let proven = self.tls.proves(client.stream.get_ref().1, hop.host);
        let protection = if proven { Protection::Verified } else { Protection::Unverified };
        let offers = self.greet(&mut client, false).await.map_err(|error| away(error, protection))?;
        self.transact(client, &offers, hop, protection, parcel).await
    }

    async fn through_relay(
        &self,
        mut client: SmtpClient<Metered<TcpStream>>,
        hop: &Hop<'_>,
        relay: &Relay,
        parcel: &Parcel<'_>,
    ) -> Visit {
        let away = |error: Error| Turned::Away(of_error(&error).by(hop.host, Protection::Verified));
        let implicit = relay.port == 465;
        if !implicit {
            let offers = self.greet(&mut client, true).await.map_err(away)?;
            if !offers.has_capability(EXT_START_TLS) {
                return Err(Turned::Away(no_tls(hop)));
            }
            client.cmd("STARTTLS\r\n").await.and_then(Response::into_positive_completion).map_err(away)?;
        }
        let mut client = secure(client, self.tls.verifying(), hop).await?;
        let mut offers = self.greet(&mut client, implicit).await.map_err(away)?;
        if let (Some(user), Some(password)) = (&relay.username, &relay.password) {
            // The others of the library's mechanisms add nothing inside TLS.
            offers.auth_mechanisms &= AUTH_PLAIN | AUTH_LOGIN;
            let credentials = Credentials::new(user.as_str(), password.reveal());
            if let Err(error) = client.authenticate(&Lent(credentials), &Lent(&offers)).await {
                return Err(Turned::Away(not_let_in(hop, &error)));
            }
        }
        self.transact(client, &offers, hop, Protection::Verified, parcel).await
    }

    /// The greeting, where there is one to come, and EHLO; HELO for a server that does not know it.
    async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut SmtpClient<S>,
        greeting: bool,
    ) -> Result<EhloResponse<String>, Error> {
        if greeting {
            let first = tokio::time::timeout(client.timeout, client.read()).await.map_err(|_| Error::Timeout)??;
            first.assert_code(220)?;
        }
        match client.ehlo(&self.hostname).await {
            Err(Error::UnexpectedReply(no)) if matches!(no.code, 500..=504) => {
                client.cmd(format!("HELO {}\r\n", self.hostname)).await?.assert_positive_completion()?;
                Ok(EhloResponse::default())
            }
            other => other,
        }
    }

    async fn transact<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut client: SmtpClient<S>,
        offers: &EhloResponse<String>,
        hop: &Hop<'_>,
        protection: Protection,
        parcel: &Parcel<'_>,
    ) -> Visit {
        let all = |outcome: Outcome| Ok(vec![outcome.by(hop.host, protection); parcel.rcpt_to.len()]);
        let mail = match mail_command(offers, parcel) {
            Ok(mail) => mail,
            Err(outcome) => return all(outcome),
        };
        match client.cmd(&mail).await.map(|response| reply(&response)) {
            Ok(said) if said.code / 100 == 2 => {}
            Ok(said) if said.is_permanent() => return all(of_reply(&said)),
            Ok(said) => return Err(Turned::Away(of_reply(&said).by(hop.host, protection))),
            Err(error) => return Err(Turned::Away(of_error(&error).by(hop.host, protection))),
        }
        let mut outcomes = name_recipients(&mut client, parcel).await;
        if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Delivered(_))) {
            let end = match self.data(&mut client, parcel).await {
                Ok(response) => of_reply(&reply(&response)),
                Err(error) => of_error(&error),
            };
            for outcome in outcomes.iter_mut().filter(|outcome| matches!(outcome, Outcome::Delivered(_))) {
                *outcome = end.clone();
            }
        }
        // Politeness only: whatever comes, all is settled.
        client.timeout = client.timeout.min(Duration::from_secs(5));
        let _ = client.quit().await;
        Ok(outcomes.into_iter().map(|outcome| outcome.by(hop.host, protection)).collect())
    }

    /// DATA, written here and not by the library: that does not stuff a dot at the very first octet, and adds a line end to
    /// a message that has one.
    async fn data<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut SmtpClient<S>,
        parcel: &Parcel<'_>,
    ) -> Result<Response<String>, Error> {
        let go = client.cmd("DATA\r\n").await?;
        if go.code != 354 {
            // A 2yz here would pass for an accepted message.
            let refused =
                if go.is_positive_completion() { Error::UnparseableReply } else { Error::UnexpectedReply(go) };
            return Err(refused);
        }
        let mut stuffing = Stuffing::default();
        self.push(client, parcel, &mut stuffing, parcel.header).await?;
        self.push(client, parcel, &mut stuffing, parcel.body.in_memory).await?;
        let mut sent = parcel.body.in_memory.len();
        while sent < parcel.body.size {
            let piece = parcel.body.piece(sent).await?;
            self.push(client, parcel, &mut stuffing, &piece).await?;
            sent = sent.saturating_add(piece.len());
        }
        parcel.slot.at_least(END_OF_DATA);
        write(client, stuffing.end(), self.patience.block).await?;
        tokio::time::timeout(self.patience.end_of_data, client.read()).await.map_err(|_| Error::Timeout)?
    }

    /// Octets of the message, block by block.
    async fn push<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut SmtpClient<S>,
        parcel: &Parcel<'_>,
        stuffing: &mut Stuffing,
        octets: &[u8],
    ) -> Result<(), Error> {
        let mut block = Vec::with_capacity(octets.len().min(BLOCK) + BLOCK / 64);
        for part in octets.chunks(BLOCK) {
            block.clear();
            stuffing.push(part, &mut block);
            write(client, &block, self.patience.block).await?;
            parcel.slot.extend(PER_BLOCK);
        }
        Ok(())
    }
}

/// RCPT for each: a taken one counts as delivered until the end of data. When the conversation breaks off, those refused for
/// good stay so, and all others wait.
async fn name_recipients<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut SmtpClient<S>,
    parcel: &Parcel<'_>,
) -> Vec<Outcome> {
    let rcpt_to = parcel.rcpt_to;
    let mut outcomes = Vec::with_capacity(rcpt_to.len());
    for rcpt in rcpt_to {
        let broken = match client.cmd(format!("RCPT TO:<{rcpt}>\r\n")).await {
            Ok(closing) if closing.code == 421 => of_reply(&reply(&closing)),
            Ok(response) => {
                parcel.slot.extend(PER_RECIPIENT);
                outcomes.push(of_reply(&reply(&response)));
                continue;
            }
            Err(error) => of_error(&error),
        };
        outcomes.resize(rcpt_to.len(), broken.clone());
        for outcome in outcomes.iter_mut().filter(|outcome| !matches!(outcome, Outcome::Bounced(_))) {
            *outcome = broken.clone();
        }
        break;
    }
    outcomes
}

async fn secure(
    client: SmtpClient<Metered<TcpStream>>,
    connector: &TlsConnector,
    hop: &Hop<'_>,
) -> Result<SmtpClient<TlsStream<Metered<TcpStream>>>, Turned> {
    let SmtpClient { stream, timeout } = client;
    let broken = |why: String| {
        let text = format!("no TLS with {}: {why}", hop.host);
        Turned::TlsBroken(Outcome::deferred(EnhancedCode(4, 7, 5), text).by(hop.host, Protection::None))
    };
    let name = ServerName::try_from(hop.host.to_owned()).map_err(|error| broken(error.to_string()))?;
    match tokio::time::timeout(timeout, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(SmtpClient { stream, timeout }),
        Ok(Err(error)) => Err(broken(error.to_string())),
        Err(_) => Err(broken("the handshake took too long".into())),
    }
}

async fn write<S: AsyncWrite + AsyncRead + Unpin>(
    client: &mut SmtpClient<S>,
    block: &[u8],
    patience: Duration,
) -> Result<(), Error> {
    let write = async {
        client.stream.write_all(block).await?;
        client.stream.flush().await
    };
    Ok(tokio::time::timeout(patience, write).await.map_err(|_| Error::Timeout)??)
}

fn no_tls(hop: &Hop<'_>) -> Outcome {
    let text = format!("the relay {} does not offer STARTTLS, and nothing goes there in plaintext", hop.host);
    Outcome::deferred(EnhancedCode(4, 7, 4), text).by(hop.host, Protection::None)
}

/// The operator's fault, not the message's: it waits.
fn not_let_in(hop: &Hop<'_>, error: &Error) -> Outcome {
    tracing::error!(relay = hop.host, %error, "the relay does not take our credentials");
    let text = format!("the relay {} does not take our credentials", hop.host);
    Outcome::deferred(EnhancedCode(4, 7, 8), text).by(hop.host, Protection::Verified)
}

/// MAIL with what the server offers; or why it cannot take this message at all.
fn mail_command(offers: &EhloResponse<String>, parcel: &Parcel<'_>) -> Result<String, Outcome> {
    use std::fmt::Write;
    let size = parcel.header.len() + parcel.body.size;
    let mut mail = format!("MAIL FROM:<{}>", parcel.mail_from);
    if offers.has_capability(EXT_SIZE) {
        // Zero means that there is no fixed limit (RFC 1870 §4).
        if offers.size > 0 && size > offers.size {
            let text = format!("the message has {size} octets, and the server takes {} at most", offers.size);
            return Err(Outcome::bounced(EnhancedCode(5, 3, 4), text));
        }
        // Writing to a string cannot fail.
        let _ = write!(mail, " SIZE={size}");
    }
    if parcel.is_8bit {
        if !offers.has_capability(EXT_8BIT_MIME) {
            let text = "the message has octets beyond ASCII, and the server does not offer 8BITMIME";
            return Err(Outcome::bounced(EnhancedCode(5, 6, 3), text));
        }
        mail.push_str(" BODY=8BITMIME");
    }
    mail.push_str("\r\n");
    Ok(mail)
}

/// What the client library wants its arguments wrapped in.
struct Lent<T>(T);

impl<'a> AsRef<Credentials<&'a str>> for Lent<Credentials<&'a str>> {
    fn as_ref(&self) -> &Credentials<&'a str> {
        &self.0
    }
}

impl AsRef<EhloResponse<String>> for Lent<&EhloResponse<String>> {
    fn as_ref(&self) -> &EhloResponse<String> {
        self.0
    }
}
