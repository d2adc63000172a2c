//! Wildcards answer for names without records (RFC 4592): their answers are not faults of a record.

use super::dns::Zone;
use super::world::Claim;

/// All records but those for DKIM.
fn without_keys(claim: &Claim) -> Zone {
    (0..3).fold(claim.zone(), |zone, n| zone.without(&claim.dkim(n), "CNAME"))
}

fn star(claim: &Claim) -> String {
    format!("*.{}", claim.name)
}

#[test]
fn of_addresses() {
    let claim = Claim::new("wild-addresses.test");
    let zone = without_keys(&claim).with(&star(&claim), "A", "192.0.2.7").with(&star(&claim), "AAAA", "2001:db8::7");
    let seen = claim.check_with(&zone);
    for (n, record) in seen.records("dkim").enumerate() {
        record.is("missing", "missing").observed(&["192.0.2.7", "2001:db8::7"]).says("wildcard");
        record.fix("Create a CNAME record").fix(claim.target(n).trim_end_matches('.'));
    }
    // A proxied record is distinguished from that.
    let claim = Claim::new("wild-and-proxied.test");
    let zone = claim.zone().with(&star(&claim), "A", "192.0.2.7");
    let zone = zone.without(&claim.dkim(0), "CNAME").with(&claim.dkim(0), "A", "192.0.2.7");
    let seen = claim.check_with(&zone);
    seen.record("dkim").is("mismatch", "proxied");
    seen.records("dkim").nth(1).unwrap().is_right();
}

#[test]
fn of_aliases() {
    let claim = Claim::new("wild-aliases.test");
    let name = claim.dkim(1);
    let dmarc = format!("_dmarc.{}", claim.name);
    let zone =
        without_keys(&claim).without(&dmarc, "TXT").with(&star(&claim), "CNAME", &format!("web.{}.", claim.name));
    let zone = zone.with(&format!("web.{}", claim.name), "A", "192.0.2.7");
    let zone = zone.with(&format!("{name}.{}", claim.name), "CNAME", &claim.target(1));
    let seen = claim.check_with(&zone);
    let records: Vec<_> = seen.records("dkim").collect();
    records[0]
        .is("missing", "missing")
        .observed(&[&format!("web.{}", claim.name)])
        .says("wildcard")
        .fix("Create a CNAME");
    // The other record really exists at the doubled name.
    records[1].is("missing", "suffix_doubled").says(&format!("{name}.{}", claim.name));
    records[2].is("missing", "missing");
    seen.record("dmarc").is("missing", "missing").says("wildcard").fix("Create a TXT record");
}

#[test]
fn of_texts() {
    let claim = Claim::new("wild-texts.test");
    let inner = format!("*._domainkey.{}", claim.name);
    let zone = without_keys(&claim).without(&claim.name, "TXT").without(&format!("_dmarc.{}", claim.name), "TXT");
    let zone = zone.with_text(&star(&claim), "v=spf1 -all").with_text(&inner, "v=DKIM1; p=");
    let seen = claim.check_with(&zone);
    let record = seen.record("dkim");
    record.is("missing", "missing").observed(&["v=DKIM1; p="]).says("wildcard").fix("Create a CNAME record");
    assert!(!record.0["error"]["fix"].as_str().unwrap().contains("Delete"), "{:#}", record.0);
    // No name was doubled here: the wildcard has that text at every name.
    seen.record("spf").is("missing", "missing").fix("Create a TXT record, host @");
    seen.record("dmarc").is("missing", "missing").observed(&["v=spf1 -all"]).says("wildcard");
}

#[test]
fn of_mail_hosts() {
    let claim = Claim::new("shop.wild-mail.test");
    let (domain, servers) = ("wild-mail.test", [super::dns::Dns::FIRST, super::dns::Dns::SECOND]);
    let zone = claim.zone().without(&claim.name, "MX").without(&claim.name, "TXT");
    let zone = zone.with(&format!("*.{domain}"), "MX", "10 mail.elsewhere.test.");
    // The name has no records of its own.
    let zone = Zone(zone.0.into_iter().filter(|(name, ..)| !name.ends_with(&claim.name)).collect());
    {
        let mut dns = claim.dns();
        dns.serve(domain, &servers, &zone);
        dns.delegate(domain, &servers, None);
    }
    let seen = claim.check();
    let record = seen.record("mx");
    record.is("missing", "missing").observed(&["10 mail.elsewhere.test"]).says("wildcard");
    record.says("mail.elsewhere.test").fix("MX record, host shop");
}
