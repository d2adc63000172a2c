//! The SPF record: does it let our servers send, and can receivers use it at all?
//!
//! Invariant: there is never more than one record to publish; what is offered can be read, and keeps what was there.
//! RFC 7208 §3.2 (one record), §4.5 (which TXT is one), §4.6.4 (limits), §5.1 (nothing counts after `all`).

use super::text::{absent, too_long};
use super::{Code, Fix, Judgement, RecordError, Sight, texts};
use crate::domain::bounds::{MENDINGS, TXT, is_cut};
use crate::domain::records::Expected;
use crate::domain::spf::{
    Crowded, Fault, IncludeFault, LOOKUP_LIMIT, MAIL_HOST_LIMIT, Mechanism, Record, Report, Step, SyntaxError,
    VOID_LIMIT, is_spf, merge, strings,
};
use std::collections::BTreeSet;

/// The longest value that stands in one string of a TXT record.
const ONE_STRING: usize = 255;

/// An SPF record will do when it lets all those send that the expected one lets, in any order, beside others or by way
/// of others, and receivers can evaluate it.
pub(super) fn judge(expected: &Expected, sight: &Sight) -> Judgement {
    let texts = texts(sight);
    let found: Vec<&str> = texts.iter().copied().filter(|text| is_spf(text)).collect();
    let report = sight.spf.as_ref();
    let record = match found.as_slice() {
        [] => return absent(expected, sight, &texts, is_spf),
        [record] if is_cut(record) => {
            return Judgement::Mismatch(too_long(expected, "SPF", Code::SpfSyntax));
        }
        [record] => *record,
        _ => return Judgement::Mismatch(several(expected, &found)),
    };
    if let Some(error) = one(expected, record, report) {
        return Judgement::Mismatch(error);
    }
    if let Some(error) = undecided(expected, record, report) {
        return Judgement::Unknown(error);
    }
    match report.and_then(|report| ours_broken(expected, report)) {
        Some(warning) => Judgement::Warning(warning),
        None => Judgement::Valid,
    }
}

/// The names that the expected record itself leads to: they are ours to keep in order.
fn ours(expected: &Expected) -> Vec<String> {
    let terms = Record::parse(&expected.value).map(|record| record.directives().map(|(t, ..)| t.normal()).collect());
    terms.unwrap_or_default()
}

/// True for a record with a term of ours in it.
pub(super) fn has_ours(expected: &Expected, text: &str) -> bool {
    let ours = ours(expected);
    Record::parse(text).is_ok_and(|record| record.directives().any(|(term, ..)| ours.contains(&term.normal())))
}

/// What ours leads to cannot be used: no fault of the owner's.
fn ours_broken(expected: &Expected, report: &Report) -> Option<RecordError> {
    let Some(Fault::Include { path, domain, .. }) = &report.fault else { return None };
    let at = path.iter().position(|term| ours(expected).contains(&term.to_ascii_lowercase()))?;
    let term = path.get(at).map(String::as_str).unwrap_or_default();
    let message = format!(
        "the SPF record of {} is right, but what {term} leads to ({domain}) cannot be used now: that is ours to mend",
        expected.name
    );
    let fix = "There is nothing for you to do: the record stays as it is.";
    Some(RecordError::new(Code::SpfBrokenInclude, message, fix))
}

fn one(expected: &Expected, record: &str, report: Option<&Report>) -> Option<RecordError> {
    let name = &expected.name;
    let parsed = match Record::parse(record) {
        Ok(parsed) => parsed,
        Err(error) if cut(record, &expected.value) => return Some(truncated(expected, record, Some(&error))),
        Err(error) => return Some(syntax(expected, record, &error)),
    };
    let lacking = lacking(expected, &parsed, report);
    if !lacking.is_empty() && report.is_none_or(|report| report.unanswered.is_empty()) {
        if cut(record, &expected.value) {
            return Some(truncated(expected, record, None));
        }
        return Some(missing_include(expected, record, &lacking, report));
    }
    let report = report?;
    if let Some(Fault::Include { path, domain, why }) = &report.fault
        && ours_broken(expected, report).is_none()
    {
        return Some(broken_include(expected, record, path, domain, why));
    }
    if report.lookups > LOOKUP_LIMIT {
        let message = format!(
            "the SPF record of {name} makes receivers look up {} names, and they stop after {LOOKUP_LIMIT}: none of it then \
             counts; most is spent by {}",
            count(report),
            steps(&report.costliest_chain, " → ")
        );
        let fix = Fix::step(
            "Remove from the record what no longer sends for you, or have its provider give you a shorter one",
        );
        let costs = steps(&report.costs, ", ");
        let fix = fix.then(format!("This is what each term costs: {costs}. Bring the sum down to {LOOKUP_LIMIT}."));
        return Some(RecordError::new(Code::SpfLookupLimit, message, fix));
    }
    let ours = ours(expected);
    let is_ours = |term: &String| ours.contains(&term.to_ascii_lowercase());
    if let Some(crowded) = report.crowded.as_ref().filter(|crowded| !crowded.path.iter().any(is_ours)) {
        return Some(too_many_hosts(expected, record, crowded));
    }
    let is_theirs = |name: &&String| !ours.iter().any(|term| term.split(':').nth(1) == Some(name.as_str()));
    let void: Vec<&str> = report.void_lookups.iter().filter(is_theirs).map(String::as_str).collect();
    if void.len() > VOID_LIMIT {
        let names = void.join(", ");
        let message = format!(
            "the SPF record of {name} makes receivers look up {} names that do not exist, and they put up with {VOID_LIMIT}: \
             none of the record then counts",
            void.len()
        );
        let leads_there = |mechanism: &Mechanism| {
            mechanism.domain().is_some_and(|d| void.contains(&d.to_ascii_lowercase().trim_end_matches('.')))
        };
        let terms: Vec<&str> =
            parsed.directives().filter(|(_, _, m)| leads_there(m)).map(|(term, ..)| term.text.as_str()).collect();
        let remove = format!("Remove the terms that lead to {names}, where no records are");
        let fix = match terms.as_slice() {
            // Somewhere below, where somebody else has to.
            [] => Fix::step(remove),
            terms => without(expected, record, terms, &format!("{remove}; the TXT record at {name} is then")),
        };
        return Some(RecordError::new(Code::SpfVoidLookups, message, fix));
    }
    None
}

/// An `mx` costs one look-up, and one more for the addresses of each host, which have a limit of their own.
fn too_many_hosts(expected: &Expected, record: &str, crowded: &Crowded) -> RecordError {
    let (name, Crowded { path, domain, hosts }) = (&expected.name, crowded);
    let (way, first) = (path.join(" → "), path.first().map(String::as_str).unwrap_or_default());
    let message = format!(
        "the SPF record of {name} makes receivers look up the {hosts} mail hosts of {domain}, and an mx must not lead to more \
         than {MAIL_HOST_LIMIT}: none of the record then counts ({way})"
    );
    let otherwise = match path.len() {
        1 => "give ip4: and ip6: terms with the addresses that do in its place",
        _ => "tell its provider",
    };
    let step = format!(
        "Take \"{first}\" out of the TXT record at {name} if it does not send for you, or else {otherwise}; without it the record is"
    );
    RecordError::new(Code::SpfLookupLimit, message, without(expected, record, &[first], &step))
}

/// The terms of the expected record that let nobody pass here, nor by way of an include.
fn lacking(expected: &Expected, parsed: &Record, report: Option<&Report>) -> Vec<String> {
    let own: BTreeSet<String> = parsed.directives().map(|(term, ..)| term.normal()).collect();
    let there = |term: &String| own.contains(term) || report.is_some_and(|report| report.passes.contains(term));
    ours(expected).into_iter().filter(|term| !there(term)).collect()
}

/// Ours may be where nobody could look just now.
fn undecided(expected: &Expected, record: &str, report: Option<&Report>) -> Option<RecordError> {
    let silent = report.map(|report| report.unanswered.join(", ")).filter(|silent| !silent.is_empty())?;
    let lacking = lacking(expected, &Record::parse(record).ok()?, report);
    if lacking.is_empty() {
        return None;
    }
    let (name, lacking) = (&expected.name, lacking.join(" "));
    let message = format!(
        "whether the SPF record of {name} allows our servers ({lacking}) could not be seen: the DNS gave no definite answer \
         for {silent}, which it includes"
    );
    let step = format!("If this stays, change the TXT record at {name}, keeping it one, to");
    let fix = typed(&step, &merge(&[record], &expected.value)).after("The check is repeated by itself.");
    Some(RecordError::new(Code::ResolverFailed, message, fix))
}

fn missing_include(expected: &Expected, record: &str, lacking: &[String], report: Option<&Report>) -> RecordError {
    let name = &expected.name;
    let lacking = lacking.join(" ");
    let after_all = record.to_ascii_lowercase().contains(&lacking);
    let message = match after_all {
        true => {
            format!("the SPF record of {name} does not allow our servers: {lacking} stands where it does not count")
        }
        false => format!("the SPF record of {name} does not allow our servers: {lacking} is not in it"),
    };
    // An `include=` is a modifier that nobody knows, and passed over.
    let is_one = |term: &&str| term.to_ascii_lowercase().starts_with("include=");
    let equals: Vec<&str> = record.split(' ').filter(is_one).collect();
    let note = match (equals.as_slice(), report) {
        ([wrong, ..], _) => format!("\"{wrong}\" must be written with a colon."),
        (_, Some(report)) if report.lookups >= LOOKUP_LIMIT => format!(
            "It already costs {} look-ups, of which receivers make {LOOKUP_LIMIT}: take out what no longer sends for you.",
            count(report)
        ),
        _ => String::new(),
    };
    let kept: Vec<&str> = record.split(' ').filter(|term| !is_one(term)).collect();
    let respelt: Vec<String> = equals.iter().map(|term| term.replacen('=', ":", 1)).collect();
    let respelt = format!("v=spf1 {}", respelt.join(" "));
    let mut records = vec![kept.join(" ")];
    if Record::parse(&respelt).is_ok() {
        records.push(respelt);
    }
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let fix = keeping_one(name, &merge(&records, &expected.value));
    let fix = if note.is_empty() { fix } else { fix.after(note) };
    RecordError::new(Code::SpfMissingInclude, message, fix)
}

fn several(expected: &Expected, found: &[&str]) -> RecordError {
    let name = &expected.name;
    let message = format!("{name} has {} SPF records; receivers then use none of them", found.len());
    let readable: Vec<&str> = found.iter().copied().filter(|record| Record::parse(record).is_ok()).collect();
    let fix = match readable.iter().map(|record| record.len()).sum::<usize>() <= TXT {
        true => {
            let merged = merge(&readable, &expected.value);
            typed(&format!("Delete all of them and publish this one TXT record at {name} instead"), &merged)
        }
        // One that is as long would not be read either.
        false => typed(
            &format!(
                "Delete all of them and publish one TXT record at {name} that names who still sends for you, and us"
            ),
            &expected.value,
        ),
    };
    let lost = found.iter().filter(|record| !readable.contains(record)).map(|record| format!("\"{record}\""));
    let fix = match lost.collect::<Vec<_>>().as_slice() {
        [] => fix,
        lost => fix.after(format!("What cannot be read is left out: {}.", lost.join(", "))),
    };
    RecordError::new(Code::SpfMultiple, message, fix)
}

fn syntax(expected: &Expected, record: &str, error: &SyntaxError) -> RecordError {
    let name = &expected.name;
    let message = format!("the SPF record of {name} cannot be read, and receivers use nothing of it: {error}");
    // Term by term, until what is left can be read or the faults are too many.
    let mut text = record.to_owned();
    let mut error = Some(error.clone());
    for _ in 0..MENDINGS {
        let Some(SyntaxError { position, term, instead, .. }) = &error else { break };
        let before: String = text.chars().take(position - 1).collect();
        let after: String = text.chars().skip(position - 1 + term.chars().count()).collect();
        let instead = instead.as_deref().unwrap_or_default();
        // A space after the colon cuts a value off.
        let (instead, after) = match (term.ends_with(':'), after.trim_start().split(' ').next()) {
            (true, Some(cut)) if !cut.is_empty() && Record::parse(&format!("v=spf1 {term}{cut}")).is_ok() => {
                (format!("{term}{cut}"), after.trim_start().chars().skip(cut.chars().count()).collect())
            }
            _ => (instead.to_owned(), after),
        };
        text = format!("{before}{instead}{after}");
        error = Record::parse(&text).err();
    }
    let mended = match error {
        None => merge(&[&text], &expected.value),
        Some(_) => expected.value.clone(),
    };
    RecordError::new(Code::SpfSyntax, message, keeping_one(name, &mended))
}

fn broken_include(expected: &Expected, record: &str, path: &[String], domain: &str, why: &IncludeFault) -> RecordError {
    let name = &expected.name;
    let what = match why {
        IncludeFault::NoRecord => format!("{domain} has no SPF record"),
        IncludeFault::Several => format!("{domain} has more than one SPF record"),
        IncludeFault::Syntax(error) => format!("the SPF record of {domain} cannot be read: {error}"),
        IncludeFault::Loop => format!("{domain} leads back to itself"),
    };
    let way = path.join(" → ");
    let first = path.first().map(String::as_str).unwrap_or_default();
    let message = format!(
        "the SPF record of {name} leads to one that cannot be used, and then none of it counts: {what} ({way})"
    );
    let step = format!(
        "Take \"{first}\" out of the TXT record at {name} if it no longer sends for you, or else tell its provider; without it \
         the record is"
    );
    let fix = without(expected, record, &[first], &step);
    RecordError::new(Code::SpfBrokenInclude, message, fix)
}

/// A step that takes terms out of the record, with what is left to type.
fn without(expected: &Expected, record: &str, terms: &[&str], step: &str) -> Fix {
    let kept: Vec<&str> = record.split(' ').filter(|term| !terms.contains(term)).collect();
    let left = merge(&[&kept.join(" ")], &expected.value);
    typed(step, &left)
}

fn truncated(expected: &Expected, record: &str, error: Option<&SyntaxError>) -> RecordError {
    let name = &expected.name;
    let length = record.len();
    let message = format!("the SPF record of {name} ends in the middle, after {length} characters: it was cut off");
    let readable = match error {
        // The last word is what was cut.
        Some(_) => record.rsplit_once(' ').map_or(record, |(whole, _)| whole),
        None => record,
    };
    let merged = match Record::parse(readable) {
        Ok(_) => merge(&[readable], &expected.value),
        Err(_) => expected.value.clone(),
    };
    let fix = typed(&format!("Publish the whole value at {name}, of which this is known, with our part"), &merged);
    let fix = fix.after(format!(
        "One string holds {ONE_STRING} characters; a longer value goes into several strings of the same record."
    ));
    RecordError::new(Code::TxtTruncated, message, fix)
}

/// Cut at the length of one string, or somewhere inside a word of the value that was asked for.
fn cut(record: &str, wanted: &str) -> bool {
    let ended = Record::parse(record).is_ok_and(|r| r.all().is_some() || r.redirect().is_some());
    let inside = wanted.strip_prefix(record).is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '));
    (record.len() == ONE_STRING && !ended) || inside
}

fn keeping_one(name: &str, text: &str) -> Fix {
    typed(&format!("Change the TXT record at {name}, keeping it one, to"), text)
}

/// A step with the text to type; in strings where it is too long for one.
fn typed(step: &str, text: &str) -> Fix {
    if text.len() <= ONE_STRING {
        return Fix::with(step, text);
    }
    let parts: Vec<String> = strings(text).into_iter().map(|part| format!("\"{part}\"")).collect();
    Fix::with(
        format!("{step} (in several strings of the one record, since one holds only {ONE_STRING} characters)"),
        parts.join(" "),
    )
}

fn count(report: &Report) -> String {
    // The count of an endless tree stops somewhere.
    let more = if report.lookups >= 40 { "more than " } else { "" };
    format!("{more}{}", report.lookups)
}

fn steps(steps: &[Step], between: &str) -> String {
    steps.iter().map(|step| format!("{} ({})", step.term, step.lookups)).collect::<Vec<_>>().join(between)
}
