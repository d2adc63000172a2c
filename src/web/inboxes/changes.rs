//! What the forms of an inbox change. A form that is refused is shown again with the reason.

use super::show::again;
use super::{Tried, inbox};
use crate::web::WebContext;
use crate::web::api::to;
use crate::web::form::{Fields, Form};
use crate::web::refusal::Refusal;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Value, json};

pub(super) async fn create_alias(
    State(context): State<WebContext>,
    Path(id): Path<String>,
    form: Form,
) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    let given = fields.text("address");
    match session.api.post::<Value>(to(["inboxes", &id, "aliases"]), json!({"address": given})).await {
        Ok(_) => Ok(Redirect::to(&format!("/inboxes/{id}?done=created")).into_response()),
        Err(refusal) if refusal.is_of_input() => {
            again(&session, &context, &id, Tried { form: "alias", given, refusal: Some(&refusal) }).await
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn delete_alias(Path((id, alias)): Path<(String, String)>, form: Form) -> Result<Redirect, Refusal> {
    form.session.api.delete(to(["inboxes", &id, "aliases", &alias])).await?;
    Ok(Redirect::to(&format!("/inboxes/{id}?done=deleted")))
}

pub(super) async fn create_entry(
    State(context): State<WebContext>,
    Path(id): Path<String>,
    form: Form,
) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    let (rule, pattern) = (fields.text("rule"), fields.text("pattern"));
    let (direction, action) = rule.split_once(' ').unwrap_or_default();
    let mut body = json!({"direction": direction, "action": action, "pattern": pattern, "inbox_id": id});
    if session.is_operator()
        && let Some(body) = body.as_object_mut()
    {
        let account = inbox(&session, &id).await?.account_id;
        body.insert("account_id".to_owned(), account.into());
    }
    match session.api.post::<Value>(to(["access_entries"]), body).await {
        Ok(_) => Ok(Redirect::to(&format!("/inboxes/{id}?done=created")).into_response()),
        Err(refusal) if refusal.is_of_input() => {
            let given = format!("{rule}\n{pattern}");
            again(&session, &context, &id, Tried { form: "access", given: &given, refusal: Some(&refusal) }).await
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn delete_entry(Path((id, entry)): Path<(String, String)>, form: Form) -> Result<Redirect, Refusal> {
    form.session.api.delete(to(["access_entries", &entry])).await?;
    Ok(Redirect::to(&format!("/inboxes/{id}?done=deleted")))
}

/// The change that a form asks for; what it does not have stays.
fn change(fields: &Fields) -> Value {
    let days = |name: &str| match fields.some(name) {
        None => Value::Null,
        // What is no number is refused by the API.
        Some(text) => text.parse::<u64>().map_or_else(|_| json!(text), |days| json!(days)),
    };
    let mut change = json!({
        "save_sent": fields.is_checked("save_sent"),
        "trash_days": days("trash_days"),
        "junk_days": days("junk_days"),
    });
    if fields.has("default_domain_id")
        && let Some(change) = change.as_object_mut()
    {
        change.insert("default_domain_id".to_owned(), json!(fields.some("default_domain_id")));
    }
    change
}

pub(super) async fn save(
    State(context): State<WebContext>,
    Path(id): Path<String>,
    form: Form,
) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    match session.api.patch::<Value>(to(["inboxes", &id]), change(&fields)).await {
        Ok(_) => Ok(Redirect::to(&format!("/inboxes/{id}?done=saved")).into_response()),
        Err(refusal) if refusal.is_of_input() => {
            again(&session, &context, &id, Tried { form: "settings", given: "", refusal: Some(&refusal) }).await
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn disable(Path(id): Path<String>, form: Form) -> Result<Redirect, Refusal> {
    let is_disabled = form.session.uri.query() == Some("to=disabled");
    form.session.api.patch::<Value>(to(["inboxes", &id]), json!({"is_disabled": is_disabled})).await?;
    Ok(Redirect::to(&format!("/inboxes/{id}?done=saved")))
}
