//! Characters that are not shown, and those that turn the text around. UTS #51 (tags of flags), UAX #9 (overrides).
//!
//! Invariant: one or a few such characters are part of many texts: joiners of scripts and emoji, soft hyphens, a flag's tags, one variation
//! selector after a character. They count in a row that no text has.

use super::found::{Findings, HiddenText, Kind, Place, Reason};
use super::invisible::{is_selector, is_space, is_tag, is_zero_width};

/// Invisible characters in a row.
const ZERO_WIDTHS: usize = 8;
const SELECTORS: usize = 3;
/// Tags of a flag, at most, with the one that ends them.
const FLAG: usize = 8;
const BLACK_FLAG: char = '\u{1f3f4}';
/// Characters of a row that are kept to look at.
const KEPT: usize = 512;
/// The longest pattern that is looked for in one.
const PERIOD: usize = 12;

/// The octet that a variation selector encodes.
fn octet(c: char) -> Option<u8> {
    let code = u32::from(c);
    let value = if code < 0x1_0000 { code.checked_sub(0xfe00) } else { code.checked_sub(0xe0100)?.checked_add(16) };
    value.and_then(|value| u8::try_from(value).ok())
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Row {
    #[default]
    None,
    Tags,
    Selectors,
    ZeroWidths,
}

/// Reads a text character by character.
#[derive(Debug)]
pub(in crate::message) struct Characters {
    place: Place,
    row: Row,
    kept: Vec<char>,
    /// Of the row, spaces not counted.
    length: usize,
    /// Before the row.
    before: char,
    last: char,
}

impl Characters {
    pub fn new(place: Place) -> Self {
        Self { place, row: Row::None, kept: Vec::new(), length: 0, before: ' ', last: ' ' }
    }

    /// All of a text.
    pub fn read(place: Place, text: &str, findings: &mut Findings) {
        let mut characters = Self::new(place);
        text.chars().for_each(|c| characters.push(c, findings));
        characters.end(findings);
    }

    pub fn push(&mut self, c: char, findings: &mut Findings) {
        if self.row == Row::None && c.is_ascii() {
            self.last = c;
            return;
        }
        let row = if is_tag(c) {
            Row::Tags
        } else if is_selector(c) {
            Row::Selectors
        } else if is_zero_width(c) || (self.row == Row::ZeroWidths && is_space(c)) {
            Row::ZeroWidths
        } else {
            Row::None
        };
        if row != self.row {
            self.end(findings);
            self.row = row;
            self.before = self.last;
        }
        if row != Row::None {
            self.length += usize::from(!is_space(c));
            if self.kept.len() < KEPT {
                self.kept.push(c);
            }
        }
        if matches!(c, '\u{202d}' | '\u{202e}') {
            self.add(Kind::Characters, Reason::BidiOverride, 1, "", findings);
        }
        self.last = c;
    }

    /// Ends the row.
    pub fn end(&mut self, findings: &mut Findings) {
        let (kept, length) = (std::mem::take(&mut self.kept), std::mem::take(&mut self.length));
        match std::mem::take(&mut self.row) {
            Row::None => {}
            Row::Tags if self.before == BLACK_FLAG && length <= FLAG && kept.last() == Some(&'\u{e007f}') => {}
            Row::Tags => {
                let ascii = kept.iter().filter_map(|c| u32::from(*c).checked_sub(0xe0000).and_then(char::from_u32));
                let text: String = ascii.filter(|c| matches!(c, ' '..='~')).collect();
                self.add(Kind::Characters, Reason::TagCharacters, length, &text, findings);
            }
            Row::Selectors if length < SELECTORS => {}
            Row::Selectors => {
                let octets: Vec<u8> = kept.iter().filter_map(|c| octet(*c)).collect();
                self.add(
                    Kind::Characters,
                    Reason::VariationSelectors,
                    length,
                    &String::from_utf8_lossy(&octets),
                    findings,
                );
            }
            Row::ZeroWidths if length < ZERO_WIDTHS => {}
            Row::ZeroWidths => {
                let kind = if is_periodic(&kept) { Kind::Padding } else { Kind::Characters };
                self.add(kind, Reason::ZeroWidth, length, "", findings);
            }
        }
    }

    fn add(&self, kind: Kind, reason: Reason, length: usize, text: &str, findings: &mut Findings) {
        findings.add(HiddenText { kind, reason, place: self.place, text: String::new(), length }, text);
    }
}

/// True if a pattern is repeated, whatever the spaces and line ends in it are.
fn is_periodic(row: &[char]) -> bool {
    let row: Vec<char> = row.iter().map(|c| if is_space(*c) { ' ' } else { *c }).collect();
    let mut spaced = row;
    spaced.dedup_by(|one, other| *one == ' ' && *other == ' ');
    let visible: Vec<char> = spaced.iter().copied().filter(|c| *c != ' ').collect();
    let repeats = |all: &[char]| {
        (1..=PERIOD.min(all.len() / 2))
            .any(|period| all.iter().zip(all.iter().skip(period)).all(|(one, other)| one == other))
    };
    repeats(&spaced) || repeats(&visible)
}

/// A text without tag characters, but for those of flags.
pub(in crate::message) fn without_tags(text: String) -> String {
    if !text.contains(is_tag) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(is_tag) {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let end = from.find(|c| !is_tag(c)).unwrap_or(from.len());
        let (tags, after) = from.split_at_checked(end).unwrap_or((from, ""));
        out.push_str(before);
        if before.ends_with(BLACK_FLAG) && tags.chars().count() <= FLAG && tags.ends_with('\u{e007f}') {
            out.push_str(tags);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
