//! The terminals that several commands have: sets, dates, flags, names. RFC 9051 §9, RFC 3501 §9.

use super::parser::{Parser, Read, is_astring_char, is_atom_char};
use super::values::{Flag, Mailbox, MessageNumber, NumberRanges, PartialRange, SequenceSet};
use jiff::civil::{Date, Time};
use jiff::{Timestamp, tz::Offset};

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

impl Parser<'_> {
    pub fn mailbox(&mut self) -> Read<Mailbox> {
        self.astring("a mailbox name").map(|name| Mailbox(name.into_owned()))
    }

    /// A space, then the name of a mailbox.
    pub fn space_and_mailbox(&mut self) -> Read<Mailbox> {
        self.space()?;
        self.mailbox()
    }

    /// `list-mailbox`: a name with wildcards.
    pub fn pattern(&mut self) -> Read<Vec<u8>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string("a mailbox pattern").map(|pattern| pattern.into_owned()),
            _ => {
                let is_list_char = |octet| is_astring_char(octet) || matches!(octet, b'%' | b'*');
                self.one_or_more(is_list_char, "a mailbox pattern").map(|pattern| pattern.as_bytes().to_vec())
            }
        }
    }

    pub fn message_number(&mut self) -> Read<MessageNumber> {
        match self.eat(b'*') {
            true => Ok(MessageNumber::Last),
            false => self.nz_number("a message number").map(MessageNumber::Value),
        }
    }

    /// Also `$`, alone.
    pub fn sequence_set(&mut self) -> Read<SequenceSet> {
        if self.eat(b'$') {
            return Ok(SequenceSet::Saved);
        }
        self.ranges(Self::message_number).map(SequenceSet::Ranges)
    }

    /// A set without `*` (RFC 7162 §7, `known-uids`).
    pub fn number_ranges(&mut self) -> Read<NumberRanges> {
        self.ranges(|parser| parser.nz_number("a message number"))
    }

    fn ranges<T: Copy>(&mut self, number: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<(T, T)>> {
        let mut ranges = Vec::new();
        loop {
            let first = number(self)?;
            ranges.push((first, if self.eat(b':') { number(self)? } else { first }));
            if !self.eat(b',') {
                return Ok(ranges);
            }
        }
    }

    /// RFC 9394 §6, `partial-range`.
    pub fn partial_range(&mut self) -> Read<PartialRange> {
        let from_last = self.eat(b'-');
        let first = self.nz_number("a range")?;
        self.octet(b':')?;
        if from_last {
            self.octet(b'-')?;
        }
        let last = self.nz_number("a range")?;
        Ok(if from_last { PartialRange::FromLast(first, last) } else { PartialRange::FromFirst(first, last) })
    }

    /// `date`: `1-Feb-1994`, with or without quotes.
    pub fn date(&mut self) -> Read<Date> {
        let is_quoted = self.eat(b'"');
        let day = self.digits(1, 2)?;
        let date = self.month_and_year(day)?;
        if is_quoted {
            self.octet(b'"')?;
        }
        Ok(date)
    }

    /// `date-time`: `"17-Jul-1996 02:44:25 -0700"`. The second may be 60.
    pub fn date_time(&mut self) -> Read<Timestamp> {
        self.octet(b'"')?;
        let day = if self.eat(b' ') { self.digits(1, 1)? } else { self.digits(2, 2)? };
        let date = self.month_and_year(day)?;
        self.space()?;
        let hour = self.digits(2, 2)?;
        self.octet(b':')?;
        let minute = self.digits(2, 2)?;
        self.octet(b':')?;
        let second = self.digits(2, 2)?;
        self.space()?;
        let is_west = self.eat(b'-');
        if !is_west {
            self.octet(b'+')?;
        }
        let (hours, minutes) = (self.digits(2, 2)?, self.digits(2, 2)?);
        self.octet(b'"')?;
        let time = small(hour).zip(small(minute)).zip(small(if second == 60 { 59 } else { second }));
        let time = time.and_then(|((hour, minute), second)| Time::new(hour, minute, second, 0).ok());
        let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
        let offset = Offset::from_seconds(if is_west { -seconds } else { seconds }).ok().filter(|_| seconds < 86_400);
        let at = time.zip(offset).and_then(|(time, offset)| offset.to_timestamp(date.to_datetime(time)).ok());
        at.ok_or_else(|| self.error("no such date and time"))
    }

    fn month_and_year(&mut self, day: u16) -> Read<Date> {
        self.octet(b'-')?;
        let name = self.one_or_more(|octet| octet.is_ascii_alphabetic(), "a month")?;
        let Some(month) = MONTHS.iter().position(|known| name.eq_ignore_ascii_case(known)) else {
            return Err(self.unknown("month", name.as_bytes()));
        };
        self.octet(b'-')?;
        let year = self.digits(4, 4)?;
        let month = u16::try_from(month).ok().and_then(|month| small(month.saturating_add(1)));
        let date = i16::try_from(year).ok().zip(month).zip(small(day));
        let date = date.and_then(|((year, month), day)| Date::new(year, month, day).ok());
        date.ok_or_else(|| self.error("no such date"))
    }

    pub fn flag(&mut self) -> Read<Flag> {
        if !self.eat(b'\\') {
            return self.atom("a flag").map(|keyword| Flag::Keyword(keyword.to_owned()));
        }
        let name = self.one_or_more(is_atom_char, "a flag")?;
        Ok(match name.to_ascii_uppercase().as_str() {
            "ANSWERED" => Flag::Answered,
            "DELETED" => Flag::Deleted,
            "DRAFT" => Flag::Draft,
            "FLAGGED" => Flag::Flagged,
            "SEEN" => Flag::Seen,
            _ => Flag::OtherSystem(name.to_owned()),
        })
    }
}

fn small(number: u16) -> Option<i8> {
    i8::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::super::parser::tests::read;
    use super::*;
    use std::num::NonZeroU32;

    fn set(text: &str) -> Option<SequenceSet> {
        read(text, false, |parser| parser.sequence_set()).ok()
    }

    #[test]
    fn sets_are_read() {
        use MessageNumber::{Last, Value};
        let value = |number| Value(NonZeroU32::new(number).unwrap());
        let expected = vec![(value(1), value(1)), (value(5), value(2)), (Last, value(7)), (Last, Last)];
        assert_eq!(set("1,5:2,*:7,*"), Some(SequenceSet::Ranges(expected)));
        assert_eq!(set("$"), Some(SequenceSet::Saved));
        for bad in ["", "0", "1:", "1,", ",1", "1:0", "4294967296", "1:2:3", "$,1", "1,$", "a", "1 ,2", "-1"] {
            assert_eq!(set(bad), None, "{bad}");
        }
        assert!(read("1:*", false, |parser| parser.number_ranges()).is_err());
        assert_eq!(read("41,43:116", false, |parser| parser.number_ranges()).unwrap().len(), 2);
    }

    #[test]
    fn partial_ranges_count_from_one_end() {
        let range = |text| read(text, false, |parser| parser.partial_range()).ok();
        let (one, two) = (NonZeroU32::MIN, NonZeroU32::new(2).unwrap());
        assert_eq!(range("1:2"), Some(PartialRange::FromFirst(one, two)));
        assert_eq!(range("-1:-2"), Some(PartialRange::FromLast(one, two)));
        for bad in ["1", "-1:2", "1:-2", "0:1", "1:*"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_are_read() {
        let date = |text| read(text, false, |parser| parser.date()).ok().map(|date| date.to_string());
        for good in ["1-Feb-1994", "01-FEB-1994", "\"1-feb-1994\""] {
            assert_eq!(date(good).as_deref(), Some("1994-02-01"), "{good}");
        }
        for bad in
            ["", "1-Feb-94", "32-Jan-2000", "29-Feb-2001", "1-Foo-2000", "001-Jan-2000", "1-Jan-2000\"", "0-Jan-2000"]
        {
            assert_eq!(date(bad), None, "{bad}");
        }
        let at = |text| read(text, false, |parser| parser.date_time()).ok().map(|at| at.to_string());
        assert_eq!(at("\"17-Jul-1996 02:44:25 -0700\"").as_deref(), Some("1996-07-17T09:44:25Z"));
        assert_eq!(at("\" 7-Jul-1996 02:44:60 +0130\"").as_deref(), Some("1996-07-07T01:14:59Z"));
        for bad in [
            "\"7-Jul-1996 02:44:25 -0700\"",
            "\"17-Jul-1996 24:44:25 -0700\"",
            "\"17-Jul-1996 02:44:25 0700\"",
            "\"17-Jul-1996 02:44:25 +2400\"",
            "17-Jul-1996",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn flags_are_read() {
        let flag = |text| read(text, false, |parser| parser.flag()).ok();
        assert_eq!(flag("\\sEEN"), Some(Flag::Seen));
        assert_eq!(flag("\\Recent"), Some(Flag::OtherSystem("Recent".to_owned())));
        assert_eq!(flag("$Forwarded"), Some(Flag::Keyword("$Forwarded".to_owned())));
        for bad in ["", "\\", "\\*", "a]", "\"a\""] {
            assert_eq!(flag(bad), None, "{bad}");
        }
    }
}
