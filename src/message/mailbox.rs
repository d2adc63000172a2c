//! The mailboxes of a From, Sender or Resent-From field, and the display name kept of one.
//!
//! Invariant: reading is linear and never guesses: what is not well-formed is no mailbox. A display name that
//! [`Mailbox::name`] gives back holds whole words, no line break of its own, no unclosed encoded word and no control
//! character, encoded or not, so it cannot reach beyond its field.
//! RFC 5322 §3.4 (address specification), §4.4 (obsolete lists), §3.2.2 (comments); RFC 2047 §5 (encoded words).

use super::display_name;
use super::headers::Fields;
use crate::address::Address;

/// More words than any name has; what has more is no mailbox.
const MOST_WORDS: usize = 512;
/// More octets than any display name needs.
const LONGEST_NAME: usize = 2000;
/// A word that would not fit on a line of 998 octets beside what else stands there.
const LONGEST_WORD: usize = 900;
/// Longer than any address.
const LONGEST_ADDRESS: usize = 1024;
/// Where lines are folded (RFC 5322 §2.1.1).
const LINE: usize = 78;

/// One mailbox that could be read.
#[derive(Debug)]
pub(super) struct Mailbox<'a> {
    phrase: Vec<Word<'a>>,
    /// Its address.
    pub address: Address,
    /// Blanks or comments stand within the address (obsolete syntax).
    is_split: bool,
}

/// A word of a phrase or address as it stands there: an atom (dots and more inside), or a quoted string with its quotes.
#[derive(Clone, Copy, Debug)]
struct Word<'a> {
    octets: &'a [u8],
    /// A blank, line end or comment stands before it.
    apart: bool,
}

/// The mailboxes of a field's value in order: `None` for an element that is no mailbox. Members of groups count as any
/// other.
#[derive(Debug)]
pub(super) struct Mailboxes<'a> {
    rest: &'a [u8],
    /// Nothing but mailboxes was seen so far: no comma, group, or stray sign.
    pub plain: bool,
    /// A group was seen.
    pub grouped: bool,
}

impl<'a> Mailboxes<'a> {
    /// Reads a field's value, with or without its folding.
    pub fn of(value: &'a [u8]) -> Self {
        Self { rest: value, plain: true, grouped: false }
    }

    fn token(&mut self) -> Option<Token<'a>> {
        let (first, after) = self.rest.split_first()?;
        let (token, length) = match first {
            b' ' | b'\t' | b'\r' | b'\n' => (Token::Blank, 1),
            b'(' => comment_length(after).map_or((Token::Broken, self.rest.len()), |n| (Token::Blank, n + 1)),
            b'"' => match quoted_length(after) {
                None => (Token::Broken, self.rest.len()),
                Some(n) => (Token::Word(self.rest.get(..=n).unwrap_or_default()), n + 1),
            },
            b'<' | b'>' | b',' | b';' | b':' => (Token::Sign(*first), 1),
            b if ends_word(*b) => (Token::Broken, 1),
            _ => {
                let length = self.rest.iter().take_while(|b| !ends_word(**b)).count();
                (Token::Word(self.rest.get(..length).unwrap_or_default()), length)
            }
        };
        self.rest = self.rest.get(length..).unwrap_or_default();
        Some(token)
    }
}

impl<'a> Iterator for Mailboxes<'a> {
    type Item = Option<Mailbox<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut element = Element::default();
        while let Some(token) = self.token() {
            match token {
                Token::Blank => element.apart = true,
                Token::Word(octets) => element.word(octets),
                Token::Sign(b'<') => element.open(),
                Token::Sign(b'>') => element.close(),
                Token::Sign(sign) => {
                    self.plain = false;
                    if element.place == Place::Inside {
                        element.broken = true; // An obsolete route, or something worse.
                    } else if sign == b':' {
                        self.grouped = true;
                        element = Element::default(); // That was the group's name.
                    } else if !element.is_empty() {
                        return Some(element.mailbox());
                    }
                }
                Token::Broken => {
                    self.plain = false;
                    element.broken = true;
                }
            }
        }
        (!element.is_empty()).then(|| element.mailbox())
    }
}

/// The mailboxes of all fields of a name in a header block: `None` for what is no mailbox.
pub fn mailboxes_of<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = Option<Address>> {
    let named = Fields::new(header).filter(move |field| field.is(name));
    named.flat_map(|field| Mailboxes::of(field.value)).map(|mailbox| mailbox.map(|mailbox| mailbox.address))
}

/// The first word of a structured value, comments aside: an atom, or a quoted string with its quotes.
pub(super) fn first_word(value: &[u8]) -> Option<&[u8]> {
    let mut tokens = Mailboxes::of(value);
    loop {
        match tokens.token()? {
            Token::Blank => {}
            Token::Word(word) => return Some(word),
            Token::Sign(_) | Token::Broken => return None,
        }
    }
}

enum Token<'a> {
    /// Blanks, line ends, a comment.
    Blank,
    Word(&'a [u8]),
    /// One of `< > , ; :`.
    Sign(u8),
    /// What can stand nowhere: a control, a stray parenthesis, an unclosed quote or comment.
    Broken,
}

fn ends_word(b: u8) -> bool {
    b <= b' ' || b == 0x7f || b"\"(),:;<>".contains(&b)
}

/// The length of a comment after its opening parenthesis, the closing one included.
fn comment_length(after: &[u8]) -> Option<usize> {
    let mut depth = 1_usize;
    let mut escaped = false;
    let closed = after.iter().position(|b| {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    closed.map(|at| at + 1)
}

/// The length of a quoted string after its opening quote, the closing one included; none with a control inside.
fn quoted_length(after: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let stop = after.iter().position(|b| match b {
        b'\t' | b'\r' | b'\n' => false,
        0..=31 | 0x7f => true,
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        b => *b == b'"',
    })?;
    (after.get(stop) == Some(&b'"')).then_some(stop + 1)
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Inside,
    After,
}

/// What stands between two commas.
#[derive(Default)]
struct Element<'a> {
    before: Vec<Word<'a>>,
    inside: Vec<Word<'a>>,
    place: Place,
    apart: bool,
    broken: bool,
}

impl<'a> Element<'a> {
    fn word(&mut self, octets: &'a [u8]) {
        let list = match self.place {
            Place::Before => &mut self.before,
            Place::Inside => &mut self.inside,
            Place::After => return self.broken = true,
        };
        if list.len() < MOST_WORDS {
            list.push(Word { octets, apart: self.apart });
        } else {
            self.broken = true;
        }
        self.apart = false;
    }

    fn open(&mut self) {
        self.broken |= self.place != Place::Before;
        self.place = Place::Inside;
        self.apart = false;
    }

    fn close(&mut self) {
        self.broken |= self.place != Place::Inside;
        self.place = Place::After;
    }

    fn is_empty(&self) -> bool {
        self.before.is_empty() && self.place == Place::Before && !self.broken
    }

    fn mailbox(self) -> Option<Mailbox<'a>> {
        if self.broken {
            return None;
        }
        match self.place {
            Place::Before => Mailbox::new(Vec::new(), &self.before),
            Place::Inside => None,
            Place::After => Mailbox::new(self.before, &self.inside),
        }
    }
}

/// Puts the words of an address together. They may stand apart only around a dot or the at sign (obsolete syntax).
fn address(words: &[Word<'_>]) -> Option<Address> {
    let mut text: Vec<u8> = Vec::new();
    for word in words {
        let joint = matches!(text.last(), None | Some(b'.' | b'@')) || matches!(word.octets, [b'.' | b'@', ..]);
        if (word.apart && !joint) || text.len() + word.octets.len() > LONGEST_ADDRESS {
            return None;
        }
        text.extend_from_slice(word.octets);
    }
    Address::parse(std::str::from_utf8(&text).ok()?).ok()
}

impl<'a> Mailbox<'a> {
    fn new(phrase: Vec<Word<'a>>, words: &[Word<'a>]) -> Option<Self> {
        let is_split = words.iter().skip(1).any(|word| word.apart);
        Some(Self { phrase, address: address(words)?, is_split })
    }

    /// Whether some readers take another address for its own: an at sign stands in its display name without quotes, or the
    /// address is in pieces, of which they read some.
    pub fn shows_another_address(&self) -> bool {
        let is_address = |word: &Word<'_>| !word.octets.starts_with(b"\"") && word.octets.contains(&b'@');
        self.is_split || self.phrase.iter().any(is_address)
    }

    /// Writes `name <address>` with `address` for its own, folded where a line would be long. `written` octets already
    /// stand on the line. A name that could do harm, or is beyond all measure, is left out.
    pub fn write(&self, out: &mut Vec<u8>, written: usize, address: &Address) {
        let mut column = written;
        for word in self.name().unwrap_or_default() {
            fold(out, &mut column, word.len());
            out.extend_from_slice(&word);
            out.push(b' ');
            column += word.len() + 1;
        }
        let address = address.to_string();
        fold(out, &mut column, address.len() + 2);
        out.push(b'<');
        out.extend_from_slice(address.as_bytes());
        out.push(b'>');
    }

    /// The words of the display name as they are written: those of the client, or, where they decode to control
    /// characters, what is left of them.
    fn name(&self) -> Option<Vec<Vec<u8>>> {
        let words = self.words()?;
        let value = [&words.join(&b' ')[..], b" <a@b.c>"].concat();
        if !display_name::shows_controls(&value) {
            return Some(words);
        }
        let words = display_name::without_controls(&value)?;
        let fits = words.iter().map(Vec::len).sum::<usize>() <= LONGEST_NAME;
        (fits && words.iter().all(|word| word.len() <= LONGEST_WORD)).then_some(words)
    }

    /// The words of the display name as the client wrote them. An encoded word, a quoted string and 8-bit octets stay;
    /// what an atom cannot hold is quoted.
    fn words(&self) -> Option<Vec<Vec<u8>>> {
        let mut length = 0;
        let mut words = Vec::with_capacity(self.phrase.len());
        for word in &self.phrase {
            let written = if word.octets.starts_with(b"\"") {
                word.octets.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect()
            } else if word.octets.iter().all(|b| is_phrase(*b)) {
                word.octets.to_vec()
            } else {
                quoted(word.octets)
            };
            length += written.len();
            if length > LONGEST_NAME || written.len() > LONGEST_WORD || !encoded_words_are_closed(&written) {
                return None;
            }
            words.push(written);
        }
        Some(words)
    }
}

/// Begins a new line when `length` more octets would make this one long, at the blank that stands there already.
fn fold(out: &mut Vec<u8>, column: &mut usize, length: usize) {
    if *column + length > LINE && out.last() == Some(&b' ') {
        out.pop();
        out.extend_from_slice(b"\r\n ");
        *column = 1;
    }
}

/// What stands in a phrase without quotes: atoms, dots (RFC 5322 §4.1), 8-bit octets (RFC 6532 and older habits).
fn is_phrase(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x80 || b"!#$%&'*+-/=?^_`{|}~.".contains(&b)
}

fn quoted(octets: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for b in octets {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*b);
    }
    out.push(b'"');
    out
}

/// Whether each `=?` begins an encoded word that ends in here: an open one makes lax readers look for its end in the
/// lines that follow.
pub(super) fn encoded_words_are_closed(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"=?") {
        let mut parts = rest.get(at + 2..).unwrap_or_default().splitn(4, |b| *b == b'?');
        let (Some(charset), Some(encoding), Some(_), Some(after)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let whole = !charset.is_empty()
            && charset.iter().all(|b| b.is_ascii_graphic())
            && matches!(encoding, [b'b' | b'B' | b'q' | b'Q'])
            && after.starts_with(b"=");
        if !whole {
            return false;
        }
        rest = after.get(1..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Vec<Option<String>> {
        Mailboxes::of(value.as_bytes()).map(|m| m.map(|m| m.address.to_string())).collect()
    }

    fn named(value: &[u8]) -> Vec<u8> {
        let mut out = b"From: ".to_vec();
        let identity = Address::parse("me@acme.com").unwrap();
        Mailboxes::of(value).flatten().next().unwrap().write(&mut out, 6, &identity);
        out
    }

    #[test]
    fn mailboxes_are_read_in_all_their_forms() {
        for (value, addresses) in [
            ("ann@x.org", vec![Some("ann@x.org")]),
            (" Ann <ann@x.org>\r\n", vec![Some("ann@x.org")]),
            ("(a (nested) one) ann @ x . org (Ann)", vec![Some("ann@x.org")]),
            ("\"Ann, of X\" <ann@x.org>", vec![Some("ann@x.org")]),
            ("\"a b\"@x.org", vec![Some("\"a b\"@x.org")]),
            ("a@x.org, B <b@x.org>", vec![Some("a@x.org"), Some("b@x.org")]),
            ("Team: a@x.org, b@x.org;", vec![Some("a@x.org"), Some("b@x.org")]),
            ("undisclosed:;", vec![]),
            (", ,", vec![]),
            ("", vec![]),
            ("Ann", vec![None]),
            ("a b@x.org", vec![None]),
            ("Ann <ann>", vec![None]),
            ("Ann <>", vec![None]),
            ("<ann@x.org", vec![None]),
            ("ann@x.org>", vec![None]),
            ("<a@x.org> b", vec![None]),
            ("<a@x.org><b@x.org>", vec![None]),
            ("<@r.org:a@x.org>", vec![None]),
            ("\"open <a@x.org>", vec![None]),
            ("a@x.org (open", vec![None]),
            ("a\0b <a@x.org>", vec![None]),
        ] {
            let addresses: Vec<_> = addresses.into_iter().map(|a| a.map(str::to_owned)).collect();
            assert_eq!(read(value), addresses, "{value:?}");
        }
    }

    #[test]
    fn names_stay_and_cannot_leave_their_field() {
        for (value, written) in [
            (&b"Ann <a@x.org>"[..], &b"From: Ann <me@acme.com>"[..]),
            (b"a@x.org (Ann)", b"From: <me@acme.com>"),
            (b"Ann (x) J. Lee <a@x.org>", b"From: Ann J. Lee <me@acme.com>"),
            (b"\"Ann\\\" Lee\"\r\n <a@x.org>", b"From: \"Ann\\\" Lee\" <me@acme.com>"),
            (b"\"Ann\r\n Lee\" <a@x.org>", b"From: \"Ann Lee\" <me@acme.com>"),
            (b"=?utf-8?B?w4Q=?= <a@x.org>", b"From: =?utf-8?B?w4Q=?= <me@acme.com>"),
            (b"=?utf-8?B?w4Q= <a@x.org>", b"From: <me@acme.com>"),
            (b"=?utf-8?q?Ann=0D=0AFrom=3A_x?= Lee <a@x.org>", b"From: \"AnnFrom: x Lee\" <me@acme.com>"),
            (b"Jos\xe9 <a@x.org>", b"From: Jos\xe9 <me@acme.com>"),
            (b"a@x.org <a@x.org>", b"From: \"a@x.org\" <me@acme.com>"),
            (b"Ann [X] <a@x.org>", b"From: Ann \"[X]\" <me@acme.com>"),
            (b"broken <b>, Bob <b@x.org>", b"From: Bob <me@acme.com>"),
        ] {
            assert_eq!(named(value), written, "{}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn long_names_are_folded_and_endless_ones_left_out() {
        let long = format!("{}<a@x.org>", "word ".repeat(100));
        let field = named(long.as_bytes());
        assert!(field.split(|b| *b == b'\n').all(|line| line.len() <= 79));
        assert_eq!(named(format!("{} <a@x.org>", "w".repeat(901)).as_bytes()), b"From: <me@acme.com>");
        assert_eq!(named(format!("{}<a@x.org>", "word ".repeat(501)).as_bytes()), b"From: <me@acme.com>");
    }
}
