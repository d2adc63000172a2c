//! The evidence of a record: each server's answer, as shown and stored. Invariant: every queried server is listed, a
//! failed one with the reason; the number is bounded. Of many values those resembling the expected one come first.

use super::observation::Observation;
use crate::verification::bounds;
use crate::verification::observed::Answer;
use crate::verification::records::Expected;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// Maximum entries of one record, that is servers times values.
const MAX_ENTRIES: usize = 32;

/// One answer of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EvidenceEntry {
    /// A value; `None` without a record or a definite answer.
    pub value: Option<String>,
    /// The server; `None` if there was none to query.
    #[schema(value_type = Option<String>)]
    pub server: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub name: Option<String>,
    /// The TTL in seconds; at a resolver, what is left of it in its cache.
    pub ttl: Option<u64>,
    /// A validating resolver set the AD bit.
    pub ad: bool,
    /// The server is authoritative for the zone.
    pub authoritative: bool,
    /// `found`, `no record`, `no such name`, or the reason of a failure.
    pub answer: String,
}

/// All answers, those of the authoritative servers first.
pub(super) fn of(expected: &Expected, observation: &Observation) -> Vec<EvidenceEntry> {
    let limit = (MAX_ENTRIES / observation.servers.len().max(1)).max(1);
    let mut all: Vec<EvidenceEntry> = Vec::new();
    let mut add = |entries: Vec<EvidenceEntry>| {
        let (like, unlike): (Vec<EvidenceEntry>, Vec<EvidenceEntry>) = entries
            .into_iter()
            .partition(|answers| answers.value.as_deref().is_some_and(|value| expected.begins_like(value)));
        let mut left = bounds::SAID;
        let entries = like.into_iter().chain(unlike).take(limit);
        // The first one always, cut to fit.
        all.extend(entries.enumerate().map_while(|(at, answers)| {
            let value = answers.value.map(|value| bounds::brief(&value, bounds::SAID));
            left = match left.checked_sub(value.as_deref().map_or(0, bounds::octets)) {
                Some(rest) => rest,
                None if at == 0 => 0,
                None => return None,
            };
            Some(EvidenceEntry { value, ..answers })
        }));
    };
    for wanted in [true, false] {
        for answers in observation.servers.iter().filter(|answers| answers.authoritative == wanted) {
            add(entries(&answers.answer, Some(answers.server), answers.name.as_deref(), wanted));
        }
    }
    if observation.servers.is_empty() {
        add(entries(&observation.answer, observation.answer.server(), None, false));
    }
    all
}

fn entries(answer: &Answer, server: Option<SocketAddr>, name: Option<&str>, authoritative: bool) -> Vec<EvidenceEntry> {
    let entry = |value: Option<String>, ttl: Option<Duration>, ad, answer: &str| EvidenceEntry {
        value,
        server,
        name: name.map(|name| bounds::brief(name, bounds::LINE)),
        ttl: ttl.map(|ttl| ttl.as_secs()),
        ad,
        authoritative,
        answer: bounds::brief(answer, bounds::LINE),
    };
    match answer {
        Answer::Found { records, ttl, authenticated, .. } => {
            records.iter().map(|record| entry(Some(record.to_string()), Some(*ttl), *authenticated, "found")).collect()
        }
        Answer::NoRecord { nxdomain, negative_ttl, .. } => {
            vec![entry(None, *negative_ttl, false, if *nxdomain { "no such name" } else { "no record" })]
        }
        Answer::Indefinite { reason, .. } => vec![entry(None, None, false, &reason.to_string())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification::judge::ServerAnswer;
    use crate::verification::observed::{Indefinite, RecordData, RecordType};
    use crate::verification::records::Purpose;

    fn server(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 53).into()
    }

    fn found(last: u8, values: &[&str], authenticated: bool) -> Answer {
        Answer::Found {
            records: values.iter().map(|value| RecordData::Txt((*value).to_owned())).collect(),
            aliases: Vec::new(),
            ttl: Duration::from_secs(300),
            server: server(last),
            authenticated,
        }
    }

    fn spf() -> Expected {
        Expected {
            purpose: Purpose::Spf,
            record_type: RecordType::Txt,
            name: "acme.com".into(),
            host_label: "@".into(),
            value: "v=spf1 include:amazonses.com ~all".into(),
            priority: None,
            required: false,
        }
    }

    fn line(answers: &EvidenceEntry) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        let ttl = answers.ttl.map_or_else(|| "-".into(), |ttl| ttl.to_string());
        let server = answers.server.map_or_else(|| "-".into(), |server| server.to_string());
        let (ad, own) = (answers.ad, answers.authoritative);
        format!("{} {server} {} {ttl} {ad} {own} {}", text(&answers.value), text(&answers.name), answers.answer)
    }

    #[test]
    fn every_server_is_listed_authoritative_ones_first() {
        let mut observation = Observation::of(found(1, &["a"], false));
        let answers = |last, name: Option<&str>, authoritative, answer| ServerAnswer {
            server: server(last),
            name: name.map(str::to_owned),
            authoritative,
            answer,
        };
        let gone = Answer::NoRecord {
            nxdomain: true,
            aliases: Vec::new(),
            negative_ttl: Some(Duration::from_secs(60)),
            server: server(9),
        };
        observation.servers = vec![
            answers(9, None, false, gone),
            answers(1, Some("ns1.acme.com"), true, found(1, &["a", "b"], false)),
            answers(2, None, true, Answer::indefinite(Indefinite::Timeout, Some(server(2)))),
            answers(8, None, false, found(8, &["a"], true)),
        ];
        let lines: Vec<String> = of(&spf(), &observation).iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "a 192.0.2.1:53 ns1.acme.com 300 false true found",
                "b 192.0.2.1:53 ns1.acme.com 300 false true found",
                "- 192.0.2.2:53 - - false true no answer in time",
                "- 192.0.2.9:53 - 60 false false no such name",
                "a 192.0.2.8:53 - 300 true false found",
            ]
        );
        let one = serde_json::to_value(&of(&spf(), &observation)[4]).unwrap();
        let shown = serde_json::json!({"value": "a", "server": "192.0.2.8:53", "ttl": 300, "ad": true,
            "authoritative": false, "answer": "found"});
        assert_eq!(one, shown);
        assert_eq!(serde_json::from_value::<EvidenceEntry>(one).unwrap(), of(&spf(), &observation)[4]);
    }

    #[test]
    fn without_servers_the_answer_is_listed_and_entries_are_bounded() {
        let lines: Vec<String> = of(&spf(), &Observation::of(found(1, &["a"], true))).iter().map(line).collect();
        assert_eq!(lines, ["a 192.0.2.1:53 - 300 true false found"]);
        let no_server = Observation::of(Answer::indefinite(Indefinite::NoServer, None));
        assert_eq!(line(&of(&spf(), &no_server)[0]), "- - - - false false there is no name server that may be queried");
        assert_eq!(of(&spf(), &Observation::of(found(1, &["x"; 500], false))).len(), MAX_ENTRIES);
    }

    #[test]
    fn many_values_of_one_server_leave_space_for_others_and_keep_the_relevant_one() {
        let mut values = vec!["site=1"; 100];
        values.push("v=spf1 -all");
        let servers = (1..=3).map(|last| ServerAnswer {
            server: server(last),
            name: None,
            authoritative: last < 3,
            answer: found(last, &values, false),
        });
        let observation = Observation { servers: servers.collect(), ..Observation::of(found(1, &values, false)) };
        let answers = of(&spf(), &observation);
        assert!(answers.len() <= MAX_ENTRIES);
        for last in 1..=3 {
            let first = answers.iter().find(|answers| answers.server == Some(server(last))).unwrap();
            assert_eq!(first.value.as_deref(), Some("v=spf1 -all"));
        }
    }
}
