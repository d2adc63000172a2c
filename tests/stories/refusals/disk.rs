//! Little free disk, none at all, and an account whose mail is not delivered.

use super::{READER, Scene};
use crate::free_address::free_address;
use crate::rude::Rude;
use crate::serve::{Relay, Serve};
use reqwest::Method;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// A message with this number of octets of text.
fn message(octets: usize) -> String {
    format!("Subject: sized\r\n\r\n{}\r\n.\r\n", "x".repeat(octets))
}

/// Submits such a message to an outside address.
fn submit(sender: &mut Rude, octets: usize, reply: &str) {
    sender.envelope("ann@elsewhere.example");
    sender.send(message(octets));
    sender.reply(reply);
}

#[test]
fn an_account_whose_mail_does_not_leave_fills_only_its_own_queue() {
    // Nothing listens at the relay's address.
    let daemon = Serve::start(free_address(), "[limits]\nqueue_size = 40000\n");
    let (account, inbox, token) = daemon.account("reader");
    let scene = Scene { daemon, relay: Relay::start(), account, inbox, token };
    let api = |token: &str| crate::rest::Rest::new(&format!("http://{}", scene.daemon.http), token);
    // With no copy in Sent, nothing of it counts in the inbox.
    let path = format!("/api/v1/inboxes/{}", scene.inbox);
    api(&scene.token).call(Method::PATCH, &path, Some(json!({"save_sent": false})), &[]).expect(200);
    let queued = || {
        let account = api(&scene.token).get(&format!("/api/v1/accounts/{}", scene.account)).expect(200);
        account.body["queued"].as_u64().unwrap()
    };
    assert_eq!(queued(), 0);
    let mut sender = scene.sender();
    submit(&mut sender, 15_000, "250 2.0.0");
    submit(&mut sender, 15_000, "250 2.0.0");
    submit(&mut sender, 15_000, "452 4.3.1");
    scene.logged(&["refused", "submission", "452 4.3.1", "40000 octets"]);
    assert!((30_000..40_000).contains(&queued()), "{}", queued());
    assert_eq!(api(&scene.token).get(&path).expect(200).body["size"].as_u64(), Some(0));
    let draft = json!({"to": "x@elsewhere.example", "subject": "s", "text_body": "x".repeat(15_000)});
    let refused = api(&scene.token).post(&format!("/api/v1/emails/send?inbox_id={}", scene.inbox), draft.clone());
    assert_eq!(refused.expect(429).at("/code"), "queue_full");
    let (_, other, token) = scene.daemon.account("second");
    api(&token).post(&format!("/api/v1/emails/send?inbox_id={other}"), draft).expect(201);

    // Each recipient counts, too.
    sender.say(&format!("MAIL FROM:<{READER}>"), "250");
    for n in 0..20 {
        sender.say(&format!("RCPT TO:<r{n}@elsewhere.example>"), "250");
    }
    sender.say("DATA", "354");
    sender.send(message(10));
    sender.reply("452 4.3.1");

    // Messages removed from the queue make room.
    let queue = scene.daemon.api().get("/api/v1/queue").expect(200);
    for message in crate::serve::rows(&queue.body) {
        let path = format!("/api/v1/queue/{}", message["id"].as_str().unwrap());
        scene.daemon.api().delete(&path).expect(204);
    }
    assert_eq!(queued(), 0);
    submit(&mut sender, 30_000, "250 2.0.0");
    let queue = scene.daemon.api().get("/api/v1/queue").expect(200);
    let left = crate::serve::rows(&queue.body)[0]["id"].as_str().unwrap().to_owned();
    scene.daemon.api().delete(&format!("/api/v1/queue/{left}")).expect(204);
    scene.ends_with(0);
}

#[test]
fn with_little_disk_no_new_mail_is_taken_and_all_else_goes_on() {
    let mut scene = Scene::with("free_disk = 0");
    let mut client = scene.mx();
    for _ in 0..3 {
        client.envelope(READER);
        client.send(message(100));
        client.reply("250 2.0.0");
    }
    // More than any disk has.
    let config = std::fs::read_to_string(scene.daemon.config()).unwrap();
    let config = config.replace("free_disk = 0", "free_disk = 1000000000000000000");
    std::fs::write(scene.daemon.config(), config).unwrap();
    assert!(scene.daemon.terminate());
    scene.daemon.launch();
    scene.logged(&["disk is low", "no new mail is accepted"]);

    scene.mx().say("MAIL FROM:<a@outside.example>", "452 4.3.1");
    let mut sender = scene.sender();
    sender.say(&format!("MAIL FROM:<{READER}>"), "452 4.3.1");
    let api = crate::rest::Rest::new(&format!("http://{}", scene.daemon.http), &scene.token);
    let path = format!("/api/v1/emails?inbox={}", scene.inbox);
    let refused = api
        .post(
            &format!("/api/v1/emails/send?inbox_id={}", scene.inbox),
            json!({"to": "x@elsewhere.example", "subject": "s", "text_body": "t"}),
        )
        .expect(503);
    assert!(refused.headers.contains_key("retry-after"), "{}", refused.text);

    let mut user = scene.user();
    user.ask("APPEND INBOX {3+}\r\nA: ", "NO [UNAVAILABLE]");
    user.ask("SELECT INBOX", "OK");
    user.ask("COPY 1 Archive", "NO [UNAVAILABLE]");
    user.ask("FETCH 1:* (FLAGS BODY.PEEK[])", "OK");
    user.ask("STORE 1 +FLAGS (\\Deleted)", "OK");
    user.ask("EXPUNGE", "OK");
    user.ask("MOVE 1 Archive", "OK");
    user.ask("CREATE Projects", "OK");
    assert_eq!(crate::serve::rows(&api.get(&path).expect(200).body).len(), 2);
    scene.ends_with(2);
}

/// A mount namespace in which this process is root, to fill a disk.
const NAMESPACE: &[&str] = &["--user", "--map-root-user", "--mount"];

#[test]
fn a_start_with_no_free_disk_says_so_and_serves_reads() {
    if crate::engine::skips("a database on the disk that is full") {
        return;
    }
    let inner = "refusals::disk::in_a_namespace_of_its_own";
    let mut unshare = Command::new("unshare");
    unshare.env(crate::free_address::INNER, "1");
    unshare.args(NAMESPACE).arg(std::env::current_exe().unwrap()).args(["--exact", inner, "--ignored", "--nocapture"]);
    let outcome = crate::clients::run(unshare, b"").succeeded();
    assert!(outcome.stdout.contains("1 passed"), "{outcome:?}");
}

/// The older two of three messages are shown without being parsed.
#[track_caller]
fn two_are_set_aside(scene: &Scene) {
    scene.logged(&["the last daemon ended while parsing this message"]);
    let api = crate::rest::Rest::new(&format!("http://{}", scene.daemon.http), &scene.token);
    let shown = api.get(&format!("/api/v1/emails?inbox={}", scene.inbox)).expect(200);
    let rows = crate::serve::rows(&shown.body);
    let aside: Vec<bool> = rows.iter().map(|row| row["unreadable"] == true).collect();
    assert_eq!((aside.as_slice(), &rows[0]["subject"]), (&[false, true, true][..], &json!("sized")), "{}", shown.text);
}

#[track_caller]
fn delete(scene: &Scene, messages: &str) {
    let mut user = scene.user();
    user.ask("SELECT INBOX", "OK");
    user.ask(&format!("STORE {messages} +FLAGS (\\Deleted)"), "OK");
    user.ask("EXPUNGE", "OK");
}

/// The rest of the story above.
#[test]
#[ignore = "fills a disk: a_start_with_no_free_disk_says_so_and_serves_reads runs it where that harms nobody"]
fn in_a_namespace_of_its_own() {
    let mut scene = Scene::with("free_disk = 20000000");
    let mut client = scene.mx();
    for _ in 0..3 {
        client.envelope(READER);
        client.send(message(100));
        client.reply("250 2.0.0");
    }
    assert!(scene.daemon.terminate());
    // Three daemons ended while reading one message, and three while reading another.
    let data = scene.daemon.data_dir();
    {
        let store = rusqlite::Connection::open(data.join("inboxlayer.db")).unwrap();
        let mut contents = store.prepare("SELECT content_id FROM message ORDER BY uid LIMIT 2").unwrap();
        let contents: Vec<i64> = contents.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        std::fs::write(data.join("reading"), contents[0].to_le_bytes()).unwrap();
        store.execute("INSERT INTO unreadable VALUES (?1, 2, 0), (?2, 3, 1)", [contents[0], contents[1]]).unwrap();
    }
    let aside = tempfile::tempdir().unwrap();
    let shell = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script, "sh"]).arg(&data).arg(aside.path());
        crate::clients::run(shell, b"").succeeded()
    };
    // No reserve, except for what SQLite needs to open the database.
    shell(
        "cp -a \"$1/.\" \"$2\" && mount -t tmpfs -o size=48m none \"$1\" && cp -a \"$2/.\" \"$1\" && rm \"$1/reserve\"",
    );
    let fill = || {
        shell("dd if=/dev/zero of=\"$1/filler\" bs=4096 2> /dev/null || true");
        assert!(is_full(&data));
    };
    let index = rusqlite::Connection::open(data.join("inboxlayer.db")).unwrap();
    index.query_row("SELECT count(*) FROM account", [], |row| row.get::<_, i64>(0)).unwrap();
    fill();
    scene.daemon.launch();
    drop(index);
    scene.logged(&["disk is low", "no new mail is accepted"]);
    two_are_set_aside(&scene);
    let mut user = scene.user();
    user.ask("SELECT INBOX", "OK");
    user.ask("FETCH 1:3 (FLAGS BODY[])", "OK");
    assert!(user.ask("STATUS INBOX (UNSEEN)", "OK").concat().contains("UNSEEN 3"));
    scene.mx().say("MAIL FROM:<a@outside.example>", "452 4.3.1");
    let refused = user.ask("EXPUNGE", "x ");
    assert!(refused.last().unwrap().starts_with("x OK"), "expected OK: {refused:?}");
    user.ask("STORE 3 +FLAGS (\\Deleted)", "NO [UNAVAILABLE]");
    user.ask("NOOP", "OK");
    let inbox = format!("/api/v1/inboxes/{}", scene.inbox);
    let refused = scene.daemon.api().delete(&inbox).expect(503);
    assert!(refused.headers.contains_key("retry-after"), "{}", refused.text);
    assert!(is_full(&data), "the disk must still be full");
    // What could not be recorded is still known at the next start.
    scene.daemon.kill();
    scene.daemon.launch();
    two_are_set_aside(&scene);

    // Once there is space, it accepts mail and deletes without a restart, and makes its reserve again.
    std::fs::remove_file(data.join("filler")).unwrap();
    let mut client = scene.mx();
    client.envelope(READER);
    client.send(message(100));
    client.reply("250 2.0.0");
    scene.logged(&["enough disk is free"]);
    delete(&scene, "1");
    assert!(std::fs::metadata(data.join("reserve")).unwrap().len() > 1_000_000);

    // The reserve lets a daemon start and delete on a full disk, with or without the database's log.
    let other = scene.daemon.account("other").1;
    assert!(scene.daemon.terminate());
    crate::crash_keeps_mail::check_store(&scene.daemon);
    assert!(!data.join("inboxlayer.db-wal").exists());
    fill();
    scene.daemon.launch();
    scene.logged(&["the reserve is released"]);
    delete(&scene, "1:2");
    scene.daemon.api().delete(&format!("/api/v1/inboxes/{other}")).expect(204);
    scene.mx().say("MAIL FROM:<a@outside.example>", "452 4.3.1");
    std::fs::remove_file(data.join("filler")).unwrap();
    let mut client = scene.mx();
    client.envelope(READER);
    client.send(message(100));
    client.reply("250 2.0.0");
    assert!(data.join("reserve").exists());
    scene.ends_with(2);
}

/// True if not one octet can be written.
fn is_full(directory: &Path) -> bool {
    let probe = directory.join("probe");
    let written = std::fs::write(&probe, [0; 4096]);
    let _ = std::fs::remove_file(probe);
    written.is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
}
