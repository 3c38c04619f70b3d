//! `cargo testbed bench bgp`: see the library's module `bgp` for what is measured and how.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::bgp::beside::{self, Task};
use benches::bgp::case::{CASES, Case, What};
use benches::bgp::device::{CORE, Kind};
use benches::bgp::forwarding;
use benches::bgp::report::{self as results, BESIDE, FIB, FIRST, FIRST_BUSY, Outcome, bars};
use benches::bgp::run::{Prepared, Turn};
use benches::host::Host;
use benches::programs;
use benches::report::Report;
use benches::saved::Saved;
use benches::stats::Sample;
use benches::table::{self, Route};
use clap::Parser;
use net::Ip4Prefix;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use vm_testbed::lab::signals;

#[derive(Parser)]
#[command(about = "Measures the BGP speaker beside BIRD 2, FRR's bgpd and GoBGP")]
struct Args {
    /// Fewer rounds and less churn
    #[arg(long)]
    quick: bool,
    /// Write the results as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only this case (or those with this in their names), to join those that were saved before; several times
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Rounds; each contestant has a turn in each [default: 5, quick 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// Rounds for FRR and GoBGP, which take long [default: 3, quick 1]
    #[arg(long)]
    slow_rounds: Option<usize>,
    /// A real IPv4 table, a prefix first on each line and its origin behind (.xz is unpacked)
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Take `trunkline` from this folder instead of building it
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// The rivals alone
    #[arg(long)]
    rivals_only: bool,
}

struct Bench {
    args: Args,
    table: Vec<Route<Ip4Prefix>>,
    program: PathBuf,
    host: Host,
    saved: Saved,
}

fn main() -> Result<()> {
    let args = Args::parse();
    signals::install()?;
    signals::remove_stale();
    let table = match &args.table {
        Some(file) => table::load(file)?,
        None => table::ipv4(1, 1_168_945),
    };
    let program = if args.rivals_only {
        PathBuf::new()
    } else {
        programs::folder(args.programs.as_deref())?.join("trunkline")
    };
    let host = Host::here(
        "harness on core 0, the device on core 1".into(),
        command(&args),
    );
    let name = file_name(&args);
    let head = head(&host, &args);
    println!("{head}");
    let saved = match args.only.is_empty() {
        true => Saved::new(head, bars),
        false => Saved::load(&name, head, bars)?,
    };
    let json = args.json.clone();
    let mut bench = Bench {
        args,
        table,
        program,
        host,
        saved,
    };
    // An appliance with ports spreads itself over the cores.
    bench.forwarding();
    own_core()?;
    for case in CASES {
        if bench.args.wants(case.name) {
            bench.case(*case);
        }
    }
    bench.beside();
    println!("{}", bench.saved.bars());
    if bench.args.rivals_only {
        return Ok(());
    }
    for file in bench.saved.save(&parts(), &name, json.as_deref())? {
        println!("saved: {}", file.display());
    }
    let failed = bench.saved.failed.join("; ");
    ensure!(failed.is_empty(), "not measured: {failed}");
    Ok(())
}

/// All parts, in the order in which they are shown.
fn parts() -> Vec<String> {
    let cases = CASES.iter().map(|c| c.name);
    cases
        .chain([FIB, FIRST, FIRST_BUSY, BESIDE])
        .map(str::to_owned)
        .collect()
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        let exact = |o: &String| parts().contains(o);
        let this = |o: &String| {
            if exact(o) {
                o == name
            } else {
                name.contains(o.as_str())
            }
        };
        self.only.is_empty() || self.only.iter().any(this)
    }
}

/// Under which name results are saved.
fn file_name(args: &Args) -> String {
    let kind = if args.table.is_some() { "-file" } else { "" };
    let quick = if args.quick { "-quick" } else { "" };
    format!("bgp{kind}{quick}")
}

/// What is the same for all parts.
fn head(host: &Host, args: &Args) -> String {
    let source = match &args.table {
        Some(file) => format!("of {}", name_of(file)),
        None => "made by the seeded generator".into(),
    };
    let mut head = format!("{}\ntable: {source}\n", host.summary());
    for kind in [Kind::Bird, Kind::Frr, Kind::Gobgp] {
        let version = kind.version().unwrap_or("not installed".into());
        head += &format!("{}: {version}\n", kind.name());
    }
    head + "\nmedian (least-most) of the turns. Each part says when it was measured; comparisons are within a part.\n\
            Where the time goes that a missed bar asks for less of: docs/benches.md, \"bench bgp\".\n"
}

fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What to type to see it again; names of files without their folders, for results are published.
fn command(args: &Args) -> String {
    let mut line = "cargo testbed bench bgp".to_owned();
    if args.quick {
        line += " --quick";
    }
    if let Some(f) = &args.table {
        line += &format!(" --table {}", name_of(f));
    }
    for (key, n) in [("rounds", args.rounds), ("slow-rounds", args.slow_rounds)] {
        if let Some(n) = n {
            line += &format!(" --{key} {n}");
        }
    }
    for part in &args.only {
        line += &format!(" --only {part}");
    }
    line
}

/// Keeps this process, and with it the harness, off the device's core.
fn own_core() -> Result<()> {
    let mut cpus = CpuSet::new();
    for cpu in (0..std::thread::available_parallelism()?.get()).filter(|c| *c != CORE) {
        cpus.set(cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &cpus).context("one core only")?;
    Ok(())
}

impl Bench {
    fn contestants(&self, case: &Case) -> Vec<(Kind, usize)> {
        if case.is_relay() {
            return vec![(Kind::Relay, self.rounds())];
        }
        let slow = if self.args.quick { 1 } else { 3 };
        let slow = self.args.slow_rounds.unwrap_or(slow).min(self.rounds());
        let rounds = |k: Kind| {
            if k == Kind::Bird { self.rounds() } else { slow }
        };
        let ours = (Kind::Trunkline, self.rounds());
        let rivals = case.rivals.iter().map(|&k| (k, rounds(k)));
        std::iter::once(ours)
            .filter(|_| !self.args.rivals_only)
            .chain(rivals)
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    fn rounds(&self) -> usize {
        let usual = if self.args.quick { 3 } else { 5 };
        self.args.rounds.unwrap_or(usual).max(1)
    }

    /// Takes what a part has said.
    fn take(&mut self, name: &str, report: &Report) {
        self.saved.take(name, report, &self.host);
    }

    fn forwarding(&mut self) {
        if self.args.rivals_only {
            return;
        }
        if let Some(folder) = self.program.parent() {
            vm_testbed::use_binaries(folder.to_owned());
        }
        if self.args.wants(FIB) {
            let what = "the whole table, an appliance with ports";
            let mut report = Saved::begin(FIB, what, &self.host);
            let done = forwarding::with_and_without(&self.table, self.rounds());
            let done = done.map(|(with, without)| results::full_table(&mut report, with, without));
            report.or_failed(FIB, done);
            self.take(FIB, &report);
        }
        let n = if self.args.quick { 200 } else { 1000 };
        for (name, churn) in [(FIRST, false), (FIRST_BUSY, true)] {
            if self.args.wants(name) {
                let what = format!("{n} routes, one after the other");
                let mut report = Saved::begin(name, &what, &self.host);
                let done = forwarding::first_frame(n, churn);
                let done = done.map(|t| results::first_frame(&mut report, name, t));
                report.or_failed(name, done);
                self.take(name, &report);
            }
        }
    }

    fn beside(&mut self) {
        if self.args.rivals_only || !self.args.wants(BESIDE) {
            return;
        }
        let prefixes = self.table.len().min(1_000_000);
        let what = format!("{prefixes} routes, a change every millisecond");
        let mut report = Saved::begin(BESIDE, &what, &self.host);
        let case = Case {
            name: BESIDE,
            what: What::Churn,
            peers: 1,
            prefixes,
            rivals: &[],
            time: None,
        };
        let prepared = Prepared::new(case, &self.table, Duration::from_secs(6));
        let rounds = self.args.rounds.unwrap_or(1);
        let mut turns = Vec::new();
        for task in Task::ALL {
            let mut samples = <[Sample; 5]>::default();
            for _ in 0..rounds {
                eprintln!("  … {BESIDE}, {}", task.name());
                let done = beside::turn(task, &prepared, &self.program);
                let done = done.map(|t| {
                    let [p50, p99, max] = t.latency;
                    let figures = [t.seconds, t.grown, p50, p99, max];
                    samples
                        .iter_mut()
                        .zip(figures)
                        .for_each(|(s, f)| s.0.push(f));
                });
                report.or_failed(task.name(), done);
            }
            let [seconds, grown, p50, p99, max] = samples;
            if !seconds.0.is_empty() {
                turns.push((task, seconds, grown, [p50, p99, max]));
            }
        }
        results::beside(&mut report, &turns);
        self.take(BESIDE, &report);
    }

    fn case(&mut self, case: Case) {
        let what = format!("{} x {} routes", case.peers, case.prefixes);
        let mut report = Saved::begin(case.name, &what, &self.host);
        let churn = Duration::from_secs(if self.args.quick { 3 } else { 10 });
        let prepared = Prepared::new(case, &self.table, churn);
        let contestants = self.contestants(&case);
        let mut turns: Vec<(Kind, Vec<Turn>)> =
            contestants.iter().map(|(k, _)| (*k, Vec::new())).collect();
        let mut commands = BTreeSet::new();
        for round in 0..self.rounds() {
            for (i, (kind, rounds)) in contestants.iter().enumerate() {
                if round >= *rounds {
                    continue;
                }
                let what = format!("{}, {}, round {}", case.name, kind.name(), round + 1);
                eprintln!("  … {what}");
                let done = prepared.turn(*kind, &self.program);
                let done = done.map(|(turn, command)| {
                    turns[i].1.push(turn);
                    commands.insert(format!("{}: {command}", kind.name()));
                });
                report.or_failed(&what, done);
            }
        }
        turns.retain(|(_, t)| !t.is_empty());
        let outcome = Outcome { case, turns };
        report.say(&outcome.text());
        for command in commands {
            report.say(&format!("  {command}"));
        }
        report.rows.extend(outcome.rows());
        self.take(case.name, &report);
    }
}
