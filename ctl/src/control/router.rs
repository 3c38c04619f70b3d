//! What runs: the dataplane, the kernel's side, the tables, and the interfaces by name.
//!
//! One thread owns a [`Router`]. `apply` changes it as the configuration says, `traffic` moves frames through it,
//! `show` looks at it; the reactor above calls them in turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::interface::{Interface, InterfaceTable};
use dataplane::{Dataplane, Watchdog};
use ipnet::IpNet;
use mio::{Interest, Registry, Token};
use net::{IfaceId, MacAddr, PortId, VrfId};
use tracing::{error, info, warn};

use super::limit::{Gathering, Limit, Pace};
use super::start::Machine;
use super::tokens;
use super::unplug::Gone;
use crate::apply::Backlog;
use crate::bgp::{Driver, Links};
use crate::config::{self, Valid, VrfName};
use crate::host::{Host, HostSpec};
use crate::neigh::{Act, IfaceCfg, Neighbours};
use crate::request::Refused;
use crate::rib::Rib;
use crate::rib::fib::FibSink;
use crate::rib::spec::IfaceSpec;
use crate::{labels, ldp, lsp};

/// How long tables may be written, and how long a plan's edits taken up, between two looks at everything else: frames
/// that wait for a neighbour, timers, requests.
const SLICE: Duration = Duration::from_millis(2);
/// Entries and edits in such a slice, at least and at most.
const ENTRIES: (usize, usize) = (1024, 16_384);
/// From so many prefixes on that wait to be written, it pays to let more come, for so long.
const MANY: usize = 4096;
const GATHER: Duration = Duration::from_millis(500);
/// A worker that has not reported for so long, while there is something to report, is stuck.
const STALLED: Duration = Duration::from_secs(2);

/// An interface that runs.
#[derive(Clone, Debug)]
pub(crate) struct Iface {
    pub(crate) id: IfaceId,
    pub(crate) conf: config::Interface,
    pub(crate) port: PortId,
    pub(crate) mac: MacAddr,
    pub(crate) link_local: Ipv6Addr,
    /// The table that it is in.
    pub(crate) vrf: VrfId,
    /// By configuration and link.
    pub(crate) up: bool,
}

/// A port that is open, by the name of its untagged interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenPort {
    pub(crate) id: PortId,
    pub(crate) up: bool,
    pub(crate) speed: u32,
    /// The kernel tells of its link: it is a device of the kernel's, in our namespace.
    pub(crate) told: bool,
}

/// The whole of it.
pub(crate) struct Router {
    // In the order of their end: the kernel's side first, then workers and ports, then what was taken of the machine.
    pub(crate) host: Option<Host>,
    pub(crate) dp: Option<Dataplane>,
    pub(crate) machine: Machine,
    pub(crate) rib: Rib,
    pub(crate) neigh: Neighbours,
    pub(crate) bgp: Driver,
    pub(crate) ldp: ldp::Driver,
    pub(crate) lsp: lsp::Driver,
    /// Who has which label, and the file that has it.
    pub(crate) labels: labels::Manager,
    pub(crate) label_file: labels::StateFile,
    pub(crate) acts: Vec<Act>,
    pub(crate) ifaces: BTreeMap<String, Iface>,
    pub(crate) names: BTreeMap<IfaceId, String>,
    /// The VRFs of the configuration, and the number of each in the tables.
    pub(crate) vrfs: BTreeMap<VrfName, VrfId>,
    /// The number that was given last: none comes back soon, as a worker may still look into the table that had it.
    last_vrf: VrfId,
    /// The id that a name had last: what is made anew keeps it, since routes name interfaces by id.
    pub(crate) last_ids: BTreeMap<String, IfaceId>,
    pub(crate) ports: BTreeMap<String, OpenPort>,
    /// Interfaces whose cards have left the machine: they have no port.
    pub(crate) gone: BTreeMap<String, Gone>,
    /// PCI addresses of NICs that could not be closed.
    pub(crate) stuck: BTreeSet<String>,
    pub(crate) running: Arc<Valid>,
    pub(crate) settings: config::Dataplane,
    pub(crate) backlog: VecDeque<Backlog>,
    pub(crate) registry: Registry,
    /// TAPs that may have more to read.
    pub(crate) readable: BTreeSet<IfaceId>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) scratch: Vec<u8>,
    /// ICMP errors that the control thread makes itself.
    pub(crate) icmp_limit: Limit,
    /// Addresses or links have changed, and BGP is to hear of it.
    pub(crate) bgp_links: bool,
    table_full: bool,
    gathering: Gathering,
    /// For the room that it has.
    batch: ::fib::FibBatch,
    /// How many entries are written at once, and how many edits taken up.
    writing: Pace,
    editing: Pace,
    pub(crate) watchdog: Watchdog,
    /// Workers that have ended by themselves.
    pub(crate) dead: BTreeSet<net::WorkerId>,
}

impl Router {
    pub(crate) fn new(registry: Registry, neigh: Neighbours) -> io::Result<Self> {
        Ok(Self {
            bgp: Driver::new(registry.try_clone()?),
            ldp: ldp::Driver::new(registry.try_clone()?),
            lsp: lsp::Driver::default(),
            labels: labels::Manager::default(),
            label_file: labels::StateFile::default(),
            host: None,
            dp: None,
            machine: Machine::default(),
            rib: Rib::new(),
            neigh,
            acts: Vec::new(),
            ifaces: BTreeMap::new(),
            names: BTreeMap::new(),
            vrfs: BTreeMap::new(),
            last_vrf: VrfId::GLOBAL,
            last_ids: BTreeMap::new(),
            ports: BTreeMap::new(),
            gone: BTreeMap::new(),
            stuck: BTreeSet::new(),
            running: Arc::default(),
            settings: config::Dataplane::default(),
            backlog: VecDeque::new(),
            registry,
            readable: BTreeSet::new(),
            buffer: vec![0; 1 << 16],
            scratch: Vec::new(),
            icmp_limit: Limit::new(100, 100),
            bgp_links: false,
            table_full: false,
            gathering: Gathering::new(MANY, GATHER),
            batch: ::fib::FibBatch::new(),
            writing: Pace::new(SLICE, ENTRIES.0, ENTRIES.1),
            editing: Pace::new(SLICE, ENTRIES.0, ENTRIES.1),
            watchdog: Watchdog::new(STALLED),
            dead: BTreeSet::new(),
        })
    }

    /// Gives numbers to VRFs that have none.
    pub(crate) fn number_vrfs<'n>(&mut self, names: impl Iterator<Item = &'n VrfName>) {
        for name in names {
            if !self.vrfs.contains_key(name) {
                let used = |id: VrfId| self.vrfs.values().any(|v| *v == id);
                // There are 16 times as many numbers as there may be VRFs.
                loop {
                    self.last_vrf = VrfId(self.last_vrf.0.wrapping_add(1));
                    if self.last_vrf != VrfId::GLOBAL && !used(self.last_vrf) {
                        break;
                    }
                }
                self.vrfs.insert(name.clone(), self.last_vrf);
            }
        }
    }

    /// The number of a VRF; no name is the global table.
    pub(crate) fn vrf_id(&self, name: Option<&str>) -> VrfId {
        let id = name.and_then(|name| self.vrfs.get(name));
        id.copied().unwrap_or(VrfId::GLOBAL)
    }

    /// The name of a VRF; empty for the global table.
    pub(crate) fn vrf_name(&self, id: VrfId) -> &str {
        let found = self.vrfs.iter().find(|(_, v)| **v == id);
        found.map_or("", |(name, _)| name)
    }

    /// The interface of that id.
    pub(crate) fn iface(&self, id: IfaceId) -> Option<&Iface> {
        self.ifaces.get(self.names.get(&id)?)
    }

    /// Its name, or the number of one that has gone.
    pub(crate) fn name(&self, id: IfaceId) -> String {
        self.names
            .get(&id)
            .cloned()
            .unwrap_or_else(|| format!("#{id}"))
    }

    /// Tells the RIB and the neighbours what an interface is now.
    pub(crate) fn announce(&mut self, name: &str, now: Instant) {
        let Some(i) = self.ifaces.get(name) else {
            return;
        };
        let spec = IfaceSpec {
            vrf: i.vrf,
            port: i.port,
            vlan: i.conf.vlan.as_ref().map(|(_, v)| *v),
            mac: i.mac,
            mtu: i.conf.mtu,
            up: i.up,
            addresses: i.conf.addresses.clone(),
        };
        self.rib.set_interface(i.id, spec);
        self.bgp_links = true;
        if let Some(dp) = &mut self.dp {
            // Groups with another path, or a backup, need not wait for the RIB.
            match i.up {
                true => dp.fib().interface_up(i.id),
                false => dp.fib().interface_down(i.id),
            };
        }
        if i.up {
            self.neigh.interface_up(now, &neigh_cfg(i), &mut self.acts);
        } else {
            self.neigh.interface_down(i.id, &mut self.acts);
        }
    }

    /// Gives the workers the interfaces as they are now.
    pub(crate) fn publish(&mut self) {
        let Some(dp) = &mut self.dp else { return };
        let there = |i: &&Iface| !self.gone.contains_key(i.conf.port_name());
        match InterfaceTable::new(self.ifaces.values().filter(there).map(row)) {
            Ok(table) => {
                if let Err(e) = dp.publish_interfaces(table) {
                    error!("{e}");
                }
            }
            Err(e) => error!("the interfaces make no table: {e}; this is a bug, please report it"),
        }
    }

    /// What the kernel's side of an interface is to be.
    pub(crate) fn host_spec(i: &Iface) -> HostSpec {
        HostSpec {
            vrf: i.vrf,
            name: i.conf.name.clone(),
            mac: i.mac,
            mtu: i.conf.mtu,
            addresses: i.conf.addresses.clone(),
            link_local: i.link_local,
            up: i.conf.up,
        }
    }

    /// Has the reactor look at an interface's TAP.
    pub(crate) fn watch(&self, id: IfaceId) -> std::io::Result<()> {
        let Some(h) = self.host.as_ref().and_then(|h| h.get(id)) else {
            return Ok(());
        };
        let fd = std::os::fd::AsRawFd::as_raw_fd(h.tap());
        let token = Token(tokens::FIRST_TAP + id.index());
        self.registry
            .register(&mut mio::unix::SourceFd(&fd), token, Interest::READABLE)
    }

    /// Are there ports of whose links nobody tells?
    pub(crate) fn has_untold_links(&self) -> bool {
        self.ports.values().any(|p| !p.told)
    }

    /// Looks at the links of all ports, or of those that nobody tells of. What goes by a link that is lost goes on by other
    /// paths and backups at once, since their groups are written before anything else; then the RIB follows, and the
    /// routes that are left without a way leave the tables.
    pub(crate) fn poll_links(&mut self, now: Instant, all: bool) {
        let Some(dp) = &mut self.dp else { return };
        let mut changed = Vec::new();
        for (name, p) in self.ports.iter_mut().filter(|(_, p)| all || !p.told) {
            let Some(link) = dp.link(p.id) else { continue };
            p.speed = link.mbps;
            if link.up != p.up {
                p.up = link.up;
                changed.push((name.clone(), link.up));
            }
        }
        let on = |i: &Iface, up: bool| {
            let port = i.conf.port_name();
            changed.iter().any(|(p, u)| p == port && *u == up)
        };
        let lost = self.ifaces.values().filter(|i| i.up && on(i, false));
        let groups: usize = lost.map(|i| dp.fib().interface_down(i.id)).sum();
        if groups > 0 {
            dp.fib().flush();
            info!(
                groups,
                "link lost: these groups of next hops go on without it"
            );
        }
        for (port, up) in &changed {
            let of_port = |i: &&mut Iface| i.conf.port_name() == port.as_str();
            let mut names = Vec::new();
            for i in self.ifaces.values_mut().filter(of_port) {
                i.up = i.conf.up && *up;
                names.push(i.conf.name.clone());
            }
            if *up {
                info!(interface = port.as_str(), "link up");
            } else {
                warn!(
                    interface = port.as_str(),
                    "link down: routes without another way leave the tables"
                );
            }
            for name in names {
                self.announce(&name, now);
            }
        }
        if !changed.is_empty() {
            self.publish();
        }
    }

    /// Shall what waits to be written wait for more?
    fn hold(&mut self, learning: bool, now: Instant) -> bool {
        let waiting = if self.rib.is_urgent() {
            0
        } else {
            self.rib.waiting()
        };
        self.gathering.hold(waiting, learning, now)
    }

    /// Writes a slice of what has changed into the tables. True: there is more.
    ///
    /// While BGP is `learning` more, what it has changed of a great table is gathered for a moment: it is written by address, and
    /// the more there is the less it takes.
    pub(crate) fn drain(&mut self, now: Instant, learning: bool) -> bool {
        if !self.backlog.is_empty() {
            let (edits, start) = (self.editing.slice(), Instant::now());
            self.backlog_step(edits);
            self.editing.took(edits, start.elapsed());
        }
        let hold = self.hold(learning, now);
        let Some(dp) = &mut self.dp else {
            return !self.backlog.is_empty();
        };
        let mut more = !self.backlog.is_empty();
        more |= self.rib.is_dirty();
        if self.rib.is_dirty() && !hold {
            let mut sink = FibSink::new(dp.fib(), &mut self.batch, tc(self.settings.mpls_tc));
            let start = Instant::now();
            // Neighbours wait to be told of labels until these are in: each may stand on a group of its own.
            let slice = self.writing.slice().max(2 * self.rib.labels_waiting());
            let progress = self.rib.drain(&mut sink, slice);
            self.writing.took(progress.done, start.elapsed());
            more = progress.more || !self.backlog.is_empty();
            match progress.full {
                Some(full) if !self.table_full => {
                    error!(
                        "{full}: routes are left out of the forwarding tables until others are removed"
                    );
                    self.table_full = true;
                }
                None if !progress.more => self.table_full = false,
                _ => {}
            }
            for w in self.rib.take_wants() {
                if w.wanted {
                    self.neigh.want(now, w.iface, w.address, &mut self.acts);
                } else {
                    self.neigh.unwant(w.iface, w.address);
                }
            }
        }
        more
    }

    /// Drains for as long as there is something, so that what is to be closed is named by nothing any more.
    pub(crate) fn settle(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        while self.drain(Instant::now(), false) && Instant::now() < until {}
    }

    /// BGP's piece of a turn. True: there is more.
    pub(crate) fn bgp_turn(&mut self, now: Instant) -> bool {
        for name in self.bgp.adverts(now) {
            if let Some(i) = self.ifaces.get(&name) {
                self.neigh.advertise_router(i.id, &mut self.acts);
            }
        }
        let changed = std::mem::take(&mut self.bgp_links);
        let links = Links {
            ifaces: &self.ifaces,
            names: &self.names,
            vrfs: &self.vrfs,
            host: self.host.as_ref(),
            neigh: &self.neigh,
            valid: &self.running,
        };
        if changed {
            self.bgp.links_changed(&links, now);
        }
        let valid = Arc::clone(links.valid);
        let (rib, labels) = (&mut self.rib, &mut self.labels);
        let more = self.bgp.turn(now, rib, labels, &valid, &links);
        if changed {
            let (ldp, mut around) = self.ldp_parts();
            ldp.links_changed(&mut around, now);
        }
        more
    }

    /// Tells BGP's and LDP's neighbours what they are to hear, after the tables were written: who is told a label may send frames with
    /// it at once. While labels wait for room among other changes, nobody is told anything. True: there is more.
    pub(crate) fn tell(&mut self, now: Instant) -> bool {
        if self.dp.is_some() && self.rib.labels_waiting() > 0 {
            return true;
        }
        let (bgp, rib, links) = self.bgp_parts();
        let more = bgp.write_out(rib, &links, now);
        let (ldp, mut around) = self.ldp_parts();
        ldp.write_out(&mut around, now) || more
    }

    /// LDP's piece of a turn, after the tables were written: it hears of next hops that are found. True: there is more.
    pub(crate) fn ldp_turn(&mut self, now: Instant) -> bool {
        let (ldp, mut around) = self.ldp_parts();
        ldp.turn(&mut around, now)
    }

    /// LDP, and what it looks at.
    pub(crate) fn ldp_parts(&mut self) -> (&mut ldp::Driver, ldp::Around<'_>) {
        let around = ldp::Around {
            rib: &mut self.rib,
            labels: &mut self.labels,
            links: Links {
                ifaces: &self.ifaces,
                names: &self.names,
                vrfs: &self.vrfs,
                host: self.host.as_ref(),
                neigh: &self.neigh,
                valid: &self.running,
            },
        };
        (&mut self.ldp, around)
    }

    /// What the RIB has found out goes to BGP. True: there was something.
    pub(crate) fn bgp_resolved(&mut self, now: Instant) -> bool {
        if self.dp.is_none() {
            return false;
        }
        self.bgp.resolved(&mut self.rib, now)
    }

    /// Has a neighbour do something.
    pub(crate) fn bgp_command(
        &mut self,
        command: &api::BgpCommand,
        now: Instant,
    ) -> Result<(), Refused> {
        let (bgp, rib, links) = self.bgp_parts();
        bgp.command(command, &links, rib, now)
    }

    /// Tells all neighbours that the appliance goes down.
    pub(crate) fn bgp_shut_down(&mut self, now: Instant) {
        let (bgp, rib, links) = self.bgp_parts();
        bgp.shut_down(rib, &links, now);
    }

    /// BGP, and what it looks at.
    pub(crate) fn bgp_parts(&mut self) -> (&mut Driver, &mut Rib, Links<'_>) {
        let links = Links {
            ifaces: &self.ifaces,
            names: &self.names,
            vrfs: &self.vrfs,
            host: self.host.as_ref(),
            neigh: &self.neigh,
            valid: &self.running,
        };
        (&mut self.bgp, &mut self.rib, links)
    }

    /// Takes back what readers have left. Once a turn.
    pub(crate) fn flush(&mut self) {
        if let Some(dp) = &mut self.dp {
            dp.fib().flush();
        }
    }
}

/// An interface as the neighbours are told of it.
fn neigh_cfg(i: &Iface) -> IfaceCfg {
    let link_local = Some(i.link_local);
    let mut cfg = IfaceCfg {
        id: i.id,
        mac: i.mac,
        v4: Vec::new(),
        v6: Vec::new(),
        link_local,
    };
    for a in &i.conf.addresses {
        match a {
            IpNet::V4(a) => cfg.v4.push((a.addr(), a.prefix_len())),
            IpNet::V6(a) => cfg.v6.push((a.addr(), a.prefix_len())),
        }
    }
    cfg
}

/// An interface as the workers are told of it.
fn row(i: &Iface) -> Interface {
    let mut row = Interface {
        id: i.id,
        port: i.port,
        vlan: i.conf.vlan.as_ref().map(|(_, v)| *v),
        mac: i.mac,
        mtu: i.conf.mtu,
        mpls: i.conf.mpls,
        up: i.up,
        vrf: i.vrf,
        link_local: i.link_local,
        v4: Vec::new(),
        v6: Vec::new(),
        name: i.conf.name.clone(),
    };
    for a in &i.conf.addresses {
        match a {
            IpNet::V4(a) => row.v4.push((a.addr(), a.prefix_len())),
            IpNet::V6(a) => row.v6.push((a.addr(), a.prefix_len())),
        }
    }
    row
}

/// The traffic class of pushed labels, as the tables name it.
pub(crate) fn tc(mode: config::TcMode) -> fib::TcMode {
    match mode {
        config::TcMode::Dscp => fib::TcMode::Dscp,
        config::TcMode::Zero => fib::TcMode::Zero,
    }
}
