//! A cursor over a framed command: atoms, strings, numbers, lists. RFC 9051 §9, RFC 3501 §9.
//!
//! Invariant: octets of a literal are read as that literal and as nothing else; no octet is read a second time but in the
//! text of an error.

use super::frame::{Frame, Literal};
use std::borrow::Cow;
use std::num::NonZeroU32;

/// The longest text of a command that an error shows.
const SHOWN: usize = 40;
/// The largest `number64` and mod-sequence (RFC 7162 §7, RFC 9051 §9).
const MAX_NUMBER64: u64 = i64::MAX.unsigned_abs();

/// What determines which syntax a connection takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// After log-in.
    pub is_authenticated: bool,
    /// UTF-8 in quoted strings: UTF8=ACCEPT or IMAP4rev2 is enabled.
    pub utf8: bool,
}

/// A syntax error: the text of the BAD.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SyntaxError {
    text: String,
    /// The octet of the command where it was found, from 0.
    pub at: usize,
}

pub type Read<T> = Result<T, SyntaxError>;

/// The octets of a command that are not read yet.
#[derive(Debug)]
pub struct Parser<'a> {
    /// Without the last CRLF.
    octets: &'a [u8],
    literals: &'a [Literal],
    at: usize,
    /// Whether quoted strings may hold UTF-8.
    utf8: bool,
}

impl<'a> Parser<'a> {
    /// At the first octet of a command.
    pub fn new(frame: &'a Frame, mode: Mode) -> Self {
        let octets = frame.octets();
        let octets = octets.strip_suffix(b"\r\n").unwrap_or(octets);
        Self { octets, literals: frame.literals(), at: 0, utf8: mode.utf8 }
    }

    /// "expected … after …": the word before, or the number of the octet where there is none.
    pub fn expected(&self, what: &str) -> SyntaxError {
        let before = self.octets.get(..self.at).unwrap_or_default();
        let before = before.strip_suffix(b" ").unwrap_or(before);
        let is_part = |octet: &&u8| octet.is_ascii_graphic() && !matches!(octet, b'(' | b')' | b'"' | b'{' | b'}');
        let length = before.iter().rev().take(SHOWN).take_while(is_part).count();
        let (rest, word) = before.split_at(before.len().saturating_sub(length));
        let is_word = matches!(rest.last(), None | Some(b' ' | b'(')) && !word.is_empty() && !self.is_in_literal();
        let text = match std::str::from_utf8(word) {
            Ok(word) if is_word => format!("expected {what} after {word}"),
            _ => format!("expected {what} at octet {}", self.at.saturating_add(1)),
        };
        SyntaxError { text, at: self.at }
    }

    /// `unknown … "…"`, of what the command names.
    pub fn unknown(&self, what: &str, name: &[u8]) -> SyntaxError {
        let shown = String::from_utf8_lossy(name.get(..name.len().min(SHOWN)).unwrap_or_default());
        SyntaxError { text: format!("unknown {what} \"{shown}\""), at: self.at }
    }

    /// Another error.
    pub fn error(&self, text: impl Into<String>) -> SyntaxError {
        SyntaxError { text: text.into(), at: self.at }
    }

    /// Whether the last octet read is one of a literal.
    fn is_in_literal(&self) -> bool {
        let next = self.literals.partition_point(|literal| literal.at < self.at);
        let last = next.checked_sub(1).and_then(|at| self.literals.get(at));
        last.is_some_and(|literal| self.at <= literal.end.saturating_add(1))
    }

    pub fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    /// Passes over octets that are known.
    pub fn skip(&mut self, octets: usize) {
        self.at = self.at.saturating_add(octets).min(self.octets.len());
    }

    fn rest(&self) -> &'a [u8] {
        self.octets.get(self.at..).unwrap_or_default()
    }

    /// Reads this octet if it is next.
    pub fn eat(&mut self, octet: u8) -> bool {
        let is_next = self.peek() == Some(octet);
        self.at = self.at.saturating_add(usize::from(is_next));
        is_next
    }

    /// Reads this octet, which is no letter.
    pub fn octet(&mut self, octet: u8) -> Read<()> {
        if self.eat(octet) { Ok(()) } else { Err(self.expected(&format!("\"{}\"", char::from(octet)))) }
    }

    pub fn space(&mut self) -> Read<()> {
        if self.eat(b' ') { Ok(()) } else { Err(self.expected("a space")) }
    }

    /// The end of the command.
    pub fn end(&self) -> Read<()> {
        if self.at == self.octets.len() { Ok(()) } else { Err(self.expected("the end of the command")) }
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.octets.len()
    }

    /// Whether this word is next, in any case, and no longer word.
    pub fn is_word(&self, word: &str) -> bool {
        let Some((next, rest)) = self.rest().split_at_checked(word.len()) else { return false };
        next.eq_ignore_ascii_case(word.as_bytes()) && !rest.first().is_some_and(|octet| is_atom_char(*octet))
    }

    /// Reads this word if it is next.
    pub fn eat_word(&mut self, word: &str) -> bool {
        let is_next = self.is_word(word);
        if is_next {
            self.at = self.at.saturating_add(word.len());
        }
        is_next
    }

    /// Reads a space and this word, in any case, if both are next.
    pub fn eat_space_and_word(&mut self, word: &str) -> bool {
        let start = self.at;
        let is_next = self.eat(b' ') && self.eat_word(word);
        if !is_next {
            self.at = start;
        }
        is_next
    }

    /// Reads a space if this octet follows it.
    pub fn eat_space_before(&mut self, octet: u8) -> bool {
        let is_next = matches!(self.rest(), [b' ', next, ..] if *next == octet);
        is_next && self.eat(b' ')
    }

    /// Whether these octets, capitals, are next in any case.
    pub fn starts_with(&self, octets: &[u8]) -> bool {
        self.rest().get(..octets.len()).is_some_and(|next| next.eq_ignore_ascii_case(octets))
    }

    /// One or more octets of a kind.
    pub fn one_or_more(&mut self, is_kind: fn(u8) -> bool, what: &str) -> Read<&'a str> {
        let rest = self.rest();
        let length = rest.iter().position(|octet| !is_kind(*octet)).unwrap_or(rest.len());
        let word = rest.get(..length).filter(|word| !word.is_empty()).and_then(|word| std::str::from_utf8(word).ok());
        let word = word.ok_or_else(|| self.expected(what))?;
        self.at = self.at.saturating_add(length);
        Ok(word)
    }

    pub fn atom(&mut self, what: &str) -> Read<&'a str> {
        self.one_or_more(is_atom_char, what)
    }

    /// An atom as capitals.
    pub fn name(&mut self, what: &str) -> Read<String> {
        self.atom(what).map(str::to_ascii_uppercase)
    }

    /// An atom that may hold `]`, or a string.
    pub fn astring(&mut self, what: &str) -> Read<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(what),
            _ => self.one_or_more(is_astring_char, what).map(|atom| Cow::Borrowed(atom.as_bytes())),
        }
    }

    /// A quoted string or a literal.
    pub fn string(&mut self, what: &str) -> Read<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            _ => self.literal(what).map(Cow::Borrowed),
        }
    }

    /// A string, or NIL.
    pub fn nstring(&mut self, what: &str) -> Read<Option<Cow<'a, [u8]>>> {
        if self.eat_word("NIL") { Ok(None) } else { self.string(what).map(Some) }
    }

    fn quoted(&mut self) -> Read<Cow<'a, [u8]>> {
        self.octet(b'"')?;
        let rest = self.rest();
        let (mut length, mut is_escaped, mut has_escape) = (0_usize, false, false);
        for octet in rest {
            match octet {
                b'"' | b'\\' if is_escaped => is_escaped = false,
                b'"' => {
                    let text = rest.get(..length).unwrap_or_default();
                    self.at = self.at.saturating_add(length).saturating_add(1);
                    return self.quoted_text(text, has_escape);
                }
                b'\\' if !is_escaped => (is_escaped, has_escape) = (true, true),
                0 | b'\r' | b'\n' => return Err(self.error("a quoted string has no NUL, CR or LF, use a literal")),
                _ if is_escaped => {
                    return Err(self.error("in a quoted string, a backslash may precede \" or \\ only"));
                }
                _ => {}
            }
            length = length.saturating_add(1);
        }
        Err(self.expected("a quoted string that ends"))
    }

    fn quoted_text(&self, text: &'a [u8], has_escape: bool) -> Read<Cow<'a, [u8]>> {
        if !(text.is_ascii() || self.utf8 && std::str::from_utf8(text).is_ok()) {
            let why = if self.utf8 { "valid UTF-8" } else { "ASCII until UTF8=ACCEPT is enabled, use a literal" };
            return Err(self.error(format!("a quoted string has to be {why}")));
        }
        if !has_escape {
            return Ok(Cow::Borrowed(text));
        }
        let mut is_escaped = false;
        let unescaped = text.iter().copied().filter(|octet| {
            is_escaped = *octet == b'\\' && !is_escaped;
            !is_escaped
        });
        Ok(Cow::Owned(unescaped.collect()))
    }

    /// The literal that is announced here, and its octets. `what` names it in an error.
    fn next_literal(&mut self, what: &str) -> Read<(&'a Literal, &'a [u8])> {
        let at = self.literals.binary_search_by_key(&self.at, |literal| literal.at);
        let literal = at.ok().and_then(|at| self.literals.get(at)).ok_or_else(|| self.expected(what))?;
        self.at = literal.end;
        Ok((literal, self.octets.get(literal.start..literal.end).unwrap_or_default()))
    }

    fn literal(&mut self, what: &str) -> Read<&'a [u8]> {
        let start = self.at;
        let (literal, octets) = self.next_literal(what)?;
        if literal.is_binary || literal.message.is_some() {
            self.at = start;
            return Err(self.expected(what));
        }
        match octets.contains(&0) {
            true => Err(self.error("a literal has no NUL octet")),
            false => Ok(octets),
        }
    }

    /// `~{n}`, which may hold NUL.
    pub fn literal8(&mut self, what: &str) -> Read<&'a [u8]> {
        let start = self.at;
        match self.next_literal(what)? {
            (Literal { is_binary: true, message: None, .. }, octets) => Ok(octets),
            _ => {
                self.at = start;
                Err(self.expected(what))
            }
        }
    }

    /// A literal whose octets were spooled: its index among the messages, and whether it is binary.
    pub fn message(&mut self) -> Read<(usize, bool)> {
        let start = self.at;
        match self.next_literal("a literal")? {
            (Literal { message: Some(index), is_binary, .. }, _) => Ok((*index, *is_binary)),
            _ => {
                self.at = start;
                Err(self.expected("a message as a literal"))
            }
        }
    }

    /// Up to 2^32 - 1.
    pub fn number(&mut self, what: &str) -> Read<u32> {
        let start = self.at;
        let number = self.number64(what)?;
        u32::try_from(number).map_err(|_| {
            self.at = start;
            self.expected(&format!("{what} below 4294967296"))
        })
    }

    /// Up to 2^63 - 1.
    pub fn number64(&mut self, what: &str) -> Read<u64> {
        let start = self.at;
        let digits = self.one_or_more(|octet| octet.is_ascii_digit(), what)?;
        digits.parse::<u64>().ok().filter(|number| *number <= MAX_NUMBER64).ok_or_else(|| {
            self.at = start;
            self.expected(&format!("{what} below 9223372036854775808"))
        })
    }

    pub fn nz_number(&mut self, what: &str) -> Read<NonZeroU32> {
        let start = self.at;
        NonZeroU32::new(self.number(what)?).ok_or_else(|| {
            self.at = start;
            self.expected(&format!("{what} that is not 0"))
        })
    }

    /// A number of `least` to `greatest` digits; `greatest` is 4 at most.
    pub fn digits(&mut self, least: usize, greatest: usize) -> Read<u16> {
        let rest = self.rest();
        let length = rest.iter().take(greatest).take_while(|octet| octet.is_ascii_digit()).count();
        let number = rest.get(..length).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let number = number.filter(|_| length >= least).ok_or_else(|| match least == greatest {
            true => self.expected(&format!("{greatest} digits")),
            false => self.expected(&format!("{least} to {greatest} digits")),
        })?;
        self.at = self.at.saturating_add(length);
        Ok(number)
    }

    /// One or more items in parentheses, with a space between.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        self.octet(b'(')?;
        let mut items = vec![item(self)?];
        while !self.eat(b')') {
            if !self.eat(b' ') {
                return Err(self.expected("a space or \")\""));
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// The same, or `()`.
    pub fn list_or_empty<T>(&mut self, item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        if self.rest().starts_with(b"()") {
            self.at = self.at.saturating_add(2);
            return Ok(Vec::new());
        }
        self.list(item)
    }
}

pub fn is_atom_char(octet: u8) -> bool {
    is_astring_char(octet) && octet != b']'
}

pub fn is_astring_char(octet: u8) -> bool {
    octet.is_ascii_graphic() && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
}

#[cfg(test)]
pub(in crate::imap) mod tests {
    use super::*;

    /// Reads what precedes CRLF.
    pub(in crate::imap) fn read<T>(text: &str, utf8: bool, reader: impl Fn(&mut Parser<'_>) -> Read<T>) -> Read<T> {
        let frame = Frame::of(format!("{text}\r\n").as_bytes()).unwrap();
        let mut parser = Parser::new(&frame, Mode { utf8, is_authenticated: true });
        let value = reader(&mut parser)?;
        parser.end()?;
        Ok(value)
    }

    fn astring(text: &str, utf8: bool) -> Option<Vec<u8>> {
        read(text, utf8, |parser| parser.astring("a string").map(Cow::into_owned)).ok()
    }

    #[test]
    fn strings_are_atoms_quoted_or_literals() {
        for (text, expected) in [
            ("a]b", "a]b"),
            (r#""a b""#, "a b"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#""""#, ""),
            ("{3}\r\na\r\n", "a\r\n"),
            ("{0}\r\n", ""),
            ("{1+}\r\n\"", "\""),
        ] {
            assert_eq!(astring(text, false).as_deref(), Some(expected.as_bytes()), "{text:?}");
        }
        for bad in
            ["", " ", "a b", "a(b", "a%", "a*", "a\\", "\"a", r#""a\b""#, "\"\0\"", "~{1}\r\na", "{1}\r\n\0", "ä"]
        {
            assert_eq!(astring(bad, true), None, "{bad:?}");
        }
        assert_eq!(astring("\"ä\"", true).as_deref(), Some("ä".as_bytes()));
        assert_eq!(astring("\"ä\"", false), None);
        assert_eq!(astring("{2}\r\nä", false).as_deref(), Some("ä".as_bytes()));
    }

    #[test]
    fn numbers_have_their_limits() {
        let number = |text| read(text, false, |parser| parser.number("a number")).ok();
        assert_eq!((number("0"), number("4294967295"), number("4294967296")), (Some(0), Some(u32::MAX), None));
        let number64 = |text| read(text, false, |parser| parser.number64("a number")).ok();
        assert_eq!(number64("9223372036854775807"), Some(MAX_NUMBER64));
        assert_eq!(number64("9223372036854775808"), None);
        assert_eq!(number64("99999999999999999999999"), None);
        assert!(read("0", false, |parser| parser.nz_number("a number")).is_err());
        assert_eq!(number("-1"), None);
    }

    #[test]
    fn errors_say_what_is_missing_and_where() {
        let space = |text| read(text, false, |parser| parser.atom("an atom").and_then(|_| parser.space())).unwrap_err();
        assert_eq!((space("FETCH").to_string(), space("FETCH").at), ("expected a space after FETCH".to_owned(), 5));
        let list =
            |text| read(text, false, |parser| parser.list(|one| one.number("a number"))).unwrap_err().to_string();
        assert_eq!(list("(1 2"), "expected a space or \")\" after 2");
        assert_eq!(list("(1 2 "), "expected a number after 2");
        assert_eq!(list("()"), "expected a number at octet 2");
        let after = |text| read(text, false, |parser| parser.astring("a string").and_then(|_| parser.space()));
        assert_eq!(after("\"secret\"").unwrap_err().to_string(), "expected a space at octet 9");
        assert_eq!(after("{6}\r\nsecret").unwrap_err().to_string(), "expected a space at octet 12");
    }
}
