//! HTML as text, for previews, searches and what programs read. Invariant: what a browser shows on lines of its own is on lines of its own
//! here, and cells of a row are apart, so that no words run together that are apart for a reader; every octet is looked at a fixed
//! number of times.

use super::markup::{Token, Tokens, decoded};

/// Elements that begin and end a line (HTML Standard §15.3).
const BLOCKS: [&str; 39] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "caption",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "legend",
    "li",
    "main",
    "menu",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "tr",
    "ul",
];

/// The text that a page shows. Lines end with LF.
pub(super) fn html_to_text(html: &str) -> String {
    let mut shown = Shown { text: String::with_capacity(html.len() / 2), is_space_due: false, preformatted: 0 };
    for token in Tokens::of(html) {
        match token {
            Token::Style(_) => {}
            Token::Text(text) => shown.add(&decoded(text)),
            Token::Open(tag) if tag.is("br") => shown.end_line(true),
            Token::Open(tag) => {
                shown.boundary(tag.name);
                shown.preformatted += u32::from(tag.is("pre"));
            }
            Token::Close(name) => {
                shown.boundary(name);
                shown.preformatted = shown.preformatted.saturating_sub(u32::from(name.eq_ignore_ascii_case("pre")));
            }
        }
    }
    shown.text
}

struct Shown {
    text: String,
    /// White space was passed, which is one space if more follows on the line.
    is_space_due: bool,
    /// How many `pre` are open.
    preformatted: u32,
}

impl Shown {
    fn add(&mut self, text: &str) {
        if self.preformatted > 0 {
            self.text.push_str(text);
            return;
        }
        for c in text.chars() {
            if matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}') {
                self.is_space_due = true;
                continue;
            }
            if std::mem::take(&mut self.is_space_due) && !self.is_at_start() {
                self.text.push(' ');
            }
            self.text.push(c);
        }
    }

    fn is_at_start(&self) -> bool {
        self.text.is_empty() || self.text.ends_with('\n')
    }

    /// An element begins or ends.
    fn boundary(&mut self, name: &str) {
        let is = |other: &&str| name.eq_ignore_ascii_case(other);
        if BLOCKS.iter().any(&is) {
            self.end_line(false);
        } else if ["td", "th"].iter().any(is) {
            self.is_space_due = true;
        }
    }

    /// Ends the line; an empty one only if that is meant.
    fn end_line(&mut self, is_meant: bool) {
        self.is_space_due = false;
        if is_meant || !self.is_at_start() {
            self.text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_lines_of_its_own_stays_apart() {
        for (html, text) in [
            ("<h2>Good news</h2><p>It has <b>arr</b>ived.</p>", "Good news\nIt has arrived.\n"),
            ("<ul><li>one<li>two</ul>three", "one\ntwo\nthree"),
            ("<table><tr><td>a</td><td>b</td></tr><tr><TD>c<TH>d</table>", "a b\nc d\n"),
            ("<div>one<div>two</div></div>\n <div> three </div>", "one\ntwo\nthree\n"),
            ("one<br>two<br><br>three", "one\ntwo\n\nthree"),
            ("a\r\n  b&nbsp;&amp; c", "a b\u{a0}& c"),
            ("<pre>a\n  b</pre>c", "a\n  b\nc"),
            ("<title>no</title><style>no</style><script>no</script>1 < 2", "1 < 2"),
            ("<span>joi</span><i>ned</i>", "joined"),
            ("", ""),
        ] {
            assert_eq!(html_to_text(html), text, "{html}");
        }
    }
}
