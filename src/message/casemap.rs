//! The comparator `i;unicode-casemap`. RFC 5051.
//!
//! Invariant: two texts are equal by it where their converted forms are, in order where these are, and one is part of another where
//! its converted form is.

use std::borrow::Cow;
use unicode_normalization::char::decompose_compatible;

/// Each character in title case, and taken apart.
pub(crate) fn casemap(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_uppercase();
    }
    let mut converted = String::with_capacity(text.len());
    for character in text.chars() {
        decompose_compatible(title_case(character), |part| converted.push(part));
    }
    converted
}

/// What the search index has of a text in lower case: where one text is part of another by `i;unicode-casemap`, its folded form is part
/// of the other's. The reverse does not hold.
pub(crate) fn folded(lower: &str) -> Cow<'_, str> {
    if lower.is_ascii() {
        return Cow::Borrowed(lower);
    }
    Cow::Owned(casemap(lower).chars().flat_map(char::to_lowercase).collect())
}

/// The simple mapping of `UnicodeData.txt`, which is one character.
fn title_case(character: char) -> char {
    match character {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        // Georgian: its capitals are for whole texts.
        '\u{10D0}'..='\u{10FF}' => character,
        // Greek with iota: upper case would be two characters.
        '\u{1F80}'..='\u{1F87}' | '\u{1F90}'..='\u{1F97}' | '\u{1FA0}'..='\u{1FA7}' => after(character, 8),
        '\u{1FB3}' | '\u{1FC3}' | '\u{1FF3}' => after(character, 9),
        _ => {
            let mut upper = character.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(one), None) => one,
                _ => character,
            }
        }
    }
}

fn after(character: char, distance: u32) -> char {
    char::from_u32(u32::from(character).saturating_add(distance)).unwrap_or(character)
}

#[cfg(test)]
mod tests {
    use super::super::searched::lower;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn characters_are_converted_as_in_unicode_data() {
        for (text, converted) in [
            ("Ascii 1", "ASCII 1"),
            ("é", "E\u{301}"),
            ("E\u{301}", "E\u{301}"),
            ("Größe", "GRO\u{308}ßE"),
            ("ǆ", "Dz\u{30C}"),
            ("ﬁ", "fi"),
            ("ς", "Σ"),
            ("Ｆｕｌｌ", "FULL"),
            ("\u{1F80}", "\u{391}\u{313}\u{345}"),
            ("\u{1FB3}", "\u{391}\u{345}"),
            ("\u{10D0}", "\u{10D0}"),
            ("한", "\u{1112}\u{1161}\u{11AB}"),
        ] {
            assert_eq!(casemap(text), converted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn part_of_a_text_is_part_of_its_converted_form(text in "\\PC{0,20}", from in 0_usize..20, length in 0_usize..20) {
            let part: String = text.chars().skip(from).take(length).collect();
            prop_assert!(casemap(&text).contains(&casemap(&part)));
            let (text_lower, part_lower) = (lower(text.clone()), lower(part));
            prop_assert!(folded(&text_lower).contains(&*folded(&part_lower)));
            prop_assert_eq!(casemap(&text.to_ascii_uppercase()), casemap(&text.to_ascii_lowercase()));
        }
    }
}
