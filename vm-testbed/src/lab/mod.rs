//! Labs of network namespaces and veth pairs, in a few lines:
//!
//! ```no_run
//! # use vm_testbed::lab::{Flavor, Host, Lab};
//! # fn main() -> anyhow::Result<()> {
//! let mut lab = Lab::new("two-hosts")?;
//! let r1 = lab.router("r1")?;
//! let h1 = lab.host(&Host::new("h1", &["10.0.1.2/24"]).gateway("10.0.1.1"), &r1, "e1")?;
//! let h2 = lab.host(&Host::new("h2", &["10.0.2.2/24"]).gateway("10.0.2.1"), &r1, "e2")?;
//! let config = Flavor::default().config("r1")
//!     .interface("lan1", "e1", &["10.0.1.1/24"], "")
//!     .interface("lan2", "e2", &["10.0.2.1/24"], "");
//! let appliance = lab.start("r1", &r1, &config)?;
//! h1.run("ping -c 1 10.0.2.2")?;
//! appliance.stop()
//! # }
//! ```
//!
//! A lab takes itself down when it is dropped, also by a panic; [`signals`] sees to the other ends. Every name begins with
//! `tl-PID-`. The router's ends of veths have no addresses, no ARP and no IPv6: the kernel is not to answer in its place.

pub mod appliance;
pub mod capture;
pub mod cmd;
pub mod config;
pub mod counters;
pub mod faults;
pub mod leftovers;
pub mod middlebox;
pub mod netns;
pub mod pages;
pub mod signals;
pub mod tcpdump;
pub mod wait;
pub mod wire;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

pub use appliance::Appliance;
pub use config::{Config, Driver, Flavor, Memory};
pub use counters::Counters;
pub use faults::Faults;
pub use middlebox::Middlebox;
pub use netns::Netns;
pub use wire::Wire;

use crate::frame::Mac;

thread_local! {
    /// Where the labs that were taken down have left their logs: each thread runs a scenario of its own.
    static SAVED: RefCell<Vec<PathBuf>> = const { RefCell::new(vec![]) };
}

/// Held while the folder of a lab is made, and while that of the process goes with its last lab.
static FOLDERS: Mutex<()> = Mutex::new(());

/// The folders with logs, dumps and captures of the labs that this thread has taken down since this was asked last.
#[must_use]
pub fn saved() -> Vec<PathBuf> {
    SAVED.take()
}

/// What a Linux host of a lab has.
#[derive(Debug, Clone, Default)]
pub struct Host {
    name: String,
    addresses: Vec<String>,
    gateways: Vec<String>,
}

impl Host {
    /// A host with these addresses, with their prefix lengths, on its one device `eth0`.
    #[must_use]
    pub fn new(name: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        Self {
            name: name.to_owned(),
            addresses,
            gateways: vec![],
        }
    }

    /// With a default route; one for each family.
    #[must_use]
    pub fn gateway(mut self, via: &str) -> Self {
        self.gateways.push(via.to_owned());
        self
    }
}

/// Namespaces, veths and files that go together.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    folder: PathBuf,
    spaces: Vec<Netns>,
    captures: Vec<capture::Capture>,
    devices: u8,
    /// Where the logs go when the lab is taken down.
    logs: PathBuf,
    keep: bool,
}

impl Lab {
    /// An empty lab whose namespaces are named `tl-PID-NAME-…`.
    ///
    /// # Errors
    /// When its folder can't be made.
    pub fn new(name: &str) -> Result<Self> {
        let folder = signals::folder().join(name);
        Self::at(name, &format!("{}{name}-", signals::prefix()), folder)
    }

    /// A lab that other processes find by its name: `tl-NAME-…`, in the folder given.
    ///
    /// # Errors
    /// When its folder can't be made.
    pub fn lasting(name: &str, folder: &Path) -> Result<Self> {
        Self::at(name, &format!("tl-{name}-"), folder.to_owned())
    }

    /// A lab whose namespaces begin with `prefix`, and whose files lie in `folder`; its logs are called `name`.
    ///
    /// # Errors
    /// When its folder can't be made.
    pub fn called(name: &str, prefix: &str, folder: &Path) -> Result<Self> {
        Self::at(name, prefix, folder.to_owned())
    }

    fn at(name: &str, prefix: &str, folder: PathBuf) -> Result<Self> {
        let making = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
        drop(making);
        let logs = crate::workspace().join("target/testbed-logs").join(name);
        Ok(Self {
            prefix: prefix.to_owned(),
            folder,
            spaces: vec![],
            captures: vec![],
            devices: 0,
            logs,
            keep: false,
        })
    }

    /// Leaves everything in place when dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// The folder for its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its namespaces.
    #[must_use]
    pub fn spaces(&self) -> &[Netns] {
        &self.spaces
    }

    /// An empty namespace.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn space(&mut self, role: &str) -> Result<Netns> {
        let ns = Netns::create(&format!("{}{role}", self.prefix))?;
        let capture = capture::Capture::start(&ns, &self.folder, role);
        self.captures.extend(capture);
        self.spaces.push(ns.clone());
        Ok(ns)
    }

    /// A namespace for an appliance: no IPv6 and no neighbours of the kernel's own unless a device asks for them.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn router(&mut self, role: &str) -> Result<Netns> {
        self.space(role)
    }

    /// The MAC address of the next device that is made: known beforehand, so that cases can name it.
    fn next_mac(&mut self) -> Mac {
        self.devices += 1;
        [0x02, 0x54, 0x4c, 0, 0, self.devices]
    }

    /// A veth between two namespaces. `more` are words for the kernel (`numrxqueues 1 …`), for both ends.
    fn veth(&mut self, a: (&Netns, &str), b: (&Netns, &str), more: &str) -> Result<()> {
        let mac = |m: Mac| m.map(|b| format!("{b:02x}")).join(":");
        let (ma, mb) = (mac(self.next_mac()), mac(self.next_mac()));
        a.0.ip(&format!(
            "link add {} address {ma} {more} type veth peer name {} address {mb} {more} netns {}",
            a.1,
            b.1,
            b.0.name()
        ))?;
        for (ns, dev) in [a, b] {
            ns.sysctl(&format!("ipv6/conf/{dev}/accept_dad"), "0")?;
            ns.sysctl(&format!("ipv6/conf/{dev}/router_solicitations"), "0")?;
            // Frames must be whole when they leave: with TX checksum offload on, TCP and UDP would be lost.
            ns.run(&format!("ethtool -K {dev} tx off tso off gso off gro off"))?;
        }
        Ok(())
    }

    /// Makes `dev` a port for an appliance: nothing of the kernel answers on it.
    pub(crate) fn port_end(ns: &Netns, dev: &str) -> Result<()> {
        ns.sysctl(&format!("ipv6/conf/{dev}/disable_ipv6"), "1")?;
        ns.ip(&format!("link set {dev} arp off up")).map(drop)
    }

    /// A Linux host in a namespace of its own, with `eth0` wired to device `port` of the router's namespace.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn host(&mut self, host: &Host, router: &Netns, port: &str) -> Result<Netns> {
        let ns = self.space(&host.name)?;
        self.veth((router, port), (&ns, "eth0"), "")?;
        Self::port_end(router, port)?;
        ns.ip("link set eth0 up")?;
        for a in &host.addresses {
            let nodad = if a.contains(':') { " nodad" } else { "" };
            ns.ip(&format!("addr add {a} dev eth0{nodad}"))?;
        }
        for g in &host.gateways {
            ns.ip(&format!("route add default via {g}"))?;
        }
        Ok(ns)
    }

    /// A veth between two Linux hosts, `a` and `b`: a namespace, a device, its addresses.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn link(&mut self, a: (&Netns, &str, &[&str]), b: (&Netns, &str, &[&str])) -> Result<()> {
        self.veth((a.0, a.1), (b.0, b.1), "")?;
        for (ns, dev, addresses) in [a, b] {
            ns.ip(&format!("link set {dev} up"))?;
            for address in addresses {
                let nodad = if address.contains(':') { " nodad" } else { "" };
                ns.ip(&format!("addr add {address} dev {dev}{nodad}"))?;
            }
        }
        Ok(())
    }

    /// A veth between two routers.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn join(&mut self, a: (&Netns, &str), b: (&Netns, &str)) -> Result<()> {
        self.veth(a, b, "")?;
        Self::port_end(a.0, a.1)?;
        Self::port_end(b.0, b.1)
    }

    /// A veth between two namespaces, whose ends are as the kernel makes them, and down.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn cable(&mut self, a: (&Netns, &str), b: (&Netns, &str)) -> Result<()> {
        self.veth(a, b, "")
    }

    /// The two veths of a link with faults: from `a` and from `b` to devices of `middle`, which are returned. The ends in `a`
    /// and `b` are as the kernel makes them, and down.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn halves(
        &mut self,
        a: (&Netns, &str),
        b: (&Netns, &str),
        middle: &Netns,
    ) -> Result<[String; 2]> {
        let mut ends = [String::new(), String::new()];
        for (side, near) in [a, b].into_iter().enumerate() {
            let end = format!("half{}", self.devices);
            self.veth(near, (middle, &end), "numtxqueues 1 numrxqueues 1")?;
            Self::port_end(middle, &end)?;
            middle.ip(&format!("link set {end} mtu 3000"))?;
            ends[side] = end;
        }
        Ok(ends)
    }

    /// A link with faults between the ports of two routers, through a namespace that has nothing else in it.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn through(
        &mut self,
        a: (&Netns, &str),
        b: (&Netns, &str),
        faults: Faults,
        seed: u64,
    ) -> Result<Middlebox> {
        let middle = self.space(&format!("mid{}", self.devices))?;
        let ends = self.halves(a, b, &middle)?;
        Self::port_end(a.0, a.1)?;
        Self::port_end(b.0, b.1)?;
        Middlebox::start(&middle, [&ends[0], &ends[1]], faults, seed)
    }

    /// A veth from device `port` of the router's namespace to a raw end in `far`, which can send frames of up to 3,000
    /// bytes (XDP takes no veth whose other end could send much more). One queue, so that frames keep their order.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn wire(&mut self, router: &Netns, port: &str, far: &Netns) -> Result<Wire> {
        let end = format!("{port}-far");
        self.veth((router, port), (far, &end), "numtxqueues 1 numrxqueues 1")?;
        Self::port_end(router, port)?;
        Self::port_end(far, &end)?;
        far.ip(&format!("link set {end} mtu 3000"))?;
        Wire::open(far, &end)
    }

    /// Starts an appliance in the router's namespace and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready within ten seconds.
    pub fn start(&self, name: &str, router: &Netns, config: &Config) -> Result<Appliance> {
        let a = self.spawn(name, router, config)?;
        a.ready()?;
        Ok(a)
    }

    /// Starts an appliance and does not wait.
    ///
    /// # Errors
    /// When it can't be run at all.
    pub fn spawn(&self, name: &str, router: &Netns, config: &Config) -> Result<Appliance> {
        Appliance::spawn(&self.folder, name, router, config)
    }

    /// Copies the logs, dumps and captures of the lab to where they can be read when it is gone.
    fn save_logs(&self) {
        let _ = std::fs::remove_dir_all(&self.logs);
        for e in std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            let keep = [".log", ".toml", ".pcap"]
                .iter()
                .any(|x| e.path().to_string_lossy().ends_with(x));
            if keep && std::fs::create_dir_all(&self.logs).is_ok() {
                let _ = std::fs::copy(e.path(), self.logs.join(e.file_name()));
            }
        }
        if self.logs.exists() {
            SAVED.with_borrow_mut(|all| all.push(self.logs.clone()));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // They hold the namespaces, and their files are to be whole.
        self.captures.clear();
        for ns in &self.spaces {
            netns::remove(ns.name());
        }
        self.save_logs();
        let _ = std::fs::remove_dir_all(&self.folder);
        let _none_is_made = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        // The folder of the process goes with its last lab.
        let _ = std::fs::remove_dir(signals::folder());
    }
}
