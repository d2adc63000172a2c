//! What goes wrong with MX records.

use super::world::{Claim, MX};

#[test]
fn mx_other_hosts() {
    let claim = Claim::new("mx-other-hosts.test");
    let seen = claim.check_with(&claim.zone().with(&claim.name, "MX", "20 mail.elsewhere.test."));
    let ours = format!("10 {MX}");
    // A warning: mail comes here first.
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
