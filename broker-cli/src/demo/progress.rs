//! Progress on stderr while a demo runs, if that is a terminal.

use std::time::Duration;

use broker_core::NodeStatus;
use indicatif::{ProgressBar, ProgressStyle};

use super::figures;
use crate::supervisor::eprintln_line;

/// One line that changes.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows nothing where stderr is no terminal.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
        bar.set_message("starting the nodes");
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    /// Shows how far the nodes are.
    pub(super) fn show<'a>(&self, statuses: impl Iterator<Item = &'a NodeStatus>) {
        let (mut read, mut written, mut published, mut received) = (0, 0, 0, 0);
        for status in statuses {
            let counter = |name: &str| status.counters.get(name).copied().unwrap_or(0);
            read += counter(figures::RECORDS_IN);
            published += counter(figures::EVENTS_PUBLISHED);
            received += counter(figures::EVENTS_RECEIVED);
            // Workers count what was acknowledged to them, which is what is in the files.
            if counter(figures::PHASE) > 0 {
                written += status.logs.values().map(|log| log.written).sum::<u64>();
            }
        }
        self.bar.set_message(format!("{read} records read, {written} written; {published} events published, {received} received"));
    }

    /// Prints a line above.
    pub(super) fn line(&self, line: &str) {
        self.bar.suspend(|| eprintln_line(line));
    }

    /// Ends the display.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
