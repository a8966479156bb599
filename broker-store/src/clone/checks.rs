//! The master compares: what this copy has in a range of keys at a number of the stream (see `master/verify.rs`).

use broker_core::Data;

use super::CloneState;
use crate::command::{Content, Verdict};
use crate::digest::Digest;

/// A check that waits for its number.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) id: u64,
    pub(super) seq: u64,
    pub(super) after: Option<Data>,
    /// The last key of the range; `None` has no end.
    pub(super) until: Option<Data>,
    pub(super) digest: Digest,
}

impl CloneState {
    pub(super) fn handle_check(&mut self, check: Check) {
        self.checks.retain(|held| held.id != check.id);
        if self.checks.len() >= MAX_CHECKS {
            self.checks.remove(0);
        }
        self.checks.push(check);
        self.answer_checks();
    }

    /// Answers the checks whose number has come, or has gone.
    pub(super) fn answer_checks(&mut self) {
        if self.checks.is_empty() || self.is_between() {
            return;
        }
        let Some(master) = self.master else {
            self.checks.clear();
            return;
        };
        let at = self.updates.delivered();
        let due: Vec<_> = self
            .checks
            .extract_if(.., |check| check.seq <= at)
            .collect();
        for check in due {
            let verdict = if check.seq == at {
                self.judge(&check)
            } else {
                Verdict::Passed
            };
            self.unicast(
                master.id,
                Content::Checked {
                    id: check.id,
                    verdict,
                },
            );
        }
    }

    fn judge(&self, check: &Check) -> Verdict {
        let range =
            self.view
                .content
                .range(check.after.as_ref(), check.until.as_ref(), MAX_ENTRIES + 1);
        let entries: Vec<_> = range
            .into_iter()
            .map(|(key, entry)| {
                let digest = Digest::of(&key, &entry.value);
                (key, digest)
            })
            .collect();
        let digest = entries
            .iter()
            .fold(Digest::default(), |sum, (_, digest)| sum.with(*digest));
        if digest == check.digest {
            Verdict::Equal
        } else if entries.len() > MAX_ENTRIES {
            Verdict::Passed
        } else {
            Verdict::Entries(entries)
        }
    }
}

/// Checks that wait.
const MAX_CHECKS: usize = 16;

/// Entries that are listed; the master's pages have at most 1024.
const MAX_ENTRIES: usize = 8192;
