//! An email in its thread: header fields, text, HTML, attachments, and what was found in it.

use super::inbox::{Folders, Inbox};
use super::list::{PER_PAGE, keys, more};
use super::messages::{Email, Hidden, MAILBOXES, Mailbox, Whole};
use super::{delivery, frame};
use crate::auth::login::Permissions;
use crate::clock::Timestamp;
use crate::web::api::to;
use crate::web::controls::octets;
use crate::web::form::is_from_here;
use crate::web::layout::{Section, csrf, page};
use crate::web::parts::{copyable, status, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::{Path, Query};
use axum::http::HeaderMap;
use futures_util::StreamExt;
use maud::{Markup, html};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// Octets of the source that the page shows; a download has all of it.
const SOURCE: u64 = 64 * 1024;
/// Links that are shown.
const LINKS: usize = 50;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    view: String,
    #[serde(default)]
    images: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Text,
    Html,
    Headers,
    Source,
}

impl Tab {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Text, "text", "Text"),
        (Self::Html, "html", "HTML"),
        (Self::Headers, "headers", "Headers"),
        (Self::Source, "source", "Source"),
    ];

    /// The one that is asked for, else the text, where there is one.
    fn of(wanted: &str, email: &Whole) -> Self {
        let named = Self::ALL.into_iter().find(|(_, name, _)| *name == wanted).map(|(view, ..)| view);
        match named {
            Some(Self::Html) if email.html_body.is_none() => Self::Text,
            Some(view) => view,
            None if email.text_body.is_none() && email.html_body.is_some() => Self::Html,
            None => Self::Text,
        }
    }
}

#[derive(Deserialize)]
struct Thread {
    emails: Vec<Email>,
}

pub(super) async fn show(
    session: Session,
    Path((inbox, id)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Markup, Refusal> {
    let mut whole: Whole = session.api.get(to(["emails", &id])).await?;
    if whole.email.inbox_id != inbox {
        return Err(Refusal::not_found());
    }
    let inbox = Inbox::find(&session, &inbox).await?;
    let may = session.may(Permissions::MESSAGES_WRITE);
    if whole.email.is_unread() && may && is_from_here(&headers, &session.uri) {
        session.api.patch::<IgnoredAny>(to(["emails", &id, "actions"]), json!({"mark_read": true})).await?;
        whole.email.labels.retain(|label| label != "unread");
    }
    let thread = match &whole.email.thread_id {
        Some(thread) => session.api.find::<Thread>(to(["email_threads", thread])).await?,
        None => None,
    };
    let mut thread = thread.map(|thread| thread.emails).unwrap_or_default();
    thread.reverse();
    let (newer, older) = neighbours(&session, &whole.email).await?;
    let folders = Folders::of(&session, &inbox.id).await?;
    // The API writes times as they are read here.
    let created_at = whole.email.created_at.parse().unwrap_or_else(|_| Timestamp::real());
    let delivery_card = delivery::card(&session, &inbox.id, &id, created_at, &whole.sent).await?;
    let view = Tab::of(&wanted.view, &whole);
    let content = content(&session, &inbox.id, &whole, view, &wanted).await?;
    let (email, base) = (&whole.email, format!("/mail/{}", inbox.id));
    let others = |before: bool| {
        let at = thread.iter().position(|one| one.id == id).unwrap_or(thread.len());
        thread
            .iter()
            .enumerate()
            .filter(move |(place, _)| if before { *place < at } else { *place > at })
            .map(|(_, one)| one)
    };
    let body = html! {
        nav .crumbs aria-label="Back" {
            a href=(base) data-key="u" { "← " bdi { (inbox.email_address) } }
            @if let Some(newer) = &newer { " · " a href=(newer.path(&session)) data-key="k" rel="prev" { "Newer" } }
            @if let Some(older) = &older { " · " a href=(older.path(&session)) data-key="j" rel="next" { "Older" } }
            " · " a href={(base) "?search=1"} data-key="/" { "Search" }
        }
        div .head {
            h1 { bdi { (email.title()) } }
            div .labels { @for label in email.own_labels() { span .badge { bdi { (folders.label(label)) } } " " } }
        }
        (toolbar(&session, &base, &whole, &folders, may))
        (delivery_card)
        @if thread.len() > 1 { p .hint { (thread.len()) " emails in this thread" @if thread.len() >= 100 { " (the newest)" } } }
        (others_of(&session, others(true), "Earlier in this thread"))
        article .card .stack .email aria-label="This email" data-row { (fields(&whole)) (warnings(&whole)) (found(&whole)) (content) (attachments(&base, &whole)) }
        (others_of(&session, others(false), "Later in this thread"))
        (keys())
    };
    Ok(page(&session, Some(Section::Mail), email.title(), &body))
}

/// The next newer email in the same mailbox, among those of a page of the list, and the next older one.
async fn neighbours(session: &Session, email: &Email) -> Result<(Option<Email>, Option<Email>), Refusal> {
    let label = MAILBOXES.into_iter().find(|label| email.has(label));
    let all = to(["emails"]).with("inbox", &email.inbox_id).with_some("label", label);
    let newest = session.api.list::<Email>(all.clone().with("per_page", PER_PAGE)).await?.rows;
    let at = newest.iter().position(|one| one.id == email.id);
    let newer = at.and_then(|at| newest.get(at.checked_sub(1)?)).cloned();
    let older = match at.and_then(|at| newest.get(at.saturating_add(1))).cloned() {
        Some(older) => Some(older),
        None => {
            session.api.list::<Email>(all.with("per_page", 1).with("cursor", &email.id)).await?.rows.into_iter().next()
        }
    };
    Ok((newer, older))
}

fn others_of<'a>(session: &Session, emails: impl Iterator<Item = &'a Email>, what: &str) -> Markup {
    let emails: Vec<_> = emails.collect();
    html! {
        @if !emails.is_empty() {
            ol .thread aria-label=(what) {
                @for email in emails {
                    li { a href=(email.path(session)) {
                        span .who { @for (at, one) in email.from.iter().take(3).enumerate() { @if at > 0 { ", " } bdi { (one.short()) } } }
                        span .what { @if email.has("drafts") { "Draft: " } @else if email.is_unread() { "Unread: " } bdi { (email.title()) } }
                        span .when { (time(&email.created_at)) }
                    } }
                }
            }
        }
    }
}

fn toolbar(session: &Session, base: &str, whole: &Whole, folders: &Folders, may: bool) -> Markup {
    let (email, id) = (&whole.email, &whole.email.id);
    let can_answer = session.may(Permissions::MESSAGES_SEND | Permissions::DRAFTS_WRITE);
    let has_others = email.to.len() + whole.cc.len() > 1;
    let is_away = ["trash", "junk", "archive"].iter().any(|label| email.has(label));
    html! {
        div .toolbar role="group" aria-label="With this email" {
            @if can_answer {
                form .actions method="post" action={(base) "/" (id) "/answer"} {
                    (csrf(session))
                    button .small name="kind" value="reply" data-key="r" { "Reply" }
                    @if has_others { button .quiet .small name="kind" value="reply_all" data-key="a" { "Reply to all" } }
                    button .quiet .small name="kind" value="forward" data-key="f" { "Forward" }
                }
            }
            @if may {
                form .actions method="post" action={(base) "/actions"} {
                    (csrf(session))
                    input type="hidden" name="back" value=(base);
                    input type="hidden" name="email" value=(id);
                    @if is_away { button .quiet .small name="do" value="restore" { "Move back" } }
                    @if !email.has("archive") && !email.has("trash") { button .quiet .small name="do" value="archive" data-key="e" { "Archive" } }
                    @if email.has("trash") { button .danger .small name="do" value="erase" data-key="#" { "Delete permanently" } }
                    @else { button .quiet .small name="do" value="delete" data-key="#" { "Delete" } }
                    button .quiet .small name="do" value="unread" { "Mark unread" }
                }
                form .actions method="post" action={(base) "/actions"} {
                    (csrf(session))
                    input type="hidden" name="back" value={(base) "/" (id)};
                    input type="hidden" name="email" value=(id);
                    @let (action, word) = if email.has("starred") { ("unstar", "Remove star") } else { ("star", "Star") };
                    button .quiet .small name="do" value=(action) data-key="s" { (word) }
                    (more(folders))
                }
            }
        }
    }
}

fn people(all: &[Mailbox]) -> Markup {
    html! { @for (at, one) in all.iter().take(50).enumerate() { @if at > 0 { ", " } (one.whole()) } @if all.len() > 50 { " and " (all.len() - 50) " more" } }
}

fn fields(whole: &Whole) -> Markup {
    let Whole { email, cc, bcc, reply_to, rcpt_to, .. } = whole;
    let is_named = |address: &str| {
        let has = |one: &Mailbox| one.address.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(address));
        email.to.iter().chain(cc).any(has)
    };
    html! {
        dl .facts .fields {
            dt { "From" } dd { @if email.from.is_empty() { "nobody" } (people(&email.from)) }
            @for (name, all) in [("To", &email.to), ("Cc", cc), ("Bcc", bcc), ("Reply to", reply_to)] {
                @if !all.is_empty() { dt { (name) } dd { (people(all)) } }
            }
            @if let Some(address) = rcpt_to.as_deref().filter(|address| !is_named(address)) { dt { "Came for" } dd { bdi { (address) } } }
            dt { "Date" } dd { (time(&email.created_at)) }
            @match &whole.authentication {
                Some(Value::Object(results)) => @for (name, result) in results {
                    @if let Some(word) = result.as_str().or_else(|| result.get("result")?.as_str()) { dt { (name.to_uppercase()) } dd { (word) } }
                },
                _ if rcpt_to.is_some() => { dt { "SPF, DKIM, DMARC" } dd { (status("not_checked")) " This version does not check who has sent it." } },
                _ => {}
            }
        }
    }
}

/// What a reader should know before reading.
fn warnings(whole: &Whole) -> Markup {
    let is_suspicious = |hidden: &&Hidden| hidden.kind == "text" || hidden.kind == "characters";
    let hidden: Vec<_> = whole.hidden_text.iter().filter(is_suspicious).collect();
    html! {
        @if !hidden.is_empty() {
            div .notice .warn role="note" {
                p { strong { "This email has hidden text." } " A program that reads it would see it; treat the email with suspicion." }
                details { summary { "Show it" }
                    ul { @for one in hidden { li { (one.reason.replace('_', " ")) ": " bdi { code { (visible(&one.text)) } } } } }
                }
            }
        }
        @if whole.unreadable { div .notice .warn { p { "This email cannot be parsed, so its source is shown." } } }
        @if whole.truncated { div .notice { p { "The text is truncated. The source has all of it." } } }
    }
}

/// Characters that turn the text around or are not seen, by their numbers.
fn visible(text: &str) -> String {
    let is_unseen = |c: char| {
        c.is_control() || matches!(u32::from(c), 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff)
    };
    text.chars().map(|c| if is_unseen(c) { format!("[U+{:04X}]", u32::from(c)) } else { c.to_string() }).collect()
}

/// Codes and links.
fn found(whole: &Whole) -> Markup {
    let confirmations = || whole.links.iter().filter(|link| link.confirmation);
    let link = |url: &str, text: &str| {
        html! {
            a href=(url) target="_blank" rel="noopener noreferrer" { bdi { (text) } }
            @if text != url { " " span .hint { bdi { (url) } } }
        }
    };
    html! {
        @if !whole.codes.is_empty() {
            section .found aria-label="Codes" {
                @for code in &whole.codes { p { (copyable(&code.code, "the code")) " " span .hint { bdi { (code.context) } } } }
            }
        }
        @if confirmations().next().is_some() {
            section .found aria-label="Links that confirm" {
                ul .plain { @for one in confirmations().take(5) { li { (link(&one.url, &one.text)) } } }
            }
        }
        @if !whole.links.is_empty() {
            details {
                summary { "Links (" (whole.links.len()) ")" }
                ul { @for one in whole.links.iter().take(LINKS) { li { (link(&one.url, &one.text)) } } }
                @if whole.links.len() > LINKS { p .hint { (whole.links.len() - LINKS) " more are in the text." } }
            }
        }
    }
}

async fn content(session: &Session, inbox: &str, whole: &Whole, view: Tab, wanted: &Wanted) -> Result<Markup, Refusal> {
    let id = &whole.email.id;
    let here = format!("/mail/{inbox}/{id}");
    let tabs = html! {
        nav .tabs aria-label="Views" {
            @for (one, name, title) in Tab::ALL {
                @if one != Tab::Html || whole.html_body.is_some() {
                    a href={(here) "?view=" (name)} aria-current=[(one == view).then_some("page")] { (title) }
                }
            }
        }
    };
    let shown = match view {
        Tab::Text => html! {
            @if whole.text_body.is_none() && whole.html_body.is_some() { p .hint { "The email has no plain text: this is what was taken from its HTML." } }
            div .mail-text dir="auto" { (whole.text_body.as_deref().unwrap_or(&whole.extracted_text)) }
        },
        Tab::Html => {
            let word = frame::image_word(session, id);
            let with_images = wanted.images == word;
            let html = whole.html_body.clone().unwrap_or_default();
            let blocked = frame::displayed(session, html, Vec::new(), with_images).await?.blocked;
            html! {
                @if blocked > 0 {
                    div .notice {
                        p { (blocked) @if blocked == 1 { " image of another server is" } @else { " images of other servers are" } " not loaded: loading tells the sender that you read this, when and where." }
                        form method="get" action=(here) {
                            input type="hidden" name="view" value="html";
                            input type="hidden" name="images" value=(word);
                            button .quiet .small type="submit" { "Load images" }
                        }
                    }
                }
                iframe .mail-html title="The email as HTML" sandbox="allow-popups allow-popups-to-escape-sandbox" referrerpolicy="no-referrer"
                    src={(here) "/html" @if with_images { "?images=" (word) }} {}
            }
        }
        Tab::Headers => html! {
            div .table { table {
                thead { tr { th scope="col" { "Field" } th scope="col" { "Value" } } }
                tbody { @for field in &whole.headers { tr { th scope="row" { bdi { (field.name) } } td { bdi { (visible(&field.value)) } } } } }
            } }
        },
        Tab::Source => html! {
            p { a .button .quiet .small href={(here) "/message.eml"} download { "Download the source (" (octets(whole.size)) ")" } }
            pre tabindex="0" aria-label="Source" { (source(session, id).await?) }
            @if whole.size > SOURCE { p .hint { "The first " (octets(SOURCE)) ". The download has all of it." } }
        },
    };
    Ok(html! { (tabs) (shown) })
}

/// How the message begins.
async fn source(session: &Session, id: &str) -> Result<String, Refusal> {
    let response = session.api.forward(to(["emails", id, "raw"]), HeaderMap::new()).await?;
    if !response.status().is_success() {
        return Err(Refusal::unavailable());
    }
    let (mut pieces, mut begins) = (response.into_body().into_data_stream(), Vec::new());
    let largest = usize::try_from(SOURCE).unwrap_or(usize::MAX);
    while let Some(Ok(piece)) = pieces.next().await {
        begins.extend(piece.iter().take(largest.saturating_sub(begins.len())));
        if begins.len() >= largest {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&begins).into_owned())
}

fn attachments(base: &str, whole: &Whole) -> Markup {
    html! {
        @if !whole.attachments.is_empty() {
            section aria-labelledby="attachments-head" {
                h2 #attachments-head { "Attachments" }
                ul .plain .attachments {
                    @for one in &whole.attachments {
                        li { a href={(base) "/" (whole.email.id) "/attachments/" (one.id)} download { bdi { (visible(one.name())) } }
                            " " span .hint { bdi { (one.content_type) } ", " (octets(one.size)) } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_turn_text_around_are_numbers() {
        assert_eq!(visible("invoice\u{202e}gpj.exe"), "invoice[U+202E]gpj.exe");
        assert_eq!(visible("a\u{200b}b"), "a[U+200B]b");
        assert_eq!(visible("Grüße"), "Grüße");
    }
}
