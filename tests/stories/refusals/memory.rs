//! Clients that never end large messages or never read large responses: the daemon's memory is bounded, and clients from other
//! addresses are served meanwhile.

use super::{READER, Scene};
use crate::rest::Rest;
use crate::rude::Rude;
use serde_json::json;
use std::net::Ipv4Addr;

const MIB: usize = 1024 * 1024;
/// One large message.
const MESSAGE: usize = 8 * MIB;
/// Clients of one address. Together they send or request 400 MiB.
const CROWD: usize = 50;
/// How much the daemon's memory may grow: 128 MiB are the address's share of the budget; the rest is for connections, the store's
/// caches and the allocator.
const BOUND: usize = 192 * MIB;
const LIMITS: &str = "message_size = 8388608\nconnections_per_address = 200\nspool = 2147483648";

/// A daemon whose peak memory is measured.
struct Watched {
    scene: Scene,
    before: usize,
}

impl Watched {
    fn new(limits: &str) -> Self {
        let scene = Scene::with(limits);
        let watched = Self { scene, before: 0 };
        // Reset the peak.
        std::fs::write(format!("/proc/{}/clear_refs", watched.process()), "5").unwrap();
        let before = watched.octets("VmHWM:");
        Self { before, ..watched }
    }

    fn process(&self) -> u32 {
        self.scene.daemon.process().unwrap()
    }

    fn octets(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// The growth of the process's memory from the beginning of the story to its peak.
    #[track_caller]
    fn grew_by_less_than(&self, bound: usize) {
        let grown = self.octets("VmHWM:").saturating_sub(self.before);
        println!("grown by {} MiB at most", grown / MIB);
        assert!(grown < bound, "{} MiB, not {}", grown / MIB, bound / MIB);
    }

    /// A client from another address delivers a message of a megabyte and reads it over IMAP and HTTP.
    fn another_is_served(&self) {
        let from = Ipv4Addr::new(127, 0, 0, 2);
        let mut sender = Rude::connect_from(from, self.scene.daemon.mx);
        sender.reply("220 ");
        sender.say("EHLO another.example", "250");
        sender.envelope("another@inboxlayer.dev");
        sender.send(message("from another address", MIB));
        sender.send(".\r\n");
        sender.reply("250 2.0.0");
    }
}

/// A message of about this number of octets.
fn message(subject: &str, octets: usize) -> String {
    let line = format!("{}\r\n", "x".repeat(76));
    format!("From: a@outside.example\r\nSubject: {subject}\r\n\r\n{}", line.repeat(octets / line.len()))
}

/// Sends part of a message without waiting for replies.
fn pour(client: &mut Rude, octets: usize) {
    client.send(message("never ended", octets - 1000));
}

#[test]
fn messages_that_are_never_ended() {
    let watched = Watched::new(LIMITS);
    watched.scene.daemon.account("another");
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut client = watched.scene.mx();
        client.envelope(READER);
        pour(&mut client, MESSAGE);
        crowd.push(client);
    }
    watched.another_is_served();
    watched.grew_by_less_than(BOUND);
    // Messages completed now are accepted or deferred; the memory of disconnected clients is released.
    let mut taken = 0;
    for (n, mut client) in crowd.into_iter().enumerate() {
        if n % 5 > 0 {
            client.hang_up();
            continue;
        }
        client.send("\r\n.\r\n");
        let reply = client.reply("");
        assert!(reply.starts_with("250 2.0.0") || reply.starts_with("452 4.3.1"), "{reply}");
        taken += usize::from(reply.starts_with("250"));
    }
    assert!(taken > 0);
    watched.grew_by_less_than(BOUND);
    watched.scene.ends_with(taken);
}

#[test]
fn appends_that_are_never_ended() {
    let watched = Watched::new(LIMITS);
    watched.scene.daemon.account("another");
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut client = watched.scene.user();
        client.send(format!("a APPEND INBOX {{{MESSAGE}+}}\r\n"));
        pour(&mut client, MESSAGE);
        crowd.push(client);
    }
    watched.another_is_served();
    watched.grew_by_less_than(BOUND);
    crowd.into_iter().for_each(Rude::hang_up);
    watched.scene.ends_with(0);
}

/// Puts a message into the inbox, from outside.
fn deliver(scene: &Scene, message: String) {
    let mut sender = scene.mx();
    sender.envelope(READER);
    sender.send(message);
    sender.send(".\r\n");
    sender.reply("250 2.0.0");
}

/// The API, and the path of the inbox's only message.
fn only_message(scene: &Scene) -> (Rest, String) {
    let api = Rest::new(&format!("http://{}", scene.daemon.http), &scene.token);
    let path = format!("/api/v1/emails?inbox={}", scene.inbox);
    let path = format!("/api/v1/emails/{}", api.get(&path).expect(200).at("/data/0/id"));
    (api, path)
}

/// The head of a request with a token.
fn head(scene: &Scene, request: &str, more: &str) -> String {
    format!("{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{more}\r\n", scene.token)
}

#[test]
fn json_that_is_never_ended() {
    let watched = Watched::new(LIMITS);
    watched.scene.daemon.account("another");
    let scene = &watched.scene;
    let path = format!("POST /api/v1/emails/send?inbox_id={}", scene.inbox);
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut client = Rude::connect(scene.daemon.http);
        let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", 2 * MESSAGE);
        client.send(head(scene, &path, &length));
        client.send("{\"to\": \"a@elsewhere.example\", \"text\": \"");
        client.send("x".repeat(MESSAGE));
        crowd.push(client);
    }
    watched.another_is_served();
    watched.grew_by_less_than(BOUND);
    crowd.into_iter().for_each(Rude::hang_up);
    watched.scene.ends_with(0);
}

#[test]
fn answers_that_are_never_read() {
    let watched = Watched::new(LIMITS);
    watched.scene.daemon.account("another");
    let scene = &watched.scene;
    deliver(scene, message("large", MESSAGE - 1000));
    let (_, path) = only_message(scene);
    let (mut by_http, mut by_imap) = (Vec::new(), Vec::new());
    for _ in 0..CROWD {
        let mut client = Rude::connect(scene.daemon.http);
        client.send(head(scene, &format!("GET {path}/raw"), ""));
        by_http.push(client);
        let mut client = scene.user();
        client.ask("SELECT INBOX", "OK");
        client.send("f FETCH 1 BODY.PEEK[]\r\n");
        by_imap.push(client);
    }
    watched.another_is_served();
    watched.grew_by_less_than(BOUND);
    // A client that reads gets everything.
    let begins = |client: &mut Rude| client.line().unwrap_or_default();
    let mut whole = 0;
    for mut client in by_http {
        if begins(&mut client).starts_with("HTTP/1.1 200") && whole < 3 {
            let mut length = None;
            while let Some(line) = client.line().filter(|line| !line.is_empty()) {
                length = length.or(line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            }
            let length: usize = length.unwrap().parse().unwrap();
            assert_eq!(client.octets(length).len(), length);
            whole += 1;
        }
    }
    assert!(whole > 0);
    by_imap.into_iter().for_each(Rude::hang_up);
    watched.grew_by_less_than(BOUND);
    watched.scene.ends_with(1);
}

#[test]
fn a_large_body_comes_whole_and_in_parts_over_imap() {
    let scene = Scene::with("");
    let lines: String = (0..60_000).map(|n| format!("line {n} {}\r\n", "x".repeat(n % 60))).collect();
    let part = format!("--b\r\nContent-Type: text/plain\r\n\r\n{lines}");
    let kind = "Content-Type: multipart/mixed; boundary=b";
    deliver(&scene, format!("Subject: large\r\n{kind}\r\n\r\n{part}{part}\r\n--b--\r\n"));
    let (api, path) = only_message(&scene);
    let raw = api.get(&format!("{path}/raw")).expect(200).text;
    let (header, body) = raw.split_at(raw.find("\r\n\r\n").unwrap() + 4);
    let second = body.rfind("--b\r\nContent-Type").unwrap();
    let mime = "--b\r\nContent-Type: text/plain\r\n\r\n".len();
    let second = &body[second + mime..body.len() - "\r\n--b--\r\n".len()];
    assert_eq!((second.len() > 1_000_000, second), (true, lines.as_str()));
    let mut user = scene.user();
    user.ask("SELECT INBOX", "OK");
    for (item, wanted) in [
        ("BODY.PEEK[]", raw.as_str()),
        ("RFC822.HEADER", header),
        ("BODY.PEEK[TEXT]", body),
        ("BODY.PEEK[2]", second),
        ("BODY.PEEK[2]<1000000.900000>", &second[1_000_000..1_900_000.min(second.len())]),
        ("BODY.PEEK[]<10.2000000>", &raw[10..2_000_010]),
        ("(BODYSTRUCTURE BODY.PEEK[TEXT]<2000000.100>)", &body[2_000_000..2_000_100]),
        ("BODY.PEEK[3]", ""),
    ] {
        user.send(format!("f FETCH 1 {item}\r\n"));
        let line = user.line().unwrap();
        let octets = match line.strip_suffix('}').and_then(|line| line.rsplit_once('{')) {
            Some((_, length)) => user.octets(length.parse().unwrap()),
            None => Vec::new(),
        };
        assert!(octets == wanted.as_bytes(), "{item}: {} octets, not {}: {line:.200}", octets.len(), wanted.len());
        user.answer("f", "OK");
    }
    user.ask("SEARCH BODY \"line 59999\"", "OK");
    scene.ends_with(1);
}

#[test]
fn a_message_with_a_huge_field_is_shown_within_the_bound_and_its_memory_is_given_back() {
    let watched = Watched::new("message_size = 26214400");
    let scene = &watched.scene;
    let to = "g: a@b.example;, ".repeat(24 * MIB / 17 / 4);
    deliver(scene, format!("Subject: huge\r\nTo: {}\r\n\r\ntext\r\n", format!("{to}\r\n ").repeat(4)));
    let (_, path) = only_message(scene);
    let mut shows: Vec<Rude> = Vec::new();
    for _ in 0..4 {
        let mut client = Rude::connect(scene.daemon.http);
        client.send(head(scene, &format!("GET {path}"), "Connection: close\r\n"));
        shows.push(client);
    }
    for mut client in shows {
        let answer = client.rest();
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 503"), "{:.200}", answer);
    }
    watched.grew_by_less_than(BOUND + 64 * MIB);
    println!("kept afterwards: {} MiB", watched.octets("VmRSS:").saturating_sub(watched.before) / MIB);
    assert!(watched.octets("VmRSS:").saturating_sub(watched.before) < BOUND);
    watched.scene.ends_with(1);
}

#[test]
fn over_the_budget_the_answer_is_temporary_and_small_mail_goes_on() {
    let limits = "message_size = 1000000\nmemory = 8000000\nmemory_per_account = 3000000\nmemory_per_address = 3000000";
    let scene = Scene::with(&format!("{limits}\nspool = 16000000\nconnections_per_address = 200"));
    // One address has an eighth of the spool: two messages, not three.
    let mut taken: Vec<Rude> = Vec::new();
    for _ in 0..2 {
        let mut client = scene.mx();
        client.envelope(READER);
        pour(&mut client, 980_000);
        taken.push(client);
    }
    let mut third = scene.mx();
    let has_room = |client: &mut Rude| {
        client.send("MAIL FROM:<a@outside.example> SIZE=900000\r\n");
        let reply = client.reply("");
        assert!(reply.starts_with("250") || reply.starts_with("452 4.3.1"), "{reply}");
        client.say("RSET", "250");
        std::thread::sleep(std::time::Duration::from_millis(50));
        reply.starts_with("250")
    };
    while has_room(&mut third) {}
    third.envelope(READER);
    third.send(message("no room", 900_000));
    third.send(".\r\n");
    third.reply("452 4.3.1");
    let mut user = scene.user();
    user.ask("APPEND INBOX {900000}", "NO [UNAVAILABLE]");
    let api = Rest::new(&format!("http://{}", scene.daemon.http), &scene.token);
    let draft = json!({"to": "a@elsewhere.example", "text_body": "x".repeat(900_000)});
    let refused = api.post(&format!("/api/v1/emails/send?inbox_id={}", scene.inbox), draft).expect(503);
    assert!(refused.headers.contains_key("retry-after"));
    scene.logged(&["refused", "mx", "452 4.3.1"]);
    // A small message fits, also from the same address.
    deliver(&scene, message("small", 200_000));
    taken.into_iter().for_each(Rude::hang_up);
    // The space is released once the daemon has seen the disconnects.
    while !has_room(&mut third) {}
    scene.ends_with(1);
}

#[test]
fn messages_and_bodies_come_at_a_minimum_rate() {
    let scene = Scene::with("minimum_rate = 1000000\nminimum_rate_period = \"1s\"\nmessage_size = 8000000");
    let (mut mx, mut user) = (scene.mx(), scene.user());
    mx.envelope(READER);
    mx.send("Subject: slow\r\n\r\n");
    user.send("a APPEND INBOX {5000+}\r\nSubject: slow\r\n");
    let mut http = Rude::connect(scene.daemon.http);
    let path = format!("POST /api/v1/emails/send?inbox_id={}", scene.inbox);
    http.send(head(&scene, &path, "Content-Type: application/json\r\nContent-Length: 5000\r\n"));
    http.send("{");
    mx.reply("421 4.4.2");
    assert!(mx.line().is_none());
    user.answer("a", "* BYE");
    assert!(http.rest().starts_with("HTTP/1.1 408"));
    scene.logged(&["refused", "mx", "421 4.4.2"]);
    scene.ends_with(0);
}

#[test]
fn answers_are_read_at_a_minimum_rate() {
    let limits = format!("minimum_rate = 100000\nminimum_rate_period = \"2s\"\nmessage_size = {MESSAGE}");
    let scene = Scene::with(&limits);
    deliver(&scene, message("large", MESSAGE - 1000));
    let path = format!("{}/raw", only_message(&scene).1);
    let ask_imap = || {
        let mut client = scene.user();
        client.ask("SELECT INBOX", "OK");
        client.send("f FETCH 1 BODY.PEEK[]\r\n");
        client
    };
    let ask_http = || {
        let mut client = Rude::connect(scene.daemon.http);
        client.send(head(&scene, &format!("GET {path}"), "Connection: close\r\n"));
        client
    };
    let slow = [ask_imap(), ask_http()];
    // A client that reads gets everything meanwhile.
    assert!(ask_imap().answer("f", "OK").concat().len() > MESSAGE / 100 * 95);
    assert!(ask_http().rest().len() > MESSAGE / 100 * 95);
    for listener in ["listener=\"imap\"", "listener=\"http\""] {
        scene.logged(&["closing the connection", "limits.minimum_rate", listener]);
    }
    for mut client in slow {
        let got = client.rest().len();
        assert!(got < MESSAGE / 2, "{got} octets");
    }
    scene.ends_with(1);
}
