//! What operators see: accounts and their users, the queue of all, the zone of the DKIM keys, the daemon's health.

mod account;
mod health;

use super::WebContext;
use super::api::to;
use super::controls::octets;
use super::form::Form;
use super::layout::{Section, csrf, page};
use super::parts::{Field, empty, pages, refused, time};
use super::queue;
use super::refusal::Refusal;
use super::session::Session;
use axum::Router;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/operator", get(show).post(create))
        .route("/operator/queue", get(queued))
        .route("/operator/health", get(health::show))
        .route("/operator/dkim", get(health::zone))
        .route("/operator/accounts/{id}", get(account::show))
        .route("/operator/accounts/{id}/users", post(account::create_user))
        .route("/operator/users/{id}/disabled", post(account::disable_user))
        .route("/operator/users/{id}/password", post(account::set_password))
}

/// Refuses what is not an operator's token: for others the pages do not exist.
fn only_operators(session: &Session) -> Result<(), Refusal> {
    if session.is_operator() { Ok(()) } else { Err(Refusal::not_found()) }
}

/// Links to the parts of the section.
fn tabs(current: &str) -> Markup {
    let all = [
        ("/operator", "Accounts"),
        ("/operator/queue", "Queue"),
        ("/operator/health", "Health"),
        ("/operator/dkim", "DKIM zone"),
    ];
    html! {
        nav .parts aria-label="Operator" { ul {
            @for (path, name) in all { li { a href=(path) aria-current=[(path == current).then_some("page")] { (name) } } }
        } }
    }
}

#[derive(Debug, Deserialize)]
struct Account {
    account_id: String,
    name: String,
    queued: u64,
    created_at: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    cursor: Option<String>,
}

async fn show(session: Session, Query(wanted): Query<Page>) -> Result<Markup, Refusal> {
    only_operators(&session)?;
    shown(&session, wanted.cursor.as_deref(), "", None).await
}

async fn shown(
    session: &Session,
    cursor: Option<&str>,
    given: &str,
    refusal: Option<&Refusal>,
) -> Result<Markup, Refusal> {
    let accounts = session.api.list::<Account>(to(["accounts"]).with_some("cursor", cursor)).await?;
    let hint = "For people: the name of a customer or a team.";
    let field = Field { value: given, hint, is_required: true, ..Field::new("name", "Name") };
    let body = html! {
        h1 { "Accounts" }
        (tabs("/operator"))
        form .card .inline method="post" action="/operator" {
            (csrf(session))
            (field.show(refusal))
            button type="submit" { "Create account" }
        }
        (refused(refusal, &["name"]))
        @if accounts.rows.is_empty() {
            (empty("No account yet.", &html! { p { "An account has its own inboxes, domains and users." } }))
        } @else {
            div .table { table {
                thead { tr {
                    th scope="col" { "Account" } th scope="col" { "Id" } th .number scope="col" { "In the queue" } th scope="col" { "Since" }
                } }
                tbody { @for account in &accounts.rows { tr {
                    th scope="row" { a href={"/operator/accounts/" (account.account_id)} { bdi { (account.name) } } }
                    td data-label="Id" { code { (account.account_id) } }
                    td .number data-label="In the queue" { (octets(account.queued)) }
                    td data-label="Since" { (time(&account.created_at)) }
                } } }
            } }
            (pages(session, "cursor", accounts.next.as_deref()))
        }
    };
    Ok(page(session, Some(Section::Operator), "Accounts", &body))
}

async fn create(form: Form) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    only_operators(&session)?;
    match session.api.post::<Account>(to(["accounts"]), json!({"name": fields.text("name")})).await {
        Ok(made) => Ok(Redirect::to(&format!("/operator/accounts/{}?done=created", made.account_id)).into_response()),
        Err(refusal) if refusal.is_of_input() => {
            let page = shown(&session, None, fields.text("name"), Some(&refusal)).await?;
            Ok((refusal.status(), page).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

async fn queued(session: Session, Query(wanted): Query<queue::Wanted>) -> Result<Markup, Refusal> {
    only_operators(&session)?;
    let found = queue::found(&session, &wanted).await?;
    let body = html! {
        h1 { "Queue" }
        (tabs("/operator/queue"))
        @if let Some(account) = &wanted.account {
            p { "Of the account " a href={"/operator/accounts/" (account)} { (account) } ". " a href="/operator/queue" { "All accounts" } }
        }
        (queue::list(&session, &found, "/operator/queue"))
    };
    Ok(page(&session, Some(Section::Operator), "Queue", &body))
}
