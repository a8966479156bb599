//! The manager: lets the workers finish once all of them have drained.

use std::collections::BTreeSet;

use anyhow::Context as _;
use broker_cluster::Role;
use broker_cluster::logging::audit_logs;

use super::Actor;
use crate::demo::events::DemoEvent;
use crate::demo::figures;

/// Waits for the workers until the node is stopped.
pub(super) async fn run(mut actor: Actor) -> anyhow::Result<()> {
    let workers: BTreeSet<String> = actor.plan.workers.iter().cloned().collect();
    let mut drained = BTreeSet::new();
    let mut audited = false;
    loop {
        let (_, event) = actor.events.recv().await.context("the node has stopped")?;
        let Some(DemoEvent::Drained { worker }) = Actor::understand(&event) else {
            continue;
        };
        if workers.contains(&worker) {
            drained.insert(worker);
            actor
                .figures
                .set(figures::WORKERS_DRAINED, drained.len() as u64);
        }
        if drained.len() < workers.len() {
            continue;
        }
        if !std::mem::replace(&mut audited, true) {
            audit(&actor).await?;
        }
        // Workers repeat themselves until they have heard this.
        actor
            .node
            .publish_to_role(Role::Worker, DemoEvent::Finish.to_event())
            .await?;
    }
}

/// Counts what is in the files. Every record is acknowledged by now, so nothing is added any more; only from the files
/// of all loggers together can be seen what is there twice because a logger was killed.
async fn audit(actor: &Actor) -> anyhow::Result<()> {
    let directory = actor.node.layout().log_dir().to_owned();
    let audit = tokio::task::spawn_blocking(move || audit_logs(&directory))
        .await?
        .context("cannot count the records in the files")?;
    actor
        .figures
        .set(figures::RECORDS_IN_FILES, audit.records());
    actor
        .figures
        .set(figures::RECORDS_TWICE, audit.duplicates());
    Ok(())
}
