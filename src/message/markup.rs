//! Reads HTML as tags and text, as browsers do where mail needs it. Invariant: every octet is looked at a fixed number of
//! times; comments, scripts and titles are passed over; what is no tag is text.

use super::octets_read;
use mail_parser::decoders::html::add_html_token;
use std::borrow::Cow;

/// Elements whose content is not shown.
const NOT_SHOWN: [&str; 5] = ["style", "script", "title", "template", "textarea"];
/// Longer than any name of a character.
const LONGEST_REFERENCE: usize = 32;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A style sheet.
    Style(&'a str),
    /// With its character references.
    Text(&'a str),
    Open(Tag<'a>),
    /// The name of an element.
    Close(&'a str),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    pub name: &'a str,
    /// All after the name.
    attributes: &'a str,
}

impl<'a> Tag<'a> {
    /// The attributes with their values, as written.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { rest: self.attributes }
    }

    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The tags and texts of a page, in order.
pub(super) struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    pub fn of(html: &'a str) -> Self {
        Self { rest: html }
    }

    /// Takes octets off the rest.
    fn take(&mut self, octets: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(octets).unwrap_or((self.rest, ""));
        octets_read::count(taken.len());
        self.rest = rest;
        taken
    }

    /// Passes over all up to and with `end`, or everything.
    fn pass(&mut self, end: &str) {
        let at = memchr::memmem::find(self.rest.as_bytes(), end.as_bytes());
        self.take(at.map_or(self.rest.len(), |at| at + end.len()));
    }

    /// Passes over the content of an element that is not shown, and returns it.
    fn pass_content(&mut self, name: &str) -> &'a str {
        let content = self.rest;
        while !self.rest.is_empty() {
            self.pass("</");
            if self.rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
                let length = content.len() - self.rest.len();
                self.pass(">");
                return content.get(..length.saturating_sub("</".len())).unwrap_or_default();
            }
        }
        content
    }

    fn text(&mut self, octets: usize) -> Option<Token<'a>> {
        Some(Token::Text(self.take(octets)))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            match memchr::memchr(b'<', self.rest.as_bytes()) {
                None => return self.text(self.rest.len()),
                Some(0) => {}
                Some(at) => return self.text(at),
            }
            let after = self.rest.get(1..).unwrap_or_default();
            if after.starts_with("!--") {
                self.take("<!--".len());
                self.pass("-->");
                continue;
            }
            if after.starts_with(['!', '?']) {
                self.pass(">");
                continue;
            }
            let is_end = after.starts_with('/');
            let name = name_of(after.get(usize::from(is_end)..).unwrap_or_default());
            if name.is_empty() {
                return self.text(1);
            }
            let Some(end) = tag_end(after) else {
                // No tag ends any more.
                return self.text(self.rest.len());
            };
            let inner = self.take(end + 2).get(1..=end).unwrap_or_default();
            if is_end {
                return Some(Token::Close(name));
            }
            if NOT_SHOWN.iter().any(|hidden| name.eq_ignore_ascii_case(hidden)) {
                let content = self.pass_content(name);
                if name.eq_ignore_ascii_case("style") {
                    return Some(Token::Style(content));
                }
                continue;
            }
            return Some(Token::Open(Tag { name, attributes: inner.get(name.len()..).unwrap_or_default() }));
        }
    }
}

fn name_of(text: &str) -> &str {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return "";
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_'))).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// Where the tag's `>` is. A quote counts only at the start of a value, and where it is closed.
fn tag_end(text: &str) -> Option<usize> {
    unquoted_end(text).or_else(|| memchr::memchr(b'>', text.as_bytes()))
}

fn unquoted_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut before = b' ';
    while let Some(octet) = bytes.get(at) {
        match octet {
            b'>' => return Some(at),
            b'"' | b'\'' if before == b'=' => {
                at += 1 + memchr::memchr(*octet, bytes.get(at + 1..)?)?;
            }
            _ => {}
        }
        if !octet.is_ascii_whitespace() {
            before = *octet;
        }
        at += 1;
    }
    None
}

/// The attributes of a tag: names and values as written.
pub(super) struct Attributes<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let text =
            self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '"' | '\'' | '='));
        if text.is_empty() {
            return None;
        }
        let end = text.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/')).unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        let Some(value) = rest.trim_start().strip_prefix('=') else {
            self.rest = rest;
            return Some((name, ""));
        };
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, rest) = match quote {
            Some(quote) => value.get(1..)?.split_once(quote).unwrap_or((value.get(1..)?, "")),
            None => value.split_at_checked(value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len()))?,
        };
        self.rest = rest;
        Some((name, value))
    }
}

/// A text with its character references replaced.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'&', text.as_bytes()) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    let (before, mut rest) = text.split_at_checked(first).unwrap_or((text, ""));
    out.push_str(before);
    while !rest.is_empty() {
        let head = rest.get(..rest.floor_char_boundary(LONGEST_REFERENCE)).unwrap_or_default();
        let reference = head.find(';').and_then(|end| rest.split_at_checked(end + 1)).filter(|(name, _)| {
            name.bytes().skip(1).all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'#' | b';'))
        });
        let after = match reference {
            Some((name, after)) => {
                add_html_token(&mut out, name.as_bytes(), false);
                after
            }
            None => {
                out.push('&');
                rest.get(1..).unwrap_or_default()
            }
        };
        let next = memchr::memchr(b'&', after.as_bytes()).unwrap_or(after.len());
        out.push_str(after.get(..next).unwrap_or_default());
        rest = after.get(next..).unwrap_or_default();
    }
    Cow::Owned(out)
}
