//! `client_id`: a client's own name for what it creates. Creating it again returns what is there.

use super::fields::Fields;
use super::problem::Problem;

/// Maximum characters of a client id.
const LONGEST: usize = 128;

pub(super) fn client_id(fields: &mut Fields) -> Option<String> {
    let text = fields.text("client_id")?;
    if text.is_empty() || text.chars().count() > LONGEST || text.chars().any(char::is_control) {
        fields.fault("client_id", format!("must be one line of 1 to {LONGEST} characters"));
        return None;
    }
    Some(text)
}

/// 409: the id was used to create something else.
pub(super) fn client_id_used(existing: &str) -> Problem {
    Problem::conflict(
        "client_id_used",
        "The account has used this client_id to create another one.",
        "Use a new client_id, or repeat the request that `existing_id` was created by.",
        Some(existing),
    )
}
