//! Colours of CSS, as far as mail uses them. CSS Color 4.

/// The greatest difference of a channel between colours that look the same.
const SAME: u8 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Opaque([u8; 3]),
    Transparent,
    /// Not understood, or mixed with what is behind it.
    Unknown,
}

impl Colour {
    pub const BLACK: Self = Self::Opaque([0; 3]);
    pub const WHITE: Self = Self::Opaque([255; 3]);

    /// `None` for values that keep the colour as it is. In lower case.
    pub fn read(value: &str) -> Option<Self> {
        match value {
            "inherit" | "initial" | "unset" | "revert" | "currentcolor" | "auto" | "" => None,
            "transparent" => Some(Self::Transparent),
            _ => Some(
                Self::of_digits(value)
                    .or_else(|| Self::of_function(value))
                    .or_else(|| Self::named(value))
                    .unwrap_or(Self::Unknown),
            ),
        }
    }

    /// The colour in a shorthand of a background; `None` if it has none.
    pub fn of_background(value: &str) -> Option<Self> {
        if value.contains("url(") || value.contains("gradient(") || value.contains("image(") {
            return Some(Self::Unknown);
        }
        if value.starts_with("rgb") || value.starts_with("hsl") {
            return Self::read(value);
        }
        let is_known = |found: &Self| *found != Self::Unknown;
        let words = value.split_ascii_whitespace().filter(|word| *word != "none");
        let found = words.map(Self::read).find_map(|colour| colour.filter(is_known));
        // Behind a transparent element is what was there before.
        found.filter(|found| *found != Self::Transparent)
    }

    fn of_digits(value: &str) -> Option<Self> {
        let digits = value.strip_prefix('#').unwrap_or(value);
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let nibble = |at: usize| digits.get(at..=at).and_then(|digit| u8::from_str_radix(digit, 16).ok());
        let octet = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let (channels, alpha) = match digits.len() {
            3 | 4 if value.starts_with('#') => {
                ([nibble(0)? * 17, nibble(1)? * 17, nibble(2)? * 17], nibble(3).map(|alpha| alpha * 17))
            }
            6 | 8 => ([octet(0)?, octet(2)?, octet(4)?], octet(6)),
            _ => return None,
        };
        Some(Self::with_alpha(channels, f32::from(alpha.unwrap_or(255)) / 255.0))
    }

    fn of_function(value: &str) -> Option<Self> {
        let (name, rest) = value.split_once('(')?;
        let inner = rest.split(')').next().unwrap_or_default();
        let mut numbers =
            inner.split([',', ' ', '/']).filter(|text| !text.is_empty()).map(|text| match text.strip_suffix('%') {
                Some(percent) => percent.parse::<f32>().ok().map(|percent| (percent / 100.0, true)),
                None => text.parse::<f32>().ok().map(|number| (number, false)),
            });
        let numbers: [Option<(f32, bool)>; 4] = std::array::from_fn(|_| numbers.next().flatten());
        let [Some(first), Some(second), Some(third), alpha] = numbers else { return None };
        let alpha = alpha.map_or(1.0, |(alpha, _)| alpha);
        match name.trim() {
            "rgb" | "rgba" => Some(Self::with_alpha([first, second, third].map(channel), alpha)),
            // The hue alone does not say how light it is.
            "hsl" | "hsla" if alpha <= 0.05 => Some(Self::Transparent),
            "hsl" | "hsla" if third.0 >= 0.995 => Some(Self::with_alpha([255; 3], alpha)),
            "hsl" | "hsla" if third.0 <= 0.005 => Some(Self::with_alpha([0; 3], alpha)),
            _ => None,
        }
    }

    fn with_alpha(channels: [u8; 3], alpha: f32) -> Self {
        if alpha <= 0.05 {
            Self::Transparent
        } else if alpha < 0.95 {
            Self::Unknown
        } else {
            Self::Opaque(channels)
        }
    }

    fn named(value: &str) -> Option<Self> {
        let channels = match value {
            "white" => [255, 255, 255],
            "snow" => [255, 250, 250],
            "ivory" => [255, 255, 240],
            "whitesmoke" => [245, 245, 245],
            "ghostwhite" => [248, 248, 255],
            "black" => [0, 0, 0],
            "gray" | "grey" => [128, 128, 128],
            "silver" => [192, 192, 192],
            "lightgray" | "lightgrey" => [211, 211, 211],
            "gainsboro" => [220, 220, 220],
            "red" => [255, 0, 0],
            "lime" => [0, 255, 0],
            "green" => [0, 128, 0],
            "blue" => [0, 0, 255],
            "navy" => [0, 0, 128],
            "yellow" => [255, 255, 0],
            "orange" => [255, 165, 0],
            _ => return None,
        };
        Some(Self::Opaque(channels))
    }

    /// True if text of this colour is not seen on that background.
    pub fn is_invisible_on(self, background: Self) -> bool {
        match (self, background) {
            (Self::Opaque(text), Self::Opaque(behind)) => {
                text.into_iter().zip(behind).all(|(one, other)| one.abs_diff(other) <= SAME)
            }
            _ => false,
        }
    }
}

/// A channel of `rgb()`: a number up to 255, or a share.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 255")]
fn channel((number, is_share): (f32, bool)) -> u8 {
    let number = if is_share { number * 255.0 } else { number };
    number.clamp(0.0, 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_in_all_forms() {
        for (value, wanted) in [
            ("#fff", Colour::WHITE),
            ("#ffffff", Colour::WHITE),
            ("ffffff", Colour::WHITE),
            ("#ffffff00", Colour::Transparent),
            ("#0008", Colour::Unknown),
            ("rgb(255, 255,255)", Colour::WHITE),
            ("rgb(100% 100% 100% / 1)", Colour::WHITE),
            ("rgba(0,0,0,0)", Colour::Transparent),
            ("rgba(0,0,0,.5)", Colour::Unknown),
            ("hsl(0, 0%, 100%)", Colour::WHITE),
            ("hsl(120, 50%, 50%)", Colour::Unknown),
            ("black", Colour::BLACK),
            ("papayawhip", Colour::Unknown),
            ("#12", Colour::Unknown),
            ("é", Colour::Unknown),
        ] {
            assert_eq!(Colour::read(value), Some(wanted), "{value}");
        }
        assert_eq!(Colour::read("inherit"), None);
        for (value, wanted) in [
            ("#fff url(a.png) no-repeat", Some(Colour::Unknown)),
            ("none", None),
            ("transparent", None),
            ("no-repeat #fff", Some(Colour::WHITE)),
            ("rgb(255, 255, 255)", Some(Colour::WHITE)),
            ("linear-gradient(#fff, #000)", Some(Colour::Unknown)),
        ] {
            assert_eq!(Colour::of_background(value), wanted, "{value}");
        }
        assert!(Colour::read("#fefefe").unwrap().is_invisible_on(Colour::WHITE));
        assert!(!Colour::read("#ddd").unwrap().is_invisible_on(Colour::WHITE));
    }
}
