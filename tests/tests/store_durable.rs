//! What a store on disk has acknowledged was synchronised to the disk before: the system calls of a real node are
//! watched while a client puts one value after the other.
//!
//! A put counts as safe if between its sending and its answer the file that decides was written and then synchronised, to
//! the end of the call. `strace` attaches to the running node and stamps each call; a thread of the node stands still
//! until its call is stamped, so nothing can be answered before the stamp of the synchronisation behind it. That SQLite
//! with a write-ahead log and `synchronous = "normal"` is found unsafe shows that the test can tell.
//!
//! Where there is no `strace`, or it may not attach, the tests say so and end.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use broker_core::{StoreOperation, StoreReply};
use broker_tests::{Cluster, Running};
use broker_wire::BrokerClient;

#[tokio::test]
async fn sqlite_is_synchronised_before_it_acknowledges() {
    if let Some(safe) = safe_puts("sqlite", &[], "s").await {
        assert_eq!(safe, PUTS);
    }
}

#[tokio::test]
async fn sqlite_with_a_write_ahead_log_and_full_synchronisation_is_synchronised_before_it_acknowledges()
 {
    let options = [("journal_mode", "wal"), ("synchronous", "full")];
    if let Some(safe) = safe_puts("sqlite", &options, "s-wal").await {
        assert_eq!(safe, PUTS);
    }
}

#[tokio::test]
async fn sqlite_with_a_write_ahead_log_and_normal_synchronisation_acknowledges_sooner() {
    let options = [("journal_mode", "wal"), ("synchronous", "normal")];
    if let Some(safe) = safe_puts("sqlite", &options, "s-wal").await {
        assert!(safe < PUTS / 2, "{safe} of {PUTS} puts are found safe");
    }
}

#[tokio::test]
async fn sled_hands_its_log_to_the_disk_before_it_acknowledges() {
    // By `sync_file_range`, which waits for the disk, but has it neither empty its cache nor learn the file's length.
    if let Some(safe) = safe_puts("sled", &[], "s/").await {
        assert_eq!(safe, PUTS);
    }
}

/// How many of [`PUTS`] were, by what was done to `file`, on the disk before they were answered; `None`, with a word, if it cannot be seen.
async fn safe_puts(backend: &str, options: &[(&str, &str)], file: &str) -> Option<usize> {
    let cluster = Cluster::new(&layout(backend, options));
    let (node, url) = cluster.node("manager");
    let client = BrokerClient::connect(&url.parse().unwrap()).await.unwrap();
    // Files that are made with the first write have their names before they are watched.
    put(&client, 0).await;
    let calls = cluster.path().join("calls");
    let (mut watcher, messages) = match watch(&node, &calls) {
        Ok(watcher) => watcher,
        Err(why) => {
            println!("skipped: {why}");
            assert_eq!(node.stop().code, Some(0));
            return None;
        }
    };
    let mut puts = Vec::new();
    for number in 1..=PUTS {
        let sent = now();
        put(&client, number).await;
        puts.push((sent, now()));
    }
    assert_eq!(node.stop().code, Some(0));
    // It ends with the node; not before, or calls would be missing.
    let end = watcher.wait().unwrap();
    assert!(end.code().is_some(), "strace was killed: {end}");
    drop(messages);
    let calls = read(&std::fs::read_to_string(calls).unwrap(), file);
    let is_safe = |&&(sent, answered): &&(f64, f64)| {
        let within = |call: &&Call| call.begun >= sent && call.ended <= answered;
        let during = || calls.iter().filter(within);
        during().filter(|call| call.synchronises).any(|sync| {
            during().any(|write| {
                !write.synchronises && write.file == sync.file && write.ended <= sync.begun
            })
        })
    };
    Some(puts.iter().filter(is_safe).count())
}

async fn put(client: &BrokerClient, number: usize) {
    let operation = StoreOperation::Put {
        key: (number as u64).into(),
        value: "value".into(),
        expiry: None,
    };
    assert_eq!(client.store("s", operation).await, Ok(StoreReply::Done));
}

fn layout(backend: &str, options: &[(&str, &str)]) -> String {
    let options: String = options
        .iter()
        .map(|(name, value)| format!("{name} = \"{value}\"\n"))
        .collect();
    format!(
        "[cluster]\nname = \"test\"\n[stores.s]\nbackend = \"{backend}\"\npath = \"data/s\"\n{options}\
         [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\"]\n"
    )
}

/// Attaches to the node and has its calls written to `calls`. Its messages, of which there is one for each new thread,
/// are to be kept open as long as it runs.
fn watch(node: &Running, calls: &Path) -> Result<(Child, BufReader<ChildStderr>), String> {
    let process = node.process_id().to_string();
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-ttt", "-T", "-y", "-s", "0"])
        .args(["-e", CALLS, "-p", &process, "-o"])
        .arg(calls)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut watcher = strace
        .spawn()
        .map_err(|error| format!("strace cannot be started: {error}"))?;
    let mut line = String::new();
    let mut messages = BufReader::new(watcher.stderr.take().unwrap());
    messages.read_line(&mut line).unwrap();
    if line.contains(" attached") {
        return Ok((watcher, messages));
    }
    watcher.wait().unwrap();
    Err(format!("strace does not attach: {line}"))
}

/// A call that succeeded.
struct Call {
    synchronises: bool,
    file: String,
    begun: f64,
    ended: f64,
}

/// The calls on the file of this name, or in the directory if it ends so, from lines such as `123 1700000000.123456 fsync(7</tmp/x/data/s>) = 0 <0.000123>`.
/// One that other threads interrupt is on two lines, `fsync(7</tmp/x/data/s> <unfinished ...>` and
/// `<... fsync resumed>) = 0 <0.000123>`.
fn read(text: &str, name: &str) -> Vec<Call> {
    let mut unfinished: HashMap<&str, Call> = HashMap::new();
    let mut calls = Vec::new();
    let is_of_store = |file: &str| {
        file.split_once("/data/")
            .is_some_and(|(_, rest)| rest == name || name.ends_with('/') && rest.starts_with(name))
    };
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        // The numbers of threads are padded.
        let Some((time, what)) = rest.trim_start().split_once(' ') else {
            continue;
        };
        let Ok(time) = time.parse::<f64>() else {
            continue;
        };
        let mut call = if what.starts_with("<...") {
            let Some(call) = unfinished.remove(thread) else {
                continue;
            };
            call
        } else {
            let file = what.split_once('<').and_then(|(_, rest)| {
                let (file, _) = rest.split_once('>')?;
                is_of_store(file).then(|| file.to_owned())
            });
            let Some(file) = file else { continue };
            Call {
                synchronises: SYNCHRONISE.iter().any(|name| {
                    what.strip_prefix(name)
                        .is_some_and(|rest| rest.starts_with('('))
                }),
                file,
                begun: time,
                ended: time,
            }
        };
        if what.ends_with("<unfinished ...>") {
            unfinished.insert(thread, call);
            continue;
        }
        let Some((_, result)) = what.rsplit_once(" = ") else {
            continue;
        };
        let seconds = result
            .rsplit_once('<')
            .and_then(|(_, rest)| rest.strip_suffix('>')?.parse::<f64>().ok());
        if let Some(seconds) = seconds
            && !result.starts_with('-')
        {
            call.ended = call.begun + seconds;
            calls.push(call);
        }
    }
    calls
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// The calls that write and synchronise files.
const CALLS: &str = "trace=write,pwrite64,writev,pwritev,fsync,fdatasync,sync_file_range";

/// Those of them that synchronise.
const SYNCHRONISE: [&str; 3] = ["fsync", "fdatasync", "sync_file_range"];

const PUTS: usize = 20;
