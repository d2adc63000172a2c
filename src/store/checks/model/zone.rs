//! The simulated DNS of the model: record sets by name, and names without a definite answer.

use crate::verification::judge::Observation;
use crate::verification::observed::{Answer, Indefinite, RecordData, RecordType};
use crate::verification::records::{Expected, Purpose, Template};
use crate::verification::status::Finding;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The records required of every claim.
pub(super) fn template() -> Template {
    Template {
        dkim_zone: "dkim.example".parse().unwrap(),
        mx_host: "mx.example".parse().unwrap(),
        mx_priority: 10,
        spf: "v=spf1 ~all".into(),
        dmarc: "v=DMARC1; p=none".into(),
        required: vec![Purpose::Dkim],
    }
}

#[derive(Default)]
pub(super) struct Zone {
    records: BTreeMap<String, BTreeSet<String>>,
    silent: BTreeMap<String, u8>,
}

impl Zone {
    /// A CNAME excludes other records; several TXT records may coexist.
    pub(super) fn publish(&mut self, (name, value): (String, String)) {
        let values = self.records.entry(name.clone()).or_default();
        if !name.starts_with("_inboxlayer") {
            values.clear();
        }
        values.insert(value);
    }

    /// Removes a record; with `other`, another record replaces it.
    pub(super) fn spoil(&mut self, (name, value): &(String, String), other: bool) {
        let values = self.records.entry(name.clone()).or_default();
        values.remove(value);
        if other && values.is_empty() {
            values.insert("something.else.example".into());
        }
    }

    /// No definite answer for the name, in one of several ways.
    pub(super) fn silence(&mut self, name: &str, how: u8) {
        self.silent.insert(name.to_owned(), how);
    }

    pub(super) fn speak(&mut self) {
        self.silent.clear();
    }

    /// The current finding of a record.
    pub(super) fn finding(&self, (name, value): &(String, String)) -> Finding {
        match (self.silent.get(name), self.records.get(name)) {
            (Some(_), _) => Finding::Indefinite,
            (None, Some(values)) if values.contains(value) => Finding::Good,
            (None, _) => Finding::Fault,
        }
    }

    pub(super) fn observation(&self, record: &Expected) -> Observation {
        Observation::of(self.answer(record))
    }

    fn answer(&self, record: &Expected) -> Answer {
        let server = ([192, 0, 2, 1], 53).into();
        if let Some(how) = self.silent.get(&record.name) {
            let reasons = [
                Indefinite::Timeout,
                Indefinite::ServFail,
                Indefinite::Refused,
                Indefinite::Lame,
                Indefinite::NoServer,
                Indefinite::Disagreement(vec!["192.0.2.1 has none".into(), "192.0.2.2 has x".into()]),
                Indefinite::Broken("half an answer".into()),
            ];
            return Answer::indefinite(reasons[usize::from(*how) % reasons.len()].clone(), Some(server));
        }
        let negative_ttl = Some(Duration::from_secs(5));
        let Some(values) = self.records.get(&record.name).filter(|values| !values.is_empty()) else {
            return Answer::NoRecord { nxdomain: true, aliases: vec![], negative_ttl, server };
        };
        let data = |value: &String| match record.record_type {
            RecordType::Cname => RecordData::Cname(value.clone()),
            _ => RecordData::Txt(value.clone()),
        };
        let (records, ttl) = (values.iter().map(data).collect(), Duration::from_secs(60));
        Answer::Found { records, aliases: vec![], ttl, server, authenticated: false }
    }
}
