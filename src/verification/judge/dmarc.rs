//! The DMARC record: exactly one, with a valid policy at least as strict as requested. A subdomain without one
//! inherits the organizational domain's. RFC 7489 §6.3 (tags), §6.4 (grammar: `v` comes first), §6.6.3 (one record,
//! and its location); RFC 9989 keeps these rules, adds `np=` and `t=`, and removes `pct=`.

use super::text::{absent, leading_space, too_long, unquoted};
use super::{Code, Fix, Judgement, Observation, RecordError, publish, text_of, texts};
use crate::verification::bounds::is_cut;
use crate::verification::observed::Answer;
use crate::verification::records::Expected;
use crate::verification::tag_list::{
    dmarc_tag, is_dmarc, is_mailto, meant_tags, nearest_policy, policy_in_effect, strictness, tags,
};

pub(super) fn judge(expected: &Expected, observation: &Observation) -> Judgement {
    let texts = texts(observation);
    let name = &expected.name;
    let found: Vec<&str> = texts.iter().copied().filter(|text| is_dmarc(text)).collect();
    let record = match found.as_slice() {
        [record] if is_cut(record) => {
            return Judgement::Mismatch(too_long(expected, "DMARC", Code::DmarcInvalid));
        }
        [record] => *record,
        [] => match texts.iter().find(|text| is_meant(text)) {
            Some(text) if is_dmarc(text.trim_start()) => {
                let meant = repaired(text, &expected.value);
                return Judgement::Mismatch(leading_space(expected, text, |step| Fix::with(step, &meant)));
            }
            Some(text) => return Judgement::Mismatch(unreadable(expected, text)),
            None => return inheriting(expected, observation, &texts),
        },
        _ => {
            let strictest = found.iter().max_by_key(|record| strictness(policy(record))).copied().unwrap_or_default();
            let message = format!("{name} has {} DMARC records; receivers then use none of them", found.len());
            let fix = Fix::with(format!("Delete all DMARC records at {name} but this one"), strictest);
            return Judgement::Mismatch(RecordError::new(Code::DmarcMultiple, message, fix));
        }
    };
    if let Some(why) = fault(record) {
        if cut(record, &expected.value) {
            let message =
                format!("the DMARC record of {name} ends in the middle, after {} characters: {record}", record.len());
            let fix = Fix::with(format!("Change the TXT record at {name} to the whole value"), &expected.value);
            return Judgement::Mismatch(RecordError::new(Code::TxtTruncated, message, fix));
        }
        let fix = Fix::with(format!("Change the TXT record at {name} to"), repaired(record, &expected.value));
        if policy_in_effect(record, false).is_some() && strictness(policy(&expected.value)) == strictness("none") {
            let message =
                format!("receivers read the DMARC record of {name} as p=none, since it only asks for reports: {why}");
            return Judgement::Warning(RecordError::new(Code::DmarcInvalid, message, fix));
        }
        let message = format!("the DMARC record of {name} is not valid: {why}");
        return Judgement::Mismatch(RecordError::new(Code::DmarcInvalid, message, fix));
    }
    if strictness(policy(record)) < strictness(policy(&expected.value)) {
        let message = format!("the DMARC policy of {name} is weaker than expected: {record}");
        let stricter = with_policy(record, policy(&expected.value));
        let fix = Fix::with(format!("Change the TXT record at {name} to"), stricter);
        return Judgement::Mismatch(RecordError::new(Code::DmarcWeaker, message, fix));
    }
    match passed_over(record) {
        None => Judgement::Valid,
        Some(why) => {
            let message = format!("the DMARC record of {name} is valid, but receivers ignore a part of it: {why}");
            let fix = format!("Correct that tag in the TXT record at {name}, or remove it.");
            Judgement::Warning(RecordError::new(Code::DmarcInvalid, message, fix))
        }
    }
}

/// The record that applies to a subdomain without its own: that of the organizational domain.
pub(super) fn inherited(observation: &Observation) -> Option<&str> {
    if texts(observation).iter().any(|text| is_dmarc(text) || is_meant(text)) {
        return None;
    }
    let above = observation.inherited.as_ref()?.records().iter().filter_map(text_of);
    let mut found = above.filter(|text| is_dmarc(text));
    match (found.next(), found.next()) {
        (Some(record), None) => Some(record),
        _ => None,
    }
}

/// No record at the name itself. An inherited one that is strict enough is sufficient, and must not be weakened by a
/// record here.
fn inheriting(expected: &Expected, observation: &Observation, texts: &[&str]) -> Judgement {
    let name = &expected.name;
    if let (Some(Answer::Indefinite { reason, .. }), Some(above)) = (&observation.inherited, expected.inherited_from())
    {
        let message =
            format!("there is no TXT record at {name}, and it is not known whether {above} has one for it: {reason}");
        let fix = "Nothing to do if this passes: the check is repeated.";
        return Judgement::Unknown(RecordError::new(Code::ResolverFailed, message, fix));
    }
    let found = inherited(observation).and_then(|record| Some((record, policy_in_effect(record, true)?)));
    let Some((record, theirs)) = found else { return absent(expected, observation, texts, is_dmarc) };
    let wanted = policy(&expected.value);
    if strictness(theirs) >= strictness(wanted) {
        return Judgement::Valid;
    }
    let above = expected.inherited_from().unwrap_or_default();
    let message = format!(
        "{name} has no DMARC record of its own, and what {above} says of subdomains is weaker than expected: {record}"
    );
    // The organizational domain has no policy for its subdomains.
    let kept: Vec<&str> =
        record.split(';').filter(|tag| dmarc_tag(tag, "sp").or(dmarc_tag(tag, "np")).is_none()).collect();
    let own = Expected { value: with_policy(&kept.join(";"), wanted), ..expected.clone() };
    Judgement::Mismatch(RecordError::new(Code::DmarcWeaker, message, publish(&own)))
}

/// A text meant to be a DMARC record.
fn is_meant(text: &str) -> bool {
    let small = text.trim().to_ascii_lowercase();
    unquoted(text).is_none()
        && (small.contains("dmarc") && small.contains(['=', ';']) || tags(&small).any(|(n, v)| n == "p" && known(v)))
}

fn unreadable(expected: &Expected, text: &str) -> RecordError {
    let name = &expected.name;
    let version = tags(text).find(|(tag, _)| tag.eq_ignore_ascii_case("v"));
    let why = match version {
        None => "it does not begin with v=DMARC1;".to_owned(),
        Some(("v", "DMARC1")) => "v=DMARC1 is not the first tag".to_owned(),
        Some(("v", value)) if value.starts_with("DMARC1") => {
            format!("a semicolon must follow v=DMARC1, and v={value} has none")
        }
        Some((tag, value)) => format!("it must begin with exactly v=DMARC1; and has {tag}={value}"),
    };
    let message = format!("the DMARC record of {name} is not read by receivers: {why}");
    let fix = Fix::with(format!("Change the TXT record at {name} to"), repaired(text, &expected.value));
    RecordError::new(Code::DmarcInvalid, message, fix)
}

/// Why receivers find no policy in a record.
fn fault(record: &str) -> Option<String> {
    let mut policies = tags(record).filter(|(tag, _)| tag.eq_ignore_ascii_case("p"));
    match (policies.next(), policies.next()) {
        (None, _) => Some("it has no policy (p=)".to_owned()),
        (Some((_, "")), _) => Some("its policy (p=) is empty".to_owned()),
        (Some((_, value)), _) if !known(value) => {
            Some(format!("\"{value}\" is not a valid policy; valid are none, quarantine and reject"))
        }
        (Some(_), Some(_)) => Some("it has more than one policy (p=)".to_owned()),
        (Some(_), None) => {
            let sub = tags(record).find(|(tag, value)| tag.eq_ignore_ascii_case("sp") && !known(value));
            sub.map(|(_, value)| format!("\"{value}\" is not a valid policy for subdomains (sp=)"))
        }
    }
}

/// What receivers ignore in a valid record.
fn passed_over(record: &str) -> Option<String> {
    let shapeless = record.split(';').map(str::trim).find(|part| !part.is_empty() && !part.contains('='));
    if let Some(part) = shapeless {
        return Some(format!("\"{part}\" is not a tag=value pair"));
    }
    tags(record).find_map(|(tag, value)| {
        let good = match tag.to_ascii_lowercase().as_str() {
            "adkim" | "aspf" => ["r", "s"].iter().any(|mode| mode.eq_ignore_ascii_case(value)),
            "pct" => value.parse::<u8>().is_ok_and(|percent| percent <= 100),
            "rua" | "ruf" => value.split(',').all(is_mailto),
            "np" => known(value),
            "t" => ["y", "n"].iter().any(|mode| mode.eq_ignore_ascii_case(value)),
            _ => true,
        };
        (!good).then(|| format!("{tag}={value}"))
    })
}

/// The corrected record, keeping valid tags.
fn repaired(record: &str, wanted: &str) -> String {
    let meant = meant_tags(record);
    let policy = meant.iter().filter(|(tag, _)| tag == "p").find_map(|(_, value)| nearest_policy(value));
    with_policy(record, policy.unwrap_or(&policy_of(wanted)))
}

/// `v` first, then the policy, then other valid tags.
fn with_policy(record: &str, policy: &str) -> String {
    let mut all = vec!["v=DMARC1".to_owned(), format!("p={policy}")];
    let others =
        meant_tags(record).into_iter().filter(|(tag, value)| !matches!(tag.as_str(), "v" | "p") && !value.is_empty());
    all.extend(others.filter_map(|(tag, value)| value_meant(&tag, value).map(|value| format!("{tag}={value}"))));
    format!("{};", all.join("; "))
}

/// The intended value of a tag; `None` if it would invalidate the record.
fn value_meant(tag: &str, value: String) -> Option<String> {
    match tag {
        "sp" | "np" => nearest_policy(&value).map(str::to_owned),
        "rua" | "ruf" => {
            let uri = |uri: &str| match uri.trim() {
                address if address.contains('@') && !address.contains(':') => format!("mailto:{address}"),
                uri => uri.to_owned(),
            };
            Some(value.split(',').map(uri).collect::<Vec<_>>().join(","))
        }
        _ => Some(value),
    }
}

fn policy(record: &str) -> &str {
    dmarc_tag(record, "p").unwrap_or("none")
}

fn policy_of(record: &str) -> String {
    policy(record).to_ascii_lowercase()
}

fn known(policy: &str) -> bool {
    strictness(policy).is_some()
}

/// Cut inside a word of the expected value, or at the length of one string.
fn cut(record: &str, wanted: &str) -> bool {
    let inside = wanted.strip_prefix(record).is_some_and(|rest| !rest.is_empty() && !rest.starts_with([';', ' ']));
    (inside && !record.ends_with(['=', ' '])) || record.len() == 255
}
