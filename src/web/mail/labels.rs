//! The labels of the account: creating, renaming, deleting.

use super::inbox::{Inbox, Label};
use crate::web::api::to;
use crate::web::controls::button;
use crate::web::form::Form;
use crate::web::layout::{Section, csrf, page};
use crate::web::parts::{Field, empty, refused};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::de::IgnoredAny;
use serde_json::json;

pub(super) async fn show(session: Session, Path(inbox): Path<String>) -> Result<Markup, Refusal> {
    shown(&session, &inbox, "", None).await
}

/// `given` is the name that was sent and refused.
async fn shown(session: &Session, inbox: &str, given: &str, refusal: Option<&Refusal>) -> Result<Markup, Refusal> {
    let inbox = Inbox::find(session, inbox).await?;
    let labels = session.api.list::<Label>(to(["mailbox_labels"])).await?.rows;
    let own: Vec<&Label> = labels.iter().filter(|label| !label.system).collect();
    let base = format!("/mail/{}/labels", inbox.id);
    let hint = "Like “Needs reply”. Mail programs see it as a keyword.";
    let field = Field { value: given, hint, is_required: true, ..Field::new("name", "New label") };
    let body = html! {
        nav .crumbs aria-label="Back" { a href={"/mail/" (inbox.id)} { "← " bdi { (inbox.email_address) } } }
        h1 { "Labels" }
        form .card .inline method="post" action=(base) {
            (csrf(session))
            (field.show(refusal))
            button type="submit" { "Create label" }
        }
        (refused(refusal, &["name"]))
        @if own.is_empty() {
            (empty("No label yet.", &html! { p { "Create one above, then add it to emails in the list." } }))
        } @else {
            div .table { table {
                thead { tr { th scope="col" { "Label" } th scope="col" { "Keyword" } th scope="col" { "Change" } } }
                tbody { @for label in own { tr {
                    th scope="row" { bdi { (label.name) } }
                    td data-label="Keyword" { code { (label.slug) } }
                    td { div .actions {
                        form .inline method="post" action={(base) "/" (label.id)} {
                            (csrf(session))
                            label .visually-hidden for={"rename-" (label.id)} { "Name of " (label.name) }
                            input id={"rename-" (label.id)} name="name" value=(label.name) required autocomplete="off";
                            button .quiet .small type="submit" aria-label={"Rename " (label.name)} { "Rename" }
                        }
                        (button(session, &format!("{base}/{}/delete", label.id), "danger small", "Delete",
                            Some(&format!("Delete {}", label.name))))
                    } }
                } } }
            } }
            p .hint { "Emails keep the keyword of a label that is deleted." }
        }
    };
    Ok(page(session, Some(Section::Mail), "Labels", &body))
}

/// Back to the page, or the page with what was refused.
async fn back(
    session: &Session,
    inbox: &str,
    (given, done): (&str, &str),
    result: Result<(), Refusal>,
) -> Result<Response, Refusal> {
    match result {
        Ok(()) => Ok(Redirect::to(&format!("/mail/{inbox}/labels?done={done}")).into_response()),
        Err(refusal) if refusal.is_of_input() => {
            Ok((refusal.status(), shown(session, inbox, given, Some(&refusal)).await?).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn create(Path(inbox): Path<String>, Form { session, fields }: Form) -> Result<Response, Refusal> {
    let name = fields.text("name");
    let made = session.api.post::<IgnoredAny>(to(["mailbox_labels"]), json!({"name": name})).await.map(drop);
    back(&session, &inbox, (name, "created"), made).await
}

pub(super) async fn rename(
    Path((inbox, id)): Path<(String, String)>,
    Form { session, fields }: Form,
) -> Result<Response, Refusal> {
    let name = fields.text("name");
    let changed = session.api.patch::<IgnoredAny>(to(["mailbox_labels", &id]), json!({"name": name})).await.map(drop);
    back(&session, &inbox, ("", "saved"), changed).await
}

pub(super) async fn delete(Path((inbox, id)): Path<(String, String)>, form: Form) -> Result<Response, Refusal> {
    let deleted = form.session.api.delete(to(["mailbox_labels", &id])).await;
    back(&form.session, &inbox, ("", "deleted"), deleted).await
}
