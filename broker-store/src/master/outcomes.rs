//! The outcomes of a clone's latest writes, kept for a clone that asks for them again.

use std::collections::VecDeque;

/// Outcomes of consecutive writes; at most [`MAX_OUTCOMES`].
#[derive(Debug)]
pub(super) struct Outcomes {
    /// The number of the first code.
    first: u64,
    codes: VecDeque<u8>,
    /// Codes before this one have been sent.
    sent: u64,
}

impl Outcomes {
    /// The next outcome will be that of write number `next`.
    pub(super) const fn new(next: u64) -> Self {
        Self {
            first: next,
            codes: VecDeque::new(),
            sent: next,
        }
    }

    pub(super) fn push(&mut self, seq: u64, code: u8) {
        let expected = self.first + self.codes.len() as u64;
        if seq != expected {
            // Numbers before the clone asked for outcomes; nobody waits for them.
            (self.first, self.sent) = (seq, seq);
            self.codes.clear();
        }
        if self.codes.len() == MAX_OUTCOMES {
            self.codes.pop_front();
            self.first += 1;
        }
        self.codes.push_back(code);
    }

    /// What has not been sent yet: the number of the first outcome, and the outcomes.
    pub(super) fn take_unsent(&mut self) -> Option<(u64, Vec<u8>)> {
        let unsent = self.from(self.sent);
        self.sent = self.first + self.codes.len() as u64;
        unsent
    }

    /// The outcomes from write number `seq` on; those no longer known are left out.
    pub(super) fn from(&self, seq: u64) -> Option<(u64, Vec<u8>)> {
        let first = seq.max(self.first);
        let skip = usize::try_from(first - self.first).unwrap_or(usize::MAX);
        let codes: Vec<u8> = self.codes.iter().skip(skip).copied().collect();
        (!codes.is_empty()).then_some((first, codes))
    }
}

/// More writes than a clone keeps unacknowledged.
const MAX_OUTCOMES: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use broker_core::ErrorCode;

    use super::*;

    #[test]
    fn outcomes_are_sent_once_and_again_on_request() {
        let mut outcomes = Outcomes::new(2);
        assert_eq!(outcomes.take_unsent(), None);
        outcomes.push(2, ErrorCode::None as u8);
        outcomes.push(3, ErrorCode::TypeClash as u8);
        assert_eq!(outcomes.take_unsent(), Some((2, vec![0, 11])));
        outcomes.push(4, ErrorCode::NoSuchKey as u8);
        assert_eq!(outcomes.take_unsent(), Some((4, vec![9])));
        assert_eq!(outcomes.take_unsent(), None);
        assert_eq!(outcomes.from(3), Some((3, vec![11, 9])));
        assert_eq!(outcomes.from(0), Some((2, vec![0, 11, 9])));
        assert_eq!(outcomes.from(5), None);
    }
}
