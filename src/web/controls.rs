//! Controls of forms beside text fields: choices and check boxes; and forms of one button.

use super::layout::csrf;
use super::parts::{below, described_by, faults_of};
use super::refusal::Refusal;
use super::session::Session;
use maud::{Markup, html};

/// A choice of one value. Each option has its value and what is shown.
pub(super) fn select(name: &str, label: &str, options: &[(&str, &str)], chosen: &str) -> Markup {
    html! {
        div .field {
            label for=(name) { (label) }
            select id=(name) name=(name) {
                @for (value, shown) in options { option value=(value) selected[*value == chosen] { (shown) } }
            }
        }
    }
}

/// A choice of one value, with a hint and the errors of the API's field. Where there are more options than are listed, it is a field
/// for the value, and lists them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub(super) name: &'a str,
    pub(super) label: &'a str,
    pub(super) hint: &'a str,
    /// Each has its value and what is shown.
    pub(super) options: &'a [(&'a str, &'a str)],
    pub(super) chosen: &'a str,
    pub(super) is_complete: bool,
}

impl Choice<'_> {
    pub(super) fn show(&self, refusal: Option<&Refusal>) -> Markup {
        let Self { name, label, hint, options, chosen, is_complete } = *self;
        let wrong = faults_of(refusal, name);
        let (described, is_wrong) = (described_by(name, hint, &wrong), (!wrong.is_empty()).then_some("true"));
        let is_other = !chosen.is_empty() && options.iter().all(|(value, _)| *value != chosen);
        html! {
            div .field {
                label for=(name) { (label) }
                @if is_complete {
                    select id=(name) name=(name) aria-describedby=[described] aria-invalid=[is_wrong] {
                        @if is_other { option value=(chosen) selected { (chosen) } }
                        @for (value, shown) in options { option value=(value) selected[*value == chosen] { (shown) } }
                    }
                } @else {
                    input id=(name) name=(name) value=(chosen) list={(name) "-list"} autocomplete="off" spellcheck="false" autocapitalize="none"
                        aria-describedby=[described] aria-invalid=[is_wrong];
                    datalist id={(name) "-list"} {
                        @for (value, shown) in options.iter().filter(|(value, _)| !value.is_empty()) { option value=(value) { (shown) } }
                    }
                    p .hint { "There are more than are listed: enter the id of another one. Empty: " (options.first().map_or("none", |(_, first)| first)) "." }
                }
                (below(name, label, hint, &wrong))
            }
        }
    }
}

/// A box that can be checked, with its label.
pub(super) fn check(name: &str, value: &str, label: &str, is_checked: bool) -> Markup {
    html! { label .check { input type="checkbox" name=(name) value=(value) checked[is_checked]; span { (label) } } }
}

/// A form of one button that changes something. `label` is what screen readers say instead of the text.
pub(super) fn button(session: &Session, action: &str, class: &str, text: &str, label: Option<&str>) -> Markup {
    html! {
        form .one method="post" action=(action) {
            (csrf(session))
            button class=(class) type="submit" aria-label=[label] { (text) }
        }
    }
}

/// Octets as people read them.
pub(super) fn octets(number: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| number >= *size) {
        // Tenths are enough, and exact in integers.
        Some((unit, size)) => {
            let tenths = number.saturating_mul(10).checked_div(*size).unwrap_or_default();
            format!("{}.{} {unit}", tenths.saturating_div(10), tenths % 10)
        }
        None => format!("{number} octets"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_short() {
        for (number, shown) in [
            (0, "0 octets"),
            (1023, "1023 octets"),
            (1024, "1.0 KiB"),
            (1536 * 1024, "1.5 MiB"),
            (2 << 30, "2.0 GiB"),
            (u64::MAX, "1717986918.3 GiB"),
        ] {
            assert_eq!(octets(number), shown);
        }
    }
}
