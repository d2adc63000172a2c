//! When a DNS change will be visible.

use crate::clock::Timestamp;
use serde_json::Value;

/// Parses a time of the daemon's JSON.
pub(super) fn moment(value: Option<&Value>) -> Option<Timestamp> {
    serde_json::from_value(value?.clone()).ok()
}

/// The daemon's current time: a sandbox may be ahead of real time, and was when it last checked.
pub(super) fn now(domain: &Value) -> Timestamp {
    let checked = moment(domain.get("last_checked_at"));
    checked.map_or_else(Timestamp::real, |checked| checked.max(Timestamp::real()))
}

/// `visible by 14:05 UTC, in 12 minutes` for an error with that time; `None` for others.
pub(super) fn visible(error: &Value, now: Timestamp) -> Option<String> {
    let at = moment(error.get("expected_visible_at"))?;
    let (day, today) = (at.to_jiff().strftime("%-d %B").to_string(), now.to_jiff().strftime("%-d %B").to_string());
    let time = at.to_jiff().strftime("%H:%M UTC");
    let when = if day == today { time.to_string() } else { format!("{day}, {time}") };
    Some(match at.since(now).as_secs() {
        0 => format!("visible since {when}: verify again"),
        left => format!("visible by {when}, in {}", span(left)),
    })
}

/// Rounded up, so that nothing is checked too early.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..7200 => (seconds.div_ceil(60), "minute"),
        7200..172_800 => (seconds.div_ceil(3600), "hour"),
        _ => (seconds.div_ceil(86_400), "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_remaining_time_is_spelled_out() {
        let now = moment(Some(&json!("2026-11-24T13:53:10Z"))).unwrap();
        for (at, words) in [
            ("2026-11-24T14:05:00Z", "visible by 14:05 UTC, in 12 minutes"),
            ("2026-11-24T13:53:11Z", "visible by 13:53 UTC, in 1 second"),
            ("2026-11-24T13:54:10Z", "visible by 13:54 UTC, in 1 minute"),
            ("2026-11-24T16:53:10Z", "visible by 16:53 UTC, in 3 hours"),
            ("2026-11-25T00:01:00Z", "visible by 25 November, 00:01 UTC, in 11 hours"),
            ("2026-12-01T13:00:00Z", "visible by 1 December, 13:00 UTC, in 7 days"),
            ("2026-11-24T13:53:10Z", "visible since 13:53 UTC: verify again"),
            ("2026-11-23T09:00:00Z", "visible since 23 November, 09:00 UTC: verify again"),
        ] {
            assert_eq!(visible(&json!({"expected_visible_at": at}), now).as_deref(), Some(words));
        }
        assert_eq!(visible(&json!({}), now), None);
        assert_eq!(visible(&json!({"expected_visible_at": "soon"}), now), None);
    }

    #[test]
    fn a_sandbox_that_is_ahead_has_its_own_now() {
        let ahead = Timestamp::real().after(std::time::Duration::from_secs(86_400));
        assert_eq!(super::now(&json!({"last_checked_at": ahead})), ahead);
        assert!(super::now(&json!({"last_checked_at": null})) < ahead);
    }
}
