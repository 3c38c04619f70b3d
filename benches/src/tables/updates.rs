//! Changes at full table, one by one, each with a clock around it (some 30 ns of what is shown are the clock's).
//!
//! Mixed: replace, delete, add, a third each, over all routes. Churn: a thousand routes come and go. Longer: prefixes longer
//! than the Internet's (25 to 32 bits, 49 to 128) come and go. Every 256 changes Trunkline's control loop takes its turn
//! (`flush`), which counts for the change before it. Build: the whole table into empty ones.

use std::time::{Duration, Instant};

use anyhow::Result;
use dpdk_sys::rivals::Dpdk;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::field::{Entry, Field, OURS, Rivals, line_up};
use super::{Plan, hop};
use crate::contest::{Contestant, Oracle, Ours, TURN, check, fill};
use crate::host::Breath;
use crate::report::{Grid, Report, Row, figure};
use crate::stats::{Sample, quantile};
use crate::table::{Route, prefixes};
use crate::traffic::{Kind, destinations};

const GROUPS: u32 = 1_000;
/// No contestant gets more time for one kind of changes.
const PATIENCE: Duration = Duration::from_secs(3);

/// A prefix gets a next hop, or goes (0).
type Change<F> = (F, u32);

/// The quantiles that are shown.
const PARTS: [(&str, f64); 3] = [
    ("update p50", 0.5),
    ("update p99", 0.99),
    ("update p99.9", 0.999),
];

pub(super) fn measure<F: Field>(
    dpdk: &Dpdk,
    plan: &Plan,
    table: &[Route<F>],
    report: &mut Report,
) -> Result<()> {
    let mut entries = line_up(dpdk, table, GROUPS, Rivals::All)?;
    // rte_lpm was painted and knows no rules.
    entries.retain(|e| e.filled.is_some());
    let n = match plan.routes {
        Some(_) => 2_000,
        None if plan.quick => 60_000,
        None => 300_000,
    };
    let mut oracle = Oracle::new(table, hop(GROUPS));
    let to = destinations(5, Kind::RouteRandom, &prefixes(table), 1 << 13);
    for (kind, changes) in [
        ("mixed", mixed(table, n)),
        ("churn", churn(table, n)),
        ("longer", longer(table, n)),
    ] {
        let base = format!("{}/{GROUPS} groups/{kind}", F::NAME);
        let (spent, refused) = turns(&mut entries, &changes, plan.rounds())?;
        rows(&base, &entries, &spent, report);
        for (name, why) in &refused {
            report.say(&format!(
                "({name} takes no more of these: {why}; its figures are of those before)\n"
            ));
        }
        // What they hold from now on is not what they were asked to.
        entries.retain(|e| refused.iter().all(|(name, _)| *name != e.name));
        for &(prefix, hop) in &changes {
            oracle.set(prefix, hop);
        }
        for e in entries
            .iter_mut()
            .filter(|e| e.name == OURS || e.name == F::FIB)
        {
            check(e.name, &mut *e.table, &to, &oracle)?;
        }
    }
    drop(entries);
    builds::<F>(plan, table, report)
}

/// ns of each change, by contestant and round.
type Spent = Vec<Vec<Vec<f64>>>;
/// Rivals that had no room for a change, and why.
type Refused = Vec<(&'static str, String)>;

fn turns<F: Field>(
    entries: &mut [Entry<'_, F>],
    changes: &[Change<F>],
    rounds: usize,
) -> Result<(Spent, Refused)> {
    let mut spent = vec![vec![]; entries.len()];
    let mut refused = vec![];
    let mut since = vec![Duration::ZERO; entries.len()];
    for part in changes.chunks(changes.len().div_ceil(rounds)) {
        for (i, e) in entries.iter_mut().enumerate() {
            let mut each = Vec::with_capacity(part.len());
            let mut breath = Breath::start();
            for (k, &(prefix, hop)) in part.iter().enumerate() {
                if since[i] > PATIENCE {
                    break;
                }
                breath.when_due();
                let start = Instant::now();
                match change(&mut *e.table, prefix, hop) {
                    Err(why) if e.name != OURS => {
                        refused.push((e.name, format!("{why:#}")));
                        since[i] = Duration::MAX;
                        break;
                    }
                    done => done?,
                }
                if k % TURN == TURN - 1 {
                    e.table.settle();
                }
                let took = start.elapsed();
                since[i] += took;
                each.push(took.as_nanos() as f64);
            }
            e.table.settle();
            if !each.is_empty() {
                each.sort_by(f64::total_cmp);
                spent[i].push(each);
            }
        }
    }
    Ok((spent, refused))
}

fn change<F: Field>(t: &mut dyn Contestant<F>, prefix: F, hop: u32) -> Result<()> {
    match hop {
        0 => t.del(prefix),
        _ => t.set(prefix, hop)?,
    }
    Ok(())
}

fn rows<F: Field>(
    base: &str,
    entries: &[Entry<'_, F>],
    spent: &[Vec<Vec<f64>>],
    report: &mut Report,
) {
    let of = |rounds: &[Vec<f64>], part| Sample(rounds.iter().map(|r| quantile(r, part)).collect());
    let max = |rounds: &[Vec<f64>]| rounds.iter().flatten().copied().fold(0.0, f64::max);
    let mut grid = Grid::new(["", "p50", "p99", "p99.9", "max", "changes"]);
    for (i, e) in entries.iter().enumerate() {
        let cells = PARTS.map(|(_, part)| {
            let (us, them) = (of(&spent[0], part), of(&spent[i], part));
            match e.name {
                OURS => figure(us.median()),
                _ => format!(
                    "{} {:.2}x",
                    figure(them.median()),
                    them.median() / us.median()
                ),
            }
        });
        let counted: usize = spent[i].iter().map(Vec::len).sum();
        let last = [figure(max(&spent[i])), counted.to_string()];
        grid.line([e.name.to_owned()].into_iter().chain(cells).chain(last));
        if e.name == OURS {
            continue;
        }
        let mut row = |metric, ours: Sample, theirs: Sample| {
            report.rows.push(Row {
                case: base.into(),
                metric,
                unit: "ns",
                ours,
                rival: Some((e.name, theirs)),
            });
        };
        for (metric, part) in PARTS {
            row(metric, of(&spent[0], part), of(&spent[i], part));
        }
        row("update max", max(&spent[0]).into(), max(&spent[i]).into());
    }
    report.say(&format!("changes one by one, {base} (ns)"));
    report.say(&grid.text());
}

/// Replace, delete and add, a third each; what was deleted comes back a thousand deletions later, and at the end.
fn mixed<F: Field>(table: &[Route<F>], n: usize) -> Vec<Change<F>> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut gone = std::collections::VecDeque::new();
    let mut absent = std::collections::HashSet::new();
    let mut all = Vec::with_capacity(n + 1_000);
    let waiting = 1_000.min(table.len() / 4);
    while all.len() < n {
        let r = table[rng.random_range(0..table.len())];
        if absent.contains(&r.prefix) {
            continue;
        }
        match all.len() % 3 {
            0 => all.push((r.prefix, rng.random_range(1..=GROUPS))),
            1 => {
                all.push((r.prefix, 0));
                absent.insert(r.prefix);
                gone.push_back(r);
            }
            _ if gone.len() > waiting => {
                let r = gone.pop_front().expect("more than some");
                absent.remove(&r.prefix);
                all.push((r.prefix, hop(GROUPS)(&r)));
            }
            _ => all.push((r.prefix, rng.random_range(1..=GROUPS))),
        }
    }
    all.extend(gone.iter().map(|r| (r.prefix, hop(GROUPS)(r))));
    all
}

/// A thousand routes go and come, one after the other, again and again.
fn churn<F: Field>(table: &[Route<F>], n: usize) -> Vec<Change<F>> {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let some: Vec<Route<F>> = (0..1_000)
        .map(|_| table[rng.random_range(0..table.len())])
        .collect();
    let flap = |r: &Route<F>| [(r.prefix, 0), (r.prefix, hop(GROUPS)(r))];
    some.iter().cycle().flat_map(flap).take(n / 2 * 2).collect()
}

/// Prefixes longer than those of the Internet come; two thousand changes later they go.
fn longer<F: Field>(table: &[Route<F>], n: usize) -> Vec<Change<F>> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let known: std::collections::HashSet<F> = table.iter().map(|r| r.prefix).collect();
    let shortest = if F::V6 { 49 } else { 25 };
    let mut here = std::collections::VecDeque::new();
    let mut all: Vec<Change<F>> = Vec::with_capacity(n + 2_000);
    let mut present = std::collections::HashSet::new();
    while all.len() < n {
        let len = rng.random_range(shortest..=F::BITS);
        let under = table[rng.random_range(0..table.len())].prefix;
        let host = match u32::from(F::BITS - under.bits()) {
            0 => 0,
            bits => rng.random::<u128>() >> (128 - bits),
        };
        let p = F::of(under.first() | host, len);
        if known.contains(&p) || !present.insert(p) {
            continue;
        }
        all.push((p, rng.random_range(1..=GROUPS)));
        here.push_back(p);
        if here.len() > 1_000 {
            let p = here.pop_front().expect("a thousand");
            present.remove(&p);
            all.push((p, 0));
        }
    }
    all.extend(here.into_iter().map(|p| (p, 0)));
    all
}

/// The whole table into empty ones: as one batch, and route by route.
fn builds<F: Field>(plan: &Plan, table: &[Route<F>], report: &mut Report) -> Result<()> {
    let rounds = if plan.quick { 3 } else { 7 };
    let (mut batched, mut single) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        let mut t = Ours::<F>::empty(GROUPS)?;
        let batch = t.batch(table, hop(GROUPS));
        let start = Instant::now();
        t.apply(&batch)?;
        batched.0.push(start.elapsed().as_secs_f64());
        let mut t = Ours::<F>::empty(GROUPS)?;
        single
            .0
            .push(fill(&mut t, table, hop(GROUPS))?.as_secs_f64());
    }
    let mut grid = Grid::new(["", "s", "ns a route"]);
    for (name, metric, sample) in [
        ("one batch", "build in one batch", batched),
        ("route by route", "build route by route", single),
    ] {
        let each = sample.median() * 1e9 / table.len() as f64;
        grid.line([
            name.into(),
            crate::report::with_spread(&sample),
            figure(each),
        ]);
        report.rows.push(Row {
            case: format!("{}/{GROUPS} groups", F::NAME),
            metric,
            unit: "s",
            ours: sample,
            rival: None,
        });
    }
    report.say(&format!(
        "Trunkline builds {} ({} routes)",
        F::NAME,
        table.len()
    ));
    report.say(&grid.text());
    Ok(())
}
