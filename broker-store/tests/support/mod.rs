//! A backend that waits to be let.

use std::sync::mpsc;

use broker_store::conformance::BeforeApply;
use broker_store::{Backend, BackendError, Memory, Mutation};

/// Memory that tells when it is asked to apply something, and does it once it is let; what tells that it is asked; and
/// what lets it. Once it is let already: a master first writes down who it is.
pub(crate) fn gated() -> (
    impl Backend,
    tokio::sync::mpsc::Receiver<()>,
    mpsc::Sender<()>,
) {
    let (asked, asks) = tokio::sync::mpsc::channel(1);
    let (open, gate) = mpsc::channel::<()>();
    open.send(()).unwrap();
    let backend = BeforeApply::waiting(Memory::new(), move |_: &[Mutation]| {
        asked.try_send(()).map_err(BackendError::engine)?;
        gate.recv().map_err(BackendError::engine)
    });
    (backend, asks, open)
}
