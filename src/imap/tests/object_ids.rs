//! EMAILID, THREADID, MAILBOXID (RFC 8474), SAVEDATE (RFC 8514) and PREVIEW (RFC 8970).

use super::*;

/// What is between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}"));
    rest.split_once(after).unwrap().0
}

#[tokio::test]
async fn copies_keep_their_emailid_and_answers_share_a_thread() {
    let world = World::new().await;
    world.arrives("Message-ID: <1@x>\r\nSubject: x\r\n\r\none").await;
    world.arrives("Message-ID: <2@x>\r\nIn-Reply-To: <1@x>\r\nSubject: Re: x\r\n\r\ntwo").await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    let lines = client.ok("FETCH 1:2 (EMAILID THREADID)").await;
    let ids: Vec<_> =
        lines.iter().map(|line| (between(line, "EMAILID (", ")"), between(line, "THREADID (", ")"))).collect();
    assert!(ids[0].0.starts_with("msg_") && ids[0].0 != ids[1].0 && ids[0].1 == ids[1].1, "{lines:?}");
    client.ok("COPY 1 Archive").await;
    client.ok("SELECT Archive").await;
    let copy = client.ok("UID FETCH 1:* (EMAILID)").await;
    assert_eq!(between(&copy[0], "EMAILID (", ")"), ids[0].0);
}

#[tokio::test]
async fn a_mailbox_keeps_its_id_when_it_is_renamed() {
    let world = World::new().await;
    let mut client = world.user().await;
    let created = client.ask("CREATE a").await.remove(0);
    let id = between(&created, "OK [MAILBOXID (", ")] ").to_owned();
    client.ok("RENAME a b").await;
    for open in ["SELECT b", "EXAMINE b"] {
        let lines = client.ok(open).await;
        assert!(lines.contains(&format!("* OK [MAILBOXID ({id})] mailbox ID")), "{lines:?}");
    }
    assert_eq!(client.ok("STATUS b (MAILBOXID)").await, [format!("* STATUS b (MAILBOXID ({id}))")]);
}

#[tokio::test]
async fn the_save_date_is_that_of_this_mailbox() {
    let world = World::new().await;
    let mut client = world.user().await;
    client.ok("APPEND INBOX \"01-Jan-2020 00:00:00 +0000\" {8+}\r\nA: b\r\n\r\n").await;
    client.ok("SELECT INBOX").await;
    let line = client.ok("FETCH 1 (INTERNALDATE SAVEDATE)").await.remove(0);
    assert!(line.contains("INTERNALDATE \"01-Jan-2020"), "{line}");
    let now = Clock::System.now().to_jiff().strftime("%Y").to_string();
    assert_eq!(between(&line, "SAVEDATE \"", "\"").split(['-', ' ']).nth(2), Some(now.as_str()), "{line}");
}

#[tokio::test]
async fn a_preview_is_how_the_text_begins() {
    let world = World::new().await;
    world.arrives("Subject: x\r\n\r\nAt  noon?\r\n> yes\r\n\r\nAnn").await;
    world.arrives("Content-Type: text/html; charset=utf-8\r\n\r\n<p>grün</p>").await;
    world.arrives("Subject: x\r\n\r\n").await;
    world.arrives(&format!("Subject: x\r\n\r\nmuch {}", "text\r\n".repeat(100_000))).await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    for item in ["PREVIEW", "PREVIEW (LAZY)"] {
        let lines = client.ok(&format!("FETCH 1:4 ({item})")).await;
        let expected =
            ["* 1 FETCH (PREVIEW \"At noon? Ann\")", "* 2 FETCH (PREVIEW {5}\r\ngrün)", "* 3 FETCH (PREVIEW \"\")"];
        assert_eq!(lines[..3], expected);
        assert!(lines[3].starts_with("* 4 FETCH (PREVIEW \"much text text"), "{lines:?}");
    }
    // With what is sent whole.
    let line = client.ok("FETCH 4 (PREVIEW BODY.PEEK[] BODY.PEEK[TEXT]<0.9>)").await.remove(0);
    assert!(line.contains(" BODY[] {600019}\r\nSubject: x"), "{}", &line[..300]);
    assert!(line.ends_with("text\r\n BODY[TEXT]<0> {9}\r\nmuch text)"), "{}", &line[line.len() - 100..]);
    assert_eq!(client.ok("SEARCH UNSEEN").await, ["* SEARCH 1 2 3 4"]);
}
