//! Who waits for an answer of a store, by the token that the state machine knows them by.
//!
//! A token is a place and the number of times that place was used before, so one that was answered is never taken for
//! another, and finding a caller costs no hashing.

use super::{Answer, Caller};

/// Callers that wait.
#[derive(Debug, Default)]
pub(super) struct Answers {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    /// How often it was given to somebody before.
    turn: u32,
    caller: Option<Caller>,
}

impl Answers {
    /// How many wait.
    pub(super) const fn waiting(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// A token for `caller`.
    pub(super) fn insert(&mut self, caller: Caller) -> u64 {
        if let Some(index) = self.free.pop()
            && let Some(place) = self.places.get_mut(index as usize)
        {
            place.caller = Some(caller);
            return token(place.turn, index);
        }
        // As many wait as fit into the queues of requests, and of waits in the states.
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place {
            turn: 0,
            caller: Some(caller),
        });
        token(0, index)
    }

    /// The caller behind `token`, which is used up.
    pub(super) fn remove(&mut self, token: u64) -> Option<Caller> {
        let (turn, index) = (turn_of(token), token as u32);
        let place = self.places.get_mut(index as usize)?;
        if place.turn != turn {
            return None;
        }
        let caller = place.caller.take()?;
        place.turn = turn.wrapping_add(1);
        self.free.push(index);
        Some(caller)
    }

    /// Whether the caller behind `token` does not wait any more.
    pub(super) fn is_gone(&self, token: u64) -> bool {
        self.places
            .get(token as u32 as usize)
            .filter(|place| place.turn == turn_of(token))
            .and_then(|place| place.caller.as_ref())
            .is_none_or(Caller::is_gone)
    }

    /// Answers everybody.
    pub(super) fn answer_all(&mut self, answer: &Answer) {
        self.free.clear();
        for caller in self.places.drain(..).filter_map(|place| place.caller) {
            caller.answer(answer.clone());
        }
    }
}

const fn token(turn: u32, index: u32) -> u64 {
    (turn as u64) << 32 | index as u64
}

const fn turn_of(token: u64) -> u32 {
    (token >> 32) as u32
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::error::StoreError;

    #[test]
    fn a_token_finds_its_caller_once_and_nobody_who_came_later() {
        let mut answers = Answers::default();
        let (first, mut first_hears) = oneshot::channel();
        let (second, mut second_hears) = oneshot::channel();
        let one = answers.insert(Caller::Once(first));
        answers.remove(one).unwrap().answer(Err(StoreError::Closed));
        assert!(first_hears.try_recv().is_ok() && answers.is_gone(one));
        let two = answers.insert(Caller::Once(second));
        assert!(one != two && answers.remove(one).is_none() && !answers.is_gone(two));
        answers.answer_all(&Err(StoreError::Closed));
        assert!(second_hears.try_recv().is_ok() && answers.remove(two).is_none());
    }
}
