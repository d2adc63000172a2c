//! What pages read of the API's emails.

use crate::auth::login::Permissions;
use crate::web::session::Session;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Mailbox {
    pub(super) name: Option<String>,
    pub(super) address: Option<String>,
}

impl Mailbox {
    /// The name, else the address.
    pub(super) fn short(&self) -> &str {
        let name = self.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        name.or(self.address.as_deref()).unwrap_or("(no address)")
    }

    /// Name and address, each in its own direction of text.
    pub(super) fn whole(&self) -> Markup {
        let name = self.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        html! {
            @if let Some(name) = name { bdi { (name) } " " }
            @if let Some(address) = &self.address { bdi .address { @if name.is_some() { "<" } (address) @if name.is_some() { ">" } } }
        }
    }
}

/// An email in a list.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Email {
    pub(super) id: String,
    pub(super) inbox_id: String,
    pub(super) thread_id: Option<String>,
    pub(super) subject: String,
    pub(super) from: Vec<Mailbox>,
    pub(super) to: Vec<Mailbox>,
    pub(super) labels: Vec<String>,
    pub(super) created_at: String,
    #[serde(default)]
    pub(super) preview: String,
    #[serde(default)]
    pub(super) has_attachments: bool,
}

/// The mailboxes that an email may be in, as labels.
pub(super) const MAILBOXES: [&str; 6] = ["inbox", "sent", "drafts", "archive", "junk", "trash"];

impl Email {
    pub(super) fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|own| own == label)
    }

    pub(super) fn is_unread(&self) -> bool {
        self.has("unread") && !self.has("drafts")
    }

    /// The labels that are keywords.
    pub(super) fn own_labels(&self) -> impl Iterator<Item = &str> {
        let is_own = |label: &&str| {
            !MAILBOXES.contains(label) && !["unread", "starred"].contains(label) && !label.starts_with('$')
        };
        self.labels.iter().map(String::as_str).filter(is_own)
    }

    pub(super) fn title(&self) -> &str {
        if self.subject.trim().is_empty() { "(no subject)" } else { self.subject.trim() }
    }

    /// A draft is opened to be written on.
    pub(super) fn path(&self, session: &Session) -> String {
        if self.has("drafts") && session.may(Permissions::DRAFTS_WRITE) {
            format!("/mail/{}/compose?draft={}", self.inbox_id, self.id)
        } else {
            format!("/mail/{}/{}", self.inbox_id, self.id)
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Attachment {
    pub(super) id: String,
    pub(super) filename: Option<String>,
    pub(super) content_type: String,
    pub(super) size: u64,
    pub(super) content_id: Option<String>,
}

impl Attachment {
    pub(super) fn name(&self) -> &str {
        self.filename.as_deref().filter(|name| !name.trim().is_empty()).unwrap_or("(without a name)")
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Code {
    pub(super) code: String,
    pub(super) context: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) url: String,
    pub(super) text: String,
    pub(super) confirmation: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Hidden {
    pub(super) kind: String,
    pub(super) reason: String,
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct HeaderField {
    pub(super) name: String,
    pub(super) value: String,
}

/// What has become of an email for one recipient.
#[derive(Debug, Deserialize)]
pub(super) struct Recipient {
    pub(super) address: String,
    pub(super) status: String,
    pub(super) reply: Option<String>,
    pub(super) mx: Option<String>,
    pub(super) at: Option<String>,
}

/// What has become of an email that was sent from here.
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    pub(super) status: Option<String>,
    pub(super) recipients: Vec<Recipient>,
    pub(super) send_at: Option<String>,
}

/// An email with its content.
#[derive(Debug, Deserialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    pub(super) email: Email,
    #[serde(flatten)]
    pub(super) sent: Sent,
    pub(super) cc: Vec<Mailbox>,
    pub(super) bcc: Vec<Mailbox>,
    pub(super) reply_to: Vec<Mailbox>,
    pub(super) rcpt_to: Option<String>,
    pub(super) size: u64,
    pub(super) text_body: Option<String>,
    pub(super) html_body: Option<String>,
    pub(super) truncated: bool,
    pub(super) extracted_text: String,
    pub(super) codes: Vec<Code>,
    pub(super) links: Vec<Link>,
    pub(super) hidden_text: Vec<Hidden>,
    pub(super) headers: Vec<HeaderField>,
    pub(super) attachments: Vec<Attachment>,
    /// Results of SPF, DKIM and DMARC, once they are checked.
    pub(super) authentication: Option<Value>,
    #[serde(default)]
    pub(super) unreadable: bool,
}
