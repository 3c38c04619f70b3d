//! Nodes that are machines of their own: QEMU guests with Debian's kernel, which forwards labels and has VRFs, as host, plain
//! router, FRR or BIRD.
//!
//! A guest has a namespace as every node has, with QEMU in it. For each of its links there is a TAP called as the guest's own
//! device, and a bridge (`b-DEVICE`) that joins it to this end of the link's veth (`w-DEVICE`); the bridge learns addresses and
//! does nothing else. So faults, captures and the other node are the same as without machines.
//!
//! Left out: GoBGP and ExaBGP in guests; an appliance in one, which the scenarios `vm/vfio` and `vm/numa` have.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::speakers;
use super::text::{Role, Topology};
use crate::frame::Mac;
use crate::lab::wait::{secs, until};
use crate::lab::{Lab, Netns};
use crate::vm::{Cable, Card, Spec, Starting, Vm};

/// How long a guest may take for what is done at once where nobody else wants the CPUs.
pub const PATIENCE: std::time::Duration = secs(60);

/// This end of a link's veth, in the namespace of a guest that calls the device `device`.
#[must_use]
pub fn wire(device: &str) -> String {
    format!("w-{device}")
}

/// Starts the machine of a node, and does not wait for it. Its files lie in `folder`.
///
/// # Errors
/// When there is no image, or QEMU can't be run.
pub fn launch(
    t: &Topology,
    n: usize,
    folder: &Path,
    ns: &Netns,
    lasting: bool,
) -> Result<Starting> {
    let card = |(i, link): (usize, usize)| -> Card {
        let mac: Mac = [0x52, 0x54, 0, 1, n as u8, i as u8];
        Card {
            // These live as long as the process, as those do that are known when the test bed is built: a few bytes a node.
            name: t.device(link, n).leak(),
            model: "virtio-net-pci",
            driver: "virtio-pci",
            node: 0,
            mac,
            queues: 1,
            cable: Cable::Tap,
        }
    };
    let cards: Vec<Card> = t.links_of(n).into_iter().enumerate().map(card).collect();
    let spec = Spec {
        lasting,
        ..Spec::linux(t.nodes[n].name.clone().leak(), cards.leak())
    };
    Starting::launch(&spec, folder, ns)
}

/// Joins the TAPs of a machine that was started to the veths of its links.
///
/// # Errors
/// When the kernel refuses.
pub fn plug(t: &Topology, n: usize, ns: &Netns) -> Result<()> {
    for link in t.links_of(n) {
        let device = t.device(link, n);
        let bridge = format!("b-{device}");
        ns.ip(&format!("link add {bridge} type bridge mcast_snooping 0"))?;
        for port in [&device, &wire(&device)] {
            ns.ip(&format!("link set {port} master {bridge}"))?;
        }
        Lab::port_end(ns, &bridge)?;
    }
    Ok(())
}

/// Makes it what its node is: addresses, routes, its daemon, its own script.
///
/// # Errors
/// When a step of it fails in the guest.
pub fn configure(t: &Topology, n: usize, vm: &mut Vm) -> Result<()> {
    vm.guest
        .each(&script(t, n), PATIENCE)
        .context("its links")?;
    let node = &t.nodes[n];
    vm.guest
        .each(&node.setup, PATIENCE)
        .context("its script `setup`")?;
    match node.role {
        Role::Frr => frr(t, n, vm),
        Role::Bird => bird(t, n, vm),
        _ => Ok(()),
    }
}

/// Addresses and routes, as `build` makes them in namespaces.
fn script(t: &Topology, n: usize) -> String {
    let node = &t.nodes[n];
    let mut s = format!("hostname {}\n", node.name);
    if node.role != Role::Host {
        s += "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1\n";
    }
    for link in t.links_of(n) {
        let device = t.device(link, n);
        let _ = writeln!(s, "ip link set {device} up");
        for a in &t.links[link].addresses[t.side(link, n)] {
            let nodad = if a.addr().is_ipv6() { " nodad" } else { "" };
            let _ = writeln!(s, "ip addr add {a} dev {device}{nodad}");
        }
    }
    for (prefix, via) in super::build::static_routes(t, n) {
        let family = if via.is_ipv4() { "" } else { "-6 " };
        let _ = writeln!(s, "ip {family}route add {prefix} via {via}");
    }
    s
}

/// Starts the daemons, each in the background.
const START_FRR: &str = r"
mkdir -p /run/frr && chown -R frr:frr /run/frr /etc/frr /var/lib/frr /var/log/frr && chmod 1777 /run /tmp /var/tmp
for d in zebra staticd bgpd; do /usr/lib/frr/$d -d -A 127.0.0.1 -P 0 >/run/$d.out 2>&1 || { cat /run/$d.out; exit 1; }; done
";

fn frr(t: &Topology, n: usize, vm: &mut Vm) -> Result<()> {
    let node = &t.nodes[n];
    let text = speakers::frr(t, n)?.replace("log stdout\n", "");
    let text = format!(
        "frr defaults traditional\nhostname {}\nlog file /run/frr.log\n{text}{}\n",
        node.name, node.config
    );
    vm.guest.write("/etc/frr/frr.conf", &text)?;
    vm.guest.each(START_FRR, PATIENCE)?;
    until("FRR takes its configuration", PATIENCE, || {
        let done = vm.guest.finish("vtysh -b")?;
        ensure!(done.ok(), "{}", done.text());
        Ok(true)
    })
}

fn bird(t: &Topology, n: usize, vm: &mut Vm) -> Result<()> {
    let text = speakers::bird(t, n)?.replace("log stderr all;", "log \"/run/bird.log\" all;");
    let text = format!("{text}{}\n", t.nodes[n].config);
    vm.guest.run("mkdir -p /run/bird")?;
    vm.guest.write("/etc/bird.conf", &text)?;
    vm.guest
        .run("bird -c /etc/bird.conf -P /run/bird.pid >/run/bird.out 2>&1 || { cat /run/bird.out; exit 1; }")
        .map(drop)
}

/// Waits until every session of the daemon in it is up.
///
/// # Errors
/// When one is not in time.
pub fn established(t: &Topology, n: usize, vm: &mut Vm) -> Result<()> {
    let (sessions, name) = (speakers::sessions(t, n)?, &t.nodes[n].name);
    if sessions.is_empty() {
        return Ok(());
    }
    let ask = match t.nodes[n].role {
        Role::Frr => "vtysh -c 'show bgp neighbors json' | grep -c '\"bgpState\":\"Established\"'",
        _ => "birdc show protocols | grep -c Established",
    };
    until(&format!("{name}: all sessions are up"), PATIENCE, || {
        let said = vm.guest.finish(ask)?.stdout;
        let up: usize = said.trim().parse().unwrap_or(0);
        ensure!(up == sessions.len(), "{up} of {}", sessions.len());
        Ok(true)
    })
}

/// What is of use when something went wrong: addresses, neighbours, routes, labels, what its daemon logged.
#[must_use]
pub fn state(vm: &mut Vm) -> String {
    const LOOK: &str = "for c in 'ip addr' 'ip neigh' 'ip route show table all' 'ip -6 route show table all' 'ip -f mpls route' \
         'ip -s link' 'cat /run/frr.log' 'cat /run/bird.log' 'dmesg'; do echo \"--- $c\"; $c 2>&1 | tail -n 200; done";
    match vm.guest.finish(LOOK) {
        Ok(done) => done.text(),
        Err(e) => format!("{e:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[nodes]\nh1 = \"guest\"\nr1 = { role = \"appliance\", as = 65001 }\n\
        x = { role = \"guest\", runs = \"linux\", routes = [\"10.9.0.0/24 via 10.0.2.1\"] }\n\
        [[links]]\nends = [\"h1\", \"r1\"]\n[[links]]\nends = [\"r1\", \"x\"]\n";

    #[test]
    fn a_guest_gets_what_a_namespace_would() {
        let text = TEXT.replace("role = \"appliance\", as = 65001", "role = \"linux\"");
        let t = Topology::parse("t", &text).unwrap();
        let host = script(&t, 0);
        for line in [
            "hostname h1",
            "ip addr add 10.0.1.1/24 dev eth0",
            "ip addr add 2001:db8:1::1/64 dev eth0 nodad",
            "ip route add 0.0.0.0/0 via 10.0.1.2",
            "ip -6 route add ::/0 via 2001:db8:1::2",
        ] {
            assert!(host.lines().any(|l| l == line), "{line}: {host}");
        }
        assert!(!host.contains("forward"), "{host}");
        let router = script(&t, 2);
        for line in ["ip link set r1 up", "ip route add 10.9.0.0/24 via 10.0.2.1"] {
            assert!(router.lines().any(|l| l == line), "{line}: {router}");
        }
        assert!(router.contains("ip_forward=1"), "{router}");
    }
}
