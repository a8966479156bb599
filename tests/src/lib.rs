//! Helpers for tests that start the real program: build it, run it, talk to it, and never leave it behind.
//!
//! Nothing here sleeps or picks a port: tests wait for the line or the exit they need, under one generous limit, and
//! nodes listen on port 0 and say where.

mod cluster;
mod process;
mod program;

pub use cluster::Cluster;
pub use process::{Done, Running};
pub use program::{broker, program_path};

use std::time::Duration;

/// How long a test waits for something that must happen. Far more than any healthy run takes.
pub const PATIENCE: Duration = Duration::from_secs(60);
