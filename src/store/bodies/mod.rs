//! The bodies of messages: named by their hash, stored once, in compressed frames.
//!
//! Invariant: what is read of a body has been compared with its hash; octets that do not match are an error that names the
//! body, and are never served. See docs/decisions/0015-bodies-by-hash.md.

#[cfg(any(test, fuzzing))]
pub(crate) mod format;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/targets/bodies.rs"]
pub(crate) mod fuzz;
#[cfg(all(test, feature = "cluster"))]
pub(crate) mod name;
#[cfg(all(test, feature = "cluster"))]
pub(crate) mod objects;
#[cfg(all(test, feature = "cluster"))]
pub(crate) mod testing;
