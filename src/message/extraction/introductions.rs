//! What introduces an older message: "On … wrote:", "-----Original Message-----", a block of "From: … Sent: …".

use super::lines::{Line, Mark};
use super::words::{lower_in_place, phrases};

/// Lines over which a program may break an introductory line.
const BROKEN_OVER: usize = 4;
/// Octets of an introductory line.
const LONGEST: usize = 400;
/// Lines of a header block.
const BLOCK: usize = 14;

/// How sure it is that a text introduces a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Introduction {
    /// Someone wrote something.
    Weak,
    /// And when, or from which address.
    Strong,
    /// Both.
    Sure,
}

/// Whether a text is an introductory line.
pub(super) fn introduction(text: &str) -> Option<Introduction> {
    if text.len() > LONGEST {
        return None;
    }
    let text = text.trim().trim_end_matches(['*', '_', ' ', '\u{a0}']);
    let is_ended = text.ends_with([':', '：']) || (text.starts_with("--") && text.ends_with("--"));
    let (has_address, has_date) = (text.contains('@'), has_date(text));
    // The rest would make no difference.
    if !(is_ended || (has_address && has_date)) || !(has_address || has_date || text.len() < 80) {
        return None;
    }
    let has_verb = phrases("wrote").are_in(&lower_in_place(text));
    match (is_ended, has_verb, has_address, has_date) {
        (true, true, true, true) => Some(Introduction::Sure),
        (true, true, true, false) | (true, true, false, true) | (true, false, true, true) => Some(Introduction::Strong),
        (true, true, false, false) if text.len() < 80 => Some(Introduction::Weak),
        // Some programs leave out the colon.
        (false, true, true, true) => Some(Introduction::Strong),
        _ => None,
    }
}

/// A year, a date in numbers, or a time.
pub(super) fn has_date(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let number = rest.get(at..).unwrap_or_default();
        let count = digits(number);
        let after = number.get(count..).unwrap_or_default();
        if count == 4 && (number.starts_with("19") || number.starts_with("20")) {
            return true;
        }
        let next = after.get(1..).unwrap_or_default();
        if count <= 2 && after.starts_with([':', '.', '/', '-', 'h']) && (1..=2).contains(&digits(next)) {
            return true;
        }
        rest = after;
    }
    false
}

/// The introductory line that ends right above line `at`, in whose place it may be broken over several: where it starts,
/// and how sure it is. One empty line or two may be between.
pub(super) fn above(lines: &[Line], at: usize) -> Option<(usize, Introduction)> {
    let mut end = at;
    while end > 0 && at - end < 2 && lines.get(end - 1).is_some_and(Line::is_blank) {
        end -= 1;
    }
    if lines.get(..end)?.last()?.mark == Mark::Introduction {
        let start = lines.get(..end)?.iter().rposition(|line| line.mark != Mark::Introduction).map_or(0, |at| at + 1);
        return Some((start, Introduction::Sure));
    }
    let mut joined = String::new();
    let mut best: Option<(usize, Introduction)> = None;
    for start in (end.saturating_sub(BROKEN_OVER)..end).rev() {
        let line = lines.get(start)?;
        if line.is_blank() || line.is_quoted() || joined.len() + line.text.len() > LONGEST {
            break;
        }
        joined = if joined.is_empty() { line.text.clone() } else { format!("{} {joined}", line.text) };
        if let Some(found) = introduction(&joined)
            && best.is_none_or(|(_, before)| before < found)
        {
            best = Some((start, found));
        }
        // The date may be on the line above.
        if best.is_some_and(|(_, found)| found == Introduction::Sure) {
            break;
        }
    }
    // What made it no surer does not belong to it.
    best
}

/// The introductory line that starts at line `at`: where the line after it is, and how sure it is.
pub(super) fn below(lines: &[Line], at: usize) -> Option<(usize, Introduction)> {
    if lines.get(at)?.mark == Mark::Introduction {
        let rest = lines.get(at..)?;
        let length = rest.iter().position(|line| line.mark != Mark::Introduction).unwrap_or(rest.len());
        return Some((at + length, Introduction::Sure));
    }
    let mut joined = String::new();
    for end in at..lines.len().min(at + BROKEN_OVER) {
        let line = lines.get(end)?;
        if line.is_blank() || line.is_quoted() || joined.len() + line.text.len() > LONGEST {
            return None;
        }
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(&line.text);
        if joined.trim_end().ends_with([':', '：', '-'])
            && let Some(found) = introduction(&joined)
        {
            return Some((end + 1, found));
        }
    }
    None
}

/// The fields of a header block.
#[derive(Clone, Copy, Debug, Default)]
struct Fields {
    from: bool,
    date: bool,
    to: bool,
    subject: bool,
    /// The value of From is no name: `From: 8 am`.
    from_a_number: bool,
}

impl Fields {
    fn count(self) -> usize {
        [self.from, self.date, self.to, self.subject].into_iter().filter(|has| *has).count()
    }
}

/// True if a header block of an older message starts at line `at`.
pub(super) fn is_header_block(lines: &[Line], at: usize) -> bool {
    let mut fields = Fields::default();
    let mut has_address = false;
    let mut is_dated = false;
    for (number, line) in lines.get(at..).unwrap_or_default().iter().take(BLOCK).enumerate() {
        if line.is_blank() {
            break;
        }
        match field(&line.text, &mut fields) {
            Some(value) => {
                has_address |= value.contains('@');
                is_dated |= has_date(value);
            }
            // Only the first line has to be a field; long lists are broken over several.
            None if number == 0 => return false,
            None => has_address |= line.text.contains('@'),
        }
    }
    fields.from && !fields.from_a_number && fields.count() >= 3 && is_dated && (has_address || fields.subject)
}

/// The value of a line that is a field, which is noted.
fn field<'a>(line: &'a str, fields: &mut Fields) -> Option<&'a str> {
    let line = line.trim().trim_start_matches(['*', '_']);
    let (name, value) = line.split_once([':', '：'])?;
    if name.len() > 40 {
        return None;
    }
    let name = name.trim().trim_end_matches(['*', '_']).trim().to_lowercase();
    let is = |purpose: &str| phrases(purpose).has(&name);
    let (from, date, to, subject) = (is("from"), is("date"), is("to"), is("subject"));
    if !(from || date || to || subject || is("copy")) {
        return None;
    }
    // `De` is From in one language, `A` To in another.
    fields.from |= from;
    fields.from_a_number |= from && value.trim().starts_with(|c: char| c.is_ascii_digit());
    fields.date |= date;
    fields.to |= to && !from;
    fields.subject |= subject;
    Some(value)
}

/// A line is a field of a header block.
pub(super) fn is_field(line: &str) -> bool {
    let mut fields = Fields::default();
    field(line, &mut fields).is_some() && fields.count() > 0
}

/// A line of dashes around the words for an older message.
pub(super) fn is_original(text: &str) -> bool {
    between_dashes(text).is_some_and(|words| phrases("original").are_in(&words))
}

/// The line above a forwarded message.
pub(super) fn is_forwarding(text: &str) -> bool {
    let is_named = |words: &str| phrases("forwarded").are_in(words);
    if between_dashes(text).is_some_and(|words| is_named(&words)) {
        return true;
    }
    let text = text.trim();
    text.len() < 80 && text.ends_with([':', '：']) && is_named(&lower_in_place(text))
}

fn between_dashes(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > 200 {
        return None;
    }
    let inner = text.trim_matches(['-', '_', '=', '*', ' ', '—', '–']);
    let dashes = text.find(inner).filter(|at| *at >= 2)?;
    (dashes >= 2).then(|| lower_in_place(inner))
}

/// A line that only separates.
pub(super) fn is_rule(text: &str) -> bool {
    let text = text.trim();
    text.chars().count() >= 5 && text.chars().all(|c| matches!(c, '_' | '-' | '=' | '—' | '–' | '─' | '*'))
}

/// Asks to write above it.
pub(super) fn is_reply_above(text: &str) -> bool {
    text.len() < 200 && phrases("reply-above").are_in(&lower_in_place(text))
}
