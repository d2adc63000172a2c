//! NOTIFY, as in the examples of RFC 5465.

use super::*;

const BOTH: &str = "MessageNew MessageExpunge";

/// A client that has selected INBOX and wants to be notified.
async fn notified(world: &World, rules: &str) -> Client {
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    client.ok(&format!("NOTIFY SET {rules}")).await;
    client
}

async fn lines<const N: usize>(client: &mut Client) -> [String; N] {
    let mut lines = std::array::from_fn(|_| String::new());
    for line in &mut lines {
        *line = client.line().await;
    }
    lines
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let world = World::of(1).await;
    let mut client = world.user().await;
    for (rules, expected) in [
        ("(personal (MessageNew))", "BAD MessageNew and MessageExpunge are wanted together"),
        ("(personal (MailboxName FlagChange))", "BAD MessageNew and MessageExpunge are wanted together"),
        ("(selected NONE) (selected-delayed NONE)", "BAD the selected mailbox is named twice"),
        ("(selected (MailboxName))", "BAD of the selected mailbox, only messages and flags"),
        ("(inboxes (MessageNew (UID) MessageExpunge))", "BAD only of the selected mailbox"),
        ("(personal (AnnotationChange))", "NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName "),
    ] {
        let answer = client.ask(&format!("NOTIFY SET {rules}")).await;
        assert!(answer[0].contains(expected), "{rules}: {answer:?}");
    }
    let many = "(personal NONE) ".repeat(101);
    assert!(client.ask(&format!("NOTIFY SET {}", many.trim_end())).await[0].contains("NO [NOTIFICATIONOVERFLOW]"));
    let many = vec!["a"; 1001].join(" ");
    let answer = client.ask(&format!("NOTIFY SET (mailboxes ({many}) ({BOTH}))")).await;
    assert!(answer[0].contains("NO [NOTIFICATIONOVERFLOW]"), "{answer:?}");
    // Names of no mailbox are passed over.
    client.ok(&format!("NOTIFY SET (mailboxes (a &) ({BOTH}))")).await;
    client.ok("NOTIFY NONE").await;
}

#[tokio::test]
async fn the_selected_mailbox_is_reported_without_a_command() {
    let world = World::of(2).await;
    let items = "UID BODY.PEEK[HEADER.FIELDS (Subject)]";
    let mut client = notified(&world, &format!("(selected (MessageNew ({items}) MessageExpunge FlagChange))")).await;
    let mut other = world.user().await;
    other.ok("SELECT INBOX").await;
    world.arrives("Subject: x\r\n\r\n").await;
    let [exists, recent, fetched] = lines(&mut client).await;
    assert!(exists == "* 3 EXISTS" && recent.ends_with(" RECENT"), "{exists} {recent}");
    assert_eq!(fetched, "* 3 FETCH (UID 3 BODY[HEADER.FIELDS (Subject)] {14}\r\nSubject: x\r\n\r\n)");
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(client.line().await, "* 1 FETCH (UID 1 FLAGS (\\Deleted))");
    other.ok("EXPUNGE").await;
    assert_eq!(client.line().await, "* 1 EXPUNGE");
    // In IDLE, the same; a command is understood meanwhile.
    client.send("i IDLE\r\n").await;
    assert_eq!(client.line().await, "+ idling");
    world.arrives("Subject: y\r\n\r\n").await;
    let [exists, _, fetched] = lines(&mut client).await;
    assert!(exists == "* 3 EXISTS" && fetched.contains("Subject: y"), "{exists} {fetched}");
    client.send("DONE\r\n").await;
    assert_eq!(client.line().await, "i OK completed");
    client.ok("ENABLE QRESYNC").await;
    other.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    assert!(client.line().await.starts_with("* 1 FETCH (UID 2 FLAGS (\\Deleted) MODSEQ ("));
    other.ok("EXPUNGE").await;
    assert_eq!(client.line().await, "* VANISHED 2");
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_sent() {
    let world = World::of(3).await;
    let mut delayed = notified(&world, &format!("(selected-delayed ({BOTH}))")).await;
    let mut none = notified(&world, "(personal (MailboxName))").await;
    let mut other = world.user().await;
    other.ok("SELECT INBOX").await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    world.arrives("Subject: x\r\n\r\n").await;
    // EXPUNGE waits for a command that allows it.
    assert_eq!(delayed.line().await, "* 4 EXISTS");
    assert!(delayed.line().await.ends_with(" RECENT"));
    assert_eq!(delayed.ok("FETCH 1 UID").await, ["* 1 FETCH (UID 1)"]);
    assert_eq!(delayed.ok("NOOP").await, ["* 2 EXPUNGE"]);
    // A snapshot, until the client asks for more.
    assert_eq!(none.ok("NOOP").await, [""; 0]);
    let all = none.ask("FETCH 1:* UID").await;
    assert_eq!(all.len(), 3, "{all:?}");
    let now = none.ok(&format!("NOTIFY SET (selected ({BOTH} FlagChange))")).await;
    assert_eq!(now[..3], ["* 1 FETCH (UID 1 FLAGS (\\Seen))", "* 2 EXPUNGE", "* 3 EXISTS"]);
    none.ok("NOTIFY NONE").await;
    other.ok("STORE 1 -FLAGS.SILENT (\\Seen)").await;
    assert_eq!(none.ok("NOOP").await, [""; 0]);
    // Its own EXPUNGE is answered.
    none.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(none.ok("EXPUNGE").await, ["* 1 EXPUNGE"]);
}

#[tokio::test]
async fn other_mailboxes_are_reported_by_status() {
    let world = World::of(1).await;
    let mut other = world.user().await;
    other.ok("CREATE Lists/Lemonade").await;
    other.ok("CREATE Lists/Im2000").await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    let first = client.ok(&format!("NOTIFY SET STATUS (subtree Lists ({BOTH} FlagChange)) (inboxes ({BOTH}))")).await;
    assert_eq!(first.len(), 3, "{first:?}");
    assert!(first.iter().any(|line| line.starts_with("* STATUS Lists/Lemonade (MESSAGES 0 UIDNEXT 1 UIDVALIDITY ")));
    assert!(first.iter().all(|line| line.contains("HIGHESTMODSEQ ")), "{first:?}");

    other.ok("APPEND Lists/Lemonade {14+}\r\nSubject: x\r\n\r\n").await;
    let line = client.line().await;
    assert!(line.starts_with("* STATUS Lists/Lemonade (MESSAGES 1 UIDNEXT 2 UIDVALIDITY "), "{line}");
    assert!(!line.contains("HIGHESTMODSEQ"));
    other.ok("SELECT Lists/Lemonade").await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    let line = client.line().await;
    assert!(line.starts_with("* STATUS Lists/Lemonade (UIDVALIDITY ") && line.ends_with(" UNSEEN 0)"), "{line}");
    // Flags without \Seen: with CONDSTORE alone. The selected mailbox is not reported so, nor are others.
    other.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    other.ok("APPEND Archive {14+}\r\nSubject: x\r\n\r\n").await;
    world.arrives("Subject: x\r\n\r\n").await;
    client.ok("ENABLE CONDSTORE").await;
    other.ok("STORE 1 -FLAGS.SILENT (\\Flagged)").await;
    let line = client.line().await;
    assert!(line.starts_with("* STATUS Lists/Lemonade (UIDVALIDITY ") && line.contains(" HIGHESTMODSEQ "), "{line}");
    assert!(!line.contains("UNSEEN"));
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert!(client.line().await.contains(" HIGHESTMODSEQ "));
    other.ok("EXPUNGE").await;
    assert!(client.line().await.starts_with("* STATUS Lists/Lemonade (MESSAGES 0 UIDNEXT 2 "));
}

#[tokio::test]
async fn names_and_subscriptions_are_reported() {
    let world = World::of(1).await;
    let mut other = world.user().await;
    let mut client = world.user().await;
    client.ok("NOTIFY SET (personal (MailboxName SubscriptionChange))").await;
    other.ok("CREATE a/b").await;
    let [above, created] = lines(&mut client).await;
    assert_eq!(above, "* LIST (\\HasChildren) \"/\" a");
    assert_eq!(created, "* LIST (\\HasNoChildren) \"/\" a/b");
    other.ok("SUBSCRIBE a/b").await;
    assert_eq!(client.line().await, "* LIST (\\HasNoChildren \\Subscribed) \"/\" a/b");
    // Children are renamed with it.
    other.ok("RENAME a \"x y\"").await;
    assert_eq!(client.line().await, "* LIST (\\HasChildren) \"/\" \"x y\" (\"OLDNAME\" (\"a\"))");
    other.ok("UNSUBSCRIBE a/b").await;
    assert_eq!(client.line().await, "* LIST (\\HasNoChildren \\NonExistent) \"/\" a/b");
    other.ok("DELETE \"x y/b\"").await;
    let [above, deleted] = lines(&mut client).await;
    assert_eq!(above, "* LIST (\\HasNoChildren) \"/\" \"x y\"");
    assert_eq!(deleted, "* LIST (\\HasNoChildren \\NonExistent) \"/\" \"x y/b\"");
    // What the client does itself is not reported.
    assert_eq!(client.ok("CREATE mine").await, [""; 0]);
    assert_eq!(client.ok("RENAME mine own").await, [""; 0]);
    assert_eq!(client.ok("SUBSCRIBE own").await, [""; 0]);
    other.ok("DELETE own").await;
    assert_eq!(client.line().await, "* LIST (\\HasNoChildren \\NonExistent \\Subscribed) \"/\" own");
}

#[tokio::test]
async fn subscribed_mailboxes_are_those_that_are_subscribed_now() {
    let world = World::of(1).await;
    let mut other = world.user().await;
    other.ok("CREATE a").await;
    let mut client = world.user().await;
    client.ok(&format!("NOTIFY SET (subscribed ({BOTH} SubscriptionChange))")).await;
    other.ok("APPEND a {14+}\r\nSubject: x\r\n\r\n").await;
    other.ok("SUBSCRIBE a").await;
    let line = client.line().await;
    assert_eq!(line, "* LIST (\\HasNoChildren \\Subscribed) \"/\" a");
    other.ok("APPEND a {14+}\r\nSubject: x\r\n\r\n").await;
    let mut line = client.line().await;
    // The message before and the subscription may be seen as one change.
    if line.starts_with("* STATUS a (MESSAGES 1 ") {
        line = client.line().await;
    }
    assert!(line.starts_with("* STATUS a (MESSAGES 2 "), "{line}");
}

#[tokio::test]
async fn changed_annotations_are_named() {
    let world = World::of(1).await;
    let mut other = world.user().await;
    let mut client = world.user().await;
    client.ok("NOTIFY SET (mailboxes INBOX (MailboxMetadataChange)) (personal (ServerMetadataChange))").await;
    other.ok("SETMETADATA Archive (/private/comment \"x\")").await;
    other.ok("SETMETADATA INBOX (/private/comment \"x\")").await;
    assert_eq!(client.line().await, "* METADATA \"INBOX\" /private/comment");
    other.ok("SETMETADATA INBOX (/private/comment NIL)").await;
    assert_eq!(client.line().await, "* METADATA \"INBOX\" /private/comment");
    other.ok("SETMETADATA \"\" (/shared/comment \"x\")").await;
    assert_eq!(client.line().await, "* METADATA \"\" /shared/comment");
    client.ok("NOTIFY NONE").await;
    other.ok("SETMETADATA INBOX (/private/comment \"y\")").await;
    assert_eq!(client.ok("NOOP").await, [""; 0]);
}
