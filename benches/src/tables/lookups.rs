//! Lookups: by number of groups, kind of destination and size of burst; in a table of four times the size; in cold caches.

use std::fmt::Write as _;
use std::hint::black_box;

use anyhow::Result;
use dpdk_sys::rivals::Dpdk;

use super::field::{CRATES, Entry, Field, OURS, Rivals, line_up};
use super::{Plan, hop};
use crate::contest::{BURST, Destinations, Oracle, Way, check, time};
use crate::growth::grow;
use crate::host::breathe;
use crate::report::{Grid, Report, Row, figure, with_spread};
use crate::stats::Sample;
use crate::table::{Route, prefixes};
use crate::traffic::{Kind, destinations};

/// The kinds of destinations by name, and how many different ones there are of each.
const KINDS: [(&str, Kind); 4] = [
    ("route-random", Kind::RouteRandom),
    ("uniform", Kind::Uniform),
    ("zipf", Kind::Zipf),
    ("replay-64k", Kind::RouteRandom),
];
const REPLAYED: usize = 1 << 16;
/// Bursts that workers have when there is something to do.
pub(super) const BURSTS: [usize; 3] = [64, 128, 256];

/// A contestant and a way to ask it.
struct Lane<'a, F: Field> {
    name: &'static str,
    entry: usize,
    way: Way,
    to: &'a Destinations<F>,
    /// Of the lookups of a round, one in so many.
    less: usize,
}

/// All ways to ask all entries.
fn lanes<'a, F: Field>(
    entries: &mut [Entry<'_, F>],
    to: &'a Destinations<F>,
    scalar: bool,
) -> Vec<Lane<'a, F>> {
    let mut all = vec![];
    for (entry, e) in entries.iter_mut().enumerate() {
        let mut lane = |name, way, less| {
            all.push(Lane {
                name,
                entry,
                way,
                to,
                less,
            });
        };
        let slow = CRATES.contains(&e.name);
        if e.table.set_way(Way::Best).is_ok() {
            lane(e.name, Way::Best, if slow { 16 } else { 1 });
        }
        if scalar && e.name == OURS {
            lane("trunkline scalar", Way::Scalar, 1);
            if F::V6 {
                lane("trunkline, integers", Way::Integers, 1);
            }
        }
        if scalar && e.name == F::FIB {
            lane(F::FIB_SCALAR, Way::Scalar, 1);
        }
    }
    all
}

/// ns a lookup of each lane, in turns.
fn turns<F: Field>(
    entries: &mut [Entry<'_, F>],
    lanes: &[Lane<'_, F>],
    plan: &Plan,
    burst: usize,
) -> Result<Vec<Sample>> {
    let mut all = vec![Sample::default(); lanes.len()];
    for _ in 0..plan.rounds() {
        for (lane, sample) in lanes.iter().zip(&mut all) {
            let n = plan.destinations() / lane.less / if burst < 32 { 4 } else { 1 };
            let passes = n.div_ceil(lane.to.len());
            let part = n.min(lane.to.len());
            let table = &mut entries[lane.entry].table;
            table.set_way(lane.way)?;
            breathe();
            // What the others left in the caches is not this one's: the same once before, not timed.
            table.run(lane.to, 0..part, burst);
            sample.0.push(time(passes * part, || {
                for _ in 0..passes {
                    table.run(lane.to, 0..part, burst);
                }
            }));
        }
    }
    Ok(all)
}

/// Rows of one case, ours beside each rival; scalar beside scalar.
fn rows(case: &str, names: &[&'static str], samples: &[Sample], report: &mut Report) {
    let of = |name| names.iter().position(|n| *n == name).map(|i| &samples[i]);
    for (&name, sample) in names.iter().zip(samples) {
        if name.starts_with("trunkline") {
            continue;
        }
        let mut row = |metric, ours: &Sample| {
            report.rows.push(Row {
                case: case.into(),
                metric,
                unit: "ns",
                ours: ours.clone(),
                rival: Some((name, sample.clone())),
            });
        };
        if let Some(ours) = of(OURS) {
            row("lookup", ours);
        }
        if let (true, Some(ours)) = (name.ends_with("scalar"), of("trunkline scalar")) {
            row("lookup scalar", ours);
        }
    }
}

/// Figures of one case as cells: ours with its spread, theirs with ratios.
fn cells(names: &[&'static str], samples: &[Sample]) -> Vec<String> {
    let best = &samples[0];
    let scalar = names.iter().position(|n| *n == "trunkline scalar");
    let cell = |(name, s): (&&str, &Sample)| {
        let mut text = with_spread(s);
        if !name.starts_with("trunkline") {
            let _ = write!(text, " {:.2}x", best.ratio(s));
            if let (true, Some(i)) = (name.ends_with("scalar"), scalar) {
                let _ = write!(text, " [{:.2}x]", samples[i].ratio(s));
            }
        }
        text
    };
    names.iter().zip(samples).map(cell).collect()
}

/// Destinations of each kind.
fn traffic<F: Field>(table: &[Route<F>], plan: &Plan) -> Vec<(&'static str, Vec<u128>)> {
    let n = plan.destinations();
    let table = prefixes(table);
    KINDS
        .iter()
        .map(|&(name, kind)| {
            let n = if name == "replay-64k" {
                n.min(REPLAYED)
            } else {
                n
            };
            (name, destinations(2, kind, &table, n))
        })
        .collect()
}

/// All cases of one number of groups.
pub(super) fn at_size<F: Field>(
    dpdk: &Dpdk,
    plan: &Plan,
    table: &[Route<F>],
    groups: u32,
    report: &mut Report,
) -> Result<()> {
    let all = groups == 1_000;
    let rivals = if all { Rivals::All } else { Rivals::Dpdk };
    let mut entries = line_up(dpdk, table, groups, rivals)?;
    let traffic = traffic(table, plan);
    checked(&mut entries, table, groups, &traffic)?;
    let base = format!("{}/{groups} groups", F::NAME);
    memory_rows(&base, &entries, table.len(), report);

    let mut grid: Option<Grid> = None;
    for (kind, to) in &traffic {
        let to = Destinations::<F>::new(to);
        let few = plan.quick && groups == 65_000;
        let small: &[usize] = if *kind == "route-random" && !few {
            &[1, 8, 32]
        } else {
            &[]
        };
        let usual: &[usize] = if few { &[256] } else { &BURSTS };
        for &burst in small.iter().chain(usual) {
            // The crates look up one by one: one size says all.
            let with = |e: &Entry<'_, F>| burst == BURST || !CRATES.contains(&e.name);
            let scalar = burst == BURST || burst == 64;
            let mut lanes = lanes(&mut entries, &to, scalar);
            lanes.retain(|l| with(&entries[l.entry]));
            let samples = turns(&mut entries, &lanes, plan, burst)?;
            let names: Vec<&str> = lanes.iter().map(|l| l.name).collect();
            rows(
                &format!("{base}/{kind}/burst {burst}"),
                &names,
                &samples,
                report,
            );
            fill_in(
                &mut grid,
                &names,
                &samples,
                format!("{kind}, burst {burst}"),
            );
        }
    }
    report.say(&format!("lookups, {base} (ns; [..x]: of the scalar path)"));
    report.say(&grid.map(|g| g.text()).unwrap_or_default());
    if all {
        cold::<F>(plan, &mut entries, &traffic[0].1, &base, report)?;
    }
    Ok(())
}

/// The columns of the largest field, wherever they were first seen.
fn fill_in(grid: &mut Option<Grid>, names: &[&'static str], samples: &[Sample], case: String) {
    let grid = grid.get_or_insert_with(|| Grid::new([""]));
    let cells = cells(names, samples);
    grid.named(&case, names.iter().copied().zip(cells));
}

/// That everyone finds what the obvious table finds.
fn checked<F: Field>(
    entries: &mut [Entry<'_, F>],
    table: &[Route<F>],
    groups: u32,
    traffic: &[(&str, Vec<u128>)],
) -> Result<()> {
    let oracle = Oracle::new(table, hop(groups));
    for e in entries {
        for way in [Way::Best, Way::Scalar] {
            if e.table.set_way(way).is_ok() {
                for (_, to) in traffic {
                    let some = &to[..to.len().min(1 << 13)];
                    check(e.name, &mut *e.table, some, &oracle)?;
                }
            }
        }
    }
    Ok(())
}

/// Time to fill, and bytes.
fn memory_rows<F: Field>(base: &str, entries: &[Entry<'_, F>], routes: usize, report: &mut Report) {
    let mut grid = Grid::new([
        "",
        "lookup MB",
        "bytes a route",
        "with updates MB",
        "bytes a route",
        "filled in s",
    ]);
    let per = |b: usize| figure(b as f64 / routes as f64);
    let mb = |b: usize| figure(b as f64 / 1e6);
    let ours = entries[0].table.bytes();
    for e in entries {
        let (lookup, all) = e.table.bytes();
        let filled = e.filled.map_or("-".into(), figure);
        let cells = match (lookup, all) {
            (0, 0) => ["?"; 4].map(String::from),
            _ => [mb(lookup), per(lookup), mb(all), per(all)],
        };
        grid.line([e.name.to_owned()].into_iter().chain(cells).chain([filled]));
        if e.name == OURS {
            continue;
        }
        let mut row = |metric, unit, ours: f64, theirs: f64| {
            if theirs > 0.0 {
                report.rows.push(Row {
                    case: base.into(),
                    metric,
                    unit,
                    ours: ours.into(),
                    rival: Some((e.name, theirs.into())),
                });
            }
        };
        row("lookup memory", "bytes", ours.0 as f64, lookup as f64);
        row("all memory", "bytes", ours.1 as f64, all as f64);
        if let (Some(us), Some(them)) = (entries[0].filled, e.filled) {
            row("fill", "s", us, them);
        }
    }
    report.say(&format!("memory and time to fill, {base}"));
    report.say(&grid.text());
}

/// One burst after other work had the caches: the lookups of some destinations again and again, the other work, one burst.
fn cold<F: Field>(
    plan: &Plan,
    entries: &mut [Entry<'_, F>],
    to: &[u128],
    base: &str,
    report: &mut Report,
) -> Result<()> {
    const N: usize = 64;
    const WARM: usize = 4_096;
    let to = Destinations::<F>::new(&to[..WARM.min(to.len())]);
    let mut lanes = lanes(entries, &to, false);
    lanes.retain(|l| !CRATES.contains(&l.name));
    let names: Vec<&str> = lanes.iter().map(|l| l.name).collect();
    let mut work = vec![1u8; 64 << 20];
    let mut grid = Grid::new([""]);
    let tries = if plan.quick { 20 } else { 60 };
    for kib in [0, 256, 1024, 2048, 4096, 16 << 10, 64 << 10] {
        let mut samples = vec![Sample::default(); lanes.len()];
        for _ in 0..plan.rounds() {
            for (lane, sample) in lanes.iter().zip(&mut samples) {
                let table = &mut entries[lane.entry].table;
                table.set_way(lane.way)?;
                let mut once = |i: usize| {
                    table.run(lane.to, 0..lane.to.len(), BURST);
                    for line in work[..kib << 10].chunks_mut(64) {
                        line[0] = line[0].wrapping_add(1);
                    }
                    black_box(&mut work);
                    let at = i * N % (lane.to.len() - N);
                    time(N, || table.run(lane.to, at..at + N, N))
                };
                let each = Sample((0..tries).map(&mut once).collect());
                sample.0.push(each.median());
            }
        }
        let case = format!("{base}/route-random/cold after {kib} KiB");
        rows(&case, &names, &samples, report);
        let cells = cells(&names, &samples);
        grid.named(
            &format!("after {kib} KiB"),
            names.iter().copied().zip(cells),
        );
    }
    report.say(&format!(
        "cold caches: one burst of {N} out of {WARM} warm destinations, after other work went through so much memory, {base} \
         (ns a lookup)"
    ));
    report.say(&grid.text());
    Ok(())
}

/// Four times the routes.
pub(super) fn grown<F: Field>(
    dpdk: &Dpdk,
    plan: &Plan,
    table: &[Route<F>],
    report: &mut Report,
) -> Result<()> {
    let large = grow(table, 4);
    for groups in [64, 1_000] {
        let mut entries = line_up(dpdk, &large, groups, Rivals::Fib)?;
        let mut today = line_up(dpdk, table, groups, Rivals::Fib)?;
        today.truncate(1);
        today[0].name = "trunkline 1x";
        entries.append(&mut today);
        let (now, then) = (traffic(table, plan), traffic(&large, plan));
        checked(&mut entries[..2], &large, groups, &then)?;
        let base = format!("{}/{groups} groups/4x", F::NAME);
        memory_rows(&base, &entries[..2], large.len(), report);
        let mut grid = Grid::new([""]);
        for ((kind, to), (_, to_now)) in then.iter().zip(&now) {
            let (to, to_now) = (Destinations::new(to), Destinations::new(to_now));
            let mut lanes = lanes(&mut entries, &to, false);
            if let Some(l) = lanes.iter_mut().find(|l| l.name == "trunkline 1x") {
                l.to = &to_now;
            }
            let samples = turns(&mut entries, &lanes, plan, BURST)?;
            let names: Vec<&str> = lanes.iter().map(|l| l.name).collect();
            let case = format!("{base}/{kind}/burst {BURST}");
            rows(&case, &names, &samples, report);
            if let Some(i) = names.iter().position(|n| *n == "trunkline 1x") {
                report.rows.push(Row {
                    case,
                    metric: "lookup",
                    unit: "ns",
                    ours: samples[0].clone(),
                    rival: Some(("trunkline 1x", samples[i].clone())),
                });
            }
            grid.named(kind, names.iter().copied().zip(cells(&names, &samples)));
        }
        report.say(&format!(
            "lookups, {base}, burst {BURST}: {} routes (ns)",
            large.len()
        ));
        report.say(&grid.text());
    }
    Ok(())
}
