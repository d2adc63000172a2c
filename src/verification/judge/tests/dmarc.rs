//! DMARC: the record at the name, and the inherited one of a subdomain.

use super::*;

/// The evidence for a claim to `mail.acme.com` with this expected policy, no record at its name and `above` inherited.
fn below(wanted: &str, above: Observation) -> Evidence {
    let template = Template { dmarc: wanted.into(), ..Template::documented() };
    let all = template.records(&"mail.acme.com".parse().unwrap(), &["t1", "t2", "t3"].map(String::from), None);
    judge(&all[5], &all, &Observation { inherited: Some(above.answer), ..nothing(vec![]) }, NOW)
}

#[test]
fn a_subdomain_without_a_record_inherits_from_its_organizational_domain() {
    let strict = "v=DMARC1; p=reject; sp=quarantine; aspf=s; adkim=s";
    for wanted in ["v=DMARC1; p=none;", "v=DMARC1; p=quarantine;"] {
        let seen = below(wanted, txt(&["other", strict]));
        assert_eq!((seen.status, seen.error), (RecordStatus::Valid, None));
        assert_eq!((seen.observed, seen.observed_name.as_deref()), (vec![strict.to_owned()], Some("_dmarc.acme.com")));
    }
    assert_eq!(below("v=DMARC1; p=quarantine;", txt(&["v=DMARC1; p=reject"])).status, RecordStatus::Valid);
    // Weaker for subdomains: the suggested record keeps the rest, without a policy for its own subdomains.
    let weaker = below("v=DMARC1; p=reject;", txt(&[strict]));
    let error = weaker.error.unwrap();
    assert_eq!((weaker.status, error.code), (RecordStatus::Mismatch, Code::DmarcWeaker));
    assert!(
        error.fix.contains("host _dmarc.mail ") && error.fix.contains("v=DMARC1; p=reject; aspf=s; adkim=s;"),
        "{}",
        error.fix
    );
    // A record that receivers ignore is not inherited.
    for unused in [txt(&["v=DMARC1; p=maybe"]), txt(&[strict, "v=DMARC1; p=none"]), txt(&["other"]), nothing(vec![])] {
        let seen = below("v=DMARC1; p=none;", unused);
        assert_eq!(seen.error.map(|error| error.code), Some(Code::Missing));
    }
    let silent = below("v=DMARC1; p=none;", silent(Indefinite::Timeout));
    assert_eq!((silent.status, silent.error.unwrap().code), (RecordStatus::Unknown, Code::ResolverFailed));
}

#[test]
fn a_record_at_the_name_itself_takes_precedence() {
    let with = |own: &str| Observation { inherited: Some(txt(&["v=DMARC1; p=reject"]).answer), ..txt(&[own]) };
    assert_eq!(short(5, &with("v=DMARC1; p=none")), "valid");
    assert_eq!(short(5, &with("v=dmarc1; p=none")), "mismatch:dmarc_invalid");
    assert_eq!(short(5, &with("v=DMARC1; p=maybe")), "mismatch:dmarc_invalid");
}

#[test]
fn a_record_that_only_asks_for_reports_is_taken_for_none() {
    assert_eq!(short(5, &txt(&["v=DMARC1; rua=mailto:a@b.c"])), "valid:dmarc_invalid");
    assert_eq!(short(5, &txt(&["v=DMARC1; p=maybe; rua=mailto:a@b.c"])), "valid:dmarc_invalid");
    assert!(fix(5, &txt(&["v=DMARC1; rua=mailto:a@b.c"])).ends_with("v=DMARC1; p=none; rua=mailto:a@b.c;"));
    assert_eq!(short(5, &txt(&["v=DMARC1; rua=a@b.c"])), "mismatch:dmarc_invalid");
    // Not sufficient if a stricter policy is expected.
    let mut all = expected();
    all[5].value = "v=DMARC1; p=reject;".into();
    let seen = judge(&all[5], &all, &txt(&["v=DMARC1; rua=mailto:a@b.c"]), NOW);
    assert_eq!((seen.status, seen.error.unwrap().code), (RecordStatus::Mismatch, Code::DmarcInvalid));
    for (tag, short_of) in [("np=foo", "valid:dmarc_invalid"), ("np=reject", "valid"), ("t=yes", "valid:dmarc_invalid")]
    {
        assert_eq!(short(5, &txt(&[&format!("v=DMARC1; p=none; {tag}")])), short_of, "{tag}");
    }
}
