//! The bodies of messages: identified by their hash, stored once, in compressed frames.
//!
//! Invariant: octets of a body are returned only after they were verified against its hash; octets that do not match are an
//! error. See docs/decisions/0015-bodies-by-hash.md.

pub(crate) mod format;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/targets/bodies.rs"]
pub(crate) mod fuzz;
pub(crate) mod name;
#[cfg(feature = "cluster")]
pub(crate) mod objects;
mod put;
mod rows;
mod sweep;
#[cfg(all(test, feature = "cluster"))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use put::NewObject;
#[cfg(feature = "cluster")]
pub(super) use put::Unreferenced;
pub(crate) use rows::{NewBody, Piece};
pub(super) use rows::{insert, read, release, whole};

use super::{Store, StoreError};
use bytes::Bytes;

/// A larger body is encoded and decoded on a blocking thread, since that takes some milliseconds per mebibyte.
const MAX_INLINE: usize = 256 * 1024;

#[cfg(feature = "cluster")]
impl Store {
    /// Stores bodies in this object store from now on. To be called once, at startup; later calls have no effect.
    pub(crate) fn keep_bodies_in(&self, objects: objects::Objects) {
        let _ = self.inner.objects.set(objects);
    }

    fn objects(&self) -> Option<&objects::Objects> {
        self.inner.objects.get()
    }
}

impl Store {
    /// Encodes a body and, if an object store is configured, puts it there: the object is durable before a transaction refers to
    /// it.
    pub(crate) async fn prepare_body(&self, body: Bytes) -> Result<NewBody, StoreError> {
        let encoded = if body.len() <= MAX_INLINE {
            format::encode(&body)
        } else {
            let encoded = tokio::task::spawn_blocking(move || format::encode(&body)).await;
            encoded.map_err(|error| StoreError::Aborted(format!("encoding a body was aborted: {error}")))?
        };
        #[cfg(feature = "cluster")]
        if let Some(objects) = self.objects() {
            let name = name::ObjectName::new(&encoded.info.hash);
            let object = put::NewObject::new(name, self.inner.unreferenced.clone());
            objects.put(object.name(), &encoded).await?;
            return Ok(NewBody { encoded, object: Some(object) });
        }
        Ok(NewBody { encoded, object: None })
    }

    /// Returns the octets that a transaction has read, or reads them from the object store.
    pub(crate) async fn fetch_body(&self, piece: Piece) -> Result<Vec<u8>, StoreError> {
        match piece {
            Piece::Octets(octets) => Ok(octets),
            Piece::Damaged(damage) => Err(damage.into()),
            #[cfg(feature = "cluster")]
            Piece::Object(name, info, range) => match self.objects() {
                Some(objects) => Ok(objects.read(&name, &info, range).await?),
                None => Err(StoreError::NoObjectStore(name.to_string())),
            },
            #[cfg(not(feature = "cluster"))]
            Piece::Object(name, ..) => Err(StoreError::NoObjectStore(name.to_string())),
        }
    }
}
