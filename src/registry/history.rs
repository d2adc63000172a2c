//! The history of a domain as shown.

use crate::clock::Timestamp;
use crate::store::history::{CheckRow, EventRow};
use crate::verification::event::EventCause;
use crate::verification::report::DomainRecord;
use crate::verification::status::VerifiedStatus;
use serde::Serialize;
use serde_json::Value;

/// A check; serialized as its JSON.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct DomainCheck {
    /// Its number within the domain.
    pub number: u32,
    pub checked_at: Timestamp,
    /// The domain's status afterwards.
    pub verified_status: VerifiedStatus,
    #[schema(value_type = Vec<DomainRecord>)]
    pub records: Value,
}

/// A status change; serialized as its JSON.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct DomainEvent {
    /// Its number within the domain.
    pub number: u32,
    pub at: Timestamp,
    /// `None` for the claim itself.
    pub from: Option<VerifiedStatus>,
    pub to: VerifiedStatus,
    /// A stable code for the cause.
    pub cause: EventCause,
    /// The cause in one sentence.
    pub message: String,
    /// The records concerned: expected and found values, and the server.
    #[schema(value_type = Vec<Object>)]
    pub records: Value,
}

impl From<CheckRow> for DomainCheck {
    fn from(row: CheckRow) -> Self {
        Self { number: row.number, checked_at: row.at, verified_status: row.status, records: row.records }
    }
}

impl From<EventRow> for DomainEvent {
    fn from(row: EventRow) -> Self {
        let EventRow { number, at, from, to, cause, records } = row;
        let first = |pointer: &str| records.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let message = match cause {
            EventCause::Created => "The domain was claimed.".to_owned(),
            EventCause::AllRight => "Every required record was valid.".to_owned(),
            EventCause::VerifyRequested => "Its owner requested a new verification.".to_owned(),
            EventCause::RecordsGone => {
                format!("Records of this claim are not in the DNS any more: {}.", faulty(&records).join(", "))
            }
            EventCause::WindowOver => format!("The window was over, and {}.", first("/0/error/message")),
            EventCause::GraceOver => format!("The grace period was over, and still {}.", first("/0/error/message")),
        };
        Self { number, at, from, to, cause, message, records }
    }
}

/// Names and types of the definitely faulty records.
fn faulty(records: &Value) -> Vec<&str> {
    let all = records.as_array().map(Vec::as_slice).unwrap_or_default().iter();
    let gone = all.filter(|record| matches!(word(record, "status"), Some("missing" | "mismatch")));
    gone.filter_map(|record| word(record, "record")).collect()
}

fn word<'a>(record: &'a Value, field: &str) -> Option<&'a str> {
    record.get(field).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_missing_records_are_named() {
        let record = |name: &str, status: &str| json!({"record": name, "status": status, "error": {"message": "m"}});
        let row = EventRow {
            number: 3,
            at: Timestamp::real(),
            from: Some(VerifiedStatus::Verified),
            to: VerifiedStatus::Failed,
            cause: EventCause::RecordsGone,
            records: json!([
                record("t1._domainkey.acme.com CNAME", "valid"),
                record("_inboxlayer.acme.com TXT", "missing")
            ]),
        };
        let event = DomainEvent::from(row);
        assert_eq!(event.message, "Records of this claim are not in the DNS any more: _inboxlayer.acme.com TXT.");
        assert_eq!(serde_json::to_value(event).unwrap()["cause"], "records_gone");
    }
}
