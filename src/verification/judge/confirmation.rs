//! Records that are right, and that the provider who signs elsewhere has not confirmed (yet).

use super::{Code, Evidence, Fix, RecordError, RecordStatus};
use crate::clock::Timestamp;
use crate::verification::records::{Expected, Purpose, RecordKey};
use std::collections::BTreeMap;

/// MessageFlags them. Before a claim is verified nobody can say yet whether they will do; afterwards the DNS decides, and this is
/// a warning.
pub fn unconfirmed(expected: &[Expected], evidence: &mut [Evidence], is_verified: bool) {
    for (record, seen) in expected.iter().zip(evidence) {
        if record.purpose != Purpose::Dkim || seen.status != RecordStatus::Valid {
            continue;
        }
        if !is_verified {
            seen.status = RecordStatus::Unknown;
        }
        let message = "the DKIM records are right, and Amazon SES, which signs, has not confirmed them yet";
        let fix = Fix::step("Nothing to do: it looks for them by itself, which may take some hours");
        let fix = fix.then("Leave the records as they are.");
        seen.error = Some(RecordError::new(Code::AwaitingProvider, message, fix));
    }
}

/// The name of the return path whose records are all right.
pub fn right_return_path(expected: &[Expected], evidence: &[Evidence]) -> Option<String> {
    let mut of = expected.iter().zip(evidence).filter(|(record, _)| record.purpose.is_return_path()).peekable();
    let name = of.peek().map(|(record, _)| record.name.clone())?;
    of.all(|(_, seen)| seen.status == RecordStatus::Valid).then_some(name)
}

/// MessageFlags the records of a return path: whether it is used nobody can say yet. What was said of them already (that
/// others stand beside them, or that caches lag behind) may be the reason.
pub fn return_path_unconfirmed(expected: &[Expected], evidence: &mut [Evidence]) {
    for (record, seen) in expected.iter().zip(evidence) {
        if !record.purpose.is_return_path() {
            continue;
        }
        seen.status = RecordStatus::Unknown;
        let message = format!(
            "the records of {} are right, and Amazon SES, which sends, has not confirmed them yet: until then its mail has \
             an envelope sender at a domain of Amazon's",
            record.name
        );
        let fix = Fix::step("Nothing to do: it looks for them by itself, which may take some hours");
        let fix = fix.then("Leave the records as they are.");
        seen.error.get_or_insert_with(|| RecordError::new(Code::AwaitingProvider, message, fix));
    }
}

/// Whether the records of a kind were right and confirmed at the check before, which found this of them.
pub fn was_confirmed(
    expected: &[Expected],
    before: &BTreeMap<RecordKey, (Evidence, Timestamp)>,
    of_kind: impl Fn(Purpose) -> bool,
) -> bool {
    let confirmed = |record: &Expected| {
        before.get(&record.key()).is_some_and(|(seen, _)| {
            let awaited = seen.error.as_ref().is_some_and(|error| error.code == Code::AwaitingProvider);
            seen.status == RecordStatus::Valid && !awaited
        })
    };
    expected.iter().filter(|record| of_kind(record.purpose)).all(confirmed)
}
