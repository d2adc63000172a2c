//! Records that a domain's owner publishes: SPF, and the tag lists of DMARC and DKIM.

use super::observed::{Answer, RecordData};
use super::spf::{Evaluation, Record, is_spf, offer, strings};
use super::tag_list;
use std::net::SocketAddr;
use std::time::Duration;

/// What we ask to be in an SPF record.
const OURS: &str = "v=spf1 include:inboxlayer.dev ~all";
/// Rounds of questions that a walk takes at most: each names something new, and no more than 40 terms are followed.
const ROUNDS: usize = 64;

/// The first line is a domain's SPF record; the others are what its questions are answered with, in order and again.
pub fn spf(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n').map(|line| line.chars().take(4096).collect::<String>());
    let record = lines.next().unwrap_or_default();
    let answers: Vec<_> = lines.map(answer).collect();
    let parsed = Record::parse(&record);
    match &parsed {
        Ok(parsed) => {
            assert!(is_spf(record.trim_start_matches(' ')), "{record:?}");
            for term in &parsed.terms {
                assert!(!term.text.contains(' ') && record.contains(&term.text), "{:?}", term.text);
            }
        }
        Err(error) => assert!(error.position <= record.chars().count() + 1, "{error}"),
    }
    let mut evaluation = Evaluation::new("acme.test", &record);
    let mut rounds = 0;
    loop {
        let questions = evaluation.questions();
        if questions.is_empty() {
            break;
        }
        rounds += 1;
        assert!(rounds <= ROUNDS, "still questions after {ROUNDS} rounds: {questions:?}");
        for (at, (name, record_type)) in questions.into_iter().enumerate() {
            let again = answers.get((rounds + at) % answers.len().max(1)).cloned();
            evaluation.feed(&name, record_type, again.unwrap_or_else(none));
        }
    }
    let report = evaluation.report();
    assert!(report.lookups <= 40 && report.void_lookups.len() <= 40 * 11, "{} look-ups", report.lookups);
    let parts = strings(&record);
    assert!(parts.concat() == record && parts.iter().all(|part| part.len() <= 255));
    let offer = offer(&[&record], OURS);
    assert!(Record::parse(&offer.text).is_ok(), "what is offered cannot be read: {:?}", offer.text);
}

fn answer(line: String) -> Answer {
    let server = SocketAddr::from(([192, 0, 2, 53], 53));
    let hosts = || line.split(' ').map(|host| RecordData::Mx { preference: 10, exchange: host.to_owned() });
    let records = if line.starts_with("mx ") { hosts().collect() } else { vec![RecordData::Txt(line)] };
    Answer::Found { records, aliases: Vec::new(), ttl: Duration::ZERO, server, authenticated: false }
}

fn none() -> Answer {
    let server = SocketAddr::from(([192, 0, 2, 53], 53));
    Answer::NoRecord { nxdomain: true, aliases: Vec::new(), negative_ttl: None, server }
}

/// DMARC records and DKIM keys.
pub fn tag_lists(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for (name, value) in tag_list::tags(&text) {
        assert!(name.trim() == name && value.trim() == value && !name.contains([';', '=']) && !value.contains(';'));
    }
    for below in [false, true] {
        if let Some(policy) = tag_list::policy_in_effect(&text, below) {
            assert!(tag_list::strictness(policy).is_some(), "{policy:?} is no policy");
        }
    }
    if tag_list::is_dmarc(&text) {
        assert_eq!(tag_list::tags(&text).next(), Some(("v", "DMARC1")));
    }
    if let Some(key) = tag_list::dkim_key(&text) {
        assert!(!key.is_empty() && !key.contains(char::is_whitespace), "{key:?}");
    }
}
