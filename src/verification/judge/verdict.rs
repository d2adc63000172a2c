//! One sentence for the whole domain: what is wrong and what to do next, or that everything is valid. Invariant: of
//! several faults the most important one is reported: required records before others, definite faults before
//! indefinite ones, explained faults before others.

use super::{CheckedRecord, Code, RecordError, RecordStatus, finding};
use crate::clock::Timestamp;
use crate::verification::provider::{Provider, recognise};
use crate::verification::records::{Expected, Purpose};
use crate::verification::status::{Finding, Policy, State, VerifiedStatus};

/// There are no records before the first check has settled.
pub fn verdict(domain: &str, state: &State, policy: &Policy, records: &[CheckedRecord]) -> String {
    let next = state.next_check_at.map(|at| format!("the next check is at {}", moment(at))).unwrap_or_default();
    match state.status {
        VerifiedStatus::Pending if records.is_empty() => {
            format!("Publish the records of {domain} at your DNS provider; {next}, or when you ask for one.")
        }
        VerifiedStatus::Pending => pending(domain, state, records, &next),
        VerifiedStatus::Verified => verified(domain, state, policy, records),
        VerifiedStatus::Failed => match worst(records, |e| e.required) {
            Some(error) => format!(
                "Verification of {domain} failed: {}; fix that and verify again: {}.",
                error.message, error.step
            ),
            None => format!("Verification of {domain} failed; its records look valid now, so verify again."),
        },
    }
}

fn pending(domain: &str, state: &State, records: &[CheckedRecord], next: &str) -> String {
    let required = || records.iter().filter(|record| record.expected.required);
    let of = required().count();
    let valid = required().filter(|record| record.evidence.status == RecordStatus::Valid).count();
    let Some(error) = worst(records, |e| e.required) else {
        // Required since the last check, like the ownership record when another account claims the name.
        if valid < of {
            return format!(
                "{valid} of {of} required records of {domain} are valid, and the others have not been checked yet: publish those shown \
                 as not checked; {next}."
            );
        }
        // Independent of who holds the name, so that another account's claim is not revealed.
        return format!(
            "All required records of {domain} are valid and their confirmation continues automatically; remove DKIM records of an \
             earlier set-up, if any; {next}."
        );
    };
    if error.code == super::Code::AwaitingProvider {
        return format!("Nothing to do for {domain}: {}; {next}.", error.message);
    }
    let end = state.window_ends_at.map(|end| format!(", and the window ends at {}", moment(end))).unwrap_or_default();
    format!("{valid} of {of} required records are valid: {}; {}; {next}{end}.", error.message, error.step)
}

fn verified(domain: &str, state: &State, policy: &Policy, records: &[CheckedRecord]) -> String {
    if let (Some(deadline), Some(error)) = (state.deadline(policy), worst(records, |e| e.required)) {
        let (message, step) = (&error.message, &error.step);
        return format!("{domain} is verified, but {message}; {step}, before {} or it fails.", moment(deadline));
    }
    let mx = records.iter().find(|record| record.expected.purpose == Purpose::Mx);
    let receives = mx.is_some_and(|record| record.evidence.status == RecordStatus::Valid);
    let can = if receives { "verified: it sends and receives here" } else { "verified for sending" };
    let stays = mx.and_then(stays);
    let counts = |expected: &Expected| stays.is_none() || expected.purpose != Purpose::Mx;
    let error = worst(records, counts).or_else(|| warning(records, counts));
    match error {
        None => format!("All is well: {domain} is {can}{}.", stays.unwrap_or_default()),
        Some(error) => format!("{domain} is {can}, but {}; {}.", error.message, error.step),
    }
}

/// The error to report first: a definite fault before an indefinite one.
fn worst(records: &[CheckedRecord], of: impl Fn(&Expected) -> bool) -> Option<&RecordError> {
    let bad = |wanted| {
        let found = records.iter().filter(|r| of(&r.expected) && finding(r.evidence.status) == wanted);
        found.filter_map(|record| record.evidence.error.as_ref()).min_by_key(|error| rank(error.code))
    };
    bad(Finding::Fault).or_else(|| bad(Finding::Indefinite))
}

fn warning(records: &[CheckedRecord], of: impl Fn(&Expected) -> bool) -> Option<&RecordError> {
    let found = records.iter().filter(|record| of(&record.expected));
    found.filter_map(|record| record.evidence.error.as_ref()).min_by_key(|error| rank(error.code))
}

/// Where mail stays for a domain that only sends here. Not a fault: senders need no MX record.
fn stays(CheckedRecord { expected, evidence }: &CheckedRecord) -> Option<String> {
    let elsewhere = evidence.error.as_ref().is_some_and(|error| error.code == Code::MxOtherHosts);
    if expected.required || !elsewhere || evidence.status != RecordStatus::Mismatch {
        return None;
    }
    // As displayed: preference and host.
    let hosts: Vec<&str> = evidence
        .observed
        .iter()
        .filter_map(|value| value.split_once(' '))
        .map(|(_, h)| h)
        .filter(|h| *h != ".")
        .collect();
    Some(match recognise(&hosts, None) {
        Some(Provider { name, filter: false }) => format!("; its mail stays at {name}"),
        Some(Provider { name, filter: true }) => format!("; its mail goes through {name} as before"),
        None => format!("; its mail stays at {}", hosts.join(", ")),
    })
}

/// Faults that explain others come first, those needing no action last.
fn rank(code: Code) -> u8 {
    match code {
        Code::DnssecBogus | Code::LameDelegation | Code::CnameAtApex | Code::SuffixDoubled => 0,
        Code::TargetWithoutKey | Code::StillCached | Code::AwaitingProvider => 5,
        Code::ResolverFailed => 4,
        Code::Missing => 3,
        Code::WrongValue => 2,
        _ => 1,
    }
}

fn moment(at: Timestamp) -> String {
    at.to_jiff().strftime("%Y-%m-%d %H:%M UTC").to_string()
}
