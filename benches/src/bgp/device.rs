//! The contestants: each started with a configuration of ours, in which peers may only announce and the sink is only told.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use vm_testbed::lab::cmd;
use vm_testbed::peers::{Daemon, Usage};

use super::feed::{asn, peer_address};
use super::place::{DEVICE, Place, SINK};
use super::wire::{self, Reader};

/// The AS of the device.
pub const AS: u32 = 64_500;
/// The AS of the sink.
pub const SINK_AS: u32 = 4_200_000_900;
/// The core that a device has to itself.
pub const CORE: usize = 1;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody: what is sent is handed on as it is, which tells what the harness can do.
    Relay,
    /// Ours.
    Trunkline,
    /// BIRD 2.
    Bird,
    /// FRR's bgpd.
    Frr,
    /// GoBGP.
    Gobgp,
}

impl Kind {
    /// What it is called in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Trunkline => "trunkline",
            Self::Bird => "BIRD 2",
            Self::Frr => "FRR",
            Self::Gobgp => "GoBGP",
        }
    }

    /// The version installed, as it says it itself.
    pub fn version(self) -> Option<String> {
        let line = match self {
            Self::Relay | Self::Trunkline => return None,
            Self::Bird => "bird --version",
            Self::Frr => "/usr/lib/frr/bgpd --version",
            Self::Gobgp => "gobgpd --version",
        };
        let words = cmd::words(line);
        let done = cmd::finish(std::process::Command::new(words[0]).args(&words[1..])).ok()?;
        let said = done.text();
        said.lines().next().map(str::to_owned)
    }

    fn config(self, peers: usize) -> String {
        match self {
            Self::Relay => String::new(),
            Self::Trunkline => trunkline(peers),
            Self::Bird => bird(peers),
            Self::Frr => frr(peers),
            Self::Gobgp => gobgp(peers),
        }
    }

    /// The command, with its files in that folder.
    fn command(self, folder: &Path, program: &Path) -> Vec<String> {
        let at = |name: &str| folder.join(name).display().to_string();
        let config = at("device.conf");
        let own_core = |rest: &str| format!("taskset -c {CORE} chrt -f 50 {rest}");
        let line = match self {
            Self::Relay => String::new(),
            Self::Trunkline => own_core(&format!(
                "{} -c {config} --socket {}",
                program.display(),
                at("trunkline.sock")
            )),
            Self::Bird => own_core(&format!(
                "bird -f -c {config} -s {} -P {}",
                at("bird.ctl"),
                at("bird.pid")
            )),
            Self::Frr => own_core(&format!(
                "/usr/lib/frr/bgpd -n -Z -S -f {config} -i {} -z {} --vty_socket {} -P 0 -p 179 -l {DEVICE}",
                at("bgpd.pid"),
                at("zserv"),
                folder.display(),
            )),
            Self::Gobgp => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                let last = cores.max(CORE + 1) - 1;
                format!(
                    "taskset -c 0-{last} gobgpd -f {config} --pprof-disable --api-hosts unix://{}",
                    at("gobgp.sock")
                )
            }
        };
        line.split_whitespace().map(str::to_owned).collect()
    }
}

/// A command without the folders of this machine, for results are published.
fn nameless(line: &[String]) -> String {
    let words = line.iter().map(|w| match w.rsplit_once('/') {
        Some((_, "")) | None => w.as_str(),
        Some((_, name)) => name,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A running device, ended when dropped.
#[derive(Debug)]
pub struct Device {
    daemon: Option<Daemon>,
    relay: Option<JoinHandle<Result<()>>>,
    /// How it was started.
    pub command: String,
}

impl Device {
    /// Starts one for that many peers. `program` is our own.
    ///
    /// # Errors
    /// It can't be run.
    pub fn start(kind: Kind, place: &Place, peers: usize, program: &Path) -> Result<Self> {
        if kind == Kind::Relay {
            return relay(place, peers);
        }
        let folder: PathBuf = place.lab.folder().to_owned();
        Self::run(place, &kind.config(peers), &kind.command(&folder, program))
    }

    fn run(place: &Place, config: &str, line: &[String]) -> Result<Self> {
        let folder = place.lab.folder();
        std::fs::write(folder.join("device.conf"), config)?;
        let _ = std::fs::remove_file(folder.join("device.log"));
        let daemon = Daemon::start(folder, "device", &place.device, line)?;
        Ok(Self {
            daemon: Some(daemon),
            relay: None,
            command: nameless(line),
        })
    }

    /// Starts ours with that configuration and only its control thread in real time.
    ///
    /// # Errors
    /// It can't be run.
    pub fn plain(place: &Place, config: &str, program: &Path) -> Result<Self> {
        let line = Kind::Trunkline.command(place.lab.folder(), program);
        // `taskset` and its arguments, without `chrt` and its own.
        let line = [&line[..3], &line[6..]].concat();
        let device = Self::run(place, config, &line)?;
        if let Some(d) = &device.daemon {
            // The first thread of the process, also before `taskset` has become it; `-R`: not those that it makes.
            cmd::run(&format!("chrt -R -f -p 50 {}", d.pid()?))?;
        }
        Ok(device)
    }

    /// What it has used and holds; nothing for a relay.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> Result<Usage> {
        self.daemon.as_ref().map_or(Ok(Usage::default()), |d| {
            d.usage().context("the device under test")
        })
    }

    /// What it said last.
    pub fn said(&self) -> String {
        self.daemon.as_ref().map_or(String::new(), Daemon::log_tail)
    }

    /// An error if it has ended.
    ///
    /// # Errors
    /// It has.
    pub fn alive(&self) -> Result<()> {
        match &self.daemon {
            Some(d) if !d.alive() => bail!("it has ended; it said:\n{}", d.log_tail()),
            _ => Ok(()),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// The relay failed.
    pub fn stop(mut self) -> Result<()> {
        drop(self.daemon.take());
        match self.relay.take().map(JoinHandle::join) {
            Some(Ok(done)) => done.context("the relay"),
            Some(Err(_)) => bail!("the relay panicked"),
            None => Ok(()),
        }
    }
}

/// Takes the sink's connection and then the peers', and hands on.
fn relay(place: &Place, peers: usize) -> Result<Device> {
    let listener = place.listen()?;
    let work = move || -> Result<()> {
        let accept = || -> Result<TcpStream> {
            let (mut stream, _) = listener.accept()?;
            wire::handshake(&mut stream, &mut Reader::default(), AS, DEVICE)?;
            Ok(stream)
        };
        let mut sink = accept()?;
        let mut from: Vec<TcpStream> = (0..peers).map(|_| accept()).collect::<Result<_>>()?;
        let mut buffer = vec![0; 1 << 20];
        for peer in &mut from {
            loop {
                match peer.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => sink.write_all(&buffer[..n])?,
                    Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    };
    Ok(Device {
        daemon: None,
        relay: Some(std::thread::spawn(work)),
        command: "a relay of the harness".into(),
    })
}

pub(super) fn trunkline(peers: usize) -> String {
    let mut c = format!(
        "[system]\nname = \"dut\"\nrouter-id = \"{DEVICE}\"\n\n[bgp]\nas = {AS}\nlisten = [\"{DEVICE}\"]\ninstall = false\n\n\
         [bgp.neighbor.\"{SINK}\"]\nas = {SINK_AS}\npassive = true\nexport = \"accept-all\"\n"
    );
    for p in 0..peers {
        let _ = writeln!(
            c,
            "\n[bgp.neighbor.\"{}\"]\nas = {}\npassive = true\nimport = \"accept-all\"",
            peer_address(p),
            asn(p)
        );
    }
    c
}

fn bird(peers: usize) -> String {
    let mut c = format!(
        "router id {DEVICE};\nlog stderr {{ warning, error, fatal, bug }};\nprotocol device {{}}\n\
         template bgp t {{ local {DEVICE} as {AS}; passive on; hold time 240; error wait time 1, 1; }}\n\
         protocol bgp sink from t {{ neighbor {SINK} as {SINK_AS}; ipv4 {{ import none; export all; }}; }}\n"
    );
    for p in 0..peers {
        let _ = writeln!(
            c,
            "protocol bgp p{p} from t {{ neighbor {} as {}; ipv4 {{ import all; export none; }}; }}",
            peer_address(p),
            asn(p)
        );
    }
    c
}

fn frr(peers: usize) -> String {
    let mut c = format!(
        "log stdout errors\nroute-map NONE deny 10\nrouter bgp {AS}\n bgp router-id {DEVICE}\n no bgp ebgp-requires-policy\n \
         no bgp default ipv4-unicast\n no bgp network import-check\n"
    );
    let mut family = String::new();
    let all = std::iter::once((SINK, SINK_AS, "in"))
        .chain((0..peers).map(|p| (peer_address(p), asn(p), "out")));
    for (address, asn, never) in all {
        let _ = write!(
            c,
            " neighbor {address} remote-as {asn}\n neighbor {address} passive\n neighbor {address} timers 80 240\n"
        );
        let _ = write!(
            family,
            "  neighbor {address} activate\n  neighbor {address} route-map NONE {never}\n"
        );
    }
    let _ = write!(
        c,
        " address-family ipv4 unicast\n{family} exit-address-family\n"
    );
    c
}

fn gobgp(peers: usize) -> String {
    let mut c = format!(
        "[global.config]\nas = {AS}\nrouter-id = \"{DEVICE}\"\nport = 179\nlocal-address-list = [\"{DEVICE}\"]\n\
         [global.apply-policy.config]\nexport-policy-list = [\"sink-only\"]\n\
         [[policy-definitions]]\nname = \"sink-only\"\n[[policy-definitions.statements]]\n\
         [policy-definitions.statements.conditions.match-neighbor-set]\nneighbor-set = \"peers\"\n\
         [policy-definitions.statements.actions]\nroute-disposition = \"reject-route\"\n"
    );
    let addresses: Vec<String> = (0..peers)
        .map(|p| format!("\"{}\"", peer_address(p)))
        .collect();
    let _ = write!(
        c,
        "[[defined-sets.neighbor-sets]]\nneighbor-set-name = \"peers\"\nneighbor-info-list = [{}]\n",
        addresses.join(", ")
    );
    let all = std::iter::once((SINK, SINK_AS)).chain((0..peers).map(|p| (peer_address(p), asn(p))));
    for (address, asn) in all {
        let _ = write!(
            c,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {asn}\n\
             [neighbors.transport.config]\npassive-mode = true\n[neighbors.timers.config]\nhold-time = 240\nkeepalive-interval = 80\n"
        );
    }
    c
}
