//! What no client should send.

use super::*;
use proptest::prelude::*;

#[tokio::test]
async fn nobody_logs_in_before_tls_and_input_before_starttls_is_dropped() {
    let world = World::new().await;
    let mut client = world.in_the_clear().await;
    let capability = client.ok("CAPABILITY").await.join(" ");
    assert!(capability.contains("STARTTLS") && capability.contains("LOGINDISABLED") && !capability.contains("AUTH="));
    let login = format!("LOGIN anna@inboxlayer.dev {}", world.token.reveal());
    assert!(client.ask(&login).await[0].contains("NO [PRIVACYREQUIRED]"));
    assert!(client.ask("AUTHENTICATE PLAIN AGEAYg==").await[0].contains("NO [PRIVACYREQUIRED]"));
    assert!(client.ask("SELECT INBOX").await[0].contains("BAD"));

    // A command sent in the clear behind STARTTLS must not run once TLS is on.
    client.send(format!("s STARTTLS\r\nx {login}\r\n")).await;
    assert!(client.line().await.starts_with("s OK "));
    let mut client = Client::over(world.encrypt(client.stream.into_inner()).await);
    assert!(client.ask("SELECT INBOX").await[0].starts_with("t1 BAD"));
    assert!(client.ask("STARTTLS").await[0].contains("BAD"));
    client.ok(&login).await;
}

#[tokio::test]
async fn before_log_in_little_is_kept() {
    let world = World::new().await;
    let mut client = world.not_authenticated().await;
    assert!(client.ask("LOGIN anna {100000}").await[0].contains("BAD [TOOBIG]"));
    assert!(client.ask("LOGIN anna {99999999999}").await[0].starts_with("* BYE"));

    let mut client = world.not_authenticated().await;
    assert!(client.ask("LOGIN anna {4294967295+}").await[0].starts_with("* BYE"));

    let mut client = world.not_authenticated().await;
    assert!(client.ask(&format!("LOGIN {} b", "a".repeat(80_000))).await[0].contains("BAD [TOOBIG]"));
    client.ok("NOOP").await;
    // The octets of a literal that is too long are no commands.
    client.send(format!("a LOGIN {{80000+}}\r\n{} x\r\n", "n NOOP\r\n".repeat(10_000))).await;
    assert!(client.line().await.contains("a BAD [TOOBIG]"));
    client.ok("NOOP").await;

    let mut client = world.not_authenticated().await;
    let _ = client.stream.write_all(&vec![b'a'; 1_200_000]).await;
    let _ = client.stream.flush().await;
    assert!(client.line().await.starts_with("* BYE"));
}

#[tokio::test]
async fn syntax_errors_are_bad() {
    let world = World::new().await;
    let mut client = world.user().await;
    for odd in [&b"x NO\0OP\r\n"[..], b"x NOOP \xff\r\n", b"x NOOP\n", b"\r\n", b"x\r\n", b"* NOOP\r\n", b"x FETCH\r\n"]
    {
        client.send(odd).await;
        let answer = client.line().await;
        assert!(answer.contains(" BAD "), "{odd:?}: {answer}");
    }
    for command in ["STARTTLS", "LOGIN a b", "FETCH 1 FLAGS", "ENABLE CONDSTORE", "GETQUOTA \"\"", "CREATE \"a\\\"\""] {
        let answer = client.ask(command).await;
        assert!(
            answer.last().unwrap().contains("BAD") || answer.last().unwrap().contains("OK"),
            "{command}: {answer:?}"
        );
    }
    client.ok("NOOP").await;
    for _ in 0..60 {
        client.send("x NONSENSE\r\n").await;
        let line = client.line().await;
        if line.starts_with("* BYE") {
            return;
        }
    }
    panic!("never sent away");
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_leaves_nothing() {
    let world = World::with(|config| config.limits.message_size = 1000).await;
    let mut client = world.user().await;
    assert!(client.ask("APPEND INBOX {1001}").await[0].contains("NO [TOOBIG]"));
    let answer = client.ask(&format!("APPEND INBOX {{1001+}}\r\n{}", "x".repeat(1001))).await;
    assert!(answer[0].contains("NO [TOOBIG]"), "{answer:?}");
    assert!(client.ask("APPEND INBOX {99999999+}").await[0].starts_with("* BYE"));
    let mut client = world.user().await;
    // A NUL, a bare CR, and a message that is too long once its bare LF is a CRLF.
    for message in ["a\0b", "a\rb", &"x\n".repeat(400)] {
        let answer = client.ask(&format!("APPEND INBOX {{{}+}}\r\n{message}", message.len())).await;
        assert!(answer[0].contains("NO ["), "{answer:?}");
    }
    assert!(client.ok("SELECT INBOX").await.contains(&"* 0 EXISTS".to_owned()));
    client.ok(&format!("APPEND INBOX {{1000+}}\r\n{}", "x".repeat(1000))).await;
}

#[tokio::test]
async fn failed_log_ins_are_counted() {
    let world = World::with(|config| config.limits.failed_logins = 3).await;
    let mut client = world.not_authenticated().await;
    for _ in 0..3 {
        assert!(client.ask("LOGIN anna@inboxlayer.dev wrong").await[0].contains("NO [AUTHENTICATIONFAILED]"));
    }
    assert!(client.ask("LOGIN anna@inboxlayer.dev wronger").await[0].contains("NO [UNAVAILABLE]"));
}

#[tokio::test]
async fn ten_failed_log_ins_end_the_connection() {
    let world = World::with(|config| config.limits.failed_logins = 5).await;
    let mut client = world.not_authenticated().await;
    for _ in 0..5 {
        assert!(client.ask("LOGIN anna@inboxlayer.dev wrong").await[0].contains("NO [AUTHENTICATIONFAILED]"));
    }
    for _ in 0..5 {
        assert!(client.ask("LOGIN anna@inboxlayer.dev wrong").await[0].contains("NO [UNAVAILABLE]"));
    }
    assert_eq!(client.line().await, "* BYE too many failed log-ins, closing connection");
    assert_eq!(client.line().await, "");
}

#[tokio::test]
async fn the_longest_id_is_accepted_before_and_after_log_in() {
    let world = World::new().await;
    let quoted: Vec<_> = (0..30).map(|n| format!("\"k{n}\" \"{}\"", "\\\"".repeat(1024))).collect();
    let literals: Vec<_> = (0..30).map(|n| format!("\"k{n}\" {{1024+}}\r\n{}", "v".repeat(1024))).collect();
    for pairs in [quoted, literals] {
        for mut client in [world.not_authenticated().await, world.user().await] {
            assert_eq!(client.ok(&format!("ID ({})", pairs.join(" "))).await, ["* ID (\"name\" \"Inboxlayer\")"]);
        }
    }
}

#[tokio::test]
async fn appended_messages_get_crlf() {
    let world = World::new().await;
    let mut client = world.user().await;
    client.ok("APPEND INBOX {13+}\r\nA: b\n\nc\r\nd\n\r\n").await;
    client.ok("SELECT INBOX").await;
    let read = client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])").await;
    assert_eq!(read, ["* 1 FETCH (RFC822.SIZE 16 BODY[] {16}\r\nA: b\r\n\r\nc\r\nd\r\n\r\n)"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn no_octets_stop_the_server(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let mut client = world.user().await;
            let _ = client.stream.write_all(&octets).await;
            let _ = client.stream.flush().await;
            drop(client);
            world.user().await.ok("NOOP").await;
        });
    }
}

#[tokio::test]
async fn the_work_of_one_command_is_bounded() {
    let world = World::new().await;
    let text = "abcdefgh\r\n".repeat(100_000);
    world.arrives(&format!("To: {}\r\nSubject: x\r\n\r\n{text}", "a@b,".repeat(100_000))).await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;

    // The same item many times, and a header of a hundred thousand addresses.
    let answer = client.ok(&format!("FETCH 1 ({})", "ENVELOPE ".repeat(5000).trim_end())).await.join("");
    assert_eq!(answer.matches("ENVELOPE").count(), 1);
    assert!(answer.len() < 100_000, "{}", answer.len());
    let pieces: Vec<_> = (0..300).map(|n| format!("BODY.PEEK[]<{n}.1>")).collect();
    let answer = client.ask(&format!("FETCH 1 ({})", pieces.join(" "))).await;
    assert!(answer.last().unwrap().contains("NO [LIMIT]"), "{answer:?}");

    let keys = |count: usize| (0..count).map(|n| format!(" NOT BODY zq{n}")).collect::<String>();
    assert_eq!(client.ok(&format!("SEARCH{}", keys(10))).await, ["* SEARCH 1"]);
    let answer = client.ask(&format!("SEARCH{}", keys(200))).await;
    assert!(answer.last().unwrap().contains("NO [LIMIT]"), "{answer:?}");
    // Sets cost their own length.
    assert_eq!(client.ok(&format!("SEARCH{}", " 1:*".repeat(20_000))).await, ["* SEARCH 1"]);
}

#[tokio::test]
async fn a_session_ends_when_its_token_runs_out() {
    let world = World::new().await;
    let token = Token::generate().unwrap();
    let clock = Clock::System;
    let expires_at = Some(clock.now().after(std::time::Duration::from_secs(2)));
    let scope = Scope::Account(world.account.clone());
    let new = NewToken { expires_at, ..NewToken::new("t", scope, token.hash()) };
    world.store.token_create(new, 10, clock.now()).await.unwrap();
    let mut client = world.not_authenticated().await;
    client.ok(&format!("LOGIN anna@inboxlayer.dev {}", token.secret().reveal())).await;
    assert!(client.line().await.starts_with("* BYE"));
}
