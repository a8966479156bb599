//! What the fuzz targets and the replay of their corpus do with bytes: one function for each decoder.
//!
//! Each reads the bytes, and what it could read it writes and reads again; whatever else reads the same bytes has to
//! agree. A function that returns has found nothing wrong; one that panics has. Bodies that need the inside of a crate
//! are in that crate's `fuzz` module, behind its feature of that name.

pub mod cluster;
pub mod json;
pub mod log;
pub mod store;
pub mod value;
pub mod wire;

/// A decoder's name, which is also that of its target and of its directory in `corpus/`, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All of them but `value_text`, whose decoder is inside the program.
pub const TARGETS: &[Target] = &[
    ("channel", store::channel),
    ("cluster_event", broker_cluster::fuzz::cluster_event),
    ("command", store::command),
    ("cycle_guard", broker_core::fuzz::cycle_guard),
    ("filter", value::filter),
    ("frame", broker_wire::fuzz::frame),
    ("frame_stream", broker_wire::fuzz::frame_stream),
    ("hello", broker_wire::fuzz::hello),
    ("json", json::json),
    ("layout", cluster::layout),
    ("log_file", log::log_file),
    ("log_journal", broker_cluster::fuzz::log_journal),
    ("native_frame", broker_wire::fuzz::native_frame),
    ("native_handshake", broker_wire::fuzz::native_handshake),
    ("native_message", broker_wire::fuzz::native_message),
    ("native_stream", broker_wire::fuzz::native_stream),
    ("peer_url", cluster::peer_url),
    ("replication", broker_store::fuzz::replication),
    ("serial", log::serial),
    ("service", broker_wire::fuzz::service),
    ("session", broker_wire::fuzz::session),
    ("typed_value", wire::typed_value),
    ("value", value::value),
    ("ws_target", broker_wire::fuzz::ws_target),
    ("zeek", value::zeek),
    ("zeek_layout", cluster::zeek_layout),
];
