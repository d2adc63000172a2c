//! Messages and commands made to exhaust their reader: the daemon survives, responds, and serves other clients.

use super::{READER, Scene};
use crate::rest::Rest;
use crate::rude::Rude;
use serde_json::json;

/// By subject. None is larger than the default `message_size`.
fn hostile_messages() -> [(&'static str, String); 5] {
    let with = |subject: &'static str, rest: &str| {
        (subject, format!("Subject: {subject}\r\nFrom: Zoe <zoe@elsewhere.example>\r\n{rest}"))
    };
    let groups = format!("{}\r\n ", "g:;,".repeat(200)).repeat(24_000);
    let digest = "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n";
    [
        with("messages", &"Content-Type: message/rfc822\r\n\r\n".repeat(600_000)),
        with("digests", &digest.repeat(400_000)),
        with("parts", &format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\n".repeat(2_400_000))),
        with("fields", &format!("{}\r\n", "a:\r\n".repeat(6_000_000))),
        with("groups", &format!("To: {groups}x@elsewhere.example\r\n\r\nhello\r\n")),
    ]
}

fn hand_in(scene: &Scene, message: &str) {
    let mut client = scene.mx();
    client.envelope(READER);
    client.send(message);
    client.send("\r\n.\r\n");
    client.reply("250 2.0.0");
}

/// A line of `/proc/…/status`, in octets.
fn memory(scene: &Scene, line: &str) -> u64 {
    let process = scene.daemon.process().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let found = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).expect("a line of memory");
    found.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn messages_without_end_are_read_everywhere_up_to_the_limits() {
    let scene = Scene::with("");
    let messages = hostile_messages();
    for (_, message) in &messages {
        hand_in(&scene, message);
    }
    let mut user = scene.user();
    user.ask("SELECT INBOX", "OK");
    let (_, _, other) = scene.daemon.account("other");
    for (at, (subject, _)) in messages.iter().enumerate() {
        let n = at + 1;
        let lines = user.ask(&format!("FETCH {n} ENVELOPE"), "OK");
        assert!(lines[0].contains(&format!("\"{subject}\" ((\"Zoe\" NIL \"zoe\"")), "{lines:?}");
        user.ask(&format!("FETCH {n} (BODY BODYSTRUCTURE)"), "OK");
        let deep = vec!["1"; 30].join(".");
        for section in [&deep, "1.1.1.HEADER", "1.MIME", "1.1.TEXT", "2000", "2.1"] {
            user.ask(&format!("FETCH {n} BODY.PEEK[{section}]<0.100>"), "OK");
        }
        let lines = user.ask(&format!("FETCH {n} BODY.PEEK[HEADER.FIELDS (subject a)]<0.100>"), "OK");
        assert!(lines.contains(&format!("Subject: {subject}")), "{lines:?}");
        // Other clients are served meanwhile.
        scene.anonymous().ask(&format!("LOGIN other {other}"), "OK");
    }
    for (search, found) in [
        ("SUBJECT digests", "* SEARCH 2"),
        ("FROM zoe", "* SEARCH 1 2 3 4 5"),
        ("BODY zzz", "* SEARCH"),
        ("TEXT hello", "* SEARCH 5"),
        ("TO x@elsewhere", "* SEARCH"),
    ] {
        let lines = user.ask(&format!("SEARCH {search}"), "OK");
        assert_eq!(lines[0], found, "{search}");
    }
    let api = scene.daemon.api();
    let path = format!("/api/v1/emails?inbox={}", scene.inbox);
    let listed = api.get(&path).expect(200);
    for message in crate::serve::rows(&listed.body) {
        let shown = api.get(&format!("/api/v1/emails/{}", message["id"].as_str().unwrap())).expect(200);
        assert_eq!(shown.body["subject"], message["subject"]);
        assert_eq!(shown.body["from"], json!([{"name": "Zoe", "address": "zoe@elsewhere.example"}]));
        assert!(shown.body["attachments"].as_array().unwrap().len() <= 2001);
    }
    scene.ends_with(5);
}

#[test]
fn showing_a_message_takes_a_few_times_its_size_in_memory() {
    let scene = Scene::with("");
    let (_, message) = hostile_messages().into_iter().find(|(subject, _)| *subject == "groups").unwrap();
    hand_in(&scene, &message);
    let path = format!("/api/v1/emails?inbox={}", scene.inbox);
    let listed = scene.daemon.api().get(&path).expect(200);
    let path = format!("/api/v1/emails/{}", crate::serve::rows(&listed.body)[0]["id"].as_str().unwrap());
    let before = memory(&scene, "VmRSS");
    std::fs::write(format!("/proc/{}/clear_refs", scene.daemon.process().unwrap()), "5").unwrap();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| scene.daemon.api().get(&path).expect(200));
        }
    });
    let taken = memory(&scene, "VmHWM").saturating_sub(before);
    let size = u64::try_from(message.len()).unwrap();
    assert!(taken < 4 * 6 * size, "{taken} octets for four times {size}");
    scene.ends_with(1);
}

#[test]
fn the_limits_of_reading_are_those_of_the_configuration() {
    let scene = Scene::with("message_nesting = 1\nmessage_parts = 2\nmessage_header_size = 600\nmessage_fields = 12");
    let parts = "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n".repeat(5);
    let mixed = "Content-Type: multipart/mixed; boundary=b";
    for message in [
        format!("Subject: parts\r\n{mixed}\r\n\r\n{parts}--b--\r\n"),
        format!("{}Subject: many\r\n\r\n", "X: y\r\n".repeat(12)),
        format!("X: {}\r\nSubject: long\r\n\r\n", "y".repeat(600)),
    ] {
        hand_in(&scene, &message);
    }
    let mut user = scene.user();
    user.ask("SELECT INBOX", "OK");
    let structure = user.ask("FETCH 1 BODY", "OK");
    assert_eq!(structure[0].matches("\"application\" \"octet-stream\"").count(), 3, "{structure:?}");
    assert_eq!(user.ask("SEARCH SUBJECT parts", "OK")[0], "* SEARCH 1");
    for unread in ["many", "long"] {
        assert_eq!(user.ask(&format!("SEARCH SUBJECT {unread}"), "OK")[0], "* SEARCH");
        // It is stored all the same.
        assert!(user.ask(&format!("SEARCH TEXT {unread}"), "OK")[0].starts_with("* SEARCH "));
    }
    let raw = format!("To: x@elsewhere.example\r\nX: {}\r\n\r\nhi", "y".repeat(600));
    let path = format!("/api/v1/emails/send?inbox_id={}", scene.inbox);
    let refused = Rest::new(&format!("http://{}", scene.daemon.http), &scene.token).post(&path, json!({"raw": raw}));
    assert!(refused.expect(422).text.contains("600 octets of header fields"));
    scene.ends_with(3);
}

/// A client that sends expensive requests and does not wait for responses.
fn ask_and_hang_up(scene: &Scene, command: &str) {
    let mut user = scene.user();
    user.ask("SELECT INBOX", "OK");
    user.send(format!("x {command}\r\n"));
    user.hang_up();
}

#[test]
fn endless_commands_of_disconnected_clients_do_not_affect_others() {
    let mut scene = Scene::with("");
    hand_in(&scene, &format!("{}\r\n", "zz:\r\n".repeat(4_800_000)));
    hand_in(&scene, &format!("\r\n{}", "word ".repeat(4_800_000)));
    let names = |count: usize| (0..count).map(|n| format!("{n:x}")).collect::<Vec<_>>().join(" ");
    let mut user = scene.user();
    user.ask("SELECT INBOX", "OK");
    user.ask(&format!("FETCH 1 BODY.PEEK[HEADER.FIELDS ({})]", names(40_000)), "NO [LIMIT]");
    let keys = (0..10_000).map(|n| format!("TEXT wordless{n} ")).collect::<String>();
    let sections = (1..200).map(|n| format!(" BODY.PEEK[HEADER.FIELDS.NOT (z{n})]<0.9>")).collect::<String>();
    for _ in 0..3 {
        ask_and_hang_up(&scene, &format!("FETCH 1 BODY.PEEK[HEADER.FIELDS ({})]", names(40_000)));
        ask_and_hang_up(&scene, &format!("FETCH 1 BODY.PEEK[HEADER.FIELDS ({})]", names(1000)));
        ask_and_hang_up(&scene, &format!("FETCH 1:2 (ENVELOPE BODY BODYSTRUCTURE{sections})"));
        ask_and_hang_up(&scene, &format!("SEARCH NOT ({keys}ALL)"));
    }
    // Another client, over every protocol.
    let (_, inbox, token) = scene.daemon.account("other");
    let rest = Rest::new(&format!("http://{}", scene.daemon.http), &token);
    for n in 0..20 {
        let mut client = scene.mx();
        client.envelope("other@inboxlayer.dev");
        client.send(format!("Subject: {n}\r\n\r\nhello\r\n.\r\n"));
        client.reply("250 2.0.0");
        let mut other = scene.anonymous();
        other.ask(&format!("LOGIN other {token}"), "OK");
        other.ask("SELECT INBOX", "OK");
        other.ask("FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY[HEADER.FIELDS (Subject)])", "OK");
        let found = other.ask("SEARCH TEXT hello", "OK");
        assert_eq!(found[0].split(' ').count(), n + 3, "{found:?}");
        let rows = rest.get(&format!("/api/v1/emails?inbox={inbox}")).expect(200);
        assert_eq!(crate::serve::rows(&rows.body).len(), n + 1);
    }
    // The daemon stops despite the work under way.
    let mut busy: Vec<Rude> = (0..3).map(|_| scene.user()).collect();
    for user in &mut busy {
        user.ask("SELECT INBOX", "OK");
        user.send(format!("x SEARCH {keys}\r\n"));
    }
    assert!(scene.daemon.terminate(), "the end on SIGTERM");
    assert!(!scene.daemon.log().contains("panicked"), "{}", scene.daemon.log());
}
