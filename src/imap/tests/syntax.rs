//! Commands on the wire: what is wrong with one is named, and whatever its literals, the next one is understood.

use super::*;

#[tokio::test]
async fn replies_name_what_is_wrong() {
    let world = World::new().await;
    let mut client = world.not_authenticated().await;
    for (command, expected) in [
        ("SELECT INBOX", "BAD not authenticated, log in first"),
        ("APPEND INBOX {3+}\r\nabc", "BAD not authenticated, log in first"),
        ("LOGIN a", "BAD syntax error in LOGIN"),
    ] {
        assert!(client.ask(command).await[0].ends_with(expected), "{command}");
    }
    let mut client = world.user().await;
    for (command, expected) in [
        ("LOGIN a b", "BAD already authenticated"),
        ("FOO", "BAD unknown command \"FOO\""),
        ("FETCH 1 FLAGS", "BAD no mailbox selected"),
        ("FETCH 1", "BAD expected a space after 1"),
        ("NOOP x", "BAD expected the end of the command after NOOP"),
    ] {
        assert_eq!(client.ask(command).await[0].split_once(' ').unwrap().1, expected, "{command}");
    }
    client.ok("SELECT INBOX").await;
    for (command, expected) in [
        ("SEARCH FOO", "BAD unknown search key \"FOO\""),
        ("FETCH 1 (FLAGS FOO)", "BAD unknown FETCH item \"FOO\""),
        ("STATUS INBOX (FOO)", "BAD unknown STATUS item \"FOO\""),
        ("SELECT INBOX (FOO)", "BAD unknown parameter of SELECT \"FOO\""),
        ("SEARCH FROM \"ä\"", "BAD a quoted string has to be ASCII until UTF8=ACCEPT is enabled, use a literal"),
        ("STORE 1 FLAGS", "BAD expected a space after FLAGS"),
    ] {
        assert_eq!(client.ask(command).await[0].split_once(' ').unwrap().1, expected, "{command}");
    }
}

#[tokio::test]
async fn what_is_not_offered_is_refused_and_the_next_command_is_understood() {
    let world = World::new().await;
    let mut client = world.user().await;
    let answer = client.ask("COMPRESS LZW").await;
    assert!(answer.len() == 1 && answer[0].ends_with(" BAD not supported"), "{answer:?}");
    client.ok("NOOP").await;
}

#[tokio::test]
async fn each_literal_that_waits_is_asked_for() {
    let world = World::new().await;
    let mut client = world.user().await;
    client.send("a APPEND {5}\r\n").await;
    assert_eq!(client.line().await, "+ ready for literal");
    client.send("INBOX (\\Seen) {14}\r\n").await;
    assert_eq!(client.line().await, "+ ready for literal");
    client.send("Subject: x\r\n\r\n\r\n").await;
    assert!(client.line().await.starts_with("a OK [APPENDUID"));
    // What is in a message or a string announces no literal, and is no command.
    client.ok("APPEND INBOX {12+}\r\nx: {3}\r\n\r\n{5").await;
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("SEARCH SUBJECT {3+}\r\n{9} UNSEEN").await, ["* SEARCH"]);
    client.send("b SEARCH HEADER {1}\r\n").await;
    assert_eq!(client.line().await, "+ ready for literal");
    client.send("x {3}\r\n").await;
    assert_eq!(client.line().await, "+ ready for literal");
    client.send("{3}\r\n").await;
    assert_eq!(client.answer("b").await[0], "* SEARCH 2");
}

#[tokio::test]
async fn the_messages_of_one_command_are_bounded() {
    let world = World::with(|config| config.limits.message_size = 1000).await;
    let mut client = world.user().await;
    let many = " {1+}\r\na".repeat(101);
    assert!(client.ask(&format!("APPEND INBOX{many}")).await[0].contains("NO [LIMIT]"));
    // The second is too long: the first is not stored either, and a third is not asked for.
    let long = format!("APPEND INBOX {{1+}}\r\na {{1001+}}\r\n{} {{1}}", "x".repeat(1001));
    assert!(client.ask(&long).await[0].contains("NO [TOOBIG]"));
    assert!(client.ok("SELECT INBOX").await.contains(&"* 0 EXISTS".to_owned()));
}

#[tokio::test]
async fn searches_as_clients_nest_them_are_run() {
    let world = World::new().await;
    world.arrives("From: z@example.com\r\nSubject: x\r\n\r\n").await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    let chain: String = (0..200).map(|n| format!("OR FROM a{n}@example.com ")).collect();
    assert_eq!(client.ok(&format!("UID SEARCH {chain}FROM z@example.com")).await, ["* SEARCH 1"]);
    let nested = (0..200).fold("FROM z@example.com".to_owned(), |keys, n| format!("OR (FROM a{n}) ({keys})"));
    assert_eq!(client.ok(&format!("SEARCH {nested}")).await, ["* SEARCH 1"]);
    let deep = format!("{}SEEN{}", "NOT (ALL OR ALL (ALL ".repeat(200), "))".repeat(200));
    let answer = client.ask(&format!("SEARCH {deep}")).await;
    assert!(answer[0].ends_with("BAD search keys are nested too deep, the limit is 200 levels"), "{answer:?}");
    let allowed = format!("{}SEEN{}", "NOT (ALL OR DELETED (ALL ".repeat(48), "))".repeat(48));
    client.ok(&format!("SEARCH {allowed}")).await;
}
