//! Reads stored messages: parsing, display, search. Invariant: every parse of a stored message goes through
//! [`Reading::read`], which applies `[limits]`, runs it in the pool for heavy work with fair scheduling, and records
//! the message while it is parsed, so that a message that aborts the daemon is opaque text after the next start.

use crate::config::{Config, Limits};
use crate::id::ContentId;
use crate::message::ReadLimits;
use crate::resources::Owner;
use crate::resources::reading::{Parser, ReadingLog};
use crate::resources::work::{Cancelled, WorkBudget, WorkError, WorkPool};

#[derive(Clone, Debug)]
pub struct Reading {
    work: WorkPool,
    limits: ReadLimits,
    log: ReadingLog,
}

/// Reads one message after another.
#[derive(Debug)]
pub struct Reader<'a> {
    limits: ReadLimits,
    parser: Parser<'a>,
}

/// What may be parsed of a message.
#[derive(Clone, Copy, Debug)]
pub struct Readable {
    /// Nothing is parsed if it is set aside.
    pub limits: ReadLimits,
    /// The daemon aborted while parsing the message.
    pub is_set_aside: bool,
}

impl Reader<'_> {
    /// True if the daemon aborted while parsing the message.
    pub fn sets_aside(&self, content: ContentId) -> bool {
        self.parser.sets_aside(content)
    }

    /// Starts a message.
    pub fn begin(&self, content: ContentId) -> Readable {
        match self.parser.begin(content) {
            Ok(()) => Readable { limits: self.limits, is_set_aside: false },
            Err(_) => Readable { limits: ReadLimits::NOTHING, is_set_aside: true },
        }
    }
}

impl From<&Limits> for ReadLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            nesting: limits.message_nesting,
            parts: limits.message_parts,
            header_size: limits.message_header_size,
            fields: limits.message_fields,
        }
    }
}

impl Reading {
    /// Runs in this pool, and records the messages being parsed.
    pub fn new(config: &Config, work: WorkPool, log: ReadingLog) -> Self {
        Self { work, limits: ReadLimits::from(&config.limits), log }
    }

    /// The pool, for heavy work on data that is not stored.
    pub fn work(&self) -> &WorkPool {
        &self.work
    }

    /// Reads messages with this many octets in total, on behalf of `owner`. Dropping the future cancels the work.
    pub async fn read<T, F>(&self, owner: &Owner, octets: usize, read: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>, &WorkBudget) -> Result<T, Cancelled> + Send + 'static,
    {
        let (limits, log) = (self.limits, self.log.clone());
        self.work.run(owner, octets, move |budget| read(&Reader { limits, parser: log.parser() }, budget)).await
    }
}
