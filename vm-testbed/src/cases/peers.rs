//! Behaviour that the tests of VPP and grout check and that no other table has: `docs/peers-cases.md` has the whole list.
//! Read RFC 3021 (/31), RFC 1812 5.3.5 (broadcasts), RFC 826, RFC 5227, RFC 4861 7.2, RFC 4291 2.5.6, RFC 3032.

use crate::frame::{
    ARP, BROADCAST, IPV6, Ip4, Ip6, Lse, MPLS, Mac, REPLY, REQUEST, arp, eth, ip6, labelled,
    link_local, mac_of_group, solicit, solicited_node,
};
use crate::lab::wait::secs;
use crate::lab::{Config, Flavor};

use super::answers::ErrorOf;
use super::{Case, Group, case, host, known_hosts, router, to_host, want};

/// The table: several networks of all sizes on port 2.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "peers",
        ports: 2,
        config,
        prepare: || [known_hosts(2, &[2]), tables()].concat(),
        cases: || {
            let mut all = subnets();
            all.extend(neighbours());
            all.extend(labels());
            all.extend(local());
            all
        },
    }
}

fn config(flavor: &Flavor) -> Config {
    let two = [
        "10.0.2.1/24",
        "10.7.0.1/24",
        "10.8.0.0/31",
        "10.9.0.5/30",
        "10.12.0.1/25",
        "2001:db8:2::1/64",
        "2001:db8:72::4/127",
    ];
    flavor
        .config("dut")
        .dataplane("icmp-rate = 100000")
        .interface("p1", "e1", &["10.0.1.1/24", "2001:db8:1::1/64"], "")
        .interface("p2", "e2", &two, "mpls = true")
        .section("[neighbor]\nreachable-time = 30\nretransmit-time = 1\nmax-probes = 3\nqueue = 4")
}

fn tables() -> Vec<String> {
    let mac = host(2, 50).map(|b| format!("{b:02x}")).join(":");
    [
        "route add 198.51.110.0/24 via 10.0.2.40 label 110/111",
        "route add 198.51.112.0/24 via 10.7.0.30",
        "label add 310 swap 410 via 10.0.2.41",
        &format!("neigh add 10.0.2.50 lladdr {mac} dev p2"),
    ]
    .map(str::to_owned)
    .into()
}

fn udp(dst: &str, id: u16) -> Ip4 {
    Ip4::udp("10.0.1.2", dst, 20).with(|p| p.id = id)
}

fn ask(sha: Mac, spa: &str, tpa: &str) -> Vec<u8> {
    eth(BROADCAST, sha, ARP, &arp(REQUEST, sha, spa, [0; 6], tpa))
}

fn answer(from: Mac, spa: &str, tpa: &str) -> Vec<u8> {
    eth(router(2), from, ARP, &arp(REPLY, from, spa, router(2), tpa))
}

/// An unknown host is asked for from that address, and its answer releases what waited.
fn found(name: &str, dst: &str, next: &str, own: &str, n: u8) -> [Case; 2] {
    let p = udp(dst, n.into());
    let out = to_host(2, n, &p.clone().ttl(63).bytes());
    [
        case(name)
            .packet(1, &p.bytes())
            .out(2, ask(router(2), own, next)),
        case(&format!("{name}: its answer"))
            .send(2, answer(host(2, n), next, own))
            .out(2, out),
    ]
}

/// VPP test_ip4 TestIPSubNets, TestIPv4IfAddrRoute; test_neighbor test_glean_src_select.
fn subnets() -> Vec<Case> {
    let mut all = vec![];
    all.extend(found(
        "the other end of a /31, whose address is all ones",
        "10.8.0.1",
        "10.8.0.1",
        "10.8.0.0",
        81,
    ));
    all.extend(found(
        "a host of a /30",
        "10.9.0.6",
        "10.9.0.6",
        "10.9.0.5",
        96,
    ));
    all.extend(found(
        "asked for from the address of its network",
        "10.7.0.9",
        "10.7.0.9",
        "10.7.0.1",
        79,
    ));
    all.extend(found(
        "a next hop, likewise",
        "198.51.112.7",
        "10.7.0.30",
        "10.7.0.1",
        80,
    ));
    for (name, dst) in [
        ("the broadcast of a /30", "10.9.0.7"),
        ("the network of a /30", "10.9.0.4"),
        ("the broadcast of a /25", "10.12.0.127"),
    ] {
        all.push(
            case(name)
                .packet(1, &udp(dst, 1).bytes())
                .dropped("p1", "broadcast")
                .strict(),
        );
    }
    let p = udp("10.12.0.129", 1).bytes();
    let e = ErrorOf::new("10.0.1.1", "10.0.1.2", 3, 0, &p);
    all.push(
        case("beyond a /25 is no neighbour")
            .packet(1, &p)
            .like(1, "network unreachable", e.at(1))
            .dropped("p1", "no_route"),
    );
    all
}

/// VPP test_neighbor test_arp, test_arp_static, test_arp_forus, test_garp.
fn neighbours() -> Vec<Case> {
    let h = host(2, 7);
    let reply = |own: &str| {
        eth(
            h,
            router(2),
            ARP,
            &arp(REPLY, router(2), own, h, "10.7.0.7"),
        )
    };
    let kept = udp("10.0.2.50", 1);
    let unknown = udp("10.0.2.60", 1);
    vec![
        case("answers for its second address")
            .send(2, ask(h, "10.7.0.7", "10.7.0.1"))
            .out(2, reply("10.7.0.1")),
        case("a gratuitous ARP does not move what was configured")
            .send(2, ask(host(2, 51), "10.0.2.50", "10.0.2.50"))
            .any_drops(),
        case("and frames go where they went")
            .packet(1, &kept.bytes())
            .out(2, to_host(2, 50, &kept.clone().ttl(63).bytes()))
            .strict(),
        case("nor does an answer that nobody asked for")
            .send(2, answer(host(2, 51), "10.0.2.50", "10.0.2.1"))
            .packet(1, &kept.bytes())
            .out(2, to_host(2, 50, &kept.clone().ttl(63).bytes()))
            .any_drops(),
        case("a gratuitous ARP makes nobody known")
            .send(2, ask(host(2, 60), "10.0.2.60", "10.0.2.60"))
            .any_drops(),
        case("so it is asked for")
            .packet(1, &unknown.bytes())
            .out(2, ask(router(2), "10.0.2.1", "10.0.2.60")),
        case("and answers")
            .send(2, answer(host(2, 60), "10.0.2.60", "10.0.2.1"))
            .out(2, to_host(2, 60, &unknown.clone().ttl(63).bytes())),
    ]
}

/// VPP test_neighbor test_mpls; grout mpls_hold.
fn labels() -> Vec<Case> {
    let p = udp("198.51.110.7", 1);
    let pushed = labelled(
        &[Lse::new(110).ttl(63), Lse::new(111).ttl(63)],
        &p.clone().ttl(63).bytes(),
    );
    let under = udp("203.0.113.1", 2).bytes();
    let (came, goes) = (Lse::new(310).ttl(64), Lse::new(410).ttl(63));
    let out = |n: u8, packet: &[u8]| eth(host(2, n), router(2), MPLS, packet);
    vec![
        // Asked for again and again since its route is there; right after a question there is time for an answer. All by one port,
        // so that the packet is there first.
        case("a next hop that a route wants is asked for")
            .out(2, ask(router(2), "10.0.2.1", "10.0.2.40"))
            .patience(secs(15)),
        case("a packet to be labelled waits for its next hop, and goes labelled")
            .packet(2, &p.bytes())
            .send(2, answer(host(2, 40), "10.0.2.40", "10.0.2.1"))
            .out(2, out(40, &pushed)),
        case("a next hop that a label wants is asked for")
            .out(2, ask(router(2), "10.0.2.1", "10.0.2.41"))
            .patience(secs(15)),
        case("a packet to be swapped waits for its next hop, and goes swapped")
            .labelled(2, &labelled(&[came], &under))
            .send(2, answer(host(2, 41), "10.0.2.41", "10.0.2.1"))
            .out(2, out(41, &labelled(&[goes], &under))),
    ]
}

/// VPP test_ip6 test_ns, test_ip6_ll; grout ip6_same_peer.
fn local() -> Vec<Case> {
    let h = host(1, 7);
    let other = Ip6::echo("2001:db8:1::2", &link_local(router(2)).to_string(), 7, 1);
    let target = ip6("2001:db8:1::1");
    let group = solicited_node(target);
    // Nobody's address yet, so without an option (RFC 4861 4.3).
    let dad = Ip6::icmp("::", &group.to_string(), 135, 0, [0; 4], &target.octets()).hops(255);
    let far = Ip6::udp("2001:db8:1::2", "2001:db8:72::5", 20);
    vec![
        case("does not answer to the link-local address of another port")
            .packet(1, &other.bytes())
            .any_drops(),
        case("who wants to have its address is told, as all are")
            .send(1, eth(mac_of_group(group), h, IPV6, &dad.bytes()))
            .like(1, "an advertisement to all nodes", move |f| {
                want(
                    f.len() >= 78 && f[..6] == [0x33, 0x33, 0, 0, 0, 1],
                    "not to all nodes",
                )?;
                want(
                    f[54..56] == [136, 0] && f[62..78] == target.octets(),
                    "no advertisement of it",
                )?;
                want(f[58] & 0x60 == 0x20, "flags other than override")
            }),
        case("does not answer for an address of another port")
            .send(1, solicit(h, "2001:db8:1::7", "2001:db8:2::1"))
            .any_drops(),
        case("the other end of a /127 is looked for")
            .packet(1, &far.bytes())
            .like(2, "a solicitation", |f| {
                want(f.len() >= 78 && f[54..56] == [135, 0], "no solicitation")?;
                want(
                    f[62..78] == ip6("2001:db8:72::5").octets(),
                    "another target",
                )
            })
            .any_drops(),
    ]
}
