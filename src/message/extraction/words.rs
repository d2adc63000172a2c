//! The words that the rules look for, from `words.txt`: by purpose and language. Phrases are in lower case, and
//! match whole words only, but in scripts that have no spaces between words.

use crate::message::octets_read;
use aho_corasick::AhoCorasick;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

/// The phrases of one purpose in all languages.
#[derive(Debug)]
pub(super) struct Phrases {
    all: Vec<Phrase>,
    /// Finds all of them in one pass.
    finder: Option<AhoCorasick>,
}

#[derive(Debug)]
struct Phrase {
    text: &'static str,
    /// It may be the end of a longer word: `*code`.
    is_open_before: bool,
    /// It may be the start of a longer word: `bestätig*`.
    is_open_after: bool,
}

static TABLES: LazyLock<HashMap<&'static str, Phrases>> = LazyLock::new(|| read(include_str!("words.txt")));

fn read(source: &'static str) -> HashMap<&'static str, Phrases> {
    let mut tables: HashMap<&'static str, Vec<Phrase>> = HashMap::new();
    let mut purpose = "";
    for line in source.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            purpose = name;
        } else if let Some((_, phrases)) = line.split_once(": ") {
            let phrases = phrases.split(", ").map(str::trim).filter(|phrase| !phrase.is_empty()).map(Phrase::of);
            tables.entry(purpose).or_default().extend(phrases);
        }
    }
    tables.into_iter().map(|(purpose, all)| (purpose, Phrases::of(all))).collect()
}

/// The phrases of a purpose; none where `words.txt` has no such section.
pub(super) fn phrases(purpose: &str) -> &'static Phrases {
    static NONE: Phrases = Phrases { all: Vec::new(), finder: None };
    TABLES.get(purpose).unwrap_or(&NONE)
}

impl Phrase {
    fn of(text: &'static str) -> Self {
        let inner = text.strip_prefix('*').unwrap_or(text);
        let is_open_before = inner.len() < text.len();
        let text = inner.strip_suffix('*').unwrap_or(inner);
        Self { text, is_open_before, is_open_after: text.len() < inner.len() }
    }

    /// The phrase, which is there in the text, is not a part of a longer word.
    fn is_whole(&self, lower: &str, Range { start, end }: Range<usize>) -> bool {
        let before = lower.get(..start).and_then(|text| text.chars().next_back());
        let after = lower.get(end..).and_then(|text| text.chars().next());
        (self.is_open_before || !joins(before, self.text.chars().next()))
            && (self.is_open_after || !joins(self.text.chars().next_back(), after))
    }
}

/// Both are letters or digits of one word.
fn joins(left: Option<char>, right: Option<char>) -> bool {
    let is_spaced = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() && !is_unspaced(c));
    is_spaced(left) && is_spaced(right)
}

/// Letters of scripts that do not separate words by spaces, or append particles to them.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{e7f}' | '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}')
}

impl Phrases {
    #[expect(clippy::expect_used, reason = "the phrases are those of `words.txt`, which tests read")]
    fn of(all: Vec<Phrase>) -> Self {
        let finder = AhoCorasick::new(all.iter().map(|phrase| phrase.text)).expect("phrases of words.txt");
        Self { all, finder: Some(finder) }
    }

    /// Where phrases are in a text in lower case, each with its number.
    fn found<'a>(&'a self, lower: &'a str) -> impl Iterator<Item = (usize, Range<usize>)> {
        let found = self.finder.iter().flat_map(move |finder| finder.find_overlapping_iter(lower));
        found.filter_map(move |found| {
            let (number, range) = (found.pattern().as_usize(), found.range());
            self.all.get(number)?.is_whole(lower, range.clone()).then_some((number, range))
        })
    }

    /// Some phrase is in a text in lower case.
    pub fn are_in(&self, lower: &str) -> bool {
        self.found(lower).next().is_some()
    }

    /// Some phrase begins a text in lower case; where it ends.
    pub fn begin(&self, lower: &str) -> Option<usize> {
        let begins = self.all.iter().filter(|phrase| lower.starts_with(phrase.text));
        let whole = begins.filter(|phrase| phrase.is_whole(lower, 0..phrase.text.len()));
        whole.map(|phrase| phrase.text.len()).max()
    }

    /// Some phrase ends a text in lower case; where it starts.
    pub fn end(&self, lower: &str) -> Option<usize> {
        let ends = self.all.iter().filter(|phrase| lower.ends_with(phrase.text));
        let starts = ends.map(|phrase| (phrase, lower.len() - phrase.text.len()));
        starts.filter(|(phrase, start)| phrase.is_whole(lower, *start..lower.len())).map(|(_, start)| start).min()
    }

    /// Where phrases are in a text in lower case, by start; at most `limit` of each.
    pub fn all(&self, lower: &str, limit: usize) -> Vec<Range<usize>> {
        let (mut found, mut counts) = (Vec::new(), HashMap::<usize, usize>::new());
        for (number, range) in self.found(lower) {
            let count = counts.entry(number).or_default();
            *count += 1;
            if *count <= limit {
                found.push(range);
            }
        }
        found.sort_by_key(|range| (range.start, range.end));
        found
    }

    /// A text is one of the phrases.
    pub fn has(&self, lower: &str) -> bool {
        self.all.iter().any(|phrase| phrase.text == lower)
    }
}

/// A text in lower case with every character where it was: what would change its length stays.
pub(super) fn lower_in_place(text: &str) -> String {
    octets_read::count(text.len());
    let same = |c: char| {
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(lower), None) if lower.len_utf8() == c.len_utf8() => lower,
            _ => c,
        }
    };
    text.chars().map(same).collect()
}
