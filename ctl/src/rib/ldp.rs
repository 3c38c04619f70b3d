//! LDP's part of the RIB: which prefixes get labels and how they are reached, and the routes that push what neighbours told.
//!
//! LDP asks for the prefixes of connected and static routes ([`Rib::follow_fecs`]) and is told, again whenever it changes, which
//! neighbours they lead to ([`Rib::take_fecs`]). Where neighbours told labels, it sets a route of its own beside the static one
//! ([`Rib::set_ldp`]): to the same next hops with the same weights and backups, and labels on top. That is the better one while it
//! carries anything; without it the static one is still there. Labels that come are entries as static ones are
//! ([`Rib::set_label`]). So groups, backups and their repair are those of all other routes.
//!
//! Left out: routes that push labels of their own (they have their LSP), routes of BGP (whose labels are BGP's to tell), the
//! paths of a route that are not to a neighbour.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bgp::policy::PrefixRange;
use ipnet::IpNet;
use net::{IfaceId, VrfId};

use super::Rib;
use super::resolve::{Resolved, Target};
use super::sets::SetId;
use super::spec::{PathsSpec, Source};
use super::table::host;

/// A next hop of a prefix that has a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FecHop {
    /// Out by this interface.
    pub iface: IfaceId,
    /// To this neighbour.
    pub address: IpAddr,
    /// Its share.
    pub weight: u32,
    /// Only while none of the others carries.
    pub backup: bool,
}

/// How a prefix is reached that has a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FecRoute {
    /// It ends here.
    Local,
    /// By these neighbours.
    Via(Vec<FecHop>),
}

/// What LDP has asked for.
#[derive(Debug, Default)]
pub(super) struct Fecs {
    on: bool,
    /// Empty: all.
    only: Vec<PrefixRange>,
    changed: BTreeSet<IpNet>,
}

impl Fecs {
    /// Something of how this prefix is reached may have changed.
    pub(super) fn mark(&mut self, p: IpNet) {
        if self.on && (self.only.is_empty() || self.only.iter().any(|r| r.contains(&p))) {
            self.changed.insert(p);
        }
    }
}

impl Rib {
    /// Has it told by [`Rib::take_fecs`] how these prefixes are reached (`only` is empty: all), now and whenever that changes.
    /// `None`: nobody wants to know. Prefixes that were told before and are not meant any more are told as unreachable.
    pub fn follow_fecs(&mut self, only: Option<&[PrefixRange]>) {
        self.fecs.on = only.is_some();
        self.fecs.only = only.unwrap_or_default().to_vec();
        self.fecs.changed.clear();
        let Some(only) = only else { return };
        let has = |source: Source| !source.is_bgp() && source != Source::Neighbor;
        let all = self
            .table
            .range(std::ops::Bound::Unbounded)
            .filter(|(_, e)| e.routes.all().iter().any(|r| has(r.0)))
            .map(|(p, _)| p)
            .filter(|p| only.is_empty() || only.iter().any(|r| r.contains(p)));
        self.fecs.changed = all.collect();
    }

    /// Whether there is something to be had by [`Rib::take_fecs`] now.
    #[must_use]
    pub fn has_fecs(&self) -> bool {
        !self.fecs.changed.is_empty() && self.sets.dirty.is_empty()
    }

    /// How at most `budget` prefixes are reached of which that has changed. None as long as next hops are still to be resolved,
    /// so that nobody hears of a way that is lost for a moment only.
    pub fn take_fecs(&mut self, budget: usize) -> Vec<(IpNet, Option<FecRoute>)> {
        let mut out = Vec::new();
        if !self.sets.dirty.is_empty() {
            return out;
        }
        while out.len() < budget {
            let Some(p) = self.fecs.changed.pop_first() else {
                break;
            };
            out.push((p, self.fec(p)));
        }
        out
    }

    /// How a prefix is reached, if it may have a label.
    fn fec(&self, p: IpNet) -> Option<FecRoute> {
        let entry = &self.table[self.table.get(&p)?];
        let routes = entry.routes.all().iter();
        let (source, id) = *routes
            .filter(|(s, _)| *s != Source::Ldp)
            .find(|(_, id)| self.sets.get(*id).is_some_and(super::sets::Set::live))?;
        match source {
            Source::Connected => Some(FecRoute::Local),
            // Of the addresses on a link the prefix is enough.
            Source::Local if self.is_whole(p) => Some(FecRoute::Local),
            Source::Static => self.neighbors_of(id).map(FecRoute::Via),
            _ => None,
        }
    }

    /// Is that address given to an interface without a subnet around it?
    fn is_whole(&self, p: IpNet) -> bool {
        let global = self.ifaces.values().filter(|i| i.vrf == VrfId::GLOBAL);
        let mut all = global.flat_map(|i| &i.addresses);
        all.any(|a| host(a.addr()) == p && a.prefix_len() == a.max_prefix_len())
    }

    fn neighbors_of(&self, id: SetId) -> Option<Vec<FecHop>> {
        let set = self.sets.get(id)?;
        let one = |r: &Resolved| match r.target {
            Target::Neighbor(iface, address) if r.labels.is_empty() => Some(FecHop {
                iface,
                address,
                weight: r.weight,
                backup: r.backup,
            }),
            _ => None,
        };
        let hops: Option<Vec<FecHop>> = set.resolved.iter().map(one).collect();
        hops.filter(|h| !h.is_empty())
    }

    /// Sets LDP's route of a prefix, or removes it.
    pub fn set_ldp(&mut self, p: IpNet, spec: Option<&PathsSpec>) {
        let new = spec.map(|spec| (Source::Ldp, self.sets.intern(spec)));
        if let Some(slot) = self.set_only(VrfId::GLOBAL, p.trunc(), |s| s == Source::Ldp, new) {
            self.queues.soon(slot, &mut self.table[slot]);
        }
    }
}
