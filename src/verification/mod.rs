//! Custom domains: the records they need, the judgement of observed records, and the resulting status. Invariant: no
//! I/O; only definite answers can change a status.

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
pub mod spf;
pub mod status;
pub mod tag_list;
pub mod zone_file;
