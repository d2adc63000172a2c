//! SEARCH: what is returned, saved and compared.

use super::*;
use crate::clock::Timestamp;

/// Five messages, UIDs 1 to 5, of which 2, 3 and 5 are flagged.
async fn flagged() -> (World, Client) {
    let world = World::new().await;
    for number in 1..=5 {
        world.arrives(&format!("Subject: number {number}\r\n\r\n")).await;
    }
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    client.ok("STORE 2:3,5 +FLAGS.SILENT (\\Flagged)").await;
    (world, client)
}

/// Appends a message to INBOX, with this before its literal.
async fn append(client: &mut Client, arguments: &str, message: &str) {
    client.ok(&format!("APPEND INBOX {arguments}{{{}+}}\r\n{message}", message.len())).await;
}

/// The one untagged response, without the tag in it.
async fn result(client: &mut Client, command: &str) -> String {
    let mut lines = client.ok(command).await;
    assert_eq!(lines.len(), 1, "{command}: {lines:?}");
    let tag = format!("(TAG \"t{}\")", client.tag);
    lines.remove(0).replace(&tag, "(TAG)")
}

#[tokio::test]
async fn results_are_returned_as_in_rfc_4731() {
    let (_world, mut client) = flagged().await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    for (command, expected) in [
        ("SEARCH RETURN (MIN COUNT) FLAGGED", "* ESEARCH (TAG) MIN 1 COUNT 3"),
        ("UID SEARCH RETURN (MAX) FLAGGED", "* ESEARCH (TAG) UID MAX 5"),
        ("UID SEARCH RETURN () FLAGGED", "* ESEARCH (TAG) UID ALL 2:3,5"),
        ("SEARCH RETURN (ALL COUNT) FLAGGED", "* ESEARCH (TAG) COUNT 3 ALL 1:2,4"),
        ("SEARCH RETURN (MIN MAX ALL COUNT) DELETED", "* ESEARCH (TAG) COUNT 0"),
        ("UID SEARCH RETURN (MIN MAX) DELETED", "* ESEARCH (TAG) UID"),
        ("UID SEARCH RETURN (PARTIAL 1:2) FLAGGED", "* ESEARCH (TAG) UID PARTIAL (1:2 2:3)"),
        ("SEARCH RETURN (COUNT PARTIAL -1:-2) FLAGGED", "* ESEARCH (TAG) COUNT 3 PARTIAL (-1:-2 2,4)"),
        ("UID SEARCH RETURN (PARTIAL 9:4) FLAGGED", "* ESEARCH (TAG) UID PARTIAL (9:4 NIL)"),
        ("SEARCH FLAGGED", "* SEARCH 1 2 4"),
    ] {
        assert_eq!(result(&mut client, command).await, expected, "{command}");
    }
    let both = client.ask("SEARCH RETURN (ALL PARTIAL 1:2) FLAGGED").await;
    assert!(both[0].contains(" BAD "), "{both:?}");
}

#[tokio::test]
async fn a_saved_result_is_used_as_in_rfc_5182() {
    let (world, mut client) = flagged().await;
    // Nothing has been saved.
    assert!(client.ok("FETCH $ UID").await.is_empty());
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH"]);
    // SAVE alone returns nothing.
    assert!(client.ok("SEARCH RETURN (SAVE) FLAGGED").await.is_empty());
    assert_eq!(client.ok("FETCH $ UID").await, ["* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)", "* 5 FETCH (UID 5)"]);
    assert_eq!(client.ok("UID FETCH $ UID").await.len(), 3);
    assert_eq!(client.ok("SEARCH $ 3:5").await, ["* SEARCH 3 5"]);
    assert_eq!(client.ok("UID SEARCH UID $ NOT SUBJECT \"number 3\"").await, ["* SEARCH 2 5"]);
    assert_eq!(
        result(&mut client, "UID SEARCH RETURN (MIN SAVE COUNT) NOT $").await,
        "* ESEARCH (TAG) UID MIN 1 COUNT 2"
    );
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH 1 4"]);
    assert_eq!(result(&mut client, "SEARCH RETURN (SAVE MIN MAX) ALL").await, "* ESEARCH (TAG) MIN 1 MAX 5");
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH 1 5"]);
    let partial = "SEARCH RETURN (SAVE PARTIAL 2:3) ALL";
    assert_eq!(result(&mut client, partial).await, "* ESEARCH (TAG) PARTIAL (2:3 2:3)");
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH 2:3".replace(':', " ")]);
    // BAD leaves it, NO empties it.
    assert!(client.ask("SEARCH RETURN (SAVE) NONSENSE").await[0].contains(" BAD "));
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH 2 3"]);
    assert!(client.ask("SEARCH RETURN (SAVE) CHARSET x-none ALL").await[0].contains(" NO [BADCHARSET "));
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH"]);
    // Commands that change messages take it too.
    client.ok("UID SEARCH RETURN (SAVE) FLAGGED").await;
    assert_eq!(client.ok("STORE $ +FLAGS ($x)").await.iter().filter(|line| line.contains("$x")).count(), 4);
    client.ok("COPY $ Archive").await;
    assert!(client.ok("STATUS Archive (MESSAGES)").await[0].contains("MESSAGES 3"));
    // Another session expunges one: it leaves the result, and the numbers of the others change.
    let mut other = world.user().await;
    other.ok("SELECT INBOX").await;
    other.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    world.arrives("Subject: new\r\n\r\n").await;
    let lines = client.ok("NOOP").await;
    assert!(lines.contains(&"* 2 EXPUNGE".to_owned()), "{lines:?}");
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH 2 4"]);
    client.ok("UID STORE $ +FLAGS.SILENT (\\Deleted)").await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(client.ok("UID EXPUNGE $").await.iter().filter(|line| line.ends_with("EXPUNGE")).count(), 2);
    client.ok("SEARCH RETURN (SAVE) ALL").await;
    client.ok("MOVE $ Archive").await;
    assert_eq!(client.ok("SEARCH ALL").await, ["* SEARCH"]);
    // It is of the selected mailbox.
    client.ok("SEARCH RETURN (SAVE) ALL").await;
    client.ok("SELECT Archive").await;
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH"]);
}

#[tokio::test]
async fn messages_are_found_by_age() {
    let world = World::new().await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    for minutes in [90, 30] {
        let at = Timestamp::real().before(std::time::Duration::from_secs(minutes * 60));
        let date = at.to_jiff().strftime("%e-%b-%Y %H:%M:%S +0000");
        append(&mut client, &format!("\"{date}\" "), "Subject: x\r\n\r\n").await;
    }
    for (keys, expected) in [
        ("OLDER 3600", "* SEARCH 1"),
        ("YOUNGER 3600", "* SEARCH 2"),
        ("YOUNGER 86400 OLDER 600", "* SEARCH 1 2"),
        ("NOT OLDER 3600", "* SEARCH 2"),
        ("OLDER 4294967295", "* SEARCH"),
    ] {
        assert_eq!(client.ok(&format!("SEARCH {keys}")).await, [expected], "{keys}");
    }
    assert!(client.ask("SEARCH OLDER 0").await[0].contains(" BAD "));
}

#[tokio::test]
async fn messages_are_found_by_save_dates_and_object_ids() {
    let world = World::new().await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    append(&mut client, "\" 1-Feb-2003 00:00:00 +0000\" ", "Message-ID: <1@x.org>\r\n\r\nbody\r\n").await;
    append(&mut client, "", "In-Reply-To: <1@x.org>\r\n\r\nb\r\n").await;
    append(&mut client, "", "Subject: z\r\n\r\n").await;
    let open = world.store.mailbox_open(&world.inbox, "INBOX", false).await.unwrap().unwrap();
    let ids = world.store.messages_object_ids(&world.inbox, open.id, vec![1, 2, 3]).await.unwrap();
    let (email, thread) = (&ids[1].email, ids[1].thread.as_ref().unwrap());
    for (keys, expected) in [
        ("SAVEDBEFORE 2-Feb-2003".to_owned(), "* SEARCH"),
        ("BEFORE 2-Feb-2003".to_owned(), "* SEARCH 1"),
        ("SAVEDSINCE 2-Feb-2003".to_owned(), "* SEARCH 1 2 3"),
        ("SAVEDON 1-Feb-2003".to_owned(), "* SEARCH"),
        ("SAVEDATESUPPORTED".to_owned(), "* SEARCH 1 2 3"),
        (format!("EMAILID {email}"), "* SEARCH 2"),
        (format!("OR EMAILID {email} EMAILID {}", ids[2].email), "* SEARCH 2 3"),
        (format!("THREADID {thread}"), "* SEARCH 1 2"),
        (format!("THREADID {thread} NOT EMAILID {email} TEXT body"), "* SEARCH 1"),
        ("EMAILID msg_none".to_owned(), "* SEARCH"),
    ] {
        assert_eq!(client.ok(&format!("SEARCH {keys}")).await, [expected], "{keys}");
    }
}

#[tokio::test]
async fn strings_are_taken_in_every_charset_that_mail_is_decoded_from() {
    let world = World::new().await;
    world.arrives("Subject: =?utf-8?b?0J/RgNC40LLQtdGC?=\r\n\r\n").await;
    world.arrives("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n").await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    for (charset, octets, expected) in [
        ("koi8-r", &b"\xd0\xd2\xc9\xd7\xc5\xd4"[..], "* SEARCH 1"),
        ("\"windows-1251\"", b"\xcf\xd0\xc8\xc2\xc5\xd2", "* SEARCH 1"),
        ("ISO-8859-1", b"GR\xdc\xdfE", "* SEARCH 2"),
        ("UTF-7", b"Gr+APw-", "* SEARCH 2"),
        ("US-ASCII", b"gr", "* SEARCH 2"),
        ("ISO-8859-1", b"\xc3\xbc", "* SEARCH"),
    ] {
        let start = format!("x SEARCH CHARSET {charset} SUBJECT {{{}+}}\r\n", octets.len());
        client.send([start.as_bytes(), octets, b"\r\n"].concat()).await;
        assert_eq!(client.answer("x").await[0], expected, "{charset}");
    }
}

#[tokio::test]
async fn a_part_of_the_messages_is_fetched_as_in_rfc_9394() {
    let (_world, mut client) = flagged().await;
    let fetched = |uids: &[u32]| uids.iter().map(|uid| format!("* {uid} FETCH (UID {uid})")).collect::<Vec<_>>();
    for (command, expected) in [
        ("UID FETCH 1:* UID (PARTIAL 1:2)", fetched(&[1, 2])),
        ("UID FETCH 2:* UID (PARTIAL -1:-2)", fetched(&[4, 5])),
        ("UID FETCH 1:3,5 UID (PARTIAL 4:3)", fetched(&[3, 5])),
        ("UID FETCH 1:* UID (PARTIAL 6:9)", fetched(&[])),
    ] {
        assert_eq!(client.ok(command).await, expected, "{command}");
    }
    assert!(client.ask("FETCH 1:* UID (PARTIAL 1:2)").await[0].contains(" BAD "));
}

#[tokio::test]
async fn the_progress_of_a_long_search_is_told_as_in_rfc_9585() {
    let world = World::telling(Duration::ZERO, |_| {}).await;
    for _ in 0..3 {
        world.arrives(&format!("Subject: x\r\n\r\n{}\r\n", "y".repeat(600_000))).await;
    }
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    // Each large body is a step. The first is by flags, of which one message has those that are searched.
    client.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    let lines = client.ok("SEARCH OR SEEN BODY yyy").await;
    let progress = |done: u32| format!("* OK [INPROGRESS (\"t{}\" {done} 3)] still searching", client.tag);
    assert_eq!(lines, [progress(1), progress(2), progress(2), "* SEARCH 1 2 3".to_owned()]);
    // How many are found is not known before they are sorted.
    let lines = client.ok("SORT (SUBJECT) UTF-8 ALL").await;
    let progress = |done: u32| format!("* OK [INPROGRESS (\"t{}\" {done} NIL)] still searching", client.tag);
    assert_eq!(lines, [progress(3), progress(6), "* SORT 1 2 3".to_owned()]);
    client.send("a] SEARCH ALL\r\n").await;
    assert_eq!(client.answer("a]").await[0], "* OK [INPROGRESS (NIL 2 3)] still searching");
}

#[tokio::test]
async fn large_bodies_are_searched_wherever_they_are() {
    let world = World::new().await;
    for (octets, text) in
        [(300_000, "first"), (300_000, "second"), (10, "third"), (600_000, "fourth"), (300_000, "fifth")]
    {
        world.arrives(&format!("Subject: x\r\n\r\n{} {text}\r\n", "y".repeat(octets))).await;
    }
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    for (at, text) in ["first", "second", "third", "fourth", "fifth"].into_iter().enumerate() {
        assert_eq!(client.ok(&format!("SEARCH BODY {text}")).await, [format!("* SEARCH {}", at + 1)], "{text}");
    }
    assert_eq!(client.ok("SEARCH BODY yyy").await, ["* SEARCH 1 2 3 4 5"]);
}

#[tokio::test]
async fn texts_are_compared_by_unicode_casemap() {
    let world = World::new().await;
    for text in ["Café", "CAFE\u{301}", "cafe", "\u{FF26}ull", "ΟΔΟΣ οδος", "ǆ"] {
        let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, text);
        world
            .arrives(&format!(
                "Subject: =?utf-8?b?{encoded}?=\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
            ))
            .await;
    }
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    for (text, expected) in [
        ("CAFÉ", "* SEARCH 1 2"),
        ("cafe\u{301}", "* SEARCH 1 2"),
        // Part of the character that is taken apart.
        ("cafe", "* SEARCH 1 2 3"),
        ("full", "* SEARCH 4"),
        ("ΟΔΟσ ο", "* SEARCH 5"),
        ("Ǆ", "* SEARCH 6"),
        ("ž", "* SEARCH"),
    ] {
        for key in ["SUBJECT", "HEADER Subject", "BODY", "TEXT"] {
            let command = format!("SEARCH {key} {{{}+}}\r\n{text}", text.len());
            assert_eq!(client.ok(&command).await, [expected], "{key} {text}");
        }
    }
}
