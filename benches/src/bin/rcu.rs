//! `cargo testbed bench rcu` builds and runs this. See `docs/benches.md`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::Result;
use benches::host::Host;
use benches::sharing;
use clap::Parser;
use dpdk_sys::rivals::{Dpdk, Pages};

#[derive(Parser)]
#[command(about = "Trunkline's RCU and rings beside DPDK's and those of some crates")]
struct Args {
    /// Fewer rounds; results are not saved
    #[arg(long)]
    quick: bool,
    /// Write the rows into this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let dpdk = Dpdk::start(Pages::Small(64), cores - 1)?;
    let command = format!(
        "cargo testbed bench rcu{}",
        if args.quick { " --quick" } else { "" }
    );
    let host = Host::here("ordinary pages".into(), command);
    let report = sharing::run(&dpdk, args.quick, &host)?;
    if !args.quick {
        for file in report.save("rcu", &host, args.json.as_deref())? {
            println!("saved: {}", file.display());
        }
    } else if let Some(file) = args.json {
        std::fs::write(file, report.json(&host).to_string())?;
    }
    Ok(())
}
