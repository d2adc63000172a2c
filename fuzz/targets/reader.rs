//! A message as its readers see it: over REST, in a SEARCH, in an ENVELOPE.

use crate::message::ReadLimits;
use crate::message::fields::header_end;
use crate::message::mime::Tree;
use crate::message::searched::searched_texts;
use crate::message::words::{decoded_words, without_controls};
use serde_json::Value;

/// What is shown is bounded by the message, and holds no control characters outside its texts; REST and ENVELOPE list the same mailboxes under the same names; the text that is
/// shown is found.
pub fn reader(input: &[u8]) {
    let (header, body) = input.split_at(header_end(input));
    let shown = crate::http::fuzz::shown(header, body);
    let attachments = list(&shown["attachments"]);
    // An octet that is no text becomes one character of three octets, or six as an escape in JSON.
    let octets = shown.to_string().len();
    let listed = 400 * (attachments.len() + list(&shown["links"]).len()) + 1500 * list(&shown["codes"]).len();
    assert!(octets <= 48 * input.len() + listed + 2048, "{octets} octets of {}", input.len());
    shown
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, _)| !["text_body", "html_body", "extracted_text"].contains(&key.as_str()))
        .for_each(without_control);
    for attachment in attachments {
        assert!(attachment["size"].as_u64() <= Some(body.len() as u64), "{attachment}");
    }
    assert!(attachments.len() <= 1 + ReadLimits::default().parts + ReadLimits::default().nesting);
    let texts = searched_texts(&Tree::parse(header, body, &ReadLimits::default()));
    // It may be of several parts.
    for line in shown["text_body"].as_str().unwrap_or_default().lines() {
        let line = line.to_lowercase();
        assert!(texts.iter().any(|text| text.contains(&line)), "shown and not found: {line:?}");
    }
    assert!(texts.iter().map(String::len).sum::<usize>() <= 16 * input.len(), "more to search than there is");

    let (subject, lists) = crate::imap::fuzz::enveloped(header);
    let subject = subject.map(|subject| decoded_words(&subject)).unwrap_or_default();
    assert_eq!(shown["subject"].as_str().map(str::trim), Some(subject.trim()));
    for (field, enveloped) in ["from", "to", "cc"].into_iter().zip(lists) {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let enveloped = enveloped.iter().map(|mailbox| {
            let name = mailbox.name.as_deref().map(|name| decoded_words(name).trim().to_owned());
            let address = match (text(&mailbox.local), text(&mailbox.host)) {
                (local, host) if host.is_empty() => Some(local).filter(|local| !local.is_empty()),
                (local, host) if is_plain(&mailbox.local) => Some(format!("{local}@{host}")),
                (local, host) => Some(format!("\"{}\"@{host}", local.replace('\\', "\\\\").replace('"', "\\\""))),
            };
            let (name, address) = (name.filter(|name| !name.is_empty()), address.map(without_controls));
            (name, address)
        });
        let owned = |value: &Value| value.as_str().map(str::to_owned);
        let listed = list(&shown[field]).iter().map(|mailbox| (owned(&mailbox["name"]), owned(&mailbox["address"])));
        assert_eq!(listed.collect::<Vec<_>>(), enveloped.collect::<Vec<_>>(), "{field}");
    }
}

/// No text in a value may move a cursor or end a line.
fn without_control((key, value): (&String, &Value)) {
    match value {
        Value::String(text) => {
            let is_control = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            assert!(!text.contains(is_control), "{key}: {text:?}");
        }
        Value::Array(list) => list.iter().for_each(|value| without_control((key, value))),
        Value::Object(fields) => fields.iter().for_each(without_control),
        _ => {}
    }
}

/// Needs no quotes before an at sign.
fn is_plain(local: &[u8]) -> bool {
    let is_plain = |b: &u8| *b >= 0x80 || b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(b);
    !local.is_empty() && local.iter().all(is_plain)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
