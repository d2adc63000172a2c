//! QRESYNC, as in the examples of RFC 7162 §3.2.

use super::*;

/// A client with QRESYNC that has selected INBOX, its UIDVALIDITY and HIGHESTMODSEQ.
async fn enabled(world: &World) -> (Client, u64, u64) {
    let mut client = world.user().await;
    assert_eq!(client.ok("ENABLE QRESYNC").await, ["* ENABLED QRESYNC"]);
    let selected = client.ok("SELECT INBOX").await;
    (client, number_of(&selected, "[UIDVALIDITY"), number_of(&selected, "[HIGHESTMODSEQ"))
}

/// The untagged responses that tell what has changed.
fn changes(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| line.contains("FETCH") || line.contains("VANISHED")).collect()
}

#[tokio::test]
async fn it_has_to_be_enabled() {
    let world = World::of(1).await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX (CONDSTORE)").await;
    for command in ["SELECT INBOX (QRESYNC (1 2))", "UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)"] {
        let answer = client.ask(command).await;
        assert!(answer[0].ends_with("BAD QRESYNC has to be enabled first"), "{answer:?}");
    }
    // The mailbox is still selected.
    client.ok("FETCH 1 FLAGS").await;
    client.ok("ENABLE QRESYNC").await;
    assert_eq!(client.ok("ENABLE QRESYNC CONDSTORE").await, ["* ENABLED"]);
    for command in ["FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)", "UID FETCH 1:* FLAGS (VANISHED)"] {
        assert!(client.ask(command).await[0].contains(" BAD "), "{command}");
    }
}

#[tokio::test]
async fn vanished_is_sent_in_place_of_expunge() {
    let world = World::of(8).await;
    let (mut one, _, start) = enabled(&world).await;
    let (mut two, ..) = enabled(&world).await;
    let mut old = world.user().await;
    old.ok("SELECT INBOX").await;
    one.ok("STORE 2:3,7 +FLAGS.SILENT (\\Deleted)").await;
    let expunged = one.ask("EXPUNGE").await;
    assert_eq!(expunged[0], "* VANISHED 2:3,7");
    let highest = number_after(&expunged[1], "OK [HIGHESTMODSEQ");
    assert!(highest > start && expunged.len() == 2, "{expunged:?}");
    assert_eq!(two.ok("NOOP").await.last().unwrap(), "* VANISHED 2:3,7");
    assert_eq!(old.ok("NOOP").await, ["* 7 EXPUNGE", "* 3 EXPUNGE", "* 2 EXPUNGE"]);
    // Nothing to expunge: no HIGHESTMODSEQ. UIDs that are gone are not named again.
    assert!(one.ask("EXPUNGE").await[0].ends_with("OK completed"));
    one.ok("UID STORE 1,8 +FLAGS.SILENT (\\Deleted)").await;
    let expunged = one.ask("UID EXPUNGE 1:4").await;
    assert_eq!(expunged[0], "* VANISHED 1");
    assert!(number_after(&expunged[1], "OK [HIGHESTMODSEQ") > highest);
    // A message that came and went is not reported.
    world.arrives("Subject: x\r\n\r\n").await;
    one.ok("NOOP").await;
    one.ok("UID STORE 9 +FLAGS.SILENT (\\Deleted)").await;
    one.ok("UID EXPUNGE 9").await;
    assert_eq!(two.ok("NOOP").await.last().unwrap(), "* VANISHED 1");

    let moved = one.ask("UID MOVE 4:5 Archive").await;
    assert!(moved[0].starts_with("* OK [COPYUID "), "{moved:?}");
    assert_eq!(moved[1], "* VANISHED 4:5");
    assert!(moved[2].contains("OK [HIGHESTMODSEQ "), "{moved:?}");
    two.send("i IDLE\r\n").await;
    assert_eq!(two.line().await, "+ idling");
    assert_eq!(two.line().await, "* VANISHED 4:5");
    // CLOSE names no mod-sequence.
    let closed = one.ask("CLOSE").await;
    assert!(closed.len() == 1 && closed[0].ends_with("OK no mailbox selected"), "{closed:?}");
    assert_eq!(two.line().await, "* VANISHED 8");
    two.send("DONE\r\n").await;
    assert!(two.line().await.starts_with("i OK "));
}

#[tokio::test]
async fn while_vanished_is_delayed_the_mod_sequence_before_it_is_named() {
    let world = World::of(9).await;
    let (mut one, validity, _) = enabled(&world).await;
    let (mut two, ..) = enabled(&world).await;
    one.ok("STORE 8 +FLAGS.SILENT (\\Deleted)").await;
    let before = number_of(&two.ok("NOOP").await, "MODSEQ");
    one.ok("EXPUNGE").await;
    for command in ["STORE 1:2 +FLAGS.SILENT (\\Seen)", "FETCH 3 (FLAGS MODSEQ)", "SEARCH 9", "UID SEARCH UID 5 NOT 9"]
    {
        let lines = two.ask(command).await;
        assert!(!lines.iter().any(|line| line.contains("VANISHED")), "{command}: {lines:?}");
        assert_eq!(number_of(&lines, "* OK [HIGHESTMODSEQ"), before, "{command}");
    }
    // A synchronization from there reports it.
    let mut three = world.user().await;
    three.ok("ENABLE QRESYNC").await;
    let lines = changes(three.ok(&format!("SELECT INBOX (QRESYNC ({validity} {before}))")).await);
    assert_eq!(lines[0], "* VANISHED (EARLIER) 8");
    let lines = two.ask("UID SEARCH UID 5").await;
    assert_eq!(lines[..2], ["* SEARCH 5", "* VANISHED 8"]);
    assert!(!two.ok("FETCH 3 (FLAGS MODSEQ)").await.iter().any(|line| line.contains("HIGHESTMODSEQ")));
}

#[tokio::test]
async fn a_mailbox_is_resynchronized_as_it_is_selected_also_after_a_restart() {
    let world = World::of(6).await;
    let (mut one, validity, start) = enabled(&world).await;
    let known = format!("{validity} {start}");
    one.ok("STORE 1,4 +FLAGS.SILENT (\\Deleted)").await;
    one.ok("EXPUNGE").await;
    one.ok("UID STORE 5 +FLAGS.SILENT (\\Seen $Work)").await;
    world.arrives("Subject: x\r\n\r\n").await;
    let world = world.restarted().await;

    let mut two = world.user().await;
    two.ok("ENABLE QRESYNC").await;
    let selected = two.ok(&format!("SELECT INBOX (QRESYNC ({known}))")).await;
    let highest = number_of(&selected, "[HIGHESTMODSEQ");
    let at = |text: &str| selected.iter().position(|line| line.contains(text)).unwrap();
    assert!(at("5 EXISTS") < at("VANISHED") && at("VANISHED") < at("3 FETCH"), "{selected:?}");
    let five = selected[at("3 FETCH")].clone();
    let modseq = number_after(&five, "MODSEQ");
    let recent = format!("* 5 FETCH (UID 7 FLAGS (\\Recent) MODSEQ ({highest}))");
    assert_eq!(
        changes(selected),
        ["* VANISHED (EARLIER) 1,4", &format!("* 3 FETCH (UID 5 FLAGS (\\Seen $Work) MODSEQ ({modseq}))"), &recent]
    );
    // Known UIDs alone, and a mailbox of another UIDVALIDITY.
    let resync = |parameters: String| format!("SELECT INBOX (QRESYNC ({parameters}))");
    let some = two.ok(&resync(format!("{known} 2,4:6 (2,3 3,5)"))).await;
    assert_eq!(some[0], "* OK [CLOSED] the mailbox selected before is closed");
    assert_eq!(changes(some), ["* VANISHED (EARLIER) 4", &five]);
    assert!(changes(two.ok(&resync(format!("{validity} {highest}"))).await).is_empty());
    assert!(changes(two.ok(&resync(format!("{} {start}", validity + 1))).await).is_empty());
    let far = resync(format!("{validity} {start} 1:4294967295 (1:4294967295 1:4294967295)"));
    assert_eq!(changes(two.ok(&far).await).len(), 3);

    // The same by UID FETCH.
    let fetched = two.ok(&format!("UID FETCH 1:6 (FLAGS) (CHANGEDSINCE {start} VANISHED)")).await;
    assert_eq!(fetched, ["* VANISHED (EARLIER) 1,4", &five]);
    let fetched = two.ok(&format!("UID FETCH 1:2 (FLAGS) (CHANGEDSINCE {start} VANISHED)")).await;
    assert_eq!(fetched, ["* VANISHED (EARLIER) 1"]);
    assert!(two.ok(&format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {highest} VANISHED)")).await.is_empty());
}

#[tokio::test]
async fn what_the_session_still_lists_has_not_vanished_earlier() {
    let world = World::of(4).await;
    let (mut one, _, start) = enabled(&world).await;
    let (mut two, ..) = enabled(&world).await;
    one.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    one.ok("EXPUNGE").await;
    let fetched = two.ok(&format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {start} VANISHED)")).await;
    assert_eq!(fetched, ["* VANISHED 2"]);
    let fetched = two.ok(&format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {start} VANISHED)")).await;
    assert_eq!(fetched, ["* VANISHED (EARLIER) 2"]);
}

#[tokio::test]
async fn a_mailbox_that_another_select_closes_is_said_to_be_closed() {
    let world = World::of(1).await;
    let mut client = world.user().await;
    assert!(!client.ok("SELECT INBOX").await[0].contains("CLOSED"));
    for command in ["EXAMINE Archive", "SELECT Archive", "SELECT INBOX"] {
        let selected = client.ok(command).await;
        assert_eq!(selected.iter().filter(|line| line.contains("[CLOSED]")).count(), 1);
        assert!(selected[0].starts_with("* OK [CLOSED]"), "{selected:?}");
    }
    // Without a mailbox of that name, none is selected.
    let missing = client.ask("SELECT Missing").await;
    assert!(missing[0].starts_with("* OK [CLOSED]") && missing[1].contains("NO [NONEXISTENT]"), "{missing:?}");
    client.ok("SELECT INBOX").await;
    client.ok("UNSELECT").await;
    assert!(!client.ok("SELECT INBOX").await[0].contains("CLOSED"));
}
