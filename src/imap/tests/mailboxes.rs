//! LIST with its extensions, STATUS, quotas and metadata.

use super::*;

/// The untagged responses, sorted.
async fn sorted(client: &mut Client, command: &str) -> Vec<String> {
    let mut lines = client.ok(command).await;
    lines.sort();
    lines
}

async fn fruit() -> (World, Client) {
    let world = World::new().await;
    let mut client = world.user().await;
    for name in client.ok("LSUB \"\" *").await {
        client.ok(&format!("UNSUBSCRIBE {}", name.rsplit(' ').next().unwrap())).await;
    }
    for name in ["Fruit", "Fruit/Apple", "Fruit/Banana", "Tofu", "Vegetable/Broccoli"] {
        client.ok(&format!("CREATE {name}")).await;
    }
    for name in ["Fruit/Banana", "Tofu", "Vegetable/Broccoli"] {
        client.ok(&format!("SUBSCRIBE {name}")).await;
    }
    (world, client)
}

#[tokio::test]
async fn list_selects_and_returns_as_in_rfc_5258() {
    let (_world, mut client) = fruit().await;
    assert_eq!(
        sorted(&mut client, "LIST (SUBSCRIBED) \"\" *").await,
        [
            "* LIST (\\HasNoChildren \\Subscribed) \"/\" Fruit/Banana",
            "* LIST (\\HasNoChildren \\Subscribed) \"/\" Tofu",
            "* LIST (\\HasNoChildren \\Subscribed) \"/\" Vegetable/Broccoli",
        ]
    );
    // Parents of what is subscribed to, which need not match the pattern.
    assert_eq!(
        sorted(&mut client, "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %").await,
        [
            "* LIST (\\HasChildren) \"/\" Fruit (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            "* LIST (\\HasChildren) \"/\" Vegetable (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            "* LIST (\\HasNoChildren \\Subscribed) \"/\" Tofu",
        ]
    );
    // Several patterns name a mailbox once.
    let listed = client.ok("LIST \"\" (Fruit% F* Tofu) RETURN (CHILDREN SUBSCRIBED)").await;
    assert_eq!(
        listed,
        [
            "* LIST (\\HasChildren) \"/\" Fruit",
            "* LIST (\\HasNoChildren) \"/\" Fruit/Apple",
            "* LIST (\\HasNoChildren \\Subscribed) \"/\" Fruit/Banana",
            "* LIST (\\HasNoChildren \\Subscribed) \"/\" Tofu",
        ]
    );
    // A subscription outlives its mailbox.
    client.ok("DELETE Tofu").await;
    let listed = client.ok("LIST (SUBSCRIBED REMOTE) \"\" T*").await;
    assert_eq!(listed, ["* LIST (\\HasNoChildren \\NonExistent \\Subscribed) \"/\" Tofu"]);
    assert!(client.ok("LIST \"\" T% RETURN (SUBSCRIBED)").await.iter().all(|line| !line.contains("Tofu")));
    let uses = client.ok("LIST (SPECIAL-USE) \"\" *").await;
    assert_eq!(uses.len(), 5, "{uses:?}");
    let reply = client.ask("LIST (RECURSIVEMATCH) \"\" *").await;
    assert!(reply[0].contains(" BAD "), "{reply:?}");
}

#[tokio::test]
async fn levels_that_are_no_mailboxes_are_named_so() {
    let world = World::new().await;
    let mut client = world.user().await;
    client.ok("CREATE a/b").await;
    client.ok("DELETE a").await;
    assert_eq!(client.ok("LIST \"\" a").await, ["* LIST (\\HasChildren \\Noselect) \"/\" a"]);
    let extended = client.ok("LIST \"\" (a) RETURN (STATUS (MESSAGES))").await;
    assert_eq!(extended, ["* LIST (\\HasChildren \\NonExistent) \"/\" a"]);
}

#[tokio::test]
async fn list_returns_status_of_what_it_selects() {
    let (world, mut client) = fruit().await;
    world.arrives("Subject: x\r\n\r\nbody\r\n").await;
    let listed = client.ok("LIST \"\" (INBOX Tofu) RETURN (STATUS (MESSAGES UNSEEN SIZE))").await;
    assert_eq!(
        listed,
        [
            "* LIST (\\HasNoChildren) \"/\" INBOX",
            "* STATUS INBOX (MESSAGES 1 UNSEEN 1 SIZE 20)",
            "* LIST (\\HasNoChildren) \"/\" Tofu",
            "* STATUS Tofu (MESSAGES 0 UNSEEN 0 SIZE 0)",
        ]
    );
    // Not of what is listed for others below it.
    let listed = client.ok("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" Fruit RETURN (STATUS (MESSAGES))").await;
    assert_eq!(listed, ["* LIST (\\HasChildren) \"/\" Fruit (\"CHILDINFO\" (\"SUBSCRIBED\"))"]);
}

#[tokio::test]
async fn status_has_the_items_of_its_extensions() {
    let world = World::new().await;
    for _ in 0..3 {
        world.arrives(&format!("Subject: x\r\n\r\n{}\r\n", "y".repeat(1500))).await;
    }
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    client.ok("STORE 1:2 +FLAGS.SILENT (\\Deleted)").await;
    let lines = client.ok("STATUS INBOX (SIZE DELETED DELETED-STORAGE APPENDLIMIT)").await;
    let limit = Config::default().limits.message_size;
    assert_eq!(lines, [format!("* STATUS INBOX (SIZE 4548 DELETED 2 DELETED-STORAGE 3 APPENDLIMIT {limit})")]);
    let id = client.ok("STATUS INBOX (MAILBOXID)").await;
    assert!(id[0].starts_with("* STATUS INBOX (MAILBOXID (") && id[0].ends_with("))"), "{id:?}");
    client.ok("RENAME Archive Old").await;
    // Parts of a mailbox count as one.
    client.ok("MOVE 1:3 Old").await;
    assert_eq!(client.ok("STATUS Old (DELETED DELETED-STORAGE)").await, ["* STATUS Old (DELETED 2 DELETED-STORAGE 3)"]);
}

#[tokio::test]
async fn a_mailbox_is_created_with_a_special_use_that_none_has() {
    let world = World::new().await;
    let mut client = world.user().await;
    let taken = client.ask("CREATE Everything (USE (\\Archive))").await;
    assert!(taken[0].contains(" NO [USEATTR] another mailbox has the special use \\Archive"), "{taken:?}");
    client.ok("DELETE Archive").await;
    client.ok("CREATE Everything (USE (\\Archive))").await;
    assert_eq!(
        client.ok("LIST (SPECIAL-USE) \"\" E* RETURN (SPECIAL-USE)").await,
        ["* LIST (\\HasNoChildren \\Archive) \"/\" Everything"]
    );
    for uses in ["\\Flagged", "\\Inbox", "\\Junk \\Trash"] {
        let refused = client.ask(&format!("CREATE x (USE ({uses}))")).await;
        assert!(refused[0].contains(" NO [USEATTR] "), "{refused:?}");
    }
    assert!(client.ok("LIST \"\" x").await.is_empty());
}

#[tokio::test]
async fn quotas_are_shown_and_not_set() {
    let world = World::with(|config| (config.limits.inbox_size, config.limits.messages) = (1024 * 1024, 50)).await;
    world.arrives(&format!("Subject: x\r\n\r\n{}\r\n", "y".repeat(3000))).await;
    let mut client = world.user().await;
    let quota = "* QUOTA \"\" (STORAGE 4 1024 MESSAGE 1 50)";
    assert_eq!(client.ok("GETQUOTA \"\"").await, [quota]);
    assert_eq!(client.ok("GETQUOTAROOT Trash").await, ["* QUOTAROOT Trash \"\"", quota]);
    for (command, answer) in [
        ("GETQUOTA x", "NO [NONEXISTENT]"),
        ("GETQUOTAROOT x", "NO [NONEXISTENT]"),
        ("SETQUOTA \"\" (STORAGE 9)", "NO [NOPERM]"),
    ] {
        let reply = client.ask(command).await;
        assert!(reply[0].contains(answer), "{reply:?}");
    }
}

#[tokio::test]
async fn metadata_is_set_read_and_listed() {
    let world = World::with(|config| config.limits.metadata_value_size = 100).await;
    let mut client = world.user().await;
    client.ok("SETMETADATA INBOX (/private/comment \"my own\" /shared/vendor/x/color {4}\r\n#f00)").await;
    client.ok("SETMETADATA \"\" (/shared/admin ~{3}\r\na\0b)").await;
    assert_eq!(
        client.ok("GETMETADATA INBOX (/private/comment /Shared/vendor/x/color /private/none)").await,
        ["* METADATA \"INBOX\" (/private/comment \"my own\" /shared/vendor/x/color \"#f00\")"]
    );
    assert_eq!(client.ok("GETMETADATA \"\" /shared/admin").await, ["* METADATA \"\" (/shared/admin ~{3}\r\na\0b)"]);
    assert!(client.ok("GETMETADATA INBOX /shared").await.is_empty());
    assert_eq!(
        client.ok("GETMETADATA (DEPTH infinity) INBOX /shared").await,
        ["* METADATA \"INBOX\" (/shared/vendor/x/color \"#f00\")"]
    );
    let long = client.ask("GETMETADATA (MAXSIZE 5) INBOX (/private/comment /shared/vendor/x/color)").await;
    assert_eq!(long[0], "* METADATA \"INBOX\" (/shared/vendor/x/color \"#f00\")");
    assert!(long[1].contains(" OK [METADATA LONGENTRIES 6] "), "{long:?}");
    assert_eq!(
        client.ok("LIST \"\" (INBOX Trash) RETURN (METADATA (/private/comment))").await,
        [
            "* LIST (\\HasNoChildren) \"/\" INBOX",
            "* METADATA \"INBOX\" (/private/comment \"my own\")",
            "* LIST (\\HasNoChildren \\Trash) \"/\" Trash",
            "* METADATA \"Trash\" (/private/comment NIL)",
        ]
    );
    client.ok("SETMETADATA INBOX (/private/comment NIL)").await;
    assert!(client.ok("GETMETADATA INBOX /private/comment").await.is_empty());
    let large = format!("SETMETADATA INBOX (/private/comment \"{}\")", "x".repeat(101));
    for (command, answer) in [
        (large.as_str(), "NO [METADATA MAXSIZE 100]"),
        ("SETMETADATA x (/private/comment \"\")", "NO [NONEXISTENT]"),
        ("SETMETADATA INBOX (/private \"x\")", "BAD"),
        ("SETMETADATA INBOX (/other/x \"x\")", "BAD"),
        ("GETMETADATA INBOX /private/*", "BAD"),
    ] {
        let reply = client.ask(command).await;
        assert!(reply[0].contains(&format!(" {answer} ")), "{reply:?}");
    }
}

#[tokio::test]
async fn metadata_is_counted_against_the_budget_of_memory() {
    let world = World::with(|config| config.limits.memory_per_account = 1024 * 1024).await;
    let mut client = world.user().await;
    for first in 0..12 {
        let entry = |number: u32| format!("/private/{first}/{number} \"{}\"", "x".repeat(16_000));
        let entries: Vec<String> = (0..10).map(entry).collect();
        client.ok(&format!("SETMETADATA \"\" ({})", entries.join(" "))).await;
    }
    for command in
        ["GETMETADATA (DEPTH infinity) \"\" /private", "GETMETADATA (DEPTH infinity MAXSIZE 20000) \"\" /private"]
    {
        let reply = client.ask(command).await;
        assert!(reply[0].contains(" NO [UNAVAILABLE] out of memory"), "{command}");
    }
    // Long values are in several responses.
    let some = client.ok("GETMETADATA (DEPTH infinity) \"\" (/private/1 /private/2)").await;
    assert_eq!(some.len(), 2);
    assert!(some.iter().all(|line| line.starts_with("* METADATA \"\" (/private/")));
}
