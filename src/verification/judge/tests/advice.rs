//! Suggested records keep the owner's intent, and each common mistake has its own code.

use super::*;

fn typed(position: usize, observation: &Observation) -> String {
    fix(position, observation).rsplit(": ").next().unwrap().to_owned()
}

fn message(position: usize, observation: &Observation) -> String {
    let all = expected();
    judge(&all[position], &all, observation, NOW).error.unwrap().message
}

#[test]
fn a_suggested_dmarc_record_keeps_the_intent() {
    for (bad, repaired) in [
        ("v=DMARC1: p=quarantine", "v=DMARC1; p=quarantine;"),
        ("v=DMARC1, p=reject, rua=mailto:a@acme.com", "v=DMARC1; p=reject; rua=mailto:a@acme.com;"),
        ("v=DMARC1 p=reject sp=none", "v=DMARC1; p=reject; sp=none;"),
        ("v=DMARC1; p=quarentine; pct=50", "v=DMARC1; p=quarantine; pct=50;"),
        ("v=DMARC1; p:reject; rua:mailto:a@acme.com", "v=DMARC1; p=reject; rua=mailto:a@acme.com;"),
        ("v=DMARC1; p=“reject”", "v=DMARC1; p=reject;"),
        ("v=DMARC1; p=none; sp=qurantine", "v=DMARC1; p=none; sp=quarantine;"),
        ("dmarc1; policy=reject", "v=DMARC1; p=reject;"),
        (
            "v=DMARC1; p=none, rua=mailto:a@acme.com,mailto:b@acme.com",
            "v=DMARC1; p=none; rua=mailto:a@acme.com,mailto:b@acme.com;",
        ),
    ] {
        assert_eq!(short(5, &txt(&[bad])), "mismatch:dmarc_invalid", "{bad}");
        assert_eq!(typed(5, &txt(&[bad])), repaired, "{bad}");
        assert_eq!(short(5, &txt(&[repaired])), "valid", "{bad}");
    }
}

#[test]
fn a_suggested_spf_record_keeps_every_term_that_can_be_guessed() {
    for (bad, repaired) in [
        ("v=spf1 inlcude:a.example mx -all", "v=spf1 include:a.example mx include:amazonses.com -all"),
        ("v=spf1 incldue:a.example ~all", "v=spf1 include:a.example include:amazonses.com ~all"),
        (
            "v=spf1 include:a.example,include:b.example, ~all",
            "v=spf1 include:a.example include:b.example include:amazonses.com ~all",
        ),
        ("v=spf1 include:http://a.example/ -all", "v=spf1 include:a.example include:amazonses.com -all"),
        ("v=spf1 ip4:192.0.2.0/255.255.255.0 -all", "v=spf1 ip4:192.0.2.0/24 include:amazonses.com -all"),
        ("v=spf1 ip4:192.0.2.* -all", "v=spf1 ip4:192.0.2.0/24 include:amazonses.com -all"),
        ("v=spf1 ip4:mail.a.example -all", "v=spf1 a:mail.a.example include:amazonses.com -all"),
        ("v=spf1 include:192.0.2.1 -all", "v=spf1 ip4:192.0.2.1 include:amazonses.com -all"),
        ("v=spf1 redirect:a.example", "v=spf1 include:amazonses.com redirect=a.example"),
        ("v=spf1 +include=a.example -all", "v=spf1 +include:a.example include:amazonses.com -all"),
        ("v=spf1 ip4=192.0.2.1 mx -all", "v=spf1 mx ip4:192.0.2.1 include:amazonses.com -all"),
        ("v=spf1 mx: -all", "v=spf1 mx include:amazonses.com -all"),
        ("v=spf1 mx \u{2013}all", "v=spf1 mx include:amazonses.com -all"),
        (
            "v=spf1 mx\u{a0}include:a.example\tip4:192.0.2.1 ~all;",
            "v=spf1 mx include:a.example ip4:192.0.2.1 include:amazonses.com ~all",
        ),
        (
            "v=spf1 redirect=a.example redirect=b.example",
            "v=spf1 include:a.example include:b.example include:amazonses.com ~all",
        ),
        ("v=spf1 mx ip4:192.0.2.300 a -al", "v=spf1 mx a include:amazonses.com -all"),
        // Terms after the end were meant to count.
        ("v=spf1 mx ~all include:a.example", "v=spf1 mx include:a.example include:amazonses.com ~all"),
        ("v=spf1 mx -all v=spf1 include:a.example ~all", "v=spf1 mx include:a.example include:amazonses.com ~all"),
    ] {
        assert_eq!(typed(4, &txt(&[bad])), repaired, "{bad}");
        assert_eq!(short(4, &txt(&[repaired])), "valid", "{bad}");
    }
    // However many terms are invalid, the valid ones are kept.
    let bad = format!("v=spf1 mx {}a:a.example ~all", "ip4:x ".repeat(100));
    assert_eq!(typed(4, &txt(&[&bad])), "v=spf1 mx a:a.example include:amazonses.com ~all");
    assert!(fix(4, &txt(&[&bad])).len() < 2000, "{}", fix(4, &txt(&[&bad])));
}

#[test]
fn a_misspelt_version_still_counts_as_an_spf_record() {
    for bad in [
        "v=spf mx -all",
        "spf1 mx -all",
        "v=spf1; mx; -all",
        "v=spf1,mx,-all",
        "v =spf1 mx -all",
        "v=spf2 mx -all",
        "v:spf1 mx -all",
    ] {
        assert_eq!(short(4, &txt(&[bad])), "mismatch:spf_syntax", "{bad}");
        assert_eq!(typed(4, &txt(&[bad])), "v=spf1 mx include:amazonses.com -all", "{bad}");
    }
    // Not SPF records: another kind of record, a sentence.
    for other in ["spf2.0/pra mx -all", "spf is checked by our provider", "v=spf10 include:amazonses.com"] {
        assert_eq!(short(4, &txt(&[other])), "missing:missing", "{other}");
    }
}

#[test]
fn white_space_before_a_value_is_reported_in_every_kind_of_record() {
    for (position, value, repaired) in [
        (4, " v=spf1 mx -all", "v=spf1 mx include:amazonses.com -all"),
        (4, "\tv=spf1 include:amazonses.com ~all", "v=spf1 include:amazonses.com ~all"),
        (5, " v=DMARC1; p=reject;", "v=DMARC1; p=reject;"),
        (6, " s3cret", "s3cret"),
    ] {
        let seen = txt(&["other", value]);
        assert_eq!(short(position, &seen), "mismatch:leading_space", "{value:?}");
        assert!(message(position, &seen).contains("begins with a space"), "{}", message(position, &seen));
        assert_eq!(typed(position, &seen), repaired, "{value:?}");
    }
    for (position, value) in [(4, "v=spf1 include:amazonses.com ~all "), (5, "v=DMARC1; p=none; "), (6, "s3cret ")] {
        assert_eq!(short(position, &txt(&[value])), "valid", "{value:?}");
    }
}

#[test]
fn a_record_that_authorises_everybody_is_a_warning() {
    for (record, repaired) in [
        ("v=spf1 +all", "v=spf1 include:amazonses.com ~all"),
        ("v=spf1 mx include:amazonses.com all", "v=spf1 mx include:amazonses.com ~all"),
        ("v=spf1 ip4:0.0.0.0/0 include:amazonses.com -all", "v=spf1 include:amazonses.com -all"),
    ] {
        assert_eq!(short(4, &txt(&[record])), "valid:spf_allows_all", "{record}");
        assert!(message(4, &txt(&[record])).contains("everybody"), "{record}");
        assert_eq!(typed(4, &txt(&[record])), repaired, "{record}");
    }
    assert_eq!(short(4, &txt(&["v=spf1 include:amazonses.com ?all"])), "valid");
}

#[test]
fn a_mail_host_called_localhost_is_a_warning() {
    let ours = "smtp.inboxlayer.dev";
    for host in ["localhost", "localhost.localdomain", "mail.localhost", "localhost.acme.com", "127.0.0.1"] {
        assert_eq!(short(3, &mx(&[(10, host)])), "mismatch:mx_localhost", "{host}");
        assert!(typed(3, &mx(&[(10, host)])).ends_with(ours), "{}", fix(3, &mx(&[(10, host)])));
        assert_eq!(short(3, &mx(&[(10, ours), (20, host)])), "valid:mx_localhost", "{host}");
        assert_eq!(short(3, &mx(&[(10, ours), (10, host)])), "mismatch:mx_localhost", "{host}");
        assert_eq!(short(3, &mx(&[(10, ours), (0, host)])), "mismatch:mx_localhost", "{host}");
        assert!(message(3, &mx(&[(10, ours), (0, host)])).contains(host));
        assert_eq!(short(3, &mx(&[(10, "mx.example"), (20, host)])), "mismatch:mx_other_hosts", "{host}");
    }
}

#[test]
fn a_record_at_a_name_without_its_underscore_is_found() {
    let at = |name: &str, answer: Observation| Observation {
        misplaced: vec![(name.into(), answer.answer)],
        ..nothing(vec![])
    };
    let key = || found(vec![RecordData::Cname("t1.dkim.amazonses.com".into())]);
    for (position, seen, lacks, host) in [
        (0, at("t1.domainkey.acme.com", key()), "_domainkey is written with an underscore", "t1._domainkey"),
        (0, at("t1.acme.com", key()), "_domainkey is missing", "t1._domainkey"),
        (5, at("acme.com", txt(&["v=spf1 -all", "v=DMARC1; p=none"])), "_dmarc is missing", "_dmarc"),
        (5, at("dmarc.acme.com", txt(&["v=DMARC1; p=none"])), "_dmarc is written with an underscore", "_dmarc"),
        (6, at("inboxlayer.acme.com", txt(&["s3cret"])), "_inboxlayer is written with an underscore", "_inboxlayer"),
    ] {
        assert_eq!(short(position, &seen), "missing:wrong_name");
        assert!(message(position, &seen).ends_with(lacks), "{}", message(position, &seen));
        assert_eq!(typed(position, &seen), host);
    }
    // Another record there is irrelevant, as is one beside a record at the right name.
    assert_eq!(short(0, &at("t1.acme.com", found(vec![RecordData::Cname("web.example".into())]))), "missing:missing");
    assert_eq!(short(5, &at("acme.com", txt(&["v=spf1 -all"]))), "missing:missing");
    let names = |position: usize| expected()[position].mistaken_names();
    assert_eq!(names(0), ["t1.domainkey.acme.com", "t1.acme.com"]);
    assert_eq!(names(5), ["dmarc.acme.com", "acme.com"]);
    assert!(names(3).is_empty() && names(4).is_empty());
}
