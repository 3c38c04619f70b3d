//! The text of a configuration into a `Candidate`: well formed, every key known, every value of its kind.
//!
//! Mistakes are collected, so that one reading names them all. What only the whole can show is left to `validate`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use api::grammar::Hop;
use ipnet::IpNet;
use net::{Label, MacAddr};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::model::{
    Dataplane, Discard, LabelAction, LabelRoute, Memory, NeighborParams, Poll, System, Target,
    TcMode, TtlMode, Workers,
};
use super::reader::{At, Key, Log, Table, mistyped, number, string};
use super::vrf::{self, Dest, VrfName};
use super::{bgp, labels, ldp, policy, terms, watch};

/// A configuration whose parts are well formed, with their places.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    pub(super) system: System,
    pub(super) dataplane: Dataplane,
    pub(super) neighbor: NeighborParams,
    pub(super) route_file: Option<At<String>>,
    pub(super) interfaces: Vec<At<InterfaceDraft>>,
    pub(super) vrfs: Vec<At<(VrfName, vrf::Vrf)>>,
    pub(super) routes: Vec<At<(Dest, Target)>>,
    pub(super) labels: Vec<At<(Label, LabelRoute)>>,
    pub(super) label_ranges: labels::LabelRanges,
    pub(super) neighbors: Vec<At<(String, IpAddr, MacAddr)>>,
    pub(super) bgp: Option<bgp::Draft>,
    pub(super) ldp: Option<ldp::Draft>,
    pub(super) policy: policy::Draft,
    pub(super) watch: watch::Watch,
}

#[derive(Debug)]
pub(super) struct InterfaceDraft {
    pub(super) name: String,
    pub(super) vlan: Option<(String, u16)>,
    pub(super) vrf: Option<At<VrfName>>,
    pub(super) device: Option<String>,
    pub(super) addresses: Vec<At<IpNet>>,
    pub(super) mtu: Option<At<u16>>,
    pub(super) mpls: bool,
    pub(super) queues: Option<u16>,
    pub(super) up: bool,
}

/// Reads the text of the file `file`.
pub(super) fn parse(file: &Path, text: &str) -> Result<Candidate, ConfigError> {
    let mut log = Log::new(file, text);
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            log.at(at, "", error.message().trim().replace('\n', "; "));
            return log.verdict(Candidate::default());
        }
    };
    let known = [
        "system",
        "dataplane",
        "neighbor",
        "route-file",
        "interface",
        "vrf",
        "route",
        "label",
        "label-range",
        "bgp",
        "ldp",
        "policy",
        "prefix-set",
        "as-set",
        "as-path-set",
        "community-set",
        "ext-community-set",
        "large-community-set",
        "rpki",
        "bmp",
        "mrt",
    ];
    let root = Table::new(document.get_ref(), 0, Key::Root, &known, &[], &mut log);
    let mut out = Candidate::default();
    system(&root, &mut out, &mut log);
    dataplane(&root, &mut out, &mut log);
    neighbor(&root, &mut out, &mut log);
    interfaces(&root, &mut out, &mut log);
    out.vrfs = vrf::sections(&root, &mut log);
    out.route_file = root.read("route-file", &mut log, |text| match text {
        "" => Err("the name of a file is wanted".into()),
        _ => Ok(text.to_owned()),
    });
    out.bgp = bgp::section(&root, &mut log);
    out.ldp = ldp::section(&root, &mut log);
    out.policy = policy::sections(&root, &mut log);
    out.watch = watch::sections(&root, &mut log);
    out.label_ranges = labels::section(&root, &mut log);
    for (index, at, entries) in root.tables("route", &mut log) {
        let list = Key::Of(&root.key, "route");
        if let Some(value) = route(entries, at, Key::Nth(&list, index), &mut log) {
            out.routes.push(At { at, value });
        }
        if log.is_full() {
            break;
        }
    }
    for (index, at, entries) in root.tables("label", &mut log) {
        let list = Key::Of(&root.key, "label");
        if let Some(value) = label(entries, at, Key::Nth(&list, index), &mut log) {
            out.labels.push(At { at, value });
        }
    }
    log.verdict(out)
}

fn system(root: &Table<'_>, out: &mut Candidate, log: &mut Log<'_>) {
    let Some(table) = root.section("system", &["name", "router-id"], log) else {
        return;
    };
    let name = table.read("name", log, |text| match text.len() {
        1..=64 if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err("a name has 1 to 64 characters".into()),
    });
    let router_id = table.read("router-id", log, |text| match text.parse::<Ipv4Addr>() {
        Ok(id) if !id.is_unspecified() => Ok(id),
        _ => Err(format!(
            "{text:?} is not an identifier in the form of an IPv4 address, such as \"192.0.2.1\""
        )),
    });
    out.system = System {
        name: name.map(|a| a.value),
        router_id: router_id.map(|a| a.value),
    };
}

fn dataplane(root: &Table<'_>, out: &mut Candidate, log: &mut Log<'_>) {
    let known = [
        "workers",
        "poll",
        "memory",
        "mpls-ttl",
        "mpls-tc",
        "icmp-rate",
        "frames",
    ];
    let Some(table) = root.section("dataplane", &known, log) else {
        return;
    };
    let to = &mut out.dataplane;
    let workers = table.read("workers", log, |text| match text {
        "auto" => Ok(Workers::Auto),
        list => terms::cpu_list(list).map(Workers::Cpus),
    });
    let poll = table.read("poll", log, |text| match text {
        "adaptive" => Ok(Poll::Adaptive),
        "busy" => Ok(Poll::Busy),
        _ => Err(format!("{text:?} is not \"adaptive\" or \"busy\"")),
    });
    let memory = table.read("memory", log, |text| match text {
        "hugepages" => Ok(Memory::Hugepages),
        "no-huge" => Ok(Memory::NoHuge),
        _ => Err(format!("{text:?} is not \"hugepages\" or \"no-huge\"")),
    });
    let mpls_ttl = table.read("mpls-ttl", log, terms::ttl);
    let mpls_tc = table.read("mpls-tc", log, |text| match text {
        "dscp" => Ok(TcMode::Dscp),
        "zero" => Ok(TcMode::Zero),
        _ => Err(format!("{text:?} is not \"dscp\" or \"zero\"")),
    });
    fn set<T>(slot: &mut T, value: Option<At<T>>) {
        if let Some(value) = value {
            *slot = value.value;
        }
    }
    set(&mut to.workers, workers);
    set(&mut to.poll, poll);
    set(&mut to.memory, memory);
    set(&mut to.mpls_ttl, mpls_ttl);
    set(&mut to.mpls_tc, mpls_tc);
    to.icmp_rate = table
        .number("icmp-rate", 0, 1_000_000, log)
        .unwrap_or(to.icmp_rate);
    to.frames = table
        .number("frames", 2048, 4_194_304, log)
        .unwrap_or(to.frames);
}

fn neighbor(root: &Table<'_>, out: &mut Candidate, log: &mut Log<'_>) {
    let known = [
        "reachable-time",
        "retransmit-time",
        "max-probes",
        "queue",
        "static",
    ];
    let Some(table) = root.section("neighbor", &known, log) else {
        return;
    };
    let to = &mut out.neighbor;
    to.reachable_time = seconds(&table, "reachable-time", log).unwrap_or(to.reachable_time);
    to.retransmit_time = seconds(&table, "retransmit-time", log).unwrap_or(to.retransmit_time);
    to.max_probes = table
        .number("max-probes", 1, 100, log)
        .unwrap_or(to.max_probes);
    let queue = table
        .number("queue", 0, 4096, log)
        .and_then(|n| usize::try_from(n).ok());
    to.queue = queue.unwrap_or(to.queue);
    for (index, at, entries) in table.tables("static", log) {
        let list = Key::Of(&table.key, "static");
        let entry = Table::new(
            entries,
            at,
            Key::Nth(&list, index),
            &["address", "lladdr", "dev"],
            &[],
            log,
        );
        let address = entry.read("address", log, |text| {
            text.parse()
                .map_err(|_| format!("{text:?} is not an address"))
        });
        let mac = entry.read("lladdr", log, lladdr);
        let dev = entry.string("dev", log);
        for name in ["address", "lladdr", "dev"] {
            missing(&entry, name, log);
        }
        if let (Some(address), Some(mac), Some(dev)) = (address, mac, dev) {
            out.neighbors.push(At {
                at,
                value: (dev.value.to_owned(), address.value, mac.value),
            });
        }
    }
}

/// The Ethernet address of one host.
pub(super) fn lladdr(text: &str) -> Result<MacAddr, String> {
    let mac: MacAddr = text.parse().map_err(|e| format!("{text:?}: {e}"))?;
    if mac.is_unicast() {
        Ok(mac)
    } else {
        Err(format!("{text:?} is not the Ethernet address of one host"))
    }
}

/// A time in seconds, to the millisecond.
pub(super) fn seconds(table: &Table<'_>, name: &str, log: &mut Log<'_>) -> Option<Duration> {
    let value = table.get(name)?;
    let found = match value.get_ref() {
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
            .ok()
            .map(|n| n as f64),
        DeValue::Float(f) => f.as_str().parse().ok(),
        _ => {
            mistyped(value, Key::Of(&table.key, name), "a number of seconds", log);
            return None;
        }
    };
    let good = found.filter(|s| (0.01..=86_400.0).contains(s));
    if good.is_none() {
        log.at(
            value.span().start,
            Key::Of(&table.key, name),
            "a time is 0.01 to 86400 seconds",
        );
    }
    good.map(|s| Duration::from_millis((s * 1000.0).round() as u64))
}

fn missing(table: &Table<'_>, name: &str, log: &mut Log<'_>) {
    if table.get(name).is_none() {
        log.at(table.at, Key::Of(&table.key, name), "is missing here");
    }
}

fn interfaces(root: &Table<'_>, out: &mut Candidate, log: &mut Log<'_>) {
    let Some(value) = root.get("interface") else {
        return;
    };
    let place = Key::Of(&root.key, "interface");
    let DeValue::Table(all) = value.get_ref() else {
        let hint = "a table by name is wanted; write [interface.NAME] in single brackets";
        log.at(value.span().start, place, hint);
        return;
    };
    for (name, value) in all {
        let at = name.span().start;
        let name: &str = name.get_ref();
        let key = Key::Of(&place, name);
        let DeValue::Table(entries) = value.get_ref() else {
            log.at(
                at,
                key,
                "a table is wanted; write [interface.NAME] above the keys of an interface",
            );
            continue;
        };
        if let Some(value) = interface(name, entries, at, key, log) {
            out.interfaces.push(At { at, value });
        }
    }
}

fn interface<'t>(
    name: &str,
    entries: &'t DeTable<'t>,
    at: usize,
    key: Key<'t>,
    log: &mut Log<'_>,
) -> Option<InterfaceDraft> {
    let known = ["device", "address", "mtu", "mpls", "queues", "up", "vrf"];
    let table = Table::new(entries, at, key, &known, &[], log);
    let vlan = match terms::interface_name(name).and_then(|()| terms::vlan(name)) {
        Ok(vlan) => vlan,
        Err(message) => {
            log.at(at, key, message);
            return None;
        }
    };
    let device = table.read("device", log, |text| {
        terms::device(text).map(|()| text.to_owned())
    });
    if vlan.is_none() {
        if table.get("device").is_none() {
            log.at(
                at,
                Key::Of(&key, "device"),
                "is missing; write which device this is, such as \"af_packet:eth1\"",
            );
        }
    } else {
        for name in ["device", "queues"] {
            if let Some(value) = table.get(name) {
                let message =
                    "a VLAN has none of its own; leave it out, or choose a name without a dot";
                log.at(value.span().start, Key::Of(&key, name), message);
            }
        }
    }
    if device.as_ref().is_some_and(|d| d.value == terms::LOOPBACK)
        && let Some(value) = table.get("queues")
    {
        let message = "a loopback has none; leave it out";
        log.at(value.span().start, Key::Of(&key, "queues"), message);
    }
    let mut addresses = Vec::new();
    for value in table.list("address") {
        let Some(text) = string(value, Key::Of(&key, "address"), log) else {
            continue;
        };
        match terms::address(text.value) {
            Ok(net) => addresses.push(At {
                at: text.at,
                value: net,
            }),
            Err(message) => log.at(text.at, Key::Of(&key, "address"), message),
        }
    }
    let mtu = table.number("mtu", 68, 9600, log).and_then(|mtu| {
        Some(At {
            at: table.get("mtu")?.span().start,
            value: u16::try_from(mtu).ok()?,
        })
    });
    Some(InterfaceDraft {
        name: name.to_owned(),
        vlan,
        vrf: vrf::of(&table, log),
        device: device.map(|d| d.value),
        addresses,
        mtu,
        mpls: table.boolean("mpls", log).unwrap_or(false),
        queues: table
            .number("queues", 1, 64, log)
            .and_then(|q| u16::try_from(q).ok()),
        up: table.boolean("up", log).unwrap_or(true),
    })
}

/// What the next hops of a table share unless they say otherwise.
struct Shared {
    dev: Option<String>,
    label: Vec<u32>,
}

/// The next hops under `via`: an address, a table, or a list of both. `None`: a mistake was noted.
fn hops(
    table: &Table<'_>,
    stack: &'static str,
    shared: &Shared,
    log: &mut Log<'_>,
) -> Option<Vec<Hop>> {
    let mut out = Vec::new();
    let key = Key::Of(&table.key, "via");
    let mut good = true;
    for value in table.list("via") {
        let hop = match value.get_ref() {
            DeValue::String(text) => via_address(text, value.span().start, key, log).map(|a| Hop {
                address: Some(a),
                ..Hop::default()
            }),
            DeValue::Table(entries) => via_table(entries, value.span().start, key, stack, log),
            _ => {
                mistyped(
                    value,
                    key,
                    "an address, or a table such as { via = \"198.51.100.3\", weight = 2 },",
                    log,
                );
                None
            }
        };
        let Some(mut hop) = hop else {
            good = false;
            continue;
        };
        if hop.interface.is_none() {
            hop.interface.clone_from(&shared.dev);
        }
        if hop.label.is_empty() {
            hop.label.clone_from(&shared.label);
        }
        out.push(hop);
    }
    if table.get("via").is_none() && shared.dev.is_some() {
        out.push(Hop {
            interface: shared.dev.clone(),
            label: shared.label.clone(),
            ..Hop::default()
        });
    }
    good.then_some(out)
}

fn via_address(text: &str, at: usize, key: Key<'_>, log: &mut Log<'_>) -> Option<IpAddr> {
    let address = text.parse().ok();
    if address.is_none() {
        log.at(
            at,
            key,
            format!("{text:?} is not an address such as \"198.51.100.3\""),
        );
    }
    address
}

fn via_table<'t>(
    entries: &'t DeTable<'t>,
    at: usize,
    key: Key<'t>,
    stack: &'static str,
    log: &mut Log<'_>,
) -> Option<Hop> {
    let known = ["via", "dev", stack, "weight", "backup"];
    let table = Table::new(entries, at, key, &known, &[], log);
    let address = table.string("via", log);
    let address = match address {
        Some(text) => Some(via_address(text.value, text.at, Key::Of(&key, "via"), log)?),
        None => None,
    };
    let label = label_list(&table, stack, log)?;
    let interface = table.string("dev", log).map(|d| d.value.to_owned());
    let weight = table
        .number("weight", 1, 256, log)
        .and_then(|w| u16::try_from(w).ok());
    Some(Hop {
        address,
        interface,
        label,
        weight,
        backup: table.boolean("backup", log).unwrap_or(false),
    })
}

/// A list of labels; empty when there is none. `None`: a mistake was noted.
fn label_list(table: &Table<'_>, name: &str, log: &mut Log<'_>) -> Option<Vec<u32>> {
    let key = Key::Of(&table.key, name);
    let values: Vec<&Spanned<DeValue<'_>>> = table.list(name);
    values
        .into_iter()
        .map(|value| number(value, key, 0, Label::MAX.get(), log))
        .collect()
}

fn route<'t>(
    entries: &'t DeTable<'t>,
    at: usize,
    key: Key<'t>,
    log: &mut Log<'_>,
) -> Option<(Dest, Target)> {
    let known = [
        "prefix",
        "via",
        "dev",
        "label",
        "discard",
        "mpls-ttl",
        "entropy-label",
        "vrf",
        "via-table",
    ];
    let table = Table::new(entries, at, key, &known, &[], log);
    let vrf = vrf::of(&table, log).map(|vrf| vrf.value);
    missing(&table, "prefix", log);
    let mpls_ttl = ttl(&table, log);
    let discard = table.read("discard", log, terms::discard);
    let label = label_list(&table, "label", log);
    let dev = table.string("dev", log).map(|d| d.value.to_owned());
    let hops = hops(&table, "label", &Shared { dev, label: label? }, log)?;
    let first = hops.first().and_then(|hop| hop.address);
    let prefix = table.read("prefix", log, |text| match text {
        "default" if first.is_some_and(|a| a.is_ipv6()) => Ok(ipnet::Ipv6Net::default().into()),
        "default" => Ok(ipnet::Ipv4Net::default().into()),
        text => terms::route_prefix(text),
    })?;
    let via_table = table.read("via-table", log, vrf::table_name);
    let via_table = via_table.map(|t| t.value);
    let target = discard_or(&table, discard, hops, (mpls_ttl, via_table), log)?;
    let prefix = prefix.value;
    Some((Dest { vrf, prefix }, target))
}

fn discard_or(
    table: &Table<'_>,
    discard: Option<At<Discard>>,
    hops: Vec<Hop>,
    (mpls_ttl, via_table): (Option<TtlMode>, Option<vrf::VrfName>),
    log: &mut Log<'_>,
) -> Option<Target> {
    if let Some(discard) = discard {
        let extra = [
            "via",
            "dev",
            "label",
            "mpls-ttl",
            "via-table",
            "entropy-label",
        ]
        .into_iter()
        .find(|name| table.get(name).is_some());
        if let Some(name) = extra {
            log.at(
                table.at,
                Key::Of(&table.key, name),
                "a route that drops has none; leave it or \"discard\" out",
            );
            return None;
        }
        return Some(Target::Discard(discard.value));
    }
    if hops.is_empty() {
        if table.get("discard").is_none() {
            log.at(
                table.at,
                Key::Of(&table.key, "via"),
                "is missing; write the neighbour's address, dev, or discard",
            );
        }
        return None;
    }
    let hops = typed(table, hops, log)?;
    Some(Target::Via {
        hops,
        mpls_ttl,
        via_table,
        entropy: table.boolean("entropy-label", log).unwrap_or(false),
    })
}

fn typed(table: &Table<'_>, hops: Vec<Hop>, log: &mut Log<'_>) -> Option<Vec<super::NextHop>> {
    match terms::next_hops(hops) {
        Ok(hops) => Some(hops),
        Err(message) => {
            let at = table.get("via").map_or(table.at, |via| via.span().start);
            log.at(at, Key::Of(&table.key, "via"), message);
            None
        }
    }
}

fn ttl(table: &Table<'_>, log: &mut Log<'_>) -> Option<TtlMode> {
    table
        .read("mpls-ttl", log, terms::ttl)
        .map(|mode| mode.value)
}

fn label<'t>(
    entries: &'t DeTable<'t>,
    at: usize,
    key: Key<'t>,
    log: &mut Log<'_>,
) -> Option<(Label, LabelRoute)> {
    let known = ["in", "action", "out", "via", "dev", "mpls-ttl", "vrf"];
    let table = Table::new(entries, at, key, &known, &[], log);
    let vrf = vrf::of(&table, log).map(|vrf| vrf.value);
    missing(&table, "in", log);
    missing(&table, "action", log);
    let incoming = table.number("in", 0, u32::MAX, log);
    let mpls_ttl = ttl(&table, log);
    let out = label_list(&table, "out", log);
    let dev = table.string("dev", log).map(|d| d.value.to_owned());
    let hops = hops(&table, "out", &Shared { dev, label: out? }, log)?;
    let action = table.string("action", log)?;
    let incoming = match terms::incoming(incoming?) {
        Ok(label) => label,
        Err(message) => {
            log.at(
                table.get("in").map_or(at, |v| v.span().start),
                Key::Of(&key, "in"),
                message,
            );
            return None;
        }
    };
    let refuse = |name: &str, message: &str, log: &mut Log<'_>| {
        let at = table.get(name).map_or(at, |v| v.span().start);
        log.at(at, Key::Of(&table.key, name), message);
        None
    };
    let bare = hops.iter().any(|hop| hop.label.is_empty());
    if vrf.is_some() && (action.value != "pop" || !hops.is_empty()) {
        return refuse(
            "vrf",
            "is for \"pop\" without a next hop: what was under the label is looked up in the VRF",
            log,
        );
    }
    let action = match action.value {
        "swap" if hops.is_empty() => {
            return refuse("via", "is missing; \"swap\" needs a next hop", log);
        }
        "swap" if bare => {
            return refuse(
                "out",
                "is missing; \"swap\" needs the labels that leave, such as [400]",
                log,
            );
        }
        "swap" => LabelAction::Forward(terms::swapped(typed(&table, hops, log)?)),
        "pop" if hops.iter().any(|hop| !hop.label.is_empty()) || table.get("out").is_some() => {
            return refuse(
                "out",
                "\"pop\" pushes no labels; leave this out, or use \"swap\"",
                log,
            );
        }
        "pop" if hops.is_empty() => LabelAction::PopLookup(vrf),
        "pop" => LabelAction::Forward(typed(&table, hops, log)?),
        other => {
            return refuse(
                "action",
                &format!("{other:?} is not \"swap\" or \"pop\""),
                log,
            );
        }
    };
    Some((incoming, LabelRoute { action, mpls_ttl }))
}
