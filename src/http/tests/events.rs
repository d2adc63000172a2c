//! Events in pages and as streams, and requests that wait for an email.

use crate::auth::login::{Permissions, Scope};
use crate::auth::token::Token;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::http::router;
use crate::http::testing::World;
use crate::secret::Secret;
use crate::store::tokens::NewToken;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::Duration;

/// For what has to come; a test that fails ends.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn inbox(world: &World, name: &str) -> String {
    world.post(&world.ours.token, "/api/v1/inboxes", json!({"name": name})).await.text("id")
}

/// A message of an inbox to itself.
pub(super) async fn write_to_itself(world: &World, inbox: &str, name: &str, subject: &str) {
    let body = json!({"to": format!("{name}@inboxlayer.dev"), "subject": subject, "text_body": "Your code is 482913."});
    let sent = world.post(&world.ours.token, &format!("/api/v1/emails/send?inbox_id={inbox}"), body).await;
    assert_eq!(sent.status, 201, "{}", sent.json());
}

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sent {
    id: String,
    event: String,
    data: Value,
}

/// An open stream.
struct Reading {
    response: reqwest::Response,
    text: String,
}

impl Reading {
    async fn open(world: &World, token: &str, path: &str, last: Option<&str>) -> Self {
        let request = world.request("GET", token, path);
        let request = last.into_iter().fold(request, |request, last| request.header("last-event-id", last));
        let response = request.send().await.unwrap();
        let content_type = response.headers()["content-type"].to_str().unwrap();
        assert_eq!((response.status().as_u16(), content_type), (200, "text/event-stream"));
        Self { response, text: String::new() }
    }

    /// The next block but for heartbeats; `None`: the stream has ended.
    async fn block(&mut self) -> Option<String> {
        loop {
            let block = self.any_block().await?;
            if !block.starts_with(':') {
                return Some(block);
            }
        }
    }

    async fn any_block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("a block").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn event(&mut self) -> Option<Sent> {
        loop {
            let block = self.block().await?;
            let mut sent = Sent::default();
            for line in block.lines() {
                match line.split_once(": ") {
                    Some(("id", id)) => id.clone_into(&mut sent.id),
                    Some(("event", event)) => event.clone_into(&mut sent.event),
                    Some(("data", data)) => sent.data = serde_json::from_str(data).unwrap(),
                    _ => {}
                }
            }
            if !sent.data.is_null() {
                return Some(sent);
            }
        }
    }
}

/// The account's events, once the log is settled.
pub(super) async fn list(world: &World, query: &str) -> Value {
    world.settled().await;
    let answer = world.get(&world.ours.token, &format!("/api/v1/events{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.json());
    answer.json()
}

pub(super) fn types(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_are_listed_in_order_and_a_poller_goes_on_from_its_cursor() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let ben = inbox(&world, "ben").await;
    write_to_itself(&world, &ann, "ann", "one").await;
    let all = list(&world, "").await;
    assert_eq!(types(&all), ["inbox.created", "inbox.created", "email.received", "email.sent"], "{all}");
    assert_eq!((&all["meta"]["has_more"], &all["meta"]["has_gap"]), (&json!(false), &json!(false)));
    let received = &all["data"][2];
    assert_eq!((&received["inbox_id"], &received["data"]["subject"]), (&json!(ann), &json!("one")));
    assert_eq!(received["data"]["codes"][0]["code"], "482913");
    assert_eq!(all["data"][3]["data"]["status"], "sent");

    // One after another.
    let (mut cursor, mut paged) = ("evt_0-0".to_owned(), Vec::new());
    loop {
        let page = list(&world, &format!("?limit=1&after={cursor}")).await;
        cursor = page["meta"]["next_cursor"].as_str().unwrap().to_owned();
        paged.extend(page["data"].as_array().unwrap().clone());
        if page["meta"]["has_more"] == false {
            break;
        }
    }
    assert_eq!(json!(paged), all["data"]);
    assert_eq!(list(&world, &format!("?after={cursor}")).await["data"], json!([]));
    let id = all["data"][1]["id"].as_str().unwrap();
    assert_eq!(types(&list(&world, &format!("?after={id}")).await), ["email.received", "email.sent"]);
    assert_eq!(types(&list(&world, "?types=email.sent,inbox.created&limit=2").await), ["inbox.created"; 2]);
    assert_eq!(types(&list(&world, &format!("?inbox_id={ben}")).await), ["inbox.created"]);

    let email = received["data"]["id"].as_str().unwrap();
    let labels = json!({"add_labels": ["urgent"]});
    let changed = world.patch(&world.ours.token, &format!("/api/v1/emails/{email}"), labels).await;
    assert_eq!(changed.status, 200);
    let changed = list(&world, &format!("?after={cursor}")).await;
    assert_eq!(types(&changed), ["email.labels_changed"]);
    let emails = json!([{"id": email, "labels": ["inbox", "unread", "urgent"]}]);
    assert_eq!(changed["data"][0]["data"], json!({"emails": emails, "truncated": false}));

    let path = format!("/api/v1/emails/{email}/actions");
    assert_eq!(world.patch(&world.ours.token, &path, json!({"move_to": "archive"})).await.status, 200);
    let cursor = changed["meta"]["next_cursor"].as_str().unwrap();
    let moved = list(&world, &format!("?after={cursor}")).await;
    assert_eq!(types(&moved), ["email.labels_changed"]);
    assert_eq!(moved["data"][0]["data"]["emails"], json!([{"id": email, "labels": ["archive", "unread", "urgent"]}]));
    // What has changed again since is in the later event alone.
    let before = list(&world, &format!("?after={}", all["meta"]["next_cursor"].as_str().unwrap())).await;
    assert_eq!(types(&before), ["email.labels_changed"; 2]);
    assert_eq!(before["data"][0]["data"]["emails"], json!([]));

    for (query, field) in [
        ("?after=yesterday", "after"),
        ("?limit=101", "limit"),
        ("?types=email.lost", "types"),
        ("?unknown=1", "unknown"),
    ] {
        let refused = world.get(&world.ours.token, &format!("/api/v1/events{query}")).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{query}");
    }
    // A cursor that this log has never returned.
    let foreign = list(&world, "?after=evt_9000000000000000000-1").await;
    assert_eq!(foreign["meta"]["has_gap"], true);
    let since = list(&world, &format!("?after={}", Timestamp::real().after(Duration::from_secs(60)))).await;
    assert_eq!(since["data"], json!([]));
}

#[tokio::test]
async fn blocked_mail_is_not_announced() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let entry = json!({"direction": "receive", "action": "block", "pattern": "inboxlayer.dev"});
    assert_eq!(world.post(&world.ours.token, "/api/v1/access_entries", entry).await.status, 201);
    write_to_itself(&world, &ann, "ann", "one").await;
    assert_eq!(types(&list(&world, "").await), ["inbox.created", "email.sent"]);
}

#[tokio::test]
async fn a_stream_goes_on_from_the_last_id_with_nothing_lost_or_doubled() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let path = format!("/api/v1/inboxes/{ann}/stream?types=email.received");
    let mut stream = Reading::open(&world, &world.ours.token, &path, None).await;
    let opening = stream.block().await.unwrap();
    let first = opening.strip_prefix("retry: 1000\nid: ").unwrap().to_owned();
    for n in 0..3 {
        write_to_itself(&world, &ann, "ann", &n.to_string()).await;
    }
    let got = [stream.event().await.unwrap(), stream.event().await.unwrap(), stream.event().await.unwrap()];
    let subjects = got.each_ref().map(|sent| sent.data["data"]["subject"].as_str().unwrap());
    assert_eq!(subjects, ["0", "1", "2"]);
    assert!(got.iter().all(|sent| sent.event == "email.received" && sent.data["id"] == sent.id.as_str()));
    drop(stream);

    write_to_itself(&world, &ann, "ann", "3").await;
    for (last, count) in [(&first, 4), (&got[0].id, 3), (&got[2].id, 1)] {
        let mut resumed = Reading::open(&world, &world.ours.token, &path, Some(last)).await;
        for n in 4 - count..4 {
            let sent = resumed.event().await.unwrap();
            assert_eq!(sent.data["data"]["subject"], n.to_string(), "after {last}");
        }
    }
    // The header of a browser that connects again comes before the parameter of the page.
    let since = format!("{path}&since={first}");
    let mut resumed = Reading::open(&world, &world.ours.token, &since, Some(&got[2].id)).await;
    assert_eq!(resumed.event().await.unwrap().data["data"]["subject"], "3");
    let of_time = format!("{path}&since={}", Timestamp::from_millis(0));
    assert_eq!(Reading::open(&world, &world.ours.token, &of_time, None).await.event().await.unwrap(), got[0]);
    let gap = Reading::open(&world, &world.ours.token, &path, Some("evt_9000000000000000000-1")).await.event().await;
    assert_eq!(gap.unwrap().event, "events.gap");
}

#[tokio::test]
async fn a_stream_ends_in_time_with_its_token_its_inbox_and_the_daemon() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let ours = &world.ours.token;
    let made = world.post(ours, "/api/v1/tokens", json!({"name": "second"})).await;
    let (id, token) = (made.text("id"), made.text("token"));
    // The inbox's creation is before the places at which the streams begin.
    world.settled().await;
    let mut timed = Reading::open(&world, ours, "/api/v1/events/stream?timeout=1", None).await;
    timed.block().await.unwrap();
    assert_eq!(timed.block().await, None);
    let mut revoked = Reading::open(&world, &token, &format!("/api/v1/inboxes/{ann}/stream"), None).await;
    let mut of_account = Reading::open(&world, &token, "/api/v1/events/stream", None).await;
    let mut other = Reading::open(&world, ours, &format!("/api/v1/inboxes/{ann}/stream"), None).await;
    for stream in [&mut revoked, &mut of_account, &mut other] {
        stream.block().await.unwrap();
    }
    assert_eq!(world.delete(ours, &format!("/api/v1/tokens/{id}")).await.status, 204);
    assert_eq!((revoked.block().await, of_account.block().await), (None, None));
    write_to_itself(&world, &ann, "ann", "still there").await;
    assert_eq!(other.event().await.unwrap().event, "email.received");
    assert_eq!(other.event().await.unwrap().event, "email.sent");
    assert_eq!(world.delete(ours, &format!("/api/v1/inboxes/{ann}")).await.status, 204);
    let last = other.event().await.unwrap();
    assert_eq!((last.event.as_str(), &last.data["data"]), ("inbox.deleted", &json!({"id": ann, "deleted": true})));
    assert_eq!(other.block().await, None);
    // Also one that does not select that event.
    let ben = inbox(&world, "ben").await;
    let path = format!("/api/v1/inboxes/{ben}/stream?types=email.received");
    let mut of_mail = Reading::open(&world, ours, &path, None).await;
    of_mail.block().await.unwrap();
    assert_eq!(world.delete(ours, &format!("/api/v1/inboxes/{ben}")).await.status, 204);
    assert_eq!(of_mail.block().await, None);

    let mut stopped = Reading::open(&world, ours, "/api/v1/events/stream", None).await;
    stopped.block().await.unwrap();
    world.shutdown.request();
    assert_eq!(stopped.block().await, None);
    assert!(world.shutdown.finished(PATIENCE).await);
}

#[tokio::test]
async fn an_idle_stream_sends_its_place_and_ends_when_its_token_has_expired() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let token = Token::generate().unwrap();
    let expires_at = Some(world.context.clock.now().after(Duration::from_secs(60)));
    let scope = Scope::Account(world.ours.account.clone());
    let new = NewToken { expires_at, ..NewToken::new("short", scope, token.hash()) };
    world.context.store.token_create(new, 100, world.context.clock.now()).await.unwrap();
    let token = Secret::reveal(token.secret()).to_owned();
    // The inbox's creation is before the place at which the stream begins.
    world.settled().await;
    let mut stream = Reading::open(&world, &token, &format!("/api/v1/inboxes/{ann}/stream"), None).await;
    let opening = stream.any_block().await.unwrap();
    inbox(&world, "ben").await;
    // What happens elsewhere in the account is no event here, but moves the place.
    let moved = async {
        loop {
            let beat = stream.any_block().await.unwrap();
            let id = beat.strip_prefix(":\nid: evt_").unwrap_or_else(|| panic!("{beat}"));
            if !opening.ends_with(id) {
                return;
            }
        }
    };
    // An idle stream reads when it is woken, and now and then without a cause.
    tokio::time::timeout(PATIENCE, moved).await.expect("a place that moves");
    world.context.clock.advance_to(world.context.clock.now().after(Duration::from_secs(61)));
    assert_eq!(stream.block().await, None);
}

#[tokio::test]
async fn a_client_that_reads_nothing_costs_bounded_memory_and_misses_nothing() {
    const EMAILS: usize = 60;
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&world.address.into()).unwrap();
    let mut client = std::net::TcpStream::from(socket);
    let head = format!(
        "GET /api/v1/inboxes/{ann}/stream?types=email.received&since=evt_0-0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        world.ours.token
    );
    client.write_all(head.as_bytes()).unwrap();
    let text = format!("{}\r\n", "z".repeat(70)).repeat(850);
    for n in 0..EMAILS {
        let body = json!({"to": "ann@inboxlayer.dev", "subject": format!("m{n}"), "text_body": text});
        let sent = world.post(&world.ours.token, &format!("/api/v1/emails/send?inbox_id={ann}"), body).await;
        assert_eq!(sent.status, 201, "{}", sent.json());
    }
    world.settled().await;
    // All of them are 7 MB of events; a group is on the way.
    let used = async {
        loop {
            match world.context.spool.memory().used() {
                0 => tokio::time::sleep(Duration::from_millis(10)).await,
                used => return used,
            }
        }
    };
    let used = tokio::time::timeout(PATIENCE, used).await.expect("a group of events");
    assert!(used < 3_000_000, "{used}");
    let reading = tokio::task::spawn_blocking(move || {
        let (mut all, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
        let is_whole = |all: &[u8]| String::from_utf8_lossy(all).matches("\nevent: email.received\n").count() == EMAILS;
        while !is_whole(&all) {
            let octets = client.read(&mut piece).unwrap();
            assert!(octets > 0, "the stream has ended");
            all.extend_from_slice(&piece[..octets]);
        }
    });
    tokio::time::timeout(PATIENCE, reading).await.expect("all events").unwrap();
}

#[tokio::test]
async fn too_many_streams_are_refused_for_a_while() {
    let mut config = Config::default();
    (config.limits.streams, config.limits.streams_per_account) = (3, 2);
    let world = World::serving_with(config, router).await;
    let path = "/api/v1/events/stream";
    let first = Reading::open(&world, &world.ours.token, path, None).await;
    let _second = Reading::open(&world, &world.ours.token, path, None).await;
    let refused = world.get(&world.ours.token, path).await;
    assert_eq!((refused.status, refused.code()), (503, "too_many_streams"));
    assert_eq!(refused.header("retry-after"), Some("5"));
    let _theirs = Reading::open(&world, &world.theirs.token, path, None).await;
    let refused = world.get(&world.theirs.token, path).await;
    assert!(refused.text("detail").contains("The daemon has 3 streams"), "{}", refused.json());
    drop(first);
    let again = async {
        while world.get(&world.ours.token, &format!("{path}?timeout=1")).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the place of a stream that has ended is free");
}

#[tokio::test]
async fn a_token_sees_the_events_of_what_it_may_see() {
    let world = World::new().await;
    let (ann, ben) = (inbox(&world, "ann").await, inbox(&world, "ben").await);
    write_to_itself(&world, &ann, "ann", "one").await;
    let account = world.ours.account.clone();
    let reader = Token::generate().unwrap();
    let new = NewToken {
        permissions: Permissions::MESSAGES_READ,
        ..NewToken::new("reader", Scope::Account(account.clone()), reader.hash())
    };
    world.context.store.token_create(new, 100, world.context.clock.now()).await.unwrap();
    let reader = Secret::reveal(reader.secret()).to_owned();
    world.settled().await;
    let seen = world.get(&reader, "/api/v1/events").await.json();
    assert_eq!(types(&seen), ["email.received", "email.sent"]);
    for path in ["/api/v1/events", "/api/v1/events/stream"] {
        let refused = world.get(&reader, &format!("{path}?types=custom_domain.verified")).await;
        assert_eq!((refused.status, refused.code()), (403, "insufficient_permission"));
    }

    let limited = world.token(Scope::Inboxes(account, vec![ann.parse().unwrap()])).await;
    for path in ["/api/v1/events", "/api/v1/events/stream"] {
        assert_eq!(world.get(&limited, path).await.code(), "insufficient_scope");
    }
    let own = world.get(&limited, &format!("/api/v1/events?inbox_id={ann}")).await.json();
    assert_eq!(types(&own), ["inbox.created", "email.received", "email.sent"]);
    assert_eq!(world.get(&limited, &format!("/api/v1/events?inbox_id={ben}")).await.status, 404);
    let of_other = format!("/api/v1/events?inbox_id={ann}");
    assert_eq!(world.get(&world.theirs.token, &of_other).await.status, 404);
    let operators = format!("/api/v1/events?account_id={}", world.ours.account);
    assert_eq!(types(&world.get(&world.operator, &operators).await.json()).len(), 4);
    assert_eq!(world.get(&world.theirs.token, &operators).await.status, 404);
}

#[tokio::test]
async fn a_request_waits_for_the_first_email_that_fits() {
    let world = World::new().await;
    let (ann, token) = (inbox(&world, "ann").await, world.ours.token.clone());
    let path = |query: &str| format!("/api/v1/inboxes/{ann}/wait{query}");
    let since = Timestamp::real();
    let waiting = tokio::spawn(world.request("GET", &token, &path("?has=code&from=ann&timeout=60")).send());
    // The request may come after it: then it is there already.
    write_to_itself(&world, &ann, "ann", "Hello").await;
    let in_time = async {
        loop {
            if waiting.is_finished() {
                return;
            }
            write_to_itself(&world, &ann, "ann", "Hello again").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, in_time).await.expect("an email that fits");
    let found: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!((&found["codes"][0]["code"], &found["from_address"]), (&json!("482913"), &json!("ann@inboxlayer.dev")));

    write_to_itself(&world, &ann, "ann", "Last one").await;
    world.settled().await;
    let first = world.get(&token, &path(&format!("?since={since}&to=ann&q=482913"))).await;
    assert_eq!((first.status, first.text("subject").as_str()), (200, "Hello"));
    // The link leads to the next one that fits.
    let next = first.header("link").unwrap().strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    assert!(next.starts_with(&path("?to=ann&q=482913&since=evt_")), "{next}");
    let second = world.get(&token, next).await;
    assert_ne!(second.text("id"), first.text("id"));
    let last = world.get(&token, &path(&format!("?since={since}&subject=LAST%20ONE"))).await;
    assert_eq!(last.text("subject"), "Last one");

    let none = world.get(&token, &path(&format!("?since={since}&has=attachment&timeout=1"))).await;
    assert_eq!((none.status, none.body.len()), (204, 0));
    assert!(none.header("link").unwrap().starts_with(&format!("<{}", path("?has=attachment&timeout=1&since=evt_"))));
    for (query, field) in [("has=all", "has"), ("timeout=61", "timeout"), ("q=is:unread", "q"), ("since=soon", "since")]
    {
        let refused = world.get(&token, &path(&format!("?{query}"))).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{query}");
    }
    let gone = world.get(&token, &path("?since=evt_9000000000000000000-1")).await;
    assert_eq!((gone.status, gone.code()), (410, "events_gone"));
    let hidden = world.get(&world.theirs.token, &path("")).await;
    assert_eq!(hidden.status, 404);
    for query in ["timeout=no", "timeout=-1", "timeout=99999999999999999999", "timeout="] {
        let refused = world.get(&token, &path(&format!("?{query}"))).await;
        assert!(refused.json().to_string().contains("must be 1 to 60 seconds"), "{query}: {}", refused.json());
    }
    let refused = world.get(&token, "/api/v1/events?limit=many").await;
    assert_eq!(refused.fields(), ["limit"]);
    assert!(refused.json().to_string().contains("must be 1 to 100"), "{}", refused.json());
}

#[tokio::test]
async fn a_waiting_request_ends_with_its_inbox() {
    let world = World::new().await;
    let (ann, token) = (inbox(&world, "ann").await, world.ours.token.clone());
    let path = format!("/api/v1/inboxes/{ann}/wait?timeout=60");
    let since = list(&world, "").await["meta"]["next_cursor"].as_str().unwrap().to_owned();
    // From a place before the deletion, whether it is deleted before or after the request.
    let waiting = tokio::spawn(world.request("GET", &token, &format!("{path}&since={since}")).send());
    assert_eq!(world.delete(&token, &format!("/api/v1/inboxes/{ann}")).await.status, 204);
    let answer = tokio::time::timeout(PATIENCE / 2, waiting).await.expect("an answer before its timeout");
    assert_eq!(answer.unwrap().unwrap().status().as_u16(), 404);
}

#[tokio::test]
async fn an_email_whose_stored_body_is_damaged_does_not_hide_others_from_a_waiting_request_nor_from_a_search() {
    let world = World::new().await;
    let (ann, token) = (inbox(&world, "ann").await, world.ours.token.clone());
    write_to_itself(&world, &ann, "ann", "damaged").await;
    // The copy in Sent has the same body.
    let damage = "UPDATE body SET data = ?1";
    let damaged = world
        .context
        .store
        .write::<_, crate::store::StoreError, _>(move |c| c.execute(damage, crate::store::params![vec![0_u8; 100]]));
    assert!(damaged.await.unwrap() >= 1);
    let body = json!({"to": "ann@inboxlayer.dev", "subject": "good", "text_body": "Another code is 771904."});
    assert_eq!(world.post(&token, &format!("/api/v1/emails/send?inbox_id={ann}"), body).await.status, 201);
    for query in ["", "&q=code", "&has=code"] {
        let found = world.get(&token, &format!("/api/v1/inboxes/{ann}/wait?since=evt_0-0{query}")).await;
        assert_eq!((found.status, found.text("subject").as_str()), (200, "good"), "{query}: {}", found.json());
    }
    let found = world.get(&token, &format!("/api/v1/emails/search?inbox={ann}&q=code")).await;
    assert_eq!(found.status, 200, "{}", found.json());
    let subjects: Vec<_> = found.json()["data"].as_array().unwrap().iter().map(|row| row["subject"].clone()).collect();
    assert!(!subjects.is_empty() && subjects.iter().all(|subject| subject == "good"), "{subjects:?}");
}
