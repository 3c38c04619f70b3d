//! BGP's part of the RIB: its routes, and the next hops that it follows.
//!
//! BGP asks of each next hop whether it can be reached, and how far it is (RFC 4271 9.1.2, 5.1.3): [`Rib::follow`] has that
//! told, again whenever it changes. Routes by a next hop that is followed share its path set, so that setting a route is
//! one look-up in the table, when its turn comes: see `incoming`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use net::{IfaceId, LabelStack, VrfId};

use super::drain::Slice;
use super::sets::SetId;
use super::spec::{Discard, Hop, PathSpec, PathsSpec, Source, TtlMode};
use super::{Rib, resolve};

/// A next hop of BGP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FollowedHop {
    /// Its address.
    pub address: IpAddr,
    /// Where, if it is link-local.
    pub dev: Option<IfaceId>,
    /// The table in which it is looked up: for a route of a VRF that was learned in it, that VRF's.
    pub vrf: VrfId,
    /// Packets have labels that only it knows.
    pub labeled: bool,
}

/// A next hop of BGP's with what is pushed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabeledHop {
    /// It.
    pub hop: FollowedHop,
    /// Outermost first.
    pub labels: LabelStack,
    /// It stands by for those that do not.
    pub backup: bool,
}

/// What becomes of BGP's route of a prefix.
pub type BgpRoute = (IpNet, Option<(Source, SetId)>);

/// The administrative distances of BGP's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distances {
    /// Of external ones.
    pub ebgp: u8,
    /// Of internal ones.
    pub ibgp: u8,
}

impl Default for Distances {
    fn default() -> Self {
        Self {
            ebgp: 20,
            ibgp: 200,
        }
    }
}

/// The next hops that are followed.
#[derive(Debug, Default)]
pub(super) struct Followed {
    hops: HashMap<FollowedHop, One>,
    /// Those of which something is to be told.
    news: BTreeSet<FollowedHop>,
    /// Whether the default route leads to next hops.
    by_default: bool,
}

#[derive(Debug)]
struct One {
    set: SetId,
    metric: Option<u32>,
    /// What was told last; `None`: nothing yet.
    told: Option<Option<u32>>,
}

impl Followed {
    /// A next hop was resolved.
    pub(super) fn found(&mut self, hop: FollowedHop, metric: Option<u32>) {
        if let Some(one) = self.hops.get_mut(&hop) {
            one.metric = metric;
            if one.told != Some(metric) {
                self.news.insert(hop);
            }
        }
    }
}

impl Rib {
    /// Sets the distances that routes of BGP's are shown with. Any of them is between static routes and nothing.
    pub fn set_distances(&mut self, distances: Distances) {
        self.distances = distances;
    }

    /// The administrative distance of a source: lower wins.
    #[must_use]
    pub fn distance(&self, source: Source) -> u8 {
        match source {
            Source::Local | Source::Connected => 0,
            // As far as the route whose next hops it has.
            Source::Ldp | Source::Static => 1,
            Source::LabeledEbgp | Source::Ebgp => self.distances.ebgp,
            Source::LabeledIbgp | Source::Ibgp | Source::LabeledBack => self.distances.ibgp,
            Source::Neighbor => 255,
        }
    }

    /// Whether a next hop that only the default route leads to can be reached. All are resolved anew if that changes.
    pub fn set_next_hop_by_default(&mut self, by_default: bool) {
        self.followed.by_default = by_default;
        self.sets.rewrite(|spec| {
            let mut any = false;
            for path in &mut spec.paths {
                if let Hop::Bgp { by_default: is, .. } = &mut path.hop
                    && *is != by_default
                {
                    *is = by_default;
                    any = true;
                }
            }
            any
        });
    }

    /// Has it told by [`Rib::take_followed`] whether a next hop can be reached, now and whenever that changes.
    pub fn follow(&mut self, hop: FollowedHop) {
        if self.followed.hops.contains_key(&hop) {
            return;
        }
        let spec = PathsSpec::single_in(hop.vrf, self.bgp_hop(hop));
        let set = self.sets.intern(&spec);
        self.sets.hold(set);
        if let Some(s) = self.sets.get_mut(set) {
            s.followed = Some(hop);
        }
        self.sets.dirty.insert(set);
        let one = One {
            set,
            metric: None,
            told: None,
        };
        self.followed.hops.insert(hop, one);
    }

    /// Is it of no more interest?
    pub fn unfollow(&mut self, hop: FollowedHop) {
        if let Some(one) = self.followed.hops.remove(&hop) {
            if let Some(s) = self.sets.get_mut(one.set) {
                s.followed = None;
            }
            self.sets.release(one.set);
            self.followed.news.remove(&hop);
        }
    }

    /// What has changed of the next hops that are followed: how many routes stand on one another to reach each (0: it is on
    /// a link), or that it can't be reached. Up to date after a drain.
    pub fn take_followed(&mut self) -> BTreeMap<FollowedHop, Option<u32>> {
        let mut out = BTreeMap::new();
        for hop in std::mem::take(&mut self.followed.news) {
            if let Some(one) = self.followed.hops.get_mut(&hop)
                && one.told != Some(one.metric)
            {
                one.told = Some(one.metric);
                out.insert(hop, one.metric);
            }
        }
        out
    }

    pub(super) fn bgp_hop(&self, hop: FollowedHop) -> Hop {
        match hop.dev {
            Some(dev) => Hop::Via {
                address: hop.address,
                dev: Some(dev),
            },
            None => Hop::Bgp {
                address: hop.address,
                by_default: self.followed.by_default,
                labeled: hop.labeled,
            },
        }
    }

    /// The path set of a route by these next hops, for routes that are set before the next drain.
    pub fn bgp_paths(&mut self, hops: &[FollowedHop]) -> SetId {
        self.bgp_paths_backed(hops, None)
    }

    /// The same with one that stands by for them.
    pub fn bgp_paths_backed(&mut self, hops: &[FollowedHop], backup: Option<FollowedHop>) -> SetId {
        if let ([hop], None) = (hops, backup)
            && let Some(one) = self.followed.hops.get(hop)
        {
            return one.set;
        }
        let hops = hops.iter().take(resolve::MAX_PATHS);
        let mut paths: Vec<PathSpec> = hops.map(|h| self.bgp_path(h)).collect();
        paths.extend(backup.map(|h| PathSpec {
            backup: true,
            ..self.bgp_path(&h)
        }));
        self.sets.intern(&PathsSpec {
            paths,
            ttl: TtlMode::Uniform,
        })
    }

    fn bgp_path(&self, hop: &FollowedHop) -> PathSpec {
        let mut path = PathSpec::new(self.bgp_hop(*hop));
        path.vrf = hop.vrf;
        path
    }

    /// The paths of a route by these next hops, with what is pushed for each.
    #[must_use]
    pub fn labeled_paths(&self, hops: &[LabeledHop], ttl: TtlMode) -> PathsSpec {
        let one = |h: &LabeledHop| PathSpec {
            labels: h.labels.clone(),
            backup: h.backup,
            ..self.bgp_path(&h.hop)
        };
        let first = hops.iter().filter(|h| !h.backup).take(resolve::MAX_PATHS);
        let behind = hops.iter().filter(|h| h.backup).take(1);
        PathsSpec {
            paths: first.chain(behind).map(one).collect(),
            ttl,
        }
    }

    /// Sets BGP's route with labels of a prefix, of either of its sources, or removes it. Beside one without labels it is
    /// preferred, of those of the same kind of neighbour.
    pub fn set_labeled(&mut self, p: IpNet, route: Option<(Source, &PathsSpec)>) {
        debug_assert!(route.is_none_or(|r| r.0.is_labeled()));
        let new = route.map(|(source, spec)| (source, self.sets.intern(spec)));
        if let Some(slot) = self.set_only(VrfId::GLOBAL, p.trunc(), Source::is_labeled, new) {
            self.queues.next(slot, &mut self.table[slot]);
        }
    }

    /// The path set of a route that drops what it takes.
    pub fn discard(&mut self) -> SetId {
        let nowhere = Hop::Discard(Discard::Blackhole);
        self.sets.intern(&PathsSpec::single(nowhere))
    }

    /// Sets BGP's route of a prefix, of either of its sources and by paths that [`Rib::bgp_paths`] gave, or removes it: with
    /// the next drain, or one that follows.
    pub fn set_bgp(&mut self, p: IpNet, route: Option<(Source, SetId)>) {
        debug_assert!(route.is_none_or(|r| r.0.is_unlabeled()));
        if let Some((_, id)) = route {
            self.sets.hold(id);
        }
        self.incoming.push((p, route));
    }

    /// As [`Rib::set_bgp`], in a VRF, and at once: those come in by other routes' changes, not as full tables.
    pub fn set_bgp_in(&mut self, vrf: VrfId, p: IpNet, route: Option<(Source, SetId)>) {
        debug_assert!(route.is_none_or(|r| r.0.is_bgp()));
        if let Some(slot) = self.set_only(vrf, p.trunc(), Source::is_bgp, route) {
            self.queues.later(slot, &mut self.table);
        }
    }

    /// The paths of a prefix's own route in a VRF, static or connected: what a route that has leaked from there stands on.
    #[must_use]
    pub fn own_paths(&self, vrf: VrfId, p: &IpNet) -> Option<PathsSpec> {
        let entry = &self.table[self.table.get_in(vrf, p)?];
        let own = |s: Source| matches!(s, Source::Connected | Source::Static);
        let (_, id) = entry.routes.all().iter().find(|(s, _)| own(*s))?;
        self.sets.get(*id).map(|set| set.spec.clone())
    }

    /// Puts routes into the table that BGP has set, at most so many, and into the slice what they change. Returns how many
    /// there were.
    pub(super) fn take_in(&mut self, most: usize, slice: &mut Slice) -> usize {
        let mut changed = None;
        for done in 0..most {
            let Some(next) = self.incoming.pop() else {
                return done;
            };
            let (p, route) = next.route;
            let set = self.set_only(VrfId::GLOBAL, p, Source::is_unlabeled, route);
            changed = set.or(changed);
            if let Some((_, id)) = route {
                self.sets.release(id);
            }
            // Of several routes of a prefix only what it has in the end is looked at.
            if !next.follows
                && let Some(slot) = changed.take()
            {
                self.sync_incoming(slot, slice);
            }
        }
        if let Some(slot) = changed {
            self.queues.next(slot, &mut self.table[slot]);
        }
        most
    }
}
