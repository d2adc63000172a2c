//! How servers are queried: over IPv4 and IPv6, UDP and TCP, and no question twice.

use super::dns::{Dns, KEYS, Paths, Zone};
use super::knot::until;
use super::relay::{Log, LoggedQuery, stand_before};
use super::world::{Claim, MX, SPF, World};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

#[test]
fn by_ipv6_servers_are_asked_as_well() {
    let world = Arc::new(World::start(Paths::Six, ""));
    // A zone whose only name server has no IPv4 address; the only resolver has an IPv6 address, too.
    let claim = Claim::within(&world, "only-six.test");
    let resolver = claim.dns().resolver().to_string();
    assert!(resolver.starts_with("[::1]:"), "{resolver}");
    {
        let mut dns = claim.dns();
        dns.serve(&claim.name, &[Dns::SIX], &claim.zone());
        dns.delegate(&claim.name, &[Dns::SIX], None);
    }
    let seen = claim.check();
    assert_eq!(seen.status(), "verified", "{:#}", seen.0);
    let record = seen.record("mx");
    record.is_right();
    assert_eq!(record.who_said(), [("[::1]:53", "ns6.only-six.test", "found"), (&*resolver, "", "found")]);

    // A name server with addresses of both families is queried at both, and they may differ.
    let claim = Claim::within(&world, "both-families.test");
    let four = format!("{}:53", claim.host(Dns::FIRST));
    {
        let (mut dns, old) = (claim.dns(), claim.zone().without(&claim.dkim(0), "CNAME"));
        dns.serve_alone(&claim.name, Dns::FIRST, &[Dns::BOTH], &claim.zone());
        dns.serve_alone(&claim.name, Dns::SIX, &[Dns::BOTH], &old);
        dns.delegate(&claim.name, &[Dns::BOTH], None);
    }
    let seen = claim.check();
    let name = "ns46.both-families.test";
    assert_eq!(seen.record("mx").who_said()[..2], [(&*four, name, "found"), ("[::1]:53", name, "found")]);
    let record = seen.record("dkim");
    record.is("unknown", "servers_disagree").says(&format!("{name} (::1) has none"));
    assert_eq!(seen.status(), "pending");
}

/// The TXT records of a domain with many verification texts: with the SPF record, too long for a datagram.
fn with_long_texts(claim: &Claim) -> Zone {
    (0..7).fold(claim.zone(), |zone, n| zone.with_text(&claim.name, &format!("site-{n}={}", "x".repeat(200))))
}

#[test]
fn what_does_not_fit_a_datagram_is_read_over_tcp() {
    let claim = Claim::new("long-answers.test");
    let zone = with_long_texts(&claim);
    claim.publish(&zone);
    // The servers truncate it, so the check gets it over TCP.
    let servers = [Dns::FIRST, Dns::SECOND].map(|host| claim.host(host));
    for server in &servers {
        let arguments = [&format!("@{server}"), "+norecurse", "+ignore", "+bufsize=1232", &claim.name, "TXT"];
        let output = Command::new("dig").args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.lines().any(|line| line.contains("flags: qr aa tc;")), "{text}");
    }
    let seen = claim.check();
    let record = seen.record("spf");
    record.is_right();
    assert_eq!(record.0["observed"].as_array().unwrap().len(), 8);
    for server in servers {
        // The evidence has as many values as fit.
        let mut answers = record.0["evidence"].as_array().unwrap().iter();
        assert!(
            answers.any(|answers| answers["server"] == format!("{server}:53") && answers["answer"] == "found"),
            "{:#}",
            record.0
        );
    }
}

#[test]
fn where_tcp_is_closed_a_long_answer_is_not_definite() {
    let claim = Claim::new("no-tcp.test");
    // A firewall before both name servers that passes UDP only.
    let walls = [(Dns::FIRST, Dns::NO_TCP[0]), (Dns::SECOND, Dns::NO_TCP[1])];
    {
        let mut dns = claim.dns();
        for (server, wall) in walls {
            let at = |host: u8| SocketAddr::from((dns.host(host), 53));
            stand_before(at(server), at(wall), false, &Log::default());
            dns.serve_alone(&claim.name, server, &Dns::NO_TCP, &with_long_texts(&claim));
        }
        dns.delegate(&claim.name, &Dns::NO_TCP, None);
    }
    let seen = claim.check();
    // Short answers are read, long ones are not.
    seen.records("dkim").for_each(|record| {
        record.is_right();
    });
    let spf = seen.record("spf");
    spf.is("unknown", "resolver_failed").observed(&[]).says("too long for UDP").says("connection refused");
    for wall in Dns::NO_TCP {
        spf.says(&claim.host(wall)).fix(&claim.host(wall));
    }
    spf.fix("TCP port 53");
}

#[test]
fn nothing_is_asked_twice_in_a_check() {
    // Long enough that no packet is sent again.
    let world = Arc::new(World::start(Paths::Relayed, "timeout = \"20s\""));
    // The daemon's self-check is over.
    until("the self-check", Path::new(""), || world.log().contains("self-check: "));
    let claim = Claim::within(&world, "asked-once.test");
    let name = &claim.name;
    claim.patch(json!({"return_path": "bounce"}));
    // A missing record and one that is an address, which need explanations; SPF with all kinds of look-ups; delegated keys; and a
    // return path.
    let spf = format!("v=spf1 a mx a:nowhere.{name} include:more.{name} include:spf.inboxlayer.dev ~all");
    let zone = claim.zone().without(&claim.dkim(0), "CNAME").without(&claim.dkim(1), "CNAME");
    let zone = zone.with(&claim.dkim(1), "A", "192.0.2.7").without(name, "TXT").with_text(name, &spf);
    let zone = zone.with_text(&format!("more.{name}"), "v=spf1 mx include:spf.inboxlayer.dev -all");
    let bounce = format!("bounce.{name}");
    let zone = zone.with(&bounce, "MX", &format!("10 {MX}.")).with_text(&bounce, SPF);
    let inner = format!("_domainkey.{name}");
    let (keys, mut outer): (Vec<_>, Vec<_>) = zone.0.into_iter().partition(|(name, ..)| name.ends_with(&inner));
    outer.push((inner.clone(), "NS".into(), format!("ns4.{inner}.")));
    outer.push((format!("ns4.{inner}"), "A".into(), claim.host(Dns::ELSEWHERE)));
    claim.publish(&Zone(outer));
    claim.dns().serve(&inner, &[Dns::ELSEWHERE], &Zone(keys));

    let before = claim.dns().queries().len();
    let seen = claim.check();
    assert_eq!(seen.records("return_path").filter(|record| record.0["status"] == "valid").count(), 2, "{:#}", seen.0);
    seen.records("dkim").nth(2).unwrap().is_right();
    let queries = claim.dns().queries().split_off(before);
    // A packet that is sent again is the same question.
    let mut ids: BTreeMap<Question, BTreeSet<u16>> = BTreeMap::new();
    let resolver = claim.dns().resolver();
    for LoggedQuery { server, tcp, name, record_type, flags, id, .. } in queries {
        // The key rotation queries these at any time.
        if server == resolver && name.ends_with(&format!("{KEYS}.")) {
            continue;
        }
        ids.entry((server, tcp, name, record_type, flags)).or_default().insert(id);
    }
    let twice: Vec<_> = ids.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
    // All servers were queried for everything that a check needs.
    let servers: BTreeSet<SocketAddr> = ids.keys().map(|(server, ..)| *server).collect();
    assert_eq!(servers.len(), 5, "{servers:?}");
    for (name, record_type) in [(&bounce, "MX"), (&bounce, "TXT"), (&claim.dkim(0), "CNAME"), (&claim.dkim(1), "AAAA")]
    {
        let found = ids.keys().filter(|(_, _, n, t, _)| (n.trim_end_matches('.'), &**t) == (name, record_type));
        assert!(found.count() >= 2, "{name} {record_type} of {ids:#?}");
    }
}

type Question = (SocketAddr, bool, String, String, Vec<&'static str>);
