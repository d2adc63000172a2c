//! Stored evidence is bounded in octets for any answers, and complete for normal zones.

use super::*;
use crate::verification::bounds::{self, few};
use crate::verification::report::DomainRecord;

/// Maximum octets of a record in the store and in a response: its values, the values of ten servers, the error and its step.
const MAX_OCTETS: usize = bounds::OBSERVED + 10 * bounds::SAID + 32 * 400 + bounds::MESSAGE + 2 * bounds::FIX + 2000;

/// Eight name servers and two resolvers, each with a different answer.
fn from_ten_servers(records: impl Fn(u8) -> Vec<RecordData>) -> Observation {
    let answer = |last: u8| Answer::Found {
        records: few(records(last).into_iter().map(bounds::read).collect(), &[]),
        aliases: Vec::new(),
        ttl: Duration::from_secs(60),
        server: ([192, 0, 2, last], 53).into(),
        authenticated: false,
    };
    let server_answers = |last: u8| ServerAnswer {
        server: ([192, 0, 2, last], 53).into(),
        name: Some(format!("{}.example", "n".repeat(240))),
        authoritative: last <= 8,
        answer: answer(last),
    };
    let servers: Vec<ServerAnswer> = (1..=10).map(server_answers).collect();
    Observation { servers, ..Observation::of(answer(1)) }
}

/// The larger of the stored and shown octets of the record at `position`.
fn octets(position: usize, observation: &Observation) -> usize {
    let all = expected();
    let evidence = judge(&all[position], &all, observation, NOW);
    let resolvers = evidence.answers.iter().filter(|one| !one.authoritative);
    assert!(observation.servers.is_empty() || resolvers.count() >= 2, "the resolvers are always there");
    let stored = serde_json::to_string(&(&evidence.answers, &evidence.observed, &evidence.error)).unwrap().len();
    let shown = serde_json::to_string(&DomainRecord::of(&all[position], Some((&evidence, NOW)))).unwrap().len();
    stored.max(shown)
}

#[test]
fn evidence_is_bounded_for_any_answers() {
    let bells = |start: &str, last: u8| format!("{start}{}{last}", "\u{1}".repeat(61_000));
    let many =
        |start: &str, last: u8| (0..3000).map(|n| RecordData::Txt(format!("{start}{n} {last}"))).collect::<Vec<_>>();
    let hosts = |last: u8| {
        let mx = |n: u16| RecordData::Mx { preference: n, exchange: format!("{n}.{}.{last}", "m".repeat(240)) };
        (0..3000).map(mx).collect()
    };
    for (position, start) in [(4, "v=spf1 "), (5, "v=DMARC1; p="), (6, "")] {
        for observation in [
            from_ten_servers(|last| vec![RecordData::Txt(bells(start, last))]),
            from_ten_servers(|last| (0..64).map(|_| RecordData::Txt(bells(start, last))).collect()),
            from_ten_servers(|last| many(start, last)),
        ] {
            assert!(octets(position, &observation) <= MAX_OCTETS, "{start}: {}", octets(position, &observation));
        }
    }
    assert!(octets(3, &from_ten_servers(hosts)) <= MAX_OCTETS);
    let targets = |last: u8| (0..3000).map(|n| RecordData::Cname(format!("{n}.{}.{last}", "t".repeat(240)))).collect();
    assert!(octets(0, &from_ten_servers(targets)) <= MAX_OCTETS);
}

#[test]
fn a_disagreement_is_described_briefly() {
    let observation = from_ten_servers(|last| vec![RecordData::Txt(format!("v=spf1 {last} {}", "a ".repeat(30_000)))]);
    let answers: Vec<Answer> = observation.servers.iter().map(|server_answers| server_answers.answer.clone()).collect();
    let answer = crate::verification::reconcile::reconcile(&answers[..8], &answers[8..]);
    let Answer::Indefinite { reason, .. } = &answer else { panic!("{answer:?}") };
    assert!(reason.to_string().len() <= 8 * (bounds::LINE + 60), "{reason}");
    assert!(octets(4, &Observation { answer, ..observation }) <= MAX_OCTETS);
}

#[test]
fn a_busy_apex_is_judged_like_any_other() {
    let mut texts: Vec<String> = (0..40).map(|n| format!("site-verification-{n}={}", "x".repeat(200))).collect();
    texts.push("v=spf1 include:amazonses.com ~all".into());
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (all, observation) = (expected(), txt(&texts));
    assert_eq!(short(4, &observation), "valid");
    let observed = judge(&all[4], &all, &observation, NOW).observed;
    assert_eq!(observed.len(), 41);
    assert_eq!(observed[40], "v=spf1 include:amazonses.com ~all");
}
