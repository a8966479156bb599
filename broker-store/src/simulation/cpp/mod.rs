//! Models of the C++ side, written from the wire reference, 7.4 to 7.8, quirks included. They share nothing with our channel.
//!
//! `tests/cpp_peers` includes these files as well, so they name this crate by `super::store`.
#![allow(
    dead_code,
    reason = "some of it is for the model of the master in those tests"
)]

use crate as store;

mod channel;
mod cpp_clone;
mod peer;

pub(crate) use self::cpp_clone::CppClone;
pub(crate) use self::peer::{Peer, To};
