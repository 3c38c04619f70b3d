//! Routes between VRFs and the global table: what the best routers do by `import map` and `export map` of a VRF, or by groups of
//! tables. There is no RFC of it.
//!
//! What is used of a prefix in the one table, if the best of it was learned there, becomes paths of that prefix in the other, as far as
//! the VRF's policy accepts it: its attributes stay, and so does the table in which its next hop is looked up. In the other table it
//! stands behind what is as good and was learned there ([`PeerInfo::leaked`](crate::rib::PeerInfo)), is told on with our address
//! for a next hop, and never becomes a VPN's, or goes on to a third table: so there is no loop.
//!
//! What came is kept nowhere but in the table that it came into: its paths are those of [`ACROSS`], and their identifiers say which
//! neighbour they are from. Left out: what is written down of tables (`dump`) does not have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrayvec::ArrayVec;
use ipnet::IpNet;

use super::{BESIDE, Base, Used, Vrf, Walk, is_target, run, set_targets};
use crate::attrs::AttrBuf;
use crate::policy::Policy;
use crate::rib::{Announce, AttrId, Change, Common, Key, Path, Scoped, Table, V4, V6};
use crate::speaker::export::NextHopChoice;
use crate::speaker::families::Ours;
use crate::speaker::inbound::{Gate, Source};
use crate::speaker::routes::{ACROSS, OWN};
use crate::speaker::show::LOOKED_AT;
use crate::speaker::{Core, Speaker};
use crate::types::{Family, PathId, PeerId, VrfNo};

/// Which VRFs take part.
#[derive(Debug, Default)]
pub(in crate::speaker) struct Across {
    /// Those that routes of the global table come into, and, as long as a walk goes on, those that may have some still.
    into: BTreeSet<VrfNo>,
    /// Those whose routes go there, or may have gone. Their numbers come never again.
    out: BTreeSet<VrfNo>,
    pub(super) walk4: Walk<V4>,
    pub(super) walk6: Walk<V6>,
}

impl Across {
    /// Do routes of the global table come into a VRF?
    pub(in crate::speaker) fn comes_in(&self) -> bool {
        !self.into.is_empty()
    }

    /// May the global table have routes of that VRF?
    pub(super) fn goes_out(&self, vrf: VrfNo) -> bool {
        !self.out.is_empty() && self.out.contains(&vrf)
    }

    /// The VRFs are others. Theirs are gone through by whoever says so.
    pub(super) fn changed(&mut self, old: &BTreeMap<VrfNo, Vrf>, new: &BTreeMap<VrfNo, Vrf>) {
        let imports = |all: &BTreeMap<VrfNo, Vrf>| -> BTreeMap<VrfNo, Arc<Policy>> {
            let all = all.iter();
            all.filter_map(|(n, v)| Some((*n, v.global.import.clone()?)))
                .collect()
        };
        let exports = new.values().filter(|v| v.global.export.is_some());
        self.out.extend(exports.map(|v| v.number));
        let now = imports(new);
        if now != imports(old) {
            self.into.extend(now.keys());
            self.again();
        }
    }

    fn again(&mut self) {
        if self.comes_in() {
            (self.walk4, self.walk6) = (Some(None), Some(None));
        }
    }
}

/// What was chosen of a prefix. One place is left for the backup.
pub(in crate::speaker) fn used<K: Copy>(c: &Change<'_, K>) -> Used<K> {
    let best = c.best.iter().take(BESIDE - 1).copied();
    (c.key, best.collect(), c.backup)
}

/// What the last drain chose.
pub(super) fn in_use<K: Key>(table: &Table<K>, key: K) -> Used<K> {
    let (best, backup) = table.in_use(key);
    (key, best.into_iter().take(BESIDE - 1).collect(), backup)
}

/// The identifier of a path that goes across: those that were better first, and odd if it stood by. Of routes of the router's own it
/// has the table, of others the neighbour.
fn path_id(n: usize, path: &Path, from: VrfNo, standby: bool) -> PathId {
    let of = match path.peer {
        OWN => 1 << 16 | u32::from(from.0),
        peer => u32::from(peer.0),
    };
    (n as u32) << 18 | of << 1 | u32::from(standby)
}

/// Who a path is from, whichever table it is in.
pub(in crate::speaker) fn origin(path: &Path) -> PeerId {
    match path.peer {
        ACROSS if path.path_id >> 17 & 1 != 0 => OWN,
        ACROSS => PeerId((path.path_id >> 1) as u16),
        peer => peer,
    }
}

/// The neighbour that a path is from; `None`: it is the router's own.
pub(in crate::speaker) fn source<'g>(gate: &'g Gate, path: &Path) -> Option<&'g Source> {
    gate.source(origin(path)).filter(|_| origin(path) != OWN)
}

/// The next hop with which a path is told on: its own means nothing in another table.
pub(in crate::speaker) fn hop(path: &Path, choice: NextHopChoice) -> NextHopChoice {
    match (path.peer, choice) {
        (ACROSS, NextHopChoice::Default | NextHopChoice::Unchanged) => NextHopChoice::Own,
        _ => choice,
    }
}

/// The table that a path has come from across.
pub(in crate::speaker) fn leaked_from(common: &Common, path: &Path) -> Option<VrfNo> {
    (path.peer == ACROSS).then(|| VrfNo(common.store.view(path.pre).table() as u16))
}

impl Core {
    /// What is used in the global table by now comes into VRFs.
    pub(in crate::speaker) fn leak4(&mut self, changed: &[Used<V4>]) {
        self.lead_in(changed);
    }

    /// The same of IPv6.
    pub(in crate::speaker) fn leak6(&mut self, changed: &[Used<V6>]) {
        self.lead_in(changed);
    }

    fn lead_in<B: Base>(&mut self, changed: &[Used<B>])
    where
        Scoped<VrfNo, B>: Ours,
    {
        // They change with the configuration only.
        let into = std::mem::take(&mut self.vpns.across.into);
        for (key, best, backup) in changed {
            for vrf in &into {
                let conf = self.vpns.vrfs.get(vrf);
                let policy = conf.and_then(|v| v.global.import.clone());
                let at = Scoped {
                    space: *vrf,
                    key: *key,
                };
                self.lead(at, VrfNo::GLOBAL, policy.as_deref(), (best, *backup));
            }
        }
        self.vpns.across.into = into;
    }

    /// What is used in VRFs by now goes to the global table.
    pub(super) fn lead_out<B: Base>(&mut self, changed: &[Used<Scoped<VrfNo, B>>]) {
        for (key, best, backup) in changed {
            let conf = self.vpns.vrfs.get(&key.space);
            let policy = conf.and_then(|v| v.global.export.clone());
            self.lead(key.key, key.space, policy.as_deref(), (best, *backup));
        }
    }

    /// A piece of a walk over the global table. True: there is more.
    pub(super) fn walk_global<B: Base>(&mut self) -> bool
    where
        Scoped<VrfNo, B>: Ours,
    {
        let Some(from) = B::global(&mut self.vpns).take() else {
            return false;
        };
        let table = B::table_ref(&self.rib);
        let mut found = Vec::new();
        let next = table.walk(from, LOOKED_AT, |r| found.push(in_use(table, r.key)));
        *B::global(&mut self.vpns) = next.map(Some);
        self.lead_in(&found);
        let v = &mut self.vpns;
        if v.across.walk4.is_none() && v.across.walk6.is_none() {
            let vrfs = &v.vrfs;
            let takes = |n: &VrfNo| vrfs.get(n).is_some_and(|v| v.global.import.is_some());
            v.across.into.retain(takes);
        }
        next.is_some()
    }

    /// Has at a place of another table what a policy makes of the paths that are used in this one; without a policy nothing.
    fn lead<K: Ours>(
        &mut self,
        at: K,
        from: VrfNo,
        policy: Option<&Policy>,
        (best, backup): (&[Path], Option<Path>),
    ) {
        let mut now: ArrayVec<PathId, BESIDE> = ArrayVec::new();
        let first = best.first().is_some_and(|p| self.is_of(from, p));
        if let Some(policy) = policy.filter(|_| first) {
            let all = best.iter().map(|p| (p, false));
            let all = all.chain(backup.as_ref().map(|p| (p, true)));
            for (n, (path, standby)) in all.enumerate() {
                // Nothing stands by for what has not come.
                if !self.is_of(from, path) || (standby && now.is_empty()) {
                    continue;
                }
                let Some(post) = self.let_across(policy, at.net(), path) else {
                    continue;
                };
                let announce = Announce {
                    peer: ACROSS,
                    path_id: path_id(n, path, from, standby),
                    pre: post,
                    post: Some(post),
                    now: path.learnt,
                };
                let (table, common) = K::table(&mut self.rib);
                table.announce(common, at, announce);
                common.store.release(post);
                now.push(announce.path_id);
            }
        }
        let (table, common) = K::table(&mut self.rib);
        for path in table.get(at).map(|r| r.paths).unwrap_or_default() {
            if leaked_from(common, &path) == Some(from) && !now.contains(&path.path_id) {
                table.withdraw(common, ACROSS, path.path_id, at);
            }
        }
    }

    /// Was it learned in that table?
    fn is_of(&self, table: VrfNo, path: &Path) -> bool {
        let view = self.rib.common.store.view(path.post.unwrap_or(path.pre));
        path.peer != ACROSS && view.table() == u32::from(table.0)
    }

    /// What a path becomes in the other table; the caller gets a count. `None`: it does not come there.
    fn let_across(&mut self, policy: &Policy, net: IpNet, path: &Path) -> Option<AttrId> {
        let store = &mut self.rib.common.store;
        let mut buf = AttrBuf::from_view(store.view(path.post?));
        if buf.view().ext_communities().any(is_target) {
            // They are between edges of VPNs.
            set_targets(&mut buf, &[]);
        }
        let family = match net {
            IpNet::V4(_) => Family::Ipv4Unicast,
            IpNet::V6(_) => Family::Ipv6Unicast,
        };
        // Whichever way it goes, it is a route of the global table.
        let of = (family, VrfNo::GLOBAL);
        let rpki = self.gate.validity(of, &net, buf.view());
        let from = (path.peer, Some(rpki));
        run(policy, net, &self.gate, from, &mut buf).then(|| store.intern(buf.view()))
    }
}

impl Speaker {
    /// What the RPKI says has changed: where a policy between tables asks for it, all goes through it again. That costs a walk; it is
    /// done in pieces, and few have such a policy.
    pub(in crate::speaker) fn validate_across(&mut self) {
        let v = &mut self.core.vpns;
        let asks = |p: &Option<Arc<Policy>>| p.as_ref().is_some_and(|p| p.depends().rpki);
        if v.vrfs.values().any(|v| asks(&v.global.import)) {
            v.across.again();
        }
        if v.vrfs.values().any(|v| asks(&v.global.export)) {
            (v.export4, v.export6) = (Some(None), Some(None));
        }
    }
}

#[cfg(test)]
mod tests;
