//! What a side of a link can do.

use broker_core::{EndpointId, EntityId};

use super::store::command::Command;

/// The receiver that an envelope names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Everybody,
    Endpoint(EndpointId),
}

/// One side of a link.
pub(crate) trait Peer {
    fn id(&self) -> EntityId;
    fn hear(&mut self, command: Command);
    fn tick(&mut self);
    fn take_output(&mut self) -> Vec<(To, Command)>;
    /// Whether anybody takes what is broadcast from now on.
    fn set_connected(&mut self, _connected: bool) {}
}
