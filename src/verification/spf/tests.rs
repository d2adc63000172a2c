//! Parsing, counting and merging SPF records.

use super::*;
use crate::verification::observed::{Answer, RecordData, RecordType};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn wrong(record: &str) -> (usize, String) {
    let error = Record::parse(record).expect_err(record);
    (error.position, error.term)
}

#[test]
fn valid_syntax_is_parsed() {
    for good in [
        "v=spf1",
        "v=spf1 ",
        "V=SPF1  -all ",
        "v=spf1 +mx a:colo.example.com/28 -all",
        "v=spf1 a/24 mx//64 a:x.example/24//64 mx:y.example//128",
        "v=spf1 ip4:192.0.2.1 ip4:192.0.2.0/0 ip6:2001:db8::/32 ip6:::1",
        "v=spf1 include:_spf.example.com. exists:%{i}._spf.%{d2} ptr ptr:x.example",
        "v=spf1 exists:%{l1r-}.%{o}.%%x.%_%-.example.com",
        "v=spf1 redirect=_spf.%{d} exp=explain._spf.%{d}",
        "v=spf1 moo= x-1.y_z=any/thing:%{h} ?all",
        "v=spf1 include:xn--80ak6aa92e.com a:%{d}/24",
    ] {
        assert!(Record::parse(good).is_ok(), "{good}: {:?}", Record::parse(good));
    }
}

#[test]
fn syntax_errors_have_a_position() {
    for (bad, position, term) in [
        ("v=spf2 -all", 1, "v=spf2"),
        ("v=spf1,-all", 1, "v=spf1,-all"),
        ("v=spf1 al", 8, "al"),
        ("v=spf1 mx all:x", 11, "all:x"),
        ("v=spf1 include", 8, "include"),
        ("v=spf1 include:", 8, "include:"),
        ("v=spf1 include:localhost", 8, "include:localhost"),
        ("v=spf1 include:x.example.1", 8, "include:x.example.1"),
        ("v=spf1 a:", 8, "a:"),
        ("v=spf1 a/33", 8, "a/33"),
        ("v=spf1 a/024", 8, "a/024"),
        ("v=spf1 mx//129", 8, "mx//129"),
        ("v=spf1 ip4:192.0.2", 8, "ip4:192.0.2"),
        ("v=spf1 ip6:192.0.2.1", 8, "ip6:192.0.2.1"),
        ("v=spf1 exists:%{x}.example", 8, "exists:%{x}.example"),
        ("v=spf1 exists:50%.example", 8, "exists:50%.example"),
        ("v=spf1 redirect=a.example redirect=b.example", 27, "redirect=b.example"),
        ("v=spf1 -all redirect=", 13, "redirect="),
        ("v=spf1 mx\t-all", 8, "mx\t-all"),
        ("v=spf1 é -all", 8, "é"),
        ("v=spf1 ++all", 8, "++all"),
        ("v=spf1 =x", 8, "=x"),
    ] {
        assert_eq!(wrong(bad), (position, term.to_owned()), "{bad}");
    }
    let meant = |record: &str| Record::parse(record).unwrap_err().suggestion;
    assert_eq!(meant("v=spf1 ipv4:192.0.2.1"), Some("ip4:192.0.2.1".into()));
    assert_eq!(meant("v=spf1 192.0.2.0/24"), Some("ip4:192.0.2.0/24".into()));
    assert_eq!(meant("v=spf1 ip4:2001:db8::1"), Some("ip6:2001:db8::1".into()));
    assert_eq!(meant("v=spf1 _spf.google.com"), Some("include:_spf.google.com".into()));
}

fn found(text: &str) -> Answer {
    Answer::Found {
        records: vec![RecordData::Txt(text.into())],
        aliases: vec![],
        ttl: Duration::ZERO,
        server: ([192, 0, 2, 53], 53).into(),
        authenticated: false,
    }
}

fn none() -> Answer {
    Answer::NoRecord { nxdomain: true, aliases: vec![], negative_ttl: None, server: ([192, 0, 2, 53], 53).into() }
}

/// Evaluates with the texts there are; every other TXT does not exist, every other type does. Also: the rounds it took.
fn evaluate(record: &str, texts: &BTreeMap<String, String>) -> (Report, usize) {
    let mut evaluation = Evaluation::new("acme.example", record);
    let mut queried = std::collections::BTreeSet::new();
    for round in 0.. {
        let questions = evaluation.questions();
        if questions.is_empty() {
            return (evaluation.report(), round);
        }
        for (name, record_type) in questions {
            assert!(queried.insert((name.clone(), record_type)), "{name} {record_type} is asked for twice");
            let answer = match (texts.get(&name), record_type) {
                (Some(text), RecordType::Txt) => found(text),
                (None, RecordType::Txt) => none(),
                _ => found("there"),
            };
            evaluation.feed(&name, record_type, answer);
        }
    }
    unreachable!()
}

fn zone(records: &[(&str, &str)]) -> BTreeMap<String, String> {
    records.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn the_terms_that_cost_are_counted_and_no_others() {
    let report =
        evaluate("v=spf1 ip4:192.0.2.1 a mx ptr exists:%{i}.x.example x=y -all include:never.example", &zone(&[])).0;
    assert_eq!((report.lookups, report.fault), (4, None));
    let redirected = zone(&[("r.example", "v=spf1 a include:i.example"), ("i.example", "v=spf1 mx -all")]);
    assert_eq!(evaluate("v=spf1 redirect=r.example", &redirected).0.lookups, 4);
    // With an `all` a redirect has no effect.
    assert_eq!(evaluate("v=spf1 redirect=r.example -all", &redirected).0.lookups, 0);
}

#[test]
fn loops_end_and_broken_records_are_named() {
    let looping = zone(&[("a.example", "v=spf1 include:b.example"), ("b.example", "v=spf1 include:A.example. -all")]);
    let fault = |record: &str, texts: &BTreeMap<String, String>| evaluate(record, texts).0.fault;
    let Some(Fault::Include { path, domain, why }) = fault("v=spf1 include:a.example -all", &looping) else { panic!() };
    assert_eq!((path.len(), domain.as_str(), why), (3, "a.example", IncludeFault::Loop));
    let itself = fault("v=spf1 include:acme.example -all", &zone(&[]));
    assert!(matches!(itself, Some(Fault::Include { why: IncludeFault::Loop, .. })));
    let broken = fault("v=spf1 include:a.example -all", &zone(&[("a.example", "v=spf1 nonsense")]));
    assert!(matches!(broken, Some(Fault::Include { why: IncludeFault::Syntax(_), .. })));
    assert!(matches!(fault("v=spf1 nonsense", &zone(&[])), Some(Fault::Syntax(_))));
    let (gone, _) = evaluate("v=spf1 include:gone.example -all", &zone(&[]));
    assert_eq!(gone.void_lookups, ["gone.example"]);
}

#[test]
fn an_mx_that_leads_to_more_than_ten_hosts_is_named() {
    let hosts = |number: u16| Answer::Found {
        records: (0..number).map(|n| RecordData::Mx { preference: n, exchange: format!("mx{n}.example") }).collect(),
        aliases: vec![],
        ttl: Duration::from_secs(300),
        server: ([192, 0, 2, 1], 53).into(),
        authenticated: false,
    };
    let crowded = |record: &str, number| {
        let mut evaluation = Evaluation::new("acme.example", record);
        evaluation.feed("inner.example", RecordType::Txt, found("v=spf1 mx:many.example ptr -all"));
        evaluation.feed("acme.example", RecordType::Mx, hosts(10));
        evaluation.feed("many.example", RecordType::Mx, hosts(number));
        assert_eq!(evaluation.questions(), []);
        evaluation.report().crowded
    };
    assert_eq!(crowded("v=spf1 mx mx:many.example ptr -all", 10), None);
    let many = |path: &[&str]| {
        let path = path.iter().map(|term| (*term).to_owned()).collect();
        Some(Crowded { path, domain: "many.example".into(), hosts: 11 })
    };
    assert_eq!(crowded("v=spf1 mx mx:Many.example/24 -all", 11), many(&["mx:Many.example/24"]));
    assert_eq!(crowded("v=spf1 include:inner.example -all", 11), many(&["include:inner.example", "mx:many.example"]));
    assert_eq!(crowded("v=spf1 -all mx:many.example", 11), None);
}

#[test]
fn a_silent_server_leaves_the_rest_uncounted() {
    let mut evaluation = Evaluation::new("acme.example", "v=spf1 include:silent.example include:b.example -all");
    let silent = Answer::indefinite(crate::verification::observed::Indefinite::Timeout, None);
    evaluation.feed("silent.example", RecordType::Txt, silent);
    evaluation.feed("b.example", RecordType::Txt, found("v=spf1 -all"));
    assert_eq!(evaluation.questions(), []);
    let report = evaluation.report();
    assert_eq!((report.lookups, report.fault, report.unanswered), (2, None, vec!["silent.example".to_owned()]));
}

#[test]
fn merging_keeps_everybody_who_could_send() {
    let ours = "v=spf1 include:amazonses.com ~all";
    for (records, merged) in [
        (&[] as &[&str], "v=spf1 include:amazonses.com"),
        (&["v=spf1 -all"], "v=spf1 include:amazonses.com -all"),
        (&["v=spf1 ?include:amazonses.com mx -all"], "v=spf1 mx include:amazonses.com -all"),
        (&["v=spf1 mx exp=e.example -all"], "v=spf1 mx include:amazonses.com -all exp=e.example"),
        (&["v=spf1 redirect=r.example", "v=spf1 a -all"], "v=spf1 a include:r.example include:amazonses.com -all"),
        (
            &["v=spf1 redirect=r.example", "v=spf1 redirect=s.example"],
            "v=spf1 include:r.example include:s.example include:amazonses.com ~all",
        ),
        (&["v=spf1 +mx -all", "v=spf1 MX ~all"], "v=spf1 +mx include:amazonses.com ~all"),
    ] {
        assert_eq!(merge(records, ours), merged, "{records:?}");
    }
    let long = "é".repeat(200);
    assert!(strings(&long).iter().all(|part| part.len() <= 255));
    assert_eq!(strings(&long).concat(), long);
}

proptest! {
    /// No tree, however it is tied, makes an evaluation endless, or ask for a name twice.
    #[test]
    fn hostile_trees_are_bounded(edges in prop::collection::vec((0u8..12, 0u8..12), 0..60), width in 1usize..200) {
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for (from, to) in edges {
            let text = texts.entry(format!("n{from}.example")).or_insert_with(|| "v=spf1".to_owned());
            text.push_str(&format!(" include:n{to}.example mx:n{from}.example"));
        }
        let root: String = (0..width).map(|n| format!(" include:n{}.example", n % 12)).collect();
        let (report, rounds) = evaluate(&format!("v=spf1{root} -all"), &texts);
        prop_assert!(report.lookups <= 40);
        prop_assert!(rounds <= 41);
        let top: usize = report.costs.iter().map(|step| step.lookups).sum();
        prop_assert_eq!(top, report.lookups);
        prop_assert!(report.costliest_chain.windows(2).all(|w| w[0].lookups > w[1].lookups));
    }

    #[test]
    fn anything_can_be_read_or_refused(text in "\\PC{0,80}") {
        let _ = Record::parse(&format!("v=spf1 {text}"));
        let _ = merge(&[&text], "v=spf1 include:amazonses.com ~all");
        let _ = strings(&text);
    }
}
