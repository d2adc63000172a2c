//! Strings of a line that have the shape of a one-time code. Invariant: found in one pass over the line.

use super::words::is_unspaced;
use std::ops::Range;

/// Digits of a code.
const DIGITS: std::ops::RangeInclusive<usize> = 4..=10;
/// Letters and digits of a code.
const LETTERS: std::ops::RangeInclusive<usize> = 4..=12;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// As typed: without white space and invisible characters.
    pub code: String,
    /// Where it is in the line.
    pub range: Range<usize>,
    pub shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Digits, maybe with hyphens.
    Digits,
    /// Four digits that may be a year.
    Year,
    /// Letters and digits.
    Mixed,
    /// Capitals.
    Letters,
    /// Words in lower case with hyphens between them.
    Words,
}

/// A run of letters, digits and hyphens.
#[derive(Clone, Debug)]
struct Run {
    range: Range<usize>,
    text: String,
}

/// Characters that are not displayed.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// The candidates of a line, in order. URLs, addresses, dates, times, prices and telephone numbers are none.
pub(super) fn candidates(line: &str) -> Vec<Candidate> {
    let hidden = masked(line);
    let runs = runs(&hidden);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(run) = runs.get(at) {
        let (range, text, taken) =
            joined(&hidden, &runs, at).unwrap_or_else(|| (run.range.clone(), run.text.clone(), 1));
        at += taken;
        let before = hidden.get(..range.start).and_then(|text| text.chars().next_back());
        let mut after = hidden.get(range.end..).unwrap_or_default().chars();
        if let Some(shape) = shape(&text)
            && is_free(before, (after.next(), after.next()))
        {
            found.push(Candidate { code: text, range, shape });
        }
    }
    found
}

/// The line with spaces for what belongs to URLs and addresses.
fn masked(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    for word in line.split_inclusive(char::is_whitespace) {
        let is_url = word.contains("://") || word.starts_with("www.") || word.contains('@');
        if is_url {
            masked.extend(std::iter::repeat_n(' ', word.len()));
        } else {
            masked.push_str(word);
        }
    }
    masked
}

fn is_part(c: char) -> bool {
    (c.is_alphanumeric() && !is_unspaced(c)) || is_wide_digit(c) || is_invisible(c)
}

fn is_wide_digit(c: char) -> bool {
    matches!(c, '０'..='９')
}

fn runs(line: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut chars = line.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if !is_part(c) || is_invisible(c) {
            continue;
        }
        let mut run = Run { range: start..start + c.len_utf8(), text: narrow(c).to_string() };
        let mut before = c;
        while let Some((at, c)) = chars.peek().copied() {
            let next = line.get(at + c.len_utf8()..).and_then(|rest| rest.chars().next());
            let is_hyphen = matches!(c, '-' | '\u{2010}' | '\u{2011}') && is_part(before) && next.is_some_and(is_part);
            if !(is_part(c) || is_hyphen) {
                break;
            }
            if is_hyphen {
                run.text.push('-');
            } else if !is_invisible(c) {
                run.text.push(narrow(c));
            }
            run.range.end = at + c.len_utf8();
            before = c;
            chars.next();
        }
        runs.push(run);
    }
    runs
}

fn narrow(c: char) -> char {
    let digit = u32::from(c).checked_sub(u32::from('０')).filter(|digit| *digit < 10);
    digit.and_then(|digit| char::from_digit(digit, 10)).unwrap_or(c)
}

/// Groups of digits, or single characters, with one space between: the range, the whole, and how many runs it takes.
fn joined(line: &str, runs: &[Run], at: usize) -> Option<(Range<usize>, String, usize)> {
    let first = runs.get(at)?;
    let size = first.text.chars().count();
    let is_spelled = size == 1;
    let is_group = |run: &Run| {
        let length = run.text.chars().count();
        length == size && (is_spelled || run.text.chars().all(|c| c.is_ascii_digit() || c.is_uppercase()))
    };
    // Groups of capitals have a digit in each.
    let has_digit = |run: &Run| is_spelled || run.text.chars().any(|c| c.is_ascii_digit());
    if size > 5 || !is_group(first) || !has_digit(first) {
        return None;
    }
    let mut whole = first.text.clone();
    let mut end = first.range.end;
    let mut taken = 1;
    while let Some(run) = runs.get(at + taken) {
        let between = line.get(end..run.range.start)?;
        // A hyphen of its own between spelled characters belongs to the code.
        let sign = between.trim_matches([' ', '\u{a0}', '\u{202f}', '\u{2009}']);
        let is_next = match sign {
            "" => between.chars().count() == 1 || (is_spelled && between.chars().count() <= 3),
            "-" => is_spelled,
            _ => false,
        };
        if !is_next || !is_group(run) || !has_digit(run) {
            break;
        }
        whole.push_str(sign);
        whole.push_str(&run.text);
        end = run.range.end;
        taken += 1;
    }
    // Words of one letter, and a list of numbers, are no code.
    let fits = if is_spelled {
        taken >= 4 && whole.chars().any(|c| c.is_ascii_digit() || c.is_uppercase())
    } else {
        (2..=3).contains(&taken) && size >= 2
    };
    // More than a code's length: all of it is another number.
    (fits || taken > 1).then_some((first.range.start..end, whole, taken)).filter(|_| fits || !is_spelled)
}

fn shape(text: &str) -> Option<Shape> {
    let alphabetic = text.chars().filter(|c| c.is_alphabetic()).count();
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let hyphens = text.chars().filter(|c| *c == '-').count();
    let has_lower = text.chars().any(char::is_lowercase);
    let has_upper = text.chars().any(char::is_uppercase);
    if text.chars().count() != alphabetic + digits + hyphens {
        return None;
    }
    match (alphabetic, digits) {
        (0, _) if hyphens <= 2 && DIGITS.contains(&digits) => {
            let is_year = digits == 4 && hyphens == 0 && (text.starts_with("19") || text.starts_with("20"));
            Some(if is_year { Shape::Year } else { Shape::Digits })
        }
        (1.., 1..) if LETTERS.contains(&(alphabetic + digits)) && hyphens <= 2 => {
            // `3x2`, `4b`, `10th`, `B2B` are too short; `mp3player` and names with a year have no code's shape.
            let is_code = has_upper && !has_lower || (digits >= 2 && alphabetic + digits >= 5 && hyphens <= 1);
            is_code.then_some(Shape::Mixed)
        }
        (_, 0) if hyphens <= 1 && LETTERS.contains(&alphabetic) && !has_lower && has_upper => Some(Shape::Letters),
        (_, _) if hyphens >= 1 && has_lower && !has_upper && hyphens <= 4 && has_short_words(text) => {
            Some(Shape::Words)
        }
        _ => None,
    }
}

fn has_short_words(text: &str) -> bool {
    text.split('-').all(|word| (2..=12).contains(&word.len()))
}

/// It is not part of a price, a date, a time, a telephone number, a version or a name.
fn is_free(before: Option<char>, after: (Option<char>, Option<char>)) -> bool {
    let is_bound = |c: char| "@#$€£¥₩₽°%&=/\\_+.,'’~§©".contains(c);
    let is_free_before = before.is_none_or(|c| !is_bound(c));
    let is_free_after = match after {
        (Some(c), Some(next)) if ".,:'’".contains(c) => !next.is_alphanumeric() || is_unspaced(next),
        (Some(c), _) if ".,:'’".contains(c) => true,
        (Some('*' | '_'), _) => true,
        (Some(c), _) => !is_bound(c) || "。".contains(c),
        (None, _) => true,
    };
    is_free_before && is_free_after
}
