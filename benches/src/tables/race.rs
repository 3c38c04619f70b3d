//! The race of lookup structures (`docs/decisions/0007`): candidates of the crate `race` beside DPDK's table and ours.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, bail};
use dpdk_sys::rivals::Dpdk;
use net::{Ip4Prefix, Ip6Prefix};
use race::{Addr, Candidate, Table};

use super::field::{Entry, Field, Rivals, line_up};
use super::lookups::{KINDS, Lane, checked, traffic, turns};
use super::{Plan, hop};
use crate::contest::{BURST, Contestant, Destinations, Way};
use crate::family::Family;
use crate::growth::grow;
use crate::host::{Host, Realtime};
use crate::report::{Grid, Report, Row, figure};
use crate::table::{Route, prefixes};
use crate::traffic::{Kind, destinations};

/// A family as the candidates take it.
pub(super) trait Raced: Family {
    /// The part of an address that they look at.
    type Key: Addr;
    /// It.
    fn key(w: Self::Wire) -> Self::Key;
    /// Of a prefix's first address.
    fn key_of(p: Self) -> Self::Key;
    /// Everyone.
    fn all(t: &Table<Self::Key>) -> Vec<Box<dyn Candidate<Self::Key>>>;
}

impl Raced for Ip4Prefix {
    type Key = u32;
    fn key(w: u32) -> u32 {
        w
    }
    fn key_of(p: Self) -> u32 {
        p.addr()
    }
    fn all(t: &Table<u32>) -> Vec<Box<dyn Candidate<u32>>> {
        race::all4(t)
    }
}

impl Raced for Ip6Prefix {
    type Key = u64;
    fn key(w: [u8; 16]) -> u64 {
        let (high, _) = w.split_first_chunk().expect("16 bytes");
        u64::from_be_bytes(*high)
    }
    fn key_of(p: Self) -> u64 {
        (p.addr() >> 64) as u64
    }
    fn all(t: &Table<u64>) -> Vec<Box<dyn Candidate<u64>>> {
        race::all6(t)
    }
}

/// A candidate as a contestant.
struct Runner<F: Raced> {
    candidate: Box<dyn Candidate<F::Key>>,
    scalar: bool,
    keys: [F::Key; BURST],
    out: [u32; BURST],
    n: usize,
}

impl<F: Raced> Contestant<F> for Runner<F> {
    fn run(&mut self, to: &Destinations<F>, part: Range<usize>, burst: usize) {
        for wire in to.wire[part].chunks(burst) {
            self.n = wire.len();
            for (key, &w) in self.keys.iter_mut().zip(wire) {
                *key = F::key(w);
            }
            let (keys, out) = (&self.keys[..self.n], &mut self.out[..self.n]);
            match self.scalar {
                true => self.candidate.lookup_scalar(keys, out),
                false => self.candidate.lookup(keys, out),
            }
            std::hint::black_box(&mut self.out);
        }
    }
    fn set_way(&mut self, way: Way) -> Result<()> {
        self.scalar = way == Way::Scalar;
        Ok(())
    }
    fn answers(&self, out: &mut Vec<u32>) {
        out.extend(&self.out[..self.n]);
    }
    fn set(&mut self, _: F, _: u32) -> Result<()> {
        bail!("candidates are built in one go")
    }
    fn del(&mut self, _: F) {}
    fn bytes(&self) -> (usize, usize) {
        let n = self.candidate.bytes();
        (n, n)
    }
}

fn candidates<F: Raced>(table: &[Route<F>], groups: u32) -> Vec<Runner<F>> {
    let hop = hop(groups);
    let mut routes: Vec<(F::Key, u8, u32)> = table
        .iter()
        .map(|r| (F::key_of(r.prefix), r.prefix.bits(), hop(r)))
        .collect();
    routes.sort_unstable();
    let runner = |candidate| Runner {
        candidate,
        scalar: false,
        keys: [F::Key::default(); BURST],
        out: [0; BURST],
        n: 0,
    };
    let all = F::all(&Table::new(&routes));
    all.into_iter().map(runner).collect()
}

/// Runs those settings that have `only` in their names.
///
/// # Errors
/// A table can't be read or built, or a lookup finds what it should not.
pub fn race(dpdk: &Dpdk, plan: &Plan, host: &Host, only: &str) -> Result<Report> {
    let mut report = Report::default();
    report.say(&format!(
        "{}\n{} ({}), {}\ncommand: {}\n",
        host.summary(),
        host.date,
        host.commit,
        Dpdk::version(),
        host.command
    ));
    report.say(&format!(
        "ns a lookup in bursts of {BURST}, and how many times as fast as DPDK's table with AVX-512 that is"
    ));
    let _quiet = Realtime::enter();
    family::<Ip4Prefix>(dpdk, plan, plan.table.as_ref(), only, &mut report)?;
    family::<Ip6Prefix>(dpdk, plan, plan.table6.as_ref(), only, &mut report)?;
    Ok(report)
}

fn family<F: Raced + Field>(
    dpdk: &Dpdk,
    plan: &Plan,
    file: Option<&std::path::PathBuf>,
    only: &str,
    report: &mut Report,
) -> Result<()> {
    if only.starts_with("ipv") && !only.starts_with(F::NAME) {
        return Ok(());
    }
    let today = plan.table::<F>(file)?;
    for (times, groups) in [(1, 64), (1, 1_000), (1, 65_000), (4, 64), (4, 1_000)] {
        let base = format!("{}/{groups} groups/{times}x", F::NAME);
        if !base.contains(only) || plan.quick && (times > 1 || groups > 1_000) {
            continue;
        }
        let table = grow(&today, times);
        let mut entries: Vec<Entry<'_, F>> = line_up(dpdk, &table, groups, Rivals::Fib)?;
        for c in candidates(&table, groups) {
            entries.push(Entry {
                name: c.candidate.name(),
                table: Box::new(c),
                filled: None,
            });
        }
        one::<F>(plan, &table, &mut entries, &base, groups, report)?;
    }
    Ok(())
}

fn one<F: Raced + Field>(
    plan: &Plan,
    table: &[Route<F>],
    entries: &mut [Entry<'_, F>],
    base: &str,
    groups: u32,
    report: &mut Report,
) -> Result<()> {
    let traffic = traffic(table, plan);
    checked(entries, table, groups, &traffic)?;
    // The figures of each, by name.
    let mut figures: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for way in [Way::Best, Way::Scalar] {
        for (kind, to) in &traffic {
            if way == Way::Scalar && *kind == "replay-64k" {
                continue;
            }
            let to = Destinations::<F>::new(to);
            let lane = |(entry, e): (usize, &Entry<'_, F>)| Lane {
                name: e.name,
                entry,
                way,
                to: &to,
                less: 1,
            };
            let lanes: Vec<Lane<'_, F>> = entries.iter().enumerate().map(lane).collect();
            let samples = turns(entries, &lanes, plan, BURST)?;
            for (i, s) in samples.iter().enumerate() {
                let text = format!("{} {:.2}x", figure(s.median()), s.ratio(&samples[1]));
                figures.entry(i).or_default().push(text);
                let metric = if way == Way::Scalar {
                    "lookup scalar"
                } else {
                    "lookup"
                };
                report.rows.push(Row {
                    case: format!("race/{base}/{kind}/{}", lanes[i].name),
                    metric,
                    unit: "ns",
                    ours: s.clone(),
                    rival: Some((F::FIB, samples[1].clone())),
                });
            }
        }
    }
    let kinds = KINDS.map(|(name, _)| name.to_owned());
    let scalar = KINDS[..3].iter().map(|(name, _)| format!("scalar {name}"));
    let mut grid = Grid::new(
        ["".to_owned(), "MB".into()]
            .into_iter()
            .chain(kinds)
            .chain(scalar),
    );
    for (i, cells) in figures {
        let e = &entries[i];
        let mb = figure(e.table.bytes().0 as f64 / 1e6);
        grid.line([e.name.to_owned(), mb].into_iter().chain(cells));
    }
    report.say(&format!("\n{base}: {} routes", table.len()));
    report.say(&grid.text());
    Ok(())
}

/// For valgrind: so many lookups without AVX-512 by one candidate, in a made-up table a tenth as large.
pub fn race_count(family: &str, candidate: usize, lookups: usize) {
    fn one<F: Raced>(candidate: usize, lookups: usize) {
        let table = F::make(1, F::SIZE / 10);
        let to = destinations(2, Kind::RouteRandom, &prefixes(&table), 1 << 16);
        let mut all = candidates(&table, 64);
        all[candidate].scalar = true;
        eprintln!("{}", all[candidate].candidate.name());
        all[candidate].run(&Destinations::new(&to), 0..lookups, BURST);
    }
    match family {
        "ipv4" => one::<Ip4Prefix>(candidate, lookups),
        _ => one::<Ip6Prefix>(candidate, lookups),
    }
}
