//! An MPLS core and an L3VPN between appliances on the host and Linux routers in one guest: kernel MPLS and VRFs, each with FRR's
//! daemons in a namespace of its own. LDP gives the labels of the core, BGP those of the VPN; nothing is written down on either side.
//!
//! ```text
//!  h1 ─lan─ pe1 ────core──── p ──── pe2 ─ VRF blue ─ ce, AS 65009: 172.16.9.0/24
//!        (appliance)    (Linux)   (Linux)           (FRR)
//!                           │east
//!  h3 ─lan─────────────── pe3 ────west──── pe4
//!                    (appliance)         (Linux)
//! ```
//! All but ce speak LDP; pe1, pe2 and pe3 have VRF blue, and BGP with each other. For the way between pe2 and pe4 both p and pe3 are label
//! routers in the middle.
//! Read RFC 4364 4 and 5, RFC 4659 3.2.1.2 (a VPN of IPv6 over a core of IPv4), RFC 5036 2. Linux answers no LSP ping: for a router of its
//! own the trace has a hop that nobody answers at.
//!
//! FRR 8.4 learns, chooses and tells the VPN's routes of IPv6, but gives the kernel a next hop of IPv4 for them, which that refuses
//! ("IPv6 routes can not use an IPv4 nexthop"). So the labels that FRR has found for them are written into the kernel by [`SIX`], with
//! the next hop as the kernel wants it.

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::frr::{self, Router, family, neighbor};
use super::neighbour::{THROUGH, heard, listen, ping, port, serve};
use super::{start_beside, told_beside};
use crate::lab::wait::{eventually, secs, until};
use crate::lab::{Appliance, Config, Driver, Flavor, Host, Lab, Netns};
use crate::progress;
use crate::scenarios::{self, pages};
use crate::suite::Options;
use crate::vm::{Card, Spec, Vm};

const CARDS: &[Card] = &[port("core", 1), port("east", 2), port("west", 3)];
const GUEST: Spec = Spec::linux("frr-pe-guest", CARDS);

/// The customer's hosts: at pe1, at pe3, and what is behind ce; in both families.
const H1: [&str; 2] = ["10.11.0.2", "2001:db8:11::2"];
const H3: [&str; 2] = ["10.13.0.2", "2001:db8:13::2"];
const FAR: [&str; 2] = ["172.16.9.1", "2001:db8:c9::1"];
/// Loopbacks.
const PE1: &str = "192.0.2.1";
const P: &str = "192.0.2.2";
const PE2: &str = "192.0.2.4";
const PE3: &str = "192.0.2.3";
const PE4: &str = "192.0.2.5";

/// The kernel's part: links, addresses, loopbacks, the VRF. Routes to loopbacks are given to FRR, but for p, which pushes nothing.
const SETUP: &str = r"
join() {
    ip link add $2-$1 netns $1 type veth peer name $1-$2 netns $2 || exit 1
    for e in $1:$2-$1 $2:$1-$2; do
        ip netns exec ${e%:*} ethtool -K ${e#*:} tx off tso off gso off gro off >/dev/null
    done
}
for n in p pe2 pe4 ce; do
    ip netns add $n && ip -n $n link set lo up || exit 1
    ip netns exec $n sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.mpls.platform_labels=100000
done
ip link set core netns p; ip link set east netns p; ip link set west netns pe4
join p pe2
join pe2 ce
ip -n pe2 link add blue type vrf table 10 && ip -n pe2 link set blue up || exit 1
ip -n pe2 link set ce-pe2 master blue
addr() {
    ip -n $1 link set $2 up
    ip netns exec $1 sysctl -qw net.mpls.conf.$2.input=1
    ip -n $1 addr add $3 dev $2
    [ -z $4 ] || ip -n $1 addr add $4 dev $2 nodad
}
addr p core 10.0.1.2/24
addr p pe2-p 10.0.2.1/24
addr p east 10.0.3.1/24
addr p lo 192.0.2.2/32
addr pe2 p-pe2 10.0.2.2/24
addr pe2 lo 192.0.2.4/32
addr pe2 ce-pe2 172.16.1.1/24 2001:db8:c::1/64
addr pe4 west 10.0.4.2/24
addr pe4 lo 192.0.2.5/32
addr ce pe2-ce 172.16.1.2/24 2001:db8:c::2/64
addr ce lo 172.16.9.1/24 2001:db8:c9::1/64
ip -n ce route add default via 172.16.1.1
ip -n ce -6 route add default via 2001:db8:c::1
ip -n p route add 192.0.2.1/32 via 10.0.1.1
ip -n p route add 192.0.2.4/32 via 10.0.2.2
for a in 3 5; do ip -n p route add 192.0.2.$a/32 via 10.0.3.2; done
";

/// Routes of the appliances' customers in pe2's VRF, with the labels that FRR shows: its own way for them the kernel does not take.
const SIX: &str = r#"
for p in 2001:db8:11::/64 2001:db8:13::/64; do
    n=0
    while :; do
        l=$(vtysh --vty_socket /run/frr/pe2 -d zebra -c "show ipv6 route vrf blue $p" | sed -n 's/.*label \([0-9]*\/[0-9]*\).*/\1/p')
        [ -n "$l" ] && break
        n=$((n+1)); [ $n = 60 ] && { echo "FRR has no labels for $p"; exit 1; }
        sleep 0.5
    done
    ip -n pe2 -6 route replace $p table 10 encap mpls $l via ::ffff:10.0.2.1 dev p-pe2 onlink || exit 1
done
"#;

/// ldpd's configuration.
fn ldp(id: &str, interfaces: &[&str]) -> String {
    let interfaces: String = interfaces
        .iter()
        .map(|i| format!("  interface {i}\n  exit\n"))
        .collect();
    format!(
        "mpls ldp\n router-id {id}\n address-family ipv4\n  discovery transport-address {id}\n  discovery hello interval 1\n  \
         discovery hello holdtime 3\n{interfaces} exit-address-family\n"
    )
}

/// Routes to loopbacks by one neighbour, for staticd.
fn routes(to: &[&str], via: &str) -> String {
    to.iter()
        .map(|a| format!("ip route {a}/32 {via}\n"))
        .collect()
}

/// bgpd of pe2: the VPN with both appliances, and ce in the VRF.
fn pe2() -> String {
    let edges = [PE1, PE3];
    let mut s = format!("router bgp 64512\n bgp router-id {PE2}\n no bgp default ipv4-unicast\n");
    for e in edges {
        s += &neighbor(e, 64512, &[&format!("update-source {PE2}")]);
    }
    s += &family("ipv4 vpn", &edges, "");
    s += &family("ipv6 vpn", &edges, "");
    s += "exit\nrouter bgp 64512 vrf blue\n bgp router-id 192.0.2.4\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n";
    let ce = ["172.16.1.2", "2001:db8:c::2"];
    for c in ce {
        s += &neighbor(c, 65009, &[]);
    }
    let vpn = "label vpn export auto\nrd vpn export 64512:4\nrt vpn both 64512:7\nexport vpn\nimport vpn\nredistribute connected";
    s += &family("ipv4 unicast", &ce[..1], vpn);
    s += &family("ipv6 unicast", &ce[1..], vpn);
    s + "exit\n"
}

/// bgpd of ce: what is behind it.
fn ce() -> String {
    let pe = ["172.16.1.1", "2001:db8:c::1"];
    let mut s = String::from(
        "router bgp 65009\n bgp router-id 172.16.9.1\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         no bgp network import-check\n",
    );
    for p in pe {
        s += &neighbor(p, 64512, &[]);
    }
    s += &family("ipv4 unicast", &pe[..1], "network 172.16.9.0/24");
    s += &family("ipv6 unicast", &pe[1..], "network 2001:db8:c9::/64");
    s + "exit\n"
}

/// An appliance at the edge, with a host in VRF blue.
fn edge(
    flavor: &Flavor,
    name: &str,
    own: &str,
    cards: &[(&str, &str)],
    ways: &[(&[&str], &str)],
) -> Config {
    let n = own.trim_start_matches("192.0.2.");
    let mut c = flavor
        .config(name)
        .router_id(own)
        .section(&format!("[label-range]\ndynamic = \"{n}000-{n}999\""));
    let lan = [format!("10.1{n}.0.1/24"), format!("2001:db8:1{n}::1/64")];
    c = c.interface("lan0", "lan", &[&lan[0], &lan[1]], "vrf = \"blue\"");
    let whole = format!("{own}/32");
    let mut names = vec![];
    for (i, (card, address)) in cards.iter().enumerate() {
        let all = [*address, &whole];
        let all = &all[..if i == 0 { 2 } else { 1 }];
        c = c.interface(&format!("{card}0"), card, all, "mpls = true");
        names.push(format!("\"{card}0\""));
    }
    for (to, via) in ways {
        for a in *to {
            c = c.route(&format!("{a}/32"), via, "");
        }
    }
    let mut bgp = String::from("[bgp]\nas = 64512\nhold-time = 9\n");
    for other in [PE1, PE2, PE3].iter().filter(|a| **a != own) {
        bgp += &format!(
            "[bgp.neighbor.\"{other}\"]\nas = 64512\nfamilies = [\"vpnv4\", \"vpnv6\"]\nsource-address = \"{own}\"\nconnect-retry = 1\n"
        );
    }
    c.section(&format!(
        "[ldp]\nrouter-id = \"{own}\"\ninterfaces = [{}]\nhello-hold-time = 3\nhold-time = 15",
        names.join(", ")
    ))
    .section(&bgp)
    .section(&format!(
        "[vrf.blue]\nrd = \"64512:{n}\"\nimport = [\"target:64512:7\"]\nexport = [\"target:64512:7\"]"
    ))
}

/// Who is on the host.
struct Bed {
    h1: Netns,
    h3: Netns,
    pe1: Appliance,
    pe3: Appliance,
}

/// LDP and an L3VPN among two appliances, and Linux with FRR as P, PE and CE: pings and TCP between all sites, both ways and in both
/// families, by the labels that were told, as tcpdump reads them; the appliance as P; LSP pings through Linux; what the CE takes back.
///
/// # Errors
/// When one of this is not so.
pub fn frr_pe(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 2)?;
    let mut lab = Lab::new("frr-pe")?;
    let (r1, r3) = (lab.router("pe1")?, lab.router("pe3")?);
    let host = |name: &str, a: [&str; 2]| {
        let own = [format!("{}/24", a[0]), format!("{}/64", a[1])];
        let first = |a: &str| format!("{}1", a.trim_end_matches('2'));
        Host::new(name, &[&own[0], &own[1]])
            .gateway(&first(a[0]))
            .gateway(&first(a[1]))
    };
    let h1 = lab.host(&host("h1", H1), &r1, "lan")?;
    let h3 = lab.host(&host("h3", H3), &r3, "lan")?;
    let mut vm = start_beside(&GUEST, &lab, &r1)?;
    for card in ["east", "west"] {
        r1.ip(&format!("link set {card} netns {}", r3.name()))?;
        Lab::port_end(&r3, card)?;
    }
    let flavor = Flavor {
        driver: Driver::AfPacket,
        ..o.flavor
    };
    let one = edge(
        &flavor,
        "pe1",
        PE1,
        &[("core", "10.0.1.1/24")],
        &[(&[P, PE2, PE3, PE4], "10.0.1.2")],
    );
    let three = edge(
        &flavor,
        "pe3",
        PE3,
        &[("east", "10.0.3.2/24"), ("west", "10.0.4.1/24")],
        &[(&[P, PE1, PE2], "10.0.3.1"), (&[PE4], "10.0.4.2")],
    );
    let pe1 = lab.spawn("pe1", &r1, &one)?;
    let pe3 = lab.spawn("pe3", &r3, &three)?;
    vm.guest
        .run(&format!("{}{SETUP}", frr::MODULES))
        .context("setting the guest up")?;
    for a in [&pe1, &pe3] {
        a.ready()?;
    }
    let bed = Bed { h1, h3, pe1, pe3 };
    let done = story(&mut vm, &bed);
    if done.is_err() {
        let state = frr::state(&mut vm);
        vm.keep("state", &state);
    }
    told_beside(vm, &bed.pe1, done)?;
    for a in [bed.pe1, bed.pe3] {
        a.law()?;
        a.stop()?;
    }
    Ok(())
}

fn story(vm: &mut Vm, bed: &Bed) -> Result<()> {
    let all = [PE1, P, PE3, PE4];
    let pe2_routes = routes(&all, "10.0.2.1");
    let pe4_routes = routes(&[PE1, P, PE2, PE3], "10.0.4.1");
    let (p, edge2, edge4) = (
        ldp(P, &["core", "pe2-p", "east"]),
        ldp(PE2, &["p-pe2"]),
        ldp(PE4, &["west"]),
    );
    let (vpn, customer) = (pe2(), ce());
    frr::start(
        vm,
        &[
            Router {
                ns: "p",
                zebra: true,
                daemons: &[("ldpd", &p)],
            },
            Router {
                ns: "pe2",
                zebra: true,
                daemons: &[("staticd", &pe2_routes), ("ldpd", &edge2), ("bgpd", &vpn)],
            },
            Router {
                ns: "pe4",
                zebra: true,
                daemons: &[("staticd", &pe4_routes), ("ldpd", &edge4)],
            },
            Router {
                ns: "ce",
                zebra: false,
                daemons: &[("bgpd", &customer)],
            },
        ],
    )?;
    core(vm, bed).context("the core")?;
    let labels = learned(bed)?;
    let six = vm.guest.finish_within(SIX, secs(60))?;
    ensure!(six.ok(), "{}", six.text());
    vpn_frames(vm, bed, labels).context("the VPN")?;
    tcp(vm, bed)?;
    lsp(bed).context("LSP ping")?;
    withdrawn(vm, bed)
}

/// The label that an appliance pushes on what it sends to a router's loopback.
fn transport(a: &Appliance, to: &str) -> Result<u64> {
    let what = format!("LDP has a label for {to}");
    eventually(&what, secs(60), || {
        let routes = a.json(&format!("route show {to}/32"))?;
        let all = routes.as_array().into_iter().flatten();
        let mut used = all.filter(|r| r["protocol"] == "ldp" && r["installed"] == true);
        Ok(used.next().and_then(|r| r["via"][0]["label"][0].as_u64()))
    })
}

/// Between pe2 and pe4 two routers swap or take off labels: Linux, and an appliance.
fn core(vm: &mut Vm, bed: &Bed) -> Result<()> {
    let there = transport(&bed.pe3, PE2)?;
    listen(vm, "p", "east", "mpls")?;
    listen(vm, "pe4", "west", "mpls")?;
    ping(vm, "pe2", PE2, PE4)?;
    ping(vm, "pe4", PE4, PE2)?;
    let rows = bed.pe3.json("label show")?;
    let own = |prefix: &str| {
        let mut all = rows.as_array().into_iter().flatten();
        let row = all.find(|r| r["fec"] == prefix && r["owner"] == "ldp");
        let label = row.and_then(|r| r["label"].as_u64());
        label.with_context(|| format!("no label of LDP's for {prefix}: {rows}"))
    };
    let (to2, to4) = (own("192.0.2.4/32")?, own("192.0.2.5/32")?);
    let flow = |from: &str, to: &str| format!("{from} > {to}: ");
    let (forth, back) = (flow(PE4, PE2), flow(PE2, PE4));
    let top = |label: u64, ttl: u8| format!("MPLS (label {label}, tc 0, [S], ttl {ttl})");
    heard(vm, "west", &[&[&top(to2, 64), &forth, "echo request"]])?;
    heard(
        vm,
        "east",
        &[
            &[&top(there, 63), &forth, "echo request"],
            &[&top(to4, 63), &back, "echo request"],
        ],
    )
}

/// pe1 has what is behind ce, with pe2's label for each family, which are returned.
fn learned(bed: &Bed) -> Result<[u64; 2]> {
    let mut labels = [0; 2];
    for (i, prefix) in ["172.16.9.0/24", "2001:db8:c9::/64"]
        .into_iter()
        .enumerate()
    {
        let what = format!("pe1 has {prefix} in its VRF");
        let mut last = Value::Null;
        let path = eventually(&what, secs(60), || {
            last = bed.pe1.json(&format!("bgp route {prefix} vrf blue"))?;
            let mut all = last.as_array().into_iter().flatten();
            Ok(all.find(|r| r["best"] == true).cloned())
        })
        .with_context(|| last.to_string())?;
        let targets = path["ext_communities"].as_array();
        ensure!(
            path["next_hop"] == PE2
                && path["rd"] == "64512:4"
                && path["as_path"] == "65009"
                && targets.is_some_and(|t| t.iter().any(|t| t == "target:64512:7")),
            "{path}"
        );
        labels[i] = path["label"][0].as_u64().context("no label")?;
    }
    Ok(labels)
}

/// Pings between the sites, and on the wires the labels that were told.
fn vpn_frames(vm: &mut Vm, bed: &Bed, vpn: [u64; 2]) -> Result<()> {
    let core = transport(&bed.pe1, PE2)?;
    let own = bed.pe1.json("vrf show blue")?[0]["label"][0]
        .as_u64()
        .context("VRF blue has no label")?;
    listen(vm, "p", "core", "mpls")?;
    listen(vm, "p", "pe2-p", "mpls")?;
    let flow = |from: &str, to: &str| format!("{from} > {to}: ");
    for (i, ask, answer) in [
        (0, "ICMP echo request", "ICMP echo reply"),
        (1, "ICMP6, echo request", "ICMP6, echo reply"),
    ] {
        let (h1, far, h3, vpn) = (H1[i], FAR[i], H3[i], vpn[i]);
        reach(&bed.h1, far)?;
        scenarios::ping(&bed.h1, far, 20)?;
        ping(vm, "ce", far, h1)?;
        reach(&bed.h3, far)?;
        reach(&bed.h1, h3)?;
        scenarios::ping(&bed.h3, h1, 20)?;
        let (there, back) = (flow(h1, far), flow(far, h1));
        let top = format!("MPLS (label {core}, tc 0, ttl 63)");
        let inner = format!("(label {vpn}, tc 0, [S], ttl 63)");
        let home = format!("MPLS (label {own}, tc 0, [S], ttl ");
        // p takes off what leads to its neighbours.
        heard(
            vm,
            "core",
            &[
                &[&top, &inner, &there, ask],
                &[&home, &back, answer],
                &[&home, &back, ask],
            ],
        )?;
        let below = format!("MPLS (label {vpn}, tc 0, [S], ttl ");
        let stack = format!("(label {own}, tc 0, [S], ttl ");
        heard(
            vm,
            "pe2-p",
            &[
                &[&below, &there, ask],
                &["MPLS (label ", &stack, &back, answer],
                &["MPLS (label ", &stack, &back, ask],
            ],
        )?;
    }
    Ok(())
}

/// As [`scenarios::reach`], with the time that an emulated machine may take.
fn reach(from: &Netns, to: &str) -> Result<()> {
    let what = format!("{} reaches {to}", from.name());
    until(&what, THROUGH, || {
        Ok(from.finish(&format!("ping -n -c 1 -W 1 {to}"))?.ok())
    })
}

/// TCP between h1 and what is behind ce, both ways at once, in both families.
fn tcp(vm: &mut Vm, bed: &Bed) -> Result<()> {
    for (to, port) in FAR.iter().zip(5201..) {
        serve(vm, "ce", port)?;
        let line =
            format!("iperf3 -J -c {to} -p {port} -t 1 -M 1300 --bidir --connect-timeout 10000");
        let said: Value = serde_json::from_str(&bed.h1.run(&line)?)?;
        let mbps = |what: &str| -> Result<f64> {
            let rate = said["end"][what]["bits_per_second"].as_f64();
            let rate = rate.with_context(|| format!("iperf3 gave no {what}: {said}"))?;
            ensure!(
                rate > 200_000.0,
                "TCP with {to}, {what}: {rate} bit/s: {}",
                said["end"]
            );
            Ok(rate / 1e6)
        };
        let (there, back) = (mbps("sum_received")?, mbps("sum_received_bidir_reverse")?);
        progress::note(&format!(
            "TCP by the VPN: {there:.0} Mbit/s to {to}, {back:.0} back"
        ));
    }
    Ok(())
}

/// From one appliance to the other through Linux, which says nothing of itself: LDP's prefix, and the VPN's in both families. At the
/// end of the path that is Linux nobody answers.
fn lsp(bed: &Bed) -> Result<()> {
    let asked = |line: &str| -> Result<(Vec<Value>, bool)> {
        let done = bed.pe1.ctl(&format!("--json lsp {line}"))?;
        let rows = serde_json::from_str(&done.stdout);
        let rows = rows.with_context(|| format!("lsp {line}: {}", done.text()))?;
        Ok((rows, done.status == Some(0)))
    };
    let ldp = format!("ldp {PE3}/32");
    let vpn = |p: &str| format!("vpn {p} rd 64512:3");
    for (fec, fecs) in [
        (format!("{PE3}/32"), vec![ldp.clone()]),
        (
            "10.13.0.0/24 vrf blue".into(),
            vec![ldp.clone(), vpn("10.13.0.0/24")],
        ),
        (
            "2001:db8:13::/64 vrf blue".into(),
            vec![ldp, vpn("2001:db8:13::/64")],
        ),
    ] {
        let (rows, whole) = asked(&format!("ping {fec} count 2 interval 50"))?;
        let good = |r: &Value| {
            r["verdict"] == "end" && r["from"] == PE3 && r["fec"] == serde_json::json!(fecs)
        };
        ensure!(whole && rows.iter().all(good), "ping {fec}: {rows:?}");
        let (rows, whole) = asked(&format!("trace {fec} count 1 timeout 500"))?;
        let verdicts: Vec<&Value> = rows.iter().map(|r| &r["verdict"]).collect();
        ensure!(
            whole && verdicts == ["lost", "end"],
            "trace {fec}: {rows:?}"
        );
    }
    let (rows, whole) = asked("ping 172.16.9.0/24 vrf blue count 1 timeout 300")?;
    ensure!(
        !whole
            && rows[0]["verdict"] == "lost"
            && rows[0]["fec"][1] == "vpn 172.16.9.0/24 rd 64512:4",
        "{rows:?}"
    );
    Ok(())
}

/// What the CE takes back is gone at the appliances, and the rest is not.
fn withdrawn(vm: &mut Vm, bed: &Bed) -> Result<()> {
    frr::vtysh(
        vm,
        "ce",
        "bgpd",
        &[
            "configure terminal",
            "router bgp 65009",
            "address-family ipv4 unicast",
            "no network 172.16.9.0/24",
        ],
    )?;
    for a in [&bed.pe1, &bed.pe3] {
        until("the route is gone", THROUGH, || {
            let routes = a.json("route show vrf blue")?.to_string();
            if !routes.contains("2001:db8:c9::/64") {
                return Err(anyhow!("others are gone too: {routes}"));
            }
            Ok(!routes.contains("172.16.9.0/24"))
        })?;
    }
    let done = bed.h1.finish(&format!("ping -n -c 1 -W 1 {}", FAR[0]))?;
    ensure!(!done.ok(), "it is reached: {}", done.text());
    scenarios::ping(&bed.h1, FAR[1], 5).map(drop)
}
