//! Time for the daemon's timers and statuses. Invariant: timers, windows and statuses read a [`Clock`]; what is
//! written into messages (Date, Received, signatures, INTERNALDATE) reads real time through [`Timestamp::real`]. The
//! sandbox moves the clock without forging dates.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: milliseconds since the Unix epoch, UTC. Displayed as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The real time, which the sandbox cannot move.
    pub fn real() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// This moment plus `span`, saturating.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment minus `span`, saturating.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Converts to jiff's type, for formatting.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// In the format of RFC 5322 §3.3, in UTC: `Tue, 24 Nov 2026 05:31:07 +0000`.
    pub fn to_rfc5322(self) -> String {
        self.to_jiff().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_jiff().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = &'static str;

    /// Reads RFC 3339.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment: Result<jiff::Timestamp, _> = text.parse();
        moment
            .map(|moment| Self(moment.as_millisecond()))
            .map_err(|_| "must be a time as in RFC 3339: 2026-11-24T05:31:07Z")
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{KnownFormat, Object, SchemaFormat, Type};
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        Object::builder().schema_type(Type::String).format(Some(format)).into()
    }
}

impl utoipa::ToSchema for Timestamp {}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The source of time for timers.
#[derive(Clone, Debug)]
pub enum Clock {
    /// Real time.
    System,
    /// Real time plus the offset set by the sandbox.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that [`Clock::advance_to`] can move; it starts at real time.
    pub fn manual() -> Self {
        Self::Manual(Arc::new(AtomicI64::new(0)))
    }

    pub fn now(&self) -> Timestamp {
        let real = Timestamp::real();
        match self {
            Self::System => real,
            Self::Manual(offset) => Timestamp(real.0.saturating_add(offset.load(Ordering::SeqCst))),
        }
    }

    /// Moves a manual clock forward to `target`, never backward. Has no effect on a system clock.
    pub fn advance_to(&self, target: Timestamp) {
        if let Self::Manual(offset) = self {
            let gap = target.0.saturating_sub(self.now().0);
            if gap > 0 {
                offset.fetch_add(gap, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_formatted_by_the_rfcs() {
        let t = Timestamp::from_millis(1_795_498_267_042);
        assert_eq!(t.to_string(), "2026-11-24T05:31:07.042Z");
        assert_eq!(t.to_rfc5322(), "Tue, 24 Nov 2026 05:31:07 +0000");
    }

    #[test]
    fn a_manual_clock_moves_forward_only() {
        let clock = Clock::manual();
        let before = clock.now();
        clock.advance_to(before.after(Duration::from_secs(3600)));
        assert!(clock.now().since(before) >= Duration::from_secs(3600));
        clock.advance_to(before);
        assert!(clock.now().since(before) >= Duration::from_secs(3600));
    }
}
