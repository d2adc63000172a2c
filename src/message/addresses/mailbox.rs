//! One mailbox of an address list: its displayed form, and its address if it is well-formed.

use super::super::words::{decoded_words, without_controls};
use crate::address::Address;

/// Maximum words of a mailbox; the rest is skipped.
const MOST_WORDS: usize = 512;
/// Longer than any address.
const LONGEST_ADDRESS: usize = 1024;

/// The text between two commas.
#[derive(Debug, Default)]
pub(crate) struct Mailbox<'a> {
    /// Words before `<`; all words if there is none.
    before: Vec<Word<'a>>,
    /// Words between `<` and `>`; punctuation of an obsolete route is a word each.
    inside: Vec<Word<'a>>,
    /// The last comment, without its parentheses.
    comment: Option<&'a [u8]>,
    /// There is a comment before the end.
    is_commented_inside: bool,
    pub(super) place: Place,
    /// Something was skipped: it is displayed, but has no address.
    pub(super) broken: bool,
}

/// The parsing position in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    #[default]
    Before,
    Inside,
    After,
}

/// A word as written: an atom (including dots, at signs and so on), or a quoted string with its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a> {
    pub octets: &'a [u8],
    /// Preceded by white space, a line end or a comment.
    pub apart: bool,
}

impl Word<'_> {
    pub fn is_quoted(&self) -> bool {
        self.octets.starts_with(b"\"")
    }

    /// Without quotes, escapes and line breaks.
    fn text(&self) -> Vec<u8> {
        match self.octets.strip_prefix(b"\"") {
            Some(quoted) => unescaped(quoted.strip_suffix(b"\"").unwrap_or(quoted)),
            None => self.octets.to_vec(),
        }
    }

    /// True if it continues the preceding text despite white space: only at a dot or at sign (RFC 5322 §4.4).
    fn joins(&self, before: &[u8]) -> bool {
        !self.apart || matches!(before.last(), None | Some(b'.' | b'@')) || matches!(self.octets, [b'.' | b'@', ..])
    }
}

/// A quoted string or comment without its escapes and line breaks.
pub(crate) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => out.extend(octets.next()),
            b'\r' | b'\n' => {}
            _ => out.push(*octet),
        }
    }
    out
}

/// The text of the words, with a space where they are separated.
fn joined(words: &[Word<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words {
        if word.apart && !out.is_empty() {
            out.push(b' ');
        }
        out.extend(word.text());
    }
    out
}

/// The index of the word with the first at sign.
fn at_sign(words: &[Word<'_>]) -> Option<usize> {
    words.iter().position(|word| !word.is_quoted() && word.octets.contains(&b'@'))
}

impl<'a> Mailbox<'a> {
    pub(super) fn add_word(&mut self, word: Word<'a>) {
        let list = match self.place {
            Place::Before => &mut self.before,
            Place::Inside => &mut self.inside,
            Place::After => return self.broken = true,
        };
        self.is_commented_inside |= self.comment.is_some();
        if list.len() < MOST_WORDS {
            list.push(word);
        } else {
            self.broken = true;
        }
    }

    pub(super) fn add_comment(&mut self, comment: &'a [u8]) {
        self.is_commented_inside |= self.comment.is_some() || self.place == Place::Inside;
        self.comment = Some(comment);
    }

    /// True if nothing would be displayed.
    pub(super) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.place == Place::Before
    }

    /// Between `<@a` and the colon of `<@a,@b:c@d>`.
    pub(super) fn is_in_route(&self) -> bool {
        self.place == Place::Inside
            && self.inside.first().is_some_and(|word| word.octets.starts_with(b"@"))
            && self.inside.iter().all(|word| word.octets != b":")
    }

    /// Behind `<mailto`, which is no part of the address that follows the colon.
    pub(super) fn is_in_scheme(&self) -> bool {
        self.place == Place::Inside
            && matches!(self.inside.as_slice(), [word] if word.octets.eq_ignore_ascii_case(b"mailto"))
    }

    /// The words read so far turn out to be a group name.
    pub(super) fn name_of_group(&self) -> Vec<u8> {
        joined(&self.before)
    }

    /// `None` unless the whole mailbox is well-formed.
    pub fn address(&self) -> Option<Address> {
        let words = match (self.broken, self.place) {
            (false, Place::Before) => &self.before,
            (false, Place::After) => &self.inside,
            _ => return None,
        };
        let mut text: Vec<u8> = Vec::new();
        for word in words {
            if !word.joins(&text) || text.len() + word.octets.len() > LONGEST_ADDRESS {
                return None;
            }
            text.extend_from_slice(word.octets);
        }
        Address::parse(std::str::from_utf8(&text).ok()?).ok()
    }

    /// True if nothing was skipped, so that an address can only lack its domain, as in `root (Cron Daemon)`.
    pub fn is_whole(&self) -> bool {
        !self.broken && self.place != Place::Inside
    }

    /// The words of the address, including a route.
    fn spec(&self) -> &[Word<'a>] {
        if self.place == Place::Before { &self.before } else { &self.inside }
    }

    /// True if this is `address` in one piece, with no comment except at the end.
    pub fn is_plainly(&self, address: &Address) -> bool {
        let is_address = |word: &Word<'_>| word.octets.eq_ignore_ascii_case(address.to_string().as_bytes());
        self.is_whole() && !self.is_commented_inside && matches!(self.spec(), [word] if is_address(word))
    }

    /// The words of the display name.
    pub fn phrase(&self) -> &[Word<'a>] {
        match self.place {
            Place::Before => self.before.get(..self.start_of_spec()).unwrap_or_default(),
            _ => &self.before,
        }
    }

    /// The comment used as the display name.
    pub fn comment(&self) -> Option<&'a [u8]> {
        self.comment.filter(|_| self.phrase().is_empty())
    }

    /// True if some readers see another address: an unquoted at sign in the display name, or an address in pieces, of
    /// which they read some.
    pub fn shows_another_address(&self) -> bool {
        at_sign(self.phrase()).is_some() || self.spec().iter().skip(1).any(|word| word.apart)
    }

    /// The display name, or else a comment: unquoted, encoded words not decoded.
    pub fn name(&self) -> Option<Vec<u8>> {
        let name = match self.comment() {
            Some(comment) => unescaped(comment.trim_ascii()),
            None => joined(self.phrase()),
        };
        (!name.is_empty()).then_some(name)
    }

    /// The display name with its encoded words decoded.
    pub fn display_name(&self) -> Option<String> {
        self.name().map(|name| decoded_words(&name).trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// `@a,@b` of `<@a,@b:c@d>`
    pub fn route(&self) -> Option<Vec<u8>> {
        let (route, _) = self.route_and_spec();
        let is_route = route.first().is_some_and(|word| word.octets.starts_with(b"@"));
        is_route.then(|| route.iter().flat_map(Word::text).collect())
    }

    fn route_and_spec(&self) -> (&[Word<'a>], &[Word<'a>]) {
        if self.place == Place::Before {
            return (&[], self.before.get(self.start_of_spec()..).unwrap_or_default());
        }
        let colon = self.inside.iter().position(|word| word.octets == b":");
        match colon.and_then(|colon| self.inside.split_at_checked(colon)) {
            Some((route, spec)) => (route, spec.get(1..).unwrap_or_default()),
            None => (&[], &self.inside),
        }
    }

    /// The index of the first word of an address without angle brackets; separate words before it are a name.
    fn start_of_spec(&self) -> usize {
        let mut start = at_sign(&self.before).unwrap_or(0);
        while let (Some(before), Some(word)) =
            (start.checked_sub(1).and_then(|at| self.before.get(at)), self.before.get(start))
            && word.joins(before.octets)
        {
            start -= 1;
        }
        start
    }

    /// The parts before and after the at sign, unquoted. Without one, everything is before it.
    pub fn local_and_host(&self) -> (Vec<u8>, Vec<u8>) {
        let (_, words) = self.route_and_spec();
        let Some((before, [word, after @ ..])) = at_sign(words).and_then(|at| words.split_at_checked(at)) else {
            return (joined(words), Vec::new());
        };
        let mut local: Vec<u8> = before.iter().flat_map(Word::text).collect();
        let mut pieces = word.octets.splitn(2, |octet| *octet == b'@');
        local.extend_from_slice(pieces.next().unwrap_or_default());
        let mut host = [b"@", pieces.next().unwrap_or_default()].concat();
        for word in after {
            if !word.joins(&host) {
                break;
            }
            host.extend(word.text());
        }
        (local, host.split_off(1))
    }

    /// `local@host`, as far as present, the local part quoted if necessary.
    pub fn shown_address(&self) -> Option<String> {
        let (local, host) = self.local_and_host();
        if local.is_empty() && host.is_empty() {
            return None;
        }
        let is_plain = |b: &u8| *b >= 0x80 || b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(b);
        let is_quoted = !host.is_empty() && (local.is_empty() || !local.iter().all(is_plain));
        let [local, host] = [local, host].map(|text| String::from_utf8_lossy(&text).into_owned());
        let local = match is_quoted {
            true => format!("\"{}\"", local.replace('\\', "\\\\").replace('"', "\\\"")),
            false => local,
        };
        Some(without_controls(if host.is_empty() { local } else { format!("{local}@{host}") }))
    }
}
