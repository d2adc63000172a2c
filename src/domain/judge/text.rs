//! The TXT records: SPF, DMARC, and the secret of ownership.
//!
//! RFC 7208 §3.2 (one SPF record), §4.5 (which TXT is one), §4.6.1 and §5.1 (terms, and that none counts after `all`);
//! RFC 7489 §6.3 (DMARC tags), §6.6.3 (one DMARC record).

use super::{Code, Judgement, RecordError, missing, publish};
use crate::domain::records::Expected;

/// An SPF record will do when it lets all those send that the expected one lets, in any order and beside others.
pub(super) fn spf(expected: &Expected, texts: &[&str]) -> Judgement {
    let name = &expected.name;
    let found: Vec<&str> = texts.iter().copied().filter(|text| is_spf(text)).collect();
    let record = match found.as_slice() {
        [] => return absent(expected, texts, is_spf),
        [record] => *record,
        _ => {
            let merged = found
                .iter()
                .skip(1)
                .fold(found.first().copied().unwrap_or_default().to_owned(), |all, more| merge(&all, more));
            let merged = merge(&merged, &expected.value);
            let message = format!("{name} has {} SPF records; receivers then use none of them", found.len());
            let fix = format!("Replace them by this one TXT record: {merged}");
            return Judgement::Mismatch(RecordError::new(Code::SpfMultiple, message, fix));
        }
    };
    let present = effective_terms(record);
    let lacking: Vec<&str> = effective_terms(&expected.value)
        .into_iter()
        .filter(|term| !present.iter().any(|p| passes(p).eq_ignore_ascii_case(passes(term))))
        .collect();
    if lacking.is_empty() {
        return Judgement::Valid;
    }
    let message = format!("the SPF record of {name} does not allow our servers: {} is not in it", lacking.join(" "));
    let fix = format!("Change the TXT record, keeping it one, to: {}", merge(record, &expected.value));
    Judgement::Mismatch(RecordError::new(Code::SpfMissingInclude, message, fix))
}

/// A DMARC record will do when there is one and its policy is as strict as the one expected, or stricter.
pub(super) fn dmarc(expected: &Expected, texts: &[&str]) -> Judgement {
    let name = &expected.name;
    let found: Vec<&str> = texts.iter().copied().filter(|text| is_dmarc(text)).collect();
    let record = match found.as_slice() {
        [] => return absent(expected, texts, is_dmarc),
        [record] => *record,
        _ => {
            let message = format!("{name} has {} DMARC records; receivers then use none of them", found.len());
            let fix = format!("Keep one TXT record that begins with v=DMARC1 at {name} and delete the others.");
            return Judgement::Mismatch(RecordError::new(Code::DmarcMultiple, message, fix));
        }
    };
    let Some(policy) = strictness(record) else {
        let message = format!("the DMARC record of {name} has no policy that receivers know: {record}");
        let fix = format!("Write p=none, p=quarantine or p=reject into it, as in: {}", expected.value);
        return Judgement::Mismatch(RecordError::new(Code::DmarcInvalid, message, fix));
    };
    if Some(policy) >= strictness(&expected.value) {
        return Judgement::Valid;
    }
    let message = format!("the DMARC policy of {name} is weaker than asked for: {record}");
    Judgement::Mismatch(RecordError::new(
        Code::DmarcWeaker,
        message,
        format!("Change the TXT record to: {}", expected.value),
    ))
}

/// The secret of this claim is among the texts; those of other claims may stand beside it.
pub(super) fn ownership(expected: &Expected, texts: &[&str]) -> Judgement {
    if texts.iter().any(|text| text.trim() == expected.value) {
        return Judgement::Valid;
    }
    absent(expected, texts, |text| text.trim() == expected.value)
}

/// No text is what it should be; perhaps one would be without the quotes inside it.
fn absent(expected: &Expected, texts: &[&str], would_do: impl Fn(&str) -> bool) -> Judgement {
    let quoted = |text: &&&str| {
        let bare = text.trim().trim_matches('"').trim();
        bare.len() < text.trim().len() && would_do(bare)
    };
    match texts.iter().find(quoted) {
        Some(text) => {
            let bare = text.trim().trim_matches('"').trim();
            let message = format!("the TXT record at {} has quotation marks inside its value", expected.name);
            let fix = format!("Type the value without quotation marks; your DNS provider adds them itself: {bare}");
            Judgement::Mismatch(RecordError::new(Code::QuotedTwice, message, fix))
        }
        None if expected.record_type == crate::domain::observed::RecordType::Txt && !texts.is_empty() => {
            let mut error = missing(expected);
            error.fix = format!("{} Leave the other TXT records at that name as they are.", publish(expected));
            Judgement::Missing(error)
        }
        None => Judgement::Missing(missing(expected)),
    }
}

fn is_spf(text: &str) -> bool {
    // RFC 7208 §4.5: the version and then a space or the end; `v=spf10` is none.
    let version = text.split(' ').next().unwrap_or_default();
    version.eq_ignore_ascii_case("v=spf1")
}

/// The terms before the first `all`, without the version: nothing after it is ever looked at.
fn effective_terms(record: &str) -> Vec<&str> {
    record.split_ascii_whitespace().skip(1).take_while(|term| !is_all(term)).collect()
}

fn is_all(term: &str) -> bool {
    term.trim_start_matches(['+', '-', '~', '?']).eq_ignore_ascii_case("all")
}

/// A mechanism without the qualifier that it has anyway.
fn passes(term: &str) -> &str {
    term.strip_prefix('+').unwrap_or(term)
}

/// `record` with the terms of `more` that it lacks, before its `all` or `redirect=`.
fn merge(record: &str, more: &str) -> String {
    let present = effective_terms(record);
    let lacking: Vec<&str> = effective_terms(more)
        .into_iter()
        .filter(|term| !present.iter().any(|p| passes(p).eq_ignore_ascii_case(passes(term))))
        .collect();
    let mut merged: Vec<&str> = Vec::new();
    let mut terms = record.split_ascii_whitespace().peekable();
    while let Some(term) = terms.next_if(|t| !is_all(t) && !t.to_ascii_lowercase().starts_with("redirect=")) {
        merged.push(term);
    }
    merged.extend(lacking);
    merged.extend(terms);
    merged.join(" ")
}

fn is_dmarc(text: &str) -> bool {
    let tag = text.split(';').next().unwrap_or_default();
    tag.split_once('=').is_some_and(|(name, value)| name.trim() == "v" && value.trim() == "DMARC1")
}

/// 0 for `none`, 1 for `quarantine`, 2 for `reject`.
fn strictness(record: &str) -> Option<u8> {
    let tag = |name: &str| {
        record.split(';').filter_map(|tag| tag.split_once('=')).find(|(n, _)| n.trim().eq_ignore_ascii_case(name))
    };
    let policy = tag("p")?.1.trim().to_ascii_lowercase();
    match policy.as_str() {
        "none" => Some(0),
        "quarantine" => Some(1),
        "reject" => Some(2),
        _ => None,
    }
}
