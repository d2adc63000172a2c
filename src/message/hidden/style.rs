//! Declarations of CSS that decide whether text is seen.

use super::colour::Colour;

/// Declarations of a block that are read.
const DECLARATIONS: usize = 100;
/// Pixels that an element is moved out of the page by, at least.
const FAR: f32 = 400.0;
/// Pixels of an `em` that are assumed for distances.
const EM: f32 = 16.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Font {
    Tiny,
    /// As large as that around it, about.
    Relative,
    Legible,
}

/// A block of declarations; the last one of a name counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Style {
    pub is_not_displayed: Option<bool>,
    pub is_invisible: Option<bool>,
    pub has_no_opacity: Option<bool>,
    pub font: Option<Font>,
    pub colour: Option<Colour>,
    pub background: Option<Colour>,
    pub is_positioned: Option<bool>,
    /// By `left` and the like, which count where it is positioned.
    pub is_far: Option<bool>,
    pub has_far_margin: Option<bool>,
    pub is_moved: Option<bool>,
    pub has_far_indent: Option<bool>,
    pub has_no_height: Option<bool>,
    pub has_no_max_height: Option<bool>,
    pub has_no_width: Option<bool>,
    pub has_no_max_width: Option<bool>,
    pub cuts_overflow: Option<bool>,
    pub is_clipped: Option<bool>,
}

macro_rules! merge {
    ($to:ident, $from:ident, $($field:ident)*) => { $( if $from.$field.is_some() { $to.$field = $from.$field; } )* };
}

impl Style {
    /// The declarations of an attribute `style`, or of a rule: the ordinary ones, and those marked as important.
    pub fn read(block: &str) -> [Self; 2] {
        let mut styles = [Self::default(), Self::default()];
        for declaration in block.split(';').take(DECLARATIONS) {
            let Some((name, value)) = declaration.split_once(':') else { continue };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_ascii_lowercase());
            let (value, at) = match value.split_once('!') {
                Some((value, mark)) if mark.trim_start() == "important" => (value.trim_end(), 1),
                Some((value, _)) => (value.trim_end(), 0),
                None => (value.as_str(), 0),
            };
            if let Some(style) = styles.get_mut(at) {
                style.declare(&name, value);
            }
        }
        styles
    }

    /// Replaces what the other one declares.
    pub fn merge(&mut self, from: &Self) {
        let to = self;
        merge!(to, from, is_not_displayed is_invisible has_no_opacity font colour background is_positioned is_far
            has_far_margin is_moved has_far_indent has_no_height has_no_max_height has_no_width has_no_max_width
            cuts_overflow is_clipped);
    }

    /// True if something of it may hide text.
    pub fn hides(&self) -> bool {
        let hiding = [
            self.is_not_displayed,
            self.is_invisible,
            self.has_no_opacity,
            self.has_no_height,
            self.has_no_max_height,
            self.has_no_width,
            self.has_no_max_width,
        ];
        hiding.contains(&Some(true)) || self.font == Some(Font::Tiny)
    }

    /// True if it shows what [`Self::hides`] hides.
    pub fn shows(&self) -> bool {
        let showing = [
            self.is_not_displayed,
            self.is_invisible,
            self.has_no_opacity,
            self.has_no_height,
            self.has_no_max_height,
            self.has_no_width,
            self.has_no_max_width,
        ];
        showing.contains(&Some(false))
    }

    fn declare(&mut self, name: &str, value: &str) {
        match name {
            "display" => self.is_not_displayed = Some(value == "none"),
            "visibility" => {
                let is_inherited = matches!(value, "inherit" | "unset");
                self.is_invisible = (!is_inherited).then_some(matches!(value, "hidden" | "collapse"));
            }
            "opacity" => self.has_no_opacity = share(value).map(|share| share <= 0.05),
            "filter" | "-ms-filter" => {
                let compact: String = value.chars().filter(|c| !c.is_whitespace()).take(100).collect();
                let is_none = ["opacity=0)", "opacity(0)", "opacity(0%)"].iter().any(|end| compact.contains(end));
                self.has_no_opacity = is_none.then_some(true).or(self.has_no_opacity);
            }
            "font-size" => self.font = font(value).or(self.font),
            "font" => {
                let size = value.split_ascii_whitespace().map(|word| word.split('/').next().unwrap_or_default());
                let is_size =
                    |word: &&str| word.starts_with(|c: char| c.is_ascii_digit() || c == '.') && !is_weight(word);
                self.font = size.into_iter().find(is_size).and_then(font).or(self.font);
            }
            "color" | "-webkit-text-fill-color" => self.colour = Colour::read(value).or(self.colour),
            "background-color" => {
                self.background =
                    Colour::read(value).filter(|colour| *colour != Colour::Transparent).or(self.background);
            }
            "background" => self.background = Colour::of_background(value).or(self.background),
            "background-image" if value != "none" => self.background = Some(Colour::Unknown),
            "position" => self.is_positioned = Some(matches!(value, "absolute" | "fixed" | "relative")),
            "left" | "top" | "right" | "bottom" => {
                let is_far = pixels(value).is_some_and(|pixels| pixels <= -FAR || pixels >= 10.0 * FAR);
                self.is_far = Some(self.is_far == Some(true) || is_far);
            }
            "margin-left" | "margin-top" | "margin-right" | "margin-bottom" | "margin" => {
                let mut distances = value.split_ascii_whitespace().filter_map(pixels);
                let is_far = distances.any(|pixels| pixels <= -FAR);
                self.has_far_margin = Some(self.has_far_margin == Some(true) || is_far);
            }
            "transform" | "-webkit-transform" => self.is_moved = Some(is_moved(value)),
            "text-indent" => self.has_far_indent = pixels(value).map(|pixels| pixels.abs() >= FAR),
            "height" => self.has_no_height = Some(is_nothing(value)),
            "max-height" => self.has_no_max_height = Some(is_nothing(value)),
            "width" => self.has_no_width = Some(is_nothing(value)),
            "max-width" => self.has_no_max_width = Some(is_nothing(value)),
            "overflow" | "overflow-x" | "overflow-y" => {
                self.cuts_overflow = Some(value.split_ascii_whitespace().any(|word| matches!(word, "hidden" | "clip")));
            }
            "clip" => self.is_clipped = Some(is_empty_rectangle(value)),
            "clip-path" | "-webkit-clip-path" => {
                self.is_clipped = Some(
                    value.starts_with("inset(50%") || value.starts_with("inset(100%") || value.starts_with("circle(0"),
                );
            }
            _ => {}
        }
    }
}

/// A number and its unit.
fn number(value: &str) -> Option<(f32, &str)> {
    let end = value.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(value.len());
    let (number, unit) = value.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

fn share(value: &str) -> Option<f32> {
    let (number, unit) = number(value)?;
    Some(if unit == "%" { number / 100.0 } else { number })
}

/// A distance; `None` if it is not one, or a share of something.
fn pixels(value: &str) -> Option<f32> {
    let (number, unit) = number(value)?;
    match unit {
        "" | "px" => Some(number),
        "pt" => Some(number * 4.0 / 3.0),
        "em" | "rem" | "ch" | "ex" => Some(number * EM),
        "vw" | "vh" => Some(number * 8.0),
        "cm" => Some(number * 38.0),
        "mm" => Some(number * 3.8),
        "in" => Some(number * 96.0),
        "%" if number <= -100.0 => Some(-10.0 * FAR),
        _ => None,
    }
}

fn is_nothing(value: &str) -> bool {
    number(value).is_some_and(|(number, unit)| number == 0.0 || (number <= 1.0 && matches!(unit, "" | "px" | "pt")))
}

fn is_weight(word: &str) -> bool {
    word.len() == 3 && word.ends_with("00") && word.bytes().all(|octet| octet.is_ascii_digit())
}

/// `None` for what keeps the font.
fn font(value: &str) -> Option<Font> {
    if matches!(value, "inherit" | "smaller" | "larger" | "unset") {
        return Some(Font::Relative);
    }
    let Some((number, unit)) = number(value) else { return Some(Font::Legible) };
    let (is_tiny, is_relative) = match unit {
        "" | "px" | "pt" => (number <= 1.0, false),
        "em" | "ex" | "ch" => (number <= 0.1, true),
        "%" => (number <= 10.0, true),
        "rem" => (number <= 0.07, false),
        _ => (number == 0.0, false),
    };
    Some(match (is_tiny, is_relative) {
        (true, _) => Font::Tiny,
        (false, true) => Font::Relative,
        (false, false) => Font::Legible,
    })
}

/// Scaled to nothing, or moved out of the page.
fn is_moved(value: &str) -> bool {
    value.split(')').filter_map(|function| function.trim().split_once('(')).any(|(name, inner)| {
        let arguments = inner.split(',').map(str::trim);
        match name.trim() {
            "scale" | "scalex" | "scaley" => arguments.filter_map(share).any(|share| share.abs() <= 0.02),
            "translate" | "translatex" | "translatey" => arguments.filter_map(pixels).any(|pixels| pixels <= -FAR),
            _ => false,
        }
    })
}

/// `rect(0 0 0 0)`, `rect(1px, 1px, 1px, 1px)`.
fn is_empty_rectangle(value: &str) -> bool {
    let Some(inner) = value.strip_prefix("rect(").and_then(|rest| rest.split(')').next()) else { return false };
    let sides: Vec<f32> = inner.split([',', ' ']).filter(|side| !side.is_empty()).filter_map(pixels).take(4).collect();
    matches!(sides.as_slice(), [top, right, bottom, left] if bottom - top <= 1.0 || right - left <= 1.0)
}
