//! A stream of events that is cut at random and resumed has every event once, also where two daemons share a store; who asks too
//! often or for another's is refused.

use crate::daemon::Daemon;
use crate::engine::{Engine, Server};
use crate::rest::Rest;
use crate::serve::{Relay, Serve};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Emails of a story.
const EMAILS: usize = 60;
/// Until the last event has come.
const PATIENCE: Duration = Duration::from_secs(120);
/// 32 octets in base64.
const SEALING_KEY: &str = "b2Zhbm9mYW5vZmFub2Zhbm9mYW5vZmFub2Zhbm9mYW4=";

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A client of a stream that keeps what it has got.
struct Reader {
    token: String,
    path: String,
    /// Of the last block that has come whole.
    last: Option<String>,
    events: Vec<Value>,
}

impl Reader {
    /// Connects, reads `octets` at most, and hangs up in the middle of whatever comes.
    fn read_some(&mut self, host: &str, octets: usize) {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let last = self.last.iter().map(|id| format!("Last-Event-ID: {id}\r\n")).collect::<String>();
        let head =
            format!("GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{last}\r\n", self.path, self.token);
        stream.write_all(head.as_bytes()).unwrap();
        let mut got = vec![0; octets];
        let mut read = 0;
        while read < octets {
            match stream.read(&mut got[read..]) {
                Ok(0) | Err(_) => break,
                Ok(count) => read += count,
            }
        }
        got.truncate(read);
        let text = String::from_utf8_lossy(&got).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        assert!(head.is_empty() || "HTTP/1.1 200 OK".starts_with(&head[..head.len().min(15)]), "{head}");
        self.take(&dechunked(body));
    }

    fn take(&mut self, body: &str) {
        // What is after the last empty line is cut.
        let whole = body.rfind("\n\n").map_or("", |end| &body[..end + 1]);
        for block in whole.split("\n\n") {
            for line in block.lines() {
                match line.split_once(": ") {
                    Some(("data", data)) => self.events.push(serde_json::from_str(data).unwrap()),
                    Some(("id", id)) => self.last = Some(id.to_owned()),
                    _ => {}
                }
            }
        }
    }

    fn subjects(&self) -> Vec<String> {
        self.events.iter().map(|event| event["data"]["subject"].as_str().unwrap().to_owned()).collect()
    }

    /// Every email once, and ids that grow.
    #[track_caller]
    fn has_all_once(&self) {
        let mut subjects = self.subjects();
        subjects.sort();
        let mut wanted: Vec<String> = (0..EMAILS).map(|n| format!("m{n}")).collect();
        wanted.sort();
        assert_eq!(subjects, wanted);
        let place = |event: &Value| {
            let id = event["id"].as_str().unwrap().strip_prefix("evt_").unwrap().to_owned();
            let (position, number) = id.split_once('-').unwrap();
            (position.parse::<u64>().unwrap(), number.parse::<u64>().unwrap())
        };
        assert!(self.events.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])), "the order of the log");
    }
}

/// A chunked body (RFC 9112 §7.1), perhaps cut, without its chunk heads.
fn dechunked(body: &str) -> String {
    let (mut text, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else { break };
        let Some(chunk) = after.get(..size) else {
            text.push_str(after);
            break;
        };
        text.push_str(chunk);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    text
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// Sends all emails from the inbox to itself, and reads its stream in pieces meanwhile.
fn cut_and_resumed(hosts: &[String], token: &str, inbox: &str, address: &str) {
    let path = format!("/api/v1/inboxes/{inbox}/stream?types=email.received");
    let mut reader = Reader { token: token.to_owned(), path, last: None, events: Vec::new() };
    // From now on.
    reader.read_some(&hosts[0], 1000);
    assert!(reader.last.is_some() && reader.events.is_empty());
    let senders = hosts.iter().enumerate().map(|(at, host)| {
        let (host, token, inbox, address) = (host.clone(), token.to_owned(), inbox.to_owned(), address.to_owned());
        let count = hosts.len();
        std::thread::spawn(move || {
            let api = Rest::new(&format!("http://{host}"), &token);
            for n in (at..EMAILS).step_by(count) {
                let email = json!({"to": address, "subject": format!("m{n}"), "text_body": "x".repeat(n * 20)});
                api.post(&format!("/api/v1/emails/send?inbox_id={inbox}"), email).expect(201);
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let (mut random, begun, mut rounds) = (Random(42), Instant::now(), 0);
    while reader.events.len() < EMAILS {
        assert!(begun.elapsed() < PATIENCE, "after {rounds} rounds: {:?}", reader.subjects());
        let host = &hosts[usize::try_from(random.below(hosts.len() as u64)).unwrap()];
        let octets = 200 + random.below(9000);
        reader.read_some(host, usize::try_from(octets).unwrap());
        rounds += 1;
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    // Nothing more comes.
    reader.read_some(&hosts[0], 100_000);
    reader.has_all_once();
    assert!(rounds > 5, "{rounds} rounds");
}

#[test]
fn a_stream_that_is_cut_at_random_and_resumed_has_every_event_once() {
    let daemon = Daemon::start();
    let hosts = [host(daemon.ready("http"))];
    cut_and_resumed(&hosts, daemon.ready("token"), daemon.ready("inbox_id"), daemon.ready("inbox"));
}

#[test]
#[cfg_attr(not(feature = "cluster"), ignore = "needs --features cluster")]
fn so_has_one_of_two_daemons_that_share_a_store() {
    let server: &'static Server = Box::leak(Box::new(Server::start(400)));
    let (engine, relay) = (Engine::fresh_on(server), Relay::slow(Duration::from_millis(1)));
    let environment = [("INBOXLAYER_SECRET_KEY", SEALING_KEY)];
    let dns = "resolvers = [\"127.0.0.1:9\"]";
    let queue = format!("[queue.relay]\nhost = \"127.0.0.1\"\nport = {}", relay.address.port());
    let daemons = [(); 2].map(|()| Serve::start_on(engine.clone(), &environment, dns, &queue, ""));
    let (_, inbox, token) = daemons[0].account("sender");
    let hosts = daemons.each_ref().map(|daemon| daemon.http.to_string());
    cut_and_resumed(&hosts, &token, &inbox, "sender@inboxlayer.dev");
}

#[test]
fn anothers_stream_is_not_found_and_too_many_are_refused() {
    let daemon = Daemon::start_in(&[("INBOXLAYER_LIMITS__STREAMS_PER_ACCOUNT", "1")]);
    let (api, operator) = (daemon.api(), daemon.api_as(daemon.ready("operator_token")));
    let path = format!("/api/v1/inboxes/{}/stream", daemon.ready("inbox_id"));
    let other = operator.post("/api/v1/accounts", json!({"name": "other"})).expect(201).at("/account_id").to_owned();
    let token = operator.post("/api/v1/tokens", json!({"name": "x", "account_id": other})).expect(201);
    let stranger = daemon.api_as(token.at("/token"));
    for path in [path.clone(), format!("/api/v1/inboxes/{}/wait", daemon.ready("inbox_id"))] {
        stranger.get(&path).expect(404);
    }
    let mut open = TcpStream::connect(host(daemon.ready("http"))).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", daemon.ready("token"));
    open.write_all(head.as_bytes()).unwrap();
    open.read_exact(&mut [0; 15]).unwrap();
    let refused = api.get(&path).expect(503);
    assert_eq!((refused.at("/code"), &refused.headers["retry-after"]), ("too_many_streams", &"5".parse().unwrap()));
    // The place is free again once the client has hung up.
    drop(open);
    api.poll(&format!("{path}?timeout=1"), |answer| answer.status == 200);
}
