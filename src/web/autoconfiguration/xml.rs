//! XML documents. Invariant: text of others is in them only through [`escaped`].

use std::fmt::Write;

/// Text as it is written in an element or an attribute (XML 1.0 §2.4). Characters that no document may have (§2.2) are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // A parser would make a space or a line feed of them.
            '\t' | '\n' | '\r' => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// A document that is being written.
#[derive(Debug)]
pub(super) struct Document(String);

impl Document {
    /// `doctype` is a whole declaration, or nothing.
    pub(super) fn new(doctype: &str) -> Self {
        Self(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{doctype}"))
    }

    /// An element with others inside.
    pub(super) fn element(&mut self, name: &str, attributes: &[(&str, &str)], inside: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<{name}");
        for (attribute, value) in attributes {
            let _ = write!(self.0, " {attribute}=\"{}\"", escaped(value));
        }
        self.0.push('>');
        inside(self);
        let _ = writeln!(self.0, "</{name}>");
    }

    /// An element with text inside.
    pub(super) fn leaf(&mut self, name: &str, text: &str) {
        let _ = writeln!(self.0, "<{name}>{}</{name}>", escaped(text));
    }

    /// An element with nothing inside.
    pub(super) fn empty(&mut self, name: &str) {
        let _ = writeln!(self.0, "<{name}/>");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// The text of the first element with this name, whatever its namespace prefix. `None` where there is none, or it has elements inside.
pub(super) fn text_of(xml: &str, name: &str) -> Option<String> {
    let begins = |at: usize| {
        let before = xml.get(..at).unwrap_or_default();
        let prefix = before.rsplit('<').next().unwrap_or_default();
        before.contains('<') && (prefix.is_empty() || prefix.strip_suffix(':').is_some_and(is_name))
    };
    let (at, _) = xml.match_indices(name).find(|(at, _)| begins(*at))?;
    let (attributes, rest) = xml.get(at.saturating_add(name.len())..)?.split_once('>')?;
    let is_tag = attributes.is_empty() || attributes.starts_with(char::is_whitespace);
    let (text, end) = rest.split_once('<')?;
    (is_tag && !attributes.ends_with('/') && end.starts_with('/')).then(|| unescaped(text.trim()))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// The five entities that XML has (§4.6). Others stay as they are.
fn unescaped(text: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, c)| text.replace(entity, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_no_markup() {
        assert_eq!(escaped("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&apos;");
        assert_eq!(escaped("]]>&amp;"), "]]&gt;&amp;amp;");
        assert_eq!(escaped("a\u{0}\u{8}\u{1f}\u{fffe}b\r\n\t"), "ab&#13;&#10;&#9;");
        assert_eq!(escaped("zürich@日本.example \u{1f600}"), "zürich@日本.example \u{1f600}");
        let mut document = Document::new("");
        document.element("a", &[("b", "\"><x/>")], |document| document.leaf("c", "</c><evil/>"));
        let text = document.finish();
        assert!(text.ends_with("<a b=\"&quot;&gt;&lt;x/&gt;\"><c>&lt;/c&gt;&lt;evil/&gt;</c>\n</a>\n"), "{text}");
    }

    #[test]
    fn the_text_of_an_element_is_found() {
        let of = |xml: &str| text_of(xml, "EMailAddress");
        let found = Some("ann@acme.test".to_owned());
        assert_eq!(of("<Request><EMailAddress>ann@acme.test</EMailAddress></Request>"), found);
        assert_eq!(of("<a:EMailAddress xmlns:a=\"x\">\n ann@acme.test </a:EMailAddress>"), found);
        assert_eq!(of("<!-- EMailAddress --><EMailAddress>ann@acme.test</EMailAddress>"), found);
        assert_eq!(of("<EMailAddress>a&lt;b&amp;lt;</EMailAddress>"), Some("a<b&lt;".to_owned()));
        for none in [
            "",
            "EMailAddress",
            "<EMailAddress/>",
            "<EMailAddress>ann@acme.test",
            "<EMailAddress><b>x</b></EMailAddress>",
            "<EMailAddressX>ann@acme.test</EMailAddressX>",
            "<x y=\"EMailAddress>z\"/>",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        // Work is bounded by the length, whatever is in it.
        let hostile = "<EMailAddress".repeat(1000);
        assert_eq!(of(&hostile), None);
    }
}
