//! Custom domains: which records one needs, what observed records mean, and what that does to its status.
//!
//! Invariant: nothing here does I/O; only definite answers can change a status.

pub mod alignment;
pub mod bounds;
pub mod event;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/domain.rs"]
pub(crate) mod fuzz;
pub mod judge;
pub mod observed;
pub mod provider;
pub mod reconcile;
pub mod records;
pub mod report;
pub mod rotation;
pub mod share;
pub mod spf;
pub mod status;
pub mod tag_list;
pub mod zone_file;
