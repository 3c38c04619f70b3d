//! The configuration as text: entries for the file, a whole file that reads back to the same, and the sentences of `config diff`.

use std::fmt;
use std::time::Duration;

use net::{Label, LabelStack, MacAddr};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

use super::diff::{Edit, Forget, Plan, Step};
use super::model::{
    Dataplane, Discard, Interface, LabelAction, LabelRoute, Memory, NeighborParams, NextHop, Poll,
    System, Target, TcMode, TtlMode, Valid, Workers,
};
use super::vrf::Dest;
use super::{policy, terms};

pub(super) fn workers(workers: &Workers) -> String {
    match workers {
        Workers::Auto => "auto".into(),
        Workers::Cpus(cpus) => cpu_list(cpus),
    }
}

/// `2-5,18`
fn cpu_list(cpus: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    let parts = parts.iter().map(|(a, b)| {
        if a == b {
            a.to_string()
        } else {
            format!("{a}-{b}")
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

pub(super) fn poll(poll: Poll) -> &'static str {
    match poll {
        Poll::Adaptive => "adaptive",
        Poll::Busy => "busy",
    }
}

pub(super) fn memory(memory: Memory) -> &'static str {
    match memory {
        Memory::Hugepages => "hugepages",
        Memory::NoHuge => "no-huge",
    }
}

pub(super) fn ttl(mode: TtlMode) -> &'static str {
    match mode {
        TtlMode::Uniform => "uniform",
        TtlMode::Pipe => "pipe",
    }
}

pub(super) fn tc(mode: TcMode) -> &'static str {
    match mode {
        TcMode::Dscp => "dscp",
        TcMode::Zero => "zero",
    }
}

pub(super) fn discard(discard: Discard) -> &'static str {
    match discard {
        Discard::Blackhole => "blackhole",
        Discard::Unreachable => "unreachable",
        Discard::Prohibit => "prohibit",
    }
}

fn set(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.insert(key, Item::Value(value.into()));
}

fn stack(labels: &LabelStack) -> Array {
    labels.iter().map(|label| i64::from(label.get())).collect()
}

/// The entry of a route in the file.
pub(super) fn route(dest: &Dest, target: &Target) -> Table {
    let mut table = Table::new();
    set(&mut table, "prefix", dest.prefix.to_string());
    if let Some(vrf) = &dest.vrf {
        set(&mut table, "vrf", &**vrf);
    }
    match target {
        Target::Discard(how) => set(&mut table, "discard", discard(*how)),
        Target::Via {
            hops,
            mpls_ttl,
            via_table,
            entropy,
        } => {
            vias(&mut table, hops, "label");
            if let Some(name) = via_table {
                set(&mut table, "via-table", &**name);
            }
            if *entropy {
                set(&mut table, "entropy-label", true);
            }
            if let Some(mode) = mpls_ttl {
                set(&mut table, "mpls-ttl", ttl(*mode));
            }
        }
    }
    table
}

/// `via`, and what belongs to it. One hop has its keys in the table itself, several have tables of their own.
fn vias(table: &mut Table, hops: &[NextHop], label: &str) {
    if let [hop] = hops
        && hop.weight == 1
    {
        if let Some(address) = hop.address {
            set(table, "via", address.to_string());
        }
        if let Some(dev) = &hop.interface {
            set(table, "dev", dev.as_str());
        }
        if !hop.label.is_empty() {
            set(table, label, stack(&hop.label));
        }
        return;
    }
    let hops: Array = hops
        .iter()
        .map(|hop| match hop.address {
            Some(address) if is_plain(hop) => Value::from(address.to_string()),
            _ => Value::InlineTable(via(hop, label)),
        })
        .collect();
    set(table, "via", hops);
}

/// Nothing but an address is to be said of it.
fn is_plain(hop: &NextHop) -> bool {
    hop.interface.is_none() && hop.label.is_empty() && hop.weight == 1 && !hop.backup
}

fn via(hop: &NextHop, label: &str) -> InlineTable {
    let mut table = InlineTable::new();
    if let Some(address) = hop.address {
        table.insert("via", address.to_string().into());
    }
    if let Some(dev) = &hop.interface {
        table.insert("dev", dev.as_str().into());
    }
    if !hop.label.is_empty() {
        table.insert(label, stack(&hop.label).into());
    }
    if hop.weight != 1 {
        table.insert("weight", i64::from(hop.weight).into());
    }
    if hop.backup {
        table.insert("backup", true.into());
    }
    table
}

/// The entry of a label in the file.
pub(super) fn label(label: Label, route: &LabelRoute) -> Table {
    let mut table = Table::new();
    set(&mut table, "in", i64::from(label.get()));
    match &route.action {
        LabelAction::PopLookup(vrf) => {
            set(&mut table, "action", "pop");
            if let Some(vrf) = vrf {
                set(&mut table, "vrf", &**vrf);
            }
        }
        LabelAction::Forward(hops) if hops.iter().all(|hop| hop.label.is_empty()) => {
            set(&mut table, "action", "pop");
            vias(&mut table, hops, "out");
        }
        LabelAction::Forward(hops) => {
            set(&mut table, "action", "swap");
            let mut hops = hops.clone();
            // A way without a label among others with one: implicit null says so.
            for hop in hops.iter_mut().filter(|hop| hop.label.is_empty()) {
                hop.label.push(Label::IMPLICIT_NULL);
            }
            vias(&mut table, &hops, "out");
        }
    }
    if let Some(mode) = route.mpls_ttl {
        set(&mut table, "mpls-ttl", ttl(mode));
    }
    table
}

/// The entry of a static neighbour in the file.
pub(super) fn neighbor(dev: &str, address: std::net::IpAddr, mac: MacAddr) -> Table {
    let mut table = Table::new();
    set(&mut table, "address", address.to_string());
    set(&mut table, "lladdr", mac.to_string());
    set(&mut table, "dev", dev);
    table
}

/// The entry of an interface in the file.
pub(super) fn interface(interface: &Interface) -> Table {
    let mut table = Table::new();
    if let Some(device) = &interface.device {
        set(&mut table, "device", device.as_str());
    }
    let link_local = interface.link_local.map(|a| format!("{a}/64"));
    let addresses: Array = interface
        .addresses
        .iter()
        .map(ToString::to_string)
        .chain(link_local)
        .collect();
    if !addresses.is_empty() {
        set(&mut table, "address", addresses);
    }
    if let Some(vrf) = &interface.vrf {
        set(&mut table, "vrf", &**vrf);
    }
    set(&mut table, "mtu", i64::from(interface.mtu));
    if interface.mpls {
        set(&mut table, "mpls", true);
    }
    if let Some(queues) = interface.queues {
        set(&mut table, "queues", i64::from(queues));
    }
    if !interface.up {
        set(&mut table, "up", false);
    }
    table
}

fn seconds(time: Duration) -> Value {
    match time.subsec_millis() {
        0 => i64::try_from(time.as_secs()).unwrap_or(i64::MAX).into(),
        _ => time.as_secs_f64().into(),
    }
}

fn system(system: &System) -> Table {
    let mut table = Table::new();
    if let Some(name) = &system.name {
        set(&mut table, "name", name.as_str());
    }
    if let Some(id) = system.router_id {
        set(&mut table, "router-id", id.to_string());
    }
    table
}

fn dataplane(from: &Dataplane) -> Table {
    let mut table = Table::new();
    set(&mut table, "workers", workers(&from.workers));
    set(&mut table, "poll", poll(from.poll));
    set(&mut table, "memory", memory(from.memory));
    set(&mut table, "mpls-ttl", ttl(from.mpls_ttl));
    set(&mut table, "mpls-tc", tc(from.mpls_tc));
    set(&mut table, "icmp-rate", i64::from(from.icmp_rate));
    set(&mut table, "frames", i64::from(from.frames));
    table
}

fn neighbor_params(from: &NeighborParams) -> Table {
    let mut table = Table::new();
    set(&mut table, "reachable-time", seconds(from.reachable_time));
    set(&mut table, "retransmit-time", seconds(from.retransmit_time));
    set(&mut table, "max-probes", i64::from(from.max_probes));
    set(
        &mut table,
        "queue",
        i64::try_from(from.queue).unwrap_or(i64::MAX),
    );
    table
}

impl Valid {
    /// A file that reads back to the same configuration. (`config show` prints the file as it was written instead.)
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut doc = DocumentMut::new();
        if let Some(file) = &self.route_file {
            set(doc.as_table_mut(), "route-file", file.written.as_str());
        }
        doc.insert("system", Item::Table(system(&self.system)));
        doc.insert("dataplane", Item::Table(dataplane(&self.dataplane)));
        let mut neighbors = neighbor_params(&self.neighbor);
        let fixed: ArrayOfTables = self
            .neighbors
            .iter()
            .map(|((dev, a), mac)| neighbor(dev, *a, *mac))
            .collect();
        if !fixed.is_empty() {
            neighbors.insert("static", Item::ArrayOfTables(fixed));
        }
        doc.insert("neighbor", Item::Table(neighbors));
        let mut interfaces = Table::new();
        interfaces.set_implicit(true);
        for each in self.interfaces.values() {
            interfaces.insert(&each.name, Item::Table(interface(each)));
        }
        doc.insert("interface", Item::Table(interfaces));
        let mut vrfs = Table::new();
        vrfs.set_implicit(true);
        for (name, vrf) in &self.vrfs {
            vrfs.insert(name, Item::Table(vrf.to_table()));
        }
        doc.insert("vrf", Item::Table(vrfs));
        let routes: ArrayOfTables = self
            .routes
            .iter()
            .map(|(dest, target)| route(dest, target))
            .collect();
        doc.insert("route", Item::ArrayOfTables(routes));
        let labels: ArrayOfTables = self
            .labels
            .iter()
            .map(|(at, route)| label(*at, route))
            .collect();
        doc.insert("label", Item::ArrayOfTables(labels));
        self.label_ranges.print(&mut doc);
        if let Some(bgp) = &self.bgp {
            doc.insert("bgp", Item::Table(bgp.to_table()));
        }
        if let Some(ldp) = &self.ldp {
            ldp.print(&mut doc);
        }
        policy::print(self, &mut doc);
        self.watch.print(&mut doc);
        doc.to_string()
    }
}

// ---- sentences ----

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.backup, self.address) {
            (true, _) => f.write_str("backup ")?,
            (false, Some(_)) => f.write_str("via ")?,
            (false, None) => {}
        }
        f.write_str(&terms::name(self))?;
        if !self.label.is_empty() {
            let labels: Vec<String> = self.label.iter().map(ToString::to_string).collect();
            write!(f, " label {}", labels.join("/"))?;
        }
        if self.weight != 1 {
            write!(f, " weight {}", self.weight)?;
        }
        Ok(())
    }
}

fn hops(f: &mut fmt::Formatter<'_>, hops: &[NextHop]) -> fmt::Result {
    let alone = hops.iter().filter(|hop| !hop.backup).count() == 1;
    hops.iter().try_for_each(|hop| match hop.backup || alone {
        true => write!(f, " {hop}"),
        false => write!(f, " nexthop {hop}"),
    })
}

impl fmt::Display for Target {
    /// What follows the prefix in `trunkctl route add`; a route that drops as `blackhole`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discard(how) => write!(f, " {}", discard(*how)),
            Self::Via {
                hops: all,
                mpls_ttl,
                via_table,
                entropy,
            } => {
                hops(f, all)?;
                if let Some(name) = via_table {
                    write!(f, " via-table {name}")?;
                }
                if *entropy {
                    f.write_str(" entropy-label")?;
                }
                mpls_ttl.map_or(Ok(()), |mode| write!(f, " ttl {}", ttl(mode)))
            }
        }
    }
}

impl fmt::Display for LabelRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            LabelAction::PopLookup(None) => f.write_str(" pop")?,
            LabelAction::PopLookup(Some(vrf)) => write!(f, " pop vrf {vrf}")?,
            LabelAction::Forward(all) => {
                f.write_str(if all.iter().any(|hop| !hop.label.is_empty()) {
                    " swap"
                } else {
                    " pop"
                })?;
                hops(f, all)?;
            }
        }
        self.mpls_ttl
            .map_or(Ok(()), |mode| write!(f, " ttl {}", ttl(mode)))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(device) = &self.device {
            write!(f, " device {device}")?;
        }
        for address in &self.addresses {
            write!(f, " address {address}")?;
        }
        if let Some(address) = &self.link_local {
            write!(f, " address {address}/64")?;
        }
        if let Some(vrf) = &self.vrf {
            write!(f, " vrf {vrf}")?;
        }
        write!(f, " mtu {}", self.mtu)?;
        if self.mpls {
            f.write_str(" mpls")?;
        }
        if let Some(queues) = self.queues {
            write!(f, " queues {queues}")?;
        }
        if self.up {
            Ok(())
        } else {
            f.write_str(" down")
        }
    }
}

/// `+` for what comes, `-` for what goes, `~` for what changes.
fn sign<K, V>(edit: &Edit<K, V>) -> &'static str {
    match (&edit.from, &edit.to) {
        (None, _) => "+",
        (_, None) => "-",
        _ => "~",
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(to) => write!(f, "~ system: {}", one_line(&system(to))),
            Self::Dataplane(to) => write!(f, "~ dataplane: {}", one_line(&dataplane(to))),
            Self::Neighbor(to) => write!(f, "~ neighbor: {}", one_line(&neighbor_params(to))),
            Self::RemoveVrf(e) | Self::SetVrf(e) => {
                changed(f, sign(e), "vrf", &e.key, e.from.as_ref(), e.to.as_ref())
            }
            Self::RemoveInterface(old) => write!(f, "- interface {old}"),
            Self::AddInterface(new) => write!(f, "+ interface {new}"),
            Self::ChangeInterface(old, new) => write!(f, "~ interface {new} (was {old})"),
            Self::RemoveRoute(e) | Self::SetRoute(e) => changed(
                f,
                sign(e),
                "route",
                &e.key,
                e.from.as_deref(),
                e.to.as_deref(),
            ),
            Self::RemoveLabel(e) | Self::SetLabel(e) => changed(
                f,
                sign(e),
                "label",
                &e.key,
                e.from.as_deref(),
                e.to.as_deref(),
            ),
            Self::RemoveNeighbor(e) | Self::SetNeighbor(e) => {
                let (dev, address) = &e.key;
                let mac = e.to.or(e.from).unwrap_or(MacAddr::ZERO);
                write!(f, "{} neigh {address} lladdr {mac} dev {dev}", sign(e))
            }
            Self::ForgetNeighbor(what) => write!(f, "- neigh {what} (learned)"),
            Self::Bgp(step) => step.fmt(f),
            Self::Policy(step) => step.fmt(f),
            Self::Watch(step) => step.fmt(f),
            Self::Ldp(step) => step.fmt(f),
            Self::LabelRanges(step) => step.fmt(f),
        }
    }
}

impl fmt::Display for Forget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match &self.interface {
            Some(dev) => write!(f, " dev {dev}"),
            None => Ok(()),
        }
    }
}

fn changed<V: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    sign: &str,
    noun: &str,
    key: &impl fmt::Display,
    from: Option<&V>,
    to: Option<&V>,
) -> fmt::Result {
    write!(f, "{sign} {noun} {key}")?;
    if let Some(value) = to.or(from) {
        write!(f, "{value}")?;
    }
    match (from, to) {
        (Some(old), Some(_)) => write!(f, " (was{old})"),
        _ => Ok(()),
    }
}

/// A section without its line breaks.
fn one_line(table: &Table) -> String {
    let parts: Vec<String> = table
        .iter()
        .map(|(k, v)| format!("{k} = {}", v.to_string().trim()))
        .collect();
    if parts.is_empty() {
        "nothing set".to_owned()
    } else {
        parts.join(", ")
    }
}

impl Plan {
    /// One sentence for everything that would need a restart.
    #[must_use]
    pub fn restart_reason(&self) -> Option<String> {
        let parts: Vec<String> = self
            .restart
            .iter()
            .map(|r| format!("{} ({} runs, {} is asked for)", r.key, r.from, r.to))
            .collect();
        (!parts.is_empty()).then(|| {
            format!(
                "{} can't change while the appliance runs; put it into the configuration file and restart trunkline, or leave it as it is",
                parts.join(", ")
            )
        })
    }
}
