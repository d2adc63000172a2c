//! Faults of SPF and DMARC records.

use super::dns::Dns;
use super::world::{Claim, MX, SPF};
use serde_json::json;

/// A claim with these SPF records instead of the expected one.
fn with_spf(name: &str, records: &[&str]) -> (Claim, super::world::Seen) {
    let claim = Claim::new(name);
    let bare = claim.zone().without(&claim.name, "TXT");
    let zone = records.iter().fold(bare, |zone, record| zone.with_text(&claim.name, record));
    let seen = claim.check_with(&zone);
    (claim, seen)
}

/// A claim with these DMARC records instead of the expected one.
fn with_dmarc(name: &str, records: &[&str]) -> super::world::Seen {
    let claim = Claim::new(name);
    let at = format!("_dmarc.{name}");
    let bare = claim.zone().without(&at, "TXT");
    claim.check_with(&records.iter().fold(bare, |zone, record| zone.with_text(&at, record)))
}

#[test]
fn quoted_twice() {
    let quoted = format!("\"{SPF}\"");
    let (_, seen) = with_spf("quoted-twice.test", &[&quoted]);
    seen.record("spf").is("mismatch", "quoted_twice").observed(&[&quoted]).fix(SPF);
    // SPF is only recommended.
    assert_eq!(seen.status(), "verified");
}

#[test]
fn txt_truncated() {
    let long = (0..20).fold("v=spf1".to_owned(), |text, n| format!("{text} ip4:192.0.2.{n}"));
    let cut = &format!("{long} {}", &SPF[7..])[..255];
    let (_, seen) = with_spf("txt-truncated.test", &[cut]);
    seen.record("spf").is("mismatch", "txt_truncated").observed(&[cut]).fix("include:spf.inboxlayer.dev");
}

#[test]
fn spf_missing_include() {
    let (_, seen) = with_spf("spf-missing-include.test", &["v=spf1 mx -all"]);
    let spf = seen.record("spf");
    spf.is("mismatch", "spf_missing_include").fix("v=spf1 mx include:spf.inboxlayer.dev -all");
}

#[test]
fn the_spf_record_of_a_return_path_is_evaluated_too() {
    let name = "spf-return-path.test";
    let claim = Claim::new(name);
    let (bounce, inner) = (format!("bounce.{name}"), format!("_spf.{name}"));
    claim.patch(json!({"return_path": "bounce"}));
    // Our include is in an included record.
    let zone = claim.zone().with(&bounce, "MX", &format!("10 {MX}.")).with_text(&inner, SPF);
    let seen = claim.check_with(&zone.with_text(&bounce, &format!("v=spf1 include:{inner} -all")));
    let records: Vec<_> = seen.records("return_path").collect();
    assert_eq!(records.len(), 2);
    records[1].is_right();
}

#[test]
fn spf_multiple() {
    let (_, seen) = with_spf("spf-multiple.test", &[SPF, "v=spf1 ip4:192.0.2.9 ~all"]);
    let spf = seen.record("spf");
    spf.is("mismatch", "spf_multiple").fix("ip4:192.0.2.9").fix("include:spf.inboxlayer.dev");
}

#[test]
fn spf_lookup_limit() {
    let name = "spf-lookup-limit.test";
    let claim = Claim::new(name);
    // An include with ten more.
    let inner = (0..10).fold("v=spf1".to_owned(), |text, n| format!("{text} include:n{n}.{name}")) + " -all";
    let own = format!("v=spf1 include:spf.inboxlayer.dev include:many.{name} ~all");
    let zone = claim.zone().without(name, "TXT").with_text(name, &own).with_text(&format!("many.{name}"), &inner);
    let zone = (0..10).fold(zone, |zone, n| zone.with_text(&format!("n{n}.{name}"), "v=spf1 ip4:192.0.2.1 -all"));
    let seen = claim.check_with(&zone);
    // The most expensive include: eleven of twelve look-ups.
    let spf = seen.record("spf");
    spf.is("mismatch", "spf_lookup_limit").says("12").says(&format!("include:many.{name} (11)"));
}

#[test]
fn spf_lookup_limit_of_mail_hosts() {
    let name = "spf-mail-hosts.test";
    let claim = Claim::new(name);
    let (ten, eleven) = (format!("ten.{name}"), format!("eleven.{name}"));
    let with_hosts = |zone, at: &str, number| {
        (0..number).fold(zone, |zone: super::dns::Zone, n| zone.with(at, "MX", &format!("10 mx{n}.{name}.")))
    };
    let zone = with_hosts(with_hosts(claim.zone(), &ten, 10), &eleven, 11);
    let own = format!("v=spf1 mx:{eleven} include:spf.inboxlayer.dev ~all");
    let seen = claim.check_with(&zone.without(name, "TXT").with_text(name, &own));
    let spf = seen.record("spf");
    spf.is("mismatch", "spf_lookup_limit").says("11 mail hosts").says(&format!("mx:{eleven}"));
    spf.fix("ip4:").fix(&format!("without it the record is: {SPF}"));
    // Ten are allowed.
    let own = format!("v=spf1 mx:{ten} include:spf.inboxlayer.dev ~all");
    let (_, seen) = with_spf("spf-ten-mail-hosts.test", &[&own]);
    seen.record("spf").is_right();
}

#[test]
fn spf_void_lookups() {
    let name = "spf-void-lookups.test";
    let record = format!("v=spf1 a:x.{name} a:y.{name} a:z.{name} include:spf.inboxlayer.dev ~all");
    let (_, seen) = with_spf(name, &[&record]);
    seen.record("spf").is("mismatch", "spf_void_lookups").says("3").fix(&format!("y.{name}")).fix(SPF);
}

#[test]
fn spf_syntax() {
    let (_, seen) = with_spf("spf-syntax.test", &["v=spf1 include:spf.inboxlayer.dev ip4:192.0.2.300 ~all"]);
    seen.record("spf").is("mismatch", "spf_syntax").says("ip4:192.0.2.300").fix(SPF);
}

#[test]
fn spf_broken_include() {
    // Faults of the included record, and their messages.
    let faults: [(&str, &[&str], &str); 5] = [
        ("nothing", &[], "has no SPF record"),
        ("other", &["not SPF"], "has no SPF record"),
        ("two", &[SPF, "v=spf1 -all"], "more than one SPF record"),
        ("odd", &["v=spf1 ip4:192.0.2.300 -all"], "ip4:192.0.2.300"),
        ("ring", &["v=spf1 include:inner.spf-ring.test -all"], "includes itself"),
    ];
    for (label, included, what) in faults {
        let name = format!("spf-{label}.test");
        let claim = Claim::new(&name);
        let (inner, term) = (format!("inner.{name}"), format!("include:inner.{name}"));
        let own = format!("v=spf1 include:spf.inboxlayer.dev {term} ~all");
        let zone = claim.zone().without(&name, "TXT").with_text(&name, &own);
        let seen = claim.check_with(&included.iter().fold(zone, |zone, text| zone.with_text(&inner, text)));
        let spf = seen.record("spf");
        spf.is("mismatch", "spf_broken_include").observed(&[&own]).says(what).says(&term);
        spf.fix(&format!("Take \"{term}\" out of the TXT record at {name}"))
            .fix(&format!("without it the record is: {SPF}"));
    }
}

#[test]
fn dmarc_multiple() {
    let seen = with_dmarc("dmarc-multiple.test", &["v=DMARC1; p=none;", "v=DMARC1; p=reject;"]);
    seen.record("dmarc").is("mismatch", "dmarc_multiple");
}

#[test]
fn dmarc_invalid() {
    let seen = with_dmarc("dmarc-invalid.test", &["v=DMARC1; p=nothing;"]);
    seen.record("dmarc").is("mismatch", "dmarc_invalid").says("nothing");
}

#[test]
fn a_stricter_dmarc_policy_than_asked_for_is_right() {
    with_dmarc("dmarc-strict.test", &["v=DMARC1; p=reject; sp=reject"]).record("dmarc").is_right();
}

#[test]
fn a_subdomain_goes_by_the_dmarc_record_of_its_organizational_domain() {
    // The organizational domain's record, and the resulting status of the subdomain's.
    for (label, above, code) in [
        ("dmarc-above", "v=DMARC1; p=reject; sp=quarantine; aspf=s; adkim=s", None),
        ("dmarc-above-weak", "v=DMARC1; p=reject; sp=none", Some("dmarc_weaker")),
    ] {
        let (domain, name) = (format!("{label}.test"), format!("mail.{label}.test"));
        let claim = Claim::new(&name);
        let zone = claim.zone().without(&format!("_dmarc.{name}"), "TXT").with_text(&format!("_dmarc.{domain}"), above);
        {
            let (mut dns, servers) = (claim.dns(), [Dns::FIRST, Dns::SECOND]);
            dns.serve(&domain, &servers, &zone);
            dns.delegate(&domain, &servers, None);
        }
        let seen = claim.check();
        let record = seen.record("dmarc");
        match code {
            None => record.is_right(),
            Some(code) => record.is("mismatch", code).fix("host _dmarc.mail "),
        };
        record.observed(&[above]);
        assert_eq!(record.0["observed_name"], format!("_dmarc.{domain}"), "{:#}", record.0);
        assert_eq!(seen.status(), "verified", "{:#}", seen.0);
    }
}

#[test]
fn dmarc_weaker() {
    let weak = "v=DMARC1; p=none; rua=mailto:reports@outside.test";
    let seen = with_dmarc("dmarc-weaker.test", &[weak]);
    // The rest of the record stays.
    let fix = "to: v=DMARC1; p=quarantine; rua=mailto:reports@outside.test;";
    seen.record("dmarc").is("mismatch", "dmarc_weaker").observed(&[weak]).says("weaker").fix(fix);
    // DMARC is only recommended.
    assert_eq!(seen.status(), "verified");
}

#[test]
fn dmarc_handed_to_a_service_that_has_no_record() {
    let claim = Claim::new("dmarc-hosted.test");
    let name = format!("_dmarc.{}", claim.name);
    let zone = claim.zone().without(&name, "TXT").with(&name, "CNAME", "dmarc.inboxlayer.dev.");
    let seen = claim.check_with(&zone);
    let record = seen.record("dmarc");
    record
        .is("missing", "missing")
        .says("the service behind the alias has no DMARC record")
        .fix("dmarc.inboxlayer.dev");
}

#[test]
fn leading_space() {
    let (_, seen) = with_spf("leading-space.test", &[" v=spf1 mx -all"]);
    seen.record("spf").is("mismatch", "leading_space").fix("v=spf1 mx include:spf.inboxlayer.dev -all");
    let seen = with_dmarc("leading-space-dmarc.test", &[" v=DMARC1; p=reject;"]);
    seen.record("dmarc").is("mismatch", "leading_space").fix("v=DMARC1; p=reject;");
}

#[test]
fn spf_allows_all() {
    let (_, seen) = with_spf("spf-allows-all.test", &["v=spf1 mx +all"]);
    seen.record("spf").is("valid", "spf_allows_all").says("everybody").fix("v=spf1 mx include:spf.inboxlayer.dev ~all");
}
