//! Stored messages are read here: taken apart, shown, searched.
//!
//! Invariant: every parse of a stored message goes through [`Reading::read`], so that it keeps to the limits of
//! `[limits]`, has its turn among others in the pool for heavy work, and is written down while it runs: a message that makes
//! the daemon abort is opaque text from the next start on.

use crate::config::Config;
use crate::id::ContentId;
use crate::message::ReadLimits;
use crate::resources::Owner;
use crate::resources::reading::{Parser, ReadingLog};
use crate::resources::work::{Cancelled, WorkBudget, WorkError, WorkPool};

/// The service; clones share it.
#[derive(Clone, Debug)]
pub struct Reading {
    work: WorkPool,
    limits: ReadLimits,
    log: ReadingLog,
}

/// Reads messages, one after another.
#[derive(Debug)]
pub struct Reader<'a> {
    limits: ReadLimits,
    parser: Parser<'a>,
}

/// What may be read of a message.
#[derive(Clone, Copy, Debug)]
pub struct Readable {
    /// Nothing, of one that is set aside.
    pub limits: ReadLimits,
    /// The daemon aborted while it read the message.
    pub is_set_aside: bool,
}

impl Reader<'_> {
    /// Begins with a message.
    pub fn begin(&self, content: ContentId) -> Readable {
        match self.parser.begin(content) {
            Ok(()) => Readable { limits: self.limits, is_set_aside: false },
            Err(_) => Readable { limits: ReadLimits::NOTHING, is_set_aside: true },
        }
    }
}

impl Reading {
    /// Reads in this pool, and writes down what it reads.
    pub fn new(config: &Config, work: WorkPool, log: ReadingLog) -> Self {
        let limits = &config.limits;
        let limits = ReadLimits {
            nesting: limits.message_nesting,
            parts: limits.message_parts,
            header_size: limits.message_header_size,
            fields: limits.message_fields,
        };
        Self { work, limits, log }
    }

    /// The pool, for heavy work on what is not stored.
    pub fn work(&self) -> &WorkPool {
        &self.work
    }

    /// Reads messages of so many octets together, on behalf of `owner`. Dropping the future cancels it.
    pub async fn read<T, F>(&self, owner: &Owner, octets: usize, read: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>, &WorkBudget) -> Result<T, Cancelled> + Send + 'static,
    {
        let (limits, log) = (self.limits, self.log.clone());
        self.work.run(owner, octets, move |budget| read(&Reader { limits, parser: log.parser() }, budget)).await
    }
}
