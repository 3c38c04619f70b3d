//! Random histories of a table: what the consumer was told in the end is what the obvious decision says.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::obvious::{Contender, backup, decide, plausible};
use super::{PEERS, Spec, hop, key, peer, spec};
use crate::types::PeerId;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Announce(u16, u32, u8, Box<Spec>),
    Withdraw(u16, u32, u8),
    Down(u16),
    Stale(u16),
    Sweep(u16),
    LongLived(u16),
    RefreshBegin(u16),
    RefreshEnd(u16),
    Hop(u8, Option<Reach>),
    Policy(u16),
    Work(usize),
    Drain(usize),
}

fn reach() -> impl Strategy<Value = Reach> {
    let last = prop::bool::weighted(0.3);
    (0u32..3, last).prop_map(|(metric, last_resort)| Reach {
        metric,
        last_resort,
    })
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let p = || 0..PEERS;
    let id = || prop_oneof![3 => Just(0u32), 1 => 1u32..3];
    prop_oneof![
        20 => (p(), id(), 0u8..8, spec()).prop_map(|(p, i, k, s)| Op::Announce(p, i, k, Box::new(s))),
        8 => (p(), id(), 0u8..8).prop_map(|(p, i, k)| Op::Withdraw(p, i, k)),
        1 => p().prop_map(Op::Down),
        1 => p().prop_map(Op::Stale),
        1 => p().prop_map(Op::Sweep),
        1 => p().prop_map(Op::LongLived),
        1 => p().prop_map(Op::RefreshBegin),
        1 => p().prop_map(Op::RefreshEnd),
        3 => (0u8..4, prop::option::weighted(0.7, reach())).prop_map(|(h, r)| Op::Hop(h, r)),
        1 => p().prop_map(Op::Policy),
        3 => (1usize..6).prop_map(Op::Work),
        6 => (1usize..12).prop_map(Op::Drain),
    ]
}

pub(super) fn options() -> impl Strategy<Value = Options> {
    let b = any::<bool>;
    // Without multipath more changes can be told to be without effect at once.
    let most = || prop_oneof![3 => Just(1u8), 1 => 2u8..4];
    let backups = b().prop_map(|unicast| Backups {
        unicast,
        ..Backups::default()
    });
    let all = (b(), b(), b(), b(), b(), most(), most(), backups);
    all.prop_map(|(a, m, l, p, r, e, i, backups)| Options {
        local_pref: 100,
        always_compare_med: a,
        missing_med_is_worst: m,
        ignore_path_length: l,
        prefer_oldest: p,
        multipath_relax: r,
        paths_external: e,
        paths_internal: i,
        backups,
    })
}

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) spec: Spec,
    pub(super) stale: Staleness,
    refreshing: bool,
    learnt: u32,
}

/// A table and the model, driven together.
pub(super) struct Pair {
    pub(super) rib: Rib,
    /// Of a key, of a neighbour and identifier.
    pub(super) model: BTreeMap<(u8, u16, u32), Known>,
    hops: [Option<Reach>; 4],
    policy: [bool; PEERS as usize],
    pub(super) told: BTreeMap<u8, Vec<(u16, u32)>>,
    /// The one that stands by, of those that have one.
    backups: BTreeMap<u8, (u16, u32)>,
    now: u32,
}

/// The import policy: the second version refuses some and edits others, and looks at the prefix.
fn import(second: bool, k: u8, s: &Spec) -> Option<Spec> {
    if !second {
        return Some(s.clone());
    }
    let mut s = s.clone();
    if s.med == Some(2) && k.is_multiple_of(2) {
        return None;
    }
    s.local_pref = s.local_pref.or(Some(150));
    Some(s)
}

pub(super) fn key_number(k: V4) -> u8 {
    (0..8).find(|n| key(*n) == k).unwrap()
}

impl Pair {
    pub(super) fn new(options: Options) -> Self {
        let mut rib = Rib::new();
        rib.common.options = options;
        for p in 0..PEERS {
            rib.common.peers.set(PeerId(p), peer(p));
        }
        Self {
            rib,
            model: BTreeMap::new(),
            hops: [Some(Reach::at(1)); 4],
            policy: [false; PEERS as usize],
            told: BTreeMap::new(),
            backups: BTreeMap::new(),
            now: 0,
        }
    }

    fn events(&mut self) {
        let all: Vec<_> = self.rib.common.store.hops.events().collect();
        for e in all {
            if let HopEvent::Wanted(id, h, _) = e {
                let n = (0..4).find(|n| hop(*n) == h).unwrap();
                self.rib.set_reach(id, self.hops[usize::from(n)]);
            }
        }
    }

    fn announce(&mut self, p: u16, id: u32, k: u8, s: Spec) {
        let post = import(self.policy[usize::from(p)], k, &s);
        let store = &mut self.rib.common.store;
        let pre = store.intern(s.attrs().view());
        let post = post.map(|s| store.intern(s.attrs().view()));
        self.events();
        let a = Announce {
            peer: PeerId(p),
            path_id: id,
            pre,
            post,
            now: self.now,
        };
        let did = self.rib.v4.announce(&mut self.rib.common, key(k), a);
        self.rib.common.store.release(pre);
        post.into_iter()
            .for_each(|p| self.rib.common.store.release(p));
        let old = self.model.get(&(k, p, id));
        let same = old.is_some_and(|o| o.spec.attrs() == s.attrs());
        match did {
            // One that is on its way out may still be there.
            Announced::New => assert!(old.is_none()),
            Announced::Replaced => {}
            Announced::Same => assert!(old.is_none() || same),
            Announced::Full => panic!("full"),
        }
        let learnt = match (did, old) {
            (Announced::Same, Some(o)) => o.learnt,
            (Announced::Same, None) => {
                let r = self.rib.v4.get(key(k)).unwrap();
                let of = |q: &&Path| q.peer.0 == p && q.path_id == id;
                r.paths.iter().find(of).unwrap().learnt
            }
            _ => self.now,
        };
        let known = Known {
            spec: s,
            stale: Staleness::Fresh,
            refreshing: false,
            learnt,
        };
        self.model.insert((k, p, id), known);
    }

    /// Changes or takes out every path of a neighbour.
    fn each(&mut self, p: u16, f: impl Fn(&mut Known) -> bool) {
        self.model.retain(|(_, q, _), known| *q != p || f(known));
    }

    pub(super) fn apply(&mut self, op: Op) {
        use Staleness::{Fresh, LongLived, Stale};
        self.now += 1;
        match op {
            Op::Announce(p, id, k, s) => self.announce(p, id, k, *s),
            Op::Withdraw(p, id, k) => {
                let there = self
                    .rib
                    .v4
                    .withdraw(&mut self.rib.common, PeerId(p), id, key(k));
                let model = self.model.remove(&(k, p, id)).is_some();
                assert!(there || !model);
            }
            Op::Down(p) => {
                self.rib.v4.peer_down(&mut self.rib.common, PeerId(p));
                self.each(p, |_| false);
            }
            Op::Stale(p) => {
                self.rib.v4.mark_stale(&mut self.rib.common, PeerId(p));
                self.each(p, |k| {
                    let fresh = k.stale == Fresh;
                    (k.stale, k.refreshing) = (Stale, false);
                    fresh
                });
            }
            Op::Sweep(p) => {
                self.rib.v4.sweep_stale(PeerId(p));
                self.each(p, |k| k.stale == Fresh);
            }
            Op::LongLived(p) => {
                self.rib.v4.long_lived(PeerId(p));
                self.each(p, |k| {
                    if k.stale == Stale {
                        k.stale = LongLived;
                    }
                    let no = k.spec.community == Some(crate::attrs::Community::NO_LLGR);
                    k.stale != LongLived || !no
                });
            }
            Op::RefreshBegin(p) => {
                let again = self
                    .model
                    .iter()
                    .any(|((_, q, _), k)| *q == p && k.refreshing);
                if !again {
                    self.work(usize::MAX);
                    self.rib.v4.refresh_begin(PeerId(p));
                    self.each(p, |k| {
                        k.refreshing = k.stale == Fresh;
                        true
                    });
                }
            }
            Op::RefreshEnd(p) => {
                self.rib.v4.refresh_end(PeerId(p));
                self.each(p, |k| !k.refreshing);
            }
            Op::Hop(h, reach) => {
                self.hops[usize::from(h)] = reach;
                let id = (0..16)
                    .map(NextHopId)
                    .find(|i| self.rib.common.store.hops.get(*i) == Some(hop(h)));
                if let Some(id) = id {
                    self.rib.set_reach(id, reach);
                }
            }
            Op::Policy(p) => {
                let version = &mut self.policy[usize::from(p)];
                *version = !*version;
                self.rib.v4.import_again(PeerId(p));
            }
            Op::Work(n) => self.work(n),
            Op::Drain(n) => self.drain(n),
        }
        self.events();
    }

    pub(super) fn work(&mut self, budget: usize) {
        let Rib { common, v4, .. } = &mut self.rib;
        let (policy, model) = (&self.policy, &self.model);
        let mut again = |c: &mut Common, p: PeerId, id: u32, k: V4, pre: AttrId| {
            let k = key_number(k);
            let known = &model[&(k, p.0, id)];
            assert_eq!(c.store.view(pre), known.spec.attrs().view());
            let post = import(policy[usize::from(p.0)], k, &known.spec)?;
            Some(c.store.intern(post.attrs().view()))
        };
        v4.work(common, budget, &mut again);
        self.events();
    }

    pub(super) fn drain(&mut self, budget: usize) {
        let (told, backups) = (&mut self.told, &mut self.backups);
        self.rib.v4.drain(&mut self.rib.common, budget, |_, c| {
            let k = key_number(c.key);
            assert_eq!(c.had, told.contains_key(&k), "{c:?}");
            match c.backup {
                Some(b) => drop(backups.insert(k, (b.peer.0, b.path_id))),
                None => drop(backups.remove(&k)),
            }
            if c.best.is_empty() {
                assert!(c.backup.is_none());
                assert!(told.remove(&k).is_some());
                return;
            }
            let best = c.best.iter().map(|p| (p.peer.0, p.path_id)).collect();
            told.insert(k, best);
        });
    }

    /// Goes on until nothing is left to do.
    pub(super) fn finish(&mut self) {
        while self.rib.v4.working() || self.rib.v4.waiting() > 0 {
            self.work(3);
            self.drain(2);
        }
    }

    pub(super) fn contenders(&self, k: u8) -> Vec<Contender> {
        let paths = self.model.range((k, 0, 0)..(k + 1, 0, 0));
        let usable = paths.filter_map(|((_, p, id), known)| {
            let spec = import(self.policy[usize::from(*p)], k, &known.spec)?;
            let reach = self.hops[usize::from(spec.hop)]?;
            Some(Contender {
                peer: *p,
                path_id: *id,
                info: peer(*p),
                attrs: spec.attrs(),
                metric: reach.metric,
                last_resort: reach.last_resort,
                long_lived: known.stale == Staleness::LongLived,
                learnt: known.learnt,
            })
        });
        usable.collect()
    }

    /// What should be told is what was told, and is what can be seen.
    pub(super) fn check(&mut self) {
        for k in 0..8 {
            let all = self.contenders(k);
            let want: Vec<_> = decide(&all, &self.rib.common.options);
            let names: Vec<_> = want.iter().map(|c| (c.peer, c.path_id)).collect();
            let mut told = self.told.get(&k).cloned().unwrap_or_default();
            // Those beside the best stand in no order.
            let mut sorted = names.clone();
            told.get_mut(1..).into_iter().for_each(<[_]>::sort_unstable);
            sorted
                .get_mut(1..)
                .into_iter()
                .for_each(<[_]>::sort_unstable);
            assert_eq!(told, sorted, "prefix {k}: {all:#?}");
            let o = &self.rib.common.options;
            let by = backup(&all, &want, o).filter(|_| o.backups.unicast);
            let by = by.map(|c| (c.peer, c.path_id));
            assert_eq!(self.backups.get(&k), by.as_ref(), "prefix {k}: {all:#?}");
            let (used, seen) = self.rib.v4.in_use(key(k));
            assert_eq!(
                (used.len(), seen.map(|p| (p.peer.0, p.path_id))),
                (want.len(), by)
            );
            self.check_fates(k, &all, &want);
            let route = self.rib.v4.get(key(k));
            let mut seen: Vec<_> = route
                .iter()
                .flat_map(|r| &r.paths)
                .map(|p| (p.peer.0, p.path_id, p.stale, p.learnt))
                .collect();
            seen.sort_unstable_by_key(|s| (s.0, s.1));
            let known = self.model.range((k, 0, 0)..(k + 1, 0, 0));
            let known: Vec<_> = known
                .map(|((_, p, i), n)| (*p, *i, n.stale, n.learnt))
                .collect();
            assert_eq!(seen, known);
        }
        for p in 0..PEERS {
            let mine = || self.model.iter().filter(|((_, q, _), _)| *q == p);
            let passed = mine()
                .filter(|((k, ..), n)| import(self.policy[usize::from(p)], *k, &n.spec).is_some());
            let want = Counts {
                received: mine().count() as u32,
                accepted: passed.count() as u32,
                gone: 0,
            };
            assert_eq!(self.rib.v4.counts(PeerId(p)), want);
        }
        assert_eq!(self.rib.v4.paths(), self.model.len());
        assert_eq!(self.rib.v4.len().1, self.told.len());
    }

    fn check_fates(&mut self, k: u8, all: &[Contender], want: &[Contender]) {
        let Rib { common, v4, .. } = &mut self.rib;
        for (path, fate) in v4.explain(common, key(k)) {
            let of = |c: &&Contender| (c.peer, c.path_id) == (path.peer.0, path.path_id);
            let place = want.iter().position(|c| of(&c));
            match (fate, place) {
                (Fate::Best, Some(0)) => {}
                (Fate::Multipath, Some(n)) => assert!(n > 0),
                (Fate::Lost(_), None) => {
                    let loser = all.iter().find(of).unwrap();
                    assert!(
                        plausible(fate, loser, &want[0], &common.options),
                        "{fate:?}"
                    );
                }
                (Fate::Rejected | Fate::Unreachable, None) => {
                    assert!(!all.iter().any(|c| of(&c)));
                }
                _ => panic!("{path:?} is {fate:?} and should be {place:?}"),
            }
        }
    }

    /// Takes everything away: nothing must remain.
    pub(super) fn end(&mut self) {
        for p in 0..PEERS {
            self.apply(Op::Down(p));
        }
        self.finish();
        self.check();
        assert!(self.rib.v4.is_empty());
        assert!(self.rib.common.store.is_empty());
        assert!(self.rib.common.store.hops.is_empty());
    }
}

fn from(neighbor: u32, med: u32) -> Box<Spec> {
    Box::new(Spec {
        local_pref: None,
        path: vec![(crate::attrs::SegmentKind::Sequence, vec![neighbor])],
        origin: 0,
        med: Some(med),
        originator: None,
        clusters: 0,
        hop: neighbor as u8,
        community: None,
    })
}

#[test]
fn a_path_that_comes_back_before_it_was_taken_out_is_used_again() {
    let mut pair = Pair::new(Options::default());
    pair.apply(Op::Announce(0, 0, 0, from(1, 0)));
    pair.drain(9);
    pair.apply(Op::Down(0));
    // Something else makes the prefix be decided, before the walk has seen it.
    pair.apply(Op::Announce(2, 0, 0, from(2, 0)));
    pair.drain(9);
    assert_eq!(pair.told[&0], [(2, 0)]);
    pair.apply(Op::Announce(0, 0, 0, from(1, 0)));
    pair.drain(9);
    assert_eq!(pair.told[&0], [(0, 0)]);
    pair.finish();
    pair.check();
}

/// However often it has its routes refreshed, the end of its session waits for no walk.
#[test]
fn the_end_of_a_session_finds_an_epoch() {
    let mut w = Pair::new(Options::default());
    let pre = w.rib.common.store.intern(from(1, 0).attrs().view());
    let rib = &mut w.rib;
    for k in 0..8 {
        let a = Announce {
            peer: PeerId(0),
            path_id: 0,
            pre,
            post: Some(pre),
            now: 0,
        };
        rib.v4.announce(&mut rib.common, key(k), a);
        rib.v4.refresh_begin(PeerId(0));
        rib.v4.refresh_end(PeerId(0));
    }
    rib.v4.peer_down(&mut rib.common, PeerId(0));
    let counts = rib.v4.counts(PeerId(0));
    assert_eq!(
        (counts.received, counts.gone),
        (0, 8),
        "none was looked for"
    );
    w.work(usize::MAX);
    assert_eq!(w.rib.v4.counts(PeerId(0)).gone, 0);
    w.rib.common.store.release(pre);
}

#[test]
fn what_a_prefix_has_no_room_for_is_counted() {
    let mut w = Pair::new(Options::default());
    let pre = w.rib.common.store.intern(from(1, 0).attrs().view());
    let most = super::super::slab::MOST_PATHS as u32;
    let ids = || (1..=most + 7).map(|id| (id, key(0)));
    let rib = &mut w.rib;
    rib.v4
        .announce_all(&mut rib.common, ids(), |_, path_id, _| Announce {
            peer: PeerId(0),
            path_id,
            pre,
            post: Some(pre),
            now: 0,
        });
    let (held, refused) = (rib.v4.counts(PeerId(0)).received, rib.v4.refused());
    assert_eq!((held, refused), (most, 7));
    rib.v4.withdraw_all(&mut rib.common, PeerId(0), ids());
    assert_eq!(rib.v4.counts(PeerId(0)).received, 0);
    rib.common.store.release(pre);
}

#[test]
fn a_lower_med_of_the_same_neighbour_is_noticed_even_if_all_else_is_worse() {
    let mut pair = Pair::new(Options::default());
    // Of eBGP, then of iBGP: that would lose, if its MED were not lower.
    pair.apply(Op::Announce(0, 0, 0, from(1, 2)));
    pair.drain(9);
    pair.apply(Op::Announce(2, 0, 0, from(1, 1)));
    pair.drain(9);
    assert_eq!(pair.told[&0], [(2, 0)]);
}

#[test]
fn what_a_path_took_out_by_its_med_comes_back_when_it_goes() {
    for gone in [Op::Withdraw(2, 0, 0), Op::Down(2)] {
        let mut pair = Pair::new(Options::default());
        pair.apply(Op::Announce(0, 0, 0, from(1, 0)));
        pair.apply(Op::Announce(1, 0, 0, from(2, 2)));
        pair.apply(Op::Announce(2, 0, 0, from(2, 1)));
        pair.drain(9);
        // The second, of the lower router id, is out by the MED of the third, and that is of iBGP.
        assert_eq!(pair.told[&0], [(0, 0)]);
        pair.apply(gone);
        pair.finish();
        assert_eq!(pair.told[&0], [(1, 0)]);
        pair.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_consumer_is_told_what_the_obvious_decision_says(
        options in options(),
        parts in prop::collection::vec(prop::collection::vec(op(), 0..60), 1..4),
    ) {
        let mut pair = Pair::new(options);
        for part in parts {
            part.into_iter().for_each(|op| pair.apply(op));
            pair.finish();
            pair.check();
        }
        pair.end();
    }

    #[test]
    fn a_prefix_can_have_many_paths(n in 1u32..200, gone in prop::collection::vec(0u32..200, 0..200)) {
        let mut rib = Rib::new();
        rib.common.peers.set(PeerId(0), peer(0));
        let s = Spec { local_pref: None, path: vec![], origin: 0, med: None, originator: None, clusters: 0, hop: 0, community: None };
        let pre = rib.common.store.intern(s.attrs().view());
        rib.set_next_hop(NextHopId(0), Some(0));
        let mut model = std::collections::BTreeSet::new();
        for path_id in 0..n {
            let a = Announce { peer: PeerId(0), path_id, pre, post: Some(pre), now: path_id };
            prop_assert_eq!(rib.v4.announce(&mut rib.common, key(0), a), Announced::New);
            model.insert(path_id);
        }
        for g in gone {
            prop_assert_eq!(rib.v4.withdraw(&mut rib.common, PeerId(0), g, key(0)), model.remove(&g));
            let route = rib.v4.get(key(0));
            let mut seen: Vec<_> = route.iter().flat_map(|r| &r.paths).map(|p| (p.path_id, p.learnt)).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(model.iter().map(|m| (*m, *m))));
            rib.v4.drain(&mut rib.common, 1, |_, _| {});
            prop_assert_eq!(rib.v4.best(key(0)).map(|p| p.path_id), model.first().copied());
        }
    }

    #[test]
    fn walks_and_matches_are_those_of_a_sorted_list(keys in prop::collection::btree_set((any::<u16>(), 0u8..=32), 0..60), ask in (any::<u16>(), 0u8..=32), page in 1usize..10) {
        use ipnet::Ipv4Net;
        let net = |(bits, len): (u16, u8)| Ipv4Net::new_assert(u32::from(bits).rotate_right(9).into(), len).trunc();
        let mut rib = Rib::new();
        rib.common.peers.set(PeerId(0), peer(0));
        let s = Spec { local_pref: None, path: vec![], origin: 0, med: None, originator: None, clusters: 0, hop: 0, community: None };
        let pre = rib.common.store.intern(s.attrs().view());
        let mut nets: Vec<_> = keys.into_iter().map(net).collect();
        for n in &nets {
            let a = Announce { peer: PeerId(0), path_id: 0, pre, post: None, now: 0 };
            rib.v4.announce(&mut rib.common, (*n).into(), a);
        }
        nets.sort_unstable();
        nets.dedup();
        let ask = net(ask);
        let walk = |longer: bool| {
            let (mut seen, mut at, mut first) = (Vec::new(), None, true);
            while at.is_some() || first {
                let each = |r: Route<V4>| seen.push(Ipv4Net::from(r.key));
                at = if longer { rib.v4.longer(ask.into(), at, page, each) } else { rib.v4.walk(at, page, each) };
                first = false;
            }
            seen
        };
        prop_assert_eq!(walk(false), nets.clone());
        let within: Vec<_> = nets.iter().copied().filter(|n| ask.contains(n)).collect();
        prop_assert_eq!(walk(true), within);
        let covering: Vec<_> = nets.iter().copied().filter(|n| n.contains(&ask)).collect();
        let found = rib.v4.longest(ask.into(), |_| true).map(|r| r.key.into());
        prop_assert_eq!(found, covering.last().copied());
        let second = rib.v4.longest(ask.into(), |r| Some(Ipv4Net::from(r.key)) != covering.last().copied()).map(|r| r.key.into());
        prop_assert_eq!(second, covering.iter().rev().nth(1).copied());
    }
}
