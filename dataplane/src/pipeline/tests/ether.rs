//! Whose frame is it? Ethernet, VLAN and ARP.

use super::packets::*;
use super::rig::*;
use crate::drops::Drop;
use crate::interface::NO_IFACE;
use crate::punt::PuntReason;
use net::{IfaceId, MacAddr, PortId};

const IPV4: u16 = 0x0800;

fn good() -> Vec<u8> {
    udp4("10.0.0.9", "192.0.2.7", 64, 20)
}

#[test]
fn frames_that_are_refused() {
    let mut rig = Rig::new();
    let ip = good();
    let group = MacAddr([1, 0, 0x5e, 1, 2, 3]);
    let wan = |ethertype, payload: &[u8]| eth(WAN_MAC, PEER_MAC, ethertype, payload);
    let cases: &[(&str, u16, Vec<u8>, IfaceId, Drop)] = &[
        ("nothing", 0, vec![], LAN, Drop::Runt),
        (
            "13 bytes",
            0,
            from_lan(IPV4, &[])[..13].to_vec(),
            LAN,
            Drop::Runt,
        ),
        (
            "a tag cut short",
            1,
            tagged(&wan(IPV4, &[]), 0x8100, 100)[..17].to_vec(),
            WAN,
            Drop::Runt,
        ),
        (
            "another's",
            0,
            eth(CORE_MAC, HOST_MAC, IPV4, &ip),
            LAN,
            Drop::NotForUs,
        ),
        (
            "the port of another interface",
            1,
            from_lan(IPV4, &ip),
            WAN,
            Drop::NotForUs,
        ),
        (
            "from a group",
            0,
            eth(LAN_MAC, group, IPV4, &ip),
            LAN,
            Drop::BadSourceMac,
        ),
        (
            "our own",
            0,
            eth(LAN_MAC, LAN_MAC, IPV4, &ip),
            LAN,
            Drop::BadSourceMac,
        ),
        (
            "over the MTU",
            0,
            from_lan(IPV4, &[0; 1501]),
            LAN,
            Drop::Giant,
        ),
        (
            "over the MTU of the VLAN",
            1,
            tagged(&wan(IPV4, &[0; 1401]), 0x8100, 100),
            VLAN,
            Drop::Giant,
        ),
        (
            "an 802.3 length",
            0,
            from_lan(46, &[0xaa; 46]),
            LAN,
            Drop::Llc,
        ),
        (
            "the longest length",
            0,
            from_lan(0x5ff, &[0xaa; 46]),
            LAN,
            Drop::Llc,
        ),
        (
            "the least EtherType",
            0,
            from_lan(0x600, &[0xaa; 46]),
            LAN,
            Drop::UnknownEthertype,
        ),
        (
            "LLDP",
            0,
            eth(
                MacAddr([1, 0x80, 0xc2, 0, 0, 14]),
                HOST_MAC,
                0x88cc,
                &[0; 46],
            ),
            LAN,
            Drop::UnknownEthertype,
        ),
        (
            "multicast MPLS",
            1,
            wan(0x8848, &labelled(&[(300, 0, 9)], &ip)),
            WAN,
            Drop::UnknownEthertype,
        ),
        (
            "VLAN unknown",
            1,
            tagged(&wan(IPV4, &ip), 0x8100, 101),
            WAN,
            Drop::UnknownVlan,
        ),
        (
            "a tag where there are none",
            0,
            tagged(&from_lan(IPV4, &ip), 0x8100, 100),
            LAN,
            Drop::UnknownVlan,
        ),
        (
            "a service tag",
            1,
            tagged(&wan(IPV4, &ip), 0x88a8, 100),
            WAN,
            Drop::UnknownVlan,
        ),
        (
            "two tags",
            1,
            tagged(&tagged(&wan(IPV4, &ip), 0x8100, 100), 0x8100, 100),
            WAN,
            Drop::UnknownVlan,
        ),
        (
            "service and customer tag",
            1,
            tagged(&tagged(&wan(IPV4, &ip), 0x8100, 100), 0x88a8, 7),
            WAN,
            Drop::UnknownVlan,
        ),
        (
            "labels where there is no mpls",
            0,
            from_lan(0x8847, &labelled(&[(300, 0, 9)], &ip)),
            LAN,
            Drop::MplsDisabled,
        ),
        (
            "labels to everybody",
            1,
            eth(
                MacAddr::BROADCAST,
                PEER_MAC,
                0x8847,
                &labelled(&[(300, 0, 9)], &ip),
            ),
            WAN,
            Drop::LinkBroadcast,
        ),
        (
            "a port nobody has",
            9,
            from_lan(IPV4, &ip),
            NO_IFACE,
            Drop::InterfaceDown,
        ),
        (
            "a VLAN of a port nobody has",
            9,
            tagged(&from_lan(IPV4, &ip), 0x8100, 100),
            NO_IFACE,
            Drop::UnknownVlan,
        ),
        (
            "ARP cut short",
            0,
            from_lan(0x0806, &[0; 27]),
            LAN,
            Drop::BadArp,
        ),
    ];
    for (name, port, frame, iface, why) in cases {
        let seen = rig.one(*port, frame);
        assert_eq!(seen.drops, [(*iface, *why, 1)], "{name}");
        assert!(seen.sent.is_empty() && seen.up.is_empty(), "{name}");
        let rx = &seen.counts[iface.index()];
        assert_eq!(
            (rx.rx_packets, rx.rx_bytes as usize),
            (1, frame.len()),
            "{name}"
        );
    }
}

#[test]
fn what_is_spread_over_several_buffers_is_not_read() {
    let mut rig = Rig::new();
    let mut m = rig.buffer(&from_lan(IPV4, &good()));
    m.set_nb_segs(2);
    let seen = rig.one_buffer(0, m);
    assert_eq!(seen.drops, [(LAN, Drop::MultiSegment, 1)]);
    assert!(seen.sent.is_empty() && seen.up.is_empty());
}

#[test]
fn an_interface_that_is_down_takes_nothing() {
    let mut rig = Rig::new();
    rig.ifaces[0].up = false;
    rig.reconfigure();
    assert_eq!(
        rig.one(0, &from_lan(IPV4, &good())).only_dropped(),
        Drop::InterfaceDown
    );
    let arp = eth(MacAddr::BROADCAST, HOST_MAC, 0x0806, &[0; 28]);
    assert_eq!(rig.one(0, &arp).only_dropped(), Drop::InterfaceDown);
}

#[test]
fn the_largest_frame_passes() {
    let mut rig = Rig::new();
    let ip = udp4("10.0.0.9", "192.0.2.7", 64, 1500 - 28);
    let sent = rig.one(0, &from_lan(IPV4, &ip)).only_sent();
    assert_eq!(sent.frame.len(), 1514);
}

#[test]
fn arp_goes_up_whole_and_untagged() {
    let mut rig = Rig::new();
    let arp = eth(MacAddr::BROADCAST, PEER_MAC, 0x0806, &[7; 46]);
    for (frame, iface) in [
        (arp.clone(), WAN),
        (tagged(&arp, 0x8100, 100), VLAN),
        (tagged(&arp, 0x8100, 0xe064), VLAN), // with a priority
        (tagged(&arp, 0x8100, 0x6000), WAN),  // only a priority
    ] {
        let up = rig.one(1, &frame).only_up();
        assert_eq!(
            (up.reason, up.iface, up.rx_iface),
            (PuntReason::Arp, iface, iface)
        );
        assert_eq!(up.frame, arp);
    }
    let mine = eth(WAN_MAC, PEER_MAC, 0x0806, &[7; 28]);
    assert_eq!(rig.one(1, &mine).only_up().frame, mine);
}

#[test]
fn a_vlan_is_an_interface_of_its_own() {
    let mut rig = Rig::new();
    // In by the VLAN, out by the LAN.
    let ip = udp4("10.0.2.2", "10.0.0.9", 64, 20);
    let frame = tagged(&eth(WAN_MAC, VPEER_MAC, IPV4, &ip), 0x8100, 0x2064);
    let seen = rig.one(1, &frame);
    assert_eq!(seen.counts[VLAN.index()].rx_packets, 1);
    assert_eq!(seen.counts[VLAN.index()].rx_bytes as usize, frame.len());
    let sent = seen.only_sent();
    assert_eq!((sent.port, sent.iface), (PortId(0), LAN));
    assert_eq!(sent.frame, eth(HOST_MAC, LAN_MAC, IPV4, &ttl4(&ip, 63)));
    // And the other way.
    let ip = udp4("10.0.0.9", "198.51.100.1", 2, 20);
    let sent = rig.one(0, &from_lan(IPV4, &ip)).only_sent();
    assert_eq!((sent.port, sent.iface), (PortId(1), VLAN));
    let want = tagged(&eth(VPEER_MAC, WAN_MAC, IPV4, &ttl4(&ip, 1)), 0x8100, 100);
    assert_eq!(sent.frame, want);
}

#[test]
fn a_burst_of_several_interfaces_is_counted_on_each() {
    let mut rig = Rig::new();
    let plain = eth(WAN_MAC, PEER_MAC, IPV4, &udp4("10.0.1.2", "10.0.0.9", 9, 1));
    let vlan = tagged(&plain, 0x8100, 100);
    let frames: Vec<_> = (0..200)
        .map(|i| {
            if i % 3 == 0 {
                plain.clone()
            } else {
                vlan.clone()
            }
        })
        .collect();
    let seen = rig.run(1, &frames);
    assert_eq!(seen.sent.len(), 200);
    assert_eq!(seen.counts[WAN.index()].rx_packets, 67);
    assert_eq!(seen.counts[VLAN.index()].rx_packets, 133);
    assert_eq!(
        seen.counts[VLAN.index()].rx_bytes as usize,
        133 * vlan.len()
    );
    assert_eq!(seen.counts[LAN.index()].tx_packets, 200);
}
