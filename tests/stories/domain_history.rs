//! What the API shows about a domain: its records as a zone file that BIND can read, its checks, and its changes of status.

use crate::clients::{curl, run};
use crate::daemon::Daemon;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;

const DOMAINS: &str = "/api/v1/custom_domains";

/// The records of a zone as BIND's `named-checkzone` reads them: name, type and data.
fn read_by_bind(zone: &str, records: &str) -> BTreeSet<(String, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zone");
    let head = format!("@ 60 IN SOA ns.{zone}. admin.{zone}. 1 3600 600 86400 60\n@ 60 IN NS ns.elsewhere.example.\n");
    std::fs::write(&file, format!("{head}{records}")).unwrap();
    let mut command = Command::new("named-checkzone");
    command.args(["-q", "-i", "none", "-D", "-o", "-", zone]).arg(&file);
    let dump = run(command, b"").succeeded().stdout;
    let field = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (name, _ttl, _class) = (words.next()?, words.next()?, words.next()?);
        Some((name.to_owned(), words.next()?.to_owned(), words.collect::<Vec<_>>().join(" ")))
    };
    dump.lines().filter_map(field).filter(|(_, kind, _)| kind != "SOA" && kind != "NS").collect()
}

/// The same of the API's JSON.
fn shown(domain: &Value) -> BTreeSet<(String, String, String)> {
    let text = |record: &Value, field: &str| record[field].as_str().unwrap().to_owned();
    let one = |record: &Value| {
        let (kind, value) = (text(record, "type"), text(record, "value"));
        let data = match kind.as_str() {
            "TXT" => format!("\"{value}\""),
            "MX" => format!("{} {value}.", record["priority"]),
            _ => format!("{value}."),
        };
        (text(record, "name") + ".", kind, data)
    };
    domain["records"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn the_zone_file_is_read_by_bind_as_the_records_that_are_shown() {
    let daemon = Daemon::start();
    for (name, zone) in [("acme.test", "acme.test"), ("mail.acme.co.uk", "acme.co.uk")] {
        let domain = daemon.api().post(DOMAINS, json!({"domain": name})).expect(201);
        let url = format!("{}{DOMAINS}/{}/zone_file", daemon.ready("http"), domain.at("/id"));
        let authorization = format!("Authorization: Bearer {}", daemon.ready("token"));
        let file = curl(&["-f", "-H", &authorization, &url]).succeeded().stdout;
        assert_eq!(read_by_bind(zone, &file), shown(&domain.body), "{file}");
        for record in domain.body["records"].as_array().unwrap() {
            assert!(file.contains(&format!("host: {}\n", record["host_label"].as_str().unwrap())), "{file}");
        }
    }
}

#[test]
fn a_domains_life_can_be_read_afterwards() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let id = api.post(DOMAINS, json!({"domain": "acme.test"})).expect(201).at("/id").to_owned();
    let path = format!("{DOMAINS}/{id}");
    let wait = |seconds: u64| api.post("/sandbox/clock", json!({"advance_seconds": seconds})).expect(200);
    wait(60);
    api.post(&format!("/sandbox/domains/{id}/publish"), json!({})).expect(200);
    wait(4 * 3600);
    let domain = api.get(&path).expect(200);
    assert_eq!(domain.at("/verified_status"), "verified", "{}", domain.text);

    let checks = api.get(&format!("{path}/checks?per_page=100")).expect(200);
    let all = checks.body["data"].as_array().unwrap().clone();
    assert!(all.len() >= 2, "{}", checks.text);
    let mut shown = domain.body["records"].clone();
    for record in shown.as_array_mut().unwrap() {
        assert!(record.as_object_mut().unwrap().remove("entry").is_some());
    }
    assert_eq!(all[0]["records"], shown, "the newest is what is shown now");
    assert_eq!((&all[0]["verified_status"], &all[1]["verified_status"]), (&json!("verified"), &json!("pending")));
    let first = &all[all.len() - 1];
    assert_eq!((&first["number"], &first["records"][0]["error"]["code"]), (&json!(1), &json!("missing")));
    // Paging gives the same list.
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("{path}/checks?per_page=1{cursor}")).expect(200);
        walked.extend(page.body["data"].as_array().unwrap().iter().cloned());
        let Some(next) = page.body["meta"]["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(walked, all);

    let events = api.get(&format!("{path}/events")).expect(200);
    assert_eq!(events.at("/data/0/cause"), "all_right");
    assert_eq!(events.at("/data/1/cause"), "created");
    assert_eq!(events.body["data"][0]["records"][0]["found"][0], domain.body["records"][0]["value"]);
    assert!(!events.at("/data/0/records/0/server").is_empty());
}
