//! The results as text, rows and bars.

use serde_json::Value;

use super::beside::Task;
use super::case::{CASES, Case, What};
use super::device::Kind;
use super::run::Turn;
use crate::report::{Bar, Grid, Report, Row, figure, with_spread};
use crate::stats::Sample;

/// The turns of everybody in a case.
#[derive(Debug)]
pub struct Outcome {
    /// The case.
    pub case: Case,
    /// By contestant, its turns.
    pub turns: Vec<(Kind, Vec<Turn>)>,
}

/// Something that a turn gave.
type Get = fn(&Turn) -> f64;

impl Outcome {
    /// What is compared in a case like this.
    fn metrics(&self) -> &'static [(&'static str, &'static str, Get)] {
        match self.case.what {
            What::Converge => &[
                ("time", "s", |t| t.seconds),
                ("cpu", "s", |t| t.cpu),
                ("peak memory", "MiB", |t| t.peak),
                ("memory a path", "bytes", |t| t.path_bytes),
                ("prefixes a message", "", |t| t.packing),
            ],
            What::Failover => &[
                ("time", "s", |t| t.seconds),
                ("cpu", "s", |t| t.cpu),
                ("peak memory", "MiB", |t| t.peak),
                ("prefixes a message", "", |t| t.packing),
            ],
            What::Churn => &[
                ("p50", "ms", |t| t.latency.unwrap_or_default()[0]),
                ("p99", "ms", |t| t.latency.unwrap_or_default()[1]),
                ("max", "ms", |t| t.latency.unwrap_or_default()[2]),
                ("cpu", "s", |t| t.cpu),
                ("peak memory", "MiB", |t| t.peak),
            ],
        }
    }

    fn sample(&self, kind: Kind, get: Get) -> Option<Sample> {
        let (_, turns) = self.turns.iter().find(|(k, _)| *k == kind)?;
        (!turns.is_empty()).then(|| Sample(turns.iter().map(get).collect()))
    }

    /// The table of the case.
    pub fn text(&self) -> String {
        let Case {
            name,
            peers,
            prefixes,
            ..
        } = self.case;
        let mut grid = Grid::new([format!("{name}: {peers} x {prefixes} routes")]);
        for (kind, turns) in &self.turns {
            let mut cells: Vec<(&str, String)> = vec![("turns", turns.len().to_string())];
            let heads = self.metrics().iter().map(|&(metric, unit, get)| {
                let head: &str = match (metric, unit) {
                    ("time", _) => "time s",
                    ("cpu", _) => "cpu s",
                    ("peak memory", _) => "peak MiB",
                    ("memory a path", _) => "bytes a path",
                    ("p50", _) => "p50 ms",
                    ("p99", _) => "p99 ms",
                    ("max", _) => "max ms",
                    (other, _) => other,
                };
                let sample = Sample(turns.iter().map(get).collect());
                (head, with_spread(&sample))
            });
            cells.extend(heads);
            if let (Some(ours), true) = (
                self.sample(Kind::Trunkline, self.metrics()[0].2),
                *kind != Kind::Trunkline,
            ) && let Some(theirs) = self.sample(*kind, self.metrics()[0].2)
            {
                cells.push(("its time/ours", format!("{:.2}", ours.ratio(&theirs))));
            }
            grid.named(kind.name(), cells);
        }
        grid.text()
    }

    /// The comparisons of ours with everybody's.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for &(metric, unit, get) in self.metrics() {
            let Some(ours) = self.sample(Kind::Trunkline, get) else {
                continue;
            };
            for (kind, _) in self.turns.iter().filter(|(k, _)| *k != Kind::Trunkline) {
                let rival = self.sample(*kind, get).map(|s| (kind.name(), s));
                rows.push(Row {
                    case: self.case.name.to_owned(),
                    metric,
                    unit,
                    ours: ours.clone(),
                    rival,
                });
            }
        }
        rows
    }
}

/// The case of the full table in the FIB.
pub const FIB: &str = "fib-full";
/// The first frame by a new route, nothing else going on.
pub const FIRST: &str = "first-frame-idle";
/// The same while other prefixes change.
pub const FIRST_BUSY: &str = "first-frame-churn";
/// Changes while something great goes on.
pub const BESIDE: &str = "beside-1m";
const WITHOUT: &str = "without the FIB";

/// Says how long a full table takes with the FIB and without.
pub fn full_table(report: &mut Report, with: Sample, without: Sample) {
    let mut grid = Grid::new([format!("{FIB}: the whole table, appliance with ports")]);
    grid.named("told and forwarding", [("time s", with_spread(&with))]);
    grid.named("told, install = false", [("time s", with_spread(&without))]);
    report.say(&grid.text());
    report.rows.push(Row {
        case: FIB.into(),
        metric: "time",
        unit: "s",
        ours: with,
        rival: Some((WITHOUT, without)),
    });
}

/// Says how soon the first frame went by a new route: p50, p99, the longest, in ms.
pub fn first_frame(report: &mut Report, case: &str, took: [f64; 3]) {
    let mut grid = Grid::new([case.to_owned()]);
    let names = ["p50", "p99", "max"];
    let heads = ["p50 ms", "p99 ms", "max ms"];
    let cells = heads.into_iter().zip(took.map(figure));
    grid.named("UPDATE to first frame", cells);
    report.say(&grid.text());
    for (metric, took) in names.into_iter().zip(took) {
        report.rows.push(Row {
            case: case.to_owned(),
            metric,
            unit: "ms",
            ours: took.into(),
            rival: None,
        });
    }
}

/// Says what tasks took, and what they cost the changes beside.
pub fn beside(report: &mut Report, turns: &[(Task, Sample, Sample, [Sample; 3])]) {
    let mut grid = Grid::new([BESIDE.to_owned()]);
    for (task, seconds, grown, latency) in turns {
        let [p50, p99, max] = latency;
        let mut cells = vec![
            ("changes p50 ms", with_spread(p50)),
            ("p99 ms", with_spread(p99)),
            ("max ms", with_spread(max)),
        ];
        if *task != Task::Nothing {
            cells.push(("task s", with_spread(seconds)));
            cells.push(("memory MiB more", with_spread(grown)));
        }
        grid.named(task.name(), cells);
        let rows = [
            ("p50", "ms", p50),
            ("p99", "ms", p99),
            ("max", "ms", max),
            ("time", "s", seconds),
            ("memory", "MiB", grown),
        ];
        let of_task = rows.len() - if *task == Task::Nothing { 2 } else { 0 };
        report
            .rows
            .extend(rows[..of_task].iter().map(|(metric, unit, sample)| Row {
                case: format!("{BESIDE}: {}", task.name()),
                metric,
                unit,
                ours: (*sample).clone(),
                rival: None,
            }));
    }
    report.say(&grid.text());
}

/// What is to be reached, and what was by these rows.
pub fn bars(rows: &[Value]) -> Vec<Bar> {
    let bird = Kind::Bird.name();
    let row = |case: &str, metric: &str, rival: &str| {
        rows.iter().find(|r| {
            r["case"] == case
                && r["metric"] == metric
                && r["rival_name"].as_str().unwrap_or("") == rival
        })
    };
    let number =
        |case: &str, metric: &str, rival: &str, key: &str| row(case, metric, rival)?[key].as_f64();
    let part = |case: &str, metric: &str| Some(1.0 / number(case, metric, bird, "ratio")?);
    let ours = |case: &str, metric: &str| number(case, metric, bird, "ours");
    let at_most = |what: String, want: f64, got: Option<f64>, unit: &'static str| Bar {
        what,
        want,
        got,
        at_most: true,
        unit,
    };
    let mut bars: Vec<Bar> = CASES
        .iter()
        .filter_map(|c| {
            let what = format!("{}: part of {bird}'s time", c.name);
            Some(at_most(what, c.time?, part(c.name, "time"), "x"))
        })
        .collect();
    let case = |name: &str, what: &str| format!("{name}: {what}");
    // The first path of each prefix at 65 bytes, further ones at 40.
    for (name, what, want, got, unit) in [
        (
            "1x1m",
            "part of BIRD 2's memory",
            0.5,
            part("1x1m", "peak memory"),
            "x",
        ),
        (
            "1x1m",
            "bytes a path",
            65.0,
            ours("1x1m", "memory a path"),
            "",
        ),
        (
            "4x1m",
            "bytes a path",
            (65.0 + 3.0 * 40.0) / 4.0,
            ours("4x1m", "memory a path"),
            "",
        ),
        (
            "failover-1m",
            "time",
            0.7,
            ours("failover-1m", "time"),
            " s",
        ),
    ] {
        bars.push(at_most(case(name, what), want, got, unit));
    }
    let packing = row("failover-1m", "prefixes a message", bird)
        .and_then(|r| Some(r["ours"].as_f64()? / r["rival"].as_f64()?));
    bars.push(Bar {
        what: case("failover-1m", "prefixes a message, part of BIRD 2's"),
        want: 0.9,
        got: packing,
        at_most: false,
        unit: "x",
    });
    let fib = number(FIB, "time", WITHOUT, "ratio").map(|r| 1.0 / r);
    let first = |name: &str| number(name, "p99", "", "ours");
    for (name, what, want, got, unit) in [
        (
            "churn-500k",
            "p50, part of BIRD 2's",
            1.0,
            part("churn-500k", "p50"),
            "x",
        ),
        ("churn-500k", "p99", 0.5, ours("churn-500k", "p99"), " ms"),
        (
            FIB,
            "told and forwarding, times the time without the FIB",
            1.5,
            fib,
            "x",
        ),
        (FIRST, "p99", 1.0, first(FIRST), " ms"),
        (FIRST_BUSY, "p99", 5.0, first(FIRST_BUSY), " ms"),
    ] {
        bars.push(at_most(case(name, what), want, got, unit));
    }
    bars
}
