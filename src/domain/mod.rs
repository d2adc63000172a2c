//! Custom domains: which records one needs, what observed records mean, and what that does to its status.
//!
//! Invariant: nothing here does I/O; only definite answers can change a status.

pub mod observed;
pub mod status;
