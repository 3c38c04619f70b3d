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

use anyhow::{Context, Result};
use dpdk_sys::rivals::Dpdk;
use net::{Ip4Prefix, Ip6Prefix};

pub use instructions::child as count_child;

use crate::family::Family;
use crate::host::{Host, Realtime};
use crate::report::{self, Report};
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
}

impl Plan {
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

    fn groups(&self) -> &'static [u32] {
        &[64, 1_000, 65_000]
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
pub fn run(dpdk: &Dpdk, plan: &Plan, host: &Host) -> Result<Report> {
    let start = Instant::now();
    let mut report = Report::default();
    report.say(&format!(
        "{}\n{} ({})\n{}; {}\ncommand: {}\n",
        host.summary(),
        host.date,
        host.commit,
        Dpdk::version(),
        if plan.quick { "quick run" } else { "whole run" },
        host.command
    ));
    report.say(
        "ns a lookup on one core, less is better: median (least-most) of the rounds, in which the tables take turns.\n\
         3.00x behind a rival's figure: it takes three times as long as Trunkline (median of the rounds' ratios).\n\
         rte_fib, rte_fib6: next hops of 4 bytes, looked up with AVX-512 (\"scalar\": the same table without). rte_lpm: its\n\
         table is written as rte_lpm_add would, which takes minutes itself. The crates look up address by address.\n",
    );
    family::<Ip4Prefix>(dpdk, plan, plan.table.as_ref(), &mut report)?;
    family::<Ip6Prefix>(dpdk, plan, plan.table6.as_ref(), &mut report)?;
    if plan.routes.is_none() {
        instructions::measure(plan, &mut report);
    }
    let bars = bars::list(&report);
    report.say(&report::bars(&bars));
    report.say(&format!("took {} s", start.elapsed().as_secs()));
    Ok(report)
}

fn family<F: Field>(
    dpdk: &Dpdk,
    plan: &Plan,
    file: Option<&PathBuf>,
    report: &mut Report,
) -> Result<()> {
    let table = plan.table::<F>(file)?;
    let what = file.map_or("made up".into(), |_| "from a file".to_owned());
    report.say(&format!(
        "==== {}: {} routes, {what}\n",
        F::NAME,
        table.len()
    ));
    let quiet = Realtime::enter();
    if !quiet.is_on() {
        report.say("(chrt is missing or not allowed: measured without real-time priority)");
    }
    for &groups in plan.groups() {
        let done = lookups::at_size::<F>(dpdk, plan, &table, groups, report);
        report.or_failed(&format!("{}/{groups} groups", F::NAME), done);
    }
    let done = updates::measure::<F>(dpdk, plan, &table, report);
    report.or_failed(&format!("{}, updates", F::NAME), done);
    if !plan.quick {
        let done = lookups::grown::<F>(dpdk, plan, &table, report);
        report.or_failed(&format!("{}, 4x", F::NAME), done);
    }
    Ok(())
}
