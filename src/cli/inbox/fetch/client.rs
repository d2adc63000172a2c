//! A connection to another IMAP server: log-in over verified TLS, and commands one after the other (RFC 3501, RFC 8314).
//!
//! Invariant: the password is sent over TLS with a certificate that is valid for the host, and not before; a response is held in memory
//! one at a time, and is bounded.

use super::response::{Value, literal_of, parse};
use crate::cli::failure::Failure;
use crate::cli::inbox::message::LARGEST;
use crate::cli::printable::shortened;
use crate::net::client_tls::ClientTls;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::ServerName;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECT: Duration = Duration::from_secs(30);
/// How long a server may be silent while it works on a command.
const SILENCE: Duration = Duration::from_secs(300);
/// Octets of a response without its literals at most.
const LINE: usize = 1024 * 1024;
/// Characters of a server's text that are shown.
const SHOWN: usize = 300;
const AGAIN: &str = "run it again: it goes on where it was";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where to connect to.
pub(super) struct Server<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// TLS from the first octet on, else STARTTLS.
    pub(super) implicit_tls: bool,
    pub(super) tls: &'a ClientTls,
}

pub(super) struct Client {
    stream: BufReader<Box<dyn Stream>>,
    host: String,
    commands: u32,
    capabilities: Vec<String>,
}

/// A refusal by the server, with its text.
#[derive(Debug)]
pub(super) struct Refused(pub(super) String);

impl Client {
    pub(super) async fn connect(server: &Server<'_>) -> Result<Self, Failure> {
        let Server { host, port, implicit_tls, tls } = *server;
        let unreachable = |error: String| {
            Failure::new(format!("cannot reach {host}, port {port}: {error}"), "check the host and the port of the URL")
        };
        let connected = timeout(CONNECT, TcpStream::connect((host, port))).await;
        let tcp = connected.map_err(|_| unreachable("it does not answer".to_owned()))?;
        let tcp = tcp.map_err(|error| unreachable(error.to_string()))?;
        let mut stream: Box<dyn Stream> = Box::new(tcp);
        if implicit_tls {
            stream = secured(stream, host, tls).await?;
        }
        let mut client =
            Self { stream: BufReader::new(stream), host: host.to_owned(), commands: 0, capabilities: Vec::new() };
        let greeting = client.response().await?;
        if !parse(&greeting).get(1).is_some_and(|word| word.is("OK")) {
            let what = format!("{host} refuses the connection: {}", shown(&greeting));
            return Err(Failure::new(what, "it has to be a server of IMAP; try again later if it is busy"));
        }
        if !implicit_tls {
            client = client.start_tls(tls).await?;
        }
        Ok(client)
    }

    async fn start_tls(mut self, tls: &ClientTls) -> Result<Self, Failure> {
        if let Err(Refused(text)) = self.command("STARTTLS", |_| {}).await? {
            let what = format!("{} offers no TLS: {text}", self.host);
            return Err(Failure::new(what, "use imaps://: a password is not sent without TLS"));
        }
        // What came in before the handshake was not sent under it.
        if !self.stream.buffer().is_empty() {
            return Err(self.broken("it sends data between STARTTLS and the handshake"));
        }
        let stream = secured(self.stream.into_inner(), &self.host, tls).await?;
        Ok(Self { stream: BufReader::new(stream), ..self })
    }

    fn broken(&self, what: impl std::fmt::Display) -> Failure {
        Failure::new(format!("the connection to {} failed: {what}", self.host), AGAIN)
    }

    /// Reads a line with its literals.
    async fn response(&mut self) -> Result<Vec<u8>, Failure> {
        let mut octets = Vec::new();
        let mut literals = 0;
        loop {
            let start = octets.len();
            let left = LINE.saturating_add(literals).saturating_sub(start);
            let limit = u64::try_from(left).unwrap_or(u64::MAX);
            let mut limited = (&mut self.stream).take(limit);
            let read = timeout(SILENCE, limited.read_until(b'\n', &mut octets)).await;
            let line = octets.get(start..).unwrap_or_default();
            match read {
                Err(_) => return Err(self.broken("it does not answer")),
                Ok(Err(error)) => return Err(self.broken(error)),
                Ok(Ok(_)) if !line.ends_with(b"\n") && left > line.len() => return Err(self.broken("it was closed")),
                Ok(Ok(_)) if !line.ends_with(b"\n") => return Err(self.broken("a line of it is too long")),
                Ok(Ok(_)) => {}
            }
            let Some(length) = literal_of(line) else { return Ok(octets) };
            literals = literals.saturating_add(length);
            if literals > LARGEST {
                return Err(self.broken(format!("it sends more than {LARGEST} octets at once")));
            }
            self.literal(&mut octets, length).await?;
        }
    }

    async fn literal(&mut self, octets: &mut Vec<u8>, length: usize) -> Result<(), Failure> {
        let end = octets.len().saturating_add(length);
        while octets.len() < end {
            let left = u64::try_from(end.saturating_sub(octets.len())).unwrap_or(u64::MAX);
            let mut limited = (&mut self.stream).take(left);
            match timeout(SILENCE, limited.read_buf(octets)).await {
                Err(_) => return Err(self.broken("it does not answer")),
                Ok(Err(error)) => return Err(self.broken(error)),
                Ok(Ok(0)) => return Err(self.broken("it was closed")),
                Ok(Ok(_)) => {}
            }
        }
        Ok(())
    }

    async fn send(&mut self, line: &[u8]) -> Result<(), Failure> {
        let sent = async {
            self.stream.write_all(line).await?;
            self.stream.flush().await
        };
        match timeout(SILENCE, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(error)),
            Err(_) => Err(self.broken("it does not read")),
        }
    }

    /// Runs a command and takes each untagged response. The inner result is the server's NO or BAD.
    pub(super) async fn command(
        &mut self,
        command: &str,
        take: impl FnMut(&[Value<'_>]),
    ) -> Result<Result<(), Refused>, Failure> {
        let tag = self.begin(command).await?;
        self.finish(&tag, take).await
    }

    /// Sends a command. Returns its tag.
    pub(super) async fn begin(&mut self, command: &str) -> Result<String, Failure> {
        self.commands += 1;
        let tag = format!("a{}", self.commands);
        self.send(format!("{tag} {command}\r\n").as_bytes()).await?;
        Ok(tag)
    }

    /// The next response to a command: an untagged one, or how it ended.
    pub(super) async fn next(&mut self, tag: &str) -> Result<Next, Failure> {
        let octets = self.response().await?;
        let values = parse(&octets);
        let is_ours = values.first().is_some_and(|word| word.is(tag));
        if is_ours {
            let is_ok = values.get(1).is_some_and(|word| word.is("OK"));
            return Ok(Next::Ended(if is_ok { Ok(()) } else { Err(Refused(shown(&octets))) }));
        }
        if values.first().is_some_and(|word| word.is("*")) && values.get(1).is_some_and(|word| word.is("BYE")) {
            return Err(self.broken(shown(&octets)));
        }
        drop(values);
        Ok(Next::Untagged(octets))
    }

    async fn finish(&mut self, tag: &str, mut take: impl FnMut(&[Value<'_>])) -> Result<Result<(), Refused>, Failure> {
        loop {
            match self.next(tag).await? {
                Next::Ended(how) => return Ok(how),
                Next::Untagged(octets) => take(parse(&octets).get(1..).unwrap_or_default()),
            }
        }
    }

    async fn read_capabilities(&mut self) -> Result<(), Failure> {
        let mut found = Vec::new();
        let answered = self.command("CAPABILITY", |values| {
            if values.first().is_some_and(|word| word.is("CAPABILITY")) {
                found.extend(values.iter().filter_map(|value| Some(value.text()?.to_ascii_uppercase())));
            }
        });
        answered.await?.map_err(|Refused(text)| self.broken(text))?;
        self.capabilities = found;
        Ok(())
    }

    pub(super) fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    /// Logs in with SASL PLAIN where it is offered (RFC 4616), else with LOGIN.
    pub(super) async fn log_in(&mut self, user: &str, password: &Secret) -> Result<(), Failure> {
        self.read_capabilities().await?;
        let how = if self.has("AUTH=PLAIN") {
            let initial = STANDARD.encode(format!("\0{user}\0{}", password.reveal()));
            self.commands += 1;
            let tag = format!("a{}", self.commands);
            match self.has("SASL-IR") {
                true => self.send(format!("{tag} AUTHENTICATE PLAIN {initial}\r\n").as_bytes()).await?,
                false => {
                    self.send(format!("{tag} AUTHENTICATE PLAIN\r\n").as_bytes()).await?;
                    let answer = self.response().await?;
                    if answer.starts_with(b"+") {
                        self.send(format!("{initial}\r\n").as_bytes()).await?;
                    }
                }
            }
            self.finish(&tag, |_| {}).await?
        } else {
            let quoted = |text: &str| quoted(text).ok_or_else(|| self.cannot_send_password());
            let command = format!("LOGIN {} {}", quoted(user)?, quoted(password.reveal())?);
            self.command(&command, |_| {}).await?
        };
        how.map_err(|Refused(text)| {
            let fix = "check the user in the URL, and the password; some providers want one that is made for programs";
            Failure::new(format!("{} refuses the log-in of {user}: {text}", self.host), fix)
        })?;
        self.read_capabilities().await
    }

    fn cannot_send_password(&self) -> Failure {
        let what = format!("{} takes the user and the password as ASCII alone", self.host);
        Failure::new(what, "set another password there")
    }

    /// Says good-bye. What then fails does not matter.
    pub(super) async fn log_out(mut self) {
        let _ = self.command("LOGOUT", |_| {}).await;
    }
}

/// What a server answers to a command.
pub(super) enum Next {
    Untagged(Vec<u8>),
    Ended(Result<(), Refused>),
}

async fn secured(stream: Box<dyn Stream>, host: &str, tls: &ClientTls) -> Result<Box<dyn Stream>, Failure> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::usage(format!("{host} is not the name of a host"), "check the URL"))?;
    let failed = |error: io::Error| {
        let fix = "use the name that is in its certificate, or give the certificate authority with --ca";
        Failure::new(format!("no TLS with {host}: {error}"), fix)
    };
    let shaken = timeout(CONNECT, tls.verifying().connect(name, stream)).await;
    let stream = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    Ok(Box::new(stream))
}

/// A quoted string; `None` where the text needs more than ASCII.
pub(super) fn quoted(text: &str) -> Option<String> {
    let is_plain = text.chars().all(|c| c.is_ascii() && !c.is_ascii_control());
    is_plain.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// The text of a response without its tag, for people.
fn shown(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let text = text.split_once(' ').map_or("", |(_, rest)| rest);
    shortened(text.trim_end(), SHOWN)
}
