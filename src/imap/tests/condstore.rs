//! CONDSTORE, as in the examples of RFC 7162 §3.1.

use super::*;

async fn highest(client: &mut Client) -> u64 {
    number_of(&client.ok("STATUS INBOX (HIGHESTMODSEQ)").await, "HIGHESTMODSEQ")
}

#[tokio::test]
async fn the_first_command_that_enables_it_names_the_highest_mod_sequence() {
    let world = World::of(2).await;
    let enabling = [
        "STATUS INBOX (HIGHESTMODSEQ)",
        "LIST \"\" INBOX RETURN (STATUS (HIGHESTMODSEQ))",
        "FETCH 1 MODSEQ",
        "FETCH 1 (FLAGS) (CHANGEDSINCE 1)",
        "SEARCH NOT MODSEQ 1",
        "STORE 1 (UNCHANGEDSINCE 1) +FLAGS.SILENT (\\Seen)",
        "ENABLE CONDSTORE",
        "ENABLE QRESYNC CONDSTORE",
    ];
    for command in enabling {
        let mut client = world.user().await;
        let selected = number_of(&client.ok("SELECT INBOX").await, "[HIGHESTMODSEQ");
        let enabled = client.ok(command).await;
        assert_eq!(number_of(&enabled, "* OK [HIGHESTMODSEQ"), selected, "{command}: {enabled:?}");
        for again in enabling {
            let answer = client.ok(again).await;
            assert!(
                !answer.iter().any(|line| line.starts_with("* OK [HIGHESTMODSEQ")),
                "{command}, {again}: {answer:?}"
            );
        }
    }
    let mut client = world.user().await;
    let selected = client.ok("SELECT INBOX (CONDSTORE)").await;
    assert_eq!(selected.iter().filter(|line| line.contains("HIGHESTMODSEQ")).count(), 1);
    let status = client.ok("STATUS INBOX (HIGHESTMODSEQ)").await;
    assert_eq!(status, [format!("* STATUS INBOX (HIGHESTMODSEQ {})", number_of(&selected, "[HIGHESTMODSEQ"))]);
}

#[tokio::test]
async fn changed_messages_are_fetched_and_reported_with_their_mod_sequences() {
    let world = World::of(3).await;
    let (mut one, mut two, mut old) = (world.user().await, world.user().await, world.user().await);
    let start = number_of(&one.ok("SELECT INBOX (CONDSTORE)").await, "[HIGHESTMODSEQ");
    two.ok("SELECT INBOX (CONDSTORE)").await;
    old.ok("SELECT INBOX").await;
    let fetched = one.ok("FETCH 1:3 (MODSEQ)").await;
    let modseqs: Vec<u64> = fetched.iter().map(|line| number_after(line, "MODSEQ")).collect();
    assert!(modseqs.is_sorted() && modseqs[0] > 0 && modseqs[2] <= start, "{fetched:?}");
    assert_eq!(fetched[0], format!("* 1 FETCH (MODSEQ ({}))", modseqs[0]));

    let stored = one.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    let modseq = number_of(&stored, "MODSEQ");
    assert!(modseq > start);
    assert_eq!(stored, [format!("* 2 FETCH (UID 2 MODSEQ ({modseq}))")]);
    let changed = format!("* 2 FETCH (UID 2 FLAGS (\\Deleted) MODSEQ ({modseq}))");
    assert_eq!(two.ok("NOOP").await, std::slice::from_ref(&changed));
    assert_eq!(old.ok("NOOP").await, ["* 2 FETCH (UID 2 FLAGS (\\Deleted))"]);

    assert_eq!(two.ok(&format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {start})")).await, [changed]);
    let all = two.ok("FETCH 1:* (FLAGS) (CHANGEDSINCE 1)").await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[1], format!("* 2 FETCH (FLAGS (\\Deleted) MODSEQ ({modseq}))"));
    assert!(two.ok(&format!("FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq})")).await.is_empty());
    assert!(two.ok("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 9223372036854775807)").await.is_empty());
    // A flag that is set already changes no mod-sequence.
    assert_eq!(number_of(&two.ok("STORE 2 +FLAGS (\\Deleted)").await, "MODSEQ"), modseq);
    assert_eq!(highest(&mut one).await, modseq);
    // An appended message has the highest.
    one.ok("APPEND INBOX {14+}\r\nSubject: x\r\n\r\n").await;
    assert!(number_of(&one.ok("FETCH 4 MODSEQ").await, "MODSEQ") > modseq);
}

#[tokio::test]
async fn a_fetch_that_sets_seen_sends_uid_flags_and_mod_sequence() {
    let world = World::of(4).await;
    let (mut client, mut old) = (world.user().await, world.user().await);
    old.ok("SELECT INBOX").await;
    assert_eq!(old.ok("FETCH 4 BODY[TEXT]").await, ["* 4 FETCH (BODY[TEXT] {6}\r\nbody\r\n FLAGS (\\Seen))"]);
    client.ok("SELECT INBOX (CONDSTORE)").await;
    let fetched = client.ok("FETCH 1 BODY[TEXT]").await;
    let modseq = number_of(&fetched, "MODSEQ");
    let expected = format!("* 1 FETCH (BODY[TEXT] {{6}}\r\nbody\r\n UID 1 FLAGS (\\Seen) MODSEQ ({modseq}))");
    assert_eq!(fetched, [expected]);
    assert_eq!(highest(&mut client).await, modseq);
    // It is seen already.
    assert_eq!(client.ok("FETCH 1 BODY[TEXT]").await, ["* 1 FETCH (BODY[TEXT] {6}\r\nbody\r\n)"]);
    let fetched = client.ok("FETCH 2 (FLAGS MODSEQ UID BODY[TEXT])").await;
    let modseq = highest(&mut client).await;
    let expected = format!("* 2 FETCH (FLAGS (\\Seen) MODSEQ ({modseq}) UID 2 BODY[TEXT] {{6}}\r\nbody\r\n)");
    assert_eq!(fetched, [expected]);
    // In pieces, \\Seen is set once they have been sent.
    let fetched = client.ok("FETCH 3 (FLAGS MODSEQ BODY[TEXT]<0.2>)").await;
    let modseq = highest(&mut client).await;
    assert_eq!(fetched, [format!("* 3 FETCH (BODY[TEXT]<0> {{2}}\r\nbo UID 3 FLAGS (\\Seen) MODSEQ ({modseq}))")]);
}

#[tokio::test]
async fn flags_are_stored_unless_they_have_changed() {
    let world = World::of(9).await;
    let (mut one, mut two) = (world.user().await, world.user().await);
    let start = number_of(&one.ok("SELECT INBOX (CONDSTORE)").await, "[HIGHESTMODSEQ");
    two.ok("SELECT INBOX").await;
    let stored = one.ok(&format!("UID STORE 6,4,8 (UNCHANGEDSINCE {start}) +FLAGS.SILENT (\\Deleted)")).await;
    let modseq = highest(&mut one).await;
    let expected = [4, 6, 8].map(|n| format!("* {n} FETCH (UID {n} MODSEQ ({modseq}))"));
    assert_eq!(stored, expected);

    two.ok("STORE 7 +FLAGS.SILENT (\\Seen)").await;
    two.ok("STORE 9 +FLAGS.SILENT (\\Answered)").await;
    // These have not been reported to the session yet, or with a shared store just before; 7 is named twice.
    let mut stored = one.ask(&format!("STORE 7,7,5,9 (UNCHANGEDSINCE {modseq}) +FLAGS.SILENT (\\Deleted)")).await;
    stored.sort();
    stored.dedup();
    assert_eq!(stored.len(), 4, "{stored:?}");
    assert!(stored[0].starts_with("* 5 FETCH (UID 5 MODSEQ ("), "{stored:?}");
    assert!(stored[1].starts_with("* 7 FETCH (UID 7 FLAGS (\\Seen) MODSEQ ("), "{stored:?}");
    assert!(stored[2].starts_with("* 9 FETCH (UID 9 FLAGS (\\Answered) MODSEQ ("), "{stored:?}");
    assert!(stored[3].ends_with("OK [MODIFIED 7,9] completed"), "{stored:?}");
    let flags = one.ok("FETCH 7 FLAGS").await;
    assert_eq!(flags, ["* 7 FETCH (FLAGS (\\Seen))"]);
    // With the mod-sequence just sent, it succeeds.
    let seen = number_after(&stored[1], "MODSEQ");
    let stored = one.ok(&format!("STORE 7 (UNCHANGEDSINCE {seen}) +FLAGS (\\Deleted)")).await;
    let modseq = highest(&mut one).await;
    assert_eq!(stored, [format!("* 7 FETCH (UID 7 FLAGS (\\Seen \\Deleted) MODSEQ ({modseq}))")]);
    let never = one.ask("UID STORE 1 (UNCHANGEDSINCE 0) +FLAGS.SILENT ($MDNSent)").await;
    assert!(never.last().unwrap().ends_with("OK [MODIFIED 1] completed"), "{never:?}");

    // Messages that do not exist any more: NO, and MODIFIED for those that do.
    two.ok("EXPUNGE").await;
    two.ok("STORE 2 +FLAGS (\\Flagged)").await;
    let stored = one.ask(&format!("STORE 1,2,5,9 (UNCHANGEDSINCE {modseq}) +FLAGS.SILENT (\\Seen)")).await;
    assert!(stored.last().unwrap().contains("NO [MODIFIED 2] "), "{stored:?}");
    assert!(stored.iter().any(|line| line.starts_with("* 2 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ (")), "{stored:?}");
}

#[tokio::test]
async fn mod_sequences_are_searched_for() {
    let world = World::of(5).await;
    let (mut client, mut old) = (world.user().await, world.user().await);
    client.ok("SELECT INBOX (CONDSTORE)").await;
    client.ok("STORE 2 +FLAGS.SILENT (\\Seen)").await;
    let middle = highest(&mut client).await;
    client.ok("STORE 4,5 +FLAGS.SILENT (\\Seen)").await;
    let last = highest(&mut client).await;
    for (search, found) in [
        (format!("SEARCH MODSEQ {middle}"), format!("* SEARCH 2 4 5 (MODSEQ {last})")),
        (format!("SEARCH MODSEQ {last}"), format!("* SEARCH 4 5 (MODSEQ {last})")),
        (format!("UID SEARCH MODSEQ \"/flags/\\\\draft\" all {middle} 1:3"), format!("* SEARCH 2 (MODSEQ {middle})")),
        ("SEARCH OR NOT MODSEQ 1 LARGER 50000".to_owned(), "* SEARCH".to_owned()),
        (format!("SEARCH MODSEQ {}", last + 1), "* SEARCH".to_owned()),
        ("SEARCH MODSEQ 9223372036854775807".to_owned(), "* SEARCH".to_owned()),
        ("SEARCH MODSEQ 0 2".to_owned(), format!("* SEARCH 2 (MODSEQ {middle})")),
    ] {
        assert_eq!(client.ok(&search).await, [found], "{search}");
    }
    // RFC 4731 §3.2: of what is returned.
    for (options, answer) in [
        ("", format!("ALL 2,4:5 MODSEQ {last}")),
        ("MIN", format!("MIN 2 MODSEQ {middle}")),
        ("MIN COUNT", format!("MIN 2 COUNT 3 MODSEQ {last}")),
        ("MIN MAX", format!("MIN 2 MAX 5 MODSEQ {last}")),
    ] {
        let found = client.ok(&format!("SEARCH RETURN ({options}) MODSEQ {middle}")).await;
        assert!(found[0].ends_with(&format!("\") {answer}")), "{found:?}");
    }
    let others = client.ok(&format!("SEARCH NOT MODSEQ {middle}")).await;
    assert!(others[0].starts_with("* SEARCH 1 3 (MODSEQ ") && number_of(&others, "MODSEQ") < middle, "{others:?}");
    old.ok("SELECT INBOX").await;
    assert_eq!(old.ok("SEARCH ALL").await, ["* SEARCH 1 2 3 4 5"]);
}

#[tokio::test]
async fn mod_sequences_are_the_same_after_a_restart() {
    let world = World::of(3).await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX (CONDSTORE)").await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    let before = (client.ok("FETCH 1:3 (FLAGS MODSEQ)").await, highest(&mut client).await);
    client.ok("STORE 2 +FLAGS.SILENT ($Work)").await;
    let world = world.restarted().await;
    let mut client = world.user().await;
    let selected = number_of(&client.ok("SELECT INBOX (CONDSTORE)").await, "[HIGHESTMODSEQ");
    assert!(selected > before.1);
    let fetched = client.ok("FETCH 1:3 (FLAGS MODSEQ)").await;
    assert_eq!((&fetched[0], &fetched[2]), (&before.0[0], &before.0[2]));
    let changed = client.ok(&format!("FETCH 1:* (FLAGS) (CHANGEDSINCE {})", before.1)).await;
    assert_eq!(changed, [format!("* 2 FETCH (FLAGS ($Work) MODSEQ ({selected}))")]);
    client.ok("STORE 2 -FLAGS.SILENT ($Work)").await;
    assert!(highest(&mut client).await > selected);
}

#[tokio::test]
async fn an_annotation_of_a_mailbox_raises_its_mod_sequence() {
    let world = World::of(1).await;
    let mut client = world.user().await;
    let before = highest(&mut client).await;
    client.ok("SETMETADATA INBOX (/private/comment \"x\")").await;
    let after = highest(&mut client).await;
    assert!(after > before);
    client.ok("SETMETADATA \"\" (/private/comment \"x\")").await;
    assert_eq!(highest(&mut client).await, after);
}
