//! Ports for nodes that others dial, and that therefore must be in a layout before anybody has bound them.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// `count` ports of 127.0.0.1 that nobody listens on. They are chosen at random below those that systems hand out for
/// outgoing connections, so that neither another test nor a connection takes one before its node has.
///
/// # Panics
/// If there are not so many.
#[must_use]
pub fn free_ports(count: usize) -> Vec<u16> {
    let random = RandomState::new();
    let candidates = (0u32..10_000)
        .map(|n| FIRST + u16::try_from(random.hash_one(n) % RANGE).expect("in range"));
    let held: Vec<_> = candidates
        .filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .take(count)
        .collect();
    assert_eq!(held.len(), count, "free ports");
    held.iter()
        .map(|listener| listener.local_addr().expect("bound").port())
        .collect()
}

const FIRST: u16 = 10_240;
const RANGE: u64 = 21_000;
