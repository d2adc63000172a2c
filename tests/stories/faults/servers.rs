//! What goes wrong with the name servers, between them and with what others remember of them.

use super::dns::Dns;
use super::world::{Claim, SPF};

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
    // Nothing definite: not verified, and no fault of the claim's either.
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
fn a_signed_zone_is_right_too() {
    let claim = Claim::new("signed.test");
    let servers = [Dns::FIRST];
    {
        let mut dns = claim.dns();
        dns.serve(&claim.name, &servers, &claim.zone());
        let ds = dns.sign(&claim.name, Dns::FIRST);
        dns.delegate(&claim.name, &servers, Some(ds));
        // The resolver vouches for it: else this test would show nothing.
        assert_eq!(dns.remember(&claim.name, "TXT").trim(), format!("\"{SPF}\""));
    }
    assert_eq!(claim.check().status(), "verified");
}
