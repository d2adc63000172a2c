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
    let from = "(({2}\r\nÄ NIL \"a\" \"b.example\"))";
    let expected = format!("* 1 FETCH (ENVELOPE (NIL {{5}}\r\ngrün {from} {from} {from} NIL NIL NIL NIL NIL))");
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
