//! Shown text as lines with their depth of quoting. RFC 3676 (format=flowed). Invariant: at most [`LIMIT`] lines, each
//! without its line end and marks of quoting.

use crate::message::octets_read;
use crate::message::text::Flow;

/// Lines that are looked at; the text of a message with more is left whole.
pub(super) const LIMIT: usize = 10_000;
/// Depth of quoting that is shown.
pub(super) const DEEPEST: usize = 20;

/// A line as displayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub text: String,
    /// Marks `>` before it, or elements of quoting around it.
    pub depth: usize,
    pub mark: Mark,
    /// Some of it is in a colour other than black, gray and that of links.
    pub is_coloured: bool,
}

/// What the markup says of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    #[default]
    None,
    /// It is in an element that programs make for quotes only.
    Cited,
    /// It introduces a quote.
    Introduction,
    /// From here on everything is an older message.
    Divider,
    Signature,
}

impl Line {
    pub fn is_blank(&self) -> bool {
        self.text.chars().all(char::is_whitespace)
    }

    pub fn is_quoted(&self) -> bool {
        self.depth > 0
    }
}

/// The lines of a text.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    pub lines: Vec<Line>,
    /// There were more than [`LIMIT`].
    pub is_cut: bool,
    /// The rest of the text, as it is.
    pub rest: String,
}

impl Lines {
    /// The markup has quotes or signatures.
    pub fn has_quotes(&self) -> bool {
        !self.is_cut && self.lines.iter().any(|line| line.depth > 0 || line.mark != Mark::None)
    }
}

/// Lines of plain text.
pub(super) fn of_text(text: &str, flow: Flow) -> Lines {
    let mut lines: Vec<Line> = Vec::new();
    let mut rest = text;
    let mut is_open = false;
    while !rest.is_empty() {
        if lines.len() >= LIMIT {
            return Lines { lines, is_cut: true, rest: rest.to_owned() };
        }
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = after;
        octets_read::count(line.len());
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (depth, inner) = unquoted(line);
        if flow == Flow::Fixed {
            let text = if inner == "-- " { inner } else { inner.trim_end() };
            lines.push(Line { text: text.to_owned(), depth, ..Line::default() });
            continue;
        }
        let inner = if depth == 0 { inner.strip_prefix(' ').unwrap_or(inner) } else { inner };
        let is_delimiter = inner == "-- ";
        let soft = if is_delimiter { None } else { inner.strip_suffix(' ') };
        let text = if flow == Flow::DelSp { soft.unwrap_or(inner) } else { inner };
        match lines.last_mut() {
            // A change of depth ends a paragraph, too (RFC 3676 §4.5).
            Some(last) if is_open && last.depth == depth && !is_delimiter => last.text.push_str(text),
            _ => lines.push(Line { text: text.to_owned(), depth, ..Line::default() }),
        }
        is_open = soft.is_some();
        if !is_open
            && !is_delimiter
            && let Some(last) = lines.last_mut()
        {
            last.text.truncate(last.text.trim_end().len());
        }
    }
    Lines { lines, is_cut: false, rest: String::new() }
}

/// The depth of quoting of a line, and the rest of it.
fn unquoted(line: &str) -> (usize, &str) {
    // How mbox files keep a line that begins with `From `.
    if line.starts_with(">From ") {
        return (0, line.get(1..).unwrap_or_default());
    }
    let mut depth = 0;
    let mut rest = line;
    loop {
        let inner = if depth == 0 { rest } else { rest.strip_prefix(' ').unwrap_or(rest) };
        match inner.strip_prefix('>') {
            Some(after) => {
                depth += 1;
                rest = after;
            }
            None if depth == 0 => return (0, line),
            None => return (depth, rest.strip_prefix(' ').unwrap_or(rest)),
        }
    }
}
