//! The proof of stores by simulation, for many seeds or one:
//! `cargo run --release -p broker-store --features simulation --example simulate -- --seeds 10000`.
//!
//! ```text
//! --seeds N   how many seeds to try (default 1000)
//! --from N    the first of them (default 0)
//! --seed N    this one only
//! --trace     print every command that is sent
//! ```

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use broker_store::simulation::{Summary, run};

struct Options {
    first: u64,
    count: u64,
    trace: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        first: 0,
        count: 1000,
        trace: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().unwrap_or_default();
            text.parse::<u64>()
                .map_err(|_| format!("{argument} needs a number, not {text:?}"))
        };
        match argument.as_str() {
            "--seeds" => options.count = number()?,
            "--from" => options.first = number()?,
            "--seed" => (options.first, options.count) = (number()?, 1),
            "--trace" => options.trace = true,
            _ => {
                return Err(format!(
                    "{argument}? There are --seeds, --from, --seed, --trace"
                ));
            }
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
    let total = Mutex::new(Summary::default());
    let start = Instant::now();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= options.count {
                        break;
                    }
                    let seed = options.first + at;
                    match catch_unwind(|| run(seed, options.trace)) {
                        Ok(summary) => add(&total, &summary),
                        Err(_) => {
                            eprintln!(
                                "seed {seed} failed; again: cargo run --release -p broker-store --features simulation --example simulate -- --seed {seed} --trace"
                            );
                            failed
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push(seed);
                        }
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(1000) {
                        eprintln!("{done} of {} seeds, {:.0?}", options.count, start.elapsed());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} seeds in {:.1?}, {} failed: {} writes, {} acknowledged, {} of unknown fate, {} commands, {} lost, {} restarts, {} masters lost",
        options.count,
        start.elapsed(),
        failed.len(),
        total.writes,
        total.acknowledged,
        total.unknown,
        total.commands,
        total.lost,
        total.restarts,
        total.lost_masters
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn add(total: &Mutex<Summary>, summary: &Summary) {
    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
    total.writes += summary.writes;
    total.acknowledged += summary.acknowledged;
    total.unknown += summary.unknown;
    total.commands += summary.commands;
    total.lost += summary.lost;
    total.restarts += summary.restarts;
    total.lost_masters += summary.lost_masters;
}
