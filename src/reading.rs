//! Stored messages are read here: taken apart, shown, searched.
//!
//! Invariant: every parse of a stored message goes through [`Reading::read`], so that it keeps to the limits of
//! `[limits]`, and has its turn among others in the pool for heavy work.

use crate::config::Config;
use crate::message::ReadLimits;
use crate::resources::Owner;
use crate::resources::work::{Cancelled, WorkBudget, WorkError, WorkPool};

/// The service; clones share it.
#[derive(Clone, Debug)]
pub struct Reading {
    work: WorkPool,
    limits: ReadLimits,
}

impl Reading {
    /// Reads in this pool.
    pub fn new(config: &Config, work: WorkPool) -> Self {
        let limits = &config.limits;
        let limits = ReadLimits {
            nesting: limits.message_nesting,
            parts: limits.message_parts,
            header_size: limits.message_header_size,
            fields: limits.message_fields,
        };
        Self { work, limits }
    }

    /// What is read of a message.
    pub fn limits(&self) -> ReadLimits {
        self.limits
    }

    /// The pool, for heavy work on what is not stored.
    pub fn work(&self) -> &WorkPool {
        &self.work
    }

    /// Reads messages of so many octets together, on behalf of `owner`. Dropping the future cancels it.
    pub async fn read<T, F>(&self, owner: &Owner, octets: usize, read: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce(&ReadLimits, &WorkBudget) -> Result<T, Cancelled> + Send + 'static,
    {
        let limits = self.limits;
        self.work.run(owner, octets, move |budget| read(&limits, budget)).await
    }
}
