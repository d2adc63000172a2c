//! How elements of HTML are laid out: which begin a line, a paragraph, a cell.

use crate::message::markup::Tag;

/// How an element is laid out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub is_block: bool,
    pub is_paragraph: bool,
    pub is_cell: bool,
    pub is_void: bool,
}

impl Known {
    pub fn of(tag: &Tag<'_>) -> Self {
        Self::named(tag.name)
    }

    pub fn named(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        let is_cell = matches!(lower.as_str(), "td" | "th");
        let is_paragraph =
            matches!(lower.as_str(), "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "dl" | "pre");
        let is_block = is_paragraph
            || matches!(
                lower.as_str(),
                "div"
                    | "br"
                    | "hr"
                    | "tr"
                    | "table"
                    | "tbody"
                    | "thead"
                    | "li"
                    | "blockquote"
                    | "section"
                    | "article"
                    | "header"
                    | "footer"
                    | "center"
                    | "address"
                    | "dt"
                    | "dd"
                    | "form"
                    | "body"
                    | "html"
                    | "caption"
            );
        let is_void = matches!(
            lower.as_str(),
            "br" | "hr" | "img" | "input" | "meta" | "link" | "area" | "base" | "col" | "wbr" | "source" | "embed"
        );
        Self { is_block, is_paragraph, is_cell, is_void }
    }
}
