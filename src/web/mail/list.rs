//! The list of an inbox's emails, and searching them.

use super::inbox::{Folders, Inbox, Place, name_of};
use super::messages::Email;
use super::{is_partial, path_of};
use crate::auth::login::Permissions;
use crate::clock::Timestamp;
use crate::in_process::encoded;
use crate::web::api::{Listed, to};
use crate::web::layout::{Section, csrf, page};
use crate::web::parts::{empty, pages, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

/// Emails of a page.
pub(super) const PER_PAGE: usize = 25;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    label: Option<String>,
    mailbox: Option<String>,
    q: Option<String>,
    cursor: Option<String>,
    /// The search field has the focus.
    #[serde(default)]
    search: String,
}

impl Wanted {
    /// The words of a search.
    fn words(&self) -> Option<&str> {
        self.q.as_deref().map(str::trim).filter(|words| !words.is_empty())
    }

    /// What is listed: a label, which may be `all`, or a mailbox without one.
    fn place(&self) -> Place<'_> {
        let is_given = |text: &&str| !text.is_empty();
        match self.mailbox.as_deref().filter(is_given) {
            Some(name) => Place::Mailbox(name),
            None => Place::Label(self.label.as_deref().filter(is_given).unwrap_or("inbox")),
        }
    }

    /// The heading of the page.
    fn title(&self) -> &str {
        if self.words().is_some() { "Search" } else { self.place().name() }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Chosen {
    inbox: Option<String>,
}

/// The first inbox, or the one that the switcher has chosen.
pub(super) async fn first(session: Session, Query(chosen): Query<Chosen>) -> Result<Response, Refusal> {
    let inbox = match &chosen.inbox {
        Some(id) => Some(Inbox::find(&session, id).await?),
        None => Inbox::all(&session).await?.rows.into_iter().next(),
    };
    if let Some(inbox) = inbox {
        return Ok(Redirect::to(&format!("/mail/{}", encoded(&inbox.id))).into_response());
    }
    let next = html! { p { a .button href="/inboxes" { "Create an inbox" } } };
    let body = html! { h1 { "Mail" } (empty("No inbox yet. An inbox has addresses, and the mail that comes to them.", &next)) };
    Ok(page(&session, Some(Section::Mail), "Mail", &body).into_response())
}

pub(super) async fn show(
    session: Session,
    Path(inbox): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Markup, Refusal> {
    // The stream of the page begins here, so that nothing is missed between the two.
    let begun = Timestamp::real();
    let found = emails(&session, &inbox, &wanted).await;
    let (emails, fault) = match found {
        Ok(emails) => (emails, None),
        // What is searched for can be corrected.
        Err(refusal) if wanted.words().is_some() && refusal.is_of_input() => {
            (Listed { rows: Vec::new(), next: None }, Some(refusal))
        }
        Err(refusal) => return Err(refusal),
    };
    let folders = Folders::of(&session, &inbox).await?;
    let current = wanted.words().is_none().then_some(wanted.place());
    let may_label = session.is_of_account() && session.may(Permissions::MESSAGES_WRITE);
    let list = list(&session, &inbox, &wanted, &folders, &emails, fault.as_ref());
    if is_partial(&headers) {
        return Ok(html! {
            title { (wanted.title()) " – Inboxlayer" }
            (list)
            (folders.nav(&inbox, current, (true, may_label)))
            span #list-title hx-swap-oob="innerHTML" { (wanted.title()) }
            p #unread .visually-hidden role="status" hx-swap-oob="innerHTML" { (announced(&wanted, &emails, &folders)) }
        });
    }
    let (inbox, inboxes) = (Inbox::find(&session, &inbox).await?, Inbox::all(&session).await?);
    let body = html! {
        div .head {
            h1 { span #list-title { (wanted.title()) } " " span .of { bdi { (inbox.email_address) } } }
            div .actions {
                (switcher(&inboxes, &inbox))
                @if session.may(Permissions::MESSAGES_SEND) || session.may(Permissions::DRAFTS_WRITE) {
                    a .button data-key="c" href={"/mail/" (inbox.id) "/compose"} { "Write" }
                }
            }
        }
        @if inbox.is_disabled {
            div .notice .warn { p { "This inbox is disabled: it takes no mail and sends none." } }
        }
        p #unread .visually-hidden role="status" { (announced(&wanted, &emails, &folders)) }
        div .mail {
            (folders.nav(&inbox.id, current, (false, may_label)))
            div .stack hx-ext="sse" sse-connect={"/mail/" (inbox.id) "/stream?since=" (begun)} {
                (search(&inbox.id, wanted.q.as_deref().unwrap_or_default(), !wanted.search.is_empty()))
                (list)
                form #answer hidden method="post" action={"/mail/" (inbox.id)} { (csrf(&session)) }
                (keys())
            }
        }
    };
    Ok(page(&session, Some(Section::Mail), wanted.title(), &body))
}

/// What is announced: how many results there are, or how many emails are unread.
fn announced(wanted: &Wanted, emails: &Listed<Email>, folders: &Folders) -> String {
    match (wanted.words(), emails.rows.len()) {
        (Some(_), 1) => "1 result".to_owned(),
        (Some(_), count) if emails.next.is_some() => format!("{count} results on this page"),
        (Some(_), count) => format!("{count} results"),
        (None, _) => format!("{} unread in Inbox", folders.unread()),
    }
}

async fn emails(session: &Session, inbox: &str, wanted: &Wanted) -> Result<Listed<Email>, Refusal> {
    let of = |path: &'static [&'static str]| {
        let target = to(path.iter().copied()).with("inbox", inbox).with("per_page", PER_PAGE).with("preview", true);
        target.with_some("cursor", wanted.cursor.as_deref())
    };
    match wanted.words() {
        Some(words) => session.api.list(of(&["emails", "search"]).with("q", words)).await,
        None => {
            let of = of(&["emails"]);
            session
                .api
                .list(match wanted.place() {
                    Place::Label("all") => of,
                    Place::Label(label) => of.with("label", label),
                    Place::Mailbox(name) => of.with("mailbox", name),
                })
                .await
        }
    }
}

/// Changes to another inbox; where there are more than it lists, with a link to the pages of all.
fn switcher(inboxes: &Listed<Inbox>, current: &Inbox) -> Markup {
    let is_listed = inboxes.rows.iter().any(|inbox| inbox.id == current.id);
    html! {
        @if inboxes.rows.len() > 1 {
            form .switcher method="get" action="/mail" {
                label .visually-hidden for="inbox" { "Inbox" }
                select #inbox name="inbox" data-submit {
                    @if !is_listed { option value=(current.id) selected { (current.email_address) } }
                    @for inbox in &inboxes.rows {
                        option value=(inbox.id) selected[inbox.id == current.id] { (inbox.email_address) }
                    }
                }
                button .quiet type="submit" { "Open" }
            }
            @if inboxes.next.is_some() { a .button .quiet href="/inboxes" { "All inboxes" } }
        }
    }
}

fn search(inbox: &str, words: &str, has_focus: bool) -> Markup {
    html! {
        search {
            form .search method="get" action={"/mail/" (inbox)} hx-get={"/mail/" (inbox)} hx-trigger="input delay:250ms from:#q, submit"
                hx-target="#list" hx-swap="outerHTML" hx-replace-url="true" hx-sync="this:replace" {
                label .visually-hidden for="q" { "Search this inbox" }
                input #q type="search" name="q" value=(words) placeholder="Search" autocomplete="off" spellcheck="false" autofocus[has_focus]
                    aria-describedby="search-hint" data-key="/";
                button .quiet type="submit" { "Search" }
            }
            details .hint #search-hint {
                summary { "Search syntax" }
                p {
                    "Words and " code { "\"phrases\"" } ", " code { "from:ann" } ", " code { "to:" } ", " code { "subject:" } ", "
                    code { "label:trash" } ", " code { "before:2026-11-30" } ", " code { "after:" } ", " code { "has:attachment" } ", "
                    code { "is:unread" } ", " code { "is:read" } ", " code { "is:starred" } ". All of them have to be true."
                }
            }
        }
    }
}

/// The list, which replaces itself when mail comes in.
fn list(
    session: &Session,
    inbox: &str,
    wanted: &Wanted,
    folders: &Folders,
    emails: &Listed<Email>,
    fault: Option<&Refusal>,
) -> Markup {
    let may = session.may(Permissions::MESSAGES_WRITE);
    let in_trash = wanted.words().is_none() && wanted.place() == Place::Label("trash");
    // A page further back stays as it is.
    let is_live = wanted.cursor.is_none();
    html! {
        form #list .mail-list method="post" action={"/mail/" (inbox) "/actions"} {
            @if is_live {
                div hx-get=(path_of(session)) hx-trigger="sse:email.received, sse:email.sent, sse:email.labels_changed, reload" hx-target="#list"
                    hx-swap="outerHTML" hx-sync="this:replace" data-live hidden {}
                // Shown while emails are selected, so that the selection stays.
                p .notice #waiting hidden { "New mail has arrived. It is shown when nothing is selected." }
            }
            (csrf(session))
            input type="hidden" name="back" value=(path_of(session));
            @if let Some(refusal) = fault {
                div .notice .error role="alert" {
                    @for error in refusal.errors() { p { (error.message) } }
                    @if refusal.errors().is_empty() { p { (refusal.detail()) } }
                }
            }
            @if emails.rows.is_empty() && fault.is_none() {
                (nothing(session, inbox, wanted, emails.next.is_some()))
            } @else if !emails.rows.is_empty() {
                @if may { (bar(in_trash, folders)) }
                ol .emails { @for email in &emails.rows { (row(session, folders, email, may.then_some(in_trash))) } }
            }
            (pages(session, "cursor", emails.next.as_deref()))
        }
    }
}

fn nothing(session: &Session, inbox: &str, wanted: &Wanted, has_more: bool) -> Markup {
    let write = html! {
        @if session.may(Permissions::MESSAGES_SEND) { p { a .button href={"/mail/" (inbox) "/compose"} { "Write an email" } } }
    };
    match (wanted.words().is_some(), has_more) {
        (true, true) => {
            empty("No results among the newest emails. The next page continues with older ones.", &html! {})
        }
        (true, false) => empty("No results. Try fewer words, or part of the sender's address.", &html! {}),
        (false, true) => empty("No results so far; the next page continues with older emails.", &html! {}),
        (false, false) if wanted.place() == Place::Label("inbox") => {
            empty("No mail yet. Mail to this inbox appears here as it arrives.", &write)
        }
        (false, false) => empty("No email here.", &html! { p { a href={"/mail/" (inbox)} { "Open the inbox" } } }),
    }
}

/// What can be done with those that are selected.
fn bar(in_trash: bool, folders: &Folders) -> Markup {
    html! {
        div .bar role="group" aria-label="With the selected emails" {
            label .check { input type="checkbox" data-all; "All" }
            @if in_trash {
                button .quiet .small name="do" value="restore" { "Restore" }
                button .danger .small name="do" value="erase" { "Delete permanently" }
            } @else {
                button .quiet .small name="do" value="archive" { "Archive" }
                button .quiet .small name="do" value="delete" { "Delete" }
            }
            button .quiet .small name="do" value="read" { "Mark read" }
            button .quiet .small name="do" value="unread" { "Mark unread" }
            (more(folders))
        }
    }
}

/// Moving and labelling.
pub(super) fn more(folders: &Folders) -> Markup {
    html! {
        span .joined {
            label .visually-hidden for="target" { "Move or label" }
            select #target name="target" {
                option value="" selected { "Move or label…" }
                optgroup label="Move to" {
                    @for label in ["inbox", "archive", "junk", "trash"] { option value={"move:" (label)} { (name_of(label)) } }
                }
                @if !folders.labels.is_empty() {
                    optgroup label="Add label" { @for label in &folders.labels { option value={"add:" (label.slug)} { (label.name) } } }
                    optgroup label="Remove label" { @for label in &folders.labels { option value={"remove:" (label.slug)} { (label.name) } } }
                }
            }
            button .quiet .small name="do" value="target" { "Apply" }
        }
    }
}

/// `in_trash` where the emails may be changed.
fn row(session: &Session, folders: &Folders, email: &Email, in_trash: Option<bool>) -> Markup {
    let (is_unread, is_starred, id) = (email.is_unread(), email.has("starred"), &email.id);
    let is_own = email.has("sent") || email.has("drafts");
    let people = if is_own { &email.to } else { &email.from };
    html! {
        li .row .unread[is_unread] data-row {
            @if in_trash.is_some() {
                label .pick { input type="checkbox" name="email" value=(id) id={"pick-" (id)} data-key="x"; span .visually-hidden { "Select " (email.title()) } }
                button .star .on[is_starred] name="do" value={(if is_starred { "unstar" } else { "star" }) "/" (id)} data-key="s"
                    aria-pressed=(is_starred) aria-label={"Star " (email.title())} { (if is_starred { "★" } else { "☆" }) }
            }
            a .link id={"email-" (id)} href=(email.path(session)) {
                span .who {
                    @if is_unread { span .visually-hidden { "Unread: " } }
                    @if is_own { "To " }
                    @if people.is_empty() { "(no recipient)" }
                    @for (at, one) in people.iter().take(3).enumerate() { @if at > 0 { ", " } bdi { (one.short()) } }
                    @if people.len() > 3 { " and " (people.len() - 3) " more" }
                }
                span .what {
                    @for label in email.own_labels() { span .badge { bdi { (folders.label(label)) } } " " }
                    strong { bdi { (email.title()) } }
                    @if !email.preview.is_empty() { span .preview { " – " bdi { (email.preview) } } }
                }
                span .when {
                    @if email.has_attachments { (clip()) " " }
                    (time(&email.created_at))
                }
            }
            @if let Some(in_trash) = in_trash {
                // For keys: the email is answered from the list. The list is a form, so these buttons name another one.
                @if !is_own && session.may(Permissions::MESSAGES_SEND | Permissions::DRAFTS_WRITE) {
                    @for (kind, key) in [("reply", "r"), ("reply_all", "a"), ("forward", "f")] {
                        button type="submit" name="kind" value=(kind) data-key=(key) form="answer" hidden tabindex="-1"
                            formaction={"/mail/" (email.inbox_id) "/" (id) "/answer"} { (kind.replace('_', " ")) }
                    }
                }
                span .row-actions {
                    button .quiet .small name="do" value={"archive/" (id)} data-key="e" aria-label={"Archive " (email.title())} { "Archive" }
                    button .quiet .small name="do" value={(if in_trash { "erase" } else { "delete" }) "/" (id)} data-key="#" aria-label={"Delete " (email.title())} { "Delete" }
                }
            }
        }
    }
}

/// A paper clip.
fn clip() -> Markup {
    html! {
        span .visually-hidden { "Has attachments. " }
        svg .clip aria-hidden="true" width="14" height="14" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5"
            stroke-linecap="round" {
            path d="M13 7.5 7.6 12.9a3.2 3.2 0 0 1-4.5-4.5l5.7-5.7a2.1 2.1 0 0 1 3 3l-5.5 5.5a1 1 0 0 1-1.5-1.5l5-5" {}
        }
    }
}

/// The keys that the page's script takes.
pub(super) fn keys() -> Markup {
    const KEYS: [(&str, &str); 14] = [
        ("j", "Next email"),
        ("k", "Previous email"),
        ("Enter", "Open the email"),
        ("u", "Back to the list"),
        ("e", "Archive"),
        ("#", "Delete"),
        ("s", "Star"),
        ("x", "Select"),
        ("r", "Reply"),
        ("a", "Reply to all"),
        ("f", "Forward"),
        ("c", "Write"),
        ("/", "Search"),
        ("?", "Show the shortcut keys"),
    ];
    html! {
        p .keys-hint { button .quiet .small type="button" data-dialog="keys" { "Shortcut keys " kbd { "?" } } }
        dialog #keys aria-labelledby="keys-head" {
            h2 #keys-head { "Shortcut keys" }
            dl .facts { @for (key, what) in KEYS { dt { kbd { (key) } } dd { (what) } } }
            label .check { input type="checkbox" data-keys-on checked; "Use shortcut keys" }
            form method="dialog" { button type="submit" { "Close" } }
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct From {
    /// When the page was made.
    since: Option<Timestamp>,
}

/// Events of the inbox as they happen, from the time of the page on.
pub(super) async fn stream(
    session: Session,
    Path(inbox): Path<String>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let types = "email.received,email.sent,email.labels_changed,email.delivered,email.deferred,email.bounced";
    let target = to(["inboxes", inbox.as_str(), "stream"]).with("types", types).with_some("since", from.since);
    let mut wanted = HeaderMap::new();
    if let Some(last) = headers.get("last-event-id") {
        wanted.insert("last-event-id", last.clone());
    }
    wanted.insert(header::ACCEPT, header::HeaderValue::from_static("text/event-stream"));
    session.api.forward(target, wanted).await
}
