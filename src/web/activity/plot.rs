//! Plots, made by the server: bars of counts over time, and a strip of statuses. Colours are classes of the style sheet.

use crate::clock::Timestamp;
use maud::{Markup, html};

/// The height of a plot, and the width of a bar with its gap, in units of its own.
const HEIGHT: u64 = 100;
const STEP: usize = 10;

/// How high a bar is. One that is not 0 can be seen.
fn height(value: u64, highest: u64) -> u64 {
    let height = value.saturating_mul(HEIGHT).checked_div(highest).unwrap_or_default();
    if value > 0 { height.max(2) } else { 0 }
}

/// Bars, each with the time that it is of and its count; `ends` are the first and the last time as the axis shows them.
pub(super) fn bars(
    id: &str,
    name: &str,
    class: &str,
    values: &[(&str, u64)],
    ends: (Option<&Markup>, Option<&Markup>),
) -> Markup {
    let highest = values.iter().map(|(_, value)| *value).max().unwrap_or_default();
    let total = values.iter().fold(0_u64, |total, (_, value)| total.saturating_add(*value));
    let width = values.len().saturating_mul(STEP);
    let described = format!("{name}: {total} in all, at most {highest}");
    html! {
        figure .plot {
            figcaption { strong { (name) } " " span .hint { (total) " in all" @if highest > 0 { ", at most " (highest) } } }
            svg viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-labelledby=(id) {
                title id=(id) { (described) }
                @for (at, (time, value)) in values.iter().enumerate() {
                    @let bar = height(*value, highest);
                    @if bar > 0 {
                        rect .(class) x=(at.saturating_mul(STEP).saturating_add(1)) y=(HEIGHT.saturating_sub(bar))
                            width=(STEP.saturating_sub(2)) height=(bar) { (bar_title(time, *value)) }
                    }
                }
            }
            @if let (Some(first), Some(last)) = ends {
                div .axis { span { (first) } span { (last) } }
            }
        }
    }
}

/// A day in UTC, or an hour, which the page's script shows in the reader's zone.
fn bar_title(time: &str, value: u64) -> Markup {
    let shown = time.get(..16).map_or_else(|| time.to_owned(), |hour| format!("{} UTC", hour.replace('T', " ")));
    html! { title data-at=[time.contains('T').then_some(time)] { (shown) ": " (value) } }
}

/// What a strip shows, in words: for how much of the time there was which status.
pub(super) fn described(parts: &[Part]) -> String {
    let words =
        parts.iter().map(|part| format!("{} for {} %", part.status, (part.to.saturating_sub(part.from) + 5) / 10));
    words.collect::<Vec<_>>().join(", then ")
}

/// A status from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Since {
    pub(super) at: Timestamp,
    pub(super) status: String,
}

/// A part of a strip, in permille of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    from: i64,
    to: i64,
    status: String,
}

/// The statuses within a time; `changes` are in order. Before the first one there is none.
pub(super) fn parts(changes: &[Since], from: Timestamp, to: Timestamp) -> Vec<Part> {
    let whole = to.millis().saturating_sub(from.millis());
    let place = |at: Timestamp| {
        let within = at.millis().clamp(from.millis(), to.millis()).saturating_sub(from.millis());
        within.saturating_mul(1000).checked_div(whole).unwrap_or_default()
    };
    let ends = changes.iter().skip(1).map(|change| change.at).chain([to]);
    let all = changes.iter().zip(ends).map(|(change, end)| {
        let status = change.status.clone();
        Part { from: place(change.at), to: place(end), status }
    });
    all.filter(|part| part.from < part.to).collect()
}

/// A strip of statuses over time.
pub(super) fn strip(id: &str, described: &str, parts: &[Part]) -> Markup {
    html! {
        svg .strip viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-labelledby=(id) {
            title id=(id) { (described) }
            rect .empty x="0" y="0" width="1000" height="20" {}
            @for part in parts {
                // Differences are seen without colours, too.
                @let (class, y) = match part.status.as_str() { "verified" => ("good", 0), "failed" => ("bad", 12), _ => ("warn", 6) };
                rect .(class) x=(part.from) y=(y) width=(part.to.saturating_sub(part.from)) height=(20 - y) { title { (part.status) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_can_be_seen() {
        assert_eq!([0, 1, 50, 100].map(|value| height(value, 100)), [0, 2, 50, 100]);
        assert_eq!((height(0, 0), height(1, u64::MAX)), (0, 2));
        let at = html! { "00:00" };
        let values = [("00:00", 0), ("01:00", 4), ("02:00", 2)];
        let text = bars("p", "Sent", "sent", &values, (Some(&at), Some(&at))).into_string();
        assert_eq!(text.matches("<rect").count(), 2, "{text}");
        assert!(text.contains("<title>01:00: 4</title>") && text.contains("height=\"50\""), "{text}");
        let hour = bar_title("2026-11-30T21:00:00Z", 4).into_string();
        assert_eq!(hour, "<title data-at=\"2026-11-30T21:00:00Z\">2026-11-30 21:00 UTC: 4</title>");
        assert!(text.contains("viewBox=\"0 0 30 100\"") && text.contains("6 in all, at most 4"), "{text}");
        assert_eq!(bars("p", "<b>", "sent", &[], (None, None)).into_string().matches("<b>").count(), 0);
    }

    #[test]
    fn a_strip_has_each_status_from_its_time_on() {
        let at = Timestamp::from_millis;
        let since = |millis, status: &str| Since { at: at(millis), status: status.to_owned() };
        let part = |from, to, status: &str| Part { from, to, status: status.to_owned() };
        let changes = [since(0, "pending"), since(1250, "verified"), since(1500, "failed")];
        assert_eq!(
            parts(&changes, at(1000), at(2000)),
            [part(0, 250, "pending"), part(250, 500, "verified"), part(500, 1000, "failed")]
        );
        let all = parts(&changes, at(1000), at(2000));
        assert_eq!(described(&all), "pending for 25 %, then verified for 25 %, then failed for 50 %");
        // What ended before, and what begins within.
        assert_eq!(parts(&changes, at(1600), at(2000)), [part(0, 1000, "failed")]);
        assert_eq!(parts(&[since(1500, "pending")], at(1000), at(2000)), [part(500, 1000, "pending")]);
        assert_eq!(parts(&changes, at(1000), at(1000)), []);
    }
}
