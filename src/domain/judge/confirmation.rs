//! DKIM records that are right, and that the provider who signs elsewhere has not confirmed (yet).

use super::{Code, Evidence, RecordError, RecordStatus};
use crate::domain::records::{Expected, Purpose};

/// Marks them. Before a claim is verified nobody can say yet whether they will do; afterwards the DNS decides, and this is
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
        let fix =
            "Nothing to do: it looks for them by itself, which may take some hours. Leave the records as they are.";
        seen.error = Some(RecordError::new(Code::AwaitingProvider, message, fix));
    }
}
