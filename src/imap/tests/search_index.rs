//! Searches by the index find what a plain scan finds.

use super::*;
use crate::store::testing::index_all;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use proptest::prelude::*;

const WORDS: [&str; 18] = [
    "alpha",
    "alphabet",
    "beta",
    "Grün",
    "GRÜNE",
    "ß",
    "=?utf-8?q?be?=",
    "x",
    "ταξίς",
    "a b",
    "needle",
    "per",
    "café",
    "cafe",
    "CAFE\u{301}",
    "ﬁnal",
    "FINAL",
    "ẞa",
];

const NAMES: [&str; 8] = ["BODY", "TEXT", "SUBJECT", "FROM", "CC", "HEADER X-Other", "HEADER subject", "HEADER to"];

fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&WORDS[..])
}

/// A message with words in its header and its body, in one of several encodings.
fn message() -> impl Strategy<Value = String> {
    let texts = proptest::collection::vec(proptest::collection::vec(word(), 0..4), 4);
    (texts, 0..4).prop_map(|(texts, encoding)| {
        let [from, to, subject, body] =
            texts.iter().map(|words| words.join(" ")).collect::<Vec<_>>().try_into().unwrap();
        let subject = match encoding {
            0 => subject,
            _ => format!("=?utf-8?b?{}?=", BASE64.encode(subject.as_bytes())),
        };
        let body = match encoding {
            1 => format!("Content-Transfer-Encoding: base64\r\n\r\n{}\r\n", BASE64.encode(body.as_bytes())),
            2 => format!("Content-Type: text/html; charset=utf-8\r\n\r\n<p>{body}<b>bold</b></p>\r\n"),
            _ => format!("\r\n{body}\r\n"),
        };
        format!("From: \"{from}\" <a@x.org>\r\nCc: \"{to}\" <b@x.org>\r\nSubject: {subject}\r\nX-Other: {to}\r\n{body}")
    })
}

/// Search keys, with the strings as literals.
fn keys() -> impl Strategy<Value = String> {
    let part = (word(), 0_usize..3, 1_usize..6).prop_map(|(word, from, length)| {
        let text: String = word.chars().skip(from).take(length).collect();
        format!("{{{}+}}\r\n{text}", text.len())
    });
    let text = (proptest::sample::select(&NAMES[..]), part).prop_map(|(name, part)| format!("{name} {part}"));
    let other = proptest::sample::select(&["FLAGGED", "ALL", "1:5", "LARGER 150", "NOT UID 2:4"][..]);
    let leaf = prop_oneof![6 => text, 1 => other.prop_map(str::to_owned)];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} {b})")),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("OR {a} {b}")),
            1 => inner.prop_map(|key| format!("NOT {key}")),
        ]
    })
}

async fn found(client: &mut Client, keys: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for key in keys {
        found.extend(client.ok(&format!("UID SEARCH {key}")).await);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn the_index_finds_what_a_plain_scan_finds(
        messages in proptest::collection::vec(message(), 12..24),
        keys in proptest::collection::vec(keys(), 20),
    ) {
        let (plain, indexed) = tokio::runtime::Runtime::new().unwrap().block_on(async {
            let world = World::new().await;
            for message in &messages {
                world.arrives(message).await;
            }
            let mut client = world.user().await;
            client.ok("SELECT INBOX").await;
            // While nothing is indexed, all is read.
            let plain = found(&mut client, &keys).await;
            index_all(&world.store, &world.account).await;
            (plain, found(&mut client, &keys).await)
        });
        prop_assert_eq!(plain, indexed);
    }
}

#[tokio::test]
async fn what_the_index_leaves_out_is_not_read() {
    let world = World::new().await;
    for text in ["needle", "hay", "hay", "hay", "hay", "needle"] {
        world.arrives(&format!("Subject: x\r\n\r\n{text}\r\n")).await;
    }
    index_all(&world.store, &world.account).await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    // A body that cannot be read fails only searches that have to read it.
    world.damage(2).await;
    assert_eq!(client.ok("SEARCH BODY needle").await, ["* SEARCH 1 6"]);
    assert!(client.ask("SEARCH BODY needle NOT BODY hay").await.last().unwrap().contains(" OK "));
    assert!(client.ask("SEARCH BODY ha").await[0].contains(" NO [CORRUPTION]"));
}
