//! Values that several commands have: sets, ranges, flags, names.

use std::num::NonZeroU32;

/// The name of a mailbox as it was sent: modified UTF-7, or UTF-8 in quotes. `names` decodes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox(pub Vec<u8>);

/// A message's sequence number or UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageNumber {
    Value(NonZeroU32),
    /// `*`: the last message.
    Last,
}

/// Sequence numbers or UIDs (RFC 9051 §9, `sequence-set`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceSet {
    /// One or more, as they were sent: unordered, they may overlap, and the second number may be the smaller one.
    Ranges(Vec<(MessageNumber, MessageNumber)>),
    /// `$`: the result that SEARCH saved last (RFC 5182).
    Saved,
}

impl SequenceSet {
    /// Its ranges; none of a result, of which there is none while nothing is saved.
    pub fn ranges(&self) -> &[(MessageNumber, MessageNumber)] {
        match self {
            Self::Ranges(ranges) => ranges,
            Self::Saved => &[],
        }
    }
}

/// UIDs or sequence numbers without `*`, as they were sent.
pub type NumberRanges = Vec<(NonZeroU32, NonZeroU32)>;

/// A part of a list of results (RFC 9394).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialRange {
    /// Counted from the first; in any order.
    FromFirst(NonZeroU32, NonZeroU32),
    /// Counted from the last.
    FromLast(NonZeroU32, NonZeroU32),
}

/// A flag of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flag {
    Answered,
    Deleted,
    Draft,
    Flagged,
    Seen,
    /// A flag with a backslash that no client can set: `\Recent`, or an unknown one. Without the backslash.
    OtherSystem(String),
    /// As it was sent.
    Keyword(String),
}

/// A charset that SEARCH, SORT or THREAD names, as it was sent.
pub type Charset = String;
