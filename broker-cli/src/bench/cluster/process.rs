//! What a process uses, in the counters of its status.

use broker_core::{NodeStatus, StatusSource};

use crate::bench::memory;

/// Bytes that are resident.
pub(super) const RESIDENT: &str = "process.resident_bytes";
/// The same, with pages divided by the number of processes that share them.
pub(super) const PROPORTIONAL: &str = "process.proportional_bytes";
/// The most that was ever resident.
pub(super) const PEAK: &str = "process.peak_bytes";
/// File descriptors that are open.
pub(super) const FILES: &str = "process.open_files";

/// Tells what this process uses whenever its status is asked for.
#[derive(Debug)]
pub(super) struct Process;

impl StatusSource for Process {
    fn contribute(&self, status: &mut NodeStatus) {
        let files = std::fs::read_dir("/proc/self/fd").map(|files| files.count() as u64);
        for (name, value) in [
            (RESIDENT, memory::resident()),
            (PROPORTIONAL, memory::proportional()),
            (PEAK, memory::peak()),
            (FILES, files.ok()),
        ] {
            if let Some(value) = value {
                status.counters.insert(name.to_owned(), value);
            }
        }
    }
}
