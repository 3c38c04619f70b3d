//! VLAN sub-interfaces: IEEE 802.1Q 9.6. Tags in and out, priority tags, unknown VLANs, everything the router says itself.

use crate::frame::{
    ARP, BROADCAST, IPV4, IPV6, Ip4, Ip6, Lse, MPLS, REPLY, REQUEST, arp, eth, labelled, tagged,
};
use crate::lab::{Config, Flavor};

use super::answers::{ErrorOf, echo_reply4};
use super::{Case, Group, case, host, ports, router, to_host, to_router, want};

/// The table.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "vlan",
        ports: 2,
        config,
        prepare,
        cases,
    }
}

fn config(flavor: &Flavor) -> Config {
    ports(flavor, 2, |_| "")
        .interface_on(
            "p1.100",
            "",
            &["10.1.100.1/24", "2001:db8:1100::1/64"],
            "mpls = true",
        )
        .interface_on("p1.200", "", &["10.1.200.1/24"], "")
        .interface_on("p1.201", "", &["10.1.201.1/24"], "mtu = 1000\nmpls = true")
        .interface_on("p2.100", "", &["10.2.100.1/24", "2001:db8:2100::1/64"], "")
}

fn prepare() -> Vec<String> {
    let known = |addr: &str, port: usize, dev: &str| {
        let mac = host(port, 2).map(|b| format!("{b:02x}")).join(":");
        format!("neigh add {addr} lladdr {mac} dev {dev}")
    };
    vec![
        known("10.0.1.2", 1, "p1"),
        known("10.0.2.2", 2, "p2"),
        known("10.1.100.2", 1, "p1.100"),
        known("2001:db8:1100::2", 1, "p1.100"),
        known("10.1.200.2", 1, "p1.200"),
        known("10.2.100.2", 2, "p2.100"),
        known("2001:db8:2100::2", 2, "p2.100"),
        "label add 300 pop via 10.2.100.2".to_owned(),
        "route add 198.51.100.0/24 via 10.1.100.2 label 100".to_owned(),
    ]
}

/// In at port 1 with `tag`, out at `port` with another or none.
fn through(name: &str, tag: Option<u16>, p: &Ip4, port: usize, out: Option<u16>) -> Case {
    let wrap = |f: Vec<u8>, t: Option<u16>| t.map_or(f.clone(), |t| tagged(&f, t));
    let sent = wrap(to_router(1, &p.bytes()), tag);
    case(name).send(1, sent).out(
        port,
        wrap(to_host(port, 2, &p.clone().ttl(63).bytes()), out),
    )
}

fn cases() -> Vec<Case> {
    let udp = |src: &str, dst: &str| Ip4::udp(src, dst, 40);
    let v6 = Ip6::udp("2001:db8:1100::2", "2001:db8:2100::2", 40);
    let from100 = udp("10.1.100.2", "10.0.2.2");
    let mut all = vec![
        through("tagged to untagged", Some(100), &from100, 2, None),
        through(
            "untagged to tagged",
            None,
            &udp("10.0.1.2", "10.2.100.2"),
            2,
            Some(100),
        ),
        through(
            "tagged to tagged",
            Some(100),
            &udp("10.1.100.2", "10.2.100.2"),
            2,
            Some(100),
        ),
        through(
            "between VLANs of one port",
            Some(100),
            &udp("10.1.100.2", "10.1.200.2"),
            1,
            Some(200),
        ),
        through(
            "a full frame under a tag",
            Some(100),
            &Ip4::udp("10.1.100.2", "10.2.100.2", 1472),
            2,
            Some(100),
        ),
        through(
            "priority bits are accepted",
            Some(0xe000 | 100),
            &from100,
            2,
            None,
        ),
        through(
            "a priority tag is no VLAN",
            Some(0xa000),
            &udp("10.0.1.2", "10.0.2.2"),
            2,
            None,
        ),
        case("IPv6 under a tag")
            .send(1, tagged(&to_router(1, &v6.bytes()), 100))
            .out(2, tagged(&to_host(2, 2, &v6.clone().hops(63).bytes()), 100)),
        case("an unknown VLAN is dropped by name")
            .send(1, tagged(&to_router(1, &from100.bytes()), 101))
            .dropped("p1", "unknown_vlan"),
        case("a VLAN of another port is unknown")
            .send(2, tagged(&to_router(2, &from100.bytes()), 200))
            .dropped("p2", "unknown_vlan"),
        case("two tags are one too many")
            .send(
                1,
                tagged(&tagged(&to_router(1, &from100.bytes()), 100), 100),
            )
            .dropped("p1", "unknown_vlan"),
    ];
    all.extend(giants());
    all.extend(spoken());
    all.extend(labels());
    all
}

/// VLAN 201 has an MTU of 1000 on a port of 1500: here a frame that is too long reaches the router.
fn giants() -> Vec<Case> {
    let p = |len: usize| Ip4::udp("10.1.201.2", "10.0.2.2", len - 28);
    let (h, dut) = (host(1, 2), router(1));
    let label = labelled(&[Lse::new(300)], &p(997).bytes());
    vec![
        through("exactly the VLAN's MTU", Some(201), &p(1000), 2, None),
        case("a giant of the VLAN is dropped by name")
            .send(1, tagged(&to_router(1, &p(1001).bytes()), 201))
            .dropped("p1.201", "giant"),
        case("a giant of another kind, too")
            .send(1, tagged(&eth(dut, h, IPV6, &[0x60; 1400]), 201))
            .dropped("p1.201", "giant"),
        case("labels count towards the MTU")
            .send(1, tagged(&eth(dut, h, MPLS, &label), 201))
            .dropped("p1.201", "giant"),
    ]
}

fn spoken() -> Vec<Case> {
    let h = host(1, 7);
    let ask = eth(
        BROADCAST,
        h,
        ARP,
        &arp(REQUEST, h, "10.1.100.7", [0; 6], "10.1.100.1"),
    );
    let told = eth(
        h,
        router(1),
        ARP,
        &arp(REPLY, router(1), "10.1.100.1", h, "10.1.100.7"),
    );
    let ping = Ip4::echo("10.1.100.2", "10.1.100.1", 1, 1);
    let dead = Ip4::udp("10.1.100.2", "10.0.2.2", 40).ttl(1).bytes();
    let (reply, expired) = (
        echo_reply4(1, &ping),
        ErrorOf::new("10.1.100.1", "10.1.100.2", 11, 0, &dead).at(1),
    );
    vec![
        case("answers ARP under the tag")
            .send(1, tagged(&ask, 100))
            .out(1, tagged(&told, 100))
            .strict(),
        case("does not answer ARP of one VLAN in another").send(1, tagged(&ask, 200)),
        case("answers a ping under the tag")
            .send(1, tagged(&to_router(1, &ping.bytes()), 100))
            .like(1, "echo reply in VLAN 100", move |f| {
                untagged(f, 100).and_then(|f| reply(&f))
            }),
        case("errors go back under the tag, counted at the sub-interface")
            .send(1, tagged(&to_router(1, &dead), 100))
            .like(1, "time exceeded in VLAN 100", move |f| {
                untagged(f, 100).and_then(|f| expired(&f))
            })
            .dropped("p1.100", "ttl_expired"),
    ]
}

/// The frame without its tag, which must be that one.
fn untagged(f: &[u8], vlan: u16) -> Result<Vec<u8>, String> {
    want(
        f.len() > 18 && f[12..16] == [&[0x81, 0][..], &vlan.to_be_bytes()].concat(),
        "not in the VLAN",
    )?;
    Ok([&f[..12], &f[16..]].concat())
}

fn labels() -> Vec<Case> {
    let p = Ip4::udp("10.1.100.2", "203.0.113.9", 40);
    let frame = eth(
        router(1),
        host(1, 2),
        MPLS,
        &labelled(&[Lse::new(300)], &p.bytes()),
    );
    let push = Ip4::udp("10.0.1.2", "198.51.100.9", 40);
    let pushed = labelled(&[Lse::new(100).ttl(63)], &push.clone().ttl(63).bytes());
    vec![
        case("a label under a tag is popped")
            .send(1, tagged(&frame, 100))
            .out(2, tagged(&to_host(2, 2, &p.clone().ttl(63).bytes()), 100)),
        case("MPLS is on for one VLAN only")
            .send(1, tagged(&frame, 200))
            .dropped("p1.200", "mpls_disabled"),
        case("a label is pushed under a tag")
            .packet(1, &push.bytes())
            .out(1, tagged(&eth(host(1, 2), router(1), MPLS, &pushed), 100)),
        case("an EtherType under a tag that is not spoken")
            .send(
                1,
                tagged(&eth(router(1), host(1, 2), 0x9000, &[0; 46]), 100),
            )
            .dropped("p1.100", "unknown_ethertype"),
        case("a tag and nothing of an IPv4 packet")
            .send(
                1,
                tagged(&eth(router(1), host(1, 2), IPV4, &[0x45, 0, 0]), 100),
            )
            .dropped("p1.100", "ip4_truncated"),
        case("a tag and nothing of an IPv6 packet")
            .send(
                1,
                tagged(&eth(router(1), host(1, 2), IPV6, &[0x60, 0, 0]), 100),
            )
            .dropped("p1.100", "ip6_truncated"),
    ]
}
