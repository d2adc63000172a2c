//! What is done with emails: read, starred, labelled, moved, deleted.

use crate::web::api::{Api, To, to};
use crate::web::form::Form;
use crate::web::refusal::Refusal;
use axum::extract::Path;
use axum::response::Redirect;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// Emails of one form.
const MOST: usize = 100;

/// A form names an action in `do`, perhaps with an email (`star/msg_…`); without one, it is for all that are selected.
pub(super) async fn act(Path(inbox): Path<String>, form: Form) -> Result<Redirect, Refusal> {
    let fields = &form.fields;
    let (action, only) = match fields.text("do").split_once('/') {
        Some((action, id)) => (action, Some(id)),
        None => (fields.text("do"), None),
    };
    let selected: Vec<&str> = match only {
        Some(id) => vec![id],
        None => fields.all("email").take(MOST).collect(),
    };
    if action == "target" && fields.text("target").is_empty() {
        return Ok(Redirect::to(&back(&inbox, fields.text("back"), None)));
    }
    let action = Action::parse(action, fields.text("target"))
        .ok_or_else(|| Refusal::malformed("The form names no action that this page has."))?;
    for id in &selected {
        action.apply(&form.session.api, id).await?;
    }
    let done = if selected.is_empty() { None } else { action.done() };
    Ok(Redirect::to(&back(&inbox, fields.text("back"), done)))
}

/// Where to go on: a page of the inbox, with what was done.
fn back(inbox: &str, given: &str, done: Option<&str>) -> String {
    let here = format!("/mail/{inbox}");
    let rest = given.strip_prefix(&here).filter(|rest| rest.is_empty() || rest.starts_with(['?', '/']));
    let (path, query) = rest.unwrap_or_default().split_once('?').unwrap_or((rest.unwrap_or_default(), ""));
    let path = if path.contains(['\\', '\r', '\n']) || path.contains("..") { "" } else { path };
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "done");
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(kept)
        .extend_pairs(done.map(|done| ("done", done)))
        .finish();
    if query.is_empty() { format!("{here}{path}") } else { format!("{here}{path}?{query}") }
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// The body of a change.
    Change(Value),
    Delete {
        for_good: bool,
    },
    Restore,
}

impl Action {
    /// `target` is what is chosen beside `target`: `move:junk`, `add:todo`, `remove:todo`.
    fn parse(action: &str, target: &str) -> Option<Self> {
        let change = |body| Some(Self::Change(body));
        match action {
            "archive" => change(json!({"move_to": "archive"})),
            "read" => change(json!({"mark_read": true})),
            "unread" => change(json!({"mark_read": false})),
            "star" => change(json!({"add_labels": ["starred"]})),
            "unstar" => change(json!({"remove_labels": ["starred"]})),
            "delete" => Some(Self::Delete { for_good: false }),
            // What is in Trash.
            "erase" => Some(Self::Delete { for_good: true }),
            "restore" => Some(Self::Restore),
            "target" => match target.split_once(':')? {
                ("move", label) => change(json!({"move_to": label})),
                ("add", label) => change(json!({"add_labels": [label]})),
                ("remove", label) => change(json!({"remove_labels": [label]})),
                _ => None,
            },
            _ => None,
        }
    }

    async fn apply(&self, api: &Api, id: &str) -> Result<(), Refusal> {
        let of = |rest: &[&'static str]| -> To { to(["emails", id].into_iter().chain(rest.iter().copied())) };
        let done = match self {
            Self::Change(body) => api.patch::<IgnoredAny>(of(&["actions"]), body.clone()).await.map(drop),
            Self::Delete { .. } => api.delete(of(&[])).await,
            Self::Restore => api.post::<IgnoredAny>(of(&["restore"]), json!({})).await.map(drop),
        };
        // It is gone: somebody else has deleted it meanwhile.
        done.or_else(|refusal| if refusal.is_not_found() { Ok(()) } else { Err(refusal) })
    }

    fn done(&self) -> Option<&'static str> {
        match self {
            Self::Delete { for_good: true } => Some("deleted"),
            Self::Delete { .. } => Some("trashed"),
            Self::Restore => Some("moved"),
            Self::Change(body) => match body.get("move_to").and_then(Value::as_str) {
                Some("archive") => Some("archived"),
                Some(_) => Some("moved"),
                None => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_lead_back_to_a_page_of_the_inbox() {
        for (given, wanted) in [
            ("/mail/inb_1?label=junk&done=moved", "/mail/inb_1?label=junk&done=archived"),
            ("/mail/inb_1", "/mail/inb_1?done=archived"),
            ("/mail/inb_1/msg_2", "/mail/inb_1/msg_2?done=archived"),
            ("/mail/inb_12", "/mail/inb_1?done=archived"),
            ("https://evil.test/", "/mail/inb_1?done=archived"),
            ("//evil.test/", "/mail/inb_1?done=archived"),
            ("/mail/inb_1/../../sign-out", "/mail/inb_1?done=archived"),
            ("/mail/inb_1/\\evil", "/mail/inb_1?done=archived"),
            ("", "/mail/inb_1?done=archived"),
        ] {
            assert_eq!(back("inb_1", given, Some("archived")), wanted, "{given}");
        }
        assert_eq!(back("inb_1", "/mail/inb_1?q=a+b", None), "/mail/inb_1?q=a+b");
    }

    #[test]
    fn actions_are_changes_of_the_api() {
        assert_eq!(Action::parse("target", "add:to-do"), Some(Action::Change(json!({"add_labels": ["to-do"]}))));
        assert_eq!(Action::parse("target", "move:junk"), Some(Action::Change(json!({"move_to": "junk"}))));
        assert_eq!(Action::parse("erase", ""), Some(Action::Delete { for_good: true }));
        for (action, target) in [("target", "junk"), ("target", "x:y"), ("", ""), ("launch", "")] {
            assert_eq!(Action::parse(action, target), None, "{action} {target}");
        }
    }
}
