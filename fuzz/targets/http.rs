//! REST: a message made of JSON, the query of a request, the client behind a proxy; and a message as it is shown.

use super::compose::Mailbox;
use super::emails::MessageJson;
use super::fields::Fields;
use super::forwarded::client_of;
use super::problem::Problem;
use super::query::Parameters;
use super::send::{Message, json_request};
use crate::address::Address;
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::id::{ContentId, InboxId, MessageId};
use crate::message::{self, ReadLimits};
use crate::net::ranges::Networks;
use crate::reading::Readable;
use crate::store::StoredMessage;
use crate::store::messages::{Flags, MessageSummary};
use axum::body::HttpBody;
use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderValue, Request, Uri};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use std::net::IpAddr;

/// Octets of the answer to a request that is wrong in very many ways.
const PROBLEM: u64 = 256 * 1024;

/// What a body asks to send: no value adds a field or a line, and all that is written is 7-bit, but for attached messages.
pub fn compose(input: &[u8]) {
    let Ok(fields) = Fields::parse(input) else { return };
    let Ok(wish) = json_request(fields, &Limits::default()) else { return };
    assert!(!wish.rcpt_to.is_empty() || matches!(wish.message, Message::Raw(_)), "nobody to send it to");
    match wish.message {
        Message::Raw(raw) => {
            assert!(!raw.contains(&0), "a NUL in a message");
            assert!(has_only_crlf(&raw), "a bare CR or LF in a message");
        }
        Message::Parts { from, to, cc, bcc, content } => {
            let names: Vec<_> = content.headers.iter().map(|(name, _)| name.clone()).collect();
            let from = from.unwrap_or_else(|| Mailbox::of(Address::parse("ann@example.org").unwrap()));
            let written = content.write(&from, &to, &cc, &bcc);
            let shown = String::from_utf8_lossy(&written);
            let is_7bit = written.is_ascii() || shown.contains("Content-Transfer-Encoding: 8bit");
            assert!(is_7bit && !written.contains(&0) && has_only_crlf(&written), "{shown:?}");
            assert!(
                written.split(|b| *b == b'\n').all(|line| line.len() <= 999),
                "a line is over 998 octets: {shown:?}"
            );
            let (header, _) = message::split(&written);
            for line in String::from_utf8_lossy(header).split("\r\n").filter(|line| !line.starts_with([' ', '\t'])) {
                let name = line.split(':').next().unwrap_or_default();
                let ours = ["From", "To", "Cc", "Bcc", "Reply-To", "Subject", "MIME-Version"].contains(&name);
                let known = ours || name.is_empty() || name.starts_with("Content-") || names.iter().any(|n| n == name);
                assert!(known, "a field nobody asked for: {line:?}");
            }
            assert_eq!(shown.matches("From: ").count().min(1), 1, "{shown:?}");
        }
    }
}

fn has_only_crlf(text: &[u8]) -> bool {
    let mut before = 0;
    let in_pairs = text.iter().all(|octet| {
        let pair = (*octet == b'\n') == (before == b'\r');
        before = *octet;
        pair
    });
    in_pairs && before != b'\r'
}

/// The query of a request for a list: a page within the limits, or a problem of bounded size.
pub fn query(input: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/?", input].concat()) else { return };
    let (mut parts, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
    let parameters = Parameters::from_request_parts(&mut parts, &()).now_or_never().expect("nothing to wait for");
    let problem = |problem: Problem| {
        let octets = problem.into_response().body().size_hint().exact().expect("a problem is in memory");
        assert!(octets <= PROBLEM, "a problem of {octets} octets");
    };
    let mut parameters = match parameters {
        Ok(parameters) => parameters,
        Err(malformed) => return problem(malformed),
    };
    let rows = parameters.page::<MessageId>().rows();
    let _ = parameters.take::<bool>("flag");
    match parameters.finish() {
        Ok(()) => assert!((2..=101).contains(&rows), "{rows} rows"),
        Err(invalid) => problem(invalid),
    }
}

/// X-Forwarded-For, a value on each line: believed from proxies alone, and nothing that a client may have written itself
/// changes whom it is taken for.
pub fn forwarded(input: &[u8]) {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let proxies = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"].map(str::to_owned).to_vec();
    let proxies = Networks::try_from(proxies).unwrap();
    let (proxy, stranger, forged) = (ip("127.0.0.1"), ip("198.51.100.1"), ip("203.0.113.66"));
    let values: Vec<_> = input.split(|b| *b == b'\n').take(1000).collect();
    let client = |peer, values: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for value in values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
            headers.append("x-forwarded-for", value);
        }
        client_of(peer, &headers, &proxies)
    };
    assert_eq!(client(stranger, &values), stranger);
    let honest = client(proxy, &values);
    let lied = client(proxy, &[&[b"203.0.113.66".as_slice()], values.as_slice()].concat());
    assert!(lied == honest || proxies.contains(honest) && lied == forged, "{honest} is taken for {lied}");
}

/// A message as `GET …/emails/{id}` shows it.
pub(crate) fn shown(header: &[u8], body: &[u8]) -> serde_json::Value {
    let stored = MessageSummary {
        id: MessageId::new(),
        email_id: MessageId::new(),
        inbox: InboxId::new(),
        thread: None,
        content: ContentId::new(1),
        mailbox: "INBOX".into(),
        special_use: None,
        uid: 1,
        flags: Flags::default(),
        keywords: String::new(),
        internal_date: Timestamp::from_millis(0),
        changed_at: None,
        size: 0,
        mail_from: String::new(),
        rcpt_to: String::new(),
    };
    let raw = StoredMessage { header: header.to_vec(), body: body.to_vec() };
    let readable = Readable { limits: ReadLimits::default(), is_set_aside: false };
    serde_json::to_value(MessageJson::new(stored, &raw, readable)).unwrap()
}
