//! Responses of an IMAP server as values: atoms, strings and lists (RFC 3501 §9). Which response it is, and what is in it, is for the
//! caller to see, so that extensions that were not asked for do no harm.
//!
//! Invariant: parsing is linear in the octets, and lists are not deeper than [`DEPTH`].

use std::borrow::Cow;

/// Lists in one another at most.
const DEPTH: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Also NIL, numbers, flags, and items such as `BODY[HEADER.FIELDS (DATE)]<0>`.
    Atom(&'a [u8]),
    /// Quoted, or a literal.
    Text(Cow<'a, [u8]>),
    List(Vec<Value<'a>>),
}

impl<'a> Value<'a> {
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Atom(atom) if atom.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// An atom or a string; none for NIL.
    pub(super) fn octets(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(atom) if atom.eq_ignore_ascii_case(b"NIL") => None,
            Self::Atom(atom) => Some(atom),
            Self::Text(text) => Some(text),
            Self::List(_) => None,
        }
    }

    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        self.octets().map(String::from_utf8_lossy)
    }

    pub(super) fn number<T: std::str::FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.octets()?).ok()?.parse().ok()
    }

    pub(super) fn list(&self) -> &[Value<'a>] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }
}

/// The length of the literal that a line announces at its end: `{5}`, also `{5+}` and `~{5}`.
pub(super) fn literal_of(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let start = line.iter().rposition(|octet| *octet == b'{')?;
    let digits = line.get(start + 1..)?;
    std::str::from_utf8(digits.strip_suffix(b"+").unwrap_or(digits)).ok()?.parse().ok()
}

/// The values of a response line with the literals in it; those before what is no value. Text for people is read as atoms.
pub(super) fn parse(octets: &[u8]) -> Vec<Value<'_>> {
    let mut parser = Parser { octets, at: 0 };
    let mut values = Vec::new();
    while let Some(value) = parser.value(0) {
        values.push(value);
    }
    values
}

struct Parser<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
        match self.peek()? {
            b'\r' | b'\n' | b')' => None,
            b'(' => self.list(depth),
            b'"' => self.quoted().map(Value::Text),
            b'{' => self.literal().map(Value::Text).or_else(|| self.atom()),
            b'~' if self.octets.get(self.at + 1) == Some(&b'{') => {
                self.at += 1;
                self.literal().map(Value::Text)
            }
            _ => self.atom(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value<'a>> {
        if depth >= DEPTH {
            return None;
        }
        self.at += 1;
        let mut values = Vec::new();
        while let Some(value) = self.value(depth + 1) {
            values.push(value);
        }
        if self.peek() != Some(b')') {
            return None;
        }
        self.at += 1;
        Some(Value::List(values))
    }

    fn quoted(&mut self) -> Option<Cow<'a, [u8]>> {
        let start = self.at + 1;
        let mut at = start;
        let mut has_escapes = false;
        loop {
            match self.octets.get(at)? {
                b'"' => break,
                b'\r' | b'\n' => return None,
                b'\\' => {
                    has_escapes = true;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        let text = self.octets.get(start..at)?;
        self.at = at + 1;
        if !has_escapes {
            return Some(text.into());
        }
        let mut plain = Vec::with_capacity(text.len());
        let mut octets = text.iter();
        while let Some(octet) = octets.next() {
            plain.push(if *octet == b'\\' { *octets.next()? } else { *octet });
        }
        Some(plain.into())
    }

    fn literal(&mut self) -> Option<Cow<'a, [u8]>> {
        let rest = self.octets.get(self.at..)?;
        let line = rest.get(..=rest.iter().position(|octet| *octet == b'\n')?)?;
        let length = literal_of(line).filter(|_| line.iter().filter(|octet| **octet == b'{').count() == 1)?;
        let start = self.at.checked_add(line.len())?;
        let text = self.octets.get(start..start.checked_add(length)?)?;
        self.at = start + length;
        Some(text.into())
    }

    /// Up to a space or the end of the list; between brackets anything.
    fn atom(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        let mut brackets = 0_usize;
        while let Some(octet) = self.peek() {
            match octet {
                b'\r' | b'\n' => break,
                b'[' => brackets += 1,
                b']' => brackets = brackets.saturating_sub(1),
                b' ' | b'(' | b')' if brackets == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        let atom = self.octets.get(start..self.at)?;
        (!atom.is_empty()).then_some(Value::Atom(atom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn responses_are_values() {
        let atom = |text: &'static str| Value::Atom(text.as_bytes());
        let text = |text: &'static str| Value::Text(text.as_bytes().into());
        for (line, wanted) in [
            (
                "* 1 FETCH (UID 5 FLAGS (\\Seen a) BODY[] {3}\r\n)\"x X NIL)\r\n",
                vec![
                    atom("*"),
                    atom("1"),
                    atom("FETCH"),
                    Value::List(vec![
                        atom("UID"),
                        atom("5"),
                        atom("FLAGS"),
                        Value::List(vec![atom("\\Seen"), atom("a")]),
                        atom("BODY[]"),
                        text(")\"x"),
                        atom("X"),
                        atom("NIL"),
                    ]),
                ],
            ),
            (
                "* LIST () \"\\\\\" \"a \\\"b\\\"\"\r\n",
                vec![atom("*"), atom("LIST"), Value::List(vec![]), text("\\"), text("a \"b\"")],
            ),
            ("A1 OK [A (1:2 3)] x\n", vec![atom("A1"), atom("OK"), atom("[A (1:2 3)]"), atom("x")]),
            (
                "* BODY[HEADER.FIELDS (A B)]<0> ~{1}\r\n \r\n",
                vec![atom("*"), atom("BODY[HEADER.FIELDS (A B)]<0>"), text(" ")],
            ),
            ("* (a", vec![atom("*")]),
            ("", vec![]),
        ] {
            assert_eq!(parse(line.as_bytes()), wanted, "{line}");
        }
        assert!(parse(&[b'('; 100_000]).is_empty());
        for (line, wanted) in [("x {5}\r\n", Some(5)), ("x {5+}\n", Some(5)), ("x {5} \r\n", None), ("x 5}\r\n", None)]
        {
            assert_eq!(literal_of(line.as_bytes()), wanted, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_end(octets in prop::collection::vec(prop::sample::select(b"a ()[]\"\\{}~19+\r\n\0\xff".to_vec()), 0..60)) {
            parse(&octets);
            literal_of(&octets);
        }
    }
}
