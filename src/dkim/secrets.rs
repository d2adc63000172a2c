//! Secrets shared with others, which have to be read again: sealed in the store. Invariant: a copy of the database alone does not
//! show them, and one that is moved to another row cannot be opened.

use super::seal::{Seal, SealError};
use crate::secret::Secret;

/// Clones share the sealing key.
#[derive(Clone, Debug)]
pub struct Secrets(Seal);

impl Secrets {
    pub(super) fn new(seal: Seal) -> Self {
        Self(seal)
    }

    /// Seals a secret for the row that `context` names.
    pub fn seal(&self, context: &str, secret: &str) -> Result<Vec<u8>, SealError> {
        self.0.seal(context, secret.as_bytes())
    }

    /// Opens what was sealed for the same context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Secret, SealError> {
        let plain = self.0.open_sealed(context, sealed)?;
        std::str::from_utf8(&plain).map(Secret::new).map_err(|_| SealError::DoesNotOpen)
    }
}
