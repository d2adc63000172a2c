//! UIDONLY: RFC 9586.

use super::*;

async fn enabled(world: &World, names: &str) -> Client {
    let mut client = world.user().await;
    assert_eq!(client.ok(&format!("ENABLE {names}")).await, [format!("* ENABLED {names}")]);
    client
}

#[tokio::test]
async fn commands_that_name_sequence_numbers_are_refused() {
    let world = World::of(3).await;
    let mut client = enabled(&world, "QRESYNC UIDONLY").await;
    let known = "SELECT INBOX (QRESYNC (1 1 1:3 (1 1)))";
    assert!(client.ask(known).await[0].contains(" BAD [UIDREQUIRED] "));
    let selected = client.ok("SELECT INBOX").await;
    assert!(selected.contains(&"* 3 EXISTS".to_owned()) && !selected.iter().any(|line| line.contains("UNSEEN")));
    for command in [
        "FETCH 1 FLAGS",
        "STORE 1 FLAGS (\\Seen)",
        "COPY 1 Archive",
        "MOVE 1 Archive",
        "SEARCH ALL",
        "SEARCH UID 1:3",
        "UID SEARCH 1:3",
        "UID SEARCH OR SEEN NOT (FLAGGED *)",
    ] {
        let answer = client.ask(command).await;
        assert!(answer.len() == 1 && answer[0].contains(" BAD [UIDREQUIRED] "), "{command}: {answer:?}");
    }
    assert_eq!(client.ok("UID SEARCH UID 2:*").await, ["* SEARCH 2 3"]);
    client.ok("UID SEARCH RETURN (SAVE) UID 2:*").await;
    assert_eq!(client.ok("UID FETCH $ FLAGS").await, ["* 2 UIDFETCH (FLAGS ())", "* 3 UIDFETCH (FLAGS ())"]);
    client.ok("UID COPY 2 Archive").await;
}

#[tokio::test]
async fn responses_name_uids() {
    let world = World::of(4).await;
    let mut one = enabled(&world, "UIDONLY").await;
    let mut two = enabled(&world, "CONDSTORE UIDONLY").await;
    one.ok("SELECT INBOX").await;
    two.ok("SELECT INBOX").await;
    assert_eq!(one.ok("UID STORE 1,3 +FLAGS.SILENT (\\Deleted)").await, [""; 0]);
    assert_eq!(one.ok("UID EXPUNGE 1:2").await, ["* VANISHED 1"]);
    let changes = two.ok("NOOP").await;
    let modseq = number_of(&changes, "MODSEQ");
    assert_eq!(changes, [format!("* 3 UIDFETCH (FLAGS (\\Deleted) MODSEQ ({modseq}))"), "* VANISHED 1".to_owned()]);

    assert_eq!(two.ok("UID FETCH 4 (UID FLAGS)").await, ["* 4 UIDFETCH (UID 4 FLAGS ())"]);
    let stored = two.ok("UID STORE 4 +FLAGS.SILENT (\\Flagged)").await;
    assert_eq!(stored, [format!("* 4 UIDFETCH (MODSEQ ({}))", modseq + 2)]);
    let seen = two.ok("UID FETCH 2 BODY[TEXT]").await;
    let expected = "* 2 UIDFETCH (BODY[TEXT] {6}\r\nbody\r\n FLAGS (\\Seen) MODSEQ (";
    assert!(seen[0].starts_with(expected), "{seen:?}");
    let stored = one.ok("UID STORE 2 +FLAGS (\\Flagged)").await;
    assert!(stored.contains(&"* 2 UIDFETCH (FLAGS (\\Seen \\Flagged))".to_owned()), "{stored:?}");
    world.arrives("Subject: x\r\n\r\n").await;
    let arrived = one.ok("NOOP").await;
    assert!(arrived.contains(&"* 4 EXISTS".to_owned()), "{arrived:?}");
    assert!(!arrived.iter().any(|line| line.contains(" FETCH ") || line.contains(" EXPUNGE")), "{arrived:?}");
}

#[tokio::test]
async fn a_mailbox_is_resynchronized_by_uids() {
    let world = World::of(3).await;
    let mut client = enabled(&world, "QRESYNC UIDONLY").await;
    let selected = client.ok("SELECT INBOX").await;
    let (validity, highest) = (number_of(&selected, "[UIDVALIDITY"), number_of(&selected, "[HIGHESTMODSEQ"));
    client.ok("UID STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    client.ok("UID STORE 3 +FLAGS.SILENT (\\Seen)").await;
    let selected = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {highest} 1:3))")).await;
    let now = number_of(&selected, "[HIGHESTMODSEQ");
    let changes = ["* VANISHED (EARLIER) 1".to_owned(), format!("* 3 UIDFETCH (FLAGS (\\Seen) MODSEQ ({now}))")];
    assert_eq!(selected[selected.len() - 2..], changes, "{selected:?}");
}
