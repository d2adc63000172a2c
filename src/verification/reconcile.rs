//! Combines the answers of many servers. Invariant: the result is definite only if the zone's authoritative servers
//! (or, if none of them can be reached, the resolvers) agree, and the record can be resolved. If the authoritative
//! servers agree, a different cached answer of a resolver is just old. This needs all of them: if some do not answer
//! and a resolver differs from the rest, the rest may be outdated and the resolver may have reached the others, so the
//! result is indefinite. If they disagree, a change is in progress or a server is broken: not valid yet, but no
//! definite fault. If no resolver gets a definite answer, receivers will not either (SERVFAIL includes bogus DNSSEC),
//! so the result is indefinite.

use super::bounds;
use super::judge::ServerAnswer;
use super::observed::{Answer, Indefinite, RecordData};

/// The answers of a zone's servers by host: failures at other addresses of a host with a definite answer are ignored,
/// since many mail servers lack IPv6.
pub fn by_host(servers: &[ServerAnswer]) -> Vec<Answer> {
    let heard = |host: &ServerAnswer| servers.iter().any(|of| of.name == host.name && of.answer.is_definite());
    let kept = servers.iter().filter(|of| of.answer.is_definite() || of.name.is_none() || !heard(of));
    kept.map(|of| of.answer.clone()).collect()
}

/// Combines the servers' answers to one query.
pub fn reconcile(authoritative: &[Answer], recursive: &[Answer]) -> Answer {
    let Some(resolved) = recursive.iter().find(|answer| answer.is_definite()) else {
        let first = recursive.first().cloned();
        return first.unwrap_or_else(|| Answer::indefinite(Indefinite::NoServer, None));
    };
    let mut answer = match agreed(authoritative) {
        Some(answer) if contested(&answer, authoritative, recursive) => divided(authoritative, recursive),
        Some(answer) => answer,
        None => agreed(recursive).unwrap_or_else(|| resolved.clone()),
    };
    // Caches at the resolvers determine how long a negative answer persists.
    if let Answer::NoRecord { negative_ttl, .. } = &mut answer {
        *negative_ttl = recursive.iter().filter_map(Answer::negative_ttl).max().or(*negative_ttl);
    }
    // Only a validating resolver authenticates.
    if let Answer::Found { authenticated, .. } = &mut answer {
        *authenticated = recursive.iter().any(|a| matches!(a, Answer::Found { authenticated: true, .. }));
    }
    answer
}

/// True if some authoritative servers differ from a resolver and others do not answer.
fn contested(agreed: &Answer, authoritative: &[Answer], recursive: &[Answer]) -> bool {
    let differs = |answer: &Answer| answer.is_definite() && records(answer) != records(agreed);
    agreed.is_definite() && !authoritative.iter().all(Answer::is_definite) && recursive.iter().any(differs)
}

/// The disagreement, listing each server's answer or failure.
fn divided(authoritative: &[Answer], recursive: &[Answer]) -> Answer {
    let resolvers = recursive.iter().filter(|answer| answer.is_definite());
    let lines = authoritative.iter().chain(resolvers).map(line).collect();
    let server = authoritative.iter().find(|answer| answer.is_definite()).and_then(Answer::server);
    Answer::indefinite(Indefinite::Disagreement(lines), server)
}

/// The common answer of all definite ones, or their disagreement. `None` if none is definite.
fn agreed(answers: &[Answer]) -> Option<Answer> {
    let mut definite = answers.iter().filter(|answer| answer.is_definite());
    let first = definite.next()?;
    if definite.clone().all(|other| records(other) == records(first)) {
        return Some(first.clone());
    }
    let mut lines: Vec<String> = std::iter::once(first).chain(definite).map(line).collect();
    lines.sort();
    Some(Answer::indefinite(Indefinite::Disagreement(lines), first.server()))
}

fn records(answer: &Answer) -> Vec<&RecordData> {
    let mut records: Vec<_> = answer.records().iter().collect();
    records.sort();
    records
}

fn line(answer: &Answer) -> String {
    let server = answer.server().map(|server| server.ip().to_string());
    if let Answer::Indefinite { reason, .. } = answer {
        let who = server.map(|server| format!("{server}: ")).unwrap_or_default();
        return bounds::brief(&format!("{who}{reason}"), bounds::LINE);
    }
    let server = server.unwrap_or_default();
    let values: Vec<String> = answer.records().iter().map(ToString::to_string).collect();
    if values.is_empty() {
        return format!("{server} has none");
    }
    bounds::brief(&format!("{server} has {}", values.join(", ")), bounds::LINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn found(server: u8, target: &str) -> Answer {
        Answer::Found {
            records: vec![RecordData::Cname(target.into())],
            aliases: vec![],
            ttl: Duration::from_secs(u64::from(server)),
            server: ([192, 0, 2, server], 53).into(),
            authenticated: false,
        }
    }

    fn none(server: u8, negative_ttl: u64) -> Answer {
        Answer::NoRecord {
            nxdomain: server == 1,
            aliases: vec![],
            negative_ttl: Some(Duration::from_secs(negative_ttl)),
            server: ([192, 0, 2, server], 53).into(),
        }
    }

    fn silent(reason: Indefinite) -> Answer {
        Answer::indefinite(reason, None)
    }

    #[test]
    fn agreeing_authoritative_servers_override_a_cache() {
        let (right, old) = (found(1, "a"), found(9, "b"));
        assert_eq!(reconcile(&[right.clone(), found(2, "a")], &[old]), right);
        assert_eq!(reconcile(&[right.clone(), silent(Indefinite::Lame)], &[found(9, "a")]).records(), right.records());
        let gone = reconcile(&[none(1, 60), none(2, 60)], &[none(8, 30), found(9, "a")]);
        assert_eq!(gone.negative_ttl(), Some(Duration::from_secs(30)));
    }

    #[test]
    fn some_of_the_authoritative_servers_do_not_override_a_resolver() {
        // Time-out, lame and refused alike: the rest may be an outdated or unrelated server.
        for reason in
            [Indefinite::Timeout, Indefinite::Lame, Indefinite::Refused, Indefinite::NoAddress("ns2.x".into())]
        {
            let server = (!matches!(reason, Indefinite::NoAddress(_))).then_some(([192, 0, 2, 2], 53).into());
            let rest = Answer::indefinite(reason.clone(), server);
            for (one, resolver) in
                [(found(1, "a"), none(9, 60)), (none(1, 60), found(9, "a")), (found(1, "a"), found(9, "b"))]
            {
                let seen = reconcile(&[one.clone(), rest.clone()], &[silent(Indefinite::ServFail), resolver.clone()]);
                let Answer::Indefinite { reason: Indefinite::Disagreement(lines), .. } = seen else {
                    panic!("{seen:?}")
                };
                let silent = server.map_or(reason.to_string(), |_| format!("192.0.2.2: {reason}"));
                assert_eq!(lines, [line(&one), silent, line(&resolver)]);
            }
            // If the resolver agrees, the answer is definite; if all servers answer, they override it.
            assert_eq!(reconcile(&[none(1, 60), rest], &[none(9, 60)]).negative_ttl(), Some(Duration::from_secs(60)));
        }
        assert_eq!(reconcile(&[found(1, "a"), found(2, "a")], &[none(9, 60)]), found(1, "a"));
    }

    #[test]
    fn a_host_that_answers_at_one_address_counts() {
        let answer_of = |last: u8, host: &str, answer: Answer| ServerAnswer {
            server: ([192, 0, 2, last], 53).into(),
            name: Some(host.into()),
            authoritative: true,
            answer,
        };
        let (one, two) = (answer_of(1, "ns1", found(1, "a")), answer_of(2, "ns1", silent(Indefinite::Timeout)));
        let three = answer_of(3, "ns2", silent(Indefinite::Timeout));
        assert_eq!(by_host(&[two.clone(), one.clone()]), [found(1, "a")]);
        assert_eq!(by_host(&[one.clone(), two, three.clone()]), [found(1, "a"), silent(Indefinite::Timeout)]);
        let differ = [one.clone(), answer_of(4, "ns1", none(4, 60))];
        assert_eq!(by_host(&differ), [found(1, "a"), none(4, 60)]);
        // A cache is still overridden if one address family is unreachable.
        let seen = |servers: &[ServerAnswer]| reconcile(&by_host(servers), &[none(9, 60)]);
        assert_eq!(seen(&[one.clone(), answer_of(2, "ns1", silent(Indefinite::Timeout))]), found(1, "a"));
        assert!(!seen(&[one, three]).is_definite());
    }

    #[test]
    fn disagreement_is_indefinite_and_lists_each_answer() {
        let seen = reconcile(&[found(1, "a"), none(2, 60), silent(Indefinite::Timeout)], &[found(9, "a")]);
        let Answer::Indefinite { reason: Indefinite::Disagreement(lines), .. } = seen else { panic!("{seen:?}") };
        assert_eq!(lines, ["192.0.2.1 has a", "192.0.2.2 has none"]);
        assert!(!reconcile(&[], &[found(8, "a"), found(9, "b")]).is_definite());
    }

    #[test]
    fn resolvers_alone_suffice_and_without_them_nothing_is_definite() {
        assert_eq!(
            reconcile(&[silent(Indefinite::Timeout)], &[silent(Indefinite::ServFail), found(9, "a")]),
            found(9, "a")
        );
        let bogus = reconcile(&[found(1, "a")], &[silent(Indefinite::ServFail)]);
        assert_eq!(bogus, silent(Indefinite::ServFail));
        assert!(!reconcile(&[none(1, 60)], &[]).is_definite());
    }
}
