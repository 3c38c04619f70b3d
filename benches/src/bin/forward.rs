//! `cargo testbed bench forward`: see the library's module `forward` for what is measured and how.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::forward::case::{CASES, Case, SMALL, Tables};
use benches::forward::frames;
use benches::forward::ours::{self, Ours};
use benches::forward::page::{self, Page};
use benches::forward::process::{CORE, Racer, Speed, turn, wait_ready};
use benches::forward::report::{self, LATENCY, Outcome, Runs, UPDATES};
use benches::forward::rival::{self, Rival};
use benches::forward::updates;
use benches::host::{self, Host};
use benches::programs;
use benches::table;
use clap::Parser;
use hugepages::doctor::RUN_DIR;
use hugepages::held::Held;
use hugepages::pages;
use hugepages::sys::Sys;
use nix::sys::signal::Signal;
use serde_json::Value;

/// Huge pages of 2 MiB: l3fwd's tables take most of them.
const PAGES: u64 = 2200;

#[derive(Parser)]
#[command(about = "Measures forwarding beside DPDK's testpmd and l3fwd")]
struct Args {
    /// Shorter turns
    #[arg(long)]
    quick: bool,
    /// Write the results as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the cases that have one of these in their name
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Keep the other cases that the results have from earlier runs; each says when it was measured
    #[arg(long)]
    join: bool,
    /// Rounds; each program has a turn in each
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// A real IPv4 table, a prefix first on each line (.xz is unpacked)
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// A real IPv6 table
    #[arg(long, value_name = "FILE")]
    table6: Option<PathBuf>,
    /// Take `trunkline` from this folder instead of building it
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What all cases share.
struct Bench {
    args: Args,
    tables: Tables,
    program: PathBuf,
    l3fwd: Result<PathBuf>,
    probe: PathBuf,
    folder: tempfile::TempDir,
    commands: Vec<String>,
    /// Date and commit.
    when: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let tables = tables(&args)?;
    let program = programs::folder(args.programs.as_deref())?.join("trunkline");
    let l3fwd = rival::build_l3fwd();
    let folder = tempfile::tempdir()?;
    let probe = rival::build_probe(folder.path())?;
    let mut bench = Bench {
        args,
        tables,
        program,
        l3fwd,
        probe,
        folder,
        commands: Vec::new(),
        when: String::new(),
    };
    let command = host::command_line(std::env::args().skip(1));
    let host = Host::here(
        "huge pages of 2 MiB".into(),
        format!("cargo testbed bench forward {command}"),
    );
    let mut page = Page {
        head: bench.head(&host),
        ..Page::default()
    };
    print!("{}", page.head);
    bench.when = format!("{}, commit {}", host.date, host.commit);
    let mut rows: Vec<Value> = Vec::new();
    for case in CASES {
        if !bench.args.wants(case.name) {
            continue;
        }
        let _pages = Pages::reserve(PAGES)?;
        match bench.run(*case) {
            Ok(outcome) => {
                say(&mut page, case.name, outcome.text());
                rows.extend(outcome.json());
            }
            Err(e) => {
                let failed = format!("{:<22} failed: {e:#}\n", case.name);
                say(&mut page, case.name, failed);
            }
        }
    }
    // The last, as it starts DPDK in this process.
    if bench.args.wants(UPDATES) || bench.args.wants(LATENCY) {
        let _pages = Pages::reserve(PAGES)?;
        let outcome = bench.updates()?;
        say(
            &mut page,
            UPDATES,
            report::updates_text(&outcome, &bench.when),
        );
        say(
            &mut page,
            LATENCY,
            report::latency_text(&outcome, &bench.when),
        );
        rows.extend(report::updates_json(&outcome));
    }
    // The same in every run.
    let (folder, program) = (bench.folder.path().display(), bench.program.display());
    let (folder, program) = (folder.to_string(), program.to_string());
    let plain = |c: &String| {
        let c = c.replace(&folder, "DIR").replace(&program, "trunkline");
        // It stands in the cache of whoever built it.
        let word = |w| {
            if str::ends_with(w, "/l3fwd") {
                "l3fwd"
            } else {
                w
            }
        };
        c.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    page.commands.extend(bench.commands.iter().map(plain));
    let made = bench.args.table.is_none() && bench.args.table6.is_none();
    let name = if made { "forward" } else { "forward-file" };
    save(name, rows, page, &bench.args)
}

impl Args {
    fn wants(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| case.contains(o.as_str()))
    }
}

/// Prints the block of a case, and keeps it.
fn say(page: &mut Page, name: &str, block: String) {
    print!("{block}");
    page.blocks.push((name.to_owned(), block));
}

/// Under `benches/results`, and where it was asked for.
fn save(name: &str, rows: Vec<Value>, page: Page, args: &Args) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    fs::create_dir_all(&folder)?;
    let old = |ending: &str| {
        fs::read_to_string(folder.join(format!("{name}.{ending}"))).unwrap_or_default()
    };
    let (rows, page) = if args.join {
        let mut names: Vec<&str> = CASES.iter().map(|c| c.name).collect();
        names.extend([UPDATES, LATENCY]);
        let page = page.joined(Page::parse(&old("txt")), &names);
        (page::join_rows(rows, &old("json")), page)
    } else {
        (rows, page)
    };
    let rows = serde_json::to_string_pretty(&rows)? + "\n";
    fs::write(folder.join(format!("{name}.txt")), page.text())?;
    fs::write(folder.join(format!("{name}.json")), &rows)?;
    if let Some(file) = &args.json {
        fs::write(file, rows)?;
    }
    Ok(())
}

/// Huge pages, given back however it ends.
struct Pages(#[expect(dead_code, reason = "held until it is dropped")] Held);

impl Pages {
    fn reserve(n: u64) -> Result<Self> {
        let sys = Sys::default();
        let mut held = Held::open(&sys, Path::new(RUN_DIR))?;
        pages::reserve(&sys, &mut held, 0, 2048, n)?;
        Ok(Self(held))
    }
}

fn tables(args: &Args) -> Result<Tables> {
    let mut t = Tables::made();
    if let Some(file) = &args.table {
        t.v4 = table::prefixes(&table::load(file)?);
        t.source = format!("IPv4 of {}", host::file_name(file));
    }
    if let Some(file) = &args.table6 {
        t.v6 = table::prefixes(&table::load(file)?);
        t.source += &format!(", IPv6 of {}", host::file_name(file));
    }
    Ok(t)
}

impl Bench {
    fn head(&self, host: &Host) -> String {
        let l3fwd = match &self.l3fwd {
            Ok(_) => "with rte_fib, built from Debian's source package".to_owned(),
            Err(e) => format!("left out: {e:#}"),
        };
        format!(
            "{}\n{}\nDPDK {}; tables: {}; l3fwd: {l3fwd}\n\n{}",
            host.summary(),
            host.command,
            dpdk_version(),
            self.tables.source,
            report::head()
        )
    }

    fn updates(&self) -> Result<updates::Outcome> {
        let case = CASES.iter().find(|c| c.name == "ipv4-1m-4k");
        let captures = self.captures(case.context("no such case")?, "updates")?;
        // Many short rounds: a host disturbs some of them, and medians pass over those.
        let time = Duration::from_millis(if self.args.quick { 200 } else { 400 });
        let files = [captures[0][0].as_path(), captures[1][0].as_path()];
        updates::run(&self.tables, files, 3 * self.args.rounds.max(1), time)
    }

    /// The captures of both ports; with several queues, each has its own.
    fn captures(&self, case: &Case, tag: &str) -> Result<[Vec<PathBuf>; 2]> {
        let one = |port: u8, queue: u32| -> Result<PathBuf> {
            let path = self
                .folder
                .path()
                .join(format!("{tag}-p{port}-q{queue}.pcap"));
            let seed = 100 + u64::from(port) * 10 + u64::from(queue);
            frames::write(&path, case, &self.tables, ours::mac(port), seed)?;
            Ok(path)
        };
        let of = |port| {
            (0..case.queues)
                .map(|q| one(port, q))
                .collect::<Result<Vec<_>>>()
        };
        Ok([of(0)?, of(1)?])
    }

    fn run(&mut self, case: Case) -> Result<Outcome> {
        let single = Case { queues: 1, ..case };
        let small = Case {
            frames: SMALL,
            ..single
        };
        let captures = self.captures(&case, "case")?;
        let small_captures = self.captures(&small, "small")?;
        let [routes, rules4, rules6] = ours::write_routes(&case, &self.tables, self.folder.path())?;
        ensure!(routes.exists(), "no routes");
        let mut racers: Vec<(Role, Box<dyn Racer>)> = Vec::new();
        let mut hz = 0.0;
        // The floor first: its clock is everybody's.
        let floor = (Role::Floor, &small);
        self.rival(&mut racers, floor, &small_captures, &mut hz, |s| {
            Rival::testpmd(s)
        })?;
        if case.frames != SMALL || case.queues > 1 {
            let role = match case.queues {
                1 => Role::SameFile,
                _ => Role::SameCores,
            };
            self.rival(&mut racers, (role, &case), &captures, &mut hz, |s| {
                Rival::testpmd(s)
            })?;
        }
        if let (true, Ok(program)) = (case.has_l3fwd(), &self.l3fwd) {
            let program = program.clone();
            let role = (Role::L3fwd, &case);
            self.rival(&mut racers, role, &captures, &mut hz, |s| {
                Rival::l3fwd(s, &program, [&rules4, &rules6])
            })?;
        }
        if case.queues > 1 {
            let role = (Role::OneWorker, &single);
            self.ours(&mut racers, role, &small_captures, "one")?;
        }
        self.ours(&mut racers, (Role::Ours, &case), &captures, "all")?;
        let runs = self.race(&mut racers, hz)?;
        let stages = racers.last_mut().map_or(Ok(Vec::new()), |r| r.1.stages())?;
        drop(racers);
        self.sort(case, runs, stages)
    }

    fn rival(
        &mut self,
        racers: &mut Vec<(Role, Box<dyn Racer>)>,
        (role, case): (Role, &Case),
        captures: &[Vec<PathBuf>; 2],
        hz: &mut f64,
        start: impl FnOnce(&rival::Setup<'_>) -> Result<Rival>,
    ) -> Result<()> {
        let folder = self.folder.path().join(format!("rival{}", racers.len()));
        fs::create_dir_all(&folder)?;
        let setup = rival::Setup {
            captures,
            buffers: case.buffers(),
            folder: &folder,
            probe: &self.probe,
        };
        let mut it = start(&setup)?;
        wait_ready(&mut it)?;
        for thread in it.threads() {
            it.process().fifo(thread)?;
        }
        it.process().signal(Signal::SIGSTOP)?;
        *hz = it.hz();
        self.commands.push(it.process().command());
        racers.push((role, Box::new(it)));
        Ok(())
    }

    fn ours(
        &mut self,
        racers: &mut Vec<(Role, Box<dyn Racer>)>,
        (role, case): (Role, &Case),
        captures: &[Vec<PathBuf>; 2],
        tag: &str,
    ) -> Result<()> {
        let folder = self.folder.path().join(tag);
        fs::create_dir_all(&folder)?;
        fs::copy(
            self.folder.path().join("routes.txt"),
            folder.join("routes.txt"),
        )?;
        let setup = ours::Setup {
            program: &self.program,
            captures,
            folder: &folder,
        };
        let mut it = Ours::start(case, &setup)?;
        wait_ready(&mut it)?;
        it.wait_routes()?;
        it.process().fifo("worker")?;
        it.process().signal(Signal::SIGSTOP)?;
        self.commands.push(it.process().command());
        racers.push((role, Box::new(it)));
        Ok(())
    }

    fn race(&self, racers: &mut [(Role, Box<dyn Racer>)], hz: f64) -> Result<Vec<(Role, Runs)>> {
        let ms = Duration::from_millis;
        let (warm, time) = if self.args.quick {
            (ms(30), ms(120))
        } else {
            (ms(50), ms(300))
        };
        let rounds = self.args.rounds.max(1);
        let mut speeds: Vec<Vec<Speed>> = vec![Vec::new(); racers.len()];
        for round in 0..rounds {
            // Not always in the same order.
            let n = racers.len();
            for k in 0..n {
                let i = (k + round) % n;
                speeds[i].push(turn(racers[i].1.as_mut(), warm, time, hz)?);
            }
        }
        Ok(racers
            .iter()
            .zip(speeds)
            .map(|((role, r), speeds)| {
                let name = r.name();
                (*role, Runs { name, speeds })
            })
            .collect())
    }

    /// Who is who.
    fn sort(
        &self,
        case: Case,
        mut runs: Vec<(Role, Runs)>,
        stages: Vec<(String, f64)>,
    ) -> Result<Outcome> {
        let mut of = |role| {
            let at = runs.iter().position(|r| r.0 == role)?;
            Some(runs.swap_remove(at).1)
        };
        Ok(Outcome {
            case,
            ours: of(Role::Ours).context("the appliance did not run")?,
            floor: of(Role::Floor),
            same_file: of(Role::SameFile),
            same_cores: of(Role::SameCores),
            l3fwd: of(Role::L3fwd),
            one_worker: of(Role::OneWorker),
            stages,
            when: self.when.clone(),
        })
    }
}

/// What a program of a case stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// testpmd with the small files, on one core.
    Floor,
    /// testpmd with the files of the case.
    SameFile,
    /// testpmd with as many queues and cores as the case has.
    SameCores,
    /// l3fwd.
    L3fwd,
    /// The appliance with one worker, in the case of two.
    OneWorker,
    /// The appliance.
    Ours,
}

fn dpdk_version() -> String {
    let out = Command::new("pkg-config")
        .args(["--modversion", "libdpdk"])
        .output();
    out.map_or(String::new(), |o| {
        String::from_utf8_lossy(&o.stdout).trim().to_owned()
    })
}

const _: () = assert!(CORE < 2);
