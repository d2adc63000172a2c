//! What follows from an attempt. Pure.
//!
//! Invariant: an endpoint gets at least a day of attempts before a delivery fails, unless it refuses the request itself.
//! RFC 9110 §10.2.3 (Retry-After), §15.

use crate::clock::Timestamp;
use crate::store::webhooks::deliveries::Next;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// Seconds between attempts: eleven in a day.
const PAUSES: [u64; 10] =
    [5, 30, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 8 * HOUR + 30 * MINUTE];
/// A pause is up to a tenth longer, so that the deliveries of an outage do not all come back at once.
const SPREAD: u32 = 10;
/// The longest pause that an endpoint can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(8 * HOUR);

/// What came back from an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Status {
        code: u16,
        retry_after: Option<Duration>,
    },
    /// No answer, and why.
    Failed(String),
}

impl Answer {
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Status { code: 200..=299, .. })
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            Self::Failed(_) => None,
        }
    }

    /// What the log of attempts says beside the status.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Status { code: 300..=399, .. } => {
                Some("redirects are not followed: subscribe the target's URL".into())
            }
            Self::Status { .. } => None,
            Self::Failed(error) => Some(error.clone()),
        }
    }
}

/// What follows from the answer to an attempt before which there were `retries` others. `random` spreads the next ones.
pub fn next(answer: &Answer, retries: u32, random: u8, now: Timestamp) -> Next {
    let (is_temporary, retry_after) = match answer {
        _ if answer.is_success() => return Next::Delivered,
        Answer::Status { code: 410, .. } => return Next::Gone,
        Answer::Status { code: 408 | 425 | 429 | 500.., retry_after } => (true, *retry_after),
        Answer::Status { .. } => (false, None),
        Answer::Failed(_) => (true, None),
    };
    let pause = usize::try_from(retries).ok().and_then(|retries| PAUSES.get(retries));
    match pause {
        Some(seconds) if is_temporary => {
            let pause = Duration::from_secs(*seconds);
            let spread = pause / SPREAD * u32::from(random) / u32::from(u8::MAX);
            let requested = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
            Next::Retry(now.after((pause + spread).max(requested)))
        }
        _ => Next::Failed,
    }
}

/// The pause that a Retry-After field asks for: seconds, or a date.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    Some(Timestamp::from_millis(date.timestamp().as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_498_267_000);

    fn status(code: u16, retry_after: Option<u64>) -> Answer {
        Answer::Status { code, retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn temporary_answers_are_retried_and_others_are_final() {
        let of = |answer: &Answer| next(answer, 0, 0, NOW);
        let retry = Next::Retry(NOW.after(Duration::from_secs(5)));
        for code in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(of(&status(code, None)), retry, "{code}");
        }
        assert_eq!(of(&Answer::Failed("refused".into())), retry);
        for code in [301, 302, 307, 308, 304, 400, 401, 403, 404, 413, 422] {
            assert_eq!(of(&status(code, None)), Next::Failed, "{code}");
        }
        for code in [200, 201, 202, 204] {
            assert_eq!(of(&status(code, None)), Next::Delivered, "{code}");
        }
        assert_eq!(of(&status(410, None)), Next::Gone);
    }

    #[test]
    fn attempts_are_spread_over_a_day() {
        for random in [0, 255] {
            let (mut now, mut retries) = (NOW, 0);
            while let Next::Retry(at) = next(&status(500, None), retries, random, now) {
                assert!(at > now);
                (now, retries) = (at, retries + 1);
            }
            let hours = now.since(NOW).as_secs() / HOUR;
            assert_eq!((retries, hours / 24), (10, 1), "{hours} h");
        }
    }

    #[test]
    fn the_endpoint_can_ask_for_a_longer_pause() {
        let pause = |seconds| match next(&status(503, Some(seconds)), 0, 0, NOW) {
            Next::Retry(at) => at.since(NOW).as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!((pause(1), pause(600), pause(u64::MAX)), (5, 600, 8 * HOUR));
        assert_eq!(retry_after("120", NOW), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Tue, 24 Nov 2026 05:32:07 GMT", NOW), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Tue, 24 Nov 2020 05:32:07 GMT", NOW), Some(Duration::ZERO));
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(retry_after(bad, NOW), None, "{bad}");
        }
    }
}
