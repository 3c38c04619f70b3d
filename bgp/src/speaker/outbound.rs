//! From the Loc-RIB to messages: update groups.
//!
//! Neighbours that are told the same share a group (RFC 4271 has none; every implementation does): what a route becomes on its
//! way, what was told, and the octets of messages. Only the next hop differs where it is our own address; so a message is
//! written once for each of our addresses in a group, mostly once.
//!
//! Nothing is queued for who does not read: a neighbour whose queue is full is waited for, then left behind, and later gets
//! what is true by then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::export::{self, ExportRules, NextHopChoice, resolved};
use super::families::{Kind, Locals, Ours, of_kind, seen};
use super::inbound::Gate;
use super::membership::Filter;
use super::peer::{Peer, Up};
use super::routes::OWN;
use super::{Core, Speaker, vpn};

use crate::attrs::{AttrBuf, ExtCommunity, View, code, flag};
use crate::policy::{Input, NextHopRule, Peer as PolicyPeer, Policy, Protocol};
use crate::rib::{Advertise, Audience, Export, GroupId, Path, Room, Sink, Staleness};
use crate::session::Event;
use crate::types::{Asn, Family, Label, NextHop, PathId, PeerId, Relation, VrfNo};
use crate::wire::{Context, EncodeError, Encoder, Refresh, RouteTarget, end_of_rib};

/// Octets that may wait for a neighbour before others are served first.
const ENOUGH: usize = 64 << 10;
/// How long a neighbour that reads nothing is waited for.
const PATIENCE: Duration = Duration::from_millis(50);

/// What makes neighbours share a group.
#[derive(Clone, Debug, PartialEq)]
struct Likeness {
    rules: ExportRules,
    policy: Option<Arc<Policy>>,
    context: Context,
    advertise: Advertise,
    /// Where the policy asks about the neighbour, or it has asked for some routes of VPNs only: which it is.
    only: Option<PeerId>,
    /// A default route of ours is told whatever there is.
    default_originate: bool,
    /// It knows what a long-lived stale route is (RFC 9494).
    long_lived: bool,
    /// The VRF that they are in, and their site.
    vrf: VrfNo,
    site: Option<ExtCommunity>,
    /// It is told of the VPN routes that it has asked for (RFC 4684).
    filtered: bool,
    /// So many labels may be in front of a prefix (RFC 8277 2.1).
    most_labels: u8,
}

/// A group of neighbours in one family.
#[derive(Debug)]
pub(super) struct Group {
    like: Likeness,
    pub(super) members: Vec<PeerId>,
    /// A member, as policies see it.
    face: Face,
    /// Of VPN routes it is told of these only.
    pub(super) filter: Option<Arc<Filter>>,
}

impl Group {
    /// Is it the neighbour's own?
    pub(super) fn is_for(&self, id: PeerId) -> bool {
        self.like.only == Some(id)
    }

    /// What its members are told goes through this.
    pub(super) fn policy(&self) -> Option<&Arc<Policy>> {
        self.like.policy.as_ref()
    }

    /// May they be told of routes with our address for a next hop?
    pub(super) fn tells_own_hop(&self) -> bool {
        let rules = &self.like.rules;
        let policy = self.like.policy.as_ref();
        let external = rules.relation == Relation::External && !rules.transparent;
        rules.next_hop_self || external || policy.is_some_and(|p| p.depends().sets_next_hop)
    }

    /// Which paths they are told.
    pub(super) fn advertise(&self) -> Advertise {
        self.like.advertise
    }
}

/// What policies may ask about the neighbour that they are for.
#[derive(Clone, Debug)]
struct Face {
    address: std::net::IpAddr,
    asn: Asn,
    local_as: Asn,
    relation: Relation,
    group: Option<Arc<str>>,
}

/// The groups of one family.
pub(super) type Groups = BTreeMap<GroupId, Group>;

impl Speaker {
    /// A session is up: the neighbour joins the groups of what it is to be told.
    pub(super) fn join(&mut self, id: PeerId, now: Instant) {
        let Some((_, up)) = self.established(id) else {
            return;
        };
        let families = up.agreed.context.families;
        let waits = self.waits_for_targets(id, now);
        let now_told = |f: &Family| !(waits && is_vpn(*f));
        self.join_families(id, families.iter().filter(now_told).collect(), now);
    }

    /// What was waited for has come, or not in time: the neighbour is told of VPN routes, too.
    pub(super) fn join_waiting(&mut self, id: PeerId, now: Instant) {
        let peer = self.peers.get_mut(&id);
        if peer.and_then(|p| p.vpns_at.take()).is_none() {
            return;
        }
        if let Some((_, up)) = self.established(id) {
            let families = up.agreed.context.families;
            self.join_families(id, families.iter().filter(|f| is_vpn(*f)).collect(), now);
        }
    }

    fn join_families(&mut self, id: PeerId, families: Vec<Family>, now: Instant) {
        let originate = self
            .peers
            .get(&id)
            .is_some_and(|p| p.config.default_originate);
        for family in families {
            let Some((peer, up)) = self.established(id) else {
                return;
            };
            let like = likeness(peer, up, family);
            let face = Face::of(peer, up);
            match Kind::of(peer.config.vrf, family) {
                Some(kind) => of_kind!(kind, K => self.core.join::<K>(id, like, face)),
                // Nothing is told of the others: that is said at once.
                None => {
                    if let Some(line) = self.line_mut(id) {
                        end_of_rib(family, line.queue.tail());
                    }
                }
            }
            if originate {
                self.send_default(id, family, now);
            }
        }
    }

    fn established(&self, id: PeerId) -> Option<(&Peer, &Up)> {
        let peer = self.peers.get(&id)?;
        Some((peer, peer.up.as_ref()?))
    }

    /// The connection of an Established session.
    fn line_mut(&mut self, id: PeerId) -> Option<&mut super::peer::Line> {
        let peer = self.peers.get_mut(&id)?;
        let line = peer.up.as_ref()?.line;
        peer.line_of(line)
    }

    /// A session is down: the neighbour is told nothing any more.
    pub(super) fn leave(&mut self, id: PeerId) {
        for kind in Kind::ALL {
            of_kind!(kind, K => self.core.leave::<K>(id));
        }
    }

    /// What a neighbour is told is to be found out anew, if its configuration says so.
    pub(super) fn refit_export(&mut self, id: PeerId) {
        for family in Family::ALL {
            let Some((peer, up)) = self.established(id) else {
                return;
            };
            let agreed = up.agreed.context.families.contains(family);
            if let Some(kind) = Kind::of(peer.config.vrf, family).filter(|_| agreed) {
                let (like, face) = (likeness(peer, up, family), Face::of(peer, up));
                of_kind!(kind, K => self.core.refit::<K>(id, like, face));
            }
        }
    }

    /// Writes what is to be told into the queues of who has room, over so many prefixes. True: there is more at once.
    pub(super) fn advertise(&mut self, budget: usize, now: Instant) -> bool {
        let mut more = false;
        for kind in Kind::ALL {
            more |= of_kind!(kind, K => self.advertise_family::<K>(budget, now));
        }
        for (id, sent) in std::mem::take(&mut self.told) {
            self.event(id, Event::UpdatesSent(sent), now);
        }
        for (id, family) in std::mem::take(&mut self.again) {
            self.mark(id, family, Refresh::End, now);
        }
        more
    }

    fn advertise_family<K: Ours>(&mut self, budget: usize, now: Instant) -> bool {
        if self.restarter.defers(K::FAMILY) {
            return false;
        }
        let mut more = false;
        let groups: Vec<GroupId> = K::groups(&mut self.core).keys().copied().collect();
        for g in groups {
            let Core {
                rib, gate, sides, ..
            } = &mut self.core;
            let side = K::side_ref(sides);
            let Some(group) = side.groups.get(&g) else {
                continue;
            };
            let mut exporter = Exporter {
                gate,
                group,
                locals: &side.locals,
                edited: &mut self.edited,
            };
            let mut writer = Writer {
                peers: &mut self.peers,
                encoder: &mut self.encoder,
                octets: &mut self.octets,
                told: &mut self.told,
                again: &mut self.again,
                context: &group.like.context,
                locals: &side.locals,
                parts: Vec::new(),
                now,
            };
            let (table, common) = K::table(rib);
            more |= table.advertise(common, g, budget, &mut exporter, &mut writer);
        }
        more
    }

    /// A default route by us, for who is told one whatever there is.
    fn send_default(&mut self, id: PeerId, family: Family, now: Instant) {
        let Some((peer, up)) = self.established(id) else {
            return;
        };
        let v4 = match family {
            // Of memberships the default one: all VPN routes.
            Family::Ipv4Unicast | Family::RouteTarget => true,
            Family::Ipv6Unicast => false,
            _ => return,
        };
        let like = likeness(peer, up, family);
        let (own, context) = (up.own, up.agreed.context);
        let mut buf = AttrBuf::new();
        buf.set_origin(crate::attrs::Origin::Igp);
        let from = export::Source {
            relation: None,
            client: false,
            router_id: self.core.gate.local.router_id.octets().into(),
        };
        if !export::finish(
            &mut buf,
            from,
            &like.rules,
            &self.core.gate.local,
            NextHopChoice::Own,
            v4,
        ) {
            return;
        }
        buf.next_hop = resolved(buf.next_hop, &own);
        let all = if v4 { "0.0.0.0/0" } else { "::/0" };
        let Ok(net) = all.parse() else { return };
        let mut octets = Vec::new();
        if let Ok(mut packer) = self
            .encoder
            .announce(buf.view(), family, &context, &mut octets)
        {
            let _ = match family {
                Family::RouteTarget => packer.route_target(0, RouteTarget::default()),
                _ => packer.net(0, net),
            };
            packer.finish();
        }
        if let Some(line) = self.line_mut(id) {
            line.queue.tail().extend_from_slice(&octets);
            self.event(id, Event::UpdatesSent(1), now);
        }
    }

    pub(super) fn advertised_count(&mut self, id: PeerId, family: Family) -> u32 {
        let vrf = self.peers.get(&id).map_or(VrfNo::GLOBAL, |p| p.config.vrf);
        match Kind::of(vrf, family) {
            Some(kind) => of_kind!(kind, K => self.core.advertised_count::<K>(id)),
            None => 0,
        }
    }
}

fn is_vpn(family: Family) -> bool {
    matches!(family, Family::Vpnv4 | Family::Vpnv6)
}

/// What is the same for all neighbours that can share a group with this one.
fn likeness(peer: &Peer, up: &Up, family: Family) -> Likeness {
    let config = &peer.config;
    let agreed = &up.agreed;
    let asks = config.as_override || config.remove_private;
    let targets = family == Family::RouteTarget;
    let filtered = is_vpn(family) && agreed.context.families.contains(Family::RouteTarget);
    let context = Context {
        // What concerns only what comes in.
        add_path_receive: crate::types::FamilySet::EMPTY,
        first_as: None,
        as_sets: false,
        ..agreed.context
    };
    let most = config.session.family(family).map_or(0, |f| f.add_path_send);
    let advertise = match agreed.context.add_path_send.contains(family) {
        true => Advertise::AddPath(most),
        // RFC 4684 3.2: who is no client hears of what clients ask for, whoever else asks for it.
        false if targets && agreed.context.relation == Relation::Internal && !config.client => {
            Advertise::BestExternal
        }
        false if config.best_external && agreed.context.relation == Relation::Internal => {
            Advertise::BestExternal
        }
        false => Advertise::Best,
    };
    let depends = config.export.as_ref().is_some_and(|p| p.depends().peer);
    Likeness {
        rules: ExportRules {
            relation: agreed.context.relation,
            peer_as: if asks { agreed.peer_as } else { Asn(0) },
            client: config.client,
            transparent: config.route_server_client,
            next_hop_self: config.next_hop_self,
            own_v4: up.own.v4.is_some(),
            own_v6: up.own.v6.is_some() || up.own.link_local.is_some(),
            role: config.session.role.map(|r| r.role),
            local_as: config.local_as,
            as_override: config.as_override,
            remove_private: config.remove_private,
            extended_next_hop: agreed.context.ext_next_hop.contains(family) || targets,
            labeled: family.is_labeled(),
            over_v4: up.over_v4,
            prefix_sid: agreed.context.prefix_sid,
        },
        policy: config.export.clone(),
        context,
        advertise,
        only: (depends || filtered).then_some(peer.id),
        filtered,
        default_originate: config.default_originate,
        long_lived: (agreed.offered.long_lived.iter().flatten()).any(|l| l.family == family),
        vrf: config.vrf,
        site: config.site,
        most_labels: match agreed.context.multiple_labels.contains(family) {
            true => agreed.offered.labels(family),
            false => 1,
        },
    }
}

impl Face {
    fn of(peer: &Peer, up: &Up) -> Self {
        let line = peer.lines.iter().find(|l| l.id == up.line);
        let ends = line.and_then(|l| l.ends.as_ref());
        Self {
            address: ends.map_or(up.agreed.peer_id.octets().into(), |e| e.remote.ip()),
            asn: up.agreed.peer_as,
            local_as: up.agreed.local_as,
            relation: up.agreed.context.relation,
            group: peer.config.group.clone(),
        }
    }

    fn as_peer(&self) -> PolicyPeer<'_> {
        PolicyPeer {
            address: self.address,
            asn: self.asn,
            local_as: self.local_as,
            relation: self.relation,
            group: self.group.as_deref(),
        }
    }
}

impl Core {
    fn join<K: Ours>(&mut self, id: PeerId, like: Likeness, face: Face) {
        let g = self.like::<K>(id, like, face);
        K::table(&mut self.rib).0.join(g, id);
    }

    /// The group of all that are like this, with this one noted as a member.
    fn like<K: Ours>(&mut self, id: PeerId, like: Likeness, face: Face) -> GroupId {
        let there = K::groups(self)
            .iter()
            .find(|(_, g)| g.like == like)
            .map(|(g, _)| *g);
        let g = there.unwrap_or_else(|| {
            let filter = like.filtered.then(|| self.asked.filter(id));
            // Of all VRFs' routes those of its own.
            let own = K::NONE.in_vrf(like.vrf);
            let space = own.vrf().map(|_| own.space_number());
            let table = K::table(&mut self.rib).0;
            let g = table.add_group_of(like.advertise, space);
            K::groups(self).insert(
                g,
                Group {
                    like,
                    members: Vec::new(),
                    face,
                    filter,
                },
            );
            g
        });
        if let Some(group) = K::groups(self).get_mut(&g) {
            group.members.push(id);
        }
        g
    }

    pub(super) fn group_of<K: Ours>(&mut self, id: PeerId) -> Option<GroupId> {
        let with = |(_, group): &(&GroupId, &Group)| group.members.contains(&id);
        K::groups(self).iter().find(with).map(|(g, _)| *g)
    }

    fn leave<K: Ours>(&mut self, id: PeerId) {
        let Some(g) = self.group_of::<K>(id) else {
            return;
        };
        let Some(group) = K::groups(self).get_mut(&g) else {
            return;
        };
        group.members.retain(|m| *m != id);
        let empty = group.members.is_empty();
        let table = K::table(&mut self.rib).0;
        table.leave(g, id);
        if empty {
            table.remove_group(g);
            K::groups(self).remove(&g);
        }
    }

    pub(super) fn resend<K: Ours>(&mut self, id: PeerId) {
        if let Some(g) = self.group_of::<K>(id) {
            let (table, common) = K::table(&mut self.rib);
            table.resend(common, g, id);
        }
    }

    /// Other rules or another policy for a neighbour: alone in its group, the group gets them; else it moves to another.
    fn refit<K: Ours>(&mut self, id: PeerId, like: Likeness, face: Face) {
        let Some(g) = self.group_of::<K>(id) else {
            return;
        };
        let Some(group) = K::groups(self).get_mut(&g) else {
            return;
        };
        if group.like == like {
            return;
        }
        if group.members.len() == 1
            && group.like.advertise == like.advertise
            && group.like.context == like.context
        {
            group.like = like;
            group.face = face;
            K::table(&mut self.rib).0.export_again(g);
            return;
        }
        if matches!(group.like.advertise, Advertise::AddPath(_))
            != matches!(like.advertise, Advertise::AddPath(_))
        {
            self.leave::<K>(id);
            self.join::<K>(id, like, face);
            return;
        }
        group.members.retain(|m| *m != id);
        let empty = group.members.is_empty();
        let to = self.like::<K>(id, like, face);
        let (table, common) = K::table(&mut self.rib);
        table.regroup(common, g, to, id);
        if empty {
            table.remove_group(g);
            K::groups(self).remove(&g);
        }
    }

    /// Groups whose policy `asks` are told anew.
    pub(super) fn export_again(&mut self, asks: &impl Fn(&Option<Arc<Policy>>, Advertise) -> bool) {
        for kind in Kind::ALL {
            of_kind!(kind, K => {
                let table = K::table(&mut self.rib).0;
                let groups = K::side_ref(&self.sides).groups.iter();
                groups
                    .filter(|(_, g)| asks(&g.like.policy, g.like.advertise))
                    .for_each(|(g, _)| table.export_again(*g));
            });
        }
    }

    fn advertised_count<K: Ours>(&mut self, id: PeerId) -> u32 {
        let Some(g) = self.group_of::<K>(id) else {
            return 0;
        };
        let n = K::table(&mut self.rib).0.advertised_count(g, id);
        u32::try_from(n).unwrap_or(u32::MAX)
    }
}

/// What a route becomes for a group.
pub(super) struct Exporter<'a, K> {
    pub(super) gate: &'a Gate,
    pub(super) group: &'a Group,
    pub(super) locals: &'a Locals<K>,
    pub(super) edited: &'a mut AttrBuf,
}

impl<K: Ours> Exporter<'_, K> {
    /// RFC 4684 3.2: a client is told of memberships as ours, so that it does not take its own for a loop.
    fn signals(&self) -> bool {
        let rules = &self.group.like.rules;
        K::FAMILY == Family::RouteTarget && rules.client && rules.relation == Relation::Internal
    }

    /// Puts the labels into `out` that go with its next hop: those that the path came with as long as that is whose they are (an
    /// own path has ours), else none, and each prefix has our own. False: there are none that may be sent.
    fn labels(&self, key: K, path: &Path, out: &mut AttrBuf) -> bool {
        let own = |a| self.gate.is_own(VrfNo::GLOBAL, a);
        if path.peer != OWN && export::is_own(out.next_hop, own) {
            out.set_labels(&[]);
            // RFC 8669 5: told on as long as it is what we have gone by.
            if self.locals.is_unacceptable(key) {
                out.remove_label_index();
            }
            return self.locals.get(key).is_some();
        }
        let most = usize::from(self.group.like.most_labels);
        out.view().labels().is_some_and(|l| l.len() <= most)
    }
}

impl<K: Ours> Export<K> for Exporter<'_, K> {
    fn by_prefix(&self, _: GroupId) -> bool {
        let policy = self.group.like.policy.as_ref();
        let depends = policy.is_some_and(|p| p.depends_on_prefix());
        depends || self.group.like.default_originate || K::LABELED
    }

    fn back(&self, _: GroupId) -> bool {
        self.signals()
    }

    fn export(
        &mut self,
        _: GroupId,
        key: K,
        path: &Path,
        attrs: View<'_>,
        out: &mut AttrBuf,
    ) -> bool {
        let like = &self.group.like;
        if key.vrf().is_some_and(|vrf| vrf != like.vrf) {
            return false;
        }
        // RFC 4364 7: what is of its own site does not go back there.
        if let Some(site) = like.site
            && attrs.ext_communities().any(|c| c == site)
        {
            return false;
        }
        let unicast = !K::FAMILY.is_labeled();
        if like.default_originate && key.net().prefix_len() == 0 && unicast {
            return false;
        }
        // RFC 9494 4.3: who does not know what that is would take it for as good as any other.
        let long_lived = path.stale == Staleness::LongLived;
        if long_lived && !like.long_lived {
            return false;
        }
        let source = vpn::source(self.gate, path);
        let from = export::Source {
            relation: source.map(|s| s.rules.relation),
            client: source.is_some_and(|s| s.client),
            router_id: source.map_or(self.gate.local.router_id.octets().into(), |s| s.router_id),
        };
        if !export::prepare(attrs, from, &like.rules, out) {
            return false;
        }
        if long_lived {
            export::mark_stale(out);
        }
        if like.vrf != VrfNo::GLOBAL {
            // Targets are between PEs.
            vpn::set_targets(out, &[]);
        }
        let signals = self.signals();
        let mut choice = if signals {
            NextHopChoice::Own
        } else {
            NextHopChoice::Default
        };
        match &like.policy {
            Some(policy) => {
                let input = Input {
                    family: K::FAMILY,
                    prefix: seen(K::FAMILY, key.net()),
                    view: out.view(),
                    peer: self.group.face.as_peer(),
                    protocol: Protocol::Bgp,
                    from: source.map(super::inbound::Source::as_peer),
                    rpki: self.gate.validity((K::FAMILY, like.vrf), &key.net(), attrs),
                    igp_metric: None,
                };
                let outcome = policy.run(&input, self.edited);
                if !outcome.accept {
                    return false;
                }
                if outcome.changed {
                    std::mem::swap(out, self.edited);
                }
                choice = match outcome.next_hop {
                    _ if signals => choice,
                    NextHopRule::Session => NextHopChoice::Default,
                    NextHopRule::Own => NextHopChoice::Own,
                    NextHopRule::Unchanged => NextHopChoice::Unchanged,
                    NextHopRule::Given => NextHopChoice::Given,
                };
            }
            // RFC 8212: without a policy nothing goes to another AS.
            None if like.rules.relation == Relation::External => return false,
            None => {}
        }
        if self
            .group
            .filter
            .as_ref()
            .is_some_and(|f| !f.wants(out.view()))
        {
            return false;
        }
        let (v4, local) = (K::FAMILY.code().0 == 1, &self.gate.local);
        if !export::finish(out, from, &like.rules, local, vpn::hop(path, choice), v4) {
            return false;
        }
        if signals {
            let id = local.router_id.octets();
            out.set(flag::OPTIONAL, code::ORIGINATOR_ID, &id);
        }
        unicast || self.labels(key, path, out)
    }
}

/// Writes messages into the queues of members.
struct Writer<'a, K> {
    peers: &'a mut BTreeMap<PeerId, Peer>,
    encoder: &'a mut Encoder,
    octets: &'a mut Vec<u8>,
    told: &'a mut BTreeMap<PeerId, u64>,
    /// Who has been told everything again.
    again: &'a mut Vec<(PeerId, Family)>,
    context: &'a Context,
    locals: &'a Locals<K>,
    /// Room for [`Writer::alike`].
    parts: Vec<Part>,
    now: Instant,
}

/// Members to whom the same octets go.
#[derive(Debug, Default)]
struct Part {
    /// With this next hop.
    hop: Option<NextHop>,
    ids: Vec<PeerId>,
}

impl<K: Ours> Writer<'_, K> {
    /// The members to whom the same octets go: those with the same addresses of ours, if these are in the message. So many
    /// of `parts` are in use then.
    fn alike(&mut self, to: &Audience<'_>, hop: Option<NextHop>) -> usize {
        let mut used = 0;
        for id in to.iter() {
            let up = self.peers.get(&id).and_then(|p| p.up.as_ref());
            let own = up.map(|u| u.own).unwrap_or_default();
            let hop = resolved(hop, &own);
            let known = self.parts[..used].iter().position(|p| p.hop == hop);
            let at = known.unwrap_or(used);
            if known.is_none() {
                if used == self.parts.len() {
                    self.parts.push(Part::default());
                }
                self.parts[at].hop = hop;
                self.parts[at].ids.clear();
                used += 1;
            }
            self.parts[at].ids.push(id);
        }
        used
    }

    /// Gives octets to each of these.
    fn give(&mut self, to: &[PeerId], messages: usize) {
        for id in to {
            let Some(peer) = self.peers.get_mut(id) else {
                continue;
            };
            let Some(line) = peer.up.as_ref().map(|u| u.line) else {
                continue;
            };
            if let Some(line) = peer.line_of(line) {
                line.queue.tail().extend_from_slice(self.octets);
                *self.told.entry(*id).or_default() += messages as u64;
            }
        }
    }

    fn take_back(&mut self, to: &[PeerId], run: &[(PathId, K)]) {
        self.octets.clear();
        let mut packer = self.encoder.withdraw(K::FAMILY, self.context, self.octets);
        for (path_id, key) in run {
            let _ = key.pack(&mut packer, *path_id, &[]);
        }
        let messages = packer.finish();
        self.give(to, messages);
    }
}

impl<K: Ours> Sink<K> for Writer<'_, K> {
    fn room(&mut self, member: PeerId) -> Room {
        let peer = self.peers.get(&member);
        let line = peer.and_then(|p| {
            p.lines
                .iter()
                .find(|l| p.up.as_ref().is_some_and(|u| u.line == l.id))
        });
        match line {
            None => Room::Lag,
            Some(l) if l.queue.len() < ENOUGH => Room::Yes,
            Some(l) if self.now.saturating_duration_since(l.moved) < PATIENCE => Room::Wait,
            Some(_) => Room::Lag,
        }
    }

    fn announce(&mut self, to: &Audience<'_>, attrs: View<'_>, run: &[(PathId, K)]) {
        let used = self.alike(to, attrs.next_hop);
        let labels: Vec<Label> = attrs.labels().into_iter().flat_map(|l| l.iter()).collect();
        let parts = std::mem::take(&mut self.parts);
        for Part { hop, ids } in &parts[..used] {
            let next_hop = *hop;
            let view = View { next_hop, ..attrs };
            self.octets.clear();
            let packed = match self
                .encoder
                .announce(view, K::FAMILY, self.context, self.octets)
            {
                Ok(mut packer) => {
                    for (path_id, key) in run {
                        let own = self.locals.get(*key);
                        let labels = if labels.is_empty() {
                            own.as_slice()
                        } else {
                            &labels
                        };
                        let _ = key.pack(&mut packer, *path_id, labels);
                    }
                    Ok(packer.finish())
                }
                Err(e) => Err(e),
            };
            match packed {
                Ok(messages) => self.give(ids, messages),
                // Attributes that fill a whole message: what was told before is not true any more.
                Err(EncodeError::TooLong { .. } | EncodeError::NextHop(_)) => {
                    self.take_back(ids, run);
                }
                Err(EncodeError::Family(_) | EncodeError::Labels(_)) => {}
            }
        }
        self.parts = parts;
    }

    fn withdraw(&mut self, to: &Audience<'_>, run: &[(PathId, K)]) {
        let ids: Vec<PeerId> = to.iter().collect();
        self.take_back(&ids, run);
    }

    fn end_of_rib(&mut self, member: PeerId) {
        let up = self.peers.get_mut(&member).and_then(|p| p.up.as_mut());
        if up.is_some_and(|u| u.marks.end(K::FAMILY)) {
            self.again.push((member, K::FAMILY));
            return;
        }
        self.octets.clear();
        end_of_rib(K::FAMILY, self.octets);
        self.give(&[member], 1);
    }
}
