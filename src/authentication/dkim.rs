//! DKIM: keys, and signing. (stub: owner keys)
//!
//! RFC 6376; oversigning §5.4.2.

use crate::identity::SendIdentity;
use crate::store::{Store, StoreError};

/// Signing was not possible.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no key yet (it is being made): temporary.
    #[error("no signing key is ready for {0}")]
    NoKey(String),
    /// The key or the message could not be used.
    #[error("signing failed: {0}")]
    Crypto(String),
}

/// Signs mail by identity; clones share parsed keys.
#[derive(Clone, Debug)]
pub struct Signer {
    store: Store,
}

impl Signer {
    /// The `DKIM-Signature` field for a message, with its CRLF, to stand before the header block. `header` ends with the
    /// empty line. Runs off the async threads.
    pub async fn sign(&self, identity: &SendIdentity, header: &[u8], body: &[u8]) -> Result<Vec<u8>, SignError> {
        let _ = (&self.store, identity, header, body);
        todo!("owner: keys")
    }
}
