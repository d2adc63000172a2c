//! The texts that SEARCH BODY and TEXT examine. Invariant: the same as in Dovecot: text of every type, raw HTML,
//! reports and nested messages, and the header of each part, all decoded; in addition HTML as displayed, and file
//! names.

use super::addresses::{Addresses, LISTED, Listed};
use super::casemap::casemap;
use super::fields::{Field, Header};
use super::html_text::html_to_text;
use super::mime::{Kind, Part, Tree};
use super::text::{filename, text_of};
use super::words::decoded_words;

/// Fields with lists of mailboxes.
pub(crate) const ADDRESS_FIELDS: [&str; 12] = [
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "resent-from",
    "resent-sender",
    "resent-reply-to",
    "resent-to",
    "resent-cc",
    "resent-bcc",
];

/// The texts of a message's body, in lower case.
pub(crate) fn searched_texts(tree: &Tree<'_>) -> Vec<String> {
    let mut texts = Vec::new();
    add(tree, &tree.root, &mut texts);
    texts
}

/// Converts to lower case, character by character, in place if possible: part of a text becomes part of the converted text. A
/// final sigma is like any other.
pub(crate) fn lower(mut text: String) -> String {
    if text.is_ascii() {
        text.make_ascii_lowercase();
        return text;
    }
    text.chars().flat_map(lower_character).collect()
}

/// A character in lower case, which may be several.
pub(crate) fn lower_character(character: char) -> impl Iterator<Item = char> {
    character.to_lowercase().map(|lower| if lower == 'ς' { 'σ' } else { lower })
}

/// The value of a field for HEADER, FROM, TO and the like, in lower case; `name` is in lower case. A list of mailboxes
/// also in displayed form: without comments and quotes inside an address.
pub(crate) fn searched_value(name: &str, value: &[u8]) -> String {
    let mut text = decoded_words(value);
    if ADDRESS_FIELDS.contains(&name) {
        let shown = Addresses::of(value).filter_map(Listed::mailbox).take(LISTED);
        for mailbox in shown {
            let address = mailbox.shown_address().unwrap_or_default();
            text.push('\n');
            text.push_str(
                &mailbox.display_name().map_or_else(|| address.clone(), |name| format!("{name} <{address}>")),
            );
        }
    }
    lower(text)
}

/// A field as TEXT, HEADER and the like examine it, all in lower case.
#[derive(Debug)]
struct Searched {
    name: String,
    /// The name and [`searched_value`].
    decoded: String,
    /// Where the value begins in it.
    value_at: usize,
    /// Undecoded, with its name.
    whole: String,
}

impl Searched {
    fn of(field: &Field<'_>) -> Self {
        let name = lower(String::from_utf8_lossy(field.name).into_owned());
        let decoded = format!("{name}: {}", searched_value(&name, field.value));
        let whole = lower(String::from_utf8_lossy(field.whole).into_owned());
        Self { decoded, value_at: name.len() + 2, whole, name }
    }

    fn value(&self) -> &str {
        self.decoded.get(self.value_at..).unwrap_or_default()
    }

    fn converted(self) -> Self {
        let value = casemap(self.value());
        let mut decoded = casemap(self.decoded.get(..self.value_at).unwrap_or_default());
        let value_at = decoded.len();
        decoded.push_str(&value);
        Self { decoded, value_at, whole: casemap(&self.whole), name: self.name }
    }
}

/// The fields of a header, for searches of every protocol. Names and texts that are looked for are in lower case.
#[derive(Debug)]
pub(crate) struct SearchedHeader(Vec<Searched>);

impl SearchedHeader {
    pub fn of(header: &Header<'_>) -> Self {
        Self(header.fields().iter().map(Searched::of).collect())
    }

    /// Without fields of other names.
    pub fn of_names(header: &Header<'_>, names: &[&str]) -> Self {
        let is_one = |field: &&Field<'_>| names.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
        Self(header.fields().iter().filter(is_one).map(Searched::of).collect())
    }

    /// For texts as [`casemap`] converts those in lower case; names of fields stay in lower case.
    pub fn converted(self) -> Self {
        Self(self.0.into_iter().map(Searched::converted).collect())
    }

    /// In the value of a field with one of the names.
    pub fn has(&self, names: &[&str], text: &str) -> bool {
        self.0.iter().any(|field| names.contains(&field.name.as_str()) && field.value().contains(text))
    }

    /// In the subject that is shown: the first such field.
    pub fn has_subject(&self, text: &str) -> bool {
        self.0.iter().find(|field| field.name == "subject").is_some_and(|field| field.value().contains(text))
    }

    /// In any field: decoded or as it is written, with its name.
    pub fn has_anywhere(&self, text: &str) -> bool {
        self.0.iter().any(|field| field.decoded.contains(text) || field.whole.contains(text))
    }

    /// The texts of [`Self::has_anywhere`].
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|field| [field.decoded.as_str(), &field.whole])
    }
}

/// A field of a part as searched: decoded, in lower case, with its name.
pub(crate) fn searched_field(field: &Field<'_>) -> String {
    lower(format!("{}: {}", String::from_utf8_lossy(field.name), decoded_words(field.value)))
}

fn add(tree: &Tree<'_>, part: &Part, texts: &mut Vec<String>) {
    let header = tree.fields_of(part);
    if !std::ptr::eq(part, &raw const tree.root) {
        texts.extend(header.fields().iter().map(searched_field));
    }
    // It may be encoded in the field.
    texts.extend(filename(part, &header).map(lower));
    match &part.kind {
        Kind::Multipart(parts) => parts.iter().for_each(|part| add(tree, part, texts)),
        Kind::Message(inner) => add(tree, inner, texts),
        Kind::Leaf => {
            let kind = part.content_type.kind.as_slice();
            if kind == b"text" || kind == b"message" {
                let text = text_of(tree, part, &header);
                if part.content_type.is("text", "html") {
                    texts.push(lower(html_to_text(&text)));
                }
                texts.push(lower(text));
            } else if kind == b"multipart" {
                texts.push(lower(String::from_utf8_lossy(tree.body_of(part)).into_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::{ReadLimits, header_end};
    use super::*;

    #[test]
    fn part_of_a_text_in_lower_case_is_part_of_the_text_in_lower_case() {
        assert_eq!(lower("Ascii ÄÖ".to_owned()), "ascii äö");
        for (text, part) in [("ΟΔΟΣΑ", "ΟΔΟΣ"), ("ὁδός", "ΔΌΣ"), ("İstanbul", "İS"), ("ΑΣ ΒΣ", "Σ Β")]
        {
            assert!(lower(text.to_owned()).contains(&lower(part.to_owned())), "{part} in {text}");
        }
    }

    #[test]
    fn a_header_is_searched_decoded_and_as_it_is_written() {
        let block = b"From: \"Lee, Ann\" (home) <ann @x.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nSubject: second\r\n\r\n";
        let header = SearchedHeader::of(&Header::read(block, &ReadLimits::default()));
        for found in
            ["lee, ann <ann@x.org>", "(home)", "ann @x", "grüße", "subject: grüße", "=?utf-8?q?gr=c3", "second"]
        {
            assert!(header.has_anywhere(found), "{found}");
        }
        assert!(!header.has_anywhere("Grüße") && !header.has_anywhere("grüßesubject"));
        assert!(
            header.has(&["from"], "ann@x.org") && header.has(&["to", "from"], "lee") && !header.has(&["to"], "ann")
        );
        assert!(header.has_subject("grüße") && !header.has_subject("second") && header.has(&["subject"], "second"));
        let subject = SearchedHeader::of_names(&Header::read(block, &ReadLimits::default()), &["subject"]);
        assert!(subject.has_anywhere("second") && !subject.has_anywhere("ann"));
    }

    #[test]
    fn texts_are_searched_decoded() {
        let raw = b"X-Outer: outside\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+SGVsPC9iPmxvICZhdW1sOw==\r\n--b\r\nContent-Type: message/rfc822\r\nX-Part: =?utf-8?q?D=C3=A9p?=\r\n\r\nSubject: =?utf-8?q?Inn=C3=A9r?=\r\n\r\ndeep\r\n--b\r\nContent-Type: message/delivery-status\r\nContent-Transfer-Encoding: base64\r\n\r\nU3RhdHVzOiA1LjEuMQ==\r\n--b\r\nContent-Type: image/png; name*=utf-8''b%C3%AFld.png\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVu\r\n--b--\r\n";
        let (header, body) = raw.split_at(header_end(raw));
        let texts = searched_texts(&Tree::parse(header, body, &ReadLimits::default())).join("|");
        for found in [
            "grüße",
            "hello ä",
            "<b>hel</b>lo",
            "innér",
            "deep",
            "status: 5.1.1",
            "x-part: dép",
            "bïld.png",
            "image/png",
        ] {
            assert!(texts.contains(found), "{found} in {texts}");
        }
        for not in ["outside", "hidden", "preamble"] {
            assert!(!texts.contains(not), "{not} in {texts}");
        }
    }
}
