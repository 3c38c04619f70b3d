//! Links that tables other than their own lead to, by routes that have leaked. A neighbour's route, by which packets no longer go by
//! way of the glean, is in those tables, too. Where something else leads to the neighbour it stays out of use, as in its own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use net::{IfaceId, VrfId};

use super::Rib;

/// The tables that lead to a link, with how many routes of each do.
#[derive(Debug, Default)]
pub(super) struct Shared(BTreeMap<IfaceId, BTreeMap<VrfId, u32>>);

impl Rib {
    /// A route of a table leads to a link that is of another.
    pub fn share_link(&mut self, dev: IfaceId, table: VrfId) {
        let tables = self.shared.0.entry(dev).or_default();
        let routes = tables.entry(table).or_default();
        *routes += 1;
        if *routes == 1 {
            self.neighbours_in(dev, table, true);
        }
    }

    /// One such route has gone.
    pub fn unshare_link(&mut self, dev: IfaceId, table: VrfId) {
        let Some(tables) = self.shared.0.get_mut(&dev) else {
            return;
        };
        let Some(routes) = tables.get_mut(&table) else {
            return;
        };
        *routes -= 1;
        if *routes > 0 {
            return;
        }
        tables.remove(&table);
        if tables.is_empty() {
            self.shared.0.remove(&dev);
        }
        // The interface may be of that table by now.
        if self.vrf_of(dev) != table {
            self.neighbours_in(dev, table, false);
        }
    }

    /// A neighbour's routes in all tables but its own come, or go.
    pub(super) fn share_neighbor(&mut self, dev: IfaceId, address: IpAddr, comes: bool) {
        let tables = self.shared.0.get(&dev);
        let tables: Vec<VrfId> = tables.into_iter().flat_map(|t| t.keys().copied()).collect();
        for table in tables {
            self.neighbor_route(table, dev, address, comes);
        }
    }

    fn neighbours_in(&mut self, dev: IfaceId, table: VrfId, comes: bool) {
        let known = self.adjs.known.keys().filter(|k| k.0 == dev);
        for address in known.map(|k| k.1).collect::<Vec<_>>() {
            self.neighbor_route(table, dev, address, comes);
        }
    }
}
