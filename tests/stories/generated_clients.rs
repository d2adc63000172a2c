//! What others make of the document and of the guide works against a daemon: clients in TypeScript that are generated from the document and
//! from the published contract, requests that are generated from the document, and the examples.

use crate::clients::{Outcome, run};
use crate::daemon::Daemon;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the walk looks for in an answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn python_package(program: &str) -> PathBuf {
    root().join("target/python/bin").join(program)
}

fn node(arguments: &[&Path]) -> Outcome {
    let mut command = Command::new("node");
    command.current_dir(root().join("target/typescript")).args(arguments);
    run(command, b"")
}

/// The contract that the published SDK carries.
fn published_contract() -> PathBuf {
    let where_is = "from importlib import resources\nimport inboxlayer_sdk\nprint(resources.files(inboxlayer_sdk) / 'openapi/api-v1.json')";
    let mut command = Command::new(python_package("python3"));
    command.args(["-c", where_is]);
    PathBuf::from(run(command, b"").succeeded().stdout.trim())
}

#[test]
fn typescript_clients_are_generated_compile_and_do_the_round() {
    let daemon = Daemon::start();
    let packages = root().join("target/typescript");
    assert!(packages.join("node_modules").exists(), "{} is missing: run tests/run, which makes it", packages.display());
    let folder = tempfile::tempdir_in(&packages).unwrap();
    for file in ["client.ts", "published.ts", "tsconfig.json", "package.json"] {
        std::fs::copy(root().join("tests/stories/typescript").join(file), folder.path().join(file)).unwrap();
    }
    let (document, types) = (folder.path().join("openapi.json"), folder.path().join("schema.d.ts"));
    std::fs::write(&document, daemon.api_as("").get("/openapi.json").expect(200).text).unwrap();
    let program = |path: &str| packages.join("node_modules").join(path);
    let (contract, published) = (published_contract(), folder.path().join("contract.d.ts"));
    for (described, types) in [(&document, &types), (&contract, &published)] {
        node(&[&program("openapi-typescript/bin/cli.js"), described, Path::new("-o"), types]).succeeded();
    }
    node(&[&program("typescript/bin/tsc"), Path::new("-p"), folder.path()]).succeeded();
    let arguments = ["http", "token", "user", "password"].map(|name| Path::new(daemon.ready(name)));
    for (client, more) in [("out/client.js", &[][..]), ("out/published.js", &[contract.as_path()])] {
        let client = folder.path().join(client);
        let outcome = node(&[&[client.as_path()], &arguments[..], more].concat()).succeeded();
        assert_eq!(outcome.stdout, "done\n");
    }
}

#[test]
fn the_examples_work() {
    let daemon = Daemon::start();
    let python = python_package("python3");
    for (program, example) in [("bash", "curl.sh"), ("node", "node.mjs"), (python.to_str().unwrap(), "sdk.py")] {
        let mut command = Command::new(program);
        command.arg(root().join("docs/examples").join(example));
        command.env("INBOXLAYER_URL", daemon.ready("http")).env("INBOXLAYER_TOKEN", daemon.ready("token"));
        let outcome = run(command, b"").succeeded();
        assert_eq!(outcome.stdout, "code: 482913\nreply: sent\n", "{example}: {outcome:?}");
    }
}

/// Requests made from the document, valid and not, some with ids that are there: no answer is a fault, has a status or a media type that
/// the document does not name for it, or differs from its schema.
#[test]
fn answers_to_generated_requests_are_as_the_document_says() {
    // Many requests are log-ins that fail.
    let daemon = Daemon::start_in(&[("INBOXLAYER_LIMITS__FAILED_LOGINS", "100000")]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("schemathesis.toml"), known_ids(&daemon)).unwrap();
    // Deleting comes last, since it finds what is there.
    for (token, only) in [
        ("token", ["--exclude-method", "DELETE"]),
        ("operator_token", ["--include-path-regex", "^/api/v1/(accounts|users|tokens|dkim_zone|queue)"]),
        ("token", ["--include-method", "DELETE"]),
    ] {
        daemon.api_as(daemon.ready(token)).get("/api/v1/tokens").expect(200);
        let mut command = Command::new(python_package("schemathesis"));
        command
            .current_dir(folder.path())
            .args(["--config-file", "schemathesis.toml", "run"])
            .arg(format!("{}/openapi.json", daemon.ready("http")))
            .args(["--header", &format!("Authorization: Bearer {}", daemon.ready(token))])
            .args(["--checks", CHECKS, "--phases", "fuzzing", "--max-examples", "6", "--seed", "20"])
            .args(only)
            .args(["--exclude-operation-id", "auth_log_out", "--exclude-operation-id", "tokens_revoke"])
            // A stream goes on until it is cut.
            .args(["--exclude-path-regex", "/stream$"])
            .args(["--suppress-health-check", "all", "--generation-database", "none", "--no-shrink"])
            .args(["--continue-on-failure", "--warnings", "off", "--no-color"]);
        let outcome = run(command, b"");
        assert_eq!(outcome.code, 0, "with {token}: {}\n{}", outcome.stdout, outcome.stderr);
    }
    // No request has ended the walk before its end.
    daemon.api().get("/api/v1/tokens").expect(200);
}

/// Ids of what is there, for the paths that take them: a walk with invented ids would see 404 alone.
fn known_ids(daemon: &Daemon) -> String {
    let (api, inbox) = (daemon.api(), daemon.ready("inbox_id"));
    let made = |path: &str, body| api.post(path, body).expect(201).at("/id").to_owned();
    let domain = made("/api/v1/custom_domains", json!({"domain": "walk.test"}));
    let name = daemon.ready("inbox");
    let file = json!({"filename": "a.txt", "content": "YQ=="});
    let sent =
        made("/api/v1/emails/send", json!({"inbox_id": inbox, "to": name, "text_body": "x", "attachments": [file]}));
    let queued =
        made("/api/v1/emails/send", json!({"inbox_id": inbox, "to": "defer@simulator.test", "text_body": "x"}));
    let draft = made("/api/v1/drafts", json!({"inbox_id": inbox, "subject": "x"}));
    let label = made("/api/v1/mailbox_labels", json!({"name": "walk"}));
    let token = made("/api/v1/tokens", json!({"name": "walk"}));
    let hold = json!({"action": "hold", "id": queued});
    daemon.api_as(daemon.ready("operator_token")).post("/api/v1/queue/actions", hold).expect(200);
    let webhook =
        made("/api/v1/webhook_subscriptions", json!({"url": "http://127.0.0.1:9/", "events": ["email.received"]}));
    let entry = json!({"direction": "send", "action": "block", "pattern": "blocked.test"});
    let entry = made("/api/v1/access_entries", entry);
    let device = made("/api/v1/notification_tokens", json!({"token": "walk", "platform": "ios"}));
    let alias = made(&format!("/api/v1/inboxes/{inbox}/aliases"), json!({"address": "hello@walk.test"}));
    let link = api.post(&format!("/api/v1/emails/{sent}/attachments/1/link"), json!({})).expect(201);
    let link = link.at("/url").rsplit('/').next().unwrap().to_owned();
    let thread = api.get(&format!("/api/v1/emails/{sent}")).expect(200).at("/thread_id").to_owned();
    let user = daemon.api().get("/api/v1/me").expect(200).at("/user_id").to_owned();
    let account = daemon.ready("account_id");
    let id = |id: &str| format!("\"path.id\" = \"{id}\"");
    let below = format!("\"path.inbox_id\" = \"{inbox}\", {}", id(&draft));
    // The first rule that fits an operation decides.
    let rules = [
        (CHANGES, "attachments/{link", format!("\"path.link\" = \"{link}\"")),
        (CHANGES, "emails/{id}/attachments/{number", format!("{}, \"path.number\" = 1", id(&sent))),
        (CHANGES, "inboxes/{id}/wait", format!("{}, \"query.timeout\" = 1", id(inbox))),
        ("DELETE", "inboxes/{id}/aliases/{alias", format!("{}, \"path.alias\" = \"{alias}\"", id(inbox))),
        (CHANGES, "inboxes/{id", id(inbox)),
        (CHANGES, "inboxes/{inbox_id", below),
        (CHANGES, "custom_domains/{id", id(&domain)),
        (CHANGES, "emails/{id", id(&sent)),
        (CHANGES, "drafts/{id", id(&draft)),
        (CHANGES, "mailbox_labels/{id", id(&label)),
        (CHANGES, "tokens/{id", id(&token)),
        (CHANGES, "email_threads/{id", id(&thread)),
        (CHANGES, "users/{id", id(&user)),
        (CHANGES, "accounts/{id", id(account)),
        (CHANGES, "queue/{id", id(&queued)),
        (ALL, "webhook_subscriptions/{id", id(&webhook)),
        (ALL, "access_entries/{id", id(&entry)),
        (ALL, "notification_tokens/{id", id(&device)),
    ];
    rules.into_iter().map(|(methods, path, parameters)| operations(methods, path, &parameters)).collect()
}

/// Methods of which a rule is. Most of what is deleted has an invented id, since the walk needs what is there.
const CHANGES: &str = "GET|PATCH|PUT|POST";
const ALL: &str = "GET|PATCH|PUT|POST|DELETE";

/// Parameters of the operations of paths that begin with `path`.
fn operations(methods: &str, path: &str, parameters: &str) -> String {
    let name = format!("^({methods}) /api/v1/{}", path.replace('{', "\\\\{").replace('}', "\\\\}"));
    format!("[[operations]]\ninclude-name-regex = \"{name}\"\nparameters = {{ {parameters} }}\n\n")
}
