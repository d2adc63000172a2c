//! API tokens: the list, creating one, revoking one.

use crate::auth::login::Permissions;
use crate::clock::Timestamp;
use crate::web::WebContext;
use crate::web::api::{Listed, To, to};
use crate::web::controls::{check, select};
use crate::web::docs::links::{Term, term};
use crate::web::form::{Fields, Form};
use crate::web::layout::{Section, csrf, page};
use crate::web::parts::{Field, empty, pages, refused, status, time};
use crate::web::refusal::Refusal;
use crate::web::secret::shown_once;
use crate::web::session::Session;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Inboxes that a token can be limited to here.
const INBOXES: u32 = 100;
const DAY: Duration = Duration::from_secs(24 * 3600);

const PERMISSIONS: [(&str, &str); 11] = [
    ("messages:read", "Read mail: emails, drafts, threads, events; log in over IMAP"),
    ("messages:write", "Change mail: labels, moving, deleting"),
    ("messages:send", "Send mail, and change the queue; log in over SMTP"),
    ("drafts:write", "Make and change drafts"),
    ("inboxes:read", "See inboxes, aliases, allow and block lists"),
    ("inboxes:write", "Change inboxes, aliases, allow and block lists"),
    ("domains:read", "See domains and their records"),
    ("domains:write", "Change domains"),
    ("webhooks:read", "See webhooks"),
    ("webhooks:write", "Change webhooks"),
    ("tokens:write", "See and change API tokens and users"),
];
/// What a mail client needs.
const OF_A_CLIENT: [&str; 3] = ["messages:read", "messages:write", "messages:send"];
const ENDS: [(&str, &str); 4] = [("", "never"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year")];

#[derive(Debug, Deserialize)]
struct Token {
    id: String,
    name: String,
    scope: String,
    inbox_ids: Option<Vec<String>>,
    permissions: Option<Vec<String>>,
    user_id: Option<String>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Inbox {
    id: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    cursor: Option<String>,
    /// The inbox whose mail client the token is for.
    inbox: Option<String>,
    /// For operators: whose tokens.
    account: Option<String>,
}

impl Wanted {
    fn of(&self, to: To, session: &Session) -> To {
        to.with_some("account_id", self.account.as_ref().filter(|_| session.is_operator()))
    }

    fn page(&self) -> String {
        self.account.as_ref().map_or_else(
            || "/account/tokens".to_owned(),
            |account| {
                let query = form_urlencoded::Serializer::new(String::new()).append_pair("account", account).finish();
                format!("/account/tokens?{query}")
            },
        )
    }
}

pub(super) async fn list(session: Session, Query(wanted): Query<Wanted>) -> Result<Markup, Refusal> {
    shown(&session, &wanted, None, None).await
}

async fn shown(
    session: &Session,
    wanted: &Wanted,
    given: Option<&Fields>,
    refusal: Option<&Refusal>,
) -> Result<Markup, Refusal> {
    let all = wanted.of(to(["tokens"]), session).with_some("cursor", wanted.cursor.as_deref());
    let tokens: Listed<Token> = session.api.list(all).await?;
    let has_inboxes = session.may(Permissions::INBOXES_READ) && (session.is_of_account() || wanted.account.is_some());
    let inboxes: Listed<Inbox> = if has_inboxes {
        session.api.list(wanted.of(to(["inboxes"]), session).with("per_page", INBOXES)).await?
    } else {
        Listed { rows: Vec::new(), next: None }
    };
    let body = html! {
        p .crumbs { a href="/account" { "Account" } }
        h1 { "API tokens" }
        @if let Some(account) = &wanted.account { p { "Of the account " code { (account) } } }
        details .card open[given.is_some() || wanted.inbox.is_some() || tokens.rows.is_empty()] {
            summary { "Create an API token" }
            (new(session, wanted, &inboxes, given, refusal))
        }
        @if tokens.rows.is_empty() {
            (empty("No token yet.", &html! { p { "A program, a mail client or an agent needs one." } }))
        } @else {
            div .table { table {
                thead { tr {
                    th scope="col" { "Name" } th scope="col" { "May do" } th scope="col" { "Created" } th scope="col" { "Last used" }
                    th scope="col" { "Ends" } th scope="col" { span .visually-hidden { "Revoke" } }
                } }
                tbody { @for token in &tokens.rows { (row(session, wanted, token)) } }
            } }
            (pages(session, "cursor", tokens.next.as_deref()))
        }
    };
    Ok(page(session, Some(Section::Account), "API tokens", &body))
}

fn row(session: &Session, wanted: &Wanted, token: &Token) -> Markup {
    let is_own = token.id == session.principal.token.as_str();
    html! {
        tr id=(token.id) {
            th scope="row" {
                bdi { (token.name) }
                @if is_own { " " span .hint { "this session" } } @else if token.user_id.is_some() { " " span .hint { "a log-in" } }
            }
            td data-label="May do" {
                @match &token.permissions {
                    None => "everything",
                    Some(list) if list.is_empty() => "nothing",
                    Some(list) => (list.join(", ")),
                }
                @match (token.scope.as_str(), &token.inbox_ids) {
                    ("operator", _) => ", in all accounts",
                    (_, Some(inboxes)) => { ", in " (inboxes.len()) " " @if inboxes.len() == 1 { "inbox" } @else { "inboxes" } },
                    _ => ", in the account",
                }
            }
            td data-label="Created" { (time(&token.created_at)) }
            td data-label="Last used" { @match &token.last_used_at { Some(at) => (time(at)), None => "never" } }
            td data-label="Ends" {
                @match (&token.revoked_at, &token.expires_at) {
                    (Some(at), _) => { (status("revoked")) " " (time(at)) },
                    (None, Some(at)) => (time(at)),
                    (None, None) => "never",
                }
            }
            td {
                @if token.revoked_at.is_none() && !is_own {
                    form .one method="post" action={"/account/tokens/" (token.id) "/revoke"} {
                        (csrf(session))
                        @if let Some(account) = &wanted.account { input type="hidden" name="account" value=(account); }
                        button .danger .small type="submit" aria-label={"Revoke " (token.name)} { "Revoke" }
                    }
                }
            }
        }
    }
}

fn new(
    session: &Session,
    wanted: &Wanted,
    inboxes: &Listed<Inbox>,
    given: Option<&Fields>,
    refusal: Option<&Refusal>,
) -> Markup {
    let is_given = |name: &str, value: &str| given.is_some_and(|fields| fields.all(name).any(|one| one == value));
    let is_of_client = given.is_none() && wanted.inbox.is_some();
    let of_client = |word: &str| is_of_client && OF_A_CLIENT.contains(&word);
    let is_limited = is_of_client || is_given("access", "some");
    let hint = "Where it is used, like the name of a device or a program.";
    let name = given.map_or("", |fields| fields.text("name"));
    let field = Field { value: name, hint, is_required: true, ..Field::new("name", "Name") };
    let own = session.principal.permissions;
    let may = |word: &str| word.parse::<Permissions>().is_ok_and(|one| own.contains(one));
    html! {
        form .stack method="post" action="/account/tokens" {
            (csrf(session))
            @if let Some(account) = &wanted.account { input type="hidden" name="account" value=(account); }
            (field.show(refusal))
            fieldset {
                legend { "What it may do" }
                p .hint { (term(Term::Permissions)) }
                label .check { input type="radio" name="access" value="all" checked[!is_limited];
                    span { @if own.is_all() { "Everything in its scope" } @else { "Everything your token may do" } } }
                label .check { input type="radio" name="access" value="some" checked[is_limited]; span { "Only:" } }
                div .choices { @for (word, text) in PERMISSIONS {
                    @if may(word) { (check("permission", word, text, of_client(word) || is_given("permission", word))) }
                } }
            }
            @if !inboxes.rows.is_empty() {
                fieldset {
                    legend { "Where" }
                    p .hint { "If none is chosen: the whole account." }
                    div .choices { @for inbox in &inboxes.rows {
                        (check("inbox", &inbox.id, &inbox.name,
                            (is_of_client && wanted.inbox.as_deref() == Some(inbox.id.as_str())) || is_given("inbox", &inbox.id)))
                    } }
                    @if inboxes.next.is_some() {
                        @let of_client = wanted.inbox.as_deref().filter(|id| is_of_client && inboxes.rows.iter().all(|one| one.id != *id));
                        (Field {
                            value: given.map_or(of_client.unwrap_or_default(), |fields| fields.text("inbox_ids")),
                            hint: "Ids (inb_…), with spaces between them, of inboxes that are not listed above.",
                            ..Field::new("inbox_ids", "Other inboxes")
                        }.show(refusal))
                    }
                }
            }
            (select("ends", "Ends", &ENDS, given.map_or("", |fields| fields.text("ends"))))
            (refused(refusal, &["name"]))
            div .actions { button type="submit" { "Create token" } }
        }
    }
}

/// The request that the form asks for.
fn wanted_token(fields: &Fields, session: &Session, now: Timestamp) -> Value {
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(fields.text("name")));
    if fields.text("access") == "some" {
        body.insert("permissions".to_owned(), json!(fields.all("permission").collect::<Vec<_>>()));
    }
    let others = fields.text("inbox_ids").split([' ', ',']).filter(|id| !id.is_empty());
    let inboxes: Vec<&str> = fields.all("inbox").chain(others).collect();
    if !inboxes.is_empty() {
        body.insert("inbox_ids".to_owned(), json!(inboxes));
    }
    if session.is_operator() {
        match fields.some("account") {
            Some(account) => body.insert("account_id".to_owned(), json!(account)),
            None => body.insert("scope".to_owned(), json!("operator")),
        };
    }
    if let Ok(days) = fields.text("ends").parse::<u32>() {
        body.insert("expires_at".to_owned(), json!(now.after(DAY.saturating_mul(days))));
    }
    Value::Object(body)
}

#[derive(Deserialize)]
struct Made {
    token: String,
}

pub(super) async fn create(State(context): State<WebContext>, form: Form) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    let wanted = Wanted { account: fields.some("account").map(str::to_owned), ..Wanted::default() };
    let body = wanted_token(&fields, &session, context.clock.now());
    match session.api.post::<Made>(to(["tokens"]), body).await {
        Ok(made) => {
            let next = html! {
                p { "A program sends it as " code { "Authorization: Bearer …" } ". A mail client takes it as the password." }
            };
            let back = wanted.page();
            let titles = ("The new API token", "the API token");
            let page = shown_once(&session, Section::Account, titles, &made.token, &next, (&back, "To the API tokens"));
            Ok(page.into_response())
        }
        Err(refusal) if refusal.is_of_input() => {
            Ok((refusal.status(), shown(&session, &wanted, Some(&fields), Some(&refusal)).await?).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn revoke(Path(id): Path<String>, form: Form) -> Result<Redirect, Refusal> {
    let Form { session, fields } = form;
    session.api.delete(to(["tokens", &id])).await?;
    let wanted = Wanted { account: fields.some("account").map(str::to_owned), ..Wanted::default() };
    let page = wanted.page();
    let separator = if page.contains('?') { '&' } else { '?' };
    Ok(Redirect::to(&format!("{page}{separator}done=revoked")))
}
