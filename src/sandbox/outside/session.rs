//! An SMTP session of the outside world's mail server: offers STARTTLS and accepts every message. Two recipients of
//! `simulator.test` simulate failures: `bounce@` is refused permanently, `defer@` temporarily. RFC 5321 §4.1, RFC
//! 3207.

use super::{MESSAGE_SIZE, Outside};
use crate::net::tls::ServerTls;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const LINE: u64 = 8192;
const RECIPIENTS: usize = 1000;

/// How the plaintext or TLS part of a session ended.
enum End {
    Closed,
    StartTls,
}

#[derive(Default)]
struct Transaction {
    mail_from: Option<String>,
    rcpt_to: Vec<String>,
}

pub(super) async fn run(stream: TcpStream, tls: ServerTls, outside: Outside) {
    let mut plain = BufReader::new(stream);
    if plain.write_all(b"220 outside.test ESMTP\r\n").await.is_err() {
        return;
    }
    if let Ok(End::StartTls) = talk(&mut plain, &outside, false).await {
        // Input sent before the handshake must not be processed after it.
        if !plain.buffer().is_empty() {
            return;
        }
        if let Ok(Ok(stream)) = tokio::time::timeout(IDLE_TIMEOUT, tls.accept(plain.into_inner())).await {
            // A disconnect or a protocol error: no accepted message is lost.
            let _ = talk(&mut BufReader::new(stream), &outside, true).await;
        }
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    outside: &Outside,
    secure: bool,
) -> std::io::Result<End> {
    let mut transaction = Transaction::default();
    loop {
        let Some(line) = read_line(stream).await? else { return Ok(End::Closed) };
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let reply = match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => {
                transaction = Transaction::default();
                if secure {
                    "250-outside.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
                } else {
                    "250-outside.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-STARTTLS\r\n250 ENHANCEDSTATUSCODES\r\n"
                }
            }
            "STARTTLS" if !secure => {
                stream.write_all(b"220 2.0.0 ready\r\n").await?;
                return Ok(End::StartTls);
            }
            "MAIL" => match path(rest) {
                Some(from) => {
                    transaction = Transaction { mail_from: Some(from), rcpt_to: Vec::new() };
                    "250 2.1.0 ok\r\n"
                }
                None => "501 5.5.4 MAIL FROM:<address>\r\n",
            },
            "RCPT" => transaction.add(path(rest)),
            "DATA" if transaction.rcpt_to.is_empty() => "503 5.5.1 no recipients\r\n",
            "DATA" => {
                stream.write_all(b"354 go ahead\r\n").await?;
                let Some(raw) = read_message(stream).await? else { return Ok(End::Closed) };
                let Transaction { mail_from, rcpt_to } = std::mem::take(&mut transaction);
                match outside.keep(mail_from.unwrap_or_default(), rcpt_to, raw).await {
                    Ok(()) => "250 2.0.0 taken\r\n",
                    Err(error) => {
                        tracing::error!(%error, "cannot store a message of the outside world");
                        "451 4.3.0 local error, try again later\r\n"
                    }
                }
            }
            "RSET" => {
                transaction = Transaction::default();
                "250 2.0.0 ok\r\n"
            }
            "NOOP" => "250 2.0.0 ok\r\n",
            "QUIT" => {
                stream.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(End::Closed);
            }
            _ => "500 5.5.2 unknown command\r\n",
        };
        stream.write_all(reply.as_bytes()).await?;
        stream.flush().await?;
    }
}

impl Transaction {
    fn add(&mut self, path: Option<String>) -> &'static str {
        let Some(to) = path.filter(|to| !to.is_empty()) else { return "501 5.5.4 RCPT TO:<address>\r\n" };
        if self.mail_from.is_none() {
            return "503 5.5.1 MAIL first\r\n";
        }
        match to.to_ascii_lowercase().as_str() {
            "bounce@simulator.test" => return "550 5.1.1 no such user\r\n",
            "defer@simulator.test" => return "451 4.2.1 try again later\r\n",
            _ => {}
        }
        if self.rcpt_to.len() >= RECIPIENTS {
            return "452 4.5.3 too many recipients\r\n";
        }
        self.rcpt_to.push(to);
        "250 2.1.5 ok\r\n"
    }
}

/// The text between the angle brackets.
fn path(rest: &str) -> Option<String> {
    let (_, after) = rest.split_once('<')?;
    // A quoted local part may contain a bracket; parameters cannot.
    after.rsplit_once('>').map(|(path, _)| path.to_owned())
}

/// A line with its end; `None` at the end of the stream or if the line is too long.
async fn read_line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut limited = stream.take(LINE);
    match tokio::time::timeout(IDLE_TIMEOUT, limited.read_until(b'\n', &mut line)).await {
        Ok(read) => read?,
        Err(_) => return Ok(None),
    };
    Ok(line.ends_with(b"\n").then_some(line))
}

/// The message with dots unstuffed; `None` if it was incomplete or too large.
async fn read_message<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<Option<Vec<u8>>> {
    let mut raw = Vec::new();
    let mut at_line_start = true;
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut *stream).take(LINE);
        match tokio::time::timeout(IDLE_TIMEOUT, limited.read_until(b'\n', &mut line)).await {
            Ok(read) => read?,
            Err(_) => return Ok(None),
        };
        if line.is_empty() || raw.len() + line.len() > MESSAGE_SIZE {
            return Ok(None);
        }
        // A line over the limit is read in pieces; only CRLF ends a line.
        if at_line_start && line == b".\r\n" {
            return Ok(Some(raw));
        }
        let unstuffed = if at_line_start { line.strip_prefix(b".").unwrap_or(&line) } else { &line };
        raw.extend_from_slice(unstuffed);
        at_line_start = line.ends_with(b"\r\n");
    }
}
