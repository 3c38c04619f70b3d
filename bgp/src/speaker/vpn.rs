//! VPNs: what this router's VRFs have becomes routes of VPNv4 and VPNv6, and such routes of others come into VRFs.
//!
//! Read RFC 4364 4 and RFC 4659. A VRF's routes are a table of their own ([`Vrf4`](crate::rib::Vrf4)): those that its CEs and
//! the router itself have, and copies of VPN routes. Each table decides by itself, by the whole of RFC 4271 9.1:
//! 1. Of a VPN prefix (RD and prefix) the best path, those used beside it, and the one that stands by, if backups are asked for.
//! 2. Those come into each VRF that imports one of their route targets, and are paths there like those of CEs; the last only
//!    where one of the others came in, or is from.
//! 3. What is best in a VRF, if it was learned there, goes out again as a VPN route: with the VRF's RD, targets and label, as a
//!    path of the router's own.
//!
//! A VRF of this router that imports another's target takes its routes by the same three steps: no session is needed. What
//! came into a VRF is never told on as its own, so no loop can be made of targets. Between a VRF and the global table, routes go as
//! the VRF's policies for that say: `across`.
//!
//! At the border of an AS (RFC 4364 10 b), and wherever else our address becomes the next hop, VPN routes of others are told on
//! with labels of ours, one for each distinguisher and prefix: no VRF is needed for that. They are asked for ([`Best::vpn`])
//! only once a neighbour is configured to whom it may happen, for all routes then, since which of them a policy lets
//! through may change with every one of them.
//!
//! Departures: all VPN routes are kept, whether a VRF wants them or not (RFC 4364 4.3.1 lets them be dropped), so that a new
//! VRF has its routes at once. Targets that a CE sends are taken off. Left out: a label for each CE, routes of CEs
//! within our own AS (RFC 6368).

mod across;
mod came;
mod leaving;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use arrayvec::ArrayVec;
use ipnet::IpNet;

use self::across::Across;
pub(super) use self::across::{hop, leaked_from, origin, source, used};
use self::came::{Came, Numbers, Taken};
use self::leaving::{Errand, Leaving};
use super::families::Ours;
use super::inbound::Gate;
use super::routes::{ACROSS, LEAK, OWN, uses};
use super::show::LOOKED_AT;
use super::{Best, Core, Local, Neighbor, Speaker};
use crate::attrs::{AttrBuf, ExtCommunity, View, code, flag};
use crate::policy::{self, Policy, Protocol};
use crate::rib::{
    Announce, AttrId, Common, Cursor, Import, Key, Path, Scoped, V4, V6, Vpn4, Vpn6, Vrf4, Vrf6,
};
use crate::rpki::Validity;
use crate::session::PeerAs;
use crate::types::{Family, Label, PathId, PeerId, Rd, Relation, VrfNo};

/// Paths of a VPN prefix that come into a VRF, at most.
const BESIDE: usize = 1 << NTH;
/// Bits of a path's identifier in a VRF that count them; the rest is the number of its distinguisher.
const NTH: u32 = 4;

/// A VRF, as the speaker is told of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vrf {
    /// Its number in the router; not 0.
    pub number: VrfNo,
    /// Tells its routes from those of others; none: they are not told.
    pub rd: Option<Rd>,
    /// VPN routes with one of these targets come in.
    pub import: Vec<ExtCommunity>,
    /// Its routes are told with these; empty: they are not.
    pub export: Vec<ExtCommunity>,
    /// What is done with them on the way.
    pub policy: Policies,
    /// Routes of the global table's BGP that this accepts come in, and of its own those that this accepts go there; `None`: none.
    pub global: Policies,
    /// Leads into it; none: its routes are not told.
    pub label: Option<Label>,
    /// Each of its routes is told with a label of its own instead: that which [`Best::vrf`] answers with.
    pub each_its_own: bool,
}

/// What is done with the routes of a VRF beside what targets say; `None`: nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policies {
    /// With VPN routes that have one of its targets.
    pub import: Option<Arc<Policy>>,
    /// With its own, that have its targets by then.
    pub export: Option<Arc<Policy>>,
}

/// A walk over a whole table in pieces: `None`: none; else where to go on.
type Walk<K> = Option<Option<Cursor<K>>>;

/// The VRFs there are, and what came into them.
#[derive(Debug, Default)]
pub(super) struct Vpns {
    vrfs: BTreeMap<VrfNo, Vrf>,
    by_target: HashMap<ExtCommunity, Vec<VrfNo>>,
    taken4: HashMap<Vpn4, Came>,
    taken6: HashMap<Vpn6, Came>,
    rds: Numbers,
    import4: Walk<Vpn4>,
    import6: Walk<Vpn6>,
    export4: Walk<Vrf4>,
    export6: Walk<Vrf6>,
    /// Our address may become the next hop of VPN routes of others: they need labels of ours.
    transit: bool,
    /// That is another since the walks of `import4` and `import6` began: all are to be asked about.
    relabel: [bool; 2],
    leaving4: Leaving<V4>,
    leaving6: Leaving<V6>,
    pub(super) across: Across,
}

impl Vpns {
    fn set(&mut self, all: Vec<Vrf>) {
        self.by_target.clear();
        for vrf in &all {
            for target in &vrf.import {
                self.by_target.entry(*target).or_default().push(vrf.number);
            }
        }
        self.vrfs = all.into_iter().map(|v| (v.number, v)).collect();
    }

    /// The targets that VRFs import: each once.
    pub(super) fn imported(&self) -> impl Iterator<Item = ExtCommunity> + '_ {
        self.by_target.keys().copied()
    }

    /// The VRFs that a route with these attributes comes into: each once.
    fn importers(&self, v: View<'_>) -> BTreeSet<VrfNo> {
        let targets = v.ext_communities();
        let all = targets.filter_map(|t| self.by_target.get(&t));
        let own = VrfNo(v.table() as u16);
        all.flatten().copied().filter(|vrf| *vrf != own).collect()
    }
}

/// A family that there are VPNs of.
trait Base: Ours {
    fn taken(v: &mut Vpns) -> &mut HashMap<Scoped<Rd, Self>, Came>;
    fn imports(v: &mut Vpns) -> &mut Walk<Scoped<Rd, Self>>;
    fn exports(v: &mut Vpns) -> &mut Walk<Scoped<VrfNo, Self>>;
    fn relabel(v: &mut Vpns) -> &mut bool;
    fn leaving(v: &mut Vpns) -> &mut Leaving<Self>;
    fn global(v: &mut Vpns) -> &mut Walk<Self>;
}

impl Base for V4 {
    fn taken(v: &mut Vpns) -> &mut HashMap<Vpn4, Came> {
        &mut v.taken4
    }

    fn imports(v: &mut Vpns) -> &mut Walk<Vpn4> {
        &mut v.import4
    }

    fn exports(v: &mut Vpns) -> &mut Walk<Vrf4> {
        &mut v.export4
    }

    fn relabel(v: &mut Vpns) -> &mut bool {
        &mut v.relabel[0]
    }

    fn leaving(v: &mut Vpns) -> &mut Leaving<V4> {
        &mut v.leaving4
    }

    fn global(v: &mut Vpns) -> &mut Walk<Self> {
        &mut v.across.walk4
    }
}

impl Base for V6 {
    fn taken(v: &mut Vpns) -> &mut HashMap<Vpn6, Came> {
        &mut v.taken6
    }

    fn imports(v: &mut Vpns) -> &mut Walk<Vpn6> {
        &mut v.import6
    }

    fn exports(v: &mut Vpns) -> &mut Walk<Vrf6> {
        &mut v.export6
    }

    fn relabel(v: &mut Vpns) -> &mut bool {
        &mut v.relabel[1]
    }

    fn leaving(v: &mut Vpns) -> &mut Leaving<V6> {
        &mut v.leaving6
    }

    fn global(v: &mut Vpns) -> &mut Walk<Self> {
        &mut v.across.walk6
    }
}

/// Runs import policies again; monitoring stations hear of the global table only.
struct Reimport<'c>(&'c mut Gate);

impl<K: Ours> Import<K> for Reimport<'_> {
    fn import(
        &mut self,
        common: &mut Common,
        peer: PeerId,
        _: PathId,
        key: K,
        pre: AttrId,
    ) -> Option<AttrId> {
        // What came into a VRF has been through the policy of who sent it, as a VPN route.
        if key.vrf().is_some_and(|vrf| vrf != self.0.vrf(peer)) {
            common.store.retain(pre);
            return Some(pre);
        }
        self.0.import(common, peer, K::FAMILY, key.net(), pre)
    }

    fn removed(&mut self, _: PeerId, _: PathId, _: K) {}
}

/// A prefix, the paths that are used, and the one that stands by.
pub(super) type Used<K> = (K, ArrayVec<Path, BESIDE>, Option<Path>);

impl Core {
    /// A piece of all of it. True: there is more.
    pub(super) fn work_vpns(&mut self, budget: usize, to: &mut impl Best) -> bool {
        let mut more = self.clear_out::<V4>(LOOKED_AT);
        more |= self.clear_out::<V6>(LOOKED_AT);
        more |= self.walk_global::<V4>() | self.walk_global::<V6>();
        more |= self.vpn_table::<V4>(budget, to);
        more |= self.vpn_table::<V6>(budget, to);
        more |= self.vrf_table::<V4>(budget, to);
        more |= self.vrf_table::<V6>(budget, to);
        // What a VRF tells is a VPN's to choose from, and the global table's.
        let rib = &self.rib;
        let vpns = rib.vpn4.waiting() + rib.vpn6.waiting();
        more || vpns + rib.v4.waiting() + rib.v6.waiting() > 0
    }

    /// Chooses among VPN routes, and takes what changed into VRFs.
    fn vpn_table<B: Base>(&mut self, budget: usize, to: &mut impl Best) -> bool
    where
        Scoped<Rd, B>: Ours,
        Scoped<VrfNo, B>: Ours,
    {
        let mut changed: Vec<Used<Scoped<Rd, B>>> = Vec::new();
        let (table, common) = <Scoped<Rd, B>>::table(&mut self.rib);
        if table.working() {
            table.work(common, budget, &mut Reimport(&mut self.gate));
        }
        let (sources, transit) = (&self.gate.sources, self.vpns.transit);
        let locals = &mut <Scoped<Rd, B>>::side(&mut self.sides).locals;
        let mut by = Vec::new();
        table.drain(common, budget, |common, c| {
            changed.push(used(c));
            if transit || locals.get(c.key).is_some() {
                let (best, backup) = if transit {
                    (c.best, c.backup)
                } else {
                    (&[][..], None)
                };
                uses::<Scoped<Rd, B>>(common, sources, best, backup.as_ref(), &mut by);
                let label = c.key.tell(to, &by, true);
                let others = by.first().is_some_and(|u| u.relation.is_some());
                locals.set(c.key, label, others);
            }
        });
        let walk = B::imports(&mut self.vpns);
        if let Some(from) = walk.take() {
            let known = changed.len();
            let mut keys = Vec::new();
            let next = table.walk(from, LOOKED_AT, |r| keys.push(r.key));
            changed.extend(keys.into_iter().map(|key| across::in_use(table, key)));
            *walk = next.map(Some);
            let over = walk.is_none();
            let relabel = B::relabel(&mut self.vpns);
            if *relabel {
                (changed[known..].iter()).for_each(|(key, ..)| table.tell_again(*key));
                *relabel = !over;
            }
        }
        let walking = B::imports(&mut self.vpns).is_some();
        let more = table.working() || table.waiting() > 0 || walking;
        for (key, best, backup) in &changed {
            self.import_vpn(*key, best, *backup);
        }
        more
    }

    /// Which of these paths comes into which VRF, by its place; the backup's is behind the others.
    fn imports(&self, best: &[Path], backup: Option<&Path>) -> Vec<(usize, VrfNo)> {
        let mut out: Vec<(usize, VrfNo)> = Vec::new();
        let mut primary = BTreeSet::new();
        for (n, path) in best.iter().enumerate() {
            let Some(post) = path.post else { continue };
            let view = self.rib.common.store.view(post);
            let wanted = self.vpns.importers(view);
            // Where it is from, it need not come in.
            primary.extend(wanted.iter().copied());
            primary.insert(VrfNo(view.table() as u16));
            out.extend(wanted.into_iter().map(|vrf| (n, vrf)));
        }
        if let Some(post) = backup.and_then(|path| path.post) {
            let mut wanted = self.vpns.importers(self.rib.common.store.view(post));
            wanted.retain(|vrf| primary.contains(vrf));
            out.extend(wanted.into_iter().map(|vrf| (best.len(), vrf)));
        }
        out
    }

    /// Takes the paths of a VPN prefix into the VRFs that want them, and out of those that had others.
    fn import_vpn<B: Base>(&mut self, key: Scoped<Rd, B>, best: &[Path], backup: Option<Path>)
    where
        Scoped<VrfNo, B>: Ours,
    {
        let next = self.imports(best, backup.as_ref());
        let old = B::taken(&mut self.vpns).remove(&key);
        let old = old.as_ref().map_or(&[][..], Came::all);
        let mut now = Vec::with_capacity(next.len());
        let number = match next.is_empty() {
            true => 0,
            false => self.vpns.rds.hold(key.space),
        };
        for (n, vrf) in next {
            let Some(path) = best.get(n).or(backup.as_ref()) else {
                continue;
            };
            let Some(post) = self.imported(vrf, key.key.net(), path) else {
                continue;
            };
            let path_id = number << NTH | n as u32;
            let peer = if path.peer == OWN { LEAK } else { path.peer };
            let announce = Announce {
                peer,
                path_id,
                pre: post,
                post: Some(post),
                now: path.learnt,
            };
            let at = Scoped {
                space: vrf,
                key: key.key,
            };
            let (table, common) = <Scoped<VrfNo, B>>::table(&mut self.rib);
            table.announce(common, at, announce);
            common.store.release(post);
            now.push(Taken { vrf, peer, path_id });
        }
        let (table, common) = <Scoped<VrfNo, B>>::table(&mut self.rib);
        for gone in old.iter().filter(|t| !now.contains(t)) {
            let at = Scoped {
                space: gone.vrf,
                key: key.key,
            };
            table.withdraw(common, gone.peer, gone.path_id, at);
        }
        if !old.is_empty() {
            self.vpns.rds.release(key.space);
        }
        if let Some(now) = Came::of(now) {
            B::taken(&mut self.vpns).insert(key, now);
        } else if number != 0 {
            self.vpns.rds.release(key.space);
        }
    }

    /// The distinguisher with which a path of a VRF came into it from a VPN; `None`: it was learned there.
    pub(super) fn came_as<K: Ours>(&self, key: K, path: &Path) -> Option<Rd> {
        let vrf = key.vrf().filter(|_| path.peer != ACROSS)?;
        let own = match path.peer {
            OWN => VrfNo(self.rib.common.store.view(path.pre).table() as u16),
            peer => self.gate.vrf(peer),
        };
        let came = own != vrf;
        came.then(|| self.vpns.rds.rd(path.path_id >> NTH))
            .flatten()
    }

    /// What a VPN path becomes in a VRF by its policy; the caller gets a count. `None`: it does not come in.
    fn imported(&mut self, vrf: VrfNo, net: IpNet, path: &Path) -> Option<AttrId> {
        let post = path.post?;
        let store = &mut self.rib.common.store;
        let policy = self.vpns.vrfs.get(&vrf)?.policy.import.as_ref();
        let Some(policy) = policy else {
            store.retain(post);
            return Some(post);
        };
        let mut buf = AttrBuf::from_view(store.view(post));
        run(policy, net, &self.gate, (path.peer, None), &mut buf).then(|| store.intern(buf.view()))
    }

    /// Chooses among the routes of VRFs, for the router and for VPNs.
    fn vrf_table<B: Base>(&mut self, budget: usize, to: &mut impl Best) -> bool
    where
        Scoped<Rd, B>: Ours,
        Scoped<VrfNo, B>: Ours,
    {
        let mut changed: Vec<(Scoped<VrfNo, B>, Option<Path>)> = Vec::new();
        let (table, common) = <Scoped<VrfNo, B>>::table(&mut self.rib);
        if table.working() {
            table.work(common, budget, &mut Reimport(&mut self.gate));
        }
        let sources = &self.gate.sources;
        let mut by = Vec::new();
        let locals = &mut <Scoped<VrfNo, B>>::side(&mut self.sides).locals;
        let vrfs = &self.vpns.vrfs;
        let across = &self.vpns.across;
        let mut leaking = Vec::new();
        table.drain(common, budget, |common, c| {
            changed.push((c.key, c.best.first().copied()));
            if across.goes_out(c.key.space) {
                leaking.push(used(c));
            }
            uses::<Scoped<VrfNo, B>>(common, sources, c.best, c.backup.as_ref(), &mut by);
            let label = to.vrf(c.key.space, c.key.key.net(), &by);
            let own = by.first().is_some_and(|u| u.table == c.key.space);
            let wanted = own && vrfs.get(&c.key.space).is_some_and(|v| v.each_its_own);
            locals.set(c.key, label, wanted);
        });
        if let Some(from) = B::exports(&mut self.vpns).take() {
            let next = table.walk(from, LOOKED_AT, |r| {
                changed.push((r.key, r.paths.first().copied().filter(|_| r.best)));
                if self.vpns.across.goes_out(r.key.space) {
                    leaking.push(across::in_use(table, r.key));
                }
            });
            *B::exports(&mut self.vpns) = next.map(Some);
        }
        let walk = B::exports(&mut self.vpns);
        let more = table.working() || table.waiting() > 0 || walk.is_some();
        for (key, best) in &changed {
            self.export_vrf(*key, best.as_ref());
        }
        self.lead_out(&leaking);
        more
    }

    /// Tells of a VRF's prefix as of a VPN's, or no longer.
    fn export_vrf<B: Base>(&mut self, key: Scoped<VrfNo, B>, best: Option<&Path>)
    where
        Scoped<Rd, B>: Ours,
        Scoped<VrfNo, B>: Ours,
    {
        let Some(vrf) = self.vpns.vrfs.get(&key.space) else {
            return;
        };
        let Some(rd) = vrf.rd else { return };
        let at = Scoped {
            space: rd,
            key: key.key,
        };
        let locals = &<Scoped<VrfNo, B>>::side_ref(&self.sides).locals;
        let (table, common) = <Scoped<Rd, B>>::table(&mut self.rib);
        let told = best.and_then(|p| Some((p.post?, p.learnt)));
        let told = told.and_then(|(post, learnt)| {
            let mut buf = exported(vrf, common.store.view(post))?;
            let label = match vrf.each_its_own {
                true => locals.get(key)?,
                false => vrf.label?,
            };
            let peer = best.map_or(OWN, |p| p.peer);
            if let Some(policy) = &vrf.policy.export
                && !run(policy, key.net(), &self.gate, (peer, None), &mut buf)
            {
                return None;
            }
            buf.set_inner(u32::from(vrf.number.0), &[label]);
            Some((common.store.intern(buf.view()), learnt))
        });
        match told {
            Some((post, now)) => {
                let announce = Announce {
                    peer: OWN,
                    path_id: 0,
                    pre: post,
                    post: Some(post),
                    now,
                };
                table.announce(common, at, announce);
                common.store.release(post);
            }
            None => drop(table.withdraw(common, OWN, 0, at)),
        }
    }
}

/// Runs a VRF's policy over a route of that neighbour's, or of the router itself. False: it is rejected. With what the RPKI says, it
/// is one of the global table; else of a VPN.
fn run(
    policy: &Policy,
    net: IpNet,
    gate: &Gate,
    (peer, rpki): (PeerId, Option<Validity>),
    buf: &mut AttrBuf,
) -> bool {
    let local = &gate.local;
    let own = || policy::Peer {
        address: local.router_id.octets().into(),
        asn: local.asn,
        local_as: local.asn,
        relation: Relation::Internal,
        group: None,
    };
    let source = gate.source(peer);
    let input = policy::Input {
        family: match (net, rpki.is_some()) {
            (IpNet::V4(_), false) => Family::Vpnv4,
            (IpNet::V6(_), false) => Family::Vpnv6,
            (IpNet::V4(_), true) => Family::Ipv4Unicast,
            (IpNet::V6(_), true) => Family::Ipv6Unicast,
        },
        prefix: Some(net),
        view: buf.view(),
        peer: source.map_or_else(own, |s| s.as_peer()),
        protocol: Protocol::Bgp,
        from: None,
        rpki: rpki.unwrap_or(Validity::NotFound),
        igp_metric: None,
    };
    let mut edited = AttrBuf::new();
    let outcome = policy.run(&input, &mut edited);
    if outcome.changed {
        *buf = edited;
    }
    outcome.accept
}

/// The attributes with which a route of a VRF is told: its own targets in place of those that a CE gave it. `None`: it was not
/// learned there, or there are no targets.
fn exported(vrf: &Vrf, v: View<'_>) -> Option<AttrBuf> {
    if v.table() != u32::from(vrf.number.0) || vrf.export.is_empty() {
        return None;
    }
    let mut buf = AttrBuf::from_view(v);
    set_targets(&mut buf, &vrf.export);
    Some(buf)
}

/// Is it a route target (RFC 4360 4, RFC 5668)?
pub(super) fn is_target(c: ExtCommunity) -> bool {
    c.0[0] <= 2 && c.0[1] == 2
}

/// Has these route targets in place of all others.
pub(super) fn set_targets(buf: &mut AttrBuf, targets: &[ExtCommunity]) {
    let kept = buf.view().ext_communities().filter(|c| !is_target(*c));
    let all = kept.chain(targets.iter().copied());
    let octets: Vec<u8> = all.flat_map(|c| c.0).collect();
    if octets.is_empty() {
        buf.remove(code::EXT_COMMUNITIES);
    } else {
        let flags = flag::OPTIONAL | flag::TRANSITIVE;
        buf.set(flags, code::EXT_COMMUNITIES, &octets);
    }
}

/// Are there to be VPN routes in a session?
pub(super) fn has_vpns(n: &Neighbor) -> bool {
    let mut families = n.session.families.iter().map(|f| f.family);
    let vpn = |f| matches!(f, Family::Vpnv4 | Family::Vpnv6);
    n.vrf == VrfNo::GLOBAL && families.any(vpn)
}

/// May a neighbour be told of VPN routes with our address for a next hop?
pub(super) fn may_be_next_hop(n: &Neighbor, local: &Local) -> bool {
    if !has_vpns(n) {
        return false;
    }
    let external = match n.session.peer_as {
        PeerAs::Is(asn) => local.relation(asn) == Relation::External,
        PeerAs::External | PeerAs::Any => true,
    };
    let by_policy = n.export.as_ref().is_some_and(|p| p.sets_own_next_hop());
    external || n.next_hop_self || by_policy
}

impl Speaker {
    /// The VRFs are these from now on. Routes of one that is gone go, and what others import and tell follows, in pieces, by
    /// [`Speaker::work`].
    pub fn set_vrfs(&mut self, all: Vec<Vrf>) {
        let core = &mut self.core;
        // What the last change has left behind goes first, for it may come back with this one.
        while core.clear_out::<V4>(usize::MAX) | core.clear_out::<V6>(usize::MAX) {}
        let old = std::mem::take(&mut core.vpns.vrfs);
        core.vpns.set(all);
        if old == core.vpns.vrfs {
            return;
        }
        for (number, was) in &old {
            let is = core.vpns.vrfs.get(number).cloned();
            if is.as_ref().and_then(|v| v.rd) != was.rd
                && let Some(rd) = was.rd
            {
                let v = &mut core.vpns;
                v.leaving4.told.push(Errand::new(rd, *number));
                v.leaving6.told.push(Errand::new(rd, *number));
            }
            if is.is_none() {
                let v = &mut core.vpns;
                v.leaving4.gone.push(Errand::new(*number, *number));
                v.leaving6.gone.push(Errand::new(*number, *number));
            }
        }
        core.asked.review();
        let v = &mut core.vpns;
        v.across.changed(&old, &v.vrfs);
        (v.import4, v.import6) = (Some(None), Some(None));
        (v.export4, v.export6) = (Some(None), Some(None));
    }

    /// Whether our address may become the next hop of VPN routes of others follows from the neighbours there may be.
    pub(super) fn review_transit(&mut self) {
        let local = &self.config.local;
        let dynamic = self.config.dynamic.iter().map(|d| &d.neighbor);
        // Those that go have none, though they may still be told why.
        let stay = self.peers.values().filter(|p| !p.leaving);
        let mut all = stay.map(|p| &p.config).chain(dynamic);
        let transit = all.any(|n| may_be_next_hop(n, local));
        self.core.asked.review();
        let v = &mut self.core.vpns;
        if v.transit != transit {
            v.transit = transit;
            v.relabel = [true; 2];
            (v.import4, v.import6) = (Some(None), Some(None));
        }
    }

    /// A route that the router has in a VRF, connected or static, to be told to CEs and other PEs; what a policy makes of it, if
    /// there is one. Says whether it is told.
    pub fn originate_in_vrf(
        &mut self,
        vrf: VrfNo,
        net: IpNet,
        protocol: Protocol,
        policy: Option<&Policy>,
        now: Instant,
    ) -> bool {
        let Some(bare) = self.core.local_route::<V4>(net, &[], (protocol, 0, policy)) else {
            self.withdraw_in_vrf(vrf, net);
            return false;
        };
        let now = self.core.seconds(now);
        let rib = &mut self.core.rib;
        let mut buf = AttrBuf::from_view(rib.common.store.view(bare));
        buf.set_inner(u32::from(vrf.0), &[]);
        let post = rib.common.store.intern(buf.view());
        let announce = Announce {
            peer: OWN,
            path_id: 0,
            pre: post,
            post: Some(post),
            now,
        };
        let common = &mut rib.common;
        if let Some(key) = Vrf4::of(vrf, net) {
            rib.vrf4.announce(common, key, announce);
        } else if let Some(key) = Vrf6::of(vrf, net) {
            rib.vrf6.announce(common, key, announce);
        }
        common.store.release(post);
        common.store.release(bare);
        true
    }

    /// The router has no such route in that VRF any more; had it one?
    pub fn withdraw_in_vrf(&mut self, vrf: VrfNo, net: IpNet) -> bool {
        let rib = &mut self.core.rib;
        match (Vrf4::of(vrf, net), Vrf6::of(vrf, net)) {
            (Some(key), _) => rib.vrf4.withdraw(&mut rib.common, OWN, 0, key),
            (_, Some(key)) => rib.vrf6.withdraw(&mut rib.common, OWN, 0, key),
            (None, None) => false,
        }
    }

    /// The route targets of VPN routes that neighbours have sent. Looks at all attributes that there are.
    #[must_use]
    pub fn vpn_targets(&self) -> HashSet<ExtCommunity> {
        let views = self.core.rib.common.store.views();
        let of_others = views.filter(|v| v.table() == 0 && v.labels().is_some());
        let all = of_others.flat_map(|v| v.ext_communities());
        all.filter(|c| is_target(*c)).collect()
    }
}

#[cfg(test)]
mod tests;
