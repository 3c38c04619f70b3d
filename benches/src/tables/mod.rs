//! `cargo testbed bench fib`: Trunkline's prefix tables beside DPDK's and those of two crates.
//!
//! One process, the same tables and the same destinations for all, turn by turn (A B A B …). `docs/benches.md` says how to
//! read what comes out.

mod bars;
mod field;
mod instructions;
mod lookups;
mod updates;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dpdk_sys::rivals::Dpdk;
use net::{Ip4Prefix, Ip6Prefix};

pub use instructions::child as count_child;

use crate::family::Family;
use crate::host::{Host, Realtime};
use crate::saved::Saved;
use crate::table::{self, Prefix, Route};
use field::Field;

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Fewer cases, rounds and lookups.
    pub quick: bool,
    /// A part of the table only, for tests: so many IPv4 routes.
    pub routes: Option<u32>,
    /// IPv4 routes to take instead of made-up ones.
    pub table: Option<PathBuf>,
    /// IPv6 routes to take instead of made-up ones.
    pub table6: Option<PathBuf>,
    /// Parts by name, or families; none for all. They join what was saved before.
    pub only: Vec<String>,
}

/// Numbers of next-hop groups.
const GROUPS: [u32; 3] = [64, 1_000, 65_000];
/// The last part.
const INSTRUCTIONS: &str = "instructions";

impl Plan {
    /// The names of all parts there are, in their order.
    pub fn all_parts(&self) -> Vec<String> {
        let mut all = vec![];
        for family in [Ip4Prefix::NAME, Ip6Prefix::NAME] {
            all.extend(GROUPS.map(|groups| format!("{family}/{groups} groups")));
            all.push(format!("{family}/updates"));
            if !self.quick {
                all.push(format!("{family}/4x"));
            }
        }
        if self.routes.is_none() {
            all.push(INSTRUCTIONS.into());
        }
        all
    }

    /// The names of the parts that are to be measured.
    ///
    /// # Errors
    /// There is no such part.
    fn parts(&self) -> Result<Vec<String>> {
        let mut all = self.all_parts();
        let is = |part: &str, name: &str| {
            let rest = part.strip_prefix(name);
            rest.is_some_and(|r| r.is_empty() || r.starts_with(['/', ' ']))
        };
        for name in &self.only {
            ensure!(
                all.iter().any(|part| is(part, name)),
                "no part is called {name}: there are {}",
                all.join(", ")
            );
        }
        all.retain(|part| self.only.is_empty() || self.only.iter().any(|name| is(part, name)));
        Ok(all)
    }

    /// Under which name results are saved.
    pub fn file_name(&self) -> String {
        let file = self.table.is_some() || self.table6.is_some();
        let quick = if self.quick { "-quick" } else { "" };
        format!("fib{}{quick}", if file { "-file" } else { "" })
    }

    /// Turns that each table has.
    fn rounds(&self) -> usize {
        if self.quick { 5 } else { 9 }
    }

    /// Different destinations of each kind: more than caches hold.
    fn destinations(&self) -> usize {
        match self.routes {
            Some(_) => 1 << 12,
            None => 1 << 20,
        }
    }

    fn table<F: Family>(&self, file: Option<&PathBuf>) -> Result<Vec<Route<F>>> {
        let size = match self.routes {
            Some(n) => (u64::from(n) * u64::from(F::SIZE) / u64::from(Ip4Prefix::SIZE)) as u32,
            None => F::SIZE,
        };
        match file {
            Some(f) => {
                table::load(f).with_context(|| format!("the table {} can't be used", f.display()))
            }
            None => Ok(F::make(1, size)),
        }
    }
}

/// The group of a route, from 1 on: routes of one origin go the same way.
pub fn hop<P: Prefix>(groups: u32) -> impl Fn(&Route<P>) -> u32 + Copy {
    move |r| (mix(r.origin.into()) % u64::from(groups)) as u32 + 1
}

/// Spreads numbers (splitmix64, Steele, Lea, Flood 2014).
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Measures all that the plan says.
///
/// # Errors
/// A table can't be read or built, or a lookup finds what it should not.
pub fn run(dpdk: &Dpdk, plan: &Plan, host: &Host) -> Result<Saved> {
    let parts = plan.parts()?;
    let head = format!(
        "{}\n{}; {}\n\n\
         ns a lookup on one core, less is better: median (least-most) of the rounds, in which the tables take turns.\n\
         3.00x behind a rival's figure: it takes three times as long as Trunkline (median of the rounds' ratios).\n\
         rte_fib, rte_fib6: next hops of 4 bytes, looked up with AVX-512 (\"scalar\": the same table without). rte_lpm: its\n\
         table is written as rte_lpm_add would, which takes minutes itself. The crates look up address by address.\n\
         Each part says when it was measured; comparisons are within a part.\n",
        host.summary(),
        Dpdk::version(),
        if plan.quick { "quick run" } else { "whole run" },
    );
    println!("{head}");
    let mut saved = if plan.only.is_empty() || plan.routes.is_some() {
        Saved::new(head, bars::list)
    } else {
        Saved::load(&plan.file_name(), head, bars::list)?
    };
    family::<Ip4Prefix>(dpdk, plan, plan.table.as_ref(), host, &parts, &mut saved)?;
    family::<Ip6Prefix>(dpdk, plan, plan.table6.as_ref(), host, &parts, &mut saved)?;
    if parts.iter().any(|p| p == INSTRUCTIONS) {
        let mut report = Saved::begin(INSTRUCTIONS, "made-up tables", host);
        instructions::measure(plan, &mut report);
        saved.take(INSTRUCTIONS, &report, host);
    }
    println!("{}", saved.bars());
    Ok(saved)
}

fn family<F: Field>(
    dpdk: &Dpdk,
    plan: &Plan,
    file: Option<&PathBuf>,
    host: &Host,
    parts: &[String],
    saved: &mut Saved,
) -> Result<()> {
    let family = format!("{}/", F::NAME);
    let parts: Vec<&str> = parts
        .iter()
        .filter_map(|p| p.strip_prefix(&family))
        .collect();
    if parts.is_empty() {
        return Ok(());
    }
    let table = plan.table::<F>(file)?;
    let made = file.map_or("made up".into(), |_| "from a file".to_owned());
    let what = format!("{} routes, {made}", table.len());
    let quiet = Realtime::enter();
    for part in parts {
        let start = Instant::now();
        let name = format!("{family}{part}");
        let mut report = Saved::begin(&name, &what, host);
        if !quiet.is_on() {
            report.say("(chrt is missing or not allowed: measured without real-time priority)");
        }
        let done = match part {
            "updates" => updates::measure::<F>(dpdk, plan, &table, &mut report),
            "4x" => lookups::grown::<F>(dpdk, plan, &table, &mut report),
            _ => {
                let number = part.split(' ').next().unwrap_or_default();
                let groups = number.parse().context("a part by its number of groups")?;
                lookups::at_size::<F>(dpdk, plan, &table, groups, &mut report)
            }
        };
        report.or_failed(&name, done);
        report.say(&format!("took {} s", start.elapsed().as_secs()));
        saved.take(&name, &report, host);
    }
    Ok(())
}
