//! An inbox: its addresses, its size, the settings of mail clients, and what can be changed.

use super::access::{self, Entry};
use super::aliases::{self, Alias};
use super::{Inbox, Tried, clients, domains, inbox, may_change, settings};
use crate::auth::login::Permissions;
use crate::web::WebContext;
use crate::web::api::{Listed, to};
use crate::web::controls::octets;
use crate::web::docs::links::{Term, term};
use crate::web::layout::{Section, page};
use crate::web::parts::{copyable, status};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

/// Aliases and entries of lists of a page.
const PER_PAGE: u32 = 50;

pub(super) async fn show(
    session: Session,
    State(context): State<WebContext>,
    Path(id): Path<String>,
) -> Result<Markup, Refusal> {
    shown(&session, &context, &id, &Tried::default()).await
}

/// The page again, with what is wrong with a form.
pub(super) async fn again(
    session: &Session,
    context: &WebContext,
    id: &str,
    tried: Tried<'_>,
) -> Result<Response, Refusal> {
    let status = tried.refusal.map_or(StatusCode::OK, Refusal::status);
    Ok((status, shown(session, context, id, &tried).await?).into_response())
}

async fn shown(session: &Session, context: &WebContext, id: &str, tried: &Tried<'_>) -> Result<Markup, Refusal> {
    let inbox = inbox(session, id).await?;
    let may_change = may_change(session);
    let aliases: Listed<Alias> = session
        .api
        .list(to(["inboxes", id, "aliases"]).with("per_page", PER_PAGE).with_some("cursor", session.query("aliases")))
        .await?;
    let domains = domains(session, Some(&inbox.account_id)).await?;
    // The lists are the account's.
    let entries: Option<Listed<Entry>> = if super::is_of_some_inboxes(session) {
        None
    } else {
        let account = session.is_operator().then_some(&inbox.account_id);
        let wanted = to(["access_entries"])
            .with("inbox", id)
            .with("per_page", PER_PAGE)
            .with_some("cursor", session.query("access"));
        Some(session.api.list(wanted.with_some("account_id", account)).await?)
    };
    let limit = context.config.limits.inbox_size;
    let body = html! {
        div .head {
            h1 { (inbox.name) @if inbox.is_disabled { " " (status("disabled")) } }
            // An operator's token reads no mail page.
            @if !session.is_operator() && session.may(Permissions::MESSAGES_READ) {
                div .actions { a .button href={"/mail/" (inbox.id)} { "Open mail" } }
            }
        }
        @if inbox.is_disabled {
            div .notice .warn { p { "The inbox is disabled: mail to it is refused temporarily, it sends nothing, and mail clients cannot log in." } }
        }
        div .columns {
            div .stack {
                (addresses(&inbox))
                (clients::card(session, context, &inbox))
                (aliases::card(session, &inbox, &aliases, (&domains.rows, may_change), tried))
                @if let Some(entries) = &entries { (access::card(session, &inbox, entries, may_change, tried)) }
            }
            div .stack {
                (size(inbox.size, limit))
                @if may_change { (settings::card(session, context, &inbox, &domains, tried)) }
                @if may_change { (settings::ends(session, &inbox)) }
            }
        }
    };
    Ok(page(session, Some(Section::Inboxes), &inbox.name, &body))
}

fn addresses(inbox: &Inbox) -> Markup {
    html! {
        section .card .stack aria-labelledby="addresses" {
            h2 id="addresses" { "Addresses" }
            p { "Mail leaves under " strong { (inbox.email_address) } ". Mail to any of these arrives here:" }
            p .hint { (term(Term::Addresses)) }
            ul .plain .rows {
                @for one in &inbox.addresses { li {
                    (copyable(&one.address, &one.address)) " "
                    @match &one.custom_domain_id {
                        Some(domain) => { a href={"/domains/" (domain)} aria-label={(one.status) ": domain of " (one.address)} { (status(&one.status)) } },
                        None => span .hint { "of the platform" },
                    }
                } }
            }
        }
    }
}

fn size(used: u64, limit: u64) -> Markup {
    // In permille, so that a little is seen, too.
    let part = used.saturating_mul(1000).checked_div(limit).unwrap_or_default().min(1000);
    html! {
        section .card .stack aria-labelledby="size" {
            h2 id="size" { "Size" }
            meter id="quota" min="0" max="1000" high="900" value=(part) aria-labelledby="size" { (octets(used)) }
            p { (octets(used)) " of " (octets(limit)) " are used." }
            @if part >= 900 { p .hint { "A full inbox takes no mail and cannot send. Delete mail, and empty Trash." } }
        }
    }
}
