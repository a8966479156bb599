//! What other commands say to a supervisor over its socket, and what it answers: lines of JSON.
//!
//! ```text
//! command                       supervisor
//!    | -- {"do":"status"} ------> |
//!    | <-- the board ------------ |
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

/// What a supervisor is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(super) enum Request {
    /// How are the nodes?
    Status,
    /// Stop them, and end.
    Stop,
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

/// Answers until it is aborted; wishes to stop go to `orders`.
pub(super) async fn serve(listener: UnixListener, live: Live, orders: mpsc::Sender<StopOrder>) {
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
    orders: &mpsc::Sender<StopOrder>,
) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut limited = (&mut stream).take(MAX_REQUEST);
    timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await??;
    match serde_json::from_slice(&line)? {
        Request::Status => write(&mut stream, &live.board()).await,
        Request::Stop => {
            let (report, mut reports) = mpsc::channel(REPORTS);
            if orders.send(report).await.is_ok() {
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

        let stream = connect().await.expect("reached");
        let mut answers = Answers::to(Request::Stop, stream).await.expect("sent");
        let report = ordered.recv().await.expect("an order");
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
