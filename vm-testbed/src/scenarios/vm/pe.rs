//! FRR in a Linux guest as the provider edge at the other side of an appliance: BGP between the two for what is global, and a
//! VRF on the guest's side whose customer is reached by static labels.
//!
//! ```text
//!   h1 (host) ─lan─ appliance, AS 64500 ─core─ FRR, AS 64513 (guest) ─┬─ loopback: announced by BGP
//!                                                                     └─ VRF blue ─ ce (guest)
//! ```
//! The appliance has no VRFs of its own and speaks neither labelled nor VPN families yet. When it does, the labels and routes that
//! are written down here (500 to the VRF, 600 back) will be what the two tell each other (RFC 8277, RFC 4364), and nothing else in
//! this scenario changes.

use anyhow::{Context, Result, ensure};

use super::neighbour::{THROUGH, heard, listen, ping, port};
use super::{start_beside, told_beside};
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Driver, Flavor, Host, Lab, Netns};
use crate::scenarios::{self, pages};
use crate::suite::Options;
use crate::vm::{Card, Spec, Vm};

const CARDS: &[Card] = &[port("core", 1)];
const GUEST: Spec = Spec::linux("frr-pe-guest", CARDS);

/// The kernel's part: the link, the VRF with a customer behind a veth, the label that leads into it.
const SETUP: &str = r"
modprobe mpls_router && modprobe mpls_iptunnel && modprobe vrf && modprobe veth || exit 1
sysctl -qw net.mpls.platform_labels=100000 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.mpls.conf.core.input=1
ip link set core up
ip addr add 10.0.1.2/24 dev core
ip addr add 2001:db8:a1::2/64 dev core nodad
ip addr add 198.51.100.1/32 dev lo
ip addr add 2001:db8:f::1/128 dev lo
ip link add blue type vrf table 10 && ip link set blue up || exit 1
ip netns add ce
ip link add to-ce type veth peer name eth0 netns ce || exit 1
ip link set to-ce master blue up
ip addr add 172.16.1.1/24 dev to-ce
ip addr add 2001:db8:c::1/64 dev to-ce nodad
ip -n ce link set lo up
ip -n ce link set eth0 up
ip -n ce addr add 172.16.1.2/24 dev eth0
ip -n ce addr add 2001:db8:c::2/64 dev eth0 nodad
ip -n ce route add default via 172.16.1.1
ip -n ce -6 route add default via 2001:db8:c::1
ip -f mpls route add 500 dev blue
";

/// FRR's part: BGP with the appliance in both families, and the way from the VRF to the host, with a label.
const FRR: &str = r"frr defaults traditional
hostname pe1
log file /run/frr.log
vrf blue
 ip route 10.0.3.0/24 10.0.1.1 core label 600 nexthop-vrf default
 ipv6 route 2001:db8:3::/64 2001:db8:a1::1 core label 600 nexthop-vrf default
exit-vrf
router bgp 64513
 bgp router-id 10.0.1.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 neighbor 10.0.1.1 remote-as 64500
 neighbor 10.0.1.1 timers 3 9
 neighbor 10.0.1.1 timers connect 1
 address-family ipv4 unicast
  neighbor 10.0.1.1 activate
  network 198.51.100.1/32
 exit-address-family
 address-family ipv6 unicast
  neighbor 10.0.1.1 activate
  network 2001:db8:f::1/128
 exit-address-family
";

/// Starts the daemons, each in the background, and gives them the configuration.
const START: &str = r"
mkdir -p /run/frr && chown -R frr:frr /run/frr /etc/frr /var/lib/frr /var/log/frr && chmod 1777 /run /tmp /var/tmp
for d in zebra staticd bgpd; do /usr/lib/frr/$d -d -A 127.0.0.1 -P 0 >/run/$d.out 2>&1 || { cat /run/$d.out; exit 1; }; done
";

const BGP: &str = r#"[bgp]
as = 64500
hold-time = 9
redistribute = ["connected"]

[bgp.neighbor."10.0.1.2"]
as = 64513
families = ["ipv4-unicast", "ipv6-unicast"]
import = "accept-all"
export = "accept-all"
connect-retry = 1

[[label]]
in = 600
action = "pop"
"#;

/// BGP with FRR in a guest: learned both ways, in both kernels' tables, frames pass. A VRF of the guest's is reached by a static
/// label each way, and only so.
///
/// # Errors
/// When one of this is not so.
pub fn frr_pe(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("frr-pe")?;
    let r = lab.router("dut")?;
    let host = Host::new("h1", &["10.0.3.2/24", "2001:db8:3::2/64"])
        .gateway("10.0.3.1")
        .gateway("2001:db8:3::1");
    let h1 = lab.host(&host, &r, "lan")?;
    let mut vm = start_beside(&GUEST, &lab, &r)?;
    vm.guest.run(SETUP).context("setting the guest up")?;
    let flavor = Flavor {
        driver: Driver::AfPacket,
        ..o.flavor
    };
    let config = flavor
        .config("dut")
        .interface("lan0", "lan", &["10.0.3.1/24", "2001:db8:3::1/64"], "")
        .interface(
            "core0",
            "core",
            &["10.0.1.1/24", "2001:db8:a1::1/64"],
            "mpls = true",
        )
        .route("172.16.1.0/24", "10.0.1.2", "label = [500]")
        .route("2001:db8:c::/64", "2001:db8:a1::2", "label = [500]")
        .section(BGP);
    let a = lab.start("dut", &r, &config)?;
    let done = story(&mut vm, &h1, &a);
    let done = done.map_err(|e| {
        let log = vm.guest.read("/run/frr.log").unwrap_or_default();
        e.context(format!("FRR's log:\n{log}"))
    });
    told_beside(vm, &a, done)?;
    a.law()?;
    a.stop()
}

fn story(vm: &mut Vm, h1: &Netns, a: &Appliance) -> Result<()> {
    frr(vm)?;
    global(vm, h1, a)?;
    vpn(vm, h1, a)?;
    withdrawn(vm, a)
}

/// Starts FRR and waits until the session is up on both sides.
fn frr(vm: &mut Vm) -> Result<()> {
    vm.guest.write("/etc/frr/frr.conf", FRR)?;
    vm.guest.run(START)?;
    until("FRR takes its configuration", secs(30), || {
        let done = vm.guest.finish("vtysh -b")?;
        ensure!(done.ok(), "{}", done.text());
        Ok(true)
    })?;
    until("FRR calls the session established", THROUGH, || {
        let said = vm
            .guest
            .run("vtysh -c 'show bgp neighbors 10.0.1.1 json'")?;
        Ok(said.contains("\"bgpState\":\"Established\""))
    })
}

/// What each learned from the other is in its tables, and frames of both families pass.
fn global(vm: &mut Vm, h1: &Netns, a: &Appliance) -> Result<()> {
    for prefix in ["198.51.100.1/32", "2001:db8:f::1/128"] {
        until(&format!("{prefix} is a route of BGP"), secs(20), || {
            let routes = a.json(&format!("route show {prefix}"))?;
            Ok(routes[0]["protocol"] == "bgp")
        })?;
    }
    for (family, prefix) in [("-4", "10.0.3.0/24"), ("-6", "2001:db8:3::/64")] {
        until(
            &format!("the guest's kernel has {prefix}"),
            secs(20),
            || {
                let said = vm.guest.run(&format!("ip {family} route show {prefix}"))?;
                Ok(said.contains("proto bgp") && said.contains("dev core"))
            },
        )?;
    }
    for to in ["198.51.100.1", "2001:db8:f::1"] {
        scenarios::reach(h1, to)?;
        scenarios::ping(h1, to, 20)?;
    }
    Ok(())
}

/// Into the VRF and out of it, by a label each way; without the label, into the guest's global table, where there is nothing.
fn vpn(vm: &mut Vm, h1: &Netns, a: &Appliance) -> Result<()> {
    let said = vm.guest.run("vtysh -c 'show ip route vrf blue' -c 'show ipv6 route vrf blue' -c 'show mpls table'; ip route show vrf blue")?;
    ensure!(
        said.contains("label 600"),
        "FRR has no label for the way back: {said}"
    );
    listen(vm, "", "core", "mpls")?;
    for (customer, host) in [
        ("172.16.1.2", "10.0.3.2"),
        ("2001:db8:c::2", "2001:db8:3::2"),
    ] {
        scenarios::reach(h1, customer)?;
        scenarios::ping(h1, customer, 20)?;
        ping(vm, "ce", customer, host)?;
        let (there, back) = (
            format!("{host} > {customer}: "),
            format!("{customer} > {host}: "),
        );
        heard(
            vm,
            "core",
            &[
                &[
                    "MPLS (label 500, tc 0, [S], ttl 63)",
                    &there,
                    "echo request",
                ],
                &["MPLS (label 600, tc 0, [S], ttl 63)", &back, "echo reply"],
                &["MPLS (label 600, tc 0, [S], ttl 63)", &back, "echo request"],
            ],
        )?;
    }
    a.must("route replace 172.16.1.0/24 via 10.0.1.2")?;
    let done = h1.finish("ping -n -c 3 -i 0.2 -W 1 172.16.1.2")?;
    ensure!(
        !done.ok(),
        "without its label the VRF was reached: {}",
        done.text()
    );
    a.must("route replace 172.16.1.0/24 via 10.0.1.2 label 500")?;
    scenarios::reach(h1, "172.16.1.2")
}

/// What FRR takes back is gone.
fn withdrawn(vm: &mut Vm, a: &Appliance) -> Result<()> {
    vm.guest.run(
        "vtysh -c 'configure terminal' -c 'router bgp 64513' -c 'address-family ipv4 unicast' -c 'no network 198.51.100.1/32'",
    )?;
    until("the route is gone", secs(20), || {
        let routes = a.json("route show protocol bgp")?;
        let text = routes.to_string();
        Ok(!text.contains("198.51.100.1/32") && text.contains("2001:db8:f::1/128"))
    })
}
