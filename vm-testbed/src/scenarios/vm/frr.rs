//! Routers of FRR in namespaces of one guest: each has daemons of its own, with a folder of their own for sockets and logs, and
//! shares the kernel, so that one machine is a whole network.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::lab::wait::secs;
use crate::vm::Vm;

/// What the kernel has to be told before labels and VRFs can be had in it.
pub const MODULES: &str =
    "modprobe mpls_router && modprobe mpls_iptunnel && modprobe vrf && modprobe veth || exit 1\n";

/// A router.
pub struct Router<'a> {
    /// Its namespace.
    pub ns: &'a str,
    /// It has zebra, and so what it learns is in its kernel.
    pub zebra: bool,
    /// The configuration of each further daemon, in the order in which they start.
    pub daemons: &'a [(&'a str, &'a str)],
}

impl<'a> Router<'a> {
    fn all(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let zebra = self.zebra.then_some(("zebra", ""));
        zebra.into_iter().chain(self.daemons.iter().copied())
    }
}

/// The folder of a router.
fn folder(ns: &str) -> String {
    format!("/run/frr/{ns}")
}

/// Starts all daemons of these routers.
///
/// # Errors
/// When one does not come up, with what it said.
pub fn start(vm: &mut Vm, routers: &[Router<'_>]) -> Result<()> {
    let mut s = String::from("chmod 1777 /run /tmp /var/tmp\n");
    for r in routers {
        let f = folder(r.ns);
        let _ = writeln!(s, "mkdir -p {f}");
        for (d, conf) in r.all() {
            let _ = writeln!(
                s,
                "cat >{f}/{d}.conf <<'END'\nlog file {f}/{d}.log\n{conf}\nEND"
            );
        }
    }
    s += "chown -R frr:frr /run/frr\n";
    for r in routers {
        let (f, ns) = (folder(r.ns), r.ns);
        for (d, _) in r.all() {
            let more = match d {
                "ldpd" => format!(" --ctl_socket {f}"),
                // Without zebra next hops are as good as the session.
                "bgpd" if !r.zebra => " -n -Z".into(),
                _ => String::new(),
            };
            let _ = writeln!(
                s,
                "ip netns exec {ns} /usr/lib/frr/{d} -d -f {f}/{d}.conf -i {f}/{d}.pid -z {f}/zserv --vty_socket {f} -P 0{more} \
                 >{f}/{d}.out 2>&1 || {{ echo {ns} {d}; cat {f}/{d}.out {f}/{d}.log; exit 1; }}"
            );
        }
    }
    vm.guest
        .each(&s, secs(90))
        .context("starting FRR's daemons")
        .map(drop)
}

/// Commands of vtysh to a daemon of the router in that namespace.
///
/// # Errors
/// When the daemon does not answer.
pub fn vtysh(vm: &mut Vm, ns: &str, daemon: &str, lines: &[&str]) -> Result<String> {
    let all: Vec<String> = lines.iter().map(|l| format!("-c '{l}'")).collect();
    let line = format!(
        "vtysh --vty_socket {} -d {daemon} {}",
        folder(ns),
        all.join(" ")
    );
    vm.guest.run(&line)
}

/// What is of use when something went wrong: tables of kernel and daemons, and what these logged.
pub fn state(vm: &mut Vm) -> String {
    const LOOK: &str = "for ns in $(ip netns list | cut -d' ' -f1); do
        for c in 'ip addr' 'ip route show table all' 'ip -6 route show table all' 'ip -f mpls route' 'ip neigh' 'ip -s link'; do
            echo \"--- $ns: $c\"; ip netns exec $ns $c 2>&1 | grep -v 'table local' | tail -n 60
        done
        for c in 'show mpls ldp neighbor' 'show mpls ldp binding' 'show mpls table' 'show ip route vrf all' 'show ipv6 route vrf all' \
            'show bgp vrf all summary' 'show bgp ipv4 vpn' 'show bgp ipv6 vpn' 'show bgp ipv4 labeled-unicast' 'show bgp ipv6 labeled-unicast'; do
            [ -e /run/frr/$ns ] && echo \"--- $ns: $c\" && vtysh --vty_socket /run/frr/$ns -c \"$c\" 2>&1 | tail -n 60
        done
        for f in /run/frr/$ns/*.log /run/frr/$ns/*.out; do [ -s $f ] && echo \"--- $f\" && tail -n 40 $f; done
    done; dmesg | tail -n 20";
    match vm.guest.finish_within(LOOK, secs(60)) {
        Ok(done) => done.text(),
        Err(e) => format!("{e:#}"),
    }
}

/// Lines of bgpd for a neighbour: AS, what else is said of it, and short timers.
pub fn neighbor(address: &str, asn: u32, more: &[&str]) -> String {
    let mut s = format!(" neighbor {address} remote-as {asn}\n neighbor {address} timers 3 9\n");
    let _ = writeln!(s, " neighbor {address} timers connect 1");
    for m in more {
        let _ = writeln!(s, " neighbor {address} {m}");
    }
    s
}

/// An address family in which neighbours are told and heard, with further lines.
pub fn family(name: &str, neighbors: &[&str], more: &str) -> String {
    let mut s = format!(" address-family {name}\n");
    for n in neighbors {
        let _ = writeln!(s, "  neighbor {n} activate");
    }
    let lines: String = more.lines().map(|l| format!("  {}\n", l.trim())).collect();
    s + &lines + " exit-address-family\n"
}
