//! What a search asks for: words, "phrases", and `from: to: subject: label: before: after: has:attachment is:unread`. All of it has to be
//! true of an email. A word with a colon that is none of these is a word.

use super::labels::Label;
use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::message::fields::{Header, ReadLimits};
use crate::message::grams::{Grams, Place};
use crate::message::highlights::{Highlight, highlights};
use crate::message::mime::Tree;
use crate::message::searched::{SearchedHeader, lower, searched_texts};
use crate::message::text::content;
use crate::store::emails::EmailFilter;
use crate::store::messages::Flags;

/// Words of a search at most.
const WORDS: usize = 30;

/// In lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) from: Vec<String>,
    pub(super) to: Vec<String>,
    pub(super) subject: Vec<String>,
    pub(super) words: Vec<String>,
    pub(super) has_attachment: bool,
}

/// A term: its key, and its text.
type Term = (Option<String>, String);

/// Reads a search into `filter` and terms. Fails with what is wrong.
pub(super) fn parse(text: &str, longest_label: usize, filter: &mut EmailFilter) -> Result<Terms, String> {
    let all = split(text);
    if all.is_empty() {
        return Err("must have a word".to_owned());
    }
    if all.len() > WORDS {
        return Err(format!("must have at most {WORDS} words"));
    }
    let mut terms = Terms::default();
    for (key, value) in all {
        let word = lower(value.clone());
        match key.as_deref() {
            Some("from") => terms.from.push(word),
            Some("to") => terms.to.push(word),
            Some("subject") => terms.subject.push(word),
            Some("label") => Label::parse(&value, longest_label)?.ask(filter),
            Some("before") => {
                let before = MessageId::first_at(time(&value)?);
                filter.below = filter.below.take().into_iter().chain([before]).min();
            }
            Some("after") => filter.from = Some(MessageId::first_at(time(&value)?)),
            Some("has") if word == "attachment" => terms.has_attachment = true,
            Some("is") if word == "unread" => filter.unset |= Flags::SEEN,
            Some("is") if word == "read" => filter.set |= Flags::SEEN,
            Some("is") if word == "starred" => filter.set |= Flags::FLAGGED,
            Some(key @ ("has" | "is")) => {
                return Err(format!("{key}:{value} is unknown: has:attachment, is:unread, is:read, is:starred"));
            }
            Some(key) => terms.words.push(lower(format!("{key}:{value}"))),
            None => terms.words.push(word),
        }
    }
    Ok(terms)
}

/// A day, or a time as in RFC 3339.
fn time(text: &str) -> Result<Timestamp, String> {
    let of_day = format!("{text}T00:00:00Z");
    text.parse()
        .or_else(|_| of_day.parse())
        .map_err(|_: &str| format!("{text:?} must be a day like 2026-11-24, or a time as in RFC 3339"))
}

/// The terms, quotes removed.
fn split(text: &str) -> Vec<Term> {
    let (mut terms, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let (key, word) = match word.split_once(':') {
            Some((key, value)) if !key.is_empty() && (!value.is_empty() || after.starts_with('"')) => {
                (Some(key.to_ascii_lowercase()), value)
            }
            _ => (None, word),
        };
        let (value, after) = match after.strip_prefix('"') {
            // A quote inside a word begins the next term.
            Some(quoted) if word.is_empty() => quoted.split_once('"').unwrap_or((quoted, "")),
            _ => (word, after),
        };
        if !value.trim().is_empty() {
            terms.push((key, value.trim().to_owned()));
        }
        rest = after.trim_start();
    }
    terms
}

impl Terms {
    /// True if the header block decides nothing that a body could change.
    pub(super) fn needs_body(&self) -> bool {
        self.has_attachment || !self.words.is_empty()
    }

    /// What a message has that they are all true of.
    pub(super) fn grams(&self) -> Grams {
        let of = |place, words: &'_ [String]| words.iter().map(move |word| (place, word.clone())).collect::<Vec<_>>();
        let all = [
            of(Place::Anywhere, &self.words),
            of(Place::From, &self.from),
            of(Place::To, &self.to),
            of(Place::Subject, &self.subject),
        ]
        .concat();
        Grams::of_terms(all.iter().map(|(place, word)| (*place, word.as_str())), self.has_attachment)
    }

    /// Where they are in a message that they are true of; with no body, in its header.
    pub(super) fn highlights(&self, block: &[u8], body: Option<&[u8]>, limits: &ReadLimits) -> Vec<Highlight> {
        let all = [&self.words, &self.from, &self.to, &self.subject].into_iter().flatten();
        let words: Vec<&str> = all.map(String::as_str).collect();
        if words.is_empty() {
            return Vec::new();
        }
        let tree = body.map(|body| Tree::parse(block, body, limits));
        highlights(&Header::read(block, limits), tree.as_ref(), &words)
    }

    /// What the header block alone decides.
    pub(super) fn fit_header(&self, block: &[u8], limits: &ReadLimits) -> bool {
        let (header, to) = (Header::read(block, limits), &["to", "cc", "bcc"]);
        let header = SearchedHeader::of_names(&header, &["from", "subject", "to", "cc", "bcc"]);
        self.from.iter().all(|word| header.has(&["from"], word))
            && self.to.iter().all(|word| header.has(to, word))
            && self.subject.iter().all(|word| header.has_subject(word))
    }

    /// The rest.
    pub(super) fn fit(&self, block: &[u8], body: &[u8], limits: &ReadLimits) -> bool {
        let tree = Tree::parse(block, body, limits);
        if self.has_attachment && content(&tree, 0).attachments.is_empty() {
            return false;
        }
        if self.words.is_empty() {
            return true;
        }
        let header = SearchedHeader::of(&Header::read(block, limits));
        let mut missing = self.words.iter().filter(|word| !header.has_anywhere(word)).peekable();
        if missing.peek().is_none() {
            return true;
        }
        let texts = searched_texts(&tree);
        missing.all(|word| texts.iter().any(|text| text.contains(word.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_phrases_and_keys_are_taken_apart() {
        let term = |key: Option<&str>, value: &str| (key.map(str::to_owned), value.to_owned());
        assert_eq!(
            split("  one \"two  three\" from:Ann subject:\"a b\" http://x: \"open"),
            [
                term(None, "one"),
                term(None, "two  three"),
                term(Some("from"), "Ann"),
                term(Some("subject"), "a b"),
                term(Some("http"), "//x:"),
                term(None, "open"),
            ]
        );
        assert_eq!(split("a\"b c\" \"\" :x"), [term(None, "a"), term(None, "b c"), term(None, ":x")]);
        let mut filter = EmailFilter::default();
        let terms =
            parse("Grüße FROM:ANN is:unread label:inbox after:2026-11-24 has:attachment", 9, &mut filter).unwrap();
        assert_eq!(
            (terms.words, terms.from, terms.has_attachment),
            (vec!["grüße".to_owned()], vec!["ann".to_owned()], true)
        );
        assert_eq!((filter.unset, filter.mailboxes.len(), filter.from.is_some()), (Flags::SEEN, 1, true));
        for wrong in ["", " ", "\"\"", "is:nothing", "after:soon", &"a ".repeat(31)] {
            assert!(parse(wrong, 9, &mut EmailFilter::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn terms_fit_decoded_text() {
        let header = b"From: =?utf-8?q?Andr=C3=A9?= <a@x.org>\r\nCc: \"B, C\" (home) <b @x.org>\r\nSubject: Lunch today\r\nSubject: Dinner\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n";
        let body = b"<p>Gr\xfc\xdfe aus <b>K\xf6ln</b></p>";
        for (query, fits) in [
            ("from:andré to:b@x.org", true),
            ("lunch", true),
            ("\"grüße aus köln\"", true),
            ("GRÜSSE", false),
            ("subject:\"lunch today\" köln", true),
            ("subject:köln", false),
            ("has:attachment", false),
            ("to:a@x.org", false),
            ("\"b, c <b@x.org>\"", true),
            ("\"(home) <b @x\"", true),
            ("=?utf-8?q?andr=c3", true),
            ("\"from: andré\"", true),
            ("dinner", true),
            ("subject:dinner", false),
        ] {
            let terms = parse(query, 9, &mut EmailFilter::default()).unwrap();
            let limits = ReadLimits::default();
            let found = terms.fit_header(header, &limits) && (!terms.needs_body() || terms.fit(header, body, &limits));
            assert_eq!(found, fits, "{query}");
        }
    }
}
