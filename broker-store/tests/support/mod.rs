//! A backend that waits to be let.

use std::sync::mpsc;

use broker_core::{Data, Timestamp};
use broker_store::{Backend, BackendError, Entry, Memory, Mutation};

/// Memory that tells when it is asked to apply something, and does it once it is let.
pub(crate) struct Gated {
    inner: Memory,
    asked: tokio::sync::mpsc::Sender<()>,
    gate: mpsc::Receiver<()>,
}

impl Gated {
    /// The backend, what tells that it is asked, and what lets it. Once it is let already: a master first writes down who
    /// it is.
    pub(crate) fn new() -> (Self, tokio::sync::mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (asked, asks) = tokio::sync::mpsc::channel(1);
        let (open, gate) = mpsc::channel();
        open.send(()).unwrap();
        let inner = Memory::new();
        (Self { inner, asked, gate }, asks, open)
    }
}

impl Backend for Gated {
    fn apply(&mut self, batch: &[Mutation]) -> Result<(), BackendError> {
        self.asked.try_send(()).map_err(BackendError::engine)?;
        self.gate.recv().map_err(BackendError::engine)?;
        self.inner.apply(batch)
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        self.inner.get(key)
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        self.inner.scan(after, limit)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        self.inner.due(now, limit)
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.inner.note(name)
    }

    fn len(&self) -> Result<u64, BackendError> {
        self.inner.len()
    }

    fn name(&self) -> &'static str {
        "gated"
    }
}
