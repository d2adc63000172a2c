//! A message as its readers see it: over REST, in a SEARCH, in an ENVELOPE.

use crate::message::ReadLimits;
use crate::message::decode::decoded_words;
use crate::message::fields::header_end;
use crate::message::mime::Tree;
use crate::message::text::searched_texts;
use serde_json::Value;

/// What is shown is bounded by the message; REST and ENVELOPE list the same mailboxes under the same names; the text that is
/// shown is found.
pub fn reader(input: &[u8]) {
    let (header, body) = input.split_at(header_end(input));
    let shown = crate::http::fuzz::shown(header, body);
    let attachments = list(&shown["attachments"]);
    // An octet that is no text becomes one character of three octets, or six as an escape in JSON.
    let octets = shown.to_string().len();
    assert!(octets <= 16 * input.len() + 256 * attachments.len() + 1024, "{octets} octets of {}", input.len());
    for attachment in attachments {
        assert!(attachment["size"].as_u64() <= Some(body.len() as u64), "{attachment}");
    }
    assert!(attachments.len() <= 1 + ReadLimits::default().parts + ReadLimits::default().nesting);
    let texts = searched_texts(&Tree::parse(header, body, &ReadLimits::default()));
    if let Some(text) = shown["text"].as_str() {
        assert!(texts.contains(&text.to_lowercase()), "shown and not found: {text:?}");
    }
    assert!(texts.iter().map(String::len).sum::<usize>() <= 16 * input.len(), "more to search than there is");

    let (subject, lists) = crate::imap::fuzz::enveloped(header);
    let subject = subject.map(|subject| decoded_words(&subject));
    assert_eq!(shown["subject"].as_str().map(str::trim), subject.as_deref().map(str::trim));
    for (field, enveloped) in ["from", "to", "cc"].into_iter().zip(lists) {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let enveloped = enveloped.iter().map(|mailbox| {
            let name = mailbox.name.as_deref().map(decoded_words).filter(|name| !name.is_empty());
            let address = match (text(&mailbox.local), text(&mailbox.host)) {
                (local, host) if host.is_empty() => Some(local).filter(|local| !local.is_empty()),
                (local, host) => Some(format!("{local}@{host}")),
            };
            (name, address)
        });
        let owned = |value: &Value| value.as_str().map(str::to_owned);
        let listed = list(&shown[field]).iter().map(|mailbox| (owned(&mailbox["name"]), owned(&mailbox["address"])));
        assert_eq!(listed.collect::<Vec<_>>(), enveloped.collect::<Vec<_>>(), "{field}");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
