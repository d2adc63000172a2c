//! A record as people and programs are shown it: what its owner publishes, and what a check found.
//!
//! Invariant: the records of a domain now and those of its past checks are the same objects.

use super::judge::{Evidence, EvidenceEntry, RecordError, RecordStatus};
use super::observed::RecordType;
use super::records::{Expected, Purpose};
use crate::clock::Timestamp;
use serde::{Serialize, Serializer};

/// A record that the owner publishes; its `Serialize` is its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainRecord {
    /// What for.
    pub purpose: Purpose,
    /// Its type.
    #[serde(rename = "type", serialize_with = "as_text")]
    pub record_type: RecordType,
    /// Its full name.
    pub name: String,
    /// What to type where a panel asks for the host.
    pub host_label: String,
    /// Its value.
    pub value: String,
    /// Of an MX record.
    pub priority: Option<u16>,
    /// The domain is not verified without it.
    pub required: bool,
    /// How it stands.
    pub status: RecordStatus,
    /// The values that were seen.
    pub observed: Vec<String>,
    /// The name where they were seen, where that is not the record's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_name: Option<String>,
    /// Who said so.
    pub evidence: Vec<EvidenceEntry>,
    /// What is wrong with it.
    pub error: Option<RecordError>,
    /// When that was found.
    pub checked_at: Option<Timestamp>,
}

impl DomainRecord {
    /// With what was found of it, and when; without, it has not been checked.
    pub fn of(expected: &Expected, found: Option<(&Evidence, Timestamp)>) -> Self {
        let evidence = found.map(|(evidence, _)| evidence);
        Self {
            purpose: expected.purpose,
            record_type: expected.record_type,
            name: expected.name.clone(),
            host_label: expected.host_label.clone(),
            value: expected.value.clone(),
            priority: expected.priority,
            required: expected.required,
            status: evidence.map_or(RecordStatus::NotChecked, |evidence| evidence.status),
            observed: evidence.map(|evidence| evidence.observed.clone()).unwrap_or_default(),
            observed_name: evidence.and_then(|evidence| evidence.observed_name.clone()),
            evidence: evidence.map(|evidence| evidence.answers.clone()).unwrap_or_default(),
            error: evidence.and_then(|evidence| evidence.error.as_ref()).map(RecordError::shown),
            checked_at: found.map(|(_, at)| at),
        }
    }
}

fn as_text<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
