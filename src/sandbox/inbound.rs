//! `POST /sandbox/inbound`: a message from outside, through the MX door, over a real connection.

use super::body::Body;
use super::world::World;
use crate::address::{Address, ReversePath};
use crate::envelope::{EnhancedCode, Reply};
use crate::http::Problem;
use axum::Json;
use axum::extract::State;
use mail_send::SmtpClient;
use serde::Deserialize;
use serde_json::{Value, json};
use smtp_proto::Response;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A reply is waited for no longer: the daemon is on this machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inbound {
    mail_from: String,
    rcpt_to: OneOrMore,
    raw: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Answers 200 with what the MX said, whatever that was: the last reply, and one for each recipient.
pub(super) async fn deliver(State(world): State<World>, Body(asked): Body<Inbound>) -> Result<Json<Value>, Problem> {
    let mail_from =
        ReversePath::parse(&asked.mail_from).map_err(|e| Problem::invalid_field("mail_from", e.to_string()))?;
    let recipients = match asked.rcpt_to {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    };
    if recipients.is_empty() {
        return Err(Problem::invalid_field("rcpt_to", "there is no recipient"));
    }
    let recipients = recipients.iter().map(|text| recipient(text)).collect::<Result<Vec<_>, _>>()?;
    // It is bound before the first request can come.
    let mx = *world.mx.get().ok_or_else(Problem::unavailable)?;
    let raw = with_crlf(asked.raw);
    let said = converse(mx, &mail_from, &recipients, &raw).await;
    said.map(Json).map_err(|error| {
        tracing::error!(%error, "the MX door could not be talked to");
        Problem::unavailable()
    })
}

fn recipient(text: &str) -> Result<String, Problem> {
    // RFC 5321 §4.5.1: the one recipient without a domain.
    if text.eq_ignore_ascii_case("postmaster") {
        return Ok(text.to_owned());
    }
    let address = Address::parse(text).map_err(|e| Problem::invalid_field("rcpt_to", e.to_string()))?;
    Ok(address.to_string())
}

/// JSON is mostly written with bare LF. A message that has no CRLF at all is taken to mean them; one that has some is
/// sent octet by octet, so that wrong line ends can be tried out.
fn with_crlf(raw: String) -> Vec<u8> {
    let mut raw = if raw.contains('\r') { raw } else { raw.replace('\n', "\r\n") }.into_bytes();
    if !raw.ends_with(b"\r\n") {
        raw.extend_from_slice(b"\r\n");
    }
    raw
}

async fn converse(
    mx: SocketAddr,
    mail_from: &ReversePath,
    recipients: &[String],
    raw: &[u8],
) -> Result<Value, mail_send::Error> {
    let mut client = SmtpClient::connect(mx, PATIENCE).await?;
    let greeting = tokio::time::timeout(PATIENCE, client.read()).await.map_err(|_| mail_send::Error::Timeout)??;
    let mut last = reply(&greeting);
    let mut each = Vec::new();
    if last.is_positive() {
        last = command(&mut client, "EHLO outside.test\r\n".into()).await?;
    }
    if last.is_positive() {
        last = command(&mut client, format!("MAIL FROM:<{mail_from}>\r\n")).await?;
    }
    if last.is_positive() {
        let mut taken = false;
        for to in recipients {
            last = command(&mut client, format!("RCPT TO:<{to}>\r\n")).await?;
            taken |= last.is_positive();
            each.push(json!({"rcpt_to": to, "reply": last.to_string()}));
        }
        if taken {
            last = command(&mut client, "DATA\r\n".into()).await?;
            if last.code == 354 {
                last = data(&mut client, raw).await?;
            }
        }
    }
    // Whether it says goodbye does not matter any more.
    let _ = client.quit().await;
    Ok(json!({
        "reply": last.to_string(), "code": last.code,
        "enhanced_code": last.enhanced.map(|code| code.to_string()), "text": last.text, "recipients": each,
    }))
}

async fn command(client: &mut SmtpClient<TcpStream>, line: String) -> Result<Reply, mail_send::Error> {
    let said = client.cmd(line).await?;
    Ok(reply(&said))
}

/// Sends the message with its dots stuffed (RFC 5321 §4.5.2), also one at the very first octet.
async fn data(client: &mut SmtpClient<TcpStream>, raw: &[u8]) -> Result<Reply, mail_send::Error> {
    let mut stuffed = Vec::with_capacity(raw.len() + 16);
    let mut at_line_start = true;
    for (at, byte) in raw.iter().enumerate() {
        if at_line_start && *byte == b'.' {
            stuffed.push(b'.');
        }
        stuffed.push(*byte);
        at_line_start = raw.get(..=at).is_some_and(|so_far| so_far.ends_with(b"\r\n"));
    }
    stuffed.extend_from_slice(b".\r\n");
    let exchange = async {
        // A server that refuses early may close before all is sent: its reply counts, not the broken pipe.
        let sent = client.stream.write_all(&stuffed).await;
        match (client.read().await, sent) {
            (Ok(said), _) => Ok(reply(&said)),
            (Err(_), Err(error)) => Err(mail_send::Error::Io(error)),
            (Err(error), Ok(())) => Err(error),
        }
    };
    tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| mail_send::Error::Timeout)?
}

fn reply(said: &Response<String>) -> Reply {
    let text = said.message.trim_end().to_owned();
    match said.esc {
        [0, ..] => Reply::plain(said.code, text),
        [class, subject, detail] => Reply::new(said.code, EnhancedCode(class, subject.into(), detail.into()), text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_mended_only_where_none_is_right() {
        assert_eq!(with_crlf("a: b\n\nc".into()), b"a: b\r\n\r\nc\r\n");
        assert_eq!(with_crlf("a: b\r\n\r\nc\n.\r\n".into()), b"a: b\r\n\r\nc\n.\r\n");
    }

    #[test]
    fn recipients_cannot_carry_commands() {
        assert_eq!(recipient("Postmaster").unwrap(), "Postmaster");
        for bad in ["", "a", "a@x.test>\r\nDATA", "<a@x.test>"] {
            assert!(recipient(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn replies_keep_their_enhanced_code() {
        let said = |esc| Response { code: 550, esc, message: "nobody here\r\n".to_owned() };
        assert_eq!(reply(&said([5, 1, 1])).to_string(), "550 5.1.1 nobody here");
        assert_eq!(reply(&said([0, 0, 0])).to_string(), "550 nobody here");
    }
}
