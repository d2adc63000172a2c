//! How the text of a message begins: `preview` of the API, PREVIEW of IMAP (RFC 8970). Invariant: the work is bounded by [`READ`].

use super::ReadLimits;
use super::headers::split;
use super::mime::Tree;
use super::text::content;

/// Octets of a message that are looked at.
pub(crate) const READ: usize = 16 * 1024;
/// Octets of its text that are looked at.
const TEXT: usize = 4 * 1024;
/// Characters of a preview.
const SHOWN: usize = 160;

/// How the text of a message begins, and whether it has attachments. One that is cut has them if it says that its parts are mixed.
pub(crate) fn beginning(raw: &[u8], is_cut: bool, limits: &ReadLimits) -> (String, bool) {
    let (header, body) = split(raw);
    let tree = Tree::parse(header, body, limits);
    let content = content(&tree, TEXT);
    let is_mixed = tree.root.content_type.is("multipart", "mixed");
    let text = content.as_text();
    let mut preview = String::with_capacity(SHOWN);
    let words = text.lines().filter(|line| !line.trim_start().starts_with('>')).flat_map(str::split_whitespace);
    for word in words {
        if preview.chars().count() + word.chars().count() >= SHOWN {
            let left = SHOWN.saturating_sub(preview.chars().count());
            preview.extend(word.chars().take(left));
            break;
        }
        preview.push_str(word);
        preview.push(' ');
    }
    (preview.trim_end().to_owned(), !content.attachments.is_empty() || (is_cut && is_mixed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_the_text_without_quotes_in_one_line() {
        let of = |raw: &str, is_cut| beginning(raw.replace('\n', "\r\n").as_bytes(), is_cut, &ReadLimits::default());
        assert_eq!(of("Subject: x\n\nAt  noon?\n> yes\n\nAnn\n", false), ("At noon? Ann".to_owned(), false));
        let html = "Content-Type: text/html\n\n<p>One</p><p>two</p>";
        assert_eq!(of(html, false).0, "One two");
        let mixed = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhi\n";
        assert_eq!(of(mixed, true), ("hi".to_owned(), true));
        assert!(!of(mixed, false).1);
        let part = format!("{mixed}--b\nContent-Type: image/png\n\nx\n--b--\n");
        assert_eq!(of(&part, false), ("hi".to_owned(), true));
        let long = format!("A: b\n\n{}", "a".repeat(5000));
        assert_eq!(of(&long, false).0.len(), SHOWN);
        let many = format!("A: b\n\n{}", "ab ".repeat(5000));
        assert!(of(&many, false).0.len() <= SHOWN);
    }
}
