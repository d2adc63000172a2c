//! The web page: HTML made by the server, for browsers.
//!
//! What a page shows and changes are operations of the REST API, called in the process with the session's token: permissions,
//! limits and refusals are the API's. Invariant: a request that changes something comes from a page of this daemon, and carries its
//! session's CSRF token.
//!
//! | file | what |
//! | --- | --- |
//! | [`session`], [`sign_in`], [`form`] | who asks, and what a form sends |
//! | [`api`], [`refusal`], [`error_page`] | operations of the API, and their refusals |
//! | [`mail`] | reading and writing the emails of an inbox |
//! | [`layout`], [`parts`], [`assets`], [`headers`] | what all pages have |
//! | [`autoconfiguration`] | what mail clients ask for, without a session |

mod account;
mod activity;
mod api;
mod assets;
mod autoconfiguration;
mod controls;
mod docs;
mod domains;
mod error_page;
mod form;
mod headers;
mod inboxes;
mod internet;
mod layout;
mod mail;
mod operator;
mod parts;
mod queue;
mod refusal;
mod secret;
mod session;
mod sign_in;

pub use autoconfiguration::MailPorts;
pub use session::Once;

use crate::auth::login::Authenticator;
use crate::clock::Clock;
use crate::config::Config;
use crate::dkim::Secrets;
use crate::message::decode::unescape;
use crate::resources::spool::Spool;
use crate::resources::work::WorkPool;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use layout::Section;
use refusal::Refusal;
use session::Session;
use std::sync::Arc;

/// What pages are made with.
#[derive(Clone, Debug)]
pub struct WebContext {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub authenticator: Authenticator,
    /// Seal the tokens in cookies.
    pub secrets: Secrets,
    pub spool: Spool,
    /// For work that grows with an email.
    pub work: WorkPool,
    /// The REST API.
    pub api: Router,
    /// Links that sign in once.
    pub once: Once,
    /// The servers for mail clients.
    pub ports: MailPorts,
    /// The sandbox's own verbs; `None` elsewhere.
    pub sandbox: Option<Router>,
}

/// The pages beside other routes, whose 404 a browser sees as a page.
pub fn beside(others: Router, context: WebContext) -> Router {
    others.merge(router(context.clone())).layer(from_fn_with_state(context, error_page::unknown))
}

fn router(context: WebContext) -> Router {
    Router::new()
        .route("/", get(async |session: Session| Redirect::to(Section::first(&session))))
        .merge(assets::routes())
        .merge(sign_in::routes())
        .merge(domains::routes())
        .merge(autoconfiguration::routes())
        .merge(inboxes::routes())
        .merge(mail::routes())
        .merge(internet::routes())
        .merge(account::routes())
        .merge(activity::routes())
        .merge(queue::routes())
        .merge(operator::routes())
        .merge(docs::routes())
        .layer(from_fn(without_controls))
        .layer(from_fn_with_state(context.clone(), error_page::shown))
        .layer(from_fn(headers::compressed))
        .layer(from_fn(headers::secure))
        .with_state(context)
}

/// Refuses a path with control characters: no id has them, and what a redirect has in `Location` is taken from the path.
async fn without_controls(request: Request, next: Next) -> Response {
    let mut path = Vec::new();
    unescape(request.uri().path().as_bytes(), b'%', &mut path);
    if path.iter().any(u8::is_ascii_control) {
        return Refusal::not_found().into_response();
    }
    next.run(request).await
}
