//! Child processes that are nodes: started, listened to, restarted with back-off when they end, and stopped.
//!
//! A node is stopped by closing its stdin (`broker node --supervised` drains when that happens), so a supervisor that
//! dies takes its nodes with it and leaves no orphans. Over the same pipe it is asked how it is, and answers on its stdout:
//! so a node that listens nowhere can be looked at too, by its owner alone. Nodes run in process groups of their own: a Ctrl-C on the
//! terminal reaches the supervisor alone, which then stops them in its order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use broker_core::{Backoff, PeerUrl};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How to start one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeSpec {
    /// The node's name.
    pub(crate) name: String,
    /// Arguments of the program, from `node` on.
    pub(crate) args: Vec<OsString>,
    /// Environment variables beside those of the supervisor.
    pub(crate) env: Vec<(String, String)>,
    /// The CPU it is to run on, if not any; `taskset` sees to it.
    pub(crate) pin_cpu: Option<u32>,
}

/// What a supervised node did.
#[derive(Debug)]
pub(crate) enum NodeEvent {
    /// Its process runs, with this number.
    Started(Option<u32>),
    /// It serves metrics there.
    Metrics(String),
    /// It said, as JSON, what became of its messages.
    Departed(String),
    /// It has bound an address.
    Listening(PeerUrl),
    /// It is ready.
    Ready,
    /// It wrote a line to stderr.
    Said(String),
    /// It ended without being asked to, and starts again after the given time, if any.
    Ended {
        how: String,
        code: Option<i32>,
        restart_in: Option<Duration>,
    },
}

/// What a node does while it is stopped.
#[derive(Debug)]
pub(crate) enum Word<'a> {
    /// It wrote a line to stderr.
    Said(&'a str),
    /// It said, as JSON, what became of its messages.
    Departed(&'a str),
    /// It has ended.
    Ended { ok: bool, how: &'a str },
}

/// Nodes under supervision. Dropping it kills them.
#[derive(Debug)]
pub(crate) struct Supervisor {
    nodes: BTreeMap<String, mpsc::Sender<Order>>,
    keepers: JoinSet<()>,
    program: PathBuf,
    event_sender: mpsc::Sender<(String, NodeEvent)>,
    events: mpsc::Receiver<(String, NodeEvent)>,
}

#[derive(Debug)]
enum Order {
    /// Stop and answer how the node ended; no restart.
    Stop(oneshot::Sender<Option<ExitStatus>>),
    /// End the node as a crash would; it is restarted.
    Kill,
    /// Tell the node to read its configuration again.
    HangUp,
    /// Ask the node how it is.
    Ask(oneshot::Sender<String>),
}

/// Those who wait for a node's status. One question is under way at a time, so that a node that does not read fills no pipe.
#[derive(Debug, Default)]
struct Inquiry {
    under_way: bool,
    waiting: Vec<oneshot::Sender<String>>,
}

impl Inquiry {
    /// Whether the node has to be asked for `answer`.
    fn add(&mut self, answer: oneshot::Sender<String>) -> bool {
        self.waiting.retain(|waiting| !waiting.is_closed());
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(answer);
        }
        !std::mem::replace(&mut self.under_way, true)
    }

    fn answered(&mut self, status: &str) {
        self.under_way = false;
        for answer in self.waiting.drain(..) {
            // Who asked may have stopped waiting.
            let _ = answer.send(status.to_owned());
        }
    }
}

impl Supervisor {
    /// Starts all of `specs`.
    pub(crate) fn start(specs: Vec<NodeSpec>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find out where this program is")?;
        let (event_sender, events) = mpsc::channel(EVENTS);
        let mut supervisor = Self {
            nodes: BTreeMap::new(),
            keepers: JoinSet::new(),
            program,
            event_sender,
            events,
        };
        for spec in specs {
            supervisor.add(spec);
        }
        Ok(supervisor)
    }

    /// Starts one more.
    pub(crate) fn add(&mut self, spec: NodeSpec) {
        let (order_sender, orders) = mpsc::channel(ORDERS);
        self.nodes.insert(spec.name.clone(), order_sender);
        let keeper = Keeper {
            program: self.program.clone(),
            spec,
            orders,
            events: self.event_sender.clone(),
        };
        self.keepers.spawn(keeper.run());
    }

    /// Tells `name` to read its configuration again.
    pub(crate) async fn hang_up(&self, name: &str) {
        if let Some(orders) = self.nodes.get(name) {
            // One that is not running reads it when it starts.
            let _ = orders.send(Order::HangUp).await;
        }
    }

    /// Asks `name` how it is: a [`Portable`](crate::status::Portable) as JSON. The answer may never come; `None` if there is no such
    /// node, or its process ends.
    pub(crate) fn ask(&self, name: &str) -> impl Future<Output = Option<String>> + Send + use<> {
        let orders = self.nodes.get(name).cloned();
        async move {
            let (answer, status) = oneshot::channel();
            orders?.send(Order::Ask(answer)).await.ok()?;
            status.await.ok()
        }
    }

    /// The next thing a node did. Must be called often enough: nodes wait while 1024 events are unread.
    ///
    /// # Cancel safety
    /// Safe: no event is lost.
    pub(crate) async fn event(&mut self) -> Option<(String, NodeEvent)> {
        self.events.recv().await
    }

    /// Ends `name` as a crash would.
    pub(crate) async fn kill(&self, name: &str) {
        if let Some(orders) = self.nodes.get(name) {
            // A keeper that is gone has no node to kill.
            let _ = orders.send(Order::Kill).await;
        }
    }

    /// Stops `names` together and returns those that did not end well.
    pub(crate) async fn stop(
        &mut self,
        names: impl IntoIterator<Item = String>,
    ) -> Vec<(String, String)> {
        self.stop_each(names, |name, word| {
            if let Word::Said(line) = word {
                eprintln_line(&format!("{name}: {line}"));
            }
        })
        .await
    }

    /// Stops `names` together, shows `told` what they do meanwhile, and returns those that did not end well.
    pub(crate) async fn stop_each(
        &mut self,
        names: impl IntoIterator<Item = String>,
        mut told: impl FnMut(&str, Word<'_>),
    ) -> Vec<(String, String)> {
        let mut waiting = JoinSet::new();
        for name in names {
            let Some(orders) = self.nodes.remove(&name) else {
                continue;
            };
            waiting.spawn(async move {
                let (answer, ended) = oneshot::channel();
                if orders.send(Order::Stop(answer)).await.is_err() {
                    return (name, None);
                }
                (name, ended.await.ok().flatten())
            });
        }
        let mut failed = Vec::new();
        while !waiting.is_empty() {
            tokio::select! {
                // What a node said last is before its end in the queue, so that it is heard first.
                biased;
                Some((name, event)) = self.events.recv() => match event {
                    NodeEvent::Said(line) => told(&name, Word::Said(&line)),
                    NodeEvent::Departed(line) => told(&name, Word::Departed(&line)),
                    // Nobody else reads what the nodes do on their way out.
                    _ => {}
                },
                Some(Ok((name, status))) = waiting.join_next() => {
                    let (ok, how) = match status {
                        Some(status) => (status.success(), status.to_string()),
                        None => (false, "was not running".to_owned()),
                    };
                    told(&name, Word::Ended { ok, how: &how });
                    if !ok {
                        failed.push((name, how));
                    }
                }
            }
        }
        failed
    }

    /// Stops all nodes together.
    pub(crate) async fn stop_all(mut self) -> Vec<(String, String)> {
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        let failed = self.stop(names).await;
        self.keepers.shutdown().await;
        failed
    }
}

/// Keeps one node running.
struct Keeper {
    program: PathBuf,
    spec: NodeSpec,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<(String, NodeEvent)>,
}

impl Keeper {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let (how, code) = match self.spawn() {
                Ok(mut child) => {
                    let started_event = NodeEvent::Started(child.id());
                    if self
                        .events
                        .send((self.spec.name.clone(), started_event))
                        .await
                        .is_err()
                    {
                        return;
                    }
                    let inquiry = Arc::new(Mutex::new(Inquiry::default()));
                    let talk = tokio::spawn(listen(
                        self.spec.name.clone(),
                        self.events.clone(),
                        child.stdout.take(),
                        child.stderr.take(),
                        Arc::clone(&inquiry),
                    ));
                    let ended = self.attend(&mut child, &inquiry).await;
                    locked(&inquiry).waiting.clear();
                    // What it said last is worth waiting for, but a grandchild may hold the pipe open.
                    let _ = tokio::time::timeout(LAST_WORDS, talk).await;
                    match ended {
                        Ended::AsOrdered(answer, status) => {
                            // Who asked may have stopped waiting.
                            let _ = answer.send(status);
                            return;
                        }
                        Ended::ByItself(status) => (
                            status.map_or_else(
                                || "cannot be waited for".to_owned(),
                                |s| s.to_string(),
                            ),
                            status.and_then(|s| s.code()),
                        ),
                    }
                }
                Err(error) => (format!("cannot be started: {error}"), None),
            };
            if started.elapsed() > HEALTHY_AFTER {
                backoff.reset();
            }
            // Misuse does not go away by trying again.
            let restart_in = (code != Some(i32::from(crate::failure::MISUSED)))
                .then(|| backoff.next_delay(fastrand::u64(..)));
            if self
                .events
                .send((
                    self.spec.name.clone(),
                    NodeEvent::Ended {
                        how,
                        code,
                        restart_in,
                    },
                ))
                .await
                .is_err()
            {
                return;
            }
            let pause = restart_in.unwrap_or(Duration::MAX);
            tokio::select! {
                () = sleep_up_to(pause) => {}
                order = self.orders.recv() => match order {
                    Some(Order::Stop(answer)) => {
                        // Who asked may have stopped waiting.
                        let _ = answer.send(None);
                        return;
                    }
                    // Nobody is there to answer: who asks learns it from the answer that is dropped.
                    Some(Order::Kill | Order::HangUp | Order::Ask(_)) => {}
                    None => return,
                },
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = match self.spec.pin_cpu {
            None => Command::new(&self.program),
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(cpu.to_string()).arg(&self.program);
                command
            }
        };
        for variable in crate::node::notify::VARIABLES {
            command.env_remove(variable);
        }
        command
            .args(&self.spec.args)
            .envs(self.spec.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Waits until the node ends, and makes it end if that is ordered.
    async fn attend(&mut self, child: &mut Child, inquiry: &Mutex<Inquiry>) -> Ended {
        // Held here: waiting for a child closes its stdin otherwise.
        let mut stdin = child.stdin.take();
        loop {
            tokio::select! {
                status = child.wait() => return Ended::ByItself(status.ok()),
                order = self.orders.recv() => match order {
                    Some(Order::Kill) => {
                        // It may have ended just now, which is as good.
                        let _ = child.start_kill();
                    }
                    Some(Order::HangUp) => hang_up(child),
                    Some(Order::Ask(answer)) => {
                        if locked(inquiry).add(answer)
                            && let Some(stdin) = &mut stdin
                        {
                            // At most one is unread, so it fits; a node that has ended is noticed above.
                            let _ = stdin.write_all(ASK_STATUS.as_bytes()).await;
                        }
                    }
                    Some(Order::Stop(answer)) => {
                        drop(stdin);
                        let status = match tokio::time::timeout(STOP_GRACE, child.wait()).await {
                            Ok(status) => status.ok(),
                            Err(_) => {
                                let _ = child.kill().await;
                                child.wait().await.ok()
                            }
                        };
                        return Ended::AsOrdered(answer, status);
                    }
                    None => {
                        let _ = child.kill().await;
                        return Ended::ByItself(None);
                    }
                },
            }
        }
    }
}

/// SIGHUP to a child that has not been waited for, so that its number is still its own.
fn hang_up(child: &Child) {
    let process = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(process) = process
        && let Err(error) = rustix::process::kill_process(process, rustix::process::Signal::HUP)
    {
        tracing::warn!(%error, "a node was not told to read its configuration again");
    }
}

enum Ended {
    ByItself(Option<ExitStatus>),
    AsOrdered(oneshot::Sender<Option<ExitStatus>>, Option<ExitStatus>),
}

/// Turns what a node prints into events, until it closes both pipes.
async fn listen(
    name: String,
    events: mpsc::Sender<(String, NodeEvent)>,
    stdout: Option<tokio::process::ChildStdout>,
    stderr: Option<tokio::process::ChildStderr>,
    inquiry: Arc<Mutex<Inquiry>>,
) {
    let results = async {
        let Some(stdout) = stdout else { return };
        let mut lines = BufReader::new(stdout);
        while let Some(mut line) = next_line(&mut lines, MAX_STATUS).await {
            if let Some(status) = line.strip_prefix(STATUS) {
                locked(&inquiry).answered(status);
                continue;
            }
            if line.len() > MAX_LINE {
                let at_most = (0..=MAX_LINE).rev();
                let end = at_most.into_iter().find(|end| line.is_char_boundary(*end));
                line.truncate(end.unwrap_or(0));
            }
            let event = if line == "ready" {
                NodeEvent::Ready
            } else if let Some(Ok(url)) = line.strip_prefix("listening ").map(str::parse) {
                NodeEvent::Listening(url)
            } else if let Some(url) = line.strip_prefix("metrics ") {
                NodeEvent::Metrics(url.to_owned())
            } else if line.starts_with(DEPARTED) {
                NodeEvent::Departed(line)
            } else {
                NodeEvent::Said(line)
            };
            if events.send((name.clone(), event)).await.is_err() {
                return;
            }
        }
    };
    let words = async {
        let Some(stderr) = stderr else { return };
        let mut lines = BufReader::new(stderr);
        while let Some(line) = next_line(&mut lines, MAX_LINE).await {
            if events
                .send((name.clone(), NodeEvent::Said(line)))
                .await
                .is_err()
            {
                return;
            }
        }
    };
    tokio::join!(results, words);
}

fn locked(inquiry: &Mutex<Inquiry>) -> MutexGuard<'_, Inquiry> {
    inquiry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next line as text, cut at `limit` bytes; `None` at the end.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin), limit: usize) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let available = reader.fill_buf().await.ok()?;
        if available.is_empty() {
            return (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned());
        }
        let (part, whole) = match available.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&available[..end], true),
            None => (available, false),
        };
        let room = limit.saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(whole);
        reader.consume(used);
        if whole {
            return Some(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

async fn sleep_up_to(duration: Duration) {
    if duration == Duration::MAX {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(duration).await;
}

/// One line on stderr, whoever still reads it.
pub(crate) fn eprintln_line(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The line that asks a node how it is.
pub(crate) const ASK_STATUS: &str = "status\n";

/// How the line begins in which it answers.
pub(crate) const STATUS: &str = "status ";

/// How the line begins in which a node says what became of its messages.
const DEPARTED: &str = "{\"events_received\":";

/// Events that nodes may be ahead of whoever reads them.
const EVENTS: usize = 1024;

/// Orders that a keeper may be behind.
const ORDERS: usize = 4;

/// The longest line of a node that is passed on.
const MAX_LINE: usize = 64 * 1024;

/// The longest status of a node; longer ones are cut, and then none.
const MAX_STATUS: usize = 4 << 20;

/// Commands that wait for the status of one node.
const MAX_WAITING: usize = 32;

/// How long a node may take to drain; its own bound is 10 s.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// A node that ran so long starts again with a short pause.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// How long after its end a node's last words are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_is_asked_once_for_all_who_wait_and_those_who_gave_up_are_forgotten() {
        let mut inquiry = Inquiry::default();
        let (first, mut heard) = oneshot::channel();
        let (gone, given_up) = oneshot::channel();
        assert!(inquiry.add(first));
        assert!(!inquiry.add(gone), "one question is under way");
        drop(given_up);
        for _ in 0..2 * MAX_WAITING {
            let (answer, _) = oneshot::channel();
            assert!(!inquiry.add(answer));
        }
        assert_eq!(inquiry.waiting.len(), 2, "the first and the last");
        inquiry.answered("{}");
        assert_eq!(heard.try_recv().as_deref(), Ok("{}"));
        let (next, _) = oneshot::channel();
        assert!(inquiry.add(next));
    }

    #[tokio::test]
    async fn lines_end_at_the_line_feed_and_at_the_limit() {
        let long = "x".repeat(MAX_LINE + 10);
        let text = format!("a\n\n{long}\nlast");
        let mut reader = BufReader::with_capacity(100, text.as_bytes());
        assert_eq!(next_line(&mut reader, MAX_LINE).await.as_deref(), Some("a"));
        assert_eq!(next_line(&mut reader, MAX_LINE).await.as_deref(), Some(""));
        assert_eq!(
            next_line(&mut reader, MAX_LINE)
                .await
                .map(|line| line.len()),
            Some(MAX_LINE)
        );
        assert_eq!(
            next_line(&mut reader, MAX_LINE).await.as_deref(),
            Some("last")
        );
        assert_eq!(next_line(&mut reader, MAX_LINE).await, None);
    }
}
