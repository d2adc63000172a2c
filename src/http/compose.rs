//! A message composed from JSON: checks the fields and writes MIME. Invariant: no value can add a header field or a
//! line; the output is 7-bit, except for attached messages, which may not be encoded (RFC 2046 §5.2.1). Date and
//! Message-ID are added at submission, as for any client. RFC 5322, RFC 2045 to 2047.

use super::fields::Fields;
use crate::address::Address;
use crate::message;
use crate::message::parameters::{Parameters, parameterized};
use crate::message::searched::ADDRESS_FIELDS;
use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mail_builder::encoders::base64::Base64Encoder;
use mail_builder::headers::address::Address as MimeAddress;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::text::Text;
use mail_builder::headers::{Header, HeaderType};
use mail_builder::mime::{BodyPart, MimePart};
use serde_json::Value;

/// Maximum mailboxes in one field; the limit on recipients of a message is separate.
const MAX_MAILBOXES: usize = 10_000;
const MAX_ATTACHMENTS: usize = 100;
/// Maximum octets in a header value (RFC 5322 §2.1.1 limits lines; long values are folded).
const HEADER_VALUE: usize = 8000;
/// Octets before a header line is folded (RFC 5322 §2.1.1).
const FOLDED_LINE: usize = 76;
/// Maximum octets between two spaces of a header value that is not encoded; a line has at most 998.
const HEADER_WORD: usize = 900;
/// Maximum octets in a line of an attached message (RFC 5322 §2.1.1).
const MESSAGE_LINE: usize = 998;
/// Base64, its padding optional.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Fields beside those of addresses that are written from other JSON fields or by the server.
const NOT_BY_HAND: &[&str] = &[
    "subject",
    "date",
    "message-id",
    "mime-version",
    "received",
    "return-path",
    "dkim-signature",
    "authentication-results",
    "inboxlayer-fallback",
    "inboxlayer-answers",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    pub(super) name: Option<String>,
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
pub(super) fn mailboxes(fields: &mut Fields, field: &'static str) -> Vec<Mailbox> {
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
pub(super) fn mailbox(fields: &mut Fields, field: &'static str) -> Option<Mailbox> {
    let text = fields.text(field)?;
    Mailbox::parse(&text).map_err(|message| fields.fault(field, message)).ok()
}

#[derive(Clone, Debug)]
pub(super) struct Attachment {
    filename: String,
    media_type: MediaType,
    content: Vec<u8>,
    content_id: Option<String>,
}

#[derive(Clone, Debug)]
struct MediaType {
    /// `type/subtype` in lower case.
    name: String,
    parameters: Parameters,
}

/// Everything of a message except From and recipients.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) reply_to: Vec<Mailbox>,
    pub(super) subject: Option<String>,
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) attachments: Vec<Attachment>,
}

impl Content {
    /// Reads `reply_to`, `subject`, `text_body`, `html_body`, `headers` and `attachments`.
    pub(super) fn read(fields: &mut Fields) -> Self {
        let reply_to = mailboxes(fields, "reply_to");
        let subject = fields.text("subject");
        if subject.as_deref().is_some_and(|s| s.chars().any(char::is_control) || s.len() > HEADER_VALUE) {
            fields.fault("subject", format!("must be one line of at most {HEADER_VALUE} octets"));
        }
        let [text, html] = ["text_body", "html_body"].map(|field| fields.text(field).map(with_lf));
        for (field, value) in [("text_body", &text), ("html_body", &html)] {
            if value.as_deref().is_some_and(|text| text.contains('\0')) {
                fields.fault(field, "must not contain NUL characters");
            }
        }
        let headers = headers(fields);
        let attachments = attachments(fields);
        Self { reply_to, subject, text, html, headers, attachments }
    }

    /// True if there is something to read in it.
    pub(super) fn has_body(&self) -> bool {
        self.text.is_some() || self.html.is_some() || !self.attachments.is_empty()
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
            if is_foldable(value) {
                write_folded(&mut out, name, value);
            } else {
                write(&mut out, name, &Text::new(value.as_str()).into());
            }
        }
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        body(self.text, self.html, self.attachments).write_part(&mut out);
        out
    }
}

/// The parts: images that the HTML refers to are related to it (RFC 2387), the other attachments follow.
fn body(text: Option<String>, html: Option<String>, attachments: Vec<Attachment>) -> MimePart<'static> {
    let is_8bit = attachments.iter().any(|attachment| attachment.is_message() && !attachment.content.is_ascii());
    let (inline, attached): (Vec<_>, Vec<_>) =
        attachments.into_iter().partition(|attachment| html.is_some() && attachment.is_inline());
    let text = text.map(|text| MimePart::new("text/plain", BodyPart::Text(text.into())));
    let html = html.map(|html| MimePart::new("text/html", BodyPart::Text(html.into()))).map(|html| {
        let related = || ContentType::new("multipart/related").attribute("type", "text/html");
        if inline.is_empty() { html } else { multipart(related(), Some(html), inline) }
    });
    let shown = match (text, html) {
        (Some(text), Some(html)) => Some(MimePart::new("multipart/alternative", vec![text, html])),
        (text, html) => text.or(html),
    };
    match shown {
        Some(shown) if attached.is_empty() => shown,
        shown => {
            let mixed = multipart(ContentType::new("multipart/mixed"), shown, attached);
            if is_8bit { mixed.transfer_encoding("8bit") } else { mixed }
        }
    }
}

fn multipart(kind: ContentType<'static>, first: Option<MimePart<'static>>, rest: Vec<Attachment>) -> MimePart<'static> {
    let disposition = if kind.c_type == "multipart/related" { "inline" } else { "attachment" };
    let parts = first.into_iter().chain(rest.into_iter().map(|attachment| part(attachment, disposition)));
    MimePart::new(kind, BodyPart::Multipart(parts.collect()))
}

/// True if the value fits into lines that are folded at its spaces, unencoded.
fn is_foldable(value: &str) -> bool {
    value.is_ascii() && value.split(' ').all(|word| word.len() <= HEADER_WORD)
}

fn write_folded(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(format!("{name}:").as_bytes());
    let mut column = name.len() + 1;
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        // Not right after the colon: a line of nothing but spaces would follow the name.
        if column > name.len() + 1 && column + 1 + word.len() > FOLDED_LINE {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.extend_from_slice(format!(" {word}").as_bytes());
        column += 1 + word.len();
    }
    out.extend_from_slice(b"\r\n");
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

impl Attachment {
    /// Of a stored message, as it was decoded. A type that a single part cannot have is binary data.
    pub(super) fn of_stored(
        filename: Option<String>,
        content_type: &str,
        content_id: Option<String>,
        content: Vec<u8>,
    ) -> Self {
        let line = |text: String| text.chars().filter(|c| !c.is_control()).take(120).collect::<String>();
        let is_id = |id: &String| {
            !id.is_empty() && id.len() <= 255 && id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>'))
        };
        let found = media_type(content_type).filter(|found| found.name != "message/rfc822" || fits(&content));
        let binary = || MediaType { name: "application/octet-stream".to_owned(), parameters: Parameters::new() };
        let default = if found.as_ref().is_some_and(|found| found.name == "message/rfc822") {
            "message.eml"
        } else {
            "attachment"
        };
        let filename = filename.map(line).filter(|name| !name.is_empty()).unwrap_or_else(|| default.to_owned());
        Self { filename, media_type: found.unwrap_or_else(binary), content, content_id: content_id.filter(is_id) }
    }

    fn is_message(&self) -> bool {
        self.media_type.name == "message/rfc822"
    }

    fn is_inline(&self) -> bool {
        self.content_id.is_some() && !self.is_message()
    }
}

fn part(attachment: Attachment, disposition: &'static str) -> MimePart<'static> {
    let is_message = attachment.is_message();
    let Attachment { filename, media_type, content, content_id } = attachment;
    let is_text = media_type.name.starts_with("text/");
    let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
    let mut content_type = ContentType::new(media_type.name);
    content_type.attributes =
        media_type.parameters.into_iter().map(|(name, value)| (text(name).into(), text(value).into())).collect();
    let part = if is_message {
        let encoding = if content.is_ascii() { "7bit" } else { "8bit" };
        MimePart::new(content_type, BodyPart::Binary(content.into())).transfer_encoding(encoding)
    } else if is_text {
        // By default the builder writes attached text unencoded, whatever its line ends.
        let mut encoded = Vec::new();
        Base64Encoder::new().wrap_lines().encode_into(&content, &mut encoded);
        MimePart::new(content_type, BodyPart::Binary(encoded.into())).transfer_encoding("base64")
    } else {
        MimePart::new(content_type, BodyPart::Binary(content.into()))
    };
    let part = part.header("Content-Disposition", ContentType::new(disposition).attribute("filename", filename));
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
            _ if ADDRESS_FIELDS.contains(&lower.as_str())
                || NOT_BY_HAND.contains(&lower.as_str())
                || lower.starts_with("content-")
                || lower.starts_with("resent-") =>
            {
                fields.fault(&at, "cannot be set here: it is written from the message's other fields");
            }
            Value::String(value) if !value.chars().any(char::is_control) && value.len() <= HEADER_VALUE => {
                // Identifiers and URLs in angle brackets: encoded words are not allowed in them (RFC 2047 §5).
                let is_structured =
                    matches!(lower.as_str(), "references" | "in-reply-to") || lower.starts_with("list-");
                if is_structured && !is_foldable(&value) {
                    fields.fault(&at, format!("must be ASCII with at most {HEADER_WORD} octets between spaces"));
                }
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
    let media_type = media_type(&content_type);
    if media_type.is_none() {
        fields.fault(
            "content_type",
            "must be a media type like image/png or text/csv; charset=utf-8, of at most 255 octets",
        );
    }
    let mut content = fields.required_text("content").and_then(|text| {
        let content = decoded_base64(text);
        if content.is_none() {
            fields.fault("content", "must be base64 (RFC 4648 §4 or §5)");
        }
        content
    });
    if media_type.as_ref().is_some_and(|media_type| media_type.name == "message/rfc822") {
        content = content.map(|octets| crate::message::line_ends_as_crlf(&octets));
        if content.as_deref().is_some_and(|octets| !fits(octets)) {
            fields.fault(
                "content",
                format!("must be a message without NUL and with lines of at most {MESSAGE_LINE} octets"),
            );
        }
    }
    let content_id = fields.text("content_id");
    let id = |id: &str| one_line(id) && id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>'));
    if content_id.as_deref().is_some_and(|text| !id(text)) {
        fields.fault("content_id", "must be printable ASCII without spaces and angle brackets");
    }
    Some(Attachment { filename: filename?, media_type: media_type?, content: content?, content_id })
}

/// True if a message may be attached unencoded.
fn fits(octets: &[u8]) -> bool {
    !octets.contains(&0) && octets.split(|b| *b == b'\n').all(|line| line.len() <= MESSAGE_LINE + 1)
}

/// Base64 of either alphabet, with or without line breaks and padding.
pub(super) fn decoded_base64(text: String) -> Option<Vec<u8>> {
    let mut octets = text.into_bytes();
    octets.retain(|octet| !octet.is_ascii_whitespace());
    for octet in &mut octets {
        match octet {
            b'-' => *octet = b'+',
            b'_' => *octet = b'/',
            _ => {}
        }
    }
    BASE64.decode(octets).ok()
}

/// RFC 6838 §4.2, without the types that a single part cannot have; parameters by RFC 2045 §5.1.
fn media_type(text: &str) -> Option<MediaType> {
    let is_name =
        |part: &[u8]| part.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(b)) && !part.is_empty();
    let (name, rest) = text.split_once(';').map_or((text, None), |(name, rest)| (name, Some(rest)));
    let name = name.trim().to_ascii_lowercase();
    let (kind, subtype) = name.split_once('/')?;
    let is_composite = kind == "multipart" || (kind == "message" && subtype != "rfc822");
    let (_, parameters) = parameterized(text.as_bytes());
    let is_well_formed = |(name, value): &(Vec<u8>, Vec<u8>)| is_name(name) && std::str::from_utf8(value).is_ok();
    let all_read = parameters.iter().all(is_well_formed)
        && (!parameters.is_empty() || rest.is_none_or(|rest| rest.trim().is_empty()));
    let is_line = text.len() <= 255 && !text.chars().any(char::is_control);
    let is_media_type = is_line && is_name(kind.as_bytes()) && is_name(subtype.as_bytes()) && !is_composite && all_read;
    is_media_type.then_some(MediaType { name, parameters })
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
