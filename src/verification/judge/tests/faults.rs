//! Faults explained by additional queries and by the answers of each server.

use super::*;

const SECOND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 54)), 53);

fn error(position: usize, observation: &Observation) -> RecordError {
    let all = expected();
    judge(&all[position], &all, observation, NOW).error.unwrap()
}

fn cname(target: &str) -> Observation {
    found(vec![RecordData::Cname(target.into())])
}

fn answers(server: SocketAddr, authoritative: bool, answer: Answer) -> ServerAnswer {
    let name = authoritative.then(|| format!("ns{}.dns.example", server.ip().to_string().split_at(8).1));
    ServerAnswer { server, name, authoritative, answer }
}

#[test]
fn a_typing_error_is_reported() {
    let near = cname("t1.dkim.amazonse.com");
    assert_eq!(short(0, &near), "mismatch:near_miss");
    assert!(
        error(0, &near).message.ends_with("\"s\" is missing after \"kim.amazonse\""),
        "{}",
        error(0, &near).message
    );
    assert_eq!(short(3, &mx(&[(10, "smtp.inboxlayer.de")])), "mismatch:near_miss");
    assert_eq!(short(0, &cname("\"t1.dkim.amazonses.com\"")), "mismatch:quoted_twice");
    let suffixed = mx(&[(10, "smtp.inboxlayer.dev.acme.com")]);
    assert_eq!(short(3, &suffixed), "mismatch:target_suffixed");
    assert!(fix(3, &suffixed).ends_with("with a dot at its end: \"smtp.inboxlayer.dev.\""), "{}", fix(3, &suffixed));
    let behind = mx(&[(10, "smtp.inboxlayer.dev"), (5, "mx.acme.com")]);
    assert!(fix(3, &behind).ends_with("of the one to smtp.inboxlayer.dev to: 4"), "{}", fix(3, &behind));
    let last = mx(&[(10, "smtp.inboxlayer.dev"), (0, "mx.acme.com")]);
    assert!(fix(3, &last).ends_with("to mx.acme.com, or change their priority to: 11"), "{}", fix(3, &last));
}

#[test]
fn the_domain_appended_twice_is_detected() {
    let doubled = |answer: Observation| Observation { doubled: Some(answer.answer), ..nothing(vec![]) };
    let seen = doubled(cname("t1.dkim.amazonses.com"));
    assert_eq!(short(0, &seen), "missing:suffix_doubled");
    let error = error(0, &seen);
    assert!(error.message.contains("is at t1._domainkey.acme.com.acme.com:"), "{}", error.message);
    assert!(error.fix.ends_with(", without the domain: t1._domainkey"), "{}", error.fix);
    // A wildcard answer explains nothing.
    assert_eq!(short(0, &doubled(cname("parking.example"))), "missing:missing");
    assert_eq!(short(3, &doubled(mx(&[(10, "smtp.inboxlayer.dev")]))), "missing:suffix_doubled");
    assert_eq!(short(4, &doubled(txt(&["v=spf1 -all"]))), "missing:missing");
    assert_eq!(short(4, &doubled(txt(&["v=spf1 mx include:amazonses.com -all"]))), "missing:suffix_doubled");
    assert_eq!(short(5, &doubled(txt(&["v=DMARC1; p=none"]))), "missing:suffix_doubled");
    assert_eq!(short(6, &doubled(txt(&["s3cret"]))), "missing:suffix_doubled");
    assert_eq!(short(6, &doubled(txt(&["other"]))), "missing:missing");
}

#[test]
fn a_wildcard_answer_does_not_count_as_a_record() {
    let wild = |observation: Observation| Observation { wildcard: true, ..observation };
    let faults = [
        (0, nothing(vec![RecordData::A([192, 0, 2, 1].into())])),
        (0, nothing(vec![RecordData::Txt("v=DKIM1; p=".into())])),
        (0, cname("web.example")),
        (0, cname("t2.dkim.amazonses.com")),
        (3, mx(&[(10, "elsewhere.example")])),
        (4, txt(&["v=spf1 -all"])),
        (5, txt(&["v=spf1 -all"])),
    ];
    for (position, observation) in faults {
        let error = error(position, &wild(observation.clone()));
        assert_eq!(short(position, &wild(observation)), "missing:missing");
        assert!(error.message.contains("wildcard") && error.fix.contains("Create a"), "{error:?}");
    }
    // A wildcard with the expected value is valid.
    assert_eq!(short(5, &wild(txt(&["v=DMARC1; p=reject"]))), "valid");
    // It does not hide a misplaced record.
    let doubled = Observation { doubled: Some(cname("t1.dkim.amazonses.com").answer), ..cname("web.example") };
    assert_eq!(short(0, &wild(doubled)), "missing:suffix_doubled");
}

#[test]
fn an_alias_of_an_alias_is_followed() {
    let by_way = |chain: Answer| Observation { chain: Some(chain), ..cname("t1.dkim.agency.example") };
    let ends_at = |aliases: &[&str]| match txt(&["v=DKIM1; p=MIIB"]).answer {
        Answer::Found { records, ttl, server, authenticated, .. } => {
            let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
            Answer::Found { records, aliases, ttl, server, authenticated }
        }
        other => other,
    };
    let seen = by_way(ends_at(&["x.example", "t1.dkim.amazonses.com"]));
    assert_eq!(short(0, &seen), "valid:indirect");
    assert!(error(0, &seen).message.contains("through t1.dkim.agency.example"), "{}", error(0, &seen).message);
    assert!(fix(0, &seen).ends_with("to: t1.dkim.amazonses.com"));
    assert_eq!(short(0, &by_way(ends_at(&["t2.dkim.amazonses.com"]))), "mismatch:wrong_value");
    assert_eq!(short(0, &by_way(nothing(vec![]).answer)), "mismatch:wrong_value");
    // Without a definite answer it may be valid; a typing error is still one.
    assert_eq!(short(0, &by_way(silent(Indefinite::ServFail).answer)), "unknown:resolver_failed");
    let near = Observation { chain: Some(silent(Indefinite::ServFail).answer), ..cname("t1.dkim.amazonse.com") };
    assert_eq!(short(0, &near), "mismatch:near_miss");
}

#[test]
fn a_flattened_key_is_detected() {
    let flattened = nothing(vec![RecordData::Txt("v=DKIM1; k=rsa; p=MIIB".into())]);
    assert_eq!(short(0, &flattened), "mismatch:proxied");
    assert!(
        fix(0, &flattened).starts_with("Switch flattening off for t1._domainkey.acme.com"),
        "{}",
        fix(0, &flattened)
    );
    assert_eq!(short(0, &nothing(vec![RecordData::Txt("v=DKIM1; p=".into())])), "mismatch:wrong_type");
}

#[test]
fn a_missing_key_is_the_platforms_fault() {
    let with = |target: Observation| Observation { target: Some(target.answer), ..cname("t1.dkim.amazonses.com") };
    assert_eq!(short(0, &with(txt(&["v=DKIM1; k=rsa; p=MIIB"]))), "valid");
    assert_eq!(short(0, &with(nothing(vec![]))), "valid:target_without_key");
    assert_eq!(short(0, &with(txt(&["v=DKIM1; p="]))), "valid:target_without_key");
    assert_eq!(short(0, &with(silent(Indefinite::Timeout))), "valid");
    assert!(fix(0, &with(nothing(vec![]))).starts_with("Nothing to do"));
}

#[test]
fn cut_values_are_distinguished_from_wrong_ones() {
    assert_eq!(short(4, &txt(&["v=spf1 include:amazonses.c"])), "mismatch:txt_truncated");
    assert_eq!(short(5, &txt(&["v=DMARC1; p=no"])), "mismatch:txt_truncated");
    for end in ["include:ab", "ip4:192.0."] {
        let cut = format!("v=spf1 {}{end}", "ip4:192.0.2.1 ".repeat(17));
        assert_eq!((cut.len(), short(4, &txt(&[&cut])).as_str()), (255, "mismatch:txt_truncated"));
        assert!(fix(4, &txt(&[&cut])).contains("include:amazonses.com"), "{}", fix(4, &txt(&[&cut])));
    }
    assert_eq!(short(6, &txt(&["s3cre"])), "mismatch:near_miss");
}

#[test]
fn a_cname_hiding_the_mx_record_is_reported() {
    let alias = |observation: Observation| match observation.answer {
        Answer::Found { records, ttl, server, authenticated, .. } => {
            Observation::of(Answer::Found { records, aliases: vec!["host.example".into()], ttl, server, authenticated })
        }
        Answer::NoRecord { nxdomain, negative_ttl, server, .. } => {
            Observation::of(Answer::NoRecord { nxdomain, aliases: vec!["host.example".into()], negative_ttl, server })
        }
        answer => Observation::of(answer),
    };
    assert_eq!(short(3, &alias(nothing(vec![]))), "mismatch:cname_at_apex");
    assert!(error(3, &alias(nothing(vec![]))).message.contains("is sent to a web server and bounces"));
    let theirs = alias(mx(&[(10, "mx.host.example")]));
    assert_eq!(short(3, &theirs), "mismatch:cname_at_apex");
    assert!(error(3, &theirs).message.contains("mail for acme.com goes to mx.host.example"));
    assert_eq!(short(4, &alias(nothing(vec![]))), "missing:cname_at_apex");
    // DMARC is often delegated to a service this way.
    assert_eq!(short(5, &alias(nothing(vec![]))), "missing:missing");
    assert!(error(5, &alias(nothing(vec![]))).message.contains("the service behind the alias has no DMARC record"));

    let target = |host: &str, to: &str| MxTarget { host: host.into(), aliases: vec![to.into()], is_ours: false };
    let by_name =
        |to: &str| Observation { mx_targets: vec![target("mail.acme.com", to)], ..mx(&[(10, "mail.acme.com")]) };
    assert_eq!(short(3, &by_name("smtp.inboxlayer.dev")), "mismatch:mx_target_is_cname");
    assert!(fix(3, &by_name("smtp.inboxlayer.dev")).contains("from mail.acme.com to: smtp.inboxlayer.dev"));
    assert_eq!(short(3, &by_name("elsewhere.example")), "mismatch:mx_target_is_cname");
    let twice =
        MxTarget { aliases: vec!["a.example".into(), "smtp.inboxlayer.dev".into()], ..target("mail.acme.com", "x") };
    let twice = Observation { mx_targets: vec![twice], ..mx(&[(10, "mail.acme.com")]) };
    assert_eq!(short(3, &twice), "mismatch:mx_target_is_cname");
    assert!(fix(3, &twice).ends_with("from mail.acme.com to: smtp.inboxlayer.dev"), "{}", fix(3, &twice));
    let ours = "smtp.inboxlayer.dev";
    let aliased = Observation { mx_targets: vec![target(ours, "lb.example")], ..mx(&[(10, ours)]) };
    assert_eq!(short(3, &aliased), "valid:mx_target_is_cname");
}

#[test]
fn a_null_mx_beside_hosts_is_reported() {
    let ours = "smtp.inboxlayer.dev";
    let beside = mx(&[(0, "."), (10, ours)]);
    assert_eq!(short(3, &beside), "valid:null_mx");
    assert!(
        fix(3, &beside).starts_with("Delete the MX record with the value \".\" at acme.com"),
        "{}",
        fix(3, &beside)
    );
    assert_eq!(short(3, &mx(&[(0, "."), (10, ours), (20, "backup.example")])), "valid:null_mx");
    let elsewhere = mx(&[(0, "."), (10, "mx.example")]);
    assert_eq!(short(3, &elsewhere), "mismatch:mx_other_hosts");
    assert!(error(3, &elsewhere).message.contains("goes to mx.example, not to us"), "{}", error(3, &elsewhere).message);
    let outranked = mx(&[(0, "."), (5, "mx.example"), (10, ours)]);
    assert_eq!(short(3, &outranked), "mismatch:mx_outranked");
    assert!(error(3, &outranked).message.contains("goes to mx.example:"), "{}", error(3, &outranked).message);
}

#[test]
fn mail_that_goes_elsewhere_may_stay_there() {
    let google = mx(&[(1, "aspmx.l.google.com")]);
    let fix = |expected_record: &Expected| judge(expected_record, &[], &google, NOW).error.unwrap().fix;
    let expected_record = expected()[3].clone();
    assert!(
        fix(&expected_record).starts_with("Leave it to send only; to receive here beside it claim mail.acme.com; "),
        "{}",
        fix(&expected_record)
    );
    // Not if MX is required, nor for a return path.
    let required = Expected { required: true, ..expected_record.clone() };
    assert!(fix(&required).starts_with("To receive here beside it claim mail.acme.com; "), "{}", fix(&required));
    let bounces = Expected { purpose: Purpose::ReturnPath, ..expected_record };
    assert!(fix(&bounces).starts_with("Delete the MX records to aspmx.l.google.com"), "{}", fix(&bounces));
}

#[test]
fn a_mail_host_under_another_name_or_an_address() {
    let target = |is_ours| MxTarget { host: "mail.acme.com".into(), aliases: vec![], is_ours };
    let with = |is_ours, hosts: &[(u16, &str)]| Observation { mx_targets: vec![target(is_ours)], ..mx(hosts) };
    let ours = with(true, &[(10, "mail.acme.com")]);
    assert_eq!(short(3, &ours), "valid:indirect");
    assert!(fix(3, &ours).ends_with("from mail.acme.com to: smtp.inboxlayer.dev"), "{}", fix(3, &ours));
    assert_eq!(short(3, &with(false, &[(10, "mail.acme.com")])), "mismatch:mx_other_hosts");
    let outranked = with(true, &[(10, "mail.acme.com"), (5, "elsewhere.example")]);
    assert_eq!(short(3, &outranked), "mismatch:mx_outranked");
    assert!(error(3, &outranked).message.contains("mail.acme.com has 10"), "{}", error(3, &outranked).message);
    let address = mx(&[(10, "192.0.2.25")]);
    assert_eq!(short(3, &address), "mismatch:wrong_value");
    assert!(error(3, &address).message.contains("the address 192.0.2.25 instead of the name of a mail host"));
    assert!(fix(3, &address).ends_with("to: smtp.inboxlayer.dev"), "{}", fix(3, &address));
}

#[test]
fn dmarc_records_that_receivers_ignore() {
    for bad in [
        "p=none; v=DMARC1",
        "v=dmarc1; p=none",
        "v=DMARC; p=reject",
        "DMARC1; p=none",
        "v=DMARC1; p=",
        "v=DMARC1; p=none; p=reject",
        "v=DMARC1; p=none; sp=all",
        "v=DMARC1 p=none",
    ] {
        assert_eq!(short(5, &txt(&[bad])), "mismatch:dmarc_invalid", "{bad}");
        let repaired = fix(5, &txt(&[bad])).split_once(" to: ").unwrap().1.to_owned();
        assert_eq!(short(5, &txt(&[&repaired])), "valid", "{bad} {repaired}");
    }
    assert!(
        fix(5, &txt(&["v=dmarc1; p=reject; rua=mailto:a@acme.com"]))
            .ends_with("v=DMARC1; p=reject; rua=mailto:a@acme.com;")
    );
    assert!(fix(5, &txt(&["v=DMARC1; p=none", "v=DMARC1; p=reject"])).ends_with(": v=DMARC1; p=reject"));
}

#[test]
fn indefinite_answers_have_a_reason() {
    let bogus = Observation { bogus: true, ..silent(Indefinite::ServFail) };
    assert_eq!(short(0, &bogus), "unknown:dnssec_bogus");
    let disagree = Observation {
        servers: vec![
            answers(SERVER, true, cname("t1.dkim.amazonses.com").answer),
            answers(SECOND, true, nothing(vec![]).answer),
        ],
        ..silent(Indefinite::Disagreement(vec![
            "192.0.2.53 has t1.dkim.amazonses.com".into(),
            "192.0.2.54 has none".into(),
        ]))
    };
    assert_eq!(short(0, &disagree), "unknown:servers_disagree");
    assert!(
        error(0, &disagree).message.ends_with(
            "ns53.dns.example (192.0.2.53) has t1.dkim.amazonses.com; ns54.dns.example (192.0.2.54) has none"
        ),
        "{}",
        error(0, &disagree).message
    );
    // Resolvers only: they may have stale caches, and the name servers are not at fault.
    let silent_one = Answer::indefinite(Indefinite::Timeout, Some(SERVER));
    let remember = Observation {
        servers: vec![
            answers(SERVER, true, silent_one),
            answers(SECOND, false, cname("old.example").answer),
            answers(SERVER, false, nothing(vec![]).answer),
        ],
        ..silent(Indefinite::Disagreement(vec!["192.0.2.54 has old.example".into(), "192.0.2.53 has none".into()]))
    };
    let reported = error(0, &remember);
    assert_eq!((short(0, &remember).as_str(), reported.code), ("unknown:servers_disagree", Code::ServersDisagree));
    assert!(reported.message.starts_with("resolvers disagree about t1._domainkey.acme.com"), "{}", reported.message);
    assert!(reported.message.ends_with("192.0.2.54 has old.example; 192.0.2.53 has none"), "{}", reported.message);
    assert!(
        reported.fix.contains("for at most 300 more seconds") && !reported.fix.contains("registrar"),
        "{}",
        reported.fix
    );
    let refused = Answer::indefinite(Indefinite::Refused, Some(SECOND));
    let lame = Observation { servers: vec![answers(SECOND, true, refused.clone())], ..silent(Indefinite::ServFail) };
    assert_eq!(short(0, &lame), "unknown:lame_delegation");
    let timeout = Answer::indefinite(Indefinite::Timeout, Some(SECOND));
    let late = Observation { servers: vec![answers(SECOND, true, timeout)], ..silent(Indefinite::ServFail) };
    assert_eq!(short(0, &late), "unknown:resolver_failed");
    assert!(error(0, &late).message.contains("SERVFAIL (ns54.dns.example (192.0.2.54): no answer in time)"));
    // One of two: a valid record stays valid.
    let servers = vec![answers(SERVER, true, right(0).answer), answers(SECOND, true, refused)];
    assert_eq!(short(0, &Observation { servers, ..right(0) }), "valid:lame_delegation");
}

#[test]
fn a_cached_record_has_an_expiry_time() {
    let resolver = |answer: Answer| answers(SECOND, false, answer);
    let with = |cached: Observation| Observation {
        servers: vec![answers(SERVER, true, right(0).answer), resolver(cached.answer)],
        ..right(0)
    };
    assert_eq!(short(0, &with(right(0))), "valid");
    let negative = error(0, &with(nothing(vec![])));
    assert_eq!(negative.code, Code::StillCached);
    assert_eq!(negative.expected_visible_at, Some(NOW.after(Duration::from_secs(300))));
    assert!(negative.message.contains("for 300 more seconds"), "{}", negative.message);
    let old = error(0, &with(cname("old.example")));
    assert_eq!(old.expected_visible_at, Some(NOW.after(Duration::from_secs(60))));
    assert!(old.message.contains("192.0.2.54 still has the previous value, old.example"), "{}", old.message);
    // Other texts beside it may change.
    let other = Observation {
        servers: vec![
            answers(SERVER, true, right(4).answer),
            resolver(txt(&["x", "v=spf1 include:amazonses.com ~all"]).answer),
        ],
        ..right(4)
    };
    assert_eq!(short(4, &other), "valid");
}

#[test]
fn a_policy_weaker_than_expected() {
    let mut expected_record = expected()[5].clone();
    expected_record.value = "v=DMARC1; p=quarantine".into();
    let error = judge(&expected_record, &[], &txt(&["v=DMARC1; p=none; rua=mailto:a@acme.com"]), NOW).error.unwrap();
    assert_eq!(error.code, Code::DmarcWeaker);
    assert!(error.fix.ends_with(" to: v=DMARC1; p=quarantine; rua=mailto:a@acme.com;"), "{}", error.fix);
    assert_eq!(judge(&expected_record, &[], &txt(&["v=DMARC1; p=reject"]), NOW).error, None);
}
