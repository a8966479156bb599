//! Who is or is about to be a peer: the rule by which of several parallel connections one survives.
//!
//! | slot of the remote ID | as originator (smaller ID) | as responder |
//! |---|---|---|
//! | free | granted | granted |
//! | connecting | wait for the first attempt to end | granted, the older attempt is void |
//! | peered, the link alive | redundant | redundant |
//! | peered, the link silent | redundant | granted: replaces the old link when it attaches |
//!
//! The originator decides (broker-wire reference, 1.7). A responder that still has a link learns from the
//! originator's decision that it may be dead, and takes the new connection if nothing is heard on the old
//! one meanwhile: so nobody is cut off by a stranger who claims to be him. Pure state: no lock, no clock.

use std::collections::HashMap;

use crate::id::EndpointId;

/// What the table says to one handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Go on; the serial belongs to this attempt.
    Granted(u64),
    /// Another attempt is under way: ask again when the table changes.
    Wait,
    /// There is a connection already.
    Redundant,
}

#[derive(Debug)]
struct Slot<L> {
    /// The attempt that may attach.
    pending: Option<u64>,
    link: Option<L>,
}

/// All remote IDs with a peering or an attempt at one. `L` is the established link.
#[derive(Debug)]
pub(crate) struct PeerTable<L> {
    slots: HashMap<EndpointId, Slot<L>>,
    serial: u64,
}

impl<L> Default for PeerTable<L> {
    fn default() -> Self {
        Self {
            slots: HashMap::new(),
            serial: 0,
        }
    }
}

impl<L> PeerTable<L> {
    /// Asks for leave to become a peer of `remote`. `silent`: nothing has been heard on the link there is for
    /// long enough that a responder may replace it.
    pub(crate) fn admit(&mut self, remote: EndpointId, originator: bool, silent: bool) -> Decision {
        let slot = self.slots.entry(remote).or_insert(Slot {
            pending: None,
            link: None,
        });
        if slot.link.is_some() && (originator || !silent) {
            return Decision::Redundant;
        }
        if originator && slot.pending.is_some() {
            return Decision::Wait;
        }
        self.serial += 1;
        slot.pending = Some(self.serial);
        Decision::Granted(self.serial)
    }

    /// Gives an attempt up. Returns whether anything changed.
    pub(crate) fn abandon(&mut self, remote: EndpointId, serial: u64) -> bool {
        let Some(slot) = self.slots.get_mut(&remote) else {
            return false;
        };
        if slot.pending != Some(serial) {
            return false;
        }
        slot.pending = None;
        if slot.link.is_none() {
            self.slots.remove(&remote);
        }
        true
    }

    /// Turns the attempt into a link. `Err` gives the link back: a newer attempt has replaced this one.
    /// `Ok` carries the link it supersedes, if any.
    pub(crate) fn attach(
        &mut self,
        remote: EndpointId,
        serial: u64,
        link: L,
    ) -> Result<Option<L>, L> {
        match self.slots.get_mut(&remote) {
            Some(slot) if slot.pending == Some(serial) => {
                slot.pending = None;
                Ok(slot.link.replace(link))
            }
            _ => Err(link),
        }
    }

    /// Removes the link of `remote` if it is the one `is_it` recognises.
    pub(crate) fn detach(&mut self, remote: EndpointId, is_it: impl FnOnce(&L) -> bool) -> bool {
        let Some(slot) = self.slots.get_mut(&remote) else {
            return false;
        };
        if !slot.link.as_ref().is_some_and(is_it) {
            return false;
        }
        slot.link = None;
        if slot.pending.is_none() {
            self.slots.remove(&remote);
        }
        true
    }

    /// The link to `remote`.
    pub(crate) fn link(&self, remote: EndpointId) -> Option<&L> {
        self.slots.get(&remote)?.link.as_ref()
    }

    /// All links.
    pub(crate) fn links(&self) -> impl Iterator<Item = &L> {
        self.slots.values().filter_map(|slot| slot.link.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOTE: EndpointId = EndpointId::from_bytes([3; 16]);

    fn granted(decision: Decision) -> u64 {
        match decision {
            Decision::Granted(serial) => serial,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_originator_holds_a_second_connection_until_the_first_ends() {
        let mut table = PeerTable::default();
        let first = granted(table.admit(REMOTE, true, false));
        assert_eq!(table.admit(REMOTE, true, false), Decision::Wait);
        assert_eq!(table.attach(REMOTE, first, "one"), Ok(None));
        assert_eq!(table.admit(REMOTE, true, false), Decision::Redundant);
        assert!(table.detach(REMOTE, |link| *link == "one"));
        granted(table.admit(REMOTE, true, false));
    }

    #[test]
    fn an_attempt_that_fails_frees_the_slot() {
        let mut table = PeerTable::<&str>::default();
        let first = granted(table.admit(REMOTE, true, false));
        assert!(table.abandon(REMOTE, first));
        assert!(!table.abandon(REMOTE, first));
        granted(table.admit(REMOTE, true, false));
    }

    #[test]
    fn a_responder_follows_the_originator_to_the_newer_connection_if_the_old_one_is_silent() {
        let mut table = PeerTable::default();
        let first = granted(table.admit(REMOTE, false, false));
        assert_eq!(table.attach(REMOTE, first, "old"), Ok(None));
        assert_eq!(table.admit(REMOTE, false, false), Decision::Redundant);
        let second = granted(table.admit(REMOTE, false, true));
        assert_eq!(table.attach(REMOTE, second, "new"), Ok(Some("old")));
        assert!(
            !table.detach(REMOTE, |link| *link == "old"),
            "the old link's end must not remove the new one"
        );
        assert_eq!(table.link(REMOTE), Some(&"new"));
    }

    #[test]
    fn a_superseded_attempt_cannot_attach() {
        let mut table = PeerTable::default();
        let first = granted(table.admit(REMOTE, false, false));
        let second = granted(table.admit(REMOTE, false, false));
        assert_eq!(table.attach(REMOTE, first, "old"), Err("old"));
        assert_eq!(table.attach(REMOTE, second, "new"), Ok(None));
        assert_eq!(table.links().count(), 1);
    }
}
