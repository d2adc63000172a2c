//! An account as operators see it: its users, and links to what it has.

use super::{Account, only_operators, tabs};
use crate::web::api::{Listed, to};
use crate::web::controls::{button, octets};
use crate::web::form::{Fields, Form};
use crate::web::layout::{Section, csrf, page};
use crate::web::parts::{Field, pages, refused, status, time};
use crate::web::refusal::Refusal;
use crate::web::secret::shown_once;
use crate::web::session::Session;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

/// Rows of a page of each list.
const ROWS: u32 = 50;

#[derive(Debug, Deserialize)]
struct User {
    user_id: String,
    account_id: String,
    email: String,
    first_name: String,
    last_name: String,
    disabled_at: Option<String>,
    created_at: String,
    #[serde(default)]
    password: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Inbox {
    id: String,
    name: String,
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Domain {
    id: String,
    domain: String,
    verified_status: String,
}

pub(super) async fn show(session: Session, Path(id): Path<String>) -> Result<Markup, Refusal> {
    only_operators(&session)?;
    shown(&session, &id, None, None).await
}

async fn shown(
    session: &Session,
    id: &str,
    given: Option<&Fields>,
    refusal: Option<&Refusal>,
) -> Result<Markup, Refusal> {
    let account: Account = session.api.get(to(["accounts", id])).await?;
    let of = |noun: &str| to([noun]).with("account_id", id).with("per_page", ROWS);
    let users: Listed<User> = session.api.list(of("users").with_some("cursor", session.query("users"))).await?;
    let inboxes: Listed<Inbox> = session.api.list(of("inboxes").with_some("cursor", session.query("inboxes"))).await?;
    let domains: Listed<Domain> =
        session.api.list(of("custom_domains").with_some("cursor", session.query("domains"))).await?;
    let body = html! {
        p .crumbs { a href="/operator" { "Accounts" } }
        h1 { bdi { (account.name) } }
        (tabs(""))
        section .card .stack aria-labelledby="facts" {
            h2 id="facts" { "Account" }
            dl .facts {
                dt { "Id" } dd { code { (account.account_id) } }
                dt { "Since" } dd { (time(&account.created_at)) }
                dt { "In the queue" } dd { (octets(account.queued)) " · " a href={"/operator/queue?account=" (id)} { "Show" } }
                dt { "API tokens" } dd { a href={"/account/tokens?account=" (id)} { "Show" } }
            }
        }
        section .stack aria-labelledby="users" {
            h2 id="users" { "Users" }
            @if users.rows.is_empty() { p { "No user can sign in to this account with a password yet." } }
            @else {
                div .table { table {
                    thead { tr {
                        th scope="col" { "Email" } th scope="col" { "Name" } th scope="col" { "Since" } th scope="col" { "Status" }
                        th scope="col" { span .visually-hidden { "Change" } }
                    } }
                    tbody { @for user in &users.rows { (row(session, user)) } }
                } }
                }
            (pages(session, "users", users.next.as_deref()))
            details .card open[refusal.is_some() || users.rows.is_empty()] {
                summary { "Create a user" }
                (new_user(session, id, given, refusal))
            }
        }
        div .columns {
            section .card .stack aria-labelledby="inboxes" {
                h2 id="inboxes" { "Inboxes" }
                @if inboxes.rows.is_empty() { p { "None." } }
                ul .plain .rows { @for inbox in &inboxes.rows { li {
                    a href={"/inboxes/" (inbox.id)} { (inbox.name) } " " span .hint { (octets(inbox.size)) }
                } } }
                (pages(session, "inboxes", inboxes.next.as_deref()))
            }
            section .card .stack aria-labelledby="domains" {
                h2 id="domains" { "Domains" }
                @if domains.rows.is_empty() { p { "None." } }
                ul .plain .rows { @for domain in &domains.rows { li {
                    a href={"/domains/" (domain.id)} { (domain.domain) } " " (status(&domain.verified_status))
                } } }
                (pages(session, "domains", domains.next.as_deref()))
            }
        }
    };
    Ok(page(session, Some(Section::Operator), &account.name, &body))
}

fn row(session: &Session, user: &User) -> Markup {
    let (is_disabled, of) = (user.disabled_at.is_some(), format!("/operator/users/{}", user.user_id));
    html! {
        tr {
            th scope="row" { (user.email) }
            td data-label="Name" { bdi { (user.first_name) " " (user.last_name) } }
            td data-label="Since" { (time(&user.created_at)) }
            td data-label="Status" { (status(if is_disabled { "disabled" } else { "active" })) }
            td { div .actions {
                (button(session, &format!("{of}/password"), "quiet small", "Make a new password",
                    Some(&format!("Make a new password for {}", user.email))))
                @if is_disabled {
                    (button(session, &format!("{of}/disabled?to=off"), "quiet small", "Enable", Some(&format!("Enable {}", user.email))))
                } @else {
                    (button(session, &format!("{of}/disabled?to=on"), "danger small", "Disable", Some(&format!("Disable {}", user.email))))
                }
            } }
        }
    }
}

fn new_user(session: &Session, id: &str, given: Option<&Fields>, refusal: Option<&Refusal>) -> Markup {
    let field = |name: &'static str, label: &'static str, kind: &'static str, is_required: bool, hint: &'static str| {
        let value = given.map_or("", |fields| fields.text(name));
        let value = if kind == "password" { "" } else { value };
        let autocomplete = if kind == "password" { "new-password" } else { "off" };
        Field { kind, value, hint, is_required, autocomplete, ..Field::new(name, label) }.show(refusal)
    };
    html! {
        form .stack method="post" action={"/operator/accounts/" (id) "/users"} {
            (csrf(session))
            (field("email", "Email", "email", true, "The user signs in with it; it need not be an address of this server."))
            (field("first_name", "First name", "text", false, ""))
            (field("last_name", "Last name", "text", false, ""))
            (field("password", "Password", "password", false, "Empty: one is made, and shown once."))
            (refused(refusal, &["email", "first_name", "last_name", "password"]))
            div .actions { button type="submit" { "Create user" } }
        }
    }
}

/// The password that was made, or the way back.
fn made(session: &Session, user: &User, done: &str) -> Response {
    let back = format!("/operator/accounts/{}", user.account_id);
    match &user.password {
        Some(password) => {
            let next = html! { p { "Give it to " (user.email) " on a safe way; it can be changed after signing in." } };
            let what = ("The new password", "the password");
            shown_once(session, Section::Operator, what, password, &next, (&back, "To the account")).into_response()
        }
        None => Redirect::to(&format!("{back}?done={done}")).into_response(),
    }
}

pub(super) async fn create_user(Path(id): Path<String>, form: Form) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    only_operators(&session)?;
    let mut body = fields.object(&["email", "first_name", "last_name"]);
    body.insert("account_id".to_owned(), json!(id));
    if fields.is_checked("password") {
        body.insert("password".to_owned(), json!(fields.raw("password")));
    }
    match session.api.post::<User>(to(["users"]), Value::Object(body)).await {
        Ok(user) => Ok(made(&session, &user, "created")),
        Err(refusal) if refusal.is_of_input() => {
            let page = shown(&session, &id, Some(&fields), Some(&refusal)).await?;
            Ok((refusal.status(), page).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn disable_user(Path(id): Path<String>, form: Form) -> Result<Response, Refusal> {
    let session = form.session;
    only_operators(&session)?;
    let disabled = session.uri.query() == Some("to=on");
    let user: User = session.api.patch(to(["users", &id]), json!({"disabled": disabled})).await?;
    Ok(made(&session, &user, "saved"))
}

pub(super) async fn set_password(Path(id): Path<String>, form: Form) -> Result<Response, Refusal> {
    let session = form.session;
    only_operators(&session)?;
    let user: User = session.api.post(to(["users", &id, "password"]), json!({})).await?;
    Ok(made(&session, &user, "saved"))
}
