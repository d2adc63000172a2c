//! Faults of a delegated part of a domain: the domain's own servers are not blamed.

use super::dns::{Dns, Zone};
use super::world::Claim;

/// Publishes the claim's zone with `_domainkey` delegated to a server; returns the name of that zone and its records.
fn hand_on(claim: &Claim, server: u8) -> (String, Zone) {
    let inner = format!("_domainkey.{}", claim.name);
    let (keys, outer): (Vec<_>, Vec<_>) = claim.zone().0.into_iter().partition(|(name, ..)| name.ends_with(&inner));
    let host = format!("ns{server}.{inner}");
    let outer = Zone(outer).with(&inner, "NS", &format!("{host}.")).with(&host, "A", &claim.host(server));
    claim.publish(&outer);
    (inner, Zone(keys))
}

#[test]
fn a_part_handed_on_to_a_server_that_is_silent() {
    let claim = Claim::new("silent-part.test");
    let (inner, _) = hand_on(&claim, Dns::NOBODY);
    let seen = claim.check();
    let record = seen.record("dkim");
    record.is("unknown", "resolver_failed").says(&format!("ns99.{inner} ({}): ", claim.host(Dns::NOBODY)));
    record.fix(&format!("the NS records of {inner} in the zone {}", claim.name));
    assert!(record.who_said().iter().all(|(_, name, _)| !name.starts_with("ns2.")), "{:#}", record.0);
    seen.record("mx").is_right();
    assert_eq!(seen.status(), "pending");
}

#[test]
fn a_part_handed_on_to_a_server_that_does_not_know_of_it() {
    let claim = Claim::new("lame-part.test");
    let (inner, _) = hand_on(&claim, Dns::ELSEWHERE);
    let seen = claim.check();
    let record = seen.record("dkim");
    record.is("unknown", "lame_delegation").says(&format!("ns4.{inner} ({})", claim.host(Dns::ELSEWHERE)));
    record.fix(&format!("the NS records of {inner} in the zone {}", claim.name));
    let fix = record.0["error"]["fix"].as_str().unwrap();
    assert!(!fix.contains("registrar") && !fix.contains("ns2."), "{fix}");
    seen.record("mx").is_right();
    assert_eq!(seen.status(), "pending");
}

#[test]
fn a_part_that_was_handed_on_after_a_resolver_had_looked() {
    let claim = Claim::new("new-part.test");
    claim.publish(&claim.zone());
    // The resolver has cached that there is no zone.
    assert_eq!(claim.dns().remember(&format!("_domainkey.{}", claim.name), "NS"), "");
    let (inner, keys) = hand_on(&claim, Dns::ELSEWHERE);
    claim.dns().serve(&inner, &[Dns::ELSEWHERE], &keys);
    let seen = claim.check();
    let record = seen.record("dkim");
    assert_eq!(record.0["status"], "valid", "{:#}", record.0);
    let own: Vec<_> = record.who_said().into_iter().filter(|(_, name, _)| !name.is_empty()).collect();
    let (server, name) = (format!("{}:53", claim.host(Dns::ELSEWHERE)), format!("ns4.{inner}"));
    assert_eq!(own, [(&*server, &*name, "found")]);
    assert_eq!(seen.status(), "verified", "{:#}", seen.0);
}
