//! SEARCH commands nested deeper than the eight levels that imap-codec parses.
//!
//! Clients search for one of many addresses with a long chain of `OR a OR b OR c …`. This parser handles OR, NOT and
//! parentheses, and passes each other key to the codec. A chain of ORs may be as long as a command; other nesting is limited.

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::core::{Charset, Vec1};
use imap_codec::imap_types::search::SearchKey;

/// Levels of parentheses, NOTs, and ORs within the first half of an OR.
const DEPTH: u32 = 50;

/// Parses a whole command line, literals included; `None` if it is no SEARCH or UID SEARCH, or has a syntax error.
pub fn parse(bytes: &[u8]) -> Option<CommandBody<'static>> {
    let mut reader = Reader { rest: bytes.strip_suffix(b"\r\n")? };
    reader.word()?;
    let mut verb = reader.after_space()?;
    let uid = verb.eq_ignore_ascii_case(b"UID");
    if uid {
        verb = reader.after_space()?;
    }
    if !verb.eq_ignore_ascii_case(b"SEARCH") {
        return None;
    }
    let mut charset = None;
    if reader.rest.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b" CHARSET ")) {
        reader.after_space()?;
        charset = Some(Charset::try_from(reader.after_space()?).ok()?.into_static());
    }
    let mut criteria = Vec::new();
    while !reader.rest.is_empty() {
        reader.space()?;
        criteria.push(reader.key(0)?);
    }
    Some(CommandBody::Search { charset, criteria: Vec1::try_from(criteria).ok()?, uid })
}

/// How many arguments follow a key.
fn arguments(key: &[u8]) -> usize {
    const TWO: &[&str] = &["HEADER"];
    const ONE: &[&str] = &[
        "BCC",
        "BEFORE",
        "BODY",
        "CC",
        "FROM",
        "KEYWORD",
        "LARGER",
        "ON",
        "SENTBEFORE",
        "SENTON",
        "SENTSINCE",
        "SINCE",
        "SMALLER",
        "SUBJECT",
        "TEXT",
        "TO",
        "UID",
        "UNKEYWORD",
    ];
    let is = |names: &[&str]| names.iter().any(|name| key.eq_ignore_ascii_case(name.as_bytes()));
    if is(TWO) { 2 } else { usize::from(is(ONE)) }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn space(&mut self) -> Option<()> {
        self.rest = self.rest.strip_prefix(b" ")?;
        Some(())
    }

    fn after_space(&mut self) -> Option<&'a [u8]> {
        self.space()?;
        self.word()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// An atom, a quoted string or a literal, undecoded.
    fn word(&mut self) -> Option<&'a [u8]> {
        let length = match self.rest.first()? {
            b'"' => {
                let mut escaped = false;
                let end = self.rest.iter().skip(1).position(|octet| {
                    let is_end = *octet == b'"' && !escaped;
                    escaped = *octet == b'\\' && !escaped;
                    is_end
                });
                end? + 2
            }
            b'{' => {
                let line = self.rest.iter().position(|octet| *octet == b'\n')?;
                let digits = std::str::from_utf8(self.rest.get(1..line.checked_sub(2)?)?).ok()?;
                let length: usize = digits.trim_end_matches('+').parse().ok()?;
                line.checked_add(1)?.checked_add(length)?
            }
            _ => self.rest.iter().position(|octet| matches!(octet, b' ' | b'(' | b')')).unwrap_or(self.rest.len()),
        };
        self.take(length).filter(|word| !word.is_empty())
    }

    fn key(&mut self, depth: u32) -> Option<SearchKey<'static>> {
        if depth > DEPTH {
            return None;
        }
        let mut alternatives = Vec::new();
        // A chain of ORs is a loop, not a recursion.
        while self.rest.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"OR ")) {
            self.take(3)?;
            alternatives.push(self.key(depth + 1)?);
            self.space()?;
        }
        alternatives.push(self.simple(depth)?);
        balanced(alternatives)
    }

    /// A key that begins with no OR.
    fn simple(&mut self, depth: u32) -> Option<SearchKey<'static>> {
        if self.rest.first() == Some(&b'(') {
            self.take(1)?;
            let mut keys = vec![self.key(depth + 1)?];
            while self.rest.first() == Some(&b' ') {
                self.space()?;
                keys.push(self.key(depth + 1)?);
            }
            return (self.take(1)? == b")").then(|| Vec1::try_from(keys).ok().map(SearchKey::And))?;
        }
        let start = self.rest;
        let name = self.word()?;
        if name.eq_ignore_ascii_case(b"NOT") {
            self.space()?;
            return self.key(depth + 1).map(|key| SearchKey::Not(Box::new(key)));
        }
        for _ in 0..arguments(name) {
            self.after_space()?;
        }
        let whole = start.get(..start.len().checked_sub(self.rest.len())?)?;
        let line = [b"x SEARCH ", whole, b"\r\n"].concat();
        match CommandCodec::new().decode(&line) {
            Ok(([], command)) => match command.body {
                CommandBody::Search { criteria, charset: None, .. } => {
                    criteria.into_iter().next().map(IntoStatic::into_static)
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// Alternatives as ORs of even depth, so that nothing that walks them goes deep.
fn balanced(mut alternatives: Vec<SearchKey<'static>>) -> Option<SearchKey<'static>> {
    if alternatives.len() <= 1 {
        return alternatives.pop();
    }
    let right = alternatives.split_off(alternatives.len() / 2);
    Some(SearchKey::Or(Box::new(balanced(alternatives)?), Box::new(balanced(right)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<CommandBody<'static>> {
        parse(format!("{line}\r\n").as_bytes())
    }

    #[test]
    fn it_parses_what_the_codec_parses() {
        for line in [
            "a SEARCH ALL",
            "a UID SEARCH CHARSET UTF-8 OR FROM \"x \\\" y\" (NOT 1:* SINCE 1-Feb-1994)",
            "a SEARCH HEADER X {3}\r\na b UNSEEN UID 4,7",
            "a SEARCH NOT NOT (SEEN) OR TO a CC b",
        ] {
            let whole = format!("{line}\r\n");
            let (_, command) = CommandCodec::new().decode(whole.as_bytes()).unwrap();
            assert_eq!(read(line), Some(command.body.into_static()), "{line}");
        }
    }

    #[test]
    fn long_chains_parse_and_deep_nesting_does_not() {
        let chain = (0..5000).map(|n| format!("OR FROM a{n} ")).collect::<String>();
        let Some(CommandBody::Search { criteria, .. }) = read(&format!("a SEARCH {chain}FROM z")) else { panic!() };
        let (mut depth, mut key) = (0, &criteria.as_ref()[0]);
        while let SearchKey::Or(_, right) = key {
            (depth, key) = (depth + 1, right);
        }
        assert!(depth < 20);
        for bad in [
            "(",
            ")",
            "a",
            "a SEARCH",
            "a SEARCH OR SEEN",
            "a SEARCH (SEEN",
            "a SEARCH FROM",
            "a FETCH 1 FLAGS",
            "a SEARCH  SEEN",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read(&format!("a SEARCH {}SEEN", "NOT ".repeat(100_000))), None);
        assert_eq!(read(&format!("a SEARCH {}SEEN", "OR (".repeat(100_000))), None);
    }
}
