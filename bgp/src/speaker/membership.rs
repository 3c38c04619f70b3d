//! Which VPN routes whom: route target membership, RFC 4684.
//!
//! A speaker asks for the route targets that its VRFs import, and tells others what its neighbours ask for. VPN routes go to a
//! neighbour that takes part in this only if they have a target that it has asked for, by a membership of any origin AS: one of
//! 96 bits names a target, a shorter one all that begin so, one of 0 or 32 bits all there are.
//!
//! - Memberships are routes of a table of their own, told by the rules of all routes, but for 3.2: a client is told of all with us as the
//!   originator and the next hop, its own too, so that it knows that we want such routes; who is no client is told of a
//!   client's path where the best is another's.
//! - VPN routes are told only after End-of-RIB of memberships came, or some time without it (6): [`WAIT`], and less with who
//!   has not said that it sends any ([`HASTE`]).
//! - Who relays VPN routes (a reflector, the border of an AS) asks for all of them as long as somebody to whom it does takes
//!   no part in this.
//!
//! Departures: of the memberships of external neighbours all count, not only the best path's (3.1), so routes may take more
//! ways than one into an AS. Left out: that a route is told to nobody (3.1, which needs nothing said).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::families::{Ours, Side};
use super::routes::OWN;
use super::vpn::{has_vpns, is_target, may_be_next_hop};
use super::{Core, Speaker};
use crate::attrs::View;
use crate::policy::Protocol;
use crate::rib::{Announce, Cursor, GroupId, Key, Membership, Vpn4, Vpn6};
use crate::types::{Family, PeerId, VrfNo};
use crate::wire::RouteTarget;

/// How long End-of-RIB is waited for, RFC 4684 6.
const WAIT: Duration = Duration::from_secs(60);
/// The same of who did not offer RFC 4724, and so may send none.
const HASTE: Duration = Duration::from_secs(5);

impl From<RouteTarget> for Membership {
    fn from(t: RouteTarget) -> Self {
        Self::new(t.octets, t.bits)
    }
}

impl From<Membership> for RouteTarget {
    fn from(m: Membership) -> Self {
        let (octets, bits) = m.parts();
        Self { octets, bits }
    }
}

/// The VPN routes that a neighbour has asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    all: bool,
    exact: HashSet<u64>,
    /// Beginnings of targets, by their lengths.
    beginnings: BTreeMap<u8, HashSet<u64>>,
}

impl Filter {
    fn of<'a>(all: impl IntoIterator<Item = &'a RouteTarget>) -> Self {
        let mut out = Self::default();
        for one in all {
            let [_, _, _, _, target @ ..] = one.octets;
            let target = u64::from_be_bytes(target);
            match one.bits.saturating_sub(32) {
                0 => out.all = true,
                64.. => drop(out.exact.insert(target)),
                bits => drop(out.beginnings.entry(bits).or_default().insert(target)),
            }
        }
        out
    }

    /// Has a route with these attributes one of them?
    pub(super) fn wants(&self, v: View<'_>) -> bool {
        let begins = |t: u64| {
            let mut all = self.beginnings.iter();
            all.any(|(bits, some)| some.contains(&(t & (u64::MAX << (64 - bits)))))
        };
        let mut targets = v.ext_communities().filter(|c| is_target(*c));
        self.all
            || targets.any(|c| {
                let t = u64::from_be_bytes(c.0);
                self.exact.contains(&t) || begins(t)
            })
    }
}

/// What is asked for: by neighbours, and by us.
#[derive(Debug, Default)]
pub(super) struct Asked {
    by: HashMap<PeerId, BTreeSet<RouteTarget>>,
    /// Who has asked for something else since.
    changed: BTreeSet<PeerId>,
    /// What we ask for.
    own: BTreeSet<RouteTarget>,
    /// That is to be found out anew.
    stale: bool,
}

impl Asked {
    /// A neighbour asks for that, or no more.
    pub(super) fn note(&mut self, peer: PeerId, what: RouteTarget, asks: bool) {
        let all = self.by.entry(peer).or_default();
        let other = match asks {
            true => all.insert(what),
            false => all.remove(&what),
        };
        if other {
            self.changed.insert(peer);
        }
    }

    /// It asks for nothing.
    pub(super) fn forget(&mut self, peer: PeerId) {
        if self.by.remove(&peer).is_some() {
            self.changed.insert(peer);
        }
    }

    /// VRFs, neighbours or sessions are others than before.
    pub(super) fn review(&mut self) {
        self.stale = true;
    }

    pub(super) fn filter(&self, peer: PeerId) -> Arc<Filter> {
        Arc::new(Filter::of(self.by.get(&peer).into_iter().flatten()))
    }
}

/// Routes that a group has to hear of since its member asks for others: a walk over the table.
#[derive(Debug)]
pub(super) struct Mark<K> {
    group: GroupId,
    /// What it asked for when it was told what it was told.
    before: Vec<Arc<Filter>>,
    at: Option<Cursor<K>>,
}

impl Speaker {
    /// Goes on with what follows from memberships. True: there is more.
    pub(super) fn work_memberships(&mut self, budget: usize, now: Instant) -> bool {
        if std::mem::take(&mut self.core.asked.stale) {
            self.ask(now);
        }
        for peer in std::mem::take(&mut self.core.asked.changed) {
            let next = self.core.asked.filter(peer);
            self.core.asks::<Vpn4>(peer, &next);
            self.core.asks::<Vpn6>(peer, &next);
        }
        let mut more = self.core.mark_asked::<Vpn4>(budget);
        more |= self.core.mark_asked::<Vpn6>(budget);
        // What we ask for is to be chosen, too, before others hear of it.
        more || self.core.rib.targets.waiting() > 0
    }

    /// Tells what we ask for: what VRFs import, or all.
    fn ask(&mut self, now: Instant) {
        let mut next = BTreeSet::new();
        let mut peers = self
            .peers
            .values()
            .filter(|p| p.config.vrf == VrfNo::GLOBAL);
        let takes_part = |p: &&super::peer::Peer| {
            let family = |f: &crate::session::FamilyConfig| f.family == Family::RouteTarget;
            p.config.session.families.iter().any(family)
        };
        if self.peers.values().any(|p| takes_part(&p)) {
            let asn = self.core.gate.local.public();
            next = self
                .core
                .vpns
                .imported()
                .map(|t| {
                    let mut octets = [0; 12];
                    octets[..4].copy_from_slice(&asn.0.to_be_bytes());
                    octets[4..].copy_from_slice(&t.0);
                    RouteTarget { octets, bits: 96 }
                })
                .collect();
            let local = &self.config.local;
            let relays = |p: &super::peer::Peer| {
                has_vpns(&p.config) && (p.config.client || may_be_next_hop(&p.config, local))
            };
            let without = |p: &super::peer::Peer| {
                let families = p.up.as_ref().map(|u| u.agreed.context.families);
                families.is_some_and(|f| {
                    let vpns = f.contains(Family::Vpnv4) || f.contains(Family::Vpnv6);
                    vpns && !f.contains(Family::RouteTarget)
                })
            };
            if peers.any(without) && self.peers.values().any(relays) {
                next.insert(RouteTarget::default());
            }
        }
        self.core.ask_for(next, now);
    }

    /// Are VPN routes to wait for what the neighbour asks for? Notes until when.
    pub(super) fn waits_for_targets(&mut self, id: PeerId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else {
            return false;
        };
        let Some(up) = &peer.up else { return false };
        let part = up.agreed.context.families.contains(Family::RouteTarget);
        let ended = peer.ended.contains(Family::RouteTarget);
        let wait = match up.agreed.offered.graceful_restart.is_some() {
            true => WAIT,
            false => HASTE,
        };
        peer.vpns_at = (part && !ended).then_some(now + wait);
        peer.vpns_at.is_some()
    }
}

impl Core {
    /// What the router asks for itself is this from now on.
    fn ask_for(&mut self, next: BTreeSet<RouteTarget>, now: Instant) {
        let learnt = self.seconds(now);
        let before = std::mem::replace(&mut self.asked.own, next);
        for gone in before.difference(&self.asked.own) {
            let (table, common) = Membership::table(&mut self.rib);
            table.withdraw(common, OWN, 0, (*gone).into());
        }
        let come: Vec<RouteTarget> = self.asked.own.difference(&before).copied().collect();
        for one in come {
            let key = Membership::from(one);
            let route = (Protocol::Bgp, 0, None);
            let Some(post) = self.local_route::<Membership>(key.net(), &[], route) else {
                continue;
            };
            let (table, common) = Membership::table(&mut self.rib);
            let announce = Announce {
                peer: OWN,
                path_id: 0,
                pre: post,
                post: Some(post),
                now: learnt,
            };
            table.announce(common, key, announce);
            common.store.release(post);
        }
    }

    /// A neighbour asks for other routes of that family: its group hears of those that this concerns.
    fn asks<K: Ours>(&mut self, peer: PeerId, next: &Arc<Filter>) {
        let Side { groups, marks, .. } = K::side(&mut self.sides);
        let Some((&g, group)) = groups.iter_mut().find(|(_, g)| g.is_for(peer)) else {
            return;
        };
        let Some(before) = group.filter.replace(Arc::clone(next)) else {
            group.filter = None;
            return;
        };
        if before == *next {
            return;
        }
        // What a policy makes of targets is known when it is asked only.
        if group.policy().is_some() {
            K::table(&mut self.rib).0.export_again(g);
            return;
        }
        match marks.iter_mut().find(|m| m.group == g) {
            Some(mark) => {
                mark.at = None;
                if !mark.before.contains(&before) {
                    mark.before.push(before);
                }
            }
            None => marks.push(Mark {
                group: g,
                before: vec![before],
                at: None,
            }),
        }
    }

    fn mark_asked<K: Ours>(&mut self, budget: usize) -> bool {
        let Side { groups, marks, .. } = K::side(&mut self.sides);
        let Some(mut mark) = marks.pop() else {
            return false;
        };
        let filter = groups.get(&mark.group).and_then(|g| g.filter.as_ref());
        if let Some(filter) = filter {
            let (table, common) = K::table(&mut self.rib);
            let next = table.mark_where(mark.group, mark.at, budget, |path| {
                path.post.is_some_and(|post| {
                    let v = common.store.view(post);
                    let now = filter.wants(v);
                    mark.before.iter().any(|f| f.wants(v) != now)
                })
            });
            if next.is_some() {
                mark.at = next;
                marks.push(mark);
            }
        }
        !marks.is_empty()
    }
}

#[cfg(test)]
mod tests;
