//! How much of what a link brings is wanted here, so that a few wanted messages do not pin the buffers of many.
//!
//! A received payload is a slice of the buffer of its whole batch and keeps it alive. Where most of a batch is
//! wanted that costs nothing; where little is, a full queue of small messages would hold far more memory than it
//! counts. Then the wanted ones are copied out. **Invariant:** what queues hold beyond what they count stays
//! within a factor of [`SPARSE`] and one [`WINDOW`].

/// Less than one byte in so many wanted is sparse.
const SPARSE: u64 = 4;
/// Half of what is known is forgotten each time so many bytes have come.
const WINDOW: u64 = 1 << 20;

/// The recent share of wanted bytes.
#[derive(Debug, Default)]
pub(crate) struct Density {
    received: u64,
    wanted: u64,
}

impl Density {
    /// Counts one message.
    pub(crate) const fn count(&mut self, bytes: usize, wanted: bool) {
        if self.received >= WINDOW {
            self.received /= 2;
            self.wanted /= 2;
        }
        self.received += bytes as u64;
        if wanted {
            self.wanted += bytes as u64;
        }
    }

    /// Whether wanted messages had better be copied out of their buffers.
    pub(crate) const fn is_sparse(&self) -> bool {
        self.wanted * SPARSE < self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_brings_mostly_what_is_wanted_is_never_sparse() {
        let mut density = Density::default();
        for index in 0..100_000_u32 {
            density.count(100, index % 3 != 0);
            assert!(index == 0 || !density.is_sparse());
        }
    }

    #[test]
    fn a_change_is_noticed_within_a_few_windows_both_ways() {
        let mut density = Density::default();
        (0..100_000).for_each(|_| density.count(100, true));
        (0..100_000).for_each(|_| density.count(100, false));
        assert!(density.is_sparse());
        (0..100_000).for_each(|_| density.count(100, true));
        assert!(!density.is_sparse());
    }
}
