//! What comes from the control thread.

use super::packets::*;
use super::rig::*;
use crate::drops::Drop;
use crate::interface::NO_IFACE;
use crate::punt::{Inject, PuntReason};
use fib::Target;
use net::{AdjId, IfaceId, MacAddr, PortId, VrfId};
use std::net::IpAddr;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

fn route(iface: IfaceId) -> Inject {
    Inject::Route {
        vrf: VrfId::GLOBAL,
        iface,
    }
}

#[test]
fn raw_frames_leave_as_they_are_but_for_the_tag() {
    let mut rig = Rig::new();
    let frame = eth(MacAddr::BROADCAST, WAN_MAC, 0x0806, &[3; 28]);
    let seen = rig.inject(Inject::Raw { iface: WAN }, &frame);
    assert_eq!(seen.counts[WAN.index()].injected, 1);
    let sent = seen.only_sent();
    assert_eq!(
        (sent.port, sent.iface, &sent.frame),
        (PortId(1), WAN, &frame)
    );
    let sent = rig.inject(Inject::Raw { iface: VLAN }, &frame).only_sent();
    assert_eq!((sent.port, sent.iface), (PortId(1), VLAN));
    assert_eq!(sent.frame, tagged(&frame, 0x8100, 100));
    for (iface, frame) in [(IfaceId(99), &frame[..]), (WAN, &frame[..13])] {
        let seen = rig.inject(Inject::Raw { iface }, frame);
        assert_eq!(seen.drops, [(iface, Drop::InjectStale, 1)]);
    }
}

#[test]
fn nothing_leaves_by_an_interface_that_is_down() {
    let mut rig = Rig::new();
    for i in &mut rig.ifaces {
        i.up = i.id != WAN;
    }
    rig.reconfigure();
    let frame = eth(MacAddr::BROADCAST, WAN_MAC, 0x0806, &[3; 28]);
    let seen = rig.inject(Inject::Raw { iface: WAN }, &frame);
    assert_eq!(seen.only_dropped(), Drop::TxDown);
    for packet in [
        udp4("10.0.1.1", "224.0.0.5", 1, 20),
        udp6("2001:db8:1::1", "ff02::5", 1, 20),
    ] {
        let seen = rig.inject(route(WAN), &packet);
        assert_eq!(seen.drops, [(WAN, Drop::TxDown, 1)]);
    }
    // Its VLANs are interfaces of their own.
    rig.inject(Inject::Raw { iface: VLAN }, &frame).only_sent();
}

#[test]
fn resolved_packets_get_their_header() {
    let mut rig = Rig::new();
    let Target::Adjacency(adj) = rig.neighbour(VLAN, "10.0.2.9", VPEER_MAC) else {
        panic!()
    };
    let ip = udp4("10.0.0.9", "10.0.2.9", 1, 20);
    let to = |adj, ethertype| Inject::ToAdj {
        adj,
        ethertype,
        iface: VLAN,
    };
    let sent = rig.inject(to(adj, IPV4), &ip).only_sent();
    assert_eq!(
        sent.frame,
        tagged(&eth(VPEER_MAC, WAN_MAC, IPV4, &ip), 0x8100, 100)
    );
    let packet = labelled(&[(77, 0, 9)], &ip);
    let sent = rig.inject(to(adj, 0x8847), &packet).only_sent();
    assert_eq!(
        sent.frame,
        tagged(&eth(VPEER_MAC, WAN_MAC, 0x8847, &packet), 0x8100, 100)
    );
    let seen = rig.inject(to(AdjId(60_000), IPV4), &ip);
    assert_eq!(seen.drops, [(VLAN, Drop::InjectStale, 1)]);
}

#[test]
fn the_kernels_packets_are_routed_and_keep_their_ttl() {
    let mut rig = Rig::new();
    // From our own address, which from a wire would be a martian; and with a TTL of 1, as of BGP to a neighbour.
    for ttl in [1, 64] {
        let ip = udp4("10.0.1.1", "192.0.2.7", ttl, 20);
        let sent = rig.inject(route(WAN), &ip).only_sent();
        assert_eq!(sent.frame, eth(PEER_MAC, WAN_MAC, IPV4, &ip));
    }
    let ip = udp6("2001:db8:1::1", "2001:db8:a::7", 1, 20);
    let sent = rig.inject(route(WAN), &ip).only_sent();
    assert_eq!(sent.frame, eth(PEER_MAC, WAN_MAC, IPV6, &ip));
    let ip = udp4("10.0.1.1", "203.0.113.7", 64, 20);
    let sent = rig.inject(route(WAN), &ip).only_sent();
    let want = labelled(&[(100, 0, 64), (200, 0, 64)], &ip);
    assert_eq!(sent.frame, eth(CPEER_MAC, CORE_MAC, 0x8847, &want));
    let ip = udp4("10.0.1.1", "10.0.1.99", 64, 20);
    let up = rig.inject(route(WAN), &ip).only_up();
    assert_eq!((up.reason, up.frame), (PuntReason::Glean, ip));
    for bad in [&[][..], &[0x45; 19], &[0x60; 39], &[0; 60]] {
        let seen = rig.inject(route(WAN), bad);
        assert_eq!(seen.drops, [(WAN, Drop::InjectStale, 1)]);
    }
}

#[test]
fn the_kernels_groups_and_broadcasts_leave_by_their_tap() {
    let mut rig = Rig::new();
    for (dst, mac) in [
        ("224.0.0.5", MacAddr([1, 0, 0x5e, 0, 0, 5])),
        ("239.255.1.2", MacAddr([1, 0, 0x5e, 0x7f, 1, 2])),
        ("255.255.255.255", MacAddr::BROADCAST),
        ("10.0.2.255", MacAddr::BROADCAST),
    ] {
        let ip = udp4("10.0.2.1", dst, 1, 20);
        let sent = rig.inject(route(VLAN), &ip).only_sent();
        assert_eq!((sent.port, sent.iface), (PortId(1), VLAN));
        assert_eq!(
            sent.frame,
            tagged(&eth(mac, WAN_MAC, IPV4, &ip), 0x8100, 100),
            "{dst}"
        );
    }
    let ip = icmp6("fe80::3", "ff02::16", 1, 143, &[0; 4]);
    let sent = rig.inject(route(VLAN), &ip).only_sent();
    let mac = MacAddr([0x33, 0x33, 0, 0, 0, 0x16]);
    assert_eq!(
        sent.frame,
        tagged(&eth(mac, WAN_MAC, IPV6, &ip), 0x8100, 100)
    );
    // A link-local neighbour is on the link of the TAP.
    let ip = icmp6("fe80::3", "fe80::77", 64, 128, &[0; 4]);
    let up = rig.inject(route(VLAN), &ip).only_up();
    assert_eq!((up.reason, up.iface), (PuntReason::Glean, VLAN));
    assert_eq!(up.next_hop, Some("fe80::77".parse::<IpAddr>().unwrap()));
    assert_eq!(up.frame, ip);
}

#[test]
fn the_kernel_hears_of_what_does_not_go() {
    let mut rig = Rig::new();
    // Its TAP takes 1500 bytes, but two labels go on top.
    let ip = udp4("10.0.1.1", "203.0.113.7", 64, 1472);
    let seen = rig.inject(route(WAN), &ip);
    assert_eq!(
        (seen.dropped(), seen.created(), seen.sent.len()),
        (Drop::FragNeeded, 1, 0)
    );
    let up = &seen.up[0];
    assert_eq!(
        (up.reason, up.iface, &up.frame[..14]),
        (
            PuntReason::Local,
            WAN,
            &eth(WAN_MAC, WAN_MAC, IPV4, &[])[..]
        )
    );
    let (_, dst, what, _) = super::ip4::icmp_error(&up.frame);
    let mtu = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1492 };
    assert_eq!(
        (dst.to_string(), what),
        (
            "10.0.1.1".into(),
            etherparse::Icmpv4Type::DestinationUnreachable(mtu)
        )
    );
    let seen = rig.inject(route(WAN), &udp6("2001:db8:1::1", "2600::1", 64, 20));
    assert_eq!(
        (seen.dropped(), seen.created(), seen.up[0].iface),
        (Drop::NoRoute, 1, WAN)
    );
    let seen = rig.inject(route(WAN), &udp4("10.0.1.1", "8.8.8.8", 64, 20));
    assert_eq!((seen.dropped(), seen.created()), (Drop::NoRoute, 1));
}

#[test]
fn a_frame_without_orders_is_dropped() {
    let mut rig = Rig::new();
    let seen = rig.inject_unmarked(&[0; 60]);
    assert_eq!(seen.drops, [(NO_IFACE, Drop::InjectStale, 1)]);
}
