//! Instructions a lookup, counted by valgrind: it runs this program once without lookups and once with many.
//!
//! It hides AVX-512 from programs, so this is about the scalar paths. It is slow too: a tenth of the table has to do.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use dpdk_sys::rivals::{Dpdk, Pages};
use net::{Ip4Prefix, Ip6Prefix};

use super::field::{CRATES, Field, OURS};
use super::{Plan, hop};
use crate::contest::{BURST, Contestant, Crate, Destinations, Ours, Way, fill};
use crate::report::{Grid, Report, Row, figure};
use crate::table::prefixes;
use crate::traffic::{Kind, destinations};

const GROUPS: u32 = 1_000;
const LOOKUPS: usize = 1 << 16;

/// Instructions of a run of this program, as callgrind counts them.
fn count(family: &str, name: &str, lookups: usize, routes: u32) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--count", name, "--family", family])
        .args(["--lookups", &lookups.to_string()])
        .args(["--routes", &routes.to_string()])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stderr);
    let line = text.lines().find(|l| l.contains("Collected :"))?;
    let number = line
        .split("Collected :")
        .nth(1)?
        .split_whitespace()
        .next()?;
    number.parse().ok().filter(|_| out.status.success())
}

pub(super) fn measure(plan: &Plan, report: &mut Report) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        report.say("instructions a lookup: not counted, valgrind is not installed (apt-get install valgrind)\n");
        return;
    }
    let routes = plan
        .routes
        .unwrap_or(if plan.quick { 20_000 } else { 120_000 });
    let mut grid = Grid::new(["", "instructions a lookup"]);
    family::<Ip4Prefix>(plan, routes, &mut grid, report);
    family::<Ip6Prefix>(plan, routes, &mut grid, report);
    report.say(&format!(
        "instructions a lookup without AVX-512, route-random, bursts of {BURST}, in a table of the size of {routes} IPv4 \
         routes (valgrind --tool=callgrind)"
    ));
    report.say(&grid.text());
}

fn family<F: Field>(plan: &Plan, routes: u32, grid: &mut Grid, report: &mut Report) {
    let each = |name| {
        let (none, many) = (
            count(F::NAME, name, 0, routes)?,
            count(F::NAME, name, LOOKUPS, routes)?,
        );
        Some((many - none) / LOOKUPS as f64)
    };
    let ours = each(OURS);
    let show = |n: Option<f64>| n.map_or("failed".into(), figure);
    grid.line([format!("{} {OURS}", F::NAME), show(ours)]);
    let rivals: &[&'static str] = if plan.quick {
        &[F::FIB_SCALAR]
    } else {
        &[F::FIB_SCALAR, F::LPM, CRATES[0], CRATES[1]]
    };
    for &rival in rivals {
        let theirs = each(rival);
        grid.line([format!("{} {rival}", F::NAME), show(theirs)]);
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            report.rows.push(Row {
                case: format!("{}/{GROUPS} groups/route-random/burst {BURST}", F::NAME),
                metric: "instructions scalar",
                unit: "instructions",
                ours: ours.into(),
                rival: Some((rival, theirs.into())),
            });
        }
    }
}

/// What runs under valgrind: one contestant, a table, so many lookups.
///
/// # Errors
/// No such contestant or family.
pub fn child(family: &str, name: &str, lookups: usize, routes: u32) -> Result<()> {
    match family {
        "ipv4" => one::<Ip4Prefix>(name, lookups, routes),
        "ipv6" => one::<Ip6Prefix>(name, lookups, routes),
        _ => bail!("no family {family}"),
    }
}

fn one<F: Field>(name: &str, lookups: usize, routes: u32) -> Result<()> {
    let plan = Plan {
        quick: true,
        routes: Some(routes),
        table: None,
        table6: None,
        only: vec![],
    };
    let table = plan.table::<F>(None)?;
    let hop = hop(GROUPS);
    let to = Destinations::new(&destinations(
        2,
        Kind::RouteRandom,
        &prefixes(&table),
        LOOKUPS,
    ));
    let go = |t: &mut dyn Contestant<F>| {
        t.set_way(Way::Scalar)?;
        t.run(&to, 0..lookups.min(to.len()), BURST);
        Ok(())
    };
    if name == OURS {
        let mut t = Ours::<F>::empty(GROUPS)?;
        fill(&mut t, &table, hop)?;
        return go(&mut t);
    }
    if name == CRATES[0] || name == CRATES[1] {
        let mut t: Box<dyn Contestant<F>> = match name == CRATES[0] {
            true => Box::new(Crate::<F, _>::prefix_trie()),
            false => Box::new(Crate::<F, _>::ip_network_table()),
        };
        fill(&mut *t, &table, hop)?;
        return go(&mut *t);
    }
    let dpdk = Dpdk::start(Pages::Small(1_024), 0)?;
    if name == F::FIB_SCALAR {
        let mut t = F::fib(&dpdk, &table)?;
        fill(&mut *t, &table, hop)?;
        go(&mut *t)
    } else if name == F::LPM {
        go(&mut *F::lpm(&dpdk, &table, &hop)?.table)
    } else {
        bail!("no contestant {name}")
    }
}
