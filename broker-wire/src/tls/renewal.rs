//! New files for transports that are at work.

/// Certificates and CAs that were read and fit, and are not in use yet. What is connected stays as it is; what connects
/// after [`apply`](Self::apply) finds the new ones. So several transports change together or not at all: make all of
/// their renewals first.
#[must_use = "nothing changes until it is applied"]
#[derive(Default)]
pub struct TlsRenewal {
    steps: Vec<Box<dyn FnOnce() + Send>>,
}

impl TlsRenewal {
    #[cfg(any(feature = "tls", feature = "openssl-system"))]
    pub(crate) fn step(&mut self, step: impl FnOnce() + Send + 'static) {
        self.steps.push(Box::new(step));
    }

    /// Both, as one.
    pub fn and(mut self, other: Self) -> Self {
        self.steps.extend(other.steps);
        self
    }

    /// Puts the new files into use.
    pub fn apply(self) {
        for step in self.steps {
            step();
        }
    }
}

impl std::fmt::Debug for TlsRenewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsRenewal")
            .field("steps", &self.steps.len())
            .finish()
    }
}
