//! The CNAME of a DKIM token: it leads to exactly its target, or it does not. RFC 1034 §3.6.2.

use super::{Code, Judgement, RecordError, Sight, missing, publish};
use crate::domain::observed::{Answer, RecordData};
use crate::domain::records::{Expected, Purpose};

pub(super) fn judge(expected: &Expected, all: &[Expected], sight: &Sight) -> Judgement {
    let name = &expected.name;
    if let Answer::NoRecord { .. } = sight.answer {
        return nothing(expected, sight);
    }
    let targets: Vec<&str> = sight.answer.records().iter().filter_map(target).collect();
    let wrong = match targets.as_slice() {
        [target] if is_target(target, expected) => return Judgement::Valid,
        [target] => *target,
        _ => {
            let message = format!("there are {} CNAME records at {name}; a name can have only one", targets.len());
            let fix = format!("Keep one CNAME record at {name}, with the value {}.", expected.value);
            return Judgement::Mismatch(RecordError::new(Code::WrongValue, message, fix));
        }
    };
    let other = all.iter().find(|other| other.purpose == Purpose::Dkim && is_target(wrong, other));
    if other.is_some() {
        let message = format!("{name} leads to {wrong}, the target of another of your three records");
        return Judgement::Mismatch(RecordError::new(Code::Swapped, message, change(expected)));
    }
    if wrong.strip_prefix(expected.value.as_str()).is_some_and(|rest| rest.starts_with('.')) {
        let message = format!("{name} leads to {wrong}: your DNS provider has put your own domain behind the value");
        let fix = format!("Write the value with a dot at its end: {}.", expected.value);
        return Judgement::Mismatch(RecordError::new(Code::TargetSuffixed, message, fix));
    }
    let message = format!("{name} leads to {wrong} instead of {}", expected.value);
    Judgement::Mismatch(RecordError::new(Code::WrongValue, message, change(expected)))
}

fn nothing(expected: &Expected, sight: &Sight) -> Judgement {
    let Expected { name, value, .. } = expected;
    let is_address = |record: &RecordData| record.address().is_some();
    if sight.instead.iter().any(is_address) {
        let message = format!("{name} has an address where its CNAME record belongs: it is proxied or flattened");
        let fix = format!("Switch the proxy off for {name} (DNS only), so that a CNAME record to {value} is answered.");
        return Judgement::Mismatch(RecordError::new(Code::Proxied, message, fix));
    }
    if let Some(other) = sight.instead.first() {
        let message = format!("{name} has a {} record where a CNAME record belongs", other.type_name());
        let fix = format!("Delete the {} record at {name}. {}", other.type_name(), publish(expected));
        return Judgement::Mismatch(RecordError::new(Code::WrongType, message, fix));
    }
    Judgement::Missing(missing(expected))
}

fn target(record: &RecordData) -> Option<&str> {
    match record {
        RecordData::Cname(target) => Some(target),
        _ => None,
    }
}

fn is_target(target: &str, expected: &Expected) -> bool {
    target.eq_ignore_ascii_case(&expected.value)
}

fn change(expected: &Expected) -> String {
    format!("Change the value of the CNAME record at {} to {}.", expected.name, expected.value)
}
