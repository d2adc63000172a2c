//! BINARY (RFC 3516).

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Three parts: octets in base64, text in quoted-printable, and one in an unknown encoding.
fn mixed(octets: &[u8]) -> String {
    let encoded = STANDARD.encode(octets);
    let lines: Vec<_> = encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let part = |encoding: &str, body: &str| {
        format!("--b\r\nContent-Type: x/y\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n")
    };
    format!(
        "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}{}{}--b--\r\n",
        part("base64", &lines.join("\r\n")),
        part("quoted-printable", "a=3Db=\r\nc"),
        part("x-zip", "?"),
    )
}

/// The octets of the literal of a response.
fn literal(response: &[u8]) -> &[u8] {
    let start = response.iter().position(|octet| *octet == b'\n').unwrap() + 1;
    &response[start..response.len() - 1]
}

#[tokio::test]
async fn parts_are_sent_decoded_and_in_literal8_where_they_have_nul() {
    let world = World::new().await;
    let octets: Vec<u8> = (0..=255).cycle().take(1000).collect();
    world.arrives(&mixed(&octets)).await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    client.send("a FETCH 1 BINARY.PEEK[1]\r\n").await;
    let response = client.response().await;
    assert!(response.starts_with(b"* 1 FETCH (BINARY[1] ~{1000}\r\n"), "{}", String::from_utf8_lossy(&response));
    assert_eq!(literal(&response), octets);
    client.answer("a").await;
    for (items, expected) in [
        ("(BINARY.SIZE[1] BINARY.SIZE[2])", "BINARY.SIZE[1] 1000 BINARY.SIZE[2] 4"),
        ("BINARY.PEEK[2]", "BINARY[2] {4}\r\na=bc"),
        ("(BINARY.PEEK[2]<1.3>)", "BINARY[2]<1> {3}\r\n=bc"),
        ("(BINARY.PEEK[2]<9.3>)", "BINARY[2]<9> {0}\r\n"),
        ("(BINARY.PEEK[1]<1.2>)", "BINARY[1]<1> {2}\r\n\u{1}\u{2}"),
        ("BINARY.PEEK[4]", "BINARY[4] NIL"),
        ("BINARY.PEEK[]<0.7>", "BINARY[]<0> {7}\r\nSubject"),
    ] {
        assert_eq!(client.ok(&format!("FETCH 1 {items}")).await, [format!("* 1 FETCH ({expected})")]);
    }
    let size = mixed(&octets).len();
    let expected = format!("* 1 FETCH (RFC822.SIZE {size} BINARY.SIZE[] {size})");
    assert_eq!(client.ok("FETCH 1 (RFC822.SIZE BINARY.SIZE[])").await, [expected]);
    // None of these has set \Seen.
    assert_eq!(client.ok("SEARCH UNSEEN").await, ["* SEARCH 1"]);
    let seen = client.ok("FETCH 1 BINARY[2]").await.remove(0);
    assert!(seen.starts_with("* 1 FETCH (BINARY[2] {4}\r\na=bc FLAGS (\\Seen"), "{seen}");
}

#[tokio::test]
async fn what_cannot_be_decoded_is_unknown_cte_and_the_others_are_sent() {
    let world = World::new().await;
    world.arrives(&mixed(b"x")).await;
    world.arrives("Subject: y\r\n\r\nplain").await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    for item in ["BINARY[3]", "BINARY.SIZE[3]"] {
        let answer = client.ask(&format!("FETCH 1 {item}")).await;
        assert_eq!(answer.len(), 1, "{answer:?}");
        assert!(answer[0].contains("NO [UNKNOWN-CTE] UID 1 "), "{answer:?}");
    }
    let answer = client.ask("FETCH 1:2 (BINARY[1] BINARY.SIZE[3])").await;
    assert!(answer[0].starts_with("* 2 FETCH (BINARY[1] {5}\r\nplain BINARY.SIZE[3] 0 FLAGS (\\Seen"), "{answer:?}");
    assert!(answer[1].contains("NO [UNKNOWN-CTE]"), "{answer:?}");
    assert_eq!(client.ok("SEARCH UNSEEN").await, ["* SEARCH 1"]);
    // The same part many times is more than the message.
    let many: Vec<_> = (0..50).map(|at| format!("BINARY.PEEK[2]<{at}.9>")).collect();
    let pieces = client.ok(&format!("FETCH 1 ({})", many.join(" "))).await;
    assert!(pieces[0].contains("BINARY[2]<49> {0}"), "{pieces:?}");
    let many: Vec<_> = (1000..1250).map(|end| format!("BINARY.PEEK[2]<0.{end}>")).collect();
    assert!(client.ask(&format!("FETCH 1 ({})", many.join(" "))).await[0].contains("NO [LIMIT]"));
}

#[tokio::test]
async fn large_parts_are_sent_decoded() {
    let world = World::new().await;
    let octets: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    world.arrives(&mixed(&octets)).await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    for (partial, range) in [("", 0..3_000_000), ("<2999000.5000>", 2_999_000..3_000_000)] {
        client.send(format!("a UID FETCH 1 (BINARY.PEEK[1]{partial})\r\n")).await;
        assert_eq!(literal(&client.response().await), &octets[range]);
        client.answer("a").await;
    }
    assert_eq!(client.ok("FETCH 1 PREVIEW").await, ["* 1 FETCH (PREVIEW \"\")"]);
}

#[tokio::test]
async fn binary_content_is_not_stored_and_text_in_a_literal8_is() {
    let world = World::new().await;
    let mut client = world.user().await;
    for literal in ["~{3+}\r\na\0b", "{3+}\r\na\0b", "~{5+}\r\na\nb\r\n", "~{3+}\r\na\rb"] {
        let answer = client.ask(&format!("APPEND INBOX {literal}")).await;
        assert!(answer[0].contains("NO [UNKNOWN-CTE]"), "{literal:?}: {answer:?}");
    }
    client.ok("APPEND INBOX ~{8+}\r\nA: b\r\n\r\n").await;
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("FETCH 1:* BODY.PEEK[]").await, ["* 1 FETCH (BODY[] {8}\r\nA: b\r\n\r\n)"]);
}
