//! What somebody who drives the nodes of a whole cluster knows about each, and when to give up on all.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use broker_core::{Message, NodeStatus, PeerUrl};
use broker_wire::BrokerClient;
use tokio::time::{Instant, timeout};

use crate::supervisor::NodeSpec;

/// The processes of the nodes `names` of the cluster in the file `layout`; each is told what to do by an option and the
/// file of it.
pub(crate) fn specs<'a>(
    names: impl Iterator<Item = &'a String>,
    layout: &Path,
    log: &str,
    (option, plan): (&str, &Path),
) -> Vec<NodeSpec> {
    let spec = |name: &String| NodeSpec {
        name: name.clone(),
        args: [
            OsString::from("node"),
            "--supervised".into(),
            "--log-level".into(),
            log.into(),
            "--config".into(),
            layout.into(),
            "--name".into(),
            name.into(),
            option.into(),
            plan.into(),
        ]
        .into(),
        env: Vec::new(),
        pin_cpu: None,
    };
    names.map(spec).collect()
}

/// What is known about a node.
#[derive(Default)]
pub(crate) struct Node {
    url: Option<PeerUrl>,
    client: Option<BrokerClient>,
    pub(crate) status: Option<NodeStatus>,
    pub(crate) ready: bool,
    /// How often it has ended without having been ready since.
    pub(crate) failures: u32,
}

impl Node {
    /// It has ended; what comes next is another process.
    pub(crate) fn ended(&mut self) {
        *self = Self {
            failures: self.failures + 1,
            ..Self::default()
        };
    }

    /// It listens here from now on.
    pub(crate) fn moved(&mut self, url: PeerUrl) {
        self.client = None;
        self.url = Some(url);
    }

    /// Asks for its status; one that does not answer in time keeps its last.
    pub(crate) async fn ask_within(&mut self, limit: Duration) {
        if let Ok(Ok(status)) = timeout(limit, self.ask()).await {
            self.status = Some(status);
        } else {
            self.client = None;
        }
    }

    /// Publishes at the node, if it takes it in time.
    pub(crate) async fn publish_within(&mut self, limit: Duration, message: Message) {
        if let Some(client) = &self.client
            && !matches!(
                timeout(limit, client.publish_all([message])).await,
                Ok(Ok(_))
            )
        {
            self.client = None;
        }
    }

    /// Asks for its status.
    pub(crate) async fn ask(&mut self) -> anyhow::Result<NodeStatus> {
        let url = self
            .url
            .as_ref()
            .context("it has not said where it listens")?;
        let client = match &self.client {
            Some(client) => client,
            None => self.client.insert(BrokerClient::connect(url).await?),
        };
        Ok(client.status().await?)
    }
}

/// Notices when nothing moves any more.
pub(crate) struct Stuck {
    since: Instant,
    last: Vec<(String, u64)>,
}

impl Stuck {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            last: Vec::new(),
        }
    }

    /// Fails once nothing in the statuses has changed for a minute; `missing` says what is waited for.
    pub(crate) fn check<'a>(
        &mut self,
        statuses: impl Iterator<Item = &'a NodeStatus>,
        missing: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let mut now = Vec::new();
        for status in statuses {
            now.push((
                status.name.clone(),
                status.peers.iter().filter(|peer| !peer.id.is_nil()).count() as u64,
            ));
            now.extend(
                status
                    .counters
                    .iter()
                    // What a process uses changes in any case.
                    .filter(|(name, _)| !name.starts_with("process."))
                    .map(|(name, value)| (name.clone(), *value)),
            );
            now.extend(
                status
                    .logs
                    .iter()
                    .map(|(name, log)| (name.clone(), log.written + log.received)),
            );
        }
        if now != self.last {
            *self = Self {
                since: Instant::now(),
                last: now,
            };
        }
        anyhow::ensure!(
            self.since.elapsed() < STUCK_AFTER,
            "nothing has moved for {} s; {}",
            STUCK_AFTER.as_secs(),
            missing()
        );
        Ok(())
    }
}

/// Nodes of which nothing moves for so long have failed.
const STUCK_AFTER: Duration = Duration::from_secs(60);
