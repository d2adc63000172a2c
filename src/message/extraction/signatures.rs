//! Finds what is below the writer's words: signatures, lines of devices, disclaimers, footers of lists.

use super::introductions::{is_field, is_rule};
use super::lines::{Line, Mark};
use super::reply::Reply;
use super::words::{lower_in_place, phrases};

/// Lines of a signature below its delimiter.
const BELOW_DELIMITER: usize = 15;
/// Lines of devices, disclaimers and blocks that follow one another.
const ROUNDS: usize = 8;
/// Lines of a disclaimer.
const DISCLAIMER: usize = 40;
/// Lines of a block below the writer's name.
const BLOCK: usize = 14;
/// Octets of a line of a block.
const LONGEST: usize = 160;

/// Where the writer's words end before `end`; `end` itself where they do not, or where none would be left.
pub(super) fn end(lines: &[Line], end: usize, reply: &Reply<'_>) -> usize {
    let mut at = end;
    for _ in 0..ROUNDS {
        let before = at;
        at = without_blank(lines, at);
        for rule in [marked, delimited, footer, device, disclaimer] {
            at = without_blank(lines, rule(lines, at, reply));
        }
        at = without_blank(lines, block(lines, at, reply));
        if at == before {
            break;
        }
    }
    let has_own = lines.get(..at).unwrap_or_default().iter().any(|line| !line.is_quoted() && !line.is_blank());
    if has_own { at } else { end }
}

fn without_blank(lines: &[Line], end: usize) -> usize {
    lines.get(..end).unwrap_or_default().iter().rposition(|line| !line.is_blank()).map_or(end, |at| at + 1)
}

/// What the program marks as one.
fn marked(lines: &[Line], end: usize, _: &Reply<'_>) -> usize {
    let kept = lines.get(..end).unwrap_or_default();
    let is_marked = |line: &Line| line.mark == Mark::Signature;
    kept.iter().rposition(|line| !is_marked(line) && !line.is_blank()).map_or(end, |at| at + 1)
}

/// What follows `-- `, but a postscript. Below two dashes alone, and below an empty line after a signature, a sentence may be the
/// writer's own: then nothing is cut.
fn delimited(lines: &[Line], end: usize, reply: &Reply<'_>) -> usize {
    let from = end.saturating_sub(BELOW_DELIMITER + 1);
    let window = lines.get(from..end).unwrap_or_default();
    let is_delimiter = |line: &Line| !line.is_quoted() && matches!(line.text.as_str(), "-- " | "--");
    let Some(at) = window.iter().rposition(is_delimiter).map(|at| from + at) else { return end };
    let below = lines.get(at + 1..end).unwrap_or_default();
    // RFC 3676 §4.3; most have four lines.
    let has_text = below.iter().filter(|line| !line.is_blank()).count() > 8;
    if has_text
        || below
            .iter()
            .any(|line| line.is_quoted() || phrases("postscript").begin(&lower_in_place(&line.text)).is_some())
    {
        return end;
    }
    let is_exact = lines.get(at).is_some_and(|line| line.text == "-- ");
    let start = below.iter().position(|line| !line.is_blank()).unwrap_or(below.len());
    let entries = below.get(start..).unwrap_or_default();
    let signature = if is_exact { entries.iter().position(Line::is_blank).unwrap_or(entries.len()) } else { 0 };
    let of_list = |text: &str| phrases("list-footer").are_in(&lower_in_place(head(text)));
    let is_said = |line: &Line| is_sentence(line.text.trim()) && !of_list(&line.text);
    if entries.get(signature..).unwrap_or_default().iter().any(is_said) {
        return end;
    }
    let first = entries.first();
    let is_name = first.is_some_and(|line| is_author(&line.text, reply.author) || is_device(&line.text));
    if is_exact || is_name || below.iter().any(|line| has_contact(&line.text)) { at } else { end }
}

/// The footer of a list, below a rule.
fn footer(lines: &[Line], end: usize, _: &Reply<'_>) -> usize {
    let from = end.saturating_sub(BELOW_DELIMITER);
    let window = lines.get(from..end).unwrap_or_default();
    let Some(at) = window.iter().rposition(|line| !line.is_quoted() && is_rule(&line.text)) else { return end };
    let below = window.get(at + 1..).unwrap_or_default();
    let is_footer = below.iter().any(|line| phrases("list-footer").are_in(&lower_in_place(head(&line.text))))
        && below.iter().any(|line| line.text.contains('@') || line.text.contains("://"));
    if is_footer && below.iter().all(|line| line.text.len() < 400) { from + at } else { end }
}

/// "Sent from my iPhone", as the last paragraph.
fn device(lines: &[Line], end: usize, _: &Reply<'_>) -> usize {
    let kept = lines.get(..end).unwrap_or_default();
    let Some((last, above)) = kept.split_last() else { return end };
    let is_alone = above.last().is_none_or(|line| line.is_blank() || line.mark != last.mark || line.is_quoted());
    if !last.is_quoted() && is_alone && is_device(&last.text) { end - 1 } else { end }
}

fn is_device(text: &str) -> bool {
    let text = text.trim().trim_matches(['_', '*', ' ']);
    if text.chars().count() > 120 {
        return false;
    }
    let lower = lower_in_place(text);
    let lower = lower.split(['<', '(']).next().unwrap_or_default().trim_end_matches(['.', ' ', '。', '!']);
    let (starts, ends) = (phrases("device").begin(lower).is_some(), phrases("device-end").end(lower).is_some());
    // Either says that it was sent; what sent it is there.
    let is_sent = starts || ends;
    is_sent && phrases("product").are_in(lower) && lower.split_whitespace().count() <= 14
}

/// A disclaimer, from the line that it opens to the end.
fn disclaimer(lines: &[Line], end: usize, _: &Reply<'_>) -> usize {
    let kept = lines.get(..end).unwrap_or_default();
    let blank = kept.iter().rposition(Line::is_blank).map_or(0, |at| at + 1);
    let start = blank.max(kept.len().saturating_sub(DISCLAIMER));
    let opens = |line: &Line| !line.is_quoted() && phrases("disclaimer").are_in(&lower_in_place(head(&line.text)));
    let paragraph = kept.get(start..).unwrap_or_default();
    paragraph.iter().position(opens).map_or(end, |at| start + at)
}

fn head(text: &str) -> &str {
    text.get(..text.floor_char_boundary(2000)).unwrap_or_default()
}

/// The block of title, firm, address and telephone below the writer's name.
fn block(lines: &[Line], end: usize, reply: &Reply<'_>) -> usize {
    let from = end.saturating_sub(BLOCK + 4);
    let window = lines.get(from..end).unwrap_or_default();
    // The last closing formula, and the name below it or behind it.
    let closing = window.iter().rposition(|line| !line.is_quoted() && is_closing(&line.text).is_some());
    if let Some(at) = closing {
        let has_name = window.get(at).and_then(|line| is_closing(&line.text)).unwrap_or(false);
        let below = window.get(at + 1..).unwrap_or_default();
        let name = if has_name { None } else { below.iter().position(|line| !line.is_blank()) };
        let named = window.get(at + 1 + name.unwrap_or(0)).filter(|_| !has_name);
        if named.is_some_and(|line| !is_name(&line.text)) {
            return end;
        }
        // A notification may thank first, and list numbers below.
        let is_known = reply.is_reply || named.is_some_and(|line| is_author(&line.text, reply.author));
        let has_words =
            lines.get(..from + at).unwrap_or_default().iter().any(|line| !line.is_blank() && !line.is_quoted());
        if !is_known || !has_words {
            return end;
        }
        let block_at = at + 1 + name.map_or(0, |name| name + 1);
        return if is_block(window.get(block_at..).unwrap_or_default()) { from + block_at } else { end };
    }
    // Without a formula: the last paragraphs, if they begin with the writer's name.
    let named = window.iter().rposition(|line| !line.is_quoted() && is_author(&line.text, reply.author));
    let Some(at) = named.filter(|at| *at == 0 || window.get(at - 1).is_some_and(Line::is_blank)) else { return end };
    if is_block(window.get(at + 1..).unwrap_or_default()) { from + at } else { end }
}

/// `Some` for a closing formula: whether a name follows on the same line.
fn is_closing(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.chars().count() > 60 || text.ends_with([':', '：', '?']) {
        return None;
    }
    let lower = lower_in_place(text);
    let end = phrases("closing").begin(&lower)?;
    let rest =
        lower.get(end..).unwrap_or_default().trim_matches([',', '.', '!', ' ', '，', '。', '！', ';', '-', '–', '/']);
    let words = rest.split_whitespace().count();
    // "Thanks for the boxes" is a sentence.
    let is_name = |word: &str| word.chars().next().is_some_and(char::is_uppercase);
    let written = text.get(text.len() - text.trim_start().len() + end..).unwrap_or_default();
    let rest_is_name =
        written.split_whitespace().map(|word| word.trim_matches([',', '.'])).filter(|w| !w.is_empty()).all(is_name);
    match words {
        0 => Some(false),
        1..=3 if rest_is_name => Some(true),
        // "aus Berlin", "from Cork"
        _ => None,
    }
}

fn is_author(text: &str, author: Option<&str>) -> bool {
    author.is_some_and(|author| {
        let name = |text: &str| text.trim().trim_matches(['*', '_', ',', ' ']).to_lowercase();
        author.trim().contains(' ') && name(text) == name(author)
    })
}

/// A few words without digits that are no sentence.
fn is_name(text: &str) -> bool {
    let text = text.trim();
    let starts = text.trim_start_matches(['*', '_', '/', '-', ' ']).chars().next().is_some_and(|c| !c.is_lowercase());
    starts
        && text.split_whitespace().count() <= 5
        && !text.ends_with([':', '：', '?', '!', ',', ';', '…'])
        && !(text.ends_with('.') && text.split_whitespace().count() > 2)
        && !text.chars().any(|c| c.is_ascii_digit() || matches!(c, '@' | '/' | '(' | '"'))
}

/// Short lines without a sentence, one of them with an address, a telephone number or a firm.
fn is_block(lines: &[Line]) -> bool {
    let lines: Vec<_> = lines.iter().filter(|line| !line.is_blank()).collect();
    if lines.is_empty() || lines.len() > BLOCK {
        return false;
    }
    let is_entry = |line: &&Line| {
        let text = line.text.trim();
        !line.is_quoted()
            && !is_field(text)
            && text.len() <= LONGEST
            && !is_sentence(text)
            && phrases("postscript").begin(&lower_in_place(text)).is_none()
    };
    lines.iter().all(is_entry) && lines.iter().any(|line| has_contact(&line.text))
}

/// A line that says something to its reader.
fn is_sentence(text: &str) -> bool {
    let (words, lower) = (text.split_whitespace().count(), lower_in_place(head(text)));
    let is_list = text.contains(['|', '·', '•']) || phrases("organisation").are_in(&lower);
    text.ends_with(['?', '!', '？', '！', '…', '。'])
        || (!is_list && (words > 10 || (words > 3 && text.ends_with(['.', ':', ',']))))
        || words > 24
        || phrases("pronoun").are_in(&lower)
}

/// A telephone number, an address, a home page or a firm.
fn has_contact(text: &str) -> bool {
    let lower = lower_in_place(head(text));
    let has_page = ["www.", "http://", "https://"].iter().any(|start| lower.contains(start));
    let has_address =
        lower.contains('@') && lower.split_whitespace().any(|word| word.contains('@') && word.contains('.'));
    let digits = lower.bytes().filter(u8::is_ascii_digit).count();
    let is_numeric = |c: char| c.is_ascii_digit() || " +-/().".contains(c);
    let mostly_numbers = lower.chars().filter(|c| is_numeric(*c)).count() * 2 > lower.chars().count();
    let has_phone =
        digits >= 6 && (phrases("phone").begin(lower.trim()).is_some() || mostly_numbers || lower.contains('+'));
    has_page || has_address || has_phone || phrases("organisation").are_in(&lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> usize {
        let lines: Vec<Line> = text.lines().map(|text| Line { text: text.to_owned(), ..Line::default() }).collect();
        end(&lines, lines.len(), &Reply { is_reply: true, is_forward: false, author: Some("Ann Lee") })
    }

    #[test]
    fn a_sentence_below_a_delimiter_is_left() {
        for (text, lines) in [
            ("Yes.\n-- \nAnn Lee\nLee Ltd, +353 21 555 0100", 1),
            ("Yes.\n-- \nAnn Lee\nThe best way out is always through.", 1),
            ("Yes.\n--\nAnn Lee\nann@example.org", 1),
            ("Yes.\n--\nThe second point is the price, see https://a.example/ for it.", 3),
            ("Yes.\n--\nAnn Lee\n+353 21 555 0100\n\nCould you bring the keys?", 6),
            ("Yes.\n-- \nAnn Lee\n+353 21 555 0100\n\nThe keys are in the blue box under the stairs.", 6),
            ("Yes.\n-- \n\nAnn Lee\n\nLee Ltd\nwww.lee.example", 1),
        ] {
            assert_eq!(kept(text), lines, "{text}");
        }
    }
}
