//! What other commands say to a supervisor over its socket, and what it answers: lines of JSON.
//!
//! ```text
//! command                       supervisor
//!    | -- {"do":"status"} ------> |
//!    | <-- the board ------------ |
//!
//!    | -- {"do":"nodes"} -------> |
//!    | <-- a NodeStatus --------- |   for each node, as it answers
//!    | <-- {"done":true} -------- |
//!
//!    | -- {"do":"stop"} --------> |
//!    | <-- a Stopped ------------ |   for each node, as it ends
//!    | <-- {"done":true} -------- |   and the end of the connection when the supervisor has ended
//! ```
//!
//! Only the owner can connect. Still a request is bounded and has to come soon, and there are [`MAX_CONNECTIONS`] at most.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::board::{Board, Live};
use crate::status::Portable;

/// What a supervisor is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(super) enum Request {
    /// How are the processes of the nodes?
    Status,
    /// What do the nodes say about themselves?
    Nodes,
    /// Stop them, and end.
    Stop,
}

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct NodeStatus {
    /// Its name.
    pub(super) node: String,
    /// What it says; none if it does not answer.
    pub(super) status: Option<Portable>,
}

/// One line of the answer: a [`NodeStatus`], or the last. No enum, since numbers do not survive those without a tag.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeLine {
    node: String,
    status: Option<Portable>,
    done: bool,
}

/// What a supervisor says while it stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Progress {
    /// A node has ended.
    Stopped(Stopped),
    /// All have.
    Done {
        /// Always true.
        done: bool,
    },
}

/// How a node ended that was stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stopped {
    /// Its name.
    pub(super) node: String,
    /// Whether it ended by itself and well.
    pub(super) ok: bool,
    /// How it ended.
    pub(super) how: String,
    /// What it said became of its messages.
    pub(super) counts: Option<serde_json::Value>,
}

/// Somebody wants the nodes stopped, and to be told how they end.
pub(super) type StopOrder = mpsc::Sender<Progress>;

/// What others want of a supervisor that takes its nodes.
#[derive(Debug)]
pub(super) enum Wish {
    /// Stop them.
    Stop(StopOrder),
    /// Ask them how they are, and pass on what they say.
    Ask(mpsc::Sender<NodeStatus>),
}

/// Answers until it is aborted; what takes the nodes themselves goes to `orders`.
pub(super) async fn serve(listener: UnixListener, live: Live, orders: mpsc::Sender<Wish>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a command");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let (live, orders) = (live.clone(), orders.clone());
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &live, &orders).await {
                tracing::debug!(%error, "a command went away");
            }
            drop(place);
        });
    }
}

async fn answer(
    stream: UnixStream,
    live: &Live,
    orders: &mpsc::Sender<Wish>,
) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut limited = (&mut stream).take(MAX_REQUEST);
    timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await??;
    match serde_json::from_slice(&line)? {
        Request::Status => write(&mut stream, &live.board()).await,
        Request::Nodes => {
            let (report, mut reports) = mpsc::channel(REPORTS);
            if orders.send(Wish::Ask(report)).await.is_ok() {
                while let Some(node) = reports.recv().await {
                    write(&mut stream, &node).await?;
                }
            }
            write(&mut stream, &Progress::Done { done: true }).await
        }
        Request::Stop => {
            let (report, mut reports) = mpsc::channel(REPORTS);
            if orders.send(Wish::Stop(report)).await.is_ok() {
                while let Some(progress) = reports.recv().await {
                    write(&mut stream, &progress).await?;
                    if matches!(progress, Progress::Done { .. }) {
                        break;
                    }
                }
            }
            // Whoever reports learns from this that all is written.
            drop(reports);
            // The end of the connection is the end of the supervisor.
            std::future::pending().await
        }
    }
}

async fn write(
    stream: &mut BufReader<UnixStream>,
    value: &(impl Serialize + Sync),
) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    timeout(PATIENCE, stream.write_all(&line)).await??;
    Ok(())
}

/// Asks a supervisor how its nodes are.
///
/// # Errors
/// It does not answer, or with something else.
pub(super) async fn ask_status(stream: UnixStream) -> anyhow::Result<Board> {
    let mut answers = Answers::to(Request::Status, stream).await?;
    let line = timeout(PATIENCE, answers.line())
        .await
        .context("the supervisor does not answer")??
        .context("the supervisor hung up")?;
    Ok(serde_json::from_slice(&line)?)
}

/// Asks the nodes of a supervisor what they say about themselves, for as long as `limit`: those that have answered by then.
///
/// # Errors
/// The supervisor does not answer, or with something else.
pub(super) async fn ask_nodes(
    stream: UnixStream,
    limit: Duration,
) -> anyhow::Result<Vec<NodeStatus>> {
    let mut answers = Answers::to(Request::Nodes, stream).await?;
    let mut nodes = Vec::new();
    let asked = async {
        // One that is older than the question hangs up.
        while let Some(line) = answers.line().await? {
            let NodeLine { node, status, done } = serde_json::from_slice(&line)?;
            if done {
                break;
            }
            nodes.push(NodeStatus { node, status });
        }
        anyhow::Ok(())
    };
    // A node that has not answered in time may do so at its own address.
    if let Ok(result) = timeout(limit, asked).await {
        result?;
    }
    Ok(nodes)
}

/// The answers of a supervisor.
#[derive(Debug)]
pub(super) struct Answers {
    stream: BufReader<UnixStream>,
}

impl Answers {
    /// Sends a request.
    pub(super) async fn to(request: Request, stream: UnixStream) -> anyhow::Result<Self> {
        let mut stream = BufReader::new(stream);
        write(&mut stream, &request).await?;
        Ok(Self { stream })
    }

    /// The next thing that happened; `None` when the supervisor has ended.
    pub(super) async fn progress(&mut self) -> anyhow::Result<Option<Progress>> {
        match self.line().await? {
            Some(line) => Ok(Some(serde_json::from_slice(&line)?)),
            None => Ok(None),
        }
    }

    async fn line(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_ANSWER);
        limited.read_until(b'\n', &mut line).await?;
        Ok((!line.is_empty()).then_some(line))
    }
}

/// Bytes of a request.
const MAX_REQUEST: u64 = 4096;

/// Bytes of a line of an answer: a board of 4096 nodes fits.
const MAX_ANSWER: u64 = 16 << 20;

/// Commands at a time.
const MAX_CONNECTIONS: usize = 16;

/// How long a request may take to come, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reports of a stop that a command may lag behind.
const REPORTS: usize = 64;

/// After an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_supervisor_is_asked_and_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s");
        let live = Live::new([&"a".to_owned()]);
        let (orders, mut ordered) = mpsc::channel(1);
        let server = tokio::spawn(serve(
            UnixListener::bind(&path).expect("bound"),
            live,
            orders,
        ));
        let connect = || UnixStream::connect(&path);

        let board = ask_status(connect().await.expect("reached"))
            .await
            .expect("a board");
        assert!(board.nodes.contains_key("a"));

        let asked = tokio::spawn(ask_nodes(
            connect().await.expect("reached"),
            Duration::from_secs(20),
        ));
        let Some(Wish::Ask(report)) = ordered.recv().await else {
            panic!("a question")
        };
        let said = |node: &str, status| NodeStatus {
            node: node.to_owned(),
            status,
        };
        let status = broker_core::NodeStatus {
            counters: [("x".to_owned(), u64::MAX)].into(),
            ..broker_core::NodeStatus::default()
        };
        let status = Portable::from(crate::status::Report::of_node(&status));
        let nodes = [said("a", Some(status)), said("b", None)];
        for node in &nodes {
            report.send(node.clone()).await.expect("heard");
        }
        drop(report);
        assert_eq!(asked.await.expect("ran").expect("answers"), nodes);

        let stream = connect().await.expect("reached");
        let mut answers = Answers::to(Request::Stop, stream).await.expect("sent");
        let Some(Wish::Stop(report)) = ordered.recv().await else {
            panic!("an order")
        };
        let stopped = Progress::Stopped(Stopped {
            node: "a".to_owned(),
            ok: true,
            how: "exit status: 0".to_owned(),
            counts: None,
        });
        report.send(stopped.clone()).await.expect("heard");
        report
            .send(Progress::Done { done: true })
            .await
            .expect("heard");
        assert_eq!(answers.progress().await.expect("a line"), Some(stopped));
        let done = answers.progress().await.expect("a line");
        assert_eq!(done, Some(Progress::Done { done: true }));
        server.abort();
    }
}
