//! Mail: reading and writing the emails of an inbox.
//!
//! Invariant: what a sender wrote reaches a page as escaped text alone. Its HTML is a document of its own ([`frame`]), without scripts,
//! forms and the page's origin.

mod actions;
mod compose;
mod delivery;
mod email;
mod frame;
mod inbox;
mod labels;
mod list;
mod messages;
mod multipart;
mod send;
mod upload;

pub(super) use frame::document;

use super::WebContext;
use super::session::Session;
use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post};

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/mail", get(list::first))
        .route("/mail/{inbox}", get(list::show))
        .route("/mail/{inbox}/stream", get(list::stream))
        .route("/mail/{inbox}/actions", post(actions::act))
        .route("/mail/{inbox}/compose", get(compose::show))
        .route("/mail/{inbox}/identity", get(compose::identity))
        .route("/mail/{inbox}/drafts", post(send::save))
        .route("/mail/{inbox}/send", post(send::send))
        .route("/mail/{inbox}/discard", post(send::discard))
        .route("/mail/{inbox}/labels", get(labels::show).post(labels::create))
        .route("/mail/{inbox}/labels/{id}", post(labels::rename))
        .route("/mail/{inbox}/labels/{id}/delete", post(labels::delete))
        .route("/mail/{inbox}/{email}", get(email::show))
        .route("/mail/{inbox}/{email}/html", get(frame::html))
        .route("/mail/{inbox}/{email}/message.eml", get(frame::source))
        .route("/mail/{inbox}/{email}/attachments/{number}", get(frame::attachment))
        .route("/mail/{inbox}/{email}/delivery", get(delivery::show))
        .route("/mail/{inbox}/{email}/answer", post(send::answer))
        .route("/mail/{inbox}/{email}/undo", post(send::undo))
}

/// Whether htmx asks for a part of a page. To go back in the history, it asks for the whole.
fn is_partial(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request") && !headers.contains_key("hx-history-restore-request")
}

/// A path of an inbox's mail, with its query.
fn path_of(session: &Session) -> String {
    session.uri.path_and_query().map_or_else(|| "/mail".to_owned(), ToString::to_string)
}
