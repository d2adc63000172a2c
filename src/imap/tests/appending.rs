//! APPEND of several messages (RFC 3502), CATENATE (RFC 4469) and REPLACE (RFC 8508).

use super::*;

/// A message with two parts, as in the example of RFC 4469.
const DRAFT: &str = "Return-Path: <bar@example.org>\r\nMessage-ID: <3.A@example.org>\r\nSubject: Re: Dinner\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=----=_b\r\n\r\n------=_b\r\nContent-Type: text/plain\r\n\r\nHow about 8?\r\n------=_b\r\nContent-Type: image/png\r\n\r\nPNG\r\n------=_b--\r\n";

async fn selected(world: &World, mailbox: &str) -> Client {
    let mut client = world.user().await;
    client.ok(&format!("SELECT {mailbox}")).await;
    client
}

fn literal(text: &str) -> String {
    format!("{{{}+}}\r\n{text}", text.len())
}

/// UIDVALIDITY.
async fn validity(client: &mut Client, mailbox: &str) -> String {
    let line = client.ok(&format!("STATUS {mailbox} (UIDVALIDITY)")).await.remove(0);
    line.rsplit([' ', ')']).nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn several_messages_are_appended_all_or_none() {
    let world = World::with(|config| config.limits.message_size = 10_000).await;
    let mut client = selected(&world, "INBOX").await;
    let (a, b) = (literal("A: a\r\n\r\na"), literal("B: b\r\n\r\nb"));
    let valid = validity(&mut client, "INBOX").await;
    let answer = client
        .ask(&format!("APPEND INBOX (\\Seen) {a} \" 7-Feb-1994 22:43:04 -0800\" {b} (\\Flagged $Work) {a}"))
        .await;
    assert!(answer.contains(&"* 3 EXISTS".to_owned()), "{answer:?}");
    assert!(answer.last().unwrap().contains(&format!("OK [APPENDUID {valid} 1:3] ")), "{answer:?}");
    assert_eq!(client.ok("UID SEARCH SEEN").await, ["* SEARCH 1"]);
    assert_eq!(client.ok("UID SEARCH FLAGGED KEYWORD $work").await, ["* SEARCH 3"]);
    assert!(client.ok("FETCH 2 INTERNALDATE").await[0].contains("\"08-Feb-1994 06:43:04 +0000\""));
    // One of them is refused.
    let long = literal(&"x".repeat(10_001));
    for (refused, code) in [
        ("~{3+}\r\na\0b", "NO [UNKNOWN-CTE]"),
        ("{0+}\r\n", "NO [CANNOT]"),
        ("{3+}\r\na\rb", "NO [CANNOT]"),
        ("(\\Foo) {1+}\r\na", "BAD"),
        (long.as_str(), "NO [TOOBIG]"),
        ("CATENATE (URL /INBOX;UID=77)", "NO [BADURL /INBOX;UID=77]"),
    ] {
        let answer = client.ask(&format!("APPEND INBOX {a} {refused} {b}")).await;
        assert!(answer.len() == 1 && answer[0].contains(code), "{refused}: {answer:?}");
    }
    assert!(client.ask(&format!("APPEND Nowhere {a} {b}")).await[0].contains("NO [TRYCREATE]"));
    assert!(client.ok("STATUS INBOX (MESSAGES)").await[0].contains("MESSAGES 3"));
}

#[tokio::test]
async fn the_memory_for_several_messages_is_bounded() {
    let world = World::with(|config| config.limits.memory_per_address = 6_000_000).await;
    let mut client = selected(&world, "INBOX").await;
    // Eight megabytes as they are sent, little as they are stored.
    let message = literal(&format!("A: a\r\n\r\n{}", "text ".repeat(200_000)));
    let many = format!(" {message}").repeat(8);
    client.ok(&format!("APPEND INBOX{many}")).await;
    assert!(client.ok("STATUS INBOX (MESSAGES)").await[0].contains("MESSAGES 8"));
}

#[tokio::test]
async fn a_message_is_put_together_as_in_rfc_4469() {
    let world = World::new().await;
    let mut client = selected(&world, "Drafts").await;
    client.ok(&format!("APPEND Drafts {}", literal(DRAFT))).await;
    let valid = validity(&mut client, "Drafts").await;
    let base = format!("/Drafts;UIDVALIDITY={valid}/;UID=1");
    let command = format!(
        "APPEND Drafts (\\Seen \\Draft) CATENATE (URL \"{base}/;section=HEADER\" TEXT {} URL {} URL \"{base}/;section=2\" TEXT {} URL \";UID=1/;SECTION=1\" TEXT {})",
        literal("------=_b\r\n"),
        literal(&format!("{base}/;SECTION=2.MIME")),
        literal("\r\n------=_b\r\n\r\n"),
        literal("\r\n------=_b--\r\n"),
    );
    let answer = client.ask(&command).await;
    assert!(answer.last().unwrap().contains(&format!("OK [APPENDUID {valid} 2] ")), "{answer:?}");
    let header = DRAFT.split_once("\r\n\r\n").unwrap().0;
    let whole = format!(
        "{header}\r\n\r\n------=_b\r\nContent-Type: image/png\r\n\r\nPNG\r\n------=_b\r\n\r\nHow about 8?\r\n------=_b--\r\n"
    );
    let fetched = client.ok("UID FETCH 2 (FLAGS BODY.PEEK[])").await.remove(0);
    assert!(fetched.ends_with(&format!("BODY[] {{{}}}\r\n{whole})", whole.len())), "{fetched}");
    assert!(fetched.contains("\\Draft"), "{fetched}");
    // The same message whole, a range of it, and some of its fields.
    for (url, expected) in [
        (base.clone(), DRAFT),
        (format!("{base}/;PARTIAL=0.11"), "Return-Path"),
        (format!("{base}/;SECTION=HEADER.FIELDS%20(subject)"), "Subject: Re: Dinner\r\n\r\n"),
        (format!("{base}/;SECTION=1/;PARTIAL=4.5"), "about"),
    ] {
        let answer = client.ask(&format!("APPEND INBOX CATENATE (URL \"{url}\")")).await;
        assert!(answer[0].contains("OK [APPENDUID"), "{answer:?}");
        let mut other = selected(&world, "INBOX").await;
        let fetched = other.ok("FETCH * BODY.PEEK[]").await.remove(0);
        assert!(fetched.ends_with(&format!(" {{{}}}\r\n{expected})", expected.len())), "{url}: {fetched}");
    }
}

#[tokio::test]
async fn urls_that_lead_nowhere_are_named() {
    let world = World::with(|config| config.limits.message_size = 2000).await;
    let mut client = world.user().await;
    client.ok(&format!("APPEND Drafts {}", literal(DRAFT))).await;
    for url in [
        "/Drafts;UIDVALIDITY=1/;UID=1",
        "/Drafts;UID=2",
        "/Drafts;UID=1/;SECTION=3",
        "/Nowhere;UID=1",
        ";UID=1",
        "imap://other.example/INBOX;UID=1",
    ] {
        let answer = client.ask(&format!("APPEND Drafts CATENATE (URL \"{url}\" TEXT {{1+}}\r\nx)")).await;
        assert!(answer[0].contains(&format!("NO [BADURL {url}] ")), "{answer:?}");
    }
    let many = ["URL /Drafts;UID=1"; 10].join(" ");
    assert!(client.ask(&format!("APPEND Drafts CATENATE ({many})")).await[0].contains("NO [TOOBIG]"));
    let many = ["URL /Drafts;UID=1/;PARTIAL=9999.1"; 101].join(" ");
    assert!(client.ask(&format!("APPEND Drafts CATENATE ({many})")).await[0].contains("NO [LIMIT]"));
    assert!(client.ok("STATUS Drafts (MESSAGES)").await[0].contains("MESSAGES 1"));
}

#[tokio::test]
async fn parts_of_large_messages_are_put_together() {
    let world = World::new().await;
    let mut client = selected(&world, "Drafts").await;
    let part = "line of an attachment\r\n".repeat(50_000);
    let large = DRAFT.replace("PNG\r\n", &part);
    client.ok(&format!("APPEND Drafts {}", literal(&large))).await;
    let urls = ["", "/;SECTION=TEXT", "/;SECTION=2"];
    for url in urls {
        client.ok(&format!("APPEND Drafts CATENATE (URL \"/Drafts;UID=1{url}\")")).await;
    }
    let body = large.split_once("\r\n\r\n").unwrap().1;
    let part = part.trim_end();
    for (uid, expected) in [(2, large.as_str()), (3, body), (4, part)] {
        let fetched = client.ok(&format!("UID FETCH {uid} BODY.PEEK[]")).await.remove(0);
        assert!(fetched.ends_with(&format!(" {{{}}}\r\n{expected})", expected.len())), "{uid}: {}", fetched.len());
    }
}

#[tokio::test]
async fn a_message_is_replaced_as_in_rfc_8508() {
    let world = World::new().await;
    let mut client = selected(&world, "Drafts").await;
    for n in 1..=3 {
        client.ok(&format!("APPEND Drafts {}", literal(&format!("Subject: {n}\r\n\r\n")))).await;
    }
    let mut other = selected(&world, "Drafts").await;
    let valid = validity(&mut client, "Drafts").await;
    let answer = client.ask(&format!("REPLACE 2 Drafts (\\Seen \\Draft) {}", literal("Subject: new\r\n\r\n"))).await;
    assert_eq!(answer[0], format!("* OK [APPENDUID {valid} 4] the replacement is stored"));
    assert!(answer.contains(&"* 2 EXPUNGE".to_owned()) && answer.contains(&"* 3 EXISTS".to_owned()), "{answer:?}");
    assert!(answer.last().unwrap().ends_with("OK completed"), "{answer:?}");
    let seen = other.ok("NOOP").await;
    assert!(seen.contains(&"* 2 EXPUNGE".to_owned()) && seen.contains(&"* 3 EXISTS".to_owned()), "{seen:?}");
    // Into another mailbox, by UID, with CATENATE.
    let answer = client.ask("UID REPLACE 4 Archive CATENATE (URL \"/Drafts;UID=4\")").await;
    assert!(answer[0].starts_with("* OK [APPENDUID") && answer.contains(&"* 3 EXPUNGE".to_owned()), "{answer:?}");
    assert!(client.ok("STATUS Archive (MESSAGES)").await[0].contains("MESSAGES 1"));
    let new = literal("Subject: x\r\n\r\n");
    for (command, expected) in [
        ("REPLACE 9 Drafts", "BAD"),
        ("UID REPLACE 9 Drafts", "NO [NONEXISTENT]"),
        ("REPLACE 1 Nowhere", "NO [TRYCREATE]"),
    ] {
        let answer = client.ask(&format!("{command} {new}")).await;
        assert!(answer[0].contains(expected), "{command}: {answer:?}");
    }
    client.ok("EXAMINE Drafts").await;
    assert!(client.ask(&format!("REPLACE 1 Drafts {new}")).await[0].contains(" NO "));
    assert!(client.ok("STATUS Drafts (MESSAGES)").await[0].contains("MESSAGES 2"));
}
