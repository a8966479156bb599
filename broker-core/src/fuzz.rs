//! Bodies of the fuzz targets whose decoders are private to this crate; see `fuzz/` in the repository.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::cycle_guard::{CycleGuard, GuardedLink, Probe};
use crate::id::EndpointId;
use crate::topic::Topic;

/// A guard with five links, step by step as the bytes say: messages to forward, probes that come back over any link, true
/// and forged ones, time, links that end.
///
/// The oldest link of a kind is never closed, what is no probe is foreign, and joints that nothing confirms are forgotten.
pub fn cycle_guard(bytes: &[u8]) {
    let me = EndpointId::from_bytes([7; 16]);
    let mut guard = CycleGuard::new(me);
    let links: [GuardedLink; 5] = std::array::from_fn(|n| GuardedLink {
        serial: n as u64 + 1,
        secret: EndpointId::from_bytes([n as u8 + 100; 16]),
        numbered: n == 0,
        forwards_pings: n != 4,
    });
    let topics = [Topic::from_static(""), Topic::from_static("/a")];
    let mut now = Instant::now();
    let mut sent: Vec<Bytes> = Vec::new();
    let mut rest = bytes;
    while let Some((&[what, which], behind)) = rest.split_first_chunk::<2>() {
        rest = behind;
        let from = links[usize::from(what >> 4) % 5];
        let to = links[usize::from(which >> 4) % 5];
        let topic = &topics[usize::from(which & 1)];
        match what & 7 {
            0 | 1 => {
                let passage = guard.forward(now, from, to, topic);
                assert!(passage.open || passage.probe.is_none());
                if let Some(probe) = passage.probe {
                    assert!(to.forwards_pings);
                    sent.push(probe);
                }
            }
            2 | 3 => {
                if let Some(probe) = sent.get(usize::from(which >> 1)).cloned() {
                    let arrived = guard.arrived(now, from, topic, &probe);
                    assert!(matches!(arrived, Probe::Returned { .. }));
                }
            }
            4 => {
                let len = usize::from(which).min(rest.len());
                let (payload, behind) = rest.split_at(len);
                rest = behind;
                let payload = Bytes::copy_from_slice(payload);
                match guard.arrived(now, from, topic, &payload) {
                    Probe::Foreign => {}
                    Probe::Relay(prober) => {
                        assert_ne!(prober, me);
                        let _ = guard.passes(prober, from, to, topic);
                        assert_eq!(guard.arrived(now, from, topic, &payload), Probe::Seen);
                    }
                    Probe::Returned { .. } | Probe::Seen => assert!(payload.starts_with(b"LUP")),
                }
            }
            5 => now += Duration::from_millis(100 * u64::from(which)),
            6 => sent.extend(
                guard
                    .handle_timeout(now)
                    .into_iter()
                    .map(|(_, _, probe)| probe),
            ),
            _ => guard.forget(from.serial),
        }
        let oldest = links[1];
        assert!(guard.forward(now, oldest, oldest, topic).open || links[0].numbered);
    }
    // Each joint is asked about a few times, at times of its own.
    for _ in 0..200 {
        let Some(at) = guard.next_timeout() else {
            break;
        };
        now = at;
        guard.handle_timeout(now);
    }
    assert_eq!(guard.next_timeout(), None, "a joint is never forgotten");
    for (from, to) in links.iter().zip(&links[1..]) {
        assert!(guard.forward(now, *from, *to, &topics[0]).open);
    }
}
