//! What is done about the outcome of an attempt, for every kind of sink: counted, said, and tried again.

use std::sync::Arc;
use std::time::Duration;

use super::delivery::{Delivery, Outcome, Verdict};
use super::ledger::Ledger;

/// The attempts at one sink.
pub(super) struct Attempts {
    pub(super) name: String,
    pub(super) ledger: Arc<Ledger>,
    delivery: Delivery,
}

impl Attempts {
    pub(super) fn new(name: &str, ledger: Arc<Ledger>) -> Self {
        Self {
            name: name.to_owned(),
            ledger,
            delivery: Delivery::default(),
        }
    }

    /// How long to wait before `records` are offered to the sink again; none: they are done with.
    pub(super) fn ended(&mut self, outcome: &Outcome, records: u64) -> Option<Duration> {
        match self.delivery.judge(outcome, fastrand::u64(..)) {
            Verdict::Done { recovered } => {
                if recovered {
                    tracing::info!(sink = self.name, "log sink takes records again");
                }
                self.ledger.sent(records);
                None
            }
            Verdict::GiveUp => {
                tracing::error!(
                    sink = self.name,
                    records,
                    "log sink refuses records: {outcome}"
                );
                self.ledger.dropped(records);
                None
            }
            Verdict::Again { after, first } => {
                self.ledger.retried();
                if first {
                    tracing::warn!(
                        sink = self.name,
                        "log sink does not take records: {outcome}"
                    );
                }
                Some(after)
            }
        }
    }
}
