//! Expected x observed -> evidence: the status of each record, what was seen, and how to mend it.
//!
//! Invariant: `valid`, `missing` and `mismatch` come from definite answers only, and whatever is not valid has an error
//! with a stable code and the exact thing to type. A valid record may carry an error too: a warning.

mod code;
mod dkim;
mod mx;
mod said;
mod sight;
#[cfg(test)]
mod tests;
mod text;
mod verdict;

pub use code::{Code, RecordError};
pub use said::Said;
pub use sight::{MxTarget, ServerSaid, Sight};
pub use verdict::verdict;

use super::observed::{Answer, Indefinite, RecordData};
use super::records::{Expected, Purpose};
use super::status::{Finding, Outcome, UnknownWord};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// The status of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordStatus {
    /// No check has settled yet.
    #[default]
    NotChecked,
    /// It is right.
    Valid,
    /// It is definitely not there.
    Missing,
    /// Something else is there.
    Mismatch,
    /// Nobody could say.
    Unknown,
}

impl RecordStatus {
    /// As it stands in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotChecked => "not_checked",
            Self::Valid => "valid",
            Self::Missing => "missing",
            Self::Mismatch => "mismatch",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for RecordStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RecordStatus {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "not_checked" => Ok(Self::NotChecked),
            "valid" => Ok(Self::Valid),
            "missing" => Ok(Self::Missing),
            "mismatch" => Ok(Self::Mismatch),
            "unknown" => Ok(Self::Unknown),
            _ => Err(UnknownWord(text.to_owned())),
        }
    }
}

/// What a check found of one record; by default, that none has been made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The record's status.
    pub status: RecordStatus,
    /// The values that were seen.
    pub observed: Vec<String>,
    /// What is wrong; a warning where the status is valid.
    pub error: Option<RecordError>,
    /// The server whose answer this rests on.
    pub server: Option<SocketAddr>,
    /// How long caches keep that the record is not there.
    pub negative_ttl: Option<Duration>,
    /// What each server said.
    pub said: Vec<Said>,
}

/// A judgement on definite records: whether they will do, and what to say.
enum Judgement {
    Valid,
    Warning(RecordError),
    Missing(RecordError),
    Mismatch(RecordError),
}

/// Judges one record. `all` are the records of its claim.
pub fn judge(expected: &Expected, all: &[Expected], sight: &Sight) -> Evidence {
    let values: Vec<String> = sight.answer.records().iter().chain(&sight.instead).map(ToString::to_string).collect();
    let evidence = |status, error| Evidence {
        status,
        observed: values.clone(),
        error,
        server: sight.answer.server(),
        negative_ttl: sight.answer.negative_ttl(),
        said: said::of(sight),
    };
    if let Answer::Indefinite { reason, .. } = &sight.answer {
        return evidence(RecordStatus::Unknown, Some(unanswered(expected, reason)));
    }
    let judgement = match expected.purpose {
        Purpose::Dkim => dkim::judge(expected, all, sight),
        Purpose::Mx => mx::judge(expected, sight.answer.records()),
        Purpose::Spf => text::spf(expected, &texts(sight)),
        Purpose::Dmarc => text::dmarc(expected, &texts(sight)),
        Purpose::Ownership => text::ownership(expected, &texts(sight)),
    };
    match judgement {
        Judgement::Valid => evidence(RecordStatus::Valid, None),
        Judgement::Warning(error) => evidence(RecordStatus::Valid, Some(error)),
        Judgement::Missing(error) => evidence(RecordStatus::Missing, Some(error)),
        Judgement::Mismatch(error) => evidence(RecordStatus::Mismatch, Some(error)),
    }
}

/// What a check means for the status of the claim.
pub fn outcome(expected: &[Expected], evidence: &[Evidence]) -> Outcome {
    let required = || expected.iter().zip(evidence).enumerate().filter(|(_, (expected, _))| expected.required);
    Outcome {
        required: required().map(|(position, (_, evidence))| (position, finding(evidence.status))).collect(),
        held_back: false,
        negative_ttl: required().filter_map(|(_, (_, evidence))| evidence.negative_ttl).max(),
    }
}

fn finding(status: RecordStatus) -> Finding {
    match status {
        RecordStatus::Valid => Finding::Good,
        RecordStatus::Missing | RecordStatus::Mismatch => Finding::Fault,
        RecordStatus::Unknown | RecordStatus::NotChecked => Finding::Indefinite,
    }
}

/// True when the records that are a claim's own, and nobody else's, are definitely gone: every one of its DKIM records,
/// or the record of ownership, which is asked for where claims share their tokens.
/// (MX, SPF and DMARC are the same for every claim to a name.)
pub fn is_gone(expected: &[Expected], evidence: &[Evidence]) -> bool {
    let gone = |purpose| {
        let mut own = expected.iter().zip(evidence).filter(|(e, _)| e.purpose == purpose).peekable();
        own.peek().is_some() && own.all(|(_, evidence)| finding(evidence.status) == Finding::Fault)
    };
    gone(Purpose::Dkim) || gone(Purpose::Ownership)
}

/// What to type into a panel to make the record.
fn publish(expected: &Expected) -> String {
    let Expected { record_type, name, host_label, value, .. } = expected;
    let priority = expected.priority.map(|p| format!(" and priority {p}")).unwrap_or_default();
    format!("Create a {record_type} record, host {host_label} (full name {name}), with the value {value}{priority}.")
}

fn missing(expected: &Expected) -> RecordError {
    let Expected { record_type, name, .. } = expected;
    RecordError::new(Code::Missing, format!("there is no {record_type} record at {name}"), publish(expected))
}

fn texts(sight: &Sight) -> Vec<&str> {
    sight.answer.records().iter().filter_map(text_of).collect()
}

fn text_of(record: &RecordData) -> Option<&str> {
    match record {
        RecordData::Txt(text) => Some(text),
        _ => None,
    }
}

fn unanswered(expected: &Expected, reason: &Indefinite) -> RecordError {
    let name = &expected.name;
    match reason {
        Indefinite::Disagreement(_) => RecordError::new(
            Code::ServersDisagree,
            format!("about {name}, {reason}"),
            "Wait until the change has reached every name server of your zone; if it does not, tell your DNS provider.",
        ),
        _ => RecordError::new(
            Code::ResolverFailed,
            format!("the DNS gave no definite answer for {name}: {reason}"),
            "Nothing to do if this passes. If it stays, see whether your zone's name servers answer, and its DNSSEC.",
        ),
    }
}
