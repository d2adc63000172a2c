//! The CNAME of a DKIM token: whether it points to its target, directly or through other aliases. RFC 1034 §3.6.2;
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
    let reaches_target = |answer: &Answer| answer.aliases().iter().any(|alias| is_target(alias, expected));
    if observation.chain.as_ref().is_some_and(reaches_target) {
        return Judgement::Warning(indirect(expected, wrong));
    }
    if let Some(error) = typical_mistake(expected, all, wrong) {
        return Judgement::Mismatch(error);
    }
    let message = format!("{name} points to {wrong} instead of {}", expected.value);
    match &observation.chain {
        // It may still point there.
        Some(Answer::Indefinite { reason, .. }) => {
            let message = format!("{message}, and the DNS gave no definite answer for the target of that: {reason}");
            Judgement::Unknown(RecordError::new(Code::ResolverFailed, message, change_value(expected)))
        }
        _ => Judgement::Mismatch(RecordError::new(Code::WrongValue, message, change_value(expected))),
    }
}

/// Receivers find the key, but the owner of the name in between may redirect them.
fn indirect(expected: &Expected, hop: &str) -> RecordError {
    let Expected { name, value, .. } = expected;
    let message =
        format!("{name} points to {value} through {hop}: receivers find the key as long as that record stays in place");
    RecordError::new(Code::Indirect, message, change_value(expected))
}

/// The mistake that a wrong target shows; `None` if it shows none.
fn typical_mistake(expected: &Expected, all: &[Expected], wrong: &str) -> Option<RecordError> {
    let Expected { name, value, .. } = expected;
    let bare = wrong.replace(['"', '\\'], "");
    if all.iter().any(|other| other.purpose == Purpose::Dkim && is_target(wrong, other)) {
        let message = format!("{name} points to {wrong}, the target of another of your three records");
        let why = "Each of the three records points to the target that begins with its own token.";
        return Some(RecordError::new(Code::Swapped, message, change_value(expected).after(why)));
    }
    if wrong.strip_prefix(value.as_str()).is_some_and(|rest| rest.starts_with('.')) {
        let message = format!("{name} points to {wrong}: your DNS provider has appended your own domain to the value");
        let fix = Fix::with("Enter the value with a dot at its end", format!("{value}."));
        return Some(RecordError::new(Code::TargetSuffixed, message, fix));
    }
    if bare.len() < wrong.len() && is_target(bare.trim(), expected) {
        let message = format!("the CNAME record at {name} has quotation marks inside its value: {wrong}");
        return Some(RecordError::new(
            Code::QuotedTwice,
            message,
            Fix::bare("Type the value without quotation marks", value),
        ));
    }
    if let Some(difference) = difference(wrong, value) {
        let message = format!("{name} points to {wrong}, which is almost {value}: {difference}");
        return Some(RecordError::new(
            Code::NearMiss,
            message,
            change_value(expected).after("Copy the value rather than typing it."),
        ));
    }
    None
}

fn change_value(expected: &Expected) -> Fix {
    let Expected { name, value, .. } = expected;
    Fix::with(format!("Change the value of the CNAME record at {name} to"), value)
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
        "{} is valid, but there is no key at {} yet: this is an error of the platform",
        expected.name, expected.value
    );
    let fix = "Nothing to do: leave the record as it is; we have to publish the key.";
    Judgement::Warning(RecordError::new(Code::TargetWithoutKey, message, fix))
}

fn is_target(target: &str, expected: &Expected) -> bool {
    target.eq_ignore_ascii_case(&expected.value)
}
