//! SMTP: log-ins, addresses, sizes, line ends, line lengths, STARTTLS, stalls.

use super::{READER, Scene, plain};
use crate::clients::swaks;
use crate::rude::Rude;
use crate::serve::{Relay, Serve, rows};
use serde_json::json;

#[test]
fn log_ins_are_checked_and_only_under_tls() {
    let scene = Scene::open();
    let mut client = Rude::secure(scene.daemon.submissions, &scene.daemon.ca());
    client.reply("220 ");
    client.say("EHLO client.example", "250");
    client.say("MAIL FROM:<reader@inboxlayer.dev>", "530 5.7.0");
    client.say(&format!("AUTH PLAIN {}", plain(READER, "ilt_wrong")), "535 5.7.8");
    scene.logged(&["a log-in was refused", "log-in"]);
    scene.logged(&["refused", "submission", "535 5.7.8"]);

    let mut clear = Rude::connect(scene.daemon.submission);
    clear.reply("220 ");
    clear.say("EHLO client.example", "250");
    clear.say(&format!("AUTH PLAIN {}", plain(READER, &scene.token)), "538 5.7.11");
    scene.logged(&["refused", "538 5.7.11"]);

    // The same with a foreign client.
    let (host, port) = (scene.daemon.submission.ip().to_string(), scene.daemon.submission.port().to_string());
    let attempt = |extra: &[&str]| {
        let base = ["--server", &*host, "--port", &*port, "--to", "x@outside.example", "--from", READER];
        swaks(&base.iter().copied().chain(extra.iter().copied()).collect::<Vec<_>>())
    };
    let in_the_clear = attempt(&["--auth", "PLAIN", "--auth-user", READER, "--auth-password", &scene.token]);
    assert!(in_the_clear.code != 0 && !in_the_clear.stdout.contains("235 "), "{in_the_clear:?}");
    let wrong = attempt(&["--tls", "--auth", "LOGIN", "--auth-user", READER, "--auth-password", "ilt_wrong"]);
    assert!(wrong.code != 0 && wrong.stdout.contains("535 5.7.8"), "{wrong:?}");
    let anonymous = attempt(&["--tls"]);
    assert!(anonymous.code != 0 && anonymous.stdout.contains("530 5.7.0"), "{anonymous:?}");
    scene.ends_with(0);
}

#[test]
fn the_mx_is_no_relay_and_knows_its_users() {
    let scene = Scene::open();
    let claim = json!({"domain": "acme-mail.com", "account_id": scene.account});
    scene.daemon.api().post("/api/v1/custom_domains", claim).expect(201);
    let mut client = scene.mx();
    client.say("MAIL FROM:<a@outside.example>", "250");
    for (rcpt, reply) in [
        ("x@elsewhere.example", "554 5.7.1"),
        ("nobody@inboxlayer.dev", "550 5.1.1"),
        ("x@acme-mail.com", "451 4.7.1"),
        ("x@[192.0.2.1]", "5"),
        ("@a,@b:x@elsewhere.example", "5"),
        ("x%elsewhere.example@inboxlayer.dev", "550 5.1.1"),
    ] {
        client.say(&format!("RCPT TO:<{rcpt}>"), reply);
        scene.logged(&["refused", "mx", reply]);
    }
    client.say("DATA", "503 5.5.1");
    client.say("RCPT TO:<postmaster@inboxlayer.dev>", "250");
    client.say("RCPT TO:<Postmaster>", "250");
    scene.ends_with(0);
}

#[test]
fn malformed_addresses_and_commands_are_syntax_errors() {
    let scene = Scene::open();
    for sender in ["<a@>", "<@outside.example>", "<a b@outside.example>", "<a@-x.example>", "<a@[192.0.2.300]>", "a@b>"]
    {
        let mut client = scene.mx();
        client.say(&format!("MAIL FROM:{sender}"), "501");
        scene.logged(&["refused", "mx", "501"]);
    }
    let long = format!("<{}@inboxlayer.dev>", "x".repeat(240));
    for rcpt in ["<not an address>", "<a@b@inboxlayer.dev>", "<>", "<reader@>", "<\"a@inboxlayer.dev>", &long] {
        let mut client = scene.mx();
        client.say("MAIL FROM:<a@outside.example>", "250");
        client.say(&format!("RCPT TO:{rcpt}"), "501");
        scene.logged(&["refused", "mx", "501"]);
    }
    // The envelope cannot inject a header field or a command.
    let mut client = scene.mx();
    client.send("EHLO evil\rX-Evil: 1\r\n");
    client.reply("50");
    client.send("MAIL FROM:<a@outside.example\nRCPT TO:<reader@inboxlayer.dev>>\r\n");
    client.reply("500 5.5.2");
    client.reply("50");
    client.say("MAIL FROM:<a@outside.example>", "250");
    client.send("RCPT TO:<reader@inboxlayer.dev>\rX-Evil: 1\r\n");
    client.reply("50");
    client.say("GET / HTTP/1.1", "421 4.7.0");
    scene.ends_with(0);
}

#[test]
fn an_oversize_message_is_refused_before_and_after_it_is_sent() {
    let scene = Scene::open();
    let mut client = scene.mx();
    client.say("MAIL FROM:<a@outside.example> SIZE=20001", "552 5.3.4");
    client.say("MAIL FROM:<a@outside.example> SIZE=99999999999999999999999", "5");
    client.envelope(READER);
    client.send(format!("Subject: big\r\n\r\n{}.\r\n", "0123456789\r\n".repeat(2000)));
    client.reply("552 5.3.4");
    scene.logged(&["message refused", "mx", "TooBig"]);
    client.say("NOOP", "250");
    // A message of one very long line is accepted unchanged.
    client.envelope(READER);
    client.send(format!("Subject: long\r\n\r\n{}\r\n.\r\n", "x".repeat(19_000)));
    client.reply("250 2.0.0");
    let mut sender = scene.sender();
    sender.say("MAIL FROM:<reader@inboxlayer.dev> SIZE=20001", "552 5.3.4");
    scene.logged(&["refused", "submission", "552 5.3.4"]);
    scene.ends_with(1);
}

/// Sequences that some server has taken for the end of data.
const ENDINGS: [&str; 12] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r\n.\r",
    "\r.\r\n",
    "\r\n.\r\r\n",
    "\r\r\n.\r\r\n",
    "\r\n\n.\r\n",
    "\n\r\n.\r",
    "\r\n.\n\r\n",
    "\r.\n",
];

#[test]
fn the_known_smuggling_endings_end_nothing() {
    let scene = Scene::open();
    let mut repaired = 0;
    for ending in ENDINGS {
        for (server, mut client, to) in
            [("mx", scene.mx(), READER), ("submission", scene.sender(), "friend@elsewhere.example")]
        {
            client.envelope(to);
            let smuggled =
                format!("MAIL FROM:<evil@outside.example>\r\nRCPT TO:<{to}>\r\nDATA\r\nSubject: smuggled\r\n\r\nx");
            client.send(format!("Subject: outer\r\n\r\nhello{ending}{smuggled}\r\n.\r\n"));
            // At submission a bare LF is repaired: one message, with all of it in its body.
            let has_bare_cr = ending.replace("\r\n", "").contains('\r');
            let is_repaired = server == "submission" && !has_bare_cr;
            repaired += u32::from(is_repaired);
            let reply = client.reply(if is_repaired { "250 2.0.0" } else { "550 5.5.2" });
            // One reply for one message: the session continues.
            client.say("NOOP", "250");
            client.say("QUIT", "221");
            assert_eq!(client.line(), None, "{server} {ending:?}: {reply}");
        }
    }
    scene.logged(&["message refused", "mx", "BareLineEnd"]);
    scene.logged(&["message refused", "submission", "BareLineEnd"]);
    scene.daemon.api().poll("/api/v1/queue", |queue| rows(&queue.body).is_empty());
    assert_eq!(scene.relay.subjects(), [("outer".to_owned(), repaired)].into());
    scene.ends_with(0);
}

#[test]
fn bare_line_ends_in_messages_and_commands_are_refused() {
    let scene = Scene::open();
    for body in ["a\nb", "a\rb", "a\r\r\nb", "a\n\r\nb", "\n", "\r"] {
        let mut client = scene.mx();
        client.envelope(READER);
        client.send(format!("Subject: bare\r\n\r\n{body}\r\n.\r\n"));
        client.reply("550 5.5.2");
        client.send("NOOP\n");
        client.reply("500 5.5.2");
        client.say("NOOP", "250");
    }
    scene.logged(&["refused", "mx", "550 5.5.2"]);
    scene.logged(&["refused", "mx", "500 5.5.2"]);
    scene.ends_with(0);
}

#[test]
fn nul_is_refused_at_every_listener() {
    let scene = Scene::open();
    for (mut client, to) in [(scene.mx(), READER), (scene.sender(), "friend@elsewhere.example")] {
        for message in ["Subject: nul\r\n\r\na\0b\r\n.\r\n", "Subject: n\0l\r\n\r\n.\r\n", "\0.\r\n.\r\n"] {
            client.envelope(to);
            client.send(message);
            client.reply("550 5.6.0");
        }
        client.say("NOOP", "250");
    }
    scene.logged(&["refused", "mx", "550 5.6.0"]);
    scene.logged(&["refused", "submission", "550 5.6.0"]);
    let api = crate::rest::Rest::new(&format!("http://{}", scene.daemon.http), &scene.token);
    for draft in [
        json!({"to": "x@elsewhere.example", "text_body": "a\0b"}),
        json!({"to": "x@elsewhere.example", "html_body": "\0"}),
        json!({"to": "x@elsewhere.example", "subject": "\0", "text_body": ""}),
        json!({"raw": "To: x@elsewhere.example\r\n\r\na\0b"}),
    ] {
        api.post(&format!("/api/v1/emails/send?inbox_id={}", scene.inbox), draft).expect(422);
    }
    assert!(scene.relay.subjects().is_empty());
    scene.ends_with(0);
}

#[test]
fn a_tls_client_that_names_an_address_as_the_server_is_logged_for_debug_alone() {
    for (filter, is_logged) in [("info", false), ("debug", true)] {
        let relay = Relay::start();
        let queue = format!("[queue.relay]\nhost = \"127.0.0.1\"\nport = {}", relay.address.port());
        let daemon = Serve::start_in(&[("RUST_LOG", filter)], "resolvers = [\"127.0.0.1:9\"]", &queue, "");
        let (account, inbox, token) = daemon.account("reader");
        let scene = Scene { daemon, relay, account, inbox, token };
        for address in [scene.daemon.imaps, scene.daemon.submissions] {
            let mut client = std::process::Command::new("openssl");
            client.args(["s_client", "-connect", &address.to_string(), "-servername", "192.0.2.1"]);
            // It sends the ClientHello and disconnects.
            let answer = crate::clients::run(client, b"");
            assert!(answer.stderr.contains("depth=0") || answer.stderr.contains("verify"), "{answer:?}");
        }
        scene.user().ask("NOOP", "OK");
        let log = scene.daemon.log();
        let lines = log.lines().filter(|line| line.contains("rustls") && line.contains("SNI")).count();
        assert_eq!(lines, if is_logged { 2 } else { 0 }, "{filter}: {log}");
        scene.ends_with(0);
    }
}

#[test]
fn what_stands_behind_starttls_in_plaintext_is_dropped() {
    let scene = Scene::open();
    for (server, address) in [("submission", scene.daemon.submission), ("mx", scene.daemon.mx)] {
        let mut client = Rude::connect(address);
        client.reply("220 ");
        client.say("EHLO outside.example", "250");
        client.send("STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@outside.example>\r\n");
        client.reply("220 ");
        client.start_tls(&scene.daemon.ca());
        // The commands before TLS are discarded, without replies.
        client.say(&format!("RCPT TO:<{READER}>"), "503 5.5.1");
        client.say("EHLO outside.example", "250");
        client.say("STARTTLS", "503 5.5.1");
        scene.logged(&["plaintext behind STARTTLS was dropped", server]);
    }
    // No TLS follows STARTTLS.
    let mut client = Rude::connect(scene.daemon.mx);
    client.reply("220 ");
    client.say("STARTTLS", "220 ");
    client.send("MAIL FROM:<evil@outside.example>\r\n");
    let answer = client.rest();
    assert!(!answer.contains("250"), "{answer:?}");
    scene.logged(&["TLS handshake failed", "mx"]);
    scene.ends_with(0);
}

#[test]
fn over_long_lines_are_refused_whole() {
    let scene = Scene::open();
    let mut client = scene.mx();
    // The command at the end of the oversized line is not executed.
    client.say(&format!("NOOP {}\rMAIL FROM:<a@outside.example>", "x".repeat(5000)), "500 5.5.2");
    client.say(&"x".repeat(1_000_000), "500 5.5.2");
    client.say(&format!("RCPT TO:<{READER}>"), "503 5.5.1");
    scene.logged(&["refused", "mx", "line too long"]);
    let mut sender = Rude::secure(scene.daemon.submissions, &scene.daemon.ca());
    sender.reply("220 ");
    sender.say("EHLO client.example", "250");
    sender.say(&format!("AUTH PLAIN {}", "A".repeat(20_000)), "500 5.5.2");
    sender.say("AUTH LOGIN", "334");
    sender.say(&"A".repeat(20_000), "500 5.5.2");
    sender.say("NOOP", "250");
    scene.ends_with(0);
}

#[test]
fn a_client_that_stalls_is_sent_away_and_leaves_nothing() {
    let scene = Scene::with("smtp_timeout = \"2s\"");
    let mut mute = Rude::connect(scene.daemon.mx);
    mute.reply("220 ");
    mute.reply("421 4.4.2");
    assert_eq!(mute.line(), None);
    let mut half = scene.mx();
    half.envelope(READER);
    half.send("Subject: half\r\n\r\nand then noth");
    half.reply("421 4.4.2");
    assert_eq!(half.line(), None);
    let mut sender = Rude::secure(scene.daemon.submissions, &scene.daemon.ca());
    sender.reply("220 ");
    sender.reply("421 4.4.2");
    scene.logged(&["refused", "mx", "421 4.4.2"]);
    scene.logged(&["refused", "submission", "421 4.4.2"]);
    // Silent: no handshake.
    let mut silent = Rude::connect(scene.daemon.submissions);
    assert_eq!(silent.line(), None);
    scene.logged(&["TLS handshake timed out"]);
    // A disconnect in the middle stores nothing either.
    let mut cut = scene.mx();
    cut.envelope(READER);
    cut.send("Subject: cut\r\n\r\nand then");
    cut.hang_up();
    scene.ends_with(0);
}
