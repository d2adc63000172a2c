//! Deduplication of evidence: most checks of a domain find the same as the previous one, except for times.
//!
//! Invariant: [`join`] restores what [`Parts::of`] has split. The times (remaining TTLs, and the expected end of negative
//! caching) differ between checks and are stored with the check; the rest is stored once and identified by its digest. Both are
//! compressed (deflate).

use super::corrupt;
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::verification::report::DomainRecord;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::io::{Read, Write};

/// SHA-256 is truncated to this length: collisions matter only within a domain.
const DIGEST_LENGTH: usize = 16;

/// The records of a check, split.
#[derive(Debug)]
pub(super) struct Parts {
    /// Of `found`.
    pub(super) digest: Vec<u8>,
    /// The records without times, as JSON.
    pub(super) found: String,
    /// The times in the order of [`time_fields`], as JSON.
    pub(super) times: String,
}

impl Parts {
    pub(super) fn of(records: &[DomainRecord]) -> Self {
        let mut records = json!(records);
        let times: Vec<Value> = time_fields(&mut records).into_iter().map(Value::take).collect();
        for record in all(&mut records) {
            record.insert("checked_at".into(), Value::Null);
        }
        let found = records.to_string();
        let digest = digest(&SHA256, found.as_bytes()).as_ref().iter().copied().take(DIGEST_LENGTH).collect();
        Self { digest, found, times: json!(times).to_string() }
    }
}

/// Restores the records of the check at `at`.
pub(super) fn join(found: &str, times: &str, at: Timestamp) -> Result<Value, StoreError> {
    let mut records: Value = serde_json::from_str(found).map_err(corrupt)?;
    let times: Vec<Value> = serde_json::from_str(times).map_err(corrupt)?;
    for (field, time) in time_fields(&mut records).into_iter().zip(times) {
        *field = time;
    }
    for record in all(&mut records) {
        record.insert("checked_at".into(), json!(at));
    }
    Ok(records)
}

fn all(records: &mut Value) -> impl Iterator<Item = &mut serde_json::Map<String, Value>> {
    records.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
}

fn time_fields(records: &mut Value) -> Vec<&mut Value> {
    let mut fields = Vec::new();
    for (field, value) in all(records).flatten() {
        match (field.as_str(), value) {
            ("evidence", Value::Array(entries)) => {
                fields.extend(entries.iter_mut().filter_map(|entries| entries.get_mut("ttl")))
            }
            // The message contains the remaining seconds.
            ("error", Value::Object(error)) if error.contains_key("expected_visible_at") => {
                let of_time = |field: &str| matches!(field, "message" | "expected_visible_at");
                fields.extend(error.iter_mut().filter(|(field, _)| of_time(field)).map(|(_, value)| value));
            }
            _ => {}
        }
    }
    fields
}

pub(super) fn compress(text: &str) -> Result<Vec<u8>, StoreError> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).map_err(corrupt_data)
}

pub(super) fn decompress(compressed: &[u8]) -> Result<String, StoreError> {
    let mut text = String::new();
    DeflateDecoder::new(compressed).read_to_string(&mut text).map_err(corrupt_data)?;
    Ok(text)
}

fn corrupt_data(error: std::io::Error) -> StoreError {
    StoreError::Corrupt(format!("history of a domain: {error}"))
}
