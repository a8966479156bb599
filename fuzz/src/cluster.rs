//! The layout of a cluster, and addresses.

use std::path::Path;

use broker_cluster::{Layout, LayoutError, LayoutFormat, ZeekOptions};
use broker_core::PeerUrl;

/// A layout file: what is wrong with it is one line; what is right can be asked everything.
pub fn layout(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    asked(Layout::parse(text, "cluster.toml"));
}

/// A layout of Zeek's: the text as a script, as a `node.cfg`, as a `zeekctl.cfg` and as what stands beside one.
pub fn zeek_layout(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let format = LayoutFormat::recognise(Path::new("layout"), text);
    assert_eq!(format.to_string().parse(), Ok(format));
    let options = ZeekOptions::new();
    asked(Layout::from_cluster_layout_zeek(text, "c.zeek", &options));
    asked(Layout::from_node_cfg(text, "node.cfg", &options));
    match ZeekOptions::new().zeekctl_cfg(text, Path::new("zeekctl.cfg")) {
        Ok(options) => asked(Layout::from_node_cfg(SMALL, "node.cfg", &options)),
        Err(error) => one_line(&error),
    }
    let options = ZeekOptions::new().with(text, "with.toml");
    asked(Layout::from_node_cfg(SMALL, "node.cfg", &options));
}

const SMALL: &str = "[m]\ntype=manager\nhost=localhost\n[p]\ntype=proxy\nhost=localhost\n";

fn asked(read: Result<Layout, LayoutError>) {
    match read {
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
            assert!(layout.notices().iter().all(|notice| !notice.contains('\n')));
        }
        Err(error) => one_line(&error),
    }
}

fn one_line(error: &LayoutError) {
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line:?} is more than a line");
    assert!(line.len() < 4096, "a line of {} bytes", line.len());
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
