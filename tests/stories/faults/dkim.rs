//! Faults of the CNAME records of the DKIM tokens.

use super::dns::Dns;
use super::world::{Claim, MX};

#[test]
fn missing() {
    let claim = Claim::new("missing.test");
    let seen = claim.check_with(&claim.zone().without(&claim.dkim(1), "CNAME"));
    assert_eq!(seen.status(), "pending");
    assert!(seen.verdict().starts_with("2 of 3 required records are valid: "), "{}", seen.verdict());
    let records: Vec<_> = seen.records("dkim").collect();
    records[0].is_right();
    let host = format!("host {}._domainkey", claim.tokens[1]);
    records[1].is("missing", "missing").observed(&[]).fix(&host).fix(claim.target(1).trim_end_matches('.'));
    records[2].is_right();
}

#[test]
fn wrong_type() {
    let claim = Claim::new("wrong-type.test");
    let target = claim.target(0);
    let zone = claim.zone().without(&claim.dkim(0), "CNAME").with_text(&claim.dkim(0), &target);
    claim
        .check_with(&zone)
        .record("dkim")
        .is("mismatch", "wrong_type")
        .observed(&[&target])
        .fix("Delete the TXT record");
}

#[test]
fn proxied() {
    let claim = Claim::new("proxied.test");
    let name = claim.dkim(0);
    let zone = claim.zone().without(&name, "CNAME").with(&name, "A", "192.0.2.7").with(&name, "AAAA", "2001:db8::7");
    let seen = claim.check_with(&zone);
    seen.record("dkim").is("mismatch", "proxied").observed(&["192.0.2.7", "2001:db8::7"]).fix("proxy off");
}

#[test]
fn flattened() {
    let claim = Claim::new("flattened.test");
    // The DNS provider flattens the CNAME: it returns the target's records.
    let (name, key) = (claim.dkim(0), "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC");
    let seen = claim.check_with(&claim.zone().without(&name, "CNAME").with_text(&name, key));
    let record = seen.record("dkim");
    record
        .is("mismatch", "proxied")
        .observed(&[key])
        .fix("Switch flattening off")
        .fix(claim.target(0).trim_end_matches('.'));
    assert!(!record.0["error"]["fix"].as_str().unwrap().contains("Delete"), "{:#}", record.0);
}

#[test]
fn wrong_value() {
    let claim = Claim::new("wrong-value.test");
    let name = claim.dkim(0);
    // The record of another mail service.
    let zone = claim.zone().without(&name, "CNAME").with(&name, "CNAME", "s1.domainkey.elsewhere.test.");
    let seen = claim.check_with(&zone);
    let record = seen.record("dkim");
    record.is("mismatch", "wrong_value").observed(&["s1.domainkey.elsewhere.test"]);
    let value = claim.target(0);
    let change = format!("Change the value of the CNAME record at {name} to: {}", value.trim_end_matches('.'));
    record.says("s1.domainkey.elsewhere.test").fix(&change);
}

#[test]
fn target_suffixed() {
    let claim = Claim::new("target-suffixed.test");
    let name = claim.dkim(0);
    // The value was entered without a final dot, and the provider took it for a name inside the zone.
    let host = format!("{MX}.{}", claim.name);
    let inside = format!("{}{}", claim.target(0), claim.name);
    let zone = claim.zone().without(&name, "CNAME").with(&name, "CNAME", &format!("{inside}."));
    let zone = zone.without(&claim.name, "MX").with(&claim.name, "MX", &format!("10 {host}."));
    let seen = claim.check_with(&zone);
    let record = seen.record("dkim");
    record.is("mismatch", "target_suffixed").observed(&[&inside]).says(&inside).fix(&claim.target(0));
    seen.record("mx").is("mismatch", "target_suffixed").observed(&[&format!("10 {host}")]).fix(&format!("{MX}."));
}

#[test]
fn swapped() {
    let claim = Claim::new("swapped.test");
    let zone = (0..2).fold(claim.zone(), |zone, n| {
        zone.without(&claim.dkim(n), "CNAME").with(&claim.dkim(n), "CNAME", &claim.target(1 - n))
    });
    let seen = claim.check_with(&zone);
    let records: Vec<_> = seen.records("dkim").collect();
    for (n, record) in records.iter().enumerate().take(2) {
        record.is("mismatch", "swapped").fix(claim.target(n).trim_end_matches('.'));
    }
    records[2].is_right();
}

#[test]
fn each_name_is_followed_to_the_servers_it_is_delegated_to() {
    let claim = Claim::new("handed-on.test");
    // `_domainkey` is delegated to another provider, which has the records.
    let inner = format!("_domainkey.{}", claim.name);
    let records = claim.zone().0;
    let (keys, mut outer): (Vec<_>, Vec<_>) = records.into_iter().partition(|(name, ..)| name.ends_with(&inner));
    let address = claim.dns().host(Dns::ELSEWHERE).to_string();
    outer.push((inner.clone(), "NS".into(), format!("ns4.{inner}.")));
    outer.push((format!("ns4.{inner}"), "A".into(), address.clone()));
    claim.publish(&super::dns::Zone(outer));
    claim.dns().serve(&inner, &[Dns::ELSEWHERE], &super::dns::Zone(keys));
    let seen = claim.check();
    assert_eq!(seen.status(), "verified", "{:#}", seen.0);
}

#[test]
fn indirect() {
    let claim = Claim::new("indirect.test");
    let (name, between) = (claim.dkim(0), format!("key1.{}", claim.name));
    let zone = claim.zone().without(&name, "CNAME").with(&name, "CNAME", &format!("{between}."));
    let seen = claim.check_with(&zone.with(&between, "CNAME", &claim.target(0)));
    let record = seen.record("dkim");
    record.is("valid", "indirect").observed(&[&between]).says(&between).fix(claim.target(0).trim_end_matches('.'));
    assert_eq!(seen.status(), "verified");
}

#[test]
fn near_miss() {
    let claim = Claim::new("near-miss.test");
    let name = claim.dkim(2);
    // One letter too many.
    let typed = claim.target(2).replace(".inboxlayer.dev.", ".inboxlayers.dev.");
    let seen = claim.check_with(&claim.zone().without(&name, "CNAME").with(&name, "CNAME", &typed));
    let record = seen.records("dkim").nth(2).unwrap();
    record
        .is("mismatch", "near_miss")
        .observed(&[typed.trim_end_matches('.')])
        .fix(claim.target(2).trim_end_matches('.'));
    record.says("\"s\"");
}

#[test]
fn suffix_doubled() {
    let claim = Claim::new("suffix-doubled.test");
    // The provider appended the domain to names that had it already.
    let (name, domain) = (claim.dkim(0), &claim.name);
    let zone = claim.zone().without(&name, "CNAME").with(&format!("{name}.{domain}"), "CNAME", &claim.target(0));
    let dmarc = format!("_dmarc.{domain}");
    let zone = zone.without(&dmarc, "TXT").with_text(&format!("{dmarc}.{domain}"), "v=DMARC1; p=none;");
    let seen = claim.check_with(&zone);
    let host = format!("{}._domainkey", claim.tokens[0]);
    seen.record("dkim").is("missing", "suffix_doubled").says(&format!("{name}.{domain}")).fix(&host);
    seen.record("dmarc").is("missing", "suffix_doubled").says(&format!("_dmarc.{domain}.{domain}")).fix("_dmarc");
}

#[test]
fn wrong_name() {
    let claim = Claim::new("wrong-name.test");
    let names = [0, 1].map(|token| claim.dkim(token));
    let mistaken = [names[0].replace("._domainkey.", ".domainkey."), names[1].replace("._domainkey.", ".")];
    let dmarc = format!("_dmarc.{}", claim.name);
    let zone = claim.zone().without(&names[0], "CNAME").without(&names[1], "CNAME").without(&dmarc, "TXT");
    let zone = zone.with(&mistaken[0], "CNAME", &claim.target(0)).with(&mistaken[1], "CNAME", &claim.target(1));
    let seen = claim.check_with(&zone.with_text(&claim.name, "v=DMARC1; p=none;"));
    for (token, mistaken) in mistaken.iter().enumerate() {
        let host = format!("{}._domainkey", claim.tokens[token]);
        seen.records("dkim").nth(token).unwrap().is("missing", "wrong_name").says(mistaken).fix(&host);
    }
    seen.record("dmarc")
        .is("missing", "wrong_name")
        .says(&format!("at {} but belongs at _dmarc", claim.name))
        .fix("_dmarc");
}

#[test]
fn target_without_key() {
    let claim = Claim::without_keys("target-without-key.test");
    let seen = claim.check_with(&claim.zone());
    // An error of the platform does not fail the claim.
    for record in seen.records("dkim") {
        record.is("valid", "target_without_key");
    }
    assert_eq!(seen.status(), "verified");
}
