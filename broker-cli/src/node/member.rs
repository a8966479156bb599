//! A node of a cluster.
use super::Args;
use std::path::Path;
/// Runs a member.
pub(super) async fn run(_args: &Args, _config: &Path) -> anyhow::Result<()> {
    Err(crate::failure::misuse("not yet"))
}
