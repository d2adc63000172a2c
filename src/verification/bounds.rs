//! Limits on untrusted DNS data that is read, stored and shown, since tenants choose their name servers. Invariant: no
//! text or record set exceeds the limits below. A text that was cut is longer than [`TXT`], any other is not, so that
//! a cut text is recognisable.

use super::observed::RecordData;

/// Octets of one TXT record. An SPF record should fit in 512 (RFC 7208 §3.4); the longest in use have about 2000.
pub const TXT: usize = 4096;
/// Length of an alias chain. BIND follows 16, Unbound 11.
pub const ALIASES: usize = 16;

/// Records of one answer. A busy domain has some forty TXT records at its apex, and a mail system a dozen MX records.
pub const RECORDS: usize = 64;
/// Octets of all shown and stored values of a record: the longest one, and as much of others.
pub const OBSERVED: usize = 2 * TXT;
/// Octets of a value that is not the expected one: enough to recognise it.
pub const BESIDE: usize = 96;
/// Octets of one server's values in the evidence; the observed values are complete.
pub const SAID: usize = 1024;
/// Octets of one server's values in a sentence about several servers.
pub const LINE: usize = 200;
/// Octets of the description of a fault.
pub const MESSAGE: usize = 2048;
/// Octets of a fix: the longest suggested record fits, in quotation marks.
pub const FIX: usize = TXT + MESSAGE;

/// Name servers queried per zone: more are rare, and each is queried for everything.
pub const SERVERS: usize = 8;
/// Addresses queried per name server: one per family.
pub const ADDRESSES: usize = 2;
/// Queries of one check to all servers. A domain with eight name servers and nothing published takes 274 with one
/// resolver; an SPF record may take 80 more at each.
pub const QUESTIONS: usize = 512;

/// At most `limit` octets of a text; if it is cut, the full length is appended.
pub fn cut(text: &str, limit: usize) -> String {
    cut_by(text, limit, char::len_utf8)
}

/// The same, counting octets as encoded in JSON, where some characters are longer.
pub fn brief(text: &str, limit: usize) -> String {
    cut_by(text, limit, in_json)
}

fn cut_by(text: &str, limit: usize, size: impl Fn(char) -> usize) -> String {
    let mut left = limit;
    for (at, c) in text.char_indices() {
        match left.checked_sub(size(c)) {
            Some(rest) => left = rest,
            None => return format!("{}… (cut off: {} octets)", text.get(..at).unwrap_or_default(), text.len()),
        }
    }
    text.to_owned()
}

fn in_json(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if c.is_ascii_control() => 6,
        c => c.len_utf8(),
    }
}

/// The octets of a text as encoded in JSON.
pub fn octets(text: &str) -> usize {
    text.chars().map(in_json).sum()
}

/// Limits the records of an answer: those resembling the `wanted` values come first, and the selection does not depend
/// on their order.
pub fn few(mut records: Vec<RecordData>, wanted: &[String]) -> Vec<RecordData> {
    if records.len() > RECORDS {
        records.sort();
        records.sort_by_key(|record| !wanted.iter().any(|value| is_like(record, value)));
        records.truncate(RECORDS);
    }
    records
}

/// True for a record that may be meant to have that value: it begins with the same word, quoted or not.
fn is_like(record: &RecordData, value: &str) -> bool {
    let begins = |text: &str| {
        let bare = text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        bare.split([' ', ';', '"']).next().unwrap_or_default().to_ascii_lowercase()
    };
    match record {
        RecordData::Txt(text) => begins(text) == begins(value),
        RecordData::Mx { exchange: name, .. } | RecordData::Cname(name) => name.eq_ignore_ascii_case(value),
        _ => false,
    }
}

/// The values to show, in order and within [`OBSERVED`]. `looked_for` are those that a record is judged by: they come
/// first, and may be longer.
pub fn shown<'a>(
    records: impl Iterator<Item = &'a RecordData>,
    looked_for: impl Fn(&RecordData) -> bool,
) -> Vec<String> {
    let of = |record| if looked_for(record) { (true, OBSERVED / 2) } else { (false, BESIDE) };
    let all: Vec<(bool, String)> =
        records.map(|record| (of(record).0, brief(&record.to_string(), of(record).1))).collect();
    within(OBSERVED, all)
}

/// As many values as fit, in order; the expected ones first.
pub fn within(limit: usize, values: Vec<(bool, String)>) -> Vec<String> {
    let mut left = limit;
    let mut places: Vec<(usize, bool, String)> =
        values.into_iter().enumerate().map(|(at, (l, v))| (at, l, v)).collect();
    places.sort_by_key(|(_, looked_for, _)| !looked_for);
    places.retain(|(_, _, value)| left.checked_sub(octets(value)).inspect(|rest| left = *rest).is_some());
    places.sort_by_key(|(at, ..)| *at);
    places.into_iter().map(|(_, _, value)| value).collect()
}

/// True for a TXT record that was cut.
pub fn is_cut(text: &str) -> bool {
    text.len() > TXT
}

/// The same record with its text cut to the limit.
pub fn read(record: RecordData) -> RecordData {
    match record {
        RecordData::Txt(text) => RecordData::Txt(cut(&text, TXT)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_is_recognised() {
        for (text, is_too_long) in [("a".repeat(TXT), false), ("ä".repeat(TXT), true), ("a".repeat(61_000), true)] {
            let RecordData::Txt(read) = read(RecordData::Txt(text.clone())) else { panic!() };
            assert_eq!((is_cut(&read), read == text), (is_too_long, !is_too_long));
            assert!(read.len() <= TXT + 40, "{}", read.len());
        }
        assert_eq!(cut("äää", 3), "ä… (cut off: 6 octets)");
        assert_eq!(cut("äää", 6), "äää");
        assert_eq!(brief("a\"\u{1}b", 9), "a\"\u{1}… (cut off: 4 octets)");
    }

    #[test]
    fn of_too_many_records_the_relevant_ones_are_kept() {
        let txt = |text: &str| RecordData::Txt(text.to_owned());
        let wanted = ["v=spf1 include:x.example ~all", "v=DMARC1; p=none;", "s3cret"].map(String::from);
        let others = || (0..3000).map(|n| txt(&format!("{n}")));
        let ours = ["V=spf1 -all", "v=DMARC1;p=none", "\"v=spf1 mx\"", "s3cret"].map(txt);
        let kept = few(others().chain(ours.clone()).collect(), &wanted);
        assert_eq!(kept.len(), RECORDS);
        assert!(ours.iter().all(|record| kept.contains(record)), "{kept:?}");
        // Servers rotate a record set between answers.
        assert_eq!(few(ours.into_iter().chain(others()).rev().collect(), &wanted), kept);
        let mx = |n: u16, host: &str| RecordData::Mx { preference: n, exchange: host.to_owned() };
        let kept = few(
            (0..3000).map(|n| mx(n, "x.example")).chain([mx(9000, "Here.example")]).collect(),
            &["here.example".into()],
        );
        assert_eq!((kept.len(), &kept[0], &kept[1]), (RECORDS, &mx(9000, "Here.example"), &mx(0, "x.example")));
        // A normal number of records is kept in order.
        let honest: Vec<RecordData> = (0..41).rev().map(|n| txt(&format!("{n}"))).collect();
        assert_eq!(few(honest.clone(), &wanted), honest);
    }

    #[test]
    fn shown_values_are_bounded_and_include_the_expected_one() {
        let txt = |text: String| RecordData::Txt(text);
        let looked_for = |record: &RecordData| matches!(record, RecordData::Txt(text) if text.starts_with("v=spf1"));
        let control_characters = "\u{7}".repeat(500);
        let mut records: Vec<RecordData> = (0..63).map(|n| txt(format!("{n} {control_characters}"))).collect();
        records.push(txt(format!("v=spf1 {}", "a ".repeat(1000))));
        let values = shown(records.iter(), looked_for);
        assert!(serde_json::to_string(&values).unwrap().len() <= OBSERVED + 64 * 3);
        assert_eq!(values.last().unwrap().len(), 2007);
        assert!(values.len() > 40 && values[0].starts_with("0 "), "{}", values.len());
        // The apex of a busy domain.
        let busy: Vec<RecordData> = (0..41).map(|n| txt(format!("{n} {}", "x".repeat(200)))).collect();
        assert_eq!(shown(busy.iter(), looked_for).len(), 41);
    }
}
