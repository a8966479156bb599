//! Our state machines beside models of the C++ ones, in virtual time, over a link that is cut and loses what the test
//! says.
//!
//! The models are written from the wire reference, 7.4 to 7.8, quirks included, and share nothing with our channel: a
//! clone that ignores keepalives for everybody, gives up when an update is lost, never follows a second master, and whose
//! writing dies after 50 s; a master that forgets clones after 50 s and reports nothing to anybody.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use broker_store as store;

#[path = "../../src/simulation/cpp/channel.rs"]
mod channel;
#[path = "../../src/simulation/cpp/cpp_clone.rs"]
mod cpp_clone;
mod cpp_master;
mod followed;
mod following;
mod healed;
#[path = "../../src/simulation/cpp/peer.rs"]
mod peer;
mod quirks;
mod refilled;
mod site;
mod world;
