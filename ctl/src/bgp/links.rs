//! Addresses and interfaces, as BGP needs them: those of the router, or the kernel's where the router has none.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bgp::speaker::OwnAddresses;
use ipnet::IpNet;
use net::{IfaceId, VrfId};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_indextoname;

use crate::config::{Valid, VrfName};
use crate::control::router::Iface;
use crate::host::Host;
use crate::neigh::Neighbours;
use crate::rib::Rib;

/// What is known of interfaces.
pub(crate) struct Links<'a> {
    /// The router's; none: the kernel's are used.
    pub(crate) ifaces: &'a BTreeMap<String, Iface>,
    /// Their names.
    pub(crate) names: &'a BTreeMap<IfaceId, String>,
    /// The numbers of VRFs.
    pub(crate) vrfs: &'a BTreeMap<VrfName, VrfId>,
    /// Their TAPs.
    pub(crate) host: Option<&'a Host>,
    /// Who was heard on them.
    pub(crate) neigh: &'a Neighbours,
    /// The configuration that runs.
    pub(crate) valid: &'a Arc<Valid>,
}

/// An address of the kernel's, and the interface it is on.
fn kernel() -> Vec<(String, IpAddr)> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    let one = |i: nix::ifaddrs::InterfaceAddress| {
        let a = i.address?;
        let v4 = a.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
        let v6 = a.as_sockaddr_in6().map(|a| IpAddr::from(a.ip()));
        Some((i.interface_name, v4.or(v6)?))
    };
    all.filter_map(one).collect()
}

fn is_link_local(a: &IpAddr) -> bool {
    matches!(a, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// The addresses of one interface, for next hops: `local` is one of them.
fn choose(all: impl Iterator<Item = IpAddr>, local: IpAddr) -> OwnAddresses {
    let mut own = OwnAddresses::default();
    for a in all.chain([local]) {
        match a {
            IpAddr::V4(a) if own.v4.is_none() || local == a => own.v4 = Some(a),
            IpAddr::V6(a) if a.is_unicast_link_local() => own.link_local = Some(a),
            IpAddr::V6(a) if own.v6.is_none() || local == a => own.v6 = Some(a),
            _ => {}
        }
    }
    own
}

impl Links<'_> {
    /// Whether the kernel's own addresses are used.
    pub(crate) fn is_standalone(&self) -> bool {
        self.valid.interfaces.is_empty()
    }

    /// What the kernel calls an interface of the configuration.
    pub(crate) fn device(&self, name: &str) -> String {
        let id = self.ifaces.get(name).map(|i| i.id);
        let tap = id.and_then(|id| self.host?.get(id));
        tap.map_or_else(|| name.to_owned(), |h| h.tap().name().to_owned())
    }

    /// What the configuration calls the kernel's interface of that number.
    pub(crate) fn name(&self, ifindex: u32) -> Option<String> {
        let device = if_indextoname(ifindex).ok()?.into_string().ok()?;
        if self.is_standalone() {
            return Some(device);
        }
        let mut names = self.ifaces.keys();
        names.find(|n| self.device(n) == device).cloned()
    }

    /// The id of an interface.
    pub(crate) fn id(&self, name: &str) -> Option<IfaceId> {
        self.ifaces.get(name).map(|i| i.id)
    }

    /// Every address of the router.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        if self.is_standalone() {
            return kernel().into_iter().map(|(_, a)| a).collect();
        }
        let own = |i: &Iface| -> Vec<IpAddr> {
            let all = i.conf.addresses.iter().map(|a| a.addr());
            all.chain([i.link_local.into()]).collect()
        };
        let global = self.ifaces.values().filter(|i| i.vrf == VrfId::GLOBAL);
        global.flat_map(own).collect()
    }

    /// Every address of the router in a VRF.
    pub(crate) fn addresses_in(&self, vrf: VrfId) -> Vec<IpAddr> {
        let here = self.ifaces.values().filter(|i| i.vrf == vrf);
        let own = here.flat_map(|i| i.conf.addresses.iter().map(|a| a.addr()));
        own.collect()
    }

    /// The interfaces of a VRF: what they are called, and their addresses.
    pub(crate) fn links_in(&self, vrf: VrfId) -> BTreeMap<IfaceId, (String, Vec<IpNet>)> {
        let here = self.ifaces.iter().filter(|(_, i)| i.vrf == vrf);
        let one = |(name, i): (&String, &Iface)| (i.id, (name.clone(), i.conf.addresses.clone()));
        here.map(one).collect()
    }

    /// The number of a VRF; that of the global table for `None`. `None`: there is no such VRF.
    pub(crate) fn vrf(&self, name: Option<&VrfName>) -> Option<VrfId> {
        match name {
            None => Some(VrfId::GLOBAL),
            Some(name) => self.vrfs.get(name).copied(),
        }
    }

    /// The interface of a VRF that has this address.
    pub(crate) fn at(&self, vrf: VrfId, address: IpAddr) -> Option<String> {
        let mut here = self.ifaces.values().filter(|i| i.vrf == vrf);
        let found = here.find(|i| i.conf.addresses.iter().any(|a| a.addr() == address))?;
        Some(found.conf.name.clone())
    }

    /// Our addresses on the way of a connection whose own end is `local`.
    pub(crate) fn own(&self, local: IpAddr, dev: Option<&str>) -> OwnAddresses {
        if self.is_standalone() {
            let all = kernel();
            let on = all
                .iter()
                .find(|(_, a)| *a == local)
                .map(|(n, _)| n.as_str());
            let on = dev.or(on).unwrap_or_default();
            let here = all.iter().filter(|(n, _)| n == on).map(|(_, a)| *a);
            return choose(here.filter(|a| !a.is_loopback() || *a == local), local);
        }
        let has = |i: &&Iface| {
            let global = i.vrf == VrfId::GLOBAL;
            dev == Some(&i.conf.name)
                || global && i.conf.addresses.iter().any(|a| a.addr() == local)
        };
        match self.ifaces.values().find(has) {
            Some(i) => {
                let all = i.conf.addresses.iter().map(|a| a.addr());
                choose(all.chain([i.link_local.into()]), local)
            }
            None => choose(std::iter::empty(), local),
        }
    }

    /// The address that connections to `to` are to come from: one of the interface that leads there. The kernel can't know,
    /// as the routes are ours.
    pub(crate) fn source(&self, vrf: VrfId, to: IpAddr, rib: &Rib) -> Option<IpAddr> {
        let id = rib.egress(vrf, to)?;
        let iface = self.ifaces.get(self.names.get(&id)?)?;
        let mut all = iface.conf.addresses.iter();
        // On the link itself the address of that subnet, else any.
        let near = all.clone().find(|a| a.contains(&to));
        let found = near.or_else(|| all.find(|a| a.addr().is_ipv4() == to.is_ipv4()));
        found.map(|a| a.addr())
    }

    /// The interface that is down, of a neighbour that can be nowhere else.
    pub(crate) fn cut(&self, neighbor: IpAddr, dev: Option<&str>) -> Option<&str> {
        let here = |i: &&Iface| match dev {
            Some(dev) => i.conf.name == dev,
            None => {
                i.vrf == VrfId::GLOBAL && i.conf.addresses.iter().any(|a| a.contains(&neighbor))
            }
        };
        let mut all = self.ifaces.values().filter(here).peekable();
        let name = &all.peek()?.conf.name;
        all.all(|i| !i.up).then_some(name)
    }

    /// The link-local address of whoever is at the other end of a link.
    pub(crate) fn far_end(&self, dev: &str) -> Option<Ipv6Addr> {
        let id = self.id(dev)?;
        let here = self
            .neigh
            .entries()
            .filter(|n| n.iface == id && n.mac.is_some());
        let found = here
            .filter(|n| is_link_local(&n.addr))
            .map(|n| n.addr)
            .min()?;
        match found {
            IpAddr::V6(a) => Some(a),
            IpAddr::V4(_) => None,
        }
    }
}
