//! How much of what strangers say is read, kept and shown: tenants choose their name servers, and those say what they like.
//!
//! Invariant: a text or a set of records is never longer here than the numbers below, whatever came over the wire. A text
//! that was cut is longer than [`TXT`], and one that was not never is; so one that is too long is known as such.

use super::observed::RecordData;

/// Octets of one TXT record. An SPF record should fit in 512 (RFC 7208 §3.4), and the longest that are used have about 2000.
pub const TXT: usize = 4096;
/// Aliases on the way to a record. BIND follows 16, Unbound 11.
pub const ALIASES: usize = 16;

/// Records of one answer. A busy domain has some forty TXT records at its apex, and a mail set-up a dozen MX records.
pub const RECORDS: usize = 64;
/// Octets of all the values of a record that are shown and kept: the longest that is read, and as much of others.
pub const OBSERVED: usize = 2 * TXT;
/// Octets of a value that is only there beside the one that is looked for: enough to know it by.
pub const BESIDE: usize = 96;
/// Octets of the values that one server has, in the evidence: what was observed has them whole.
pub const SAID: usize = 1024;
/// Octets of what one server says, in a sentence that names several.
pub const LINE: usize = 200;
/// Octets of what is wrong with a record, in words.
pub const MESSAGE: usize = 2048;
/// Octets of what to do about it: the longest record that can be offered fits, in quotation marks.
pub const FIX: usize = TXT + MESSAGE;

/// Name servers of one zone that are asked: more are rare, and each of them is asked for everything.
pub const SERVERS: usize = 8;
/// Addresses of one name server that are asked: one per family.
pub const ADDRESSES: usize = 2;
/// Questions of one check, to resolvers and name servers together. A domain with eight name servers and nothing published
/// takes 274 with one resolver; an SPF record may take 80 more at each.
pub const QUESTIONS: usize = 512;

/// At most `limit` octets of a text; where there are more, it says how many there were.
pub fn cut(text: &str, limit: usize) -> String {
    cut_by(text, limit, char::len_utf8)
}

/// The same with octets counted as they are stored and sent: JSON writes some characters longer than they are.
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

/// The octets of a text as it is stored and sent.
pub fn octets(text: &str) -> usize {
    text.chars().map(in_json).sum()
}

/// The records of an answer that are kept: where there are too many, those that are like the `wanted` values first, and then
/// the same ones whatever their order was.
pub fn few(mut records: Vec<RecordData>, wanted: &[String]) -> Vec<RecordData> {
    if records.len() > RECORDS {
        records.sort();
        records.sort_by_key(|record| !wanted.iter().any(|value| is_like(record, value)));
        records.truncate(RECORDS);
    }
    records
}

/// True for a record that might be meant to have that value: it begins with the same word, in quotation marks or without.
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

/// The values to show, in their order and within [`OBSERVED`]. `looked_for` are those that a record is judged by: they come
/// before others, and are longer.
pub fn shown<'a>(
    records: impl Iterator<Item = &'a RecordData>,
    looked_for: impl Fn(&RecordData) -> bool,
) -> Vec<String> {
    let of = |record| if looked_for(record) { (true, OBSERVED / 2) } else { (false, BESIDE) };
    let all: Vec<(bool, String)> =
        records.map(|record| (of(record).0, brief(&record.to_string(), of(record).1))).collect();
    within(OBSERVED, all)
}

/// As many values as fit, in their order; those that are looked for before others.
pub fn within(limit: usize, values: Vec<(bool, String)>) -> Vec<String> {
    let mut left = limit;
    let mut places: Vec<(usize, bool, String)> =
        values.into_iter().enumerate().map(|(at, (l, v))| (at, l, v)).collect();
    places.sort_by_key(|(_, looked_for, _)| !looked_for);
    places.retain(|(_, _, value)| left.checked_sub(octets(value)).inspect(|rest| left = *rest).is_some());
    places.sort_by_key(|(at, ..)| *at);
    places.into_iter().map(|(_, _, value)| value).collect()
}

/// True for the text of a TXT record of which a part is not known.
pub fn is_cut(text: &str) -> bool {
    text.len() > TXT
}

/// The same record, with no more text than is read.
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
    fn a_text_that_was_cut_is_known_as_such() {
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
    fn of_too_many_records_those_that_matter_are_kept_whatever_their_place() {
        let txt = |text: &str| RecordData::Txt(text.to_owned());
        let wanted = ["v=spf1 include:x.example ~all", "v=DMARC1; p=none;", "s3cret"].map(String::from);
        let others = || (0..3000).map(|n| txt(&format!("{n}")));
        let ours = ["V=spf1 -all", "v=DMARC1;p=none", "\"v=spf1 mx\"", "s3cret"].map(txt);
        let kept = few(others().chain(ours.clone()).collect(), &wanted);
        assert_eq!(kept.len(), RECORDS);
        assert!(ours.iter().all(|record| kept.contains(record)), "{kept:?}");
        // Servers turn a set around from one answer to the next, and it is the same set.
        assert_eq!(few(ours.into_iter().chain(others()).rev().collect(), &wanted), kept);
        let mx = |n: u16, host: &str| RecordData::Mx { preference: n, exchange: host.to_owned() };
        let kept = few(
            (0..3000).map(|n| mx(n, "x.example")).chain([mx(9000, "Here.example")]).collect(),
            &["here.example".into()],
        );
        assert_eq!((kept.len(), &kept[0], &kept[1]), (RECORDS, &mx(9000, "Here.example"), &mx(0, "x.example")));
        // As many as there are in honest zones stay as they came.
        let honest: Vec<RecordData> = (0..41).rev().map(|n| txt(&format!("{n}"))).collect();
        assert_eq!(few(honest.clone(), &wanted), honest);
    }

    #[test]
    fn what_is_shown_is_bounded_and_has_what_is_looked_for() {
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
