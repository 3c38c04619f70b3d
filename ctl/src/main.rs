//! `trunkline`, the appliance: reads its arguments, sets up its log, and runs the control thread.
//!
//! Exit status: 0 ended as it was told to, 1 could not start (one line on stderr: cause and remedy), 2 wrong usage.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// A router in one process: DPDK workers that forward IPv4, IPv6 and MPLS, and their control thread.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, about, max_term_width = 100)]
struct Args {
    /// The configuration.
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/trunkline/trunkline.toml"
    )]
    config: PathBuf,
    /// Where the API listens; trunkctl takes the same option.
    #[arg(long, value_name = "PATH", default_value = api::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Only check the configuration, and say what is wrong with it.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let began = Instant::now();
    // Before there is a second thread.
    dataplane::eal::prepare_process();
    let args = Args::parse();
    let done = if args.check {
        check(&args)
    } else {
        run(args, began)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("trunkline: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn check(args: &Args) -> Result<(), String> {
    let store = ctl::config::Store::load(&args.config).map_err(|e| e.to_string())?;
    let c = store.running();
    println!(
        "{}: good: {} interfaces, {} routes, {} labels",
        args.config.display(),
        c.interfaces.len(),
        c.all_routes().count(),
        c.labels.len()
    );
    Ok(())
}

fn run(args: Args, began: Instant) -> Result<(), String> {
    // RUST_LOG=debug tells more.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    ctl::control::run(&ctl::control::Options {
        config: args.config,
        socket: args.socket,
        began,
    })
}
