//! How masters and clones are attached.

use std::time::Duration;

use crate::channel::TICK;
use crate::clone::Patience;

/// How a master is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterOptions {
    pub(crate) request_timeout: Duration,
}

impl Default for MasterOptions {
    fn default() -> Self {
        Self {
            request_timeout: REQUEST_TIMEOUT,
        }
    }
}

impl MasterOptions {
    /// How long a caller on this node waits for an answer. Default: 10 s. Too short a time makes writes fail that are
    /// applied nevertheless.
    #[must_use]
    pub const fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }
}

/// How a clone is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneOptions {
    pub(crate) request_timeout: Duration,
    pub(crate) get_delay: Duration,
    pub(crate) master_timeout: Duration,
    pub(crate) stale_interval: Option<Duration>,
    pub(crate) mutation_buffer: Duration,
}

impl Default for CloneOptions {
    fn default() -> Self {
        let patience = Patience::default();
        Self {
            request_timeout: REQUEST_TIMEOUT,
            get_delay: Duration::from_secs(5),
            master_timeout: TICK * u32::try_from(patience.silence).unwrap_or(u32::MAX),
            stale_interval: Some(Duration::from_secs(300)),
            mutation_buffer: Duration::from_secs(120),
        }
    }
}

impl CloneOptions {
    /// How long a caller on this node waits for the answer to a write. Default: 10 s. Too short a time makes writes fail
    /// that are applied nevertheless.
    #[must_use]
    pub const fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long a read waits for the first snapshot. Default: 5 s.
    #[must_use]
    pub const fn get_delay(mut self, delay: Duration) -> Self {
        self.get_delay = delay;
        self
    }

    /// Silence after which the clone looks for its master anew. Default: 5 s. A master speaks every 500 ms; with less
    /// than two seconds a short stall costs a whole snapshot.
    #[must_use]
    pub const fn master_timeout(mut self, timeout: Duration) -> Self {
        self.master_timeout = timeout;
        self
    }

    /// How long the old content may be read once the master is lost; `None` is for ever. Default: 5 min.
    #[must_use]
    pub const fn stale_interval(mut self, interval: Option<Duration>) -> Self {
        self.stale_interval = interval;
        self
    }

    /// How long a write waits for a master before it is given up. Default: 2 min.
    #[must_use]
    pub const fn mutation_buffer(mut self, interval: Duration) -> Self {
        self.mutation_buffer = interval;
        self
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            silence: ticks(self.master_timeout).max(1),
            stale: self.stale_interval.map(ticks),
            write: ticks(self.mutation_buffer),
        }
    }
}

/// What any request to a store is given.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Whole ticks in `span`, rounded up.
fn ticks(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_options_are_those_of_the_state_machine() {
        assert_eq!(CloneOptions::default().patience(), Patience::default());
        assert_eq!(ticks(Duration::from_millis(150)), 2);
    }
}
