//! Inboxes: the list, and creating one.

mod access;
mod aliases;
mod changes;
mod clients;
mod delete;
mod settings;
mod show;

use super::WebContext;
use super::api::{Listed, to};
use super::controls::{Choice, octets};
use super::form::Form;
use super::layout::{Section, csrf, page};
use super::parts::{Field, empty, pages, refused, status};
use super::refusal::Refusal;
use super::session::Session;
use crate::auth::login::{Permissions, Scope};
use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use futures_util::future::join_all;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

/// Inboxes of a page: each costs a request for its unread emails.
const PER_PAGE: u32 = 20;
/// Domains that are listed to choose from.
const DOMAINS: u32 = 100;

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/inboxes", get(list).post(create))
        .route("/inboxes/{id}", get(show::show))
        .route("/inboxes/{id}/settings", post(changes::save))
        .route("/inboxes/{id}/disabled", post(changes::disable))
        .route("/inboxes/{id}/delete", get(delete::ask).post(delete::delete))
        .route("/inboxes/{id}/aliases", post(changes::create_alias))
        .route("/inboxes/{id}/aliases/{alias}/delete", post(changes::delete_alias))
        .route("/inboxes/{id}/access", post(changes::create_entry))
        .route("/inboxes/{id}/access/{entry}/delete", post(changes::delete_entry))
        .route("/inboxes/{id}/apple.mobileconfig", get(clients::profile))
}

#[derive(Debug, Deserialize)]
struct Inbox {
    id: String,
    account_id: String,
    name: String,
    email_address: String,
    addresses: Vec<Address>,
    is_disabled: bool,
    default_domain_id: Option<String>,
    save_sent: bool,
    trash_days: Option<u16>,
    junk_days: Option<u16>,
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Address {
    address: String,
    custom_domain_id: Option<String>,
    status: String,
}

#[derive(Debug, Deserialize)]
struct Mailbox {
    label: Option<String>,
    unread: u32,
}

/// A custom domain, to choose.
#[derive(Debug, Deserialize)]
struct Domain {
    id: String,
    domain: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    cursor: Option<String>,
}

/// Whether the token is limited to some inboxes.
fn is_of_some_inboxes(session: &Session) -> bool {
    matches!(session.principal.scope, Scope::Inboxes(..))
}

fn may_change(session: &Session) -> bool {
    session.may(Permissions::INBOXES_WRITE) && !is_of_some_inboxes(session)
}

/// The custom domains of the account, where the token may see them.
async fn domains(session: &Session, account: Option<&str>) -> Result<Listed<Domain>, Refusal> {
    if !session.may(Permissions::DOMAINS_READ) || is_of_some_inboxes(session) {
        return Ok(Listed { rows: Vec::new(), next: None });
    }
    let account = account.filter(|_| session.is_operator());
    let all = to(["custom_domains"]).with("per_page", DOMAINS).with_some("account_id", account);
    session.api.list(all).await
}

/// The form that was refused, with what was given.
#[derive(Debug, Default)]
struct Tried<'a> {
    /// The form: `alias`, `access` or `settings`.
    form: &'a str,
    given: &'a str,
    refusal: Option<&'a Refusal>,
}

impl<'a> Tried<'a> {
    /// The refusal, if it is of this form.
    fn of(&self, form: &str) -> Option<&'a Refusal> {
        self.refusal.filter(|_| self.form == form)
    }

    /// What was given in it.
    fn given(&self, form: &str) -> &'a str {
        if self.form == form { self.given } else { "" }
    }
}

async fn inbox(session: &Session, id: &str) -> Result<Inbox, Refusal> {
    session.api.get(to(["inboxes", id]).with("per_page", 1)).await
}

async fn list(
    session: Session,
    State(context): State<WebContext>,
    Query(wanted): Query<Page>,
) -> Result<Markup, Refusal> {
    shown(&session, &context, wanted.cursor.as_deref(), ("", ""), None).await
}

/// Unread emails in the INBOX of each.
async fn unread(session: &Session, inboxes: &[Inbox]) -> Result<Vec<Option<u32>>, Refusal> {
    if !session.may(Permissions::MESSAGES_READ) {
        return Ok(inboxes.iter().map(|_| None).collect());
    }
    let counts = join_all(inboxes.iter().map(|inbox| async {
        let counted = session.api.find::<Counted>(to(["inboxes", &inbox.id, "mailboxes"])).await?;
        let mut mailboxes = counted.into_iter().flat_map(|counted| counted.data);
        Ok(mailboxes.find(|mailbox| mailbox.label.as_deref() == Some("inbox")).map(|mailbox| mailbox.unread))
    }));
    counts.await.into_iter().collect()
}

#[derive(Deserialize)]
struct Counted {
    data: Vec<Mailbox>,
}

/// `given` is the name and the domain that were sent.
async fn shown(
    session: &Session,
    context: &WebContext,
    cursor: Option<&str>,
    given: (&str, &str),
    refusal: Option<&Refusal>,
) -> Result<Markup, Refusal> {
    let wanted = to(["inboxes"]).with("per_page", PER_PAGE).with_some("cursor", cursor);
    let inboxes = session.api.list::<Inbox>(wanted).await?;
    let unread = unread(session, &inboxes.rows).await?;
    let body = html! {
        div .head { h1 { "Inboxes" } }
        @if may_change(session) { (new(session, context, given, refusal).await?) }
        @if inboxes.rows.is_empty() {
            (empty("No inbox yet.", &html! { p { "Choose a name above. It can receive mail at once." } }))
        } @else {
            div .table { table {
                thead { tr {
                    th scope="col" { "Inbox" }
                    th scope="col" { "Mail leaves under" }
                    th .number scope="col" { "Unread" }
                    th .number scope="col" { "Size" }
                } }
                tbody { @for (inbox, unread) in inboxes.rows.iter().zip(unread) { tr {
                    th scope="row" {
                        a href={"/inboxes/" (inbox.id)} { (inbox.name) }
                        @if inbox.is_disabled { " " (status("disabled")) }
                    }
                    td data-label="Mail leaves under" { (inbox.email_address) }
                    td .number data-label="Unread" {
                        @match unread {
                            Some(unread) => a href={"/mail/" (inbox.id)} aria-label={(unread) " unread, open " (inbox.name)} { (unread) },
                            None => "–",
                        }
                    }
                    td .number data-label="Size" { (octets(inbox.size)) }
                } } }
            } }
            (pages(session, "cursor", inboxes.next.as_deref()))
        }
    };
    Ok(page(session, Some(Section::Inboxes), "Inboxes", &body))
}

/// The form for a new inbox.
async fn new(
    session: &Session,
    context: &WebContext,
    (name, domain): (&str, &str),
    refusal: Option<&Refusal>,
) -> Result<Markup, Refusal> {
    let domains = domains(session, None).await?;
    let platform = &context.config.platform.domain;
    let at_platform = format!("@{platform}");
    let shown: Vec<(&str, String)> =
        domains.rows.iter().map(|one| (one.id.as_str(), format!("@{}", one.domain))).collect();
    let options = std::iter::once(("", at_platform.as_str())).chain(shown.iter().map(|(id, at)| (*id, at.as_str())));
    let hint = "The part before the @. It stays the name of this inbox.";
    let field = Field { value: name, hint, is_required: true, ..Field::new("name", "Name") };
    Ok(html! {
        form .card .inline method="post" action="/inboxes" {
            (csrf(session))
            (field.show(refusal))
            (Choice {
                name: "custom_domain_id",
                label: "At",
                hint: "",
                options: &options.collect::<Vec<_>>(),
                chosen: domain,
                is_complete: domains.next.is_none(),
            }.show(refusal))
            button type="submit" { "Create inbox" }
        }
        (refused(refusal, &["name", "custom_domain_id"]))
        @if let Some(existing) = refusal.and_then(Refusal::existing_id).filter(|id| id.starts_with("inb_")) {
            p { a href={"/inboxes/" (existing)} { "Open the existing inbox" } }
        }
    })
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

async fn create(State(context): State<WebContext>, form: Form) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    let body = Value::Object(fields.object(&["name", "custom_domain_id"]));
    match session.api.post::<Made>(to(["inboxes"]), body).await {
        Ok(made) => Ok(Redirect::to(&format!("/inboxes/{}?done=created", made.id)).into_response()),
        Err(refusal) if refusal.is_of_input() => {
            let given = (fields.text("name"), fields.text("custom_domain_id"));
            let page = shown(&session, &context, None, given, Some(&refusal)).await?;
            Ok((refusal.status(), page).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}
