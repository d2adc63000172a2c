//! Finds one-time codes: strings of the right shape beside words that say so. What has the shape alone is no code.

use super::candidates::{Candidate, Shape, candidates, is_invisible};
use super::lines::Line;
use super::words::{lower_in_place, phrases};
use serde::Serialize;
use std::ops::Range;

/// Codes of a message.
pub(super) const LIMIT: usize = 20;
/// Lines and octets that are looked at, and octets of a line.
const LINES: usize = 300;
const READ: usize = 16 * 1024;
const LONGEST: usize = 4000;
/// Strings of the right shape in a line.
const CANDIDATES: usize = 50;
/// Octets between a code and the word for it.
const APART: usize = 90;
/// Octets of the words around a code.
const CONTEXT: usize = 200;
/// Words for codes in a line.
const WORDS: usize = 8;

/// A one-time code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = OneTimeCode)]
pub(crate) struct Code {
    /// As typed, without white space.
    pub code: String,
    /// The words around it.
    pub context: String,
}

/// A word for a code.
#[derive(Clone, Debug)]
struct Word {
    range: Range<usize>,
    is_strong: bool,
}

/// A line in lower case with its words for codes.
struct Text<'a> {
    line: &'a str,
    lower: String,
    words: Vec<Word>,
}

/// What the whole message is about.
#[derive(Clone, Copy)]
struct Topic {
    /// A bare word for a code does not suffice.
    needs_strong: bool,
}

/// The codes in the subject and the lines that were kept.
pub(super) fn find(subject: &str, lines: &[&Line]) -> Vec<Code> {
    let mut left = READ;
    let shown = lines.iter().filter(|line| !line.is_blank() && !line.is_quoted()).take(LINES).take_while(|line| {
        let fits = left > 0;
        left = left.saturating_sub(line.text.len().min(LONGEST) + 1);
        fits
    });
    let texts: Vec<String> = std::iter::once(visible(subject)).chain(shown.map(|line| visible(&line.text))).collect();
    // Most messages speak of no code.
    let whole = lower_in_place(&texts.join("\n"));
    if !["code-strong", "code", "digits", "purpose"].iter().any(|purpose| phrases(purpose).are_in(&whole)) {
        return Vec::new();
    }
    let texts: Vec<Text<'_>> = texts.iter().map(|text| Text::of(text)).collect();
    if texts.iter().any(|text| phrases("meeting").are_in(&text.lower)) {
        return Vec::new();
    }
    let topic = Topic { needs_strong: texts.iter().any(|text| phrases("coupon").are_in(&text.lower)) };
    let mut found: Vec<Code> = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        // The subject is not above the first line.
        let above = texts.get(1..at).unwrap_or_default();
        let below = if at == 0 { None } else { texts.get(at + 1) };
        for code in text.codes(above, below, topic) {
            if !found.iter().any(|other| other.code == code.code) && found.len() < LIMIT {
                found.push(code);
            }
        }
    }
    if found.is_empty() {
        found.extend(in_subject(&texts, topic));
    }
    found
}

/// The code in the subject, where a line says that it is there.
fn in_subject(texts: &[Text<'_>], topic: Topic) -> Option<Code> {
    let (subject, lines) = texts.split_first()?;
    let says = |line: &Text<'_>| line.has_word(topic) && phrases("in-subject").are_in(&line.lower);
    if !lines.iter().any(says) {
        return None;
    }
    let mut fit = candidates(subject.line)
        .into_iter()
        .filter(|candidate| matches!(candidate.shape, Shape::Digits | Shape::Mixed) && !subject.is_other(candidate));
    let only = fit.next().filter(|_| fit.next().is_none())?;
    Some(Code { context: subject.context(&only, &[]), code: only.code })
}

fn visible(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default().chars().filter(|c| !is_invisible(*c)).collect()
}

impl<'a> Text<'a> {
    fn of(line: &'a str) -> Self {
        let lower = lower_in_place(line);
        let others = phrases("no-code").all(&lower, WORDS);
        let is_other =
            |range: &Range<usize>| others.iter().any(|other| other.start <= range.start && range.end <= other.end);
        let mut words: Vec<Word> = Vec::new();
        for (purpose, is_strong) in [("code-strong", true), ("code", false)] {
            let found = phrases(purpose).all(&lower, WORDS).into_iter().filter(|range| !is_other(range));
            words.extend(found.map(|range| Word { range, is_strong }));
        }
        let inside = |word: &Word| {
            words.iter().any(|other| other.is_strong && !word.is_strong && contains(&other.range, &word.range))
        };
        let words = words.iter().filter(|word| !inside(word)).cloned().collect();
        Self { line, lower, words }
    }

    fn has_word(&self, topic: Topic) -> bool {
        self.words.iter().any(|word| word.is_strong || !topic.needs_strong)
            || (!topic.needs_strong && phrases("digits").are_in(&self.lower))
    }

    fn has_strong_word(&self) -> bool {
        self.words.iter().any(|word| word.is_strong)
    }

    fn codes(&self, above: &[Text<'_>], below: Option<&Text<'_>>, topic: Topic) -> Vec<Code> {
        let candidates = candidates(self.line);
        let mut codes = Vec::new();
        for candidate in candidates.iter().take(CANDIDATES) {
            let is_code = self.is_alone(candidate) && self.is_announced(candidate, above, below, topic)
                || self.is_named(candidate, topic)
                || self.is_called(candidate, &candidates, topic)
                || self.is_to_type_in(candidate);
            if is_code && !self.is_not_now(candidate) {
                codes.push(Code { code: candidate.code.clone(), context: self.context(candidate, above) });
            }
        }
        codes
    }

    /// Nothing else is in the line.
    fn is_alone(&self, candidate: &Candidate) -> bool {
        let around = [self.line.get(..candidate.range.start), self.line.get(candidate.range.end..)];
        around.into_iter().flatten().all(|text| !text.chars().any(char::is_alphanumeric))
    }

    /// A line of its own below one that speaks of a code.
    fn is_announced(&self, candidate: &Candidate, above: &[Text<'_>], below: Option<&Text<'_>>, topic: Topic) -> bool {
        let Some(last) = above.last() else {
            return below.is_some_and(|below| self.is_repeated(candidate, below, topic));
        };
        let opens = last.line.trim_end().ends_with([':', '：']);
        let earlier = above.iter().rev().nth(1).is_some_and(|text| text.has_word(topic));
        let speaks = last.has_word(topic);
        let is_plain = match candidate.shape {
            Shape::Digits | Shape::Mixed => speaks || (opens && earlier && !topic.needs_strong),
            Shape::Year => speaks && opens,
            Shape::Letters | Shape::Words => last.words.iter().any(|word| word.is_strong) && opens,
        };
        // The word is further above, or follows.
        let near = above.iter().rev().take(3).any(Text::has_strong_word) || below.is_some_and(Text::has_strong_word);
        let is_plain = is_plain || near && matches!(candidate.shape, Shape::Digits | Shape::Mixed);
        let other = last.ends_in_other_number();
        (is_plain && !other && !last.is_negative())
            || below.is_some_and(|below| self.is_repeated(candidate, below, topic))
    }

    /// The line below says that it is a code.
    fn is_repeated(&self, candidate: &Candidate, below: &Text<'_>, topic: Topic) -> bool {
        below.has_word(topic) && below.line.contains(&candidate.code)
    }

    /// The word above a number alone says that it is another.
    fn ends_in_other_number(&self) -> bool {
        let lower = self.lower.trim_end_matches([':', '：', ' ', '.']);
        phrases("number").end(lower).is_some()
    }

    fn is_negative(&self) -> bool {
        phrases("not-now").are_in(&self.lower)
    }

    /// `code: 123456`, `your code to sign in is 123456`, `code 123456`.
    fn is_named(&self, candidate: &Candidate, topic: Topic) -> bool {
        let Some(word) = self.words.iter().rev().find(|word| word.range.end <= candidate.range.start) else {
            return false;
        };
        if topic.needs_strong && !word.is_strong {
            return false;
        }
        let Some(between) = self.lower.get(word.range.end..candidate.range.start) else { return false };
        if between.len() > APART || ends_sentence(between) {
            return false;
        }
        let tight = between.trim_matches(|c: char| c.is_whitespace() || QUOTES.contains(c));
        let is_linked = tight.is_empty()
            || tight.ends_with([':', '：', '=', '–', '—', '-', '='])
            || phrases("is").end(tight).is_some() && !tight.chars().any(|c| c.is_ascii_digit());
        let is_other = phrases("number").end(tight.trim_end_matches([':', '：', ' '])).is_some();
        let is_counted = phrases("unit").begin(self.after(candidate)).is_some();
        let fits = match candidate.shape {
            Shape::Digits | Shape::Mixed => true,
            Shape::Year => !tight.is_empty() || word.is_strong,
            Shape::Letters => word.is_strong && !self.is_shouted() && !is_heading(tight),
            Shape::Words => false,
        };
        is_linked && fits && !is_other && !is_counted
    }

    /// `123456 is your code`.
    fn is_called(&self, candidate: &Candidate, candidates: &[Candidate], topic: Topic) -> bool {
        if matches!(candidate.shape, Shape::Letters | Shape::Words | Shape::Year) || self.is_other(candidate) {
            return false;
        }
        let Some(word) = self.words.iter().find(|word| word.range.start >= candidate.range.end) else { return false };
        if topic.needs_strong && !word.is_strong {
            return false;
        }
        let Some(between) = self.lower.get(candidate.range.end..word.range.start) else { return false };
        if between.len() > APART || ends_sentence(between) || between.bytes().any(|octet| octet.is_ascii_digit()) {
            return false;
        }
        // `Order 8812 - code: 4432`
        let names_another = candidates.iter().any(|other| other.range.start >= word.range.end) && self.opens(word);
        let tight = between.trim_start_matches(|c: char| c.is_whitespace() || QUOTES.contains(c));
        let is_next = tight.trim().is_empty() && !between.contains([',', ';']);
        (phrases("is").begin(tight).is_some() || is_next) && !names_another
    }

    /// A colon follows the word.
    fn opens(&self, word: &Word) -> bool {
        self.lower.get(word.range.end..).unwrap_or_default().trim_start().starts_with([':', '：'])
    }

    /// `Use 123456 to sign in`.
    fn is_to_type_in(&self, candidate: &Candidate) -> bool {
        let before = self.lower.get(..candidate.range.start).unwrap_or_default();
        let before = before.trim_end_matches(|c: char| c.is_whitespace() || QUOTES.contains(c));
        let fits = matches!(candidate.shape, Shape::Digits | Shape::Mixed);
        let asks = phrases("enter").end(before).is_some();
        let after = self.after(candidate);
        let purpose = phrases("purpose").begin(after).is_some();
        fits && asks && purpose
    }

    /// What follows a candidate, in lower case.
    fn after(&self, candidate: &Candidate) -> &str {
        let after = self.lower.get(candidate.range.end..).unwrap_or_default();
        after.trim_start_matches(|c: char| c.is_whitespace() || QUOTES.contains(c))
    }

    /// A word before it says that it is a number of another kind.
    fn is_other(&self, candidate: &Candidate) -> bool {
        let before = self.lower.get(..candidate.range.start).unwrap_or_default();
        let before = before.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '：' | '#' | '"'));
        ["number", "preposition"].iter().any(|purpose| phrases(purpose).end(before).is_some())
    }

    /// The sentence says that it is an example, or works no more.
    fn is_not_now(&self, candidate: &Candidate) -> bool {
        let sentence = self.sentence(candidate);
        phrases("not-now").are_in(self.lower.get(sentence).unwrap_or_default())
    }

    fn sentence(&self, candidate: &Candidate) -> Range<usize> {
        let before = self.lower.get(..candidate.range.start).unwrap_or_default();
        let start = [". ", "! ", "? ", "。", "！", "？"].iter().filter_map(|end| before.rfind(end)).max().unwrap_or(0);
        let after = self.lower.get(candidate.range.end..).unwrap_or_default();
        let ends = [". ", "! ", "? ", "。", "！", "？"].iter().filter_map(|end| after.find(end));
        let end = ends.min().map_or(self.lower.len(), |end| candidate.range.end + end);
        start..end
    }

    /// Most letters are capitals: capitals are no code.
    fn is_shouted(&self) -> bool {
        let upper = self.line.chars().filter(|c| c.is_uppercase()).count();
        let lower = self.line.chars().filter(|c| c.is_lowercase()).count();
        upper > lower
    }

    /// The words around a code: the line, with the one above where it is alone.
    fn context(&self, candidate: &Candidate, above: &[Text<'_>]) -> String {
        let announced = above.last().filter(|_| self.is_alone(candidate));
        let whole = match announced {
            Some(last) => format!("{} {}", last.line.trim(), self.line.trim()),
            None => {
                let start = candidate.range.start.saturating_sub(CONTEXT / 2);
                let start = self.line.ceil_char_boundary(start);
                self.line.get(start..).unwrap_or_default().trim().to_owned()
            }
        };
        let from = whole.ceil_char_boundary(whole.len().saturating_sub(CONTEXT));
        let part =
            if announced.is_some() { whole.get(from..) } else { whole.get(..whole.floor_char_boundary(CONTEXT)) };
        part.unwrap_or_default().trim().to_owned()
    }
}

const QUOTES: &str = "\"'“”„«»‘’「」『』*_()[]【】（）《》<>";

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn ends_sentence(text: &str) -> bool {
    [". ", "! ", "? ", "。", "！", "？"].iter().any(|end| text.contains(end))
}

/// A colon after several words: what follows in capitals may be a heading.
fn is_heading(tight: &str) -> bool {
    tight.split_whitespace().count() > 4
}
