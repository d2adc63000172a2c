//! The settings of a domain, and its deletion.

use super::model::{Domain, Tab, framed, read};
use crate::auth::login::Permissions;
use crate::web::WebContext;
use crate::web::api::to;
use crate::web::controls::Choice;
use crate::web::docs::links::{Term, term};
use crate::web::form::{Fields, Form};
use crate::web::layout::csrf;
use crate::web::parts::{Field, refused, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/domains/{id}/settings", get(show).post(change))
        .route("/domains/{id}/delete", get(ask).post(delete))
}

/// Inboxes that are listed to choose from.
const LISTED: u32 = 100;

#[derive(Debug, Deserialize)]
struct Inbox {
    id: String,
    platform_address: String,
}

/// What the form shows: the domain's settings, or what was sent and refused.
struct Chosen {
    return_path: String,
    is_default: bool,
    catch_all: String,
    on_unverified: String,
}

impl Chosen {
    fn of(domain: &Domain) -> Self {
        Self {
            return_path: domain.return_path.clone().unwrap_or_default(),
            is_default: domain.is_default,
            catch_all: domain.catch_all_inbox_id.clone().unwrap_or_default(),
            on_unverified: domain.on_unverified.clone(),
        }
    }

    fn sent(fields: &Fields) -> Self {
        let text = |name| fields.text(name).to_owned();
        Self {
            return_path: text("return_path"),
            is_default: fields.is_checked("is_default"),
            catch_all: text("catch_all_inbox_id"),
            on_unverified: text("on_unverified"),
        }
    }

    fn body(&self) -> Value {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        json!({
            "return_path": some(&self.return_path),
            "is_default": self.is_default,
            "catch_all_inbox_id": some(&self.catch_all),
            "on_unverified": self.on_unverified,
        })
    }
}

const ON_UNVERIFIED: [(&str, &str, &str); 3] = [
    ("fallback", "Send it under the platform's domain", "Nothing is lost or delayed; receivers see another address."),
    ("hold", "Hold it", "It leaves once the domain is verified, and bounces if that does not happen in time."),
    ("reject", "Refuse it", "The sending program gets an error."),
];

async fn show(session: Session, Path(id): Path<String>) -> Result<Markup, Refusal> {
    let domain = read(&session, &id).await?;
    form(&session, &domain, &Chosen::of(&domain), None).await
}

async fn form(
    session: &Session,
    domain: &Domain,
    chosen: &Chosen,
    refusal: Option<&Refusal>,
) -> Result<Markup, Refusal> {
    let hint = format!("One label, like bounce. Bounces then come back to bounce.{}; empty for none.", domain.domain);
    let return_path = Field { value: &chosen.return_path, hint: &hint, ..Field::new("return_path", "Return path") };
    let inboxes = match session.may(Permissions::INBOXES_READ) {
        true => Some(session.api.list::<Inbox>(to(["inboxes"]).with("per_page", LISTED)).await?),
        false => None,
    };
    let body = html! {
        (refused(refusal, &["catch_all_inbox_id", "return_path"]))
        form .card method="post" action={"/domains/" (domain.id) "/settings"} {
            (csrf(session))
            fieldset {
                legend { "Mail from the domain while it is not verified" }
                p .hint { (term(Term::WhileUnverified)) }
                @for (value, label, hint) in ON_UNVERIFIED {
                    div .check {
                        input type="radio" name="on_unverified" id={"on-" (value)} value=(value) checked[chosen.on_unverified == value]
                            aria-describedby={"on-" (value) "-hint"};
                        div { label for={"on-" (value)} { (label) } p .hint id={"on-" (value) "-hint"} { (hint) } }
                    }
                }
            }
            div .check {
                input type="checkbox" name="is_default" id="is_default" value="1" checked[chosen.is_default] aria-describedby="is_default-hint";
                div {
                    label for="is_default" { "Default domain" }
                    p .hint id="is_default-hint" { "Senders logged in at the platform's domain send from it. " (term(Term::DefaultDomain)) }
                }
            }
            @match &inboxes {
                Some(inboxes) => {
                    @let none = ("", "None: refuse mail for unknown addresses");
                    @let listed = inboxes.rows.iter().map(|inbox| (inbox.id.as_str(), inbox.platform_address.as_str()));
                    (Choice {
                        name: "catch_all_inbox_id",
                        label: "Catch-all inbox",
                        hint: "Receives mail for addresses at the domain that do not exist.",
                        options: &std::iter::once(none).chain(listed).collect::<Vec<_>>(),
                        chosen: &chosen.catch_all,
                        is_complete: inboxes.next.is_none(),
                    }.show(refusal))
                }
                None => input type="hidden" name="catch_all_inbox_id" value=(chosen.catch_all);,
            }
            p .hint { (term(Term::CatchAll)) }
            (return_path.show(refusal))
            p .hint { (term(Term::ReturnPath)) }
            div .actions { button type="submit" { "Save" } }
        }
        section .card .stack aria-labelledby="delete-title" {
            h2 id="delete-title" { "Delete the domain" }
            p { "Mail no longer leaves under it and no longer comes to it here." }
            p { a .button .danger href={"/domains/" (domain.id) "/delete"} { "Delete " (domain.domain) } }
        }
    };
    Ok(framed(session, domain, Some(Tab::Settings), &html! {}, &body))
}

async fn change(Path(id): Path<String>, sent: Form) -> Result<Response, Refusal> {
    let chosen = Chosen::sent(&sent.fields);
    match sent.session.api.patch::<Domain>(to(["custom_domains", &id]), chosen.body()).await {
        Ok(_) => Ok(Redirect::to(&format!("/domains/{id}/settings?done=saved")).into_response()),
        Err(refusal) if refusal.is_of_input() => {
            let domain = read(&sent.session, &id).await?;
            let page = form(&sent.session, &domain, &chosen, Some(&refusal)).await?;
            Ok((refusal.status(), page).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

async fn ask(session: Session, Path(id): Path<String>) -> Result<Markup, Refusal> {
    let domain = read(&session, &id).await?;
    Ok(confirmation(&session, &domain, "", None))
}

fn confirmation(session: &Session, domain: &Domain, given: &str, refusal: Option<&Refusal>) -> Markup {
    let hint = format!("Type {} to confirm.", domain.domain);
    let field = Field { value: given, hint: &hint, is_required: true, ..Field::new("confirm", "Name of the domain") };
    let (sending, held) = match domain.on_unverified.as_str() {
        "hold" => ("Mail that programs send from its addresses is refused.", "Mail that is held for it bounces."),
        "reject" => (
            "Mail that programs send from its addresses is refused.",
            "Mail in the queue that was to leave under it bounces.",
        ),
        _ => (
            "Mail that programs send from its addresses leaves under the platform's domain.",
            "Mail in the queue leaves under the platform's domain, too.",
        ),
    };
    let body = html! {
        section .card .stack aria-labelledby="consequences" {
            h2 id="consequences" { "What deleting " (domain.domain) " does" }
            ul {
                li { (sending) }
                li { (held) }
                li { @if domain.capabilities.receiving { "Mail to its addresses is no longer taken here. Point its MX record elsewhere first, or it bounces." } @else { "Mail to its addresses is not taken here." } }
                li { "Its aliases and addresses, its DKIM keys and its history are deleted at once. Sessions that are logged in under it end." }
                li { "A new claim of the name has other DKIM records, so all of them have to be published anew." }
                li { "Inboxes and the messages in them stay." }
            }
            p .hint { "Added " (time(&domain.created_at)) "." }
        }
        (refused(refusal, &["confirm"]))
        form .card method="post" action={"/domains/" (domain.id) "/delete"} {
            (csrf(session))
            (field.show(refusal))
            div .actions {
                button .danger type="submit" { "Delete the domain" }
                a .button .quiet href={"/domains/" (domain.id) "/settings"} { "Cancel" }
            }
        }
    };
    framed(session, domain, None, &html! {}, &body)
}

async fn delete(Path(id): Path<String>, form: Form) -> Result<Response, Refusal> {
    let domain = read(&form.session, &id).await?;
    let given = form.fields.text("confirm");
    if !given.trim_end_matches('.').eq_ignore_ascii_case(&domain.domain) {
        let refusal = Refusal::of_field("confirm", &format!("is {}, not what was typed", domain.domain));
        let page = confirmation(&form.session, &domain, given, Some(&refusal));
        return Ok((refusal.status(), page).into_response());
    }
    form.session.api.delete(to(["custom_domains", &id])).await?;
    Ok(Redirect::to("/domains?done=deleted").into_response())
}
