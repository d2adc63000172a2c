//! The daemon logs at its start which of its resolvers validate DNSSEC.

use super::world::{Claim, Guard};
use crate::serve::Serve;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// The log of a daemon with these resolvers after its self-check.
fn said_of(resolvers: &[SocketAddr], timeout: &str) -> Vec<String> {
    let resolvers: Vec<String> = resolvers.iter().map(|resolver| format!("\"{resolver}\"")).collect();
    let dns = format!("resolvers = [{}]\ntimeout = \"{timeout}\"", resolvers.join(", "));
    let daemon = Serve::start_with_dns((Ipv4Addr::LOCALHOST, 9).into(), &dns, "");
    let began = Instant::now();
    // The last line of the self-check: the platform's key is missing in this DNS.
    while !daemon.log().lines().any(|line| line.contains("self-check: ") && line.contains("_domainkey.inboxlayer.dev"))
    {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("self-check: ") && line.contains("DNSSEC"));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_start_says_which_resolvers_do_not_validate() {
    let folder = tempfile::tempdir().unwrap();
    let claim = Claim::without_keys("validation.test");
    let (validating, (careless, mut process)) = {
        let dns = claim.dns();
        (dns.resolver(), dns.careless_resolver(folder.path()))
    };
    let guard = Guard::new(&[process.id()], &[]);
    assert_eq!(said_of(&[validating], "10s"), [""; 0]);
    let one = said_of(&[careless], "10s");
    assert!(one.len() == 1 && one[0].contains(&careless.to_string()) && one[0].contains("[dns] resolvers"), "{one:?}");
    // Each resolver that does not validate is named.
    let both = said_of(&[validating, careless], "10s");
    assert!(both.len() == 1 && both[0].contains(&careless.to_string()), "{both:?}");
    assert!(!both[0].contains(&validating.to_string()), "{both:?}");
    let unknown = said_of(&[(Ipv4Addr::LOCALHOST, 9).into()], "1s");
    assert!(unknown.len() == 1 && unknown[0].contains("unknown"), "{unknown:?}");
    drop(guard);
    process.wait().unwrap();
}
