//! The appliance, as a user runs it: `trunkline -c FILE`, in a network namespace of its own, asked over its API.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api::blocking::Client;
use api::v1::{DropQuery, InterfaceQuery, WorkerQuery};
use net::MacAddr;
use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::case::{Case, FIRST_LABEL, Kind, LABELS, NEIGHBOURS, Tables, one_route};
use super::process::{CORE, Process, Racer, Reading};

/// A running appliance.
pub struct Ours {
    process: Process,
    client: Client,
    /// Frames dropped when somebody last looked.
    dropped: u64,
}

/// The MAC address that net_pcap gives its device number `i`: frames have to be sent there.
pub fn mac(i: u8) -> MacAddr {
    MacAddr([0x02, 0x70, 0x63, 0x61, 0x70, i])
}

/// Where the appliance's files lie, and what it plays.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The program.
    pub program: &'a Path,
    /// By port, the captures of its queues.
    pub captures: &'a [Vec<PathBuf>; 2],
    /// A folder for its files.
    pub folder: &'a Path,
}

/// The address of neighbour number `i` of both ports.
pub fn hop4(i: usize) -> String {
    format!("10.0.{}.{}", i / NEIGHBOURS, 2 + i % NEIGHBOURS)
}

fn hop6(i: usize) -> String {
    format!("fd00:{}::{:x}", i / NEIGHBOURS, 2 + i % NEIGHBOURS)
}

/// The port of a next hop.
fn port(i: usize) -> usize {
    i / NEIGHBOURS
}

/// Writes the routes of a case three times over: as a route file, and as the rules of l3fwd, IPv4 and IPv6. Their next hops
/// are drawn by lot from all neighbours.
///
/// # Errors
/// A file can't be written.
pub fn write_routes(case: &Case, tables: &Tables, folder: &Path) -> Result<[PathBuf; 3]> {
    let paths = ["routes.txt", "rules4", "rules6"].map(|n| folder.join(n));
    let [mut ours, mut rules4, mut rules6] =
        [0, 1, 2].map(|i| File::create(&paths[i]).map(BufWriter::new));
    let (ours, rules4, rules6) = (ours.as_mut(), rules4.as_mut(), rules6.as_mut());
    let (Ok(ours), Ok(rules4), Ok(rules6)) = (ours, rules4, rules6) else {
        anyhow::bail!("can't write to {}", folder.display());
    };
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut lot = || rng.random_range(0..2 * NEIGHBOURS);
    // l3fwd wants a rule of each family.
    match case.kind {
        Kind::Ip4 => {
            for p in tables.v4.iter().filter(|&&p| Tables::usable4(p)) {
                let hop = lot();
                writeln!(ours, "{p} via {}", hop4(hop))?;
                writeln!(rules4, "R{p} {}", port(hop))?;
            }
            writeln!(rules6, "R2001:db8::/32 1")?;
        }
        Kind::Ip6 => {
            for p in &tables.v6 {
                let hop = lot();
                writeln!(ours, "{p} via {}", hop6(hop))?;
                writeln!(rules6, "R{p} {}", port(hop))?;
            }
            writeln!(rules4, "R192.0.2.0/24 1")?;
        }
        Kind::Push => writeln!(ours, "{} via {} label 400", one_route(), hop4(NEIGHBOURS))?,
        _ => {
            writeln!(ours, "{} via {}", one_route(), hop4(NEIGHBOURS))?;
            writeln!(rules4, "R{} 1", one_route())?;
            writeln!(rules6, "R2001:db8::/32 1")?;
        }
    }
    for file in [ours, rules4, rules6] {
        file.flush()?;
    }
    Ok(paths)
}

fn config(case: &Case, captures: &[Vec<PathBuf>; 2]) -> Result<String> {
    let mut c = String::from("route-file = \"routes.txt\"\n\n");
    let workers = if case.queues == 1 {
        CORE.to_string()
    } else {
        "0-1".to_owned()
    };
    writeln!(
        c,
        "[dataplane]\nworkers = \"{workers}\"\npoll = \"busy\"\nframes = {}\n",
        case.buffers()
    )?;
    for (i, files) in captures.iter().enumerate() {
        let rx: String = files
            .iter()
            .map(|f| format!("rx_pcap={},", f.display()))
            .collect();
        writeln!(
            c,
            "[interface.p{i}]\ndevice = \"dpdk:net_pcap{i},{rx}infinite_rx=1\"\naddress = [\"10.0.{i}.1/24\", \"fd00:{i}::1/64\"]\nmpls = true\n"
        )?;
    }
    for hop in 0..2 * NEIGHBOURS {
        for address in [hop4(hop), hop6(hop)] {
            writeln!(
                c,
                "[[neighbor.static]]\naddress = \"{address}\"\nlladdr = \"02:bb:00:00:00:{hop:02x}\"\ndev = \"p{}\"\n",
                port(hop)
            )?;
        }
    }
    if matches!(case.kind, Kind::Swap | Kind::Pop) {
        for (i, label) in (FIRST_LABEL..FIRST_LABEL + LABELS).enumerate() {
            let via = hop4(i % (2 * NEIGHBOURS));
            let action = match case.kind {
                Kind::Swap => format!("action = \"swap\"\nout = [{}]", label + LABELS),
                _ => "action = \"pop\"".to_owned(),
            };
            writeln!(c, "[[label]]\nin = {label}\n{action}\nvia = \"{via}\"\n")?;
        }
    }
    Ok(c)
}

impl Ours {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// It can't be run, or says why it won't.
    pub fn start(case: &Case, setup: &Setup<'_>) -> Result<Self> {
        let (file, socket) = (
            setup.folder.join("trunkline.toml"),
            setup.folder.join("trunkline.sock"),
        );
        fs::write(&file, config(case, setup.captures)?)?;
        let log_path = setup.folder.join("trunkline.log");
        let log = File::create(&log_path)?;
        let mut c = Command::new("unshare");
        // --kill-child is not wanted: unshare executes the program itself.
        c.arg("--net")
            .arg(setup.program)
            .arg("-c")
            .arg(&file)
            .arg("--socket")
            .arg(&socket);
        c.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut process = Process::start(&mut c)?;
        let end = Instant::now() + Duration::from_secs(60);
        let client = loop {
            process
                .alive()
                .with_context(|| fs::read_to_string(&log_path).unwrap_or_default())?;
            if let Ok(client) = Client::connect(&socket) {
                break client;
            }
            ensure!(
                Instant::now() < end,
                "it does not answer at {}",
                socket.display()
            );
            std::thread::sleep(Duration::from_millis(50));
        };
        let mut ours = Self {
            process,
            client,
            dropped: 0,
        };
        ours.check_macs()?;
        Ok(ours)
    }

    fn check_macs(&mut self) -> Result<()> {
        let all = self.client.interfaces(InterfaceQuery::default())?;
        for i in 0..2 {
            let name = format!("p{i}");
            let it = all.interfaces.iter().find(|x| x.name == name);
            let is = &it.with_context(|| format!("no interface {name}"))?.mac;
            ensure!(
                *is == mac(i).to_string(),
                "{name} has the MAC address {is}, but the frames are for {}",
                mac(i)
            );
        }
        Ok(())
    }

    fn drops(&mut self) -> Result<(u64, String)> {
        let all = self.client.drops(DropQuery::default())?;
        let text: Vec<String> = all
            .drops
            .iter()
            .map(|d| format!("{} {}: {}", d.interface, d.reason, d.packets))
            .collect();
        Ok((all.drops.iter().map(|d| d.packets).sum(), text.join(", ")))
    }

    /// Where the cycles of its first worker go while it runs for some three seconds: for a frame, by stage, then what is
    /// outside of them, then all.
    ///
    /// # Errors
    /// It does not answer.
    pub fn stages(&mut self) -> Result<Vec<(String, f64)>> {
        const ORDER: [&str; 7] = [
            "rx", "headers", "lookup", "rewrite", "enqueue", "other", "tx",
        ];
        self.process.signal(Signal::SIGCONT)?;
        // What is told is of the last one to two seconds: the third answer has nothing of the turns before.
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(1050));
            self.client.workers(WorkerQuery::default())?;
        }
        let all = self.client.workers(WorkerQuery::default())?;
        self.process.signal(Signal::SIGSTOP)?;
        let w = all.workers.first().context("there is no worker")?;
        let mut out: Vec<(String, f64)> = ORDER
            .iter()
            .filter_map(|&s| Some((s.to_owned(), *w.stages.get(s)?)))
            .collect();
        let staged: f64 = out.iter().map(|s| s.1).sum();
        out.push(("loop".into(), w.cycles_per_packet - staged));
        out.push(("all".into(), w.cycles_per_packet));
        Ok(out)
    }

    /// Waits until all routes are there: nothing is dropped any more.
    ///
    /// # Errors
    /// Frames are still dropped after a minute.
    pub fn wait_routes(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let before = self.drops()?.0;
            std::thread::sleep(Duration::from_millis(200));
            let (after, text) = self.drops()?;
            if before == after {
                self.dropped = after;
                return Ok(());
            }
            ensure!(Instant::now() < end, "frames are dropped: {text}");
        }
    }
}

impl Racer for Ours {
    fn name(&self) -> &'static str {
        "trunkline"
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn read(&mut self) -> Result<Reading> {
        let all = self.client.workers(WorkerQuery::default())?;
        Ok(all.workers.iter().map(|w| (w.packets, w.cycles)).collect())
    }

    fn stages(&mut self) -> Result<Vec<(String, f64)>> {
        Self::stages(self)
    }

    /// Every frame is forwarded.
    fn check(&mut self) -> Result<()> {
        let (now, text) = self.drops()?;
        ensure!(
            now == self.dropped,
            "{} frames were dropped meanwhile: {text}",
            now - self.dropped
        );
        Ok(())
    }
}
