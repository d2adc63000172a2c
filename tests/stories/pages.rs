//! The examples of docs/sandbox.md and docs/api.md are correct: the commands work, and the JSON has the fields of real responses.

use crate::clients::run;
use crate::daemon::Daemon;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const DOMAINS: &str = "/api/v1/custom_domains";

pub fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let block = |part: &str| part.split("```").next().unwrap().to_owned();
    text.split(&format!("```{language}\n")).skip(1).map(block).collect()
}

/// A verified domain; its id.
fn verified(daemon: &Daemon) -> String {
    let api = daemon.api();
    let id = api.post(DOMAINS, json!({"domain": "acme.test"})).expect(201).at("/id").to_owned();
    api.post(&format!("/sandbox/domains/{id}/publish"), json!({})).expect(200);
    let verify = format!("{DOMAINS}/{id}/verify");
    let shown = api.call(reqwest::Method::POST, &verify, None, &[("Prefer", "wait=30")]).expect(200);
    assert_eq!(shown.at("/verified_status"), "verified");
    id
}

#[test]
fn the_example_of_the_sandbox_works_when_pasted() {
    let daemon = Daemon::start();
    verified(&daemon);
    let program = Path::new(env!("CARGO_BIN_EXE_inboxlayer")).parent().unwrap();
    let mut command = Command::new("bash");
    command
        .arg("-eu")
        .env("INBOXLAYER_URL", daemon.ready("http"))
        .env("INBOXLAYER_TOKEN", daemon.ready("token"))
        .env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()));
    let [block] = blocks("docs/sandbox.md", "sh").try_into().unwrap();
    let outcome = run(command, block.as_bytes()).succeeded();
    assert!(outcome.stdout.contains("acme.test  failed\n"), "{outcome:?}");
}

#[test]
fn the_guide_of_the_api_works_when_pasted() {
    let daemon = Daemon::start();
    let mut command = Command::new("bash");
    command.arg("-eu").env("INBOXLAYER_URL", daemon.ready("http")).env("INBOXLAYER_TOKEN", daemon.ready("token"));
    let outcome = run(command, blocks("docs/api.md", "sh").concat().as_bytes()).succeeded();
    for shown in [
        "\"openapi\":\"3.1.0\"",
        "\"error_code\":\"invalid_credentials\"",
        "\"permissions\":[\"messages:read\"]",
        "._domainkey IN CNAME",
        "\"verified_status\":\"verified\"",
        "\"codes\":[{\"code\":\"482913\"",
        "\"labels\":[\"archive\"]",
        "; rel=\"next\"",
        "is unknown; known: account_id, client_id, custom_domain_id",
    ] {
        assert!(outcome.stdout.contains(shown), "{shown}: {outcome:?}");
    }
}

#[test]
fn the_json_of_the_api_has_the_fields_that_are_there() {
    let daemon = Daemon::start();
    let (api, id, inbox) = (daemon.api(), verified(&daemon), daemon.ready("inbox_id"));
    let shown: Vec<Value> =
        blocks("docs/api.md", "json").iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let get = |path: String| api.get(&path).expect(200).body;
    let (domain, first) = (format!("{DOMAINS}/{id}"), |list: Value| list["data"][0].clone());
    let name = daemon.ready("inbox").split('@').next().unwrap();
    let message = json!({"to": "ann@example.org", "subject": "s", "text_body": "t"});
    let live = [
        get(format!("/api/v1/inboxes/{inbox}")),
        get(domain.clone()),
        first(get(format!("{domain}/checks"))),
        first(get(format!("{domain}/events"))),
        api.post(&format!("/api/v1/emails/send?inbox_id={inbox}"), message).expect(201).body,
        get(format!("/api/v1/inboxes/{inbox}/sending_identity?login={name}@acme.test")),
    ];
    assert_eq!(shown.len(), live.len());
    let fields = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<BTreeSet<String>>());
    for (shown, live) in shown.iter().zip(&live) {
        for part in
            ["", "/addresses/0", "/capabilities", "/records/0", "/records/0/evidence/0", "/spf", "/dkim", "/dmarc"]
        {
            // A string in the example refers to JSON shown elsewhere.
            if let Some(shown) = shown.pointer(part).and_then(fields) {
                assert_eq!(Some(shown), live.pointer(part).and_then(fields), "{part} of {live}");
            }
        }
    }
}
