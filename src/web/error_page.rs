//! Refusals as a browser shows them.

use super::WebContext;
use super::headers::protect;
use super::layout;
use super::refusal::Refusal;
use super::session::Session;
use axum::extract::{OptionalFromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

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
    let body = if is_partial {
        html! { div .notice .error role="alert" { strong { (refusal.title()) } (explanation(&refusal)) } }
    } else {
        page(&context, &mut parts, &refusal).await
    };
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    if is_partial {
        head.headers.insert("hx-retarget", HeaderValue::from_static("#notices"));
        head.headers.insert("hx-reswap", HeaderValue::from_static("innerHTML"));
    }
    (refusal.status(), head.headers, body).into_response()
}

async fn page(context: &WebContext, parts: &mut Parts, refusal: &Refusal) -> Markup {
    let session = <Session as OptionalFromRequestParts<_>>::from_request_parts(parts, context).await;
    let inner = html! {
        h1 { (refusal.title()) }
        div .notice .error role="alert" { (explanation(refusal)) }
        p { a href="/" { "Go to the first page" } }
    };
    match session.ok().flatten() {
        Some(session) => layout::page(&session, None, refusal.title(), &inner),
        None => layout::outside(refusal.title(), &inner),
    }
}

fn explanation(refusal: &Refusal) -> Markup {
    html! {
        p { (refusal.detail()) }
        @if !refusal.fix().is_empty() { p { (refusal.fix()) } }
    }
}

/// Shows a browser a page where no route has the path that it asks for. Programs get the API's answer.
pub(super) async fn unknown(State(context): State<WebContext>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let response = next.run(Request::from_parts(parts.clone(), body)).await;
    let accepted = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_page =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/"));
    let is_of_programs = ["/api/", "/sandbox/", "/mcp"].iter().any(|below| parts.uri.path().starts_with(below));
    if response.status() != StatusCode::NOT_FOUND || is_page || is_of_programs || !accepted.contains("text/html") {
        return response;
    }
    let refusal = Refusal::not_found();
    let mut response = (refusal.status(), page(&context, &mut parts, &refusal).await).into_response();
    protect(response.headers_mut());
    response
}
