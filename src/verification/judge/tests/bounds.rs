//! Whatever strangers say, what is kept of it is bounded in octets; and what honest zones have stays.

use super::*;
use crate::verification::bounds::{self, few};
use crate::verification::report::DomainRecord;

/// What a record may take in the store and in an answer: its values, what each of ten servers has, the error and its step.
const MOST: usize = bounds::OBSERVED + 10 * bounds::SAID + 32 * 400 + bounds::MESSAGE + 2 * bounds::FIX + 2000;

/// Eight name servers and two resolvers, each of which says something else.
fn told_by_ten(records: impl Fn(u8) -> Vec<RecordData>) -> Observation {
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

/// The octets that are stored for the record at `position`, and shown.
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
fn evidence_is_bounded_whatever_the_servers_say() {
    let bells = |start: &str, last: u8| format!("{start}{}{last}", "\u{1}".repeat(61_000));
    let many =
        |start: &str, last: u8| (0..3000).map(|n| RecordData::Txt(format!("{start}{n} {last}"))).collect::<Vec<_>>();
    let hosts = |last: u8| {
        let mx = |n: u16| RecordData::Mx { preference: n, exchange: format!("{n}.{}.{last}", "m".repeat(240)) };
        (0..3000).map(mx).collect()
    };
    for (position, start) in [(4, "v=spf1 "), (5, "v=DMARC1; p="), (6, "")] {
        for observation in [
            told_by_ten(|last| vec![RecordData::Txt(bells(start, last))]),
            told_by_ten(|last| (0..64).map(|_| RecordData::Txt(bells(start, last))).collect()),
            told_by_ten(|last| many(start, last)),
        ] {
            assert!(octets(position, &observation) <= MOST, "{start}: {}", octets(position, &observation));
        }
    }
    assert!(octets(3, &told_by_ten(hosts)) <= MOST);
    let targets = |last: u8| (0..3000).map(|n| RecordData::Cname(format!("{n}.{}.{last}", "t".repeat(240)))).collect();
    assert!(octets(0, &told_by_ten(targets)) <= MOST);
}

#[test]
fn a_disagreement_is_told_in_few_words() {
    let observation = told_by_ten(|last| vec![RecordData::Txt(format!("v=spf1 {last} {}", "a ".repeat(30_000)))]);
    let answers: Vec<Answer> = observation.servers.iter().map(|server_answers| server_answers.answer.clone()).collect();
    let answer = crate::verification::reconcile::reconcile(&answers[..8], &answers[8..]);
    let Answer::Indefinite { reason, .. } = &answer else { panic!("{answer:?}") };
    assert!(reason.to_string().len() <= 8 * (bounds::LINE + 60), "{reason}");
    assert!(octets(4, &Observation { answer, ..observation }) <= MOST);
}

#[test]
fn a_busy_apex_is_judged_as_any_other() {
    let mut texts: Vec<String> = (0..40).map(|n| format!("site-verification-{n}={}", "x".repeat(200))).collect();
    texts.push("v=spf1 include:amazonses.com ~all".into());
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (all, observation) = (expected(), txt(&texts));
    assert_eq!(short(4, &observation), "valid");
    let observed = judge(&all[4], &all, &observation, NOW).observed;
    assert_eq!(observed.len(), 41);
    assert_eq!(observed[40], "v=spf1 include:amazonses.com ~all");
}
