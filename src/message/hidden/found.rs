//! What was found.

use super::invisible::is_blank;
use serde::Serialize;
use std::collections::VecDeque;
use utoipa::ToSchema;

/// Findings of a message at most.
pub(super) const LIMIT: usize = 20;
/// Characters of a finding's excerpt.
const EXCERPT: usize = 200;
/// Characters of a hidden text at the start of a page that still counts as a preview for lists of emails.
const PREHEADER: usize = 500;

/// What a hidden text is probably there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HiddenTextKind)]
pub(crate) enum Kind {
    /// A short text before all that is seen: the preview that newsletters give to lists of emails.
    Preheader,
    /// Shown on screens of some sizes, by a media query.
    Responsive,
    /// A pattern of invisible characters that is repeated, as newsletters use it to lengthen a preview.
    Padding,
    /// Any other hidden text.
    Text,
    /// Characters that are not shown, or that turn the text around.
    Characters,
}

/// Why it is not seen as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HiddenTextReason)]
pub(crate) enum Reason {
    /// `display: none`, or the attribute `hidden`.
    NotDisplayed,
    /// `visibility: hidden`.
    Invisible,
    /// No opacity, or a transparent colour.
    Transparent,
    /// A font of at most one pixel.
    TinyFont,
    /// The colour is that of the background.
    SameColour,
    /// Moved out of the page.
    OffScreen,
    /// In a box of no width or height, or clipped to nothing.
    NoSize,
    /// Unicode tag characters (U+E0000 to U+E007F), which carry ASCII.
    TagCharacters,
    /// Zero-width and other invisible characters, in a row.
    ZeroWidth,
    /// Variation selectors in a row, which may carry octets.
    VariationSelectors,
    /// A character that reverses the order of what follows it (U+202D, U+202E).
    BidiOverride,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HiddenTextPlace)]
pub(crate) enum Place {
    Subject,
    /// The display name of From.
    From,
    Text,
    Html,
    Filename,
}

/// Text that a reader does not see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct HiddenText {
    pub kind: Kind,
    pub reason: Reason,
    pub place: Place,
    /// The first 200 characters; what tag characters and variation selectors carry is decoded.
    pub text: String,
    /// Characters.
    pub length: usize,
}

/// Collects findings. Hidden text of one reason is one finding until something is seen.
#[derive(Debug, Default)]
pub(in crate::message) struct Findings {
    found: VecDeque<HiddenText>,
    /// Something visible was read.
    has_visible: bool,
    /// The last finding is not continued.
    is_ended: bool,
}

impl Findings {
    /// Something on the page is seen.
    pub fn visible(&mut self) {
        self.has_visible = true;
        self.is_ended = true;
    }

    /// Text of a page that is hidden. White space and invisible characters alone do not count.
    pub fn hidden(&mut self, reason: Reason, is_responsive: bool, text: &str) {
        if text.chars().all(is_blank) {
            return;
        }
        if let Some(last) = self.found.back_mut().filter(|last| last.reason == reason && !self.is_ended) {
            add(last, " ");
            add(last, text);
            if last.kind == Kind::Preheader && last.length > PREHEADER {
                last.kind = Kind::Text;
            }
            return;
        }
        let is_first = !self.has_visible && self.found.is_empty();
        let kind = match (is_responsive, is_first) {
            (true, _) => Kind::Responsive,
            (false, true) if text.chars().count() <= PREHEADER => Kind::Preheader,
            (false, _) => Kind::Text,
        };
        self.is_ended = false;
        self.add(HiddenText { kind, reason, place: Place::Html, text: String::new(), length: 0 }, text);
    }

    /// Adds a finding with its text, or adds the text to the one of the same kind, reason and place.
    pub fn add(&mut self, new: HiddenText, text: &str) {
        let is_same = |one: &&mut HiddenText| {
            (one.kind, one.reason, one.place) == (new.kind, new.reason, new.place) && one.kind != Kind::Preheader
        };
        let is_full = self.found.len() >= LIMIT;
        let by_characters = new.place != Place::Html || new.kind == Kind::Characters || new.kind == Kind::Padding;
        if (is_full || by_characters)
            && let Some(known) = self.found.iter_mut().rev().find(is_same)
        {
            let before = std::mem::take(&mut known.length);
            add(known, text);
            known.length = known.length.max(new.length).saturating_add(before);
            return;
        }
        if !is_full {
            let mut new = new;
            let length = std::mem::take(&mut new.length);
            add(&mut new, text);
            new.length = new.length.max(length);
            self.found.push_back(new);
        }
    }

    pub fn into_list(self) -> Vec<HiddenText> {
        self.found.into()
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

/// Adds to a finding, with white space as single spaces and without invisible characters.
fn add(to: &mut HiddenText, text: &str) {
    let mut left = EXCERPT.saturating_sub(to.text.chars().count());
    for c in text.chars() {
        let is_space = c.is_whitespace();
        if (is_space && (to.text.is_empty() || to.text.ends_with(' ')) && left > 0)
            || (!is_space && is_blank(c))
            || (!is_space && c.is_control())
        {
            continue;
        }
        to.length = to.length.saturating_add(1);
        if left > 0 {
            to.text.push(if is_space { ' ' } else { c });
            left -= 1;
        }
    }
}
