//! The suggested replacement for existing SPF records, and whether they already contain ours.
//!
//! Invariant: the suggestion is one valid record that authorises our servers, and omitted terms are listed.
//! RFC 7208 §3.2 (one record), §4.6.2 (the first match decides), §5.1 (nothing counts after `all`).

use super::{Qualifier, Record, Report, merge, repair};
use crate::verification::bounds::{TXT, cut, is_cut};

/// Maximum octets shown of an omitted term.
const SHOWN: usize = 255;

/// One record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The record.
    pub text: String,
    /// Terms of the existing records that cannot be parsed or repaired.
    pub left_out: Vec<String>,
    /// The existing records are omitted because they are too long to be read.
    pub is_ours_alone: bool,
}

/// Repairs and merges the records, and adds ours.
pub fn offer(records: &[&str], ours: &str) -> Offer {
    let (mut readable, mut left_out) = (Vec::new(), Vec::new());
    for record in records {
        // The rest of a cut record is unknown.
        if is_cut(record) {
            left_out.push(cut(record, SHOWN));
            continue;
        }
        let repaired = repair(record);
        readable.extend(repaired.records);
        left_out.extend(repaired.left_out.iter().map(|term| cut(term, SHOWN)));
    }
    let readable: Vec<&str> = readable.iter().map(String::as_str).collect();
    // A merged record of that length would not be read either.
    let is_ours_alone = readable.iter().map(|record| record.len()).sum::<usize>() > TXT;
    let text = if readable.is_empty() || is_ours_alone { ours.to_owned() } else { merge(&readable, ours) };
    Offer { text, left_out, is_ours_alone }
}

/// The record to replace these, unless there is exactly one and it is valid.
pub fn needed(records: &[&str], ours: &str, report: Option<&Report>) -> Option<Offer> {
    let is_valid = |record: &str| Record::parse(record).is_ok_and(|parsed| lacking(ours, &parsed, report).is_empty());
    match records {
        [] => None,
        [one] if is_valid(one) => None,
        records => Some(offer(records, ours)),
    }
}

/// The terms of our record that do not pass in `parsed`, directly or by an include.
pub fn lacking(ours: &str, parsed: &Record, report: Option<&Report>) -> Vec<String> {
    let everybody = parsed.all() == Some(Qualifier::Pass) || report.is_some_and(|report| report.everybody.is_some());
    let passes = |term: &String| match decides(term, parsed) {
        Some((_, qualifier)) => qualifier == Qualifier::Pass,
        None => everybody || report.is_some_and(|report| report.passes.contains(term)),
    };
    terms(ours).into_iter().filter(|term| !passes(term)).collect()
}

/// The first directive that is this term with any qualifier: its text, and the qualifier.
pub fn decides<'a>(term: &str, parsed: &'a Record) -> Option<(&'a str, Qualifier)> {
    parsed.directives().find_map(|(found, qualifier, _)| {
        let same = found.normal().trim_start_matches(['-', '~', '?']) == term;
        same.then_some((found.text.as_str(), qualifier))
    })
}

/// The terms of our record. What they include is ours to maintain.
pub fn terms(ours: &str) -> Vec<String> {
    let terms = Record::parse(ours).map(|record| record.directives().map(|(term, ..)| term.normal()).collect());
    terms.unwrap_or_default()
}
