//! The HTML of a message, written anew for a frame without scripts: elements and attributes that a list names stay, all else goes.
//!
//! Invariant: what is written has no element, attribute or URL scheme that is not in the lists here, and ends what it begins with a
//! quote or `<`; no text of the message can leave its place. The frame's own policy holds besides.

use super::markup::{Tag, Token, Tokens, decoded};
use std::fmt::Write;

/// Elements that stay. Of others, the content stays, without their tags.
const ELEMENTS: [&str; 74] = [
    "a",
    "abbr",
    "address",
    "article",
    "aside",
    "b",
    "bdi",
    "bdo",
    "big",
    "blockquote",
    "br",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "details",
    "dfn",
    "dir",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "font",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "main",
    "mark",
    "menu",
    "nav",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "section",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "time",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "wbr",
];
/// Elements without a content.
const VOID: [&str; 5] = ["br", "col", "hr", "img", "wbr"];
/// Attributes that stay. `href` of links and `src` of images are written by what they lead to.
const ATTRIBUTES: [&str; 38] = [
    "abbr",
    "align",
    "alt",
    "bgcolor",
    "border",
    "cellpadding",
    "cellspacing",
    "char",
    "charoff",
    "class",
    "color",
    "cols",
    "colspan",
    "datetime",
    "dir",
    "face",
    "frame",
    "headers",
    "height",
    "hspace",
    "id",
    "lang",
    "noshade",
    "nowrap",
    "open",
    "reversed",
    "rows",
    "rowspan",
    "rules",
    "scope",
    "size",
    "span",
    "start",
    "style",
    "title",
    "valign",
    "vspace",
    "width",
];
/// Octets of all images that are written into the page.
const IMAGES: usize = 8 * 1024 * 1024;
/// Elements that are open at once; deeper ones are left out.
const DEEPEST: usize = 256;

/// What is known of the page besides its HTML.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Display<'a> {
    /// Whether images of other hosts are asked for.
    pub remote_images: bool,
    /// `data:` URLs of the images in the message, by their Content-ID.
    pub images: &'a [(String, String)],
}

/// HTML for a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Displayed {
    pub html: String,
    /// Images of other hosts that are left out.
    pub blocked: usize,
}

impl Display<'_> {
    pub(crate) fn show(&self, html: &str) -> Displayed {
        let mut writer =
            Writer { of: *self, out: String::with_capacity(html.len()), open: Vec::new(), blocked: 0, image_octets: 0 };
        for token in Tokens::of(html) {
            match token {
                Token::Style(css) => writer.style(css),
                Token::Text(text) => writer.text(text),
                Token::Open(tag) => writer.open(&tag),
                Token::Close(name) => writer.close(name),
            }
        }
        writer.end()
    }
}

struct Writer<'a> {
    of: Display<'a>,
    out: String,
    open: Vec<&'static str>,
    blocked: usize,
    image_octets: usize,
}

impl Writer<'_> {
    fn style(&mut self, css: &str) {
        self.blocked = self.blocked.saturating_add(self.blocked_in(css));
        self.out.push_str("<style>");
        // Nothing in it begins or ends an element, however it is parsed: `\3c ` is the same as `<` to CSS.
        self.out.push_str(&css.replace('<', "\\3c "));
        self.out.push_str("</style>");
    }

    /// Images of other hosts in a style, which the frame's policy keeps from being loaded.
    fn blocked_in(&self, css: &str) -> usize {
        let css = css.to_ascii_lowercase();
        let is_remote = |rest: &&str| rest.trim_start_matches([' ', '"', '\'']).starts_with("http");
        if self.of.remote_images { 0 } else { css.split("url(").skip(1).filter(is_remote).count() }
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(&text.replace('<', "&lt;").replace('>', "&gt;"));
    }

    fn open(&mut self, tag: &Tag<'_>) {
        let Some(name) = ELEMENTS.into_iter().find(|name| tag.is(name)) else { return };
        let is_void = VOID.contains(&name);
        if !is_void {
            if self.open.len() >= DEEPEST {
                return;
            }
            self.open.push(name);
        }
        self.out.push('<');
        self.out.push_str(name);
        for (given, value) in tag.attributes() {
            if let Some(attribute) = ATTRIBUTES.into_iter().find(|attribute| given.eq_ignore_ascii_case(attribute)) {
                if attribute == "style" {
                    self.blocked = self.blocked.saturating_add(self.blocked_in(value));
                }
                self.attribute(attribute, value);
            } else if name == "a" && given.eq_ignore_ascii_case("href") && leads_out(&decoded(value)) {
                self.attribute("href", value);
            } else if name == "img" && given.eq_ignore_ascii_case("src") {
                self.source(value);
            }
        }
        if name == "a" {
            self.out.push_str(" target=\"_blank\" rel=\"noopener noreferrer nofollow\"");
        }
        self.out.push('>');
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let value = value.replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = write!(self.out, " {name}=\"{value}\"");
    }

    /// The source of an image: one of the message, one that the page has itself, or one elsewhere if it is asked for.
    fn source(&mut self, value: &str) {
        let url = decoded(value);
        let url = url.trim();
        if let Some(id) = after_scheme(url, "cid:") {
            let found = self.of.images.iter().find(|(known, _)| known == id);
            let fits = |data: &String| self.image_octets.saturating_add(data.len()) <= IMAGES;
            if let Some((_, data)) = found.filter(|(_, data)| fits(data)) {
                self.image_octets = self.image_octets.saturating_add(data.len());
                let data = data.clone();
                self.attribute("src", &data);
            }
        } else if after_scheme(url, "data:image/").is_some() {
            self.attribute("src", value);
        } else if after_scheme(url, "https://").is_some() || after_scheme(url, "http://").is_some() {
            if self.of.remote_images {
                self.attribute("src", value);
            } else {
                self.blocked = self.blocked.saturating_add(1);
            }
        }
    }

    fn close(&mut self, name: &str) {
        // An element that is not open is not ended, so that the message cannot end what is around it.
        let Some(at) = self.open.iter().rposition(|open| name.eq_ignore_ascii_case(open)) else { return };
        for open in self.open.drain(at..).rev() {
            let _ = write!(self.out, "</{open}>");
        }
    }

    fn end(mut self) -> Displayed {
        for open in self.open.iter().rev() {
            let _ = write!(self.out, "</{open}>");
        }
        Displayed { html: self.out, blocked: self.blocked }
    }
}

fn after_scheme<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    let (start, rest) = url.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Whether a link may be followed: to the web, to an address, or to a place on the page.
fn leads_out(url: &str) -> bool {
    let url = url.trim();
    ["https://", "http://", "mailto:", "tel:", "#"].into_iter().any(|scheme| after_scheme(url, scheme).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(html: &str) -> String {
        Display { remote_images: false, images: &[] }.show(html).html
    }

    #[test]
    fn what_acts_is_left_out_and_what_is_read_stays() {
        let a = "target=\"_blank\" rel=\"noopener noreferrer nofollow\"";
        for (html, wanted) in [
            ("<p>Hi &amp; <b>bye</b></p>", "<p>Hi &amp; <b>bye</b></p>".to_owned()),
            ("<script>alert(1)</script>x<noscript>y</noscript>", "xy".to_owned()),
            ("<form action=//e.test><input name=p><button>Go</button></form>", "Go".to_owned()),
            ("<meta http-equiv=refresh content='0;url=//e.test'><base href=//e.test>x", "x".to_owned()),
            ("<link rel=stylesheet href=//e.test/s.css>x", "x".to_owned()),
            ("<iframe src=//e.test></iframe><object data=x></object><embed src=x>x", "x".to_owned()),
            ("<svg onload=alert(1)><a xlink:href='javascript:1'>x</a></svg>", format!("<a {a}>x</a>")),
            ("<p onclick=alert(1) ONERROR=x style='color:red'>x", "<p style=\"color:red\">x</p>".to_owned()),
            ("<a href='javascript:alert(1)'>x</a>", format!("<a {a}>x</a>")),
            ("<a href='&#106;avascript:alert(1)'>x</a>", format!("<a {a}>x</a>")),
            ("<a href=' JaVaScRiPt:alert(1)'>x</a>", format!("<a {a}>x</a>")),
            ("<a href='data:text/html,x' target=_top>x</a>", format!("<a {a}>x</a>")),
            ("<a href='https://a.test/?a=1&amp;b'>x</a>", format!("<a href=\"https://a.test/?a=1&amp;b\" {a}>x</a>")),
            (
                "<a href=\"https://a.test/'><script>\">x</a>",
                format!("<a href=\"https://a.test/'&gt;&lt;script&gt;\" {a}>x</a>"),
            ),
            (
                "<p title='\"><script>alert(1)</script>'>x</p>",
                "<p title=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\">x</p>".to_owned(),
            ),
            ("</div></body></html></iframe>x", "x".to_owned()),
            ("<textarea></iframe><script>1</script></textarea>x", "x".to_owned()),
            ("<div><b>x</div>y", "<div><b>x</b></div>y".to_owned()),
            ("<style>p{color:red}</style>x", "<style>p{color:red}</style>x".to_owned()),
            ("<style>a<!--</style>b</stylex>", "<style>a\\3c !--</style>b".to_owned()),
            ("<style>a</b></STYLE >c", "<style>a\\3c /b></style>c".to_owned()),
            ("1 < 2 <", "1 &lt; 2 &lt;".to_owned()),
            ("<img src=x onerror=alert(1)>", "<img>".to_owned()),
            ("<!--<img src=https://a.test>-->x<![CDATA[y]]>", "x".to_owned()),
        ] {
            assert_eq!(shown(html), wanted, "{html}");
        }
    }

    #[test]
    fn images_come_from_the_message_or_are_asked_for() {
        let data = format!("data:image/png;base64,{}", "A".repeat(3 * 1024 * 1024));
        let images = [("logo@a".to_owned(), data.clone())];
        let html = "<img src='CID:logo@a'><img src=cid:none><img src='https://a.test/i' alt=i><img srcset='https://a.test/j 2x'>";
        let few = Display { remote_images: false, images: &images }.show(html);
        assert_eq!(few, Displayed { html: format!("<img src=\"{data}\"><img><img alt=\"i\"><img>"), blocked: 1 });
        let all = Display { remote_images: true, images: &images }.show(html);
        assert!(all.html.contains("src=\"https://a.test/i\"") && all.blocked == 0);
        // One image that is named many times does not make the page large.
        let many = Display { remote_images: false, images: &images }.show(&"<img src=cid:logo@a>".repeat(1000));
        assert!(many.html.len() < IMAGES + 10_000, "{}", many.html.len());
    }

    #[test]
    fn deep_elements_are_bounded() {
        let deep = shown(&"<div>".repeat(10_000));
        assert_eq!(deep.matches("<div>").count(), DEEPEST);
        assert_eq!(deep.matches("</div>").count(), DEEPEST);
    }

    proptest! {
        #[test]
        fn no_soup_makes_more_than_the_lists_have(pieces in prop::collection::vec(prop::sample::select(vec![
            "<", ">", "\"", "'", "/", "=", " ", "<p", "<a", " href=", "javascript:", "<script>", "</script>", "<style>", "</style>", "<!--",
            "-->", "<img src=", "cid:x", " onerror=", "alert(1)", "&#60;", "&lt;", "<svg", "<iframe", "</iframe>", "<title>", "\u{202e}", "x",
        ]), 0..30)) {
            let html = shown(&pieces.concat());
            for token in Tokens::of(&html) {
                match token {
                    Token::Open(tag) => {
                        prop_assert!(ELEMENTS.iter().any(|name| tag.is(name)), "{html}");
                        for (name, value) in tag.attributes() {
                            let is_known = ATTRIBUTES.contains(&name) || ["href", "src", "target", "rel"].contains(&name);
                            prop_assert!(is_known, "{name} in {html}");
                            prop_assert!(name != "href" || leads_out(&decoded(value)), "{html}");
                        }
                    }
                    Token::Close(name) => prop_assert!(ELEMENTS.contains(&name), "{html}"),
                    Token::Style(_) | Token::Text(_) => {}
                }
            }
            for bad in ["<script", "<svg", "<iframe", "<!--", "</title"] {
                prop_assert!(!html.to_lowercase().contains(bad), "{html}");
            }
        }
    }
}
