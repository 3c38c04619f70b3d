//! Between two guests with no kernel of the host in between: their paravirtual cards are served by the appliance, over
//! vhost-user, and frames pass through the guests' own memory, which it maps.
//!
//! Read QEMU's `docs/interop/vhost-user.rst` and DPDK's guide of `net_vhost`. `vectors=0`: with MSI-X this QEMU crashes. The
//! cards offer no offloads, since what the appliance is given it sends on as it is.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::neighbour::{ping, serve, within};
use super::{start_beside, told_beside};
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Lab};
use crate::progress;
use crate::scenarios::pages;
use crate::suite::Options;
use crate::vm::{Cable, Card, Spec, Vm};

const fn card(name: &'static str, n: u8) -> Card {
    Card {
        name,
        model: "virtio-net-pci,vectors=0,csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,\
                guest_ufo=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off",
        driver: "virtio-pci",
        node: 0,
        mac: [0x52, 0x54, 0, 0, 0x0d, n],
        queues: 1,
        cable: Cable::Vhost,
    }
}

const ONE: Spec = Spec::linux("vhost-one", &[card("v1", 1)]);
const TWO: Spec = Spec::linux("vhost-two", &[card("v2", 2)]);

/// Two guests reach each other through the appliance: both families, TCP and UDP; what they sent and received, it has counted,
/// and the kernel has seen none of it. A guest that ends takes the link down.
///
/// # Errors
/// When one of this is not so.
pub fn vhost_user(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("vhost-user")?;
    let r = lab.router("dut")?;
    let mut config = o.flavor.config("dut");
    for n in [1, 2] {
        let socket = lab.folder().join(format!("v{n}.vhost"));
        let device = format!("dpdk:net_vhost{n},iface={},queues=1", socket.display());
        let (v4, v6) = (format!("10.0.{n}.1/24"), format!("2001:db8:{n}::1/64"));
        config = config.interface_on(&format!("guest{n}"), &device, &[&v4, &v6], "");
    }
    let a = lab.spawn("dut", &r, &config)?;
    until("the appliance serves both sockets", secs(10), || {
        Ok([1, 2]
            .iter()
            .all(|n| lab.folder().join(format!("v{n}.vhost")).exists()))
    })
    .with_context(|| a.log_tail())?;
    let mut one = start_beside(&ONE, &lab, &r)?;
    let mut two = start_beside(&TWO, &lab, &r)?;
    let done = a.ready().and_then(|()| story(&mut one, &mut two, &a));
    let done = told_beside(one, &a, done);
    let gone = told_beside(two, &a, done);
    gone?;
    for n in [1, 2] {
        link(&a, n, "down").context("the guest has ended")?;
    }
    a.law()?;
    a.stop()
}

fn link(a: &Appliance, n: u8, state: &str) -> Result<()> {
    until(
        &format!("the link of guest{n} is {state}"),
        secs(10),
        || Ok(a.json(&format!("interface show guest{n}"))?[0]["link"] == state),
    )
}

fn story(one: &mut Vm, two: &mut Vm, a: &Appliance) -> Result<()> {
    for (vm, n) in [(&mut *one, 1), (&mut *two, 2)] {
        vm.guest.run(&format!(
            "ip netns add g && ip link set v{n} netns g && ip -n g link set lo up && ip -n g link set v{n} up &&
             ip -n g addr add 10.0.{n}.2/24 dev v{n} && ip -n g addr add 2001:db8:{n}::2/64 dev v{n} nodad &&
             ip -n g route add default via 10.0.{n}.1 && ip -n g -6 route add default via 2001:db8:{n}::1"
        ))?;
        link(a, n, "up")?;
    }
    ping(one, "g", "10.0.1.2", "10.0.2.2")?;
    ping(two, "g", "10.0.2.2", "10.0.1.2")?;
    ping(one, "g", "2001:db8:1::2", "2001:db8:2::2")?;
    ping(two, "g", "2001:db8:2::2", "2001:db8:1::2")?;
    let before = (
        a.json("interface show guest1")?,
        a.json("interface show guest2")?,
    );
    for port in 5201..=5203 {
        serve(two, "g", port)?;
    }
    let tcp = transfer(one, "10.0.2.2", "-p 5201 -t 2")?;
    let tcp6 = transfer(one, "2001:db8:2::2", "-p 5202 -t 2 -R")?;
    let udp = transfer(one, "10.0.2.2", "-p 5203 -u -b 5M -l 1000 -t 2")?;
    progress::note(&format!(
        "between the guests: {tcp:.0} Mbit/s of TCP, {tcp6:.0} back by IPv6, {udp:.1} of UDP"
    ));
    a.law()?;
    let after = (
        a.json("interface show guest1")?,
        a.json("interface show guest2")?,
    );
    unseen(&before.0, &after.0)?;
    unseen(&before.1, &after.1)
}

/// Megabits a second from the first guest to the other.
fn transfer(vm: &mut Vm, to: &str, more: &str) -> Result<f64> {
    let said = within(vm, "g", &format!("iperf3 -J -c {to} {more}"))?;
    let said: Value = serde_json::from_str(&said)?;
    let end = &said["end"];
    let sum = if end["sum_received"].is_object() {
        &end["sum_received"]
    } else {
        &end["sum"]
    };
    let lost = end["sum"]["lost_percent"].as_f64().unwrap_or(0.0);
    let mbps = sum["bits_per_second"]
        .as_f64()
        .context("iperf3 gave no sum")?
        / 1e6;
    ensure!(
        mbps > 1.0 && lost < 20.0,
        "{more}: {mbps:.2} Mbit/s, {lost} % lost: {end}"
    );
    Ok(mbps)
}

/// What went through was seen by the workers alone: hardly anything was handed to the kernel, or came from it.
fn unseen(before: &Value, after: &Value) -> Result<()> {
    let more = |key: &str| -> Result<u64> {
        let value = |v: &Value| {
            v[0][key]
                .as_u64()
                .with_context(|| format!("no {key} in {v}"))
        };
        Ok(value(after)? - value(before)?)
    };
    let (rx, tx, punted, injected) = (
        more("rx_packets")?,
        more("tx_packets")?,
        more("punted")?,
        more("injected")?,
    );
    ensure!(
        rx > 500 && tx > 500 && punted + injected < 50,
        "{rx} came, {tx} went, of which {punted} to the kernel and {injected} from it"
    );
    Ok(())
}
