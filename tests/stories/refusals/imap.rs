//! IMAP: log-ins, STARTTLS, line lengths, literals, stalls.

use super::{READER, Scene};
use crate::clients::python;
use crate::rude::Rude;

#[test]
fn log_ins_are_checked_and_only_under_tls() {
    let scene = Scene::open();
    let mut client = Rude::connect(scene.daemon.imap);
    let greeting = client.line().unwrap();
    assert!(greeting.starts_with("* OK") && greeting.contains("LOGINDISABLED"), "{greeting}");
    client.ask(&format!("LOGIN {READER} {}", scene.token), "NO [PRIVACYREQUIRED]");
    client.ask("AUTHENTICATE PLAIN", "NO [PRIVACYREQUIRED]");
    client.ask("SELECT INBOX", "BAD");
    scene.logged(&["refused", "imap", "NO TLS required to log in"]);
    let (host, port) = (scene.daemon.imaps.ip().to_string(), scene.daemon.imaps.port().to_string());
    let ca = scene.daemon.ca().display().to_string();
    for (user, password) in [(READER, "ilt_wrong"), ("nobody@inboxlayer.dev", &*scene.token)] {
        let refused = python("read.py", &[&host, &port, "tls", &ca, user, password, "x"], b"").succeeded().json();
        assert!(refused["refused"].as_str().is_some_and(|t| t.contains("AUTHENTICATIONFAILED")), "{user:?}: {refused}");
    }
    scene.logged(&["a log-in was refused", "log-in"]);
    scene.logged(&["refused", "imap", "NO the user name or the API token is wrong"]);
    scene.ends_with(0);
}

#[test]
fn what_stands_behind_starttls_in_plaintext_is_dropped() {
    let scene = Scene::open();
    let mut client = Rude::connect(scene.daemon.imap);
    client.line().unwrap();
    client.send(format!("s STARTTLS\r\nevil LOGIN {READER} {}\r\n", scene.token));
    client.answer("s", "OK");
    client.start_tls(&scene.daemon.ca());
    let lines = client.ask("SELECT INBOX", "BAD");
    assert_eq!(lines.len(), 1, "{lines:?}");
    client.ask("STARTTLS", "BAD");
    scene.logged(&["plaintext behind STARTTLS was dropped", "imap"]);
    scene.ends_with(0);
}

#[test]
fn over_long_lines_are_refused_and_endless_ones_end_the_session() {
    let scene = Scene::open();
    let mut anonymous = scene.anonymous();
    anonymous.ask(&format!("LOGIN {} b", "a".repeat(80_000)), "BAD [TOOBIG]");
    anonymous.ask("NOOP", "OK");
    let mut user = scene.user();
    user.ask("SELECT INBOX", "OK");
    user.ask(&format!("SEARCH SUBJECT {}", "a".repeat(300_000)), "BAD [TOOBIG]");
    user.ask("NOOP", "OK");
    scene.logged(&["refused", "imap", "BAD command too long"]);
    let mut endless = scene.anonymous();
    endless.send(vec![b'a'; 2_000_000]);
    let reply = endless.rest();
    assert!(reply.is_empty() || reply.starts_with("* BYE"), "{reply}");
    scene.logged(&["a session was ended", "BYE command too long"]);
    scene.ends_with(0);
}

#[test]
fn literals_are_bounded_before_and_after_the_log_in() {
    let scene = Scene::open();
    for (literal, answer) in [
        ("{100000}", "BAD [TOOBIG]"),
        ("{99999999999}", "BYE"),
        ("{99999999999+}", "BYE"),
        ("{4294967295+}", "BYE"),
        ("{18446744073709551617}", "BYE"),
        ("{-1}", "BAD"),
        ("{}", "BYE"),
    ] {
        scene.anonymous().ask(&format!("LOGIN {READER} {literal}"), answer);
        if answer == "BYE" {
            scene.user().ask(&format!("APPEND {literal}"), "BYE");
        }
    }
    // The octets of an oversized literal are not read as commands.
    let mut anonymous = scene.anonymous();
    anonymous.send(format!("x LOGIN {{80000+}}\r\n{} y\r\n", "n NOOP\r\n".repeat(10_000)));
    assert_eq!(anonymous.answer("x", "BAD [TOOBIG]").len(), 1);
    anonymous.ask("NOOP", "OK");

    let mut user = scene.user();
    user.ask("APPEND INBOX {20001}", "NO [TOOBIG]");
    user.ask(&format!("APPEND INBOX {{20001+}}\r\n{}", "x".repeat(20_001)), "NO [TOOBIG]");
    user.ask("APPEND INBOX {3+}\r\na\0b", "NO");
    user.ask("APPEND Nowhere {3+}\r\nabc", "NO [TRYCREATE]");
    user.ask("NOOP", "OK");
    scene.logged(&["refused", "imap", "NO message size exceeds limit"]);
    let mut user = scene.user();
    user.ask("APPEND INBOX {99999999999+}", "BYE");
    scene.logged(&["a session was ended", "BYE literal too long"]);
    scene.ends_with(0);
}

#[test]
fn odd_octets_and_commands_without_sense_are_answered_bad() {
    let scene = Scene::open();
    let mut user = scene.user();
    for odd in [&b"x NO\0OP\r\n"[..], b"x NOOP \xff\r\n", b"x NOOP\n", b"x\r\n", b"* NOOP\r\n", b"x FETCH\r\n", b"\r\n"]
    {
        user.send(odd);
        let line = user.line().unwrap();
        assert!(line.contains(" BAD "), "{odd:?}: {line}");
    }
    user.ask("NOOP", "OK");
    scene.logged(&["refused", "imap", "BAD unknown command"]);
    // A mailbox name cannot inject a response line.
    user.ask("CREATE \"a\rb\"", "BAD");
    user.send("x NONSENSE\r\n".repeat(60));
    assert!(user.rest().contains("* BYE too many errors, closing connection"));
    scene.logged(&["a session was ended", "BYE too many errors, closing connection"]);
    scene.ends_with(0);
}

#[test]
fn a_client_that_stalls_is_sent_away_and_leaves_nothing() {
    let scene = Scene::with("imap_timeout = \"2s\"");
    let mut anonymous = scene.anonymous();
    assert_eq!(anonymous.line().unwrap(), "* BYE log-in timeout, closing connection");
    let mut user = scene.user();
    assert_eq!(user.line().unwrap(), "* BYE idle timeout, closing connection");
    let mut half = scene.user();
    half.send("x APPEND INBOX {1000}\r\n");
    assert!(half.line().unwrap().starts_with("+ "));
    half.send("Subject: half\r\n\r\nand then noth");
    assert_eq!(half.line().unwrap(), "* BYE idle timeout, closing connection");
    let mut idle = scene.user();
    idle.send("x IDLE\r\n");
    assert!(idle.line().unwrap().starts_with("+ "));
    assert_eq!(idle.line().unwrap(), "* BYE idle timeout, closing connection");
    scene.logged(&["a session was ended", "BYE log-in timeout, closing connection"]);
    scene.logged(&["a session was ended", "BYE idle timeout, closing connection"]);
    let mut cut = scene.user();
    cut.send("x APPEND INBOX {1000+}\r\nSubject: cut\r\n\r\nand then");
    cut.hang_up();
    scene.ends_with(0);
}
