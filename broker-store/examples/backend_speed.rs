//! How fast a backend applies groups, opens with a million deadlines, and expires them in order.
//!
//! `cargo run --release -p broker-store --all-features --example backend_speed [KEYS [ROW]]`, where ROW is a part of the
//! name of the rows to measure, such as `"Wal Normal"`, `sled` or `deadlines`.

use std::error::Error;
use std::time::{Duration, Instant};

use broker_core::Timestamp;
use broker_store::{Backend, JournalMode, Mutation, Sqlite, SqliteOptions, Synchronous};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let keys: u64 = match std::env::args().nth(1) {
        Some(keys) => keys.parse()?,
        None => 200_000,
    };
    let wanted = std::env::args().nth(2).unwrap_or_default();
    let is_wanted = |name: &str| name.contains(&wanted);
    println!(
        "{keys} keys a row; entries per second: in key order, in none, and again with other values; then by processor time"
    );
    println!(
        "{:24} {:>5} {:>10} {:>10} {:>10}",
        "", "group", "in order", "new keys", "again"
    );
    for (mode, synchronous) in [
        (JournalMode::Wal, Synchronous::Normal),
        (JournalMode::Wal, Synchronous::Full),
        (JournalMode::Delete, Synchronous::Full),
    ] {
        let name = format!("sqlite {mode:?} {synchronous:?}");
        for group in [1, 64, 1000] {
            if !is_wanted(&name) {
                continue;
            }
            let dir = tempfile::tempdir()?;
            let options = SqliteOptions::new(dir.path().join("s.sqlite"))
                .journal_mode(mode)
                .synchronous(synchronous);
            let keys = if group == 1 { keys / 20 } else { keys };
            row(&name, &mut Sqlite::open(&options)?, keys, group)?;
        }
    }
    #[cfg(feature = "sled")]
    for group in [64, 1000] {
        if !is_wanted("sled") {
            continue;
        }
        let dir = tempfile::tempdir()?;
        let mut sled = broker_store::Sled::open(dir.path())?;
        row("sled", &mut sled, keys, group)?;
    }
    for group in [64, 1000] {
        if is_wanted("memory") {
            row("memory", &mut broker_store::Memory::new(), keys, group)?;
        }
    }
    if is_wanted("deadlines") {
        deadlines(keys)?;
    }
    Ok(())
}

fn row(name: &str, store: &mut impl Backend, keys: u64, group: u64) -> Outcome {
    let (mut rates, mut busy_rates) = (Vec::new(), Vec::new());
    for pass in 0..3 {
        let groups: Vec<_> = (0..keys / group)
            .map(|n| match pass {
                0 => in_order(n * group, group),
                _ => batch(n * group, group, pass, None),
            })
            .collect();
        let (started, busy) = (Instant::now(), on_cpu());
        for group in &groups {
            store.apply(group)?;
        }
        let elapsed = started.elapsed();
        rates.push(rate(keys, elapsed));
        busy_rates.push(rate(keys, on_cpu().saturating_sub(busy)));
    }
    println!(
        "{name:24} {group:>5} {:>10} {:>10} {:>10}   {busy_rates:?}",
        rates[0], rates[1], rates[2]
    );
    Ok(())
}

fn in_order(first: u64, count: u64) -> Vec<Mutation> {
    (first..first + count)
        .map(|n| Mutation::Put {
            key: n.into(),
            value: n.into(),
            expires_at: None,
        })
        .collect()
}

/// Keys as hosts have them: no order that the storage could profit from.
fn batch(first: u64, count: u64, value: u64, expires_at: Option<i64>) -> Vec<Mutation> {
    (first..first + count)
        .map(|n| Mutation::Put {
            key: format!("host-{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into(),
            value: (n + value).into(),
            expires_at: expires_at.map(|at| Timestamp::from_nanos(at + n as i64)),
        })
        .collect()
}

fn deadlines(keys: u64) -> Outcome {
    let dir = tempfile::tempdir()?;
    let options = SqliteOptions::new(dir.path().join("s.sqlite"))
        .journal_mode(JournalMode::Wal)
        .synchronous(Synchronous::Normal);
    let mut store = Sqlite::open(&options)?;
    for value in [1, 2] {
        let groups: Vec<_> = (0..keys / 1000)
            .map(|n| batch(n * 1000, 1000, value, Some(1_000_000 * value as i64)))
            .collect();
        let started = Instant::now();
        for group in &groups {
            store.apply(group)?;
        }
        let what = if value == 1 { "new" } else { "again" };
        println!(
            "sqlite, keys with a deadline, {what}: {}/s",
            rate(keys, started.elapsed())
        );
    }
    drop(store);
    let before = resident();
    let started = Instant::now();
    let mut store = Sqlite::open(&options)?;
    println!(
        "opened in {:?}, {} KiB more in memory",
        started.elapsed(),
        resident().saturating_sub(before)
    );
    let started = Instant::now();
    for _ in 0..1000 {
        store.due(Timestamp::from_nanos(0), 1000)?;
    }
    println!("nothing due: {:?} a call", started.elapsed() / 1000);
    let started = Instant::now();
    let mut expired = 0;
    loop {
        let due = store.due(Timestamp::MAX, 1000)?;
        if due.is_empty() {
            break;
        }
        expired += due.len() as u64;
        let erase: Vec<_> = due.into_iter().map(|key| Mutation::Erase { key }).collect();
        store.apply(&erase)?;
    }
    println!(
        "{expired} expired in order: {}/s, {} KiB in memory",
        rate(expired, started.elapsed()),
        resident()
    );
    Ok(())
}

fn rate(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64()) as u64
}

/// How long this thread has run, where the system tells: a rate by it does not depend on who else uses the machine, nor on
/// the disk.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next();
    Duration::from_nanos(
        nanos
            .and_then(|nanos| nanos.parse().ok())
            .unwrap_or_default(),
    )
}

/// Resident memory in KiB, where the system tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or_default()
}
