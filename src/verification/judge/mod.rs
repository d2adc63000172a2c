//! Judges expected records by observations: the status of each record, the values found, and the fix. Invariant:
//! `valid`, `missing` and `mismatch` come from definite answers only; every record that is not valid has an error with
//! a stable code and the exact value to enter. An error of a valid record is a warning.

mod code;
mod confirmation;
mod dkim;
mod dmarc;
mod evidence;
mod fix;
mod mx;
mod nearness;
mod observation;
mod servers;
mod spf;
#[cfg(test)]
mod tests;
mod text;
mod verdict;

pub use code::{Code, RecordError};
pub use confirmation::{return_path_unconfirmed, unconfirmed, valid_return_path, was_confirmed};
pub use evidence::EvidenceEntry;
use fix::Fix;
pub use observation::{MxTarget, Observation, ServerAnswer, ZoneCut};
pub use verdict::verdict;

use super::bounds;
use super::observed::{Answer, RecordData, RecordType};
use super::records::{Expected, Purpose};
use super::spf::is_spf;
use super::status::{Finding, Outcome};
use super::tag_list::dkim_key;
use crate::clock::Timestamp;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    strum::Display,
    strum::EnumString,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RecordStatus {
    /// No check has settled yet.
    #[default]
    NotChecked,
    Valid,
    /// Definitely missing.
    Missing,
    /// It has another value.
    Mismatch,
    /// No definite answer.
    Unknown,
}

/// The findings about one record; by default, not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    pub status: RecordStatus,
    /// The values found.
    pub observed: Vec<String>,
    /// The name where they were found, if it is not the record's own.
    pub observed_name: Option<String>,
    /// The fault; a warning if the status is valid.
    pub error: Option<RecordError>,
    /// The server whose answer decided.
    pub server: Option<SocketAddr>,
    /// How long caches keep the negative answer.
    pub negative_ttl: Option<Duration>,
    /// The answer of each server.
    pub answers: Vec<EvidenceEntry>,
}

/// An expected record with the findings about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedRecord {
    pub expected: Expected,
    pub evidence: Evidence,
}

/// A judgement on definite records.
enum Judgement {
    Valid,
    Warning(RecordError),
    Missing(RecordError),
    Mismatch(RecordError),
    /// It depends on other names, which gave no definite answer.
    Unknown(RecordError),
}

/// Judges one record. `all` are the records of its claim.
pub fn judge(expected: &Expected, all: &[Expected], observation: &Observation, now: Timestamp) -> Evidence {
    let inherited = dmarc::inherited(observation);
    let values: Vec<String> = match inherited {
        Some(record) => vec![bounds::brief(record, bounds::TXT)],
        None => bounds::shown(observation.answer.records().iter().chain(&observation.other_types), |record| {
            looked_for(expected, record)
        }),
    };
    let evidence = |status, error| Evidence {
        status,
        observed: values.clone(),
        observed_name: inherited.and_then(|_| expected.inherited_from()),
        error,
        server: observation.answer.server(),
        negative_ttl: observation.answer.negative_ttl(),
        answers: evidence::of(expected, observation),
    };
    if let Answer::Indefinite { reason, .. } = &observation.answer {
        return evidence(RecordStatus::Unknown, Some(servers::unanswered(expected, observation, reason)));
    }
    let is_right = |answer: &Answer| {
        let theirs = Observation { inherited: observation.inherited.clone(), ..Observation::of(answer.clone()) };
        let judgement = || by_purpose(expected, all, &theirs);
        same(expected, answer, &observation.answer) || matches!(judgement(), Judgement::Valid | Judgement::Warning(_))
    };
    match unmade(expected, observation, by_purpose(expected, all, observation)) {
        Judgement::Valid => evidence(RecordStatus::Valid, servers::reservation(expected, observation, is_right, now)),
        Judgement::Warning(error) => evidence(RecordStatus::Valid, Some(error)),
        Judgement::Missing(error) => evidence(RecordStatus::Missing, Some(error)),
        Judgement::Mismatch(error) => evidence(RecordStatus::Mismatch, Some(error)),
        Judgement::Unknown(error) => evidence(RecordStatus::Unknown, Some(error)),
    }
}

/// True if two answers are equally judged, so that additional queries for one apply to the other. Other TXT records
/// beside an SPF record may differ.
fn same(expected: &Expected, one: &Answer, other: &Answer) -> bool {
    let is_judged = |record: &&RecordData| match (expected.purpose, text_of(record)) {
        (Purpose::Spf | Purpose::ReturnPathSpf, Some(text)) => is_spf(text),
        _ => true,
    };
    let judged = |answer: &Answer| answer.records().iter().filter(is_judged).cloned().collect::<BTreeSet<_>>();
    !one.records().is_empty() && judged(one) == judged(other)
}

/// Other texts may coexist with the expected one.
fn looked_for(expected: &Expected, record: &RecordData) -> bool {
    match record {
        RecordData::Txt(text) => expected.begins_like(text),
        _ => true,
    }
}

fn by_purpose(expected: &Expected, all: &[Expected], observation: &Observation) -> Judgement {
    match expected.purpose {
        Purpose::Dkim => dkim::judge(expected, all, observation),
        Purpose::Mx | Purpose::ReturnPath => mx::judge(expected, observation),
        Purpose::Spf | Purpose::ReturnPathSpf => spf::judge(expected, observation),
        Purpose::Dmarc => dmarc::judge(expected, observation),
        Purpose::Ownership => text::ownership(expected, observation),
    }
}

/// A wrong value from a wildcard means that the record is missing.
fn unmade(expected: &Expected, observation: &Observation, judgement: Judgement) -> Judgement {
    if !observation.wildcard || !matches!(judgement, Judgement::Missing(_) | Judgement::Mismatch(_)) {
        return judgement;
    }
    if let Some(error) = doubled(expected, observation).or_else(|| misplaced(expected, observation)) {
        return Judgement::Missing(error);
    }
    let Expected { record_type, name, .. } = expected;
    let seen = observation
        .answer
        .records()
        .iter()
        .chain(&observation.other_types)
        .map(|record| format!("{} {record}", record.type_name()));
    let seen: Vec<String> = match observation.answer.aliases().first() {
        Some(alias) => vec![format!("CNAME {alias}")],
        None => seen.collect(),
    };
    let message =
        format!("there is no {record_type} record at {name}: a wildcard (*) answers there: {}", seen.join(", "));
    let fix = publish(expected).after("The wildcard may stay: a record at the name itself takes precedence.");
    Judgement::Missing(RecordError::new(Code::Missing, message, fix))
}

/// The outcome of a check for the status of the claim.
pub fn outcome(records: &[CheckedRecord]) -> Outcome {
    let required = || records.iter().filter(|record| record.expected.required);
    Outcome {
        required: required().map(|record| (record.expected.key(), finding(record.evidence.status))).collect(),
        held_back: false,
        negative_ttl: required().filter_map(|record| record.evidence.negative_ttl).max(),
    }
}

fn finding(status: RecordStatus) -> Finding {
    match status {
        RecordStatus::Valid => Finding::Good,
        RecordStatus::Missing | RecordStatus::Mismatch => Finding::Fault,
        RecordStatus::Unknown | RecordStatus::NotChecked => Finding::Indefinite,
    }
}

/// True if the records specific to a claim are definitely missing: every one of its DKIM records, or the ownership
/// record, which is required where claims share tokens. (MX, SPF and DMARC are the same for every claim to a name.)
pub fn is_gone(records: &[CheckedRecord]) -> bool {
    let gone = |purpose| {
        let mut own = records.iter().filter(|record| record.expected.purpose == purpose).peekable();
        own.peek().is_some() && own.all(|record| finding(record.evidence.status) == Finding::Fault)
    };
    gone(Purpose::Dkim) || gone(Purpose::Ownership)
}

/// How to create the record at a DNS provider.
fn publish(expected: &Expected) -> Fix {
    Fix::with(format!("Create {}", creating(expected)), &expected.value)
}

/// The same after another step, which has no full stop.
fn publish_after(first: &str, expected: &Expected) -> Fix {
    Fix::with(format!("{first} and create {}", creating(expected)), &expected.value)
}

fn creating(expected: &Expected) -> String {
    let Expected { record_type, name, host_label, .. } = expected;
    let article = if *record_type == RecordType::Mx { "an" } else { "a" };
    let priority = expected.priority.map(|p| format!("priority {p} and ")).unwrap_or_default();
    format!("{article} {record_type} record, host {host_label} (full name {name}), with {priority}the value")
}

fn missing(expected: &Expected) -> RecordError {
    let Expected { record_type, name, .. } = expected;
    RecordError::new(Code::Missing, format!("there is no {record_type} record at {name}"), publish(expected))
}

/// No record of the type: other types or names show the cause.
fn nothing(expected: &Expected, observation: &Observation) -> Judgement {
    let Expected { record_type, name, value, .. } = expected;
    if let Some(error) = doubled(expected, observation).or_else(|| misplaced(expected, observation)) {
        return Judgement::Missing(error);
    }
    if let Some(alias) = observation.answer.aliases().first().filter(|_| *record_type != RecordType::Cname) {
        if expected.purpose == Purpose::Dmarc {
            return Judgement::Missing(hosted(expected, alias));
        }
        let message = format!("{name} is an alias (CNAME) of {alias}, and an alias has no records of its own");
        let fix = publish_after(&format!("Delete the CNAME record at {name}"), expected);
        return Judgement::Missing(RecordError::new(Code::CnameAtApex, message, fix));
    }
    // Only a flattened CNAME puts a key at the name of one of our tokens.
    let key = |record: &RecordData| text_of(record).is_some_and(|text| dkim_key(text).is_some());
    if expected.purpose == Purpose::Dkim && observation.other_types.iter().any(key) {
        let message = format!(
            "{name} has the key itself instead of a CNAME record: your DNS provider flattens the record, and the key will \
             not follow changes at the target"
        );
        let step = format!("Switch flattening off for {name}, so that a CNAME record is answered with the value");
        return Judgement::Mismatch(RecordError::new(Code::Proxied, message, Fix::with(step, value)));
    }
    if *record_type == RecordType::Cname && observation.other_types.iter().any(|record| record.address().is_some()) {
        let message = format!("{name} has an address instead of a CNAME record: it is proxied or flattened");
        let step =
            format!("Switch the proxy off for {name} (DNS only), so that a CNAME record is answered with the value");
        let fix = Fix::with(step, value);
        return Judgement::Mismatch(RecordError::new(Code::Proxied, message, fix));
    }
    if let Some(other) = observation.other_types.first() {
        let other = other.type_name();
        let message = format!("{name} has a {other} record instead of a {record_type} record");
        let fix = publish_after(&format!("Delete the {other} record at {name}"), expected);
        return Judgement::Mismatch(RecordError::new(Code::WrongType, message, fix));
    }
    Judgement::Missing(missing(expected))
}

/// `_dmarc` is often delegated to a service by an alias, where the record then is.
fn hosted(expected: &Expected, alias: &str) -> RecordError {
    let name = &expected.name;
    let message = format!(
        "{name} is an alias (CNAME) of {alias}, and the service behind the alias has no DMARC record there: receivers find none"
    );
    let fix = publish_after(
        &format!("Have the service behind {alias} publish the record; or delete the CNAME record at {name}"),
        expected,
    );
    RecordError::new(Code::Missing, message, fix)
}

/// True for the expected record at another name; any other record there is irrelevant.
fn is_the_one(expected: &Expected, answer: &Answer) -> bool {
    let same = |record: &RecordData| match record {
        RecordData::Cname(target) => target.eq_ignore_ascii_case(&expected.value),
        RecordData::Mx { exchange, .. } => exchange.eq_ignore_ascii_case(&expected.value),
        RecordData::Txt(text) => match expected.purpose {
            Purpose::Spf | Purpose::ReturnPathSpf => text.trim() == expected.value || spf::has_ours(expected, text),
            Purpose::Dmarc => expected.begins_like(text),
            _ => text.trim() == expected.value,
        },
        _ => false,
    };
    answer.aliases().is_empty() && answer.records().iter().any(same)
}

/// The record is at a name without the underscore, or without the label that has it.
fn misplaced(expected: &Expected, observation: &Observation) -> Option<RecordError> {
    let Expected { record_type, name, host_label, .. } = expected;
    let (found, _) = observation.misplaced.iter().find(|(_, answer)| is_the_one(expected, answer))?;
    let label = name.split('.').find(|label| label.starts_with('_')).unwrap_or_default();
    let lacks = match found.len() + 1 == name.len() {
        true => format!("{label} is written with an underscore"),
        false => format!("{label} is missing"),
    };
    let message = format!("the {record_type} record is at {found} but belongs at {name}: {lacks}");
    let fix = Fix::with("Keep the value of that record, and change its host to", host_label);
    Some(RecordError::new(Code::WrongName, message, fix))
}

/// The record is at the name with the domain appended twice.
fn doubled(expected: &Expected, observation: &Observation) -> Option<RecordError> {
    observation.doubled.as_ref().filter(|answer| is_the_one(expected, answer))?;
    let Expected { record_type, name, .. } = expected;
    let message = format!(
        "the {record_type} record is at {name}.{}: your DNS provider has appended your domain to a name that had it \
         already",
        expected.registered()
    );
    let fix = Fix::with(
        "Keep the value of that record, and change its host to this, without the domain",
        &expected.host_label,
    );
    Some(RecordError::new(Code::SuffixDoubled, message, fix))
}

fn texts(observation: &Observation) -> Vec<&str> {
    observation.answer.records().iter().filter_map(text_of).collect()
}

fn text_of(record: &RecordData) -> Option<&str> {
    match record {
        RecordData::Txt(text) => Some(text),
        _ => None,
    }
}
