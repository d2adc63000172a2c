//! SPF: judgements, and that suggested records are valid.

use super::*;
use crate::verification::bounds;
use crate::verification::spf::{Evaluation, Record};
use proptest::prelude::*;

/// An SPF record with the records it refers to, each `name text`; other names do not exist.
fn evaluated(record: &str, others: &[(&str, &str)]) -> Observation {
    Observation { spf: Some(report(record, others)), ..txt(&[record]) }
}

/// The same for several records: the suggested replacement is evaluated.
fn all_evaluated(records: &[&str], others: &[(&str, &str)]) -> Observation {
    let offer = crate::verification::spf::offer(records, &expected()[4].value);
    Observation { spf_offered: Some(report(&offer.text, others)), ..txt(records) }
}

fn report(record: &str, others: &[(&str, &str)]) -> crate::verification::spf::Report {
    let mut evaluation = Evaluation::new("acme.com", record);
    loop {
        let questions = evaluation.questions();
        if questions.is_empty() {
            return evaluation.report();
        }
        for (name, record_type) in questions {
            let text = others.iter().find(|(other, _)| *other == name);
            let answer = match text {
                Some((_, "SERVFAIL")) => silent(Indefinite::ServFail).answer,
                Some((_, text)) => txt(&[text]).answer,
                None => nothing(vec![]).answer,
            };
            evaluation.feed(&name, record_type, answer);
        }
    }
}

fn offered(observation: &Observation) -> String {
    fix(4, observation).rsplit(": ").next().unwrap().to_owned()
}

const SES: (&str, &str) = ("amazonses.com", "v=spf1 ip4:199.255.192.0/22 -all");

#[test]
fn valid_and_invalid_records() {
    for good in [
        "v=spf1 include:amazonses.com ~all",
        "v=spf1 include:amazonses.com -all",
        "V=SPF1 mx +include:AmazonSES.com ip4:192.0.2.0/24 ?all",
        "v=spf1 include:amazonses.com",
    ] {
        assert_eq!(short(4, &txt(&["google-site-verification=1", good])), "valid", "{good}");
        assert_eq!(short(4, &evaluated(good, &[SES])), "valid", "{good}");
    }
    for bad in ["v=spf1 ~all", "v=spf1 -all include:amazonses.com", "v=spf1 -include:amazonses.com ~all", "v=spf1"] {
        assert_eq!(short(4, &txt(&[bad])), "mismatch:spf_missing_include", "{bad}");
        assert_eq!(short(4, &txt(&[&offered(&txt(&[bad]))])), "valid", "{bad}");
    }
    assert_eq!(
        offered(&txt(&["v=spf1 mx include:_spf.google.com -all"])),
        "v=spf1 mx include:_spf.google.com include:amazonses.com -all"
    );
    assert_eq!(offered(&txt(&["v=spf1 redirect=x.example"])), "v=spf1 include:amazonses.com redirect=x.example");
    assert_eq!(offered(&txt(&["v=spf1 include=amazonses.com mx ~all"])), "v=spf1 mx include:amazonses.com ~all");
    assert_eq!(offered(&txt(&["v=spf1 mx ~all", "v=spf1 a mx -all"])), "v=spf1 mx a include:amazonses.com ~all");
    assert_eq!(short(4, &txt(&["v=spf1 mx ~all", "v=spf1 include:amazonses.com ~all"])), "mismatch:spf_multiple");
    assert_eq!(short(4, &txt(&["\"v=spf1 include:amazonses.com ~all\""])), "mismatch:quoted_twice");
    assert_eq!(short(4, &txt(&["v=spf10 include:amazonses.com", "hello"])), "missing:missing");
    assert_eq!(short(4, &nothing(vec![])), "missing:missing");
}

#[test]
fn our_servers_may_be_included_indirectly() {
    let by_way = ("_spf.acme.com", "v=spf1 include:amazonses.com ~all");
    assert_eq!(short(4, &evaluated("v=spf1 include:_spf.acme.com -all", &[by_way, SES])), "valid");
    assert_eq!(short(4, &evaluated("v=spf1 redirect=_spf.acme.com", &[by_way, SES])), "valid");
    // A match there is not a pass here.
    assert_eq!(
        short(4, &evaluated("v=spf1 ?include:_spf.acme.com -all", &[by_way, SES])),
        "mismatch:spf_missing_include"
    );
}

#[test]
fn a_resolver_with_the_same_record_has_no_stale_cache() {
    let by_way =
        evaluated("v=spf1 include:_spf.acme.com -all", &[("_spf.acme.com", "v=spf1 include:amazonses.com"), SES]);
    let answers = |authoritative, observation: &Observation| ServerAnswer {
        server: SERVER,
        name: None,
        authoritative,
        answer: observation.answer.clone(),
    };
    let with = |held: &[&str]| Observation {
        servers: vec![answers(true, &by_way), answers(false, &txt(held))],
        ..by_way.clone()
    };
    assert_eq!(short(4, &with(&["v=spf1 include:_spf.acme.com -all"])), "valid");
    assert_eq!(short(4, &with(&["hello", "v=spf1 include:_spf.acme.com -all"])), "valid");
    assert_eq!(short(4, &with(&["v=spf1 include:old.acme.com -all"])), "valid:still_cached");
}

#[test]
fn an_indefinite_answer_is_not_a_fault() {
    let dead = ("_spf.acme.com", "SERVFAIL");
    let by_way = evaluated("v=spf1 include:_spf.acme.com -all", &[dead, SES]);
    assert_eq!(short(4, &by_way), "unknown:resolver_failed");
    let all = expected();
    let error = judge(&all[4], &all, &by_way, NOW).error.unwrap();
    assert!(error.message.contains("_spf.acme.com"), "{}", error.message);
    assert_eq!(offered(&by_way), "v=spf1 include:_spf.acme.com include:amazonses.com -all");
    assert_eq!(short(4, &evaluated("v=spf1 redirect=_spf.acme.com", &[dead, SES])), "unknown:resolver_failed");
    // Our include is present anyway, or cannot be there.
    assert_eq!(short(4, &evaluated("v=spf1 include:_spf.acme.com include:amazonses.com", &[dead, SES])), "valid");
    assert_eq!(short(4, &evaluated("v=spf1 include:amazonses.com", &[("amazonses.com", "SERVFAIL")])), "valid");
    let fails = "mismatch:spf_missing_include";
    assert_eq!(short(4, &evaluated("v=spf1 ?include:_spf.acme.com -all", &[dead, SES])), fails);
    assert_eq!(short(4, &evaluated("v=spf1 a:_spf.acme.com -all", &[dead, SES])), fails);
    // A definite fault is reported anyway.
    let broken = evaluated("v=spf1 include:_spf.acme.com include:gone.example include:amazonses.com", &[dead, SES]);
    assert_eq!(short(4, &broken), "mismatch:spf_broken_include");
}

fn message(observation: &Observation) -> String {
    let all = expected();
    judge(&all[4], &all, observation, NOW).error.unwrap().message
}

#[test]
fn the_reason_why_our_include_does_not_count_is_given() {
    for (record, why) in [
        ("v=spf1 ?include:amazonses.com -all", "the \"?\" of \"?include:amazonses.com\" makes it neutral"),
        ("v=spf1 -include:amazonses.com ~all", "\"-include:amazonses.com\" says that they may not send"),
        (
            "v=spf1 ~include:amazonses.com include:amazonses.com",
            "\"~include:amazonses.com\" says that they may not send",
        ),
        ("v=spf1 mx -all include:amazonses.com", "include:amazonses.com comes after the \"all\""),
        ("v=spf1 include:amazonses.com.acme.com -all", "include:amazonses.com is not in it"),
    ] {
        assert!(message(&txt(&[record])).contains(why), "{}", message(&txt(&[record])));
        assert_eq!(short(4, &txt(&[&offered(&txt(&[record]))])), "valid", "{record}");
    }
    // Authorises everybody, including us: a warning.
    for record in ["v=spf1 +all", "v=spf1 mx all", "v=spf1 include:all.acme.com -all", "v=spf1 redirect=all.acme.com"] {
        assert_eq!(
            short(4, &evaluated(record, &[("all.acme.com", "v=spf1 all"), ("acme.com", "x")])),
            "valid:spf_allows_all",
            "{record}"
        );
    }
    let inner = evaluated("v=spf1 ?include:all.acme.com -all", &[("all.acme.com", "v=spf1 all")]);
    assert_eq!(short(4, &inner), "mismatch:spf_missing_include");
    assert_eq!(short(4, &evaluated("v=spf1 -include:amazonses.com all", &[SES])), "mismatch:spf_missing_include");
}

#[test]
fn a_name_that_depends_on_the_sender_may_authorise_us() {
    let hosted = "v=spf1 include:%{ir}.%{v}.%{d}.spf.has.pphosted.com ~all";
    let observation = evaluated(hosted, &[SES]);
    assert_eq!(short(4, &observation), "unknown:spf_missing_include");
    assert!(message(&observation).contains("depends on the sender"), "{}", message(&observation));
    assert_eq!(offered(&observation), "v=spf1 include:%{ir}.%{v}.%{d}.spf.has.pphosted.com include:amazonses.com ~all");
    let with_ours = evaluated(&offered(&observation), &[SES]);
    assert_eq!(short(4, &with_ours), "valid");
    let no_pass = evaluated("v=spf1 ?exists:%{i}.acme.com -all", &[SES]);
    assert_eq!(short(4, &no_pass), "mismatch:spf_missing_include");
}

#[test]
fn the_lookups_of_a_suggested_record_are_counted() {
    let ten: String = (0..10).map(|n| format!(" include:n{n}.example")).collect();
    let ten = format!("v=spf1{ten} ~all");
    let names: Vec<String> = (0..10).map(|n| format!("n{n}.example")).collect();
    let others: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v=spf1 -all")).chain([SES]).collect();
    let both = all_evaluated(&[&ten, "v=spf1 include:amazonses.com -all"], &others);
    assert_eq!(short(4, &both), "mismatch:spf_multiple");
    assert!(fix(4, &both).contains("The record offered here costs 11 look-ups"), "{}", fix(4, &both));
    assert!(offered(&both).starts_with("v=spf1 include:n0.example "), "{}", offered(&both));
    let few = all_evaluated(&["v=spf1 mx ~all", "v=spf1 include:amazonses.com -all"], &[SES, ("acme.com", "x")]);
    assert!(!fix(4, &few).contains("look-ups"), "{}", fix(4, &few));
}

#[test]
fn syntax_errors_have_a_position_and_are_repaired() {
    for (bad, position, repaired) in [
        ("v=spf1 include:amazonses.com ipv4:192.0.2.1 ~all", 30, "v=spf1 include:amazonses.com ip4:192.0.2.1 ~all"),
        ("v=spf1 include: amazonses.com ~all", 8, "v=spf1 include:amazonses.com ~all"),
        ("v=spf1 ip4:192.0.2.300 ~all", 8, "v=spf1 include:amazonses.com ~all"),
        ("v=spf1 a:192.0.2.1/24 mx -all", 8, "v=spf1 ip4:192.0.2.1/24 mx include:amazonses.com -all"),
        ("v=spf1  all: include:amazonses.com", 9, "v=spf1 include:amazonses.com"),
        (
            "v=spf1 include:_spf.google.cominclude:amazonses.com ~all",
            8,
            "v=spf1 include:_spf.google.com include:amazonses.com ~all",
        ),
        ("v=spf1 include:_spf.google.com~all", 8, "v=spf1 include:_spf.google.com include:amazonses.com ~all"),
        ("v=spf1 mx-all", 8, "v=spf1 mx include:amazonses.com -all"),
        (
            "v=spf1 ip4:192.0.2.1?include:x.exampleip4:192.0.2.2",
            8,
            "v=spf1 ip4:192.0.2.1 ?include:x.example ip4:192.0.2.2 include:amazonses.com",
        ),
        ("v=spf1 bogus include:amazonses.com oops ~all", 8, "v=spf1 include:amazonses.com ~all"),
    ] {
        let observation = txt(&[bad]);
        assert_eq!(short(4, &observation), "mismatch:spf_syntax", "{bad}");
        let message = message(&observation);
        assert!(message.contains(&format!("at character {position}:")), "{message}");
        assert_eq!(offered(&observation), repaired, "{bad}");
    }
}

#[test]
fn too_many_lookups_report_the_most_expensive_chain() {
    let record = "v=spf1 a mx include:big.example include:amazonses.com ~all";
    let big = ("big.example", "v=spf1 include:one.example include:two.example a:h.example -all");
    let two = ("two.example", "v=spf1 mx a exists:%{i}.x.example ptr a:h.example -all");
    let observation =
        evaluated(record, &[big, ("one.example", "v=spf1 -all"), two, SES, ("acme.com", "x"), ("h.example", "x")]);
    assert_eq!(short(4, &observation), "mismatch:spf_lookup_limit");
    let all = expected();
    let error = judge(&all[4], &all, &observation, NOW).error.unwrap();
    assert!(error.message.contains("look up 12 names"), "{}", error.message);
    assert!(error.message.contains("include:big.example (9) → include:two.example (6) → mx (1)"), "{}", error.message);
    assert!(error.fix.contains("include:big.example (9), a (1)"), "{}", error.fix);
}

#[test]
fn names_without_records_are_counted() {
    let observation = |record| evaluated(record, &[SES]);
    assert_eq!(short(4, &observation("v=spf1 a:a.example mx:b.example include:amazonses.com -all")), "valid");
    let three = observation("v=spf1 a:a.example mx:b.example a:c.example include:amazonses.com -all");
    assert_eq!(short(4, &three), "mismatch:spf_void_lookups");
    assert!(fix(4, &three).contains("a.example, b.example, c.example"), "{}", fix(4, &three));
    // A broken include of ours is our fault.
    assert_eq!(short(4, &evaluated("v=spf1 mx include:amazonses.com -all", &[])), "valid:spf_broken_include");
    let gone = observation("v=spf1 include:gone.example include:amazonses.com -all");
    assert_eq!(short(4, &gone), "mismatch:spf_broken_include");
    assert!(fix(4, &gone).contains("\"include:gone.example\""), "{}", fix(4, &gone));
}

#[test]
fn a_record_too_long_for_one_string_is_split() {
    let long = format!("v=spf1 {}-all", (0..20).map(|n| format!("ip4:192.0.{n}.0/24 ")).collect::<String>());
    let fix = fix(4, &txt(&[&long]));
    let strings: Vec<&str> = fix.split('"').skip(1).step_by(2).collect();
    assert_eq!(strings.len(), 2, "{fix}");
    assert!(strings.iter().all(|part| part.len() <= 255));
    assert_eq!(short(4, &txt(&[&strings.concat()])), "valid");
}

fn term() -> impl Strategy<Value = String> {
    let mechanism = prop_oneof![
        Just("mx".to_owned()),
        Just("all".to_owned()),
        Just("ip4:192.0.2.0/24".to_owned()),
        Just("ip6:2001:db8::/32".to_owned()),
        Just("include:amazonses.com".to_owned()),
        "[a-z]{1,5}".prop_map(|name| format!("include:{name}.example")),
        "[a-z]{1,5}".prop_map(|name| format!("a:{name}.example/24")),
    ];
    let modifier = prop_oneof![
        Just("redirect=r.example".to_owned()),
        Just("x-y=%{i}".to_owned()),
        Just("exp=e.example".to_owned())
    ];
    prop_oneof![9 => ("[-+~?]?", mechanism).prop_map(|(qualifier, m)| format!("{qualifier}{m}")), 1 => modifier]
}

proptest! {
    /// Publishing the suggested record always makes it valid.
    #[test]
    fn a_suggested_record_is_valid(records in prop::collection::vec(prop::collection::vec(term(), 0..9), 1..4)) {
        let records: Vec<String> = records.iter().map(|terms| format!("v=spf1 {}", terms.join(" "))).collect();
        let texts: Vec<&str> = records.iter().map(String::as_str).collect();
        let observation = txt(&texts);
        let all = expected();
        let Some(error) = judge(&all[4], &all, &observation, NOW).error else { return Ok(()) };
        let offered = match error.fix.contains('"') && error.fix.contains("several strings") {
            true => error.fix.split('"').skip(1).step_by(2).collect::<Vec<_>>().concat(),
            false => error.fix.rsplit(": ").next().unwrap().to_owned(),
        };
        let parsed = Record::parse(&offered);
        prop_assert!(parsed.is_ok(), "{offered}: {parsed:?}");
        prop_assert_eq!(short(4, &txt(&[&offered])), "valid", "{}", offered);
    }
}

#[test]
fn an_oversized_record_is_reported_as_such() {
    let long = bounds::cut(&format!("v=spf1 {}{}", "a ".repeat(15_000), "x ".repeat(15_000)), bounds::TXT);
    assert_eq!(short(4, &evaluated(&long, &[])), "mismatch:spf_syntax");
    let error = judge(&expected()[4], &expected(), &txt(&[&long]), NOW).error.unwrap();
    assert!(error.message.contains("more than 4096 octets"), "{}", error.message);
    assert!(error.fix.ends_with("v=spf1 include:amazonses.com ~all"), "{}", error.fix);
    // Up to the limit, it is judged.
    let terms = "ip4:192.0.2.1 ".repeat((bounds::TXT - 40) / 14);
    assert_eq!(short(4, &txt(&[&format!("v=spf1 {terms}include:amazonses.com ~all")])), "valid");
    // An oversized included record is not a definite fault.
    assert_eq!(
        short(4, &evaluated("v=spf1 include:x.example include:amazonses.com -all", &[SES, ("x.example", &long)])),
        "valid"
    );
}

#[test]
fn records_too_long_together_are_not_merged() {
    let half = |first: usize| {
        let terms: Vec<String> = (first..first + 130).map(|n| format!("ip4:10.0.{}.{}", n / 200, n % 200)).collect();
        format!("v=spf1 {} ~all", terms.join(" "))
    };
    let (one, other) = (half(0), half(1000));
    assert!(one.len() < bounds::TXT && one.len() + other.len() < bounds::TXT);
    assert!(offered(&txt(&[&one, &other])).contains("ip4:10.0.5.129"), "merged");
    let observation = txt(&[&one, &other, &half(2000)]);
    assert_eq!(short(4, &observation), "mismatch:spf_multiple");
    assert_eq!(offered(&observation), "v=spf1 include:amazonses.com ~all");
}
