//! Custom domains: the list, and claiming one. The pages of one domain are in the files beside this.

mod history;
mod keys;
mod live;
mod model;
mod records;
mod settings;
mod show;

use super::WebContext;
use super::api::to;
use super::form::Form;
use super::layout::{Section, csrf, page};
use super::parts::{Field, empty, pages, refused, status, time, with_times};
use super::refusal::Refusal;
use super::session::Session;
use crate::auth::login::Permissions;
use axum::Router;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/domains", get(list).post(create))
        .merge(show::routes())
        .merge(live::routes())
        .merge(history::routes())
        .merge(keys::routes())
        .merge(settings::routes())
}

#[derive(Debug, Deserialize)]
struct Domain {
    id: String,
    domain: String,
    verified_status: String,
    verdict: String,
    last_checked_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    cursor: Option<String>,
}

async fn list(session: Session, Query(wanted): Query<Page>) -> Result<Markup, Refusal> {
    shown(&session, wanted.cursor.as_deref(), "", None).await
}

async fn shown(
    session: &Session,
    cursor: Option<&str>,
    given: &str,
    refusal: Option<&Refusal>,
) -> Result<Markup, Refusal> {
    let domains = session.api.list::<Domain>(to(["custom_domains"]).with_some("cursor", cursor)).await?;
    let hint = "A domain you have registered, or a name under it, like mail.example.com.";
    let field = Field { value: given, hint, is_required: true, ..Field::new("domain", "Domain") };
    let body = html! {
        div .head { h1 { "Domains" } }
        @if session.may(Permissions::DOMAINS_WRITE) {
            form .card .inline method="post" action="/domains" {
                (csrf(session))
                (field.show(refusal))
                button type="submit" { "Add domain" }
            }
            (refused(refusal, &["domain"]))
            @if let Some(id) = refusal.and_then(Refusal::existing_id) {
                p { a href={"/domains/" (id)} { "Open the existing domain" } }
            }
        }
        @if domains.rows.is_empty() {
            (empty("No domain yet.", &html! { p { "Add the domain to send mail from. The next page shows the DNS records to publish." } }))
        } @else {
            div .table { table {
                thead { tr { th scope="col" { "Domain" } th scope="col" { "Status" } th scope="col" { "Verdict" } th scope="col" { "Last check" } } }
                tbody { @for domain in &domains.rows { tr {
                    th scope="row" { a href={"/domains/" (domain.id)} { (domain.domain) } }
                    td data-label="Status" { (status(&domain.verified_status)) }
                    td .long data-label="Verdict" { (with_times(&domain.verdict)) }
                    td data-label="Last check" { @match &domain.last_checked_at { Some(at) => (time(at)), None => "never" } }
                } } }
            } }
            (pages(session, "cursor", domains.next.as_deref()))
        }
    };
    Ok(page(session, Some(Section::Domains), "Domains", &body))
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

async fn create(form: Form) -> Result<Response, Refusal> {
    let body = Value::Object(form.fields.object(&["domain"]));
    match form.session.api.post::<Made>(to(["custom_domains"]), body).await {
        Ok(made) => Ok(Redirect::to(&format!("/domains/{}?done=created", made.id)).into_response()),
        Err(refusal) if refusal.is_of_input() => {
            let page = shown(&form.session, None, form.fields.text("domain"), Some(&refusal)).await?;
            Ok((refusal.status(), page).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}
