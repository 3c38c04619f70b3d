//! What was found, as rows and tables, and the bars.

use serde_json::Value;

use super::Loss;
use super::ports::{Turns, Vrfs};
use super::tables::Took;
use crate::report::{Bar, Grid, Report, Row, with_spread};
use crate::stats::Sample;

/// The part that is measured in this process.
pub const TABLES: &str = "tables";
/// The part of the appliance between wires.
pub const PORTS: &str = "ports";
/// The part of the VRFs.
pub const VRFS: &str = "vrfs";

/// What a size is compared with.
const FEW: &str = "10 prefixes";
const SINGLY: &str = "prefix by prefix";

/// The first size is what the others are compared with.
pub fn tables(report: &mut Report, all: &[Took]) {
    let mut grid = Grid::new(["us, median (least-most)"]);
    for took in all {
        let cells = took.losses.iter().map(|(l, s)| (l.name(), with_spread(s)));
        let singly = (SINGLY, with_spread(&took.one_by_one));
        grid.named(
            &format!("{} prefixes", took.prefixes),
            cells.chain([singly]),
        );
        for (i, (loss, ours)) in took.losses.iter().enumerate() {
            let few = all.first().map(|t| (FEW, t.losses[i].1.clone()));
            let singly = Some((SINGLY, took.one_by_one.clone()));
            report.rows.extend([few, singly].map(|rival| Row {
                case: format!("{TABLES}/{}/{}", took.prefixes, loss.name()),
                metric: "time",
                unit: "us",
                ours: ours.clone(),
                rival,
            }));
        }
    }
    report.say(&grid.text());
}

/// Of each size what [`super::ports::failover`] has found.
pub fn ports(report: &mut Report, all: &[(u32, Vec<Turns>)]) {
    let mut grid = Grid::new(["ms, median (least-most)"]);
    let sample = |turns: &[[f64; 2]], n: usize| Sample(turns.iter().map(|t| t[n]).collect());
    for (prefixes, losses) in all {
        let mut cells = Vec::new();
        for (i, (loss, turns)) in losses.iter().enumerate() {
            let heads = match loss {
                Loss::Route => ["next hop gone", "its first to last prefix"],
                Loss::Link | Loss::Neighbor => ["link lost", "first to last prefix"],
            };
            for (n, metric) in ["time", "first to last"].into_iter().enumerate() {
                let ours = sample(turns, n);
                cells.push((heads[n], with_spread(&ours)));
                let few = all.first().map(|(_, l)| (FEW, sample(&l[i].1, n)));
                report.rows.push(Row {
                    case: format!("{PORTS}/{prefixes}/{}", loss.name()),
                    metric,
                    unit: "ms",
                    ours,
                    rival: few,
                });
            }
        }
        grid.named(&format!("{prefixes} prefixes"), cells);
    }
    report.say(&grid.text());
}

/// What VRFs take.
pub fn vrfs(report: &mut Report, (count, routes): (u16, u32), turns: &[Vrfs]) {
    let mib = |n: u64| n as f64 / f64::from(1 << 20);
    let each = f64::from(count) * f64::from(routes);
    let of = |f: &dyn Fn(&Vrfs) -> f64| Sample(turns.iter().map(f).collect());
    let rows = [
        ("empty", "MiB", of(&|v| mib(v.empty))),
        ("grown", "MiB", of(&|v| mib(v.full.saturating_sub(v.empty)))),
        (
            "a route",
            "bytes",
            of(&|v| v.full.saturating_sub(v.empty) as f64 / each),
        ),
        ("time", "s", of(&|v| v.seconds)),
    ];
    let mut grid = Grid::new([format!("{count} VRFs x {routes}")]);
    grid.named(
        "trunkline",
        rows.iter().map(|(metric, _, s)| (*metric, with_spread(s))),
    );
    report.say(&grid.text());
    report.rows.extend(rows.map(|(metric, unit, ours)| Row {
        case: format!("{VRFS}/{count} x {routes}"),
        metric,
        unit,
        ours,
        rival: None,
    }));
}

/// What is to be reached, and what was by these rows.
pub fn bars(rows: &[Value]) -> Vec<Bar> {
    let found = |case: &str, metric: &str, rival: &str, key: &str| {
        let row = rows.iter().find(|r| {
            r["case"] == case
                && r["metric"] == metric
                && r["rival_name"].as_str().unwrap_or("") == rival
        });
        row?[key].as_f64()
    };
    let mut bars = Vec::new();
    for (part, losses) in [
        (TABLES, &Loss::ALL[..]),
        (PORTS, &[Loss::Link, Loss::Route][..]),
    ] {
        for loss in losses {
            let case = format!("{part}/100000/{}", loss.name());
            bars.push(Bar {
                what: format!(
                    "{part}: {}, 100,000 prefixes, times 10 prefixes",
                    loss.name()
                ),
                want: 1.5,
                got: found(&case, "time", FEW, "ratio").map(|r| 1.0 / r),
                at_most: true,
                unit: "x",
            });
        }
    }
    bars.push(Bar {
        what: "1,000 VRFs of 1,000 routes: memory of the whole appliance that they take".into(),
        want: 448.0,
        got: found("vrfs/1000 x 1000", "grown", "", "ours"),
        at_most: true,
        unit: " MiB",
    });
    bars
}
