//! The suggested replacement for existing SPF records, and whether they already contain ours.
//!
//! Invariant: the suggestion is one valid record that authorises our servers, and omitted terms are listed.
//! RFC 7208 §3.2 (one record), §4.6.2 (the first match decides), §5.1 (nothing counts after `all`).

use super::{Qualifier, Record, Report, merge, repair};
use crate::verification::bounds::{TXT, cut, is_cut};

/// Octets that are shown of what could not be read.
const SHOWN: usize = 255;

/// One record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The record.
    pub text: String,
    /// Terms of the records before that could not be read, and what was meant not be guessed.
    pub left_out: Vec<String>,
    /// Nothing of the records is in it: together they would be too long to be read.
    pub is_ours_alone: bool,
}

/// Repairs and merges the records, and adds ours.
pub fn offer(records: &[&str], ours: &str) -> Offer {
    let (mut mended, mut left_out) = (Vec::new(), Vec::new());
    for record in records {
        // The rest of a cut record is unknown.
        if is_cut(record) {
            left_out.push(cut(record, SHOWN));
            continue;
        }
        let repaired = repair(record);
        mended.extend(repaired.records);
        left_out.extend(repaired.left_out.iter().map(|term| cut(term, SHOWN)));
    }
    let mended: Vec<&str> = mended.iter().map(String::as_str).collect();
    // One that is as long would not be read either.
    let is_ours_alone = mended.iter().map(|record| record.len()).sum::<usize>() > TXT;
    let text = if mended.is_empty() || is_ours_alone { ours.to_owned() } else { merge(&mended, ours) };
    Offer { text, left_out, is_ours_alone }
}

/// The record to replace these, unless there is exactly one and it is valid.
pub fn needed(records: &[&str], ours: &str, report: Option<&Report>) -> Option<Offer> {
    let right = |record: &str| Record::parse(record).is_ok_and(|parsed| lacking(ours, &parsed, report).is_empty());
    match records {
        [] => None,
        [one] if right(one) => None,
        records => Some(offer(records, ours)),
    }
}

/// The terms of our record that do not pass here, directly or by an include.
pub fn lacking(ours: &str, parsed: &Record, report: Option<&Report>) -> Vec<String> {
    let everybody = parsed.all() == Some(Qualifier::Pass) || report.is_some_and(|report| report.everybody.is_some());
    let passes = |term: &String| match decides(term, parsed) {
        Some((_, qualifier)) => qualifier == Qualifier::Pass,
        None => everybody || report.is_some_and(|report| report.passes.contains(term)),
    };
    terms(ours).into_iter().filter(|term| !passes(term)).collect()
}

/// The first directive that is this term, whatever a match means: as it is written, and what it means.
pub fn decides<'a>(term: &str, parsed: &'a Record) -> Option<(&'a str, Qualifier)> {
    parsed.directives().find_map(|(found, qualifier, _)| {
        let same = found.normal().trim_start_matches(['-', '~', '?']) == term;
        same.then_some((found.text.as_str(), qualifier))
    })
}

/// The terms of our record: what it leads to is ours to keep in order.
pub fn terms(ours: &str) -> Vec<String> {
    let terms = Record::parse(ours).map(|record| record.directives().map(|(term, ..)| term.normal()).collect());
    terms.unwrap_or_default()
}
