//! A record as shown: what to publish, and what a check found. Invariant: the current records of a domain and those of
//! past checks have the same shape, but for `entry`.

use super::judge::{Evidence, EvidenceEntry, RecordError, RecordStatus};
use super::records::Expected;
use crate::clock::Timestamp;
use serde::Serialize;

/// A record as it is entered at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RecordEntry)]
pub struct Entered {
    /// Empty if the field stays empty.
    pub host: String,
    pub value: String,
    /// Of an MX record, if it has a field of its own.
    pub priority: Option<u16>,
}

/// Serialized as its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DomainRecord {
    #[serde(flatten)]
    pub expected: Expected,
    /// As it is entered at the domain's DNS provider. Not in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub entry: Option<Entered>,
    pub status: RecordStatus,
    /// The values found.
    pub observed: Vec<String>,
    /// The name where they were found, if it is not the record's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
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
            expected: expected.clone(),
            entry: None,
            status: evidence.map_or(RecordStatus::NotChecked, |evidence| evidence.status),
            observed: evidence.map(|evidence| evidence.observed.clone()).unwrap_or_default(),
            observed_name: evidence.and_then(|evidence| evidence.observed_name.clone()),
            evidence: evidence.map(|evidence| evidence.answers.clone()).unwrap_or_default(),
            error: evidence.and_then(|evidence| evidence.error.as_ref()).map(RecordError::shown),
            checked_at: found.map(|(_, at)| at),
        }
    }
}
