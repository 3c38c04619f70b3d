//! VRFs: the same addresses in two of them, labels that lead into one, and whose table answers take.
//!
//! The rig's lan is in `RED`, its wan in `BLUE`, and both have 10.9.0.1/24 and 2001:db8:9::1/64; the core stays in the global
//! table. A network behind each, 10.8.0.0/16, is the same in both, too.

use super::packets::*;
use super::rig::*;
use crate::drops::Drop;
use crate::punt::{Inject, PuntReason};
use etherparse::{Icmpv4Type, Ipv4Slice, icmpv4};
use fib::{Discard, LabelEntry, Path, Target, TtlMode};
use net::{IfaceId, MacAddr, VrfId};

const RED: VrfId = VrfId(1);
const BLUE: VrfId = VrfId(2);
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;
/// A customer's host, in either VRF.
const HOST: &str = "10.9.0.9";
const HOST6: &str = "2001:db8:9::9";
/// Behind it.
const FAR: &str = "10.8.0.7";
const FAR6: &str = "2001:db8:8::7";

fn rig() -> Rig {
    let mut rig = Rig::new();
    for (iface, vrf) in [(LAN, RED), (WAN, BLUE)] {
        let i = &mut rig.ifaces[iface.index()];
        i.vrf = vrf;
        i.v4 = vec![("10.9.0.1".parse().unwrap(), 24)];
        i.v6 = vec![("2001:db8:9::1".parse().unwrap(), 64)];
    }
    rig.reconfigure();
    for (iface, vrf, mac) in [(LAN, RED, HOST_MAC), (WAN, BLUE, PEER_MAC)] {
        let host = rig.neighbour(iface, HOST, mac);
        let host6 = rig.neighbour(iface, HOST6, mac);
        for (prefix, target) in [
            ("10.9.0.0/24", Target::Glean(iface)),
            ("10.9.0.1/32", Target::Local(iface)),
            ("10.9.0.9/32", host),
            ("10.8.0.0/16", host),
            ("2001:db8:9::/64", Target::Glean(iface)),
            ("2001:db8:9::1/128", Target::Local(iface)),
            ("2001:db8:9::9/128", host6),
            ("2001:db8:8::/48", host6),
        ] {
            rig.vrf_route(vrf, prefix, Path::to(target));
        }
    }
    rig.label(700, LabelEntry::pop_lookup_in(RED, TtlMode::Uniform));
    rig.label(701, LabelEntry::pop_lookup_in(BLUE, TtlMode::Pipe));
    rig
}

/// Port, the router's address there, the customer's.
const ENDS: [(u16, IfaceId, MacAddr, MacAddr); 2] =
    [(0, LAN, LAN_MAC, HOST_MAC), (1, WAN, WAN_MAC, PEER_MAC)];

fn from_core(labels: &[(u32, u8, u8)], packet: &[u8]) -> Vec<u8> {
    eth(CORE_MAC, CPEER_MAC, MPLS, &labelled(labels, packet))
}

#[test]
fn each_goes_by_the_table_of_its_interface() {
    let mut rig = rig();
    let ip = udp4("10.8.0.1", FAR, 64, 20);
    let six = udp6("2001:db8:8::1", FAR6, 64, 20);
    for (port, iface, own, host) in ENDS {
        let sent = rig.one(port, &eth(own, host, IPV4, &ip)).only_sent();
        assert_eq!(sent.iface, iface);
        assert_eq!(sent.frame, eth(host, own, IPV4, &ttl4(&ip, 63)));
        let sent = rig.one(port, &eth(own, host, IPV6, &six)).only_sent();
        assert_eq!(sent.iface, iface);
        assert_eq!(sent.frame, eth(host, own, IPV6, &hops6(&six, 63)));
    }
    // The global table has neither, and VRFs do not have what it has.
    let seen = rig.one(2, &eth(CORE_MAC, CPEER_MAC, IPV4, &ip));
    assert_eq!(seen.dropped(), Drop::NoRoute);
    let ip = udp4("10.8.0.1", "203.0.113.7", 64, 20);
    let seen = rig.one(0, &eth(LAN_MAC, HOST_MAC, IPV4, &ip));
    assert_eq!(seen.dropped(), Drop::NoRoute);
}

/// A connected network of red's has leaked into the global table: the router's own address there is answered by red's TAP, whoever it
/// is asked by, and nobody is asked for it.
#[test]
fn own_addresses_answer_where_their_network_has_leaked() {
    let mut rig = rig();
    for prefix in ["10.9.0.0/24", "2001:db8:9::/64"] {
        rig.route(prefix, Path::to(Target::Glean(LAN)));
    }
    let ask = |to: &str| match to.contains(':') {
        true => eth(
            CORE_MAC,
            CPEER_MAC,
            IPV6,
            &udp6("2001:db8:7::1", to, 64, 20),
        ),
        false => eth(CORE_MAC, CPEER_MAC, IPV4, &udp4("10.7.0.1", to, 64, 20)),
    };
    for own in ["10.9.0.1", "2001:db8:9::1"] {
        let up = rig.one(2, &ask(own)).only_up();
        assert_eq!((up.reason, up.iface), (PuntReason::Local, LAN), "{own}");
    }
    // Others are as they were: a host is looked for, and nobody calls all of a network that he is not on.
    for host in ["10.9.0.77", "2001:db8:9::77"] {
        let up = rig.one(2, &ask(host)).only_up();
        let want = (PuntReason::Glean, LAN, host.parse().ok());
        assert_eq!((up.reason, up.iface, up.next_hop), want);
    }
    assert_eq!(rig.one(2, &ask("10.9.0.255")).dropped(), Drop::Broadcast);
    // The kernel's own packets from another table.
    let route = Inject::Route {
        vrf: VrfId::GLOBAL,
        iface: CORE,
    };
    let packet = udp4("10.0.3.1", "10.9.0.1", 64, 20);
    let up = rig.inject(route, &packet).only_up();
    assert_eq!((up.reason, up.iface), (PuntReason::Local, LAN));
}

/// A burst in which tables are mixed: VLAN 100 is in the global table, its port's untagged frames in a VRF.
#[test]
fn a_burst_of_several_tables_is_told_apart() {
    let mut rig = rig();
    rig.route("10.8.0.0/16", Path::to(Target::Discard(Discard::Blackhole)));
    let ip = udp4("10.7.0.1", FAR, 64, 20);
    let plain = eth(WAN_MAC, PEER_MAC, IPV4, &ip);
    let global = tagged(&plain, 0x8100, 100);
    let frames: Vec<_> = (0..40)
        .map(|i| if i % 3 == 0 { &global } else { &plain })
        .collect();
    let seen = rig.run(1, &frames);
    assert_eq!(seen.drops, [(VLAN, Drop::Blackhole, 14)]);
    assert_eq!(seen.sent.len(), 26);
    assert!(
        seen.sent
            .iter()
            .all(|s| s.frame == eth(PEER_MAC, WAN_MAC, IPV4, &ttl4(&ip, 63)))
    );
}

#[test]
fn a_label_leads_into_a_vrf() {
    let mut rig = rig();
    let ip = udp4("10.7.0.1", FAR, 64, 20);
    let six = udp6("2001:db8:7::1", FAR6, 64, 20);
    let sent = rig.one(2, &from_core(&[(700, 0, 9)], &ip)).only_sent();
    assert_eq!(sent.frame, eth(HOST_MAC, LAN_MAC, IPV4, &ttl4(&ip, 8)));
    let sent = rig.one(2, &from_core(&[(701, 0, 9)], &ip)).only_sent();
    assert_eq!(sent.frame, eth(PEER_MAC, WAN_MAC, IPV4, &ttl4(&ip, 63)));
    let sent = rig.one(2, &from_core(&[(700, 0, 9)], &six)).only_sent();
    assert_eq!(sent.frame, eth(HOST_MAC, LAN_MAC, IPV6, &hops6(&six, 8)));
    // Under a transport label that ends here, and under an explicit null.
    let sent = rig
        .one(2, &from_core(&[(304, 0, 9), (701, 0, 9)], &six))
        .only_sent();
    assert_eq!(sent.frame, eth(PEER_MAC, WAN_MAC, IPV6, &hops6(&six, 63)));
    let sent = rig
        .one(2, &from_core(&[(701, 0, 9), (0, 0, 9)], &ip))
        .only_sent();
    assert_eq!(sent.frame, eth(PEER_MAC, WAN_MAC, IPV4, &ttl4(&ip, 8)));
    // And into the global table from the global table, as before.
    let to_global = udp4("10.7.0.1", "203.0.113.7", 64, 20);
    rig.one(2, &from_core(&[(304, 0, 9)], &to_global))
        .only_sent();
    let seen = rig.one(2, &from_core(&[(700, 0, 9)], &to_global));
    assert_eq!(seen.dropped(), Drop::NoRoute);
}

/// A customer's packet does not choose among the labels of the router.
#[test]
fn the_label_of_a_vrf_is_the_last() {
    let mut rig = rig();
    let ip = udp4("10.7.0.1", FAR, 64, 20);
    for (under, own) in [
        (300, false),
        (304, false),
        (701, false),
        (999, false),
        (0, true),
    ] {
        for above in [700, 701] {
            let seen = rig.one(2, &from_core(&[(above, 0, 9), (under, 0, 9)], &ip));
            match own {
                true => drop(seen.only_sent()),
                false => assert_eq!(
                    seen.only_dropped(),
                    Drop::VrfLabelNotLast,
                    "{above}/{under}"
                ),
            }
        }
    }
    // The TTL comes first; what leads into the global table has others under it.
    let seen = rig.one(2, &from_core(&[(701, 0, 1), (300, 0, 9)], &ip));
    assert_eq!(seen.dropped(), Drop::MplsTtlExpired);
    rig.one(2, &from_core(&[(304, 0, 9), (300, 0, 9)], &ip))
        .only_sent();
    // So do those that are reserved: router alert above, entropy beneath.
    let seen = rig.one(2, &from_core(&[(1, 0, 9), (700, 0, 9)], &ip));
    seen.only_sent();
    let seen = rig.one(2, &from_core(&[(700, 0, 9), (7, 0, 9), (5000, 0, 0)], &ip));
    seen.only_sent();
    // What ends in the global table for want of another label: what is under it is for the router that gave that.
    rig.label(703, LabelEntry::pop_last(TtlMode::Uniform));
    let seen = rig.one(2, &from_core(&[(703, 0, 9), (300, 0, 9)], &ip));
    assert_eq!(seen.only_dropped(), Drop::VrfLabelNotLast);
    let to_global = udp4("10.7.0.1", "203.0.113.7", 64, 20);
    for stack in [&[(703, 0, 9)][..], &[(703, 0, 9), (0, 0, 9)]] {
        rig.one(2, &from_core(stack, &to_global)).only_sent();
    }
    // A path to the router itself, of an interface in a VRF, leads there as well.
    rig.swap(702, Path::to(Target::Local(LAN)), TtlMode::Uniform);
    let seen = rig.one(2, &from_core(&[(702, 0, 9), (300, 0, 9)], &ip));
    assert_eq!(seen.only_dropped(), Drop::VrfLabelNotLast);
    let sent = rig.one(2, &from_core(&[(702, 0, 9)], &ip)).only_sent();
    assert_eq!(sent.frame, eth(HOST_MAC, LAN_MAC, IPV4, &ttl4(&ip, 8)));
}

/// A label for one CE: the packet goes there whatever the VRF has for its destination, and is one of the VRF's all the same.
#[test]
fn a_label_leads_to_a_ce() {
    let mut rig = rig();
    let host = rig.neighbour(LAN, HOST, HOST_MAC);
    let groups = [host, Target::Glean(IfaceId(77))].map(|t| rig.group(&[(Path::to(t), 1)]));
    let dead = Path::to(Target::Discard(Discard::Unreachable));
    let dead = rig.group(&[(dead, 1)]);
    let [group, nowhere] = groups;
    rig.label(710, LabelEntry::pop_forward(group, TtlMode::Uniform));
    rig.label(711, LabelEntry::pop_forward(group, TtlMode::Pipe));
    rig.label(712, LabelEntry::pop_forward(dead, TtlMode::Uniform));
    rig.label(713, LabelEntry::pop_forward(nowhere, TtlMode::Uniform));
    // The VRF has nothing for either.
    let ip = udp4("10.7.0.1", "203.0.113.7", 64, 20);
    let six = udp6("2001:db8:7::1", "2001:db8:ff::7", 64, 20);
    let seen = rig.one(2, &from_core(&[(700, 0, 9)], &ip));
    assert_eq!(seen.dropped(), Drop::NoRoute);
    for (label, left) in [(710, 8), (711, 63)] {
        let sent = rig.one(2, &from_core(&[(label, 0, 9)], &ip)).only_sent();
        assert_eq!(sent.frame, eth(HOST_MAC, LAN_MAC, IPV4, &ttl4(&ip, left)));
        let sent = rig.one(2, &from_core(&[(label, 0, 9)], &six)).only_sent();
        assert_eq!(sent.frame, eth(HOST_MAC, LAN_MAC, IPV6, &hops6(&six, left)));
    }
    // Entropy and an explicit null may lie beneath; other labels are not to reach the customer, nor to be ours.
    let stack = [
        (304, 0, 9),
        (711, 0, 9),
        (7, 0, 9),
        (5000, 0, 0),
        (0, 0, 64),
    ];
    let sent = rig.one(2, &from_core(&stack, &ip)).only_sent();
    assert_eq!(sent.frame, eth(HOST_MAC, LAN_MAC, IPV4, &ttl4(&ip, 8)));
    for under in [300, 304, 711, 999] {
        let seen = rig.one(2, &from_core(&[(710, 0, 9), (under, 0, 9)], &ip));
        assert_eq!(seen.only_dropped(), Drop::VrfLabelNotLast, "{under}");
    }
    // It is judged: no packet has an address of the VRF's router as its source, none is for 127/8.
    let own = udp4("10.9.0.1", "203.0.113.7", 64, 20);
    let seen = rig.one(2, &from_core(&[(710, 0, 9)], &own));
    assert_eq!(seen.only_dropped(), Drop::MartianSource);
    let own = udp6("2001:db8:9::1", "2001:db8:ff::7", 64, 20);
    let seen = rig.one(2, &from_core(&[(710, 0, 9)], &own));
    assert_eq!(seen.only_dropped(), Drop::MartianSource);
    let local = udp4("10.7.0.1", "127.0.0.1", 64, 20);
    let seen = rig.one(2, &from_core(&[(710, 0, 9)], &local));
    assert_eq!(seen.only_dropped(), Drop::MartianDestination);
    // Answers are those of the VRF: to what has no TTL left, with either model.
    for (labels, ttl, why) in [
        ([(710, 0, 1)], 9, Drop::TtlExpired),
        ([(711, 0, 9)], 1, Drop::TtlExpired),
        ([(711, 0, 1)], 9, Drop::MplsTtlExpired),
    ] {
        let expired = udp4(FAR, "203.0.113.7", ttl, 20);
        let seen = rig.one(2, &from_core(&labels, &expired));
        assert_eq!(seen.dropped(), why, "{labels:?}");
        let sent = seen.one_sent();
        assert_eq!(sent.frame[..12], [HOST_MAC.0, LAN_MAC.0].concat());
    }
    // A CE that is gone; an interface that is none.
    for (label, why) in [(712, Drop::Unreachable), (713, Drop::NoAdjacency)] {
        let seen = rig.one(2, &from_core(&[(label, 0, 9)], &ip));
        assert_eq!(seen.only_dropped(), why);
    }
    // A host that has not answered yet is asked for in the VRF.
    let silent = fib::Adjacency::incomplete(LAN, net::PortId(0), 1500, "10.9.0.5".parse().unwrap());
    let silent = Target::Adjacency(rig.fib.add_adj(silent).unwrap());
    let group = rig.group(&[(Path::to(silent), 1)]);
    rig.label(714, LabelEntry::pop_forward(group, TtlMode::Uniform));
    let up = rig.one(2, &from_core(&[(714, 0, 9)], &ip)).only_up();
    assert_eq!((up.reason, up.iface), (PuntReason::Incomplete, LAN));
}

/// L3VPN: a customer's packet leaves under the VPN's label and the transport's.
#[test]
fn a_vrf_pushes_labels_towards_the_core() {
    let mut rig = rig();
    let core = rig.neighbour(CORE, "10.0.3.2", CPEER_MAC);
    let way = |ttl| push(core, &[100, 900], ttl);
    rig.vrf_route(RED, "10.7.0.0/16", way(TtlMode::Uniform));
    rig.vrf_route(RED, "2001:db8:7::/48", way(TtlMode::Pipe));
    let ip = udp4(HOST, "10.7.0.1", 64, 20);
    let sent = rig.one(0, &eth(LAN_MAC, HOST_MAC, IPV4, &ip)).only_sent();
    let want = labelled(&[(100, 0, 63), (900, 0, 63)], &ttl4(&ip, 63));
    assert_eq!(
        (sent.iface, sent.frame),
        (CORE, eth(CPEER_MAC, CORE_MAC, MPLS, &want))
    );
    let six = udp6(HOST6, "2001:db8:7::1", 64, 20);
    let sent = rig.one(0, &eth(LAN_MAC, HOST_MAC, IPV6, &six)).only_sent();
    let want = labelled(&[(100, 0, 255), (900, 0, 255)], &hops6(&six, 63));
    assert_eq!(sent.frame, eth(CPEER_MAC, CORE_MAC, MPLS, &want));
    let seen = rig.one(1, &eth(WAN_MAC, PEER_MAC, IPV4, &ip));
    assert_eq!(
        seen.dropped(),
        Drop::NoRoute,
        "the other VRF has no such route"
    );
}

#[test]
fn the_routers_addresses_are_those_of_the_vrf() {
    let mut rig = rig();
    let ip = udp4(HOST, "10.9.0.1", 64, 20);
    let six = udp6(HOST6, "2001:db8:9::1", 64, 20);
    for (port, iface, own, host) in ENDS {
        for (kind, packet) in [(IPV4, &ip), (IPV6, &six)] {
            let up = rig.one(port, &eth(own, host, kind, packet)).only_up();
            assert_eq!(
                (up.reason, up.iface, up.rx_iface),
                (PuntReason::Local, iface, iface)
            );
        }
    }
    // By a label, for the VRF's interface.
    let up = rig.one(2, &from_core(&[(701, 0, 9)], &ip)).only_up();
    assert_eq!((up.iface, up.rx_iface), (WAN, CORE));
    // The global table's own address is nobody's in a VRF, neither as destination nor as source.
    let core = udp4("10.0.3.1", FAR, 64, 20);
    rig.one(0, &eth(LAN_MAC, HOST_MAC, IPV4, &core)).only_sent();
    let core = udp4(HOST, "10.0.3.1", 64, 20);
    let seen = rig.one(0, &eth(LAN_MAC, HOST_MAC, IPV4, &core));
    assert_eq!(seen.dropped(), Drop::NoRoute);
    // One's own, from outside, is a martian; so it is under a label.
    let own = udp4("10.9.0.1", FAR, 64, 20);
    let seen = rig.one(1, &eth(WAN_MAC, PEER_MAC, IPV4, &own));
    assert_eq!(seen.only_dropped(), Drop::MartianSource);
    let seen = rig.one(2, &from_core(&[(701, 0, 9)], &own));
    assert_eq!(seen.only_dropped(), Drop::MartianSource);
    let own = udp6("2001:db8:9::1", FAR6, 64, 20);
    let seen = rig.one(2, &from_core(&[(701, 0, 9)], &own));
    assert_eq!(seen.only_dropped(), Drop::MartianSource);
    // The broadcast address of its network, on its own link and not by way of another's.
    let all = udp4(HOST, "10.9.0.255", 64, 20);
    let up = rig.one(0, &eth(LAN_MAC, HOST_MAC, IPV4, &all)).only_up();
    assert_eq!(up.iface, LAN);
    let seen = rig.one(2, &from_core(&[(701, 0, 9)], &all));
    assert_eq!(seen.only_dropped(), Drop::Broadcast);
}

/// What is meant for a link does not come to the router by a label in another VRF.
#[test]
fn groups_do_not_cross() {
    let mut rig = rig();
    for dst in ["224.0.0.1", "255.255.255.255"] {
        let ip = udp4(HOST, dst, 64, 20);
        let seen = rig.one(2, &from_core(&[(701, 0, 9)], &ip));
        assert_eq!(seen.only_dropped(), Drop::Multicast, "{dst}");
        rig.one(2, &from_core(&[(304, 0, 9)], &ip)).only_up();
    }
    let six = udp6(HOST6, "ff02::1", 64, 20);
    let seen = rig.one(2, &from_core(&[(701, 0, 9)], &six));
    assert_eq!(seen.only_dropped(), Drop::Multicast);
    let six = udp6(HOST6, "fe80::4", 64, 20); // the core's own
    let seen = rig.one(2, &from_core(&[(701, 0, 9)], &six));
    assert_eq!(seen.only_dropped(), Drop::LinkLocalScope);
}

#[test]
fn errors_go_back_by_the_vrf_from_an_address_of_it() {
    let mut rig = rig();
    let source = |frame: &[u8]| {
        let ip = Ipv4Slice::from_slice(&frame[14..]).unwrap();
        let icmp = etherparse::Icmpv4Slice::from_slice(ip.payload().payload).unwrap();
        (ip.header().source_addr().to_string(), icmp.icmp_type())
    };
    let expired = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
    let ip = udp4(HOST, FAR, 1, 20);
    for (port, _, own, host) in ENDS {
        let seen = rig.one(port, &eth(own, host, IPV4, &ip));
        assert_eq!(seen.dropped(), Drop::TtlExpired);
        let sent = seen.one_sent();
        assert_eq!(sent.frame[..12], [host.0, own.0].concat());
        assert_eq!(source(&sent.frame), ("10.9.0.1".into(), expired.clone()));
        let nowhere = udp4(HOST, "10.6.0.1", 64, 20);
        let seen = rig.one(port, &eth(own, host, IPV4, &nowhere));
        assert_eq!(seen.one_sent().frame[..12], [host.0, own.0].concat());
    }
    // It came by a label: uniform and pipe, the packet's own TTL and the label's.
    for (labels, packet, why) in [
        (vec![(700, 0, 9)], udp4(HOST, FAR, 1, 20), Drop::TtlExpired),
        (vec![(700, 0, 1)], udp4(HOST, FAR, 9, 20), Drop::TtlExpired),
        (
            vec![(701, 0, 1)],
            udp4(HOST, FAR, 9, 20),
            Drop::MplsTtlExpired,
        ),
    ] {
        let (own, host) = match labels[0].0 {
            700 => (LAN_MAC, HOST_MAC),
            _ => (WAN_MAC, PEER_MAC),
        };
        let seen = rig.one(2, &from_core(&labels, &packet));
        assert_eq!(seen.dropped(), why, "{labels:?}");
        let sent = seen.one_sent();
        assert_eq!(sent.frame[..12], [host.0, own.0].concat(), "{labels:?}");
        assert_eq!(source(&sent.frame), ("10.9.0.1".into(), expired.clone()));
    }
    let six = udp6(HOST6, FAR6, 1, 20);
    let seen = rig.one(2, &from_core(&[(701, 0, 9)], &six));
    assert_eq!(seen.dropped(), Drop::TtlExpired);
    let sent = seen.one_sent();
    assert_eq!(sent.frame[..12], [PEER_MAC.0, WAN_MAC.0].concat());
    let from = &sent.frame[14 + 8..14 + 24];
    assert_eq!(
        from,
        "2001:db8:9::1"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets()
    );
}

/// Who is not known yet is asked for on the interface of the VRF, and the control thread hears whose packet waits.
#[test]
fn neighbours_are_asked_for_in_the_vrf() {
    let mut rig = rig();
    let ip = udp4(HOST, "10.9.0.77", 64, 20);
    for ((port, iface, own, host), vrf) in ENDS.into_iter().zip([RED, BLUE]) {
        let up = rig.one(port, &eth(own, host, IPV4, &ip)).only_up();
        assert_eq!(
            (up.reason, up.iface, up.vrf),
            (PuntReason::Glean, iface, vrf)
        );
    }
    let up = rig.one(2, &from_core(&[(701, 0, 9)], &ip)).only_up();
    assert_eq!((up.iface, up.rx_iface, up.vrf), (WAN, CORE, BLUE));
    let global = udp4("10.0.3.2", "10.0.3.77", 64, 20);
    let up = rig
        .one(2, &eth(CORE_MAC, CPEER_MAC, IPV4, &global))
        .only_up();
    assert_eq!((up.iface, up.vrf), (CORE, VrfId::GLOBAL));
}

#[test]
fn the_kernels_packets_go_by_the_vrf_they_are_said_to_be_of() {
    let mut rig = rig();
    let ip = udp4("10.9.0.1", FAR, 1, 20);
    let six = udp6("2001:db8:9::1", FAR6, 1, 20);
    for ((_, iface, own, host), vrf) in ENDS.into_iter().zip([RED, BLUE]) {
        for (kind, packet) in [(IPV4, &ip), (IPV6, &six)] {
            let sent = rig.inject(Inject::Route { vrf, iface }, packet).only_sent();
            assert_eq!(sent.frame, eth(host, own, kind, packet));
        }
    }
    let what = Inject::Route {
        vrf: VrfId::GLOBAL,
        iface: CORE,
    };
    assert_eq!(rig.inject(what, &ip).dropped(), Drop::NoRoute);
}
