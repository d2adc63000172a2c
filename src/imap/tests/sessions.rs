//! Several sessions on one mailbox, and sessions that end from outside.

use super::*;
use crate::imap::wire::deflate::Compressible;

const MESSAGE: &str = "From: a@b\r\nSubject: s\r\n\r\nbody\r\n";

#[tokio::test]
async fn sequence_numbers_stay_until_expunge_is_sent() {
    let world = World::new().await;
    for _ in 0..4 {
        world.arrives(MESSAGE).await;
    }
    let (mut one, mut two) = (world.user().await, world.user().await);
    let selected = one.ok("SELECT INBOX").await;
    assert!(selected.contains(&"* 4 EXISTS".to_owned()) && selected.contains(&"* 4 RECENT".to_owned()), "{selected:?}");
    let selected = two.ok("SELECT INBOX").await;
    assert!(selected.contains(&"* 0 RECENT".to_owned()), "{selected:?}");

    one.ok("STORE 2:3 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(one.ok("EXPUNGE").await, ["* 3 EXPUNGE", "* 2 EXPUNGE"]);
    // The other still has four, and FETCH must not send EXPUNGE.
    let lines = two.ask("FETCH 1:4 (UID)").await;
    assert_eq!(lines[..2], ["* 1 FETCH (UID 1)", "* 4 FETCH (UID 4)"]);
    assert!(lines.last().unwrap().contains("NO [EXPUNGEISSUED]"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.ends_with("EXPUNGE")), "{lines:?}");
    assert_eq!(two.ok("UID FETCH 4 (UID)").await, ["* 4 FETCH (UID 4)", "* 3 EXPUNGE", "* 2 EXPUNGE"]);
    assert_eq!(two.ok("FETCH 2 (UID)").await, ["* 2 FETCH (UID 4)"]);

    // Flags and arrivals go to both.
    one.ok("STORE 1 +FLAGS (\\Flagged $Work)").await;
    world.arrives(MESSAGE).await;
    let changes = two.ok("NOOP").await;
    assert_eq!(changes[0], "* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $Work)");
    assert_eq!(changes[1], "* 1 FETCH (UID 1 FLAGS (\\Flagged $Work))");
    assert!(changes[2] == "* 3 EXISTS" && changes[3].ends_with(" RECENT"), "{changes:?}");
    assert_eq!(one.ok("NOOP").await[0], "* 3 EXISTS");
}

#[tokio::test]
async fn idle_sends_changes_at_once() {
    let world = World::new().await;
    let (mut one, mut two) = (world.user().await, world.user().await);
    one.ok("SELECT INBOX").await;
    two.ok("SELECT INBOX").await;
    one.send("i IDLE\r\n").await;
    assert_eq!(one.line().await, "+ idling");
    world.arrives(MESSAGE).await;
    assert_eq!(one.line().await, "* 1 EXISTS");
    assert_eq!(one.line().await, "* 1 RECENT");
    two.ok("NOOP").await;
    two.ok("STORE 1 FLAGS (\\Seen \\Deleted)").await;
    assert_eq!(one.line().await, "* 1 FETCH (UID 1 FLAGS (\\Seen \\Deleted \\Recent))");
    two.ok("EXPUNGE").await;
    assert_eq!(one.line().await, "* 1 EXPUNGE");
    one.send("DONE\r\n").await;
    assert_eq!(one.line().await, "i OK completed");
}

#[tokio::test]
async fn idle_begins_with_the_continuation_and_then_sends_earlier_changes() {
    let world = World::new().await;
    world.arrives(MESSAGE).await;
    let (mut one, mut two) = (world.user().await, world.user().await);
    one.ok("SELECT INBOX").await;
    two.ok("SELECT INBOX").await;
    two.ok("STORE 1 FLAGS (\\Seen)").await;
    one.send("i IDLE\r\n").await;
    assert_eq!(one.line().await, "+ idling");
    assert!(one.line().await.contains("FLAGS (\\Seen"));
    one.send("DONE\r\n").await;
    assert_eq!(one.line().await, "i OK completed");
}

#[tokio::test]
async fn a_session_ends_when_its_token_is_revoked_or_the_daemon_stops() {
    let world = World::new().await;
    let (mut idle, mut busy) = (world.user().await, world.user().await);
    idle.send("i IDLE\r\n").await;
    assert_eq!(idle.line().await, "+ idling");
    world.events.publish(&world.account, Event::TokenRevoked { token_id: TokenId::new() });
    busy.ok("NOOP").await;
    world.events.publish(&world.account, Event::TokenRevoked { token_id: world.token_id.clone() });
    for client in [&mut idle, &mut busy] {
        assert_eq!(client.line().await, "* BYE this API token has been revoked");
        assert_eq!(client.line().await, "");
    }
    let (mut anonymous, mut user) = (world.not_authenticated().await, world.user().await);
    user.ok("SELECT INBOX").await;
    world.shutdown.request();
    for client in [&mut anonymous, &mut user] {
        assert_eq!(client.line().await, "* BYE server is shutting down, closing connection");
    }
    assert!(world.shutdown.finished(std::time::Duration::from_secs(20)).await);
}

#[tokio::test]
async fn silent_clients_are_disconnected() {
    let world = World::with(short_timeouts).await;
    let (mut idle, mut user, mut anonymous) = (world.user().await, world.user().await, world.not_authenticated().await);
    idle.send("i IDLE\r\n").await;
    assert_eq!(idle.line().await, "+ idling");
    assert_eq!(idle.line().await, "* BYE idle timeout, closing connection");
    assert_eq!(user.line().await, "* BYE idle timeout, closing connection");
    assert_eq!(anonymous.line().await, "* BYE log-in timeout, closing connection");
}

#[tokio::test]
async fn another_account_sees_nothing() {
    let world = World::new().await;
    world.arrives(MESSAGE).await;
    let other_account = crate::store::testing::account(&world.store).await;
    let theirs = crate::store::testing::inbox(&world.store, &other_account, "bob").await;
    let mailbox = world.store.mailbox_open(&world.inbox, "INBOX", false).await.unwrap().unwrap().id;
    let store = &world.store;
    assert!(store.mailbox_changes(&theirs, mailbox, Default::default()).await.unwrap().is_none());
    let depth = crate::store::open_mailbox::Depth::Body;
    assert!(store.messages_fetch(&theirs, mailbox, vec![1], depth, 100).await.unwrap().0.is_empty());
    let add = crate::store::mailbox_changes::FlagUpdate::add(crate::store::messages::Flags::DELETED);
    let limits = crate::store::testing::limits;
    let mailboxes = MailboxService::new(store.clone(), limits(u64::MAX));
    let theirs_flagged = mailboxes.set_flags(&theirs, mailbox, vec![1], add.clone()).await;
    assert!(theirs_flagged.unwrap().is_empty());
    mailboxes.set_flags(&world.inbox, mailbox, vec![1], add).await.unwrap();
    mailboxes.expunge(&theirs, mailbox, None).await.unwrap();
    assert_eq!(store.mailbox_status(&world.inbox, "INBOX").await.unwrap().unwrap().messages, 1);
    let copied = mailboxes.move_to(&theirs, mailbox, vec![1], "INBOX").await.unwrap();
    assert!(copied.uids.is_empty());
    let mut client = world.not_authenticated().await;
    let answer = client.ask(&format!("LOGIN bob@inboxlayer.dev {}", world.token.reveal())).await;
    assert!(answer[0].contains("NO [AUTHENTICATIONFAILED]"), "{answer:?}");
    let same = client.ask(&format!("LOGIN nobody@inboxlayer.dev {}", world.token.reveal())).await;
    assert_eq!(answer[0].replace("t1", ""), same[0].replace("t2", ""));
}

#[tokio::test]
async fn a_session_in_a_deleted_mailbox_ends_with_bye() {
    let world = World::new().await;
    let (mut one, mut two) = (world.user().await, world.user().await);
    two.ok("SELECT Junk").await;
    two.send("i IDLE\r\n").await;
    assert_eq!(two.line().await, "+ idling");
    one.ok("SELECT Junk").await;
    one.ok("DELETE Junk").await;
    assert_eq!(two.line().await, "* BYE the selected mailbox has been deleted");
    assert!(one.ask("FETCH 1 FLAGS").await[0].contains("BAD"));
    // The name comes back, and none of its UIDs.
    one.ok("CREATE Junk").await;
    one.ok("SELECT Junk").await;
}

#[tokio::test]
async fn a_session_behind_all_recorded_expunges_sees_the_mailbox_as_it_is() {
    let world = World::new().await;
    for _ in 0..4 {
        world.arrives(MESSAGE).await;
    }
    let (mut one, mut two) = (world.user().await, world.user().await);
    one.ok("SELECT INBOX").await;
    two.ok("SELECT INBOX").await;
    one.ok("STORE 2,4 +FLAGS.SILENT (\\Deleted)").await;
    one.ok("EXPUNGE").await;
    one.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    let forget = "DELETE FROM expunged; UPDATE mailbox SET forgotten = highest_modseq - 1, note_count = 0";
    world.store.write(move |c| c.batch(forget)).await.unwrap();
    let changes = two.ok("NOOP").await;
    assert_eq!(changes, ["* 1 FETCH (UID 1 FLAGS (\\Seen))", "* 4 EXPUNGE", "* 2 EXPUNGE"]);
    assert_eq!(two.ok("UID SEARCH ALL").await, ["* SEARCH 1 3"]);
}

#[tokio::test]
async fn a_full_inbox_refuses_append_and_copy_but_not_move_and_expunge() {
    let world = World::with(|config| config.limits.inbox_size = 1000 + 2 * 256).await;
    let mut client = world.user().await;
    client.ok(&format!("APPEND INBOX {{600+}}\r\n{}", "x".repeat(600))).await;
    client.ok("SELECT INBOX").await;
    for command in [format!("APPEND Junk {{401+}}\r\n{}", "x".repeat(401)), "COPY 1 Junk".into()] {
        let answer = client.ask(&command).await;
        assert!(answer.last().unwrap().contains("NO [OVERQUOTA]"), "{answer:?}");
    }
    client.ok(&format!("APPEND Junk {{400+}}\r\n{}", "x".repeat(400))).await;
    client.ok("MOVE 1 Archive").await;
    client.ok("SELECT Archive").await;
    client.ok("STORE 1 +FLAGS (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    client.ok(&format!("APPEND INBOX {{600+}}\r\n{}", "x".repeat(600))).await;
}

#[tokio::test]
async fn a_message_is_recent_in_one_session() {
    let world = World::new().await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut client = world.user().await;
        client.ok("SELECT INBOX").await;
        sessions.push(client);
    }
    for _ in 0..20 {
        let selecting = async {
            let mut client = world.user().await;
            client.ok("SELECT INBOX").await;
            client
        };
        let (_, client) = tokio::join!(world.arrives(MESSAGE), selecting);
        sessions.push(client);
        if sessions.len() > 6 {
            drop(sessions.remove(3));
        }
        for client in &mut sessions {
            client.send("n NOOP\r\n").await;
        }
        for client in &mut sessions {
            client.answer("n").await;
        }
    }
    // Sessions that have ended had some; no message is recent in two sessions.
    let mut seen = std::collections::HashSet::new();
    for client in &mut sessions {
        for line in client.ok("UID SEARCH RECENT").await {
            for uid in line.trim_start_matches("* SEARCH").split_whitespace() {
                assert!(seen.insert(uid.to_owned()), "{uid} is recent twice");
            }
        }
    }
    let mut late = world.user().await;
    assert!(late.ok("SELECT INBOX").await.contains(&"* 0 RECENT".to_owned()));
}

#[tokio::test]
async fn messages_that_another_session_expunged_are_neither_copied_nor_found() {
    let world = World::new().await;
    for _ in 0..4 {
        world.arrives(MESSAGE).await;
    }
    let (mut one, mut two) = (world.user().await, world.user().await);
    one.ok("SELECT INBOX").await;
    two.ok("SELECT INBOX").await;
    one.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    one.ok("EXPUNGE").await;
    for keys in ["ALL", "SUBJECT s", "1:4", "BODY body", "OR UNSEEN SUBJECT t"] {
        let answer = two.ask(&format!("SEARCH {keys}")).await;
        assert_eq!(answer[0], "* SEARCH 1 3 4", "{keys}");
        assert!(answer[1].contains("OK [EXPUNGEISSUED]"), "{answer:?}");
    }
    let copied = two.ask("COPY 1:3 Archive").await;
    assert_eq!(copied[0], "* 2 EXPUNGE");
    assert!(copied[1].contains("OK [COPYUID ") && copied[1].contains(" 1,3 1:2]"), "{copied:?}");
    one.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    one.ok("EXPUNGE").await;
    let nothing = two.ask("COPY 1 Archive").await;
    assert!(nothing.last().unwrap().contains("NO [EXPUNGEISSUED]"), "{nothing:?}");
    assert!(two.ok("STATUS Archive (MESSAGES)").await.contains(&"* STATUS Archive (MESSAGES 2)".to_owned()));
}

#[tokio::test]
async fn a_thousand_messages_are_copied_and_moved() {
    let world = World::new().await;
    let mut one = world.user().await;
    let message = format!("APPEND INBOX {{{}+}}\r\n{MESSAGE}\r\n", MESSAGE.len());
    for _ in 0..1010 {
        one.send(format!("a {message}")).await;
    }
    for _ in 0..1010 {
        assert!(one.line().await.starts_with("a OK [APPENDUID "));
    }
    one.ok("SELECT INBOX").await;
    let mut two = world.user().await;
    two.ok("SELECT Archive").await;
    let copied = one.ask("COPY 1:* Archive").await;
    assert!(copied[0].contains(" 1:1010 1:1010]"), "{copied:?}");
    assert_eq!(two.ok("NOOP").await, ["* 1010 EXISTS", "* 1010 RECENT"]);
    let moved = one.ask("MOVE 1:1000 Archive").await;
    assert!(moved[0].contains("[COPYUID ") && moved[0].contains(" 1:1000 1011:2010]"), "{:?}", moved[0]);
    assert_eq!(moved.iter().filter(|line| line.ends_with(" EXPUNGE")).count(), 1000);
    assert_eq!(one.ok("UID SEARCH ALL").await, ["* SEARCH 1001 1002 1003 1004 1005 1006 1007 1008 1009 1010"]);
    assert_eq!(two.ok("NOOP").await, ["* 2010 EXISTS", "* 2010 RECENT"]);
    // Whether they have been moved over by now or not, they are there under their UIDs.
    assert_eq!(two.ok("FETCH 2010 (UID FLAGS)").await, ["* 2010 FETCH (UID 2010 FLAGS (\\Recent))"]);
    two.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(two.ok("EXPUNGE").await.len(), 2010);
    assert!(
        two.ok("STATUS Archive (MESSAGES UIDNEXT)")
            .await
            .contains(&"* STATUS Archive (MESSAGES 0 UIDNEXT 2011)".to_owned())
    );
}

#[tokio::test]
async fn a_change_is_sent_to_others_even_if_its_session_ends_before_the_commit() {
    crate::store::testing::sqlite_only("one write is to keep another waiting");
    let world = World::new().await;
    world.arrives(MESSAGE).await;
    let token = Token::generate().unwrap();
    let scope = Scope::Account(world.account.clone());
    let new = NewToken::new("other", scope, token.hash());
    world.store.token_create(new, 10, Clock::System.now()).await.unwrap();
    let mut idle = world.not_authenticated().await;
    idle.ok(&format!("LOGIN anna@inboxlayer.dev {}", token.secret().reveal())).await;
    idle.ok("SELECT INBOX").await;
    idle.send("i IDLE\r\n").await;
    assert_eq!(idle.line().await, "+ idling");
    let mut user = world.user().await;
    user.ok("SELECT INBOX").await;

    // The writer is busy until the session has ended.
    let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let store = world.store.clone();
    let busy = move |_: &crate::store::Transaction<'_>| {
        let _ = begun.send(());
        wait.recv().map_err(|_| StoreError::Closed)
    };
    let busy = tokio::spawn(async move { store.write(busy).await });
    has_begun.recv().await.unwrap();
    user.send("s STORE 1 +FLAGS (\\Flagged)\r\n").await;
    while waiting_writes(&world.store, &world.account) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    world.events.publish(&world.account, Event::TokenRevoked { token_id: world.token_id.clone() });
    assert_eq!(user.line().await, "* BYE this API token has been revoked");
    go.send(()).unwrap();
    busy.await.unwrap().unwrap();
    assert_eq!(idle.line().await, "* 1 FETCH (UID 1 FLAGS (\\Flagged \\Recent))");
}

#[tokio::test]
async fn a_connection_is_compressed_after_compress_deflate() {
    let world = World::new().await;
    for _ in 0..20 {
        world.arrives(MESSAGE).await;
    }
    let mut client = world.user().await;
    assert_eq!(client.ask("COMPRESS DEFLATE").await, ["t2 OK compression begins now"]);
    let mut stream = Compressible::new(client.stream.into_inner());
    stream.compress(Vec::new());
    let mut client = Client::over(Box::new(stream));
    assert!(client.ask("COMPRESS DEFLATE").await[0].contains("NO [COMPRESSIONACTIVE]"));
    client.ok("SELECT INBOX").await;
    let fetched = client.ok("FETCH 1:* (UID BODY.PEEK[])").await;
    assert_eq!(fetched.len(), 20);
    assert!(fetched.iter().all(|message| message.contains(MESSAGE)), "{fetched:?}");
    let large = "x".repeat(300_000);
    client.ok(&format!("APPEND INBOX {{{}+}}\r\n{large}", large.len())).await;
    client.send("i IDLE\r\n").await;
    assert_eq!(client.line().await, "+ idling");
    world.arrives(MESSAGE).await;
    assert_eq!(client.line().await, "* 22 EXISTS");
    assert_eq!(client.line().await, "* 22 RECENT");
    client.send("DONE\r\n").await;
    assert_eq!(client.line().await, "i OK completed");
    assert!(client.ok("FETCH 21 BODY.PEEK[]").await[0].ends_with(&format!("{large})")));
}

#[tokio::test]
async fn octets_that_are_not_deflated_end_a_compressed_connection() {
    let world = World::new().await;
    let mut client = world.user().await;
    client.ok("COMPRESS DEFLATE").await;
    client.send([0xff; 64]).await;
    assert_eq!(client.line().await, "");
}
