//! Reading the configuration again while a node of a cluster runs (SIGHUP).
//!
//! Everything is read and checked before anything changes: the layout, the level of the log, the token, the certificates.
//! Then all of it is put in place. What cannot change while the node runs is named, a line each. The certificates are read
//! again in any case: they may be others in files of the same names.

use std::path::Path;

use broker_cluster::{ClusterNode, Layout};

use super::Args;
use crate::failure::misuse;
use crate::logging::Logging;
use crate::transports::{self, Controls};

/// Reads the configuration again for the node `node`. Returns what has changed, in one line.
///
/// # Errors
/// The configuration is broken, or gives up a protection that the node has; then nothing has changed.
pub(super) async fn reload(
    args: &Args,
    config: &Path,
    node: &ClusterNode,
    controls: &Controls,
    log: &Logging,
) -> anyhow::Result<String> {
    let layout = args.layout.load(config)?;
    let name = &node.spec().name;
    let transports = transports::of_member(&layout, name, &args.tls, &args.ws)?;
    let spec = layout
        .require(name)
        .map_err(|error| misuse(error.to_string()))?;
    if let Some(level) = &spec.log_level {
        Logging::check(level)?;
    }
    let renewal = controls.renew(&transports)?;
    // What may still refuse comes first.
    let before = node.current_layout();
    before
        .taking(&layout, name, transports::SCHEMES)
        .map_err(|error| misuse(error.to_string()))?;
    let access = controls.admit(&transports)?;
    let changes = node
        .adopt(&layout)
        .await
        .map_err(|error| misuse(error.to_string()))?;
    renewal.apply();
    log.configure(spec.log_level.as_deref())?;

    for fixed in &changes.fixed {
        tracing::warn!("{fixed}: changes when the node is started again");
    }
    let mut done = Vec::new();
    let mut list = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            done.push(format!("{what} {}", names.join(", ")));
        }
    };
    let texts = |urls: &[broker_core::PeerUrl]| urls.iter().map(ToString::to_string).collect();
    list("new nodes", changes.added.clone());
    list("nodes gone", changes.removed.clone());
    list("dials", texts(&changes.dial));
    list("parts from", texts(&changes.part));
    let others = |what: &&String| !["log_level", "[ws]"].contains(&what.as_str());
    list(
        "takes over",
        changes.applied.iter().filter(others).cloned().collect(),
    );
    // These two the command line may overrule, so that nothing changes with them.
    let level = |layout: &Layout| layout.node(name).and_then(|node| node.log_level.clone());
    if log.asked().is_none() && level(&before) != spec.log_level {
        let level = spec.log_level.as_deref().unwrap_or("as by default");
        list("log level", vec![level.to_owned()]);
    }
    if access {
        list("who may be a WebSocket client", vec!["changed".to_owned()]);
    }
    let fixed = match changes.fixed.len() {
        0 => String::new(),
        count => format!("; {count} that need a start"),
    };
    Ok(match done.as_slice() {
        [] => format!("certificates and nothing else{fixed}"),
        done => format!("{}{fixed}", done.join("; ")),
    })
}
