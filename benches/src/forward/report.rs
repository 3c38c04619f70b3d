//! What a run says: a table, and the same as JSON. Medians over the rounds; the spread is (largest - least) / median.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::case::{Bar, Case};
use super::latency::{LOAD, P99_US};
use super::process::Speed;
use super::updates;

/// What a program did in the rounds of a case.
#[derive(Debug, Clone)]
pub struct Runs {
    /// Whose.
    pub name: &'static str,
    /// One a round.
    pub speeds: Vec<Speed>,
}

impl Runs {
    /// Median of the rate, in Mpps.
    pub fn mpps(&self) -> f64 {
        median(self.speeds.iter().map(|s| s.mpps).collect())
    }

    /// Median of the cycles of a frame.
    pub fn cycles(&self) -> f64 {
        median(self.speeds.iter().map(|s| s.cycles).collect())
    }

    fn spread(&self) -> f64 {
        let all = || self.speeds.iter().map(|s| s.mpps);
        let most = all().fold(f64::MIN, f64::max);
        let least = all().fold(f64::MAX, f64::min);
        (most - least) / self.mpps()
    }
}

/// The middle one; of an even number, the upper of the two.
pub fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The results of a case.
#[derive(Debug)]
pub struct Outcome {
    /// The case.
    pub case: Case,
    /// The appliance.
    pub ours: Runs,
    /// testpmd with the 4,096-frame file.
    pub floor: Option<Runs>,
    /// testpmd with the file of the case, where that is another.
    pub same_file: Option<Runs>,
    /// l3fwd.
    pub l3fwd: Option<Runs>,
    /// testpmd with as many cores, in the case of two workers. `floor` has one.
    pub same_cores: Option<Runs>,
    /// The appliance with one worker, in the case of two.
    pub one_worker: Option<Runs>,
    /// Where its cycles go, by the names of `worker show`: those of the first worker for a frame, and all of them.
    pub stages: Vec<(String, f64)>,
    /// Date and commit.
    pub when: String,
}

impl Outcome {
    /// testpmd with the files of the case, and as many cores.
    fn own_floor(&self) -> Option<&Runs> {
        let same = self.same_cores.as_ref().or(self.same_file.as_ref());
        same.or(self.floor.as_ref())
    }

    /// How many times as fast testpmd is with as many cores as with one: what the machine and the driver allow.
    fn floor_grows(&self) -> Option<f64> {
        let (many, one) = (self.same_cores.as_ref()?, self.floor.as_ref()?);
        let pairs = many.speeds.iter().zip(&one.speeds);
        Some(median(pairs.map(|(a, b)| a.mpps / b.mpps).collect()))
    }

    /// Cycles a frame more than testpmd takes for the same file: the medians of the differences of each round, as the two
    /// took turns.
    pub fn above_floor(&self) -> Option<f64> {
        let floor = self.own_floor()?;
        let pairs = self.ours.speeds.iter().zip(&floor.speeds);
        Some(median(pairs.map(|(a, b)| a.cycles - b.cycles).collect()))
    }

    /// Ours to theirs, the median of the ratios of the rounds.
    pub fn ratio(&self, of: Option<&Runs>) -> Option<f64> {
        let pairs = self.ours.speeds.iter().zip(&of?.speeds);
        Some(median(pairs.map(|(a, b)| a.mpps / b.mpps).collect()))
    }

    /// What a bar asks for, what is, and what is missing if that is not enough.
    fn judge(&self, bar: Bar) -> Option<(String, f64, Option<String>)> {
        let ours = self.ours.cycles();
        let at_least = |what: &str, want: f64, is: f64| {
            // Of one core, fewer cycles by that part are as many more frames.
            let by = (1.0 - is / want) * ours;
            let missing = format!(
                "by {:.0} %: {by:.1} cycles a frame",
                (1.0 - is / want) * 100.0
            );
            (
                format!("{what} >= {want}"),
                is,
                (is < want).then_some(missing),
            )
        };
        Some(match bar {
            Bar::OfFloor(want) => {
                at_least("of testpmd-io-4k", want, self.ratio(self.floor.as_ref())?)
            }
            Bar::OfL3fwd(want) => at_least("of l3fwd", want, self.ratio(self.l3fwd.as_ref())?),
            Bar::OfOneWorker(want) => {
                at_least("of one worker", want, self.ratio(self.one_worker.as_ref())?)
            }
            Bar::AboveFloor(want) => {
                let is = self.above_floor()?;
                let missing = format!("by {:.1} cycles a frame", is - want);
                let what = format!("cycles above the floor <= {want}");
                (what, is, (is > want).then_some(missing))
            }
        })
    }

    /// Every program of the case, ours first.
    fn all(&self) -> impl Iterator<Item = (&Runs, String)> {
        let k = |r: &Runs, s: &str| format!("{}{s}", r.name);
        let ours = std::iter::once((&self.ours, self.ours.name.to_owned()));
        ours.chain(self.floor.iter().map(move |r| (r, k(r, "-4k"))))
            .chain(self.same_file.iter().map(move |r| (r, k(r, "-64k"))))
            .chain(self.same_cores.iter().map(move |r| (r, k(r, ", 2 cores"))))
            .chain(self.l3fwd.iter().map(move |r| {
                let cores = if self.case.queues > 1 {
                    ", 2 cores"
                } else {
                    ""
                };
                (r, k(r, cores))
            }))
            .chain(
                self.one_worker
                    .iter()
                    .map(move |r| (r, k(r, ", one worker"))),
            )
    }

    /// Rows of the JSON.
    pub fn json(&self) -> Vec<Value> {
        let (name, runs) = (self.case.name, self.ours.speeds.len());
        let mut rows: Vec<Value> = self
            .all()
            .skip(1)
            .map(|(rival, rival_name)| {
                json!({
                    "case": name, "metric": "rate", "unit": "Mpps", "ours": self.ours.mpps(), "rival": rival.mpps(),
                    "rival_name": rival_name, "ratio": self.ratio(Some(rival)), "runs": runs,
                })
            })
            .collect();
        for (stage, cycles) in &self.stages {
            rows.push(json!({
                "case": name, "metric": format!("cycles in {stage}"), "unit": "TSC cycles a frame", "ours": cycles,
                "rival": Value::Null, "rival_name": Value::Null, "ratio": Value::Null, "runs": 1,
            }));
        }
        if let Some(floor) = self.own_floor() {
            rows.push(json!({
                "case": name, "metric": "cycles", "unit": "TSC cycles a frame", "ours": self.ours.cycles(),
                "rival": floor.cycles(), "rival_name": floor.name, "ratio": self.ours.cycles() / floor.cycles(), "runs": runs,
            }));
        }
        rows
    }

    /// The rows of the table.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (i, (runs, name)) in self.all().enumerate() {
            let case = if i == 0 { self.case.name } else { "" };
            let ratio = if i == 0 { None } else { self.ratio(Some(runs)) };
            let ratio = ratio.map_or(String::new(), |r| format!("{r:.2}"));
            let _ = writeln!(
                out,
                "{case:<22} {name:<24} {:>8.2} {:>5.0}% {:>8.1} {ratio:>7}",
                runs.mpps(),
                runs.spread() * 100.0,
                runs.cycles(),
            );
        }
        if let Some(above) = self.above_floor() {
            let _ = writeln!(out, "{:<22} cycles above the floor: {above:.1}", "");
        }
        if let Some(times) = self.floor_grows() {
            let of = "testpmd itself does with two cores";
            let _ = writeln!(
                out,
                "{:<22} {of} {times:.2} times what it does with one",
                ""
            );
        }
        for &bar in self.case.bars {
            if let Some((what, is, missing)) = self.judge(bar) {
                let verdict = match missing {
                    None => "reached".to_owned(),
                    Some(by) => format!("NOT reached, {by}"),
                };
                let _ = writeln!(out, "{:<22} bar: {what}: {is:.2}, {verdict}", "");
            }
        }
        if !self.stages.is_empty() {
            let stages: Vec<String> = self
                .stages
                .iter()
                .map(|(s, c)| format!("{s} {c:.1}"))
                .collect();
            let _ = writeln!(out, "{:<22} cycles by stage: {}", "", stages.join(", "));
        }
        let _ = writeln!(
            out,
            "{:<22} measured {}, {} rounds",
            "",
            self.when,
            self.ours.speeds.len()
        );
        out
    }
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "NOT reached" }
}

/// The case of the route changes, as text.
pub fn updates_text(o: &updates::Outcome, when: &str) -> String {
    let (quiet, busy) = o.medians(|l| l.longest);
    let (quiet9999, busy9999) = o.medians(|l| l.p9999);
    let (quiet99, busy99) = o.medians(|l| l.p99);
    let more = busy - quiet;
    let longest = |of: &[updates::Loops]| {
        let all: Vec<String> = of.iter().map(|l| format!("{:.0}", l.longest)).collect();
        all.join(" ")
    };
    format!(
        "{UPDATES:<22} loops without changes, and with {:.0} a second; medians of {} rounds, in us:\n\
         {empty:<22} longest {quiet:.1} and {busy:.1}; p99.99 {quiet9999:.1} and {busy9999:.1}; p99 {quiet99:.1} and {busy99:.1}\n\
         {empty:<22} longest of each round without: {}\n{empty:<22} longest of each round with:    {}\n\
         {empty:<22} bar: longest at most {MORE_US} us more: {more:.1}, {}\n\
         {empty:<22} bar: no frame lost: {} of {}, {}\n\
         {empty:<22} measured {when}\n",
        o.rate,
        o.busy.len(),
        longest(&o.quiet),
        longest(&o.busy),
        verdict(more <= MORE_US),
        o.dropped,
        o.received,
        verdict(o.dropped == 0),
        empty = "",
    )
}

/// The time from RX to TX, as text.
pub fn latency_text(o: &updates::Outcome, when: &str) -> String {
    let line = |what: &str, l: &updates::Loops| {
        format!(
            "{what}: {:.2} Mpps, busy {:.0} %; p50 {:.1}, p99 {:.1}, p99.99 {:.1}, longest {:.1} us",
            l.mpps,
            l.busy * 100.0,
            l.p50,
            l.p99,
            l.p9999,
            l.longest
        )
    };
    let ports = o.medians(|l| l.p99).0;
    format!(
        "{LATENCY:<22} from RX to TX, by the worker's histogram of its loops; frames from a thread on another core, by rings\n\
         {empty:<22} {}\n{empty:<22} {}; {} frames found the ring full\n\
         {empty:<22} with net_pcap ports, which always have full bursts: p99 {ports:.1} us\n\
         {empty:<22} bar: p99 <= {P99_US} us at {:.0} % load: {:.1}, {}\n\
         {empty:<22} measured {when}\n",
        line("all that goes through", &o.latency.full),
        line(&format!("{:.0} % of that", LOAD * 100.0), &o.latency.loaded),
        o.latency.missed,
        LOAD * 100.0,
        o.latency.loaded.p99,
        verdict(o.latency.loaded.p99 <= P99_US),
        empty = "",
    )
}

/// Both as JSON.
pub fn updates_json(o: &updates::Outcome) -> Vec<Value> {
    let row = |metric: &str, (quiet, busy): (f64, f64)| {
        json!({
            "case": UPDATES, "metric": metric, "unit": "us", "ours": busy, "rival": quiet,
            "rival_name": "without changes", "ratio": busy / quiet, "runs": o.busy.len(),
        })
    };
    let one = |metric: &str, us: f64| {
        json!({
            "case": LATENCY, "metric": metric, "unit": "us", "ours": us, "rival": Value::Null,
            "rival_name": Value::Null, "ratio": Value::Null, "runs": 1,
        })
    };
    let loaded = &o.latency.loaded;
    vec![
        row("longest loop", o.medians(|l| l.longest)),
        row("p99.99 of loops", o.medians(|l| l.p9999)),
        row("p99 of loops", o.medians(|l| l.p99)),
        json!({
            "case": UPDATES, "metric": "frames lost", "unit": "frames", "ours": o.dropped, "rival": 0,
            "rival_name": "without changes", "ratio": Value::Null, "runs": o.busy.len(),
        }),
        one("p50 at 80 % load", loaded.p50),
        one("p99 at 80 % load", loaded.p99),
        one("p99.99 at 80 % load", loaded.p9999),
    ]
}

/// The name of the case of the latency, which is measured with that of the changes.
pub const LATENCY: &str = "ipv4-1m-latency";
/// The name of that case.
pub const UPDATES: &str = "ipv4-1m-4k-updates";
/// By how much the longest loop may grow.
const MORE_US: f64 = 20.0;

/// The head of the table.
pub fn head() -> String {
    format!(
        "{:<22} {:<24} {:>8} {:>6} {:>8} {:>7}\n",
        "case", "program", "Mpps", "spread", "cycles", "ours/it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::case::CASES;

    fn runs(name: &'static str, cycles: &[f64]) -> Runs {
        let speed = |&c: &f64| Speed {
            mpps: 1000.0 / c,
            cycles: c,
        };
        Runs {
            name,
            speeds: cycles.iter().map(speed).collect(),
        }
    }

    #[test]
    fn two_workers_are_compared_with_two_cores() {
        let two = CASES.iter().find(|c| c.queues == 2).unwrap();
        let o = Outcome {
            case: *two,
            ours: runs("trunkline", &[60.0, 61.0]),
            floor: Some(runs("testpmd-io", &[44.0, 44.0])),
            same_file: None,
            same_cores: Some(runs("testpmd-io", &[22.0, 24.0])),
            l3fwd: Some(runs("l3fwd", &[50.0, 50.0])),
            one_worker: Some(runs("trunkline", &[100.0, 120.0])),
            stages: Vec::new(),
            when: "now".into(),
        };
        let text = o.text();
        assert_eq!(o.above_floor(), Some(38.0));
        assert!(text.contains("two cores 2.00 times"), "{text}");
        assert!(
            text.contains("of one worker >= 1.9: 1.97, reached"),
            "{text}"
        );
        assert!(text.contains("l3fwd, 2 cores"), "{text}");
    }

    #[test]
    fn bars_are_judged_round_by_round() {
        let case = *CASES.iter().find(|c| c.name == "mpls-swap-4k").unwrap();
        let outcome = |ours: &[f64]| Outcome {
            case,
            ours: runs("trunkline", ours),
            floor: Some(runs("testpmd-io", &[50.0, 100.0, 50.0])),
            same_file: None,
            same_cores: None,
            l3fwd: None,
            one_worker: None,
            stages: vec![("rx".into(), 40.0)],
            when: "now".into(),
        };
        // The machine was slow for both in the second round.
        let o = outcome(&[84.0, 134.0, 90.0]);
        assert_eq!(o.above_floor(), Some(34.0));
        assert!(o.text().contains(": 34.00, reached"), "{}", o.text());
        let short = outcome(&[84.0, 140.0, 90.0]).text();
        assert!(
            short.contains("40.00, NOT reached, by 5.0 cycles"),
            "{short}"
        );
        assert_eq!(o.json()[0]["rival_name"], "testpmd-io-4k");
        assert_eq!(o.json().len(), 3);
    }
}
