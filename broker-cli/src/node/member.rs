//! A node of a cluster.
use std::path::Path;
use super::Args;
/// Runs a member.
pub(super) async fn run(_args: &Args, _config: &Path) -> anyhow::Result<()> { Err(crate::failure::misuse("not yet")) }
