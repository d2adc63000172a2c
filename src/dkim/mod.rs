//! DKIM: the keys customers' CNAMEs lead to, the platform's own key, and signing with them.
//!
//! Invariant: a private key exists in the clear only in memory; what the store holds is sealed ([`seal`]). A token once
//! given to a claim gets its key sooner or later, whatever crashes between: the start makes what is missing.
//!
//! RFC 6376; key size RFC 8301 §3.2.

mod canonical;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/dkim.rs"]
pub(crate) mod fuzz;
mod keys;
mod making;
mod own_signature;
mod provider;
mod seal;
#[cfg(feature = "ses")]
pub mod ses;
mod signer;

pub use keys::{Keys, KeysError};
pub use own_signature::is_signed_by;
pub use provider::{Confirmed, Fresh, Provider, ProviderError};
pub use seal::SealError;
pub use signer::{SignError, Signer};
