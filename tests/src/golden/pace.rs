//! Time for a replay. It stands still (the runtime's clock is paused, and does not run ahead by itself while a blocking task
//! is there) and moves by ticks when the recording waits for something that only time brings. So a session of half a minute
//! is replayed in a fraction of it, and a busy machine changes nothing.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::PATIENCE;

/// Keeps the clock still as long as it lives, and tells when a replay has taken too long by the clock on the wall.
#[derive(Debug)]
pub(crate) struct Pace {
    _still: SyncSender<()>,
    too_long: oneshot::Receiver<()>,
}

/// How far time moves at once: the tick of the stores.
pub(crate) const TICK: Duration = Duration::from_millis(100);

impl Pace {
    /// # Panics
    /// Outside a runtime of one thread whose clock is paused.
    pub(crate) fn new() -> Self {
        let (still, over) = sync_channel(1);
        let (tell, too_long) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            if over.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = tell.send(());
            }
        });
        Self {
            _still: still,
            too_long,
        }
    }

    /// What `future` comes to, unless it takes far too long.
    pub(crate) async fn patiently<T>(&mut self, what: &str, future: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            value = future => value,
            _ = &mut self.too_long => panic!("waited in vain for {what}"),
        }
    }
}

/// Moves time by one tick.
pub(crate) async fn tick() {
    tokio::time::advance(TICK).await;
}
