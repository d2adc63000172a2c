//! A record as shown: what to publish, and what a check found. Invariant: the current records of a domain and those of
//! past checks have the same shape.

use super::judge::{Evidence, EvidenceEntry, RecordError, RecordStatus};
use super::observed::RecordType;
use super::records::{Expected, Purpose};
use crate::clock::Timestamp;
use serde::{Serialize, Serializer};

/// Serialized as its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainRecord {
    pub purpose: Purpose,
    #[serde(rename = "type", serialize_with = "as_text")]
    pub record_type: RecordType,
    pub name: String,
    /// The host to enter at a DNS provider.
    pub host_label: String,
    pub value: String,
    /// For an MX record.
    pub priority: Option<u16>,
    /// The domain is not verified without it.
    pub required: bool,
    pub status: RecordStatus,
    /// The values found.
    pub observed: Vec<String>,
    /// The name where they were found, if it is not the record's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_name: Option<String>,
    /// The answer of each server.
    pub evidence: Vec<EvidenceEntry>,
    /// The fault or warning.
    pub error: Option<RecordError>,
    /// When it was checked.
    pub checked_at: Option<Timestamp>,
}

impl DomainRecord {
    /// With the findings and their time; `None` if it has not been checked.
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
