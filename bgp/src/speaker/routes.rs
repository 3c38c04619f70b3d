//! The router's side: which routes are best, where their next hops are, and routes of the router's own.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;

use super::families::{Hearers, Kind, Ours, of_kind, seen};
use super::inbound::{Gate, Source};
use super::membership::Asked;
use super::monitor::Feeds;
use super::vpn::{origin, used};
use super::{Core, Speaker};
use crate::attrs::{AttrBuf, LabelStack, Origin, Srgb};
use crate::policy::{Input, Peer, Policy, Protocol};
use crate::rib::{
    Announce, AttrId, Change, Common, HopEvent, Import, Key, L4, L6, NextHopId, Path, Reach, V4, V6,
};
use crate::rpki::{RoaTable, Validity};
use crate::session::graceful::Step;
use crate::session::{Keep, State};
use crate::types::{Family, FamilySet, Label, NextHop, PathId, PeerId, Rd, Relation, VrfNo};
use crate::wire::Refresh;

/// Who the router's own routes are from: no neighbour has this slot.
pub(super) const OWN: PeerId = PeerId(0);
/// Who those are from that came into a VRF from another one here: in that VRF they are not the router's own, and no better
/// than what another PE would have told.
pub(super) const LEAK: PeerId = PeerId(1);
/// Who those are from that came out of the global table into a VRF, or out of one into it: see `vpn`, `across`.
pub(super) const ACROSS: PeerId = PeerId(2);

/// Finds out anew what paths are after import, and tells monitors of what changes by it.
struct Again<'c> {
    gate: &'c mut Gate,
    feeds: &'c mut Feeds,
    asked: &'c mut Asked,
}

impl<K: Ours> Import<K> for Again<'_> {
    fn import(
        &mut self,
        common: &mut Common,
        peer: PeerId,
        path_id: PathId,
        key: K,
        pre: AttrId,
    ) -> Option<AttrId> {
        if self.feeds.any() {
            self.feeds.path(peer, path_id, key);
        }
        let post = self.gate.import(common, peer, K::FAMILY, key.net(), pre);
        key.note(self.asked, peer, post.is_some());
        post
    }

    fn removed(&mut self, peer: PeerId, path_id: PathId, key: K) {
        key.note(self.asked, peer, false);
        if self.feeds.any() {
            self.feeds.path(peer, path_id, key);
        }
    }
}

/// How packets for a best route are to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use<'a> {
    /// Where to.
    pub next_hop: Option<NextHop>,
    /// The interface of the neighbour that said so, if its address is link-local.
    pub interface: Option<&'a str>,
    /// What the neighbour is; `None`: a route of the router's own, which it has from elsewhere.
    pub relation: Option<Relation>,
    /// The labels that packets get, where the route has some (RFC 8277).
    pub labels: LabelStack,
    /// The table in which the next hop is looked up, and where routes of the router's own are from.
    pub table: VrfNo,
    /// It stands by: packets go this way while none of the others can be reached.
    pub backup: bool,
    /// The label index of the prefix (RFC 8669), where the route is a labelled one and has it.
    pub index: Option<u32>,
    /// The next hop is a last resort ([`Reach::last_resort`]): other routes for the prefix are better, whatever they are.
    pub last_resort: bool,
}

/// Hears which routes are best.
pub trait Best {
    /// Packets for `net` go by all of `by` from now on, or by the last of them alone while the others can't be reached, if
    /// that is a backup; empty: there is no route any more.
    fn best(&mut self, net: IpNet, by: &[Use<'_>]);

    /// The same of a route with labels. Answers with the label of ours that packets for `net` may come with, and will go by
    /// `by` then: it is what neighbours are told where our address is the next hop. `None`: they are not told of the route.
    /// `heard`: somebody is; else none has to be given, and one that was may stay.
    fn labeled(&mut self, _net: IpNet, _by: &[Use<'_>], _heard: bool) -> Option<Label> {
        None
    }

    /// The same of a route of a VPN, where it may be told on with our address for a next hop (RFC 4364 10 b). It is asked for
    /// once there is a neighbour to whom that may happen, and with nothing for each when there is none any more.
    fn vpn(&mut self, _rd: Rd, _net: IpNet, _by: &[Use<'_>]) -> Option<Label> {
        None
    }

    /// The same of a route in a VRF. Labels are those of another PE ([`Use::table`] is the global one then). Answers with the label
    /// under which packets for `net` alone come into the VRF, if its routes have one each (`Vrf::each_its_own`).
    fn vrf(&mut self, _vrf: VrfNo, _net: IpNet, _by: &[Use<'_>]) -> Option<Label> {
        None
    }
}

impl<F: FnMut(IpNet, &[Use<'_>])> Best for F {
    fn best(&mut self, net: IpNet, by: &[Use<'_>]) {
        self(net, by);
    }
}

impl Speaker {
    /// Chooses for at most so many prefixes, and goes on with what concerns many. Who asks for routes hears of the best that
    /// changed. True: there is more to do.
    pub fn work(&mut self, budget: usize, to: &mut impl Best, now: Instant) -> bool {
        let mut more = false;
        for kind in Kind::ALL.into_iter().filter(|k| !k.is_vpn()) {
            more |= of_kind!(kind, K => self.core.family::<K>(budget, to));
        }
        more |= self.core.work_vpns(budget, to);
        more |= self.work_memberships(budget, now);
        more | self.advertise(budget, now)
    }

    /// Next hops that are to be resolved, or no longer.
    pub fn next_hops(&mut self) -> impl Iterator<Item = HopEvent> + '_ {
        self.core.rib.common.store.hops.events()
    }

    /// How a next hop is reached: its IGP metric, or not at all.
    pub fn set_next_hop(&mut self, id: NextHopId, metric: Option<u32>) {
        self.core.rib.set_next_hop(id, metric);
    }

    /// The same with more to say of it.
    pub fn set_reach(&mut self, id: NextHopId, reach: Option<Reach>) {
        self.core.rib.set_reach(id, reach);
    }

    /// Which addresses are the router's: routes with such a next hop are not used.
    pub fn set_own_addresses(&mut self, own: impl IntoIterator<Item = IpAddr>) {
        self.set_own_addresses_in(VrfNo::GLOBAL, own);
    }

    /// The same of a VRF, for its CEs.
    pub fn set_own_addresses_in(&mut self, vrf: VrfNo, own: impl IntoIterator<Item = IpAddr>) {
        self.core.gate.own.insert(vrf, own.into_iter().collect());
    }

    /// What the caches of the RPKI said; after a change, [`Speaker::validate_changes`].
    pub fn roas(&mut self) -> &mut RoaTable {
        &mut self.core.gate.roas
    }

    /// A route of the router's own, to be told to neighbours: what a policy makes of it, if there is one. Says whether it
    /// is told.
    pub fn originate(
        &mut self,
        net: IpNet,
        protocol: Protocol,
        metric: u32,
        policy: Option<&Policy>,
        now: Instant,
    ) -> bool {
        let route = (protocol, metric, policy);
        match net {
            IpNet::V4(_) => self.originate_in::<V4>(net, (&[], None), route, now),
            IpNet::V6(_) => self.originate_in::<V6>(net, (&[], None), route, now),
        }
    }

    /// The same, to be told with a label: packets come to us with that on top (3, the implicit null: without any); and with a
    /// label index (RFC 8669), if it has one. What the policy says of the index does not count: [`Speaker::own_index`] does.
    pub fn originate_labeled(
        &mut self,
        net: IpNet,
        (label, index): (Label, Option<u32>),
        protocol: Protocol,
        policy: Option<&Policy>,
        now: Instant,
    ) -> bool {
        let route = (protocol, 0, policy);
        match net {
            IpNet::V4(_) => self.originate_in::<L4>(net, (&[label], index), route, now),
            IpNet::V6(_) => self.originate_in::<L6>(net, (&[label], index), route, now),
        }
    }

    /// The label index that a policy gives a labelled route of the router's own.
    #[must_use]
    pub fn own_index(&mut self, net: IpNet, protocol: Protocol, policy: &Policy) -> Option<u32> {
        let route = (protocol, 0, Some(policy));
        let post = match net {
            IpNet::V4(_) => self.core.local_route::<L4>(net, &[], route),
            IpNet::V6(_) => self.core.local_route::<L6>(net, &[], route),
        }?;
        let store = &mut self.core.rib.common.store;
        let index = store.view(post).label_index();
        store.release(post);
        index
    }

    fn originate_in<K: Ours>(
        &mut self,
        net: IpNet,
        (labels, index): (&[Label], Option<u32>),
        route: (Protocol, u32, Option<&Policy>),
        now: Instant,
    ) -> bool {
        let Some(key) = K::from_net(net) else {
            return false;
        };
        let Some(mut post) = self.core.local_route::<K>(net, labels, route) else {
            self.withdraw_in::<K>(net);
            return false;
        };
        if !labels.is_empty() {
            post = self.core.with_index(post, index);
        }
        let announce = Announce {
            peer: OWN,
            path_id: 0,
            pre: post,
            post: Some(post),
            now: self.core.seconds(now),
        };
        let (table, common) = K::table(&mut self.core.rib);
        table.announce(common, key, announce);
        common.store.release(post);
        true
    }

    /// The router has no such route any more; had it one?
    pub fn withdraw_own(&mut self, net: IpNet) -> bool {
        match net {
            IpNet::V4(_) => self.withdraw_in::<V4>(net),
            IpNet::V6(_) => self.withdraw_in::<V6>(net),
        }
    }

    /// The same of one with a label.
    pub fn withdraw_own_labeled(&mut self, net: IpNet) -> bool {
        match net {
            IpNet::V4(_) => self.withdraw_in::<L4>(net),
            IpNet::V6(_) => self.withdraw_in::<L6>(net),
        }
    }

    fn withdraw_in<K: Ours>(&mut self, net: IpNet) -> bool {
        let (table, common) = K::table(&mut self.core.rib);
        K::from_net(net).is_some_and(|key| table.withdraw(common, OWN, 0, key))
    }

    /// There may be labels again: [`Best`] is asked once more for those that it had none for, or another than their index
    /// asks for.
    pub fn labels_available(&mut self) {
        for kind in Kind::ALL {
            of_kind!(kind, K => {
                let locals = &mut K::side(&mut self.core.sides).locals;
                let lacking = locals.take_lacking();
                let again: Vec<K> = lacking.into_iter().chain(locals.unacceptable()).collect();
                let table = K::table(&mut self.core.rib).0;
                again.into_iter().for_each(|key| table.tell_again(key));
            });
        }
    }

    /// Our SRGB: the label of a prefix with an index is to be the one that it has in there, and neighbours are told of it with
    /// routes of our own that have one (RFC 8669 3.2). After a change [`Best`] is asked once more for all that have a label.
    /// Is it one?
    pub fn set_srgb(&mut self, srgb: Option<Srgb>) -> bool {
        if std::mem::replace(&mut self.core.srgb, srgb) == srgb {
            return false;
        }
        for kind in [Kind::L4, Kind::L6] {
            of_kind!(kind, K => {
                let all: Vec<K> = K::side(&mut self.core.sides).locals.labelled().collect();
                let table = K::table(&mut self.core.rib).0;
                all.into_iter().for_each(|key| table.tell_again(key));
            });
        }
        true
    }

    /// Has [`Best`] hear of all routes of a VRF once more: packets go by them in another way now.
    pub fn tell_again_in(&mut self, vrf: VrfNo) {
        for kind in [Kind::Vrf4, Kind::Vrf6] {
            of_kind!(kind, K => {
                let table = K::table(&mut self.core.rib).0;
                let mut keys = Vec::new();
                table.longer(K::NONE.in_vrf(vrf), None, usize::MAX, |r| keys.push(r.key));
                keys.into_iter().for_each(|key| table.tell_again(key));
            });
        }
    }

    /// A session is up.
    pub(super) fn up(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(up) = peer.up.clone() else { return };
        let ends = peer
            .lines
            .iter()
            .find(|l| l.id == up.line)
            .and_then(|l| l.ends.clone());
        let mut steps = Vec::new();
        peer.helper.up(now, &up.agreed, &mut steps);
        peer.ended = FamilySet::EMPTY;
        self.core.asked.review();
        self.core.arrived(peer, &up, ends.as_ref());
        self.core
            .write_state(id, (State::OpenConfirm, State::Established), now);
        self.core.feeds.session(id);
        self.core.stale(id, &steps);
        let agreed = up.agreed.clone();
        self.restart_step(|r, released| r.up(id, &agreed, released));
        self.join(id, now);
    }

    /// A session is down: routes of families that `keep` does not name go.
    pub(super) fn down(&mut self, id: PeerId, keep: &[Keep], now: Instant) {
        self.leave(id);
        self.core
            .write_state(id, (State::Established, State::Idle), now);
        self.core.feeds.session(id);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.vpns_at = None;
        self.core.asked.review();
        let mut steps = Vec::new();
        peer.helper.down(now, keep, &mut steps);
        for family in Family::ALL {
            if !keep.iter().any(|k| k.family == family) {
                self.core.forget(id, family);
            }
        }
        self.core.stale(id, &steps);
    }

    /// A ROUTE-REFRESH: everything again, or a mark of RFC 7313.
    pub(super) fn refresh_asked(
        &mut self,
        id: PeerId,
        family: Family,
        kind: Refresh,
        now: Instant,
    ) {
        let mut steps = Vec::new();
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        match kind {
            Refresh::Request => self.send_again(id, family, now),
            Refresh::Begin => peer.helper.begin(now, family, &mut steps),
            Refresh::End => peer.helper.end(family, &mut steps),
            Refresh::Unknown(_) => {}
        }
        self.core.stale(id, &steps);
    }

    /// The neighbour has sent everything of these families.
    pub(super) fn ended(&mut self, id: PeerId, families: &[Family], now: Instant) {
        let mut steps = Vec::new();
        if let Some(peer) = self.peers.get_mut(&id) {
            for f in families {
                peer.ended.insert(*f);
                peer.helper.end(*f, &mut steps);
            }
        }
        self.core.stale(id, &steps);
        for f in families {
            self.core.feeds.ended(id, *f);
            self.restart_step(|r, released| r.end_of_rib(id, *f, released));
        }
        if families.contains(&Family::RouteTarget) {
            self.join_waiting(id, now);
        }
    }

    /// It is waited no longer for what a neighbour asks for.
    pub(super) fn tick_waiting(&mut self, id: PeerId, now: Instant) {
        let at = self.peers.get(&id).and_then(|p| p.vpns_at);
        if at.is_some_and(|at| at <= now) {
            self.join_waiting(id, now);
        }
    }

    /// Time has passed for stale routes.
    pub(super) fn tick_stale(&mut self, id: PeerId, now: Instant) {
        let mut steps = Vec::new();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.helper.tick(now, &mut steps);
        }
        self.core.stale(id, &steps);
    }
}

/// How packets go by what was chosen; put into `by`.
pub(super) fn uses<'s, K: Key>(
    common: &Common,
    sources: &'s [Option<Source>],
    best: &[Path],
    backup: Option<&Path>,
    by: &mut Vec<Use<'s>>,
) {
    by.clear();
    let best = best.iter().map(|path| (path, false));
    let all = best.chain(backup.map(|path| (path, true)));
    by.extend(all.filter_map(|(path, backup)| {
        let source = sources
            .get(usize::from(origin(path).0))
            .and_then(Option::as_ref);
        let (mut labels, mut table) = (LabelStack::EMPTY, VrfNo::GLOBAL);
        let mut index = None;
        if K::LABELED || path.peer == ACROSS {
            let view = common.store.view(path.post?);
            labels = view.labels().into();
            table = VrfNo(view.table() as u16);
            if matches!(K::FAMILY, Family::Ipv4Labeled | Family::Ipv6Labeled) {
                index = view.label_index();
            }
        }
        Some(Use {
            next_hop: common.store.next_hop(path.post?),
            interface: source.and_then(|s| s.interface.as_deref()),
            relation: source.map(|s| s.rules.relation),
            labels,
            table,
            backup,
            index,
            last_resort: common.store.is_last_resort(path.post?),
        })
    }));
}

/// Is somebody to be told of it with a label of ours? Whoever sends by segments may use that of its index without being told; and
/// a link-local next hop is never told on.
fn needs_label(by: &[Use<'_>], best: &Path, hearers: Hearers) -> bool {
    let link_local = |a| matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
    let hop = by.first().and_then(|u| u.next_hop);
    let of_link = hop.is_some_and(|h| link_local(h.address()));
    hearers.hear(best.peer) || of_link || by.first().is_some_and(|u| u.index.is_some())
}

impl Core {
    /// One family's piece of [`Speaker::work`].
    fn family<K: Ours>(&mut self, budget: usize, to: &mut impl Best) -> bool {
        let again = self.recheck::<K>(budget);
        let (table, common) = K::table(&mut self.rib);
        if table.working() {
            let mut again = Again {
                gate: &mut self.gate,
                feeds: &mut self.feeds,
                asked: &mut self.asked,
            };
            table.work(common, budget, &mut again);
        }
        let sources = &self.gate.sources;
        let mut by = Vec::new();
        let feeds = &mut self.feeds;
        let side = K::side(&mut self.sides);
        let hearers = Hearers::of(&side.groups);
        let locals = &mut side.locals;
        let leaks = K::leaks(&self.vpns);
        let mut leaking = Vec::new();
        if !hearers.are_among(std::mem::replace(&mut side.hearers, hearers)) {
            let unheard = locals.take_unheard().into_iter();
            unheard.for_each(|key| table.tell_again(key));
        }
        let srgb = self.srgb;
        let mut relabelled = Vec::new();
        table.drain(common, budget, |common, change: &Change<'_, K>| {
            if feeds.any() {
                feeds.best(change.key);
            }
            if leaks {
                leaking.push(used(change));
            }
            if !change.moved {
                return;
            }
            uses::<K>(
                common,
                sources,
                change.best,
                change.backup.as_ref(),
                &mut by,
            );
            let heard = change
                .best
                .first()
                .is_some_and(|p| needs_label(&by, p, hearers));
            let label = change.key.tell(to, &by, heard);
            if K::LABELED {
                let transit = by.first().is_some_and(|u| u.relation.is_some());
                locals.set_unheard(change.key, transit && !heard && label.is_none());
                if locals.set(change.key, label, transit && heard) {
                    relabelled.push(change.key);
                }
                let index = by.first().and_then(|u| u.index).filter(|_| transit);
                let ours = |n| srgb.and_then(|s: Srgb| s.label(n)) == label.map(Label::get);
                locals.set_unacceptable(change.key, index.is_some_and(|n| !ours(n)));
            }
        });
        for key in relabelled {
            table.send_again(common, key);
        }
        let (working, waiting) = (table.working(), table.waiting() > 0);
        K::leak(self, &leaking);
        again || working || waiting
    }

    /// The attributes of a route of the router's own; the caller has a count of them.
    pub(super) fn local_route<K: Key>(
        &mut self,
        net: IpNet,
        labels: &[Label],
        (protocol, metric, policy): (Protocol, u32, Option<&Policy>),
    ) -> Option<AttrId> {
        let mut buf = AttrBuf::new();
        buf.set_labels(labels);
        buf.set_origin(if protocol == Protocol::Bgp {
            Origin::Igp
        } else {
            Origin::Incomplete
        });
        buf.set_as_path([]);
        buf.set_med(metric);
        let store = &mut self.rib.common.store;
        let Some(policy) = policy else {
            return Some(store.intern(buf.view()));
        };
        let us = Peer {
            address: IpAddr::from(self.gate.local.router_id.octets()),
            asn: self.gate.local.asn,
            local_as: self.gate.local.asn,
            relation: Relation::Internal,
            group: None,
        };
        let input = Input {
            family: K::FAMILY,
            prefix: seen(K::FAMILY, net),
            view: buf.view(),
            peer: us,
            protocol,
            from: None,
            rpki: Validity::NotFound,
            igp_metric: Some(metric),
        };
        let mut edited = AttrBuf::new();
        let outcome = policy.run(&input, &mut edited);
        let view = if outcome.changed {
            edited.view()
        } else {
            buf.view()
        };
        outcome.accept.then(|| store.intern(view))
    }

    /// The same attributes with that label index and our SRGB, or with none; the caller's count goes over to them.
    fn with_index(&mut self, post: AttrId, index: Option<u32>) -> AttrId {
        let store = &mut self.rib.common.store;
        let view = store.view(post);
        if index.is_none() && view.label_index().is_none() {
            return post;
        }
        let mut buf = AttrBuf::from_view(view);
        buf.remove_label_index();
        if let Some(index) = index {
            buf.set_label_index(index);
            if let Some(srgb) = self.srgb {
                buf.set_originator_srgb(srgb);
            }
        }
        let with = store.intern(buf.view());
        store.release(post);
        with
    }

    /// The routes of a neighbour go.
    pub(super) fn forget(&mut self, peer: PeerId, family: Family) {
        if let Some(kind) = self.kind(peer, family) {
            of_kind!(kind, K => {
                let (table, common) = K::table(&mut self.rib);
                table.peer_down(common, peer);
            });
            if kind == Kind::Targets {
                self.asked.forget(peer);
            }
        }
    }

    /// Of all families.
    pub(super) fn forget_all(&mut self, peer: PeerId) {
        Family::ALL.into_iter().for_each(|f| self.forget(peer, f));
    }

    /// The import policy of a neighbour is another.
    pub(super) fn import_again(&mut self, peer: PeerId) {
        for kind in Kind::ALL {
            of_kind!(kind, K => K::table(&mut self.rib).0.import_again(peer));
        }
    }

    /// What is stale of a neighbour, or no longer.
    fn stale(&mut self, peer: PeerId, steps: &[Step]) {
        for step in steps {
            let (Step::Mark(f) | Step::LongLived(f) | Step::Sweep(f)) = step;
            // Of families without a table nothing is kept.
            let Some(kind) = self.kind(peer, *f) else {
                continue;
            };
            of_kind!(kind, K => {
                let (table, common) = K::table(&mut self.rib);
                match step {
                    Step::Mark(_) => table.mark_stale(common, peer),
                    Step::LongLived(_) => table.long_lived(peer),
                    Step::Sweep(_) => table.sweep_stale(peer),
                }
            });
        }
    }
}
