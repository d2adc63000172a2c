//! The index of searches after `kill -9`, at whatever moment: the daemon goes on with it, and `inboxlayer store reindex` builds it anew.

use crate::clients::{Outcome, run};
use crate::rest::Rest;
use crate::serve::{Relay, Serve, rows};
use serde_json::json;
use std::time::Duration;

const MESSAGES: usize = 150;

fn reindex(daemon: &Serve) -> Outcome {
    run(daemon.program(&["store", "reindex"]), b"")
}

/// The subjects of the emails that fit, of all pages.
fn found(api: &Rest, q: &str) -> Vec<String> {
    let (mut subjects, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/api/v1/emails/search?q={q}&per_page=40{cursor}")).expect(200).body;
        subjects.extend(rows(&page).iter().map(|email| email["subject"].as_str().unwrap().to_owned()));
        match page["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return subjects,
        }
    }
}

#[test]
fn every_search_finds_all_mail_while_it_is_indexed_and_after_it_is_indexed_anew() {
    let relay = Relay::start();
    let mut daemon = Serve::start(relay.address, "");
    let (_, inbox, token) = daemon.account("reader");
    let connect = |daemon: &Serve| Rest::new(&format!("http://{}", daemon.http), &token);
    let api = connect(&daemon);
    for number in 0..MESSAGES {
        let raw = format!("From: a@outside.example\nSubject: number {number}\n\nneedle{}\n", number % 3);
        api.post("/api/v1/emails", json!({"inbox_id": inbox, "raw": raw})).expect(201);
    }
    let all = |daemon: &Serve| {
        let api = connect(daemon);
        for word in 0..3 {
            let mut wanted: Vec<String> =
                (0..MESSAGES).filter(|n| n % 3 == word).map(|n| format!("number {n}")).collect();
            let mut subjects = found(&api, &format!("needle{word}"));
            wanted.sort();
            subjects.sort();
            assert_eq!(subjects, wanted, "needle{word}");
        }
        assert!(found(&api, "needle7").is_empty());
    };
    all(&daemon);
    let refused = reindex(&daemon);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("in use") && refused.stderr.contains("\n  fix: stop "), "{refused:?}");
    // Mail is indexed from ten seconds after its arrival on: some of these kills are in the middle of that.
    std::thread::sleep(Duration::from_secs(9));
    for _ in 0..6 {
        daemon.kill();
        daemon.launch();
        std::thread::sleep(Duration::from_millis(400));
        all(&daemon);
    }
    assert!(daemon.terminate());
    let printed = reindex(&daemon).succeeded();
    assert_eq!(printed.stdout, format!("indexed: {MESSAGES} messages\n"));
    assert!(printed.stderr.contains(&format!("indexed: {MESSAGES} of {MESSAGES} messages\n")), "{printed:?}");
    daemon.launch();
    all(&daemon);
    let one = connect(&daemon).get("/api/v1/emails/search?q=needle1&per_page=1").expect(200).body;
    assert_eq!(rows(&one)[0]["highlights"][0]["hits"], json!([{"start": 0, "end": 7}]), "{one}");
}
