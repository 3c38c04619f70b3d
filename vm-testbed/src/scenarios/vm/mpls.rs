//! Kernel MPLS as the neighbour, which the build machines' own kernel has not: two Linux label routers, each in a namespace of
//! one guest, at either side of an appliance, and a host beside it.
//!
//! ```text
//!   pe1 (guest) ─left─ appliance ─right─ pe2 (guest)
//!                          │ lan
//!                         h3 (host)
//! ```
//! Read RFC 3031 3.10-3.14, RFC 3032 2.4 and 3, RFC 3443 (uniform), RFC 4950. Linux copies the TTL on push, and writes it back on
//! pop; a label with `dev lo` is popped, and what lies under it is looked up.

use anyhow::{Context, Result, ensure};

use super::neighbour::{heard, listen, ping, port, serve, within};
use super::{start_beside, told_beside};
use crate::lab::{Appliance, Driver, Flavor, Host, Lab, Netns};
use crate::scenarios::{self, pages};
use crate::suite::Options;
use crate::vm::{Card, Spec, Vm};

const CARDS: &[Card] = &[port("left", 1), port("right", 2)];
const GUEST: Spec = Spec::linux("mpls-guest", CARDS);

/// The guest: addresses on the links and on the loopback, and what each router does with labels.
///
/// | label | pushed by | does |
/// |---|---|---|
/// | 100, 101 | pe1, pe2 | swapped for 200 and 201 |
/// | 102 | pe1, pe2 | popped by the appliance, for the host |
/// | 103 | pe1 | swapped for two, 410 and 401 |
/// | 104 | pe2 | popped on the way to pe1 |
/// | 300, 400/401 | the appliance | what the host sends to pe1, and with two labels to pe2 |
const SETUP: &str = r"
modprobe mpls_router && modprobe mpls_iptunnel || exit 1
for n in 1 2; do
    [ $n = 1 ] && dev=left || dev=right
    pe=pe$n
    ip netns add $pe
    ip link set $dev netns $pe
    in='ip netns exec '$pe
    $in sysctl -qw net.mpls.platform_labels=100000 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
        net.mpls.conf.$dev.input=1 net.mpls.conf.lo.input=1
    ip -n $pe link set lo up
    ip -n $pe link set $dev up
    ip -n $pe addr add 10.0.$n.2/24 dev $dev
    ip -n $pe addr add 2001:db8:a$n::2/64 dev $dev nodad
    for a in $n 10$n; do
        ip -n $pe addr add 198.51.100.$a/32 dev lo
        ip -n $pe addr add 2001:db8:f::$a/128 dev lo
    done
    via4='via inet 10.0.'$n'.1 dev '$dev
    via6='via inet6 2001:db8:a'$n'::1 dev '$dev
    ip -n $pe route add 10.0.3.0/24 encap mpls 102 $via4
    ip -n $pe route add 2001:db8:3::/64 encap mpls 102 $via6
    push() {
        ip -n $pe route add 198.51.100.$1/32 encap mpls $2 $via4
        ip -n $pe -6 route add 2001:db8:f::$1/128 encap mpls $2 $via6
    }
    if [ $n = 1 ]; then
        for label in 201 300; do ip -n $pe -f mpls route add $label dev lo || exit 1; done
        push 2 100 && push 102 103 || exit 1
    else
        for label in 200 400 401 410; do ip -n $pe -f mpls route add $label dev lo || exit 1; done
        push 1 101 && push 101 104 || exit 1
    fi
done
";

/// The appliance's side of [`SETUP`].
const LABELS: &str = r#"
[[label]]
in = 100
action = "swap"
out = [200]
via = "10.0.2.2"

[[label]]
in = 101
action = "swap"
out = [201]
via = "10.0.1.2"

[[label]]
in = 102
action = "pop"

[[label]]
in = 103
action = "swap"
out = [410, 401]
via = "10.0.2.2"

[[label]]
in = 104
action = "pop"
via = "10.0.1.2"
"#;

/// Paths of labels through the appliance between two Linux label routers and a host: push, swap, pop, penultimate pop, stacks
/// of two; both ways, both families, TCP; tcpdump and traceroute in the guest read the labels.
///
/// # Errors
/// When one of this is not so.
pub fn linux_mpls(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("linux-mpls")?;
    let r = lab.router("dut")?;
    let host = Host::new("h3", &["10.0.3.2/24", "2001:db8:3::2/64"])
        .gateway("10.0.3.1")
        .gateway("2001:db8:3::1");
    let h3 = lab.host(&host, &r, "lan")?;
    let mut vm = start_beside(&GUEST, &lab, &r)?;
    vm.guest.run(SETUP).context("setting the guest up")?;
    let a = appliance(&lab, &r, &o.flavor)?;
    let done = story(&mut vm, &h3, &a);
    told_beside(vm, &a, done)?;
    a.law()?;
    a.stop()
}

fn appliance(lab: &Lab, r: &Netns, flavor: &Flavor) -> Result<Appliance> {
    let flavor = Flavor {
        driver: Driver::AfPacket,
        ..*flavor
    };
    let mut config = flavor
        .config("dut")
        .interface("lan0", "lan", &["10.0.3.1/24", "2001:db8:3::1/64"], "")
        .section(LABELS);
    for (n, dev) in [(1, "left"), (2, "right")] {
        let (v4, v6) = (format!("10.0.{n}.1/24"), format!("2001:db8:a{n}::1/64"));
        config = config.interface(&format!("{dev}0"), dev, &[&v4, &v6], "mpls = true");
    }
    for (address, n, labels) in [("1", 1, "[300]"), ("102", 2, "[400, 401]")] {
        for (prefix, via) in [
            (format!("198.51.100.{address}/32"), format!("10.0.{n}.2")),
            (
                format!("2001:db8:f::{address}/128"),
                format!("2001:db8:a{n}::2"),
            ),
        ] {
            config = config.route(&prefix, &via, &format!("label = {labels}"));
        }
    }
    lab.start("dut", r, &config)
}

fn story(vm: &mut Vm, h3: &Netns, a: &Appliance) -> Result<()> {
    listen(vm, "pe1", "left", "mpls")?;
    listen(vm, "pe2", "right", "mpls")?;
    for (one, two, far, near) in [
        (
            "198.51.100.1",
            "198.51.100.2",
            "198.51.100.102",
            "198.51.100.101",
        ),
        (
            "2001:db8:f::1",
            "2001:db8:f::2",
            "2001:db8:f::102",
            "2001:db8:f::101",
        ),
    ] {
        ping(vm, "pe1", one, two).context("swapped, both ways")?;
        ping(vm, "pe1", one, far).context("swapped for two labels")?;
        ping(vm, "pe2", two, near).context("popped on the way to the neighbour")?;
        for to in [one, far] {
            scenarios::reach(h3, to).context("pushed")?;
            scenarios::ping(h3, to, 20).context("pushed")?;
        }
    }
    for (ip, one, two, far, near, h3) in [
        (
            "IP ",
            "198.51.100.1",
            "198.51.100.2",
            "198.51.100.102",
            "198.51.100.101",
            "10.0.3.2",
        ),
        (
            "IP6 ",
            "2001:db8:f::1",
            "2001:db8:f::2",
            "2001:db8:f::102",
            "2001:db8:f::101",
            "2001:db8:3::2",
        ),
    ] {
        let (ask, answer) = ("echo request", "echo reply");
        let flow = |from: &str, to: &str| format!("{from} > {to}: ");
        let top = |label: u32, ttl: u8| format!("MPLS (label {label}, tc 0, [S], ttl {ttl})");
        let pair = |outer: u32| format!("MPLS (label {outer}, tc 0, ttl 63)");
        let inner = "(label 401, tc 0, [S], ttl 63)";
        // The TTL of a label is one less than what it was when the packet came into the appliance.
        heard(
            vm,
            "left",
            &[
                &[&top(100, 64), ip, &flow(one, two), ask],
                &[&top(201, 63), ip, &flow(two, one), answer],
                &[&top(103, 64), ip, &flow(one, far), ask],
                &[&top(300, 63), ip, &flow(h3, one), ask],
                &[&top(102, 64), ip, &flow(one, h3), answer],
            ],
        )?;
        heard(
            vm,
            "right",
            &[
                &[&top(200, 63), ip, &flow(one, two), ask],
                &[&top(101, 64), ip, &flow(two, one), answer],
                &[&pair(410), inner, ip, &flow(one, far), ask],
                &[&pair(400), inner, ip, &flow(h3, far), ask],
                &[&top(104, 64), ip, &flow(two, near), ask],
            ],
        )?;
    }
    traced(vm)?;
    tcp(vm, h3)?;
    let drops = a.json("drop show")?;
    ensure!(
        !drops.to_string().contains("label"),
        "labels were dropped: {drops}"
    );
    Ok(())
}

/// Traceroute in the guest shows the appliance as a hop, with the label by which the probe came (RFC 4950).
fn traced(vm: &mut Vm) -> Result<()> {
    let said = within(
        vm,
        "pe1",
        "traceroute -n -e -q 1 -N 1 -w 5 -m 4 -s 198.51.100.1 198.51.100.2",
    )?;
    let first = said.lines().nth(1).unwrap_or_default();
    let last = said.lines().last().unwrap_or_default();
    // Between them Linux, which tells nobody of a label whose TTL is over.
    ensure!(
        first.contains("10.0.1.1") && first.contains("L=100,") && last.contains("198.51.100.2"),
        "traceroute -e says:\n{said}"
    );
    Ok(())
}

/// TCP from the host to the guest, labelled both ways: pings alone would not show a wrong checksum.
fn tcp(vm: &mut Vm, h3: &Netns) -> Result<()> {
    serve(vm, "pe1", 5201)?;
    let said = h3.run("iperf3 -J -c 198.51.100.1 -t 1 -M 1400 --connect-timeout 10000")?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    let bytes = said["end"]["sum_received"]["bytes"].as_u64();
    ensure!(
        bytes.is_some_and(|b| b > 100_000),
        "iperf3: {}",
        said["end"]
    );
    Ok(())
}
