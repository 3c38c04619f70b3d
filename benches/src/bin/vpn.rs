//! `cargo testbed bench vpn`: see the library's module `vpn` for what is measured and how.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::{Result, ensure};
use benches::host::{Host, Realtime};
use benches::programs;
use benches::saved::Saved;
use benches::vpn::report::{self as results, PORTS, TABLES, VRFS, bars};
use benches::vpn::{SIZES, ports, tables};
use clap::Parser;
use vm_testbed::lab::signals;

#[derive(Parser)]
#[command(about = "Measures what it costs a VPN to lose its PE, and what many VRFs take")]
struct Args {
    /// Fewer rounds; results are not saved
    #[arg(long)]
    quick: bool,
    /// Write the rows into this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only this part (tables, ports, vrfs), to join those that were saved before; several times
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Take `trunkline` from this folder instead of building it
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

impl Args {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| o == part)
    }

    fn command(&self) -> String {
        let mut line = "cargo testbed bench vpn".to_owned();
        if self.quick {
            line += " --quick";
        }
        for part in &self.only {
            line += &format!(" --only {part}");
        }
        line
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let known = [TABLES, PORTS, VRFS];
    if let Some(other) = args.only.iter().find(|o| !known.contains(&o.as_str())) {
        anyhow::bail!("there is no part {other:?}; there are {}", known.join(", "));
    }
    signals::install()?;
    signals::remove_stale();
    let host = Host::here("ordinary pages".into(), args.command());
    let built = match cfg!(debug_assertions) {
        true => "built by the profile of tests (opt-level 1, with debug assertions)",
        false => "built for release",
    };
    let head = format!(
        "{}\n{built}\n\nmedian (least-most) of the rounds. Each part says when it was measured; comparisons are within a part.\n\
         What is measured: docs/benches.md, \"bench vpn\".\n",
        host.summary()
    );
    println!("{head}");
    let mut saved = match args.only.is_empty() || args.quick {
        true => Saved::new(head, bars),
        false => Saved::load("vpn", head, bars)?,
    };
    if args.wants(TABLES) {
        in_process(&args, &host, &mut saved);
    }
    if args.wants(PORTS) || args.wants(VRFS) {
        vm_testbed::use_binaries(programs::folder(args.programs.as_deref())?);
    }
    if args.wants(PORTS) {
        between_wires(&args, &host, &mut saved);
    }
    if args.wants(VRFS) {
        many_vrfs(&args, &host, &mut saved);
    }
    println!("{}", saved.bars());
    if !args.quick {
        let order = known.map(str::to_owned);
        for file in saved.save(&order, "vpn", args.json.as_deref())? {
            println!("saved: {}", file.display());
        }
    } else if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string(&saved.rows())?)?;
    }
    let failed = saved.failed.join("; ");
    ensure!(failed.is_empty(), "not measured: {failed}");
    Ok(())
}

fn in_process(args: &Args, host: &Host, saved: &mut Saved) {
    let what = "the RIB and the forwarding tables in one process";
    let mut report = Saved::begin(TABLES, what, host);
    let realtime = Realtime::enter();
    let done = tables::failover(&SIZES, if args.quick { 5 } else { 101 });
    drop(realtime);
    let done = done.map(|all| results::tables(&mut report, &all));
    report.or_failed(TABLES, done);
    saved.take(TABLES, &report, host);
}

fn between_wires(args: &Args, host: &Host, saved: &mut Saved) {
    let what = format!(
        "an appliance between veths, {} prefixes tried",
        ports::PROBES
    );
    let mut report = Saved::begin(PORTS, &what, host);
    let rounds = if args.quick { 2 } else { 15 };
    let each = SIZES.iter().map(|n| {
        eprintln!("  … {n} prefixes");
        Ok((*n, ports::failover(*n, rounds)?))
    });
    let done = each.collect::<Result<Vec<_>>>();
    let done = done.map(|all| results::ports(&mut report, &all));
    report.or_failed(PORTS, done);
    saved.take(PORTS, &report, host);
}

fn many_vrfs(args: &Args, host: &Host, saved: &mut Saved) {
    let (count, routes) = (1000, 1000);
    let what = format!("{count} VRFs of {routes} routes, an appliance with ports");
    let mut report = Saved::begin(VRFS, &what, host);
    let rounds = if args.quick { 1 } else { 3 };
    let all: Result<Vec<_>> = (0..rounds).map(|_| ports::vrfs(count, routes)).collect();
    let done = all.map(|all| results::vrfs(&mut report, (count, routes), &all));
    report.or_failed(VRFS, done);
    saved.take(VRFS, &report, host);
}
