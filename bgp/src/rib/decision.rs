//! Which path is best: RFC 4271 9.1.2 and 9.1.2.2, as amended by RFC 4456 9, RFC 5065 5.3, RFC 9494 4.3.
//!
//! The steps take candidates out of a set, as the RFC has it, so the answer does not depend on the order in which paths
//! came, and MEDs are compared within the neighbouring AS only among those that got so far ("deterministic MED" is all
//! there is). Steps of 9.1.2.2 that are left out: none. Added, as everybody has them: routes of the router's own go
//! before learnt ones, those that have leaked from another table behind what is as good up to MED (distances in one table say
//! nothing in another), behind all others those by a next hop that may not get all packets on yet ([`Reach::last_resort`]), and a
//! last step by path identifier, so that one always remains.
//!
//! Graceful shutdown (RFC 8326) is policy; AIGP (RFC 7311) is not compared.

use std::fmt;

use super::hops::{NextHopId, Reach};
use super::key::Key;
use super::peers::{Peers, Status};
use super::store::{AttrId, Store};
use crate::types::{Family, PathId, PeerId, Relation};

/// How routes are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The LOCAL_PREF of a route that has none.
    pub local_pref: u32,
    /// MEDs are compared between neighbouring ASes too.
    pub always_compare_med: bool,
    /// A route without MED counts as one with the greatest, not with 0.
    pub missing_med_is_worst: bool,
    /// The length of AS_PATH is not compared.
    pub ignore_path_length: bool,
    /// Of eBGP routes the one that came first is kept, before router ids are compared (RFC 5004).
    pub prefer_oldest: bool,
    /// How many eBGP routes are used at once; 1: only the best.
    pub paths_external: u8,
    /// How many iBGP routes are used at once.
    pub paths_internal: u8,
    /// Routes used at once need AS_PATHs of equal length only, not the same ones.
    pub multipath_relax: bool,
    /// Which routes have a backup.
    pub backups: Backups,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            local_pref: 100,
            always_compare_med: false,
            missing_med_is_worst: false,
            ignore_path_length: false,
            prefer_oldest: false,
            paths_external: 1,
            paths_internal: 1,
            multipath_relax: false,
            backups: Backups::default(),
        }
    }
}

/// Of which routes the best path by another next hop is chosen too: it stands by for those that are used
/// (draft-ietf-rtgwg-bgp-pic).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backups {
    /// Those without labels.
    pub unicast: bool,
    /// Those with labels (RFC 8277).
    pub labeled: bool,
    /// VPNs', and all of VRFs.
    pub vpn: bool,
}

impl Backups {
    /// Those of the table with such keys?
    pub(super) const fn of<K: Key>(self) -> bool {
        match (K::FAMILY, K::LABELED) {
            (Family::Ipv4Unicast | Family::Ipv6Unicast, false) => self.unicast,
            (Family::Ipv4Labeled | Family::Ipv6Labeled, _) => self.labeled,
            (Family::Ipv4Unicast | Family::Ipv6Unicast, true) => self.vpn,
            (Family::Vpnv4 | Family::Vpnv6, _) => self.vpn,
            _ => false,
        }
    }
}

/// A step of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Not the last resort: see [`Reach::last_resort`].
    Settled,
    /// Not stale for long: RFC 9494 4.3.
    LongLivedStale,
    /// The higher LOCAL_PREF: RFC 4271 9.1.1.
    LocalPref,
    /// This router's own.
    Local,
    /// The shorter AS_PATH: RFC 4271 9.1.2.2 a.
    PathLength,
    /// The lower ORIGIN: 9.1.2.2 b.
    Origin,
    /// The lower MED of the same neighbouring AS: 9.1.2.2 c.
    Med,
    /// It has not come from another table.
    Learned,
    /// eBGP before iBGP and confederation: 9.1.2.2 d, RFC 5065 5.3.
    External,
    /// The lower metric to the next hop: 9.1.2.2 e.
    Metric,
    /// eBGP: the one that is there longer, RFC 5004, if asked for.
    Oldest,
    /// The lower ORIGINATOR_ID or BGP Identifier: 9.1.2.2 f, RFC 4456 9.
    RouterId,
    /// The shorter CLUSTER_LIST: RFC 4456 9.
    ClusterList,
    /// The lower address of the neighbour: 9.1.2.2 g.
    Address,
    /// The lower path identifier.
    PathId,
}

impl Step {
    /// In the order in which they are taken.
    pub const ALL: [Self; 15] = [
        Self::Settled,
        Self::LongLivedStale,
        Self::LocalPref,
        Self::Local,
        Self::PathLength,
        Self::Origin,
        Self::Med,
        Self::Learned,
        Self::External,
        Self::Metric,
        Self::Oldest,
        Self::RouterId,
        Self::ClusterList,
        Self::Address,
        Self::PathId,
    ];

    /// As shown: what the winner has.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settled => "label there for longer",
            Self::LongLivedStale => "not long-lived stale",
            Self::LocalPref => "higher local-pref",
            Self::Local => "local route",
            Self::PathLength => "shorter AS path",
            Self::Origin => "lower origin",
            Self::Med => "lower MED",
            Self::Learned => "learned in this table",
            Self::External => "eBGP over iBGP",
            Self::Metric => "nearer next hop",
            Self::Oldest => "older",
            Self::RouterId => "lower router id",
            Self::ClusterList => "shorter cluster list",
            Self::Address => "lower neighbour address",
            Self::PathId => "lower path id",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of a path in the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is the best.
    Best,
    /// Used beside the best.
    Multipath,
    /// As good as the best up to the metric, and taken out by that later step.
    Lost(Step),
    /// The import policy does not want it.
    Rejected,
    /// Its next hop is not reachable.
    Unreachable,
    /// Withdrawn with its session, and soon taken out.
    Gone,
}

/// A path as the decision sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    pub(super) peer: PeerId,
    pub(super) path_id: PathId,
    /// After import policy; [`AttrId::NONE`]: rejected.
    pub(super) post: AttrId,
    pub(super) status: Status,
    pub(super) learnt: u32,
}

/// A path that could be used, with what is compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Where its path stands.
    pub(super) at: u32,
    /// Last resort, long-lived stale, LOCAL_PREF, own, length, origin; the less, the better.
    early: u64,
    /// Among those with the same number MEDs are compared.
    neighbor: u32,
    med: u32,
    /// Leaked, external, metric.
    late: u64,
    input: Input,
}

/// What is compared last.
type Last = (u32, u32, u8, u128, u32, u16);

impl Candidate {
    pub(super) fn new(
        at: u32,
        input: Input,
        store: &mut Store,
        peers: &Peers,
        o: &Options,
    ) -> Result<Self, Fate> {
        if input.status == Status::Gone {
            return Err(Fate::Gone);
        }
        let Some(post) = input.post.some() else {
            return Err(Fate::Rejected);
        };
        let h = *store.header(post);
        let Reach {
            metric,
            last_resort,
        } = store.hops.look(h.hop()).ok_or(Fate::Unreachable)?;
        let peer = peers.get(input.peer);
        let stale = input.status == Status::LongLived || h.llgr_stale();
        let pref = !h.local_pref().unwrap_or(o.local_pref);
        let own = peer.is_some_and(|p| p.local);
        let hops = if o.ignore_path_length { 0 } else { h.hops };
        let early = u64::from(last_resort) << 52
            | u64::from(stale) << 51
            | u64::from(pref) << 19
            | u64::from(!own) << 18
            | u64::from(hops) << 2
            | u64::from(h.origin());
        let missing = if o.missing_med_is_worst { u32::MAX } else { 0 };
        let external = peer.is_some_and(|p| p.relation == Relation::External);
        Ok(Self {
            at,
            early,
            neighbor: if o.always_compare_med { 0 } else { h.neighbor },
            med: h.med().unwrap_or(missing),
            late: match peer.is_some_and(|p| p.leaked) {
                true => 3 << 32 | u64::from(input.path_id & 1),
                false => u64::from(!external) << 32 | u64::from(metric),
            },
            input,
        })
    }

    fn external(&self) -> bool {
        self.late >> 32 == 0
    }

    fn leaked(&self) -> bool {
        self.late >> 33 != 0
    }

    /// How many like it are used at once.
    fn most(&self, o: &Options) -> u8 {
        match (self.leaked(), self.external()) {
            // Where they are from, no more were used than are of their kind.
            (true, _) => o.paths_external.max(o.paths_internal),
            (false, true) => o.paths_external,
            (false, false) => o.paths_internal,
        }
    }

    fn last(&self, store: &Store, peers: &Peers, o: &Options) -> Last {
        let h = store.header(self.input.post);
        let peer = peers.get(self.input.peer);
        let age = if o.prefer_oldest && self.external() {
            self.input.learnt
        } else {
            0
        };
        let id = match h.originator {
            0 => peer.map_or(u32::MAX, |p| p.router_id.number()),
            id => id,
        };
        let address = peer.map_or(u128::MAX, super::peers::PeerInfo::address_number);
        let (path, slot) = (self.input.path_id, self.input.peer.0);
        (age, id, h.clusters, address, path, slot)
    }

    /// Is it out before MEDs are compared, so that it can have no influence at all while `best` is there? What is the last resort
    /// now may have been compared before it was.
    pub(super) const fn far_behind(&self, best: &Self) -> bool {
        self.early > best.early && !self.is_last_resort()
    }

    pub(super) const fn is_last_resort(&self) -> bool {
        self.early >> 52 != 0
    }

    /// Can it not become the best by being added where `best` is the best?
    pub(super) fn behind(&self, best: &Self, store: &Store, peers: &Peers, o: &Options) -> bool {
        let med = if self.neighbor == best.neighbor {
            self.med.cmp(&best.med)
        } else {
            std::cmp::Ordering::Equal
        };
        let order = self.early.cmp(&best.early).then(med);
        let order = order.then(self.late.cmp(&best.late));
        order
            .then_with(|| self.last(store, peers, o).cmp(&best.last(store, peers, o)))
            .is_gt()
    }
}

/// Moves those for which `keep` holds to the front; how many.
fn front(all: &mut [Candidate], keep: impl Fn(&Candidate) -> bool) -> usize {
    let mut n = 0;
    for i in 0..all.len() {
        if keep(&all[i]) {
            all.swap(n, i);
            n += 1;
        }
    }
    n
}

/// Puts the best first, those used at once with it directly behind, in order; how many are used. 0: there is none at all.
pub(super) fn choose(all: &mut [Candidate], store: &Store, peers: &Peers, o: &Options) -> usize {
    let Some(early) = all.iter().map(|c| c.early).min() else {
        return 0;
    };
    let n = front(all, |c| c.early == early);
    if n == 1 {
        return 1;
    }
    let left = &mut all[..n];
    let kept = least_meds(left);
    let left = &mut left[..kept];
    let late = left.iter().map(|c| c.late).min().unwrap_or_default();
    let n = front(left, |c| c.late == late);
    let left = &mut left[..n];
    let most = left[0].most(o);
    if most > 1 {
        left.sort_unstable_by_key(|c| c.last(store, peers, o));
        return multipath(left, usize::from(most), store, o);
    }
    if n > 1
        && let Some(best) = (0..n).min_by_key(|i| left[*i].last(store, peers, o))
    {
        left.swap(0, best);
    }
    1
}

/// Moves those that have the lowest MED of their neighbouring AS to the front; how many.
fn least_meds(left: &mut [Candidate]) -> usize {
    // Mostly nobody has any.
    if left.iter().all(|c| c.med == left[0].med) {
        return left.len();
    }
    left.sort_unstable_by_key(|c| (c.neighbor, c.med));
    let (mut kept, mut group) = (0, None);
    for i in 0..left.len() {
        let of = (left[i].neighbor, left[i].med);
        if group.is_none_or(|(n, med)| n != of.0 || med == of.1) {
            group = Some(of);
            left.swap(kept, i);
            kept += 1;
        }
    }
    kept
}

/// Puts those behind the best that are used with it: another next hop each, and the same AS_PATH unless relaxed.
fn multipath(left: &mut [Candidate], most: usize, store: &Store, o: &Options) -> usize {
    let hop = |c: &Candidate| store.header(c.input.post).hop();
    let path = |c: &Candidate| store.view(c.input.post).as_path();
    let mut hops: Vec<NextHopId> = vec![hop(&left[0])];
    let mut n = 1;
    for i in 1..left.len() {
        if n == most {
            break;
        }
        let alike = o.multipath_relax || path(&left[i]) == path(&left[0]);
        if alike && !hops.contains(&hop(&left[i])) {
            hops.push(hop(&left[i]));
            // Keeps the order of those behind.
            left[n..=i].rotate_right(1);
            n += 1;
        }
    }
    n
}

/// Of those that [`choose`] has left behind the first `used` ones, the best by a next hop that none of these has: it may
/// stand by for them. Where its path stands.
pub(super) fn backup(
    all: &mut [Candidate],
    used: usize,
    store: &Store,
    peers: &Peers,
    o: &Options,
) -> Option<usize> {
    let (used, rest) = all.split_at_mut_checked(used.max(1))?;
    let hop = |c: &Candidate| store.header(c.input.post).hop();
    let other = |c: &Candidate| hop(c) != NextHopId::NONE && used.iter().all(|u| hop(u) != hop(c));
    let n = front(rest, other);
    let one = Options {
        paths_external: 1,
        paths_internal: 1,
        ..*o
    };
    let found = choose(&mut rest[..n], store, peers, &one);
    rest.first().filter(|_| found > 0).map(|c| c.at as usize)
}

/// The step in which each lost; in the order of `all`, which [`choose`] has not touched yet.
pub(super) fn explain(all: &[Candidate], store: &Store, peers: &Peers, o: &Options) -> Vec<Fate> {
    let mut fates = vec![Fate::Best; all.len()];
    for step in Step::ALL {
        let value = |c: &Candidate| -> u128 {
            let last = c.last(store, peers, o);
            match step {
                Step::Settled => c.is_last_resort().into(),
                Step::LongLivedStale => (c.early >> 51 & 1).into(),
                Step::LocalPref => (c.early >> 19 & 0xffff_ffff).into(),
                Step::Local => (c.early >> 18 & 1).into(),
                Step::PathLength => (c.early >> 2 & 0xffff).into(),
                Step::Origin => (c.early & 3).into(),
                Step::Med => c.med.into(),
                Step::Learned => (c.late >> 33).into(),
                Step::External => (c.late >> 32 & 1).into(),
                Step::Metric => (c.late & 0xffff_ffff).into(),
                Step::Oldest => last.0.into(),
                Step::RouterId => last.1.into(),
                Step::ClusterList => last.2.into(),
                Step::Address => last.3,
                Step::PathId => u128::from(last.4) << 16 | u128::from(last.5),
            }
        };
        let before = fates.clone();
        for (i, c) in all.iter().enumerate() {
            let rival = |(j, r): (usize, &Candidate)| {
                let comparable = step != Step::Med || r.neighbor == c.neighbor;
                before[j] == Fate::Best && comparable && value(r) < value(c)
            };
            if before[i] == Fate::Best && all.iter().enumerate().any(rival) {
                fates[i] = Fate::Lost(step);
            }
        }
    }
    let mut order = all.to_vec();
    let used = choose(&mut order, store, peers, o);
    for c in &order[..used] {
        if let Some(i) = all.iter().position(|a| a.at == c.at)
            && fates[i] != Fate::Best
        {
            fates[i] = Fate::Multipath;
        }
    }
    fates
}
