//! The sandbox as a whole.

use super::*;
use crate::dns::authority::play::{Fault, Kind};

fn options(dir: &Path) -> SandboxOptions {
    let _ = rustls::crypto::ring::default_provider().install_default();
    SandboxOptions { port_base: Some(0), data_dir: Some(dir.to_owned()), ..SandboxOptions::default() }
}

async fn stop(sandbox: Sandbox) {
    sandbox.app.stop().await;
    sandbox.internet.request();
}

#[tokio::test]
async fn the_ready_file_has_every_key_and_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(options(&dir.path().join("data"))).await.unwrap();
    let path = dir.path().join("ready.json");
    sandbox.ready.write(&path).unwrap();
    let ready: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for key in ["submission", "submissions", "mx", "imap", "imaps", "dns"] {
        assert!(ready[key].as_str().unwrap().parse::<SocketAddr>().unwrap().port() > 0, "{key}");
    }
    assert!(ready["http"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    for key in ["token", "operator_token", "account_id", "inbox_id"] {
        assert!(!ready[key].as_str().unwrap().is_empty(), "{key}");
    }
    assert_eq!(ready["inbox"], "demo@inboxlayer.dev");
    assert!(
        Path::new(ready["ca"].as_str().unwrap()).is_file() && Path::new(ready["data_dir"].as_str().unwrap()).is_dir()
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(sandbox.ready.page().contains(ready["token"].as_str().unwrap()));
    stop(sandbox).await;
}

#[tokio::test]
async fn a_restart_on_kept_data_restores_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let before = Prepared::new(options(dir.path())).await.unwrap();
    let first = first::account(&before.world.services, &before.world.state).await.unwrap();
    let ca = std::fs::read(&before.certificates.ca).unwrap();
    let set = state::RecordSet { values: vec!["kept".into()], ttl: 60 };
    before.world.state.note_records([("Acme.test.".into(), Kind::Txt, Some(set))]).await.unwrap();
    before.world.state.note_fault("broken.test", None, Some(Fault::Servfail)).await.unwrap();
    before.world.state.set_clock_ahead(86_400).await.unwrap();
    before
        .world
        .outside
        .keep("a@x.test".into(), vec!["b@y.test".into()], b"Subject: s\r\n\r\n".to_vec())
        .await
        .unwrap();
    let real = crate::clock::Timestamp::real();
    before.internet.request();
    // The DNS server reads the store, whose lock is released with its last user.
    assert!(before.internet.finished(PATIENCE).await);
    before.world.services.store.close().await;
    drop(before);

    let after = Prepared::new(options(dir.path())).await.unwrap();
    let again = first::account(&after.world.services, &after.world.state).await.unwrap();
    assert_eq!((again.token, again.account_id, again.inbox_id), (first.token, first.account_id, first.inbox_id));
    assert_eq!(std::fs::read(&after.certificates.ca).unwrap(), ca);
    let resolver = &after.world.services.resolver;
    let kind = crate::verification::observed::RecordType::Txt;
    assert_eq!(resolver.lookup("acme.test", kind).await.records()[0].to_string(), "kept");
    assert!(!resolver.lookup("x.broken.test", kind).await.is_definite());
    assert!(after.world.services.clock.now().since(real) >= Duration::from_secs(86_400));
    assert_eq!(after.world.outside.list().len(), 1);
    // Only one sandbox at a time.
    assert!(matches!(Prepared::new(options(dir.path())).await, Err(SandboxError::Start(_))));
}

struct Caller {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Caller {
    fn of(sandbox: &Sandbox) -> Self {
        let ready = serde_json::to_value(&sandbox.ready).unwrap();
        let text = |key: &str| ready[key].as_str().unwrap().to_owned();
        let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        Self { client, base: text("http"), token: text("token") }
    }

    async fn post(&self, path: &str, body: serde_json::Value) -> serde_json::Value {
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth(&self.token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn get(&self, path: &str) -> serde_json::Value {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        request.send().await.unwrap().json().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_from_outside_arrives_through_the_mx_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(options(dir.path())).await.unwrap();
    let caller = Caller::of(&sandbox);
    let inbound = |to: &str, raw: &str| serde_json::json!({"mail_from": "ann@example.org", "rcpt_to": to, "raw": raw});
    for (to, raw, code) in [
        ("demo@inboxlayer.dev", "Subject: plain\n\nhello\n", 250),
        // A dot as the very first octet does not end the message.
        ("demo@inboxlayer.dev", ".\r\nMAIL FROM:<eve@example.net>\r\n", 250),
        ("demo@inboxlayer.dev", "Subject: dots\r\n\r\n.\r\n..\r\n", 250),
        ("demo@inboxlayer.dev", "Subject: smuggled\r\n\r\na\n.\r\nb\r\n", 550),
        ("nobody@inboxlayer.dev", "Subject: x\n\n", 550),
        ("a@elsewhere.example", "Subject: x\n\n", 554),
    ] {
        let reply = caller.post("/sandbox/inbound", inbound(to, raw)).await;
        assert_eq!(reply["code"], code, "{raw:?}: {reply}");
        assert!(reply["reply"].as_str().unwrap().starts_with(&code.to_string()) && reply["enhanced_code"].is_string());
    }
    let ready = serde_json::to_value(&sandbox.ready).unwrap();
    let messages = caller.get(&format!("/api/v1/emails?inbox={}", ready["inbox_id"].as_str().unwrap())).await;
    assert_eq!(messages["data"].as_array().unwrap().len(), 3, "{messages}");
    stop(sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn advancing_the_clock_runs_every_check_of_a_window() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(options(dir.path())).await.unwrap();
    let caller = Caller::of(&sandbox);
    let domain = caller.post("/api/v1/custom_domains", serde_json::json!({"domain": "acme.test"})).await;
    let path = format!("/api/v1/custom_domains/{}", domain["id"].as_str().unwrap());
    let advance = |hours: u64| serde_json::json!({"advance_seconds": hours * 3600});
    caller.post("/sandbox/clock", advance(71)).await;
    let pending = caller.get(&path).await;
    assert_eq!(pending["verified_status"], "pending");
    // Checks ran on the way, not only at the end.
    assert_ne!(pending["last_checked_at"], serde_json::Value::Null);
    caller.post("/sandbox/clock", advance(2)).await;
    assert_eq!(caller.get(&path).await["verified_status"], "failed");
    let checks = dir.path().join("sandbox.json");
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(checks).unwrap()).unwrap();
    assert_eq!(kept["clock_ahead_seconds"], 73 * 3600);
    stop(sandbox).await;
}

#[tokio::test]
async fn limits_can_be_set_and_the_sandboxs_own_keys_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let prepare = |texts: &[&str]| {
        let settings = texts.iter().map(|text| Setting::of_argument(text).unwrap()).collect();
        Prepared::new(SandboxOptions { settings, ..options(&dir.path().join("data")) })
    };
    for own in ["http.listen=127.0.0.1:1", "data_dir=/x", "dkim.zone=x.test", "smtp={}"] {
        let refused = prepare(&[own]).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, SandboxError::OwnKey(_)), "{own}: {refused}");
    }
    assert!(matches!(prepare(&["limits.inboxs=1"]).await, Err(SandboxError::Config(_))));
    let prepared = prepare(&["limits.inboxes=3", "limits.connections_per_address=50"]).await.unwrap();
    let limits = &prepared.world.services.config.limits;
    assert_eq!((limits.inboxes, limits.connections_per_address), (3, 50));
    prepared.internet.request();
}
