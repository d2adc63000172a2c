//! Finds what a reply quotes, and keeps the rest.
//!
//! A quote is cut at the end of the message, or at its beginning. Where the writer answers between quotes, where a
//! message is forwarded, and where no text of the writer's own would be left, nothing is cut but a signature.

use super::introductions::{
    self, Introduction, introduction, is_field, is_forwarding, is_header_block, is_original, is_reply_above, is_rule,
};
use super::lines::{Line, Lines, Mark};
use super::reply::Reply;
use super::signatures;
use super::words::{lower_in_place, phrases};
use std::ops::Range;

/// Signatures and quotes that follow one another at the end.
const ROUNDS: usize = 8;

/// The lines that are kept.
pub(super) fn kept<'a>(all: &'a Lines, reply: &Reply<'_>) -> Vec<&'a Line> {
    let lines = all.lines.as_slice();
    let range = if all.is_cut { 0..lines.len() } else { kept_range(lines, reply) };
    lines.get(range).unwrap_or_default().iter().collect()
}

fn kept_range(lines: &[Line], reply: &Reply<'_>) -> Range<usize> {
    let whole = 0..lines.len();
    if reply.is_forward || forwards(lines) {
        return whole;
    }
    let mut end = match divider(lines, reply) {
        Some(at) if is_own(lines, 0..at) => {
            if may_have_answers(lines, at, reply) {
                return whole;
            }
            at
        }
        // The older message is all that there is, or the answers are in it.
        Some(_) => return whole,
        None => lines.len(),
    };
    for _ in 0..ROUNDS {
        let before = end;
        end = signatures::end(lines, end, reply);
        end = without_last_quote(lines, end, reply);
        if end == before {
            break;
        }
    }
    let start = without_first_quote(lines, end, reply);
    start..end
}

/// True if there is text of the writer's own.
fn is_own(lines: &[Line], range: Range<usize>) -> bool {
    let has_text = |line: &Line| line.text.chars().any(|c| c.is_alphanumeric() || !(c.is_ascii() || c.is_whitespace()));
    let own =
        |line: &Line| !line.is_quoted() && !matches!(line.mark, Mark::Signature | Mark::Introduction) && has_text(line);
    lines.get(range).unwrap_or_default().iter().any(own)
}

/// True if a message is forwarded: the line that says so is the writer's program's, not in a quote.
fn forwards(lines: &[Line]) -> bool {
    let mut was_quoted = false;
    let mut is_introduced = false;
    for (at, line) in lines.iter().enumerate() {
        if line.is_blank() {
            continue;
        }
        if !line.is_quoted() {
            if is_forwarding(&line.text) {
                return true;
            }
            if line.mark == Mark::Divider || is_original(&line.text) || is_reply_above(&line.text) {
                return false;
            }
            // A block in a reply: what is below it is the older message.
            if is_header_block(lines, at) {
                return false;
            }
            was_quoted = false;
            is_introduced = introduction(&line.text).is_some();
        } else if !was_quoted {
            if !is_introduced && is_forwarding(&line.text) {
                return true;
            }
            was_quoted = true;
        }
    }
    false
}

/// Where an older message starts that is not marked as a quote; everything from there on belongs to it.
fn divider(lines: &[Line], reply: &Reply<'_>) -> Option<usize> {
    for (at, line) in lines.iter().enumerate() {
        if line.is_blank() || line.is_quoted() {
            continue;
        }
        let starts = line.mark == Mark::Divider
            || (reply.is_reply && is_original(&line.text))
            || (reply.is_reply && is_header_block(lines, at) && !is_announced(lines, at))
            || (reply.is_reply && is_reply_above(&line.text) && is_own(lines, 0..at));
        if starts {
            return Some(with_rule_above(lines, at));
        }
        if let Some((after, Introduction::Sure)) = introductions::below(lines, at).filter(|_| reply.is_reply) {
            let next = lines.get(after..).unwrap_or_default().iter().find(|line| !line.is_blank());
            if next.is_some_and(|next| !next.is_quoted()) && is_own(lines, 0..at) {
                return Some(with_rule_above(lines, at));
            }
        }
    }
    None
}

/// The writer's line above ends in a colon: he shows something himself.
fn is_announced(lines: &[Line], at: usize) -> bool {
    let above = lines.get(..at).unwrap_or_default().iter().rev().find(|line| !line.is_blank());
    above.is_some_and(|line| line.text.trim_end().ends_with([':', '：']))
}

/// The line above it that separates, if there is one.
fn with_rule_above(lines: &[Line], at: usize) -> usize {
    let above = lines.get(..at).unwrap_or_default().iter().rposition(|line| !line.is_blank());
    above.filter(|above| lines.get(*above).is_some_and(|line| is_rule(&line.text))).unwrap_or(at)
}

/// True if the writer may have answered within the older message below line `at`: in another colour, behind his name, or
/// as he says himself.
fn may_have_answers(lines: &[Line], at: usize, reply: &Reply<'_>) -> bool {
    let (own, older) = lines.split_at_checked(at).unwrap_or((lines, &[]));
    if own.iter().any(|line| line.text.len() < 2000 && phrases("answers-below").are_in(&lower_in_place(&line.text))) {
        return true;
    }
    let name = reply.author.map(|name| format!("[{name}")).unwrap_or_else(|| "[[".to_owned());
    older.iter().any(|line| line.is_coloured || line.text.starts_with(&name))
}

/// The end without a quote that is the last thing before it.
fn without_last_quote(lines: &[Line], end: usize, reply: &Reply<'_>) -> usize {
    let kept = lines.get(..end).unwrap_or_default();
    let Some(last) = kept.iter().rposition(|line| !line.is_blank()) else { return end };
    if !kept.get(last).is_some_and(Line::is_quoted) {
        return end;
    }
    let before = kept.iter().rposition(|line| !line.is_blank() && !line.is_quoted());
    let Some(before) = before else { return end };
    let quote = before + 1;
    let introduced = introductions::above(kept, quote_start(kept, quote)).filter(|(_, how)| is_enough(*how, reply));
    let start = introduced.map_or(quote, |(start, _)| start);
    let ends_in_colon = kept.get(before).is_some_and(|line| line.text.trim_end().ends_with([':', '：']));
    // What is left below the last answer: there is another quote above it.
    let is_rest = kept.get(..quote).unwrap_or_default().iter().any(Line::is_quoted) && !ends_in_colon;
    let is_sure = introduced.is_some()
        || is_quote(kept, quote, reply) && (is_rest || is_cited(kept, quote) || has_introduction(kept, quote));
    if is_sure && is_own(kept, 0..start) { start } else { end }
}

fn quote_start(lines: &[Line], from: usize) -> usize {
    let rest = lines.get(from..).unwrap_or_default();
    rest.iter().position(Line::is_quoted).map_or(from, |at| from + at)
}

fn is_enough(how: Introduction, reply: &Reply<'_>) -> bool {
    match how {
        Introduction::Weak | Introduction::Strong => reply.is_reply,
        Introduction::Sure => true,
    }
}

fn is_cited(lines: &[Line], from: usize) -> bool {
    lines.get(quote_start(lines, from)).is_some_and(|line| line.mark == Mark::Cited)
}

/// The first quoted line from `from` introduces the rest.
fn has_introduction(lines: &[Line], from: usize) -> bool {
    let quote = lines.get(quote_start(lines, from)..).unwrap_or_default();
    // Some programs write the fields of the older message into it.
    quote.first().and_then(|line| introduction(&line.text)).is_some_and(|how| how > Introduction::Weak)
        || quote.iter().take(3).filter(|line| is_field(&line.text)).count() >= 2
}

/// True if the quoted lines from `from` are a quote without an introductory line: they have one inside, the markup says
/// so, or the message is a reply in plain text.
fn is_quote(lines: &[Line], from: usize, reply: &Reply<'_>) -> bool {
    let start = quote_start(lines, from);
    let Some(line) = lines.get(start).filter(|line| line.is_quoted()) else { return false };
    reply.is_reply && (has_introduction(lines, from) || line.mark == Mark::Cited || !is_from_markup(lines))
}

/// The lines are of HTML that marks some quote as such: what is only indented there may be the writer's own.
fn is_from_markup(lines: &[Line]) -> bool {
    lines.iter().any(|line| line.mark != Mark::None)
}

/// The start without a quote that is the first thing of the lines before `end`.
fn without_first_quote(lines: &[Line], end: usize, reply: &Reply<'_>) -> usize {
    let kept = lines.get(..end).unwrap_or_default();
    let Some(first) = kept.iter().position(|line| !line.is_blank()) else { return 0 };
    let introduced = introductions::below(kept, first).filter(|(_, how)| is_enough(*how, reply));
    let quote = quote_start(kept, introduced.map_or(first, |(after, _)| after));
    let is_next =
        kept.get(introduced.map_or(first, |(after, _)| after)..quote).unwrap_or_default().iter().all(Line::is_blank);
    let is_found = is_next && kept.get(quote).is_some_and(Line::is_quoted);
    if !is_found || !(introduced.is_some() || is_quote(kept, quote, reply)) {
        return 0;
    }
    let rest = kept.get(quote..).unwrap_or_default();
    let Some(own) = rest.iter().position(|line| !line.is_quoted() && !line.is_blank()).map(|at| quote + at) else {
        return 0;
    };
    // A mark `>` may begin a line of the writer's own list.
    let is_apart =
        introduced.is_some() || is_cited(kept, quote) || kept.get(own.saturating_sub(1)).is_some_and(Line::is_blank);
    if !is_apart {
        return 0;
    }
    let answers_again = kept.get(own..).unwrap_or_default().iter().any(|line| line.is_quoted() && !line.is_blank());
    if answers_again || is_interleaved(kept.get(quote..own).unwrap_or_default()) { 0 } else { own }
}

/// The quoted message has itself answers below a quote and something above that: it is a conversation.
fn is_interleaved(quote: &[Line]) -> bool {
    let Some(shallow) = quote.iter().filter(|line| !line.is_blank()).map(|line| line.depth).min() else { return false };
    let text = |line: &Line| !line.is_blank() && line.depth == shallow;
    let Some(first) = quote.iter().position(text) else { return false };
    let after = quote.get(first..).unwrap_or_default();
    let Some(deep) = after.iter().position(|line| line.depth > shallow && !line.is_blank()) else { return false };
    after.get(deep..).unwrap_or_default().iter().any(text)
}
