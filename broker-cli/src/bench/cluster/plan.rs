//! What the nodes of a load are to do: written by the driver beside the layout, read by every node.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::demo;

/// The work of all nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    /// The workers.
    pub(super) workers: Vec<String>,
    /// The proxies.
    pub(super) proxies: Vec<String>,
    /// Log records of all workers together.
    pub(super) records: u64,
    /// Events from workers to proxies.
    pub(super) keyed: u64,
    /// Events from the manager to workers.
    pub(super) orders: u64,
    /// Who is killed, and when.
    pub(super) losses: Vec<Loss>,
    /// Where proxies keep their journals.
    pub(super) directory: PathBuf,
}

/// Nodes that are killed together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Loss {
    /// Who.
    pub(super) victims: Vec<String>,
    /// When every worker has done this share of its work.
    pub(super) due: f64,
    /// No worker does more than this share before it has been told that they are gone.
    pub(super) gate: f64,
}

/// What one worker has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) records: u64,
    pub(super) keyed: u64,
    pub(super) orders: u64,
}

impl Plan {
    /// Reads a plan.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no plan", path.display()))
    }

    /// Writes the plan.
    pub(super) fn save(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The share of the worker called `name`: the shares of all add up to the whole.
    pub(super) fn share(&self, name: &str) -> Option<Share> {
        let index = self.workers.iter().position(|worker| worker == name)? as u64;
        let workers = self.workers.len() as u64;
        let part = |whole: u64| whole / workers + u64::from(index < whole % workers);
        Some(Share {
            records: part(self.records),
            keyed: part(self.keyed),
            orders: part(self.orders),
        })
    }

    /// The same for what the demo's proxies read of theirs.
    pub(super) fn for_proxies(&self) -> demo::plan::Plan {
        demo::plan::Plan {
            inputs: Vec::new(),
            workers: self.workers.clone(),
            proxies: self.proxies.clone(),
            directory: self.directory.clone(),
            victims: Vec::new(),
        }
    }
}

impl Share {
    /// How far somebody is who has done `done` of it, from 0 to 1.
    pub(super) fn progress(&self, done: Self) -> f64 {
        let (done, whole) = (done.records + done.keyed, self.records + self.keyed);
        if whole == 0 {
            1.0
        } else {
            done as f64 / whole as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_workers_are_the_whole() {
        let plan = Plan {
            workers: (1..=7).map(|n| format!("worker-{n}")).collect(),
            proxies: Vec::new(),
            records: 1000,
            keyed: 701,
            orders: 6,
            losses: Vec::new(),
            directory: PathBuf::new(),
        };
        let shares: Vec<_> = plan
            .workers
            .iter()
            .map(|name| plan.share(name).expect("a worker"))
            .collect();
        let sum = |part: fn(&Share) -> u64| shares.iter().map(part).sum::<u64>();
        assert_eq!(sum(|share| share.records), 1000);
        assert_eq!(sum(|share| share.keyed), 701);
        assert_eq!(sum(|share| share.orders), 6);
        assert_eq!(plan.share("manager"), None);
        let half = Share {
            records: shares[0].records / 2,
            keyed: shares[0].keyed / 2,
            orders: 0,
        };
        let progress = shares[0].progress(half);
        assert!((0.45..=0.5).contains(&progress), "{progress}");
    }
}
