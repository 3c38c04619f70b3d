//! DPDK's own programs: testpmd, which only moves frames, and l3fwd, which routes them.
//!
//! l3fwd is built from Debian's source package of the DPDK that is installed, in the user's cache folder. Three things are
//! changed in it: no checksum offload is asked for (net_pcap has none), its tables are large enough, and the number of
//! buffers comes from the environment. It does less than a router: no check of the link address, no ICMP, no counters.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::process::{CORE, Process, Racer, Reading};

/// A DPDK program that is read through the probe.
#[derive(Debug)]
pub struct Rival {
    name: &'static str,
    process: Process,
    probe: PathBuf,
    cores: u64,
    hz: f64,
}

/// What both need.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// By port, the captures of its queues. Each queue has a core.
    pub captures: &'a [Vec<PathBuf>; 2],
    /// Buffers.
    pub buffers: usize,
    /// A folder for its files.
    pub folder: &'a Path,
    /// The built probe.
    pub probe: &'a Path,
}

/// Builds the probe, see `probe.c`.
///
/// # Errors
/// There is no compiler, or no DPDK.
pub fn build_probe(folder: &Path) -> Result<PathBuf> {
    let (source, out) = (folder.join("probe.c"), folder.join("probe.so"));
    fs::write(&source, include_str!("probe.c"))?;
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-o"])
        .arg(&out)
        .arg(&source);
    cc.args(dpdk("--cflags")?).args(dpdk("--libs")?);
    done(&mut cc)?;
    Ok(out)
}

fn dpdk(what: &str) -> Result<Vec<String>> {
    let out = Command::new("pkg-config")
        .args([what, "libdpdk"])
        .output()?;
    ensure!(
        out.status.success(),
        "pkg-config {what} libdpdk failed: install libdpdk-dev"
    );
    let text = String::from_utf8(out.stdout)?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn done(c: &mut Command) -> Result<()> {
    let out = c
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("can't run {c:?}"))?;
    if !out.status.success() {
        bail!("{c:?} failed:\n{}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}

impl Rival {
    fn start(name: &'static str, setup: &Setup<'_>, mut command: Command) -> Result<Self> {
        let probe = setup.folder.join(format!("{name}.probe"));
        let log = File::create(setup.folder.join(format!("{name}.log")))?;
        let _ = fs::remove_file(&probe);
        command
            .env("LD_PRELOAD", setup.probe)
            .env("FORWARD_PROBE", &probe)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = Process::start(&mut command)?;
        Ok(Self {
            name,
            process,
            probe,
            cores: setup.queues() as u64,
            hz: 0.0,
        })
    }

    /// testpmd in mode io: the command of its documentation.
    ///
    /// # Errors
    /// It can't be run.
    pub fn testpmd(setup: &Setup<'_>) -> Result<Self> {
        let mut c = Command::new("dpdk-testpmd");
        c.args(["--in-memory", "--no-pci", "--no-telemetry"]);
        c.arg(format!("--file-prefix=forward-io-{}", setup.queues()));
        let queues = setup.queues();
        match queues {
            1 => c.args(["-l", &format!("0,{CORE}")]),
            // The first only waits for orders.
            _ => c.args(["--lcores", &format!("0@0,1@0,2@{CORE}")]),
        };
        c.args(vdevs(setup)).arg("--");
        if queues > 1 {
            c.args([format!("--rxq={queues}"), format!("--txq={queues}")]);
        }
        c.arg(format!("--nb-cores={queues}"))
            .args(["--no-mlockall", "--forward-mode=io"]);
        c.arg(format!("--total-num-mbufs={}", setup.buffers + 1));
        let this = Self::start("testpmd-io", setup, c)?;
        Ok(this)
    }

    /// l3fwd with rte_fib and these rules: PREFIX and port on each line.
    ///
    /// # Errors
    /// It can't be run.
    pub fn l3fwd(setup: &Setup<'_>, program: &Path, rules: [&Path; 2]) -> Result<Self> {
        let mut c = Command::new(program);
        c.env("L3FWD_MBUFS", (setup.buffers + 1).to_string());
        c.args([
            "--in-memory",
            "--no-pci",
            "--no-telemetry",
            "--force-max-simd-bitwidth=512",
        ]);
        let cores: Vec<usize> = match setup.queues() {
            1 => vec![CORE],
            _ => vec![0, CORE],
        };
        let list: Vec<String> = cores.iter().map(ToString::to_string).collect();
        c.args(["--file-prefix=forward-l3", "-l", &list.join(",")]);
        c.args(vdevs(setup))
            .args(["--", "-P", "-p", "3", "--lookup=fib", "--parse-ptype"]);
        let polled = |(queue, core)| format!("(0,{queue},{core}),(1,{queue},{core})");
        let polled: Vec<String> = cores.iter().enumerate().map(polled).collect();
        c.arg(format!("--config={}", polled.join(",")));
        c.arg(format!("--rule_ipv4={}", rules[0].display()));
        c.arg(format!("--rule_ipv6={}", rules[1].display()));
        Self::start("l3fwd", setup, c)
    }

    /// The names of the threads that forward, as they begin.
    pub fn threads(&self) -> &'static [&'static str] {
        match (self.name, self.cores) {
            ("l3fwd", 1) => &["l3fwd"],
            ("l3fwd", _) => &["l3fwd", "rte-worker"],
            _ => &["rte-worker"],
        }
    }

    /// Cycles a second of the time stamp counter, known after a reading.
    pub fn hz(&self) -> f64 {
        self.hz
    }
}

impl Setup<'_> {
    /// Of each port.
    fn queues(&self) -> usize {
        self.captures[0].len()
    }
}

fn vdevs(setup: &Setup<'_>) -> Vec<String> {
    let vdev = |(i, files): (usize, &Vec<PathBuf>)| {
        let files = files.iter().map(|f| format!("rx_pcap={},", f.display()));
        let files: String = files.collect();
        let args = format!("net_pcap{i},{files}infinite_rx=1");
        ["--vdev".to_owned(), args]
    };
    setup.captures.iter().enumerate().flat_map(vdev).collect()
}

impl Racer for Rival {
    fn name(&self) -> &'static str {
        self.name
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn read(&mut self) -> Result<Reading> {
        let lines = |p: &Path| fs::read_to_string(p).unwrap_or_default();
        ensure!(self.probe.exists(), "{} has not begun", self.name);
        let before = lines(&self.probe).lines().count();
        self.process.signal(Signal::SIGUSR1)?;
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            let text = lines(&self.probe);
            if text.ends_with('\n') && text.lines().count() > before {
                let numbers = text.lines().last().unwrap_or_default().split(' ');
                let n: Vec<u64> = numbers.map(str::parse).collect::<Result<_, _>>()?;
                let &[packets, tsc, hz] = n.as_slice() else {
                    bail!("the probe says {text}");
                };
                self.hz = hz as f64;
                // It counts its ports: for each core, its share.
                return Ok(vec![(packets / self.cores, tsc); self.cores as usize]);
            }
            ensure!(Instant::now() < end, "{} does not answer", self.name);
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// The built l3fwd; it is made at the first call, and kept.
///
/// # Errors
/// The source can't be had, or does not compile; the reason is for the output.
pub fn build_l3fwd() -> Result<PathBuf> {
    let version = Command::new("dpkg-query")
        .args(["-W", "-f=${source:Version}", "libdpdk-dev"])
        .output()?;
    let version = String::from_utf8(version.stdout)?;
    ensure!(
        !version.is_empty(),
        "libdpdk-dev is not Debian's, so its source is not known"
    );
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder = home
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("trunkline/l3fwd")
        .join(format!("{version}-{CHANGED}"));
    let program = folder.join("l3fwd");
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(folder.join("lists/partial"))?;
    download(&folder, &version)?;
    let tree = fs::read_dir(&folder)?
        .flatten()
        .map(|e| e.path())
        .find(|p| p.join("examples/l3fwd").is_dir());
    let examples = tree
        .context("no examples/l3fwd in the source package")?
        .join("examples");
    patch(&examples.join("l3fwd"))?;
    compile(&examples, &program)?;
    Ok(program)
}

/// apt with lists of its own, so that the machine's stay as they are.
fn download(folder: &Path, version: &str) -> Result<()> {
    let list = folder.join("sources.list");
    let key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
    let text = format!(
        "deb-src {key} http://deb.debian.org/debian bookworm main\ndeb-src {key} http://deb.debian.org/debian-security bookworm-security main\n"
    );
    fs::write(&list, text)?;
    let apt = || {
        let mut c = Command::new("apt-get");
        c.current_dir(folder)
            .arg("-o")
            .arg(format!("Dir::Etc::SourceList={}", list.display()));
        c.args(["-o", "Dir::Etc::SourceParts=/dev/null", "-o"]);
        c.arg(format!(
            "Dir::State::Lists={}",
            folder.join("lists").display()
        ));
        c
    };
    done(apt().arg("update"))?;
    done(
        apt()
            .args(["source", "--download-only"])
            .arg(format!("dpdk={version}")),
    )?;
    let files = fs::read_dir(folder)?.flatten().map(|e| e.path());
    let archive = files
        .into_iter()
        .find(|p| p.to_string_lossy().contains(".orig.tar."));
    let archive = archive.context("apt-get source gave no archive")?;
    let mut tar = Command::new("tar");
    tar.current_dir(folder).arg("xf").arg(archive);
    done(tar.args(["--wildcards", "*/examples/l3fwd/*", "*/examples/common/*"]))
}

/// The changes, as `(file, is, becomes)`.
const CHANGES: [(&str, &str, &str); 6] = [
    (
        "main.c",
        ".offloads = RTE_ETH_RX_OFFLOAD_CHECKSUM",
        ".offloads = 0",
    ),
    (
        "main.c",
        "(unsigned)8192)",
        "(unsigned)(getenv(\"L3FWD_MBUFS\") ? atoi(getenv(\"L3FWD_MBUFS\")) : 8192))",
    ),
    (
        "l3fwd_fib.c",
        "max_routes = (1 << 16) - 1",
        "max_routes = (1 << 19)",
    ),
    (
        "l3fwd_fib.c",
        "max_routes = (1 << 16)",
        "max_routes = (1 << 21)",
    ),
    (
        "l3fwd_fib.c",
        "dir24_8.num_tbl8 = (1 << 15)",
        "dir24_8.num_tbl8 = (1 << 15)",
    ),
    (
        "l3fwd_fib.c",
        "trie.num_tbl8 = (1 << 15)",
        "trie.num_tbl8 = (1 << 19)",
    ),
];
/// Of those changes; a program built with others is not taken.
const CHANGED: u32 = 2;

fn patch(folder: &Path) -> Result<()> {
    for (file, is, becomes) in CHANGES {
        let path = folder.join(file);
        let text = fs::read_to_string(&path)?;
        ensure!(
            text.contains(is),
            "{} has no {is:?}: another release?",
            path.display()
        );
        fs::write(path, text.replace(is, becomes))?;
    }
    Ok(())
}

fn compile(examples: &Path, program: &Path) -> Result<()> {
    let mut cc = Command::new("cc");
    cc.current_dir(examples.join("l3fwd"))
        .args(["-O3", "-DALLOW_EXPERIMENTAL_API", "-I../common"]);
    cc.args(dpdk("--cflags")?);
    // The rest of the folder is included by these.
    cc.args([
        "main.c",
        "l3fwd_acl.c",
        "l3fwd_lpm.c",
        "l3fwd_fib.c",
        "l3fwd_em.c",
        "l3fwd_event.c",
    ]);
    cc.args(["l3fwd_event_generic.c", "l3fwd_event_internal_port.c", "-o"])
        .arg(program);
    done(cc.args(dpdk("--libs")?))
}
