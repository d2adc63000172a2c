//! What checks found, kept once: most checks of a domain find what the one before found, but for the times.
//!
//! Invariant: what is put together again is what was taken apart. The times (what is left of each TTL, and until when
//! caches remember) differ from check to check and are stored with the check; everything else is identified by its digest.
//! Both are kept deflated: servers say the same over and over.

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

/// Octets of the digest that are kept: enough to tell a domain's own checks apart.
const DIGEST: usize = 16;

/// The records of a check, taken apart.
#[derive(Debug)]
pub(super) struct Parts {
    /// Tells `found` from everything else that was found of the domain.
    pub(super) digest: Vec<u8>,
    /// The records without their times.
    pub(super) found: String,
    /// The times, in the order of their places.
    pub(super) times: String,
}

impl Parts {
    /// Of the records as they are shown.
    pub(super) fn of(records: &[DomainRecord]) -> Self {
        let mut records = json!(records);
        let times: Vec<Value> = places(&mut records).into_iter().map(Value::take).collect();
        for record in all(&mut records) {
            record.insert("checked_at".into(), Value::Null);
        }
        let found = records.to_string();
        let digest = digest(&SHA256, found.as_bytes()).as_ref().iter().copied().take(DIGEST).collect();
        Self { digest, found, times: json!(times).to_string() }
    }
}

/// The records of a check at that time, as they were shown.
pub(super) fn whole(found: &str, times: &str, at: Timestamp) -> Result<Value, StoreError> {
    let mut records: Value = serde_json::from_str(found).map_err(corrupt)?;
    let times: Vec<Value> = serde_json::from_str(times).map_err(corrupt)?;
    for (place, time) in places(&mut records).into_iter().zip(times) {
        *place = time;
    }
    for record in all(&mut records) {
        record.insert("checked_at".into(), json!(at));
    }
    Ok(records)
}

fn all(records: &mut Value) -> impl Iterator<Item = &mut serde_json::Map<String, Value>> {
    records.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The fields that hold times.
fn places(records: &mut Value) -> Vec<&mut Value> {
    let mut places = Vec::new();
    for (field, value) in all(records).flatten() {
        match (field.as_str(), value) {
            ("evidence", Value::Array(entries)) => {
                places.extend(entries.iter_mut().filter_map(|entries| entries.get_mut("ttl")))
            }
            // Its message counts the seconds.
            ("error", Value::Object(error)) if error.contains_key("expected_visible_at") => {
                let of_time = |field: &str| matches!(field, "message" | "expected_visible_at");
                places.extend(error.iter_mut().filter(|(field, _)| of_time(field)).map(|(_, value)| value));
            }
            _ => {}
        }
    }
    places
}

pub(super) fn pack(text: &str) -> Result<Vec<u8>, StoreError> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).map_err(unreadable)
}

pub(super) fn unpack(packed: &[u8]) -> Result<String, StoreError> {
    let mut text = String::new();
    DeflateDecoder::new(packed).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn unreadable(error: std::io::Error) -> StoreError {
    StoreError::Corrupt(format!("history of a domain: {error}"))
}
