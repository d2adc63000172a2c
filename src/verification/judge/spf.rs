//! The SPF record: whether it authorises our servers, and whether receivers can use it. Invariant: there is never more
//! than one record to publish; a suggested record can be parsed and keeps the existing terms. RFC 7208 §3.2 (one
//! record), §4.5 (selection), §4.6.4 (limits), §5.1 (nothing counts after `all`).

use super::text::{absent, leading_space, too_long};
use super::{Code, Fix, Judgement, Observation, RecordError, texts};
use crate::verification::bounds::is_cut;
use crate::verification::records::Expected;
use crate::verification::spf::{
    Crowded, Fault, IncludeFault, LOOKUP_LIMIT, MAIL_HOST_LIMIT, Mechanism, Offer, Qualifier, Record, Report, Step,
    SyntaxError, VOID_LIMIT, candidates, decides, is_misspelt, is_spf, lacking, merge, offer, strings, terms,
};

/// Maximum omitted terms that are listed.
const LISTED: usize = 8;

/// Maximum octets in one string of a TXT record.
const ONE_STRING: usize = 255;

/// An SPF record is valid if it authorises everything that the expected one does, in any order, with or without other
/// terms, directly or indirectly, and if receivers can evaluate it.
pub(super) fn judge(expected: &Expected, observation: &Observation) -> Judgement {
    let texts = texts(observation);
    let found: Vec<&str> = texts.iter().copied().filter(|text| is_spf(text)).collect();
    let report = observation.spf.as_ref();
    let record = match found.as_slice() {
        [] => match candidates(&texts).as_slice() {
            [] => return absent(expected, observation, &texts, is_spf),
            meant => return Judgement::Mismatch(unread(expected, meant, observation)),
        },
        [record] if is_cut(record) => {
            return Judgement::Mismatch(too_long(expected, "SPF", Code::SpfSyntax));
        }
        [record] => *record,
        _ => return Judgement::Mismatch(several(expected, &found, observation)),
    };
    if let Some(error) = one(expected, record, observation) {
        return Judgement::Mismatch(error);
    }
    if let Some(error) = undecided(expected, record, observation) {
        return Judgement::Unknown(error);
    }
    let broken = report.and_then(|report| ours_broken(expected, report));
    match broken.or_else(|| everybody(expected, record, report)) {
        Some(warning) => Judgement::Warning(warning),
        None => Judgement::Valid,
    }
}

/// Texts meant to be SPF records that receivers ignore.
fn unread(expected: &Expected, meant: &[&str], observation: &Observation) -> RecordError {
    let (name, offer) = (&expected.name, offer(meant, &expected.value));
    let fix = |step: &str| offered(step, &offer, observation);
    if let Some(text) = meant.iter().find(|text| is_spf(text.trim_start())) {
        return leading_space(expected, text, fix);
    }
    let begins: String = meant.first().unwrap_or(&"").chars().take(20).collect();
    let message = format!(
        "the SPF record of {name} is not read by receivers: it must begin with v=spf1 and a space, and begins with \"{begins}\""
    );
    RecordError::new(Code::SpfSyntax, message, fix(&keeping_one(name)))
}

/// The record is valid but authorises everybody, so it protects against nothing.
fn everybody(expected: &Expected, record: &str, report: Option<&Report>) -> Option<RecordError> {
    let name = &expected.name;
    let parsed = Record::parse(record).ok()?;
    let open = |term: &str| term.ends_with("/0");
    let own = parsed.directives().find(|(term, qualifier, _)| *qualifier == Qualifier::Pass && open(&term.text));
    let own = own.map(|(term, ..)| term.text.as_str());
    let all = || record.split(' ').find(|word| is_all(word)).filter(|_| parsed.all() == Some(Qualifier::Pass));
    let says = |term: &str| {
        format!("the SPF record of {name} lets everybody send mail as {name}: \"{term}\" matches every address")
    };
    if let Some(term) = own.or_else(all) {
        let terms: Vec<&str> = record.split(' ').filter(|word| !open(word)).collect();
        let fix = typed(&keeping_one(name), &merge(&[&terms.join(" ")], &expected.value));
        return Some(RecordError::new(Code::SpfAllowsAll, says(term), fix));
    }
    let path = report?.everybody.as_ref()?;
    let first = path.first()?;
    let message = format!("{} by way of {}", says("all"), path.join(" → "));
    let step =
        format!("Take \"{first}\" out of the TXT record at {name}, or tell its provider; without it the record is");
    Some(RecordError::new(Code::SpfAllowsAll, message, without(expected, record, &[first], &step)))
}

/// True for a record with one of our terms.
pub(super) fn has_ours(expected: &Expected, text: &str) -> bool {
    let ours = terms(&expected.value);
    Record::parse(text).is_ok_and(|record| record.directives().any(|(term, ..)| ours.contains(&term.normal())))
}

/// Our own include is broken: not the owner's fault.
fn ours_broken(expected: &Expected, report: &Report) -> Option<RecordError> {
    let Some(Fault::Include { path, domain, .. }) = &report.fault else { return None };
    let at = path.iter().position(|term| terms(&expected.value).contains(&term.to_ascii_lowercase()))?;
    let term = path.get(at).map(String::as_str).unwrap_or_default();
    let message = format!(
        "the SPF record of {} is valid, but the record of {domain}, which {term} includes, cannot be used now: this is an error of the \
         platform",
        expected.name
    );
    let fix = "Nothing to do: leave the record as it is.";
    Some(RecordError::new(Code::SpfBrokenInclude, message, fix))
}

fn one(expected: &Expected, record: &str, observation: &Observation) -> Option<RecordError> {
    let (name, report) = (&expected.name, observation.spf.as_ref());
    let parsed = match Record::parse(record) {
        Ok(parsed) => parsed,
        Err(error) if cut(record, &expected.value) => return Some(truncated(expected, record, Some(&error))),
        Err(error) => return Some(syntax(expected, record, &error, observation)),
    };
    let lacking = lacking(&expected.value, &parsed, report);
    let seen = report.is_none_or(|report| report.unanswered.is_empty() && report.unexpanded.is_empty());
    if !lacking.is_empty() && cut(record, &expected.value) {
        return Some(truncated(expected, record, None));
    }
    if !lacking.is_empty() && (seen || lacking.iter().any(|term| decides(term, &parsed).is_some())) {
        return Some(missing_include(expected, record, &parsed, &lacking, observation));
    }
    let report = report?;
    if let Some(Fault::Include { path, domain, why }) = &report.fault
        && ours_broken(expected, report).is_none()
    {
        return Some(broken_include(expected, record, path, domain, why));
    }
    if report.lookups > LOOKUP_LIMIT {
        let message = format!(
            "the SPF record of {name} makes receivers look up {} names, and they allow {LOOKUP_LIMIT}: they then ignore the \
             whole record; the most expensive chain is {}",
            count(report),
            steps(&report.costliest_chain, " → ")
        );
        let fix = Fix::step(
            "Remove the terms of services that no longer send for you, or ask their providers for shorter ones",
        );
        let costs = steps(&report.costs, ", ");
        let fix = fix.then(format!("The look-ups of each term: {costs}. Their sum must be at most {LOOKUP_LIMIT}."));
        return Some(RecordError::new(Code::SpfLookupLimit, message, fix));
    }
    let ours = terms(&expected.value);
    let is_ours = |term: &String| ours.contains(&term.to_ascii_lowercase());
    if let Some(crowded) = report.crowded.as_ref().filter(|crowded| !crowded.path.iter().any(is_ours)) {
        return Some(too_many_hosts(expected, record, crowded));
    }
    let is_theirs = |name: &&String| !ours.iter().any(|term| term.split(':').nth(1) == Some(name.as_str()));
    let void: Vec<&str> = report.void_lookups.iter().filter(is_theirs).map(String::as_str).collect();
    if void.len() > VOID_LIMIT {
        let names = void.join(", ");
        let message = format!(
            "the SPF record of {name} makes receivers look up {} names that do not exist, and they allow {VOID_LIMIT}: they then \
             ignore the whole record",
            void.len()
        );
        let names_one = |mechanism: &Mechanism| {
            mechanism.domain().is_some_and(|d| void.contains(&d.to_ascii_lowercase().trim_end_matches('.')))
        };
        let there: Vec<&str> =
            parsed.directives().filter(|(_, _, m)| names_one(m)).map(|(term, ..)| term.text.as_str()).collect();
        let remove = format!("Remove the terms that point to {names}, which do not exist");
        let fix = match there.as_slice() {
            // In an included record, which has another owner.
            [] => Fix::step(remove),
            there => without(expected, record, there, &format!("{remove}; the TXT record at {name} is then")),
        };
        return Some(RecordError::new(Code::SpfVoidLookups, message, fix));
    }
    None
}

/// An `mx` term costs one lookup, plus one for the addresses of each host, which have a separate limit.
fn too_many_hosts(expected: &Expected, record: &str, crowded: &Crowded) -> RecordError {
    let (name, Crowded { path, domain, hosts }) = (&expected.name, crowded);
    let (way, first) = (path.join(" → "), path.first().map(String::as_str).unwrap_or_default());
    let message = format!(
        "the SPF record of {name} makes receivers look up the {hosts} mail hosts of {domain}, and an mx term may have at most \
         {MAIL_HOST_LIMIT}: they then ignore the whole record ({way})"
    );
    let otherwise = match path.len() {
        1 => "replace it by ip4: and ip6: terms with the sending addresses",
        _ => "tell its provider",
    };
    let step = format!(
        "Take \"{first}\" out of the TXT record at {name} if it does not send for you, or else {otherwise}; without it the record is"
    );
    RecordError::new(Code::SpfLookupLimit, message, without(expected, record, &[first], &step))
}

/// Our servers may be authorised where evaluation is not possible: temporarily, or before a sender is known.
fn undecided(expected: &Expected, record: &str, observation: &Observation) -> Option<RecordError> {
    let report = observation.spf.as_ref()?;
    let lacking = lacking(&expected.value, &Record::parse(record).ok()?, Some(report));
    if lacking.is_empty() {
        return None;
    }
    let (name, lacking) = (&expected.name, lacking.join(" "));
    let offer = offer(&[record], &expected.value);
    let (code, message, step, before) = match report.unanswered.as_slice() {
        [] => (
            Code::SpfMissingInclude,
            format!(
                "whether the SPF record of {name} allows our servers ({lacking}) cannot be determined: what {} matches depends on \
                 the sender",
                report.unexpanded.join(", ")
            ),
            format!("Unless it lets {lacking} pass already, change the TXT record at {name}, keeping it one, to"),
            "Ask the provider of that term whom it allows.",
        ),
        silent => (
            Code::ResolverFailed,
            format!(
                "whether the SPF record of {name} allows our servers ({lacking}) could not be determined: the DNS gave no definite \
                 answer for {}, which it includes",
                silent.join(", ")
            ),
            format!("If this stays, change the TXT record at {name}, keeping it one, to"),
            "The check is repeated automatically.",
        ),
    };
    Some(RecordError::new(code, message, offered(&step, &offer, observation).after(before)))
}

fn missing_include(
    expected: &Expected,
    record: &str,
    parsed: &Record,
    lacking: &[String],
    observation: &Observation,
) -> RecordError {
    let Expected { name, value, .. } = expected;
    let behind = |term: &String| {
        let mut words = record.split(' ').skip_while(|word| !is_all(word));
        words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(term))
    };
    let first = lacking.first().map(String::as_str).unwrap_or_default();
    let why = match decides(first, parsed) {
        Some((term, Qualifier::Neutral)) => format!("the \"?\" of \"{term}\" makes it neutral"),
        Some((term, _)) => format!("\"{term}\" says that they may not send"),
        None if lacking.iter().any(behind) => {
            format!("{} comes after the \"all\", where receivers stop reading", lacking.join(" "))
        }
        None => format!("{} is not in it", lacking.join(" ")),
    };
    let message = format!("the SPF record of {name} does not allow our servers: {why}");
    let fix = offered(&keeping_one(name), &offer(&[record], value), observation);
    let fix = match record.split(' ').find(|term| is_misspelt(term)) {
        Some(wrong) => fix.after(format!("\"{wrong}\" must be written with a colon.")),
        None => fix,
    };
    RecordError::new(Code::SpfMissingInclude, message, fix)
}

fn is_all(word: &str) -> bool {
    word.trim_start_matches(['+', '-', '~', '?']).eq_ignore_ascii_case("all")
}

fn several(expected: &Expected, found: &[&str], observation: &Observation) -> RecordError {
    let Expected { name, value, .. } = expected;
    let message = format!("{name} has {} SPF records; receivers then use none of them", found.len());
    let offer = offer(found, value);
    let one = match offer.is_ours_alone {
        false => format!("this one TXT record at {name} instead"),
        true => format!("one TXT record at {name} that names who still sends for you, and us"),
    };
    RecordError::new(
        Code::SpfMultiple,
        message,
        offered(&format!("Delete all of them and publish {one}"), &offer, observation),
    )
}

fn syntax(expected: &Expected, record: &str, error: &SyntaxError, observation: &Observation) -> RecordError {
    let Expected { name, value, .. } = expected;
    let message = format!("the SPF record of {name} cannot be parsed, and receivers ignore it: {error}");
    RecordError::new(Code::SpfSyntax, message, offered(&keeping_one(name), &offer(&[record], value), observation))
}

fn broken_include(expected: &Expected, record: &str, path: &[String], domain: &str, why: &IncludeFault) -> RecordError {
    let name = &expected.name;
    let what = match why {
        IncludeFault::NoRecord => format!("{domain} has no SPF record"),
        IncludeFault::Several => format!("{domain} has more than one SPF record"),
        IncludeFault::Syntax(error) => format!("the SPF record of {domain} cannot be read: {error}"),
        IncludeFault::Loop => format!("{domain} includes itself"),
    };
    let way = path.join(" → ");
    let first = path.first().map(String::as_str).unwrap_or_default();
    let message = format!(
        "the SPF record of {name} includes one that cannot be used, and receivers then ignore the whole record: {what} ({way})"
    );
    let step = format!(
        "Take \"{first}\" out of the TXT record at {name} if it no longer sends for you, or else tell its provider; without it \
         the record is"
    );
    let fix = without(expected, record, &[first], &step);
    RecordError::new(Code::SpfBrokenInclude, message, fix)
}

/// A step that removes terms, with the remaining record.
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
        // The last word was cut.
        Some(_) => record.rsplit_once(' ').map_or(record, |(whole, _)| whole),
        None => record,
    };
    let known = offer(&[readable], &expected.value).text;
    let fix = typed(&format!("Publish the whole value at {name}; the known part of it, with ours, is"), &known);
    let fix = fix.after(format!(
        "One string has at most {ONE_STRING} characters; a longer value needs several strings in the same record."
    ));
    RecordError::new(Code::TxtTruncated, message, fix)
}

/// Cut at the length of one string, or inside a word of the expected value.
fn cut(record: &str, wanted: &str) -> bool {
    let ended = Record::parse(record).is_ok_and(|r| r.all().is_some() || r.redirect().is_some());
    let inside = wanted.strip_prefix(record).is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '));
    (record.len() == ONE_STRING && !ended) || inside
}

fn keeping_one(name: &str) -> String {
    format!("Change the TXT record at {name}, keeping it one, to")
}

/// A step with a record to publish, and remarks about it.
fn offered(step: &str, offer: &Offer, observation: &Observation) -> Fix {
    let fix = typed(step, &offer.text);
    let fix = match offer.left_out.as_slice() {
        [] => fix,
        terms => {
            let listed: Vec<String> = terms.iter().take(LISTED).map(|term| format!("\"{term}\"")).collect();
            let more = terms.len().saturating_sub(LISTED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            fix.after(format!("Terms that cannot be parsed are omitted: {}{more}.", listed.join(", ")))
        }
    };
    match observation.spf_offered.as_ref().filter(|report| report.lookups > LOOKUP_LIMIT) {
        None => fix,
        Some(report) => fix.after(format!(
            "The record offered here costs {} look-ups, and receivers allow {LOOKUP_LIMIT}: remove the terms of services that no \
             longer send for you. The look-ups of each term: {}.",
            count(report),
            steps(&report.costs, ", ")
        )),
    }
}

/// A step with the text to enter, in several strings if it is too long for one.
fn typed(step: &str, text: &str) -> Fix {
    if text.len() <= ONE_STRING {
        return Fix::with(step, text);
    }
    let parts: Vec<String> = strings(text).into_iter().map(|part| format!("\"{part}\"")).collect();
    Fix::with(
        format!("{step} (in several strings of one record, since a string has at most {ONE_STRING} characters)"),
        parts.join(" "),
    )
}

fn count(report: &Report) -> String {
    // Counting stops for endless trees.
    let more = if report.lookups >= 40 { "more than " } else { "" };
    format!("{more}{}", report.lookups)
}

fn steps(steps: &[Step], between: &str) -> String {
    steps.iter().map(|step| format!("{} ({})", step.term, step.lookups)).collect::<Vec<_>>().join(between)
}
