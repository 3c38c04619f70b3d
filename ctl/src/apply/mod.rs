//! From a plan to a changed router, all or nothing.
//!
//! Two halves (HABITS 21). What can fail, and is seen by nobody yet, comes first: devices are opened, TAPs made, MTUs
//! and addresses changed, each noted so that it can be undone. Then what cannot fail: interfaces are published, tables
//! written. A device that is made anew (another queue count, say) must be closed before it can be opened again: it is
//! opened as it was if the new way fails.
//!
//! Routes and labels of a great plan are taken up in slices by the control loop ([`Backlog`]), so that a million of them
//! does not keep neighbours and timers waiting; a later plan first sees to the end of an earlier one.

mod capacity;
pub(crate) mod translate;

use std::net::IpAddr;
use std::time::Instant;

use dataplane::port::{Device, PortSpec, without_secret};
use net::{IfaceId, PortId, VrfId};
use tracing::{debug, error, info, warn};

use crate::bgp;
use crate::config::{self, Forget, Plan};
use crate::control::router::{Iface, OpenPort, Router};
use crate::host::Host;
use crate::rib::SetId;
use crate::{labels, ldp};

/// Interfaces at most: their ids are below this.
const MAX_IFACES: u16 = 1024;

/// The tables of a plan that are still to be taken up.
#[derive(Debug)]
pub(crate) struct Backlog {
    plan: Box<Plan>,
    labels: usize,
    routes: usize,
}

/// How to take back what a plan has done so far.
#[derive(Debug)]
enum Undo {
    /// It was made.
    Added(String),
    /// It was changed from this.
    Changed(config::Interface),
    /// It was removed, and was this.
    Removed(config::Interface),
}

impl Router {
    /// Carries out a plan.
    ///
    /// # Errors
    /// Cause and remedy; the router is as it was then.
    pub(crate) fn apply(&mut self, plan: Box<Plan>, now: Instant) -> Result<(), String> {
        while !self.backlog.is_empty() {
            self.backlog_step(usize::MAX);
        }
        let forgotten = self.learned(&plan.forgotten)?;
        if let Some(settings) = &plan.dataplane {
            self.settings = settings.clone();
        }
        if !plan.interfaces_added.is_empty() {
            self.start(&plan)?;
        }
        self.number_vrfs(plan.next.vrfs.keys());
        labels::check_static(&self.labels, &plan.labels, now)?;
        if let Some(dp) = &mut self.dp {
            let vrfs = &self.vrfs;
            let vrf_id = |name: &str| vrfs.get(name).copied();
            capacity::check(&plan, &self.running, &vrf_id, dp.fib())?;
        }
        let mut undo = Vec::new();
        let reserved = self.reserve(&plan, &mut undo);
        let prepared = reserved
            .and_then(|()| self.ldp.prepare(&plan.next))
            // Last, as nothing takes back what it does but itself.
            .and_then(|ldp| Ok((self.bgp.prepare(&plan.next)?, ldp)));
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(cause) => {
                self.take_back(undo, now);
                self.release_nics();
                return Err(cause);
            }
        };
        self.commit(plan, prepared, now);
        self.release_nics();
        for (iface, address) in forgotten {
            self.neigh.flush(now, iface, address, &mut self.acts);
        }
        Ok(())
    }

    /// The learned neighbours that are meant.
    fn learned(&self, all: &[Forget]) -> Result<Vec<(IfaceId, IpAddr)>, String> {
        let mut found = Vec::with_capacity(all.len());
        for what in all {
            let dev = what.interface.as_deref();
            let here =
                |id: IfaceId| dev.is_none_or(|d| self.names.get(&id).is_some_and(|n| n == d));
            let mut with = (self.neigh.learned(what.address)).filter(|id| here(*id));
            match (with.next(), with.next()) {
                (Some(id), None) => found.push((id, what.address)),
                (None, _) => {
                    return Err(format!(
                        "neigh {what}: no such neighbour; \"trunkctl neigh show\" lists them"
                    ));
                }
                (Some(_), Some(_)) => {
                    return Err(format!(
                        "neigh {what}: is on several interfaces; say which: dev NAME"
                    ));
                }
            }
        }
        Ok(found)
    }

    /// Starts the EAL, the workers and the kernel's side, if they do not run yet.
    fn start(&mut self, plan: &Plan) -> Result<(), String> {
        if self.host.is_none() {
            self.host = Some(Host::open().map_err(|e| e.to_string())?);
        }
        if self.dp.is_none() {
            let cards: Vec<String> = (plan.next.interfaces.values())
                .filter_map(pci_address)
                .collect();
            let dp = self.machine.start(&self.settings, &cards)?;
            let fd = std::os::fd::AsRawFd::as_raw_fd(&dp.wake_fd());
            self.registry
                .register(
                    &mut mio::unix::SourceFd(&fd),
                    mio::Token(crate::control::tokens::PUNTS),
                    mio::Interest::READABLE,
                )
                .map_err(|e| format!("can't watch the workers: {e}"))?;
            self.dp = Some(dp);
        }
        Ok(())
    }

    /// Does what can fail. Nothing of it shows in the tables, or on the wire, unless an interface had to make room.
    fn reserve(&mut self, plan: &Plan, undo: &mut Vec<Undo>) -> Result<(), String> {
        for old in plan
            .interfaces_removed
            .iter()
            .filter(|old| in_the_way(old, plan))
        {
            self.remove_interface(&old.name);
            undo.push(Undo::Removed(old.clone()));
        }
        for new in &plan.interfaces_added {
            self.add_interface(new)?;
            undo.push(Undo::Added(new.name.clone()));
        }
        for (old, new) in &plan.interfaces_changed {
            undo.push(Undo::Changed(old.clone()));
            self.prepare_change(new)?;
        }
        Ok(())
    }

    fn take_back(&mut self, undo: Vec<Undo>, now: Instant) {
        for step in undo.into_iter().rev() {
            let done = match &step {
                Undo::Added(name) => {
                    self.remove_interface(name);
                    Ok(())
                }
                Undo::Changed(old) => self.prepare_change(old),
                Undo::Removed(old) => self
                    .add_interface(old)
                    .map(|()| self.announce(&old.name, now)),
            };
            if let Err(e) = done {
                error!("a refused change could not be taken back in full: {e}");
            }
        }
        self.publish();
    }

    /// Does what cannot fail.
    fn commit(&mut self, plan: Box<Plan>, prepared: (bgp::Prepared, ldp::Prepared), now: Instant) {
        for old in plan
            .interfaces_removed
            .iter()
            .filter(|old| !in_the_way(old, &plan))
        {
            self.remove_interface(&old.name);
        }
        if let Some(p) = plan.neighbor {
            self.neigh.set_params(translate::neighbor_params(&p));
        }
        for (_, new) in &plan.interfaces_changed {
            self.change_interface(new);
        }
        self.publish();
        let changed = plan.interfaces_changed.iter().map(|(_, new)| new);
        for i in changed.chain(&plan.interfaces_added) {
            self.announce(&i.name, now);
        }
        for e in &plan.neighbors {
            let (name, address) = &e.key;
            let Some(id) = self.ifaces.get(name).map(|i| i.id) else {
                continue;
            };
            match e.to {
                Some(mac) => self
                    .neigh
                    .add_static(now, id, *address, mac, &mut self.acts),
                None => drop(self.neigh.del_static(now, id, *address, &mut self.acts)),
            }
        }
        self.labels.set_ranges(&plan.next.label_ranges);
        labels::commit_static(&mut self.labels, &plan.labels, now);
        self.running = plan.next.clone();
        let (bgp, rib, links) = self.bgp_parts();
        bgp.apply(&plan.next, prepared.0, rib, &links, now);
        let (ldp, mut around) = self.ldp_parts();
        ldp.apply(&plan.next, prepared.1, &mut around, now);
        self.backlog.push_back(Backlog {
            plan,
            labels: 0,
            routes: 0,
        });
    }

    /// Takes up at most `budget` routes and labels.
    pub(crate) fn backlog_step(&mut self, budget: usize) {
        let Some(mut b) = self.backlog.pop_front() else {
            return;
        };
        let ttl = translate::ttl(self.settings.mpls_ttl);
        let ids = |name: &str| self.ifaces.get(name).map(|i| i.id);
        let vrfs = &self.vrfs;
        let tables = |name: &str| vrfs.get(name).copied().unwrap_or(VrfId::GLOBAL);
        let ttl_of = |vrf: Option<&str>| {
            let own = vrf.and_then(|vrf| b.plan.next.vrfs.get(vrf)?.mpls_ttl);
            own.map_or(ttl, translate::ttl)
        };
        let labels = &b.plan.labels[b.labels..];
        let labels = &labels[..labels.len().min(budget)];
        for e in labels {
            let spec = e.to.as_ref().map(|l| {
                let vrf = match &l.action {
                    config::LabelAction::PopLookup(vrf) => vrf.as_deref(),
                    config::LabelAction::Forward(_) => None,
                };
                translate::label(l, self.vrf_id(vrf), ttl_of(vrf), &ids)
            });
            self.rib.set_label(e.key, spec);
        }
        b.labels += labels.len();
        let routes = &b.plan.routes[b.routes..];
        let routes = &routes[..routes.len().min(budget - labels.len())];
        let mut last: Option<(&std::sync::Arc<config::Target>, VrfId, SetId)> = None;
        for e in routes {
            let name = e.key.vrf.as_deref();
            // Of a VRF that goes, the number is still known.
            let vrf = self.vrf_id(name);
            let set = match (&e.to, &last) {
                (None, _) => None,
                // Neighbouring routes of a great file mostly share one target.
                (Some(t), Some((of, at, set))) if std::sync::Arc::ptr_eq(of, t) && *at == vrf => {
                    Some(*set)
                }
                (Some(t), _) => {
                    let spec = translate::route(t, (vrf, ttl_of(name)), &ids, &tables);
                    let set = self.rib.paths(&spec);
                    last = Some((t, vrf, set));
                    Some(set)
                }
            };
            self.rib.set_static_to(vrf, e.key.prefix, set);
        }
        b.routes += routes.len();
        if b.labels < b.plan.labels.len() || b.routes < b.plan.routes.len() {
            self.backlog.push_front(b);
        } else {
            self.new_ttls(&b.plan);
            // Nothing names them any more.
            self.vrfs
                .retain(|name, _| b.plan.next.vrfs.contains_key(name));
        }
    }
}

/// The TTL mode that a VRF gives to what does not say its own.
fn ttl_mode(vrf: Option<&config::Vrf>) -> Option<config::TtlMode> {
    vrf.and_then(|vrf| vrf.mpls_ttl)
}

impl Router {
    /// Takes the routes and labels of VRFs up again whose TTL mode is another now; they themselves have not changed.
    fn new_ttls(&mut self, plan: &Plan) {
        let default = translate::ttl(self.settings.mpls_ttl);
        let changed = plan
            .vrfs
            .iter()
            .filter(|e| e.from.is_some() && ttl_mode(e.from.as_ref()) != ttl_mode(e.to.as_ref()));
        for e in changed.filter(|e| e.to.is_some()) {
            let vrf = self.vrf_id(Some(&e.key));
            let ttl = ttl_mode(e.to.as_ref()).map_or(default, translate::ttl);
            self.rib.set_leaving_ttl(vrf, ttl);
            let ids = |name: &str| self.ifaces.get(name).map(|i| i.id);
            let vrfs = &self.vrfs;
            let tables = |name: &str| vrfs.get(name).copied().unwrap_or(VrfId::GLOBAL);
            for (label, l) in &plan.next.labels {
                if l.action == config::LabelAction::PopLookup(Some(e.key.clone())) {
                    let spec = translate::label(l, vrf, ttl, &ids);
                    self.rib.set_label(*label, Some(spec));
                }
            }
            let own = |d: &config::Dest| d.vrf.as_ref() == Some(&e.key);
            for (dest, target) in plan.next.all_routes().filter(|(d, _)| own(d)) {
                let spec = translate::route(target, (vrf, ttl), &ids, &tables);
                self.rib.set_static(vrf, dest.prefix, Some(spec));
            }
        }
    }
}

/// Must it go before what is added can come? When that has its name, or stands on its device.
fn in_the_way(old: &config::Interface, plan: &Plan) -> bool {
    let parent = plan
        .interfaces_removed
        .iter()
        .find(|p| p.name == old.port_name());
    let device = parent.and_then(|p| p.device.as_ref());
    let device = device.filter(|d| *d != config::LOOPBACK);
    let clashes = |new: &config::Interface| {
        new.name == old.name || (device.is_some() && new.device.as_ref() == device)
    };
    plan.interfaces_added.iter().any(clashes)
}

/// The PCI address of the NIC that an interface is on.
pub(crate) fn pci_address(conf: &config::Interface) -> Option<String> {
    match conf.device.as_ref()?.parse() {
        Ok(Device::Pci { address, .. }) => Some(address),
        _ => None,
    }
}

// ---- one interface ----

impl Router {
    /// Makes an interface: its port (unless it is a VLAN of one that is there) and its TAP.
    fn add_interface(&mut self, conf: &config::Interface) -> Result<(), String> {
        let id = self.free_id(&conf.name)?;
        let (port, opened) = self.port_for(conf)?;
        let made = self.add_on_port(id, conf, port);
        if made.is_err() && opened {
            self.close_port(conf);
        }
        made
    }

    /// The port of an interface, opened if it is not; and whether it was opened now.
    pub(crate) fn port_for(&mut self, conf: &config::Interface) -> Result<(PortId, bool), String> {
        let port_name = conf.port_name();
        if let Some(p) = self.ports.get(port_name) {
            let id = p.id;
            self.raise_port_mtu(id, conf)?;
            return Ok((id, false));
        }
        let device = match &conf.device {
            Some(d) => d
                .parse::<Device>()
                .map_err(|e| format!("interface {}: {e}", conf.name))?,
            None => {
                return Err(format!(
                    "interface {}: there is no interface {port_name} to stand on",
                    conf.name
                ));
            }
        };
        let named = |e: String| format!("interface {}: {e}", conf.name);
        self.machine.prepare_device(&device).map_err(named)?;
        let dp = self.dp.as_mut().ok_or("no dataplane runs")?;
        let told = matches!(device, Device::AfPacket { .. } | Device::AfXdp { .. });
        let spec = PortSpec {
            queues: conf.queues,
            mtu: conf.mtu,
            ..PortSpec::new(device)
        };
        let id = dp.open_port(&spec).map_err(|e| named(e.to_string()))?;
        if let Some(port) = dp.port_mut(id) {
            for line in port.warnings() {
                warn!(interface = conf.name.as_str(), "{line}");
            }
            let wakes_by = port.wakes_by();
            info!(interface = conf.name.as_str(), %wakes_by, "port opened");
        }
        if tracing::enabled!(tracing::Level::DEBUG) {
            for z in dataplane::eal::zones() {
                debug!(
                    "memory {} at {:x}, {} bytes, node {}",
                    z.name, z.at, z.len, z.node
                );
            }
        }
        let link = dp.link(id).unwrap_or_default();
        let open = OpenPort {
            id,
            up: link.up,
            speed: link.mbps,
            told,
        };
        self.ports.insert(conf.name.clone(), open);
        Ok((id, true))
    }

    /// A port takes the packets of every interface on it.
    fn raise_port_mtu(&mut self, id: PortId, conf: &config::Interface) -> Result<(), String> {
        let Some(port) = self.dp.as_mut().and_then(|dp| dp.port_mut(id)) else {
            return Ok(());
        };
        if port.mtu() < conf.mtu {
            port.set_mtu(conf.mtu)
                .map_err(|e| format!("interface {}: {e}", conf.name))?;
        }
        Ok(())
    }

    fn add_on_port(
        &mut self,
        id: IfaceId,
        conf: &config::Interface,
        port: PortId,
    ) -> Result<(), String> {
        let dp = self.dp.as_mut().ok_or("no dataplane runs")?;
        let mac = dp
            .port_info(port)
            .map(|p| p.mac)
            .ok_or("the port has gone")?;
        let link = self.ports.get(conf.port_name()).is_some_and(|p| p.up);
        let iface = Iface {
            id,
            conf: conf.clone(),
            port,
            mac,
            link_local: conf.link_local.unwrap_or_else(|| mac.eui64_link_local()),
            vrf: self.vrf_id(conf.vrf.as_deref()),
            up: conf.up && link,
        };
        let host = self.host.as_mut().ok_or("no kernel side")?;
        host.add(id, Router::host_spec(&iface))
            .map_err(|e| e.to_string())?;
        let tap = host
            .get(id)
            .map(|h| h.tap().name().to_owned())
            .unwrap_or_default();
        if let Err(e) = self.watch(id) {
            if let Some(host) = &mut self.host {
                host.remove(id);
            }
            return Err(format!("interface {}: can't watch its TAP: {e}", conf.name));
        }
        if let Some(dp) = &mut self.dp {
            dp.reset_counts(id);
        }
        let (link, device) = (
            if link { "up" } else { "down" },
            without_secret(conf.device.as_deref().unwrap_or("vlan")),
        );
        info!(interface = conf.name.as_str(), %device, tap, %mac, link, "interface added");
        self.names.insert(id, conf.name.clone());
        self.last_ids.insert(conf.name.clone(), id);
        self.ifaces.insert(conf.name.clone(), iface);
        Ok(())
    }

    /// An interface as it will be with another configuration.
    fn changed(&self, new: &config::Interface) -> Option<Iface> {
        let old = self.ifaces.get(&new.name)?;
        let link = self.ports.get(new.port_name()).is_some_and(|p| p.up);
        let link_local = new.link_local.unwrap_or_else(|| old.mac.eui64_link_local());
        Some(Iface {
            conf: new.clone(),
            link_local,
            vrf: self.vrf_id(new.vrf.as_deref()),
            up: new.up && link,
            ..old.clone()
        })
    }

    /// Of a change in place (addresses, MTU, `mpls`, `up`, `vrf`), what can fail.
    fn prepare_change(&mut self, new: &config::Interface) -> Result<(), String> {
        let Some(changed) = self.changed(new) else {
            return Ok(());
        };
        self.raise_port_mtu(changed.port, new)?;
        let vrf = self
            .host
            .as_ref()
            .and_then(|h| Some(h.get(changed.id)?.vrf()));
        if vrf.is_some_and(|vrf| vrf != changed.vrf) {
            return self.move_tap(&changed);
        }
        match &mut self.host {
            Some(host) => host
                .change(changed.id, &Router::host_spec(&changed))
                .map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }

    /// Makes the TAP of an interface anew, in the namespace of another VRF.
    fn move_tap(&mut self, to: &Iface) -> Result<(), String> {
        self.drop_tap(to.id);
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        host.add(to.id, Router::host_spec(to))
            .map_err(|e| e.to_string())?;
        self.watch(to.id)
            .map_err(|e| format!("interface {}: can't watch its TAP: {e}", to.conf.name))
    }

    fn drop_tap(&mut self, id: IfaceId) {
        self.readable.remove(&id);
        if let Some(host) = &mut self.host {
            if let Some(h) = host.get(id) {
                let fd = std::os::fd::AsRawFd::as_raw_fd(h.tap());
                let _ = self.registry.deregister(&mut mio::unix::SourceFd(&fd));
            }
            host.remove(id);
        }
    }

    /// The rest of a change in place.
    fn change_interface(&mut self, new: &config::Interface) {
        if let Some(changed) = self.changed(new) {
            info!(interface = new.name.as_str(), "interface changed");
            self.ifaces.insert(new.name.clone(), changed);
        }
    }

    /// Takes an interface out: first nobody sends to it or takes from it, then its port is closed.
    fn remove_interface(&mut self, name: &str) {
        let Some(old) = self.ifaces.remove(name) else {
            return;
        };
        self.names.remove(&old.id);
        self.gone.remove(name);
        if let Some(dp) = &mut self.dp {
            dp.fib().interface_down(old.id);
        }
        self.publish();
        self.neigh.interface_down(old.id, &mut self.acts);
        self.rib.remove_interface(old.id);
        self.settle();
        if let Some(dp) = &mut self.dp {
            // Nothing stands on it any more; its id may come to another.
            dp.fib().interface_up(old.id);
        }
        self.drop_tap(old.id);
        if old.conf.vlan.is_none() {
            self.close_port(&old.conf);
        }
        info!(interface = name, "interface removed");
    }

    pub(crate) fn close_port(&mut self, conf: &config::Interface) {
        let name = conf.name.as_str();
        let (Some(p), Some(dp)) = (self.ports.remove(name), &mut self.dp) else {
            return;
        };
        if let Err(e) = dp.close_port(p.id) {
            error!(interface = name, "{e}");
            // The driver still has it: to take it away would block for ever.
            self.stuck.extend(pci_address(conf));
            return;
        }
        debug!(interface = name, "port closed");
    }

    /// Gives the NICs back to the kernel that no interface is on any more. Not before a plan is carried out: a NIC whose
    /// interface is only made anew stays, and nobody on this machine sees it come and go.
    pub(crate) fn release_nics(&mut self) {
        let there = |i: &&Iface| !self.gone.contains_key(&i.conf.name);
        let here = self.ifaces.values().filter(there);
        let on = here.filter_map(|i| pci_address(&i.conf));
        let used = on.chain(self.stuck.iter().cloned()).collect();
        self.machine.release_nics(&used);
    }

    /// The id that the name had last, or one that no name holds, or any that is free.
    fn free_id(&self, name: &str) -> Result<IfaceId, String> {
        let free = |id: &IfaceId| !self.names.contains_key(id);
        if let Some(id) = self.last_ids.get(name).filter(|id| free(id)) {
            return Ok(*id);
        }
        let fresh = |id: &IfaceId| free(id) && !self.last_ids.values().any(|l| l == id);
        let all = || (0..MAX_IFACES).map(IfaceId);
        all()
            .find(fresh)
            .or_else(|| all().find(free))
            .ok_or_else(|| {
                format!(
                    "interface {name}: there are {MAX_IFACES} interfaces already; remove one first"
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interface;

    fn iface(name: &str, device: &str) -> Interface {
        let vlan = name
            .split_once('.')
            .and_then(|(p, v)| Some((p.to_owned(), v.parse().ok()?)));
        Interface {
            name: name.into(),
            device: (!device.is_empty()).then(|| device.to_owned()),
            vlan,
            vrf: None,
            addresses: vec![],
            link_local: None,
            mtu: 1500,
            mpls: false,
            queues: None,
            up: true,
        }
    }

    /// A router with interfaces `a` and `b`, without ports, and what it has learned on them.
    fn router(now: Instant) -> (mio::Poll, Router) {
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let neigh = crate::neigh::Neighbours::new(crate::neigh::Params::default());
        let mut r = Router::new(registry, neigh).unwrap();
        for (n, name) in [(0, "a"), (1, "b")] {
            let (id, mac) = (IfaceId(n), net::MacAddr([2, 0, 0, 0, 0, n as u8]));
            let conf = Interface {
                addresses: vec![format!("10.0.{n}.1/16").parse().unwrap()],
                ..iface(name, "")
            };
            let link_local = mac.eui64_link_local();
            let i = Iface {
                id,
                conf,
                port: PortId(n),
                mac,
                link_local,
                vrf: VrfId::GLOBAL,
                up: true,
            };
            r.names.insert(id, name.into());
            r.ifaces.insert(name.into(), i);
            r.announce(name, now);
        }
        (poll, r)
    }

    fn forget(r: &mut Router, now: Instant, what: &[(&str, &str)]) -> Result<(), String> {
        let one = |(address, dev): &(&str, &str)| Forget {
            interface: (!dev.is_empty()).then(|| (*dev).to_owned()),
            address: address.parse().unwrap(),
        };
        let plan = Plan {
            forgotten: what.iter().map(one).collect(),
            ..Plan::default()
        };
        r.apply(Box::new(plan), now)
    }

    #[test]
    fn learned_neighbours_are_forgotten_all_or_none() {
        let now = Instant::now();
        let (_poll, mut r) = router(now);
        for (id, address) in [(0, "10.0.0.7"), (0, "10.0.0.8"), (1, "10.0.0.8")] {
            let address = address.parse().unwrap();
            r.neigh
                .resolve(now, IfaceId(id), address, None, &mut r.acts);
        }
        let fixed = ("10.0.0.9".parse().unwrap(), net::MacAddr([2; 6]));
        r.neigh
            .add_static(now, IfaceId(0), fixed.0, fixed.1, &mut r.acts);
        let list = "\"trunkctl neigh show\" lists them";
        let refused = [
            (
                ("10.0.0.6", ""),
                format!("neigh 10.0.0.6: no such neighbour; {list}"),
            ),
            (
                ("10.0.0.7", "b"),
                format!("neigh 10.0.0.7 dev b: no such neighbour; {list}"),
            ),
            (
                ("10.0.0.7", "c"),
                format!("neigh 10.0.0.7 dev c: no such neighbour; {list}"),
            ),
            (
                ("10.0.0.9", "a"),
                format!("neigh 10.0.0.9 dev a: no such neighbour; {list}"),
            ),
            (
                ("10.0.0.8", ""),
                "neigh 10.0.0.8: is on several interfaces; say which: dev NAME".into(),
            ),
        ];
        for (what, why) in refused {
            assert_eq!(forget(&mut r, now, &[("10.0.0.7", ""), what]), Err(why));
            assert_eq!(r.neigh.entries().count(), 4, "{what:?}");
        }
        forget(&mut r, now, &[("10.0.0.7", ""), ("10.0.0.8", "b")]).unwrap();
        let left: Vec<_> = r.neigh.entries().map(|n| (n.iface.0, n.addr)).collect();
        assert_eq!(left, [(0, "10.0.0.8".parse().unwrap()), (0, fixed.0)]);
    }

    #[test]
    fn a_tap_is_down_by_configuration_only() {
        let (_poll, r) = router(Instant::now());
        let mut i = r.ifaces["a"].clone();
        i.up = false; // the link
        assert!(Router::host_spec(&i).up);
        i.conf.up = false;
        assert!(!Router::host_spec(&i).up);
    }

    #[test]
    fn what_is_in_the_way_goes_first() {
        let plan = Plan {
            interfaces_removed: vec![
                iface("wan0.7", ""),
                iface("lan0.9", ""),
                iface("wan0", "af_packet:a"),
                iface("lan0", "af_packet:b"),
                iface("old", "af_packet:c"),
                iface("anew", "af_packet:d"),
            ],
            interfaces_added: vec![
                iface("other", "af_packet:a"),
                iface("anew", "af_packet:e"),
                iface("lan1.9", ""),
            ],
            ..Plan::default()
        };
        let first: Vec<&str> = (plan.interfaces_removed.iter())
            .filter(|i| in_the_way(i, &plan))
            .map(|i| i.name.as_str())
            .collect();
        assert_eq!(first, ["wan0.7", "wan0", "anew"]);
    }
}
