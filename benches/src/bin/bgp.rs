//! `cargo testbed bench bgp`: see the library's module `bgp` for what is measured and how.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::bgp::case::{CASES, Case};
use benches::bgp::device::{CORE, Kind};
use benches::bgp::forwarding;
use benches::bgp::report::{self as results, FIB, FIRST, FIRST_BUSY, Outcome, bars};
use benches::bgp::run::{Prepared, Turn};
use benches::host::Host;
use benches::report::{self, Report};
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
    /// Only the cases that have this in their name
    #[arg(long, default_value = "")]
    only: String,
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
    commands: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    signals::install()?;
    signals::remove_stale();
    let (table, source) = match &args.table {
        Some(file) => (table::load(file)?, format!("of {}", file.display())),
        None => (
            table::ipv4(1, 1_168_945),
            "made by the seeded generator".into(),
        ),
    };
    let program = if args.rivals_only {
        PathBuf::new()
    } else {
        program(args.programs.as_deref())?
    };
    let given: Vec<String> = std::env::args().skip(1).collect();
    let host = Host::here(
        "harness on core 0, the device on core 1".into(),
        format!("cargo testbed bench bgp {}", given.join(" ")),
    );
    let mut report = Report::default();
    report.say(&format!(
        "{}\n{}, {}",
        host.summary(),
        host.date,
        host.commit
    ));
    report.say(&format!("{}\ntable: {source}", host.command));
    for kind in [Kind::Bird, Kind::Frr, Kind::Gobgp] {
        let version = kind.version().unwrap_or("not installed".into());
        report.say(&format!("{}: {version}", kind.name()));
    }
    report.say("");
    let made = args.table.is_none();
    let json = args.json.clone();
    let mut bench = Bench {
        args,
        table,
        program,
        commands: Vec::new(),
    };
    let only = bench.args.only.clone();
    // An appliance with ports spreads itself over the cores.
    bench.forwarding(&only, &mut report);
    own_core()?;
    for case in CASES.iter().filter(|c| c.name.contains(&only)) {
        bench.case(*case, &mut report);
    }
    report.say(&report::bars(&bars(&report, CASES)));
    bench.commands.sort();
    bench.commands.dedup();
    report.say(&format!("commands:\n  {}", bench.commands.join("\n  ")));
    let name = match (made, only.is_empty()) {
        (true, true) => "bgp",
        (false, true) => "bgp-file",
        (_, false) => return Ok(()), // a part is not the result
    };
    let files = report.save(name, &host, json.as_deref())?;
    for f in files {
        println!("written: {}", f.display());
    }
    ensure!(report.failed.is_empty(), "not all could be measured");
    Ok(())
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

/// The appliance, built as it ships.
fn program(folder: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = folder {
        return Ok(folder.canonicalize()?.join("trunkline"));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status = cargo
        .args([
            "build",
            "--release",
            "--quiet",
            "-p",
            "trunkline",
            "-p",
            "trunkctl",
        ])
        .status()?;
    ensure!(status.success(), "trunkline could not be built");
    let here = std::env::current_exe()?;
    let folder = here.parent().context("this program is in no folder")?;
    Ok(folder.join("trunkline"))
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

    fn forwarding(&self, only: &str, report: &mut Report) {
        if self.args.rivals_only {
            return;
        }
        if let Some(folder) = self.program.parent() {
            vm_testbed::use_binaries(folder.to_owned());
        }
        if FIB.contains(only) {
            let done = forwarding::with_and_without(&self.table, self.rounds());
            let done = done.map(|(with, without)| results::full_table(report, with, without));
            report.or_failed(FIB, done);
        }
        let n = if self.args.quick { 200 } else { 1000 };
        for (name, churn) in [(FIRST, false), (FIRST_BUSY, true)] {
            if name.contains(only) {
                let done = forwarding::first_frame(n, churn);
                let done = done.map(|t| results::first_frame(report, name, t));
                report.or_failed(name, done);
            }
        }
    }

    fn case(&mut self, case: Case, report: &mut Report) {
        let churn = Duration::from_secs(if self.args.quick { 3 } else { 10 });
        let prepared = Prepared::new(case, &self.table, churn);
        let contestants = self.contestants(&case);
        let mut turns: Vec<(Kind, Vec<Turn>)> =
            contestants.iter().map(|(k, _)| (*k, Vec::new())).collect();
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
                    self.commands.push(format!("{}: {command}", kind.name()));
                });
                report.or_failed(&what, done);
            }
        }
        turns.retain(|(_, t)| !t.is_empty());
        let outcome = Outcome { case, turns };
        report.say(&outcome.text());
        report.rows.extend(outcome.rows());
    }
}
