//! How a call fails: as agents read it. It is made of the API's problem document.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An error as a structured result.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    /// The API's.
    pub(super) code: String,
    pub(super) message: String,
    /// The same call may succeed later.
    retryable: bool,
    retry_after_seconds: Option<u32>,
    next_action: String,
    #[serde(skip_serializing_if = "<[Wrong]>::is_empty")]
    errors: Box<[Wrong]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    existing_id: Option<Box<str>>,
}

/// An argument that is wrong.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Wrong {
    pub(super) field: String,
    pub(super) message: String,
}

/// What is read of a problem document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    fix: String,
    errors: Vec<Wrong>,
    existing_id: Option<Box<str>>,
}

impl Failure {
    pub(super) fn of_problem(body: &Value, retry_after: Option<u32>) -> Self {
        let Ok(problem) = Problem::deserialize(body) else { return Self::unavailable() };
        if problem.code.is_empty() {
            return Self::unavailable();
        }
        let next_action = match retry_after {
            Some(seconds) => again_after(seconds),
            None => problem.fix,
        };
        Self {
            code: problem.code,
            message: problem.detail,
            retryable: retry_after.is_some(),
            retry_after_seconds: retry_after,
            next_action,
            errors: problem.errors.into(),
            existing_id: problem.existing_id,
        }
    }

    /// Arguments that cannot be made a request of. The code is that of the API for wrong fields.
    pub(super) fn invalid(errors: Vec<Wrong>) -> Self {
        let named: Vec<_> = errors.iter().map(|wrong| format!("{}: {}", wrong.field, wrong.message)).collect();
        Self {
            code: "invalid_request".to_owned(),
            message: named.join(". "),
            retryable: false,
            retry_after_seconds: None,
            next_action: "Correct the arguments listed in `errors` and call the tool again.".to_owned(),
            errors: errors.into(),
            existing_id: None,
        }
    }

    /// A temporary fault.
    pub(super) fn unavailable() -> Self {
        const SECONDS: u32 = 5;
        Self {
            code: "unavailable".to_owned(),
            message: "A temporary fault of the server; the call itself is valid.".to_owned(),
            retryable: true,
            retry_after_seconds: Some(SECONDS),
            next_action: again_after(SECONDS),
            errors: Box::default(),
            existing_id: None,
        }
    }
}

fn again_after(seconds: u32) -> String {
    format!("Call the tool again with the same arguments after {seconds} seconds.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_problem_says_when_to_try_again_or_what_to_change() {
        let problem = json!({"code": "queue_full", "detail": "Full.", "fix": "Wait.", "errors": []});
        let failure = serde_json::to_value(Failure::of_problem(&problem, Some(7))).unwrap();
        let expected = json!({"code": "queue_full", "message": "Full.", "retryable": true, "retry_after_seconds": 7,
            "next_action": "Call the tool again with the same arguments after 7 seconds."});
        assert_eq!(failure, expected);

        let problem = json!({"code": "conflict", "detail": "There.", "fix": "Use it.", "existing_id": "dom_1",
            "errors": [{"field": "domain", "message": "is taken"}]});
        let failure = serde_json::to_value(Failure::of_problem(&problem, None)).unwrap();
        let expected = json!({"code": "conflict", "message": "There.", "retryable": false, "retry_after_seconds": null,
            "next_action": "Use it.", "errors": [{"field": "domain", "message": "is taken"}], "existing_id": "dom_1"});
        assert_eq!(failure, expected);
    }

    #[test]
    fn what_is_no_problem_document_is_a_temporary_fault() {
        for body in [json!(null), json!({}), json!({"code": 7}), json!("x")] {
            assert_eq!(Failure::of_problem(&body, None).code, "unavailable");
        }
    }
}
