//! The dialogues under `fixtures/imap`: `C:` lines are sent, `S:` lines must come; `…` matches anything. A `~:` line must come too,
//! possibly after others.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

fn matches(pattern: &str, line: &str) -> bool {
    let mut rest = line;
    for (at, piece) in pattern.split('…').enumerate() {
        match rest.find(piece) {
            Some(0) => rest = &rest[piece.len()..],
            Some(found) if at > 0 => rest = &rest[found + piece.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || pattern.ends_with('…')
}

async fn play(world: &World, name: &str) {
    let path = format!("{}/fixtures/imap/{name}.dialogue", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut client = world.not_authenticated().await;
    let plain = STANDARD.encode(format!("\0anna\0{}", world.token.reveal()));
    for (number, line) in text.lines().enumerate() {
        let line = line.replace("$TOKEN", world.token.reveal()).replace("$PLAIN", &plain);
        if let Some(sent) = line.strip_prefix("C: ") {
            client.send(format!("{sent}\r\n")).await;
        } else if let Some(expected) = line.strip_prefix("S: ") {
            let got = read_line(&mut client).await;
            assert!(matches(expected, &got), "{name}:{}: expected {expected:?}, got {got:?}", number + 1);
        } else if let Some(expected) = line.strip_prefix("~: ") {
            let mut passed = Vec::new();
            while !passed.last().is_some_and(|got: &String| matches(expected, got)) {
                passed.push(read_line(&mut client).await);
                // An answer to the command ends it.
                let is_end = passed.last().is_some_and(|got| is_tagged(got) && !matches(expected, got));
                assert!(!is_end, "{name}:{}: expected {expected:?}, got {passed:#?}", number + 1);
            }
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "{name}:{}: {line}", number + 1);
        }
    }
}

/// True for the response that ends a command.
fn is_tagged(line: &str) -> bool {
    let mut words = line.split(' ');
    let tag = words.next().unwrap_or_default();
    let is_tag = tag.starts_with(|c: char| c.is_ascii_alphanumeric());
    is_tag && matches!(words.next(), Some("OK" | "NO" | "BAD"))
}

/// A line, also within a literal.
async fn read_line(client: &mut Client) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.ends_with(b"\r\n") {
            match client.stream.read_u8().await {
                Ok(byte) => bytes.push(byte),
                Err(_) => break,
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), read).await.expect("an answer");
    String::from_utf8_lossy(&bytes).trim_end_matches("\r\n").to_owned()
}

#[tokio::test]
async fn log_in() {
    play(&World::new().await, "log_in").await;
}

#[tokio::test]
async fn mailboxes() {
    play(&World::new().await, "mailboxes").await;
}

#[tokio::test]
async fn messages() {
    let world = World::new().await;
    play(&world, "messages").await;
}

#[tokio::test]
async fn search() {
    play(&World::new().await, "search").await;
}

#[tokio::test]
async fn octets_come_back_as_they_were_delivered() {
    let world = World::new().await;
    let mut body = String::from("\r\n.\r\n");
    for n in 0..20_000 {
        body.push_str(&format!("line {n} é\r\n"));
    }
    let raw = format!("Subject: =?utf-8?q?=C3=A9?=\r\n folded\r\nX: é\r\n\r\n{body}");
    world.arrives(&raw).await;
    let mut client = world.user().await;
    client.ok("ENABLE UTF8=ACCEPT").await;
    client.ok("SELECT INBOX").await;
    let lines = client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])").await;
    assert_eq!(lines[0], format!("* 1 FETCH (RFC822.SIZE {0} BODY[] {{{0}}}\r\n{raw})", raw.len()));
    let mut whole = Vec::new();
    while whole.len() < raw.len() {
        client.send(format!("p FETCH 1 BODY.PEEK[]<{}.50000>\r\n", whole.len())).await;
        let response = client.response().await;
        let start = response.iter().position(|b| *b == b'\n').unwrap() + 1;
        whole.extend_from_slice(&response[start..response.len() - 1]);
        client.answer("p").await;
    }
    assert_eq!(whole, raw.as_bytes());
    assert_eq!(
        client.ok(&format!("FETCH 1 BODY.PEEK[]<{}.5>", raw.len())).await[0],
        format!("* 1 FETCH (BODY[]<{}> {{0}}\r\n)", raw.len())
    );
}

/// What the dialogues of clients find: a plain message, and one of three parts.
async fn with_messages() -> World {
    let world = World::new().await;
    world
        .arrives("From: Ann <ann@example.com>\r\nSubject: plain\r\nMessage-ID: <1@example.com>\r\n\r\nHello.\r\n")
        .await;
    let parts = "--b\r\n\r\none\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>two</p>\r\n--b\r\n\
        Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        JVBERi0xLjQKJeLjz9MKMSAwIG\r\n--b--\r\n";
    let fields = "Subject: of three parts\r\nContent-Type: multipart/mixed; boundary=b";
    world.arrives(&format!("From: Ann <ann@example.com>\r\n{fields}\r\n\r\n{parts}")).await;
    world
}

#[tokio::test]
async fn apple_mail_on_macos() {
    play(&with_messages().await, "apple_mail_macos").await;
}

#[tokio::test]
async fn apple_mail_on_ios() {
    play(&with_messages().await, "apple_mail_ios").await;
}

#[tokio::test]
async fn outlook_classic() {
    play(&with_messages().await, "outlook_classic").await;
}

#[tokio::test]
async fn outlook_new() {
    play(&with_messages().await, "outlook_new").await;
}
