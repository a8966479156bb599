//! The layout of a cluster, and addresses.

use broker_cluster::Layout;
use broker_core::PeerUrl;

/// A layout file: what is wrong with it is one line; what is right can be asked everything.
pub fn layout(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match Layout::parse(text, "cluster.toml") {
        Ok(layout) => {
            for node in layout.nodes() {
                assert_eq!(
                    layout.require(&node.name).map(|node| &node.name).ok(),
                    Some(&node.name)
                );
                let _ = layout.dials(node).count();
                let _ = layout.pools(&node.name);
                let _ = layout.check_spoken(&node.name, &["grpc", "broker"]);
            }
            let _ = (layout.manager(), layout.pool_specs(), layout.stores());
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n'), "{line:?} is more than a line");
            assert!(line.len() < 4096, "a line of {} bytes", line.len());
        }
    }
}

/// An address: printed and read again it is the same.
pub fn peer_url(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match text.parse::<PeerUrl>() {
        Ok(url) => {
            assert_eq!(url.to_string().parse().as_ref(), Ok(&url), "{url}");
            let _ = url.authority(9999);
        }
        Err(error) => assert!(error.to_string().len() < 8192, "an endless error"),
    }
}
