//! Makes untrusted text safe for a terminal and a log: DNS records, replies of mail servers, names given by users.
//! Invariant: no untrusted text is printed with a character that moves the cursor, ends the line, changes the writing
//! direction or is invisible, nor longer than a page. ECMA-48 (C0, C1), Unicode TR 36 §3.2 (bidirectional text).

use serde_json::Value;
use std::fmt::Write;

/// Maximum characters of one text; `--json` has all of it.
const LONGEST: usize = 2000;
/// Maximum characters of one value in a list.
const LONGEST_VALUE: usize = 300;
const VALUES: usize = 10;

/// The text with invisible characters escaped: `\n`, `\u{1b}`, `\u{202e}`.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
            c if is_unseen(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Escaped and cut to `limit` characters.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => printable(text),
        Some((at, _)) => {
            let start = text.get(..at).unwrap_or_default();
            format!("{}\u{2026} ({} characters)", printable(start), text.chars().count())
        }
    }
}

/// A JSON value as text: empty for null, a list separated by commas.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => shortened(text, LONGEST),
        Value::Array(list) => {
            let one = |value: &Value| match value {
                Value::String(text) => shortened(text, LONGEST_VALUE),
                other => shortened(&other.to_string(), LONGEST_VALUE),
            };
            let mut shown: Vec<String> = list.iter().take(VALUES).map(one).collect();
            if list.len() > VALUES {
                shown.push(format!("\u{2026} {} more", list.len() - VALUES));
            }
            shown.join(", ")
        }
        other => shortened(&other.to_string(), LONGEST),
    }
}

/// A value as indented JSON. Invisible characters are written as JSON escapes, so it is the same value (RFC 8259 §7).
pub(super) fn json(value: &Value) -> String {
    // Serializing a parsed value cannot fail.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Line breaks inside strings are already escaped; the rest are indentation.
        if c == '\n' || !is_unseen(c) {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// Control characters and invisible formatting: bidirectional overrides and isolates, zero widths, line and paragraph
/// separators, tags.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const EVIL: &str = "a\u{1b}[2J\u{9b}2J\r\n\tb\u{202e}txt\u{2066}\u{200f}\u{200b}\u{2028}\u{7f}\u{e0041}\u{feff}é✓";

    #[test]
    fn invisible_characters_are_escaped() {
        let shown = printable(EVIL);
        assert_eq!(
            shown,
            "a\\u{1b}[2J\\u{9b}2J\\r\\n\\tb\\u{202e}txt\\u{2066}\\u{200f}\\u{200b}\\u{2028}\\u{7f}\\u{e0041}\\u{feff}é✓"
        );
        assert!(!shown.chars().any(is_unseen));
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let value = json!({"observed": [EVIL], EVIL: 1});
        let shown = super::json(&value);
        assert!(!shown.chars().any(|c| c != '\n' && is_unseen(c)), "{shown:?}");
        assert_eq!(shown.lines().count(), 6, "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[test]
    fn text_is_cut_to_a_page() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("ab\nd", 3), "ab\\n\u{2026} (4 characters)");
        let long = text_of(&json!(vec!["x".repeat(65_000); 100]));
        assert!(long.chars().count() < 4000 && long.ends_with(", \u{2026} 90 more"), "{}", long.len());
        assert!(text_of(&json!("\n".repeat(65_000))).chars().count() < 5000);
    }
}
