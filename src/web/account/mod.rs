//! The account: who is signed in, the password, sessions, users. API tokens are in [`tokens`].

mod tokens;

use super::WebContext;
use super::api::to;
use super::controls::button;
use super::form::Form;
use super::layout::{Section, csrf, page};
use super::parts::{Field, pages, refused, status, time};
use super::refusal::Refusal;
use super::session::Session;
use crate::auth::login::{Permissions, Principal, Scope};
use axum::Router;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/account", get(show))
        .route("/account/password", post(change_password))
        .route("/account/revoke", post(revoke))
        .route("/account/users", get(users))
        .route("/account/tokens", get(tokens::list).post(tokens::create))
        .route("/account/tokens/{id}/revoke", post(tokens::revoke))
}

#[derive(Debug, Deserialize)]
struct User {
    email: String,
    first_name: String,
    last_name: String,
    disabled_at: Option<String>,
    created_at: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    cursor: Option<String>,
}

/// Whether the token may see tokens and users.
fn may_see_tokens(session: &Session) -> bool {
    session.may(Permissions::TOKENS_WRITE) && !matches!(session.principal.scope, Scope::Inboxes(..))
}

async fn show(session: Session) -> Result<Markup, Refusal> {
    shown(&session, None).await
}

async fn shown(session: &Session, refusal: Option<&Refusal>) -> Result<Markup, Refusal> {
    let user: Option<User> = match session.principal.user {
        Some(_) => session.api.find(to(["me"])).await?,
        None => None,
    };
    let body = html! {
        h1 { "Account" }
        div .columns {
            div .stack {
                (who(&session.principal, user.as_ref()))
                @if user.is_some() { (password(session, refusal)) }
            }
            div .stack {
                @if may_see_tokens(session) {
                    section .card .stack aria-labelledby="more" {
                        h2 id="more" { "Access" }
                        ul .plain .stack {
                            li { a href="/account/tokens" { "API tokens" } p .hint { "For programs, mail clients and agents." } }
                            li { a href="/account/users" { "Users" } p .hint { "People who sign in with a password." } }
                        }
                    }
                }
                (sessions(session, user.is_some()))
            }
        }
    };
    Ok(page(session, Some(Section::Account), "Account", &body))
}

fn who(principal: &Principal, user: Option<&User>) -> Markup {
    html! {
        section .card .stack aria-labelledby="who" {
            h2 id="who" { "Signed in" }
            dl .facts {
                @if let Some(user) = user {
                    dt { "User" } dd { (user.email) }
                    @if !(user.first_name.is_empty() && user.last_name.is_empty()) {
                        dt { "Name" } dd { bdi { (user.first_name) " " (user.last_name) } }
                    }
                } @else {
                    dt { "User" } dd { "none: with an API token" }
                }
                dt { "Token" } dd { code { (principal.token) } }
                dt { "Scope" }
                dd {
                    @match &principal.scope {
                        Scope::Operator => "operator: all accounts",
                        Scope::Account(account) => { "the account " code { (account) } },
                        Scope::Inboxes(account, inboxes) => {
                            "of the account " code { (account) } " these inboxes: "
                            @for (at, inbox) in inboxes.iter().enumerate() {
                                @if at > 0 { ", " } a href={"/inboxes/" (inbox)} { (inbox) }
                            }
                        },
                    }
                }
                dt { "Permissions" }
                dd {
                    @if principal.permissions.is_all() { "all" }
                    @else { (principal.permissions.words().collect::<Vec<_>>().join(", ")) }
                }
            }
        }
    }
}

fn password(session: &Session, refusal: Option<&Refusal>) -> Markup {
    let field = |name: &'static str, label: &'static str, autocomplete: &'static str, hint: &'static str| {
        Field { kind: "password", autocomplete, hint, is_required: true, ..Field::new(name, label) }.show(refusal)
    };
    html! {
        section .card .stack aria-labelledby="password-title" {
            h2 id="password-title" { "Change password" }
            form .stack method="post" action="/account/password" {
                (csrf(session))
                (field("current_password", "Current password", "current-password", ""))
                (field("password", "New password", "new-password", "At least 8 characters."))
                (field("password_confirmation", "Confirm the new password", "new-password", ""))
                (refused(refusal, &["current_password", "password", "password_confirmation"]))
                p .hint { "Your other sessions end." }
                div .actions { button type="submit" { "Change password" } }
            }
        }
    }
}

/// Ending sessions.
fn sessions(session: &Session, is_user: bool) -> Markup {
    html! {
        section .card .stack aria-labelledby="sessions" {
            h2 id="sessions" { "Sessions" }
            @if is_user {
                p { "Ends this session and all others of this user. API tokens stay valid." }
                (button(session, "/sign-out/everywhere", "quiet", "Sign out everywhere", None))
            } @else {
                p { "Signing out leaves the token valid. Revoking it ends every session that uses it, mail clients included." }
                (button(session, "/account/revoke", "danger", "Revoke this token", None))
            }
        }
    }
}

async fn change_password(form: Form) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    let body = json!({
        "current_password": fields.raw("current_password"),
        "password": fields.raw("password"),
        "password_confirmation": fields.raw("password_confirmation"),
    });
    match session.api.patch::<Value>(to(["password"]), body).await {
        Ok(_) => Ok(Redirect::to("/account?done=saved").into_response()),
        Err(refusal) if refusal.is_of_input() => {
            Ok((refusal.status(), shown(&session, Some(&refusal)).await?).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

/// Revokes the session's own token.
async fn revoke(form: Form) -> Result<Redirect, Refusal> {
    form.session.api.delete(to(["auth"])).await?;
    Ok(Redirect::to("/sign-in"))
}

async fn users(session: Session, Query(wanted): Query<Page>) -> Result<Markup, Refusal> {
    let users = session.api.list::<User>(to(["users"]).with_some("cursor", wanted.cursor.as_deref())).await?;
    let body = html! {
        p .crumbs { a href="/account" { "Account" } }
        h1 { "Users" }
        @if users.rows.is_empty() {
            p { "No user yet." }
        } @else {
            div .table { table {
                thead { tr { th scope="col" { "Email" } th scope="col" { "Name" } th scope="col" { "Since" } th scope="col" { "Status" } } }
                tbody { @for user in &users.rows { tr {
                    th scope="row" { (user.email) }
                    td data-label="Name" { bdi { (user.first_name) " " (user.last_name) } }
                    td data-label="Since" { (time(&user.created_at)) }
                    td data-label="Status" { (status(if user.disabled_at.is_some() { "disabled" } else { "active" })) }
                } } }
            } }
            (pages(&session, "cursor", users.next.as_deref()))
        }
        p .hint { "The operator creates, disables and enables users, and sets forgotten passwords." }
    };
    Ok(page(&session, Some(Section::Account), "Users", &body))
}
