//! The sandbox as a whole: what it tells, and what it keeps.

use super::*;
use crate::dns::authority::play::{Fault, Kind};

fn options(dir: &Path) -> SandboxOptions {
    let _ = rustls::crypto::ring::default_provider().install_default();
    SandboxOptions { port_base: Some(0), data_dir: Some(dir.to_owned()), ready_json: None }
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
async fn a_restart_on_kept_data_finds_the_world_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let before = Prepared::new(options(dir.path())).await.unwrap();
    let first = first::account(&before.world.services, &before.world.state).await.unwrap();
    let ca = std::fs::read(&before.certificates.ca).unwrap();
    let set = state::RecordSet { values: vec!["kept".into()], ttl: 60 };
    before.world.state.note_records([("Acme.test.".into(), Kind::Txt, Some(set))]).await.unwrap();
    before.world.state.note_fault("broken.test", Some(Fault::Servfail)).await.unwrap();
    before.world.state.set_clock_ahead(86_400).await.unwrap();
    before
        .world
        .outside
        .keep("a@x.test".into(), vec!["b@y.test".into()], b"Subject: s\r\n\r\n".to_vec())
        .await
        .unwrap();
    let real = crate::clock::Timestamp::real();
    before.internet.request();
    before.world.services.store.close().await;
    drop(before);

    let after = Prepared::new(options(dir.path())).await.unwrap();
    let again = first::account(&after.world.services, &after.world.state).await.unwrap();
    assert_eq!((again.token, again.account_id, again.inbox_id), (first.token, first.account_id, first.inbox_id));
    assert_eq!(std::fs::read(&after.certificates.ca).unwrap(), ca);
    let resolver = &after.world.services.resolver;
    let kind = crate::domain::observed::RecordType::Txt;
    assert_eq!(resolver.lookup("acme.test", kind).await.records()[0].to_string(), "kept");
    assert!(!resolver.lookup("x.broken.test", kind).await.is_definite());
    assert!(after.world.services.clock.now().since(real) >= Duration::from_secs(86_400));
    assert_eq!(after.world.outside.list().len(), 1);
    // One sandbox at a time.
    assert!(matches!(Prepared::new(options(dir.path())).await, Err(SandboxError::Start(_))));
}
