//! Which numbered batches a logger has, so that one sent again is acknowledged again and not written again.
//!
//! Of each writer the last [`NUMBERS_PER_WRITER`] numbers are remembered, of at most [`MAX_WRITERS`] writers. A writer
//! never runs further ahead of its oldest unacknowledged batch than half of that
//! ([`MAX_SPAN`](super::outbox::MAX_SPAN)), so what it may send again is remembered.

use std::collections::{BTreeMap, HashMap, VecDeque};

use broker_core::EndpointId;

use crate::events::BatchReceipt;

/// Numbers remembered of one writer.
pub(crate) const NUMBERS_PER_WRITER: usize = 4096;
/// Writers remembered.
pub(crate) const MAX_WRITERS: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct KnownBatches {
    writers: HashMap<EndpointId, BTreeMap<u64, BatchReceipt>>,
    order: VecDeque<EndpointId>,
}

impl KnownBatches {
    /// The receipt a batch got before, if it is remembered.
    pub(crate) fn get(&self, writer: EndpointId, number: u64) -> Option<BatchReceipt> {
        self.writers.get(&writer)?.get(&number).copied()
    }

    pub(crate) fn insert(&mut self, writer: EndpointId, receipt: BatchReceipt) {
        if !self.writers.contains_key(&writer) {
            if self.writers.len() >= MAX_WRITERS
                && let Some(oldest) = self.order.pop_front()
            {
                self.writers.remove(&oldest);
            }
            self.order.push_back(writer);
        }
        let numbers = self.writers.entry(writer).or_default();
        numbers.insert(receipt.number, receipt);
        if numbers.len() > NUMBERS_PER_WRITER {
            numbers.pop_first();
        }
    }

    /// Forgets a batch that could not be written after all.
    pub(crate) fn remove(&mut self, writer: EndpointId, number: u64) {
        if let Some(numbers) = self.writers.get_mut(&writer) {
            numbers.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> EndpointId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        EndpointId::from_bytes(bytes)
    }

    fn receipt(number: u64) -> BatchReceipt {
        BatchReceipt {
            number,
            written: 1,
            skipped: 0,
        }
    }

    #[test]
    fn numbers_and_writers_are_bounded_and_the_oldest_go_first() {
        let mut known = KnownBatches::default();
        for number in 0..=NUMBERS_PER_WRITER as u64 {
            known.insert(id(0), receipt(number));
        }
        assert_eq!(
            (known.get(id(0), 0), known.get(id(0), 1)),
            (None, Some(receipt(1)))
        );
        for writer in 1..=MAX_WRITERS as u64 {
            known.insert(id(writer), receipt(1));
        }
        assert_eq!(known.get(id(0), 1), None);
        assert_eq!(known.get(id(1), 1), Some(receipt(1)));
        known.remove(id(1), 1);
        assert_eq!(known.get(id(1), 1), None);
    }
}
