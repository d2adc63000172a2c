//! The page on which an email is written, and what it will leave as.

use super::inbox::Inbox;
use super::messages::{Attachment, Mailbox, Whole};
use crate::auth::login::Permissions;
use crate::web::WebContext;
use crate::web::api::to;
use crate::web::controls::octets;
use crate::web::form::Fields;
use crate::web::layout::{Section, csrf, page};
use crate::web::parts::{refused, status};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

/// What is written so far.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) draft: Option<Draft>,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) cc: String,
    pub(super) bcc: String,
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
    pub(super) attachments: Vec<Attachment>,
}

/// A draft, and the version of it that the page shows.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) version: String,
}

impl Written {
    pub(super) async fn load(session: &Session, inbox: &str, id: &str) -> Result<Self, Refusal> {
        let (whole, version): (Whole, _) = session.api.versioned(to(["emails", id])).await?;
        if whole.email.inbox_id != inbox || !whole.email.has("drafts") {
            return Err(Refusal::not_found());
        }
        if whole.truncated {
            let detail = "This draft has more text than a page can show, so it cannot be changed here.";
            return Err(Refusal::too_large(detail, "Change it in a mail program, or over the API."));
        }
        let first = |all: &[Mailbox]| all.first().and_then(|one| one.address.clone()).unwrap_or_default();
        Ok(Self {
            draft: Some(Draft { id: id.to_owned(), version }),
            from: first(&whole.email.from),
            to: line(&whole.email.to),
            cc: line(&whole.cc),
            bcc: line(&whole.bcc),
            subject: whole.email.subject,
            text: whole.text_body.unwrap_or_default(),
            html: whole.html_body.unwrap_or_default(),
            attachments: whole.attachments,
        })
    }

    /// As a form has it, which was refused.
    pub(super) fn of(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        let draft = fields.some("draft").map(|id| Draft { id: id.to_owned(), version: text("version") });
        Self {
            draft,
            from: text("from"),
            to: text("to"),
            cc: text("cc"),
            bcc: text("bcc"),
            subject: text("subject"),
            text: fields.raw("text_body").to_owned(),
            html: fields.raw("html_body").to_owned(),
            attachments: Vec::new(),
        }
    }
}

/// Mailboxes in one line, as the API reads them.
fn line(all: &[Mailbox]) -> String {
    let one = |mailbox: &Mailbox| {
        let address = mailbox.address.as_deref()?;
        Some(match mailbox.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => {
                let name: String =
                    name.chars().flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
                format!("\"{name}\" <{address}>")
            }
            None => address.to_owned(),
        })
    };
    all.iter().filter_map(one).collect::<Vec<_>>().join(", ")
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    draft: Option<String>,
    to: Option<String>,
    /// Room for an answer above what it quotes.
    #[serde(default)]
    above: String,
}

pub(super) async fn show(
    session: Session,
    State(context): State<WebContext>,
    Path(inbox): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Markup, Refusal> {
    let inbox = Inbox::find(&session, &inbox).await?;
    let mut written = match &wanted.draft {
        // Another token would send what is below as a new email, without the draft's attachments.
        Some(_) if !session.may(Permissions::DRAFTS_WRITE) => return Err(Refusal::not_found()),
        Some(draft) => Written::load(&session, &inbox.id, draft).await?,
        None => Written { to: wanted.to.unwrap_or_default(), ..Written::default() },
    };
    if !wanted.above.is_empty() {
        written.text.insert_str(0, "\n\n");
    }
    shown(&session, &context, &inbox, &written, None).await
}

/// The page, with what is wrong with what was written.
pub(super) async fn shown(
    session: &Session,
    context: &WebContext,
    inbox: &Inbox,
    written: &Written,
    refusal: Option<&Refusal>,
) -> Result<Markup, Refusal> {
    let from = chosen(inbox, &written.from);
    let identity = match session.may(Permissions::INBOXES_READ) {
        true => Some(Identity::of(session, &inbox.id, from).await?),
        false => None,
    };
    let (base, limit) = (format!("/mail/{}", inbox.id), context.config.limits.message_size);
    let (may_send, may_save) = (session.may(Permissions::MESSAGES_SEND), session.may(Permissions::DRAFTS_WRITE));
    let field = |name: &'static str, label: &str, value: &str, hint: &str| {
        input(name, label, value, hint, &errors(refusal, name, written))
    };
    let to_errors = errors(refusal, "to", written);
    let starts_at_to = !to_errors.is_empty() || (written.draft.is_none() && written.to.is_empty());
    let body = html! {
        nav .crumbs aria-label="Back" { a href=(base) data-key="u" { "← " bdi { (inbox.email_address) } } }
        h1 { @if written.draft.is_some() { "Draft" } @else { "New email" } }
        (refused(refusal, &FIELDS.map(|(name, _)| name)))
        form #compose .card method="post" action={(base) "/send"} enctype="multipart/form-data" data-once data-drop data-limit=(limit) {
            (csrf(session))
            @if may_save {
                div hx-post={(base) "/drafts"} hx-trigger="input from:closest form delay:2s" hx-params="not files,keep" hx-target="#draft-state"
                    hx-swap="outerHTML" hx-sync="this:queue last" hidden {}
            }
            @if !inbox.addresses.is_empty() {
                div .field {
                    label for="from" { "From" }
                    select #from name="from" {
                        @for one in &inbox.addresses {
                            option value=(one.address) selected[one.address == from] {
                                (one.address) @if one.status != "verified" { " (" (one.status) ")" }
                            }
                        }
                    }
                    (faults("from", &errors(refusal, "from", written)))
                }
            }
            (input_of_people("to", "To", &written.to, starts_at_to, &to_errors))
            details .more open[[&written.cc, &written.bcc].into_iter().any(|people| !people.is_empty())] {
                summary { "Cc and Bcc" }
                div .stack {
                    (input_of_people("cc", "Cc", &written.cc, false, &errors(refusal, "cc", written)))
                    (input_of_people("bcc", "Bcc", &written.bcc, false, &errors(refusal, "bcc", written)))
                }
            }
            (field("subject", "Subject", &written.subject, ""))
            (area("text_body", "Text", &written.text, !starts_at_to && refusal.is_none(), &errors(refusal, "text_body", written)))
            details .more open[!written.html.is_empty()] {
                summary { "HTML (optional)" }
                (area("html_body", "HTML, for readers of HTML; the text above is for all others", &written.html, false, &errors(refusal, "html_body", written)))
            }
            (files(written, limit, &errors(refusal, "attachments", written)))
            @if let Some(identity) = &identity {
                // A token of some inboxes has no stream of the account's domains.
                @let is_live = session.is_of_account() && session.may(Permissions::MESSAGES_READ);
                div hx-ext=[is_live.then_some("sse")] sse-connect=[is_live.then_some("/activity/live")] {
                    div #identity aria-live="polite" hx-get={(base) "/identity"} hx-include="#from, #identity-seen" hx-swap="innerHTML"
                        hx-trigger=(if is_live { "change from:#from, sse:changed" } else { "change from:#from, every 15s" })
                        hx-sync="this:queue last" { (identity.show()) }
                }
            }
            (state(written.draft.as_ref(), ""))
            @if !may_send && !may_save { div .notice .warn { p { "Your API token may neither send mail nor save drafts." } } }
            div .actions {
                @if may_send { button type="submit" { "Send" } }
                @if may_save {
                    button .quiet type="submit" formaction={(base) "/drafts"} formnovalidate { "Save draft" }
                    button .danger type="submit" formaction={(base) "/discard"} formnovalidate { "Discard" }
                }
            }
            @if may_send && inbox.save_sent && may_save { p .hint { "It leaves 10 seconds after “Send”; until then it can be undone." } }
        }
    };
    Ok(page(session, Some(Section::Mail), "Write", &body))
}

/// The address that is selected: the one given, else the one that mail leaves under now.
fn chosen<'a>(inbox: &'a Inbox, given: &str) -> &'a str {
    let of = |wanted: &str| inbox.addresses.iter().find(|one| one.address.eq_ignore_ascii_case(wanted));
    let found = of(given).or_else(|| of(&inbox.email_address)).or(inbox.addresses.first());
    found.map_or("", |one| one.address.as_str())
}

/// The draft that the form is of, and when it was saved.
pub(super) fn state(draft: Option<&Draft>, outcome: &str) -> Markup {
    html! {
        div #draft-state .hint role="status" {
            @if let Some(Draft { id, version }) = draft {
                input type="hidden" name="draft" value=(id);
                input type="hidden" name="version" value=(version);
            }
            (outcome)
        }
    }
}

/// The fields of the API, and what the page calls them.
const FIELDS: [(&str, &str); 8] = [
    ("from", "From"),
    ("to", "To"),
    ("cc", "Cc"),
    ("bcc", "Bcc"),
    ("subject", "Subject"),
    ("text_body", "Text"),
    ("html_body", "HTML"),
    ("attachments", "Attachments"),
];

fn base_of(field: &str) -> &str {
    field.split(['[', '.']).next().unwrap_or_default()
}

/// What the page calls a field.
pub(super) fn label_of(field: &str) -> Option<&'static str> {
    FIELDS.into_iter().find(|(name, _)| *name == base_of(field)).map(|(_, label)| label)
}

/// What is wrong with a field. The API names `to` for all recipients: the field that has the address is meant.
fn errors(refusal: Option<&Refusal>, name: &str, written: &Written) -> Vec<String> {
    let place = |field: &str, message: &str| -> String {
        let lower = message.to_lowercase();
        let has = |text: &str| {
            let words = text.split([',', ' ', '<', '>', '"', ';']).map(str::to_lowercase);
            words.into_iter().any(|word| word.contains('@') && lower.contains(&word))
        };
        match base_of(field) {
            "to" if !has(&written.to) && has(&written.cc) => "cc".to_owned(),
            "to" if !has(&written.to) && has(&written.bcc) => "bcc".to_owned(),
            other => other.to_owned(),
        }
    };
    let all = refusal.into_iter().flat_map(Refusal::errors);
    all.filter(|error| place(&error.field, &error.message) == name).map(|error| error.message.clone()).collect()
}

fn faults(name: &str, errors: &[String]) -> Markup {
    html! { @if !errors.is_empty() { div .error id={(name) "-error"} { @for error in errors { p { (error) } } } } }
}

fn input(name: &str, label: &str, value: &str, hint: &str, errors: &[String]) -> Markup {
    html! {
        div .field {
            label for=(name) { (label) }
            input id=(name) name=(name) value=(value) autocomplete="off" aria-invalid=[(!errors.is_empty()).then_some("true")]
                aria-describedby=[(!errors.is_empty()).then(|| format!("{name}-error"))];
            @if !hint.is_empty() { p .hint { (hint) } }
            (faults(name, errors))
        }
    }
}

fn input_of_people(name: &str, label: &str, value: &str, is_first: bool, errors: &[String]) -> Markup {
    let described = if errors.is_empty() { format!("{name}-hint") } else { format!("{name}-hint {name}-error") };
    html! {
        div .field {
            label for=(name) { (label) }
            input id=(name) name=(name) value=(value) autocomplete="off" autocapitalize="none" spellcheck="false" autofocus[is_first]
                aria-invalid=[(!errors.is_empty()).then_some("true")] aria-describedby=(described);
            p .hint id={(name) "-hint"} { @if name == "to" { "Addresses, with commas between them." } }
            (faults(name, errors))
        }
    }
}

fn area(name: &str, label: &str, value: &str, is_first: bool, errors: &[String]) -> Markup {
    // A browser leaves out a line end right after the tag.
    let value = format!("\n{value}");
    html! {
        div .field {
            label for=(name) { (label) }
            textarea id=(name) name=(name) rows="12" dir="auto" autofocus[is_first] aria-invalid=[(!errors.is_empty()).then_some("true")]
                aria-describedby=[(!errors.is_empty()).then(|| format!("{name}-error"))] { (value) }
            (faults(name, errors))
        }
    }
}

fn files(written: &Written, limit: usize, errors: &[String]) -> Markup {
    html! {
        div .field .drop {
            @if !written.attachments.is_empty() {
                fieldset {
                    legend { "Attached" }
                    @for one in &written.attachments {
                        label .check {
                            input type="checkbox" name="keep" value=(one.id) checked;
                            span { bdi { (one.name()) } " " span .hint { (octets(one.size)) } }
                        }
                    }
                    p .hint { "Unticked files are removed when you save or send." }
                }
            }
            label for="files" { "Attach files" }
            input #files type="file" name="files" multiple aria-describedby="files-hint files-error";
            ul #files-list .plain .stack aria-label="Files to attach" {}
            p #files-hint .hint { span .scripted { "Or drop them here. " } "All together at most " (octets(limit as u64)) ", of which encoding takes a quarter." }
            div #files-error .error role="alert" { @for error in errors { p { (error) } } }
        }
    }
}

/// What a message sent now would leave as.
#[derive(Debug, Deserialize)]
pub(super) struct Identity {
    from: String,
    explanation: String,
    fallback: Option<Fallback>,
    spf: Mechanism,
    dkim: Mechanism,
    dmarc: Mechanism,
}

#[derive(Debug, Deserialize)]
struct Fallback {
    on_unverified: String,
}

#[derive(Debug, Deserialize)]
struct Mechanism {
    passes: Option<bool>,
}

impl Identity {
    async fn of(session: &Session, inbox: &str, login: &str) -> Result<Self, Refusal> {
        let login = Some(login).filter(|login| !login.is_empty());
        session.api.get(to(["inboxes", inbox, "sending_identity"]).with_some("login", login)).await
    }

    /// By which a page that has it already is left as it is.
    fn seen(&self) -> String {
        blake3::hash(format!("{self:?}").as_bytes()).to_hex().chars().take(16).collect()
    }

    fn show(&self) -> Markup {
        let is_fallback = self.fallback.is_some();
        html! {
            input #identity-seen type="hidden" name="seen" value=(self.seen());
            div .notice .warn[is_fallback] {
                p {
                    @match self.fallback.as_ref().map(|fallback| fallback.on_unverified.as_str()) {
                        Some("reject") => strong { "It will be refused." },
                        Some("hold") => strong { "It will wait." },
                        Some(_) => { strong { "It leaves as " bdi { (self.from) } } ", not as you chose." },
                        None => { "It leaves as " strong { bdi { (self.from) } } "." },
                    }
                }
                p { (self.explanation) }
                @if [&self.spf, &self.dkim, &self.dmarc].iter().any(|one| one.passes.is_some()) {
                    p .checks {
                        @for (name, one) in [("SPF", &self.spf), ("DKIM", &self.dkim), ("DMARC", &self.dmarc)] {
                            (name) " "
                            @match one.passes { Some(true) => (status("ok")), Some(false) => (status("failed")), None => (status("unknown")) } " "
                        }
                    }
                }
            }
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Login {
    #[serde(default)]
    from: String,
    #[serde(default)]
    seen: String,
}

/// The same again; nothing where the page has it already.
pub(super) async fn identity(
    session: Session,
    Path(inbox): Path<String>,
    Query(login): Query<Login>,
) -> Result<Response, Refusal> {
    let identity = Identity::of(&session, &inbox, &login.from).await?;
    if identity.seen() == login.seen {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(identity.show().into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_written_so_that_they_can_be_read_again() {
        let one = |name: Option<&str>, address: &str| Mailbox {
            name: name.map(str::to_owned),
            address: Some(address.to_owned()),
        };
        let all =
            [one(None, "a@x.test"), one(Some("Ann, \"at\" home"), "b@x.test"), Mailbox { name: None, address: None }];
        assert_eq!(line(&all), r#"a@x.test, "Ann, \"at\" home" <b@x.test>"#);
    }
}
