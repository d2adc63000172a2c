//! Signing in with an email address and a password, or with an API token; and signing out.

use super::WebContext;
use super::api::to;
use super::form::{Fields, Form, VisitorForm};
use super::layout;
use super::parts::{Field, refused};
use super::refusal::Refusal;
use super::session::{self, Session, Visitor};
use crate::secret::Secret;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/sign-in", get(show).post(sign_in))
        .route("/sign-in/once/{code}", get(once))
        .route("/sign-out", post(sign_out))
        .route("/sign-out/everywhere", post(sign_out_everywhere))
}

#[derive(Debug, Default, Deserialize)]
struct Wanted {
    #[serde(default)]
    next: String,
    #[serde(default)]
    expired: String,
}

#[derive(Deserialize)]
struct LoggedIn {
    token: String,
}

async fn show(session: Option<Session>, Query(wanted): Query<Wanted>) -> Response {
    match session {
        Some(_) => Redirect::to(local(&wanted.next)).into_response(),
        None => form(&wanted.next, "", None, !wanted.expired.is_empty()).into_response(),
    }
}

/// A path of this site, else the first page. Browsers take `\\` for `/`, and leave out control characters: `/<TAB>/host` is another site.
fn local(target: &str) -> &str {
    let is_foreign = target.starts_with("//") || target.contains(|c: char| c == '\\' || c.is_control());
    if target.starts_with('/') && !is_foreign { target } else { "/" }
}

fn form(next: &str, email: &str, refusal: Option<&Refusal>, is_expired: bool) -> Markup {
    let email = Field { kind: "email", value: email, autocomplete: "username", ..Field::new("email", "Email") };
    let password = Field { kind: "password", autocomplete: "current-password", ..Field::new("password", "Password") };
    let hint = "Starts with ilt_. A session with it ends when the token is revoked.";
    let token = Field { kind: "password", hint, ..Field::new("token", "API token") };
    let body = html! {
        h1 { "Sign in" }
        (refused(refusal, &[]))
        @if is_expired { div .notice .error role="alert" { p { "This link has been used, or has ended." } } }
        form .card method="post" action="/sign-in" {
            input type="hidden" name="next" value=(next);
            (email.show(None))
            (password.show(None))
            button type="submit" { "Sign in" }
        }
        details .card open[refusal.is_some_and(|refusal| refusal.code() == "invalid_token")] {
            summary { "Sign in with an API token" }
            form method="post" action="/sign-in" {
                input type="hidden" name="next" value=(next);
                (token.show(None))
                button type="submit" { "Sign in with the token" }
            }
        }
        p .hint { "No user yet? The operator creates one: " code { "inboxlayer user create" } "." }
    };
    layout::outside("Sign in", &body)
}

async fn sign_in(
    visitor: Visitor,
    State(context): State<WebContext>,
    VisitorForm(fields): VisitorForm,
) -> Result<Response, Refusal> {
    let next = fields.text("next").to_owned();
    match token(&visitor, &context, &fields).await {
        Ok(token) => begun(&context, &visitor, &token, local(&next)),
        Err(refusal) if refusal.is_of_input() => {
            let page = form(&next, fields.text("email"), Some(&refusal), false);
            Ok((refusal.status(), page).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

/// The token of a log-in, or the one that was pasted.
async fn token(visitor: &Visitor, context: &WebContext, fields: &Fields) -> Result<Secret, Refusal> {
    if let Some(pasted) = fields.some("token") {
        let token = Secret::new(pasted);
        visitor.check(context, &token).await?;
        return Ok(token);
    }
    let body = json!({"email": fields.text("email"), "password": fields.raw("password")});
    let made: LoggedIn = visitor.api.post(to(["auth"]), body).await?;
    Ok(Secret::new(made.token))
}

fn begun(context: &WebContext, visitor: &Visitor, token: &Secret, target: &str) -> Result<Response, Refusal> {
    let cookie = session::begin(context, visitor, token)?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(target)).into_response())
}

/// A link that signs in once, which the sandbox prints.
async fn once(
    visitor: Visitor,
    State(context): State<WebContext>,
    Path(code): Path<String>,
) -> Result<Response, Refusal> {
    match context.once.take(&code) {
        Some(token) => begun(&context, &visitor, &token, "/"),
        None => Ok(Redirect::to("/sign-in?expired=1").into_response()),
    }
}

/// Ends the session. A token that a log-in made is revoked; one that was pasted stays valid.
async fn sign_out(visitor: Visitor, form: Form) -> Result<Response, Refusal> {
    if form.session.principal.user.is_some() {
        form.session.api.delete(to(["auth"])).await?;
    }
    Ok(left(&visitor))
}

/// Ends all sessions of the user.
async fn sign_out_everywhere(visitor: Visitor, form: Form) -> Result<Response, Refusal> {
    form.session.api.delete(to(["auth"]).with("everywhere", true)).await?;
    Ok(left(&visitor))
}

fn left(visitor: &Visitor) -> Response {
    let cookie = session::end(visitor);
    (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie)], [(header::LOCATION, "/sign-in")]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_to_this_site() {
        for target in ["/", "/domains?cursor=a", "/mail/inb_1/msg_2?view=html"] {
            assert_eq!(local(target), target);
        }
        for target in [
            "",
            "x",
            "//evil.test",
            "/\\evil.test",
            "/\t/evil.test",
            "/\u{7f}/evil.test",
            "https://evil.test",
            "/\r\nX: y",
        ] {
            assert_eq!(local(target), "/", "{target:?}");
        }
    }
}
