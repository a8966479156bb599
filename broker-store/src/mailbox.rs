//! Where the answers to a [`StoreProxy`](crate::StoreProxy)'s requests arrive.
//!
//! Requests are numbered from 1 in the order they are made, so those that are not answered yet are a window of numbers:
//! a request costs one place in it, no channel and no map entry. All requests have the same time, so the first place is
//! also the one whose time is up first.
//!
//! **Invariant:** a request that got a number is answered exactly once: by the store, by the end of its time, or, if the
//! store ends without a word, as closed. There are never more than `capacity` requests waiting and answers not taken.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::driver::Answer;
use crate::error::StoreError;

/// The answer to one request of a [`StoreProxy`](crate::StoreProxy).
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The number that the request got.
    pub id: u64,
    /// What the call on a [`Store`](crate::Store) would have returned.
    pub result: Answer,
}

/// The answers of one proxy, and what is still to be answered.
#[derive(Debug)]
pub(crate) struct Mailbox {
    capacity: usize,
    limit: Duration,
    state: Mutex<State>,
    arrived: Notify,
    room: Notify,
}

#[derive(Debug)]
struct State {
    /// The number of the first place.
    first: u64,
    /// Until when each waits; `None` is answered. The first is never `None`.
    window: VecDeque<Option<Instant>>,
    /// How many of them wait.
    waiting: usize,
    responses: VecDeque<Response>,
}

impl Mailbox {
    /// `limit` is the time of each request.
    pub(crate) fn new(capacity: NonZeroUsize, limit: Duration) -> Self {
        Self {
            capacity: capacity.get(),
            limit,
            state: Mutex::new(State {
                first: 1,
                window: VecDeque::new(),
                waiting: 0,
                responses: VecDeque::new(),
            }),
            arrived: Notify::new(),
            room: Notify::new(),
        }
    }

    /// A number for a request, and the right to answer it; `None` if there is no room.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Ticket> {
        let mut state = self.lock();
        if !state.has_room(self.capacity) {
            return None;
        }
        let id = state.first + state.window.len() as u64;
        state.window.push_back(Some(Instant::now() + self.limit));
        state.waiting += 1;
        Some(Ticket {
            id,
            mailbox: Some(Arc::clone(self)),
        })
    }

    /// The next answer, if there is one now.
    pub(crate) fn take(&self) -> Option<Response> {
        let (response, more) = {
            let mut state = self.lock();
            if state.responses.is_empty() {
                state.expire(Instant::now(), self.limit);
            }
            let response = state.responses.pop_front()?;
            (response, !state.responses.is_empty())
        };
        if more {
            // One notice may stand for several answers, and somebody else may wait too.
            self.wake();
        }
        self.room.notify_one();
        Some(response)
    }

    /// Waits until there may be an answer.
    pub(crate) async fn arrival(&self) {
        match self.first_deadline() {
            Some(deadline) => {
                let _ = tokio::time::timeout_at(deadline, self.arrived.notified()).await;
            }
            None => self.arrived.notified().await,
        }
    }

    /// Lets others that wait look as well.
    pub(crate) fn wake(&self) {
        self.arrived.notify_one();
    }

    /// Waits until there is room for a request.
    pub(crate) async fn room(&self) {
        while !self.lock().has_room(self.capacity) {
            self.room.notified().await;
        }
        // Others may wait as well.
        self.room.notify_one();
    }

    /// Requests not answered yet.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Answers not taken yet.
    pub(crate) fn len(&self) -> usize {
        self.lock().responses.len()
    }

    /// Delivers many answers, opening a mailbox once for those in a row that go to the same one.
    pub(crate) fn deliver_all(answers: impl Iterator<Item = (Ticket, Answer)>) {
        let mut answers = answers.peekable();
        while let Some((mut ticket, mut answer)) = answers.next() {
            let Some(mailbox) = ticket.mailbox.take() else {
                continue;
            };
            let mut arrived = false;
            let mut state = mailbox.lock();
            loop {
                arrived |= state.deliver(ticket.id, answer);
                let next = answers.next_if(|(ticket, _)| {
                    let to = ticket.mailbox.as_ref();
                    to.is_some_and(|to| Arc::ptr_eq(to, &mailbox))
                });
                let Some(next) = next else { break };
                (ticket, answer) = next;
                // The lock is held: it must not be delivered to a second time.
                ticket.mailbox = None;
            }
            drop(state);
            if arrived {
                mailbox.wake();
            }
        }
    }

    fn deliver(&self, id: u64, result: Answer) {
        if self.lock().deliver(id, result) {
            self.wake();
        }
    }

    fn is_waiting(&self, id: u64) -> bool {
        let state = self.lock();
        let place = id.checked_sub(state.first).map(|place| place as usize);
        place
            .and_then(|place| state.window.get(place))
            .is_some_and(Option::is_some)
    }

    fn first_deadline(&self) -> Option<Instant> {
        self.lock().window.front().copied().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, capacity: usize) -> bool {
        self.waiting + self.responses.len() < capacity
            && self.window.len() < capacity.saturating_mul(WINDOW_PER_CAPACITY)
    }

    /// Puts an answer in; `false` if the request's time was up before.
    fn deliver(&mut self, id: u64, result: Answer) -> bool {
        let waited = self.settle(id);
        if waited {
            self.responses.push_back(Response { id, result });
        }
        waited
    }

    /// The request is answered; `false` if it was already.
    fn settle(&mut self, id: u64) -> bool {
        let place = id.checked_sub(self.first).map(|place| place as usize);
        let waited = place
            .and_then(|place| self.window.get_mut(place))
            .and_then(Option::take)
            .is_some();
        if waited {
            self.waiting -= 1;
            self.forget_answered();
        }
        waited
    }

    /// Answers those whose time is up.
    fn expire(&mut self, now: Instant, limit: Duration) {
        while let Some(Some(deadline)) = self.window.front()
            && *deadline <= now
        {
            self.responses.push_back(Response {
                id: self.first,
                result: Err(StoreError::TimedOut(limit)),
            });
            self.window[0] = None;
            self.waiting -= 1;
            self.forget_answered();
        }
    }

    fn forget_answered(&mut self) {
        while let Some(None) = self.window.front() {
            self.window.pop_front();
            self.first += 1;
        }
    }
}

/// The right to answer one request. Dropped without an answer, it says that the store is closed.
#[derive(Debug)]
pub(crate) struct Ticket {
    id: u64,
    mailbox: Option<Arc<Mailbox>>,
}

impl Ticket {
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn answer(mut self, result: Answer) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.deliver(self.id, result);
        }
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_over(&self) -> bool {
        self.mailbox
            .as_ref()
            .is_none_or(|mailbox| !mailbox.is_waiting(self.id))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.deliver(self.id, Err(StoreError::Closed));
        }
    }
}

/// While one request waits for long, this many times the capacity may be made and answered behind it.
const WINDOW_PER_CAPACITY: usize = 16;

#[cfg(test)]
mod tests {
    use broker_core::StoreReply;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn mailbox(capacity: usize) -> Arc<Mailbox> {
        let capacity = NonZeroUsize::new(capacity).unwrap();
        Arc::new(Mailbox::new(capacity, LIMIT))
    }

    async fn recv(mailbox: &Mailbox) -> Response {
        loop {
            if let Some(response) = mailbox.take() {
                return response;
            }
            mailbox.arrival().await;
        }
    }

    fn done(id: u64) -> Response {
        Response {
            id,
            result: Ok(StoreReply::Done),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_may_come_in_any_order_and_each_makes_room_once_it_is_taken() {
        let mailbox = mailbox(2);
        let first = mailbox.begin().unwrap();
        let second = mailbox.begin().unwrap();
        assert_eq!((first.id(), second.id()), (1, 2));
        assert!(mailbox.begin().is_none());
        second.answer(Ok(StoreReply::Done));
        assert!(mailbox.begin().is_none(), "an answer not taken counts too");
        assert_eq!((mailbox.waiting(), mailbox.len()), (1, 1));
        assert_eq!(mailbox.take(), Some(done(2)));
        let third = mailbox.begin().unwrap();
        assert_eq!(third.id(), 3);
        first.answer(Ok(StoreReply::Done));
        third.answer(Ok(StoreReply::Done));
        assert_eq!(recv(&mailbox).await, done(1));
        assert_eq!(recv(&mailbox).await, done(3));
        assert_eq!((mailbox.waiting(), mailbox.take()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_ends_with_its_time_and_a_late_answer_is_dropped() {
        let mailbox = mailbox(4);
        let late = mailbox.begin().unwrap();
        let begun = Instant::now();
        let response = recv(&mailbox).await;
        assert_eq!(response.result, Err(StoreError::TimedOut(LIMIT)));
        assert!(begun.elapsed() >= LIMIT && begun.elapsed() < LIMIT + Duration::from_secs(1));
        assert!(late.is_over());
        late.answer(Ok(StoreReply::Done));
        assert_eq!(mailbox.take(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_that_is_lost_says_closed() {
        let mailbox = mailbox(1);
        drop(mailbox.begin());
        assert_eq!(recv(&mailbox).await.result, Err(StoreError::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_request_that_waits_the_window_is_bounded() {
        let mailbox = mailbox(2);
        let stuck = mailbox.begin().unwrap();
        let mut answered = 0;
        while let Some(ticket) = mailbox.begin() {
            ticket.answer(Ok(StoreReply::Done));
            mailbox.take().unwrap();
            answered += 1;
        }
        assert_eq!(answered, 2 * WINDOW_PER_CAPACITY - 1);
        stuck.answer(Ok(StoreReply::Done));
        assert!(mailbox.take().is_some() && mailbox.begin().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_room_gets_it_when_an_answer_is_taken() {
        let mailbox = mailbox(1);
        mailbox.begin().unwrap().answer(Ok(StoreReply::Done));
        let waiting = Arc::clone(&mailbox);
        let room = tokio::spawn(async move { waiting.room().await });
        tokio::task::yield_now().await;
        assert!(!room.is_finished());
        mailbox.take().unwrap();
        room.await.unwrap();
    }
}
