//! What a node of a load does besides being a node: the work of its role.

mod manager;
mod worker;

use std::path::Path;
use std::sync::Arc;

use broker_cluster::log::{Column, ColumnType, Schema};
use broker_cluster::{ClusterNode, EventStream, Role};

use super::plan::Plan;
use super::process::Process;
use crate::demo::role::{Actor, proxy};

/// The path of the log that the workers write.
pub(super) const PATH: &str = "load";

/// Its stream.
pub(super) const STREAM: &str = "Load::LOG";

/// The place of the worker's name in a record.
pub(super) const WORKER_COLUMN: usize = 1;

/// The place of a record's number, from 1 on for each worker.
pub(super) const NUMBER_COLUMN: usize = 2;

/// The columns of that log.
fn schema() -> Schema {
    let columns = [
        ("ts", "time"),
        ("worker", "string"),
        ("number", "count"),
        ("id.orig_h", "addr"),
        ("id.orig_p", "port"),
        ("service", "string"),
        ("duration", "interval"),
        ("orig_bytes", "count"),
    ];
    Schema {
        path: PATH.to_owned(),
        columns: columns
            .into_iter()
            .filter_map(|(name, word)| Some(Column::new(name, ColumnType::parse(word)?)))
            .collect(),
    }
}

/// Does the work of `node` in the load that the plan in `file` describes, until the node is stopped.
pub(crate) async fn run(node: ClusterNode, events: EventStream, file: &Path) -> anyhow::Result<()> {
    let plan = Plan::load(file)?;
    node.endpoint().register_status(Arc::new(Process));
    let actor = Actor::new(node, events, plan.for_proxies());
    match actor.node.spec().role {
        Role::Worker => worker::run(actor, plan).await,
        Role::Proxy => proxy::run(actor, None).await,
        Role::Manager => manager::run(actor).await,
        Role::Logger => {
            // Nobody reads them, and the batches that come as events would fill their queue until writers wait.
            drop(actor.events);
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_finds_worker_and_number_where_they_are() {
        let schema = schema();
        assert_eq!(schema.columns.len(), 8);
        assert_eq!(schema.stream_id(), STREAM);
        assert_eq!(schema.position("worker"), Some(WORKER_COLUMN));
        assert_eq!(schema.position("number"), Some(NUMBER_COLUMN));
    }
}
