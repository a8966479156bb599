//! The queue as a whole: the policies one by one, a model, and threads.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;

/// An item with a name, a weight and a mind of its own about being dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    name: u32,
    weight: usize,
    droppable: bool,
}

impl Weigh for Item {
    fn weight(&self) -> usize {
        self.weight
    }

    fn droppable(&self) -> bool {
        self.droppable
    }
}

fn data(name: u32) -> Item {
    Item {
        name,
        weight: 1,
        droppable: true,
    }
}

fn heavy(name: u32, weight: usize) -> Item {
    Item {
        name,
        weight,
        droppable: true,
    }
}

fn kept(name: u32) -> Item {
    Item {
        name,
        weight: 1,
        droppable: false,
    }
}

fn options(policy: OverflowPolicy, max_messages: usize, max_bytes: usize) -> QueueOptions {
    QueueOptions::local()
        .policy(policy)
        .max_messages(NonZeroUsize::new(max_messages).unwrap())
        .max_bytes(NonZeroUsize::new(max_bytes).unwrap())
}

fn queue(policy: OverflowPolicy, max_messages: usize) -> (Sender<Item>, Receiver<Item>) {
    channel(options(policy, max_messages, 1000))
}

fn names(receiver: &mut Receiver<Item>) -> Vec<u32> {
    std::iter::from_fn(|| receiver.try_recv())
        .map(|item| item.name)
        .collect()
}

fn offer_all(sender: &Sender<Item>, items: impl IntoIterator<Item = Item>) {
    for item in items {
        assert_eq!(sender.offer(item), Offer::Queued);
    }
}

fn assert_balanced(counters: &Counters) {
    let accounted = counters.sent + counters.dropped_total() + counters.queued;
    assert_eq!(counters.offered, accounted, "{counters:?}");
}

#[test]
fn items_come_out_in_the_order_they_went_in() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 10);
    offer_all(
        &sender,
        [data(1), kept(2), data(3), kept(4), kept(5), data(6)],
    );
    assert_eq!(names(&mut receiver), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn drop_oldest_pushes_out_the_oldest_data_and_never_what_must_be_kept() {
    let (sender, mut receiver) = queue(OverflowPolicy::DropOldest, 3);
    offer_all(&sender, [kept(1), data(2), data(3)]);
    assert_eq!(sender.offer(data(4)), Offer::Dropped(DropReason::Oldest));
    assert_eq!(sender.offer(kept(5)), Offer::Dropped(DropReason::Oldest));
    assert_eq!(names(&mut receiver), [1, 4, 5]);
    assert_eq!(sender.counters().dropped(DropReason::Oldest), 2);
    assert_balanced(&sender.counters());
}

#[test]
fn drop_oldest_pushes_out_as_many_as_the_weight_needs_and_none_in_vain() {
    let (sender, mut receiver) = channel(options(OverflowPolicy::DropOldest, 10, 10));
    offer_all(&sender, [heavy(1, 4), heavy(2, 4), heavy(3, 2)]);
    assert_eq!(
        sender.offer(heavy(4, 7)),
        Offer::Dropped(DropReason::Oldest)
    );
    assert_eq!(names(&mut receiver), [3, 4]);
    offer_all(
        &sender,
        [
            heavy(5, 1),
            Item {
                weight: 5,
                ..kept(6)
            },
        ],
    );
    assert_eq!(
        sender.offer(heavy(7, 6)),
        Offer::Dropped(DropReason::Newest)
    );
    assert_eq!(names(&mut receiver), [5, 6]);
}

#[test]
fn drop_newest_refuses_data_but_makes_room_for_what_must_be_kept() {
    let (sender, mut receiver) = queue(OverflowPolicy::DropNewest, 2);
    offer_all(&sender, [data(1), data(2)]);
    assert_eq!(sender.offer(data(3)), Offer::Dropped(DropReason::Newest));
    assert_eq!(sender.offer(kept(4)), Offer::Dropped(DropReason::Newest));
    assert_eq!(names(&mut receiver), [1, 4]);
    assert_balanced(&sender.counters());
}

#[test]
fn disconnect_cuts_the_queue_once_and_drops_what_was_in_it() {
    let (sender, mut receiver) = queue(OverflowPolicy::Disconnect, 2);
    offer_all(&sender, [data(1), data(2)]);
    assert_eq!(sender.offer(data(3)), Offer::Disconnect);
    assert_eq!(sender.offer(data(4)), Offer::Closed(data(4)));
    assert_eq!(names(&mut receiver), []);
    assert!(sender.is_cut() && receiver.is_cut());
    assert_eq!(sender.counters().dropped(DropReason::Disconnected), 3);
    assert_balanced(&sender.counters());
}

#[test]
fn items_to_be_kept_that_fill_the_queue_alone_cut_it() {
    for policy in [OverflowPolicy::DropOldest, OverflowPolicy::DropNewest] {
        let (sender, receiver) = queue(policy, 2);
        offer_all(&sender, [kept(1), kept(2)]);
        assert_eq!(sender.offer(data(3)), Offer::Dropped(DropReason::Newest));
        assert_eq!(sender.offer(kept(4)), Offer::Disconnect);
        assert!(receiver.is_cut());
        assert_balanced(&sender.counters());
    }
}

#[test]
fn block_hands_data_back_and_gives_kept_items_a_bound_of_their_own() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 2);
    offer_all(&sender, [data(1), data(2)]);
    assert_eq!(sender.offer(data(3)), Offer::Full(data(3)));
    offer_all(&sender, [kept(4), kept(5)]);
    assert_eq!(sender.offer(kept(6)), Offer::Full(kept(6)));
    assert_eq!(sender.counters().offered, 4);
    assert_eq!(
        sender.offer_or_drop(data(7)),
        Offer::Dropped(DropReason::Forwarding)
    );
    assert_balanced(&sender.counters());
    assert_eq!(names(&mut receiver), [1, 2, 4, 5]);
}

#[test]
fn a_forwarded_item_that_must_be_kept_and_finds_no_room_cuts_the_queue() {
    let (sender, receiver) = queue(OverflowPolicy::Block, 1);
    offer_all(&sender, [kept(1)]);
    assert_eq!(sender.offer_or_drop(kept(2)), Offer::Disconnect);
    assert!(receiver.is_cut());
}

#[test]
fn an_item_heavier_than_the_bound_goes_alone() {
    let (sender, mut receiver) = channel(options(OverflowPolicy::Block, 10, 10));
    offer_all(&sender, [heavy(1, 11)]);
    assert_eq!(sender.offer(heavy(2, 1)), Offer::Full(heavy(2, 1)));
    assert_eq!(names(&mut receiver), [1]);
    offer_all(&sender, [heavy(2, 1)]);
    assert_eq!(sender.offer(heavy(3, 11)), Offer::Full(heavy(3, 11)));
}

#[test]
fn a_batch_keeps_to_both_of_its_bounds_and_has_at_least_one_item() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 10);
    offer_all(
        &sender,
        [
            heavy(1, 9),
            heavy(2, 2),
            heavy(3, 2),
            heavy(4, 2),
            heavy(5, 1),
        ],
    );
    let mut batch = Vec::new();
    assert_eq!(receiver.try_recv_many(&mut batch, 10, 5), 1);
    assert_eq!(receiver.try_recv_many(&mut batch, 10, 5), 2);
    assert_eq!(receiver.try_recv_many(&mut batch, 1, 5), 1);
    let mut rest = VecDeque::new();
    assert_eq!(receiver.try_recv_many(&mut rest, 10, 5), 1);
    assert_eq!(receiver.try_recv_many(&mut rest, 10, 5), 0);
    assert_eq!(
        batch.iter().map(|item| item.name).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!(sender.counters().sent_bytes, 16);
}

#[test]
fn every_drop_is_shown_to_the_callback() {
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&dropped);
    let (sender, receiver) = channel_with(
        options(OverflowPolicy::DropOldest, 2, 1000),
        move |item: &Item, reason| log.lock().unwrap().push((item.name, reason)),
    );
    for name in 1..=3 {
        let _ = sender.offer(data(name));
    }
    drop(receiver);
    assert_eq!(sender.offer(data(4)), Offer::Closed(data(4)));
    assert_eq!(
        *dropped.lock().unwrap(),
        [
            (1, DropReason::Oldest),
            (2, DropReason::Closed),
            (3, DropReason::Closed)
        ]
    );
    assert_balanced(&sender.counters());
}

#[test]
fn the_high_water_mark_covers_this_period_and_the_last() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 10);
    let stats = receiver.stats();
    offer_all(&sender, (0..7).map(data));
    names(&mut receiver);
    stats.roll_high_water();
    offer_all(&sender, (0..2).map(data));
    assert_eq!(stats.counters().max_queued_recently, 7);
    stats.roll_high_water();
    assert_eq!(stats.counters().max_queued_recently, 2);
}

#[tokio::test]
async fn a_closed_queue_is_drained_before_it_ends() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 10);
    offer_all(&sender, [data(1), kept(2)]);
    sender.close();
    assert_eq!(sender.offer(data(3)), Offer::Closed(data(3)));
    assert_eq!(sender.send(data(3)).await, Offer::Closed(data(3)));
    assert_eq!(receiver.recv().await, Some(data(1)));
    assert_eq!(receiver.recv().await, Some(kept(2)));
    assert_eq!(receiver.recv().await, None);
    assert_eq!(receiver.recv_many(&mut Vec::new(), 10, 10).await, 0);
}

#[tokio::test]
async fn the_end_comes_with_the_last_sender_and_wakes_the_consumer() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 10);
    let other = sender.clone();
    let consumer = tokio::spawn(async move { receiver.recv().await });
    tokio::task::yield_now().await;
    drop(sender);
    tokio::task::yield_now().await;
    assert!(!consumer.is_finished());
    drop(other);
    assert_eq!(consumer.await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_producer_is_let_in_when_the_queue_is_half_empty() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 4);
    offer_all(&sender, (0..4).map(data));
    let producer = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send(data(9)).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(receiver.recv().await, Some(data(0)));
    tokio::task::yield_now().await;
    assert!(!producer.is_finished());
    // There is room for one, but somebody waits for it.
    assert_eq!(sender.offer(data(8)), Offer::Full(data(8)));
    assert_eq!(receiver.recv().await, Some(data(1)));
    assert_eq!(producer.await.unwrap(), Offer::Queued);
    assert_eq!(names(&mut receiver), [2, 3, 9]);
}

#[tokio::test(start_paused = true)]
async fn waiting_producers_are_served_in_the_order_they_came() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 2);
    offer_all(&sender, [data(0), data(1)]);
    let mut producers = Vec::new();
    for name in 2..8 {
        let sender = sender.clone();
        producers.push(tokio::spawn(async move { sender.send(data(name)).await }));
        tokio::task::yield_now().await;
    }
    assert_eq!(sender.counters().waiting, 6);
    for name in 0..8 {
        assert_eq!(receiver.recv().await, Some(data(name)));
    }
    for producer in producers {
        assert_eq!(producer.await.unwrap(), Offer::Queued);
    }
    assert_balanced(&sender.counters());
}

#[tokio::test(start_paused = true)]
async fn after_the_timeout_the_queue_drops_until_it_is_half_empty() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 4);
    offer_all(&sender, (0..4).map(data));
    let second = tokio::spawn({
        let sender = sender.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            sender.send(data(8)).await
        }
    });
    let start = Instant::now();
    assert_eq!(sender.send(data(9)).await, Offer::Dropped(DropReason::Slow));
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    // Who waits behind is not held for its own full time.
    assert_eq!(second.await.unwrap(), Offer::Dropped(DropReason::Slow));
    assert_eq!(start.elapsed(), Duration::from_secs(5));

    assert!(sender.counters().lagging);
    assert_eq!(receiver.recv().await, Some(data(0)));
    assert_eq!(sender.send(data(9)).await, Offer::Dropped(DropReason::Slow));
    assert_eq!(sender.offer(data(9)), Offer::Dropped(DropReason::Slow));
    offer_all(&sender, [kept(5)]);
    assert_eq!(receiver.recv().await, Some(data(1)));
    assert_eq!(receiver.recv().await, Some(data(2)));
    assert!(!sender.counters().lagging);
    offer_all(&sender, [data(6)]);
    assert_eq!(names(&mut receiver), [3, 5, 6]);
    assert_eq!(sender.counters().dropped(DropReason::Slow), 4);
    assert_balanced(&sender.counters());
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_slow_but_moves_loses_nothing() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 8);
    offer_all(&sender, (0..8).map(data));
    let producer = tokio::spawn({
        let sender = sender.clone();
        async move { (sender.send(data(8)).await, sender.send(data(9)).await) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(receiver.recv().await, Some(data(0)));
    assert_eq!(receiver.recv().await, Some(data(1)));
    assert_eq!(producer.await.unwrap(), (Offer::Queued, Offer::Queued));
    assert_eq!(names(&mut receiver), (2..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_kept_item_that_waits_in_vain_cuts_the_queue() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 1);
    offer_all(&sender, [kept(1)]);
    assert_eq!(sender.send(kept(2)).await, Offer::Disconnect);
    assert_eq!(receiver.recv().await, None);
    assert_balanced(&sender.counters());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_producer_has_queued_nothing_and_holds_nobody_up() {
    let (sender, mut receiver) = queue(OverflowPolicy::Block, 2);
    offer_all(&sender, [data(0), data(1)]);
    let mut gone = Box::pin(sender.send(data(2)));
    let mut granted = Box::pin(sender.send(data(3)));
    let mut last = Box::pin(sender.send(data(4)));
    for waiting in [&mut gone, &mut granted, &mut last] {
        assert!(futures_poll(waiting.as_mut()).await.is_none());
    }
    drop(gone);
    // Now there is room for the next in line, and it is taken by the one after.
    assert_eq!(receiver.recv().await, Some(data(0)));
    assert_eq!(sender.counters().waiting, 2);
    drop(granted);
    assert_eq!(last.await, Offer::Queued);
    assert_eq!(names(&mut receiver), [1, 4]);
    assert_eq!(sender.counters().waiting, 0);
    assert_balanced(&sender.counters());
}

#[tokio::test(start_paused = true)]
async fn closing_sends_waiting_producers_away_with_their_items() {
    for cut in [false, true] {
        let (sender, receiver) = queue(OverflowPolicy::Block, 1);
        offer_all(&sender, [data(0)]);
        let producer = tokio::spawn({
            let sender = sender.clone();
            async move { sender.send(data(1)).await }
        });
        tokio::task::yield_now().await;
        let start = Instant::now();
        if cut {
            drop(receiver);
        } else {
            sender.close();
        }
        assert_eq!(producer.await.unwrap(), Offer::Closed(data(1)));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_balanced(&sender.counters());
    }
}

/// Polls once; the output if there is one.
async fn futures_poll<F: Future + ?Sized>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[derive(Clone, Debug)]
enum Step {
    Offer {
        weight: usize,
        droppable: bool,
        forward: bool,
    },
    Receive {
        max_messages: usize,
        max_bytes: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offer = (0usize..8, prop::bool::weighted(0.8), any::<bool>()).prop_map(
        |(weight, droppable, forward)| Step::Offer {
            weight,
            droppable,
            forward,
        },
    );
    let receive = (1usize..4, 0usize..12).prop_map(|(max_messages, max_bytes)| Step::Receive {
        max_messages,
        max_bytes,
    });
    prop::collection::vec(prop_oneof![3 => offer, 1 => receive], 0..60)
}

/// The queue as one would explain it: a list, searched from one end or the other.
struct Model {
    options: QueueOptions,
    items: VecDeque<Item>,
    cut: bool,
    dropped: Vec<(u32, DropReason)>,
}

impl Model {
    fn room<'a>(&self, items: impl Iterator<Item = &'a Item>, weight: usize) -> bool {
        let (count, bytes) = items.fold((0, 0), |(n, bytes), item| (n + 1, bytes + item.weight));
        count < self.options.max_messages.get()
            && (count == 0 || bytes + weight <= self.options.max_bytes.get())
    }

    fn offer(&mut self, item: Item, forward: bool) -> Offer<Item> {
        use OverflowPolicy::{Block, Disconnect, DropNewest, DropOldest};
        if self.cut {
            return Offer::Closed(item);
        }
        if self.room(self.items.iter(), item.weight) {
            self.items.push_back(item);
            return Offer::Queued;
        }
        let room_beside_kept = self.room(self.items.iter().filter(|i| !i.droppable), item.weight);
        let policy = self.options.policy;
        match (policy, item.droppable, room_beside_kept) {
            (Block, false, true) => {
                self.items.push_back(item);
                Offer::Queued
            }
            (Block, _, _) if !forward => Offer::Full(item),
            (Block, true, _) => self.drop_item(item, DropReason::Forwarding),
            (DropNewest, true, _) | (DropOldest, true, false) => {
                self.drop_item(item, DropReason::Newest)
            }
            (DropOldest, _, true) | (DropNewest, false, true) => {
                let reason = if policy == DropOldest {
                    DropReason::Oldest
                } else {
                    DropReason::Newest
                };
                while !self.room(self.items.iter(), item.weight) {
                    let mut positions =
                        (0..self.items.len()).filter(|&at| self.items[at].droppable);
                    let at = if policy == DropOldest {
                        positions.next()
                    } else {
                        positions.next_back()
                    };
                    let gone = self.items.remove(at.unwrap()).unwrap();
                    self.dropped.push((gone.name, reason));
                }
                self.items.push_back(item);
                Offer::Dropped(reason)
            }
            (Disconnect, _, _) | (_, false, false) => {
                self.cut = true;
                self.items.push_back(item);
                while let Some(item) = self.items.pop_front() {
                    self.dropped.push((item.name, DropReason::Disconnected));
                }
                Offer::Disconnect
            }
        }
    }

    fn drop_item(&mut self, item: Item, reason: DropReason) -> Offer<Item> {
        self.dropped.push((item.name, reason));
        Offer::Dropped(reason)
    }

    fn receive(&mut self, max_messages: usize, max_bytes: usize) -> Vec<Item> {
        let mut batch: Vec<Item> = Vec::new();
        while let Some(next) = self.items.front() {
            let bytes: usize = batch.iter().map(|item| item.weight).sum();
            let over = batch.len() >= max_messages || bytes + next.weight > max_bytes;
            if over && !batch.is_empty() {
                break;
            }
            batch.extend(self.items.pop_front());
        }
        batch
    }
}

proptest! {
    #[test]
    fn the_queue_does_what_the_model_does(
        steps in steps(),
        policy in prop::sample::select(OverflowPolicy::ALL.to_vec()),
        max_messages in 1usize..6,
        max_bytes in 1usize..20,
    ) {
        let options = options(policy, max_messages, max_bytes);
        let dropped = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&dropped);
        let (sender, mut receiver) =
            channel_with(options, move |item: &Item, reason| log.lock().unwrap().push((item.name, reason)));
        let mut model =
            Model { options, items: VecDeque::new(), cut: false, dropped: Vec::new() };
        for (step, name) in steps.into_iter().zip(0..) {
            match step {
                Step::Offer { weight, droppable, forward } => {
                    let item = Item { name, weight, droppable };
                    let offer =
                        if forward { sender.offer_or_drop(item) } else { sender.offer(item) };
                    prop_assert_eq!(offer, model.offer(item, forward));
                }
                Step::Receive { max_messages, max_bytes } => {
                    let mut batch = Vec::new();
                    let taken = receiver.try_recv_many(&mut batch, max_messages, max_bytes);
                    prop_assert_eq!(taken, batch.len());
                    prop_assert_eq!(batch, model.receive(max_messages, max_bytes));
                }
            }
            let counters = sender.counters();
            assert_balanced(&counters);
            prop_assert_eq!(counters.queued, model.items.len() as u64);
            let bytes: usize = model.items.iter().map(|item| item.weight).sum();
            prop_assert_eq!(counters.queued_bytes, bytes as u64);
            prop_assert_eq!(counters.dropped_total(), dropped.lock().unwrap().len() as u64);
        }
        let sorted = |mut drops: Vec<(u32, DropReason)>| {
            drops.sort_by_key(|(name, _)| *name);
            drops
        };
        prop_assert_eq!(sorted(dropped.lock().unwrap().clone()), sorted(model.dropped));
    }
}

/// Four producers on threads of their own, one consumer: every item is accounted for, and what
/// arrives from one producer arrives in its order.
async fn stress(policy: OverflowPolicy, forward: bool) {
    const PRODUCERS: u32 = 4;
    const ITEMS: u32 = 5_000;
    let (sender, mut receiver) = channel(options(policy, 64, 1 << 10));
    let stats = sender.stats();
    let mut producers = Vec::new();
    for producer in 0..PRODUCERS {
        let sender = sender.clone();
        producers.push(tokio::spawn(async move {
            for n in 0..ITEMS {
                // Few enough to be kept that they never fill the queue on their own.
                let item = Item {
                    name: producer * ITEMS + n,
                    weight: n as usize % 32,
                    droppable: n % 1000 != 0,
                };
                let offer = if forward {
                    sender.offer_or_drop(item)
                } else {
                    sender.send(item).await
                };
                assert!(
                    matches!(offer, Offer::Queued | Offer::Dropped(_)),
                    "{offer:?}"
                );
            }
        }));
    }
    drop(sender);
    let mut last = vec![None; PRODUCERS as usize];
    let (mut received, mut kept, mut batch) = (0, 0, Vec::new());
    while receiver.recv_many(&mut batch, 16, 256).await > 0 {
        for item in batch.drain(..) {
            let last = &mut last[(item.name / ITEMS) as usize];
            assert!(last.is_none_or(|last| last < item.name));
            *last = Some(item.name);
            received += 1;
            kept += u32::from(!item.droppable);
        }
    }
    for producer in producers {
        producer.await.unwrap();
    }
    let counters = stats.counters();
    assert_balanced(&counters);
    assert_eq!(counters.offered, u64::from(PRODUCERS * ITEMS));
    assert_eq!(
        (counters.sent, counters.queued, counters.waiting),
        (received, 0, 0)
    );
    assert_eq!(kept, PRODUCERS * ITEMS / 1000);
    if policy == OverflowPolicy::Block && !forward {
        assert_eq!(counters.dropped_total(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_wait_lose_nothing() {
    stress(OverflowPolicy::Block, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_do_not_wait_lose_only_what_is_counted() {
    stress(OverflowPolicy::Block, true).await;
    stress(OverflowPolicy::DropOldest, false).await;
    stress(OverflowPolicy::DropNewest, false).await;
}
