//! Bodies of webhooks in the store: compressed, once for all subscriptions of an account, and without the event's number, which it
//! gets when it is stored.
//!
//! Invariant: a stored body gives the same octets each time it is read.

use crate::store::StoreError;
use crate::store::engine::Row;
use std::io;

/// Of zstd. An email has its text in an event more than once, with other line ends, which levels 1 and 2 do not find.
const LEVEL: i32 = 3;

/// An event as JSON, without its number.
#[derive(Clone, Debug)]
pub struct Body(Vec<u8>);

#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("cannot write an event as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot compress an event: {0}")]
    Compress(#[from] io::Error),
}

impl Body {
    /// From an object that is not empty.
    pub fn new(object: &impl serde::Serialize) -> Result<Self, BodyError> {
        Ok(Self(zstd::bulk::compress(&serde_json::to_vec(object)?, LEVEL)?))
    }

    /// As it is stored.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// A body with its number, as it is stored.
#[derive(Clone, Debug)]
pub struct StoredBody {
    octets: Vec<u8>,
    /// Before bodies were compressed, they had their numbers.
    is_packed: bool,
    sequence: i64,
}

impl StoredBody {
    /// From the columns `body`, `is_packed` and `sequence`, from `first` on.
    pub(super) fn from_columns(row: &Row<'_>, first: usize) -> Result<Self, StoreError> {
        Ok(Self { octets: row.get(first)?, is_packed: row.get(first + 1)?, sequence: row.get(first + 2)? })
    }

    /// What is sent.
    pub fn json(&self) -> io::Result<Vec<u8>> {
        if !self.is_packed {
            return Ok(self.octets.clone());
        }
        let mut json = zstd::stream::decode_all(self.octets.as_slice())?;
        if json.pop() != Some(b'}') {
            return Err(io::Error::other("the stored body of an event is not an object"));
        }
        json.extend_from_slice(format!(",\"sequence\":{}}}", self.sequence).as_bytes());
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_becomes_the_last_member() {
        let body = Body::new(&serde_json::json!({"id": "evt_1", "data": {}})).unwrap();
        let stored = StoredBody { octets: body.octets().to_vec(), is_packed: true, sequence: 7 };
        let sent: serde_json::Value = serde_json::from_slice(&stored.json().unwrap()).unwrap();
        assert_eq!(sent, serde_json::json!({"id": "evt_1", "data": {}, "sequence": 7}));
        let old = StoredBody { octets: b"{\"sequence\":5}".to_vec(), is_packed: false, sequence: 5 };
        assert_eq!(old.json().unwrap(), b"{\"sequence\":5}");
    }
}
