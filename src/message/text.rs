//! What is displayed of a message: its text, its HTML, its attachments. Invariant: every part is displayed or is an
//! attachment, and is decoded once. What exceeds the read limits is an attachment. Parts are chosen as in RFC 8621
//! §4.1.4.

use super::charset;
use super::decode::transfer_decoded;
use super::fields::{Header, unfold};
use super::headers::Fields;
use super::html_text::html_to_text;
use super::mime::{Kind, Part, Tree};
use super::parameters::{decoded_parameter, disposition, transfer_encoding};
use super::words::without_controls;
use std::borrow::Cow;

/// A message as displayed.
#[derive(Debug)]
pub(crate) struct Content {
    /// All text in order, HTML converted to text; `None` if there is only HTML.
    pub text: Option<String>,
    /// All text in order, plain text converted to HTML; `None` if there is no HTML.
    pub html: Option<String>,
    /// How the lines of `text` are broken.
    pub flow: Flow,
    /// One of the two has been cut.
    pub truncated: bool,
    /// All other parts; nested messages are not parsed.
    pub attachments: Vec<Attachment>,
}

/// How the lines of a plain text are broken (RFC 3676).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    #[default]
    Fixed,
    /// A space before a line end continues the line.
    Flowed,
    /// That space belongs to the line end (DelSp=yes).
    DelSp,
}

/// A part that is not displayed.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub filename: Option<String>,
    /// In lower case.
    pub content_type: String,
    /// Decoded octets.
    pub size: usize,
    /// Without its angle brackets.
    pub content_id: Option<String>,
}

/// An attachment by its place, from 1 on, with its octets, transfer-decoded.
pub(crate) fn attachment<'a>(tree: &'a Tree<'a>, number: usize) -> Option<(Attachment, Cow<'a, [u8]>)> {
    let mut found = Found::of(tree, 0);
    let at = number.checked_sub(1)?;
    let part = *found.parts.get(at)?;
    let octets = decoded(tree, part, &tree.fields_of(part));
    Some((found.attachments.swap_remove(at), octets))
}

/// The displayed content of a message, at most `limit` octets each of text and HTML.
pub(crate) fn content(tree: &Tree<'_>, limit: usize) -> Content {
    let found = Found::of(tree, limit);
    let mut truncated = false;
    let text = found.view(false, &mut truncated);
    let html = found.view(true, &mut truncated);
    Content { text, html, flow: found.flow(), truncated, attachments: found.attachments }
}

impl Content {
    /// All of it as text, HTML converted.
    pub(crate) fn as_text(&self) -> String {
        match (&self.text, &self.html) {
            (Some(text), _) => text.clone(),
            (None, Some(html)) => html_to_text(html),
            (None, None) => String::new(),
        }
    }
}

/// Text as HTML that shows it as it is.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The views that include a text: plain text, HTML.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Views {
    plain: bool,
    html: bool,
}

impl Views {
    const BOTH: Self = Self { plain: true, html: true };

    fn only(is_html: bool) -> Self {
        Self { plain: !is_html, html: is_html }
    }

    fn has(self, is_html: bool) -> bool {
        if is_html { self.html } else { self.plain }
    }

    fn and(self, other: Self) -> Self {
        Self { plain: self.plain && other.plain, html: self.html && other.html }
    }
}

/// The position of a part.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The subtype of its parent multipart.
    container: &'a [u8],
    is_first: bool,
    /// Some ancestor is a multipart/alternative.
    in_alternative: bool,
}

struct Text {
    is_html: bool,
    /// As much as a view may contain.
    text: String,
    is_cut: bool,
    flow: Flow,
    views: Views,
}

/// What has been found so far.
struct Found<'a> {
    tree: &'a Tree<'a>,
    limit: usize,
    texts: Vec<Text>,
    attachments: Vec<Attachment>,
    /// Those of the attachments.
    parts: Vec<&'a Part>,
}

impl<'a> Found<'a> {
    fn of(tree: &'a Tree<'a>, limit: usize) -> Self {
        let mut found = Self { tree, limit, texts: Vec::new(), attachments: Vec::new(), parts: Vec::new() };
        found.add(&tree.root, Place { container: b"", is_first: true, in_alternative: false }, &mut { Views::BOTH });
        found
    }

    /// Adds a part, as text to the views that are `open`.
    fn add(&mut self, part: &'a Part, place: Place<'_>, open: &mut Views) {
        if let Kind::Multipart(parts) = &part.kind {
            return self.add_multipart(part, parts, place, *open);
        }
        let header = self.tree.fields_of(part);
        let name = filename(part, &header);
        let Some(is_html) = shown_as_html(part, &header, name.is_some(), place) else {
            return self.attach(part, &header, name);
        };
        let views = if place.container == b"alternative" {
            open.and(Views::only(is_html))
        } else {
            if place.in_alternative && open.has(is_html) {
                // Text inside an alternative goes where the alternative's first text goes.
                *open = Views::only(is_html);
            }
            *open
        };
        let mut text = text_of(self.tree, part, &header);
        let is_cut = text.len() > self.limit;
        if is_cut {
            text.truncate(text.floor_char_boundary(self.limit));
            text.shrink_to_fit();
        }
        self.texts.push(Text { is_html, text, is_cut, flow: flow(part), views });
    }

    fn add_multipart(&mut self, part: &Part, parts: &'a [Part], place: Place<'_>, mut open: Views) {
        let container = part.content_type.subtype.as_slice();
        let is_alternative = container == b"alternative";
        let before = self.texts.len();
        for (at, part) in parts.iter().enumerate() {
            let in_alternative = place.in_alternative || is_alternative;
            let mut of_part = open;
            self.add(part, Place { container, is_first: at == 0, in_alternative }, &mut of_part);
            if !is_alternative {
                open = of_part;
            }
        }
        // If all alternatives are of one type, they are in both views.
        let added = self.texts.get_mut(before..).unwrap_or_default();
        for is_html in [false, true] {
            if is_alternative && open == Views::BOTH && !added.iter().any(|text| text.views.has(is_html)) {
                added.iter_mut().for_each(|text| text.views = Views::BOTH);
            }
        }
    }

    fn attach(&mut self, part: &'a Part, header: &Header<'_>, filename: Option<String>) {
        let kind = [&part.content_type.kind, &part.content_type.subtype].map(|word| String::from_utf8_lossy(word));
        self.parts.push(part);
        self.attachments.push(Attachment {
            filename,
            content_type: without_controls(kind.join("/")),
            size: decoded(self.tree, part, header).len(),
            content_id: header.find("Content-ID").and_then(|value| message_ids(value).into_iter().next()),
        });
    }

    /// Fixed where several texts are shown as one.
    fn flow(&self) -> Flow {
        let mut shown = self.texts.iter().filter(|text| text.views.plain);
        match (shown.next(), shown.next()) {
            (Some(text), None) if !text.is_html => text.flow,
            _ => Flow::Fixed,
        }
    }

    /// The text of a view, if it contains its own type.
    fn view(&self, is_html: bool, truncated: &mut bool) -> Option<String> {
        let texts = || self.texts.iter().filter(|text| text.views.has(is_html));
        if !texts().any(|text| text.is_html == is_html) {
            return None;
        }
        let mut view = String::new();
        for Text { is_html: of_html, text, is_cut, .. } in texts() {
            if !view.is_empty() && !view.ends_with('\n') {
                view.push_str("\r\n");
            }
            let left = self.limit.saturating_sub(view.len());
            let shown = match (of_html, is_html) {
                (true, false) => Cow::Owned(html_to_text(text)),
                (false, true) => Cow::Owned(as_html(text)),
                _ => Cow::Borrowed(text.as_str()),
            };
            *truncated |= *is_cut || shown.len() > left;
            view.push_str(shown.get(..shown.floor_char_boundary(left)).unwrap_or_default());
        }
        Some(view)
    }
}

fn flow(part: &Part) -> Flow {
    let is = |name: &str, value: &str| {
        part.content_type.parameter(name).is_some_and(|given| given.eq_ignore_ascii_case(value.as_bytes()))
    };
    match (is("format", "flowed"), is("delsp", "yes")) {
        (true, true) => Flow::DelSp,
        (true, false) => Flow::Flowed,
        (false, _) => Flow::Fixed,
    }
}

fn as_html(text: &str) -> String {
    format!("<div style=\"white-space: pre-wrap\">{}</div>", escaped(text))
}

/// How a part is displayed: true for HTML, false for text; `None` for an attachment.
fn shown_as_html(part: &Part, header: &Header<'_>, is_named: bool, place: Place<'_>) -> Option<bool> {
    let is_html = match (part.content_type.is("text", "plain"), part.content_type.is("text", "html")) {
        (true, _) => false,
        (_, true) => true,
        _ => return None,
    };
    let is_attachment = disposition(header).is_some_and(|(word, _)| word == b"attachment");
    // The root part is displayed even with a file name. Other parts with a name, or referenced by HTML, are
    // attachments.
    let is_whole = place.container.is_empty();
    let is_beside = is_named || (place.container == b"related" && !place.is_first);
    (!is_attachment && (is_whole || !is_beside)).then_some(is_html)
}

/// The file name of a part.
pub(super) fn filename(part: &Part, header: &Header<'_>) -> Option<String> {
    let given = disposition(header).and_then(|(_, parameters)| decoded_parameter(&parameters, "filename"));
    given.or_else(|| decoded_parameter(&part.content_type.parameters, "name")).filter(|name| !name.is_empty())
}

/// The octets of a part, transfer-decoded.
pub(super) fn decoded<'a>(tree: &Tree<'a>, part: &Part, header: &Header<'_>) -> Cow<'a, [u8]> {
    let encoding = header.find("Content-Transfer-Encoding").and_then(transfer_encoding);
    transfer_decoded(encoding.as_deref(), tree.body_of(part))
}

/// A part as text.
pub(super) fn text_of(tree: &Tree<'_>, part: &Part, header: &Header<'_>) -> String {
    let charset = part.content_type.parameter("charset").unwrap_or_default();
    charset::decoded(&charset, &decoded(tree, part, header))
}

/// The ids of a Message-ID, In-Reply-To or References field, without angle brackets.
pub(crate) fn message_ids(value: &[u8]) -> Vec<String> {
    let value = unfold(value);
    let ids = value.split(|octet| *octet == b'<').skip(1).filter_map(|rest| rest.split(|octet| *octet == b'>').next());
    let ids = ids.map(|id| without_controls(String::from_utf8_lossy(id).into_owned()));
    ids.filter(|id| !id.is_empty()).collect()
}

/// The Message-ID of a header block, without angle brackets.
pub fn message_id(header: &[u8]) -> Option<String> {
    let mut fields = Fields::new(header);
    fields.find(|field| field.is("Message-ID")).and_then(|field| message_ids(field.value).into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::super::fields::{ReadLimits, header_end};
    use super::*;

    fn shown(raw: &str, limit: usize) -> Content {
        let (header, body) = raw.as_bytes().split_at(header_end(raw.as_bytes()));
        content(&Tree::parse(header, body, &ReadLimits::default()), limit)
    }

    /// A multipart from its header and parts, each a type and a body, or a multipart.
    fn multipart(subtype: &str, parts: &[&str]) -> String {
        let boundary = format!("{subtype}-boundary");
        let parts: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
        format!("Content-Type: multipart/{subtype}; boundary={boundary}\r\n\r\n{parts}--{boundary}--\r\n")
    }

    const PLAIN: &str = "Content-Type: text/plain\r\n\r\nplain";
    const HTML: &str = "Content-Type: text/html\r\n\r\n<p>html</p>";
    const LATER: &str = "Content-Type: text/plain\r\n\r\nlater & <more>";
    const LATER_HTML: &str = "Content-Type: text/html\r\n\r\n<b>later</b>";
    const IMAGE: &str = "Content-Type: image/png\r\nContent-Disposition: inline; filename=i.png\r\n\r\nx";

    #[test]
    fn all_text_is_displayed_in_order() {
        let pre = "<div style=\"white-space: pre-wrap\">";
        for (message, text, html, attached) in [
            (PLAIN.to_owned(), Some("plain"), None, 0),
            (HTML.to_owned(), None, Some("<p>html</p>"), 0),
            (multipart("mixed", &[PLAIN, IMAGE, LATER]), Some("plain\r\nlater & <more>"), None, 1),
            (multipart("mixed", &[HTML, IMAGE, LATER_HTML]), None, Some("<p>html</p>\r\n<b>later</b>"), 1),
            (multipart("alternative", &[PLAIN, HTML]), Some("plain"), Some("<p>html</p>"), 0),
            (
                multipart("alternative", &[PLAIN, &multipart("mixed", &[HTML, IMAGE, LATER_HTML])]),
                Some("plain"),
                Some("<p>html</p>\r\n<b>later</b>"),
                1,
            ),
            (
                multipart("alternative", &[PLAIN, &multipart("mixed", &[HTML, IMAGE, LATER])]),
                Some("plain"),
                Some(&*format!("<p>html</p>\r\n{pre}later &amp; &lt;more&gt;</div>")),
                1,
            ),
            (
                multipart("mixed", &[HTML, LATER]),
                Some("html\nlater & <more>"),
                Some(&*format!("<p>html</p>\r\n{pre}later &amp; &lt;more&gt;</div>")),
                0,
            ),
            (
                multipart("mixed", &[&multipart("alternative", &[PLAIN, HTML]), LATER]),
                Some("plain\r\nlater & <more>"),
                Some(&*format!("<p>html</p>\r\n{pre}later &amp; &lt;more&gt;</div>")),
                0,
            ),
            (
                multipart("mixed", &[&multipart("alternative", &[HTML]), LATER]),
                Some("html\nlater & <more>"),
                Some(&*format!("<p>html</p>\r\n{pre}later &amp; &lt;more&gt;</div>")),
                0,
            ),
            (multipart("alternative", &[PLAIN, LATER]), Some("plain\r\nlater & <more>"), None, 0),
            (multipart("related", &[HTML, LATER, IMAGE]), None, Some("<p>html</p>"), 2),
            (
                multipart("related", &[&multipart("alternative", &[PLAIN, HTML]), IMAGE]),
                Some("plain"),
                Some("<p>html</p>"),
                1,
            ),
            ("Content-Type: text/plain; name=a.txt\r\n\r\nnamed".to_owned(), Some("named"), None, 0),
            ("Content-Disposition: attachment\r\n\r\nattached".to_owned(), None, None, 1),
        ] {
            let content = shown(&message, 1000);
            assert_eq!((content.text.as_deref(), content.html.as_deref()), (text, html), "{message}");
            assert_eq!((content.attachments.len(), content.truncated), (attached, false), "{message}");
        }
    }

    #[test]
    fn displayed_text_is_bounded() {
        let message = multipart("mixed", &[PLAIN, "\r\n\u{e9}\u{e9}"]);
        let content = shown(&message, 8);
        assert_eq!((content.text.as_deref(), content.truncated), (Some("plain\r\n"), true));
        assert!(!shown(&message, 11).truncated);
        let content = shown(&multipart("mixed", &[HTML, LATER]), 10);
        assert!(content.truncated && content.text.is_some_and(|text| text.len() <= 12));
    }

    #[test]
    fn other_parts_are_attachments() {
        let raw = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; name=a.txt\r\n\r\nnamed\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nplain\r\n--c\r\nContent-Type: text/html; charset=us-ascii\r\n\r\n<p>\u{e9}\r\n--c--\r\n--b\r\nContent-Type: Message/RFC822\r\nContent-ID: <x@y>\r\n\r\nSubject: in\r\n\r\n--b--\r\n";
        let content = shown(raw, 1000);
        assert_eq!((content.text.as_deref(), content.html.as_deref()), (Some("plain"), Some("<p>\u{e9}")));
        let attached: Vec<_> = content
            .attachments
            .iter()
            .map(|a| (a.filename.as_deref(), a.content_type.as_str(), a.size, a.content_id.as_deref()))
            .collect();
        assert_eq!(attached, [(Some("a.txt"), "text/plain", 5, None), (None, "message/rfc822", 13, Some("x@y"))]);
        assert_eq!(message_ids(b" <a@b>\r\n <c@d> junk <>\r\n"), ["a@b", "c@d"]);
    }
}
