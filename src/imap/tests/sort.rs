//! SORT and THREAD.

use super::*;

/// A mailbox of these messages, each with its header, in order.
async fn mailbox(headers: &[&str]) -> (World, Client) {
    let world = World::new().await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    for (at, header) in headers.iter().enumerate() {
        let message = format!("{header}\r\n\r\n{}\r\n", "x".repeat(at));
        let date = format!("\"0{}-Jan-2020 00:00:00 +0000\"", 9 - at);
        client.ok(&format!("APPEND INBOX {date} {{{}+}}\r\n{message}", message.len())).await;
    }
    (world, client)
}

async fn sorted(client: &mut Client, command: &str) -> String {
    let mut lines = client.ok(command).await;
    assert_eq!(lines.len(), 1, "{command}: {lines:?}");
    lines.remove(0).replace(&format!("(TAG \"t{}\")", client.tag), "(TAG)")
}

#[tokio::test]
async fn messages_are_sorted_by_each_key() {
    let (world, mut client) = mailbox(&[
        "Subject: Re: [list] Beta\r\nFrom: \"Zoe\" <anna@x.org>\r\nTo: c@x.org\r\nDate: Thu, 2 Jan 2020 10:00:00 +0000",
        "Subject: alpha\r\nFrom: \"adam\" <zoe@x.org>\r\nTo: B@x.org, a@x.org\r\nDate: Thu, 2 Jan 2020 10:30:00 +0100",
        "Subject: =?utf-8?q?=C3=84ther?=\r\nFrom: mike@x.org\r\nCc: a@x.org",
        "Subject: beta (fwd)\r\nFrom: team: bob@x.org;\r\nCc: \"\" <b@x.org>\r\nDate: nonsense",
        "From: =?utf-8?q?=C3=A9mile?= <e@x.org>\r\nTo: =?utf-8?q?bert?= <z@x.org>\r\nDate: 1 Jan 2020 00:00:00 -0500",
    ])
    .await;
    for (keys, expected) in [
        ("ARRIVAL", "5 4 3 2 1"),
        ("REVERSE ARRIVAL", "1 2 3 4 5"),
        // Without a date, by INTERNALDATE: 7 and 6 January.
        ("DATE", "5 2 1 4 3"),
        ("SUBJECT", "5 2 3 1 4"),
        ("SUBJECT REVERSE ARRIVAL", "5 2 3 1 4"),
        ("SUBJECT ARRIVAL", "5 2 3 4 1"),
        ("REVERSE SUBJECT", "1 4 3 2 5"),
        ("REVERSE SUBJECT SUBJECT ARRIVAL", "4 1 3 2 5"),
        ("FROM", "1 5 3 4 2"),
        ("TO", "3 4 2 1 5"),
        ("CC", "1 2 5 3 4"),
        ("DISPLAYFROM", "2 5 3 4 1"),
        ("DISPLAYTO", "3 4 2 5 1"),
        ("SIZE", "3 4 1 2 5"),
    ] {
        assert_eq!(
            sorted(&mut client, &format!("SORT ({keys}) UTF-8 ALL")).await,
            format!("* SORT {expected}"),
            "{keys}"
        );
    }
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    assert_eq!(sorted(&mut client, "SORT (SUBJECT) US-ASCII ALL").await, "* SORT 4 1 2 3");
    assert_eq!(sorted(&mut client, "UID SORT (SUBJECT) US-ASCII ALL").await, "* SORT 5 2 3 4");
    assert_eq!(sorted(&mut client, "SORT (DATE) UTF-8 SUBJECT none").await, "* SORT");
    let refused = client.ask("SORT (DATE) X-NONE ALL").await;
    assert!(refused[0].contains(" NO [BADCHARSET (UTF-8 US-ASCII)]"), "{refused:?}");
    // RFC 5267: the lowest and the highest are the first and the last, and ALL is in order.
    for (command, expected) in [
        ("UID SORT RETURN () (SUBJECT) UTF-8 ALL", "* ESEARCH (TAG) UID ALL 5,2:4"),
        ("SORT RETURN (MIN MAX COUNT) (REVERSE SUBJECT) UTF-8 ALL", "* ESEARCH (TAG) MIN 3 MAX 4 COUNT 4"),
        ("UID SORT RETURN (PARTIAL 1:2) (REVERSE DATE) UTF-8 ALL", "* ESEARCH (TAG) UID PARTIAL (1:2 3:4)"),
        ("UID SORT RETURN (PARTIAL -1:-2 SAVE) (DATE) UTF-8 ALL", "* ESEARCH (TAG) UID PARTIAL (-1:-2 4,3)"),
    ] {
        assert_eq!(sorted(&mut client, command).await, expected, "{command}");
    }
    assert_eq!(client.ok("UID SEARCH $").await, ["* SEARCH 3 4"]);
    // RFC 7162 §3.1.6.
    let lines = client.ok("SORT (SUBJECT) UTF-8 MODSEQ 1").await;
    assert!(lines.last().unwrap().starts_with("* SORT 4 1 2 3 (MODSEQ "), "{lines:?}");
    // What another session has expunged is in no result.
    let mut other = world.user().await;
    other.ok("SELECT INBOX").await;
    other.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    assert_eq!(client.ask("SORT (SUBJECT) UTF-8 ALL").await[0], "* SORT 4 2 3");
}

#[tokio::test]
async fn messages_are_put_into_threads() {
    let (_world, mut client) = mailbox(&[
        "Subject: a\r\nMessage-ID: <1@x.org>\r\nDate: 1 Jan 2020 00:00:00 +0000",
        "Subject: b\r\nMessage-ID: <2@x.org>\r\nReferences: <1@x.org>\r\nDate: 3 Jan 2020 00:00:00 +0000",
        "Subject: c\r\nIn-Reply-To: <\"1\"@x.org> <9@x.org>\r\nDate: 2 Jan 2020 00:00:00 +0000",
        "Subject: Re: a\r\nDate: 4 Jan 2020 00:00:00 +0000",
        "Subject: d\r\nReferences: <0@x.org>\r\nDate: 6 Jan 2020 00:00:00 +0000",
        "Subject: e\r\nReferences: <0@x.org>\r\nDate: 5 Jan 2020 00:00:00 +0000",
    ])
    .await;
    for (command, expected) in [
        ("THREAD REFERENCES UTF-8 ALL", "* THREAD (1 (3)(2)(4))((6)(5))"),
        ("UID THREAD REFERENCES UTF-8 2:6", "* THREAD ((3)(2))(4)((6)(5))"),
        ("THREAD ORDEREDSUBJECT UTF-8 ALL", "* THREAD (1 4)(3)(2)(6)(5)"),
        ("THREAD REFERENCES US-ASCII SUBJECT none", "* THREAD"),
    ] {
        assert_eq!(sorted(&mut client, command).await, expected, "{command}");
    }
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    assert_eq!(sorted(&mut client, "THREAD REFERENCES UTF-8 ALL").await, "* THREAD ((2)(1))(3)((5)(4))");
    assert_eq!(sorted(&mut client, "UID THREAD ORDEREDSUBJECT UTF-8 ALL").await, "* THREAD (3)(2)(4)(6)(5)");
    assert!(client.ask("THREAD REFS UTF-8 ALL").await[0].contains(" BAD "));
    assert!(client.ask("THREAD REFERENCES X-NONE ALL").await[0].contains(" NO [BADCHARSET "));
}
