//! ESEARCH in several mailboxes.

use super::*;

/// `folder1`, `folder2` and two below it, with messages of these subjects. What is in `folder2/banana` is seen.
async fn folders() -> (World, Client) {
    let world = World::new().await;
    let mut client = world.user().await;
    for (name, subjects) in [
        ("folder1", &["chad", "niger", "Chad 2"][..]),
        ("folder2", &["mali"]),
        ("folder2/banana", &["chad"]),
        ("folder2/banana/split", &["chad", "chad"]),
        ("Gr&APw-n", &["chad"]),
    ] {
        client.ok(&format!("CREATE {name}")).await;
        for subject in subjects {
            let flags = if name == "folder2/banana" { "(\\Seen) " } else { "" };
            let message = format!("Subject: {subject}\r\n\r\n");
            client.ok(&format!("APPEND {name} {flags}{{{}+}}\r\n{message}", message.len())).await;
        }
    }
    client.ok("SUBSCRIBE folder1").await;
    world.arrives("Subject: chad in INBOX\r\n\r\n").await;
    (world, client)
}

/// The responses: what of them is not the same each time.
async fn found(client: &mut Client, command: &str) -> Vec<String> {
    let lines = client.ok(&format!("ESEARCH {command}")).await;
    let tag = format!("* ESEARCH (TAG \"t{}\" MAILBOX ", client.tag);
    let short = |line: &String| {
        let (name, rest) = line.strip_prefix(&tag).unwrap().split_once(" UIDVALIDITY ").unwrap();
        let (validity, results) = rest.split_once(") ").unwrap();
        assert!(validity.parse::<u32>().unwrap() > 0);
        format!("{name} {results}")
    };
    lines.iter().map(short).collect()
}

#[tokio::test]
async fn mailboxes_are_searched_as_in_rfc_7377() {
    let (_world, mut client) = folders().await;
    let of = ["folder1 UID ALL 1:3", "folder2 UID ALL 1", "folder2/banana/split UID ALL 1:2"];
    assert_eq!(found(&mut client, "IN (mailboxes \"folder1\" subtree \"folder2\") unseen").await, of);
    for (command, expected) in [
        (
            "IN (mailboxes \"folder1\" subtree-one \"folder2\") subject \"chad\"",
            &["folder1 UID ALL 1,3", "folder2/banana UID ALL 1"][..],
        ),
        ("IN (inboxes) RETURN (COUNT MIN) ALL", &["INBOX UID MIN 1 COUNT 1"]),
        (
            "IN (subscribed) RETURN (MAX PARTIAL 1:1) TEXT chad",
            &["INBOX UID MAX 1 PARTIAL (1:1 1)", "folder1 UID MAX 3 PARTIAL (1:1 1)"],
        ),
        (
            "IN (mailboxes (Gr&APw-n none folder1 folder1)) RETURN (COUNT) ALL",
            &["Gr&APw-n UID COUNT 1", "folder1 UID COUNT 3"],
        ),
        ("IN (personal) RETURN (COUNT) SUBJECT niger", &["folder1 UID COUNT 1"]),
        ("IN (personal) RETURN (COUNT) SUBJECT togo", &[]),
    ] {
        assert_eq!(found(&mut client, command).await, expected, "{command}");
    }
    let lines = client.ok("ESEARCH IN (personal) RETURN (COUNT) MODSEQ 1").await;
    assert!(
        lines.len() == 6 && lines.iter().all(|line| line.contains(" COUNT ") && line.contains(" MODSEQ ")),
        "{lines:?}"
    );
    // Without a selected mailbox, none is searched by default.
    for (command, answer) in [
        ("ALL", "BAD no mailbox selected"),
        ("IN (selected) ALL", "BAD no mailbox selected"),
        ("IN (selected-delayed) ALL", "BAD ESEARCH takes no selected-delayed"),
        ("IN (personal) 1:3", "BAD sequence numbers, $ and SAVE are of the selected mailbox"),
        ("IN (personal) RETURN (SAVE) ALL", "BAD sequence numbers, $ and SAVE are of the selected mailbox"),
        ("IN (personal) CHARSET X-NONE ALL", "NO [BADCHARSET (UTF-8 US-ASCII)]"),
    ] {
        let reply = client.ask(&format!("ESEARCH {command}")).await;
        assert!(reply[0].contains(answer), "{command}: {reply:?}");
    }
}

#[tokio::test]
async fn the_selected_mailbox_is_searched_as_the_client_knows_it() {
    let (world, mut client) = folders().await;
    client.ok("SELECT folder1").await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    assert_eq!(found(&mut client, "2").await, ["folder1 UID ALL 3"]);
    assert_eq!(found(&mut client, "IN (selected) RETURN (COUNT SAVE) SUBJECT chad").await, ["folder1 UID COUNT 1"]);
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH 2"]);
    let both = "IN (selected mailboxes (folder1 folder2)) ALL";
    assert_eq!(found(&mut client, both).await, ["folder1 UID ALL 2:3", "folder2 UID ALL 1"]);
    assert!(client.ask("ESEARCH IN (selected personal) UID $").await[0].contains(" BAD "));
    // A new message is found once the client knows of it; one that is expunged is not found.
    let mut other = world.user().await;
    other.ok("SELECT folder1").await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    other.ok("APPEND folder1 {14+}\r\nSubject: x\r\n\r\n").await;
    let lines = client.ask("ESEARCH IN (personal) RETURN (COUNT) ALL").await;
    assert!(lines.iter().any(|line| line == "* 3 EXISTS"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.contains("\"folder1\" UIDVALIDITY")
            || line.contains("folder1 UIDVALIDITY") && line.ends_with("COUNT 2")),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.ends_with("EXPUNGE")), "{lines:?}");
    client.ok("NOOP").await;
    client.ok("ENABLE UTF8=ACCEPT").await;
    assert_eq!(found(&mut client, "IN (mailboxes \"Grün\") ALL").await, ["\"Grün\" UID ALL 1"]);
}
