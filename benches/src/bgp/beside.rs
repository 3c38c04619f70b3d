//! What else is asked of the speaker while routes change: none of it may hold them up.
//!
//! At full table, with a change every millisecond as in the churn cases, one second after the first change something great
//! begins: the table is written to a file (MRT), a monitoring station connects and wants all of it (BMP), a cache of the RPKI brings half a
//! million records (RTR, RFC 8210), the import policy becomes one with a list of a million prefixes. The delay of the
//! changes is what it costs the others; beside it stand the time that it takes itself, and the memory that comes with it.
//!
//! The control thread has real-time priority as the device has elsewhere, the device's other threads have none, and they share its
//! core: so does all that the harness does for the task, to leave the harness's own core to the clock.

use std::io::{BufWriter, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::Value;
use vm_testbed::lab::cmd;

use super::device::{self, CORE, Device};
use super::feed::Feed;
use super::place::{Place, SINK};
use super::run::{Prepared, quiet};

/// Records that the cache brings.
const RECORDS: usize = 500_000;
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The station's port, and the cache's.
const BMP: u16 = 11019;
const RTR: u16 = 8282;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Nothing: what changes take by themselves.
    Nothing,
    /// The routes as a file.
    Dump,
    /// All for a monitoring station, as it came and the best.
    Station,
    /// Half a million records of a cache, with an import policy that asks about them.
    Records,
    /// A policy with a million prefixes.
    Policy,
}

/// What it took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// Until it was done, in seconds.
    pub seconds: f64,
    /// By how much the peak of memory grew meanwhile, in MiB.
    pub grown: f64,
    /// The delay of the changes: p50, p99, the longest, in ms.
    pub latency: [f64; 3],
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Nothing,
        Self::Dump,
        Self::Station,
        Self::Records,
        Self::Policy,
    ];

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing beside",
            Self::Dump => "MRT dump",
            Self::Station => "BMP station connects",
            Self::Records => "500,000 RPKI records",
            Self::Policy => "policy with 1M prefixes",
        }
    }

    /// The device's configuration before, and after: they differ where that is what begins the task.
    fn configs(self, place: &Place, feed: &Feed) -> Result<[String; 2]> {
        let plain = device::trunkline(1);
        let import = |name: &str| {
            let other = format!("import = \"{name}\"");
            plain.replace("import = \"accept-all\"", &other)
        };
        Ok(match self {
            Self::Nothing | Self::Dump => [plain.clone(), plain],
            Self::Station => {
                let station = format!(
                    "\n[bmp.station]\naddress = \"{SINK}\"\nport = {BMP}\nmonitor = [\"pre-policy\", \"loc-rib\"]\n"
                );
                [plain.clone(), plain + &station]
            }
            Self::Records => {
                // It asks, and takes all the same: what changes has to come to the sink.
                let before = import("asks")
                    + "\n[policy.asks]\ndefault = \"accept\"\n\n[[policy.asks.rule]]\nmatch = { rpki = [\"invalid\"] }\n\
                       action = \"accept\"\n";
                let after = format!("{before}\n[rpki]\ncache = [\"{SINK}:{RTR}\"]\n");
                [before, after]
            }
            Self::Policy => {
                let file = place.lab.folder().join("prefixes.txt");
                let mut out = BufWriter::new(std::fs::File::create(&file)?);
                for p in &feed.prefixes {
                    writeln!(out, "{}/{}", Ipv4Addr::from(p.addr()), p.len())?;
                }
                out.flush()?;
                let after = format!(
                    "{}\n[prefix-set]\nbig = {{ file = \"{}\" }}\n\n[policy.big]\ndefault = \"reject\"\n\n\
                     [[policy.big.rule]]\nmatch = {{ prefix-set = \"big\" }}\naction = \"accept\"\n",
                    import("big"),
                    file.display()
                );
                [plain, after]
            }
        })
    }
}

/// One turn. `prepared` is of a churn case.
///
/// # Errors
/// The device does not start, loses a session, or is never done.
pub fn turn(task: Task, prepared: &Prepared, program: &Path) -> Result<Took> {
    let place = Place::new(1)?;
    let [before, after] = task.configs(&place, &prepared.feed)?;
    let device = Device::plain(&place, &before, program)?;
    let done = turn_on(task, prepared, &place, &device, &after, program);
    let done = done.with_context(|| format!("the device said:\n{}", device.said()));
    device.stop()?;
    done
}

fn turn_on(
    task: Task,
    prepared: &Prepared,
    place: &Place,
    device: &Device,
    after: &str,
    program: &Path,
) -> Result<Took> {
    let (mut peers, mut sink) = prepared.load(place, device)?;
    quiet(device)?;
    let folder = place.lab.folder();
    let told = folder.join("after.toml");
    std::fs::write(&told, after)?;
    let asker = Asker {
        program: program.with_file_name("trunkctl"),
        socket: folder.join("trunkline.sock"),
    };
    let records = (task == Task::Records).then(|| records(&prepared.feed));
    let listener = match task {
        Task::Station => Some(place.listen_at_sink(BMP)?),
        Task::Records => Some(place.listen_at_sink(RTR)?),
        _ => None,
    };
    let resident = device.usage()?;
    let work = || -> Result<f64> {
        share_core()?;
        std::thread::sleep(Duration::from_secs(1));
        let start = Instant::now();
        let end = asker.carry_out(task, &told, folder, device, listener, records)?;
        Ok((end - start).as_secs_f64())
    };
    let (latency, seconds) = std::thread::scope(|s| {
        let work = s.spawn(work);
        let latency = prepared.churn(&mut peers[0], &mut sink);
        let seconds = work.join().map_err(|_| anyhow!("the task panicked"))?;
        anyhow::Ok((latency?, seconds?))
    })?;
    let grown = device.usage()?.peak.saturating_sub(resident.resident) as f64;
    Ok(Took {
        seconds,
        grown: grown / f64::from(1 << 20),
        latency,
    })
}

/// Keeps the calling thread, and what it starts, on the device's core.
fn share_core() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(CORE)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("the device's core")
}

/// Asks by `trunkctl`.
struct Asker {
    program: std::path::PathBuf,
    socket: std::path::PathBuf,
}

impl Asker {
    fn ask(&self, words: &[&str]) -> Result<String> {
        let mut c = Command::new(&self.program);
        c.arg("--socket").arg(&self.socket).args(words);
        cmd::output(&mut c)
    }

    /// The first of what is shown.
    fn first(&self, words: &[&str]) -> Result<Value> {
        let text = self.ask(&[&["--json"], words].concat())?;
        let all: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        Ok(all[0].clone())
    }

    fn until(&self, words: &[&str], is: impl Fn(&Value) -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.first(words)?;
            if is(&found) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "never done: {found}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Does the task; when it was done.
    fn carry_out(
        &self,
        task: Task,
        config: &Path,
        folder: &Path,
        device: &Device,
        listener: Option<TcpListener>,
        records: Option<Vec<u8>>,
    ) -> Result<Instant> {
        let config = config.display().to_string();
        let dump = folder.join("table.mrt").display().to_string();
        match task {
            Task::Nothing => {}
            Task::Dump => drop(self.ask(&["bgp", "mrt", "dump", &dump])?),
            Task::Station | Task::Records | Task::Policy => {
                drop(self.ask(&["config", "apply", &config])?);
            }
        }
        if let Some(listener) = listener {
            let (stream, _) = listener.accept()?;
            std::thread::spawn(move || serve(stream, records.as_deref()));
        }
        match task {
            Task::Nothing | Task::Dump => return Ok(Instant::now()),
            Task::Station => self.until(&["bgp", "bmp"], |s| s["complete"] == true)?,
            Task::Records => self.until(&["rpki", "show"], |c| c["ipv4"] == RECORDS)?,
            Task::Policy => {}
        }
        calm(device)
    }
}

/// When the device began to do nothing but what the changes ask for.
fn calm(device: &Device) -> Result<Instant> {
    let end = Instant::now() + PATIENCE;
    loop {
        let (since, cpu) = (Instant::now(), device.usage()?.cpu);
        std::thread::sleep(Duration::from_millis(200));
        if device.usage()?.cpu - cpu < 0.03 {
            return Ok(since);
        }
        ensure!(Instant::now() < end, "the device never came to rest");
    }
}

/// Reads all that comes; answers the first question with these records.
fn serve(mut stream: TcpStream, records: Option<&[u8]>) {
    let mut buffer = vec![0; 1 << 16];
    let mut first = true;
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            return;
        }
        if let Some(records) = records
            && std::mem::take(&mut first)
            && stream.write_all(records).is_err()
        {
            return;
        }
    }
}

/// A cache's answer to the first question, in version 1 of the protocol (RFC 8210 5): each prefix may come from where it does.
fn records(feed: &Feed) -> Vec<u8> {
    let session = [0, 7];
    let mut out = vec![1, 3, session[0], session[1], 0, 0, 0, 8];
    let all = feed.sets.iter().flat_map(|s| {
        let origin = s.tail.last().copied().unwrap_or_default();
        let prefixes = &feed.prefixes[s.first as usize..s.end as usize];
        prefixes.iter().map(move |p| (*p, origin))
    });
    for (p, origin) in all.take(RECORDS) {
        out.extend([1, 4, 0, 0, 0, 0, 0, 20, 1, p.len(), p.len().max(24), 0]);
        out.extend(p.addr().to_be_bytes());
        out.extend(origin.to_be_bytes());
    }
    out.extend([1, 7, session[0], session[1], 0, 0, 0, 24, 0, 0, 0, 1]);
    for seconds in [3600u32, 600, 7200] {
        out.extend(seconds.to_be_bytes());
    }
    out
}
