//! Refusals as a browser shows them.

use super::WebContext;
use super::layout;
use super::refusal::Refusal;
use super::session::Session;
use axum::extract::{OptionalFromRequestParts, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

/// Shows a refusal as a page, as a notice in the page for requests of htmx, or by the way to the sign-in page.
pub(super) async fn shown(State(context): State<WebContext>, request: Request, next: Next) -> Response {
    let is_partial = request.headers().contains_key("hx-request");
    let (mut parts, body) = request.into_parts();
    let response = next.run(Request::from_parts(parts.clone(), body)).await;
    let Some(refusal) = response.extensions().get::<Refusal>().cloned() else { return response };
    if let Some(target) = refusal.elsewhere() {
        if !is_partial {
            return Redirect::to(target).into_response();
        }
        let target = HeaderValue::from_str(target).unwrap_or_else(|_| HeaderValue::from_static("/sign-in"));
        return (StatusCode::NO_CONTENT, [("hx-redirect", target)]).into_response();
    }
    let said = html! {
        p { (refusal.detail()) }
        @if !refusal.fix().is_empty() { p { (refusal.fix()) } }
    };
    let body = if is_partial {
        html! { div .notice .error role="alert" { strong { (refusal.title()) } (said) } }
    } else {
        let inner = html! {
            h1 { (refusal.title()) }
            div .notice .error role="alert" { (said) }
            p { a href="/" { "Go to the first page" } }
        };
        let session = <Session as OptionalFromRequestParts<_>>::from_request_parts(&mut parts, &context).await;
        match session.ok().flatten() {
            Some(session) => layout::page(&session, None, refusal.title(), &inner),
            None => layout::outside(refusal.title(), &inner),
        }
    };
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    if is_partial {
        head.headers.insert("hx-retarget", HeaderValue::from_static("#notices"));
        head.headers.insert("hx-reswap", HeaderValue::from_static("innerHTML"));
    }
    (refusal.status(), head.headers, body).into_response()
}
