//! Deleting an inbox: a page that says what is lost, and asks for the name.

use super::{Inbox, inbox, may_change};
use crate::web::api::to;
use crate::web::controls::octets;
use crate::web::form::Form;
use crate::web::layout::{Section, csrf, page};
use crate::web::parts::Field;
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

pub(super) async fn ask(session: Session, Path(id): Path<String>) -> Result<Markup, Refusal> {
    if !may_change(&session) {
        return Err(Refusal::not_found());
    }
    let inbox = inbox(&session, &id).await?;
    Ok(confirmation(&session, &inbox, "", None))
}

fn confirmation(session: &Session, inbox: &Inbox, given: &str, refusal: Option<&Refusal>) -> Markup {
    let hint = format!("Type {} to confirm.", inbox.name);
    let field = Field { value: given, hint: &hint, is_required: true, ..Field::new("name", "Name of the inbox") };
    let body = html! {
        p .crumbs { a href={"/inboxes/" (inbox.id)} { (inbox.name) } }
        h1 { "Delete the inbox " (inbox.name) "?" }
        div .card .stack {
            p { "This cannot be undone. What is lost:" }
            ul {
                li { "all mail in it, " (octets(inbox.size)) ", with drafts and what is in Sent" }
                li { "its addresses: " (inbox.addresses.iter().map(|one| one.address.as_str()).collect::<Vec<_>>().join(", "))
                    ". Mail to them is refused from then on" }
                li { "its aliases, and its entries of allow and block lists" }
                li { "sessions of mail clients that are logged in to it, which end at once" }
            }
            p { "Mail of it that is in the queue still leaves. The name stays reserved for this account." }
            form .stack method="post" action={"/inboxes/" (inbox.id) "/delete"} {
                (csrf(session))
                (field.show(refusal))
                div .actions {
                    button .danger type="submit" { "Delete inbox" }
                    a .button .quiet href={"/inboxes/" (inbox.id)} { "Cancel" }
                }
            }
        }
    };
    page(session, Some(Section::Inboxes), "Delete the inbox", &body)
}

pub(super) async fn delete(Path(id): Path<String>, form: Form) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    let inbox = inbox(&session, &id).await?;
    let given = fields.text("name");
    if !given.eq_ignore_ascii_case(&inbox.name) {
        let refusal =
            Refusal::of_field("name", &format!("is {}, not what was typed. Nothing was deleted.", inbox.name));
        return Ok((refusal.status(), confirmation(&session, &inbox, given, Some(&refusal))).into_response());
    }
    session.api.delete(to(["inboxes", &id])).await?;
    Ok(Redirect::to("/inboxes?done=deleted").into_response())
}
