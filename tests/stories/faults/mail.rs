//! Faults of MX records.

use super::dns::{Dns, MX_ADDRESS};
use super::world::{Claim, MX};

#[test]
fn mx_other_hosts() {
    let claim = Claim::new("mx-other-hosts.test");
    let seen = claim.check_with(&claim.zone().with(&claim.name, "MX", "20 mail.elsewhere.test."));
    let ours = format!("10 {MX}");
    // A warning: mail comes to us first.
    seen.record("mx").is("valid", "mx_other_hosts").observed(&[&ours, "20 mail.elsewhere.test"]);
    seen.record("mx").says("mail.elsewhere.test");
    assert_eq!(seen.0["capabilities"]["receiving"], true);
}

#[test]
fn mx_outranked() {
    let claim = Claim::new("mx-outranked.test");
    let seen = claim.check_with(&claim.zone().with(&claim.name, "MX", "1 mail.elsewhere.test."));
    seen.record("mx").is("mismatch", "mx_outranked").says("mail.elsewhere.test");
    assert_eq!(seen.0["capabilities"]["receiving"], false);
    assert_eq!(seen.status(), "verified");
}

#[test]
fn null_mx() {
    let claim = Claim::new("null-mx.test");
    let zone = claim.zone().without(&claim.name, "MX").with(&claim.name, "MX", "0 .");
    claim.check_with(&zone).record("mx").is("mismatch", "null_mx").observed(&["0 ."]).fix(MX);
}

#[test]
fn mx_target_is_cname() {
    let claim = Claim::new("mx-target-is-cname.test");
    let host = format!("mail.{}", claim.name);
    let zone = claim.zone().without(&claim.name, "MX").with(&claim.name, "MX", &format!("10 {host}."));
    let seen = claim.check_with(&zone.with(&host, "CNAME", &format!("{MX}.")));
    seen.record("mx").is("mismatch", "mx_target_is_cname").says(&host).fix(MX);
    assert_eq!(seen.0["capabilities"]["receiving"], false);
}

#[test]
fn an_alias_of_an_alias_of_ours() {
    let claim = Claim::new("mx-two-hops.test");
    let [host, between] = ["mail", "hop"].map(|label| format!("{label}.{}", claim.name));
    let zone = claim.zone().without(&claim.name, "MX").with(&claim.name, "MX", &format!("10 {host}."));
    let zone = zone.with(&host, "CNAME", &format!("{between}.")).with(&between, "CNAME", &format!("{MX}."));
    claim.check_with(&zone).record("mx").is("mismatch", "mx_target_is_cname").says(&host).fix(MX);
}

#[test]
fn a_host_of_ones_own_with_our_address() {
    let claim = Claim::new("mx-our-address.test");
    let host = format!("mail.{}", claim.name);
    let zone = claim.zone().without(&claim.name, "MX").with(&claim.name, "MX", &format!("10 {host}."));
    let seen = claim.check_with(&zone.with(&host, "A", MX_ADDRESS));
    // Mail comes to us.
    seen.record("mx").is("valid", "indirect").observed(&[&format!("10 {host}")]).says(&host).fix(MX);
    assert_eq!(seen.0["capabilities"]["receiving"], true);
}

#[test]
fn an_address_is_no_mail_host() {
    let claim = Claim::new("mx-address.test");
    let zone = claim.zone().without(&claim.name, "MX").with(&claim.name, "MX", &format!("10 {MX_ADDRESS}."));
    let seen = claim.check_with(&zone);
    seen.record("mx").is("mismatch", "wrong_value").observed(&[&format!("10 {MX_ADDRESS}")]).says("address").fix(MX);
}

#[test]
fn cname_at_apex() {
    // The claimed name is an alias of a web host.
    let (domain, servers) = ("cname-at-apex.test", [Dns::FIRST, Dns::SECOND]);
    let claim = Claim::new(&format!("shop.{domain}"));
    let zone = claim.zone().without(&claim.name, "MX").without(&claim.name, "TXT");
    let zone =
        zone.with(&claim.name, "CNAME", &format!("web.{domain}.")).with(&format!("web.{domain}"), "A", "192.0.2.7");
    {
        let mut dns = claim.dns();
        dns.serve(domain, &servers, &zone);
        dns.delegate(domain, &servers, None);
    }
    let seen = claim.check();
    seen.record("mx").is("mismatch", "cname_at_apex").says(&format!("web.{domain}")).fix("Delete the CNAME record");
    assert_eq!(seen.0["capabilities"]["receiving"], false);
}

#[test]
fn mx_localhost() {
    let claim = Claim::new("mx-localhost.test");
    let seen = claim.check_with(&claim.zone().with(&claim.name, "MX", "20 localhost."));
    seen.record("mx").is("valid", "mx_localhost").says("localhost").fix("Delete the MX record to localhost");
    assert_eq!(seen.0["capabilities"]["receiving"], true);
    let claim = Claim::new("mx-localhost-alone.test");
    let seen = claim.check_with(&claim.zone().without(&claim.name, "MX").with(&claim.name, "MX", "10 localhost."));
    seen.record("mx").is("mismatch", "mx_localhost").fix(MX);
}
