//! Plain text tables, coloured on a terminal only.

use super::printable::{shortened, text_of};
use serde_json::Value;
use std::io::IsTerminal;

/// Maximum characters of a cell: longer than any name or record of ours.
const LONGEST_CELL: usize = 400;

pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        Self {
            rows: vec![heading.iter().map(|h| h.trim_end_matches("_at").replace('_', " ").to_uppercase()).collect()],
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| shortened(cell, LONGEST_CELL)).collect());
    }

    /// The width of the widest line.
    pub(super) fn width(&self) -> usize {
        self.widths().iter().map(|width| width + 2).sum::<usize>().saturating_sub(2)
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(widest).collect()
    }

    /// The table as text, ending in a line break.
    pub(super) fn render(&self, colour: bool) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let padding = " ".repeat(width.saturating_sub(cell.chars().count()) + 2);
                line.push_str(&if colour { painted(cell) } else { cell.clone() });
                line.push_str(&padding);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    pub(super) fn print(&self) {
        print!("{}", self.render(colour()));
    }
}

/// True on a terminal, unless NO_COLOR is set.
pub(super) fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// The width of the terminal; elsewhere lines are not wrapped.
pub(super) fn width() -> usize {
    let terminal = Some(()).filter(|()| std::io::stdout().is_terminal()).and_then(|()| terminal_size::terminal_size());
    terminal.map_or(usize::MAX, |(width, _)| usize::from(width.0).max(20))
}

/// Wraps text to lines shorter than `width`, each after `indent`; a word that is too long is split.
pub(super) fn wrapped(text: &str, width: usize, indent: &str) -> Vec<String> {
    let left = width.saturating_sub(indent.chars().count() + 1).max(8);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len() > left {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        while rest.len() > left {
            let tail = rest.split_off(left);
            lines.push(rest.into_iter().collect());
            rest = tail;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        used += rest.len();
        line.extend(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines.into_iter().map(|line| format!("{indent}{line}")).collect()
}

/// A status word in its colour; other text unchanged.
pub(super) fn painted(text: &str) -> String {
    let code = match text {
        "valid" | "verified" => "32",
        "pending" | "unknown" | "not_checked" | "held" => "33",
        "missing" | "mismatch" | "failed" => "31",
        _ => return text.to_owned(),
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A field of a JSON object as one cell, escaped for the terminal; empty if null or absent.
pub(super) fn cell(object: &Value, field: &str) -> String {
    object.get(field).map(text_of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_aligned_with_and_without_colour() {
        let mut table = Table::new(&["a", "status"]);
        table.row(vec!["long cell".into(), "valid".into()]);
        assert_eq!(table.render(false), "A          STATUS\nlong cell  valid\n");
        assert_eq!(table.render(true), "A          STATUS\nlong cell  \x1b[32mvalid\x1b[0m\n");
    }

    #[test]
    fn long_text_is_wrapped_between_words_and_long_words_anywhere() {
        assert_eq!(wrapped("one two three four", 12, "  "), ["  one two", "  three", "  four"]);
        assert_eq!(
            wrapped("v=spf1 include:abcdefghijklmnop ~all", 13, " "),
            [" v=spf1", " include:abc", " defghijklmn", " op ~all"]
        );
        assert_eq!(wrapped("as it is, however long", usize::MAX, ""), ["as it is, however long"]);
        assert!(wrapped("", 80, "  ").is_empty());
    }

    #[test]
    fn untrusted_text_cannot_move_the_cursor() {
        let object = json!({"observed": ["a\u{1b}[2J", "b"], "none": null, "n": 3});
        assert_eq!(cell(&object, "observed"), "a\\u{1b}[2J, b");
        assert_eq!((cell(&object, "none"), cell(&object, "n"), cell(&object, "x")), ("".into(), "3".into(), "".into()));
    }
}
