//! An inbox as its mail pages show it: its name and addresses, the others to change to, its mailboxes and labels.

use super::messages::MAILBOXES;
use crate::auth::login::{Permissions, Scope};
use crate::web::api::{Listed, to};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use maud::{Markup, html};
use serde::Deserialize;

/// Inboxes to change to; more are on the page of inboxes.
const OTHERS: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct Address {
    pub(super) address: String,
    pub(super) status: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Inbox {
    pub(super) id: String,
    pub(super) email_address: String,
    #[serde(default)]
    pub(super) addresses: Vec<Address>,
    #[serde(default)]
    pub(super) save_sent: bool,
    #[serde(default)]
    pub(super) is_disabled: bool,
}

impl Inbox {
    /// A token that may read mail and no inboxes knows the id alone.
    pub(super) async fn find(session: &Session, id: &str) -> Result<Self, Refusal> {
        if session.may(Permissions::INBOXES_READ) {
            return session.api.get(to(["inboxes", id]).with("per_page", 1)).await;
        }
        let (id, email_address) = (id.to_owned(), id.to_owned());
        Ok(Self { id, email_address, addresses: Vec::new(), save_sent: true, is_disabled: false })
    }

    /// Those that the session sees, one page of them.
    pub(super) async fn all(session: &Session) -> Result<Listed<Self>, Refusal> {
        if session.may(Permissions::INBOXES_READ) {
            return session.api.list(to(["inboxes"]).with("per_page", OTHERS)).await;
        }
        let Scope::Inboxes(_, ids) = &session.principal.scope else {
            return Ok(Listed { rows: Vec::new(), next: None });
        };
        let known = ids.iter().take(OTHERS).map(ToString::to_string);
        let of = |id: String| Self {
            email_address: id.clone(),
            id,
            addresses: Vec::new(),
            save_sent: true,
            is_disabled: false,
        };
        Ok(Listed { rows: known.map(of).collect(), next: None })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Mailbox {
    name: String,
    label: Option<String>,
    emails: u32,
    unread: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Label {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) slug: String,
    pub(super) system: bool,
}

/// What a list shows: emails with a label, or those of a mailbox that a mail program has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Label(&'a str),
    Mailbox(&'a str),
}

impl<'a> Place<'a> {
    pub(super) fn name(self) -> &'a str {
        match self {
            Self::Label(label) => name_of(label),
            Self::Mailbox(name) => name,
        }
    }
}

/// The mailboxes and labels of an inbox.
#[derive(Debug)]
pub(super) struct Folders {
    mailboxes: Vec<Mailbox>,
    pub(super) labels: Vec<Label>,
}

impl Folders {
    pub(super) async fn of(session: &Session, inbox: &str) -> Result<Self, Refusal> {
        let mailboxes = session.api.list(to(["inboxes", inbox, "mailboxes"])).await?.rows;
        let labels: Vec<Label> = session.api.list(to(["mailbox_labels"])).await?.rows;
        Ok(Self { mailboxes, labels: labels.into_iter().filter(|label| !label.system).collect() })
    }

    fn counts(&self, label: &str) -> (u32, u32) {
        let of = self.mailboxes.iter().filter(|mailbox| mailbox.label.as_deref() == Some(label));
        of.fold((0, 0), |(emails, unread), one| (emails.saturating_add(one.emails), unread.saturating_add(one.unread)))
    }

    /// The name of a label, by its keyword.
    pub(super) fn label<'a>(&'a self, slug: &'a str) -> &'a str {
        self.labels.iter().find(|label| label.slug.eq_ignore_ascii_case(slug)).map_or(slug, |label| &label.name)
    }

    pub(super) fn unread(&self) -> u32 {
        self.counts("inbox").1
    }

    /// The list of mailboxes and labels; `current` is shown.
    pub(super) fn nav(&self, inbox: &str, current: Option<Place<'_>>, (is_swapped, may_label): (bool, bool)) -> Markup {
        let link = |place: Place<'_>, name: &str, count: Option<u32>, what: &str| {
            let (parameter, value) = match place {
                Place::Label(label) => ("label", label),
                Place::Mailbox(name) => ("mailbox", name),
            };
            html! {
                li { a href={"/mail/" (inbox) "?" (parameter) "=" (form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>())}
                    aria-current=[(current == Some(place)).then_some("page")] {
                    bdi { (name) }
                    @if let Some(count) = count.filter(|count| *count > 0) {
                        span .count { (count) span .visually-hidden { " " (what) } }
                    }
                } }
            }
        };
        let entry =
            |slug: &str, name: &str, count: Option<u32>, what: &str| link(Place::Label(slug), name, count, what);
        let others: Vec<&Mailbox> = self.mailboxes.iter().filter(|one| one.label.is_none()).collect();
        html! {
            nav #folders .folders aria-label="Mailboxes" hx-swap-oob=[is_swapped.then_some("true")] {
                ul {
                    @for label in MAILBOXES {
                        @let (emails, unread) = self.counts(label);
                        @let (count, what) = if label == "drafts" { (emails, "drafts") } else { (unread, "unread") };
                        (entry(label, name_of(label), Some(count), what))
                    }
                    (entry("starred", "Starred", None, ""))
                    (entry("all", "All mail", None, ""))
                }
                @if !others.is_empty() {
                    h2 #others-head { "Mailboxes of mail programs" }
                    ul aria-labelledby="others-head" {
                        @for one in others { (link(Place::Mailbox(&one.name), &one.name, Some(one.unread), "unread")) }
                    }
                }
                @if !self.labels.is_empty() {
                    h2 #labels-head { "Labels" }
                    ul aria-labelledby="labels-head" {
                        @for label in &self.labels { (entry(&label.slug, &label.name, None, "")) }
                    }
                }
                @if may_label { p .hint { a #labels-link href={"/mail/" (inbox) "/labels"} { "Change labels" } } }
            }
        }
    }
}

/// The name of a mailbox.
pub(super) fn name_of(label: &str) -> &str {
    match label {
        "inbox" => "Inbox",
        "sent" => "Sent",
        "drafts" => "Drafts",
        "archive" => "Archive",
        "junk" => "Junk",
        "trash" => "Trash",
        "starred" => "Starred",
        "all" => "All mail",
        other => other,
    }
}
