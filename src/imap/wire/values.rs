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
    /// Its ranges; none of a saved result.
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

impl PartialRange {
    /// The part of the results.
    pub fn of<T>(self, results: &[T]) -> &[T] {
        let index = |number: NonZeroU32| usize::try_from(number.get()).unwrap_or(usize::MAX);
        let (Self::FromFirst(a, b) | Self::FromLast(a, b)) = self;
        let (first, last) = (index(a.min(b)) - 1, index(a.max(b)).min(results.len()));
        let range = match self {
            Self::FromFirst(..) => first..last,
            Self::FromLast(..) => results.len() - last..results.len().saturating_sub(first),
        };
        results.get(range).unwrap_or_default()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_results_is_counted_from_either_end() {
        let number = |number| NonZeroU32::new(number).unwrap();
        let of_first = |a, b| PartialRange::FromFirst(number(a), number(b)).of(&[1, 2, 3, 4, 5]).to_vec();
        let of_last = |a, b| PartialRange::FromLast(number(a), number(b)).of(&[1, 2, 3, 4, 5]).to_vec();
        assert_eq!((of_first(1, 2), of_first(5, 4), of_first(4, 99)), (vec![1, 2], vec![4, 5], vec![4, 5]));
        assert_eq!((of_last(1, 2), of_last(5, 4), of_last(4, 99)), (vec![4, 5], vec![1, 2], vec![1, 2]));
        assert!(of_first(6, 9).is_empty() && of_last(6, 9).is_empty());
        assert!(PartialRange::FromLast(number(1), number(u32::MAX)).of::<u32>(&[]).is_empty());
    }
}
