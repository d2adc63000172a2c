//! Revoking a session's credentials ends it at once, in any state.

use crate::daemon::Daemon;
use crate::rude::Rude;
use serde_json::json;
use std::path::Path;

/// A client at one of the sandbox's servers with TLS from the first octet.
fn secure(daemon: &Daemon, server: &str) -> Rude {
    Rude::secure(daemon.ready(server).parse().unwrap(), Path::new(daemon.ready("ca")))
}

/// An SMTP session that has logged in.
fn sender(daemon: &Daemon, user: &str, token: &str) -> Rude {
    use base64::Engine;
    let mut client = secure(daemon, "submissions");
    client.reply("220 ");
    client.say("EHLO client.test", "250");
    let plain = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{token}"));
    client.say(&format!("AUTH PLAIN {plain}"), "235 ");
    client
}

/// An IMAP session that has logged in.
fn reader(daemon: &Daemon, user: &str, token: &str) -> Rude {
    let mut client = secure(daemon, "imaps");
    client.line().unwrap();
    client.ask(&format!("LOGIN {user} {token}"), "OK");
    client
}

/// An IMAP session in IDLE.
fn idler(daemon: &Daemon, user: &str, token: &str) -> Rude {
    let mut client = reader(daemon, user, token);
    client.ask("SELECT INBOX", "OK");
    client.send("x IDLE\r\n");
    assert!(client.line().unwrap().starts_with("+ "));
    client
}

/// Every kind of session under an address: one between commands and one within a message; one between commands and one in
/// IDLE.
fn sessions(daemon: &Daemon, user: &str, token: &str) -> [Rude; 4] {
    let mut sending = sender(daemon, user, token);
    sending.envelope("friend@outside.test");
    sending.send("Subject: half\r\n\r\nhalf a mess");
    [sender(daemon, user, token), sending, reader(daemon, user, token), idler(daemon, user, token)]
}

/// Checks that each gets its protocol's closing message and is closed.
#[track_caller]
fn all_end([resting, sending, reading, idling]: [Rude; 4], bye: &str) {
    for mut client in [resting, sending] {
        client.reply("421 4.7.0");
        assert_eq!(client.line(), None);
    }
    for mut client in [reading, idling] {
        assert_eq!(client.line().unwrap(), format!("* BYE {bye}"));
        assert_eq!(client.line(), None);
    }
}

/// A log-in is refused like that of an unknown user.
#[track_caller]
fn unknown(daemon: &Daemon, user: &str, token: &str) {
    let mut client = secure(daemon, "imaps");
    client.line().unwrap();
    client.ask(&format!("LOGIN {user} {token}"), "NO [AUTHENTICATIONFAILED]");
}

#[test]
fn sessions_end_at_once_with_what_they_logged_in_with() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let (platform, token) = (daemon.ready("inbox").to_owned(), daemon.ready("token").to_owned());
    let name = platform.split('@').next().unwrap();
    let custom = format!("{name}@acme.test");
    let domain = api.post("/api/v1/custom_domains", json!({"domain": "acme.test"})).expect(201).at("/id").to_owned();
    let other = api.post("/api/v1/custom_domains", json!({"domain": "other.test"})).expect(201).at("/id").to_owned();
    let second = api.post("/api/v1/tokens", json!({"name": "second"})).expect(201);
    let (second_id, second) = (second.at("/id").to_owned(), second.at("/token").to_owned());

    // Deleting the domain ends its sessions, and none at the platform's address.
    let under_it = sessions(&daemon, &custom, &token);
    let mut stays = [sender(&daemon, &platform, &token), sender(&daemon, &platform, &second)];
    let mut idles = idler(&daemon, &platform, &token);
    api.delete(&format!("/api/v1/custom_domains/{other}")).expect(204);
    api.delete(&format!("/api/v1/custom_domains/{domain}")).expect(204);
    all_end(under_it, "this domain has been deleted");
    unknown(&daemon, &custom, &token);
    for client in &mut stays {
        client.say("NOOP", "250");
    }

    // Revoking a token ends its sessions, and none of another token.
    let with_it = sessions(&daemon, &platform, &second);
    api.delete(&format!("/api/v1/tokens/{second_id}")).expect(204);
    all_end(with_it, "this API token has been revoked");
    unknown(&daemon, &platform, &second);
    daemon.api_as(&second).get("/api/v1/inboxes").expect(401);
    let [stays, mut gone] = stays;
    gone.reply("421 4.7.0");
    let mut stays = stays;
    stays.say("NOOP", "250");
    idles.send("DONE\r\n");
    idles.answer("x", "OK");

    // Deleting an inbox deletes its mail and ends its sessions.
    let inbox = daemon.ready("inbox_id");
    let in_it = sessions(&daemon, &platform, &token);
    api.delete(&format!("/api/v1/inboxes/{inbox}")).expect(204);
    all_end(in_it, "this inbox has been deleted");
    unknown(&daemon, &platform, &token);
    // No incomplete message was sent or queued.
    assert_eq!(crate::serve::rows(&api.get("/api/v1/queue").expect(200).body).len(), 0);
    assert!(crate::outside::Outside::of(&daemon).list().is_empty());
}
