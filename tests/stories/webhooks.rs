//! Webhooks: the published SDK subscribes, foreign libraries verify what is sent, and each event arrives whatever the endpoint does and
//! whenever the daemon dies.

use crate::clients::{python, run};
use crate::daemon::Daemon;
use crate::endpoint::{Behaviour, Endpoint, Received};
use crate::engine::{Engine, Server};
use crate::pages::blocks;
use crate::rest::Rest;
use crate::serve::{Relay, Serve, rows};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const SUBSCRIPTIONS: &str = "/api/v1/webhook_subscriptions";

/// Subscribes an endpoint: the id and the secret.
fn subscribe(api: &Rest, url: &str, events: &[&str]) -> (String, String) {
    let made = api.post(SUBSCRIPTIONS, json!({"url": url, "events": events})).expect(201);
    (made.at("/id").to_owned(), made.at("/secret").to_owned())
}

/// Puts an email into an inbox as if it had come in.
fn email(api: &Rest, inbox: &str, subject: &str) {
    let body = json!({"inbox_id": inbox, "from": "bo@outside.test", "to": "x@inboxlayer.dev", "subject": subject, "text_body": "x"});
    api.post("/api/v1/emails", body).expect(201);
}

fn advance(daemon: &Daemon, seconds: u64) {
    daemon.api().post("/sandbox/clock", json!({"advance_seconds": seconds})).expect(200);
}

fn deliveries(api: &Rest, id: &str) -> Vec<Value> {
    rows(&api.get(&format!("{SUBSCRIPTIONS}/{id}/deliveries?per_page=100")).expect(200).body).to_vec()
}

/// Waits until the only delivery has had this many attempts, and returns it.
fn attempted(api: &Rest, id: &str, attempts: usize) -> Value {
    let path = format!("{SUBSCRIPTIONS}/{id}/deliveries");
    let has = |row: &Value| row["attempts"].as_array().is_some_and(|made| made.len() >= attempts);
    let found = api.poll(&path, |answer| rows(&answer.body).iter().any(has));
    rows(&found.body).iter().find(|row| has(row)).unwrap().clone()
}

fn sequences(received: &[Received]) -> Vec<u64> {
    received.iter().map(Received::sequence).collect()
}

#[test]
fn the_published_sdk_subscribes_and_two_libraries_verify_the_same_deliveries() {
    let daemon = Daemon::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deliveries.json");
    // The examples of the guide verify.
    let example = |language, name: &str| {
        let [text] = blocks("docs/api.md", language).try_into().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let arguments = [daemon.ready_file(), file.clone(), example("python", "received.py")];
    python("published_webhooks.py", &arguments.each_ref().map(|path| path.to_str().unwrap()), b"").succeeded();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("target/typescript");
    assert!(packages.join("node_modules/standardwebhooks").exists(), "npm packages are missing: run tests/run");
    let script = tempfile::tempdir_in(&packages).unwrap();
    let program = script.path().join("verify.mjs");
    std::fs::copy(root.join("tests/stories/typescript/verify.mjs"), &program).unwrap();
    std::fs::copy(example("js", "received.mjs"), script.path().join("received.mjs")).unwrap();
    let mut command = Command::new("node");
    command.arg(&program).arg(&file);
    let outcome = run(command, b"").succeeded();
    let count = serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap().as_array().unwrap().len();
    assert_eq!(outcome.stdout, format!("{count} verified\n"));
    assert!(count >= 6, "{count}");
}

#[test]
fn events_of_an_inbox_arrive_in_order_with_their_numbers() {
    let daemon = Daemon::start();
    let (api, endpoint, other) = (daemon.api(), Endpoint::start(), Endpoint::start());
    email(&api, daemon.ready("inbox_id"), "before the subscription");
    let (id, _) = subscribe(&api, &endpoint.url(), &["email.received", "inbox.created", "custom_domain.created"]);
    let (all, _) = subscribe(&api, &other.url(), &["email.sent", "email.delivered"]);
    for number in 1..=30 {
        email(&api, daemon.ready("inbox_id"), &format!("m{number}"));
    }
    let received = endpoint.wait_for(30);
    assert_eq!(sequences(&received), (1..=30).collect::<Vec<_>>());
    let subjects: Vec<_> =
        received.iter().map(|one| one.body["data"]["subject"].as_str().unwrap().to_owned()).collect();
    assert_eq!(subjects, (1..=30).map(|number| format!("m{number}")).collect::<Vec<_>>());
    let one = &received[0];
    assert_eq!(
        (&one.body["type"], &one.body["inbox_id"]),
        (&json!("email.received"), &json!(daemon.ready("inbox_id")))
    );
    assert_eq!(
        (one.headers["webhook-id"].as_str(), one.headers["content-type"].as_str()),
        (one.id(), "application/json")
    );

    // Other types go to the other endpoint, and have their place in the order.
    let send = json!({"inbox_id": daemon.ready("inbox_id"), "to": "ann@outside.test", "text_body": "x"});
    api.post("/api/v1/emails/send", send).expect(201);
    let sent = other.wait_for(2);
    let kinds: Vec<_> = sent.iter().map(|one| (one.body["type"].as_str().unwrap(), one.sequence())).collect();
    assert_eq!(kinds, [("email.sent", 31), ("email.delivered", 32)]);

    // Another inbox counts for itself; what is of no inbox counts for the account.
    let inbox = api.post("/api/v1/inboxes", json!({"name": "second"})).expect(201).at("/id").to_owned();
    api.post("/api/v1/custom_domains", json!({"domain": "hooks.test"})).expect(201);
    let rest = endpoint.wait_for(32).split_off(30);
    let of = |kind: &str| rest.iter().find(|one| one.body["type"] == kind).unwrap_or_else(|| panic!("{rest:?}"));
    assert_eq!((of("inbox.created").sequence(), &of("inbox.created").body["inbox_id"]), (1, &json!(inbox)));
    assert_eq!(
        (of("custom_domain.created").sequence(), &of("custom_domain.created").body["inbox_id"]),
        (1, &Value::Null)
    );
    assert_eq!(deliveries(&api, &id).len(), 32);
    assert!(deliveries(&api, &all).iter().all(|row| row["state"] == "delivered"));
}

#[test]
fn what_fails_is_retried_without_holding_back_the_next() {
    let daemon = Daemon::start();
    let (api, endpoint) = (daemon.api(), Endpoint::start());
    let (id, _) = subscribe(&api, &endpoint.url(), &["email.received"]);
    endpoint.behave([Behaviour::RetryAfter(600), Behaviour::Status(204)]);
    email(&api, daemon.ready("inbox_id"), "first");
    email(&api, daemon.ready("inbox_id"), "second");
    let received = endpoint.wait_for(2);
    assert_eq!(sequences(&received), [1, 2]);
    let waiting = attempted(&api, &id, 1);
    advance(&daemon, 500);
    assert_eq!(endpoint.received().len(), 2, "the endpoint has asked for 600 seconds: {waiting}");
    advance(&daemon, 200);
    let received = endpoint.wait_for(3);
    assert_eq!((received[2].id(), received[2].sequence()), (received[0].id(), 1));
    assert_eq!(received[2].text, received[0].text, "the same body");
    let first = deliveries(&api, &id).into_iter().find(|row| row["sequence"] == 1).unwrap();
    let statuses: Vec<_> =
        first["attempts"].as_array().unwrap().iter().map(|attempt| attempt["status"].clone()).collect();
    assert_eq!((statuses, &first["state"]), (vec![json!(503), json!(204)], &json!("delivered")));

    // Another answer is final, and its owner can have it sent again.
    endpoint.behave([Behaviour::Status(400), Behaviour::Status(204)]);
    email(&api, daemon.ready("inbox_id"), "third");
    endpoint.wait_for(4);
    let failed = api.poll(&format!("{SUBSCRIPTIONS}/{id}/deliveries?state=failed"), |a| rows(&a.body).len() == 1);
    let failed = failed.at("/data/0/id").to_owned();
    // One a second.
    let redeliver = |body: Value| loop {
        let answer = api.post(&format!("{SUBSCRIPTIONS}/{id}/redeliver"), body.clone());
        if answer.status != 429 {
            return answer;
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    assert_eq!(redeliver(json!({"delivery_id": failed})).expect(200).body["count"], 1);
    assert_eq!(endpoint.wait_for(5)[4].sequence(), 3);
    assert_eq!(redeliver(json!({"since": "2020-01-01T00:00:00Z"})).expect(200).body["count"], 3);
    assert_eq!(sequences(&endpoint.wait_for(8)[5..]), [1, 2, 3]);
    redeliver(json!({"delivery_id": "whd_01jdczz0000000000000000000"})).expect(404);
    redeliver(json!({})).expect(422);
}

#[test]
fn bad_endpoints_cost_a_bounded_time_and_are_told_apart() {
    let daemon = Daemon::start();
    let (api, target) = (daemon.api(), Endpoint::start());
    let put = |name: &str, address: &str| {
        let set = json!({"name": name, "type": "A", "values": [address], "ttl": 1});
        api.put("/sandbox/dns/records", set).expect(200);
    };
    let fault = json!({"name": "nowhere.test", "fault": "servfail"});
    api.post("/sandbox/dns/faults", fault).expect(204);
    put("inside.test", "10.1.2.3");
    put("hooks.test", "127.0.0.1");
    let of = |behaviour| {
        let endpoint = Endpoint::start();
        endpoint.behave([behaviour]);
        endpoint
    };
    let refused = "http://127.0.0.1:1/".to_owned();
    let endless = of(Behaviour::Endless);
    let cases = [
        (refused, "waiting", "Connection refused"),
        (of(Behaviour::Hang).url(), "waiting", "no answer within 15 s"),
        (of(Behaviour::OctetByOctet).url(), "waiting", "no answer within 15 s"),
        (of(Behaviour::Redirect(target.url())).url(), "failed", "redirects are not followed"),
        ("http://inside.test/".to_owned(), "waiting", "not on the internet"),
        ("http://nowhere.test/".to_owned(), "waiting", "the DNS could not say"),
        (endless.url(), "delivered", ""),
    ];
    let subscribed: Vec<_> =
        cases.map(|(url, state, error)| (subscribe(&api, &url, &["email.received"]).0, url, state, error)).into();
    // By its name, and beside all of them.
    let good = Endpoint::start();
    subscribe(&api, &format!("http://hooks.test:{}/", good.address.port()), &["email.received"]);
    email(&api, daemon.ready("inbox_id"), "to all");
    good.wait_for(1);
    for (id, url, state, error) in subscribed {
        let delivery = attempted(&api, &id, 1);
        let last = &delivery["attempts"][0];
        assert_eq!(delivery["state"], state, "{url}: {delivery}");
        assert!(last["error"].as_str().unwrap_or_default().contains(error), "{url}: {delivery}");
        assert!(last["duration_ms"].as_u64().unwrap() < 20_000, "{url}: {delivery}");
    }
    assert_eq!(target.connections(), 0, "a redirect was followed");
    for url in ["http://169.254.169.254/", "http://[::ffff:10.0.0.1]/", "https://10.0.0.1/", "https://0x0a000001/"] {
        let refused = api.post(SUBSCRIPTIONS, json!({"url": url, "events": ["email.received"]})).expect(422);
        assert!(refused.text.contains("not on the internet"), "{url}: {}", refused.text);
    }
}

/// hyper passes over interim responses without counting them.
#[test]
fn endless_interim_responses_fail_and_others_go_on() {
    let daemon = Daemon::start();
    let (api, good) = (daemon.api(), Endpoint::start());
    let flooding: Vec<String> = (0..8)
        .map(|_| {
            let endpoint = Endpoint::start();
            endpoint.behave([Behaviour::Interim]);
            subscribe(&api, &endpoint.url(), &["email.received"]).0
        })
        .collect();
    subscribe(&api, &good.url(), &["email.received"]);
    for number in 1..=20 {
        email(&api, daemon.ready("inbox_id"), &format!("m{number}"));
    }
    assert_eq!(sequences(&good.wait_for(20)), (1..=20).collect::<Vec<_>>());
    for id in flooding {
        let delivery = attempted(&api, &id, 1);
        let error = delivery["attempts"][0]["error"].as_str().unwrap_or_default();
        assert!(error.contains("64 KiB"), "{delivery}");
        assert_eq!(delivery["state"], "waiting", "{delivery}");
    }
}

#[test]
fn a_name_that_leads_elsewhere_at_the_second_look_up_is_not_followed() {
    // One address of loopback is on the internet here, the others are inside.
    let (names, relay) = (Daemon::start(), Relay::start());
    let dns = format!("resolvers = [\"{}\"]", names.ready("dns"));
    let serve = Serve::start_with_dns(relay.address, &dns, "[webhooks]\nallow_networks = [\"127.0.0.2\"]");
    let (_, inbox, token) = serve.account("hooked");
    let api = Rest::new(&format!("http://{}", serve.http), &token);
    let outside = Endpoint::at(([127, 0, 0, 2], 0).into());
    let inside = Endpoint::at(([127, 0, 0, 3], outside.address.port()).into());
    let lead_to = |address: &str| {
        let set = json!({"name": "rebound.test", "type": "A", "values": [address], "ttl": 0});
        names.api().put("/sandbox/dns/records", set).expect(200);
    };
    lead_to("127.0.0.2");
    let url = format!("http://rebound.test:{}/", outside.address.port());
    let (id, _) = subscribe(&api, &url, &["email.received"]);
    // The connection is closed, so that the next attempt looks the name up.
    outside.behave([Behaviour::Endless]);
    email(&api, &inbox, "first");
    outside.wait_for(1);
    attempted(&api, &id, 1);
    lead_to("127.0.0.3");
    email(&api, &inbox, "second");
    let second = api.poll(&format!("{SUBSCRIPTIONS}/{id}/deliveries"), |answer| {
        answer.body["data"][0]["sequence"] == 2 && answer.body["data"][0]["attempts"][0].is_object()
    });
    let error = second.at("/data/0/attempts/0/error").to_owned();
    assert!(error.contains("127.0.0.3") && error.contains("not on the internet"), "{error}");
    assert_eq!((inside.connections(), outside.received().len()), (0, 1));
}

#[test]
fn an_endpoint_that_fails_for_days_is_disabled_and_others_hear_of_it() {
    let daemon = Daemon::start();
    let (api, broken, other) = (daemon.api(), Endpoint::start(), Endpoint::start());
    broken.behave([Behaviour::Status(500)]);
    let (id, _) = subscribe(&api, &broken.url(), &["email.received"]);
    subscribe(&api, &other.url(), &["webhook_subscription.disabled"]);
    for day in 0..7 {
        email(&api, daemon.ready("inbox_id"), &format!("day {day}"));
        broken.wait_for(1 + day);
        advance(&daemon, 26 * 3600);
    }
    let shown = api.get(&format!("{SUBSCRIPTIONS}/{id}")).expect(200);
    assert_eq!((&shown.body["active"], shown.body["disabled_at"].is_string()), (&json!(false), true), "{}", shown.text);
    let event = &other.wait_for(1)[0];
    assert_eq!(event.body["data"]["webhook_subscription_id"], id.as_str(), "{}", event.text);
    // It is enabled again, from then on.
    let before = broken.received().len();
    broken.behave([Behaviour::Status(204)]);
    let active = api.call(reqwest::Method::PATCH, &format!("{SUBSCRIPTIONS}/{id}"), Some(json!({"active": true})), &[]);
    assert_eq!(active.expect(200).body["disabled_at"], Value::Null);
    email(&api, daemon.ready("inbox_id"), "again");
    assert_eq!(broken.wait_for(before + 1)[before].body["data"]["subject"], "again");

    let gone = Endpoint::start();
    gone.behave([Behaviour::Status(410)]);
    let (id, _) = subscribe(&api, &gone.url(), &["email.received"]);
    email(&api, daemon.ready("inbox_id"), "gone");
    let shown = api.poll(&format!("{SUBSCRIPTIONS}/{id}"), |answer| answer.body["active"] == false);
    assert!(shown.at("/disabled_reason").contains("410"));
}

/// Each number from 1 on, and the emails of a number are the same.
#[track_caller]
fn assert_complete(received: &[Received], count: u64) {
    let mut ids: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for one in received {
        ids.entry(one.sequence()).or_default().insert(one.id());
    }
    assert_eq!(ids.keys().copied().collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
}

#[test]
fn a_daemon_killed_between_commit_and_delivery_loses_no_event() {
    let mut daemon = Daemon::start();
    let endpoint = Endpoint::start();
    subscribe(&daemon.api(), &endpoint.url(), &["email.received"]);
    let mut count = 0;
    for round in 0..5 {
        let api = daemon.api();
        for number in 0..8 {
            email(&api, daemon.ready("inbox_id"), &format!("{round} {number}"));
            count += 1;
        }
        // At once: some are delivered, some recorded, some in the log alone.
        daemon.crash_and_restart();
    }
    let complete =
        |received: &[Received]| received.iter().map(Received::sequence).collect::<BTreeSet<_>>().len() as u64 >= count;
    assert_complete(&endpoint.wait(complete), count);
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(100))
}

#[test]
#[cfg_attr(not(feature = "cluster"), ignore = "needs --features cluster")]
fn two_daemons_deliver_each_event_with_one_number_while_one_of_them_dies() {
    const KEY: [(&str, &str); 1] = [("INBOXLAYER_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];
    let (engine, relay, endpoint) = (Engine::fresh_on(server()), Relay::start(), Endpoint::start());
    let queue = format!("[queue.relay]\nhost = \"127.0.0.1\"\nport = {}", relay.address.port());
    let more = "[webhooks]\nallow_networks = [\"127.0.0.0/8\"]";
    let dns = "resolvers = [\"127.0.0.1:9\"]";
    let mut daemons = [(); 2].map(|()| Serve::start_on(engine.clone(), &KEY, dns, &queue, more));
    let (_, inbox, token) = daemons[0].account("hooked");
    let api = |daemon: &Serve| Rest::new(&format!("http://{}", daemon.http), &token);
    subscribe(&api(&daemons[0]), &endpoint.url(), &["email.received"]);
    let mut count = 0;
    for number in 0..40 {
        email(&api(&daemons[number % 2]), &inbox, &format!("m{number}"));
        count += 1;
        if number == 20 {
            daemons[1].kill();
            daemons[1].launch();
        }
    }
    daemons[1].kill();
    let complete =
        |received: &[Received]| received.iter().map(Received::sequence).collect::<BTreeSet<_>>().len() as u64 >= count;
    assert_complete(&endpoint.wait(complete), count);
}
