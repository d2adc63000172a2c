//! The limits of the configuration, each tried at the servers of the real daemon.

use super::{READER, Scene, plain};
use crate::rude::Rude;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;

/// A message with this number of octets of text.
fn message(octets: usize) -> String {
    format!("Subject: sized\r\n\r\n{}\r\n.\r\n", "x".repeat(octets))
}

#[test]
fn messages_and_recipients_of_an_account() {
    let scene = Scene::with("recipients = 3\nmessages_per_hour = 4\nrecipients_per_hour = 5");
    let mut sender = scene.sender();
    let envelope = |sender: &mut Rude, recipients: usize| {
        sender.say(&format!("MAIL FROM:<{READER}>"), "250");
        for n in 0..recipients {
            sender.say(&format!("RCPT TO:<r{n}@elsewhere.example>"), "250");
        }
    };
    envelope(&mut sender, 3);
    sender.say("RCPT TO:<one-more@elsewhere.example>", "452 4.5.3");
    sender.say("DATA", "354");
    sender.send(message(10));
    sender.reply("250 2.0.0");
    envelope(&mut sender, 3);
    sender.say("DATA", "354");
    sender.send(message(10));
    // 3 and 3 are more than 5 in an hour.
    sender.reply("452 4.7.1");
    scene.logged(&["refused", "submission", "452 4.7.1", "5 recipients"]);
    for _ in 0..2 {
        envelope(&mut sender, 1);
        sender.say("DATA", "354");
        sender.send(message(10));
        sender.reply("250 2.0.0");
    }
    // Other accounts are not affected; the API has the same limit.
    let (_, other, token) = scene.daemon.account("second");
    let api = |token: &str| crate::rest::Rest::new(&format!("http://{}", scene.daemon.http), token);
    let draft = json!({"to": "x@elsewhere.example", "subject": "by the API", "text_body": "t"});
    let sent = api(&scene.token).post(&format!("/api/v1/emails/send?inbox_id={}", scene.inbox), draft.clone());
    assert_eq!(sent.expect(429).at("/code"), "too_many_requests");
    let many =
        json!({"to": ["a@x.example", "b@x.example", "c@x.example", "d@x.example"], "subject": "s", "text_body": "t"});
    api(&token).post(&format!("/api/v1/emails/send?inbox_id={other}"), many).expect(422);
    for _ in 0..4 {
        api(&token).post(&format!("/api/v1/emails/send?inbox_id={other}"), draft.clone()).expect(201);
    }
    let fifth = api(&token).post(&format!("/api/v1/emails/send?inbox_id={other}"), draft).expect(429);
    assert!(fifth.at("/detail").contains("4 messages"), "{}", fifth.text);
    scene.daemon.api().poll("/api/v1/queue", |answer| crate::serve::rows(&answer.body).is_empty());
    assert_eq!(scene.relay.subjects().into_keys().collect::<Vec<_>>(), ["by the API", "sized"]);
    scene.ends_with(0);
}

#[test]
fn inboxes_and_domains_of_an_account() {
    let scene = Scene::with("inboxes = 2\ndomains = 1");
    let api = scene.daemon.api();
    let inbox = |name: &str| api.post("/api/v1/inboxes", json!({"name": name, "account_id": scene.account}));
    inbox("second").expect(201);
    assert_eq!(inbox("third").expect(403).at("/code"), "limit_reached");
    let claim =
        |domain: &str| api.post("/api/v1/custom_domains", json!({"domain": domain, "account_id": scene.account}));
    claim("acme-mail.com").expect(201);
    assert_eq!(claim("acme-post.com").expect(403).at("/code"), "limit_reached");
    scene.logged(&["refused", "http", "status=403", "limit_reached"]);
    scene.ends_with(0);
}

#[test]
fn names_that_an_account_may_ever_take() {
    let scene = Scene::with("inbox_names = 3\ndomain_names = 2\ninboxes = 2");
    let api = scene.daemon.api();
    let make = |path: &str, field: &str, name: &str| {
        api.post(&format!("/api/v1/{path}"), json!({field: name, "account_id": scene.account}))
    };
    // One inbox exists. Deleting it does not free its name.
    for name in ["second", "third"] {
        let inbox = make("inboxes", "name", name).expect(201);
        api.delete(&format!("/api/v1/inboxes/{}", inbox.at("/id"))).expect(204);
    }
    let refused = make("inboxes", "name", "fourth").expect(403);
    assert_eq!(refused.at("/code"), "limit_reached");
    assert!(refused.at("/detail").contains("3 inbox names"), "{}", refused.text);
    make("inboxes", "name", "third").expect(201);
    for name in ["one-mail.com", "two-mail.com"] {
        let domain = make("custom_domains", "domain", name).expect(201);
        api.delete(&format!("/api/v1/custom_domains/{}", domain.at("/id"))).expect(204);
    }
    let refused = make("custom_domains", "domain", "three-mail.com").expect(403);
    assert!(refused.at("/detail").contains("2 domain names"), "{}", refused.text);
    make("custom_domains", "domain", "one-mail.com").expect(201);
    scene.daemon.account("fourth");
    scene.ends_with(0);
}

#[test]
fn aliases_lists_and_tokens_of_an_account() {
    let scene = Scene::with("aliases = 1\naccess_entries = 1\ntokens = 3\ntoken_inboxes = 1");
    let (api, account) = (scene.daemon.api(), scene.account.as_str());
    api.post("/api/v1/custom_domains", json!({"domain": "acme-mail.com", "account_id": account})).expect(201);
    let second = api.post("/api/v1/inboxes", json!({"name": "second", "account_id": account})).expect(201);
    let alias = |inbox: &str, name: &str| {
        api.post(&format!("/api/v1/inboxes/{inbox}/aliases"), json!({"address": format!("{name}@acme-mail.com")}))
    };
    alias(&scene.inbox, "help").expect(201);
    assert_eq!(alias(second.at("/id"), "sales").expect(403).at("/code"), "limit_reached");
    let block = |pattern: &str| {
        let entry = json!({"direction": "receive", "action": "block", "pattern": pattern, "account_id": account});
        api.post("/api/v1/access_entries", entry)
    };
    let made = block("spam.example").expect(201);
    assert_eq!(block("more.example").expect(403).at("/code"), "limit_reached");
    api.delete(&format!("/api/v1/access_entries/{}", made.at("/id"))).expect(204);
    block("more.example").expect(201);
    // One token exists.
    let token = |body: serde_json::Value| api.post("/api/v1/tokens", body);
    let both = json!({"account_id": account, "inbox_ids": [scene.inbox, second.at("/id")]});
    let refused = token(both).expect(422);
    assert!(refused.at("/detail").contains("at most 1 entries"), "{}", refused.text);
    let made = token(json!({"account_id": account, "inbox_ids": [scene.inbox]})).expect(201);
    token(json!({"account_id": account})).expect(201);
    let refused = token(json!({"account_id": account})).expect(403);
    assert!(refused.at("/detail").contains("3 API tokens"), "{}", refused.text);
    token(json!({"scope": "operator"})).expect(201);
    api.delete(&format!("/api/v1/tokens/{}", made.at("/id"))).expect(204);
    token(json!({"account_id": account})).expect(201);
    scene.ends_with(0);
}

#[test]
fn idempotency_keys_of_an_account() {
    let scene = Scene::with("idempotency_keys = 2");
    let account = scene.daemon.api().post("/api/v1/tokens", json!({"account_id": scene.account})).expect(201);
    let api = crate::rest::Rest::new(&format!("http://{}", scene.daemon.http), account.at("/token"));
    let inbox = |name: &str| {
        let body = Some(json!({"name": name}));
        api.call(reqwest::Method::POST, "/api/v1/inboxes", body, &[("Idempotency-Key", name)])
    };
    let first = inbox("second").expect(201);
    inbox("third").expect(201);
    let refused = inbox("fourth").expect(429);
    assert_eq!(refused.at("/error_code"), "too_many_requests");
    assert!(refused.at("/detail").contains("2 idempotency keys") && refused.headers.contains_key("retry-after"));
    assert_eq!(inbox("second").expect(201).text, first.text);
    api.post("/api/v1/inboxes", json!({"name": "fourth"})).expect(201);
    scene.ends_with(0);
}

#[test]
fn what_an_account_makes_in_an_hour() {
    let scene = Scene::with("creations_per_hour = 5");
    // The scene has created an inbox and a token.
    let (api, account) = (scene.daemon.api(), scene.account.as_str());
    api.post("/api/v1/custom_domains", json!({"domain": "acme-mail.com", "account_id": account})).expect(201);
    let inbox = |name: &str| api.post("/api/v1/inboxes", json!({"name": name, "account_id": account}));
    let alias = |name: &str| {
        let address = json!({"address": format!("{name}@acme-mail.com")});
        api.post(&format!("/api/v1/inboxes/{}/aliases", scene.inbox), address)
    };
    inbox("second").expect(201);
    alias("help").expect(201);
    api.post("/api/v1/tokens", json!({"account_id": account})).expect(201);
    let refused = [inbox("third"), alias("sales"), api.post("/api/v1/tokens", json!({"account_id": account}))];
    for refused in refused {
        let refused = refused.expect(429);
        assert_eq!(refused.at("/code"), "too_many_requests");
        assert!(refused.headers.contains_key("retry-after"));
        assert!(refused.at("/detail").contains("5 inboxes, aliases and API tokens"), "{}", refused.text);
    }
    scene.daemon.account("third");
    api.post("/api/v1/tokens", json!({"scope": "operator"})).expect(201);
    scene.ends_with(0);
}

#[test]
fn claims_of_an_account_in_an_hour() {
    let scene = Scene::with("claims_per_hour = 3\ndomains = 2");
    let api = scene.daemon.api();
    let claim = |account: &str, domain: &str| {
        api.post("/api/v1/custom_domains", json!({"domain": domain, "account_id": account}))
    };
    for domain in ["one-mail.com", "two-mail.com", "three-mail.com"] {
        // Requests refused for another reason do not count.
        claim(&scene.account, "com").expect(422);
        let made = claim(&scene.account, domain).expect(201);
        claim(&scene.account, domain).expect(409);
        api.delete(&format!("/api/v1/custom_domains/{}", made.at("/id"))).expect(204);
    }
    let refused = claim(&scene.account, "four-mail.com").expect(429);
    assert_eq!(refused.at("/code"), "too_many_requests");
    assert!(refused.at("/detail").contains("claimed 3 domains"), "{}", refused.text);
    let seconds: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3000..=3600).contains(&seconds), "{seconds}");
    scene.logged(&["refused", "http", "status=429"]);
    let (other, _, _) = scene.daemon.account("second");
    claim(&other, "four-mail.com").expect(201);
    scene.ends_with(0);
}

#[test]
fn connections_of_an_address() {
    let scene = Scene::with("connections_per_address = 2");
    let full = |address: SocketAddr, begin: &str, ends: &str| {
        let admitted = || loop {
            let mut client = Rude::connect(address);
            client.send(begin);
            // A connection that has just closed may still count.
            if !client.line().unwrap_or_else(|| ends.to_owned()).contains(ends) {
                break client;
            }
        };
        let taken = [admitted(), admitted()];
        let response = Rude::connect(address).rest();
        assert!(response.contains(ends), "{response}");
        taken.into_iter().for_each(Rude::hang_up);
    };
    full(scene.daemon.mx, "", "421 4.7.0");
    full(scene.daemon.submission, "", "421 4.7.0");
    full(scene.daemon.imap, "", "* BYE [UNAVAILABLE]");
    full(scene.daemon.http, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 ");
    for server in ["mx", "submission", "imap", "http"] {
        scene.logged(&["refused: too many connections", server]);
    }
    // Those that have just closed may still count.
    let is_admitted = || {
        let mut client = Rude::connect(scene.daemon.http);
        client.send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client.rest().contains(" 200 ")
    };
    while !is_admitted() {}
    scene.ends_with(0);
}

#[test]
fn connections_in_all() {
    let scene = Scene::with("connections = 2");
    let mut taken: Vec<Rude> = (0..2).map(|_| Rude::connect(scene.daemon.mx)).collect();
    taken.iter_mut().for_each(|client| drop(client.reply("220 ")));
    // The longest-waiting connection is closed for the next one; none once both are logging in.
    let mut third = Rude::connect(scene.daemon.mx);
    third.reply("220 ");
    taken.remove(0).reply("421 4.3.2");
    third.say("NOOP", "250");
    let users = [scene.user(), scene.user()];
    let response = Rude::connect(scene.daemon.imaps).rest();
    assert!(response.contains("* BYE [UNAVAILABLE]") || response.is_empty(), "{response}");
    users.into_iter().for_each(|mut user| drop(user.ask("NOOP", "OK")));
    scene.ends_with(0);
}

#[test]
fn sessions_of_an_account() {
    let scene = Scene::with("connections_per_account = 2");
    let (_one, two) = (scene.user(), scene.sender());
    let mut anonymous = scene.anonymous();
    let log_in = format!("LOGIN {READER} {}", scene.token);
    anonymous.ask(&log_in, "NO [LIMIT]");
    let mut client = Rude::secure(scene.daemon.submissions, &scene.daemon.ca());
    client.reply("220 ");
    client.say("EHLO client.example", "250");
    client.say(&format!("AUTH PLAIN {}", plain(READER, &scene.token)), "454 4.7.0");
    scene.logged(&["refused: too many sessions of the account", &scene.account]);
    // Other accounts are not affected, and a closed session makes room.
    let (_, _, token) = scene.daemon.account("second");
    scene.anonymous().ask(&format!("LOGIN second {token}"), "OK");
    two.hang_up();
    // A connection that has just closed may still count.
    while !scene.anonymous().ask(&log_in, "x ").last().unwrap().starts_with("x OK") {}
    scene.ends_with(0);
}

#[test]
fn messages_and_recipients_that_an_address_hands_in_at_the_mx() {
    let scene = Scene::with("mx_messages_per_hour = 2\nmx_recipients_per_hour = 3");
    let mut client = Rude::connect(scene.daemon.mx);
    client.reply("220 ");
    client.say("EHLO client.example", "250");
    let mut hand_in = |recipients: usize, reply: &str| {
        client.say("MAIL FROM:<zoe@elsewhere.example>", "250");
        for n in 0..recipients {
            client.say(&format!("RCPT TO:<reader+{n}@inboxlayer.dev>"), "250");
        }
        client.say("DATA", "354");
        client.send(message(10));
        client.reply(reply);
    };
    hand_in(2, "250 2.0.0");
    hand_in(2, "450 4.7.1");
    hand_in(1, "250 2.0.0");
    hand_in(1, "450 4.7.1");
    scene.logged(&["mail refused", "limited", "recipients"]);
    scene.logged(&["refused", "mx", "450 4.7.1", "2 messages"]);
    scene.ends_with(2);
}

#[test]
fn failed_log_ins_are_counted_over_all_doors_and_the_owner_stays_in() {
    let scene = Scene::with("failed_logins = 3");
    // A client that has just logged in from here can log in again.
    let mut user = scene.user();
    let mut anonymous = scene.anonymous();
    anonymous.ask(&format!("LOGIN {READER} ilt_wrong"), "NO [AUTHENTICATIONFAILED]");
    let mut client = Rude::secure(scene.daemon.submissions, &scene.daemon.ca());
    client.reply("220 ");
    client.say("EHLO client.example", "250");
    client.say(&format!("AUTH PLAIN {}", plain(READER, "ilt_wrong")), "535 5.7.8");
    crate::rest::Rest::new(&format!("http://{}", scene.daemon.http), "ilt_wrong").get("/api/v1/inboxes").expect(401);
    // Now every log-in from this network is refused.
    anonymous.ask("LOGIN nobody@inboxlayer.dev ilt_wrong", "NO [UNAVAILABLE]");
    client.say(&format!("AUTH PLAIN {}", plain(READER, "ilt_wrong")), "454 4.7.0");
    let refused = crate::rest::Rest::new(&format!("http://{}", scene.daemon.http), "ilt_wrong").get("/api/v1/inboxes");
    assert!(refused.expect(429).headers.contains_key("retry-after"));
    scene.logged(&["refused", "imap", "too many failed log-ins"]);
    scene.logged(&["refused", "submission", "454 4.7.0"]);
    scene.logged(&["refused", "http", "status=429"]);
    user.ask("NOOP", "OK");
    scene.user().ask("NOOP", "OK");
    scene.ends_with(0);
}

#[test]
fn a_full_inbox_puts_mail_off_and_takes_it_once_there_is_room() {
    let scene = Scene::with("inbox_size = 20000");
    let api = scene.daemon.api();
    let path = format!("/api/v1/inboxes/{}", scene.inbox);
    let size = || api.get(&path).expect(200).body["size"].as_u64().unwrap();
    assert_eq!(size(), 0);
    let mut client = scene.mx();
    client.envelope(READER);
    client.send(message(15_000));
    client.reply("250 2.0.0");
    let held = size();
    assert!((15_000..16_000).contains(&held), "{held}");
    client.say("MAIL FROM:<a@outside.example> SIZE=6000", "250");
    client.say(&format!("RCPT TO:<{READER}>"), "452 4.2.2");
    client.say("RSET", "250");
    client.envelope(READER);
    client.send(message(6000));
    client.reply("452 4.2.2");
    scene.logged(&["mail refused", "result=\"full\"", &scene.inbox]);
    scene.logged(&["refused", "mx", "452 4.2.2"]);
    assert_eq!(size(), held);
    let mut user = scene.user();
    user.ask(&format!("APPEND INBOX {{6000+}}\r\n{}", "x".repeat(6000)), "NO [OVERQUOTA]");
    user.ask("SELECT INBOX", "OK");
    user.ask("COPY 1 Archive", "NO [OVERQUOTA]");
    scene.logged(&["refused", "imap", "NO the inbox is full"]);

    // Mail from local inboxes is refused likewise.
    let mut sender = scene.sender();
    sender.say("MAIL FROM:<x@y.example> SIZE=6000", "250");
    sender.say(&format!("RCPT TO:<{READER}>"), "452 4.2.2");
    sender.say("RSET", "250");
    sender.envelope(READER);
    sender.send(message(6000));
    sender.reply("452 4.2.2");
    scene.logged(&["refused", "submission", "452 4.2.2"]);
    assert_eq!(size(), held);
    user.ask("MOVE 1 Trash", "OK");
    user.ask("SELECT Trash", "OK");
    user.ask("STORE 1 +FLAGS (\\Deleted)", "OK");
    user.ask("EXPUNGE", "OK");
    sender.envelope(READER);
    sender.send(message(6000));
    sender.reply("250 2.0.0");
    // In INBOX, and in Sent.
    assert!((12_000..15_000).contains(&size()), "{}", size());
    scene.ends_with(1);
}

#[test]
fn messages_of_an_inbox() {
    let scene = Scene::with("messages = 2");
    let mut user = scene.user();
    user.ask("APPEND INBOX {6+}\r\nA: b\r\n", "OK [APPENDUID");
    user.ask("SELECT INBOX", "OK");
    user.ask("COPY 1 Archive", "OK [COPYUID");
    user.ask("COPY 1 Archive", "NO [OVERQUOTA]");
    user.ask("APPEND INBOX {6+}\r\nA: b\r\n", "NO [OVERQUOTA]");
    user.ask("MOVE 1 Archive", "OK");
    let mut client = scene.mx();
    client.say("MAIL FROM:<a@outside.example>", "250");
    client.say(&format!("RCPT TO:<{READER}>"), "452 4.2.2");
    scene.logged(&["refused", "mx", "452 4.2.2"]);
    let mut sender = scene.sender();
    sender.say("MAIL FROM:<x@y.example>", "250");
    sender.say(&format!("RCPT TO:<{READER}>"), "452 4.2.2");
    sender.say("RSET", "250");
    scene.logged(&["refused", "submission", "452 4.2.2"]);
    user.ask("SELECT Archive", "OK");
    user.ask("STORE 1:* +FLAGS (\\Deleted)", "OK");
    user.ask("EXPUNGE", "OK");
    sender.envelope(READER);
    sender.send(message(10));
    sender.reply("250 2.0.0");
    assert!(user.ask("STATUS Sent (MESSAGES)", "OK").contains(&"* STATUS Sent (MESSAGES 1)".to_owned()));
    assert!(user.ask("STATUS INBOX (MESSAGES)", "OK").contains(&"* STATUS INBOX (MESSAGES 1)".to_owned()));
    scene.ends_with(1);
}

#[test]
fn keywords_of_messages_and_mailboxes() {
    let scene = Scene::with("keywords_per_message = 2\nkeywords_per_mailbox = 3\nkeyword_length = 5");
    let mut user = scene.user();
    user.ask("APPEND INBOX (a b c) {6+}\r\nA: b\r\n", "NO [LIMIT]");
    for keywords in ["a b", "a c"] {
        user.ask(&format!("APPEND INBOX ({keywords}) {{6+}}\r\nA: b\r\n"), "OK [APPENDUID");
    }
    user.ask("APPEND INBOX (d) {6+}\r\nA: b\r\n", "NO [LIMIT]");
    user.ask("SELECT INBOX", "OK");
    user.ask("STORE 1 FLAGS (toolong)", "NO [LIMIT]");
    user.ask("STORE 1 +FLAGS (c)", "NO [LIMIT]");
    user.ask("STORE 1 FLAGS (d)", "NO [LIMIT]");
    user.ask("STORE 1 -FLAGS (b)", "OK");
    user.ask("STORE 1 +FLAGS (d)", "OK");
    user.ask("APPEND Archive (x y) {6+}\r\nA: b\r\n", "OK [APPENDUID");
    user.ask("COPY 1 Archive", "NO [LIMIT]");
    user.ask("MOVE 1:2 Archive", "NO [LIMIT]");
    let read = user.ask("FETCH 1:2 (FLAGS)", "OK");
    assert_eq!(read[..2], ["* 1 FETCH (FLAGS (\\Recent a d))", "* 2 FETCH (FLAGS (\\Recent a c))"]);
    scene.logged(&["refused", "imap", "limits.keywords_per_mailbox"]);
    scene.ends_with(3);
}

#[test]
fn metadata_entries_and_their_values() {
    let scene = Scene::with("metadata_entries = 2\nmetadata_value_size = 5");
    let mut user = scene.user();
    user.ask("SETMETADATA INBOX (/private/comment \"123456\")", "NO [METADATA MAXSIZE 5]");
    user.ask("SETMETADATA INBOX (/private/comment \"12345\")", "OK");
    user.ask("SETMETADATA \"\" (/private/a \"x\" /private/b \"y\")", "NO [METADATA TOOMANY]");
    user.ask("SETMETADATA \"\" (/private/a \"x\")", "OK");
    user.ask("SETMETADATA Sent (/private/a \"x\")", "NO [METADATA TOOMANY]");
    user.ask("SETMETADATA INBOX (/private/comment NIL)", "OK");
    user.ask("SETMETADATA Sent (/private/a \"x\")", "OK");
    let read = user.ask("GETMETADATA \"\" (/private/a /private/b)", "OK");
    assert_eq!(read[0], "* METADATA \"\" (/private/a \"x\")");
    scene.logged(&["refused", "imap", "limits.metadata_entries"]);
    scene.ends_with(0);
}

#[test]
fn every_limit_is_read_by_the_daemon_and_tried_by_a_story() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("config/inboxlayer.toml")).unwrap();
    let section = text.split("\n[limits]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let keys: Vec<&str> = section.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    assert!(keys.len() >= 13 && !keys.iter().any(|key| key.starts_with('#')), "{keys:?}");
    let read = |folder: &str, skip: &str| -> String {
        let mut todo = vec![root.join(folder)];
        let mut all = String::new();
        while let Some(path) = todo.pop() {
            if path.is_dir() {
                todo.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with(skip) {
                all += &std::fs::read_to_string(path).unwrap();
            }
        }
        all
    };
    let stories = read("tests/stories", "no.rs");
    let program: String = std::fs::read_dir(root.join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "config" && !name.starts_with("config."))
        .map(|name| match name.strip_suffix(".rs") {
            Some(_) => std::fs::read_to_string(root.join("src").join(name)).unwrap(),
            None => read(&format!("src/{name}"), "tests.rs"),
        })
        .collect();
    let config = ["mod.rs", "limits.rs"]
        .map(|name| std::fs::read_to_string(root.join("src/config").join(name)).unwrap())
        .concat();
    for key in keys {
        // Some are handed on as values of another type.
        let is_read = program.contains(&format!("limits.{key}")) || config.contains(&format!("self.{key}"));
        assert!(is_read, "the program does not read limits.{key}");
        assert!(stories.contains(&format!("{key} = ")), "no story tries limits.{key}");
    }
}
