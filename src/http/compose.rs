//! A message composed from JSON: checks the fields and writes MIME. Invariant: no value can add a header field or a
//! line; the output is 7-bit. Date and Message-ID are added at submission, as for any client. RFC 5322, RFC 2045 to
//! 2047.

use super::fields::Fields;
use crate::address::Address;
use crate::message;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_builder::MessageBuilder;
use mail_builder::encoders::base64::Base64Encoder;
use mail_builder::headers::address::Address as MimeAddress;
use mail_builder::headers::text::Text;
use mail_builder::headers::{Header, HeaderType};
use mail_builder::mime::{BodyPart, MimePart};
use serde_json::Value;

/// Maximum mailboxes in one field; the limit on recipients of a message is separate.
const MAX_MAILBOXES: usize = 10_000;
const MAX_ATTACHMENTS: usize = 100;
/// Maximum octets in a header value (RFC 5322 §2.1.1 limits lines; long values are folded).
const HEADER_VALUE: usize = 8000;
/// Fields that are written from other JSON fields or by the server.
const NOT_BY_HAND: &[&str] = &[
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "received",
    "return-path",
    "dkim-signature",
    "authentication-results",
    "inboxlayer-fallback",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    name: Option<String>,
    pub(super) address: Address,
}

impl Mailbox {
    /// Reads `ann@example.org`, `Ann <ann@example.org>` or `"Ann, at home" <ann@example.org>`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match <[Self; 1]>::try_from(Self::parse_list(text)?) {
            Ok([only]) => Ok(only),
            Err(_) => Err("must be one address".into()),
        }
    }

    /// Reads one or several mailboxes separated by commas.
    fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        if text.trim().chars().any(char::is_control) {
            return Err("must be one line".into());
        }
        match message::mailboxes_in(text, MAX_MAILBOXES + 1) {
            Some(list) if !list.is_empty() => {
                Ok(list.into_iter().map(|(name, address)| Self { name, address }).collect())
            }
            _ => {
                let address = text.rsplit_once('<').map_or(text, |(_, rest)| rest.trim_end().trim_end_matches('>'));
                let reason = Address::parse(address.trim()).map_err(|error| error.to_string());
                Err(reason.err().unwrap_or_else(|| "must be an address, or a name and <an address>".into()))
            }
        }
    }

    /// A mailbox without a display name.
    pub(super) fn of(address: Address) -> Self {
        Self { name: None, address }
    }

    fn mime(&self) -> MimeAddress<'_> {
        MimeAddress::new_address(self.name.as_deref(), self.address.to_string())
    }
}

/// A list of mailboxes, or one string with several.
pub(super) fn mailboxes(fields: &mut Fields, field: &str) -> Vec<Mailbox> {
    let mut list = Vec::new();
    for (at, value) in fields.list(field, true).into_iter().enumerate() {
        match value.as_str().map(Mailbox::parse_list) {
            Some(Ok(mailboxes)) => list.extend(mailboxes),
            Some(Err(message)) => fields.fault(&format!("{field}[{at}]"), message),
            None => fields.fault(&format!("{field}[{at}]"), "must be an address as a string"),
        }
        if list.len() > MAX_MAILBOXES {
            fields.fault(field, format!("must have at most {MAX_MAILBOXES} addresses"));
            break;
        }
    }
    list
}

/// One mailbox; `None` if absent.
pub(super) fn mailbox(fields: &mut Fields, field: &str) -> Option<Mailbox> {
    let text = fields.text(field)?;
    Mailbox::parse(&text).map_err(|message| fields.fault(field, message)).ok()
}

#[derive(Debug)]
struct Attachment {
    filename: String,
    content_type: String,
    content: Vec<u8>,
    content_id: Option<String>,
}

/// Everything of a message except From and recipients.
#[derive(Debug)]
pub(super) struct Content {
    reply_to: Vec<Mailbox>,
    subject: Option<String>,
    text: Option<String>,
    html: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    attachments: Vec<Attachment>,
}

impl Content {
    /// Reads `reply_to`, `subject`, `text`, `html`, `headers` and `attachments`.
    pub(super) fn read(fields: &mut Fields) -> Self {
        let reply_to = mailboxes(fields, "reply_to");
        let subject = fields.text("subject");
        if subject.as_deref().is_some_and(|s| s.chars().any(char::is_control) || s.len() > HEADER_VALUE) {
            fields.fault("subject", format!("must be one line of at most {HEADER_VALUE} octets"));
        }
        let [text, html] = ["text", "html"].map(|field| fields.text(field).map(with_lf));
        for (field, value) in [("text", &text), ("html", &html)] {
            if value.as_deref().is_some_and(|text| text.contains('\0')) {
                fields.fault(field, "must not contain NUL characters");
            }
        }
        let headers = headers(fields);
        let attachments = attachments(fields);
        if text.is_none() && html.is_none() && attachments.is_empty() {
            fields.fault("text", "is required, or html, or attachments");
        }
        Self { reply_to, subject, text, html, headers, attachments }
    }

    /// Octets to process when writing the message.
    pub(super) fn octets(&self) -> usize {
        let texts = [&self.text, &self.html].into_iter().flatten().map(String::len);
        texts.chain(self.attachments.iter().map(|attachment| attachment.content.len())).sum()
    }

    /// Writes the message. Submission removes the Bcc field from what is sent.
    pub(super) fn write(self, from: &Mailbox, to: &[Mailbox], cc: &[Mailbox], bcc: &[Mailbox]) -> Vec<u8> {
        let text = self.text.as_ref().map_or(0, String::len) + self.html.as_ref().map_or(0, String::len);
        // Base64 with its line ends; text may be encoded the same way. The buffer grows if this is too small.
        let octets: usize = self.attachments.iter().map(|attachment| attachment.content.len()).sum::<usize>() + text;
        let mut out = Vec::with_capacity(octets / 10 * 14 + 4096);
        let addresses = |list: &[Mailbox]| MimeAddress::new_list(list.iter().map(|m| own(m.mime())).collect());
        write(&mut out, "From", &own(from.mime()).into());
        for (name, list) in [("To", to), ("Cc", cc), ("Bcc", bcc), ("Reply-To", &self.reply_to)] {
            if !list.is_empty() {
                write(&mut out, name, &addresses(list).into());
            }
        }
        if let Some(subject) = &self.subject {
            write(&mut out, "Subject", &Text::new(subject.as_str()).into());
        }
        for (name, value) in &self.headers {
            write(&mut out, name, &Text::new(value.as_str()).into());
        }
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        let mut body = MessageBuilder::new();
        body.text_body = self.text.map(|text| MimePart::new("text/plain", BodyPart::Text(text.into())));
        body.html_body = self.html.map(|html| MimePart::new("text/html", BodyPart::Text(html.into())));
        let parts: Vec<_> = self.attachments.into_iter().map(part).collect();
        body.attachments = (!parts.is_empty()).then_some(parts);
        body.serialize_body(&mut out);
        out
    }
}

/// Line ends as LF, which the builder writes as CRLF; it would pass a bare CR through.
fn with_lf(text: String) -> String {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text }
}

fn own(address: MimeAddress<'_>) -> MimeAddress<'static> {
    match address {
        MimeAddress::Address(a) => MimeAddress::new_address(a.name.map(|n| n.into_owned()), a.email.into_owned()),
        // Only single addresses are created here.
        MimeAddress::Group(_) | MimeAddress::List(_) => MimeAddress::new_list(Vec::new()),
    }
}

fn write(out: &mut Vec<u8>, name: &str, value: &HeaderType<'_>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    value.write_header(out, name.len() + 2);
}

fn part(attachment: Attachment) -> MimePart<'static> {
    let Attachment { filename, content_type, content, content_id } = attachment;
    let part = if content_type.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/")) {
        // By default the builder writes attached text unencoded, whatever its line ends.
        let mut encoded = Vec::new();
        Base64Encoder::new().wrap_lines().encode_into(&content, &mut encoded);
        MimePart::new(content_type, BodyPart::Binary(encoded.into())).transfer_encoding("base64")
    } else {
        MimePart::new(content_type, BodyPart::Binary(content.into()))
    };
    let part = part.attachment(filename);
    match content_id {
        Some(id) => part.cid(id),
        None => part,
    }
}

fn headers(fields: &mut Fields) -> Vec<(String, String)> {
    let mut list = Vec::new();
    for (name, value) in fields.object("headers") {
        let shown: String = name.chars().take(100).collect();
        let at = format!("headers.{shown}");
        let lower = name.to_ascii_lowercase();
        let well_formed = (1..=76).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        match value {
            _ if !well_formed => fields.fault(&at, "is not a valid header field name"),
            _ if NOT_BY_HAND.contains(&lower.as_str())
                || lower.starts_with("content-")
                || lower.starts_with("resent-") =>
            {
                fields.fault(&at, "cannot be set here: it is written from the message's other fields");
            }
            Value::String(value) if !value.chars().any(char::is_control) && value.len() <= HEADER_VALUE => {
                list.push((name, value));
            }
            _ => fields.fault(&at, format!("must be a string of one line and at most {HEADER_VALUE} octets")),
        }
    }
    list
}

fn attachments(fields: &mut Fields) -> Vec<Attachment> {
    let values = fields.list("attachments", false);
    if values.len() > MAX_ATTACHMENTS {
        fields.fault("attachments", format!("must have at most {MAX_ATTACHMENTS} entries"));
        return Vec::new();
    }
    let read = |(at, value)| fields.within(&format!("attachments[{at}]"), value, attachment);
    values.into_iter().enumerate().filter_map(read).collect()
}

fn attachment(fields: &mut Fields) -> Option<Attachment> {
    let one_line = |text: &str| !text.chars().any(char::is_control) && (1..=255).contains(&text.len());
    let filename = fields.required_text("filename");
    if filename.as_deref().is_some_and(|name| !one_line(name)) {
        fields.fault("filename", "must be one line of 1 to 255 octets");
    }
    let content_type = fields.text("content_type").unwrap_or_else(|| "application/octet-stream".to_owned());
    if !is_media_type(&content_type) {
        fields.fault("content_type", "must be a media type without parameters, like image/png");
    }
    let content = fields.required_text("content");
    let content = content.map(|text| STANDARD.decode(text.as_bytes()));
    if matches!(content, Some(Err(_))) {
        fields.fault("content", "must be base64 with padding (RFC 4648 §4), without line breaks");
    }
    let content_id = fields.text("content_id");
    let id = |id: &str| one_line(id) && id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>'));
    if content_id.as_deref().is_some_and(|text| !id(text)) {
        fields.fault("content_id", "must be printable ASCII without spaces and angle brackets");
    }
    Some(Attachment { filename: filename?, content_type, content: content?.ok()?, content_id })
}

/// RFC 6838 §4.2, without the types that a single part cannot have.
fn is_media_type(text: &str) -> bool {
    let name = |part: &str| {
        (1..=127).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, sub)| {
        name(kind) && name(sub) && !kind.eq_ignore_ascii_case("multipart") && !kind.eq_ignore_ascii_case("message")
    })
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
