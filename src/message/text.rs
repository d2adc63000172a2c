//! What a reader of a message is shown, and what is searched: its texts, decoded.
//!
//! Invariant: the octets of a part are decoded once. What the limits of reading leave opaque is searched as it stands and
//! shown as an attachment.

use super::decode::{charset_decoded, decoded_parameter, decoded_words, transfer_decoded};
use super::fields::{Header, unfold};
use super::mime::{Kind, Part, Tree, parameterized};
use mail_parser::decoders::html::html_to_text;

/// A message as its reader is shown it.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// The first text/plain part that is no attachment.
    pub text: Option<String>,
    /// The first text/html part that is none.
    pub html: Option<String>,
    /// All other parts; messages within the message are not looked into.
    pub attachments: Vec<Attachment>,
}

/// A part that is not shown.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub filename: Option<String>,
    /// In lower case.
    pub content_type: String,
    /// Octets, decoded.
    pub size: usize,
    /// Without its angle brackets.
    pub content_id: Option<String>,
}

/// What is shown of a message.
pub(crate) fn content(tree: &Tree<'_>) -> Content {
    let mut content = Content::default();
    add_content(tree, &tree.root, &mut content);
    content
}

fn add_content(tree: &Tree<'_>, part: &Part, content: &mut Content) {
    if let Kind::Multipart(parts) = &part.kind {
        return parts.iter().for_each(|part| add_content(tree, part, content));
    }
    let header = tree.fields_of(part);
    let disposition = header.find("Content-Disposition").map(parameterized);
    let filename = disposition
        .as_ref()
        .and_then(|(_, parameters)| decoded_parameter(parameters, "filename"))
        .or_else(|| decoded_parameter(&part.content_type.parameters, "name"));
    let is_attachment = disposition.is_some_and(|(words, _)| words.first().is_some_and(|word| word == b"attachment"));
    if !is_attachment && filename.is_none() {
        let place = match (part.content_type.is("text", "plain"), part.content_type.is("text", "html")) {
            (true, _) => Some(&mut content.text),
            (_, true) => Some(&mut content.html),
            _ => None,
        };
        if let Some(place @ None) = place {
            *place = Some(text_of(tree, part, &header));
            return;
        }
    }
    let kind = [&part.content_type.kind, &part.content_type.subtype].map(|word| String::from_utf8_lossy(word));
    content.attachments.push(Attachment {
        filename,
        content_type: kind.join("/"),
        size: decoded(tree, part, &header).len(),
        content_id: header.find("Content-ID").and_then(|value| message_ids(value).into_iter().next()),
    });
}

fn decoded<'a>(tree: &Tree<'a>, part: &Part, header: &Header<'_>) -> std::borrow::Cow<'a, [u8]> {
    let encoding = header.find("Content-Transfer-Encoding").map(unfold).unwrap_or_default();
    transfer_decoded(&encoding, tree.body_of(part))
}

fn text_of(tree: &Tree<'_>, part: &Part, header: &Header<'_>) -> String {
    charset_decoded(part.content_type.parameter("charset").unwrap_or_default(), &decoded(tree, part, header))
}

/// The ids of a Message-ID, In-Reply-To or References field, without their angle brackets.
pub(crate) fn message_ids(value: &[u8]) -> Vec<String> {
    let value = unfold(value);
    let ids = value.split(|octet| *octet == b'<').skip(1).filter_map(|rest| rest.split(|octet| *octet == b'>').next());
    ids.filter(|id| !id.is_empty()).map(|id| String::from_utf8_lossy(id).into_owned()).collect()
}

/// The texts of a message, in lower case: its text parts, and those of messages within it with their fields.
pub(crate) fn searched_texts(tree: &Tree<'_>) -> Vec<String> {
    let mut texts = Vec::new();
    add_texts(tree, &tree.root, &mut texts);
    texts
}

fn add_texts(tree: &Tree<'_>, part: &Part, texts: &mut Vec<String>) {
    match &part.kind {
        Kind::Multipart(parts) => parts.iter().for_each(|part| add_texts(tree, part, texts)),
        Kind::Message(inner) => {
            let header = tree.fields_of(inner);
            texts.extend(header.fields().iter().map(|field| decoded_words(field.value).to_lowercase()));
            add_texts(tree, inner, texts);
        }
        Kind::Leaf => {
            let kind = part.content_type.kind.as_slice();
            if part.content_type.is("text", "html") {
                texts.push(html_to_text(&text_of(tree, part, &tree.fields_of(part))).to_lowercase());
            } else if kind == b"text" {
                texts.push(text_of(tree, part, &tree.fields_of(part)).to_lowercase());
            } else if kind == b"multipart" || kind == b"message" {
                texts.push(String::from_utf8_lossy(tree.body_of(part)).to_lowercase());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::{ReadLimits, header_end};
    use super::*;

    fn tree(raw: &[u8]) -> Tree<'_> {
        let (header, body) = raw.split_at(header_end(raw));
        Tree::parse(header, body, &ReadLimits::default())
    }

    #[test]
    fn texts_are_searched_decoded() {
        let raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+SGVsbG88L2I+\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?Inn=C3=A9r?=\r\n\r\ndeep\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nStatus: 5.1.1\r\n--b--\r\n";
        let texts = searched_texts(&tree(raw)).join("|");
        for wanted in ["grüße", "hello", "innér", "deep", "status: 5.1.1"] {
            assert!(texts.contains(wanted), "{wanted} in {texts}");
        }
    }

    #[test]
    fn one_text_of_each_kind_is_shown_and_all_else_is_attached() {
        let raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; name=a.txt\r\n\r\nnamed\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nplain\r\n--c\r\nContent-Type: text/html; charset=us-ascii\r\n\r\n<p>\xc3\xa9\r\n--c--\r\n--b\r\nContent-Type: text/plain\r\n\r\nsecond\r\n--b\r\nContent-Type: Message/RFC822\r\nContent-ID: <x@y>\r\n\r\nSubject: in\r\n\r\n--b--\r\n";
        let content = content(&tree(raw));
        assert_eq!((content.text.as_deref(), content.html.as_deref()), (Some("plain"), Some("<p>\u{e9}")));
        let attached: Vec<_> = content
            .attachments
            .iter()
            .map(|a| (a.filename.as_deref(), a.content_type.as_str(), a.size, a.content_id.as_deref()))
            .collect();
        assert_eq!(
            attached,
            [
                (Some("a.txt"), "text/plain", 5, None),
                (None, "text/plain", 6, None),
                (None, "message/rfc822", 13, Some("x@y"))
            ]
        );
        assert_eq!(message_ids(b" <a@b>\r\n <c@d> junk <>\r\n"), ["a@b", "c@d"]);
    }
}
