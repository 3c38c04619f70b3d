//! A `Candidate` into a [`Valid`]: what only the whole can show. Addresses given twice, subnets that overlap, parents and
//! interfaces that are not there, next hops that are the router itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use api::grammar::nearest;
use ipnet::IpNet;

use super::error::ConfigError;
use super::model::{Interface, LabelAction, NextHop, RouteFile, Target, Valid};
use super::parse::{Candidate, InterfaceDraft};
use super::reader::{At, Log};
use super::vrf::{self, Dest, Vrf, VrfName};
use super::{bgp, ldp, leak, policy, routefile, terms};

/// Where the routes of a `route-file` come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Files<'a> {
    /// They are read.
    Read,
    /// What the running configuration has read from the same file is taken; a changed file is left for `config apply`.
    Keep(&'a Valid),
}

/// MTU of a port that says nothing.
const DEFAULT_MTU: u16 = 1500;
/// The least that IPv6 works with (RFC 8200 5).
const MIN_IPV6_MTU: u16 = 1280;
/// Most interfaces, VLANs counted.
const MAX_INTERFACES: usize = 1000;

impl Candidate {
    /// Checks the whole. `file` and `text` are where it was read from.
    pub(super) fn validate(
        self,
        file: &Path,
        text: &str,
        files: Files<'_>,
    ) -> Result<Valid, ConfigError> {
        let mut log = Log::new(file, text);
        let vrf_of: Vec<At<String>> = (self.interfaces.iter())
            .filter_map(|i| {
                let at = i.value.vrf.as_ref()?.at;
                let value = i.value.name.clone();
                Some(At { at, value })
            })
            .collect();
        let interfaces = interfaces(self.interfaces, &mut log);
        let mut valid = Valid {
            system: self.system,
            dataplane: self.dataplane,
            neighbor: self.neighbor,
            watch: self.watch,
            label_ranges: self.label_ranges,
            ..Valid::default()
        };
        let vrf_places = (self.vrfs.iter())
            .map(|v| (v.value.0.clone(), v.at))
            .collect();
        valid.vrfs = vrf::validate(self.vrfs, &mut log);
        let vrfs = valid.vrfs.clone();
        in_vrfs(&vrf_of, &vrfs, &interfaces, &mut log);
        let own = Own::new(&interfaces, &vrfs);
        if let Some(written) = &self.route_file {
            valid.route_file = route_file(written, file, files, &own, &mut log);
        }
        let leaks: HashMap<Dest, usize> = (self.routes.iter())
            .filter(|d| {
                matches!(
                    &d.value.1,
                    Target::Via {
                        via_table: Some(_),
                        ..
                    }
                )
            })
            .map(|d| (d.value.0.clone(), d.at))
            .collect();
        routes(self.routes, &own, &mut valid, &mut log);
        for (dest, message) in leak::loops(&valid, &interfaces) {
            let at = leaks.get(&dest).copied().unwrap_or_default();
            log.at(at, format!("route {dest}"), message);
        }
        labels(self.labels, &own, &mut valid, &mut log);
        neighbors(self.neighbors, &own, &mut valid, &mut log);
        let keep = match files {
            Files::Keep(running) => Some(&running.policy),
            Files::Read => None,
        };
        valid.rpki = self.policy.rpki().map(Arc::new);
        let around = policy::Around { file, keep };
        valid.policy = policy::validate(self.policy, &around, &mut log);
        let policies: Vec<&str> = valid.policy.names().collect();
        vrf::with_policies(&valid.vrfs, &vrf_places, &policies, &mut log);
        if let Some(draft) = self.bgp {
            let around = bgp::Around {
                file,
                has_id: valid.system.router_id.is_some(),
                interfaces: &interfaces,
                vrfs: &valid.vrfs,
                policies,
                srgb: valid.label_ranges.srgb,
                keep: match files {
                    Files::Keep(running) => running.bgp.as_deref(),
                    Files::Read => None,
                },
            };
            let bgp = bgp::validate(draft, &around, &mut log);
            vrf::matchable(&valid.vrfs, &vrf_places, &bgp, &mut log);
            valid.bgp = Some(Arc::new(bgp));
        } else {
            vrf::without_bgp(&valid.vrfs, &vrf_places, &mut log);
        }
        if let Some(draft) = self.ldp {
            let around = ldp::Around {
                file,
                router_id: valid.system.router_id,
                interfaces: &interfaces,
                keep: match files {
                    Files::Keep(running) => running.ldp.as_deref(),
                    Files::Read => None,
                },
            };
            valid.ldp = Some(Arc::new(ldp::validate(draft, &around, &mut log)));
        }
        valid.interfaces = interfaces;
        log.verdict(valid)
    }
}

/// What is the router's own.
pub(super) struct Own<'a> {
    /// By table.
    addresses: HashMap<(Option<&'a str>, IpAddr), &'a str>,
    interfaces: &'a BTreeMap<String, Interface>,
    vrfs: &'a BTreeMap<VrfName, Vrf>,
}

impl<'a> Own<'a> {
    fn new(interfaces: &'a BTreeMap<String, Interface>, vrfs: &'a BTreeMap<VrfName, Vrf>) -> Self {
        let mut addresses = HashMap::new();
        for interface in interfaces.values() {
            for net in &interface.addresses {
                let place = (interface.vrf.as_deref(), net.addr());
                addresses.insert(place, interface.name.as_str());
            }
        }
        Self {
            addresses,
            interfaces,
            vrfs,
        }
    }

    /// Whether there is a VRF of this name.
    pub(super) fn has_vrf(&self, name: &str) -> Result<(), String> {
        vrf::exists(self.vrfs, name)
    }

    /// The interface that has an address in the table where a next hop of a route of `vrf` is: of its interface, for a
    /// labelled one the global table, else that of the route.
    fn owner<'s>(
        &'s self,
        vrf: Option<&'s VrfName>,
        hop: &'s NextHop,
        address: IpAddr,
    ) -> Option<&'s str> {
        let table = match &hop.interface {
            Some(name) => self.interfaces.get(name)?.vrf.as_deref(),
            None if hop.pushes() => None,
            None => vrf.map(|vrf| &**vrf),
        };
        self.addresses.get(&(table, address)).copied()
    }

    /// Whether frames of a table can be sent to these next hops, which are looked up in another one if `via` names it.
    pub(super) fn check_table(
        &self,
        vrf: Option<&VrfName>,
        via: Option<&VrfName>,
        hops: &[NextHop],
    ) -> Result<(), String> {
        let Some(via) = via else {
            return self.check(vrf, hops);
        };
        let table = vrf::table_of(via);
        if let Some(name) = table {
            self.has_vrf(name).map_err(|e| format!("via-table: {e}"))?;
        }
        if hops.iter().any(|hop| hop.interface.is_some()) {
            return Err(
                "via-table says where a next hop is looked up, and one with an interface is not; leave dev or via-table out"
                    .into(),
            );
        }
        if hops.iter().any(NextHop::pushes) {
            return Err(
                "a next hop with labels is looked up in the global table anyway; leave label or via-table out"
                    .into(),
            );
        }
        self.check(table, hops)
    }

    /// Whether frames of a table can be sent to these next hops.
    pub(super) fn check(&self, vrf: Option<&VrfName>, hops: &[NextHop]) -> Result<(), String> {
        for hop in hops {
            if let Some(name) = &hop.interface {
                self.exists(name)?;
            }
            let Some(address) = hop.address else { continue };
            if let Some(name) = self.owner(vrf, hop, address) {
                return Err(format!(
                    "next hop {address} is the router's own address (interface {name}); name the neighbour's"
                ));
            }
            let link_local = hop
                .interface
                .as_ref()
                .and_then(|name| self.interfaces.get(name)?.link_local);
            if link_local.is_some_and(|own| own == address) {
                return Err(format!(
                    "next hop {address} is the router's own link-local address; name the neighbour's"
                ));
            }
        }
        Ok(())
    }

    /// Whether there is an interface of this name.
    fn exists(&self, name: &str) -> Result<(), String> {
        if self.interfaces.contains_key(name) {
            return Ok(());
        }
        let names: Vec<&str> = self.interfaces.keys().map(String::as_str).collect();
        let hint = match nearest(name, &names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if names.is_empty() => "no interface is configured".to_owned(),
            None if names.len() <= 8 => format!("the interfaces are {}", names.join(", ")),
            None => "trunkctl interface show lists them".to_owned(),
        };
        Err(format!("there is no interface {name:?}; {hint}"))
    }
}

fn interfaces(drafts: Vec<At<InterfaceDraft>>, log: &mut Log<'_>) -> BTreeMap<String, Interface> {
    if drafts.len() > MAX_INTERFACES {
        let message = format!(
            "{} interfaces; at most {MAX_INTERFACES} are possible",
            drafts.len()
        );
        log.at(drafts[MAX_INTERFACES].at, "interface", message);
    }
    devices(&drafts, log);
    addresses(&drafts, log);
    let mtus: BTreeMap<&str, u16> = drafts
        .iter()
        .map(|d| {
            (
                d.value.name.as_str(),
                d.value.mtu.as_ref().map_or(DEFAULT_MTU, |mtu| mtu.value),
            )
        })
        .collect();
    let mut out = BTreeMap::new();
    for draft in &drafts {
        let interface = interface(draft, &mtus, log);
        out.insert(interface.name.clone(), interface);
    }
    out
}

fn interface(
    draft: &At<InterfaceDraft>,
    mtus: &BTreeMap<&str, u16>,
    log: &mut Log<'_>,
) -> Interface {
    let At { at, value: draft } = draft;
    let key = format!("interface.{}", quoted(&draft.name));
    let parent = draft
        .vlan
        .as_ref()
        .map(|(parent, _)| (parent, mtus.get(parent.as_str()).copied()));
    if let Some((parent, None)) = parent {
        let names: Vec<&str> = mtus
            .keys()
            .copied()
            .filter(|name| !name.contains('.'))
            .collect();
        let hint = nearest(parent, &names).map_or_else(
            || format!("add [interface.{parent}] with its device"),
            |near| {
                format!(
                    "did you mean \"{near}.{}\"?",
                    draft.vlan.as_ref().map_or(0, |v| v.1)
                )
            },
        );
        log.at(
            *at,
            &key,
            format!("there is no interface {parent:?} for this VLAN; {hint}"),
        );
    }
    let above = parent.and_then(|(_, mtu)| mtu);
    let mtu = draft
        .mtu
        .as_ref()
        .map_or_else(|| above.unwrap_or(DEFAULT_MTU), |mtu| mtu.value);
    let mtu_at = draft.mtu.as_ref().map_or(*at, |mtu| mtu.at);
    if let (Some((parent, _)), Some(most)) = (&draft.vlan, above)
        && mtu > most
    {
        log.at(
            mtu_at,
            format!("{key}.mtu"),
            format!("{mtu} is more than the {most} of {parent}; raise that, or lower this"),
        );
    }
    let six = draft
        .addresses
        .iter()
        .any(|a| matches!(a.value, IpNet::V6(_)));
    if six && mtu < MIN_IPV6_MTU {
        let message = format!(
            "{mtu} is too little for IPv6, which needs {MIN_IPV6_MTU}; raise it, or remove the IPv6 addresses"
        );
        log.at(mtu_at, format!("{key}.mtu"), message);
    }
    let link_local = link_local(draft, &key, log);
    Interface {
        name: draft.name.clone(),
        device: draft.device.clone(),
        vlan: draft.vlan.clone(),
        vrf: draft.vrf.as_ref().map(|vrf| vrf.value.clone()),
        addresses: draft
            .addresses
            .iter()
            .map(|a| a.value)
            .filter(|net| !is_link_local(net))
            .collect(),
        link_local,
        mtu,
        mpls: draft.mpls,
        queues: draft.queues,
        up: draft.up,
    }
}

/// An address that is valid on its link only.
fn is_link_local(net: &IpNet) -> bool {
    matches!(net.addr(), IpAddr::V6(a) if a.is_unicast_link_local())
}

/// The configured link-local address, of which there is one at most.
fn link_local(draft: &InterfaceDraft, key: &str, log: &mut Log<'_>) -> Option<std::net::Ipv6Addr> {
    let mut found = None;
    for address in draft.addresses.iter().filter(|a| is_link_local(&a.value)) {
        if let IpAddr::V6(own) = address.value.addr()
            && found.replace(own).is_some()
        {
            let message = "an interface has one link-local address; leave this one out";
            log.at(address.at, format!("{key}.address"), message);
        }
    }
    found
}

fn quoted(name: &str) -> String {
    if name.contains('.') {
        format!("\"{name}\"")
    } else {
        name.to_owned()
    }
}

/// No device has two masters, and a loopback has no wire for VLANs.
fn devices(drafts: &[At<InterfaceDraft>], log: &mut Log<'_>) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    let loopback = |d: &InterfaceDraft| d.device.as_deref().is_some_and(|d| d == terms::LOOPBACK);
    for draft in in_order(drafts) {
        if let Some((parent, _)) = &draft.value.vlan
            && drafts
                .iter()
                .any(|d| d.value.name == *parent && loopback(&d.value))
        {
            let key = format!("interface.{}", quoted(&draft.value.name));
            let message = format!("{parent} is a loopback and carries no VLANs");
            log.at(
                draft.at,
                key,
                format!("{message}; give its addresses to {parent}, or to another loopback"),
            );
        }
        let Some(device) = (draft.value.device.as_ref()).filter(|_| !loopback(&draft.value)) else {
            continue;
        };
        let claim = terms::claim(device);
        match seen.get(&claim) {
            Some(other) => {
                let message =
                    format!("{claim} belongs to {other} already; each interface needs its own");
                log.at(
                    draft.at,
                    format!("interface.{}.device", quoted(&draft.value.name)),
                    message,
                );
            }
            None => {
                seen.insert(claim, &draft.value.name);
            }
        }
    }
}

/// As the file has them.
fn in_order(drafts: &[At<InterfaceDraft>]) -> Vec<&At<InterfaceDraft>> {
    let mut all: Vec<_> = drafts.iter().collect();
    all.sort_by_key(|draft| draft.at);
    all
}

/// Every address of a table once, and no subnet on two interfaces (a frame could not know where to go).
fn addresses(drafts: &[At<InterfaceDraft>], log: &mut Log<'_>) {
    let key = |name: &str| format!("interface.{}.address", quoted(name));
    // Each table for itself: VRFs may number alike.
    let table = |draft: &InterfaceDraft| draft.vrf.as_ref().map(|vrf| vrf.value.clone());
    let tables: BTreeSet<_> = drafts.iter().map(|d| table(&d.value)).collect();
    for of in tables {
        let of_table = in_order(drafts)
            .into_iter()
            .filter(|d| table(&d.value) == of);
        addresses_of_table(of_table, &key, log);
    }
}

fn addresses_of_table<'d>(
    drafts: impl Iterator<Item = &'d At<InterfaceDraft>>,
    key: &impl Fn(&str) -> String,
    log: &mut Log<'_>,
) {
    let mut owners: HashMap<IpAddr, &str> = HashMap::new();
    let mut subnets: Vec<(IpNet, &str, usize)> = Vec::new();
    for draft in drafts {
        let name = draft.value.name.as_str();
        for address in &draft.value.addresses {
            let own = address.value.addr();
            if matches!(own, IpAddr::V6(a) if a.is_unicast_link_local()) {
                continue;
            }
            if let Some(other) = owners.insert(own, name) {
                let place = if other == name {
                    "here".to_owned()
                } else {
                    format!("on {other}")
                };
                log.at(
                    address.at,
                    key(name),
                    format!("{own} is {place} already; an address is given once"),
                );
                continue;
            }
            subnets.push((address.value.trunc(), name, address.at));
        }
    }
    // Sorted, a subnet comes right after those that contain it.
    subnets.sort_by_key(|(net, _, at)| (net.network(), net.prefix_len(), *at));
    let mut around: Vec<(IpNet, &str, usize)> = Vec::new();
    for (net, name, at) in subnets {
        while around
            .last()
            .is_some_and(|(outer, ..)| !outer.contains(&net))
        {
            around.pop();
        }
        if let Some((outer, other, other_at)) = around.iter().find(|(_, other, _)| *other != name) {
            let (at, name, net, other, outer) = if at > *other_at {
                (at, name, net, *other, *outer)
            } else {
                (*other_at, *other, *outer, name, net)
            };
            let message = format!(
                "its subnet {net} overlaps {outer} of {other}; a subnet belongs to one interface"
            );
            log.at(at, key(name), message);
        }
        around.push((net, name, at));
    }
}

fn route_file(
    written: &At<String>,
    config: &Path,
    files: Files<'_>,
    own: &Own<'_>,
    log: &mut Log<'_>,
) -> Option<Arc<RouteFile>> {
    let directory = config.parent().unwrap_or(Path::new(""));
    let path = directory.join(&written.value);
    let kept = match files {
        Files::Keep(running) => running.route_file.as_ref().filter(|f| f.path == path),
        Files::Read => None,
    };
    let file = match kept {
        Some(file) => Ok(Arc::clone(file)),
        None => routefile::read(&written.value, &path).map(Arc::new),
    };
    match file.and_then(|file| file.check(own).map(|()| file)) {
        Ok(file) => Some(file),
        Err(routefile::Error::Io(error)) => {
            let message = format!(
                "cannot read {}: {error}; correct the name, or leave it out",
                path.display()
            );
            log.at(written.at, "route-file", message);
            None
        }
        Err(routefile::Error::Lines(problems)) => {
            log.others(problems);
            None
        }
    }
}

/// Routes that do the same share one target.
#[derive(Default)]
struct Pool(HashMap<Arc<Target>, ()>);

impl Pool {
    fn share(&mut self, target: Target) -> Arc<Target> {
        if let Some((have, ())) = self.0.get_key_value(&target) {
            return Arc::clone(have);
        }
        let target = Arc::new(target);
        self.0.insert(Arc::clone(&target), ());
        target
    }
}

/// Interfaces are in VRFs that there are, and take no labels there.
fn in_vrfs(
    named: &[At<String>],
    vrfs: &BTreeMap<VrfName, Vrf>,
    interfaces: &BTreeMap<String, Interface>,
    log: &mut Log<'_>,
) {
    for At { at, value: name } in named {
        let Some(interface) = interfaces.get(name) else {
            continue;
        };
        let key = format!("interface.{}", quoted(name));
        let vrf = interface.vrf.as_deref().unwrap_or_default();
        if let Err(message) = vrf::exists(vrfs, vrf) {
            log.at(*at, format!("{key}.vrf"), message);
        }
        if interface.mpls {
            let message = format!(
                "labels are those of the whole router, so a station in VRF {vrf} could reach every table by them; leave \"mpls\" or \"vrf\" out"
            );
            log.at(*at, format!("{key}.mpls"), message);
        }
    }
}

fn routes(drafts: Vec<At<(Dest, Target)>>, own: &Own<'_>, valid: &mut Valid, log: &mut Log<'_>) {
    let mut pool = Pool::default();
    let mut places: HashMap<Dest, usize> = HashMap::with_capacity(drafts.len());
    for At {
        at,
        value: (dest, target),
    } in drafts
    {
        let key = format_args!("route {dest}").to_string();
        if let Some(vrf) = &dest.vrf
            && let Err(message) = own.has_vrf(vrf)
        {
            log.at(at, key, message);
            continue;
        }
        if let Some(first) = places.insert(dest.clone(), at) {
            let line = log.line(first);
            let message = format!(
                "is there twice, first in line {line}; several next hops go into one route's via"
            );
            log.at(at, key, message);
            continue;
        }
        if valid
            .route_file
            .as_ref()
            .is_some_and(|file| file.get(&dest).is_some())
        {
            let name = valid.route_file.as_ref().map_or("", |file| &file.written);
            log.at(
                at,
                key,
                format!("is in {name} too; a route is written once"),
            );
            continue;
        }
        if let Err(message) = check_target(own, &dest, &target) {
            log.at(at, key, message);
        }
        valid.routes.insert(dest, pool.share(target));
    }
}

/// Whether a route to `dest` can do this.
pub(super) fn check_target(own: &Own<'_>, dest: &Dest, target: &Target) -> Result<(), String> {
    let Target::Via {
        hops, via_table, ..
    } = target
    else {
        return Ok(());
    };
    own.check_table(dest.vrf.as_ref(), via_table.as_ref(), hops)?;
    fits_family(hops, matches!(dest.prefix, IpNet::V6(_)))
}

/// Explicit null at the bottom of a stack tells the packet's version (RFC 3032 2.1).
pub(super) fn fits_family(hops: &[NextHop], six: bool) -> Result<(), String> {
    let (wrong, right) = if six {
        (net::Label::IPV4_EXPLICIT_NULL, 2)
    } else {
        (net::Label::IPV6_EXPLICIT_NULL, 0)
    };
    let version = if six { "IPv6" } else { "IPv4" };
    match hops.iter().any(|hop| hop.label.last() == Some(&wrong)) {
        true => Err(format!(
            "label {wrong} is the explicit null of the other protocol; for {version} it is {right}"
        )),
        false => Ok(()),
    }
}

fn labels(
    drafts: Vec<At<(net::Label, super::LabelRoute)>>,
    own: &Own<'_>,
    valid: &mut Valid,
    log: &mut Log<'_>,
) {
    let mut places: HashMap<net::Label, usize> = HashMap::new();
    for At {
        at,
        value: (label, route),
    } in drafts
    {
        let key = format!("label {label}");
        if let Some(first) = places.insert(label, at) {
            let line = log.line(first);
            log.at(
                at,
                key,
                format!("is there twice, first in line {line}; several next hops go into one via"),
            );
            continue;
        }
        if let Err(message) = valid.label_ranges.check_static(label) {
            log.at(at, &key, message);
        }
        if let LabelAction::PopLookup(Some(vrf)) = &route.action
            && let Err(message) = own.has_vrf(vrf)
        {
            log.at(at, &key, message);
        }
        if let LabelAction::Forward(hops) = &route.action {
            let gone = hops.iter().find(|hop| hop.address.is_none());
            let verdict = match gone {
                Some(hop) => Err(format!(
                    "next hop {} has no address; a labelled frame needs a neighbour (via)",
                    terms::name(hop)
                )),
                None => own.check(None, hops),
            };
            if let Err(message) = verdict {
                log.at(at, key, message);
            }
        }
        valid.labels.insert(label, Arc::new(route));
    }
}

fn neighbors(
    drafts: Vec<At<(String, IpAddr, net::MacAddr)>>,
    own: &Own<'_>,
    valid: &mut Valid,
    log: &mut Log<'_>,
) {
    for At {
        at,
        value: (dev, address, mac),
    } in drafts
    {
        let key = format!("neighbor.static {address}");
        if let Err(message) = own.exists(&dev) {
            log.at(at, key, message);
            continue;
        }
        let table = own.interfaces.get(&dev).and_then(|i| i.vrf.as_deref());
        if let Some(name) = own.addresses.get(&(table, address)) {
            log.at(
                at,
                key,
                format!("is the router's own address (interface {name})"),
            );
            continue;
        }
        if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
            log.at(at, key, "is not the address of a neighbour");
            continue;
        }
        if valid
            .neighbors
            .insert((dev.clone(), address), mac)
            .is_some()
        {
            log.at(at, key, format!("is there twice for {dev}"));
        }
    }
}
