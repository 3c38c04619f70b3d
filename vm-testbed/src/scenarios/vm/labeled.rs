//! Labelled unicast (RFC 8277) over several ASes, all but two of whose routers are Linux with FRR in one guest: labels that BGP tells
//! are forwarded by kernel MPLS and by appliances in turn.
//!
//! ```text
//!   n1 ──left── dut ──right── n2 ──far── last
//!  64501       64500         64502      64503
//!  (Linux)  (appliance)     (Linux)   (appliance)
//! ```
//! IPv4 goes over sessions of IPv4, IPv6 over sessions of IPv6. FRR has one table for routes with and without labels, so its own
//! prefixes get there by the other family; it tells them with the implicit null.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::frr::{self, Router, family, neighbor};
use super::neighbour::{heard, listen, ping, port, serve};
use super::{start_beside, told_beside};
use crate::lab::wait::{eventually, secs, until};
use crate::lab::{Appliance, Config, Driver, Flavor, Host, Lab, Netns};
use crate::scenarios::{self, pages};
use crate::suite::Options;
use crate::vm::{Card, Spec, Vm};

const CARDS: &[Card] = &[port("left", 1), port("right", 2), port("far", 3)];
const GUEST: Spec = Spec::linux("labeled-guest", CARDS);

/// An address behind each, in both families.
const N1: [&str; 2] = ["198.51.100.1", "2001:db8:51::1"];
const N2: [&str; 2] = ["203.0.113.1", "2001:db8:9::1"];
/// What is behind the last, which has a label of its own for it.
const LAST: [&str; 2] = ["198.18.0.1", "2001:db8:18::1"];
const LAST_NETS: [&str; 2] = ["198.18.0.0/24", "2001:db8:18::/64"];
/// Of the last itself, which is sent packets without a label.
const END: &str = "192.0.2.9";
/// The host at the appliance in the middle.
const H0: [&str; 2] = ["10.10.0.2", "2001:db8:10::2"];

const SETUP: &str = r"
for n in n1 n2; do
    ip netns add $n && ip -n $n link set lo up || exit 1
    ip netns exec $n sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.mpls.platform_labels=100000
done
addr() {
    [ $2 = lo ] || ip link set $2 netns $1
    ip -n $1 link set $2 up
    ip netns exec $1 sysctl -qw net.mpls.conf.$2.input=1
    ip -n $1 addr add $3 dev $2
    ip -n $1 addr add $4 dev $2 nodad
}
addr n1 left 10.0.1.2/24 2001:db8:a1::2/64
addr n1 lo 198.51.100.1/32 2001:db8:51::1/128
addr n2 right 10.0.2.2/24 2001:db8:a2::2/64
addr n2 far 10.0.3.1/24 2001:db8:a3::1/64
addr n2 lo 203.0.113.1/32 2001:db8:9::1/128
";

/// bgpd of a router: its AS, its networks, and its neighbours, each by both families.
fn bgpd(asn: u32, own: [&str; 2], id: &str, neighbors: &[(u32, [&str; 2])]) -> String {
    let mut s = format!(
        "router bgp {asn}\n bgp router-id {id}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         no bgp network import-check\n"
    );
    for (of, addresses) in neighbors {
        for a in addresses {
            s += &neighbor(a, *of, &[]);
        }
    }
    for (i, name) in ["ipv4", "ipv6"].into_iter().enumerate() {
        let all: Vec<&str> = neighbors.iter().map(|n| n.1[i]).collect();
        s += &family(
            &format!("{name} unicast"),
            &[],
            &format!("network {}", own[i]),
        );
        s += &family(&format!("{name} labeled-unicast"), &all, "");
    }
    s + "exit\n"
}

/// An appliance's BGP: neighbours by AS and link, and the prefixes that it tells with a kind of label.
fn speaker(c: Config, asn: u32, networks: &[(&str, &str)], neighbors: &[(u32, &str)]) -> Config {
    let networks: Vec<String> = networks
        .iter()
        .map(|(p, label)| format!("{{ prefix = \"{p}\", label = \"{label}\" }}"))
        .collect();
    let mut bgp = format!(
        "[bgp]\nas = {asn}\nhold-time = 9\nnetworks = [{}]\n",
        networks.join(", ")
    );
    for (of, link) in neighbors {
        for (a, f) in [
            (format!("10.0.{link}"), "ipv4-labeled-unicast"),
            (
                format!("2001:db8:a{}", link.replace('.', "::")),
                "ipv6-labeled-unicast",
            ),
        ] {
            bgp += &format!(
                "[bgp.neighbor.\"{a}\"]\nas = {of}\nfamilies = [\"{f}\"]\nimport = \"accept-all\"\nexport = \"accept-all\"\nconnect-retry = 1\n"
            );
        }
    }
    c.section(&bgp)
}

fn dut(flavor: &Flavor) -> Config {
    let mpls = "mpls = true";
    let c = flavor
        .config("dut")
        .router_id("192.0.2.5")
        .section("[label-range]\ndynamic = \"5000-5999\"")
        .interface("lan0", "lan", &["10.10.0.1/24", "2001:db8:10::1/64"], "")
        .interface(
            "left0",
            "left",
            &["10.0.1.1/24", "2001:db8:a1::1/64", "192.0.2.5/32"],
            mpls,
        )
        .interface(
            "right0",
            "right",
            &["10.0.2.1/24", "2001:db8:a2::1/64"],
            mpls,
        );
    let own = [
        ("192.0.2.5/32", "implicit-null"),
        ("10.10.0.0/24", "local"),
        ("2001:db8:10::/64", "explicit-null"),
    ];
    speaker(c, 64500, &own, &[(64501, "1.2"), (64502, "2.2")])
}

fn last(flavor: &Flavor) -> Config {
    let addresses = [
        "10.0.3.2/24",
        "2001:db8:a3::2/64",
        "192.0.2.9/32",
        "198.18.0.1/24",
        "2001:db8:18::1/64",
    ];
    let c = flavor
        .config("last")
        .router_id(END)
        .section("[label-range]\ndynamic = \"9000-9999\"")
        .interface("far0", "far", &addresses, "mpls = true");
    let own = [
        ("192.0.2.9/32", "implicit-null"),
        (LAST_NETS[0], "local"),
        (LAST_NETS[1], "local"),
    ];
    speaker(c, 64503, &own, &[(64502, "3.1")])
}

/// Labelled unicast over four ASes, two of them Linux with FRR: who pushes, swaps and takes off, appliances and kernels in turn, in
/// both families and both ways, as tcpdump reads it in the guest; LSP pings through Linux; another label at the end; a prefix that goes.
///
/// # Errors
/// When one of this is not so.
pub fn guest(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 2)?;
    let mut lab = Lab::new("labeled-guest")?;
    let (r, end) = (lab.router("dut")?, lab.router("last")?);
    let host = Host::new("h0", &["10.10.0.2/24", "2001:db8:10::2/64"])
        .gateway("10.10.0.1")
        .gateway("2001:db8:10::1");
    let h0 = lab.host(&host, &r, "lan")?;
    let mut vm = start_beside(&GUEST, &lab, &r)?;
    r.ip(&format!("link set far netns {}", end.name()))?;
    Lab::port_end(&end, "far")?;
    let flavor = Flavor {
        driver: Driver::AfPacket,
        ..o.flavor
    };
    let a = lab.spawn("dut", &r, &dut(&flavor))?;
    let b = lab.spawn("last", &end, &last(&flavor))?;
    vm.guest
        .run(&format!("{}{SETUP}", frr::MODULES))
        .context("setting the guest up")?;
    for a in [&a, &b] {
        a.ready()?;
    }
    let done = story(&mut vm, &h0, &a, &b);
    if done.is_err() {
        let state = frr::state(&mut vm);
        vm.keep("state", &state);
    }
    told_beside(vm, &a, done)?;
    for a in [a, b] {
        a.law()?;
        a.stop()?;
    }
    Ok(())
}

fn story(vm: &mut Vm, h0: &Netns, a: &Appliance, b: &Appliance) -> Result<()> {
    let one = bgpd(
        64501,
        ["198.51.100.0/24", "2001:db8:51::/48"],
        "198.51.100.1",
        &[(64500, ["10.0.1.1", "2001:db8:a1::1"])],
    );
    let two = bgpd(
        64502,
        ["203.0.113.0/24", "2001:db8:9::/48"],
        "203.0.113.1",
        &[
            (64500, ["10.0.2.1", "2001:db8:a2::1"]),
            (64503, ["10.0.3.2", "2001:db8:a3::2"]),
        ],
    );
    frr::start(
        vm,
        &[
            Router {
                ns: "n1",
                zebra: true,
                daemons: &[("bgpd", &one)],
            },
            Router {
                ns: "n2",
                zebra: true,
                daemons: &[("bgpd", &two)],
            },
        ],
    )?;
    for (ns, dev) in [("n1", "left"), ("n2", "right"), ("n2", "far")] {
        listen(vm, ns, dev, "mpls")?;
    }
    for (i, ask) in [(0, "ICMP echo request"), (1, "ICMP6, echo request")] {
        frames(vm, h0, (a, b), (i, ask))?;
    }
    serve(vm, "n2", 5201)?;
    let line = format!(
        "iperf3 -J -c {} -t 1 -M 1300 --bidir --connect-timeout 10000",
        N2[0]
    );
    let said: Value = serde_json::from_str(&h0.run(&line)?)?;
    for what in ["sum_received", "sum_received_bidir_reverse"] {
        let rate = said["end"][what]["bits_per_second"].as_f64();
        ensure!(
            rate.is_some_and(|r| r > 200_000.0),
            "TCP, {what}: {}",
            said["end"]
        );
    }
    lsp(a)?;
    changed(vm, h0, a, b)
}

/// The best path of a labelled prefix: its label, and ours.
fn labels(a: &Appliance, prefix: &str) -> Result<(u64, u64)> {
    let family = match prefix.contains(':') {
        true => "ipv6-labeled-unicast",
        false => "ipv4-labeled-unicast",
    };
    let mut last = Value::Null;
    eventually(&format!("{prefix} has come"), secs(60), || {
        last = a.json(&format!("bgp route {prefix} family {family}"))?;
        let mut all = last.as_array().into_iter().flatten();
        let best = all.find(|p| p["best"] == true);
        Ok(best.and_then(|p| Some((p["label"][0].as_u64()?, p["local_label"].as_u64()?))))
    })
    .with_context(|| last.to_string())
}

/// Everybody reaches everybody in a family, and the labels on the wires are those that were told.
fn frames(
    vm: &mut Vm,
    h0: &Netns,
    (a, b): (&Appliance, &Appliance),
    (i, ask): (usize, &str),
) -> Result<()> {
    let nets = [
        ["198.51.100.0/24", "203.0.113.0/24"],
        ["2001:db8:51::/48", "2001:db8:9::/48"],
    ][i];
    let (far, ours) = labels(a, LAST_NETS[i])?;
    let (near, back) = labels(a, nets[0])?;
    let (beside, there) = labels(a, nets[1])?;
    ensure!(
        (near, beside) == (3, 3) && far >= 16,
        "{near} {beside} {far}: FRR ends the paths to its own, and swaps on others"
    );
    let rows = b.json("label show")?;
    let mut of = rows.as_array().into_iter().flatten();
    let end = of.find(|r| r["fec"] == LAST_NETS[i]);
    let end = end
        .and_then(|r| r["label"].as_u64())
        .context("no label at the end")?;
    ping(vm, "n1", N1[i], N2[i])?;
    ping(vm, "n2", N2[i], N1[i])?;
    ping(vm, "n1", N1[i], LAST[i])?;
    for to in [N1[i], N2[i], LAST[i]] {
        scenarios::reach(h0, to)?;
        scenarios::ping(h0, to, 20)?;
    }
    ping(vm, "n2", N2[i], H0[i])?;
    let flow = |from: &str, to: &str| format!("{from} > {to}: ");
    let top = |label: u64, ttl: u8| format!("MPLS (label {label}, tc 0, [S], ttl {ttl})");
    heard(
        vm,
        "left",
        &[
            &[&top(there, 64), &flow(N1[i], N2[i]), ask],
            &[&top(ours, 64), &flow(N1[i], LAST[i]), ask],
        ],
    )
    .context("pushed by Linux")?;
    heard(
        vm,
        "right",
        &[
            &[&top(back, 64), &flow(N2[i], N1[i]), ask],
            &[&top(far, 63), &flow(N1[i], LAST[i]), ask],
            &[&top(far, 63), &flow(H0[i], LAST[i]), ask],
        ],
    )
    .context("swapped and pushed by the appliance")?;
    heard(
        vm,
        "far",
        &[
            &[&top(end, 62), &flow(N1[i], LAST[i]), ask],
            &[&top(end, 62), &flow(H0[i], LAST[i]), ask],
        ],
    )
    .context("swapped by Linux")
}

/// To the other appliance through Linux, which says nothing of itself.
fn lsp(a: &Appliance) -> Result<()> {
    for fec in [END, LAST_NETS[0], LAST_NETS[1]] {
        let prefix = match fec.contains('/') {
            true => fec.to_owned(),
            false => format!("{fec}/32"),
        };
        let mut said = String::new();
        until(&format!("the path to {fec} is whole"), secs(20), || {
            let done = a.ctl(&format!("--json lsp trace {fec} count 1 timeout 500"))?;
            said = done.text();
            let rows: Vec<Value> = serde_json::from_str(&done.stdout)?;
            let verdicts: Vec<&Value> = rows.iter().map(|r| &r["verdict"]).collect();
            Ok(done.ok()
                && verdicts == ["lost", "end"]
                && rows[1]["from"] == END
                && rows[1]["fec"] == serde_json::json!([format!("bgp {prefix}")]))
        })
        .with_context(|| said.clone())?;
    }
    let done = a.ctl(&format!("lsp ping {END} count 3 interval 20"))?;
    ensure!(done.ok(), "{}", done.text());
    let wrong = a.ctl(&format!("lsp ping {END} type ldp count 1"))?;
    ensure!(
        wrong.status == Some(1) && wrong.text().contains("no mapping for the FEC"),
        "{}",
        wrong.text()
    );
    Ok(())
}

/// What n1 takes back is gone at the appliances, and its other family's is not; a session that ends takes the rest along.
fn changed(vm: &mut Vm, h0: &Netns, a: &Appliance, b: &Appliance) -> Result<()> {
    let back = [
        "configure terminal",
        "router bgp 64501",
        "address-family ipv4 unicast",
        "no network 198.51.100.0/24",
    ];
    frr::vtysh(vm, "n1", "bgpd", &back)?;
    for r in [a, b] {
        until("the route is gone", secs(30), || {
            let routes = r.json("route show protocol bgp")?.to_string();
            Ok(!routes.contains("198.51.100.0/24") && routes.contains("2001:db8:51::/48"))
        })?;
    }
    until("its label too", secs(10), || {
        Ok(!a
            .json("label show")?
            .to_string()
            .contains("198.51.100.0/24"))
    })?;
    let done = h0.finish(&format!("ping -n -c 1 -W 1 {}", N1[0]))?;
    ensure!(!done.ok(), "it is reached: {}", done.text());
    scenarios::ping(h0, N1[1], 5).map(drop)
}
