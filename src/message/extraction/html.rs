//! HTML as lines: what is shown, how deep it is quoted, what the markup of mail programs says of it; its links; and what it hides.
//!
//! Invariant: an element's state is derived from its parent's, and at most [`DEEPEST`] elements are kept open, so that
//! work is linear and memory bounded however deep elements are nested.

use super::layout::Known;
use super::lines::{LIMIT, Line, Lines, Mark};
use super::urls::{READ, is_link};
use crate::message::hidden::{Characters, Findings, Look, Place, Sheet};
use crate::message::markup::{Tag, Token, Tokens, decoded};

/// Open elements whose state is kept.
const DEEPEST: usize = 100;
/// Characters of a link's text.
const LINK_TEXT: usize = 300;

/// What is read of a page.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub lines: Lines,
    pub links: Vec<Anchor>,
    pub hidden: Findings,
}

/// Something that can be clicked, in order of appearance.
#[derive(Debug)]
pub(super) struct Anchor {
    pub url: String,
    pub text: String,
    /// The line in which it is.
    pub line: usize,
    /// Where its text starts and ends there, in octets.
    pub start: usize,
    pub end: usize,
}

/// What holds inside an element.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    depth: usize,
    mark: Mark,
    look: Look,
    is_preformatted: bool,
    is_coloured: bool,
}

#[derive(Debug)]
struct Open<'a> {
    name: &'a str,
    state: State,
    /// An empty line follows it.
    is_paragraph: bool,
}

#[derive(Debug)]
struct Reader<'a> {
    page: Page,
    sheet: Sheet,
    characters: Characters,
    /// The first element beyond [`DEEPEST`] that hides what is in it, and how many are open beyond there with it.
    deep: Option<(usize, Look)>,
    line: Line,
    /// White space is due before the next text.
    space: Space,
    open: Vec<Open<'a>>,
    /// Elements open beyond those.
    more_open: usize,
    link: Option<Anchor>,
    /// A divider was passed; the next line bears it.
    is_divided: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    #[default]
    None,
    Soft,
    /// A no-break space: alone in an element it makes an empty line.
    Hard,
}

/// Reads a page.
pub(super) fn read(html: &str) -> Page {
    let mut reader = Reader::new();
    for token in Tokens::of(html) {
        reader.page.lines.is_cut |= reader.page.lines.lines.len() >= LIMIT;
        match token {
            Token::Style(css) => reader.sheet.add(css),
            Token::Text(text) => reader.text(text),
            Token::Open(tag) => reader.open(&tag),
            Token::Close(name) => reader.close(name),
        }
    }
    reader.end_link();
    reader.end_line();
    reader.characters.end(&mut reader.page.hidden);
    reader.page
}

impl<'a> Reader<'a> {
    fn new() -> Self {
        Self {
            page: Page::default(),
            sheet: Sheet::default(),
            characters: Characters::new(Place::Html),
            deep: None,
            line: Line::default(),
            space: Space::None,
            open: Vec::new(),
            more_open: 0,
            link: None,
            is_divided: false,
        }
    }

    fn state(&self) -> State {
        let mut state = self.open.last().map(|open| open.state).unwrap_or_default();
        if let Some((_, look)) = self.deep {
            state.look = look;
        }
        state
    }

    fn text(&mut self, text: &str) {
        let state = self.state();
        if let Some(reason) = state.look.hidden() {
            self.page.hidden.hidden(reason, state.look.is_responsive(), &decoded(text));
            return;
        }
        for c in decoded(text).chars() {
            self.characters.push(c, &mut self.page.hidden);
            if self.page.lines.is_cut {
                continue;
            }
            match c {
                '\n' if state.is_preformatted => {
                    self.end_line_or_leave_blank();
                }
                '\r' | '\u{feff}' | '\u{2060}' | '\u{34f}' => {}
                ' ' | '\t' | '\u{a0}' if state.is_preformatted => self.push(c, state),
                '\u{a0}' => self.space = Space::Hard,
                ' ' | '\t' | '\n' | '\u{c}' => self.space = self.space.max(Space::Soft),
                c if c.is_control() => {}
                c => self.push(c, state),
            }
        }
    }

    fn push(&mut self, c: char, state: State) {
        self.page.hidden.visible();
        let space = std::mem::take(&mut self.space) != Space::None;
        if self.line.text.is_empty() {
            self.line.depth = state.depth;
            self.line.mark = if self.is_divided { Mark::Divider } else { state.mark };
            self.is_divided = false;
        } else if space {
            self.line.text.push(' ');
        }
        if let Some(link) = &mut self.link {
            if link.start == usize::MAX {
                link.line = self.page.lines.lines.len();
                link.start = self.line.text.len();
            } else if space && link.text.len() < LINK_TEXT {
                link.text.push(' ');
            }
            if link.text.len() < LINK_TEXT {
                link.text.push(c);
            }
        }
        self.line.is_coloured |= state.is_coloured && self.link.is_none();
        self.line.text.push(c);
        if let Some(link) = &mut self.link {
            link.end = self.line.text.len();
        }
    }

    /// Ends the line, if there is one.
    fn end_line(&mut self) {
        let space = std::mem::take(&mut self.space);
        if self.line.text.is_empty() {
            return;
        }
        if self.line.text == "--" && space != Space::None {
            // RFC 3676 §4.3.
            self.line.text.push(' ');
        }
        if let Some(link) = &mut self.link
            && !link.text.is_empty()
            && link.text.len() < LINK_TEXT
            && !link.text.ends_with(' ')
        {
            link.text.push(' ');
        }
        self.page.lines.lines.push(std::mem::take(&mut self.line));
    }

    /// The same for a line break: a second one leaves an empty line.
    fn end_line_or_leave_blank(&mut self) {
        if self.line.text.is_empty() {
            self.space = Space::None;
            self.leave_blank();
        } else {
            self.end_line();
        }
    }

    /// An empty line, where there is none yet.
    fn leave_blank(&mut self) {
        let State { depth, .. } = self.state();
        if self.page.lines.lines.last().is_some_and(|line| !line.is_blank()) {
            self.page.lines.lines.push(Line { depth, ..Line::default() });
        }
    }

    fn open(&mut self, tag: &Tag<'a>) {
        let known = Known::of(tag);
        if tag.is("img") {
            return self.picture(tag);
        }
        let name = tag.name;
        if known.is_cell {
            self.space = self.space.max(Space::Soft);
        }
        // These end where another begins.
        if ["p", "li", "td", "th", "tr", "dt", "dd", "option"].iter().any(|ends| tag.is(ends))
            && self.open.last().is_some_and(|open| open.name.eq_ignore_ascii_case(name))
        {
            self.close(name);
        }
        if known.is_block {
            self.end_line();
        }
        if tag.is("br") {
            return self.end_line_or_leave_blank();
        }
        let (state, facts) = self.inner_state(tag);
        if known.is_paragraph && !facts.is_tight {
            self.leave_blank();
        }
        if tag.is("a") || tag.is("area") {
            self.end_link();
            self.link = facts.href.filter(|_| state.look.hidden().is_none()).map(Anchor::new);
            if tag.is("area") {
                if let Some(link) = &mut self.link {
                    link.text = facts.alt.unwrap_or_default();
                }
                self.end_link();
            }
        }
        if known.is_void {
            return;
        }
        if self.open.len() < DEEPEST {
            self.open.push(Open { name, state, is_paragraph: known.is_paragraph && !facts.is_tight });
        } else {
            self.more_open += 1;
            if self.deep.is_none() && state.look.hidden().is_some() {
                self.deep = Some((self.more_open, state.look));
            }
        }
    }

    fn close(&mut self, name: &str) {
        if name.eq_ignore_ascii_case("a") {
            self.end_link();
        }
        let known = Known::named(name);
        if known.is_cell {
            self.space = self.space.max(Space::Soft);
        }
        if self.more_open > 0 {
            self.deep = self.deep.filter(|(at, _)| *at < self.more_open);
            self.more_open -= 1;
            if known.is_block {
                self.end_line();
            }
            return;
        }
        let Some(at) = self.open.iter().rposition(|open| open.name.eq_ignore_ascii_case(name)) else { return };
        let is_paragraph = self.open.get(at).is_some_and(|open| open.is_paragraph);
        if known.is_block {
            let is_spaced = self.line.text.is_empty() && self.space == Space::Hard;
            self.end_line();
            if is_spaced {
                self.leave_blank();
            }
        }
        self.open.truncate(at);
        if is_paragraph {
            self.leave_blank();
        }
    }

    fn picture(&mut self, tag: &Tag<'a>) {
        let Some(link) = &mut self.link else { return };
        let alt = tag.attributes().find(|(name, _)| name.eq_ignore_ascii_case("alt"));
        if let Some((_, alt)) = alt
            && link.text.len() < LINK_TEXT
        {
            if !link.text.is_empty() && !link.text.ends_with(' ') {
                link.text.push(' ');
            }
            link.text.extend(decoded(alt).chars().take(LINK_TEXT));
        }
    }

    fn end_link(&mut self) {
        let Some(mut link) = self.link.take() else { return };
        if self.page.links.len() >= READ || self.page.lines.is_cut {
            return;
        }
        if link.start == usize::MAX {
            link.line = self.page.lines.lines.len();
            link.start = self.line.text.len();
            link.end = link.start;
        }
        link.text = link.text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.page.links.push(link);
    }

    /// What holds inside an element.
    fn inner_state(&mut self, tag: &Tag<'a>) -> (State, Facts) {
        let mut state = self.state();
        let facts = Facts::of(tag);
        state.is_preformatted |= tag.is("pre") || facts.is_preformatted;
        state.look = state.look.inner(tag, &self.sheet);
        if let Some(is_coloured) = facts.is_coloured {
            state.is_coloured = is_coloured;
        }
        if tag.is("blockquote") || facts.is_quote {
            state.depth += 1;
        }
        if facts.is_quote || facts.is_cited {
            state.mark = Mark::Cited;
        }
        if facts.is_introduction && state.depth == 0 {
            state.mark = Mark::Introduction;
        }
        if facts.is_signature && state.depth == 0 && !self.is_divided {
            state.mark = Mark::Signature;
        }
        if facts.is_divider && state.depth == 0 {
            self.end_line();
            self.is_divided = true;
        }
        (state, facts)
    }
}

impl Anchor {
    fn new(url: String) -> Self {
        Self { url, text: String::new(), line: 0, start: usize::MAX, end: 0 }
    }
}

/// What the attributes of a tag say.
#[derive(Debug, Default)]
struct Facts {
    href: Option<String>,
    alt: Option<String>,
    is_preformatted: bool,
    /// A paragraph without space around it.
    is_tight: bool,
    is_quote: bool,
    is_cited: bool,
    is_introduction: bool,
    is_signature: bool,
    is_divider: bool,
    is_coloured: Option<bool>,
}

/// Classes and ids of programs: what they put around a quote, before it, and around a signature.
const QUOTES: [&str; 3] = ["yahoo_quoted", "zmail_extra", "quoted-content"];
const CITED: [&str; 4] = ["gmail_quote", "protonmail_quote", "tutanota_quote", "front-blockquote"];
const INTRODUCTIONS: [&str; 2] = ["gmail_attr", "moz-cite-prefix"];
const DIVIDERS: [&str; 3] = ["divrplyfwdmsg", "appendonsend", "mail-editor-reference-message-container"];
const SIGNATURES: [&str; 8] = [
    "gmail_signature",
    "gmail_signature_prefix",
    "moz-signature",
    "ms-outlook-mobile-signature",
    "protonmail_signature_block",
    "composer_signature",
    "k9mail-signature",
    "applemailsignature",
];

impl Facts {
    fn of(tag: &Tag<'_>) -> Self {
        let mut facts = Self::default();
        let is_anchor = tag.is("a") || tag.is("area");
        for (name, value) in tag.attributes() {
            match name.to_ascii_lowercase().as_str() {
                "href" if is_anchor => {
                    let url = decoded(value);
                    facts.href =
                        is_link(&url).then(|| url.split(['\r', '\n', '\t']).collect::<String>().trim().to_owned());
                }
                "alt" => facts.alt = Some(decoded(value).into_owned()),
                "type" => facts.is_cited |= tag.is("blockquote") && value.eq_ignore_ascii_case("cite"),
                "name" => facts.is_quote |= tag.is("div") && value.eq_ignore_ascii_case("quote"),
                "class" | "id" => facts.name(tag, value),
                "style" => facts.style(value),
                "color" if tag.is("font") => facts.is_coloured = Some(is_vivid(value)),
                _ => {}
            }
        }
        facts
    }

    fn name(&mut self, tag: &Tag<'_>, value: &str) {
        for name in value.split_ascii_whitespace().take(20) {
            let lower = name.to_ascii_lowercase();
            let is_one_of = |names: &[&str]| names.contains(&lower.as_str());
            self.is_tight |= lower.starts_with("msonormal");
            self.is_quote |= is_one_of(&QUOTES) || lower.starts_with("yahoo_quoted");
            self.is_cited |= tag.is("blockquote") && is_one_of(&CITED);
            self.is_introduction |= is_one_of(&INTRODUCTIONS);
            self.is_divider |= is_one_of(&DIVIDERS);
            self.is_signature |= is_one_of(&SIGNATURES)
                || name == "Signature"
                || (lower.starts_with("ydp") && lower.ends_with("signature"));
        }
    }

    fn style(&mut self, value: &str) {
        for declaration in value.split(';').take(100) {
            let Some((name, value)) = declaration.split_once(':') else { continue };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_ascii_lowercase());
            match name.as_str() {
                "white-space" => self.is_preformatted |= value.starts_with("pre"),
                "margin" | "margin-bottom" => self.is_tight |= value.starts_with('0'),
                "color" => self.is_coloured = Some(is_vivid(&value)),
                _ => {}
            }
        }
    }
}

/// Red, green, blue and the like: neither black, white, gray, nor close to black.
fn is_vivid(colour: &str) -> bool {
    let colour = colour.trim().to_ascii_lowercase();
    if let Some(digits) = colour.strip_prefix('#') {
        let wide: String =
            if digits.len() == 3 { digits.chars().flat_map(|c| [c, c]).collect() } else { digits.to_owned() };
        let part = |at: usize| wide.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        return match (part(0), part(2), part(4)) {
            (Some(red), Some(green), Some(blue)) => is_far_from_gray([red, green, blue]),
            _ => false,
        };
    }
    if let Some(inner) = colour.strip_prefix("rgb(").and_then(|rest| rest.split(')').next()) {
        let parts: Vec<u8> = inner.split([',', ' ']).filter_map(|part| part.trim().parse().ok()).collect();
        return <[u8; 3]>::try_from(parts).is_ok_and(is_far_from_gray);
    }
    ["red", "blue", "green", "purple", "orange", "magenta", "fuchsia", "maroon", "teal", "navy", "olive", "brown"]
        .contains(&colour.as_str())
}

fn is_far_from_gray(parts: [u8; 3]) -> bool {
    let (low, high) = (parts.iter().min().copied().unwrap_or(0), parts.iter().max().copied().unwrap_or(0));
    high - low > 80
}
