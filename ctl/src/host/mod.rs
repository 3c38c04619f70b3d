//! The kernel's side of the appliance: a TAP for each interface, with its addresses, and the rules that lead the
//! kernel's answers back to it.
//!
//! The kernel terminates what is addressed to the router (TCP, ICMP echo, UDP). For that each interface has a TAP that
//! carries its addresses; ARP is off on it, so the kernel hands over IP packets without asking for a MAC address, and the
//! forwarding tables find their way. A far destination needs a route in the kernel all the same: a policy rule for each
//! address, `from ADDRESS lookup 7000+IFINDEX`, and in that table a default route out of the TAP.
//!
//! An interface in a VRF has its TAP in a network namespace of that VRF alone, so that two VRFs may have the same addresses and
//! no program serves another VRF by mistake (Linux's own VRF devices would do, but few kernels have them). The namespace has no
//! name: it is there while an interface is in the VRF, and gone with this process. `trunkctl vrf show` tells where it is, for
//! `nsenter --net=/proc/PID/fd/N`. Read network_namespaces(7).
//!
//! Devices and their routes go with this process, however it ends. Rules do not: they carry [`netlink::PROTOCOL`], and
//! those whose device is gone are removed at the next start. Read ip-rule(8), Documentation/networking/ip-sysctl.rst.

pub mod frames;
pub(crate) mod links;
mod netlink;
mod netns;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use dataplane::tap::{Tap, TapError};
use ipnet::IpNet;
use net::{IfaceId, MacAddr, VrfId};
use tracing::{debug, info, warn};

use netlink::{Netlink, Rule};
use netns::Netns;

/// Our tables are numbered from here, by device index.
const FIRST_TABLE: u32 = 7000;
/// Where our rules stand among the kernel's: after `local` (0), before `main` (32766).
const PRIORITY: u32 = 7000;
/// The longest name of a device, in bytes.
const MAX_NAME: usize = 15;

/// Why the kernel's side could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No routing socket.
    #[error(
        "can't talk to the kernel's routing (netlink): {0}; run as root, or give the process CAP_NET_ADMIN"
    )]
    Socket(io::Error),
    /// No namespace for a VRF.
    #[error(
        "can't make a network namespace for the VRF: {0}; run as root, or give the process CAP_SYS_ADMIN"
    )]
    Namespace(io::Error),
    /// No TAP.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// Both the name and its alternative are taken.
    #[error(
        "interface {0}: the kernel has devices named {0} and {1} already; rename one of them, or the interface"
    )]
    NameTaken(String, String),
    /// The kernel refused something for a TAP.
    #[error("{device}: can't {what}: {cause}")]
    Refused {
        /// The TAP.
        device: String,
        /// What was tried.
        what: String,
        /// What the kernel said.
        cause: io::Error,
    },
}

/// What a TAP is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Whose it is: each VRF has a namespace.
    pub vrf: VrfId,
    /// The interface's name.
    pub name: String,
    /// Its MAC address.
    pub mac: MacAddr,
    /// The largest IP packet, in bytes.
    pub mtu: u16,
    /// Its addresses with their prefixes.
    pub addresses: Vec<IpNet>,
    /// Its link-local address.
    pub link_local: Ipv6Addr,
    /// Is it up? By configuration: a link that goes down leaves the TAP as it is.
    pub up: bool,
}

/// One interface's TAP.
#[derive(Debug)]
pub struct HostIface {
    tap: Tap,
    index: u32,
    spec: HostSpec,
}

impl HostIface {
    /// The device.
    #[must_use]
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Its MAC address.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.spec.mac
    }

    /// The VRF that it is in.
    #[must_use]
    pub fn vrf(&self) -> VrfId {
        self.spec.vrf
    }

    fn table(&self) -> u32 {
        FIRST_TABLE + self.index
    }

    fn refused(&self, what: impl Into<String>) -> impl FnOnce(io::Error) -> HostError {
        let (device, what) = (self.tap.name().to_owned(), what.into());
        move |cause| HostError::Refused {
            device,
            what,
            cause,
        }
    }
}

/// All TAPs. Dropped, it removes their rules; the devices go with it.
#[derive(Debug)]
pub struct Host {
    /// Of the namespace that is worked in.
    nl: Netlink,
    ifaces: BTreeMap<IfaceId, HostIface>,
    /// The namespaces of VRFs that have interfaces, each with a way to the kernel there.
    vrfs: BTreeMap<VrfId, (Netns, Netlink)>,
}

impl Host {
    /// Opens the way to the kernel, in the namespace of the calling thread, and removes the rules that a killed run
    /// has left.
    ///
    /// # Errors
    /// The kernel gives no routing socket.
    pub fn open() -> Result<Self, HostError> {
        let nl = Netlink::open().map_err(HostError::Socket)?;
        let mut host = Self {
            nl,
            ifaces: BTreeMap::new(),
            vrfs: BTreeMap::new(),
        };
        host.remove_stale_rules();
        Ok(host)
    }

    /// The TAP of an interface.
    #[must_use]
    pub fn get(&self, id: IfaceId) -> Option<&HostIface> {
        self.ifaces.get(&id)
    }

    /// Where the namespace of a VRF is, as a path.
    #[must_use]
    pub fn namespace(&self, vrf: VrfId) -> Option<String> {
        self.vrfs.get(&vrf).map(|(ns, _)| ns.path())
    }

    /// A number that tells the namespace of a VRF from others that are held. `None`: it has none, since it has no interface.
    #[must_use]
    pub fn namespace_id(&self, vrf: VrfId) -> Option<u64> {
        self.vrfs.get(&vrf)?.0.id().ok()
    }

    /// Does something in the namespace of a VRF that has interfaces: sockets made there are there for good.
    ///
    /// # Errors
    /// It has no namespace, or the kernel does not let us in; then nothing was done.
    pub fn enter<T>(&self, vrf: VrfId, what: impl FnOnce() -> T) -> io::Result<T> {
        match self.vrfs.get(&vrf) {
            Some((ns, _)) => ns.enter(what),
            None => Err(io::Error::other("the VRF has no interface")),
        }
    }

    /// Does something in the namespace of a VRF, which is made if there is none.
    fn within<T>(
        &mut self,
        vrf: VrfId,
        what: impl FnOnce(&mut Self) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        if vrf == VrfId::GLOBAL {
            return what(self);
        }
        let (ns, mut nl) = match self.vrfs.remove(&vrf) {
            Some(there) => there,
            None => {
                let ns = Netns::create().map_err(HostError::Namespace)?;
                let nl = ns.enter(Netlink::open).map_err(HostError::Namespace)?;
                let mut nl = nl.map_err(HostError::Socket)?;
                nl.raise_loopback().map_err(HostError::Namespace)?;
                (ns, nl)
            }
        };
        std::mem::swap(&mut self.nl, &mut nl);
        let done = ns.enter(|| what(&mut *self));
        std::mem::swap(&mut self.nl, &mut nl);
        let used = self.ifaces.values().any(|i| i.spec.vrf == vrf);
        if used {
            self.vrfs.insert(vrf, (ns, nl));
        }
        done.map_err(HostError::Namespace)?
    }

    /// Makes the TAP of an interface.
    ///
    /// # Errors
    /// The kernel refuses; nothing of it is left then.
    pub fn add(&mut self, id: IfaceId, spec: HostSpec) -> Result<(), HostError> {
        self.within(spec.vrf, |host| host.add_here(id, spec))
    }

    fn add_here(&mut self, id: IfaceId, spec: HostSpec) -> Result<(), HostError> {
        let name = self.free_name(&spec.name)?;
        let tap = Tap::create(&name, spec.mac, spec.mtu)?;
        let index = tap.index().map_err(|cause| HostError::Refused {
            device: name.clone(),
            what: "find its index".into(),
            cause,
        })?;
        set_sysctls(&name);
        let bare = HostSpec {
            addresses: Vec::new(),
            link_local: Ipv6Addr::UNSPECIFIED,
            up: true,
            ..spec.clone()
        };
        let mut iface = HostIface {
            tap,
            index,
            spec: bare,
        };
        if let Err(error) = self.prepare(&mut iface, &spec) {
            // The device goes with `iface`; its rules must be removed by hand.
            self.remove_rules(&iface);
            return Err(error);
        }
        self.ifaces.insert(id, iface);
        Ok(())
    }

    fn prepare(&mut self, iface: &mut HostIface, spec: &HostSpec) -> Result<(), HostError> {
        self.change_addresses(iface, spec)?;
        if spec.up {
            self.add_routes(iface)
        } else {
            lower(iface)
        }
    }

    /// The routes of its table. A device that goes down loses them.
    fn add_routes(&mut self, iface: &HostIface) -> Result<(), HostError> {
        for v6 in [false, true] {
            let added = self.nl.add_default_route(iface.index, v6, iface.table());
            match added {
                // Without IPv6 in the kernel there are no IPv6 answers to lead back.
                Err(e) if v6 => debug!(device = iface.tap.name(), "no IPv6 default route: {e}"),
                other => other.map_err(iface.refused("add its default route"))?,
            }
        }
        Ok(())
    }

    /// Sets a TAP up again, and puts back what the kernel took from it when it went down.
    fn raise(&mut self, iface: &mut HostIface) -> Result<(), HostError> {
        iface.tap.set_up(true)?;
        iface.spec.up = true;
        for a in &iface.spec.addresses {
            self.nl
                .add_address(iface.index, a.addr(), a.prefix_len())
                .map_err(iface.refused(format!("set the address {a}")))?;
        }
        let link_local = std::mem::replace(&mut iface.spec.link_local, Ipv6Addr::UNSPECIFIED);
        self.change_link_local(iface, link_local);
        self.add_routes(iface)
    }

    /// Changes the addresses and the MTU of an interface's TAP, and sets it up or down.
    ///
    /// # Errors
    /// The kernel refuses; what was there before is back then, as far as the kernel lets it.
    pub fn change(&mut self, id: IfaceId, spec: &HostSpec) -> Result<(), HostError> {
        let Some(vrf) = self.get(id).map(HostIface::vrf) else {
            return Ok(());
        };
        self.within(vrf, |host| host.change_here(id, spec))
    }

    fn change_here(&mut self, id: IfaceId, spec: &HostSpec) -> Result<(), HostError> {
        let Some(mut iface) = self.ifaces.remove(&id) else {
            return Ok(());
        };
        let before = iface.spec.clone();
        let done = self.try_change(&mut iface, spec);
        if done.is_err()
            && let Err(error) = self.try_change(&mut iface, &before)
        {
            warn!("{error}, while going back to how it was");
        }
        self.ifaces.insert(id, iface);
        done
    }

    fn try_change(&mut self, iface: &mut HostIface, spec: &HostSpec) -> Result<(), HostError> {
        if iface.spec.mtu != spec.mtu {
            iface.tap.set_mtu(spec.mtu)?;
            iface.spec.mtu = spec.mtu;
        }
        if iface.spec.up && !spec.up {
            lower(iface)?;
        }
        self.change_addresses(iface, spec)?;
        if spec.up && !iface.spec.up {
            self.raise(iface)?;
        }
        Ok(())
    }

    /// Adds and removes addresses and their rules, so that `iface` has those of `spec`.
    fn change_addresses(
        &mut self,
        iface: &mut HostIface,
        spec: &HostSpec,
    ) -> Result<(), HostError> {
        let gone: Vec<IpNet> = iface
            .spec
            .addresses
            .iter()
            .filter(|a| !spec.addresses.contains(a))
            .copied()
            .collect();
        for a in gone {
            self.remove_rule(&rule(a.addr(), iface.table()));
            if let Err(e) = self.nl.del_address(iface.index, a.addr(), a.prefix_len()) {
                debug!(
                    device = iface.tap.name(),
                    "address {a} was gone already: {e}"
                );
            }
            iface.spec.addresses.retain(|x| *x != a);
        }
        if iface.spec.link_local != spec.link_local {
            self.change_link_local(iface, spec.link_local);
        }
        for a in &spec.addresses {
            if iface.spec.addresses.contains(a) {
                continue;
            }
            iface.spec.addresses.push(*a);
            self.nl
                .add_address(iface.index, a.addr(), a.prefix_len())
                .map_err(iface.refused(format!("set the address {a}")))?;
            self.nl
                .add_rule(&rule(a.addr(), iface.table()))
                .map_err(iface.refused(format!("add the rule for answers from {}", a.addr())))?;
        }
        iface.spec.addresses.clone_from(&spec.addresses);
        Ok(())
    }

    /// Makes `wanted` the only link-local address. A kernel without IPv6 does without.
    fn change_link_local(&mut self, iface: &mut HostIface, wanted: Ipv6Addr) {
        // The kernel makes one of its own from the MAC address when the device comes up, faster than it can be told not to.
        let made = iface.spec.mac.eui64_link_local();
        for old in [iface.spec.link_local, made] {
            if old != wanted && !old.is_unspecified() {
                let _ = self.nl.del_address(iface.index, IpAddr::V6(old), 64);
            }
        }
        if let Err(e) = self.nl.add_address(iface.index, IpAddr::V6(wanted), 64) {
            debug!(device = iface.tap.name(), "no link-local address: {e}");
        }
        iface.spec.link_local = wanted;
    }

    /// Removes the TAP of an interface with its rules.
    pub fn remove(&mut self, id: IfaceId) {
        let Some(vrf) = self.get(id).map(HostIface::vrf) else {
            return;
        };
        let done = self.within(vrf, |host| {
            if let Some(iface) = host.ifaces.remove(&id) {
                host.remove_rules(&iface);
            }
            Ok(())
        });
        if let Err(e) = done {
            // The rules go with the namespace; the device goes here.
            warn!("{e}");
            self.ifaces.remove(&id);
        }
    }

    fn remove_rules(&mut self, iface: &HostIface) {
        for a in &iface.spec.addresses {
            self.remove_rule(&rule(a.addr(), iface.table()));
        }
    }

    fn remove_rule(&mut self, rule: &Rule) {
        match self.nl.del_rule(rule) {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => {
                warn!(
                    "can't remove the rule from {} to table {}: {e}",
                    rule.from, rule.table
                );
            }
            _ => {}
        }
    }

    /// Rules of ours whose device is gone were left by a run that was killed. Those of another instance that runs have
    /// their device.
    fn remove_stale_rules(&mut self) {
        let found = self
            .nl
            .our_rules()
            .and_then(|rules| Ok((rules, self.nl.links()?)));
        let (rules, links) = match found {
            Ok(found) => found,
            Err(e) => return warn!("can't look for rules of an earlier run: {e}"),
        };
        let is_there = |r: &Rule| {
            links
                .iter()
                .any(|l| Some(l.index) == r.table.checked_sub(FIRST_TABLE))
        };
        let mut removed = 0;
        for r in rules.iter().filter(|r| !is_there(r)) {
            self.remove_rule(r);
            removed += 1;
        }
        if removed > 0 {
            info!("removed {removed} policy rules that an earlier run had left");
        }
    }

    /// The name of the interface, or `tl-NAME` where the kernel has a device of that name.
    fn free_name(&mut self, name: &str) -> Result<String, HostError> {
        let links = self.nl.links().map_err(HostError::Socket)?;
        let taken = |n: &str| links.iter().any(|l| l.name == n);
        if !taken(name) {
            return Ok(name.to_owned());
        }
        let other = alternative(name);
        if taken(&other) {
            return Err(HostError::NameTaken(name.to_owned(), other));
        }
        Ok(other)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        while let Some((_, iface)) = self.ifaces.pop_first() {
            // Those of a VRF go with its namespace.
            if iface.spec.vrf == VrfId::GLOBAL {
                self.remove_rules(&iface);
            }
        }
    }
}

/// Sets a TAP down: the kernel no longer answers for its IPv6 addresses, nor has ways out of it.
fn lower(iface: &mut HostIface) -> Result<(), HostError> {
    iface.tap.set_up(false)?;
    iface.spec.up = false;
    Ok(())
}

/// `tl-NAME`, cut to what a device's name can hold.
fn alternative(name: &str) -> String {
    let mut end = name.len().min(MAX_NAME - 3);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("tl-{}", &name[..end])
}

fn rule(from: IpAddr, table: u32) -> Rule {
    Rule {
        from,
        table,
        priority: PRIORITY,
    }
}

/// Settings of a TAP. None is vital: a kernel that lacks one, or a container that may not write it, is not refused.
fn set_sysctls(device: &str) {
    let rows = [
        // Answers may come from anywhere: which way they take is not the kernel's business.
        ("ipv4", "rp_filter", "0"),
        // ICMP errors about the kernel's own packets come from an address of the router itself.
        ("ipv4", "accept_local", "1"),
        ("ipv6", "disable_ipv6", "0"),
        // No address of the kernel's own making; no router to listen to or to ask for; duplicates are our business.
        ("ipv6", "addr_gen_mode", "1"),
        ("ipv6", "accept_ra", "0"),
        ("ipv6", "autoconf", "0"),
        ("ipv6", "router_solicitations", "0"),
        ("ipv6", "accept_dad", "0"),
    ];
    for (family, key, value) in rows {
        let path = format!("/proc/sys/net/{family}/conf/{device}/{key}");
        if let Err(e) = fs::write(&path, value) {
            debug!("{path} stays as it is: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternative_names_fit() {
        assert_eq!(alternative("wan0"), "tl-wan0");
        assert_eq!(alternative("averylongname.1"), "tl-averylongnam");
        assert_eq!(alternative("ääääääää").len(), 15);
        assert!(alternative("aäääääääää").len() <= 15);
    }
}
