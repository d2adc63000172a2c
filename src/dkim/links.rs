//! Links that work without a token until their end: what they lead to, sealed. Invariant: without the sealing key none can be made or
//! changed.

use super::seal::{Seal, SealError};
use crate::clock::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What links are sealed for, so that they cannot be taken for sealed keys.
const PURPOSE: &str = "link";

#[derive(Clone, Debug)]
pub struct Links(Seal);

impl Links {
    pub(super) fn new(seal: Seal) -> Self {
        Self(seal)
    }

    /// A link to `target`, as part of a URL.
    pub fn make(&self, target: &str, end: Timestamp) -> Result<String, SealError> {
        let plain = format!("{} {target}", end.millis());
        Ok(URL_SAFE_NO_PAD.encode(self.0.seal(PURPOSE, plain.as_bytes())?))
    }

    /// The target of a link that has not ended.
    pub fn target(&self, link: &str, now: Timestamp) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(link).ok()?;
        let plain = self.0.open_sealed(PURPOSE, &sealed).ok()?;
        let (end, target) = std::str::from_utf8(&plain).ok()?.split_once(' ')?;
        let is_open = now < Timestamp::from_millis(end.parse().ok()?);
        is_open.then(|| target.to_owned())
    }
}
