//! The CNAME of a DKIM token: whether it points to its target, directly or by way of other aliases. RFC 1034 §3.6.2;
//! RFC 6376 §3.6.1 (the key behind it).

use super::nearness::difference;
use super::{Code, Fix, Judgement, Observation, RecordError, nothing};
use crate::verification::observed::{Answer, RecordData};
use crate::verification::records::{Expected, Purpose};
use crate::verification::tag_list::dkim_key;

pub(super) fn judge(expected: &Expected, all: &[Expected], observation: &Observation) -> Judgement {
    let name = &expected.name;
    let targets: Vec<&str> = observation.answer.records().iter().filter_map(RecordData::target).collect();
    let wrong = match targets.as_slice() {
        [] => return nothing(expected, observation),
        [target] if is_target(target, expected) => return keyed(expected, observation),
        [target] => *target,
        _ => {
            let message = format!("there are {} CNAME records at {name}; a name can have only one", targets.len());
            let fix = Fix::with(format!("Keep one CNAME record at {name}, with the value"), &expected.value);
            return Judgement::Mismatch(RecordError::new(Code::WrongValue, message, fix));
        }
    };
    let leads_here = |answer: &Answer| answer.aliases().iter().any(|alias| is_target(alias, expected));
    if observation.chain.as_ref().is_some_and(leads_here) {
        return Judgement::Warning(indirect(expected, wrong));
    }
    let (code, message, fix) = mistake(expected, all, wrong);
    match &observation.chain {
        // It may still point there.
        Some(Answer::Indefinite { reason, .. }) if code == Code::WrongValue => {
            let message = format!("{message}, and the DNS gave no definite answer for where that leads: {reason}");
            Judgement::Unknown(RecordError::new(Code::ResolverFailed, message, fix))
        }
        _ => Judgement::Mismatch(RecordError::new(code, message, fix)),
    }
}

/// Receivers find the key, but the owner of the name in between may redirect them.
fn indirect(expected: &Expected, hop: &str) -> RecordError {
    let Expected { name, value, .. } = expected;
    let message = format!(
        "{name} leads to {value} by way of {hop}: receivers find the key, for as long as that name is kept in order too"
    );
    let fix = Fix::with(format!("Change the value of the CNAME record at {name} to"), value);
    RecordError::new(Code::Indirect, message, fix)
}

/// What a wrong target shows about its cause.
fn mistake(expected: &Expected, all: &[Expected], wrong: &str) -> (Code, String, Fix) {
    let Expected { name, value, .. } = expected;
    let change = Fix::with(format!("Change the value of the CNAME record at {name} to"), value);
    let bare = wrong.replace(['"', '\\'], "");
    if all.iter().any(|other| other.purpose == Purpose::Dkim && is_target(wrong, other)) {
        let message = format!("{name} points to {wrong}, the target of another of your three records");
        let why = "Each of the three records points to the target that begins with its own token.";
        return (Code::Swapped, message, change.after(why));
    }
    if wrong.strip_prefix(value.as_str()).is_some_and(|rest| rest.starts_with('.')) {
        let message = format!("{name} points to {wrong}: your DNS provider has appended your own domain to the value");
        let fix = Fix::with("Enter the value with a dot at its end", format!("{value}."));
        return (Code::TargetSuffixed, message, fix);
    }
    if bare.len() < wrong.len() && is_target(bare.trim(), expected) {
        let message = format!("the CNAME record at {name} has quotation marks inside its value: {wrong}");
        return (Code::QuotedTwice, message, Fix::bare("Type the value without quotation marks", value));
    }
    if let Some(difference) = difference(wrong, value) {
        let message = format!("{name} points to {wrong}, which is almost {value}: {difference}");
        return (Code::NearMiss, message, change.after("Copy the value rather than typing it."));
    }
    (Code::WrongValue, format!("{name} points to {wrong} instead of {value}"), change)
}

/// The record is valid. A missing key behind it is not its owner's fault.
fn keyed(expected: &Expected, observation: &Observation) -> Judgement {
    let is_key = |record: &RecordData| matches!(record, RecordData::Txt(text) if dkim_key(text).is_some());
    let lacks = match &observation.target {
        Some(Answer::NoRecord { .. }) => true,
        Some(Answer::Found { records, .. }) => !records.iter().any(is_key),
        Some(Answer::Indefinite { .. }) | None => false,
    };
    if !lacks {
        return Judgement::Valid;
    }
    let message = format!(
        "{} is right, but there is no key at {} yet: this is an error of the platform",
        expected.name, expected.value
    );
    let fix = "There is nothing for you to do: the record stays as it is, and the key is ours to publish.";
    Judgement::Warning(RecordError::new(Code::TargetWithoutKey, message, fix))
}

fn is_target(target: &str, expected: &Expected) -> bool {
    target.eq_ignore_ascii_case(&expected.value)
}
