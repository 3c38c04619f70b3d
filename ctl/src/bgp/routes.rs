//! Between the speaker and the RIB: next hops to be found, best routes to be installed, routes of the router's own to be told.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::policy::{self, Policy, Protocol};
use bgp::rib::{HopEvent, NextHopId, Reach};
use bgp::speaker::{self, Best, Speaker, Use};
use bgp::types::{Label, NextHop, Rd, Relation, VrfNo};
use ipnet::IpNet;
use net::VrfId;

use super::labels::{Given, Labels, OwnPrefix};
use super::links::Links;
use super::vpn::Vpns;
use crate::config::Valid;
use crate::config::bgp::{Origin, OwnLabel};
use crate::control::router::Iface;
use crate::labels::Fec;
use crate::rib::spec::{Discard, Hop, PathsSpec, Source};
use crate::rib::{FollowedHop, LabeledHop, Rib, SetId};

/// Routes of the router's own told in a turn.
const OWN: usize = 2048;

/// The next hops of the speaker's routes.
#[derive(Debug, Default)]
pub(super) struct Hops {
    /// Best routes go into the RIB.
    pub(super) install: bool,
    /// What the speaker was told last.
    pub(super) last: Option<speaker::Config>,
    /// A label that was lost and is back counts in full after so long: who told it may not have those of the others behind it yet.
    /// Until then it is a last resort.
    pub(super) delay: Duration,
    /// Packets go by such routes here, so they need labels on the way. A reflector only tells of them.
    labels: bool,
    /// By what the speaker calls them; and whether they are of routes with labels.
    ids: HashMap<NextHopId, (FollowedHop, bool)>,
    followed: HashMap<FollowedHop, Followed>,
    /// Those that are back and wait, by when that is over.
    waiting: BTreeSet<(Instant, FollowedHop)>,
}

/// A next hop that the RIB follows.
#[derive(Debug, Default)]
struct Followed {
    /// What the speaker calls it.
    ids: Vec<NextHopId>,
    /// What the speaker was told last.
    metric: Option<u32>,
    /// It was reached before.
    known: bool,
    /// It is reached again, and counts in full from then on.
    back: Option<Instant>,
}

impl Followed {
    fn reach(&self) -> Option<Reach> {
        self.metric.map(|metric| Reach {
            metric,
            last_resort: self.back.is_some(),
        })
    }

    fn tell(&mut self, metric: Option<u32>, speaker: &mut Speaker) {
        self.metric = metric;
        self.known |= metric.is_some();
        for id in &self.ids {
            speaker.set_reach(*id, self.reach());
        }
    }
}

/// The address by which a next hop is found. `None`: it is link-local, so it is on the link that the session is on.
fn address(hop: NextHop) -> Option<IpAddr> {
    match hop.address() {
        IpAddr::V6(a) if a.is_unicast_link_local() => None,
        a => Some(a),
    }
}

impl Hops {
    /// Next hops that the speaker wants to know of, or no longer.
    pub(super) fn events(&mut self, speaker: &mut Speaker, rib: &mut Rib, links: &Links<'_>) {
        let events: Vec<HopEvent> = speaker.next_hops().collect();
        for event in events {
            match event {
                HopEvent::Wanted(id, hop, lookup) => match address(hop) {
                    Some(address) if !links.is_standalone() && !policy::is_discard(&hop) => {
                        let hop = FollowedHop {
                            address,
                            dev: None,
                            vrf: VrfId(lookup.table.0),
                            labeled: lookup.labeled && self.labels,
                        };
                        self.add(id, (hop, lookup.labeled), speaker, rib);
                    }
                    // On the link of its session; dropped on purpose; or nobody knows better than the kernel.
                    _ => speaker.set_next_hop(id, Some(0)),
                },
                HopEvent::Unwanted(id, ..) => self.remove(id, rib),
            }
        }
    }

    /// Whether routes with labels need some on the way to their next hops, from now on.
    pub(super) fn need_labels(&mut self, on: bool, speaker: &mut Speaker, rib: &mut Rib) {
        if std::mem::replace(&mut self.labels, on) == on {
            return;
        }
        let of = self.ids.iter().filter(|(_, (_, labeled))| *labeled);
        let of: Vec<(NextHopId, FollowedHop)> = of.map(|(id, (hop, _))| (*id, *hop)).collect();
        for (id, hop) in of {
            self.remove(id, rib);
            let hop = FollowedHop { labeled: on, ..hop };
            self.add(id, (hop, true), speaker, rib);
        }
    }

    /// The speaker calls a next hop so; whether it is one of routes with labels.
    fn add(
        &mut self,
        id: NextHopId,
        (hop, labeled): (FollowedHop, bool),
        speaker: &mut Speaker,
        rib: &mut Rib,
    ) {
        self.ids.insert(id, (hop, labeled));
        let one = self.followed.entry(hop).or_default();
        one.ids.push(id);
        match one.ids.len() {
            1 => rib.follow(hop),
            _ => speaker.set_reach(id, one.reach()),
        }
    }

    fn remove(&mut self, id: NextHopId, rib: &mut Rib) {
        let Some((hop, _)) = self.ids.remove(&id) else {
            return;
        };
        if let Some(one) = self.followed.get_mut(&hop) {
            one.ids.retain(|i| *i != id);
            if one.ids.is_empty() {
                if let Some(at) = one.back {
                    self.waiting.remove(&(at, hop));
                }
                self.followed.remove(&hop);
                rib.unfollow(hop);
            }
        }
    }

    /// What the RIB has found out goes to the speaker. True: there was something.
    pub(super) fn resolved(&mut self, speaker: &mut Speaker, rib: &mut Rib, now: Instant) -> bool {
        let news = rib.take_followed();
        let any = !news.is_empty();
        for (hop, metric) in news {
            let Some(one) = self.followed.get_mut(&hop) else {
                continue;
            };
            // What is on the link needs no label.
            let on_link = hop.labeled && rib.is_on_link(hop);
            if (metric.is_none() || on_link)
                && let Some(at) = one.back.take()
            {
                self.waiting.remove(&(at, hop));
            }
            let returns = hop.labeled && one.known && one.metric.is_none();
            if returns && metric.is_some() && !self.delay.is_zero() && !on_link {
                let at = now + self.delay;
                one.back = Some(at);
                self.waiting.insert((at, hop));
            }
            one.tell(metric, speaker);
        }
        any
    }

    /// Those that are back for long enough count in full.
    pub(super) fn returned(&mut self, speaker: &mut Speaker, now: Instant) {
        while let Some((at, hop)) = self.waiting.first().copied()
            && at <= now
        {
            self.waiting.pop_first();
            if let Some(one) = self.followed.get_mut(&hop) {
                one.back = None;
                one.tell(one.metric, speaker);
            }
        }
    }

    /// When [`Self::returned`] has something to do.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// How long it takes until a next hop that is back counts in full.
    pub(super) fn counts_in(&self, hop: &FollowedHop, now: Instant) -> Option<Duration> {
        let at = self.followed.get(hop)?.back?;
        Some(at.saturating_duration_since(now))
    }

    /// Hears of best routes, for the RIB.
    pub(super) fn best<'a, 'm>(
        &'a self,
        labels: Labels<'a, 'm>,
        vpns: &'a mut Vpns,
        links: &'a Links<'a>,
    ) -> ToRib<'a, 'm> {
        ToRib {
            install: self.install && !links.is_standalone(),
            labels,
            vpns,
            links,
            hops: Vec::new(),
            done: 0,
            last: None,
        }
    }

    /// Nothing is followed any more.
    pub(super) fn clear(&mut self, rib: &mut Rib) {
        for hop in self.followed.keys() {
            rib.unfollow(*hop);
        }
        *self = Self::default();
    }
}

/// Puts best routes into the RIB.
pub(super) struct ToRib<'a, 'm> {
    install: bool,
    labels: Labels<'a, 'm>,
    vpns: &'a mut Vpns,
    links: &'a Links<'a>,
    hops: Vec<FollowedHop>,
    done: usize,
    /// The paths of the route before: most have the same.
    last: Option<([Option<NextHop>; 2], SetId)>,
}

impl ToRib<'_, '_> {
    /// That was all. How many came.
    pub(super) fn finish(self) -> usize {
        self.done
    }

    fn paths(&mut self, by: &[Use<'_>]) -> Option<SetId> {
        let simple = match by {
            [one] => Some([one.next_hop, None]),
            [one, other] if other.backup => Some([one.next_hop, other.next_hop]),
            _ => None,
        };
        let simple = simple.filter(|_| by.iter().all(|u| u.table == VrfNo::GLOBAL));
        if let (Some(hops), Some((last, set))) = (simple, self.last)
            && hops == last
        {
            return Some(set);
        }
        if policy::is_discard(&by.first()?.next_hop?) {
            return Some(self.labels.rib.discard());
        }
        let mut hops = std::mem::take(&mut self.hops);
        hops.clear();
        for hop in primaries(by).filter_map(|u| self.followed(u)) {
            if !hops.contains(&hop) {
                hops.push(hop);
            }
        }
        let backup = self.backup(by).filter(|b| !hops.contains(b));
        let set = (!hops.is_empty()).then(|| self.labels.rib.bgp_paths_backed(&hops, backup));
        self.hops = hops;
        let set = set?;
        // Of a link-local one the next hop does not say all.
        let whole = |h: &Option<NextHop>| h.is_none_or(|h| address(h).is_some());
        self.last = (simple.filter(|hops| hops.iter().all(whole)))
            .map(|hops| (hops, set))
            .or(self.last);
        Some(set)
    }

    /// The next hop that stands by, if packets can be sent there.
    fn backup(&self, by: &[Use<'_>]) -> Option<FollowedHop> {
        let found = by.iter().find(|u| u.backup)?;
        if policy::is_discard(&found.next_hop?) {
            return None;
        }
        self.followed(found)
    }

    /// The same with labels.
    fn labeled_paths(&self, by: &[Use<'_>]) -> Option<PathsSpec> {
        if policy::is_discard(&by.first()?.next_hop?) {
            return Some(PathsSpec::single(Hop::Discard(Discard::Blackhole)));
        }
        let hops = self.labeled_hops(by);
        let ttl = self.labels.from.ttl;
        (!hops.is_empty()).then(|| self.labels.rib.labeled_paths(&hops, ttl))
    }

    /// Each once; one that stands by only behind those that it may take the place of.
    fn labeled_hops(&self, by: &[Use<'_>]) -> Vec<LabeledHop> {
        let mut hops: Vec<LabeledHop> = Vec::new();
        let one = |u: &Use<'_>, hop: FollowedHop| {
            let labels = u.labels.as_slice().iter();
            // They are fewer than a stack holds. Those of a route that has leaked within this router lead back here.
            let labels = labels.filter(|_| u.table == VrfNo::GLOBAL);
            LabeledHop {
                hop,
                labels: labels.filter_map(|l| net::Label::new(l.get())).collect(),
                backup: u.backup,
            }
        };
        for u in primaries(by) {
            let hop = self.followed(u).map(|hop| one(u, hop));
            hops.extend(hop.filter(|h| !hops.contains(h)));
        }
        if let (Some(hop), Some(u), false) = (self.backup(by), by.last(), hops.is_empty())
            && hops.iter().all(|h| h.hop != hop)
        {
            hops.push(one(u, hop));
        }
        hops
    }

    fn followed(&self, by: &Use<'_>) -> Option<FollowedHop> {
        let hop = by.next_hop?;
        let dev = match address(hop) {
            Some(_) => None,
            None => Some(self.links.id(by.interface?)?),
        };
        Some(FollowedHop {
            address: hop.address(),
            dev,
            vrf: VrfId(by.table.0),
            labeled: by.table == VrfNo::GLOBAL && !by.labels.as_slice().is_empty(),
        })
    }
}

/// Those that packets go by as long as they can.
fn primaries<'u, 'b>(by: &'u [Use<'b>]) -> impl Iterator<Item = &'u Use<'b>> {
    by.iter().filter(|u| !u.backup)
}

impl Best for ToRib<'_, '_> {
    fn best(&mut self, net: IpNet, by: &[Use<'_>]) {
        self.done += 1;
        if !self.install {
            return;
        }
        // The router's own are in the RIB from elsewhere.
        let source = by.first().and_then(|u| match (u.relation, u.table) {
            (Some(Relation::External), VrfNo::GLOBAL) => Some(Source::Ebgp),
            (None, VrfNo::GLOBAL) => None,
            // What has leaked is no better than what another router of the AS says.
            _ => Some(Source::Ibgp),
        });
        let of = by
            .first()
            .filter(|u| source.is_some() && u.next_hop.is_none());
        let of = of.map(|u| VrfId(u.table.0));
        let (rib, leaks) = (&mut *self.labels.rib, &mut self.vpns.leaks);
        let paths = match of {
            Some(of) => {
                let spec = leaks.lead((VrfId::GLOBAL, net), of, rib);
                spec.map(|spec| rib.paths(&spec))
            }
            None => {
                leaks.end((VrfId::GLOBAL, net), rib);
                source.and_then(|_| self.paths(by))
            }
        };
        self.labels.rib.set_bgp(net, source.zip(paths));
    }

    fn labeled(&mut self, net: IpNet, by: &[Use<'_>], heard: bool) -> Option<Label> {
        self.done += 1;
        if !self.install {
            return None;
        }
        let source = by.first().and_then(|u| Some((u.relation?, u.last_resort)));
        let source = source.map(|of| match of {
            // Those without labels are another table of the speaker's.
            (_, true) => Source::LabeledBack,
            (Relation::External, false) => Source::LabeledEbgp,
            (Relation::Internal | Relation::Confederation, false) => Source::LabeledIbgp,
        });
        let paths = source.and_then(|_| self.labeled_paths(by));
        let rib = &mut *self.labels.rib;
        rib.set_labeled(net, source.zip(paths.as_ref()));
        let index = by.first().and_then(|u| u.index);
        let label = self
            .labels
            .learned(Fec::Prefix(net), paths.map(|p| (p, index)), heard)?;
        Label::new(label.get())
    }

    fn vpn(&mut self, rd: Rd, net: IpNet, by: &[Use<'_>]) -> Option<Label> {
        if !self.install {
            return None;
        }
        // Its own have the labels of their VRFs.
        let learned = by.first().is_some_and(|u| u.relation.is_some());
        let paths = learned.then(|| self.labeled_paths(by)).flatten();
        let label = self
            .labels
            .learned(Fec::VpnPrefix(rd, net), paths.map(|p| (p, None)), true)?;
        Label::new(label.get())
    }

    fn vrf(&mut self, vrf: VrfNo, net: IpNet, by: &[Use<'_>]) -> Option<Label> {
        self.done += 1;
        if !self.install {
            return None;
        }
        let hops = self.labeled_hops(by);
        let (from, rib) = (&mut *self.labels.from, &mut *self.labels.rib);
        let label = self.vpns.label_of((vrf, net), by, &hops, from, rib);
        self.vpns.install(vrf, net, by, hops, rib);
        Label::new(label?.get())
    }
}

/// A route of the router's own.
#[derive(Clone, Debug)]
struct Told {
    protocol: Protocol,
    policy: Option<Arc<Policy>>,
    /// It is told with a label too.
    label: Option<OwnLabel>,
    /// And with that label index.
    index: Option<u32>,
}

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.policy, &other.policy) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same && (self.protocol, self.label, self.index)
            == (other.protocol, other.label, other.index)
    }
}

/// The routes of the router's own that neighbours are told: `networks` and `redistribute`.
#[derive(Debug, Default)]
pub(super) struct Own {
    stale: bool,
    told: BTreeMap<IpNet, Told>,
    /// Those that the speaker is still to hear of.
    queue: VecDeque<IpNet>,
    /// Those that there was no label for.
    lacking: Vec<IpNet>,
}

impl Own {
    /// What they follow from has changed.
    pub(super) fn changed(&mut self) {
        self.stale = true;
    }

    /// There may be labels for those that got none, or not that of their index.
    pub(super) fn labels_available(&mut self) {
        self.queue.extend(self.lacking.drain(..));
    }

    /// The SRGB is another: labels of indices are others.
    pub(super) fn srgb_changed(&mut self) {
        let all = self.told.iter().filter(|(_, t)| t.label.is_some());
        self.queue.extend(all.map(|(p, _)| *p));
    }

    /// Tells the speaker of some. True: there are more.
    pub(super) fn turn(
        &mut self,
        speaker: &mut Speaker,
        labels: &mut Labels<'_, '_>,
        valid: &Valid,
        links: &Links<'_>,
    ) -> bool {
        let now = labels.from.now;
        if std::mem::take(&mut self.stale) {
            let next = wanted(valid, links);
            let gone = self.told.keys().filter(|p| !next.contains_key(p));
            let come = next.iter().filter(|(p, t)| self.told.get(p) != Some(t));
            let queue = gone.chain(come.map(|(p, _)| p)).copied();
            self.queue.extend(queue);
            self.told = next;
        }
        for _ in 0..OWN {
            let Some(p) = self.queue.pop_front() else {
                return false;
            };
            let told = self.told.get(&p);
            match told {
                Some(t) => {
                    speaker.originate(p, t.protocol, 0, t.policy.as_deref(), now);
                }
                None => {
                    speaker.withdraw_own(p);
                }
            }
            let labelled = told.and_then(|t| Some((t, t.label?)));
            let index = labelled.and_then(|(t, _)| t.index(p, speaker));
            // What has an index is popped under its label whatever it is told with: who sends by segments uses that.
            let is = |(_, kind): &(&Told, OwnLabel)| *kind == OwnLabel::Local || index.is_some();
            let given = labels.own(p, labelled.filter(is).map(|_| OwnPrefix { index }));
            let index = index.filter(|_| given.is_some_and(|g| g.segment));
            let label = labelled.and_then(|(_, k)| k.label(p.addr().is_ipv4(), given));
            match (labelled, label) {
                (Some((t, _)), Some(label)) => {
                    let policy = t.policy.as_deref();
                    speaker.originate_labeled(p, (label, index), t.protocol, policy, now);
                }
                _ => {
                    speaker.withdraw_own_labeled(p);
                }
            }
            let refused = labels.bound.refusal(p).is_some();
            if labelled.is_some() && (label.is_none() || refused) {
                self.lacking.push(p);
            }
        }
        !self.queue.is_empty()
    }
}

impl Told {
    /// The label index: what is said beside it, else what its policy says.
    fn index(&self, net: IpNet, speaker: &mut Speaker) -> Option<u32> {
        let by_policy = |policy: &Policy| speaker.own_index(net, self.protocol, policy);
        self.index
            .or_else(|| self.policy.as_deref().and_then(by_policy))
    }
}

impl OwnLabel {
    /// The label that is told for a prefix of the router's own; `local`: the one that it has here, if it has one.
    fn label(self, ipv4: bool, local: Option<Given>) -> Option<Label> {
        let label = match self {
            Self::ImplicitNull => net::Label::IMPLICIT_NULL,
            Self::ExplicitNull if ipv4 => net::Label::IPV4_EXPLICIT_NULL,
            Self::ExplicitNull => net::Label::IPV6_EXPLICIT_NULL,
            Self::Local => local?.label,
        };
        Label::new(label.get())
    }
}

/// What is to be told, each prefix once: networks first, then connected, then static routes.
fn wanted(valid: &Valid, links: &Links<'_>) -> BTreeMap<IpNet, Told> {
    let mut out = BTreeMap::new();
    let Some(bgp) = &valid.bgp else { return out };
    let policy = |name: &Option<crate::config::bgp::PolicyName>| {
        name.as_ref().and_then(|n| valid.policy(&n.0))
    };
    for r in bgp.speaker.redistribute.iter().rev() {
        let told = |protocol| Told {
            protocol,
            policy: policy(&r.policy),
            label: r.label,
            index: None,
        };
        match r.source {
            Origin::Static => {
                let global = valid.all_routes().filter(|(d, _)| d.vrf.is_none());
                let all = global.map(|(d, _)| (d.prefix, told(Protocol::Static)));
                out.extend(all);
            }
            Origin::Connected => {
                let global = |i: &&Iface| i.up && i.vrf == VrfId::GLOBAL;
                let up = links.ifaces.values().filter(global);
                let all = up.flat_map(|i| i.conf.addresses.iter().map(|a| a.trunc()));
                out.extend(all.map(|p| (p, told(Protocol::Connected))));
            }
        }
    }
    for n in &bgp.speaker.networks {
        let told = Told {
            protocol: Protocol::Bgp,
            policy: policy(&n.policy),
            label: n.label,
            index: n.index,
        };
        out.insert(n.prefix, told);
    }
    out
}

#[cfg(test)]
mod tests;
