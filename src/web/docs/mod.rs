//! The guide: the repository's own pages, for everybody.

pub(super) mod links;
mod pages;
mod rendering;

use super::WebContext;
use super::layout::reading;
use super::refusal::Refusal;
use super::session::Session;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use maud::{Markup, PreEscaped, html};
use pages::{PAGES, Page};

pub(super) fn routes() -> Router<WebContext> {
    Router::new().route("/docs", get(list)).route("/docs/{page}", get(show))
}

async fn list(session: Option<Session>) -> Markup {
    let body = html! {
        h1 { "Docs" }
        ul .plain .stack {
            @for page in PAGES.iter() {
                li .card { h2 { a href={"/docs/" (page.name)} { (page.title) } } p { (page.about) } }
            }
            li .card {
                h2 { a href="/api/docs" { "API reference" } }
                p { "Every path of the REST API with its fields and answers, made of the code that answers." }
            }
        }
    };
    reading(session.as_ref(), "Docs", &body)
}

async fn show(session: Option<Session>, Path(name): Path<String>) -> Result<Markup, Refusal> {
    let page = PAGES.iter().find(|page| page.name == name).ok_or_else(Refusal::not_found)?;
    Ok(reading(session.as_ref(), &page.title, &shown(page)))
}

fn shown(page: &Page) -> Markup {
    html! {
        div .guide {
            div .guide-aside {
                nav aria-label="Docs" {
                    details open {
                        summary { "Pages" }
                        ul .plain {
                            @for other in PAGES.iter() {
                                li { a href={"/docs/" (other.name)} aria-current=[(other.name == page.name).then_some("page")] { (other.title) } }
                            }
                            li { a href="/api/docs" { "API reference" } }
                        }
                    }
                }
                @if page.headings.len() > 1 {
                    nav aria-label="On this page" {
                        details open {
                            summary { "On this page" }
                            ul .plain { @for heading in &page.headings { li { a href={"#" (heading.id)} { (heading.text) } } } }
                        }
                    }
                }
            }
            article .card .guide-text { (PreEscaped(page.html.as_str())) }
        }
    }
}
