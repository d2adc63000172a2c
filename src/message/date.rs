//! The date of a Date field: RFC 5322 §3.3 and §4.3, and other orders and formats in use. Invariant: parsing is
//! bounded and never guesses a day: an impossible date is rejected. A time without a zone is UTC. Numbers with dots,
//! slashes or hyphens are day, month, year, unless a four-digit year comes first.

use super::fields::{Token, tokens};
use jiff::civil::{Date, DateTime, Time};

/// Maximum octets of a date field.
const LONGEST: usize = 1000;
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// A point in time with its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentDate {
    /// Local time.
    local: DateTime,
    /// Minutes east of Greenwich.
    offset: i32,
}

impl SentDate {
    /// Seconds since 1970, UTC.
    pub fn seconds(&self) -> i64 {
        let time = self.local.time();
        let [hour, minute, second] = [time.hour(), time.minute(), time.second()].map(i64::from);
        self.day() * 86_400 + hour * 3600 + minute * 60 + second - i64::from(self.offset) * 60
    }

    /// The day since 1970 in local time.
    pub fn day(&self) -> i64 {
        i64::from(self.local.date().since(Date::constant(1970, 1, 1)).map_or(0, |span| span.get_days()))
    }
}

/// Parses a field's value.
pub(crate) fn date(value: &[u8]) -> Option<SentDate> {
    let mut found = Found::default();
    for token in tokens(value.get(..LONGEST).unwrap_or(value), b",") {
        let Token::Word(word) = token else { continue };
        // Some programs quote the whole value.
        let word = String::from_utf8_lossy(&word).to_ascii_lowercase();
        word.split([' ', '\t', ',']).filter(|word| !word.is_empty()).for_each(|word| found.word(word));
    }
    found.finish()
}

/// The components found so far.
#[derive(Debug, Default)]
struct Found {
    date: Option<Date>,
    /// Day and year of a date in words, in this order.
    numbers: Vec<(i16, usize)>,
    month: Option<i8>,
    time: Option<Time>,
    offset: Option<i32>,
}

impl Found {
    fn word(&mut self, word: &str) {
        if let Some((date, time)) =
            word.split_once('t').filter(|(date, _)| date.starts_with(|c: char| c.is_ascii_digit()))
            && let Some(date) = numeric_date(date)
        {
            // ISO 8601: `2026-11-02T10:00:00Z`
            self.date.get_or_insert(date);
            return self.word(time);
        }
        if word.contains(':') && self.time.is_none() && word.starts_with(|c: char| c.is_ascii_digit()) {
            return self.time_and_zone(word);
        }
        if let Some(offset) = zone(word).filter(|_| self.time.is_some()) {
            self.offset.get_or_insert(offset);
        } else if let Some(date) = numeric_date(word) {
            self.date.get_or_insert(date);
        } else if let Some(month) = month(word) {
            self.month.get_or_insert(month);
        } else if matches!(word, "am" | "pm") {
            self.half_day(word == "pm");
        } else {
            // `2-Nov-2026`, `2nd`, `2`, `2026`
            for piece in word.split(['-', '/', '.']) {
                let digits = piece.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                match (month(piece), digits.parse()) {
                    (Some(month), _) => self.month = self.month.or(Some(month)),
                    (None, Ok(number)) if digits.len() <= 4 => self.numbers.push((number, digits.len())),
                    _ => {}
                }
            }
        }
    }

    /// `10:00`, `10:00:00`, `10:00:00.123+01:00`, `10:00am`
    fn time_and_zone(&mut self, word: &str) {
        let end = word.find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.')).unwrap_or(word.len());
        let (clock, rest) = word.split_at_checked(end).unwrap_or((word, ""));
        let mut numbers = clock.split(':').map(|piece| piece.split('.').next().unwrap_or_default().parse::<i8>());
        let hour = numbers.next().and_then(Result::ok);
        let minute = numbers.next().and_then(Result::ok);
        let second = numbers.next().map_or(Some(0), Result::ok);
        let (Some(hour), Some(minute), Some(second)) = (hour, minute, second) else { return };
        // A leap second counts as the second before it.
        self.time = Time::new(hour, minute, second.min(59), 0).ok();
        match rest {
            "" => {}
            "am" | "pm" => self.half_day(rest == "pm"),
            _ => self.offset = self.offset.or(zone(rest)),
        }
    }

    fn half_day(&mut self, is_afternoon: bool) {
        let Some(time) = self.time else { return };
        let hour = time.hour() % 12 + if is_afternoon { 12 } else { 0 };
        self.time = Time::new(hour, time.minute(), time.second(), 0).ok();
    }

    fn finish(self) -> Option<SentDate> {
        let date = match (self.date, self.month, self.numbers.as_slice()) {
            (Some(date), _, _) => date,
            // The year first: `2026 Nov 2`
            (None, Some(month), [(year, 4), (day, _), ..]) => Date::new(*year, month, i8::try_from(*day).ok()?).ok()?,
            (None, Some(month), [(day, _), (year, digits), ..]) => {
                Date::new(full_year(*year, *digits), month, i8::try_from(*day).ok()?).ok()?
            }
            _ => return None,
        };
        let time = self.time.unwrap_or(Time::midnight());
        Some(SentDate { local: date.to_datetime(time), offset: self.offset.unwrap_or(0) })
    }
}

/// RFC 5322 §4.3.
fn full_year(year: i16, digits: usize) -> i16 {
    match digits {
        1 | 2 if year < 50 => year + 2000,
        1..=3 => year + 1900,
        _ => year,
    }
}

/// `02.11.2026`, `2/11/26`, `2026-11-02`
fn numeric_date(word: &str) -> Option<Date> {
    let mut pieces = word.split(['-', '/', '.']);
    let mut piece =
        || pieces.next().filter(|piece| piece.len() <= 4).map(|piece| Some((piece.parse().ok()?, piece.len())));
    let (first, second, third): ((i16, usize), (i16, usize), (i16, usize)) = (piece()??, piece()??, piece()??);
    if pieces.next().is_some() {
        return None;
    }
    let (year, month, day) = match (first, third) {
        ((year, 4), (day, _)) => (year, second.0, day),
        ((day, _), (year, digits)) => (full_year(year, digits), second.0, day),
    };
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn month(word: &str) -> Option<i8> {
    let start = word.get(..3)?;
    let is_word = word.bytes().all(|octet| octet.is_ascii_alphabetic() || octet == b'.');
    let at = MONTHS.iter().position(|month| is_word && *month == start)?;
    i8::try_from(at + 1).ok()
}

/// Minutes east of Greenwich: `+0100`, `+01:00`, `GMT+1`, `EST`, `Z`. Other military letters mean nothing (RFC 5322
/// §4.3).
fn zone(word: &str) -> Option<i32> {
    let hours = match word {
        "ut" | "utc" | "gmt" | "z" => 0,
        "edt" => -4,
        "est" | "cdt" => -5,
        "cst" | "mdt" => -6,
        "mst" | "pdt" => -7,
        "pst" => -8,
        "bst" | "cet" | "met" => 1,
        "cest" | "mest" | "eet" => 2,
        "eest" | "msk" => 3,
        "ist" => return Some(5 * 60 + 30),
        "jst" | "kst" => 9,
        _ if word.len() == 1 && word.bytes().all(|octet| octet.is_ascii_alphabetic()) => 0,
        _ => {
            let word = word.strip_prefix("gmt").or_else(|| word.strip_prefix("utc")).unwrap_or(word);
            let (sign, digits) = match word.split_at_checked(1)? {
                ("+", digits) => (1, digits),
                ("-", digits) => (-1, digits),
                _ => return None,
            };
            let digits = digits.replace(':', "");
            let number: i32 = digits.parse().ok().filter(|_| digits.bytes().all(|octet| octet.is_ascii_digit()))?;
            let (hours, minutes) = if digits.len() <= 2 { (number, 0) } else { (number / 100, number % 100) };
            // An impossible offset means nothing.
            return Some(if hours <= 24 && minutes < 60 { sign * (hours * 60 + minutes) } else { 0 });
        }
    };
    Some(hours * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn read(value: &str) -> Option<String> {
        let date = date(value.as_bytes())?;
        Some(Timestamp::from_millis(date.seconds() * 1000).to_string().replace(".000", ""))
    }

    #[test]
    fn dates_are_parsed_in_every_order() {
        for (value, moment) in [
            ("Mon, 02 Nov 2026 10:00:00 +0100", "2026-11-02T09:00:00Z"),
            ("Mon, 02 Nov 2026 10:00:00", "2026-11-02T10:00:00Z"),
            ("2 Nov 2026 10:00", "2026-11-02T10:00:00Z"),
            ("02 November 2026 10:00:00 -0330 (NST)", "2026-11-02T13:30:00Z"),
            ("Mon,2 Nov 2026 10:00:00 GMT", "2026-11-02T10:00:00Z"),
            ("Mon , 2 Nov\r\n 2026 10:00:00 EST", "2026-11-02T15:00:00Z"),
            ("Mon Nov  2 10:00:00 2026", "2026-11-02T10:00:00Z"),
            ("Mon Nov  2 10:00:00 CET 2026", "2026-11-02T09:00:00Z"),
            ("Mon, Nov 2, 2026 10:00:00 PM +0000", "2026-11-02T22:00:00Z"),
            ("Mon, 2-Nov-2026 10:00:00 UTC", "2026-11-02T10:00:00Z"),
            ("02.11.2026 10:00:00", "2026-11-02T10:00:00Z"),
            ("02/11/2026 10:00", "2026-11-02T10:00:00Z"),
            ("2026-11-02 10:00:00 +01:00", "2026-11-02T09:00:00Z"),
            ("2026-11-02T10:00:00.5Z", "2026-11-02T10:00:00Z"),
            ("2026-11-02T10:00:00+0100", "2026-11-02T09:00:00Z"),
            ("Mon, 02 Nov 26 10:00:00 GMT+1", "2026-11-02T09:00:00Z"),
            ("Sat, 02 Nov 96 10:00:00 Z", "1996-11-02T10:00:00Z"),
            ("Sat, 02 Nov 126 10:00:00 +0000", "2026-11-02T10:00:00Z"),
            ("Mon, 02 Nov 2026 23:59:60 +0000", "2026-11-02T23:59:59Z"),
            ("Mon, 02 Nov 2026", "2026-11-02T00:00:00Z"),
            ("Mon, 02 Nov 2026 10:00:00 +9999", "2026-11-02T10:00:00Z"),
            ("(a) Mon (b), 02 (c) Nov 2026 10:00:00 (d) +0100", "2026-11-02T09:00:00Z"),
            ("\"Mon, 02 Nov 2026 10:00:00 +0000\"", "2026-11-02T10:00:00Z"),
        ] {
            assert_eq!(read(value).as_deref(), Some(moment), "{value}");
        }
        for no in ["", "nonsense", "Mon, 31 Feb 2026 10:00:00 +0000", "10:00:00", "Nov", "2026", "32/13/2026", "Nov 2"]
        {
            assert_eq!(read(no), None, "{no}");
        }
        assert_eq!(read(&"1 ".repeat(1_000_000)), None);
    }

    #[test]
    fn days_are_in_the_senders_zone() {
        let day = |value: &str| date(value.as_bytes()).map(|date| date.day());
        assert_eq!(day("Tue, 24 Nov 2026 23:31:07 -1100"), Some(20_781));
        assert_eq!(day("Tue, 24 Nov 1969 23:31:07 -1100"), Some(-38));
    }
}
