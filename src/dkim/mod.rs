//! DKIM: the keys that customers' CNAMEs point to, the platform's own key, and signing. Invariant: private keys are in
//! plaintext only in memory; the store holds them sealed ([`seal`]). Every token of a claim eventually has a key: each
//! start generates the missing ones. RFC 6376; key size RFC 8301 §3.2.

mod canonical;
mod confirmed;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/dkim.rs"]
pub(crate) mod fuzz;
mod keys;
mod links;
mod making;
mod own_signature;
mod provider;
mod seal;
mod secrets;
#[cfg(feature = "ses")]
pub mod ses;
mod signer;

pub use confirmed::Confirmed;
pub use keys::{Keys, KeysError};
pub use links::Links;
pub use own_signature::is_signed_by;
pub use provider::{Fresh, Provider, ProviderError};
pub use seal::SealError;
pub use secrets::Secrets;
pub use signer::{SignError, Signer};
