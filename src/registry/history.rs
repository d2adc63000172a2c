//! What happened to a domain, as it is shown.

use crate::clock::Timestamp;
use crate::domain::status::VerifiedStatus;
use crate::store::history::{CheckRow, EventRow};
use serde::Serialize;
use serde_json::Value;

/// A check; its `Serialize` is its JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainCheck {
    /// Its number among the checks of the domain.
    pub number: u32,
    /// When it settled.
    pub checked_at: Timestamp,
    /// The status of the domain after it.
    pub verified_status: VerifiedStatus,
    /// The records as they were found.
    pub records: Value,
}

/// A change of status; its `Serialize` is its JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainEvent {
    /// Its number among the changes of the domain.
    pub number: u32,
    /// When.
    pub at: Timestamp,
    /// The status before; none for the claim itself.
    pub from: Option<VerifiedStatus>,
    /// The status after.
    pub to: VerifiedStatus,
    /// A stable word for the cause.
    pub cause: String,
    /// The cause in one sentence.
    pub message: String,
    /// What was expected of the records concerned, what was found, and at which server.
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
        let message = match cause.as_str() {
            "created" => "The domain was claimed.".to_owned(),
            "all_right" => "Every required record was right.".to_owned(),
            "asked" => "Its owner asked for a new verification.".to_owned(),
            "records_gone" => "The DKIM records of this claim are not in the DNS any more.".to_owned(),
            "window_over" => format!("The window was over, and {}.", first("/0/error/message")),
            "grace_over" => format!("The time of grace was over, and still {}.", first("/0/error/message")),
            _ => String::new(),
        };
        Self { number, at, from, to, cause, message, records }
    }
}
