//! Labels: what is done with a stack, with its TTL and TC, and with what goes wrong under it.

use super::ip4::icmp_error;
use super::packets::*;
use super::rig::*;
use crate::drops::Drop;
use crate::pipeline::PipelineConfig;
use crate::punt::PuntReason;
use etherparse::{Icmpv4Type, Ipv4Slice, icmpv4};
use fib::{Path, TtlMode};
use net::PortId;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;
/// Behind the wan peer.
const FAR: &str = "192.0.2.7";
/// A source that the table knows, and one that it does not.
const SRC: &str = "10.0.0.9";
const STRANGER: &str = "8.8.8.8";

type Entry = (u32, u8, u8);
/// What it is, labels in, packet in, frame out.
type Case<'a> = (&'a str, Vec<Entry>, &'a [u8], Vec<u8>);

/// From the core's peer, labelled.
fn from_core(labels: &[Entry], packet: &[u8]) -> Vec<u8> {
    eth(CORE_MAC, CPEER_MAC, MPLS, &labelled(labels, packet))
}

fn to_core(labels: &[Entry], packet: &[u8]) -> Vec<u8> {
    eth(CPEER_MAC, CORE_MAC, MPLS, &labelled(labels, packet))
}

fn to_wan(labels: &[Entry], packet: &[u8]) -> Vec<u8> {
    match labels {
        [] if packet[0] >> 4 == 6 => eth(PEER_MAC, WAN_MAC, IPV6, packet),
        [] => eth(PEER_MAC, WAN_MAC, IPV4, packet),
        _ => eth(PEER_MAC, WAN_MAC, MPLS, &labelled(labels, packet)),
    }
}

#[test]
fn label_operations() {
    let mut rig = Rig::new();
    let ip = udp4(STRANGER, FAR, 64, 20);
    let six = udp6("2001:db8:99::1", "2001:db8:a::7", 64, 20);
    let (t4, t6) = (|t| ttl4(&ip, t), |t| hops6(&six, t));
    let cases: Vec<Case<'_>> = vec![
        (
            "swap; TC kept",
            vec![(300, 5, 9)],
            &ip,
            to_core(&[(400, 5, 8)], &ip),
        ),
        (
            "swap above another",
            vec![(300, 1, 9), (77, 2, 3)],
            &ip,
            to_core(&[(400, 1, 8), (77, 2, 3)], &ip),
        ),
        (
            "swap at TTL 2",
            vec![(300, 0, 2)],
            &ip,
            to_core(&[(400, 0, 1)], &ip),
        ),
        (
            "swap to a stack, pipe",
            vec![(301, 3, 9)],
            &ip,
            to_core(&[(401, 3, 255), (402, 3, 8)], &ip),
        ),
        ("PHP, uniform", vec![(302, 0, 9)], &ip, to_wan(&[], &t4(8))),
        (
            "PHP, uniform, never raises",
            vec![(302, 0, 200)],
            &ip,
            to_wan(&[], &ip),
        ),
        ("PHP, pipe", vec![(303, 0, 9)], &ip, to_wan(&[], &ip)),
        ("PHP, IPv6", vec![(302, 0, 9)], &six, to_wan(&[], &t6(8))),
        (
            "PHP, pipe, IPv6",
            vec![(303, 0, 9)],
            &six,
            to_wan(&[], &six),
        ),
        (
            "PHP to a label, uniform",
            vec![(302, 0, 9), (77, 4, 200)],
            &ip,
            to_wan(&[(77, 4, 8)], &ip),
        ),
        (
            "PHP to a label, never raises",
            vec![(302, 0, 9), (77, 4, 3)],
            &ip,
            to_wan(&[(77, 4, 3)], &ip),
        ),
        (
            "PHP to a label, pipe",
            vec![(303, 0, 9), (77, 4, 200)],
            &ip,
            to_wan(&[(77, 4, 200)], &ip),
        ),
        (
            "pop and look up, uniform",
            vec![(304, 0, 9)],
            &ip,
            to_wan(&[], &t4(8)),
        ),
        (
            "pop and look up, pipe",
            vec![(305, 0, 9)],
            &ip,
            to_wan(&[], &t4(63)),
        ),
        (
            "pop and look up, IPv6",
            vec![(304, 0, 9)],
            &six,
            to_wan(&[], &t6(8)),
        ),
        (
            "pop, then swap, uniform",
            vec![(304, 0, 9), (300, 2, 200)],
            &ip,
            to_core(&[(400, 2, 8)], &ip),
        ),
        (
            "pop, then swap, pipe",
            vec![(305, 0, 9), (300, 2, 200)],
            &ip,
            to_core(&[(400, 2, 199)], &ip),
        ),
        (
            "pop, pop, look up",
            vec![(304, 0, 99), (305, 0, 88), (304, 0, 9)],
            &ip,
            to_wan(&[], &t4(8)),
        ),
        ("explicit null", vec![(0, 0, 9)], &ip, to_wan(&[], &t4(8))),
        (
            "explicit null, IPv6",
            vec![(2, 0, 9)],
            &six,
            to_wan(&[], &t6(8)),
        ),
        (
            "explicit null above (RFC 4182)",
            vec![(0, 0, 9), (300, 6, 200)],
            &ip,
            to_core(&[(400, 6, 8)], &ip),
        ),
        (
            "IPv6 explicit null above IPv4's",
            vec![(2, 0, 90), (0, 0, 9)],
            &ip,
            to_wan(&[], &t4(8)),
        ),
        (
            "router alert goes along",
            vec![(1, 7, 9), (300, 2, 200)],
            &ip,
            to_core(&[(1, 7, 8), (400, 2, 8)], &ip),
        ),
        (
            "router alert and PHP",
            vec![(1, 7, 9), (302, 2, 200)],
            &ip,
            to_wan(&[], &t4(8)),
        ),
        (
            "router alert and pop",
            vec![(1, 7, 9), (304, 2, 200)],
            &ip,
            to_wan(&[], &t4(8)),
        ),
        (
            "entropy label on top",
            vec![(7, 0, 9), (12345, 0, 0)],
            &ip,
            to_wan(&[], &t4(8)),
        ),
        (
            "entropy label beneath",
            vec![(304, 0, 9), (7, 0, 200), (12345, 0, 0), (300, 1, 200)],
            &ip,
            to_core(&[(400, 1, 8)], &ip),
        ),
        (
            "entropy label passed on",
            vec![(300, 0, 9), (7, 0, 9), (12345, 0, 0)],
            &ip,
            to_core(&[(400, 0, 8), (7, 0, 9), (12345, 0, 0)], &ip),
        ),
        (
            "what is no IP, under a swap",
            vec![(300, 0, 9)],
            &[0, 1, 2, 3],
            to_core(&[(400, 0, 8)], &[0, 1, 2, 3]),
        ),
    ];
    for (what, labels, packet, want) in cases {
        rig.judged = packet.len() > 20;
        let seen = rig.one(2, &from_core(&labels, packet));
        assert_eq!(seen.drops, [], "{what}");
        assert_eq!(seen.only_sent().frame, want, "{what}");
    }
}

#[test]
fn labelled_packets_that_are_refused() {
    let mut rig = Rig::new();
    let ip = udp4(SRC, FAR, 64, 20);
    let six = udp6("2001:db8::9", "2001:db8:a::7", 64, 20);
    let open = |n: usize| [0x00, 0x12, 0xc0, 0x09].repeat(n); // label 300, no bottom
    let raw = |bytes: &[u8]| eth(CORE_MAC, CPEER_MAC, MPLS, bytes);
    let deep: Vec<Entry> = (0..17).map(|i| (304, 0, 100 - i)).collect();
    let cases: Vec<(&str, Vec<u8>, Drop)> = vec![
        ("no stack", raw(&[]), Drop::MplsTruncated),
        ("half an entry", raw(&[0, 0x12, 0xc1]), Drop::MplsTruncated),
        (
            "a stack and nothing",
            from_core(&[(300, 0, 9)], &[]),
            Drop::MplsTruncated,
        ),
        (
            "a popped stack and nothing",
            from_core(&[(304, 0, 9)], &[]),
            Drop::MplsTruncated,
        ),
        ("no bottom", raw(&open(1)), Drop::MplsNoBottom),
        (
            "no bottom, padded",
            raw(&[open(2), vec![0; 38]].concat()),
            Drop::MplsNoBottom,
        ),
        ("no bottom in 15", raw(&open(15)), Drop::MplsNoBottom),
        ("no bottom in 16", raw(&open(16)), Drop::MplsStackTooDeep),
        (
            "no bottom in a whole frame",
            raw(&open(375)),
            Drop::MplsStackTooDeep,
        ),
        ("17 labels", from_core(&deep, &ip), Drop::MplsStackTooDeep),
        (
            "unknown",
            from_core(&[(299, 0, 9)], &ip),
            Drop::UnknownLabel,
        ),
        (
            "unknown, expired too",
            from_core(&[(299, 0, 1)], &ip),
            Drop::UnknownLabel,
        ),
        (
            "unknown beneath",
            from_core(&[(304, 0, 9), (299, 0, 9)], &ip),
            Drop::UnknownLabel,
        ),
        (
            "the greatest label",
            from_core(&[(0xfffff, 0, 9)], &ip),
            Drop::UnknownLabel,
        ),
        (
            "implicit null on the wire",
            from_core(&[(3, 0, 9)], &ip),
            Drop::MplsReservedLabel,
        ),
        (
            "unassigned",
            from_core(&[(4, 0, 9)], &ip),
            Drop::MplsReservedLabel,
        ),
        (
            "GAL",
            from_core(&[(13, 0, 9)], &ip),
            Drop::MplsReservedLabel,
        ),
        (
            "OAM alert",
            from_core(&[(14, 0, 9)], &ip),
            Drop::MplsReservedLabel,
        ),
        (
            "extension",
            from_core(&[(15, 0, 9), (300, 0, 9)], &ip),
            Drop::MplsReservedLabel,
        ),
        (
            "router alert at the bottom",
            from_core(&[(1, 0, 9)], &ip),
            Drop::MplsReservedLabel,
        ),
        (
            "entropy indicator at the bottom",
            from_core(&[(7, 0, 9)], &ip),
            Drop::MplsReservedLabel,
        ),
        (
            "popped, no IP",
            from_core(&[(304, 0, 9)], &[0, 1, 2, 3]),
            Drop::MplsUnknownPayload,
        ),
        (
            "bared, no IP",
            from_core(&[(302, 0, 9)], &[0, 1, 2, 3]),
            Drop::MplsUnknownPayload,
        ),
        (
            "bared, cut short",
            from_core(&[(302, 0, 9)], &ip[..30]),
            Drop::Ip4BadLength,
        ),
        (
            "bared, cut short, IPv6",
            from_core(&[(302, 0, 9)], &six[..50]),
            Drop::Ip6BadLength,
        ),
        (
            "explicit null over IPv6",
            from_core(&[(0, 0, 9)], &edit4(&six, |_| {})),
            Drop::Ip4BadVersion,
        ),
        (
            "IPv6 explicit null over IPv4",
            from_core(&[(2, 0, 9)], &ip),
            Drop::Ip6BadVersion,
        ),
        (
            "popped, bad checksum",
            from_core(&[(304, 0, 9)], &{
                let mut p = ip.clone();
                p[10] ^= 1;
                p
            }),
            Drop::Ip4BadChecksum,
        ),
        (
            "popped, martian",
            from_core(&[(304, 0, 9)], &udp4("127.0.0.1", FAR, 9, 1)),
            Drop::MartianSource,
        ),
        (
            "a blackhole",
            from_core(&[(309, 0, 9)], &ip),
            Drop::Blackhole,
        ),
        (
            "a connected network, under labels",
            from_core(&[(310, 0, 9), (77, 0, 9)], &ip),
            Drop::NoAdjacency,
        ),
        (
            "a connected network, no IP",
            from_core(&[(310, 0, 9)], &[0, 1]),
            Drop::NoAdjacency,
        ),
    ];
    for (what, frame, why) in cases {
        assert_eq!(rig.one(2, &frame).only_dropped(), why, "{what}");
    }
}

#[test]
fn labels_that_end_at_the_router() {
    let mut rig = Rig::new();
    for (labels, ttl) in [
        (vec![(304, 0, 1)], 1),
        (vec![(308, 0, 9)], 9),
        (vec![(0, 0, 1)], 1),
        (vec![(304, 0, 9), (0, 0, 9)], 9),
    ] {
        let ip = udp4(SRC, "10.0.1.1", ttl, 20);
        let up = rig.one(2, &from_core(&labels, &ip)).only_up();
        assert_eq!(
            (up.reason, up.iface, up.rx_iface),
            (PuntReason::Local, WAN, CORE)
        );
        assert_eq!(up.frame, eth(WAN_MAC, CPEER_MAC, IPV4, &ip));
    }
}

#[test]
fn a_labelled_packet_waits_for_its_neighbour() {
    let mut rig = Rig::new();
    let ip = udp4(SRC, "10.0.0.77", 64, 20);
    let up = rig.one(2, &from_core(&[(310, 0, 9)], &ip)).only_up();
    assert_eq!(
        (up.reason, up.iface, up.ethertype),
        (PuntReason::Glean, LAN, IPV4)
    );
    assert_eq!(up.next_hop, Some("10.0.0.77".parse().unwrap()));
    assert_eq!((up.ttl, up.frame), (Some(64), ttl4(&ip, 8)));
    let up = rig
        .one(2, &from_core(&[(311, 0, 9), (77, 0, 9)], &ip))
        .only_up();
    assert_eq!(
        (up.reason, up.iface, up.ethertype),
        (PuntReason::Incomplete, WAN, MPLS)
    );
    assert_eq!((up.ttl, up.frame), (None, labelled(&[(77, 0, 8)], &ip)));
}

/// The labels that the RFC 4950 extension of an error shows, after the 128 bytes of the packet it quotes.
#[track_caller]
fn shown(message: &[u8]) -> Vec<u8> {
    assert_eq!(net::checksum::checksum(message), 0);
    let words = if message[0] < 5 || message[0] == 11 {
        message[5]
    } else {
        message[4] * 2
    };
    assert_eq!(words, 32, "the length of the quote, RFC 4884");
    let ext = &message[8 + 128..];
    assert_eq!((ext[0], net::checksum::checksum(ext)), (0x20, 0));
    assert_eq!(
        (usize::from(ext[5]), &ext[6..8]),
        (ext.len() - 4, &[1, 1][..])
    );
    ext[8..].to_vec()
}

#[test]
fn ttl_expiry_is_answered_by_the_table() {
    let mut rig = Rig::new();
    let ip = udp4(SRC, FAR, 64, 20);
    let expired = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
    for labels in [
        &[(300, 2, 1)][..],
        &[(300, 2, 0), (55, 3, 9)],
        &[(302, 0, 1)],
        &[(305, 0, 1)],
        &[(0, 0, 0)],
        &[(304, 0, 1), (300, 0, 9)], // what is left of the TTL counts
        &[(1, 0, 1), (300, 0, 9)],
        &[(7, 0, 0), (99, 0, 9)],
    ] {
        let seen = rig.one(2, &from_core(labels, &ip));
        assert_eq!(
            (seen.dropped(), seen.created()),
            (Drop::MplsTtlExpired, 1),
            "{labels:?}"
        );
        assert_eq!(seen.counts[CORE.index()].created, 1);
        let sent = seen.one_sent();
        assert_eq!((sent.port, sent.iface), (PortId(0), LAN));
        let (src, dst, what, quote) = icmp_error(&sent.frame);
        assert_eq!(
            (src.to_string(), dst.to_string()),
            ("10.0.3.1".into(), SRC.into())
        );
        assert_eq!((what, &quote[..ip.len()]), (expired.clone(), &ip[..]));
        assert_eq!(
            shown(
                Ipv4Slice::from_slice(&sent.frame[14..])
                    .unwrap()
                    .payload()
                    .payload
            ),
            stack(labels)
        );
    }
    // A packet that is popped first and expires as an IP packet shows its labels too.
    for (labels, ttl) in [
        (&[(304, 2, 1)][..], 64),
        (&[(305, 2, 9)], 1),
        (&[(304, 1, 9), (0, 1, 1)], 64),
    ] {
        let ip = udp4(SRC, FAR, ttl, 20);
        let seen = rig.one(2, &from_core(labels, &ip));
        assert_eq!(
            (seen.dropped(), seen.created()),
            (Drop::TtlExpired, 1),
            "{labels:?}"
        );
        let sent = seen.one_sent();
        let (.., quote) = icmp_error(&sent.frame);
        assert_eq!(&quote[..ip.len()], ip, "as received");
        assert_eq!(
            shown(
                Ipv4Slice::from_slice(&sent.frame[14..])
                    .unwrap()
                    .payload()
                    .payload
            ),
            stack(labels)
        );
    }
}

#[test]
fn ttl_expiry_is_answered_in_ipv6() {
    let mut rig = Rig::new();
    let ip = udp6("2001:db8:0::9", "2001:db8:a::7", 64, 20);
    let labels = [(300, 2, 1), (16, 1, 7)];
    let seen = rig.one(2, &from_core(&labels, &ip));
    assert_eq!((seen.dropped(), seen.created()), (Drop::MplsTtlExpired, 1));
    let sent = seen.one_sent();
    assert_eq!(
        (sent.iface, &sent.frame[..14]),
        (LAN, &eth(HOST_MAC, LAN_MAC, IPV6, &[])[..])
    );
    let message = &sent.frame[54..];
    assert_eq!(&message[..2], [3, 0]);
    let ext = &message[8 + 128..];
    assert_eq!(
        (message[4], ext[0], net::checksum::checksum(ext)),
        (16, 0x20, 0)
    );
    assert_eq!(ext[8..], stack(&labels));
}

#[test]
fn ttl_expiry_is_answered_along_the_path_where_the_source_is_not_known() {
    let mut rig = Rig::new();
    let ip = udp4(STRANGER, FAR, 64, 20);
    // (received, the stack that the answer goes under)
    let cases: [(&[Entry], &[Entry]); 5] = [
        (&[(300, 2, 1)], &[(400, 2, 255)]),
        (&[(300, 2, 1), (55, 3, 9)], &[(400, 2, 255), (55, 3, 255)]),
        (&[(301, 2, 1)], &[(401, 2, 255), (402, 2, 255)]),
        (&[(1, 4, 1), (300, 2, 9)], &[(1, 4, 255), (400, 2, 255)]),
        (&[(304, 0, 1), (300, 2, 9)], &[(400, 2, 255)]),
    ];
    for (labels, along) in cases {
        let seen = rig.one(2, &from_core(labels, &ip));
        assert_eq!((seen.dropped(), seen.created()), (Drop::MplsTtlExpired, 1));
        let sent = seen.one_sent();
        let front = eth(CPEER_MAC, CORE_MAC, MPLS, &stack(along));
        assert_eq!((sent.iface, &sent.frame[..front.len()]), (CORE, &front[..]));
        let bare = eth(CPEER_MAC, CORE_MAC, IPV4, &sent.frame[front.len()..]);
        let (src, dst, ..) = icmp_error(&bare);
        assert_eq!(
            (src.to_string(), dst.to_string()),
            ("10.0.3.1".into(), STRANGER.into())
        );
        assert_eq!(
            shown(
                Ipv4Slice::from_slice(&bare[14..])
                    .unwrap()
                    .payload()
                    .payload
            ),
            stack(labels)
        );
    }
    // Before the last router the answer goes bare.
    let sent = rig.one(2, &from_core(&[(302, 0, 1)], &ip)).one_sent();
    assert_eq!(sent.frame[..14], to_wan(&[], &ip)[..14]);
    // Where the path ends, nobody knows the way.
    for labels in [[(305, 0, 1)], [(0, 0, 0)]] {
        let seen = rig.one(2, &from_core(&labels, &ip));
        assert_eq!(
            (seen.only_dropped(), seen.created()),
            (Drop::MplsTtlExpired, 0)
        );
    }
    // A blackhole is no way.
    let ip = udp4("172.16.0.9", FAR, 64, 20);
    assert_eq!(
        rig.one(2, &from_core(&[(300, 2, 1)], &ip)).one_sent().iface,
        CORE
    );
}

#[test]
fn what_lies_beneath_may_get_no_answer() {
    let mut rig = Rig::new();
    let cases = [
        ("an error", icmp4(SRC, FAR, 9, 3, 1)),
        ("a martian", udp4("127.0.0.1", FAR, 9, 1)),
        ("ours", udp4("10.0.1.1", FAR, 9, 1)),
        ("a group", udp4(SRC, "224.0.0.9", 9, 1)),
        ("a stump", udp4(SRC, FAR, 9, 1)[..19].to_vec()),
        ("a pseudowire", vec![0; 64]),
        (
            "a stump of IPv6",
            udp6("2001:db8::9", "2001:db8:a::7", 9, 9)[..39].to_vec(),
        ),
    ];
    for (what, packet) in cases {
        let seen = rig.one(2, &from_core(&[(300, 0, 1)], &packet));
        assert_eq!(
            (seen.only_dropped(), seen.created()),
            (Drop::MplsTtlExpired, 0),
            "{what}"
        );
    }
}

#[test]
fn labelled_packets_too_long_for_the_link() {
    let mut rig = Rig::new();
    // 306 swaps to the VLAN, which takes 1400 bytes, labels included.
    let fits = udp4(SRC, FAR, 64, 1396 - 28);
    let sent = rig.one(2, &from_core(&[(306, 0, 9)], &fits)).only_sent();
    assert_eq!(sent.frame.len(), 18 + 1400);
    let long = udp4(SRC, FAR, 64, 1397 - 28);
    for (labels, mtu) in [
        (vec![(306, 0, 9)], 1396),
        (vec![(306, 0, 9), (55, 0, 7)], 1392),
    ] {
        let seen = rig.one(2, &from_core(&labels, &long));
        assert_eq!((seen.dropped(), seen.created()), (Drop::FragNeeded, 1));
        let sent = seen.one_sent();
        let (_, dst, what, quote) = icmp_error(&sent.frame);
        let want = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
        assert_eq!(
            (dst.to_string(), what),
            (SRC.into(), Icmpv4Type::DestinationUnreachable(want))
        );
        assert_eq!(quote[..128], long[..128]);
        assert_eq!(
            shown(
                Ipv4Slice::from_slice(&sent.frame[14..])
                    .unwrap()
                    .payload()
                    .payload
            ),
            stack(&labels)
        );
    }
    // To a source without a route, along the path (RFC 3032 2.3).
    let strange = udp4(STRANGER, FAR, 64, 1397 - 28);
    let sent = rig.one(2, &from_core(&[(306, 0, 9)], &strange)).one_sent();
    assert_eq!(
        (sent.iface, &sent.frame[18..22]),
        (VLAN, &stack(&[(500, 0, 255)])[..])
    );
    // Without DF, cut under the labels (RFC 3032 3.4).
    let open = edit4(&long, |p| p[6] = 0);
    let seen = rig.one(2, &from_core(&[(306, 6, 9), (55, 1, 7)], &open));
    assert_eq!(
        (seen.sent.len(), seen.created(), seen.drops.len()),
        (2, 1, 0)
    );
    for s in &seen.sent {
        assert!(s.frame.len() <= 18 + 1400);
        assert_eq!(s.frame[18..26], stack(&[(500, 6, 8), (55, 1, 7)]));
        assert_eq!(s.frame[26 + 8], 64, "the TTL beneath is nobody's business");
    }
    // Before the last router it is cut bare, with the TTL that it leaves with.
    let open = edit4(&udp4(SRC, FAR, 64, 1410 - 28), |p| p[6] = 0);
    let seen = rig.one(2, &from_core(&[(312, 0, 9)], &open));
    assert_eq!((seen.sent.len(), seen.drops.len()), (2, 0));
    assert!(
        seen.sent
            .iter()
            .all(|s| s.frame[16..18] == [8, 0] && s.frame[18 + 8] == 8)
    );
    // IPv6 is never cut, and other things neither.
    let six = udp6("2001:db8::9", "2001:db8:a::7", 64, 1397 - 48);
    let seen = rig.one(2, &from_core(&[(306, 0, 9)], &six));
    assert_eq!((seen.dropped(), seen.created()), (Drop::PacketTooBig, 1));
    let sent = seen.one_sent();
    assert_eq!(
        (sent.frame[54], &sent.frame[58..62]),
        (2, &1396u32.to_be_bytes()[..])
    );
    let seen = rig.one(2, &from_core(&[(306, 0, 9)], &vec![0; 1397]));
    assert_eq!((seen.only_dropped(), seen.created()), (Drop::MplsTooBig, 0));
}

#[test]
fn eight_labels_fit_before_a_deep_stack() {
    let mut rig = Rig::new();
    let ip = udp4(SRC, FAR, 64, 20);
    let mut deep: Vec<Entry> = (0..14).map(|i| (5000 + i, 0, 77)).collect();
    deep.insert(0, (313, 0, 9));
    deep.insert(0, (1, 0, 9));
    rig.judged = false; // it would take no more than 16
    let sent = rig.one(2, &from_core(&deep, &ip)).only_sent();
    assert_eq!(sent.frame.len(), 14 + 4 * (1 + 8 + 14) + ip.len());
}

#[test]
fn flows_under_labels_share_equal_paths() {
    let mut rig = Rig::new();
    let flow = |port| udp4_ports(SRC, FAR, 64, (port, 53), 4);
    let split = |seen: &Seen| seen.sent.iter().filter(|s| s.iface == WAN).count();
    let frames: Vec<_> = (0..400)
        .map(|p| from_core(&[(307, 0, 9)], &flow(p)))
        .collect();
    let n = split(&rig.run(2, &frames));
    assert!((120..280).contains(&n), "by what lies beneath: {n}");
    let entropy = |l: u32, p| from_core(&[(307, 0, 9), (7, 0, 9), (l, 0, 0)], &flow(p));
    let frames: Vec<_> = (0..400).map(|l| entropy(1000 + l, 1)).collect();
    let n = split(&rig.run(2, &frames));
    assert!((120..280).contains(&n), "by the entropy label: {n}");
    let frames: Vec<_> = (0..100).map(|p| entropy(1000, p)).collect();
    let n = split(&rig.run(2, &frames));
    assert!(n == 0 || n == 100, "by nothing else then: {n}");
}

#[test]
fn a_pipe_by_configuration_hides_the_label_from_the_packet() {
    let mut rig = Rig::with(PipelineConfig {
        mpls_ttl: TtlMode::Pipe,
        icmp_rate: 1000,
        ..PipelineConfig::default()
    });
    let ip = udp4(SRC, FAR, 64, 20);
    for null in [0, 2] {
        let labels = [(null, 0, 9), (0, 0, 9)];
        let sent = rig.one(2, &from_core(&labels, &ip)).only_sent();
        assert_eq!(sent.frame, to_wan(&[], &ttl4(&ip, 63)));
    }
    let seen = rig.one(2, &from_core(&[(0, 0, 1)], &ip));
    assert_eq!(seen.dropped(), Drop::MplsTtlExpired);
}

#[test]
fn a_group_that_has_gone_is_an_unknown_label() {
    let mut rig = Rig::new();
    rig.swap(
        320,
        Path::to(fib::Target::Glean(net::IfaceId(77))),
        TtlMode::Uniform,
    );
    let ip = udp4(SRC, FAR, 64, 20);
    assert_eq!(
        rig.one(2, &from_core(&[(320, 0, 9)], &ip)).only_dropped(),
        Drop::NoAdjacency
    );
}

/// A buffer whose driver left no headroom: what fits into the place of the old header goes out, the rest is dropped.
#[test]
fn labels_and_headers_need_headroom() {
    let mut rig = Rig::new();
    let frame = |dst: &str| {
        let ip = udp4("10.0.0.9", dst, 9, 20);
        (eth(LAN_MAC, HOST_MAC, 0x0800, &ip), ip)
    };
    let run = |rig: &mut Rig, frame: &[u8]| {
        let m = rig.buffer_without_headroom(frame);
        rig.one_buffer(0, m)
    };
    let (plain, ip) = frame("192.0.2.7");
    let sent = run(&mut rig, &plain).only_sent();
    assert_eq!(sent.frame, eth(PEER_MAC, WAN_MAC, 0x0800, &ttl4(&ip, 8)));
    // Two labels and a header, or a tag and a header, do not fit into 14 bytes.
    for dst in ["203.0.113.7", "198.51.100.7"] {
        let seen = run(&mut rig, &frame(dst).0);
        assert_eq!(seen.only_dropped(), Drop::NoHeadroom, "{dst}");
    }
}
