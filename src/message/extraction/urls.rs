//! URLs in texts. RFC 3986, appendix C. Invariant: a URL has at most [`LONGEST`] octets, and work is linear.

use super::words::is_unspaced;
use crate::message::octets_read;
use std::ops::Range;

/// Links that are looked at.
pub(super) const READ: usize = 1000;
/// Octets of a URL.
const LONGEST: usize = 8192;

/// A URL that is a link.
pub(super) fn is_link(url: &str) -> bool {
    let url = url.trim_start();
    let starts = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    (starts("http://") && url.len() > "http://".len() || starts("https://") && url.len() > "https://".len())
        && url.len() <= LONGEST
}

/// The next URL: up to white space, or within angle brackets over lines (RFC 3986, appendix C).
pub(super) fn next_url(text: &str, from: usize) -> Option<Range<usize>> {
    let mut from = from;
    loop {
        let at = from + memchr::memmem::find(text.as_bytes().get(from..)?, b"://")?;
        let head = text.get(from..at)?;
        let start = ["https", "http"].into_iter().find_map(|scheme| {
            let start = head.len().checked_sub(scheme.len())?;
            head.get(start..)?.eq_ignore_ascii_case(scheme).then_some(from + start)
        });
        octets_read::count(at - from);
        let Some(start) = start else {
            from = at + 3;
            continue;
        };
        let is_bracketed = text.get(..start).is_some_and(|before| before.ends_with('<'));
        let rest = text.get(start..)?;
        if is_bracketed {
            let window = rest.get(..rest.floor_char_boundary(LONGEST)).unwrap_or_default();
            if let Some(end) =
                window.find(['>', '<']).filter(|end| window.get(*end..).is_some_and(|rest| rest.starts_with('>')))
            {
                let inner = window.get(..end).unwrap_or_default();
                // White space may only be line breaks.
                if inner.split('\n').all(|line| !line.trim().contains(char::is_whitespace)) {
                    return Some(start..start + end);
                }
            }
        }
        let end = rest.find(|c: char| c.is_whitespace() || c.is_control() || ends_url(c)).unwrap_or(rest.len());
        let url = trimmed(rest.get(..end).unwrap_or_default());
        return Some(start..start + url.len());
    }
}

/// Characters that are in no URL, and those of scripts without spaces.
fn ends_url(c: char) -> bool {
    matches!(c, '<' | '>' | '"' | '“' | '”' | '«' | '»' | '`' | '{' | '}' | '|' | '\\' | '^')
        || is_unspaced(c)
        || matches!(c, '\u{3000}'..='\u{30ff}')
}

/// Without the punctuation of the sentence around it.
fn trimmed(url: &str) -> &str {
    let count = |sign: char| url.matches(sign).count();
    let (mut round, mut square) = (count(')').saturating_sub(count('(')), count(']').saturating_sub(count('[')));
    let is_outside = |c: char| match c {
        '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | '_' | '…' | '’' => true,
        ')' if round > 0 => {
            round -= 1;
            true
        }
        ']' if square > 0 => {
            square -= 1;
            true
        }
        _ => false,
    };
    url.trim_end_matches(is_outside)
}
