//! `cargo testbed bench fib` builds and runs this. See `docs/benches.md`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use benches::host::{Host, Reserved};
use benches::saved::Saved;
use benches::tables::{self, Plan};
use clap::Parser;
use dpdk_sys::rivals::{Dpdk, Pages};

/// MiB for all that DPDK's tables need at a time.
fn mib(args: &Args) -> u32 {
    match (args.routes, args.quick) {
        (Some(_), _) => 600,
        (None, true) => 3_000,
        (None, false) => 7_000,
    }
}

#[derive(Parser)]
#[command(about = "Trunkline's prefix tables beside DPDK's and those of two crates")]
struct Args {
    /// Fewer cases and rounds: two minutes
    #[arg(long)]
    quick: bool,
    /// Write the rows into this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// IPv4 routes, `PREFIX ORIGIN-AS` a line (.xz too); made up if left out
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// IPv6 routes likewise
    #[arg(long, value_name = "FILE")]
    table6: Option<PathBuf>,
    /// Only so many IPv4 routes, and IPv6 in proportion (instructions are not counted, results not saved)
    #[arg(long, value_name = "N")]
    routes: Option<u32>,
    /// Only this part, to join those that were saved before: "ipv4/64 groups", "ipv6/updates", "ipv4", …; several times
    #[arg(long, value_name = "PART")]
    only: Vec<String>,

    /// This process measures; the one that started it holds the hugepages
    #[arg(long, hide = true, value_name = "huge|small")]
    pages: Option<String>,
    #[arg(long, hide = true)]
    count: Option<String>,
    #[arg(long, hide = true, default_value = "ipv4")]
    family: String,
    #[arg(long, hide = true, default_value_t = 0)]
    lookups: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match (&args.count, &args.pages) {
        (Some(name), _) => {
            let routes = args.routes.unwrap_or(10_000);
            tables::count_child(&args.family, name, args.lookups, routes).map(|()| true)
        }
        (None, Some(pages)) => measure(&args, pages == "huge").map(|()| true),
        (None, None) => start(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("bench fib: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reserves hugepages, lets another process measure, and gives them back whatever happened to it.
fn start(args: &Args) -> Result<bool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The child dies of it too, and then this process goes on to the end.
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let pages = match Reserved::new(mib(args).into()) {
        Ok(held) => Some(held),
        Err(e) => {
            eprintln!("DPDK's tables get ordinary pages: {e}");
            None
        }
    };
    let mut child = Command::new(std::env::current_exe()?);
    child.args(std::env::args_os().skip(1));
    child.args(["--pages", if pages.is_some() { "huge" } else { "small" }]);
    let status = child.status().context("can't run itself")?;
    drop(pages);
    Ok(status.success())
}

fn measure(args: &Args, huge: bool) -> Result<()> {
    let plan = Plan {
        quick: args.quick,
        routes: args.routes,
        table: args.table.clone(),
        table6: args.table6.clone(),
        only: args.only.clone(),
    };
    let (pages, memory) = if huge {
        (Pages::Huge, "DPDK's tables on hugepages of 2 MiB")
    } else {
        (Pages::Small(mib(args)), "DPDK's tables on ordinary pages")
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let dpdk = Dpdk::start(pages, cores - 1)?;
    let host = Host::here(memory.into(), command(args));
    let mut saved = tables::run(&dpdk, &plan, &host)?;
    if args.routes.is_some() {
        if let Some(file) = &args.json {
            std::fs::write(file, serde_json::to_string(&saved.rows())?)?;
        }
        return whole(&saved);
    }
    let files = saved.save(&plan.all_parts(), &plan.file_name(), args.json.as_deref())?;
    for file in files {
        println!("saved: {}", file.display());
    }
    whole(&saved)
}

fn whole(saved: &Saved) -> Result<()> {
    let failed = saved.failed.join("; ");
    ensure!(failed.is_empty(), "not measured: {failed}");
    Ok(())
}

/// What to type to see it again; names of files without their folders, for results are published.
fn command(args: &Args) -> String {
    let file = |f: &PathBuf| {
        f.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let mut line = "cargo testbed bench fib".to_owned();
    if args.quick {
        line += " --quick";
    }
    for (key, value) in [("table", &args.table), ("table6", &args.table6)] {
        if let Some(f) = value {
            line += &format!(" --{key} {}", file(f));
        }
    }
    if let Some(n) = args.routes {
        line += &format!(" --routes {n}");
    }
    for part in &args.only {
        line += &format!(" --only '{part}'");
    }
    line
}
