//! Addresses that the account sends no mail to: its block lists of recipients.

use super::parts as tabs;
use crate::auth::login::Permissions;
use crate::web::api::{Listed, to};
use crate::web::controls::button;
use crate::web::docs::links::{Term, term};
use crate::web::form::Form;
use crate::web::layout::{Section, csrf, page};
use crate::web::parts::{Field, empty, pages, refused, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
struct Entry {
    id: String,
    inbox_id: Option<String>,
    pattern: String,
    created_at: String,
}

pub(super) async fn list(session: Session) -> Result<Markup, Refusal> {
    shown(&session, "", None).await
}

async fn shown(session: &Session, given: &str, refusal: Option<&Refusal>) -> Result<Markup, Refusal> {
    let all = to(["access_entries"]).with("direction", "send").with("action", "block");
    let entries: Listed<Entry> = session.api.list(all.with_some("cursor", session.query("cursor"))).await?;
    let may_change = session.may(Permissions::INBOXES_WRITE);
    let hint = "An address, a domain (with its subdomains), or * for all.";
    let field = Field { value: given, hint, is_required: true, ..Field::new("pattern", "Send no mail to") };
    let body = html! {
        h1 { "Suppressions" }
        (tabs(session, "/activity/suppressions"))
        p .hint { "Recipients that no mail is sent to: a message to one of them is refused as a whole. " (term(Term::AccessLists)) }
        @if may_change {
            form .card .inline method="post" action="/activity/suppressions" {
                (csrf(session))
                (field.show(refusal))
                button type="submit" { "Add" }
            }
            (refused(refusal, &["pattern"]))
        }
        @if entries.rows.is_empty() {
            (empty("No suppression: mail to every address is sent.", &html! {
                p { "Add an address that has asked for no more mail, or whose mail always bounces." }
            }))
        } @else {
            div .table { table {
                thead { tr {
                    th scope="col" { "Recipient" } th scope="col" { "Of" } th scope="col" { "Since" }
                    th scope="col" { span .visually-hidden { "Change" } }
                } }
                tbody { @for entry in &entries.rows { tr {
                    th scope="row" { (entry.pattern) }
                    td data-label="Of" {
                        @match &entry.inbox_id { Some(inbox) => a href={"/inboxes/" (inbox)} { "one inbox" }, None => "the whole account" }
                    }
                    td data-label="Since" { (time(&entry.created_at)) }
                    td { @if may_change {
                        (button(session, &format!("/activity/suppressions/{}/delete", entry.id), "quiet small", "Remove",
                            Some(&format!("Remove {}", entry.pattern))))
                    } }
                } } }
            } }
            (pages(session, "cursor", entries.next.as_deref()))
        }
    };
    Ok(page(session, Some(Section::Activity), "Suppressions", &body))
}

pub(super) async fn create(Form { session, fields }: Form) -> Result<Response, Refusal> {
    let pattern = fields.text("pattern");
    let body = json!({"direction": "send", "action": "block", "pattern": pattern});
    match session.api.post::<Value>(to(["access_entries"]), body).await {
        Ok(_) => Ok(Redirect::to("/activity/suppressions?done=created").into_response()),
        Err(refusal) if refusal.is_of_input() => {
            Ok((refusal.status(), shown(&session, pattern, Some(&refusal)).await?).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn delete(Path(id): Path<String>, form: Form) -> Result<Redirect, Refusal> {
    form.session.api.delete(to(["access_entries", &id])).await?;
    Ok(Redirect::to("/activity/suppressions?done=deleted"))
}
