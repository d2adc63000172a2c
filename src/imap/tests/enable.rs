//! ENABLE, and what changes with it.

use super::*;

#[tokio::test]
async fn what_is_enabled_is_said_once() {
    let world = World::new().await;
    let mut client = world.user().await;
    assert!(client.ok("CAPABILITY").await[0].contains(" ENABLE "));
    assert_eq!(client.ok("ENABLE X-UNKNOWN utf8=accept").await, ["* ENABLED UTF8=ACCEPT"]);
    assert_eq!(client.ok("ENABLE UTF8=ACCEPT").await, ["* ENABLED"]);
    assert!(client.ask("ENABLE").await[0].contains(" BAD "));
    let mut client = world.not_authenticated().await;
    assert!(client.ask("ENABLE UTF8=ACCEPT").await[0].contains(" BAD "));
}

#[tokio::test]
async fn names_are_in_utf8_for_clients_that_accept_it() {
    let world = World::new().await;
    let (mut utf8, mut ascii) = (world.user().await, world.user().await);
    assert!(utf8.ask("CREATE \"Grün\"").await[0].contains(" BAD "));
    utf8.ok("ENABLE UTF8=ACCEPT").await;
    utf8.ok("CREATE \"Grün & mehr\"").await;
    utf8.ok("CREATE \"Grün & mehr/\\\"x\\\"\"").await;
    utf8.ok("SUBSCRIBE \"Grün & mehr\"").await;
    assert_eq!(utf8.ok("LIST \"\" \"Gr*mehr\"").await, ["* LIST (\\HasChildren) \"/\" \"Grün & mehr\""]);
    assert_eq!(utf8.ok("LIST \"Grün & \" %/%").await, ["* LIST (\\HasNoChildren) \"/\" \"Grün & mehr/\\\"x\\\"\""]);
    assert_eq!(utf8.ok("LSUB \"\" Gr*").await, ["* LSUB () \"/\" \"Grün & mehr\""]);
    assert_eq!(utf8.ok("STATUS \"Grün & mehr\" (MESSAGES)").await, ["* STATUS \"Grün & mehr\" (MESSAGES 0)"]);
    let name = "\"Gr&APw-n &- mehr\"";
    assert_eq!(ascii.ok("LIST \"\" Gr*mehr").await, [format!("* LIST (\\HasChildren) \"/\" {name}")]);
    ascii.ok(&format!("SELECT {name}")).await;
    // The other encoding is another name.
    assert!(utf8.ask(&format!("SELECT {name}")).await[0].contains("NO [NONEXISTENT]"));
    utf8.ok("SELECT \"Grün & mehr\"").await;
    utf8.ok("DELETE \"Grün & mehr/\\\"x\\\"\"").await;
}

#[tokio::test]
async fn headers_are_in_utf8_for_clients_that_accept_it() {
    let world = World::new().await;
    let mut client = world.user().await;
    let message = "Subject: grün\r\nFrom: Ä <a@b.example>\r\n\r\nbody\r\n";
    world.arrives(message).await;
    client.ok("SELECT INBOX").await;
    let from = "((\"=?UTF-8?B?w4Q=?=\" NIL \"a\" \"b.example\"))";
    let subject = "=?UTF-8?B?Z3LDvG4=?=";
    let expected = format!("* 1 FETCH (ENVELOPE (NIL \"{subject}\" {from} {from} {from} NIL NIL NIL NIL NIL))");
    assert_eq!(client.ok("FETCH 1 ENVELOPE").await, [expected]);
    client.ok("ENABLE UTF8=ACCEPT").await;
    let from = "((\"Ä\" NIL \"a\" \"b.example\"))";
    let expected = format!("* 1 FETCH (ENVELOPE (NIL \"grün\" {from} {from} {from} NIL NIL NIL NIL NIL))");
    assert_eq!(client.ok("FETCH 1 ENVELOPE").await, [expected]);
    assert_eq!(client.ok("SEARCH SUBJECT \"GRÜN\"").await, ["* SEARCH 1"]);
    // RFC 6855 §3.
    assert!(client.ask("SEARCH CHARSET UTF-8 SUBJECT \"grün\"").await[0].contains(" BAD "));

    let appended = "Subject: über\r\n\r\n";
    client.ok(&format!("APPEND INBOX UTF8 (~{{{}+}}\r\n{appended})", appended.len())).await;
    assert_eq!(client.ok("SEARCH SUBJECT \"über\"").await, ["* SEARCH 2"]);
}

#[tokio::test]
async fn who_takes_no_utf8_is_sent_headers_in_ascii_with_their_size() {
    let world = World::new().await;
    let body = "grün\r\n".repeat(60_000);
    let message = format!("Subject: grün\r\nTo: jö@b.example\r\n\r\n{body}");
    world.arrives(&message).await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    let header = "Subject: =?UTF-8?B?Z3LDvG4=?=\r\nTo: =?UTF-8?B?asO2QGIuZXhhbXBsZQ==?= :;\r\n\r\n";
    let size = header.len() + body.len();
    for items in ["(RFC822.SIZE)", "(RFC822.SIZE BINARY.SIZE[])", "(FLAGS RFC822.SIZE ENVELOPE)", "FULL"] {
        let line = client.ok(&format!("FETCH 1 {items}")).await.remove(0);
        assert!(line.contains(&format!("RFC822.SIZE {size}")), "{items}: {line}");
    }
    assert_eq!(
        client.ok("FETCH 1 BODY.PEEK[HEADER]").await,
        [format!("* 1 FETCH (BODY[HEADER] {{{}}}\r\n{header})", header.len())]
    );
    let whole = client.ok("FETCH 1 BODY.PEEK[]").await.remove(0);
    assert!(whole == format!("* 1 FETCH (BODY[] {{{size}}}\r\n{header}{body})"), "{}", whole.len());
    let start = header.len() - 4;
    let piece = client.ok(&format!("FETCH 1 BODY.PEEK[]<{start}.10>")).await.remove(0);
    assert_eq!(piece, format!("* 1 FETCH (BODY[]<{start}> {{10}}\r\n\r\n\r\ngrün\r)"));
    let end = client.ok(&format!("FETCH 1 BODY.PEEK[]<{}.100>", size - 4)).await.remove(0);
    assert_eq!(end, format!("* 1 FETCH (BODY[]<{}> {{4}}\r\n\u{fffd}n\r\n)", size - 4));
    client.ok("ENABLE UTF8=ACCEPT").await;
    let line = client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[HEADER])").await.remove(0);
    assert!(line.contains(&format!("RFC822.SIZE {} ", message.len())) && line.contains("To: jö@b.example"), "{line}");
}

#[tokio::test]
async fn names_are_in_nfc() {
    let world = World::new().await;
    let mut client = world.user().await;
    client.ok("ENABLE UTF8=ACCEPT").await;
    client.ok("CREATE \"gru\u{308}n\"").await;
    assert_eq!(client.ok("LIST \"\" gr*").await, ["* LIST (\\HasNoChildren) \"/\" \"gr\u{fc}n\""]);
    client.ok("SELECT \"gru\u{308}n\"").await;
    client.ok("SELECT \"gr\u{fc}n\"").await;
    assert!(client.ask("CREATE \"gr\u{fc}n\"").await[0].contains("NO [ALREADYEXISTS]"));
}

#[tokio::test]
async fn utf8_in_append_needs_enable() {
    let world = World::new().await;
    let mut client = world.user().await;
    assert!(client.ask("APPEND INBOX UTF8 (~{8+}\r\nA: b\r\n\r\n)").await[0].contains(" BAD UTF8 needs ENABLE"));
    client.ok("ENABLE IMAP4rev2").await;
    client.ok("APPEND INBOX UTF8 (~{8+}\r\nA: b\r\n\r\n)").await;
    client.ok("APPEND INBOX ~{9+}\r\nA: ü\r\n\r\n").await;
}

#[tokio::test]
async fn imap4rev2_is_spoken_once_it_is_enabled() {
    let world = World::new().await;
    world.arrives("Subject: x\r\n\r\n").await;
    let mut client = world.not_authenticated().await;
    assert!(client.ok("CAPABILITY").await[0].starts_with("* CAPABILITY IMAP4rev1 IMAP4rev2 "));
    let mut client = world.user().await;
    assert_eq!(client.ok("ENABLE imap4rev2").await, ["* ENABLED IMAP4rev2"]);
    // RFC 9051 §6.3.2: FLAGS, EXISTS and LIST; neither RECENT nor UNSEEN.
    let lines = client.ok("SELECT inbox").await;
    for expected in ["* 1 EXISTS", "* LIST () \"/\" INBOX"] {
        assert!(lines.contains(&expected.to_owned()), "{lines:?}");
    }
    assert!(!lines.iter().any(|line| line.contains("RECENT") || line.contains("UNSEEN")), "{lines:?}");
    assert_eq!(client.ok("FETCH 1 FLAGS").await, ["* 1 FETCH (FLAGS ())"]);
    assert_eq!(client.ok("SEARCH ALL").await, [format!("* ESEARCH (TAG \"t{}\") ALL 1", client.tag)]);
    world.arrives("Subject: y\r\n\r\n").await;
    assert_eq!(client.ok("NOOP").await, ["* 2 EXISTS"]);
    // What it has read is `\Recent` to others still.
    assert!(world.user().await.ok("SELECT INBOX").await.contains(&"* 2 RECENT".to_owned()));
    // A name in another form is listed with it.
    assert_eq!(
        client.ok("CREATE \"gru\u{308}n\"").await,
        ["* LIST () \"/\" \"gr\u{fc}n\" (\"OLDNAME\" (\"gru\u{308}n\"))"]
    );
    let lines = client.ok("SELECT \"gr\u{fc}n\"").await;
    assert!(lines[0].starts_with("* OK [CLOSED]"), "{lines:?}");
    assert!(lines.contains(&"* LIST () \"/\" \"gr\u{fc}n\"".to_owned()), "{lines:?}");
}
