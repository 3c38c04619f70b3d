//! What a run says: a table, and the same as JSON. Medians over the rounds; the spread is (largest - least) / median.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::case::{Bar, Case};
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
    /// The appliance with one worker, in the case of two.
    pub one_worker: Option<Runs>,
}

impl Outcome {
    /// testpmd with the file of the case.
    fn own_floor(&self) -> Option<&Runs> {
        self.same_file.as_ref().or(self.floor.as_ref())
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

    /// What a bar asks for, what is, and whether that is enough.
    fn judge(&self, bar: Bar) -> Option<(String, f64, bool)> {
        let at_least =
            |what: &str, want: f64, is: f64| (format!("{what} >= {want}"), is, is >= want);
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
                (format!("cycles above the floor <= {want}"), is, is <= want)
            }
        })
    }

    /// Every program of the case, ours first.
    fn all(&self) -> impl Iterator<Item = (&Runs, String)> {
        let k = |r: &Runs, s: &str| format!("{}{s}", r.name);
        let ours = std::iter::once((&self.ours, self.ours.name.to_owned()));
        ours.chain(self.floor.iter().map(move |r| (r, k(r, "-4k"))))
            .chain(self.same_file.iter().map(move |r| (r, k(r, "-64k"))))
            .chain(self.l3fwd.iter().map(move |r| (r, k(r, ""))))
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
        for &bar in self.case.bars {
            if let Some((what, is, reached)) = self.judge(bar) {
                let verdict = if reached { "reached" } else { "NOT reached" };
                let _ = writeln!(out, "{:<22} bar: {what}: {verdict}, {is:.2}", "");
            }
        }
        out
    }
}

/// The case of the route changes, as text.
pub fn updates_text(o: &updates::Outcome) -> String {
    let (quiet, busy) = o.medians();
    let more = busy - quiet;
    let loops = if more <= MORE_US {
        "reached"
    } else {
        "NOT reached"
    };
    let lost = if o.dropped == 0 {
        "reached"
    } else {
        "NOT reached"
    };
    format!(
        "{UPDATES:<22} longest loop {quiet:.1} us without, {busy:.1} us with {:.0} changes a second (medians of {} rounds)\n\
         {:<22} rounds without: {:.1?}\n{:<22} rounds with:    {:.1?}\n\
         {:<22} bar: at most {MORE_US} us more: {loops}, {more:.1}\n\
         {:<22} bar: no frame lost: {lost}, {} of {}\n",
        o.rate,
        o.busy.len(),
        "",
        o.quiet,
        "",
        o.busy,
        "",
        "",
        o.dropped,
        o.received,
    )
}

/// The same as JSON.
pub fn updates_json(o: &updates::Outcome) -> Vec<Value> {
    let (quiet, busy) = o.medians();
    vec![
        json!({
            "case": UPDATES, "metric": "longest loop", "unit": "us", "ours": busy, "rival": quiet,
            "rival_name": "without changes", "ratio": busy / quiet, "runs": o.busy.len(),
        }),
        json!({
            "case": UPDATES, "metric": "frames lost", "unit": "frames", "ours": o.dropped, "rival": 0,
            "rival_name": "without changes", "ratio": Value::Null, "runs": o.busy.len(),
        }),
    ]
}

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
    fn bars_are_judged_round_by_round() {
        let case = *CASES.iter().find(|c| c.name == "mpls-swap-4k").unwrap();
        let outcome = |ours: &[f64]| Outcome {
            case,
            ours: runs("trunkline", ours),
            floor: Some(runs("testpmd-io", &[50.0, 100.0, 50.0])),
            same_file: None,
            l3fwd: None,
            one_worker: None,
        };
        // The machine was slow for both in the second round.
        let o = outcome(&[84.0, 134.0, 90.0]);
        assert_eq!(o.above_floor(), Some(34.0));
        assert!(o.text().contains(": reached, 34"), "{}", o.text());
        assert!(outcome(&[84.0, 140.0, 90.0]).text().contains("NOT reached"));
        assert_eq!(o.json()[0]["rival_name"], "testpmd-io-4k");
        assert_eq!(o.json().len(), 2);
    }
}
