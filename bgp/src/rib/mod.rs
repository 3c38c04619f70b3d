//! The routes: Adj-RIBs-In, the decision, Loc-RIB, Adj-RIBs-Out.
//!
//! Read RFC 4271 3.2 and 9.1 first, then [`Table`], which is one family's routes, and [`Store`], which has the attributes. Then
//! RFC 7911 (several paths of a neighbour), RFC 4724, RFC 9494 and RFC 7313 (paths that are stale), RFC 4456 and RFC 5065 (the
//! decision within an AS).
//!
//! Numbers, not pointers: a set of attributes is an [`AttrId`], a next hop a [`NextHopId`], a neighbour a
//! [`PeerId`](crate::types::PeerId), a prefix the number of an entry. Nothing is allocated for a prefix or a path alone, no call
//! takes long however large the table: what may is done in steps, and the caller says how many.
//!
//! How a speaker drives it, for each family:
//! 1. An UPDATE: [`Store::intern`] its attributes, run import policy (interning what that makes), [`Table::announce`] and
//!    [`Table::withdraw`] each prefix, [`Store::release`] what was interned.
//! 2. [`NextHops::events`]: resolve what is wanted, [`Rib::set_next_hop`]. Routes whose next hop was not resolved are not used.
//! 3. [`Table::work`] while [`Table::working`], then [`Table::drain`], each with a budget.
//! 4. For each update group [`Table::advertise`], while it says that there is more and somebody can take it.
//!
//! Left out: policy and what else becomes of attributes on the way in and out (`policy`, `speaker`), messages (`wire`).

mod adj;
mod advertise;
mod arena;
mod bits;
mod chunks;
mod decision;
mod group;
mod hops;
mod key;
mod key_target;
mod key_vpn;
mod peers;
mod pool;
mod scan;
mod slab;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod view;

pub use advertise::{Audience, Export, Room, Sink};
pub use decision::{Backups, Fate, Options, Step};
pub use group::{Advertise, GroupId};
pub use hops::{HopEvent, Lookup, NextHopId, NextHops, Reach};
pub use key::{Key, L4, L6, Labeled, V4, V6, V6Slot};
pub use key_target::Membership;
pub use key_vpn::{Scoped, Space, Vpn4, Vpn6, Vrf4, Vrf6};
pub use peers::{PeerInfo, Peers, Staleness};
pub use scan::Import;
pub use store::{AttrId, Header, Store};
pub use table::{Announce, Announced, Change, Common, Counts, Path, Table};
pub use view::{Cursor, Route};

/// Routes of all families that there are tables of, over one store.
#[derive(Debug, Default)]
pub struct Rib {
    /// What the tables share.
    pub common: Common,
    /// IPv4 unicast.
    pub v4: Table<V4>,
    /// IPv6 unicast.
    pub v6: Table<V6>,
    /// IPv4 with labels.
    pub l4: Table<L4>,
    /// IPv6 with labels.
    pub l6: Table<L6>,
    /// VPNv4.
    pub vpn4: Table<Vpn4>,
    /// VPNv6.
    pub vpn6: Table<Vpn6>,
    /// IPv4 unicast of the router's VRFs.
    pub vrf4: Table<Vrf4>,
    /// IPv6 unicast of the router's VRFs.
    pub vrf6: Table<Vrf6>,
    /// Route target memberships.
    pub targets: Table<Membership>,
}

impl Rib {
    /// Nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how a next hop is reached: its IGP metric, or not at all. Prefixes it matters to are decided again by
    /// [`Table::work`] and [`Table::drain`].
    pub fn set_next_hop(&mut self, id: NextHopId, metric: Option<u32>) {
        self.set_reach(id, metric.map(Reach::at));
    }

    /// The same with more to say of it.
    pub fn set_reach(&mut self, id: NextHopId, reach: Option<Reach>) {
        if self.common.store.hops.set(id, reach) {
            self.v4.next_hop_changed(id);
            self.v6.next_hop_changed(id);
            self.l4.next_hop_changed(id);
            self.l6.next_hop_changed(id);
            self.vpn4.next_hop_changed(id);
            self.vpn6.next_hop_changed(id);
            self.vrf4.next_hop_changed(id);
            self.vrf6.next_hop_changed(id);
            self.targets.next_hop_changed(id);
        }
    }

    /// Octets held.
    #[must_use]
    pub fn memory(&self) -> usize {
        let unicast = self.v4.memory() + self.v6.memory() + self.l4.memory() + self.l6.memory();
        let vpns = self.vpn4.memory() + self.vpn6.memory();
        let vrfs = self.vrf4.memory() + self.vrf6.memory() + self.targets.memory();
        self.common.store.memory() + unicast + vpns + vrfs
    }
}
