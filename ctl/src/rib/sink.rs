//! Where the RIB puts what it has decided: the forwarding tables, or a mirror of them in tests.

use std::net::IpAddr;

use ipnet::IpNet;
use net::{AdjId, GroupId, IfaceId, Label, LabelStack, MacAddr, PortId, VrfId};

use super::spec::{Discard, TtlMode};

/// A table has no room for one more entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Full(pub String);

/// Where a path of a group leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutTarget {
    /// To the neighbour of that adjacency.
    Adjacency(AdjId),
    /// To whoever has the destination address on that link.
    Glean(IfaceId),
    /// To the router itself.
    Local(IfaceId),
    /// Nowhere.
    Discard(Discard),
}

/// A path of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutPath {
    /// Where it leads.
    pub target: OutTarget,
    /// Labels to push, outermost first.
    pub push: LabelStack,
    /// Below so many of them goes an entropy label; 0: none does.
    pub entropy: u8,
    /// How their TTL is set.
    pub ttl: TtlMode,
    /// Its share.
    pub weight: u32,
    /// It carries only while none of those that are no backups does.
    pub backup: bool,
}

/// An adjacency: everything that is needed to write the L2 header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutAdjacency {
    /// The interface to leave by.
    pub iface: IfaceId,
    /// Its port.
    pub port: PortId,
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// Its own MAC address.
    pub source: MacAddr,
    /// The largest packet that it takes.
    pub mtu: u16,
    /// The neighbour's address.
    pub next_hop: IpAddr,
    /// Its MAC address, once known.
    pub mac: Option<MacAddr>,
}

/// What happens to a packet with a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutLabel {
    /// Pop and look up what is under it in that table.
    PopLookup(VrfId, TtlMode),
    /// Pop and look up the IP packet under it in the global table.
    PopLast(TtlMode),
    /// Pop and forward the IP packet under it by that group.
    PopForward(GroupId, TtlMode),
    /// Pop and forward by that group.
    Forward(GroupId, TtlMode),
}

/// A change of a prefix or a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Points a prefix at a group.
    Set(IpNet, GroupId),
    /// Removes a prefix.
    Del(IpNet),
    /// Points a prefix of a VRF at a group.
    SetIn(VrfId, IpNet, GroupId),
    /// Removes a prefix of a VRF.
    DelIn(VrfId, IpNet),
    /// Sets a label's entry.
    SetLabel(Label, OutLabel),
    /// Removes a label's entry.
    DelLabel(Label),
}

/// The forwarding tables, as the RIB writes them.
pub trait Sink {
    /// Makes a group.
    ///
    /// # Errors
    /// When there is no room.
    fn add_group(&mut self, paths: &[OutPath]) -> Result<GroupId, Full>;
    /// Replaces what a group holds, in one step for readers.
    ///
    /// # Errors
    /// When there is no room; the group is as it was.
    fn replace_group(&mut self, id: GroupId, paths: &[OutPath]) -> Result<(), Full>;
    /// Removes a group that nothing names any more.
    fn remove_group(&mut self, id: GroupId);
    /// Makes an adjacency.
    ///
    /// # Errors
    /// When there is no room.
    fn add_adjacency(&mut self, adj: &OutAdjacency) -> Result<AdjId, Full>;
    /// Replaces an adjacency, in one step for readers.
    fn replace_adjacency(&mut self, id: AdjId, adj: &OutAdjacency);
    /// Removes an adjacency that no group names any more.
    fn remove_adjacency(&mut self, id: AdjId);
    /// Makes all of these changes, each of another prefix or label.
    ///
    /// # Errors
    /// When there is no room for them; then none was made.
    fn apply(&mut self, changes: &[Change]) -> Result<(), Full>;
    /// Ends a slice: what was removed in it may be freed once no reader can hold it.
    fn flush(&mut self);
}

#[cfg(test)]
pub(crate) mod any {
    use super::*;

    /// Forwarding tables that take everything.
    #[derive(Default)]
    pub(crate) struct Any(u32);

    impl Sink for Any {
        fn add_group(&mut self, _: &[OutPath]) -> Result<GroupId, Full> {
            self.0 += 1;
            Ok(GroupId(self.0))
        }

        fn replace_group(&mut self, _: GroupId, _: &[OutPath]) -> Result<(), Full> {
            Ok(())
        }

        fn remove_group(&mut self, _: GroupId) {}

        fn add_adjacency(&mut self, _: &OutAdjacency) -> Result<AdjId, Full> {
            self.0 += 1;
            Ok(AdjId(self.0))
        }

        fn replace_adjacency(&mut self, _: AdjId, _: &OutAdjacency) {}

        fn remove_adjacency(&mut self, _: AdjId) {}

        fn apply(&mut self, _: &[Change]) -> Result<(), Full> {
            Ok(())
        }

        fn flush(&mut self) {}
    }
}
