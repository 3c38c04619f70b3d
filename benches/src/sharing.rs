//! `cargo testbed bench rcu`: what a worker's report costs each loop, and a frame that goes from core to core by a ring.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use dpdk_sys::rivals::{Dpdk, Qsbr, Ring};
use rcu::{Domain, ring};

use crate::contest::time;
use crate::host::{Host, Realtime};
use crate::report::{self, Bar, Grid, Report, Row, with_spread};
use crate::stats::Sample;

/// Items that travel together.
const BURST: usize = 32;
const ROOM: usize = 1024;

/// Measures all.
///
/// # Errors
/// DPDK has no memory.
pub fn run(dpdk: &Dpdk, quick: bool, host: &Host) -> Result<Report> {
    let mut report = Report::default();
    let head = [
        host.summary(),
        host.date.clone(),
        host.commit.clone(),
        Dpdk::version(),
    ];
    report.say(&format!("{}\ncommand: {}\n", head.join("\n"), host.command));
    let rounds = if quick { 5 } else { 11 };
    reports(dpdk, rounds, &mut report)?;
    rings(dpdk, rounds, &mut report)?;
    let bars = [
        bar(&report, "a report each loop", REPORT, 1.0),
        bar(&report, "a frame through a ring, core to core", RING, 5.0),
    ];
    report.say(&report::bars(&bars));
    Ok(report)
}

const REPORT: &str = "rcu/report";
const RING: &str = "ring/two cores/burst 32";

fn bar(report: &Report, what: &str, case: &str, most: f64) -> Bar {
    let row = report.rows.iter().find(|r| r.case == case);
    Bar {
        what: what.into(),
        want: most,
        got: row.map(|r| r.ours.median()),
        at_most: true,
        unit: " ns",
    }
}

/// A name and a way to spend so many turns; gives ns for each.
type Lane<'a> = (&'static str, Box<dyn FnMut(u64) -> f64 + 'a>);

/// In turns; the first lane is ours.
fn turns(case: &str, lanes: &mut [Lane<'_>], n: u64, rounds: usize, report: &mut Report) {
    let mut samples = vec![Sample::default(); lanes.len()];
    for _ in 0..rounds {
        for ((_, run), sample) in lanes.iter_mut().zip(&mut samples) {
            run(n / 16);
            sample.0.push(run(n));
        }
    }
    let mut grid = Grid::new(["", "ns", "times ours"]);
    for ((name, _), s) in lanes.iter().zip(&samples) {
        grid.line([
            (*name).to_owned(),
            with_spread(s),
            format!("{:.2}x", samples[0].ratio(s)),
        ]);
    }
    for ((name, _), s) in lanes.iter().zip(&samples).skip(1) {
        report.rows.push(Row {
            case: case.into(),
            metric: "time",
            unit: "ns",
            ours: samples[0].clone(),
            rival: Some((name, s.clone())),
        });
    }
    report.say(case);
    report.say(&grid.text());
}

/// ns of each of `n` turns.
fn each(n: u64, mut f: impl FnMut()) -> f64 {
    time(n as usize, || (0..n).for_each(|_| f()))
}

/// What a reader does once a loop so that writers know where it is.
fn reports(dpdk: &Dpdk, rounds: usize, report: &mut Report) -> Result<()> {
    let _quiet = Realtime::enter();
    let domain = Domain::new();
    let mut reader = domain.register("bench");
    let mut qsbr = Qsbr::new(dpdk)?;
    let swap = Arc::new(ArcSwap::from_pointee(7u64));
    let mut cache = arc_swap::Cache::new(Arc::clone(&swap));
    let (_writer, left_right) = left_right::new::<Number, ()>();
    let mut lanes: Vec<Lane<'_>> = vec![
        (
            "trunkline",
            Box::new(|n| each(n, || black_box(&mut reader).quiescent())),
        ),
        (
            "rte_rcu_qsbr",
            Box::new(|n| time(n as usize, || qsbr.reports(n))),
        ),
        (
            "arc-swap cache",
            Box::new(|n| each(n, || _ = black_box(black_box(&mut cache).load()))),
        ),
        (
            "crossbeam-epoch pin",
            Box::new(|n| each(n, || drop(black_box(crossbeam::epoch::pin())))),
        ),
        (
            "left-right",
            Box::new(|n| each(n, || drop(black_box(left_right.enter())))),
        ),
    ];
    turns(REPORT, &mut lanes, 8_000_000, rounds, report);
    Ok(())
}

/// For left-right, which wants operations.
#[derive(Clone, Default)]
struct Number(#[allow(dead_code, reason = "read by nobody: entering is what costs")] u64);

impl left_right::Absorb<()> for Number {
    fn absorb_first(&mut self, (): &mut (), _: &Self) {}
    fn sync_with(&mut self, first: &Self) {
        self.clone_from(first);
    }
}

/// Items from one core to another.
fn rings(dpdk: &Dpdk, rounds: usize, report: &mut Report) -> Result<()> {
    let cpus: Vec<usize> = hugepages::topology::Machine::detect()
        .map(|m| m.cpus())
        .unwrap_or_default();
    let [first, .., last] = cpus[..] else {
        report.say("rings: not measured, they need two cores");
        return Ok(());
    };
    let mut dpdks = Ring::new(dpdk, ROOM as u32).context("a ring")?;
    let queue = ArrayQueue::<u64>::new(ROOM);
    let mut lanes: Vec<Lane<'_>> = vec![
        (
            "trunkline",
            Box::new(move |n| {
                let (mut tx, mut rx) = ring::spsc::<u64>(ROOM);
                let push = move |from: u64, to: u64| tx.push_burst(&mut (from..to));
                across(first, last, n, push, move || {
                    rx.drain(BURST).map(black_box).count()
                })
            }),
        ),
        (
            "rte_ring SPSC",
            Box::new(|n| {
                let (mut tx, mut rx) = dpdks.split();
                let push = move |from: u64, to: u64| {
                    let mut items = [0; BURST];
                    items.iter_mut().zip(from..to).for_each(|(i, x)| *i = x);
                    tx.push(&items[..(to - from) as usize])
                };
                let mut items = [0; BURST];
                across(first, last, n, push, move || black_box(rx.pop(&mut items)))
            }),
        ),
        (
            "crossbeam ArrayQueue",
            Box::new(|n| {
                let push =
                    |from: u64, to: u64| (from..to).take_while(|&x| queue.push(x).is_ok()).count();
                let pop = || (0..BURST).map_while(|_| queue.pop()).map(black_box).count();
                across(first, last, n, push, pop)
            }),
        ),
    ];
    turns(RING, &mut lanes, 4_000_000, rounds, report);
    Ok(())
}

/// ns an item from a producer on one core to a consumer on another; `push` takes a range of numbers and says how many went.
fn across(
    first: usize,
    last: usize,
    n: u64,
    mut push: impl FnMut(u64, u64) -> usize + Send,
    mut pop: impl FnMut() -> usize,
) -> f64 {
    let ready = Barrier::new(2);
    std::thread::scope(|s| {
        s.spawn(|| {
            hugepages::topology::pin(first);
            ready.wait();
            let mut sent = 0;
            while sent < n {
                match push(sent, n.min(sent + BURST as u64)) {
                    0 => std::hint::spin_loop(),
                    k => sent += k as u64,
                }
            }
        });
        hugepages::topology::pin(last);
        ready.wait();
        let start = Instant::now();
        let mut got = 0;
        while got < n {
            match pop() {
                0 => std::hint::spin_loop(),
                k => got += k as u64,
            }
        }
        start.elapsed().as_nanos() as f64 / n as f64
    })
}
