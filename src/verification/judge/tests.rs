//! One line per fault: the observation, and its code.

mod advice;
mod bounds;
mod dmarc;
mod faults;
mod spf;

use super::*;
use crate::verification::observed::Indefinite;
use crate::verification::records::Template;
use crate::verification::status::{Policy, State, VerifiedStatus};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 53)), 53);

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn expected() -> Vec<Expected> {
    Template::documented().records(&"acme.com".parse().unwrap(), &["t1", "t2", "t3"].map(String::from), Some("s3cret"))
}

fn found(records: Vec<RecordData>) -> Observation {
    let answer =
        Answer::Found { records, aliases: vec![], ttl: Duration::from_secs(60), server: SERVER, authenticated: false };
    Observation::of(answer)
}

fn nothing(other_types: Vec<RecordData>) -> Observation {
    let negative_ttl = Some(Duration::from_secs(300));
    let answer = Answer::NoRecord { nxdomain: false, aliases: vec![], negative_ttl, server: SERVER };
    Observation { other_types, ..Observation::of(answer) }
}

fn silent(reason: Indefinite) -> Observation {
    Observation::of(Answer::indefinite(reason, Some(SERVER)))
}

/// `status` or `status:code`.
fn short(position: usize, observation: &Observation) -> String {
    let all = expected();
    let evidence = judge(&all[position], &all, observation, NOW);
    match evidence.error {
        Some(error) => format!("{}:{}", evidence.status, error.code),
        None => evidence.status.to_string(),
    }
}

fn fix(position: usize, observation: &Observation) -> String {
    let all = expected();
    judge(&all[position], &all, observation, NOW).error.unwrap().fix
}

fn txt(texts: &[&str]) -> Observation {
    found(texts.iter().map(|text| RecordData::Txt((*text).into())).collect())
}

fn mx(hosts: &[(u16, &str)]) -> Observation {
    let mx = |(preference, host): &(u16, &str)| RecordData::Mx { preference: *preference, exchange: (*host).into() };
    found(hosts.iter().map(mx).collect())
}

#[test]
fn dkim() {
    let to = |target: &str| found(vec![RecordData::Cname(target.into())]);
    assert_eq!(short(0, &to("t1.dkim.amazonses.com")), "valid");
    assert_eq!(short(0, &to("T1.DKIM.amazonses.com")), "valid");
    assert_eq!(short(0, &to("t2.dkim.amazonses.com")), "mismatch:swapped");
    assert_eq!(short(0, &to("t1.dkim.amazonses.com.acme.com")), "mismatch:target_suffixed");
    assert_eq!(short(0, &to("elsewhere.example")), "mismatch:wrong_value");
    let both = vec![RecordData::Cname("t1.dkim.amazonses.com".into()), RecordData::Cname("x.example".into())];
    assert_eq!(short(0, &found(both)), "mismatch:wrong_value");
    assert_eq!(short(0, &nothing(vec![])), "missing:missing");
    assert_eq!(short(0, &nothing(vec![RecordData::Txt("t1.dkim.amazonses.com".into())])), "mismatch:wrong_type");
    assert_eq!(short(0, &nothing(vec![RecordData::A([192, 0, 2, 1].into())])), "mismatch:proxied");
    assert_eq!(short(0, &silent(Indefinite::ServFail)), "unknown:resolver_failed");
    assert_eq!(short(0, &silent(Indefinite::Disagreement(vec![]))), "unknown:servers_disagree");
    assert_eq!(
        fix(0, &nothing(vec![])),
        "Create a CNAME record, host t1._domainkey (full name t1._domainkey.acme.com), with the value: t1.dkim.amazonses.com"
    );
}

#[test]
fn mx_records() {
    assert_eq!(short(3, &mx(&[(10, "smtp.inboxlayer.dev")])), "valid");
    assert_eq!(short(3, &mx(&[(5, "smtp.inboxlayer.dev"), (10, "backup.example")])), "valid:mx_other_hosts");
    assert_eq!(short(3, &mx(&[(10, "smtp.inboxlayer.dev"), (10, "beside.example")])), "valid:mx_other_hosts");
    assert_eq!(short(3, &mx(&[(10, "smtp.inboxlayer.dev"), (1, "aspmx.example")])), "mismatch:mx_outranked");
    assert_eq!(short(3, &mx(&[(1, "aspmx.example")])), "mismatch:mx_other_hosts");
    assert_eq!(short(3, &mx(&[(0, ".")])), "mismatch:null_mx");
    assert_eq!(short(3, &nothing(vec![])), "missing:missing");
    assert!(
        fix(3, &nothing(vec![]))
            .ends_with("host @ (full name acme.com), with priority 10 and the value: smtp.inboxlayer.dev")
    );
}

#[test]
fn dmarc_and_ownership() {
    for good in ["v=DMARC1; p=none;", "v=DMARC1;p=reject", "v = DMARC1 ; sp=none; P=Quarantine; rua=mailto:a@b.c"] {
        assert_eq!(short(5, &txt(&[good])), "valid", "{good}");
    }
    assert_eq!(short(5, &txt(&["v=DMARC1; p=none", "v=DMARC1; p=reject"])), "mismatch:dmarc_multiple");
    assert_eq!(short(5, &txt(&["v=DMARC1; p=maybe"])), "mismatch:dmarc_invalid");
    assert_eq!(short(5, &txt(&["v=DMARC1"])), "mismatch:dmarc_invalid");
    assert_eq!(short(5, &txt(&["v=DMARC1; p=none; aspf=x"])), "valid:dmarc_invalid");
    assert_eq!(short(5, &txt(&["\"v=DMARC1; p=none;\""])), "mismatch:quoted_twice");
    assert_eq!(short(5, &txt(&["hello"])), "missing:missing");
    assert_eq!(short(6, &txt(&["another", "s3cret"])), "valid");
    assert_eq!(short(6, &txt(&["another"])), "missing:missing");
    assert_eq!(short(6, &txt(&["\"s3cret\""])), "mismatch:quoted_twice");
}

fn all_of(observations: impl Fn(usize) -> Observation) -> Vec<CheckedRecord> {
    let all = expected();
    let checked = all.iter().enumerate().map(|(position, expected)| CheckedRecord {
        expected: expected.clone(),
        evidence: judge(expected, &all, &observations(position), NOW),
    });
    checked.collect()
}

fn right(position: usize) -> Observation {
    match position {
        0..=2 => found(vec![RecordData::Cname(format!("t{}.dkim.amazonses.com", position + 1))]),
        3 => mx(&[(10, "smtp.inboxlayer.dev")]),
        4 => txt(&["v=spf1 include:amazonses.com ~all"]),
        5 => txt(&["v=DMARC1; p=none;"]),
        _ => txt(&["s3cret"]),
    }
}

#[test]
fn required_records_make_the_outcome() {
    let records = all_of(|p| if p == 3 { nothing(vec![]) } else { right(p) });
    let seen = outcome(&records);
    let keys = [0, 1, 2, 6].map(|position| records[position].expected.key());
    assert_eq!(seen.required.iter().map(|(record, _)| record.clone()).collect::<Vec<_>>(), keys);
    assert!(seen.required.iter().all(|(_, finding)| *finding == Finding::Good));
    assert_eq!(seen.negative_ttl, None);
    let records = all_of(|p| if p == 6 { nothing(vec![]) } else { right(p) });
    let seen = outcome(&records);
    assert_eq!(seen.required.last(), Some(&(records[6].expected.key(), Finding::Fault)));
    assert_eq!(seen.negative_ttl, Some(Duration::from_secs(300)));
}

#[test]
fn a_claim_is_gone_when_all_its_dkim_records_definitely_are() {
    let gone = |observations: &dyn Fn(usize) -> Observation| is_gone(&all_of(observations));
    assert!(gone(&|p| if p < 3 { nothing(vec![]) } else { right(p) }));
    assert!(!gone(&|p| if p < 2 { nothing(vec![]) } else { right(p) }));
    assert!(!gone(&|p| if p < 2 { nothing(vec![]) } else { silent(Indefinite::Timeout) }));
    // The DKIM records may be another claim's too: then the ownership record decides.
    assert!(gone(&|p| if p == 6 { nothing(vec![]) } else { right(p) }));
    assert!(!gone(&|p| if p == 6 { silent(Indefinite::Timeout) } else { right(p) }));
}

#[test]
fn records_that_the_provider_has_not_confirmed_are_indefinite_until_the_domain_is_verified() {
    let mut records = all_of(right);
    unconfirmed(&mut records, true);
    assert!(records.iter().take(3).map(|r| &r.evidence).all(|e| e.status == RecordStatus::Valid && e.error.is_some()));
    unconfirmed(&mut records, false);
    let seen = outcome(&records).required;
    assert_eq!(seen.iter().filter(|(_, finding)| *finding == Finding::Indefinite).count(), 3);
    assert!(records.iter().skip(3).map(|r| &r.evidence).all(|e| e.status == RecordStatus::Valid && e.error.is_none()));
}

#[test]
fn the_verdict_is_one_sentence_that_says_what_to_do() {
    let policy = Policy {
        window: Duration::from_secs(259_200),
        grace: Duration::from_secs(259_200),
        recheck: Duration::from_secs(86_400),
        first_pause: Duration::from_secs(30),
        longest_pause: Duration::from_secs(3600),
    };
    let now = NOW;
    let say = |state: &State, observations: &dyn Fn(usize) -> Observation| {
        verdict("acme.com", state, &policy, &all_of(observations))
    };
    let pending = State::created(now, &policy);
    let fresh = verdict("acme.com", &pending, &policy, &[]);
    assert!(fresh.starts_with("Publish the records of acme.com"), "{fresh}");
    let waiting = say(&pending, &|p| if p == 1 { nothing(vec![]) } else { right(p) });
    assert!(
        waiting.starts_with("3 of 4 required records are valid: there is no CNAME record at t2._domainkey.acme.com;"),
        "{waiting}"
    );
    let explained = say(&pending, &|p| match p {
        0 => nothing(vec![]),
        1 => Observation { doubled: Some(right(1).answer), ..nothing(vec![]) },
        _ => right(p),
    });
    assert!(explained.starts_with("2 of 4 required records are valid: the CNAME record is at t2."), "{explained}");
    assert!(say(&pending, &right).starts_with("All required records of acme.com are valid"));
    // A record required since the last check is reported.
    let mut records = all_of(right);
    let ownership = records.iter().position(|record| record.expected.purpose == Purpose::Ownership).unwrap();
    records[ownership].evidence = Evidence::default();
    let grown = verdict("acme.com", &pending, &policy, &records);
    assert!(
        grown.starts_with("3 of 4 required records of acme.com are valid, and the others have not been checked"),
        "{grown}"
    );

    let (verified, _) = pending.checked(&outcome(&all_of(right)), now, &policy, 0);
    assert_eq!(verified.status, VerifiedStatus::Verified);
    assert_eq!(say(&verified, &right), "All is well: acme.com is verified: it sends and receives here.");
    let no_mx = say(&verified, &|p| if p == 3 { nothing(vec![]) } else { right(p) });
    assert_eq!(
        no_mx,
        "acme.com is verified for sending, but there is no MX record at acme.com; create an MX record, host @ (full name \
         acme.com), with priority 10 and the value \"smtp.inboxlayer.dev\"."
    );
    // Mail that stays elsewhere is not a fault of a domain that only sends.
    let google = |p| if p == 3 { mx(&[(1, "aspmx.l.google.com"), (5, "alt1.aspmx.l.google.com")]) } else { right(p) };
    assert_eq!(
        say(&verified, &google),
        "All is well: acme.com is verified for sending; its mail stays at Google Workspace."
    );
    let own = |p| if p == 3 { mx(&[(1, "mx1.acme.com"), (2, "mx2.acme.com")]) } else { right(p) };
    assert_eq!(
        say(&verified, &own),
        "All is well: acme.com is verified for sending; its mail stays at mx1.acme.com, mx2.acme.com."
    );
    // Other faults are reported.
    let no_spf = say(&verified, &|p| if p == 4 { nothing(vec![]) } else { google(p) });
    assert!(
        no_spf.starts_with("acme.com is verified for sending, but there is no TXT record at acme.com;"),
        "{no_spf}"
    );
    // The value to enter is complete and unchanged.
    let dotted = |p| if p == 4 { txt(&["v=spf1 include:_spf.google.com. mx:mail.acme.com. -all"]) } else { right(p) };
    let merged = "v=spf1 include:_spf.google.com. mx:mail.acme.com. include:amazonses.com -all";
    let answers = say(&verified, &dotted);
    assert!(
        answers.ends_with(&format!("; change the TXT record at acme.com, keeping it one, to \"{merged}\".")),
        "{answers}"
    );
    let marks = say(&verified, &|p| if p == 5 { txt(&["\"v=DMARC1; p=none;\""]) } else { right(p) });
    assert!(marks.ends_with("without quotation marks (your DNS provider adds them itself)."), "{marks}");
    let broken = |p| if p == 0 { nothing(vec![]) } else { right(p) };
    let (degraded, _) = verified.checked(&outcome(&all_of(broken)), now, &policy, 0);
    assert!(
        say(&degraded, &broken).ends_with("before 2027-01-18 08:00 UTC or it fails."),
        "{}",
        say(&degraded, &broken)
    );
    let (failed, _) = degraded.displaced();
    assert!(
        say(&failed, &broken)
            .contains("there is no CNAME record at t1._domainkey.acme.com; fix that and verify again: create")
    );
}
