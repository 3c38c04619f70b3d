//! `cargo testbed test`: checks, unit tests, loom, packet cases and scenarios, and one line at the end.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::cases;
use crate::lab::{self, Flavor, Memory, capture, signals};
use crate::scenarios::vm::record;
use crate::scenarios::{self, Scenario, Skip, on_purpose};
use crate::{fuzz, progress, setup};

/// How long a fuzz target runs.
const FUZZ: Duration = Duration::from_secs(8);

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Tier {
    /// Under two minutes on a built tree: the packet cases and the quick scenarios.
    Quick,
    /// Everything that needs no virtual machine.
    Full,
    /// Full, and all scenarios in virtual machines.
    Vm,
}

impl Tier {
    /// Why something of this tier is not run in a lower one.
    fn only(self) -> &'static str {
        match self {
            Self::Quick => "in every tier",
            Self::Full => "only in the tier \"full\"",
            Self::Vm => "only in the tier \"vm\"",
        }
    }
}

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much.
    pub tier: Tier,
    /// Only what has this in its name.
    pub only: Option<String>,
    /// Instead of all, the scenarios that fail on purpose.
    pub on_purpose: bool,
    /// Names only.
    pub list: bool,
    /// The programs under test.
    pub programs: setup::Programs,
    /// Where buffers are and how ports are reached, for what does not choose by itself.
    pub flavor: Flavor,
    /// Write the page of docs/ on what ran in virtual machines.
    pub save: bool,
    /// A folder of captures to play into the hostile scenario.
    pub hostile: Option<std::path::PathBuf>,
}

/// Results as they come in.
#[derive(Debug, Default)]
pub struct Report {
    passed: usize,
    failed: Vec<String>,
    skipped: BTreeMap<String, String>,
}

impl Report {
    /// Writes a line on a result, and why it failed.
    pub fn result(&mut self, name: &str, took: Duration, result: Result<()>) {
        let ms = took.as_millis();
        let left = lab::saved();
        match result {
            Ok(()) => {
                self.passed += 1;
                left.iter().for_each(|folder| capture::forget(folder));
                println!("ok    {name}  ({ms} ms)");
            }
            Err(e) if e.is::<Skip>() => self.skip(name, &format!("{e:#}")),
            Err(e) => {
                println!("FAIL  {name}  ({ms} ms)");
                for line in format!("{e:#}").lines() {
                    println!("      {line}");
                }
                for folder in &left {
                    println!("      logs, dumps and captures: {}", folder.display());
                }
                self.failed.push(name.to_owned());
            }
        }
        let _ = std::io::stdout().flush();
    }

    /// Writes a line on what is not run, and why.
    pub fn skip(&mut self, name: &str, why: &str) {
        println!("skip  {name}: {why}");
        self.skipped.insert(name.to_owned(), why.to_owned());
    }

    /// The end: what failed and what was skipped, and the line that everybody looks for.
    #[must_use]
    pub fn finish(&self) -> bool {
        println!();
        for name in &self.failed {
            println!("failed: {name}");
        }
        for (name, why) in &self.skipped {
            println!("skipped: {name}: {why}");
        }
        if !self.failed.is_empty() {
            println!(
                "logs of the appliances: {}",
                crate::workspace().join("target/testbed-logs").display()
            );
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        );
        self.failed.is_empty() && self.passed > 0
    }
}

/// A check that is a command.
struct Check {
    name: &'static str,
    tier: Tier,
    run: fn() -> Result<()>,
}

const CHECKS: &[Check] = &[
    Check {
        name: "fmt",
        tier: Tier::Quick,
        run: fmt,
    },
    Check {
        name: "clippy",
        tier: Tier::Quick,
        run: clippy,
    },
    Check {
        name: "unit tests",
        tier: Tier::Quick,
        run: unit,
    },
    Check {
        name: "doc tests",
        tier: Tier::Full,
        run: doc,
    },
    Check {
        name: "loom",
        tier: Tier::Full,
        run: loom,
    },
    Check {
        name: "fuzz",
        tier: Tier::Full,
        run: short_fuzz,
    },
];

/// Runs a command whose output the user sees; fails with its status.
fn shown(c: &mut Command) -> Result<()> {
    let status = c.stdin(Stdio::null()).status()?;
    ensure!(
        status.success(),
        "it ended with {status}; what it said is above"
    );
    Ok(())
}

fn fmt() -> Result<()> {
    shown(setup::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    shown(setup::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn unit() -> Result<()> {
    if setup::nextest() {
        return shown(setup::cargo().args([
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--status-level",
            "fail",
        ]));
    }
    progress::note("cargo-nextest can't be had: plain `cargo test` runs them, one at a time");
    shown(setup::cargo().args([
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--",
        "--test-threads=1",
    ]))
}

fn doc() -> Result<()> {
    shown(setup::cargo().args(["test", "--workspace", "--doc", "--quiet"]))
}

/// The model checker looks at every interleaving; it needs the crate built with its own atomics, in a folder of its own.
fn loom() -> Result<()> {
    let mut c = setup::cargo();
    c.env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", crate::workspace().join("target-loom"));
    let run: &[&str] = if setup::nextest() {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    shown(c.args(run).args(["--release", "-p", "trunkline-rcu"]))
}

/// Each target for a few seconds: enough to find what is easy to find, and to see that they build.
fn short_fuzz() -> Result<()> {
    progress::note(
        "the targets of ctl/ are left to `cargo testbed fuzz --only ctl/`: they take ten minutes to build",
    );
    ["net/", "bgp/", "ldp/"]
        .into_iter()
        .try_for_each(|only| fuzz::run(FUZZ, Some(only)))
}

/// Runs what the options ask for; returns whether all of it passed.
///
/// # Errors
/// When the machine can't be prepared, or the programs can't be built.
pub fn run(o: &Options) -> Result<bool> {
    if o.list {
        list();
        return Ok(true);
    }
    setup::install()?;
    let wanted = |name: &str| o.only.as_deref().is_none_or(|only| name.contains(only));
    let machines = |s: &Scenario| s.in_machines() && s.tier <= o.tier && wanted(s.name);
    let all = match o.on_purpose {
        true => on_purpose::ALL,
        false => scenarios::ALL,
    };
    let no_machines = match all.iter().any(machines) {
        true => setup::install_for_vm().err(),
        false => None,
    };
    // What was asked for by name fails; else the run tells which scenarios it goes without.
    if o.tier == Tier::Vm
        && let Some(e) = no_machines
    {
        return Err(e);
    }
    setup::build(&o.programs)?;
    let stale = signals::remove_stale();
    if stale > 0 {
        progress::note(&format!(
            "removed {stale} namespaces of a test bed that was killed"
        ));
    }
    let mut report = Report::default();
    if !o.on_purpose {
        checks(o, &wanted, &mut report);
        packet_cases(o, &mut report);
    }
    let mut these = vec![];
    for s in all.iter().filter(|s| wanted(s.name)) {
        if s.tier > o.tier {
            report.skip(s.name, s.tier.only());
        } else if s.in_machines()
            && let Some(e) = &no_machines
        {
            report.skip(s.name, &format!("{e:#}"));
        } else {
            these.push(s);
        }
    }
    capture::switch(true);
    let report = scenarios(o, &these, report);
    scenarios::vm::switch_off();
    if o.save {
        record::save()?;
    }
    Ok(report.finish())
}

/// Runs scenarios: those that look at times or at the whole machine one by one, then those in virtual machines one by one, and beside
/// them those that mostly wait for timers.
fn scenarios(o: &Options, these: &[&Scenario], report: Report) -> Report {
    let report = Mutex::new(report);
    let one = |s: &Scenario| {
        let start = Instant::now();
        let result =
            std::panic::catch_unwind(|| (s.run)(o)).unwrap_or_else(|_| Err(anyhow!("it panicked")));
        if s.in_machines() && !o.on_purpose {
            record::scenario(s, start.elapsed(), &result);
        }
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        report.result(s.name, start.elapsed(), result);
    };
    let (mut beside, mut machines, mut alone) = (vec![], vec![], vec![]);
    for &s in these {
        // Two on huge pages would count each other's.
        let to = if s.runs_beside() && o.flavor.memory == Memory::NoHuge {
            &mut beside
        } else if s.in_machines() {
            &mut machines
        } else {
            &mut alone
        };
        to.push(s);
    }
    alone.into_iter().for_each(one);
    // Machines in the thread that stays: one ends with the thread that has started it.
    let first = || machines.into_iter().for_each(one);
    side_by_side(&beside, first, one);
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Does `first`, and beside it `one` with each of these; then both threads do the latter.
fn side_by_side(these: &[&Scenario], first: impl FnOnce(), one: impl Fn(&Scenario) + Sync) {
    let next = AtomicUsize::new(0);
    let rest = || {
        // A counter alone: nothing is published by it.
        while let Some(this) = these.get(next.fetch_add(1, Ordering::Relaxed)) {
            one(this);
        }
    };
    std::thread::scope(|threads| {
        threads.spawn(rest);
        first();
        rest();
    });
}

fn packet_cases(o: &Options, report: &mut Report) {
    for group in cases::groups() {
        let only = o.only.as_deref();
        let start = Instant::now();
        let mut tell = |name: &str, took, result| report.result(name, took, result);
        if let Err(e) = cases::run_group(&group, &o.flavor, only, &mut tell) {
            report.result(
                &format!("{}/appliance", group.name),
                start.elapsed(),
                Err(e),
            );
        }
    }
}

fn checks(o: &Options, wanted: &dyn Fn(&str) -> bool, report: &mut Report) {
    let ci = std::env::var_os("CI").is_some_and(|v| v == "true");
    for c in CHECKS.iter().filter(|c| wanted(c.name)) {
        if ci && matches!(c.name, "fmt" | "clippy") {
            progress::note(&format!(
                "{}: CI=true, so .ci/run has done it already",
                c.name
            ));
        } else if c.tier > o.tier {
            report.skip(c.name, c.tier.only());
        } else {
            let start = Instant::now();
            let result = (c.run)();
            report.result(c.name, start.elapsed(), result);
        }
    }
}

fn list() {
    for c in CHECKS {
        println!("{}", c.name);
    }
    for g in cases::groups() {
        for c in (g.cases)() {
            println!("{}/{}", g.name, c.name());
        }
    }
    for s in scenarios::ALL {
        println!("{}  ({})", s.name, s.what);
    }
}
