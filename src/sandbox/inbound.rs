//! `POST /sandbox/inbound`: delivers a message from outside through the MX server, over a real connection.

use super::body::Body;
use super::world::World;
use crate::address::{Address, ReversePath};
use crate::envelope::{MailParameters, RecipientParameters, Reply};
use crate::http::Problem;
use crate::smtp_client::{
    Answer, Body as MessageBody, Connection, Failure, ForwardPath, OutgoingMail, RcptTo, TimeAllowance, Timeouts,
    TryNextHost,
};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// Short, since the daemon is on this machine.
const TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUTS: Timeouts = Timeouts { connect: TIMEOUT, command: TIMEOUT, block: TIMEOUT, end_of_data: TIMEOUT };

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

/// Always 200 if the MX replied: the last reply, and one for each recipient.
pub(super) async fn deliver(State(world): State<World>, Body(request): Body<Inbound>) -> Result<Json<Value>, Problem> {
    let mail_from =
        ReversePath::parse(&request.mail_from).map_err(|e| Problem::invalid_field("mail_from", e.to_string()))?;
    let recipients = match request.rcpt_to {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    };
    if recipients.is_empty() {
        return Err(Problem::invalid_field("rcpt_to", "needs at least one recipient"));
    }
    let recipients = recipients.iter().map(|text| recipient(text)).collect::<Result<Vec<_>, _>>()?;
    // The listener is bound before the first request.
    let mx = *world.mx.get().ok_or_else(Problem::unavailable)?;
    let raw = with_crlf(request.raw);
    converse(mx, &mail_from, &recipients, &raw).await.map(Json).map_err(|failure| {
        tracing::error!(error = failure.text, "no reply from the MX");
        Problem::unavailable()
    })
}

fn recipient(text: &str) -> Result<ForwardPath, Problem> {
    if text.eq_ignore_ascii_case("postmaster") {
        return Ok(ForwardPath::Postmaster);
    }
    let address = Address::parse(text).map_err(|e| Problem::invalid_field("rcpt_to", e.to_string()))?;
    Ok(ForwardPath::Mailbox(address))
}

/// JSON usually has bare LF. A message without any CRLF is converted; one with some is sent unchanged, so that wrong
/// line ends can be tested.
fn with_crlf(raw: String) -> Vec<u8> {
    let mut raw = if raw.contains('\r') { raw } else { raw.replace('\n', "\r\n") }.into_bytes();
    if !raw.ends_with(b"\r\n") {
        raw.extend_from_slice(b"\r\n");
    }
    raw
}

/// Replies as JSON: the last one, and one for each recipient. Fails if the MX gave none.
async fn converse(
    mx: SocketAddr,
    mail_from: &ReversePath,
    rcpt_to: &[ForwardPath],
    raw: &[u8],
) -> Result<Value, Failure> {
    let mut connection = match Connection::open("the MX", mx, "outside.test", TIMEOUTS).await {
        Ok(connection) => connection,
        Err(TryNextHost { answer, .. }) => return Ok(shown(reply(answer)?, Vec::new())),
    };
    let named: Vec<RcptTo> =
        rcpt_to.iter().map(|path| RcptTo { path: path.clone(), parameters: RecipientParameters::default() }).collect();
    let transaction = connection
        .transact(&OutgoingMail {
            mail_from,
            parameters: &MailParameters::default(),
            rcpt_to: &named,
            header: b"",
            body: MessageBody::InMemory(raw),
            is_8bit: false,
            allowance: &TimeAllowance::new(TIMEOUTS.end_of_data),
        })
        .await;
    connection.quit().await;
    let mut last = reply(transaction.mail)?;
    let mut recipients = Vec::new();
    for (to, answer) in rcpt_to.iter().zip(transaction.rcpt_to) {
        last = reply(answer)?;
        recipients.push(json!({"rcpt_to": to.to_string(), "reply": last.to_string()}));
    }
    if let Some(answer) = transaction.data {
        last = reply(answer)?;
    }
    Ok(shown(last, recipients))
}

fn shown(last: Reply, recipients: Vec<Value>) -> Value {
    json!({
        "reply": last.to_string(), "code": last.code,
        "enhanced_code": last.enhanced.map(|code| code.to_string()), "text": last.text, "recipients": recipients,
    })
}

fn reply(answer: Answer) -> Result<Reply, Failure> {
    match answer {
        Answer::Reply(reply) => Ok(reply),
        Answer::Lost(failure) | Answer::MaybeDelivered(failure) | Answer::CannotCarry(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_converted_only_without_any_crlf() {
        assert_eq!(with_crlf("a: b\n\nc".into()), b"a: b\r\n\r\nc\r\n");
        assert_eq!(with_crlf("a: b\r\n\r\nc\n.\r\n".into()), b"a: b\r\n\r\nc\n.\r\n");
    }

    #[test]
    fn recipients_cannot_carry_commands() {
        assert_eq!(recipient("Postmaster").unwrap(), ForwardPath::Postmaster);
        for bad in ["", "a", "a@x.test>\r\nDATA", "<a@x.test>"] {
            assert!(recipient(bad).is_err(), "{bad:?}");
        }
    }
}
