//! Valid records that the external signing provider has not confirmed (yet).

use super::{CheckedRecord, Code, Evidence, Fix, RecordError, RecordStatus};
use crate::clock::Timestamp;
use crate::verification::records::{Expected, Purpose, RecordKey};
use std::collections::BTreeMap;

/// Marks valid DKIM records as unconfirmed: unknown before the claim is verified, a warning afterwards, when the DNS
/// decides.
pub fn unconfirmed(records: &mut [CheckedRecord], is_verified: bool) {
    for CheckedRecord { expected, evidence: seen } in records {
        if expected.purpose != Purpose::Dkim || seen.status != RecordStatus::Valid {
            continue;
        }
        if !is_verified {
            seen.status = RecordStatus::Unknown;
        }
        let message = "the DKIM records are valid, and Amazon SES, which signs, has not confirmed them yet";
        let fix = Fix::step("Nothing to do: it looks for them automatically, which may take some hours");
        let fix = fix.then("Leave the records as they are.");
        seen.error = Some(RecordError::new(Code::AwaitingProvider, message, fix));
    }
}

/// The name of the return path if all its records are valid.
pub fn valid_return_path(records: &[CheckedRecord]) -> Option<String> {
    let mut of = records.iter().filter(|record| record.expected.purpose.is_return_path()).peekable();
    let name = of.peek().map(|record| record.expected.name.clone())?;
    of.all(|record| record.evidence.status == RecordStatus::Valid).then_some(name)
}

/// Marks the records of a return path as unknown, since it is not known to be in use yet. An existing error
/// (conflicting records, stale caches) may be the reason, and stays.
pub fn return_path_unconfirmed(records: &mut [CheckedRecord]) {
    for CheckedRecord { expected, evidence: seen } in records {
        if !expected.purpose.is_return_path() {
            continue;
        }
        seen.status = RecordStatus::Unknown;
        let message = format!(
            "the records of {} are valid, and Amazon SES, which sends, has not confirmed them yet: until then mail has an \
             envelope sender at a domain of Amazon's",
            expected.name
        );
        let fix = Fix::step("Nothing to do: it looks for them automatically, which may take some hours");
        let fix = fix.then("Leave the records as they are.");
        seen.error.get_or_insert_with(|| RecordError::new(Code::AwaitingProvider, message, fix));
    }
}

/// Whether records of this kind were valid and confirmed at the previous check, given its findings.
pub fn was_confirmed(
    records: &[CheckedRecord],
    before: &BTreeMap<RecordKey, (Evidence, Timestamp)>,
    of_kind: impl Fn(Purpose) -> bool,
) -> bool {
    let confirmed = |record: &Expected| {
        before.get(&record.key()).is_some_and(|(seen, _)| {
            let awaited = seen.error.as_ref().is_some_and(|error| error.code == Code::AwaitingProvider);
            seen.status == RecordStatus::Valid && !awaited
        })
    };
    records.iter().map(|record| &record.expected).filter(|record| of_kind(record.purpose)).all(confirmed)
}
