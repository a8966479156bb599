//! Networks of forwarding nodes, ours and C++ ones, on virtual time.

use proptest::prelude::*;

use super::*;
use crate::origin_window::{OriginWindow, Verdict};

const TOPIC: Topic = Topic::from_static("/t");

#[derive(Clone, Debug)]
enum Kind {
    Data { origin: usize, sequence: u64 },
    Probe(Bytes),
}

/// A frame on its way to `to` over link `link`.
struct Frame {
    link: usize,
    to: usize,
    kind: Kind,
}

/// A forwarding node: C++, or ours with its guard and what it has seen.
enum Node {
    Cpp,
    Ours(Box<(CycleGuard, OriginWindow, u64)>),
}

/// Forwarding nodes that all want one topic. A link numbers messages if both ends are ours.
struct Network {
    now: Instant,
    nodes: Vec<Node>,
    links: Vec<(usize, usize)>,
    cut: HashSet<usize>,
    /// What is under way, oldest first. Frames of one link and direction keep their order, others need not.
    frames: VecDeque<Frame>,
    /// Chooses which link is next; zero takes the frames as they were sent.
    seed: u64,
    deliveries: Vec<usize>,
    moved: usize,
}

fn id(node: usize) -> EndpointId {
    EndpointId::from_bytes([node as u8 + 1; 16])
}

impl Network {
    fn new(ours: &[bool], links: &[(usize, usize)]) -> Self {
        let nodes = ours.iter().enumerate().map(|(index, ours)| {
            if *ours {
                Node::Ours(Box::new((
                    CycleGuard::new(id(index)),
                    OriginWindow::new(),
                    0,
                )))
            } else {
                Node::Cpp
            }
        });
        Self {
            now: Instant::now(),
            nodes: nodes.collect(),
            links: links.to_vec(),
            cut: HashSet::new(),
            frames: VecDeque::new(),
            seed: 0,
            deliveries: vec![0; ours.len()],
            moved: 0,
        }
    }

    fn guarded(&self, at: usize, link: usize) -> GuardedLink {
        let (a, b) = self.links[link];
        GuardedLink {
            serial: link as u64,
            secret: EndpointId::from_bytes([0x80 + (16 * at + link) as u8; 16]),
            numbered: matches!(
                (&self.nodes[a], &self.nodes[b]),
                (Node::Ours(_), Node::Ours(_))
            ),
            forwards_pings: true,
        }
    }

    fn others(&self, node: usize, from: Option<usize>) -> Vec<(usize, usize)> {
        (0..self.links.len())
            .filter(|link| Some(*link) != from && !self.cut.contains(link))
            .filter_map(|link| match self.links[link] {
                (a, b) if a == node => Some((link, b)),
                (a, b) if b == node => Some((link, a)),
                _ => None,
            })
            .collect()
    }

    fn publish(&mut self, node: usize) {
        self.deliveries.fill(0);
        let sequence = match &mut self.nodes[node] {
            Node::Cpp => 0,
            Node::Ours(ours) => {
                ours.2 += 1;
                ours.2
            }
        };
        for (link, to) in self.others(node, None) {
            self.send(
                link,
                to,
                Kind::Data {
                    origin: node,
                    sequence,
                },
            );
        }
    }

    fn send(&mut self, link: usize, to: usize, kind: Kind) {
        let kind = match kind {
            Kind::Data { origin, .. } if !self.guarded(to, link).numbered => Kind::Data {
                origin,
                sequence: 0,
            },
            kind => kind,
        };
        self.frames.push_back(Frame { link, to, kind });
    }

    /// Moves frames until none is left, or too many have moved.
    fn settle(&mut self, limit: usize) -> bool {
        while let Some(Frame { link, to, kind }) = self.next() {
            self.moved += 1;
            if self.moved > limit {
                return false;
            }
            match kind {
                Kind::Data { origin, sequence } => self.data(link, to, origin, sequence),
                Kind::Probe(payload) => self.probe(link, to, payload),
            }
        }
        true
    }

    fn next(&mut self) -> Option<Frame> {
        if self.seed == 0 || self.frames.is_empty() {
            return self.frames.pop_front();
        }
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let chosen = &self.frames[(self.seed >> 33) as usize % self.frames.len()];
        let way = (chosen.link, chosen.to);
        let first = self
            .frames
            .iter()
            .position(|frame| (frame.link, frame.to) == way)?;
        self.frames.remove(first)
    }

    fn data(&mut self, link: usize, at: usize, mut origin: usize, mut sequence: u64) {
        let others = self.others(at, Some(link));
        let from = self.guarded(at, link);
        let guarded: Vec<_> = others
            .iter()
            .map(|(link, _)| self.guarded(at, *link))
            .collect();
        let now = self.now;
        match &mut self.nodes[at] {
            Node::Cpp => {
                self.deliveries[at] += 1;
                for (link, to) in others {
                    self.send(
                        link,
                        to,
                        Kind::Data {
                            origin,
                            sequence: 0,
                        },
                    );
                }
            }
            Node::Ours(ours) => {
                let (guard, seen, next) = &mut **ours;
                if sequence > 0
                    && (origin == at || seen.observe(id(origin), sequence, false) != Verdict::New)
                {
                    return;
                }
                if sequence == 0 {
                    *next += 1;
                    (origin, sequence) = (at, *next);
                }
                let passages: Vec<_> = guarded
                    .iter()
                    .map(|to| guard.forward(now, from, *to, &TOPIC))
                    .collect();
                self.deliveries[at] += 1;
                for ((link, to), passage) in others.into_iter().zip(passages) {
                    if let Some(probe) = passage.probe {
                        self.send(link, to, Kind::Probe(probe));
                    }
                    if passage.open {
                        self.send(link, to, Kind::Data { origin, sequence });
                    }
                }
            }
        }
    }

    fn probe(&mut self, link: usize, at: usize, payload: Bytes) {
        let others = self.others(at, Some(link));
        let from = self.guarded(at, link);
        let guarded: Vec<_> = others
            .iter()
            .map(|(link, _)| self.guarded(at, *link))
            .collect();
        let now = self.now;
        let pass: Vec<bool> = match &mut self.nodes[at] {
            Node::Cpp => vec![true; others.len()],
            Node::Ours(ours) => match ours.0.arrived(now, from, &TOPIC, &payload) {
                Probe::Relay(prober) => guarded
                    .iter()
                    .map(|to| ours.0.passes(prober, from, *to, &TOPIC))
                    .collect(),
                Probe::Foreign => panic!("it is one of ours"),
                Probe::Returned { .. } | Probe::Seen => return,
            },
        };
        for ((link, to), pass) in others.into_iter().zip(pass) {
            if pass {
                self.send(link, to, Kind::Probe(payload.clone()));
            }
        }
    }

    fn joints(&self) -> usize {
        self.nodes
            .iter()
            .map(|node| match node {
                Node::Cpp => 0,
                Node::Ours(ours) => ours.0.joints.values().map(Vec::len).sum(),
            })
            .sum()
    }

    /// Lets so many rounds of questions pass.
    fn advance(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.now += ASK_AGAIN;
            for at in 0..self.nodes.len() {
                let Node::Ours(ours) = &mut self.nodes[at] else {
                    continue;
                };
                for (serial, _, probe) in ours.0.handle_timeout(self.now) {
                    let link = serial as usize;
                    if !self.cut.contains(&link) {
                        let (a, b) = self.links[link];
                        self.send(link, if a == at { b } else { a }, Kind::Probe(probe));
                    }
                }
            }
            assert!(self.settle(10_000));
        }
    }

    /// Whether C++ nodes alone make a cycle, in which a message circulates whatever we do.
    fn has_cpp_cycle(&self) -> bool {
        let mut group: Vec<usize> = (0..self.nodes.len()).collect();
        for (a, b) in &self.links {
            if matches!((&self.nodes[*a], &self.nodes[*b]), (Node::Cpp, Node::Cpp)) {
                let (a, b) = (group[*a], group[*b]);
                if a == b {
                    return true;
                }
                group.iter_mut().filter(|g| **g == b).for_each(|g| *g = a);
            }
        }
        false
    }
}

/// Ours, C++, C++ in a ring.
fn ring(ours: &[bool]) -> Network {
    let links: Vec<_> = (0..ours.len())
        .map(|index| (index, (index + 1) % ours.len()))
        .collect();
    Network::new(ours, &links)
}

#[test]
fn without_a_guard_a_ring_of_cpp_nodes_goes_on_for_ever() {
    let mut network = ring(&[false, false, false]);
    network.publish(1);
    assert!(!network.settle(10_000));
}

#[test]
fn a_ring_through_two_cpp_nodes_is_opened_at_ours() {
    let mut network = ring(&[true, false, false]);
    network.publish(1);
    assert!(network.settle(100));
    assert_eq!(network.joints(), 1);
    // Now that it is known, a message of a C++ node comes to us over both ways and ends here.
    network.publish(1);
    assert!(network.settle(200));
    assert_eq!(network.deliveries, [2, 0, 1]);
}

#[test]
fn of_several_nodes_of_ours_in_one_ring_only_one_takes_a_pair_out() {
    for ours in [
        vec![true, false, true, false],
        vec![true, true, false, false],
        vec![true, true, true, false, false],
        vec![false, true, true, true, true],
        vec![true, false, true, false, true, false],
    ] {
        for publisher in 0..ours.len() {
            let mut network = ring(&ours);
            for _ in 0..3 {
                network.publish(publisher);
                assert!(network.settle(10_000), "{ours:?} from {publisher}");
            }
            assert!(network.joints() <= 1, "{ours:?} from {publisher}");
            network.publish(publisher);
            assert!(network.settle(10_000));
            let missing = (0..ours.len())
                .filter(|node| *node != publisher && network.deliveries[*node] == 0)
                .count();
            assert_eq!(missing, 0, "{ours:?} from {publisher}");
        }
    }
}

#[test]
fn a_ring_that_was_opened_elsewhere_is_closed_again_after_a_while() {
    let mut network = ring(&[true, false, false]);
    network.publish(1);
    assert!(network.settle(100));
    assert_eq!(network.joints(), 1);
    network.advance(MAX_UNANSWERED + 3);
    assert_eq!(network.joints(), 1, "the probes come back");
    // The link between the two C++ nodes breaks: only we can carry messages between them.
    network.cut.insert(1);
    network.advance(MAX_UNANSWERED + 1);
    assert_eq!(network.joints(), 0);
    network.publish(1);
    assert!(network.settle(1000));
    assert_eq!(network.deliveries, [1, 0, 1]);
}

#[test]
fn rings_of_our_own_are_never_probed() {
    let mut network = ring(&[true, true, true]);
    network.publish(0);
    assert!(network.settle(100));
    assert_eq!(network.deliveries, [0, 1, 1]);
    assert_eq!(
        network.moved, 4,
        "two to the others, and each tells the other once more"
    );
}

#[test]
fn what_strangers_send_is_bounded_and_believed_only_if_it_can_be_true() {
    let mut guard = CycleGuard::new(id(0));
    let link = |serial: u64| GuardedLink {
        serial,
        secret: EndpointId::from_bytes([serial as u8; 16]),
        numbered: false,
        forwards_pings: true,
    };
    let now = Instant::now();
    for payload in [&b"LUP"[..], b"", &[b'L'; 43]] {
        let payload = Bytes::copy_from_slice(payload);
        assert_eq!(
            guard.arrived(now, link(1), &TOPIC, &payload),
            Probe::Foreign
        );
    }
    for number in 0..3 * MAX_RELAYED as u64 {
        let mut other = CycleGuard::new(id(1));
        other.count = number;
        let topic = Topic::copy_from(&number.to_be_bytes()).expect("short");
        let probe = other.probe(link(1));
        assert_eq!(
            guard.arrived(now, link(1), &topic, &probe),
            Probe::Relay(id(1))
        );
        assert_eq!(guard.arrived(now, link(1), &topic, &probe), Probe::Seen);
        guard.forward(now, link(1), link(2), &topic);
        let probe = guard.probe(link(2));
        guard.arrived(now, link(1), &topic, &probe);
    }
    assert!(guard.relayed.order.len() <= MAX_RELAYED && guard.probed.len() <= MAX_PROBED);
    assert_eq!(guard.relayed.order.len(), guard.relayed.known.len());
    assert_eq!(
        guard.joints.values().map(Vec::len).sum::<usize>(),
        MAX_JOINTS
    );
    guard.forget(2);
    assert!(guard.probed.is_empty() && guard.joints.is_empty());
    assert_eq!(guard.next_timeout(), None);
    // Somebody who makes a probe of ours up has not seen the secret of the link.
    let forged = CycleGuard::new(id(0)).probe(link(7));
    assert_eq!(
        guard.arrived(now, link(1), &TOPIC, &forged),
        Probe::Returned { joined: None }
    );
    assert!(guard.joints.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// Whatever the network, as long as no C++ nodes make a cycle among themselves: messages die, and
    /// everybody still gets them.
    #[test]
    fn in_any_network_messages_die_and_reach_everybody(
        ours in proptest::collection::vec(any::<bool>(), 2..7),
        extra in proptest::collection::vec((0usize..7, 0usize..7), 0..4),
        parents in proptest::collection::vec(any::<usize>(), 6),
        publisher in any::<usize>(),
        seed in any::<u64>(),
    ) {
        let count = ours.len();
        let mut links: Vec<(usize, usize)> = (1..count).map(|node| (parents[node - 1] % node, node)).collect();
        for (a, b) in extra {
            let (a, b) = (a % count, b % count);
            if a != b && !links.contains(&(a, b)) && !links.contains(&(b, a)) {
                links.push((a, b));
            }
        }
        let mut network = Network::new(&ours, &links);
        prop_assume!(!network.has_cpp_cycle());
        let publisher = publisher % count;
        network.seed = seed;
        for round in 0..6 {
            network.moved = 0;
            network.publish(publisher);
            prop_assert!(network.settle(20_000), "round {} circulates in {:?} {:?}", round, ours, links);
        }
        for node in (0..count).filter(|node| *node != publisher) {
            prop_assert!(network.deliveries[node] > 0, "node {} is cut off in {:?} {:?} from {}", node, ours, links, publisher);
        }
    }
}
