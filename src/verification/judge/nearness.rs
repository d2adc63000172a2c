//! Detects typing errors and their position. Invariant: the reported difference is complete; values that differ in
//! more than a few characters are unrelated.

use strsim::osa_distance;

/// Maximum edit distance of a typing error.
const MAX_EDITS: usize = 3;

/// Describes how `found` differs from `wanted`, if they are similar but not equal, ignoring case.
pub(super) fn difference(found: &str, wanted: &str) -> Option<String> {
    let fold = |text: &str| text.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<char>>();
    let (a, b) = (fold(found), fold(wanted));
    // In a short value a few edits make a different value.
    let limit = MAX_EDITS.min(b.len() / 6);
    if a == b
        || a.len().abs_diff(b.len()) > limit
        || osa_distance(&found.to_ascii_lowercase(), &wanted.to_ascii_lowercase()) > limit
    {
        return None;
    }
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let tail = |text: &[char]| text.iter().skip(start).copied().collect::<Vec<char>>();
    let (a_tail, b_tail) = (tail(&a), tail(&b));
    let end = a_tail.iter().rev().zip(b_tail.iter().rev()).take_while(|(x, y)| x == y).count();
    let middle = |text: &str, length: usize| {
        text.chars().skip(start).take(length.saturating_sub(start + end)).collect::<String>()
    };
    let (has, lacks) = (middle(found, a.len()), middle(wanted, b.len()));
    let before: String = wanted.chars().take(start).collect();
    let place = match before.chars().count() {
        0 => "at the beginning".to_owned(),
        length => format!("after \"{}\"", before.chars().skip(length.saturating_sub(12)).collect::<String>()),
    };
    Some(match (has.is_empty(), lacks.is_empty()) {
        (true, _) => format!("{} is missing {place}", shown(&lacks)),
        (_, true) => format!("{} is superfluous {place}", shown(&has)),
        _ => format!("{} instead of {}, {place}", shown(&has), shown(&lacks)),
    })
}

fn shown(text: &str) -> String {
    match text {
        " " => "a space".to_owned(),
        _ => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_difference_is_shown() {
        let wanted = "t1.dkim.amazonses.com";
        let meant = |found: &str| difference(found, wanted).unwrap();
        assert_eq!(meant("t1.dkim.amazonses.co"), "\"m\" is missing after \"amazonses.co\"");
        assert_eq!(meant("t1.dkim.amazonsess.com"), "\"s\" is superfluous after \"im.amazonses\"");
        assert_eq!(
            meant("t1.dkim.amazonzes.com"),
            "\"z\" instead of \"s\", after \"dkim.amazon\"".replace("dkim.amazon", ".dkim.amazon")
        );
        assert_eq!(meant("t1.dkim.amaoznses.com"), "\"oz\" instead of \"zo\", after \"t1.dkim.ama\"");
        assert_eq!(meant("1.dkim.amazonses.com"), "\"t\" is missing at the beginning");
        assert_eq!(difference("T1.dkim.AMAZONSES.com", wanted), None);
        assert_eq!(difference("elsewhere.example", wanted), None);
        assert_eq!(difference("b", "a"), None);
    }

    proptest! {
        #[test]
        fn one_edit_is_near(at in 0usize..21, character in "[A-Z_]") {
            let wanted = "t1.dkim.amazonses.com";
            let mut typed: Vec<char> = wanted.chars().collect();
            typed.remove(at);
            let lacking: String = typed.iter().collect();
            prop_assert!(difference(&lacking, wanted).is_some());
            typed.insert(at, character.chars().next().unwrap());
            let wrong: String = typed.iter().collect();
            prop_assert_eq!(difference(&wrong, wanted).is_none(), wrong.eq_ignore_ascii_case(wanted));
        }
    }
}
