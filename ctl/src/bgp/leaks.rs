//! Routes that have leaked from another table of this router, of those that lead to no next hop: as the route goes that the other
//! table has of its own, connected or static.

use std::collections::BTreeMap;

use ipnet::IpNet;
use net::{IfaceId, VrfId};

use crate::rib::Rib;
use crate::rib::spec::{Hop, PathsSpec};

/// What one stands on.
#[derive(Debug)]
struct Leak {
    /// The table.
    of: VrfId,
    /// The links there that it leads to.
    links: Vec<IfaceId>,
}

/// Those that there are, by the tables that they are in.
#[derive(Debug, Default)]
pub(super) struct Leaks(BTreeMap<(VrfId, IpNet), Leak>);

impl Leaks {
    /// A route is one of those now: its paths, if the other table has it.
    pub(super) fn lead(
        &mut self,
        (table, net): (VrfId, IpNet),
        of: VrfId,
        rib: &mut Rib,
    ) -> Option<PathsSpec> {
        let spec = rib.own_paths(of, &net);
        let paths = spec.iter().flat_map(|s| &s.paths);
        let link = paths.filter_map(|p| match p.hop {
            Hop::Dev(dev) => Some(dev),
            _ => None,
        });
        let links: Vec<IfaceId> = link.collect();
        for dev in &links {
            rib.share_link(*dev, table);
        }
        let old = self.0.insert((table, net), Leak { of, links });
        let gone = old.into_iter().flat_map(|l| l.links);
        gone.for_each(|dev| rib.unshare_link(dev, table));
        spec
    }

    /// A route is none of those.
    pub(super) fn end(&mut self, (table, net): (VrfId, IpNet), rib: &mut Rib) {
        if self.0.is_empty() {
            return;
        }
        let old = self.0.remove(&(table, net));
        let gone = old.into_iter().flat_map(|l| l.links);
        gone.for_each(|dev| rib.unshare_link(dev, table));
    }

    /// All of them, with the tables that they are from.
    pub(super) fn all(&self) -> Vec<((VrfId, IpNet), VrfId)> {
        self.0.iter().map(|(at, leak)| (*at, leak.of)).collect()
    }
}
