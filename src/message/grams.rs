//! The trigrams of what a search looks into: for an index of messages that a term may be in.
//!
//! Invariant: where a term is in a text of a message, all trigrams of the term are among the message's, in the same [`Place`]. The
//! reverse does not hold, so a search reads and compares what it finds by them. Texts are in lower case ([`super::searched::lower`]),
//! and also [`folded`], as IMAP compares them.

use super::casemap::folded;
use super::fields::{Header, ReadLimits};
use super::mime::Tree;
use super::searched::{SearchedHeader, lower, searched_texts, searched_value};
use super::text::content;

/// Different trigrams of a message that are indexed at most. A message with more is compared by every search.
pub(crate) const DISTINCT: usize = 30_000;
/// Trigrams of one search at most.
const WANTED: usize = 40;

/// Which texts a term is looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In all of them.
    Anywhere,
    /// In From.
    From,
    /// In To, Cc and Bcc.
    To,
    /// In Subject.
    Subject,
}

impl Place {
    /// Makes its trigrams others than those of other places.
    const fn salt(self) -> u32 {
        match self {
            Self::Anywhere => 0,
            Self::From => 0x9E37_79B9,
            Self::To => 0x7F4A_7C15,
            Self::Subject => 0xF39C_C060,
        }
    }
}

/// Numbers of trigrams, each once, in order. Two trigrams may have the same number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grams(Vec<u32>);

/// Of a message with attachments.
pub(crate) const ATTACHMENT: u32 = mixed(1 << 63);

impl Grams {
    /// True of a search that any message may fit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of a message's. None where there are more than [`DISTINCT`].
    pub fn of_message(header: &[u8], body: &[u8], limits: &ReadLimits) -> Option<Self> {
        let mut found = Found::default();
        let fields = Header::read(header, limits);
        for text in SearchedHeader::of(&fields).texts() {
            found.add(Place::Anywhere, text)?;
        }
        for field in fields.fields() {
            let name = lower(String::from_utf8_lossy(field.name).into_owned());
            let place = match name.as_str() {
                "from" => Place::From,
                "to" | "cc" | "bcc" => Place::To,
                "subject" => Place::Subject,
                _ => continue,
            };
            found.add(place, &searched_value(&name, field.value))?;
        }
        let tree = Tree::parse(header, body, limits);
        for text in searched_texts(&tree) {
            found.add(Place::Anywhere, &text)?;
        }
        if !content(&tree, 0).attachments.is_empty() {
            found.0.push(ATTACHMENT);
        }
        found.finished()
    }

    /// Of what all has to be in a message, in lower case; terms of fewer than three characters have none. Of many, some are left out.
    pub fn of_terms<'a>(terms: impl IntoIterator<Item = (Place, &'a str)>, has_attachment: bool) -> Self {
        let of_term = |(place, text): (Place, &'a str)| trigrams(place, text).collect::<Vec<u32>>();
        let all: Vec<Vec<u32>> = terms.into_iter().map(of_term).collect();
        let each = (WANTED / all.len().max(1)).max(1);
        let some = all.iter().flat_map(|term| term.iter().copied().step_by(term.len().div_ceil(each).max(1)));
        let mut wanted: Vec<u32> = some.chain(has_attachment.then_some(ATTACHMENT)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        Self(wanted)
    }
}

/// Numbers, some of them more than once.
#[derive(Default)]
struct Found(Vec<u32>);

impl Found {
    fn add(&mut self, place: Place, text: &str) -> Option<()> {
        self.add_one_form(place, text)?;
        if text.is_ascii() {
            return Some(());
        }
        self.add_one_form(place, &folded(text))
    }

    fn add_one_form(&mut self, place: Place, text: &str) -> Option<()> {
        for number in trigrams(place, text) {
            self.0.push(number);
            // So that a large text takes no more memory than a small one.
            if self.0.len() > 4 * DISTINCT {
                self.compact()?;
            }
        }
        Some(())
    }

    fn compact(&mut self) -> Option<()> {
        self.0.sort_unstable();
        self.0.dedup();
        (self.0.len() <= DISTINCT).then_some(())
    }

    fn finished(mut self) -> Option<Grams> {
        self.compact()?;
        self.0.shrink_to_fit();
        Some(Grams(self.0))
    }
}

/// The trigrams of a text, in its order.
fn trigrams(place: Place, text: &str) -> impl Iterator<Item = u32> {
    // A character has 21 bits.
    let mut last = 0_u64;
    text.chars().enumerate().filter_map(move |(at, character)| {
        last = (last << 21 | u64::from(u32::from(character))) & ((1 << 63) - 1);
        (at >= 2).then(|| mixed(last) ^ place.salt())
    })
}

/// 32 of 64 bits, which depend on all of them: the last step of `MurmurHash3`.
const fn mixed(mut bits: u64) -> u32 {
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    (bits >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::super::fields::header_end;
    use super::*;

    fn of(raw: &[u8]) -> Grams {
        let (header, body) = raw.split_at(header_end(raw));
        Grams::of_message(header, body, &ReadLimits::default()).unwrap()
    }

    fn may_have(message: &Grams, place: Place, term: &str) -> bool {
        let wanted = Grams::of_terms([(place, lower(term.to_owned()).as_str())], false);
        wanted.iter().all(|gram| message.0.binary_search(&gram).is_ok())
    }

    #[test]
    fn a_message_has_the_trigrams_of_all_that_is_searched() {
        let raw = b"From: =?utf-8?q?Andr=C3=A9?= \"X\" <ann@x.org>\r\nCc: bo@x.org\r\nSubject: =?iso-8859-7?q?=CF=C4=CF=D3?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n<p>Gr\xfc\xdfe aus <b>K\xf6ln</b></p>\r\n--b\r\nContent-Type: image/png; name*=utf-8''b%C3%AFld.png\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVu\r\n--b--\r\n";
        let message = of(raw);
        for (place, term) in [
            (Place::Anywhere, "Andr\u{e9}"),
            (Place::From, "andr\u{e9}"),
            (Place::From, "ann@x.org"),
            (Place::To, "bo@x.org"),
            (Place::Subject, "\u{39f}\u{394}\u{39f}\u{3a3}"),
            (Place::Anywhere, "\u{3bf}\u{3b4}\u{3bf}\u{3c2}"),
            (Place::Anywhere, "=?utf-8?q?andr"),
            (Place::Anywhere, "GR\u{dc}\u{df}E AUS K\u{d6}LN"),
            (Place::Anywhere, "b\u{ef}ld.png"),
            (Place::Anywhere, "<b>k"),
            (Place::Anywhere, "ab"),
        ] {
            assert!(may_have(&message, place, term), "{place:?} {term}");
        }
        for (place, term) in [
            (Place::Anywhere, "hidden"),
            (Place::From, "bo@x.org"),
            (Place::To, "ann@x.org"),
            (Place::Subject, "andr\u{e9}"),
            (Place::From, "aus"),
        ] {
            assert!(!may_have(&message, place, term), "{place:?} {term}");
        }
        assert!(message.0.contains(&ATTACHMENT) && !of(b"Subject: x\r\n\r\nx\r\n").0.contains(&ATTACHMENT));
    }

    #[test]
    fn a_long_search_has_a_limited_number_of_trigrams_of_each_of_its_terms() {
        let long: String = ('a'..='z').cycle().take(500).chain("0123456789".chars()).collect();
        let terms: Vec<String> = (0..30).map(|n| format!("{n}{long}")).collect();
        let wanted = Grams::of_terms(terms.iter().map(|term| (Place::Anywhere, term.as_str())), true);
        assert!((20..=2 * WANTED).contains(&wanted.len()), "{}", wanted.len());
        let short = Grams::of_terms([(Place::From, "ab"), (Place::Anywhere, "")], false);
        assert!(short.is_empty());
    }

    #[test]
    fn a_message_with_too_many_trigrams_has_none() {
        let text: String = (0..DISTINCT as u32 + 10).filter_map(|n| char::from_u32(0x2_0000 + n)).collect();
        let body = format!("{text}\r\n");
        let header = b"Content-Type: text/plain; charset=utf-8\r\n\r\n";
        assert_eq!(Grams::of_message(header, body.as_bytes(), &ReadLimits::default()), None);
        // Repetition counts once.
        let body = "never the same, ".repeat(100_000);
        assert!(Grams::of_message(header, body.as_bytes(), &ReadLimits::default()).unwrap().len() < 200);
    }
}
