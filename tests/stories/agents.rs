//! Agents use the MCP server: the official clients of Python and TypeScript drive every tool over streamable HTTP and over standard
//! input and output; a token sees the tools that it may use; what is malformed is refused.

use crate::clients::{Outcome, python, run};
use crate::daemon::Daemon;
use crate::pages::blocks;
use crate::rest::{Answer, Rest};
use crate::tidy::read;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_inboxlayer");
const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");

/// A message as the clients send it.
fn post(api: &Rest, message: &Value) -> Answer {
    api.call(Method::POST, "/mcp", Some(message.clone()), &[ACCEPT])
}

fn call(api: &Rest, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    let answer = post(api, &json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params})).expect(200);
    assert_eq!(answer.body["id"], 7, "{}", answer.text);
    answer.body["result"].clone()
}

/// The code of a call that fails.
fn refusal(api: &Rest, tool: &str, arguments: Value) -> String {
    let result = call(api, tool, arguments);
    assert_eq!(result["isError"], true, "{result}");
    result["structuredContent"]["code"].as_str().unwrap().to_owned()
}

fn tools(api: &Rest) -> BTreeSet<String> {
    let answer = post(api, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).expect(200);
    let tools = answer.body["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn token(daemon: &Daemon, body: Value) -> (String, String) {
    let made = daemon.api().post("/api/v1/tokens", body).expect(201);
    (made.at("/token").to_owned(), made.at("/id").to_owned())
}

#[test]
fn the_python_client_drives_every_tool() {
    let daemon = Daemon::start();
    let ready = daemon.ready_file();
    for (transport, mode) in [("http", "auto"), ("http", "legacy"), ("stdio", "auto"), ("stdio", "legacy")] {
        let outcome = python("agent.py", &[ready.to_str().unwrap(), transport, mode, PROGRAM], b"").succeeded();
        let revision = if mode == "auto" { "2026-07-28" } else { "2025-11-25" };
        assert_eq!(outcome.stdout, format!("18 tools, revision {revision}\n"), "{transport}, {mode}");
    }
}

#[test]
fn the_typescript_client_drives_every_tool() {
    let daemon = Daemon::start();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("target/typescript");
    assert!(packages.join("node_modules/@modelcontextprotocol").exists(), "npm packages are missing: run tests/run");
    let script = tempfile::tempdir_in(&packages).unwrap();
    let program = script.path().join("agent.mjs");
    std::fs::copy(root.join("tests/stories/typescript/agent.mjs"), &program).unwrap();
    for transport in ["http", "stdio"] {
        let mut command = Command::new("node");
        command.arg(&program).arg(daemon.ready_file()).args([transport, PROGRAM]);
        assert_eq!(run(command, b"").succeeded().stdout, "18 tools\n", "{transport}");
    }
}

#[test]
fn a_token_sees_the_tools_that_it_may_use() {
    let daemon = Daemon::start();
    let inbox = daemon.ready("inbox_id");
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let all = tools(&daemon.api());

    let made = daemon.cli(daemon.ready("token"), &["token", "create", "--permission", "drafts:write"]).succeeded();
    let drafts = daemon.api_as(made.stdout.trim());
    assert_eq!(tools(&drafts), set(&["create_draft", "update_draft"]));
    let draft = json!({"inbox_id": inbox, "to": ["ann@example.org"], "subject": "For review", "text_body": "x"});
    let made = call(&drafts, "create_draft", draft.clone());
    let id = made["structuredContent"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    for (tool, arguments) in [
        ("send_draft", json!({"draft_id": id})),
        ("send_email", draft),
        ("reply_to_email", json!({"email_id": id, "text_body": "x"})),
        ("read_email", json!({"email_id": id})),
        ("list_domains", json!({})),
    ] {
        assert_eq!(refusal(&drafts, tool, arguments), "insufficient_permission", "{tool}");
    }

    let (reader, _) = token(&daemon, json!({"permissions": ["inboxes:read", "messages:read", "domains:read"]}));
    let reads = set(&[
        "get_domain",
        "get_inbox",
        "list_domains",
        "list_emails",
        "list_inboxes",
        "read_email",
        "search_emails",
        "wait_for_email",
    ]);
    assert_eq!(tools(&daemon.api_as(&reader)), reads);

    // Of one inbox: what concerns the account is hidden and refused, and so is another inbox.
    let (own, _) = token(&daemon, json!({"scope": "inboxes", "inbox_ids": [inbox]}));
    let own = daemon.api_as(&own);
    let whole_account = set(&["create_domain", "create_inbox", "get_domain", "list_domains", "verify_domain"]);
    assert_eq!(tools(&own), &all - &whole_account);
    assert_eq!(refusal(&own, "list_domains", json!({})), "insufficient_scope");
    let other = daemon.api().post("/api/v1/inboxes", json!({"name": "other-desk"})).expect(201);
    assert_eq!(refusal(&own, "list_emails", json!({"inbox_id": other.at("/id")})), "not_found");
    let listed = call(&own, "list_inboxes", json!({}));
    assert_eq!(listed["structuredContent"]["inboxes"].as_array().unwrap().len(), 1, "{listed}");

    let operator = daemon.api_as(daemon.ready("operator_token"));
    let refused = post(&operator, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).expect(403);
    assert_eq!(refused.at("/code"), "insufficient_scope");
}

#[test]
fn the_page_names_every_tool_and_its_configurations_are_json() {
    let daemon = Daemon::start();
    let page = read(Path::new("docs/mcp.md"));
    let (_, table) = page.split_once("| tool | permission | hints |").unwrap();
    let table = table.split("\n\n").next().unwrap();
    let named = table.split('`').skip(1).step_by(2).filter(|name| name.contains('_')).map(str::to_owned);
    assert_eq!(named.collect::<BTreeSet<_>>(), tools(&daemon.api()));
    let blocks = blocks("docs/mcp.md", "json");
    let parsed: Vec<Value> = blocks.iter().map(|block| serde_json::from_str(block).unwrap()).collect();
    let arguments = parsed.iter().find_map(|value| value.pointer("/mcpServers/inboxlayer/args")).unwrap();
    assert_eq!(arguments, &json!(["mcp", "--url", "https://mail.example.com"]));
}

#[test]
fn a_revoked_token_ends_what_waits_and_opens_nothing() {
    let daemon = Daemon::start();
    let (revoked, id) = token(&daemon, json!({"name": "agent"}));
    let api = daemon.api_as(&revoked);
    let since = daemon.api().get("/api/v1/events").expect(200).at("/meta/next_cursor").to_owned();
    let arguments = json!({"inbox_id": daemon.ready("inbox_id"), "since": since, "timeout": 60, "subject": "never"});
    let params = json!({"name": "wait_for_email", "arguments": arguments});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let mut waiting = raw(&daemon, &revoked, &body);
    daemon.api().poll("/api/v1/tokens", |answer| {
        let tokens = answer.body["data"].as_array().unwrap();
        tokens.iter().any(|token| token["id"] == id.as_str() && !token["last_used_at"].is_null())
    });
    daemon.api().delete(&format!("/api/v1/tokens/{id}")).expect(204);
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("unauthorized"), "{answer}");
    for method in ["ping", "tools/list", "initialize"] {
        let refused = post(&api, &json!({"jsonrpc": "2.0", "id": 1, "method": method})).expect(401);
        assert_eq!(refused.at("/code"), "unauthorized");
        assert!(refused.headers.contains_key("www-authenticate"));
    }
}

/// Sends a message, and leaves its answer unread.
fn raw(daemon: &Daemon, token: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.ready("http").trim_start_matches("http://")).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nAccept: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        ACCEPT.1,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

#[test]
fn what_is_malformed_is_refused_and_never_a_fault() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let (client, runtime) = (reqwest::Client::new(), tokio::runtime::Runtime::new().unwrap());
    let send = |method: &str, body: Vec<u8>, headers: &[(&str, &str)]| -> (u16, Value) {
        let url = format!("{}/mcp", daemon.ready("http"));
        let mut request = client.request(method.parse().unwrap(), url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        runtime.block_on(async {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
        })
    };
    let bearer = format!("Bearer {}", daemon.ready("token"));
    let (token, json_type) = (("authorization", bearer.as_str()), ("content-type", "application/json"));
    let usual = [token, json_type, ACCEPT];
    let ping = || json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string().into_bytes();
    let deep = "[".repeat(100_000).into_bytes();
    /// Status, method, body, fields of the header.
    type Case<'a> = (u16, &'a str, Vec<u8>, &'a [(&'a str, &'a str)]);
    let cases: &[Case<'_>] = &[
        (400, "POST", b"{".to_vec(), &usual),
        (400, "POST", Vec::new(), &usual),
        (400, "POST", vec![0xff; 100], &usual),
        (400, "POST", deep, &usual),
        (400, "POST", format!("[{}]", String::from_utf8(ping()).unwrap()).into_bytes(), &usual),
        (415, "POST", b"7".to_vec(), &usual),
        (415, "POST", b"{\"jsonrpc\": \"1.0\", \"id\": 1, \"method\": \"ping\"}".to_vec(), &usual),
        (415, "POST", ping(), &[token, ACCEPT, ("content-type", "text/plain")]),
        (406, "POST", ping(), &[token, json_type]),
        (406, "POST", ping(), &[token, json_type, ("accept", "text/html")]),
        (400, "POST", ping(), &[token, json_type, ACCEPT, ("mcp-protocol-version", "1999-01-01")]),
        (200, "POST", ping(), &[token, json_type, ACCEPT, ("mcp-session-id", "made-up")]),
        (401, "POST", ping(), &[json_type, ACCEPT]),
        (401, "POST", ping(), &[json_type, ACCEPT, ("authorization", "Bearer ilt_wrong")]),
        (403, "POST", ping(), &[token, json_type, ACCEPT, ("origin", "https://attacker.example")]),
        (405, "GET", Vec::new(), &usual),
        (405, "DELETE", Vec::new(), &usual),
        (405, "PUT", ping(), &usual),
        (202, "POST", b"{\"jsonrpc\": \"2.0\", \"method\": \"notifications/initialized\"}".to_vec(), &usual),
        (400, "POST", b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": {}}".to_vec(), &usual),
        (200, "POST", ping(), &usual),
    ];
    for (status, method, body, headers) in cases {
        let (got, _) = send(method, body.clone(), headers);
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(got, *status, "{method} {shown} {headers:?}");
    }
    // One octet too many: all of it is read before it is refused.
    let mut answer = String::new();
    raw(&daemon, daemon.ready("token"), &" ".repeat((4 << 20) + 1)).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // What is JSON-RPC gets an error of JSON-RPC.
    for (method, params, code) in [
        ("nothing/such", json!({}), -32601),
        ("resources/list", json!({}), -32601),
        ("tools/call", json!({"name": "no_such_tool"}), -32602),
    ] {
        let answer = post(&api, &json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params}));
        assert!(answer.status < 500, "{method}: {}", answer.text);
        assert_eq!((&answer.body["id"], &answer.body["error"]["code"]), (&json!("a"), &json!(code)), "{}", answer.text);
    }
    for params in
        [json!(null), json!([]), json!({}), json!({"name": 7}), json!({"name": "read_email", "arguments": []})]
    {
        let answer = post(&api, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}));
        assert!(answer.status < 500 && answer.body.get("result").is_none(), "{params}: {}", answer.text);
    }
    for arguments in [
        json!({"email_id": ""}),
        json!({"email_id": "../inboxes"}),
        json!({"email_id": "msg_/../../x?y#z"}),
        json!({"email_id": 7}),
        json!({"email_id": {"a": [1, {"b": null}]}}),
        json!({"email_id": "msg_\u{0}\r\n"}),
        json!({"email_id": "msg_x", "offset": -1}),
        json!({"email_id": null}),
    ] {
        let code = refusal(&api, "read_email", arguments.clone());
        assert!(["invalid_request", "not_found"].contains(&code.as_str()), "{arguments}: {code}");
    }
    let key = json!({"inbox_id": daemon.ready("inbox_id"), "text_body": "x", "to": "a@b.org", "idempotency_key": "a\r\nb: c"});
    assert_eq!(refusal(&api, "send_email", key), "invalid_request");
    assert!(!daemon.log().contains(" ERROR "), "an error is in the log");
}

#[test]
fn standard_input_and_output_are_bridged() {
    let daemon = Daemon::start();
    let started = |url: &str, token: Option<&str>, input: &str| -> Outcome {
        let mut command = Command::new(PROGRAM);
        command.args(["mcp", "--url", url]).env_remove("INBOXLAYER_TOKEN").env_remove("INBOXLAYER_URL");
        if let Some(token) = token {
            command.env("INBOXLAYER_TOKEN", token);
        }
        run(command, input.as_bytes())
    };
    let (url, token) = (daemon.ready("http"), daemon.ready("token"));
    let fails = |outcome: Outcome, code: i32, what: &str| {
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert_eq!((outcome.code, lines.len(), outcome.stdout.as_str()), (code, 2, ""), "{outcome:?}");
        assert!(lines[0].starts_with("error: ") && lines[0].contains(what), "{outcome:?}");
        assert!(lines[1].starts_with("  fix: "), "{outcome:?}");
    };
    fails(started(url, None, ""), 2, "no API token");
    fails(started(url, Some("ilt_wrong"), ""), 1, "invalid, expired or revoked");
    fails(started(url, Some(daemon.ready("operator_token")), ""), 1, "scope");
    fails(started("http://127.0.0.1:1", Some(token), ""), 1, "cannot reach the daemon");
    fails(started(&format!("{url}/elsewhere"), Some(token), ""), 1, "is not an Inboxlayer daemon");

    let too_long = "x".repeat(5 << 20);
    let lines = [
        "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"ping\"}",
        "",
        "nonsense",
        too_long.as_str(),
        "{\"jsonrpc\": \"2.0\", \"method\": \"notifications/initialized\"}",
        "{\"jsonrpc\": \"2.0\", \"id\": \"two\", \"method\": \"nothing/such\"}",
    ];
    let outcome = started(url, Some(token), &(lines.join("\n") + "\n")).succeeded();
    let answers: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |id: Value| answers.iter().filter(|answer| answer["id"] == id).collect::<Vec<_>>();
    assert_eq!(answers.len(), 4, "{}", outcome.stdout);
    assert!(of(json!(1))[0]["result"].is_object(), "{answers:?}");
    assert_eq!(of(json!("two"))[0]["error"]["code"], -32601, "{answers:?}");
    let codes: BTreeSet<i64> = of(Value::Null).iter().filter_map(|answer| answer["error"]["code"].as_i64()).collect();
    assert_eq!(codes, BTreeSet::from([-32700, -32600]), "{answers:?}");
}
