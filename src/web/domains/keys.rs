//! The DKIM keys of a domain, and their rotation.

use super::model::{Tab, framed, read};
use crate::auth::login::Permissions;
use crate::web::WebContext;
use crate::web::api::to;
use crate::web::docs::links::{Term, term};
use crate::web::form::Form;
use crate::web::layout::csrf;
use crate::web::parts::{copyable, refused, status, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn routes() -> Router<WebContext> {
    Router::new().route("/domains/{id}/keys", get(show)).route("/domains/{id}/keys/rotate", post(rotate))
}

#[derive(Debug, Deserialize)]
struct Key {
    token: String,
    role: Option<String>,
    since: Option<String>,
    seen_at: Option<String>,
    cname: Option<String>,
    public: Option<String>,
}

async fn show(session: Session, Path(id): Path<String>) -> Result<Markup, Refusal> {
    shown(&session, &id, None).await
}

async fn shown(session: &Session, id: &str, refusal: Option<&Refusal>) -> Result<Markup, Refusal> {
    let domain = read(session, id).await?;
    let body = match session.api.list::<Key>(to(["custom_domains", id, "dkim_keys"])).await {
        Ok(keys) => html! {
            (refused(refusal, &[]))
            p {
                "Mail is signed with one key at a time. Receivers find it by its selector. Rotating signs with the next key from then on; your DNS \
                 stays as it is."
            }
            p .hint { (term(Term::DkimKeys)) " · " (term(Term::Rotation)) }
            (table(&keys.rows))
            @if session.may(Permissions::DOMAINS_WRITE) {
                form method="post" action={"/domains/" (id) "/keys/rotate"} {
                    (csrf(session))
                    button .quiet type="submit" { "Rotate the key" }
                }
            }
        },
        // Another provider holds the keys.
        Err(other) if other.status() == StatusCode::CONFLICT => refused(Some(&other), &[]),
        Err(other) => return Err(other),
    };
    Ok(framed(session, &domain, Some(Tab::Keys), &html! {}, &body))
}

fn table(keys: &[Key]) -> Markup {
    html! {
        div .table {
            table {
                caption .visually-hidden { "DKIM keys" }
                thead {
                    tr {
                        th scope="col" { "Selector" }
                        th scope="col" { "Use" }
                        th scope="col" { "CNAME in your zone" }
                        th scope="col" { "Public key" }
                    }
                }
                tbody {
                    @for key in keys {
                        tr {
                            th scope="row" { code { (key.token) } }
                            td data-label="Use" {
                                (status(use_of(key)))
                                @if let Some(since) = &key.since { p .hint { "since " (time(since)) } }
                            }
                            td data-label="CNAME" {
                                @match key.cname.as_deref() {
                                    Some("right") => "leads to the key",
                                    Some("wrong") => "is missing, or leads elsewhere",
                                    _ => "not known",
                                }
                                @if let Some(at) = &key.seen_at { p .hint { "key first seen " (time(at)) } }
                            }
                            td data-label="Public key" {
                                @if let Some(public) = &key.public {
                                    details { summary { "Show" } (copyable(public, "public key")) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn use_of(key: &Key) -> &str {
    key.role.as_deref().unwrap_or("being generated")
}

async fn rotate(Path(id): Path<String>, form: Form) -> Result<Response, Refusal> {
    match form.session.api.post::<Value>(to(["custom_domains", &id, "rotate_key"]), json!({})).await {
        Ok(_) => Ok(Redirect::to(&format!("/domains/{id}/keys?done=rotated")).into_response()),
        Err(refusal) if refusal.is_of_input() => {
            let page = shown(&form.session, &id, Some(&refusal)).await?;
            Ok((refusal.status(), page).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}
