//! Configurations for the appliances of a lab.

use std::fmt::Write as _;
use std::str::FromStr;

use anyhow::{Result, bail};

/// Where the appliance has its buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Memory {
    /// 2 MiB pages, reserved by the test bed.
    Hugepages,
    /// Ordinary pages.
    #[default]
    NoHuge,
}

/// How the appliance reaches a veth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Driver {
    /// AF_PACKET with a mapped ring.
    #[default]
    AfPacket,
    /// AF_XDP.
    AfXdp,
}

impl Memory {
    /// As the configuration has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hugepages => "hugepages",
            Self::NoHuge => "no-huge",
        }
    }
}

impl Driver {
    /// As a device string begins.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AfPacket => "af_packet",
            Self::AfXdp => "af_xdp",
        }
    }
}

impl FromStr for Memory {
    type Err = anyhow::Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "hugepages" => Ok(Self::Hugepages),
            "no-huge" => Ok(Self::NoHuge),
            _ => bail!("`{s}`: it is \"hugepages\" or \"no-huge\""),
        }
    }
}

impl FromStr for Driver {
    type Err = anyhow::Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "af_packet" => Ok(Self::AfPacket),
            "af_xdp" => Ok(Self::AfXdp),
            _ => bail!("`{s}`: it is \"af_packet\" or \"af_xdp\""),
        }
    }
}

/// What a run chooses: memory and driver. The default needs nothing of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flavor {
    /// Where buffers are.
    pub memory: Memory,
    /// How ports are reached.
    pub driver: Driver,
}

impl std::fmt::Display for Flavor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}", self.memory.name(), self.driver.name())
    }
}

impl Flavor {
    /// The device string for a device of the namespace.
    #[must_use]
    pub fn device(&self, dev: &str) -> String {
        format!("{}:{dev}", self.driver.name())
    }

    /// A configuration with one worker, so that frames of one port leave in the order in which they came.
    #[must_use]
    pub fn config(&self, name: &str) -> Config {
        Config {
            flavor: *self,
            name: name.to_owned(),
            router_id: "192.0.2.1".into(),
            workers: last_cpu().to_string(),
            dataplane: String::new(),
            top: String::new(),
            body: String::new(),
        }
    }
}

/// The number of the last CPU: the control thread stays on the others when there are several.
#[must_use]
pub fn last_cpu() -> usize {
    std::thread::available_parallelism().map_or(0, |n| n.get() - 1)
}

/// A configuration in the making.
#[derive(Debug, Clone)]
pub struct Config {
    flavor: Flavor,
    name: String,
    router_id: String,
    workers: String,
    dataplane: String,
    top: String,
    body: String,
}

impl Config {
    /// With these worker CPUs instead: "auto", or a list.
    #[must_use]
    pub fn workers(mut self, cpus: &str) -> Self {
        cpus.clone_into(&mut self.workers);
        self
    }

    /// With more lines in `[dataplane]`.
    #[must_use]
    pub fn dataplane(mut self, lines: &str) -> Self {
        let _ = writeln!(self.dataplane, "{lines}");
        self
    }

    /// With another identifier than 192.0.2.1: speakers of one AS need one each.
    #[must_use]
    pub fn router_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.router_id);
        self
    }

    /// With lines at the top level, before any section.
    #[must_use]
    pub fn top(mut self, lines: &str) -> Self {
        let _ = writeln!(self.top, "{lines}");
        self
    }

    /// With an interface on device `dev` of the namespace; `more` are further lines of its section.
    #[must_use]
    pub fn interface(self, name: &str, dev: &str, addresses: &[&str], more: &str) -> Self {
        let device = self.flavor.device(dev);
        self.interface_on(name, &device, addresses, more)
    }

    /// With an interface on any device string; none for an empty one (a VLAN sub-interface).
    #[must_use]
    pub fn interface_on(
        mut self,
        name: &str,
        device: &str,
        addresses: &[&str],
        more: &str,
    ) -> Self {
        let _ = writeln!(self.body, "\n[interface.\"{name}\"]");
        if !device.is_empty() {
            let _ = writeln!(self.body, "device = \"{device}\"");
        }
        let _ = writeln!(self.body, "address = {addresses:?}\n{more}");
        self
    }

    /// With a static route; `more` are further lines.
    #[must_use]
    pub fn route(self, prefix: &str, via: &str, more: &str) -> Self {
        self.section(&format!(
            "[[route]]\nprefix = \"{prefix}\"\nvia = [\"{via}\"]\n{more}"
        ))
    }

    /// With any further section.
    #[must_use]
    pub fn section(mut self, text: &str) -> Self {
        let _ = writeln!(self.body, "\n{text}");
        self
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            flavor,
            name,
            router_id,
            workers,
            dataplane,
            top,
            body,
        } = self;
        format!(
            "# Written by the test bed.\n{top}[system]\nname = \"{name}\"\nrouter-id = \"{router_id}\"\n\n\
             [dataplane]\nworkers = \"{workers}\"\nmemory = \"{}\"\n{dataplane}{body}",
            flavor.memory.name()
        )
    }

    /// What it runs on.
    #[must_use]
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }
}
