//! Whether the text of an element is seen, from its attributes, the style sheets and what is around it.

use super::colour::Colour;
use super::found::Reason;
use super::sheet::Sheet;
use super::style::{Font, Style};
use crate::message::markup::{Tag, decoded};
use std::borrow::Cow;

/// What an element looks like.
#[derive(Clone, Copy, Debug)]
pub(in crate::message) struct Look {
    /// It and all in it is hidden.
    hidden: Option<Reason>,
    /// A media query shows what `hidden` is about.
    is_responsive: bool,
    is_invisible: bool,
    is_tiny: bool,
    is_indented_away: bool,
    colour: Colour,
    background: Colour,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            hidden: None,
            is_responsive: false,
            is_invisible: false,
            is_tiny: false,
            is_indented_away: false,
            colour: Colour::BLACK,
            background: Colour::WHITE,
        }
    }
}

impl Look {
    /// Why text directly in the element is not seen.
    pub fn hidden(&self) -> Option<Reason> {
        let reasons = [
            (self.is_invisible, Reason::Invisible),
            (self.is_tiny, Reason::TinyFont),
            (self.is_indented_away, Reason::OffScreen),
            (self.colour == Colour::Transparent, Reason::Transparent),
            (self.colour.is_invisible_on(self.background), Reason::SameColour),
        ];
        self.hidden.or_else(|| reasons.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason))
    }

    /// A media query shows it.
    pub fn is_responsive(&self) -> bool {
        self.is_responsive
    }

    /// The look of an element in this one.
    pub fn inner(&self, tag: &Tag<'_>, sheet: &Sheet) -> Self {
        let mut look = *self;
        let (mut classes, mut id, mut inline) =
            (Cow::Borrowed(""), Cow::Borrowed(""), [Style::default(), Style::default()]);
        let mut by_attributes = Style::default();
        for (name, value) in tag.attributes() {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("class") {
                classes = decoded(value);
            } else if is("id") {
                id = decoded(value);
            } else if is("style") {
                inline = Style::read(&decoded(value));
            } else if is("hidden") {
                by_attributes.is_not_displayed = Some(true);
            } else if is("bgcolor") {
                by_attributes.background = Colour::read(&value.trim().to_ascii_lowercase());
            } else if is("background") && !value.trim().is_empty() {
                by_attributes.background = Some(Colour::Unknown);
            } else if (is("color") && tag.is("font")) || (is("text") && tag.is("body")) {
                by_attributes.colour = Colour::read(&value.trim().to_ascii_lowercase());
            } else if is("size") && tag.is("font") {
                by_attributes.font = Some(Font::Legible);
            }
        }
        // Links have a colour of their own.
        if tag.is("a") {
            look.colour = Colour::Unknown;
        }
        let matched = sheet.matched(tag.name, &classes, id.trim());
        let [ordinary, important] = inline;
        let mut style = by_attributes;
        for next in [&matched.ordinary, &ordinary, &matched.important, &important] {
            style.merge(next);
        }
        look.apply(&style);
        if self.hidden.is_none() && look.hidden.is_some() && style.hides() {
            look.is_responsive = matched.is_shown_elsewhere;
        }
        look
    }

    fn apply(&mut self, style: &Style) {
        let is = |declared: Option<bool>| declared == Some(true);
        let has_no_size = [style.has_no_height, style.has_no_max_height, style.has_no_width, style.has_no_max_width]
            .contains(&Some(true));
        let reasons = [
            (is(style.is_not_displayed), Reason::NotDisplayed),
            (is(style.has_no_opacity), Reason::Transparent),
            (is(style.is_positioned) && is(style.is_far), Reason::OffScreen),
            (is(style.has_far_margin) || is(style.is_moved), Reason::OffScreen),
            ((has_no_size && is(style.cuts_overflow)) || is(style.is_clipped), Reason::NoSize),
        ];
        let found = reasons.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason);
        self.hidden = self.hidden.or(found);
        self.is_invisible = style.is_invisible.unwrap_or(self.is_invisible);
        self.is_indented_away = style.has_far_indent.unwrap_or(self.is_indented_away);
        self.is_tiny = match style.font {
            Some(Font::Tiny) => true,
            Some(Font::Legible) => false,
            Some(Font::Relative) | None => self.is_tiny,
        };
        self.colour = style.colour.unwrap_or(self.colour);
        self.background = style.background.unwrap_or(self.background);
    }
}
