//! Helpers for tests that start the real program: build it, run it, talk to it, and never leave it behind.
//!
//! `golden` replays recorded sessions.
//!
//! Nothing here sleeps: tests wait for the line or the exit they need, under one generous limit. Nodes listen on port 0
//! and say where; only those that a layout lets others dial get a port beforehand, a random one that is free.

#[cfg(feature = "replay")]
mod certificates;
mod cluster;
#[cfg(feature = "replay")]
pub mod golden;
mod ports;
mod process;
mod program;
#[cfg(feature = "replay")]
mod tcp_proxy;

#[cfg(feature = "replay")]
pub use certificates::{Certificates, PASSPHRASE};
pub use cluster::Cluster;
pub use ports::free_ports;
pub use process::{Done, Running};
pub use program::{broker, program_path};
#[cfg(feature = "replay")]
pub use tcp_proxy::TcpProxy;

use std::time::Duration;

/// How long a test waits for something that must happen. Far more than any healthy run takes.
pub const PATIENCE: Duration = Duration::from_secs(60);
