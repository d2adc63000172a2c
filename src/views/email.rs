//! An email as JSON. Message content is untrusted text from the sender: decoded, never interpreted.

use super::labels;
use crate::address::{Address, DomainName};
use crate::clock::Timestamp;
use crate::id::{InboxId, MessageId, ThreadId};
use crate::message::extraction::{self, Code, Link};
use crate::message::fields::Header;
use crate::message::hidden::HiddenText;
use crate::message::highlights::Highlight;
use crate::message::mime::Tree;
use crate::message::overview::{Overview, ShownMailbox};
use crate::message::text::{Attachment, content};
use crate::message::words::{decoded_words, without_controls};
use crate::reading::{Readable, Reader};
use crate::store::StoredMessage;
use crate::store::messages::{Headed, ListedHeader, MessageSummary};
use crate::store::sent::{SentEmail, SentRecipient, Status};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Maximum octets of text or HTML in a response.
const SHOWN_TEXT: usize = 2 * 1024 * 1024;
/// Header fields in a response at most.
const SHOWN_FIELDS: usize = 500;

/// An email without its content.
#[derive(Serialize, ToSchema)]
#[schema(as = Email)]
pub(crate) struct EmailJson {
    id: MessageId,
    inbox_id: InboxId,
    /// The id of its first copy.
    email_id: MessageId,
    thread_id: Option<ThreadId>,
    from_address: String,
    /// All addresses of To, with commas.
    to_address: String,
    subject: String,
    labels: Vec<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    from: Vec<ShownMailbox>,
    to: Vec<ShownMailbox>,
    cc: Vec<ShownMailbox>,
    bcc: Vec<ShownMailbox>,
    reply_to: Vec<ShownMailbox>,
    date: Option<Timestamp>,
    message_id: Option<String>,
    in_reply_to: Vec<String>,
    references: Vec<String>,
    mailbox: String,
    flags: Vec<String>,
    /// Envelope sender.
    mail_from: Option<String>,
    /// The address of From, where that has exactly one: what receivers compare with authenticated domains.
    header_from: Option<Address>,
    /// The same as `mail_from`.
    envelope_from: Option<String>,
    /// The domain that an authenticated check speaks for: null while nothing is checked.
    verified_domain: Option<DomainName>,
    /// The results of SPF, DKIM and DMARC: null while nothing is checked.
    #[schema(value_type = Option<Object>)]
    authentication: Option<Value>,
    /// The envelope recipient it came for.
    rcpt_to: Option<String>,
    received_at: Timestamp,
    size: u64,
    /// The path of its octets.
    raw: String,
    /// Where the request asks for it: how its text begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) preview: Option<String>,
    /// The same: whether it has attachments, as far as its beginning shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) has_attachments: Option<bool>,
    /// In the answer of a search: where its words are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) highlights: Vec<Highlight>,
    /// The daemon aborted while reading this message, so it is shown as plain text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unreadable: bool,
}

/// An email with its content.
#[derive(Serialize, ToSchema)]
#[schema(as = WholeEmail)]
pub(crate) struct WholeJson {
    #[serde(flatten)]
    email: EmailJson,
    text_body: Option<String>,
    html_body: Option<String>,
    /// The text or HTML is cut; `…/raw` has the complete message.
    truncated: bool,
    /// The text without quotes and signature.
    extracted_text: String,
    codes: Vec<Code>,
    links: Vec<Link>,
    /// Text that a reader does not see and a program does.
    hidden_text: Vec<HiddenText>,
    headers: Vec<FieldJson>,
    attachments: Vec<AttachmentJson>,
    #[serde(flatten)]
    sent: SentJson,
}

/// What has become of an email that was sent from here; null and no recipients for any other.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = EmailDelivery)]
struct SentJson {
    status: Option<Status>,
    recipients: Vec<SentRecipient>,
    provider_message_id: Option<String>,
    message_type: Option<String>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    send_at: Option<Timestamp>,
}

impl From<SentEmail> for SentJson {
    fn from(sent: SentEmail) -> Self {
        Self {
            status: Some(sent.status()),
            provider_message_id: sent.provider_message_id().map(str::to_owned),
            metadata: sent.note.metadata.and_then(|text| serde_json::from_str(&text).ok()),
            message_type: sent.note.message_type,
            send_at: sent.send_at,
            recipients: sent.recipients,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = HeaderField)]
struct FieldJson {
    name: String,
    value: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = EmailAttachment)]
struct AttachmentJson {
    /// Its place among the attachments, from 1 on.
    id: String,
    filename: Option<String>,
    content_type: String,
    size: usize,
    content_id: Option<String>,
    /// The path of its octets.
    path: String,
}

impl EmailJson {
    pub(crate) fn new(Headed { message, header }: Headed<ListedHeader>, reader: &Reader<'_>) -> Self {
        let overview = match header {
            ListedHeader::Overview(overview) => *overview,
            ListedHeader::Block(block) => {
                let readable = reader.begin(message.content);
                Overview::read(&Header::read(&block, &readable.limits))
            }
        };
        let is_set_aside = reader.sets_aside(message.content);
        Self::with(message, overview, is_set_aside)
    }

    fn with(stored: MessageSummary, overview: Overview, is_set_aside: bool) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let keywords = stored.keywords.split_ascii_whitespace();
        let addresses = |list: &[ShownMailbox]| list.iter().filter_map(|m| m.address.clone()).collect::<Vec<_>>();
        let created_at = stored.id.made_at();
        let Overview { from, to, cc, bcc, reply_to, author, subject, date, message_id, in_reply_to, references } =
            overview;
        Self {
            labels: labels::of(&stored),
            raw: path(&stored.id, "raw"),
            from_address: addresses(&from).into_iter().next().unwrap_or_default(),
            to_address: addresses(&to).join(", "),
            subject,
            flags: stored.flags.names().map(str::to_owned).chain(keywords.map(str::to_owned)).collect(),
            from,
            to,
            cc,
            bcc,
            reply_to,
            date,
            message_id,
            in_reply_to,
            references,
            id: stored.id,
            email_id: stored.email_id,
            thread_id: stored.thread,
            inbox_id: stored.inbox,
            mailbox: stored.mailbox,
            envelope_from: some(stored.mail_from.clone()),
            header_from: author,
            verified_domain: None,
            authentication: None,
            mail_from: some(stored.mail_from),
            rcpt_to: some(stored.rcpt_to),
            received_at: stored.internal_date,
            created_at,
            updated_at: stored.changed_at.unwrap_or(created_at).max(created_at),
            size: stored.size,
            preview: None,
            has_attachments: None,
            highlights: Vec::new(),
            unreadable: is_set_aside,
        }
    }
}

/// The path of something that belongs to an email.
pub(crate) fn path(id: &MessageId, what: &str) -> String {
    format!("/api/v1/emails/{id}/{what}")
}

impl AttachmentJson {
    fn new(email: &MessageId, number: usize, part: Attachment) -> Self {
        let Attachment { filename, content_type, size, content_id } = part;
        let path = path(email, &format!("attachments/{number}"));
        Self { id: number.to_string(), filename, content_type, size, content_id, path }
    }
}

impl WholeJson {
    pub(crate) fn new(stored: MessageSummary, raw: &StoredMessage, readable: Readable) -> Self {
        let tree = Tree::parse(&raw.header, &raw.body, &readable.limits);
        let content = content(&tree, SHOWN_TEXT);
        let header = Header::read(&raw.header, &readable.limits);
        let fields = header.fields().iter().filter(|field| !field.name.is_empty()).take(SHOWN_FIELDS);
        let field = |name: &[u8]| without_controls(String::from_utf8_lossy(name).into_owned());
        let headers = fields.map(|f| FieldJson { name: field(f.name), value: decoded_words(f.value) }).collect();
        let extracted = extraction::extract(&header, &content);
        let attachments = (1..).zip(content.attachments);
        Self {
            extracted_text: extracted.text,
            codes: extracted.codes,
            links: extracted.links,
            hidden_text: extracted.hidden,
            text_body: content.text,
            html_body: content.html,
            truncated: content.truncated,
            headers,
            attachments: attachments.map(|(number, part)| AttachmentJson::new(&stored.id, number, part)).collect(),
            email: EmailJson::with(stored, Overview::read(&header), readable.is_set_aside),
            sent: SentJson::default(),
        }
    }

    pub(crate) fn with(self, sent: Option<SentEmail>) -> Self {
        Self { sent: sent.map(Into::into).unwrap_or_default(), ..self }
    }

    /// Cuts each text to `octets`.
    pub(crate) fn cut_to(mut self, octets: usize) -> Self {
        let texts = [self.text_body.as_mut(), self.html_body.as_mut(), Some(&mut self.extracted_text)];
        for text in texts.into_iter().flatten().filter(|text| text.len() > octets) {
            text.truncate(text.floor_char_boundary(octets));
            self.truncated = true;
        }
        self
    }

    pub(crate) fn has_codes(&self) -> bool {
        !self.codes.is_empty()
    }
}
