//! What one message costs on its way through a node: finding who wants it, knowing whether it is a
//! duplicate, and passing a queue.
//!
//! Matching must not depend on how many subscriptions there are; it is measured with 10 to 1 M of
//! them, over topics in random order, so that large trees pay for the memory they touch.

use std::{hint::black_box, num::NonZeroUsize, sync::Arc, time::Duration};

use broker_core::{
    EndpointId, OriginWindow, PrefixTree,
    queue::{self, OverflowPolicy, QueueOptions, Weigh},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SUBSCRIPTIONS: [usize; 4] = [10, 1_000, 100_000, 1_000_000];

/// Prefixes as clusters have them: a few levels by role, a name that differs.
fn prefix(n: usize) -> String {
    let role = ["worker", "proxy", "logger", "manager"][n % 4];
    format!("zeek/cluster/{role}/node-{n}/")
}

/// A tree as a router has it: each entry a link, shared.
fn tree(subscriptions: usize) -> PrefixTree<Arc<usize>> {
    let mut tree = PrefixTree::new();
    for n in 0..subscriptions {
        tree.insert_mut(prefix(n).as_bytes(), Arc::new(n));
    }
    tree
}

/// As many topics as make the caches forget the tree, in no order; side by side, as a topic that was
/// just read is in the cache itself.
fn topics(subscriptions: usize) -> Vec<[u8; 64]> {
    let mut random = fastrand::Rng::with_seed(7);
    let topic = |_| {
        let prefix = prefix(random.usize(..subscriptions));
        let mut topic = [b'x'; 64];
        topic[..prefix.len()].copy_from_slice(prefix.as_bytes());
        topic
    };
    (0..1 << 16).map(topic).collect()
}

fn match_topics(c: &mut Criterion) {
    let mut group = c.benchmark_group("core/prefix_tree/match");
    group.throughput(Throughput::Elements(1));
    for subscriptions in SUBSCRIPTIONS {
        let (tree, topics) = (tree(subscriptions), topics(subscriptions));
        let mut next = topics.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(subscriptions), |b| {
            b.iter(|| {
                let topic = next.next().map_or(&[][..], |topic| &topic[..]);
                let mut found = 0;
                tree.for_each_match(black_box(topic), |link| found ^= Arc::as_ptr(link) as usize);
                found
            });
        });
    }
    group.finish();
}

fn subscribe(c: &mut Criterion) {
    let mut group = c.benchmark_group("core/prefix_tree/insert_and_remove");
    for subscriptions in SUBSCRIPTIONS {
        let tree = tree(subscriptions);
        let link = Arc::new(usize::MAX);
        let mut n = 0;
        group.bench_function(BenchmarkId::from_parameter(subscriptions), |b| {
            b.iter(|| {
                n = (n + 7919) % subscriptions;
                let prefix = prefix(n);
                let more = tree.insert(prefix.as_bytes(), Arc::clone(&link));
                more.remove(prefix.as_bytes(), &link)
            });
        });
    }
    group.finish();
}

fn observe(c: &mut Criterion) {
    let mut group = c.benchmark_group("core/origin_window/observe");
    group.throughput(Throughput::Elements(1));
    for origins in [1, 100, 4096] {
        let ids: Vec<_> = (0..origins).map(|_| EndpointId::random()).collect();
        let (mut seen, mut n) = (OriginWindow::new(), 0);
        group.bench_function(BenchmarkId::from_parameter(origins), |b| {
            b.iter(|| {
                n += 1;
                seen.observe(ids[n % ids.len()], (n / ids.len()) as u64 + 1, true)
            });
        });
    }
    group.finish();
}

struct Item([u64; 8]);

impl Weigh for Item {
    fn weight(&self) -> usize {
        size_of_val(&self.0)
    }
}

fn pass_queue(c: &mut Criterion) {
    const BATCH: usize = 256;
    let mut group = c.benchmark_group("core/queue");
    group.throughput(Throughput::Elements(BATCH as u64));
    let (sender, mut receiver) = queue::channel(QueueOptions::local());
    let mut taken = Vec::with_capacity(BATCH);
    group.bench_function("offer_and_take/one_thread", |b| {
        b.iter(|| {
            for n in 0..BATCH as u64 {
                let _ = sender.offer(Item([n; 8]));
            }
            taken.clear();
            receiver.try_recv_many(&mut taken, BATCH, usize::MAX)
        });
    });

    let full = NonZeroUsize::new(BATCH).expect("a batch has items");
    let options = QueueOptions::peer()
        .policy(OverflowPolicy::DropOldest)
        .max_messages(full);
    let (sender, _receiver) = queue::channel(options);
    group.bench_function("offer/full_drop_oldest", |b| {
        b.iter(|| {
            for n in 0..BATCH as u64 {
                let _ = sender.offer(Item([n; 8]));
            }
        });
    });

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime without I/O starts");
    group.bench_function("send_and_receive/two_threads", |b| {
        b.iter_custom(|batches| {
            runtime.block_on(async {
                let (sender, mut receiver) = queue::channel(QueueOptions::local());
                let items = batches * BATCH as u64;
                let start = std::time::Instant::now();
                let producer = tokio::spawn(async move {
                    for n in 0..items {
                        let _ = sender.send(Item([n; 8])).await;
                    }
                });
                let consumer = tokio::spawn(async move {
                    let (mut batch, mut sum) = (Vec::with_capacity(BATCH), 0u64);
                    while receiver.recv_many(&mut batch, BATCH, usize::MAX).await > 0 {
                        sum += batch.drain(..).map(|item| item.0[0]).sum::<u64>();
                    }
                    sum
                });
                let _ = producer.await;
                black_box(consumer.await.ok());
                start.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = match_topics, subscribe, observe, pass_queue
}
criterion_main!(benches);
