//! Points in time and spans of time, in nanoseconds.
//!
//! Both are signed 64-bit counts: a [`Timestamp`] from 1970-01-01T00:00:00 UTC, which reaches from 1677 to 2262, a
//! [`Timespan`] of up to 292 years either way. Arithmetic says `None` where the result does not fit.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Nanoseconds since 1970-01-01T00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00 UTC.
    pub const EPOCH: Self = Self(0);

    /// The latest point in time.
    pub const MAX: Self = Self(i64::MAX);

    /// The point `nanos` nanoseconds after the epoch.
    #[must_use]
    #[inline]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The point `seconds` after the epoch, cut to nanoseconds toward zero as Zeek does; beyond the range the nearest
    /// point in it, and the epoch for NaN.
    #[must_use]
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self(nanos_from_secs(seconds))
    }

    /// The system clock.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    #[inline]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, rounded to the nearest `f64`.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        secs_from_nanos(self.0)
    }

    /// This point moved by `span`.
    #[must_use]
    pub fn checked_add(self, span: Timespan) -> Option<Self> {
        self.0.checked_add(span.0).map(Self)
    }

    /// This point moved back by `span`.
    #[must_use]
    pub fn checked_sub(self, span: Timespan) -> Option<Self> {
        self.0.checked_sub(span.0).map(Self)
    }

    /// This point moved by `span`, or the first or last point there is.
    #[must_use]
    pub fn saturating_add(self, span: Timespan) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to this point, or the longest one there is.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Timespan {
        Timespan(self.0.saturating_sub(earlier.0))
    }
}

/// Beyond the range the nearest point in it.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(Timespan::from(after).0),
            Err(before) => Self(-Timespan::from(before.duration()).0),
        }
    }
}

/// Nanoseconds followed by `ns`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

/// A span of time in nanoseconds; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timespan(i64);

impl Timespan {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `nanos` nanoseconds.
    #[must_use]
    #[inline]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// A span of whole seconds; the longest one there is if they do not fit.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// A span of `seconds`, cut to nanoseconds toward zero as Zeek does; beyond the range the nearest span in it, and
    /// zero for NaN.
    #[must_use]
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self(nanos_from_secs(seconds))
    }

    /// The nanoseconds.
    #[must_use]
    #[inline]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The seconds, rounded to the nearest `f64`.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        secs_from_nanos(self.0)
    }

    /// The sum, if it fits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, if it fits.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The span as a duration of the standard library; `None` if it is negative.
    #[must_use]
    pub fn to_duration(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

/// The longest span there is if the duration does not fit.
impl From<Duration> for Timespan {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Nanoseconds followed by `ns`.
impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

fn nanos_from_secs(seconds: f64) -> i64 {
    // `as` cuts toward zero, saturates and takes NaN as 0.
    (seconds * NANOS_PER_SECOND as f64) as i64
}

fn secs_from_nanos(nanos: i64) -> f64 {
    nanos as f64 / NANOS_PER_SECOND as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_cut_toward_zero() {
        assert_eq!(Timespan::from_secs_f64(-1.5e-9), Timespan::from_nanos(-1));
        assert_eq!(
            Timestamp::from_secs_f64(1.5),
            Timestamp::from_nanos(1_500_000_000)
        );
        assert_eq!(Timestamp::from_secs_f64(f64::INFINITY), Timestamp::MAX);
        assert_eq!(Timestamp::from_secs_f64(f64::NAN), Timestamp::EPOCH);
    }

    #[test]
    fn arithmetic_outside_the_range_is_none() {
        assert_eq!(Timestamp::MAX.checked_add(Timespan::from_nanos(1)), None);
        assert_eq!(
            Timestamp::EPOCH.checked_sub(Timespan::from_nanos(5)),
            Some(Timestamp::from_nanos(-5))
        );
        assert_eq!(
            Timestamp::MAX.saturating_add(Timespan::from_secs(1)),
            Timestamp::MAX
        );
        assert_eq!(
            Timespan::from_secs(i64::MAX),
            Timespan::from_nanos(i64::MAX)
        );
        assert_eq!(Timespan::from_nanos(-1).to_duration(), None);
    }

    #[test]
    fn times_before_the_epoch_are_negative() {
        let before = UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(Timestamp::from(before), Timestamp::from_nanos(-500_000_000));
    }

    #[test]
    fn text_is_nanoseconds() {
        assert_eq!(
            Timestamp::from_nanos(1_404_901_004_123_456_789).to_string(),
            "1404901004123456789ns"
        );
        assert_eq!(Timespan::from_nanos(-1500).to_string(), "-1500ns");
    }
}
