//! Configurations for the nodes of a topology, each in its own language.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use ipnet::IpNet;

use super::text::{Role, Topology};
use crate::lab::Flavor;
use crate::lab::config::last_cpu;
use crate::peers::{Announce, Setup};

/// Short, so that a dead neighbour is found soon.
const HOLD: u16 = 9;
/// A machine that is emulated can stand still for seconds where others want the CPUs.
const HOLD_WITH_GUESTS: u16 = 18;

fn hold(t: &Topology) -> u16 {
    if t.has_guests() {
        HOLD_WITH_GUESTS
    } else {
        HOLD
    }
}

/// A BGP session as one of its ends sees it.
#[derive(Debug, Clone)]
pub struct Session {
    /// Our address.
    pub local: IpAddr,
    /// Our next hop for IPv6, if the link has any.
    pub own6: Option<Ipv6Addr>,
    /// The neighbour.
    pub peer: IpAddr,
    /// Its AS.
    pub asn: u32,
    /// It is in our AS.
    pub internal: bool,
    /// It is our client.
    pub client: bool,
}

fn of_family(all: &[IpNet], v4: bool) -> Option<IpAddr> {
    all.iter().map(IpNet::addr).find(|a| a.is_ipv4() == v4)
}

/// The sessions of a node.
///
/// # Errors
/// Never for a topology that was checked.
pub fn sessions(t: &Topology, n: usize) -> Result<Vec<Session>> {
    let one = |link: usize| -> Result<Session> {
        let (side, other) = (t.side(link, n), t.other(link, n));
        let (ours, theirs) = (
            &t.links[link].addresses[side],
            &t.links[link].addresses[1 - side],
        );
        let asn = t.nodes[other].asn.context("the neighbour has an AS")?;
        let internal = t.nodes[n].asn == Some(asn);
        Ok(Session {
            local: of_family(ours, true).context("an IPv4 address")?,
            own6: of_family(ours, false).and_then(|a| match a {
                IpAddr::V6(a) => Some(a),
                IpAddr::V4(_) => None,
            }),
            peer: of_family(theirs, true).context("an IPv4 address")?,
            asn,
            internal,
            client: internal && t.nodes[n].reflector,
        })
    };
    t.sessions(n).into_iter().map(one).collect()
}

/// A number for a node that no other has: its first IPv4 address.
fn id(t: &Topology, n: usize) -> IpAddr {
    let mut links = t.links_of(n).into_iter();
    let found = links.find_map(|l| of_family(&t.links[l].addresses[t.side(l, n)], true));
    found.unwrap_or(IpAddr::V4(Ipv4Addr::from(0x0afe_0001 + n as u32)))
}

/// A port of an appliance in its namespace: the interface on it is called after the neighbour.
#[must_use]
pub fn port(device: &str) -> String {
    format!("v-{device}")
}

/// That of an appliance.
///
/// # Errors
/// Never for a topology that was checked.
pub fn appliance(t: &Topology, n: usize, flavor: &Flavor) -> Result<String> {
    let node = &t.nodes[n];
    let mut c = format!(
        "# Written by the test bed: {} of the topology {}.\n[system]\nname = \"{}\"\nrouter-id = \"{}\"\n\n\
         [dataplane]\nworkers = \"{}\"\nmemory = \"{}\"\n",
        node.name,
        t.name,
        node.name,
        id(t, n),
        last_cpu(),
        flavor.memory.name()
    );
    for l in t.links_of(n) {
        let dev = t.device(l, n);
        let addresses: Vec<String> = t.links[l].addresses[t.side(l, n)]
            .iter()
            .map(ToString::to_string)
            .collect();
        let device = flavor.device(&port(&dev));
        let _ = writeln!(
            c,
            "\n[interface.\"{dev}\"]\ndevice = \"{device}\"\naddress = {addresses:?}\nmpls = true"
        );
    }
    for (prefix, via) in &node.routes {
        let _ = writeln!(c, "\n[[route]]\nprefix = \"{prefix}\"\nvia = [\"{via}\"]");
    }
    if let Some(asn) = node.asn {
        let networks: Vec<String> = t.announced(n).iter().map(ToString::to_string).collect();
        let _ = writeln!(
            c,
            "\n[bgp]\nas = {asn}\nhold-time = {}\nnetworks = {networks:?}\nmultipath = {{ ebgp = 4, ibgp = 4, relaxed = true }}",
            hold(t)
        );
    }
    for s in sessions(t, n)? {
        let _ = writeln!(
            c,
            "\n[bgp.neighbor.\"{}\"]\nas = {}\nfamilies = [\"ipv4-unicast\", \"ipv6-unicast\"]\nimport = \"accept-all\"\n\
             export = \"accept-all\"\nconnect-retry = 1",
            s.peer, s.asn
        );
        if s.internal {
            c.push_str("next-hop-self = true\n");
        }
        if s.client {
            c.push_str("route-reflector-client = true\n");
        }
    }
    let _ = write!(c, "\n{}", node.config);
    Ok(c)
}

/// That of FRR's bgpd.
///
/// # Errors
/// Never for a topology that was checked.
pub fn frr(t: &Topology, n: usize) -> Result<String> {
    let asn = t.nodes[n].asn.context("an AS")?;
    let all = sessions(t, n)?;
    let mut c = format!(
        "log stdout\nrouter bgp {asn}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         no bgp network import-check\n bgp bestpath as-path multipath-relax\n",
        id(t, n)
    );
    for s in &all {
        let _ = write!(
            c,
            " neighbor {peer} remote-as {}\n neighbor {peer} timers {} {}\n neighbor {peer} timers connect 1\n \
             neighbor {peer} update-source {}\n",
            s.asn,
            hold(t) / 3,
            hold(t),
            s.local,
            peer = s.peer
        );
    }
    for v4 in [true, false] {
        let _ = writeln!(c, " address-family ipv{} unicast", if v4 { 4 } else { 6 });
        for s in &all {
            let _ = writeln!(c, "  neighbor {} activate", s.peer);
            if s.internal {
                let _ = writeln!(c, "  neighbor {} next-hop-self force", s.peer);
            }
            if s.client {
                let _ = writeln!(c, "  neighbor {} route-reflector-client", s.peer);
            }
        }
        for net in t.announced(n).iter().filter(|p| p.addr().is_ipv4() == v4) {
            let _ = writeln!(c, "  network {net}");
        }
        c.push_str("  maximum-paths 4\n exit-address-family\n");
    }
    Ok(c)
}

/// That of BIRD.
///
/// # Errors
/// Never for a topology that was checked.
pub fn bird(t: &Topology, n: usize) -> Result<String> {
    let asn = t.nodes[n].asn.context("an AS")?;
    let mut c = format!(
        "router id {};\nlog stderr all;\nprotocol device {{}}\nprotocol direct {{ ipv4; ipv6; }}\n",
        id(t, n)
    );
    for v4 in [true, false] {
        let f = if v4 { 4 } else { 6 };
        let of_family = |p: &&IpNet| p.addr().is_ipv4() == v4;
        let _ = writeln!(
            c,
            "protocol kernel k{f} {{ ipv{f} {{ import none; export where source = RTS_BGP; }}; merge paths on; }}\n\
             protocol static s{f} {{ ipv{f};"
        );
        for net in t.nodes[n].announce.iter().filter(of_family) {
            let _ = writeln!(c, " route {net} blackhole;");
        }
        c.push_str("}\n");
        let nets: Vec<String> = t
            .announced(n)
            .iter()
            .filter(of_family)
            .map(ToString::to_string)
            .collect();
        let ours = if nets.is_empty() {
            "false".to_owned()
        } else {
            format!("net ~ [ {} ]", nets.join(", "))
        };
        let _ = writeln!(
            c,
            "filter out{f} {{ if source = RTS_BGP || {ours} then accept; reject; }}"
        );
    }
    for (i, s) in sessions(t, n)?.iter().enumerate() {
        let _ = write!(
            c,
            "protocol bgp p{i} {{\n local {} as {asn};\n neighbor {} as {};\n hold time {};\n connect delay time 1;\n \
             connect retry time 1;\n error wait time 1, 1;\n",
            s.local,
            s.peer,
            s.asn,
            hold(t)
        );
        if s.client {
            c.push_str(" rr client;\n");
        }
        let own = if s.internal { "next hop self;" } else { "" };
        let _ = writeln!(c, " ipv4 {{ import all; export filter out4; {own} }};");
        if let Some(own6) = s.own6 {
            let _ = writeln!(
                c,
                " ipv6 {{ import all; export filter out6; next hop address {own6}; {own} }};"
            );
        }
        c.push_str("}\n");
    }
    Ok(c)
}

/// That of a speaker with one session.
///
/// # Errors
/// Never for a topology that was checked.
pub fn one(t: &Topology, n: usize) -> Result<Setup> {
    let node = &t.nodes[n];
    let s = sessions(t, n)?.into_iter().next().context("a session")?;
    let asn = node.asn.context("an AS")?;
    let own6 = s.own6.unwrap_or(Ipv6Addr::UNSPECIFIED);
    let mut setup = Setup::new(asn, s.local, own6, s.asn, s.peer);
    setup.ipv6 = s.own6.is_some();
    setup.hold = hold(t);
    for net in &node.announce {
        setup = setup.announce(Announce::new(&net.to_string()));
    }
    debug_assert!(matches!(node.role, Role::Gobgp | Role::Exabgp));
    Ok(setup)
}
