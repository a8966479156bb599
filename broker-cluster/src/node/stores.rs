//! The stores of the layout on this node: masters on the manager, clones elsewhere.

use broker_core::Endpoint;
use broker_store::{CloneOptions, MasterOptions, StoreExt, open_backend};

use super::StartError;
use crate::layout::{Layout, NodeSpec, StoreSpec};
use crate::role::Role;

/// Opens every store of the layout. A clone need not have found its master yet.
pub(super) async fn attach(
    endpoint: &Endpoint,
    layout: &Layout,
    node: &NodeSpec,
) -> Result<(), StartError> {
    for spec in layout.stores() {
        let attached = if node.role == Role::Manager {
            let backend = open(spec.clone()).await?;
            tracing::info!("created master store: {}", spec.name);
            endpoint
                .attach_master(&spec.name, backend, MasterOptions::default())
                .await
        } else {
            tracing::info!("created clone store: {}", spec.name);
            endpoint
                .attach_clone(&spec.name, CloneOptions::default())
                .await
        };
        attached.map_err(|source| StartError::Store {
            store: spec.name.clone(),
            source,
        })?;
    }
    Ok(())
}

/// Files are opened off the async threads.
async fn open(spec: StoreSpec) -> Result<Box<dyn broker_store::Backend>, StartError> {
    let store = spec.name.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let options: Vec<(&str, &str)> = spec
            .options
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        open_backend(spec.backend, &options)
    });
    match opened.await {
        Ok(result) => result.map_err(|source| StartError::Backend { store, source }),
        Err(stopped) => Err(StartError::Runtime(stopped)),
    }
}
