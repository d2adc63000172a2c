//! Behind a load balancer: the client's address over SMTP, IMAP and HTTP, and whose word is trusted for it.

use crate::free_address::free_address;
use crate::rest::Rest;
use crate::rude::Rude;
use crate::serve::{Relay, Serve};
use reqwest::Method;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const READER: &str = "reader@inboxlayer.dev";
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 1);

fn daemon(limits: &str) -> (Serve, Relay) {
    let trusted = [("INBOXLAYER_TRUSTED_PROXIES", "[\"127.9.0.0/16\"]")];
    let relay = Relay::start();
    let queue = format!("[queue.relay]\nhost = \"127.0.0.1\"\nport = {}", relay.address.port());
    let daemon = Serve::start_in(&trusted, "resolvers = [\"127.0.0.1:9\"]", &queue, &format!("[limits]\n{limits}\n"));
    (daemon, relay)
}

/// Version 2, as HAProxy's `send-proxy-v2` sends it, with an extension after the addresses.
fn version_2(client: [u8; 4]) -> Vec<u8> {
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x13";
    let addresses = [client.as_slice(), &[192, 0, 2, 200], &[0x30, 0x39], &[0, 25]].concat();
    [head.as_slice(), &addresses, &[4, 0, 4, 0, 0, 0, 0]].concat()
}

fn version_1(client: [u8; 4]) -> Vec<u8> {
    format!("PROXY TCP4 {} 192.0.2.200 12345 25\r\n", Ipv4Addr::from(client)).into_bytes()
}

fn behind(header: &[u8], address: SocketAddr) -> Rude {
    let mut client = Rude::connect_from(PROXY, address);
    client.send(header);
    client
}

#[test]
fn the_header_names_the_client_and_what_is_behind_it_is_the_clients() {
    let (daemon, _relay) = daemon("connections_per_address = 2");
    let (_, inbox, token) = daemon.account("reader");
    for header in [version_1([192, 0, 2, 1]), version_2([192, 0, 2, 2])] {
        // Commands sent in one write with the header are not lost.
        let mut client = behind(&[header.as_slice(), b"EHLO client.example\r\n"].concat(), daemon.mx);
        client.reply("220 ");
        client.reply("250");
        client.envelope(READER);
        client.send("From: a@outside.example\r\nSubject: proxied\r\n\r\n.\r\n");
        client.reply("250 2.0.0");
    }
    let list = daemon.api().get(&format!("/api/v1/emails?inbox={inbox}")).expect(200);
    for message in crate::serve::rows(&list.body) {
        let raw = daemon.api().get(&format!("/api/v1/emails/{}/raw", message["id"].as_str().unwrap()));
        let raw = raw.expect(200).text;
        assert!(raw.contains("([192.0.2.1])") || raw.contains("([192.0.2.2])"), "{raw}");
    }
    // The header comes before TLS.
    let mut user = behind(&version_2([192, 0, 2, 3]), daemon.imaps);
    user.start_tls(&daemon.ca());
    assert!(user.line().unwrap().starts_with("* OK"));
    user.ask(&format!("LOGIN {READER} {token}"), "OK");

    // Limits apply to the client's address, not to the proxy's.
    let mut clients = Vec::new();
    for host in 1..=4 {
        for _ in 0..2 {
            let mut client = behind(&version_1([198, 51, 100, host]), daemon.submission);
            client.reply("220 ");
            clients.push(client);
        }
        behind(&version_2([198, 51, 100, host]), daemon.submission).reply("421 4.7.0");
    }
    // A health check by the proxy itself (LOCAL).
    let mut check = behind(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", daemon.submission);
    check.reply("220 ");
    let mut unknown = behind(b"PROXY UNKNOWN\r\n", daemon.imap);
    assert!(unknown.line().unwrap().starts_with("* OK"));
}

#[test]
fn a_missing_proxy_header_is_logged_with_the_fix_and_other_headers_are_ignored() {
    let (daemon, _relay) = daemon("");
    for address in [daemon.mx, daemon.submissions, daemon.imap] {
        let mut client = behind(b"EHLO client.example\r\nNOOP\r\n", address);
        assert_eq!(client.line(), None);
    }
    assert_eq!(behind(b"PROXY TCP4 192.0.2.1\r\n", daemon.mx).line(), None);
    let log = daemon.log();
    let claimed = |words: &str| log.lines().filter(|l| l.contains("WARN") && l.contains(words)).count();
    assert_eq!((claimed("no PROXY header received"), claimed("malformed")), (3, 1), "{log}");
    assert_eq!(claimed("send-proxy-v2"), 4, "{log}");
    // From other addresses, a header is an unknown SMTP command.
    let mut stranger = Rude::connect(daemon.mx);
    stranger.reply("220 ");
    stranger.say("PROXY TCP4 192.0.2.1 192.0.2.200 12345 25", "500 5.5.2");
}

#[test]
fn over_http_the_client_is_the_last_address_that_is_not_a_proxys() {
    let (daemon, _relay) = daemon("failed_logins = 2");
    let (_, inbox, token) = daemon.account("reader");
    let path = format!("/api/v1/emails?inbox={inbox}");
    let ask = |from: Ipv4Addr, token: &str, forwarded: &str| {
        let mut client = Rude::connect_from(from, daemon.http);
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nX-Forwarded-For: {forwarded}\r\n\r\n"
        ));
        client.line().unwrap()
    };
    let limited = |from, forwarded: &str| {
        let tries: Vec<_> = (0..3).map(|_| ask(from, "ilt_wrong", forwarded)).collect();
        assert!(tries[0].contains(" 401 ") && tries[2].contains(" 429 "), "{tries:?}");
    };
    // Addresses before it are the client's own text; those after it are proxies.
    limited(PROXY, "203.0.113.1, 192.0.2.1, 127.9.0.2");
    assert!(ask(PROXY, "ilt_wrong", "203.0.113.2, 192.0.2.1").contains(" 429 "));
    assert!(ask(PROXY, "ilt_wrong", "192.0.2.9").contains(" 401 "));
    assert!(ask(PROXY, &token, "192.0.2.10").contains(" 200 "));
    // A header from a client that is not a proxy is ignored.
    let direct = Ipv4Addr::new(127, 3, 0, 1);
    limited(direct, "192.0.2.20");
    assert!(ask(direct, "ilt_wrong", "192.0.2.21").contains(" 429 "));
    assert!(daemon.log().contains("add it to trusted_proxies"));
    // The API's own client still gets in.
    let api = Rest::new(&format!("http://{}", daemon.http), &token);
    api.call(
        Method::POST,
        &format!("/api/v1/emails/send?inbox_id={inbox}"),
        Some(json!({"to": "x@elsewhere.example", "text_body": "t"})),
        &[],
    )
    .expect(201);
}

/// HAProxy in front of the daemon, with a PROXY header of each version, and X-Forwarded-For over HTTP.
struct HaProxy {
    child: std::process::Child,
    mx: SocketAddr,
    imaps: SocketAddr,
    http: SocketAddr,
    _folder: tempfile::TempDir,
}

impl HaProxy {
    fn start(daemon: &Serve) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [mx, imaps, http] = std::array::from_fn(|_| free_address());
        let text = format!(
            "defaults\n mode tcp\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n source {PROXY}\n\
             listen mx\n bind {mx}\n server mail {} send-proxy-v2\n\
             listen imaps\n bind {imaps}\n server mail {} send-proxy\n\
             listen http\n mode http\n bind {http}\n option forwardfor\n server api {}\n",
            daemon.mx, daemon.imaps, daemon.http
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let child = std::process::Command::new("haproxy").arg("-db").arg("-f").arg(&file).spawn();
        let child = child.unwrap_or_else(|e| panic!("haproxy: {e}; tests/run installs what is missing"));
        let began = Instant::now();
        while std::net::TcpStream::connect(http).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "haproxy does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, mx, imaps, http, _folder: folder }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn behind_haproxy_the_client_is_the_client() {
    let (daemon, _relay) = daemon("failed_logins = 2");
    let (_, inbox, token) = daemon.account("reader");
    let proxy = HaProxy::start(&daemon);
    let outside = Ipv4Addr::new(127, 5, 0, 1);
    let mut client = Rude::connect_from(outside, proxy.mx);
    client.reply("220 ");
    client.say("EHLO client.example", "250");
    client.envelope(READER);
    client.send("From: a@outside.example\r\nSubject: proxied\r\n\r\n.\r\n");
    client.reply("250 2.0.0");
    let api = Rest::new(&format!("http://{}", proxy.http), &token);
    let list = api.get(&format!("/api/v1/emails?inbox={inbox}")).expect(200);
    let id = crate::serve::rows(&list.body)[0]["id"].as_str().unwrap().to_owned();
    let raw = api.get(&format!("/api/v1/emails/{id}/raw")).expect(200).text;
    assert!(raw.contains("from client.example ([127.5.0.1])"), "{raw}");
    // A client's wrong tokens lock out that client alone, over all listeners.
    let anonymous = |source: Ipv4Addr| {
        let mut anonymous = Rude::connect_from(source, proxy.imaps);
        anonymous.start_tls(&daemon.ca());
        assert!(anonymous.line().unwrap().starts_with("* OK"));
        anonymous
    };
    let mut guesser = anonymous(outside);
    for _ in 0..2 {
        guesser.ask(&format!("LOGIN {READER} ilt_wrong"), "NO [AUTHENTICATIONFAILED]");
    }
    guesser.ask("LOGIN nobody@inboxlayer.dev ilt_wrong", "NO [UNAVAILABLE]");
    anonymous(Ipv4Addr::new(127, 6, 0, 1)).ask(&format!("LOGIN {READER} {token}"), "OK");
    api.get("/api/v1/inboxes").expect(200);
}
