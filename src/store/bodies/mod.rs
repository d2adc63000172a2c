//! The bodies of messages: named by their hash, stored once, in compressed frames.
//!
//! Invariant: what is read of a body has been compared with its hash; octets that do not match are an error that names the
//! body, and are never served. See docs/decisions/0015-bodies-by-hash.md.

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
pub(super) use put::Unnamed;
pub(crate) use rows::{NewBody, Piece};
pub(super) use rows::{insert, read, release, whole};

use super::{Store, StoreError};
use bytes::Bytes;

/// A larger body is encoded on a thread of its own: encoding takes some milliseconds for a mebibyte.
const INLINE: usize = 256 * 1024;

#[cfg(feature = "cluster")]
impl Store {
    /// Bodies are kept in this object store from now on. For the start: a second one is not taken.
    pub(crate) fn keep_bodies_in(&self, objects: objects::Objects) {
        let _ = self.inner.objects.set(objects);
    }

    fn objects(&self) -> Option<&objects::Objects> {
        self.inner.objects.get()
    }
}

impl Store {
    /// Brings a body into its stored form, and into the object store where bodies are kept in one: it is durable there before a
    /// transaction names it.
    pub(crate) async fn prepare_body(&self, body: Bytes) -> Result<NewBody, StoreError> {
        let encoded = if body.len() <= INLINE {
            format::encode(&body)
        } else {
            let encoded = tokio::task::spawn_blocking(move || format::encode(&body)).await;
            encoded.map_err(|error| StoreError::Aborted(format!("a body was not encoded: {error}")))?
        };
        #[cfg(feature = "cluster")]
        if let Some(objects) = self.objects() {
            let name = name::ObjectName::new(&encoded.info.hash);
            let object = put::NewObject::new(name, self.inner.unnamed.clone());
            objects.put(object.name(), &encoded).await?;
            return Ok(NewBody { encoded, object: Some(object) });
        }
        Ok(NewBody { encoded, object: None })
    }

    /// The octets of a body that a transaction has read, or says where to read.
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
