//! When a log file is rotated and what it is called then (reference, zeek-cluster 2.6 and 6.10).
//!
//! Intervals are aligned: a file of an hour ends at the full hour of local time, whenever it was begun. Boundaries are
//! multiples of the interval counted from the start of the local day, so that after midnight they are counted anew, as
//! Zeek does. Neither reads a clock nor touches a file.
//!
//! A file counts, and is named, from the boundary before its first record: records of nine to ten o'clock are in the file
//! of nine o'clock, even if the first came at twenty past. Only the first file of a log counts from when it was opened.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Zoned};

use super::options::{RotatedNames, RotationRule};
use crate::log::meta_time;

/// One open log file's way to its rotation.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    rule: RotationRule,
    base: Duration,
    since: Timestamp,
    due: Option<Timestamp>,
}

impl Rotation {
    /// For a file that was opened at `opened`.
    pub(crate) fn new(rule: RotationRule, base: Duration, opened: &Zoned) -> Self {
        let mut rotation = Self {
            rule,
            base,
            since: opened.timestamp(),
            due: None,
        };
        rotation.begin(opened);
        rotation
    }

    /// Counts from `now` on: after a rotation, or for a file that was empty at its boundary.
    pub(crate) fn begin(&mut self, now: &Zoned) {
        self.since = now.timestamp();
        self.schedule(now);
    }

    /// A file is opened some time after a rotation. Returns what it counts from: the boundary before it if there was one since
    /// the rotation, else the rotation; by size alone the moment itself.
    pub(crate) fn reopen(&mut self, now: &Zoned) -> Timestamp {
        self.since = match self.rule.interval {
            Some(interval) => self
                .since
                .max(last_boundary(now, interval, self.base))
                .min(now.timestamp()),
            None => now.timestamp(),
        };
        self.schedule(now);
        self.since
    }

    fn schedule(&mut self, now: &Zoned) {
        self.due = self
            .rule
            .interval
            .map(|interval| next_boundary(now, interval, self.base));
    }

    /// When the file is to be looked at, if its size does not say so before.
    pub(crate) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Whether the file, `bytes` long, has had enough.
    pub(crate) fn is_due(&mut self, now: &Zoned, bytes: u64) -> bool {
        if self.rule.max_bytes.is_some_and(|max| bytes >= max) {
            return true;
        }
        // A clock that was set back by more than an interval would leave the file open for as long.
        if let (Some(due), Some(interval)) = (self.due, self.rule.interval)
            && due.duration_since(now.timestamp()) > signed(interval).saturating_mul(2)
        {
            self.begin(now);
        }
        self.due.is_some_and(|due| now.timestamp() >= due)
    }

    /// After a rotation that failed: not again before `later`.
    pub(crate) fn postpone(&mut self, later: Timestamp) {
        self.due = Some(later);
    }
}

/// The first multiple of `interval` after `now`, counted from `base` after the start of the local day.
pub(crate) fn next_boundary(now: &Zoned, interval: Duration, base: Duration) -> Timestamp {
    boundary(now, interval, base, 1)
}

/// The last multiple of `interval` until `now`, counted in the same way.
fn last_boundary(now: &Zoned, interval: Duration, base: Duration) -> Timestamp {
    boundary(now, interval, base, 0)
}

/// The boundary until `now`, or the `ahead`th after it.
fn boundary(now: &Zoned, interval: Duration, base: Duration, ahead: i64) -> Timestamp {
    let interval = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX).max(1);
    let base = i64::try_from(base.as_secs()).unwrap_or(0);
    // Start of day fails only at the ends of the calendar.
    let origin = now
        .start_of_day()
        .map_or_else(|_| now.timestamp(), |day| day.timestamp())
        .as_second()
        .saturating_add(base);
    let since = now.timestamp().as_second().saturating_sub(origin);
    let passed = since.div_euclid(interval);
    let at = origin.saturating_add(passed.saturating_add(ahead).saturating_mul(interval));
    Timestamp::from_second(at).unwrap_or(Timestamp::MAX)
}

/// The name of a rotated file without suffix; `nth` counts files that would have the same name, from 1.
pub(crate) fn rotated_stem(
    names: RotatedNames,
    path: &str,
    open: &Zoned,
    close: &Zoned,
    node: &str,
    nth: u32,
) -> String {
    let (open, close) = (meta_time(open), meta_time(close));
    let again = if nth > 1 {
        format!("-{nth}")
    } else {
        String::new()
    };
    match names {
        RotatedNames::Zeek => format!("{path}.{open}{again}"),
        RotatedNames::OpenClose => format!("{path}.{open}-{close}{again}"),
        RotatedNames::Archiver => {
            let again = if nth > 1 {
                format!(",n={nth}")
            } else {
                String::new()
            };
            format!("{path}__{open}__{close}__log_suffix={node}{again}__")
        }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use jiff::tz::{Offset, TimeZone};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A time of 2026-11-27, an hour east of Greenwich.
    fn at(hour: i8, minute: i8, second: i8) -> Zoned {
        date(2026, 11, 27)
            .at(hour, minute, second, 0)
            .to_zoned(TimeZone::fixed(Offset::constant(1)))
            .unwrap()
    }

    fn rule(interval: Option<Duration>, max_bytes: Option<u64>) -> RotationRule {
        RotationRule {
            interval,
            max_bytes,
        }
    }

    #[test]
    fn boundaries_are_multiples_counted_from_local_midnight() {
        for (interval, base, now, expected) in [
            (HOUR, Duration::ZERO, at(9, 14, 35), at(10, 0, 0)),
            (HOUR, Duration::ZERO, at(9, 0, 0), at(10, 0, 0)),
            (HOUR, Duration::from_secs(600), at(9, 5, 0), at(9, 10, 0)),
            (HOUR, Duration::from_secs(600), at(0, 5, 0), at(0, 10, 0)),
            (7 * HOUR, Duration::ZERO, at(9, 0, 0), at(14, 0, 0)),
            (24 * HOUR, Duration::ZERO, at(9, 0, 0), at(23, 59, 59)),
        ] {
            let next = next_boundary(&now, interval, base);
            let expected = if interval == 24 * HOUR {
                expected.timestamp() + SignedDuration::from_secs(1)
            } else {
                expected.timestamp()
            };
            assert_eq!(next, expected, "{interval:?} from {base:?} at {now}");
        }
    }

    #[test]
    fn a_file_is_due_at_its_boundary_or_its_size_and_not_before() {
        let mut rotation =
            Rotation::new(rule(Some(HOUR), Some(1000)), Duration::ZERO, &at(9, 30, 0));
        assert!(!rotation.is_due(&at(9, 59, 59), 999));
        assert!(rotation.is_due(&at(9, 59, 59), 1000));
        assert!(rotation.is_due(&at(10, 0, 0), 0));
        assert!(rotation.is_due(&at(12, 0, 0), 0));
        rotation.begin(&at(12, 0, 1));
        assert!(!rotation.is_due(&at(12, 0, 1), 0));
        assert_eq!(rotation.due(), Some(at(13, 0, 0).timestamp()));
        let mut never = Rotation::new(rule(None, None), Duration::ZERO, &at(9, 0, 0));
        assert!(!never.is_due(&at(23, 0, 0), u64::MAX));
        assert_eq!(never.due(), None);
    }

    #[test]
    fn a_file_counts_from_the_boundary_before_its_first_record() {
        let mut hourly = Rotation::new(rule(Some(HOUR), None), Duration::ZERO, &at(9, 30, 0));
        hourly.begin(&at(10, 0, 1));
        // Within the hour of the rotation: from the rotation on, which is a moment after its boundary.
        assert_eq!(hourly.reopen(&at(10, 20, 0)), at(10, 0, 1).timestamp());
        assert_eq!(hourly.due(), Some(at(11, 0, 0).timestamp()));
        // Hours without a record later.
        assert_eq!(hourly.reopen(&at(13, 20, 0)), at(13, 0, 0).timestamp());
        assert_eq!(hourly.due(), Some(at(14, 0, 0).timestamp()));
        // The clock was set back behind the rotation.
        hourly.begin(&at(14, 0, 0));
        assert_eq!(hourly.reopen(&at(9, 20, 0)), at(9, 20, 0).timestamp());

        let mut by_size = Rotation::new(rule(None, Some(10)), Duration::ZERO, &at(9, 30, 0));
        by_size.begin(&at(10, 0, 0));
        assert_eq!(by_size.reopen(&at(10, 20, 0)), at(10, 20, 0).timestamp());
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_a_file_open() {
        let mut rotation = Rotation::new(rule(Some(HOUR), None), Duration::ZERO, &at(20, 30, 0));
        assert!(!rotation.is_due(&at(9, 30, 0), 0));
        assert_eq!(rotation.due(), Some(at(10, 0, 0).timestamp()));
    }

    #[test]
    fn names_say_when_the_file_was_open() {
        let stem =
            |names, nth| rotated_stem(names, "conn", &at(9, 0, 1), &at(10, 0, 0), "logger-1", nth);
        assert_eq!(stem(RotatedNames::Zeek, 1), "conn.2026-11-27-09-00-01");
        assert_eq!(stem(RotatedNames::Zeek, 2), "conn.2026-11-27-09-00-01-2");
        assert_eq!(
            stem(RotatedNames::OpenClose, 1),
            "conn.2026-11-27-09-00-01-2026-11-27-10-00-00"
        );
        assert_eq!(
            stem(RotatedNames::Archiver, 1),
            "conn__2026-11-27-09-00-01__2026-11-27-10-00-00__log_suffix=logger-1__"
        );
        assert_eq!(
            stem(RotatedNames::Archiver, 3),
            "conn__2026-11-27-09-00-01__2026-11-27-10-00-00__log_suffix=logger-1,n=3__"
        );
    }
}
