//! IPv6: what is checked, what is forwarded, what is answered, and what Neighbour Discovery gets.

use super::packets::*;
use super::rig::*;
use crate::drops::Drop;
use crate::punt::PuntReason;
use etherparse::{Icmpv6Slice, IpNumber, Ipv6Slice};
use net::{MacAddr, PortId};
use std::net::{IpAddr, Ipv6Addr};

const IPV6: u16 = 0x86dd;
const HOST: &str = "2001:db8:0::9";
const FAR: &str = "2001:db8:a::7";

fn a(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

/// The ICMPv6 error inside a packet, after the judge: source, destination, type and code, the four bytes, the quote.
#[track_caller]
fn icmp_error(packet: &[u8]) -> (Ipv6Addr, Ipv6Addr, [u8; 2], u32, Vec<u8>) {
    let ip = Ipv6Slice::from_slice(packet).unwrap();
    let h = ip.header();
    let m = Icmpv6Slice::from_slice(ip.payload().payload).unwrap();
    assert!(m.is_checksum_valid(h.source(), h.destination()) && packet.len() <= 1280);
    let word = u32::from_be_bytes(m.slice()[4..8].try_into().unwrap());
    (
        h.source_addr(),
        h.destination_addr(),
        [m.type_u8(), m.code_u8()],
        word,
        m.slice()[8..].to_vec(),
    )
}

#[test]
fn a_packet_is_forwarded() {
    let mut rig = Rig::new();
    for hops in [2, 64, 255] {
        let ip = udp6(HOST, FAR, hops, 20);
        let mut frame = from_lan(IPV6, &ip);
        frame.resize(frame.len() + 3, 9); // padding
        let sent = rig.one(0, &frame).only_sent();
        assert_eq!((sent.port, sent.iface), (PortId(1), WAN));
        assert_eq!(
            sent.frame,
            eth(PEER_MAC, WAN_MAC, IPV6, &hops6(&ip, hops - 1))
        );
    }
}

#[test]
fn extension_headers_are_passed_on() {
    let mut rig = Rig::new();
    let chains: [(IpNumber, Vec<u8>); 6] = [
        (
            IpNumber::IPV6_HEADER_HOP_BY_HOP,
            vec![59, 0, 5, 2, 0, 0, 1, 0],
        ), // router alert
        (
            IpNumber::IPV6_HEADER_HOP_BY_HOP,
            vec![59, 0, 0xc2, 4, 9, 9, 9, 9],
        ), // unknown, "discard": RFC 9673
        (
            IpNumber::IPV6_HEADER_HOP_BY_HOP,
            vec![59, 9, 1, 4, 0, 0, 0, 0],
        ), // longer than the packet
        (
            IpNumber::IPV6_FRAGMENTATION_HEADER,
            vec![17, 0, 0, 1, 0, 0, 0, 1, 3, 232, 0, 53],
        ),
        (
            IpNumber::IPV6_DESTINATION_OPTIONS,
            vec![59, 0, 1, 4, 0, 0, 0, 0],
        ),
        (IpNumber::IPV6_ROUTE_HEADER, vec![59, 0, 0, 1, 0, 0, 0, 0]),
    ];
    for (next, payload) in chains {
        rig.judged = payload[1] == 0;
        let ip = ip6(a(HOST), a(FAR), 9, next, &payload);
        let sent = rig.one(0, &from_lan(IPV6, &ip)).only_sent();
        assert_eq!(
            sent.frame,
            eth(PEER_MAC, WAN_MAC, IPV6, &hops6(&ip, 8)),
            "{payload:?}"
        );
    }
}

#[test]
fn headers_that_lie() {
    let mut rig = Rig::new();
    let good = udp6(HOST, FAR, 9, 20);
    let with = |at: usize, v: u8| {
        let mut p = good.clone();
        p[at] = v;
        p
    };
    let jumbo = ip6(a(HOST), a(FAR), 9, IpNumber::IPV6_HEADER_HOP_BY_HOP, &[]);
    for (what, ip, why) in [
        ("39 bytes", good[..39].to_vec(), Drop::Ip6Truncated),
        ("none", vec![], Drop::Ip6Truncated),
        ("version 4", with(0, 0x40), Drop::Ip6BadVersion),
        ("a byte too few", good[..67].to_vec(), Drop::Ip6BadLength),
        ("far too few", with(4, 0xff), Drop::Ip6BadLength),
        (
            "a jumbogram",
            [jumbo, vec![59, 0, 0xc2, 4, 0, 1, 0, 0]].concat(),
            Drop::Ip6BadLength,
        ),
    ] {
        assert_eq!(
            rig.one(0, &from_lan(IPV6, &ip)).only_dropped(),
            why,
            "{what}"
        );
    }
}

#[test]
fn addresses_that_are_nobodys() {
    let mut rig = Rig::new();
    use Drop::*;
    for (src, dst, why) in [
        ("::", FAR, MartianSource),
        ("::1", FAR, MartianSource),
        ("ff02::1", FAR, MartianSource),
        ("::ffff:10.0.0.9", FAR, MartianSource),
        ("2001:db8:0::1", FAR, MartianSource),
        ("2001:db8:3::1", FAR, MartianSource),
        ("fe80::1", FAR, MartianSource), // ours on this link
        (HOST, "::", MartianDestination),
        (HOST, "::1", MartianDestination),
        (HOST, "::ffff:10.0.0.9", MartianDestination),
        (HOST, "ff01::1", Multicast),
        (HOST, "ff02::5", Multicast),
        (HOST, "ff02::16", Multicast),
        (HOST, "ff05::2", Multicast),
        (HOST, "ff0e::1", Multicast),
        (HOST, "ff02::1:ff00:7", Multicast), // another's solicited-node group
        (HOST, "fe80::99", LinkLocalScope),
        (HOST, "fe80::2", LinkLocalScope), // ours, on another link
        ("fe80::99", "fe80::98", LinkLocalScope),
    ] {
        let seen = rig.one(0, &from_lan(IPV6, &udp6(src, dst, 9, 20)));
        assert_eq!(seen.only_dropped(), why, "{src} to {dst}");
    }
    let group = eth(
        MacAddr([0x33, 0x33, 0, 0, 0, 1]),
        HOST_MAC,
        IPV6,
        &udp6(HOST, FAR, 9, 20),
    );
    assert_eq!(rig.one(0, &group).only_dropped(), Drop::LinkBroadcast);
}

#[test]
fn what_is_the_routers_own() {
    let mut rig = Rig::new();
    let echo = |dst, hops| icmp6(HOST, dst, hops, 128, &[0; 8]);
    for (dst, owner, mac) in [
        ("2001:db8:0::1", LAN, Some(LAN_MAC)),
        ("2001:db8:3::1", CORE, Some(CORE_MAC)),
        ("fe80::1", LAN, Some(LAN_MAC)),
        ("ff02::1", LAN, None),
        ("ff02::2", LAN, None),
        ("ff02::1:ff00:1", LAN, None),
    ] {
        let group = MacAddr::ipv6_multicast(a(dst));
        for hops in [0, 1, 64] {
            let ip = echo(dst, hops);
            let frame = eth(mac.map_or(group, |_| LAN_MAC), HOST_MAC, IPV6, &ip);
            let up = rig.one(0, &frame).only_up();
            assert_eq!(
                (up.reason, up.iface, up.rx_iface),
                (PuntReason::Local, owner, LAN),
                "{dst}"
            );
            assert_eq!(up.frame, eth(mac.unwrap_or(group), HOST_MAC, IPV6, &ip));
        }
    }
    // From a link-local source, too.
    let up = rig
        .one(
            0,
            &from_lan(IPV6, &icmp6("fe80::99", "2001:db8:3::1", 64, 128, &[0; 8])),
        )
        .only_up();
    assert_eq!((up.reason, up.iface), (PuntReason::Local, CORE));
    let broken = ip6(
        a(HOST),
        a("fe80::1"),
        9,
        IpNumber::IPV6_HEADER_HOP_BY_HOP,
        &[58, 9, 0, 0, 0, 0, 0, 0],
    );
    assert_eq!(
        rig.one(0, &from_lan(IPV6, &broken)).only_dropped(),
        Drop::Ip6BadExtension
    );
}

#[test]
fn neighbour_discovery_goes_to_the_control_thread() {
    let mut rig = Rig::new();
    let nd = |src, dst, ty| icmp6(src, dst, 255, ty, &[0; 20]);
    for (src, dst, ty) in [
        ("::", "ff02::1:ff00:1", 135), // duplicate address detection
        ("::", "ff02::2", 133),        // a router solicitation without an address
        (HOST, "ff02::1:ff00:1", 135),
        ("fe80::99", "fe80::1", 135),
        (HOST, "2001:db8:0::1", 135),      // unreachability detection
        (HOST, "2001:db8:3::1", 136),      // stays on the link it came in by
        ("2001:db8:0::1", "ff02::1", 136), // somebody has our address
        ("fe80::1", "ff02::1", 136),
        ("fe80::99", "ff02::1", 134),
        ("fe80::99", "fe80::1", 137),
    ] {
        let ip = nd(src, dst, ty);
        let to = if dst.starts_with("ff") {
            MacAddr::ipv6_multicast(a(dst))
        } else {
            LAN_MAC
        };
        let up = rig.one(0, &eth(to, HOST_MAC, IPV6, &ip)).only_up();
        assert_eq!(
            (up.reason, up.iface, up.rx_iface),
            (PuntReason::Nd, LAN, LAN),
            "{src} {dst}"
        );
        assert_eq!(up.frame[14..], ip);
    }
    let far = icmp6(HOST, "2001:db8:0::1", 254, 135, &[0; 20]);
    assert_eq!(
        rig.one(0, &from_lan(IPV6, &far)).only_dropped(),
        Drop::BadNd
    );
    // Discovery of others is not ours; forwarded it would be if it were unicast, like anything.
    let others = nd(HOST, "ff02::1:ff00:77", 135);
    assert_eq!(
        rig.one(0, &from_lan(IPV6, &others)).only_dropped(),
        Drop::Multicast
    );
    assert_eq!(
        rig.one(0, &from_lan(IPV6, &nd("::", FAR, 135)))
            .only_dropped(),
        Drop::MartianSource
    );
    // RFC 6980: not in fragments.
    let whole = nd(HOST, "2001:db8:0::1", 135);
    let fragment = [&[58, 0, 0, 1, 0, 0, 0, 1], &whole[40..]].concat();
    let ip = ip6(
        a(HOST),
        a("2001:db8:0::1"),
        255,
        IpNumber::IPV6_FRAGMENTATION_HEADER,
        &fragment,
    );
    assert_eq!(rig.one(0, &from_lan(IPV6, &ip)).only_dropped(), Drop::BadNd);
    // Behind options it is discovery all the same.
    let options = [&[58, 0, 1, 4, 0, 0, 0, 0], &whole[40..]].concat();
    let ip = ip6(
        a(HOST),
        a("2001:db8:0::1"),
        255,
        IpNumber::IPV6_DESTINATION_OPTIONS,
        &options,
    );
    assert_eq!(
        rig.one(0, &from_lan(IPV6, &ip)).only_up().reason,
        PuntReason::Nd
    );
}

#[test]
fn what_cannot_go_on_is_answered() {
    let mut rig = Rig::new();
    for (dst, hops, why, answer) in [
        (FAR, 1, Drop::TtlExpired, Some([3, 0])),
        (FAR, 0, Drop::TtlExpired, Some([3, 0])),
        ("2001:db8:1::99", 1, Drop::TtlExpired, Some([3, 0])),
        ("2600::1", 9, Drop::NoRoute, Some([1, 0])),
        ("2001:db8:10::1", 9, Drop::Blackhole, None),
        ("2001:db8:11::1", 9, Drop::Unreachable, Some([1, 0])),
        ("2001:db8:12::1", 9, Drop::Prohibited, Some([1, 1])),
    ] {
        let ip = udp6(HOST, dst, hops, 20);
        let seen = rig.one(0, &from_lan(IPV6, &ip));
        assert_eq!(seen.drops, [(LAN, why, 1)], "{dst}");
        let Some(answer) = answer else {
            assert!(seen.sent.is_empty());
            continue;
        };
        assert_eq!(seen.counts[LAN.index()].created, 1);
        let sent = seen.one_sent();
        assert_eq!(sent.frame[..14], eth(HOST_MAC, LAN_MAC, IPV6, &[]));
        let (src, to, what, word, quote) = icmp_error(&sent.frame[14..]);
        assert_eq!(
            (src, to, what, word),
            (a("2001:db8::1"), a(HOST), answer, 0)
        );
        assert_eq!(quote, ip);
    }
}

#[test]
fn a_packet_too_big_is_told_the_mtu() {
    let mut rig = Rig::new();
    let ip = udp6(HOST, "2001:db8:b::1", 9, 1401 - 48);
    let seen = rig.one(0, &from_lan(IPV6, &ip));
    assert_eq!((seen.dropped(), seen.created()), (Drop::PacketTooBig, 1));
    let (_, _, what, mtu, quote) = icmp_error(&seen.one_sent().frame[14..]);
    assert_eq!((what, mtu, quote), ([2, 0], 1400, ip[..1232].to_vec()));
    let ip = udp6(HOST, "2001:db8:16::1", 9, 1397 - 48); // under a label
    let (_, _, what, mtu, _) = icmp_error(&rig.one(0, &from_lan(IPV6, &ip)).one_sent().frame[14..]);
    assert_eq!((what, mtu), ([2, 0], 1396));
}

#[test]
fn a_link_local_source_does_not_leave_its_link() {
    let mut rig = Rig::new();
    let ip = udp6("fe80::99", FAR, 9, 20);
    let seen = rig.one(0, &from_lan(IPV6, &ip));
    assert_eq!(
        (seen.dropped(), seen.created(), seen.sent.len()),
        (Drop::LinkLocalScope, 1, 0)
    );
    let up = &seen.up[0];
    assert_eq!((up.reason, up.iface), (PuntReason::Glean, LAN));
    assert_eq!(up.next_hop, Some("fe80::99".parse::<IpAddr>().unwrap()));
    let (src, dst, what, ..) = icmp_error(&up.frame);
    assert_eq!((src, dst, what), (a("fe80::1"), a("fe80::99"), [1, 2]));
}

#[test]
fn errors_that_are_never_sent() {
    let mut rig = Rig::new();
    for (what, ip) in [
        ("about an error", icmp6(HOST, FAR, 1, 3, &[0; 12])),
        ("about a redirect", icmp6(HOST, FAR, 1, 137, &[0; 12])),
        ("to a source without a route", udp6("2600::9", FAR, 1, 20)),
    ] {
        let seen = rig.one(0, &from_lan(IPV6, &ip));
        assert_eq!(
            (seen.only_dropped(), seen.created()),
            (Drop::TtlExpired, 0),
            "{what}"
        );
    }
}

#[test]
fn labels_are_imposed() {
    let mut rig = Rig::new();
    let mut ip = udp6(HOST, "2001:db8:c::5", 9, 20);
    (ip[0], ip[1]) = (0x6b, 0x80); // DSCP 46
    let sent = rig.one(0, &from_lan(IPV6, &ip)).only_sent();
    let want = labelled(&[(100, 5, 8), (200, 5, 8)], &hops6(&ip, 8));
    assert_eq!(sent.frame, eth(CPEER_MAC, CORE_MAC, 0x8847, &want));
}

#[test]
fn an_entropy_label_is_imposed() {
    let mut rig = Rig::new();
    let ip = udp6(HOST, "2001:db8:e::5", 9, 20);
    let sent = rig.one(0, &from_lan(IPV6, &ip)).only_sent();
    let entropy = net::Label::entropy(net::flow::hash_ip6(&ip)).get();
    let stack = [(100, 0, 8), (7, 0, 8), (entropy, 0, 0), (200, 0, 8)];
    let want = labelled(&stack, &hops6(&ip, 8));
    assert_eq!(sent.frame, eth(CPEER_MAC, CORE_MAC, 0x8847, &want));
}

#[test]
fn neighbours_that_are_not_known_are_asked_for() {
    let mut rig = Rig::new();
    for (dst, reason, hop) in [
        ("2001:db8:1::99", PuntReason::Glean, "2001:db8:1::99"),
        ("2001:db8:13::1", PuntReason::Incomplete, "10.0.1.77"),
    ] {
        let ip = udp6(HOST, dst, 9, 20);
        let up = rig.one(0, &from_lan(IPV6, &ip)).only_up();
        assert_eq!((up.reason, up.iface, up.ethertype), (reason, WAN, IPV6));
        assert_eq!(up.next_hop, Some(hop.parse().unwrap()));
        assert_eq!((up.ttl, up.frame), (Some(9), hops6(&ip, 8)));
    }
}

#[test]
fn flows_share_equal_paths() {
    let mut rig = Rig::new();
    let flow = |n: u16| {
        from_lan(
            IPV6,
            &udp6(&format!("2001:db8:0::{n:x}"), "2001:db8:14::1", 9, 4),
        )
    };
    let frames: Vec<_> = (0x100..0x290).map(flow).collect();
    let seen = rig.run(0, &frames);
    let by_wan = seen.sent.iter().filter(|s| s.iface == WAN).count();
    assert!((120..280).contains(&by_wan), "{by_wan} of 400");
}
