//! A reader beside the writer: whatever it finds was the right answer at some moment between its start and its end.

mod common;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use fib::{Tables, View};
use net::{GroupId, VrfId};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rcu::Reader;

/// What was right for each probe after so many changes, and how far the changes are.
struct Race<'a, F: Family> {
    probes: &'a [F::Addr],
    right: Vec<Vec<GroupId>>,
    /// Changes begun, and changes made.
    started: AtomicUsize,
    done: AtomicUsize,
    over: AtomicBool,
    /// Rounds of all readers.
    looks: AtomicUsize,
    ready: Barrier,
}

impl<F: Family> Race<'_, F> {
    /// Looks probes up until the race is over, and checks each answer against those that were right while it was sought.
    fn look(
        &self,
        tables: &Tables,
        mut reader: Reader,
        look_up: impl Fn(View<'_>, &[F::Addr], &mut [GroupId]),
    ) {
        let mut found = vec![GroupId::NONE; self.probes.len()];
        self.ready.wait();
        while !self.over.load(Ordering::SeqCst) {
            let from = self.done.load(Ordering::SeqCst);
            look_up(tables.read(&reader), self.probes, &mut found);
            let to = self.started.load(Ordering::SeqCst);
            for (i, group) in found.iter().enumerate() {
                let right = self.right[from..=to].iter().any(|r| r[i] == *group);
                assert!(
                    right,
                    "{:?}: {group:?} between {from} and {to}",
                    self.probes[i]
                );
            }
            self.looks.fetch_add(1, Ordering::SeqCst);
            reader.quiescent();
        }
    }
}

impl<F: Family> Race<'_, F> {
    fn wait_for_looks(&self, more: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        let until = self.looks.load(Ordering::SeqCst) + more;
        while self.looks.load(Ordering::SeqCst) < until {
            assert!(
                Instant::now() < end,
                "no reader looks: one has failed, or is stuck"
            );
            std::thread::yield_now();
        }
    }
}

/// Makes changes while one reader looks up the probes in bursts and another one of them at a time.
fn race<F: Family>(changes: &[Change<F>], probes: &[F::Addr]) {
    let mut oracle = Oracle::<F>::new();
    let mut right = vec![vec![GroupId::NONE; probes.len()]];
    for &change in changes {
        oracle.apply(change);
        right.push(probes.iter().map(|&a| oracle.lookup(a)).collect());
    }
    let (started, done, over) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicBool::new(false),
    );
    let race = Race::<F> {
        probes,
        right,
        started,
        done,
        over,
        looks: AtomicUsize::new(0),
        ready: Barrier::new(3),
    };
    let (domain, mut w) = writer(&[0]);
    let tables = w.replica(0);
    std::thread::scope(|s| {
        let readers = [domain.register("in bursts"), domain.register("one by one")];
        let (race, tables) = (&race, &*tables);
        let [bursts, singles] = readers;
        let bursts = s.spawn(move || race.look(tables, bursts, F::burst));
        let singles = s.spawn(move || {
            race.look(tables, singles, |view, probes, found| {
                found
                    .iter_mut()
                    .zip(probes)
                    .for_each(|(g, &a)| *g = F::lookup(view, a));
            })
        });
        race.ready.wait();
        let over = Over(&race.over); // also when a change panics
        for (i, &change) in changes.iter().enumerate() {
            race.started.store(i + 1, Ordering::SeqCst);
            apply(&mut w, change);
            race.done.store(i + 1, Ordering::SeqCst);
            if i % 8 == 0 {
                w.flush();
            }
            // On a busy machine all could be over before anybody has looked.
            if i % 512 == 0 {
                race.wait_for_looks(4);
            }
        }
        drop(over);
        bursts.join().unwrap();
        singles.join().unwrap();
    });
    w.flush();
    assert_eq!(w.pending(), 0, "readers are gone");
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn many<F: Family>() {
    // Few prefixes, so that all of them come and go again and again, and long chains of nodes with them.
    let mut runner = TestRunner::deterministic();
    for _ in 0..8 {
        let pool = prop::collection::vec(any_change::<F>(), 24)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let picks = prop::collection::vec((0..pool.len(), 0..=GROUPS), 4000)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let group = |g| Some(GroupId(g)).filter(|g| !g.is_none());
        let changes: Vec<Change<F>> = picks
            .into_iter()
            .map(|(i, g)| Change {
                prefix: pool[i].prefix,
                group: group(g),
            })
            .collect();
        let probes: Vec<F::Addr> = pool.iter().flat_map(|c| edges::<F>(c.prefix)).collect();
        race(&changes, &probes);
    }
}

#[test]
fn v4_readers_find_only_right_answers() {
    many::<V4>();
}

#[test]
fn v6_readers_find_only_right_answers() {
    many::<V6>();
}

#[test]
fn vrf_readers_find_only_right_answers_in_v4() {
    many::<Vrf4>();
}

#[test]
fn vrf_readers_find_only_right_answers_in_v6() {
    many::<Vrf6>();
}

/// A short prefix and a longer one take turns, so that there always is a route; see `fib::short`.
#[test]
fn a_route_that_changes_hands_is_never_missed() {
    fn run<F: Family>(addr: F::Addr, long: u8) {
        let (short, long) = (F::prefix(addr, 4), F::prefix(addr, long));
        let set = |prefix, g| Change {
            prefix,
            group: Some(GroupId(g)),
        };
        let del = |prefix| Change {
            prefix,
            group: None,
        };
        let turn = [
            set(short, 1),
            del(long),
            set(short, 2),
            set(long, 3),
            del(short),
        ];
        let changes: Vec<Change<F>> = std::iter::repeat_n(turn, 4000).flatten().collect();
        race(&changes, &[addr]);
    }
    run::<V4>(0x0a01_0203, 9);
    run::<V4>(0x0a01_0203, 32);
    run::<V6>(0x2001_0db8_0001_0002_0003_0004_0005_0006, 13);
    run::<V6>(0x2001_0db8_0001_0002_0003_0004_0005_0006, 128);
    run::<Vrf4>((VrfId(7), 0x0a01_0203), 32);
    let host = 0x2001_0db8_0001_0002_0003_0004_0005_0006;
    run::<Vrf6>((VrfId(7), host), 128);
}
