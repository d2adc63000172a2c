//! A place in the event log.

use std::fmt;
use std::str::FromStr;

/// A place in the log between two events: a reader has read all events up to it. Its text is opaque to clients.
///
/// The log is ordered by position, then by number. The position grows with the order in which transactions begin; below the log's
/// settled end none is still to be committed ([`crate::store::events`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub position: i64,
    /// Of the row: unique.
    pub number: i64,
}

/// The text is no cursor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a cursor of the event log: use one that the server has sent")]
pub struct NotACursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.position, self.number)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (position, number) = text.split_once('-').ok_or(NotACursor)?;
        let read = |digits: &str| match digits.bytes().all(|b| b.is_ascii_digit()) {
            true => digits.parse().map_err(|_| NotACursor),
            false => Err(NotACursor),
        };
        Ok(Self { position: read(position)?, number: read(number)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = Cursor { position: 281_474_976_710_656, number: i64::MAX };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert_eq!("0-0".parse(), Ok(Cursor::default()));
        for wrong in ["", "-", "1", "1-", "-1", "+1-2", "1--2", "1-2-3", "9223372036854775808-0"] {
            assert_eq!(wrong.parse::<Cursor>(), Err(NotACursor), "{wrong}");
        }
    }
}
