//! Every fault that a check can find, caused in real zones on real name servers and read through the API. Each test is named
//! after its code; `docs/verification.md` lists them all.

mod dkim;
pub mod dns;
mod knot;
mod mail;
mod paths;
mod relay;
mod servers;
mod text;
mod unbound;
mod validation;
mod wildcards;
pub mod world;
mod zones;

use world::Claim;

#[test]
fn where_nothing_is_wrong_nothing_is_said() {
    let claim = Claim::new("all-well.test");
    let seen = claim.check_with(&claim.zone());
    assert_eq!(seen.status(), "verified", "{:#}", seen.0);
    for purpose in ["dkim", "mx", "spf", "dmarc"] {
        seen.records(purpose).for_each(|record| {
            record.is_right();
        });
    }
}
