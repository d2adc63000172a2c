//! The routes over real HTTP.

use super::super::{Prepared, SandboxOptions};
use super::*;
use crate::verification::observed::{Answer, RecordType};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Running {
    world: World,
    base: String,
    client: reqwest::Client,
    _dir: tempfile::TempDir,
}

async fn start() -> Running {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let options = SandboxOptions { port_base: Some(0), data_dir: Some(dir.path().into()), ..SandboxOptions::default() };
    let world = Prepared::new(options).await.unwrap().world;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let app = router(world.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    Running { world, base, client, _dir: dir }
}

impl Running {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.client.request(method, format!("{}/sandbox{path}", self.base));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Answer {
        self.world.services.resolver.lookup(name, kind).await
    }
}

#[tokio::test]
async fn records_and_faults_are_seen_by_the_daemons_own_resolver() {
    let sandbox = start().await;
    let set = json!({"name": "Acme.test.", "type": "mx", "values": ["10 mail.acme.test."]});
    assert_eq!(sandbox.call(Method::PUT, "/dns/records", Some(set)).await.0, 200);
    let found = sandbox.lookup("acme.test", RecordType::Mx).await;
    assert_eq!(found.records()[0].to_string(), "10 mail.acme.test");

    let fault = |fault: &str| Some(json!({"name": "acme.test", "fault": fault}));
    assert_eq!(sandbox.call(Method::POST, "/dns/faults", fault("servfail")).await.0, 204);
    assert!(!sandbox.lookup("acme.test", RecordType::Mx).await.is_definite());
    assert_eq!(sandbox.call(Method::POST, "/dns/faults", fault("none")).await.0, 204);
    assert!(sandbox.lookup("acme.test", RecordType::Mx).await.is_definite());

    assert_eq!(sandbox.call(Method::DELETE, "/dns/records?name=acme.test&type=MX", None).await.0, 204);
    assert!(matches!(sandbox.lookup("acme.test", RecordType::Mx).await, Answer::NoRecord { .. }));
    assert_eq!(sandbox.call(Method::DELETE, "/dns/records?name=acme.test&type=MX", None).await.0, 404);
    // The records of the platform's operator are published.
    let (name, value) = sandbox.world.services.keys.platform_record();
    assert_eq!(sandbox.lookup(&name, RecordType::Txt).await.records()[0].to_string(), value);
}

#[tokio::test]
async fn invalid_requests_are_rejected_with_the_reason() {
    let sandbox = start().await;
    let records = "/dns/records";
    for (method, path, body, status, word) in [
        (Method::PUT, records, json!({"name": "a.test", "type": "SPF", "values": ["x"]}), 422, "SPF"),
        (Method::PUT, records, json!({"name": "a.test", "type": "MX", "values": ["x"]}), 422, "10 mail"),
        (Method::PUT, records, json!({"name": "a..test", "type": "TXT", "values": ["x"]}), 422, "a..test"),
        (Method::PUT, records, json!({"name": "a.test", "type": "TXT", "values": []}), 422, "values"),
        (Method::PUT, records, json!({"name": "a.test", "type": "TXT", "values": ["x"], "tll": 5}), 422, "tll"),
        (Method::PUT, records, json!({"name": "a.test", "type": "TXT", "values": ["x"], "ttl": -1}), 422, "-1"),
        (Method::POST, "/dns/faults", json!({"name": "a.test", "fault": "flood"}), 422, "flood"),
        (Method::POST, "/inbound", json!({"mail_from": "x@", "rcpt_to": "a@b.test", "raw": ""}), 422, "mail_from"),
        (Method::POST, "/inbound", json!({"mail_from": "", "rcpt_to": [], "raw": ""}), 422, "rcpt_to"),
        (Method::POST, "/inbound", json!({"mail_from": "", "rcpt_to": "a@b>\r\nDATA", "raw": ""}), 422, "rcpt_to"),
        (Method::POST, "/clock", json!({"advance_seconds": -1}), 422, "-1"),
        (Method::POST, "/clock", json!({"advance_seconds": u64::MAX}), 422, "advance_seconds"),
        (Method::POST, "/clock", json!({}), 422, "advance_seconds"),
        (Method::POST, "/domains/dom_x/publish", json!({}), 404, "Nothing with this"),
    ] {
        let (answered, problem) = sandbox.call(method, path, Some(body)).await;
        assert_eq!(answered, status, "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{word}: {problem}");
        assert!(problem["code"].is_string());
    }
    assert_eq!(sandbox.call(Method::GET, "/mail/..%2Fsandbox.json/raw", None).await.0, 404);
    assert_eq!(sandbox.call(Method::DELETE, "/dns/records?name=a.test", None).await.0, 400);
    let url = format!("{}/sandbox/clock", sandbox.base);
    let broken = sandbox.client.post(&url).header("content-type", "application/json").body("{").send().await.unwrap();
    assert_eq!(broken.status(), 400);
    assert_eq!(broken.headers()["content-type"], "application/problem+json");
    let form = sandbox.client.post(&url).body("{\"advance_seconds\": 1}").send().await.unwrap();
    assert_eq!(form.status(), 415);
}

#[tokio::test]
async fn only_this_machine_is_served() {
    let sandbox = start().await;
    let url = format!("{}/sandbox/mail", sandbox.base);
    for (header, value, status) in [
        ("host", "localhost:80", 200),
        ("host", "LOCALHOST", 200),
        ("host", "[::1]:80", 200),
        ("host", "[::ffff:127.0.0.1]", 200),
        ("host", "127.0.0.1", 200),
        ("host", "127.8.9.1:65535", 200),
        ("host", "rebound.example.org", 403),
        ("host", "localhost.example.org", 403),
        ("host", "127.0.0.1.example.org:80", 403),
        ("host", "127.0.0.1:80@example.org", 403),
        ("host", "localhost:80@example.org:80", 403),
        ("host", "example.org@127.0.0.1", 403),
        ("host", "[::1]example.org", 403),
        ("host", "[::1].example.org:80", 403),
        ("host", "[::2]", 403),
        ("host", "[::1", 403),
        ("host", "::1", 403),
        ("host", "localhost:+80", 403),
        ("host", "localhost:", 403),
        ("host", "localhost:65536", 403),
        ("host", "localhost#example.org", 403),
        ("host", "0.0.0.0", 403),
        ("host", "127.1", 403),
        ("origin", "http://localhost:3000", 200),
        ("origin", "https://example.org", 403),
        ("origin", "http://localhost:3000@example.org", 403),
        ("origin", "http://localhost.example.org", 403),
        ("origin", "null", 403),
    ] {
        let answer = sandbox.client.get(&url).header(header, value).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{header}: {value}");
    }
    // No Host, two of them, and a different one in the request line.
    for (request, status) in [
        ("GET /sandbox/mail HTTP/1.0\r\n\r\n", "403"),
        ("GET /sandbox/mail HTTP/1.0\r\nHost:\r\n\r\n", "403"),
        ("GET /sandbox/mail HTTP/1.0\r\nHost: localhost\r\n\r\n", "200"),
        ("GET /sandbox/mail HTTP/1.0\r\nHost: localhost\r\nHost: example.org\r\n\r\n", "403"),
        ("GET http://example.org/sandbox/mail HTTP/1.0\r\nHost: localhost\r\n\r\n", "403"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(sandbox.base.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}: {answer}");
    }
}
