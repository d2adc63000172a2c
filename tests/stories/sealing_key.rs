//! The sealing key in the environment is changed with `seal change` while the daemon is stopped. Afterwards the old key opens
//! nothing, and the daemon signs with the same DKIM keys.

use crate::clients::{Outcome, run};
use crate::daemon::Daemon;
use crate::outside::Outside;
use crate::verifiers::{dkimpy, opendkim};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::process::Command;

const DOMAIN: &str = "acme.test";
const DOMAINS: &str = "/api/v1/custom_domains";
const PRESENT: &str = "INBOXLAYER_SECRET_KEY";
const NEXT: &str = "INBOXLAYER_NEXT_SECRET_KEY";
/// 32 octets each, in base64.
const OLD: &str = "b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2w=";
const NEW: &str = "bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmU=";
const OTHER: &str = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyb3Q=";

/// Changes the sealing key of a daemon.
fn change(daemon: &Daemon, environment: &[(&str, &str)]) -> Outcome {
    let file = daemon.data_dir().with_file_name("inboxlayer.toml");
    std::fs::write(&file, format!("data_dir = \"{}\"\n", daemon.data_dir().display())).unwrap();
    program(daemon, &["seal", "change", "--config", file.to_str().unwrap()], environment)
}

fn program(daemon: &Daemon, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inboxlayer"));
    command.args(arguments).envs(daemon.engine().environment()).envs(environment.iter().copied());
    let outcome = run(command, b"");
    for secret in [OLD, NEW, OTHER] {
        assert!(!outcome.stdout.contains(secret) && !outcome.stderr.contains(secret), "a secret is shown: {outcome:?}");
    }
    outcome
}

/// Sends a message from the domain; both verifiers must accept it.
#[track_caller]
fn send(daemon: &Daemon, subject: &str) -> String {
    let name = daemon.ready("inbox").split('@').next().unwrap();
    let message = json!({"from": format!("{name}@{DOMAIN}"), "to": "ann@outside.test", "subject": subject, "text_body": "Hello."});
    daemon.api().post(&format!("/api/v1/emails/send?inbox_id={}", daemon.ready("inbox_id")), message).expect(201);
    let raw = Outside::of(daemon).wait_for(subject).raw;
    verified(daemon, &raw);
    raw
}

#[track_caller]
fn verified(daemon: &Daemon, raw: &str) {
    let dns = daemon.address("dns");
    assert_eq!(dkimpy(&dns, raw), [(DOMAIN.to_owned(), json!(true))], "{raw}");
    assert_eq!(opendkim(&dns, raw), Ok(()));
}

/// The key has 2048 bits, and its private half is nowhere in plaintext: a plaintext private key contains the modulus in binary,
/// while the public record has it in base64.
#[track_caller]
fn is_sealed(daemon: &Daemon, public: &str) {
    let key = STANDARD.decode(public.rsplit("p=").next().unwrap()).unwrap();
    // SubjectPublicKeyInfo (RFC 5280 §4.1.2.7): the modulus, then the exponent 65537.
    let (modulus, exponent) = key[key.len() - 261..].split_at(256);
    assert!(exponent == [2, 3, 1, 0, 1] && modulus[0] >= 0x80, "{public}");
    let files: Vec<_> = std::fs::read_dir(daemon.data_dir()).unwrap().map(|file| file.unwrap().path()).collect();
    let files = files.iter().filter(|path| path.is_file()).map(|path| std::fs::read(path).unwrap());
    // On a server, the table: octets are shown in hexadecimal.
    let table = "SELECT string_agg(CAST(k AS TEXT), ' ') FROM dkim_key k";
    let hex: String = modulus.iter().map(|octet| format!("{octet:02x}")).collect();
    let files: Vec<Vec<u8>> = match daemon.engine() {
        crate::engine::Engine::Sqlite => files.collect(),
        server @ crate::engine::Engine::Postgres(..) => vec![server.ask(&daemon.data_dir(), table).into_bytes()],
    };
    let holds = |part: &[u8]| files.iter().any(|bytes| bytes.windows(part.len()).any(|window| window == part));
    assert!(holds(public.as_bytes()), "the database is looked at");
    assert!(!holds(&modulus[..32]) && !holds(&modulus[224..]), "a private key lies there in the clear");
    assert!(!holds(&hex.as_bytes()[..64]) && !holds(&hex.as_bytes()[448..]), "a private key lies there in the clear");
}

#[test]
fn a_sealing_key_from_the_environment_is_changed_and_the_same_keys_sign_on() {
    let mut daemon = Daemon::start_in(&[(PRESENT, OLD)]);
    let id = daemon.api().post(DOMAINS, json!({"domain": DOMAIN})).expect(201).at("/id").to_owned();
    daemon.api().post(&format!("/sandbox/domains/{id}/publish"), json!({})).expect(200);
    let verify = (reqwest::Method::POST, format!("{DOMAINS}/{id}/verify"));
    let shown = daemon.api().call(verify.0, &verify.1, None, &[("Prefer", "wait=30")]).expect(200);
    assert_eq!(shown.at("/verified_status"), "verified");
    let before = send(&daemon, "before");
    let path = format!("{DOMAINS}/{id}/dkim_keys");
    let public = |daemon: &Daemon| {
        let keys = daemon.api().poll(&path, |keys| (0..3).all(|at| keys.body["data"][at]["public"].is_string()));
        [0, 1, 2].map(|at| keys.at(&format!("/data/{at}/public")).to_owned())
    };
    let keys = public(&daemon);

    let refused = change(&daemon, &[(PRESENT, OLD), (NEXT, NEW)]);
    assert!(refused.code == 1 && refused.stderr.contains("stop every daemon first"), "{refused:?}");
    daemon.kill();
    assert!(!daemon.data_dir().join("secret.key").exists(), "no key lies beside the database");
    keys.iter().for_each(|public| is_sealed(&daemon, public));

    // Nothing is changed without both keys, each of them one.
    for (environment, says) in [
        (&[(PRESENT, OLD)][..], "give the new one as INBOXLAYER_NEXT_SECRET_KEY"),
        (&[(PRESENT, OLD), (NEXT, "c2hvcnQ=")], "INBOXLAYER_NEXT_SECRET_KEY does not hold a key of 32 octets"),
        (&[(PRESENT, OTHER), (NEXT, NEW)], "cannot open what the store has sealed"),
    ] {
        let refused = change(&daemon, environment);
        assert!(refused.code == 1 && refused.stderr.contains(says), "{says}: {refused:?}");
    }
    // Completed, and run again, as after an interruption with unknown outcome.
    for _ in 0..2 {
        let changed = change(&daemon, &[(PRESENT, OLD), (NEXT, NEW)]).succeeded().stdout;
        let says = "4 private keys and webhook secrets re-encrypted: set INBOXLAYER_SECRET_KEY to INBOXLAYER_NEXT_SECRET_KEY from now on\n";
        assert_eq!(changed, says);
    }
    assert!(!daemon.data_dir().join("secret.key").exists() && !daemon.data_dir().join("secret.key.next").exists());

    // The old key is useless: the daemon does not start with it, and it cannot be used for another change.
    let data = daemon.data_dir();
    let on = daemon.engine().arguments();
    let start = ["sandbox", "--port-base", "0", "--data-dir", data.to_str().unwrap()];
    let start: Vec<&str> = start.into_iter().chain(on.iter().map(String::as_str)).collect();
    for refused in [program(&daemon, &start, &[(PRESENT, OLD)]), change(&daemon, &[(PRESENT, OLD), (NEXT, OTHER)])] {
        assert!(refused.code == 1 && refused.stderr.contains("cannot open what the store has sealed"), "{refused:?}");
    }

    daemon.set_environment(&[(PRESENT, NEW)]);
    daemon.launch();
    assert_eq!(public(&daemon), keys, "the DKIM keys are the same");
    verified(&daemon, &before);
    send(&daemon, "after");
}
