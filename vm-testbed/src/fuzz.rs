//! `cargo testbed fuzz`: every fuzz target for a while, coverage-guided, with the address sanitizer.
//!
//! The folders are cargo-fuzz's (`fuzz_targets`, a workspace of its own), and `cargo fuzz` works in them. Here cargo is
//! called as cargo-fuzz calls it, so that nothing has to be installed first but a C++ compiler, of which libFuzzer is
//! built. What a target finds stays in `fuzz/artifacts`, what it learned in `fuzz/corpus`; neither is kept by git.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::cmd;
use crate::{progress, setup, workspace};

/// Where there are targets.
const FOLDERS: [&str; 4] = ["dataplane/net/fuzz", "bgp/fuzz", "bgp/ldp/fuzz", "ctl/fuzz"];
/// As cargo-fuzz 0.13 gives them.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=4";
/// Named, so that the flags are for targets and not for build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// An input that takes longer than this is a find.
const SLOW: Duration = Duration::from_secs(10);

/// Runs the targets that have `only` in their name (`net/frame`), each for so long.
///
/// # Errors
/// The first that does not build, or finds something: with the file that has the input.
pub fn run(each: Duration, only: Option<&str>) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut ran = 0;
    for folder in FOLDERS
        .map(|f| workspace().join(f))
        .iter()
        .filter(|f| f.exists())
    {
        let crate_name = folder
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let wanted = |t: &String| only.is_none_or(|o| format!("{crate_name}/{t}").contains(o));
        let targets: Vec<String> = targets(folder)?.into_iter().filter(wanted).collect();
        if targets.is_empty() {
            continue;
        }
        let programs = build(folder)?;
        for some in targets.chunks(cores) {
            beside(folder, &crate_name, &programs, some, each)?;
        }
        ran += targets.len();
    }
    ensure!(
        ran > 0,
        "no fuzz target has \"{}\" in its name",
        only.unwrap_or_default()
    );
    Ok(())
}

/// The targets of a folder: its programs.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let dir = folder.join("fuzz_targets");
    let files = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
    let names = files.flatten().filter_map(|f| {
        let path = f.path();
        let is_rust = path.extension().is_some_and(|e| e == "rs");
        is_rust.then(|| path.file_stem().map(|s| s.to_string_lossy().into_owned()))?
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    Ok(names)
}

/// Builds all targets of a folder. Returns where the programs are.
fn build(folder: &Path) -> Result<PathBuf> {
    let to = workspace().join("target-fuzz");
    let name = folder
        .strip_prefix(workspace())
        .unwrap_or(folder)
        .display()
        .to_string();
    let step = progress::step(&format!("building the fuzz targets of {name}"));
    let mut c = setup::cargo();
    c.args([
        "build",
        "--quiet",
        "--release",
        "--bins",
        "--target",
        TARGET,
    ])
    .current_dir(folder)
    .env("RUSTC_BOOTSTRAP", "1")
    .env("RUSTFLAGS", RUSTFLAGS)
    .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
    .env("CARGO_TARGET_DIR", &to);
    let status = c.stdin(Stdio::null()).status().context("can't run cargo")?;
    ensure!(
        status.success(),
        "the fuzz targets of {name} do not build, as cargo says above"
    );
    step.done("");
    Ok(to.join(TARGET).join("release"))
}

/// Runs targets of one folder at the same time: each keeps a core busy.
fn beside(folder: &Path, of: &str, programs: &Path, some: &[String], each: Duration) -> Result<()> {
    let names: Vec<String> = some.iter().map(|t| format!("{of}/{t}")).collect();
    let step = progress::step(&format!(
        "fuzz {}, {} s",
        names.join(" and "),
        each.as_secs()
    ));
    let all: Vec<Result<u64>> = std::thread::scope(|s| {
        let running: Vec<_> = (some.iter().zip(&names))
            .map(|(target, name)| s.spawn(move || one(folder, &programs.join(target), name, each)))
            .collect();
        let end = |t: std::thread::ScopedJoinHandle<_>| match t.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        running.into_iter().map(end).collect()
    });
    let runs: Vec<String> = all
        .into_iter()
        .map(|r| r.map(|n| n.to_string()))
        .collect::<Result<_>>()?;
    step.done(&format!("{} inputs", runs.join(" and ")));
    Ok(())
}

/// Runs one target. Returns how many inputs it was given.
fn one(folder: &Path, program: &Path, name: &str, each: Duration) -> Result<u64> {
    let target = program.file_name().unwrap_or_default();
    let (corpus, artifacts) = (
        folder.join("corpus").join(target),
        folder.join("artifacts").join(target),
    );
    for dir in [&corpus, &artifacts] {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let mut c = std::process::Command::new(program);
    c.arg(format!("-max_total_time={}", each.as_secs().max(1)))
        .arg(format!("-timeout={}", SLOW.as_secs()))
        .arg("-rss_limit_mb=4096")
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(&corpus)
        .env("ASAN_OPTIONS", "detect_leaks=0:detect_odr_violation=0")
        .current_dir(folder);
    let done = cmd::finish(&mut c)?;
    let text = done.text();
    if !done.ok() {
        let from = text
            .lines()
            .position(|l| l.contains("panicked") || l.contains("ERROR"))
            .unwrap_or(0);
        let tail: Vec<&str> = text.lines().skip(from).take(40).collect();
        bail!(
            "{name} found something; the input is in {}:\n{}",
            artifacts.display(),
            tail.join("\n")
        );
    }
    let stat = |what: &str| {
        let line = text.lines().find(|l| l.contains(what));
        line.and_then(|l| l.split_whitespace().last()?.parse::<u64>().ok())
    };
    let runs =
        stat("stat::number_of_executed_units").context("the target says nothing of its runs")?;
    ensure!(runs > 0, "{name} ran no input");
    Ok(runs)
}
