//! The configuration as the rest of the control plane sees it: typed, complete, and found to make sense.
//!
//! A `Valid` is the whole of what was asked for, with the defaults filled in; it holds nothing of what the machine made of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use net::{Label, LabelStack, MacAddr};

use super::bgp::Bgp;
use super::labels::LabelRanges;
use super::ldp::Ldp;
use super::policy::{PolicyBook, Rpki};
use super::vrf::{Dest, Vrf, VrfName};
use super::watch::Watch;

/// A configuration that was checked as a whole. Empty by [`Default`]: no interface, no route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Valid {
    /// `[system]`
    pub system: System,
    /// `[dataplane]`
    pub dataplane: Dataplane,
    /// `[neighbor]`
    pub neighbor: NeighborParams,
    /// `[interface.*]` by name. A VLAN's parent is always here too.
    pub interfaces: BTreeMap<String, Interface>,
    /// `[vrf.*]` by name.
    pub vrfs: BTreeMap<VrfName, Vrf>,
    /// `[[route]]` by table and prefix.
    pub routes: BTreeMap<Dest, Arc<Target>>,
    /// The routes of `route-file`; none of them is in `routes` too.
    pub route_file: Option<Arc<RouteFile>>,
    /// `[[label]]` by incoming label.
    pub labels: BTreeMap<Label, Arc<LabelRoute>>,
    /// `[label-range]`
    pub label_ranges: LabelRanges,
    /// `[[neighbor.static]]` by interface and address.
    pub neighbors: BTreeMap<(String, IpAddr), MacAddr>,
    /// `[bgp]`, if BGP is spoken at all.
    pub bgp: Option<Arc<Bgp>>,
    /// `[ldp]`, if LDP is spoken at all.
    pub ldp: Option<Arc<Ldp>>,
    /// `[policy.*]` and the sets that they name.
    pub policy: PolicyBook,
    /// `[rpki]`, if caches are asked.
    pub rpki: Option<Arc<Rpki>>,
    /// `[bmp.*]` and `[mrt]`.
    pub watch: Watch,
}

impl Valid {
    /// The policy of that name, built in or written, ready to run.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<Arc<::bgp::policy::Policy>> {
        self.policy.get(name).map(Arc::clone)
    }

    /// The static route to exactly `dest`, from the configuration or its route file.
    #[must_use]
    pub fn route(&self, dest: &Dest) -> Option<&Arc<Target>> {
        self.routes
            .get(dest)
            .or_else(|| self.route_file.as_ref()?.get(dest))
    }

    /// Every static route, those of the configuration first.
    pub fn all_routes(&self) -> impl Iterator<Item = (&Dest, &Arc<Target>)> {
        let file = self.route_file.iter().flat_map(|file| file.routes.iter());
        self.routes
            .iter()
            .chain(file.map(|(dest, target)| (dest, target)))
    }
}

/// `[system]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// What the router calls itself; left out: the host's name.
    pub name: Option<String>,
    /// `router-id`
    pub router_id: Option<Ipv4Addr>,
}

/// `[dataplane]`: what the workers are started with. Changes need a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataplane {
    /// Which CPUs forward.
    pub workers: Workers,
    /// What a worker does without frames.
    pub poll: Poll,
    /// Where packet buffers lie.
    pub memory: Memory,
    /// TTL across an LSP, unless a route or label says otherwise.
    pub mpls_ttl: TtlMode,
    /// The traffic class of pushed labels.
    pub mpls_tc: TcMode,
    /// ICMP errors a worker may send in a second.
    pub icmp_rate: u32,
    /// Packet buffers on each NUMA node.
    pub frames: u32,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self {
            workers: Workers::Auto,
            poll: Poll::Adaptive,
            memory: Memory::Hugepages,
            mpls_ttl: TtlMode::Uniform,
            mpls_tc: TcMode::Dscp,
            icmp_rate: 1000,
            frames: 16_383,
        }
    }
}

/// `dataplane.workers`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workers {
    /// As the machine allows.
    Auto,
    /// One pinned to each of these CPUs, ascending, at least one.
    Cpus(Vec<usize>),
}

/// `dataplane.poll`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Spin while busy, sleep when idle.
    Adaptive,
    /// Always spin.
    Busy,
}

/// `dataplane.memory`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Huge pages, which must be reserved.
    Hugepages,
    /// Ordinary pages.
    NoHuge,
}

/// `mpls-ttl` (RFC 3443)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TtlMode {
    /// The LSP's hops count in the packet's TTL.
    Uniform,
    /// The LSP looks like one hop.
    Pipe,
}

/// `mpls-tc` (RFC 5462): the traffic class of labels pushed on an IP packet. A swapped label keeps its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcMode {
    /// The upper three bits of the DSCP.
    Dscp,
    /// Zero.
    Zero,
}

/// `[neighbor]`: how ARP and neighbour discovery behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborParams {
    /// How long a confirmed neighbour is trusted.
    pub reachable_time: Duration,
    /// Between two questions for the same neighbour.
    pub retransmit_time: Duration,
    /// Questions without an answer until a neighbour is given up.
    pub max_probes: u32,
    /// Frames held for one neighbour while it is looked for.
    pub queue: usize,
}

impl Default for NeighborParams {
    fn default() -> Self {
        Self {
            reachable_time: Duration::from_secs(30),
            retransmit_time: Duration::from_secs(1),
            max_probes: 3,
            queue: 64,
        }
    }
}

/// `[interface.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// At most 15 bytes; unique.
    pub name: String,
    /// The device string as written (`af_packet:eth1`); `None` for a VLAN.
    pub device: Option<String>,
    /// For `wan0.100`: (`wan0`, 100).
    pub vlan: Option<(String, u16)>,
    /// The VRF that it is in; left out: the global table.
    pub vrf: Option<VrfName>,
    /// The addresses with their subnets' lengths, as written, without the link-local one.
    pub addresses: Vec<IpNet>,
    /// A configured `fe80::/10` address; left out: made from the MAC.
    pub link_local: Option<Ipv6Addr>,
    /// Of layer 3, in octets.
    pub mtu: u16,
    /// Labelled frames are accepted.
    pub mpls: bool,
    /// Receive queues; left out: as many as there are workers, if the device has them. Never for a VLAN.
    pub queues: Option<u16>,
    /// False: taken down.
    pub up: bool,
}

impl Interface {
    /// The name of the interface whose port this one uses: its parent's, or its own.
    #[must_use]
    pub fn port_name(&self) -> &str {
        self.vlan.as_ref().map_or(&self.name, |(parent, _)| parent)
    }
}

/// What a static route does. Shared between routes that do the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Forward to one of these, by weight; at least one.
    Via {
        /// No two with the same address and interface.
        hops: Vec<NextHop>,
        /// Left out: `dataplane.mpls-ttl`.
        mpls_ttl: Option<TtlMode>,
        /// The table in which next hops are looked up, [`vrf::GLOBAL`](super::vrf::GLOBAL) or a VRF's name; left out: the
        /// route's own.
        via_table: Option<VrfName>,
        /// Packets get an entropy label below the labels (RFC 6790).
        entropy: bool,
    },
    /// Drop.
    Discard(Discard),
}

/// How a route drops, as in iproute2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discard {
    /// Silently.
    Blackhole,
    /// With ICMP host unreachable.
    Unreachable,
    /// With ICMP administratively prohibited.
    Prohibit,
}

/// One way of a route or label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Left out: the destination is on the link of `interface` (then given).
    pub address: Option<IpAddr>,
    /// Left out: found by the address. Always given for a link-local address.
    pub interface: Option<String>,
    /// Pushed, outermost first. Implicit null (3) is alone here, and only of routes: labels of what stands on them go there.
    pub label: LabelStack,
    /// 1 to 256.
    pub weight: u16,
    /// Carries only while none of those that are no backups can. There is always one that is none.
    pub backup: bool,
}

impl NextHop {
    /// Are labels pushed?
    #[must_use]
    pub fn pushes(&self) -> bool {
        self.label.iter().any(|l| *l != Label::IMPLICIT_NULL)
    }
}

/// `[[label]]`: what happens to frames whose topmost label this is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LabelRoute {
    /// What is done with the label.
    pub action: LabelAction,
    /// Left out: `dataplane.mpls-ttl`.
    pub mpls_ttl: Option<TtlMode>,
}

/// `action`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LabelAction {
    /// `swap`, or `pop` with a `via`: the label is replaced by those of the next hop; none is penultimate hop popping.
    Forward(Vec<NextHop>),
    /// `pop` without a `via`: the next label, or the packet in the table of this VRF, or the global one, decides.
    PopLookup(Option<VrfName>),
}

/// The static routes of a `route-file`.
#[derive(Clone, Debug)]
pub struct RouteFile {
    /// As written in the configuration.
    pub written: String,
    /// Where it was found.
    pub path: PathBuf,
    /// Sorted by table and prefix, each once.
    pub routes: Vec<(Dest, Arc<Target>)>,
    /// Everything that its routes do, once each.
    pub(super) targets: Vec<FileTarget>,
}

/// What some lines of a route file do.
#[derive(Clone, Debug)]
pub(super) struct FileTarget {
    pub(super) target: Arc<Target>,
    /// In which table they are.
    pub(super) vrf: Option<VrfName>,
    /// The first of those lines.
    pub(super) line: u32,
    /// One of them is an IPv4 route.
    pub(super) four: bool,
    /// One of them is an IPv6 route.
    pub(super) six: bool,
}

impl PartialEq for RouteFile {
    /// The same file with the same routes, wherever their lines are.
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.routes == other.routes
    }
}

impl RouteFile {
    /// The route to exactly `dest`.
    #[must_use]
    pub fn get(&self, dest: &Dest) -> Option<&Arc<Target>> {
        let at = self
            .routes
            .binary_search_by(|(have, _)| have.cmp(dest))
            .ok()?;
        Some(&self.routes[at].1)
    }
}
