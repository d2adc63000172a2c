//! Faults of name servers: their availability, their consistency, caches.

use super::dns::Dns;
use super::world::Claim;

#[test]
fn servers_disagree() {
    let claim = Claim::new("servers-disagree.test");
    let servers = [Dns::FIRST, Dns::SECOND];
    let old = claim.zone().without(&claim.dkim(0), "CNAME");
    {
        let mut dns = claim.dns();
        dns.serve_alone(&claim.name, Dns::FIRST, &servers, &claim.zone());
        dns.serve_alone(&claim.name, Dns::SECOND, &servers, &old);
        dns.delegate(&claim.name, &servers, None);
    }
    let seen = claim.check();
    let [first, second] = servers.map(|host| claim.host(host));
    seen.record("dkim")
        .is("unknown", "servers_disagree")
        .says(&first)
        .says(&second)
        .says(claim.target(0).trim_end_matches('.'));
    seen.record("mx").is_right();
    // Not definite: the claim is neither verified nor faulty.
    assert_eq!(seen.status(), "pending");
}

#[test]
fn resolver_failed() {
    let claim = Claim::new("resolver-failed.test");
    claim.dns().delegate(&claim.name, &[Dns::NOBODY], None);
    let seen = claim.check();
    seen.record("dkim").is("unknown", "resolver_failed").observed(&[]);
    assert_eq!(seen.status(), "pending");
}

#[test]
fn a_signed_zone_is_right_too_and_the_resolver_vouches_for_it() {
    let claim = Claim::new("signed.test");
    let servers = [Dns::FIRST];
    {
        let mut dns = claim.dns();
        dns.serve(&claim.name, &servers, &claim.zone());
        let ds = dns.sign(&claim.name, Dns::FIRST);
        dns.delegate(&claim.name, &servers, Some(ds));
    }
    let seen = claim.check();
    assert_eq!(seen.status(), "verified", "{:#}", seen.0);
    let (first, resolver) = (claim.host(Dns::FIRST) + ":53", claim.dns().resolver().to_string());
    for record in ["dkim", "mx", "spf", "dmarc"].iter().flat_map(|purpose| seen.records(purpose)) {
        record.is_right();
        // An authoritative server does not set AD.
        assert_eq!(record.vouched(), [(&*first, false), (&*resolver, true)], "{:#}", record.0);
    }
    // For an unsigned zone a resolver does not set AD either.
    let claim = Claim::new("unsigned.test");
    let seen = claim.check_with(&claim.zone());
    for record in ["dkim", "mx", "spf", "dmarc"].iter().flat_map(|purpose| seen.records(purpose)) {
        record.is_right();
        let vouched = record.vouched();
        assert!(vouched.contains(&(&*resolver, false)) && vouched.iter().all(|(_, ad)| !ad), "{:#}", record.0);
    }
}

#[test]
fn lame_delegation() {
    let claim = Claim::new("lame-delegation.test");
    // The registrar still has the name servers of the previous provider.
    let second = claim.host(Dns::SECOND);
    {
        let mut dns = claim.dns();
        dns.serve(&claim.name, &[Dns::FIRST], &claim.zone());
        dns.delegate(&claim.name, &[Dns::FIRST, Dns::SECOND], None);
    }
    let seen = claim.check();
    // Enough servers answer: only a warning.
    for record in seen.records("dkim") {
        record.is("valid", "lame_delegation").says(&second).says(&format!("ns3.{}", claim.name)).fix("registrar");
    }
    assert_eq!(seen.status(), "verified");
}

#[test]
fn lame_delegation_to_all_servers() {
    let claim = Claim::new("all-lame.test");
    claim.dns().delegate(&claim.name, &[Dns::FIRST, Dns::SECOND], None);
    let seen = claim.check();
    let [first, second] = [Dns::FIRST, Dns::SECOND].map(|host| claim.host(host));
    seen.record("dkim").is("unknown", "lame_delegation").says(&first).says(&second);
    assert_eq!(seen.status(), "pending");
}

#[test]
fn still_cached() {
    let claim = Claim::new("still-cached.test");
    let name = claim.dkim(0);
    claim.publish(&claim.zone().without(&name, "CNAME"));
    assert_eq!(claim.dns().remember(&name, "CNAME"), "");
    let seen = claim.check_with(&claim.zone());
    let record = seen.record("dkim");
    // Valid at the authoritative servers; the time until caches expire is known.
    record.is("valid", "still_cached").says("seconds").fix("Nothing to do");
    let visible = record.0["error"]["expected_visible_at"].as_str().expect("a time");
    assert!(visible > record.0["checked_at"].as_str().unwrap(), "{visible}");
    assert_eq!(seen.status(), "verified");
}

#[test]
fn dnssec_bogus() {
    let claim = Claim::new("dnssec-bogus.test");
    let servers = [Dns::FIRST, Dns::SECOND];
    {
        let mut dns = claim.dns();
        dns.serve(&claim.name, &servers, &claim.zone());
        // After a change of provider, the registrar still has the DS record of an old key.
        dns.delegate(&claim.name, &servers, Some(format!("12345 13 2 {}", "ab".repeat(32))));
    }
    let seen = claim.check();
    for purpose in ["dkim", "mx", "spf", "dmarc"] {
        seen.record(purpose).is("unknown", "dnssec_bogus").fix("DS record");
    }
    assert_eq!(seen.status(), "pending");
}
