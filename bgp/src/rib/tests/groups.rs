//! Random histories with update groups: what every member holds in the end is what export makes of the choice.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::*;
use super::PEERS;
use super::obvious::{Contender, decide};
use super::tables::{Op, Pair, key_number, op, options};
use crate::attrs::{AttrBuf, Community, SegmentKind, View, code, flag};
use crate::types::{Asn, PathId, PeerId, Relation, VrfNo};

/// Members: the neighbours of the table, and two that send nothing.
const MEMBERS: u16 = PEERS + 2;

const GROUPS: [Advertise; 5] = [
    Advertise::Best,
    Advertise::Best,
    Advertise::BestExternal,
    Advertise::AddPath(2),
    Advertise::AddPath(100),
];

#[derive(Clone, Debug)]
enum Event {
    Table(Op),
    Join(u16, u16),
    Leave(u16, u16),
    ExportAgain(u16),
    Resend(u16, u16),
    Regroup(u16, u16, u16),
    Room(u16, Room),
    Advertise(u16, usize),
}

fn event(steady: bool) -> impl Strategy<Value = Event> {
    let g = || 0..GROUPS.len() as u16;
    let m = || 0..MEMBERS;
    let room = prop_oneof![2 => Just(Room::Yes), 1 => Just(Room::Wait), 2 => Just(Room::Lag)];
    let moves = u32::from(!steady);
    prop_oneof![
        30 => op().prop_map(Event::Table),
        4 * moves => (g(), m()).prop_map(|(g, m)| Event::Join(g, m)),
        moves => (g(), m()).prop_map(|(g, m)| Event::Leave(g, m)),
        1 => g().prop_map(Event::ExportAgain),
        moves => (g(), m()).prop_map(|(g, m)| Event::Resend(g, m)),
        2 * moves => (g(), g(), m()).prop_map(|(a, b, m)| Event::Regroup(a, b, m)),
        4 * moves => (m(), room).prop_map(|(m, r)| Event::Room(m, r)),
        12 => (g(), 1usize..12).prop_map(|(g, n)| Event::Advertise(g, n)),
    ]
}

/// The export policy of a group, in two versions; that of the second group looks at prefixes.
#[derive(Debug, Default)]
struct Policy {
    second: [bool; GROUPS.len()],
}

impl Policy {
    fn verdict(&self, g: u16, k: u8, stale: Staleness, v: View<'_>, out: &mut AttrBuf) -> bool {
        out.copy_from(v);
        let second = self.second[usize::from(g)];
        if v.med() == Some(if second { 1 } else { 0 }) {
            return false;
        }
        if g == 1 {
            if k % 3 == u8::from(second) {
                return false;
            }
            out.set_med(u32::from(k & 1));
        }
        out.prepend(SegmentKind::Sequence, Asn(if second { 70 } else { 71 }), 1);
        if stale == Staleness::LongLived {
            let c = Community::LLGR_STALE.0.to_be_bytes();
            out.set(flag::OPTIONAL | flag::TRANSITIVE, code::COMMUNITIES, &c);
        }
        true
    }
}

impl Export<V4> for Policy {
    fn by_prefix(&self, g: GroupId) -> bool {
        g.0 == 1
    }

    fn export(&mut self, g: GroupId, k: V4, p: &Path, v: View<'_>, out: &mut AttrBuf) -> bool {
        self.verdict(g.0, key_number(k), p.stale, v, out)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    attrs: AttrBuf,
    /// From before it asked for everything again.
    old: bool,
}

/// What a member holds.
#[derive(Clone, Debug, Default)]
struct Mirror {
    routes: BTreeMap<(u8, PathId), Held>,
    /// How often everything was promised and not finished.
    awaits: bool,
    ends: usize,
}

#[derive(Debug, Default)]
struct Mirrors {
    of: BTreeMap<(u16, u16), Mirror>,
    rooms: BTreeMap<u16, Room>,
    group: u16,
    /// Nobody is told to drop what he does not have.
    strict: bool,
    runs: usize,
}

impl Sink<V4> for Mirrors {
    fn room(&mut self, m: PeerId) -> Room {
        *self.rooms.get(&m.0).unwrap_or(&Room::Yes)
    }

    fn announce(&mut self, to: &Audience<'_>, attrs: View<'_>, run: &[(PathId, V4)]) {
        self.runs += 1;
        assert!(!run.is_empty() && to.iter().next().is_some());
        for m in to.iter() {
            assert_eq!(self.room(m), Room::Yes);
            let mirror = self.of.get_mut(&(self.group, m.0)).expect("a member");
            for (id, k) in run {
                let held = Held {
                    attrs: attrs.to_buf(),
                    old: false,
                };
                mirror.routes.insert((key_number(*k), *id), held);
            }
        }
    }

    fn withdraw(&mut self, to: &Audience<'_>, run: &[(PathId, V4)]) {
        assert!(!run.is_empty() && to.iter().next().is_some());
        for m in to.iter() {
            assert_eq!(self.room(m), Room::Yes);
            let mirror = self.of.get_mut(&(self.group, m.0)).expect("a member");
            for (id, k) in run {
                let had = mirror.routes.remove(&(key_number(*k), *id));
                assert!(had.is_some() || !self.strict, "{m:?} {id} {k:?}");
            }
        }
    }

    fn end_of_rib(&mut self, m: PeerId) {
        let mirror = self.of.get_mut(&(self.group, m.0)).expect("a member");
        assert!(mirror.awaits, "nothing was promised to {m:?}");
        (mirror.awaits, mirror.ends) = (false, mirror.ends + 1);
    }
}

struct World {
    pair: Pair,
    policy: Policy,
    mirrors: Mirrors,
}

impl World {
    fn new(options: Options) -> Self {
        let mut pair = Pair::new(options);
        for (n, mode) in GROUPS.into_iter().enumerate() {
            assert_eq!(pair.rib.v4.add_group(mode), GroupId(n as u16));
        }
        Self {
            pair,
            policy: Policy::default(),
            mirrors: Mirrors::default(),
        }
    }

    fn join(&mut self, g: u16, m: u16) {
        self.pair.rib.v4.join(GroupId(g), PeerId(m));
        let mirror = self.mirrors.of.entry((g, m)).or_default();
        mirror.awaits |= mirror.ends == 0;
    }

    fn advertise(&mut self, g: u16, budget: usize) -> bool {
        self.mirrors.group = g;
        let Rib { common, v4, .. } = &mut self.pair.rib;
        v4.advertise(
            common,
            GroupId(g),
            budget,
            &mut self.policy,
            &mut self.mirrors,
        )
    }

    fn apply(&mut self, e: Event) {
        match e {
            Event::Table(op) => self.pair.apply(op),
            Event::Join(g, m) => self.join(g, m),
            Event::Leave(g, m) => {
                let v4 = &mut self.pair.rib.v4;
                v4.leave(GroupId(g), PeerId(m));
                self.mirrors.of.remove(&(g, m));
            }
            Event::ExportAgain(g) => {
                let second = &mut self.policy.second[usize::from(g)];
                *second = !*second;
                let v4 = &mut self.pair.rib.v4;
                v4.export_again(GroupId(g));
            }
            Event::Resend(g, m) => {
                let Rib { common, v4, .. } = &mut self.pair.rib;
                v4.resend(common, GroupId(g), PeerId(m));
                if let Some(mirror) = self.mirrors.of.get_mut(&(g, m)) {
                    mirror.awaits = true;
                    mirror.routes.values_mut().for_each(|h| h.old = true);
                }
            }
            Event::Regroup(a, b, m) => {
                let add = |g: u16| matches!(GROUPS[usize::from(g)], Advertise::AddPath(_));
                if add(a) == add(b) && !self.mirrors.of.contains_key(&(b, m)) {
                    let Rib { common, v4, .. } = &mut self.pair.rib;
                    v4.regroup(common, GroupId(a), GroupId(b), PeerId(m));
                    if let Some(mirror) = self.mirrors.of.remove(&(a, m)) {
                        self.mirrors.of.insert((b, m), mirror);
                    }
                }
            }
            Event::Room(m, r) => {
                self.mirrors.rooms.insert(m, r);
            }
            Event::Advertise(g, n) => {
                self.advertise(g, n);
            }
        }
    }

    fn finish(&mut self) {
        self.mirrors.rooms.clear();
        self.pair.finish();
        for g in 0..GROUPS.len() as u16 {
            // Once more for those who have just caught up.
            while self.advertise(g, 3) {}
            while self.advertise(g, 3) {}
        }
    }

    /// The paths that a group should be told of.
    fn wanted(&self, g: u16, k: u8) -> Vec<Contender> {
        let mut all = self.chosen(g, k);
        all.retain(|c| !c.last_resort);
        all
    }

    /// The same, with those that it does not hear of for now.
    fn chosen(&self, g: u16, k: u8) -> Vec<Contender> {
        let o = &self.pair.rib.common.options;
        let all = self.pair.contenders(k);
        let Some(best) = decide(&all, o).into_iter().next() else {
            return Vec::new();
        };
        let external =
            |c: &Contender| c.info.relation == Relation::External || c.info.local || c.info.leaked;
        match GROUPS[usize::from(g)] {
            Advertise::Best => vec![best],
            Advertise::BestExternal => {
                let outside: Vec<_> = all.iter().filter(|c| external(c)).cloned().collect();
                match decide(&outside, o).into_iter().next() {
                    Some(other) if !external(&best) => vec![other],
                    _ => vec![best],
                }
            }
            Advertise::AddPath(n) => {
                let (mut rest, mut out) = (all, Vec::new());
                while let Some(best) = decide(&rest, o).into_iter().next() {
                    rest.retain(|c| (c.peer, c.path_id) != (best.peer, best.path_id));
                    out.push(best);
                }
                out.truncate(n.into());
                out
            }
        }
    }

    fn check(&mut self) {
        self.pair.check();
        for ((g, m), mirror) in &self.mirrors.of {
            assert!(
                !mirror.awaits,
                "{m} of {g} was not told that it has everything"
            );
            let mut want = BTreeMap::new();
            for k in 0..8 {
                for c in self.wanted(*g, k).iter().filter(|c| c.peer != *m) {
                    let mut out = AttrBuf::new();
                    let stale = self.pair.model[&(k, c.peer, c.path_id)].stale;
                    if self.policy.verdict(*g, k, stale, c.attrs.view(), &mut out) {
                        let add = matches!(GROUPS[usize::from(*g)], Advertise::AddPath(_));
                        let id = (u32::from(c.peer) + 1) ^ c.path_id.rotate_left(16);
                        let held = Held {
                            attrs: out,
                            old: false,
                        };
                        want.insert((k, if add { id } else { 0 }), held);
                    }
                }
            }
            assert_eq!(mirror.routes, want, "member {m} of group {g}");
            self.check_views(*g, *m, mirror);
        }
    }

    fn check_views(&self, g: u16, m: u16, mirror: &Mirror) {
        let v4 = &self.pair.rib.v4;
        let keys: Vec<u8> = mirror.routes.keys().map(|(k, _)| *k).collect();
        let mut seen = Vec::new();
        let end = v4.advertised(GroupId(g), PeerId(m), None, 100, |k, p| {
            assert_ne!(p.peer, PeerId(m));
            seen.push(key_number(k));
        });
        assert_eq!(end, None);
        // Keys of the test stand in another order than their numbers.
        seen.sort_unstable();
        assert_eq!(seen, keys, "member {m} of group {g}");
        let n = v4.advertised_count(GroupId(g), PeerId(m));
        if matches!(GROUPS[usize::from(g)], Advertise::AddPath(_)) {
            assert!(n >= keys.len());
        } else {
            assert_eq!(n, keys.len(), "member {m} of group {g}");
        }
    }

    fn end(&mut self) {
        for p in 0..PEERS {
            self.pair.apply(Op::Down(p));
        }
        self.finish();
        self.check();
        self.pair.end();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_member_holds_what_export_makes_of_the_choice(
        options in options(),
        members in prop::collection::btree_set((0..GROUPS.len() as u16, 0..MEMBERS), 0..12),
        parts in prop::collection::vec(prop::collection::vec(event(false), 0..80), 1..4),
    ) {
        let mut w = World::new(options);
        members.into_iter().for_each(|(g, m)| w.join(g, m));
        for part in parts {
            part.into_iter().for_each(|e| w.apply(e));
            w.finish();
            w.check();
        }
        w.end();
    }

    #[test]
    fn who_keeps_pace_is_told_nothing_in_vain(
        options in options(),
        members in prop::collection::btree_set((0..GROUPS.len() as u16, 0..MEMBERS), 1..20),
        events in prop::collection::vec(event(true), 0..150),
    ) {
        let mut w = World::new(options);
        let groups: BTreeSet<u16> = members.iter().map(|(g, _)| *g).collect();
        members.into_iter().for_each(|(g, m)| w.join(g, m));
        groups.into_iter().for_each(|g| while w.advertise(g, 9) {});
        w.mirrors.strict = true;
        events.into_iter().for_each(|e| w.apply(e));
        w.finish();
        w.check();
        w.end();
    }
}

/// Announces prefixes of a neighbour with attributes that `of` gives.
fn fill(rib: &mut Rib, p: u16, n: u32, of: impl Fn(u32) -> u32) {
    for i in 0..n {
        let mut a = AttrBuf::new();
        a.next_hop = Some(super::hop(p as u8));
        a.set_as_path([(
            SegmentKind::Sequence,
            &[Asn(1 + of(i)), Asn(u32::from(p))][..],
        )]);
        let pre = rib.common.store.intern(a.view());
        for id in rib.common.store.hops.events().collect::<Vec<_>>() {
            if let HopEvent::Wanted(id, ..) = id {
                rib.set_next_hop(id, Some(1));
            }
        }
        let a = Announce {
            peer: PeerId(p),
            path_id: 0,
            pre,
            post: Some(pre),
            now: 0,
        };
        let k = ipnet::Ipv4Net::new_assert((i << 8).into(), 24).into();
        rib.v4.announce(&mut rib.common, k, a);
        rib.common.store.release(pre);
    }
}

/// Counts what is sent, and takes it all.
#[derive(Default)]
struct Count {
    runs: usize,
    routes: usize,
    withdrawn: usize,
}

impl Sink<V4> for Count {
    fn room(&mut self, _: PeerId) -> Room {
        Room::Yes
    }

    fn announce(&mut self, _: &Audience<'_>, _: View<'_>, run: &[(PathId, V4)]) {
        (self.runs, self.routes) = (self.runs + 1, self.routes + run.len());
    }

    fn withdraw(&mut self, _: &Audience<'_>, run: &[(PathId, V4)]) {
        self.withdrawn += run.len();
    }

    fn end_of_rib(&mut self, _: PeerId) {}
}

struct All;

impl Export<V4> for All {
    fn by_prefix(&self, _: GroupId) -> bool {
        false
    }

    fn export(&mut self, _: GroupId, _: V4, _: &Path, v: View<'_>, out: &mut AttrBuf) -> bool {
        out.copy_from(v);
        true
    }
}

#[test]
fn what_moves_to_another_neighbour_is_told_packed() {
    const N: u32 = 300_000;
    let mut rib = Rib::new();
    for p in 0..3 {
        rib.common.peers.set(PeerId(p), super::peer(p));
    }
    // Of the first, neighbours in order share attributes; of the second, those far apart.
    fill(&mut rib, 1, N, |i| i / 8);
    fill(&mut rib, 0, N, |i| i % 30_000);
    let g = rib.v4.add_group(Advertise::Best);
    rib.v4.join(g, PeerId(7));
    let turn = |rib: &mut Rib, count: &mut Count| {
        let Rib { common, v4, .. } = rib;
        v4.work(common, 1000, &mut |_: &mut Common, _, _, _, _| None);
        v4.drain(common, 1000, |_, _| {});
        v4.advertise(common, g, 1000, &mut All, count)
    };
    let settle = |rib: &mut Rib| {
        let mut count = Count::default();
        while turn(rib, &mut count) | rib.v4.working() || rib.v4.waiting() > 0 {}
        count
    };
    let first = settle(&mut rib);
    assert_eq!((first.routes, first.withdrawn), (N as usize, 0));
    rib.v4.peer_down(&mut rib.common, PeerId(1));
    let Rib { common, v4, .. } = &mut rib;
    let all = settle(&mut Rib {
        common: std::mem::take(common),
        v4: std::mem::take(v4),
        ..Rib::default()
    });
    assert_eq!((all.routes, all.withdrawn), (N as usize, 0));
    // Ten routes have the same attributes: a run each, and a few cut by the budget or taken in two rounds.
    assert!(all.runs < 30_000 + 1500, "{}", all.runs);
}

#[test]
fn what_a_member_does_not_read_costs_bits() {
    const N: u32 = 100_000;
    struct Deaf(Count);
    impl Sink<V4> for Deaf {
        fn room(&mut self, m: PeerId) -> Room {
            if m.0 == 8 { Room::Lag } else { Room::Yes }
        }
        fn announce(&mut self, to: &Audience<'_>, v: View<'_>, run: &[(PathId, V4)]) {
            assert!(to.iter().eq([PeerId(7)]));
            self.0.announce(to, v, run);
        }
        fn withdraw(&mut self, to: &Audience<'_>, run: &[(PathId, V4)]) {
            self.0.withdraw(to, run);
        }
        fn end_of_rib(&mut self, _: PeerId) {}
    }
    let mut rib = Rib::new();
    rib.common.peers.set(PeerId(0), super::peer(0));
    let g = rib.v4.add_group(Advertise::Best);
    rib.v4.join(g, PeerId(7));
    rib.v4.join(g, PeerId(8));
    let mut deaf = Deaf(Count::default());
    let (mut least, mut most) = (usize::MAX, 0);
    for round in 0..20 {
        fill(&mut rib, 0, N, |i| i / 8 + round);
        rib.v4.drain(&mut rib.common, usize::MAX, |_, _| {});
        while rib
            .v4
            .advertise(&mut rib.common, g, 10_000, &mut All, &mut deaf)
        {}
        let held = rib.v4.memory();
        (least, most) = (least.min(held), most.max(held));
    }
    assert!(deaf.0.routes > 1_900_000, "{}", deaf.0.routes);
    assert!(most - least < 64 << 10, "{least} {most}");
}

/// What concerns all prefixes is gone through in pages: `begin` has something begun, and then nothing is told for as many calls
/// as it takes to look at all of them.
#[test]
fn no_call_walks_over_the_whole_table() {
    const N: u32 = 10_000;
    const BUDGET: usize = 100;
    let mut rib = Rib::new();
    rib.common.peers.set(PeerId(0), super::peer(0));
    fill(&mut rib, 0, N, |i| i / 8);
    rib.v4.drain(&mut rib.common, usize::MAX, |_, _| {});
    for mode in [Advertise::Best, Advertise::AddPath(2)] {
        let groups = [rib.v4.add_group(mode), rib.v4.add_group(mode)];
        let quiet = |rib: &mut Rib, what: &str| {
            for g in groups {
                let (mut calls, mut count) = (0, Count::default());
                let Rib { common, v4, .. } = &mut *rib;
                while v4.advertise(common, g, BUDGET, &mut All, &mut count) {
                    calls += usize::from(count.routes == 0);
                }
                if count.routes > 0 {
                    assert_eq!(count.routes, N as usize, "{what}");
                    assert!(calls + 1 >= N as usize / BUDGET, "{what}: {calls} calls");
                    return;
                }
            }
            panic!("{what}: nothing was told");
        };
        rib.v4.join(groups[0], PeerId(7));
        quiet(&mut rib, "the first member");
        rib.v4.join(groups[0], PeerId(8));
        quiet(&mut rib, "the second member");
        rib.v4.resend(&mut rib.common, groups[0], PeerId(8));
        quiet(&mut rib, "asked for again");
        rib.v4.export_again(groups[0]);
        quiet(&mut rib, "another export policy");
        let Rib { common, v4, .. } = &mut rib;
        v4.regroup(common, groups[0], groups[1], PeerId(8));
        quiet(&mut rib, "another group");
        for (g, peer) in [(0, 7), (1, 8)] {
            rib.v4.leave(groups[g], PeerId(peer));
            rib.v4.remove_group(groups[g]);
        }
        pages(&mut rib, "what two cohorts were told");
        assert!(rib.v4.groups.iter().all(Option::is_none));
    }
    rib.v4.decide_all();
    assert_eq!(rib.v4.waiting(), 0);
    pages(&mut rib, "decided again");
    assert_eq!(rib.v4.waiting(), N as usize);

    fn pages(rib: &mut Rib, what: &str) {
        let mut calls = 0;
        while rib.v4.working() {
            let Rib { common, v4, .. } = &mut *rib;
            let done = v4.work(common, BUDGET, &mut |_: &mut Common, _, _, _, _| None);
            assert!(done <= BUDGET);
            calls += 1;
        }
        assert!(calls >= N as usize / BUDGET, "{what}: {calls} calls");
    }
}

/// Who is in one VRF costs nothing when others change: their prefixes are not even looked at.
#[test]
fn a_group_of_one_space_hears_of_no_other() {
    struct Heard(Vec<VrfNo>);
    impl Export<Vrf4> for Heard {
        fn by_prefix(&self, _: GroupId) -> bool {
            true
        }
        fn export(
            &mut self,
            _: GroupId,
            key: Vrf4,
            _: &Path,
            v: View<'_>,
            out: &mut AttrBuf,
        ) -> bool {
            self.0.push(key.space);
            out.copy_from(v);
            true
        }
    }
    #[derive(Default)]
    struct Told(Vec<VrfNo>, Vec<VrfNo>);
    impl Sink<Vrf4> for Told {
        fn room(&mut self, _: PeerId) -> Room {
            Room::Yes
        }
        fn announce(&mut self, _: &Audience<'_>, _: View<'_>, run: &[(PathId, Vrf4)]) {
            self.0.extend(run.iter().map(|(_, k)| k.space));
        }
        fn withdraw(&mut self, _: &Audience<'_>, run: &[(PathId, Vrf4)]) {
            self.1.extend(run.iter().map(|(_, k)| k.space));
        }
        fn end_of_rib(&mut self, _: PeerId) {}
    }
    let mut rib = Rib::new();
    rib.common.peers.set(PeerId(0), super::peer(0));
    let mut attrs = AttrBuf::new();
    attrs.set_local_pref(7);
    let groups = [1u16, 2].map(|n| {
        let g = rib.vrf4.add_group_of(Advertise::Best, Some(n.into()));
        rib.vrf4.join(g, PeerId(7 + n));
        g
    });
    let net = |n: u16| ipnet::Ipv4Net::new_assert([10, n as u8, 0, 0].into(), 16).into();
    let change = |rib: &mut Rib, come: bool| {
        let Rib { common, vrf4, .. } = rib;
        let id = common.store.intern(attrs.view());
        for (vrf, n) in (1..4u16).flat_map(|vrf| (0..50).map(move |n| (vrf, n))) {
            let Some(key) = Vrf4::of(VrfNo(vrf), net(n)) else {
                continue;
            };
            let a = Announce {
                peer: PeerId(0),
                path_id: 0,
                pre: id,
                post: Some(id),
                now: 0,
            };
            match come {
                true => drop(vrf4.announce(common, key, a)),
                false => drop(vrf4.withdraw(common, PeerId(0), 0, key)),
            }
        }
        common.store.release(id);
        vrf4.drain(common, usize::MAX, |_, _| {});
    };
    for (n, g) in [1u16, 2].into_iter().zip(groups) {
        let mut heard = Heard(Vec::new());
        let mut told = Told::default();
        change(&mut rib, true);
        let Rib { common, vrf4, .. } = &mut rib;
        while vrf4.advertise(common, g, 10, &mut heard, &mut told) {}
        assert_eq!(told.0, [VrfNo(n); 50]);
        assert!(heard.0.iter().all(|vrf| *vrf == VrfNo(n)), "{n}");
        change(&mut rib, false);
        let Rib { common, vrf4, .. } = &mut rib;
        while vrf4.advertise(common, g, 10, &mut heard, &mut told) {}
        assert_eq!(told.1, [VrfNo(n); 50]);
    }
}
