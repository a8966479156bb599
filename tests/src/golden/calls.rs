//! Calls on a store that the recorded side made, with what must come of each.

use broker_core::{Data, StoreOperation, StoreReply};
use broker_store::{Store, StoreError};
use tokio::task::JoinHandle;

use super::replay::{Explained, KEEPALIVES, Replay, TIMED};

/// What comes of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done, and there is no more to say.
    Done,
    /// It answers with a value.
    Value(Data),
    /// There is no such key or element.
    Missing,
    /// A C++ master says nothing, and a write that does not come back has failed (broker-wire reference, 8.2).
    NoEcho,
}

/// Calls under way: a recorded call may wait for what is played behind it.
#[derive(Debug, Default)]
pub struct Calls {
    running: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    what: String,
    answer: JoinHandle<Result<StoreReply, StoreError>>,
    outcome: Outcome,
}

impl Calls {
    /// Begins calls, in their order.
    pub fn make(
        &mut self,
        store: &Store,
        calls: impl IntoIterator<Item = (StoreOperation, Outcome)>,
    ) {
        for (operation, outcome) in calls {
            let (store, what) = (store.clone(), format!("{operation:?}"));
            let answer = tokio::spawn(async move { store.execute(operation).await });
            self.running.push(Call {
                what,
                answer,
                outcome,
            });
        }
    }

    /// Waits for all of them. Returns how many there were.
    ///
    /// # Panics
    /// If one ended otherwise than it must.
    pub async fn check(self) -> usize {
        let calls = self.running.len();
        for call in self.running {
            let (what, outcome) = (call.what, call.outcome);
            let result = call.answer.await.unwrap();
            let as_it_must = match (&outcome, &result) {
                (Outcome::Done, Ok(StoreReply::Done)) => true,
                (Outcome::Value(value), Ok(StoreReply::Value(result))) => value == result,
                (Outcome::Missing, Err(error)) => error.to_string().starts_with("no_such_key"),
                (Outcome::NoEcho, Err(error)) => error.to_string().starts_with("request_timeout"),
                _ => false,
            };
            assert!(as_it_must, "{what}: {result:?} and not {outcome:?}");
        }
        calls
    }
}

/// Lets time stand still until `store` has done what it was given: it answers behind all that.
pub fn wait_for(replay: &mut Replay, store: &Store) {
    let store = store.clone();
    replay.wait_for(move || {
        let store = store.clone();
        async move {
            store.exists("a key that nobody has").await.unwrap();
        }
    });
}

/// Sees to it that all that is not in the recording came by a timer, names a clone that C++ leaves unnamed, or has one of
/// these `reasons`.
///
/// # Panics
/// If there is more.
pub fn assert_only_timers_and(reasons: &[&str], explained: &Explained) {
    let known = |reason: &&&str| [TIMED, KEEPALIVES].contains(*reason) || reasons.contains(*reason);
    let unknown: Vec<_> = explained.keys().filter(|reason| !known(reason)).collect();
    assert!(unknown.is_empty(), "{explained:?}");
}
