//! IPv4: what is checked, what is forwarded, what is answered.

use super::packets::*;
use super::rig::*;
use crate::drops::Drop;
use crate::pipeline::PipelineConfig;
use crate::punt::PuntReason;
use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Slice, Icmpv4Type, Ipv4Slice};
use fib::{Path, Target, TtlMode};
use net::{IfaceId, Label, Lse, MacAddr, PortId};
use std::net::{IpAddr, Ipv4Addr};

const IPV4: u16 = 0x0800;
const HOST: &str = "10.0.0.9";
const FAR: &str = "192.0.2.7";

/// The ICMP error inside a frame, after the judge: source, destination, type, and what it quotes.
#[track_caller]
pub(super) fn icmp_error(frame: &[u8]) -> (Ipv4Addr, Ipv4Addr, Icmpv4Type, Vec<u8>) {
    let ip = Ipv4Slice::from_slice(&frame[14..]).unwrap();
    let h = ip.header();
    let icmp = Icmpv4Slice::from_slice(ip.payload().payload).unwrap();
    assert_eq!(net::checksum::checksum(icmp.slice()), 0);
    assert_eq!((h.ttl(), h.total_len() <= 576), (64, true));
    (
        h.source_addr(),
        h.destination_addr(),
        icmp.icmp_type(),
        icmp.payload().to_vec(),
    )
}

#[test]
fn a_packet_is_forwarded() {
    let mut rig = Rig::new();
    for ttl in [2, 3, 64, 128, 255] {
        let ip = udp4(HOST, FAR, ttl, 20);
        let sent = rig.one(0, &from_lan(IPV4, &ip)).only_sent();
        assert_eq!((sent.port, sent.iface), (PortId(1), WAN));
        assert_eq!(
            sent.frame,
            eth(PEER_MAC, WAN_MAC, IPV4, &ttl4(&ip, ttl - 1))
        );
    }
}

#[test]
fn padding_is_cut_off() {
    let mut rig = Rig::new();
    let ip = udp4(HOST, FAR, 9, 1);
    let mut frame = from_lan(IPV4, &ip);
    frame.resize(60, 0xee);
    let sent = rig.one(0, &frame).only_sent();
    assert_eq!(sent.frame, eth(PEER_MAC, WAN_MAC, IPV4, &ttl4(&ip, 8)));
}

#[test]
fn a_packet_may_leave_where_it_came_from() {
    let mut rig = Rig::new();
    let ip = udp4("10.0.1.2", FAR, 9, 1);
    let sent = rig.one(1, &eth(WAN_MAC, PEER_MAC, IPV4, &ip)).only_sent();
    assert_eq!(
        (sent.port, sent.frame),
        (PortId(1), eth(PEER_MAC, WAN_MAC, IPV4, &ttl4(&ip, 8)))
    );
}

#[test]
fn the_checks_of_rfc_1812_5_2_2_in_their_order() {
    let mut rig = Rig::new();
    let good = udp4(HOST, FAR, 9, 20);
    let raw = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut p = good.clone();
        change(&mut p);
        p
    };
    let fixed = |change: &dyn Fn(&mut Vec<u8>)| edit4(&good, |p| change(p));
    let cases: &[(&str, Vec<u8>, Drop)] = &[
        ("19 bytes", good[..19].to_vec(), Drop::Ip4Truncated),
        ("none", vec![], Drop::Ip4Truncated),
        ("checksum", raw(&|p| p[10] ^= 1), Drop::Ip4BadChecksum),
        (
            "checksum before version",
            raw(&|p| p[0] = 0x55),
            Drop::Ip4BadChecksum,
        ),
        ("version 5", fixed(&|p| p[0] = 0x55), Drop::Ip4BadVersion),
        ("version 6", fixed(&|p| p[0] = 0x65), Drop::Ip4BadVersion),
        (
            "version before header length",
            fixed(&|p| p[0] = 0x54),
            Drop::Ip4BadVersion,
        ),
        (
            "checksum before header length",
            raw(&|p| p[0] = 0x44),
            Drop::Ip4BadChecksum,
        ),
        (
            "16-byte header",
            fixed(&|p| p[0] = 0x44),
            Drop::Ip4BadHeaderLength,
        ),
        (
            "no header",
            fixed(&|p| p[0] = 0x40),
            Drop::Ip4BadHeaderLength,
        ),
        (
            "a header beyond the frame",
            fixed(&|p| p[0] = 0x4f),
            Drop::Ip4BadHeaderLength,
        ),
        (
            "total under the header",
            fixed(&|p| p[3] = 19),
            Drop::Ip4BadLength,
        ),
        (
            "total beyond the frame",
            fixed(&|p| p[3] += 1),
            Drop::Ip4BadLength,
        ),
        (
            "total far beyond the frame",
            fixed(&|p| p[2] = 0xff),
            Drop::Ip4BadLength,
        ),
    ];
    for (name, ip, why) in cases {
        assert_eq!(
            rig.one(0, &from_lan(IPV4, ip)).only_dropped(),
            *why,
            "{name}"
        );
    }
}

#[test]
fn addresses_that_are_nobodys() {
    let mut rig = Rig::new();
    use Drop::*;
    let cases: &[(&str, &str, Drop)] = &[
        ("0.0.0.0", FAR, MartianSource),
        ("0.1.2.3", FAR, MartianSource),
        ("127.0.0.1", FAR, MartianSource),
        ("224.0.0.5", FAR, MartianSource),
        ("239.255.255.255", FAR, MartianSource),
        ("240.0.0.1", FAR, MartianSource),
        ("255.255.255.255", FAR, MartianSource),
        ("10.0.0.1", FAR, MartianSource),   // ours, where it came in
        ("10.0.3.1", FAR, MartianSource),   // ours, elsewhere
        ("10.0.0.255", FAR, MartianSource), // a broadcast
        ("10.0.1.0", FAR, MartianSource),
        (HOST, "0.0.0.0", MartianDestination),
        (HOST, "0.1.2.3", MartianDestination),
        (HOST, "127.0.0.1", MartianDestination),
        (HOST, "240.0.0.1", MartianDestination),
        (HOST, "255.255.255.254", MartianDestination),
        (HOST, "224.0.0.5", Multicast),
        (HOST, "239.1.2.3", Multicast),
        (HOST, "10.0.1.255", Broadcast), // directed, RFC 2644
        (HOST, "10.0.1.0", Broadcast),
        ("169.254.1.1", FAR, LinkLocalScope),
    ];
    for &(src, dst, why) in cases {
        let seen = rig.one(0, &from_lan(IPV4, &udp4(src, dst, 9, 20)));
        assert_eq!(seen.only_dropped(), why, "{src} to {dst}");
    }
}

#[test]
fn link_layer_broadcasts_carry_no_unicast() {
    let mut rig = Rig::new();
    for to in [MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
        for dst in [FAR, "10.0.0.1", "10.0.0.9"] {
            let frame = eth(to, HOST_MAC, IPV4, &udp4(HOST, dst, 1, 20));
            assert_eq!(
                rig.one(0, &frame).only_dropped(),
                Drop::LinkBroadcast,
                "{dst}"
            );
        }
    }
    let frame = eth(
        MacAddr::BROADCAST,
        HOST_MAC,
        IPV4,
        &udp4(HOST, "10.0.1.255", 9, 20),
    );
    assert_eq!(rig.one(0, &frame).only_dropped(), Drop::Broadcast);
}

#[test]
fn what_is_the_routers_own() {
    let mut rig = Rig::new();
    let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    // (link destination, source, destination, whose TAP, link destination there)
    let cases = [
        (LAN_MAC, HOST, "10.0.0.1", LAN, LAN_MAC),
        (LAN_MAC, HOST, "10.0.3.1", CORE, CORE_MAC),
        (
            MacAddr::BROADCAST,
            HOST,
            "255.255.255.255",
            LAN,
            MacAddr::BROADCAST,
        ),
        (LAN_MAC, HOST, "255.255.255.255", LAN, LAN_MAC),
        (
            MacAddr::BROADCAST,
            "0.0.0.0",
            "255.255.255.255",
            LAN,
            MacAddr::BROADCAST,
        ),
        (
            MacAddr::BROADCAST,
            HOST,
            "10.0.0.255",
            LAN,
            MacAddr::BROADCAST,
        ),
        (LAN_MAC, HOST, "10.0.0.255", LAN, LAN_MAC),
        (
            MacAddr::BROADCAST,
            HOST,
            "10.0.0.0",
            LAN,
            MacAddr::BROADCAST,
        ),
        (group, HOST, "224.0.0.1", LAN, group),
        (group, HOST, "224.0.0.2", LAN, group),
    ];
    for (to, src, dst, owner, there) in cases {
        for ttl in [0, 1, 255] {
            let ip = udp4(src, dst, ttl, 20);
            let mut frame = eth(to, HOST_MAC, IPV4, &ip);
            frame.resize(60.max(frame.len()), 0);
            let up = rig.one(0, &frame).only_up();
            assert_eq!(
                (up.reason, up.iface, up.rx_iface),
                (PuntReason::Local, owner, LAN),
                "{dst}"
            );
            assert_eq!(up.frame, eth(there, HOST_MAC, IPV4, &ip), "{dst}");
        }
    }
}

#[test]
fn options_are_passed_on_or_refused() {
    let mut rig = Rig::new();
    let record_route = [7, 7, 4, 0, 0, 0, 0, 0];
    let timestamp = [68, 8, 5, 0, 0, 0, 0, 0];
    let alert = [148, 4, 0, 0];
    let full = [1; 40];
    for options in [
        &record_route[..],
        &timestamp,
        &alert,
        &[1, 1, 1, 0],
        &[0, 131, 9, 9],
        &full,
    ] {
        let ip = with_options(HOST, FAR, 9, options);
        let sent = rig.one(0, &from_lan(IPV4, &ip)).only_sent();
        assert_eq!(
            sent.frame,
            eth(PEER_MAC, WAN_MAC, IPV4, &ttl4(&ip, 8)),
            "{options:?}"
        );
    }
    for options in [
        [131, 7, 4, 10, 0, 0, 1, 0],
        [137, 7, 4, 10, 0, 0, 1, 0],
        [1, 1, 1, 1, 137, 3, 4, 0],
    ] {
        for dst in [FAR, "10.0.0.1"] {
            let ip = with_options(HOST, dst, 9, &options);
            assert_eq!(
                rig.one(0, &from_lan(IPV4, &ip)).only_dropped(),
                Drop::SourceRoute
            );
        }
    }
    for (options, pointer) in [
        ([7, 0, 0, 0], 21),
        ([7, 1, 0, 0], 21),
        ([7, 5, 4, 0], 21),
        ([1, 1, 1, 7], 24),
    ] {
        let seen = rig.one(0, &from_lan(IPV4, &with_options(HOST, FAR, 9, &options)));
        assert_eq!((seen.dropped(), seen.created()), (Drop::Ip4BadOptions, 1));
        let (src, dst, what, _) = icmp_error(&seen.one_sent().frame);
        assert_eq!(
            (src, dst),
            ("10.0.0.1".parse().unwrap(), HOST.parse().unwrap())
        );
        let Icmpv4Type::ParameterProblem(p) = what else {
            panic!("{what:?}")
        };
        assert_eq!(
            p,
            etherparse::icmpv4::ParameterProblemHeader::PointerIndicatesError(pointer)
        );
    }
}

#[test]
fn what_cannot_go_on_is_answered() {
    let mut rig = Rig::new();
    use DestUnreachableHeader::*;
    let dead = |h| Icmpv4Type::DestinationUnreachable(h);
    let ttl = Icmpv4Type::TimeExceeded(etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit);
    let cases: &[(&str, u8, Drop, Option<Icmpv4Type>)] = &[
        (FAR, 1, Drop::TtlExpired, Some(ttl.clone())),
        (FAR, 0, Drop::TtlExpired, Some(ttl.clone())),
        ("10.0.1.99", 1, Drop::TtlExpired, Some(ttl.clone())), // a glean
        ("172.19.0.1", 1, Drop::TtlExpired, Some(ttl)),
        ("8.8.8.8", 9, Drop::NoRoute, Some(dead(Network))),
        ("8.8.8.8", 1, Drop::NoRoute, Some(dead(Network))), // the route is looked for first
        ("172.16.0.1", 9, Drop::Blackhole, None),
        ("172.17.0.1", 9, Drop::Unreachable, Some(dead(Host))),
        (
            "172.18.0.1",
            9,
            Drop::Prohibited,
            Some(dead(FilterProhibited)),
        ),
    ];
    for (dst, ttl, why, answer) in cases {
        let ip = udp4(HOST, dst, *ttl, 20);
        let seen = rig.one(0, &from_lan(IPV4, &ip));
        assert_eq!(
            (seen.drops[..].to_vec(), seen.up.len()),
            (vec![(LAN, *why, 1)], 0),
            "{dst}"
        );
        assert_eq!(
            seen.counts[LAN.index()].created,
            u64::from(answer.is_some()),
            "{dst}"
        );
        let Some(answer) = answer else {
            assert!(seen.sent.is_empty());
            continue;
        };
        let sent = seen.one_sent();
        assert_eq!(
            (sent.port, &sent.frame[..12]),
            (PortId(0), &[HOST_MAC.0, LAN_MAC.0].concat()[..])
        );
        let (src, to, what, quote) = icmp_error(&sent.frame);
        assert_eq!(
            (src.to_string(), to.to_string(), &what),
            ("10.0.0.1".into(), HOST.into(), answer)
        );
        assert_eq!(quote, ip, "quoted as received");
    }
}

#[test]
fn errors_that_are_never_sent() {
    let mut rig = Rig::new();
    let fragment = edit4(&udp4(HOST, FAR, 1, 20), |p| p[7] = 1);
    let cases = [
        ("about an error", icmp4(HOST, FAR, 1, 3, 0)),
        ("about a time exceeded", icmp4(HOST, FAR, 1, 11, 0)),
        ("about a redirect", icmp4(HOST, "8.8.8.8", 9, 5, 0)),
        ("about a later fragment", fragment),
        ("to a source without a route", udp4("8.8.4.4", FAR, 1, 20)),
        ("to a blackhole", udp4("172.16.0.1", FAR, 1, 20)),
    ];
    for (name, ip) in cases {
        let seen = rig.one(0, &from_lan(IPV4, &ip));
        assert!(
            seen.sent.is_empty() && seen.up.is_empty() && seen.created() == 0,
            "{name}"
        );
        assert_eq!(seen.drops.len(), 1, "{name}");
    }
    let first = edit4(&udp4(HOST, FAR, 1, 20), |p| p[6] = 0x20);
    assert_eq!(
        rig.one(0, &from_lan(IPV4, &first)).created(),
        1,
        "about a first fragment"
    );
    assert_eq!(
        rig.one(0, &from_lan(IPV4, &icmp4(HOST, FAR, 1, 8, 0)))
            .created(),
        1,
        "an echo"
    );
}

#[test]
fn errors_go_at_their_rate() {
    let mut rig = Rig::with(PipelineConfig {
        mpls_ttl: TtlMode::Uniform,
        icmp_rate: 100,
        ..PipelineConfig::default()
    });
    let frame = from_lan(IPV4, &udp4(HOST, FAR, 1, 20));
    let burst = vec![frame; 50];
    let seen = rig.run(0, &burst);
    assert_eq!(
        (seen.sent.len(), seen.drops[..].to_vec()),
        (10, vec![(LAN, Drop::TtlExpired, 50)])
    );
    rig.now += 10_000_000;
    assert_eq!(rig.run(0, &burst).sent.len(), 1);
    rig.now += 1_000_000_000;
    assert_eq!(rig.run(0, &burst).sent.len(), 10);
}

#[test]
fn no_rate_means_no_errors() {
    let mut rig = Rig::with(PipelineConfig {
        mpls_ttl: TtlMode::Uniform,
        icmp_rate: 0,
        ..PipelineConfig::default()
    });
    let frame = from_lan(IPV4, &udp4(HOST, FAR, 1, 20));
    assert_eq!(rig.one(0, &frame).only_dropped(), Drop::TtlExpired);
}

#[test]
fn the_source_of_an_error_is_the_receiving_interfaces() {
    let mut rig = Rig::new();
    let ip = udp4("10.0.2.2", "8.8.8.8", 9, 20);
    let frame = tagged(&eth(WAN_MAC, VPEER_MAC, IPV4, &ip), 0x8100, 100);
    rig.route("10.0.2.2/32", Path::to(Target::Glean(VLAN)));
    let up = rig.one(1, &frame);
    assert_eq!((up.created(), up.up[0].reason), (1, PuntReason::Glean));
    let whole = eth(VPEER_MAC, WAN_MAC, IPV4, &up.up[0].frame);
    assert_eq!(icmp_error(&whole).0.to_string(), "10.0.2.1");
    // Without an address, some other of the router's.
    rig.ifaces[VLAN.index()].v4.clear();
    rig.reconfigure();
    let up = rig.one(1, &frame);
    let whole = eth(VPEER_MAC, WAN_MAC, IPV4, &up.up[0].frame);
    assert_eq!(icmp_error(&whole).0.to_string(), "10.0.0.1");
    // And without any at all, no error.
    rig.ifaces.iter_mut().for_each(|i| i.v4.clear());
    rig.reconfigure();
    assert_eq!(rig.one(1, &frame).only_dropped(), Drop::NoRoute);
}

#[test]
fn neighbours_that_are_not_known_are_asked_for() {
    let mut rig = Rig::new();
    let ip = udp4(HOST, "10.0.1.99", 9, 20);
    let up = rig.one(0, &from_lan(IPV4, &ip)).only_up();
    let hop = |s: &str| Some(s.parse::<IpAddr>().unwrap());
    assert_eq!(
        (up.reason, up.iface, up.rx_iface),
        (PuntReason::Glean, WAN, LAN)
    );
    assert_eq!(
        (up.next_hop, up.adj, up.ethertype),
        (hop("10.0.1.99"), None, IPV4)
    );
    assert_eq!(up.frame, ttl4(&ip, 8));
    let ip = udp4(HOST, "172.19.1.1", 9, 20);
    let up = rig.one(0, &from_lan(IPV4, &ip)).only_up();
    assert_eq!(
        (up.reason, up.iface, up.rx_iface),
        (PuntReason::Incomplete, WAN, LAN)
    );
    assert_eq!((up.next_hop, up.ethertype), (hop("10.0.1.77"), IPV4));
    assert!(up.adj.is_some());
    assert_eq!((up.ttl, up.frame), (Some(9), ttl4(&ip, 8)));
    let ip = udp4(HOST, "172.21.1.1", 9, 20);
    assert_eq!(
        rig.one(0, &from_lan(IPV4, &ip)).only_dropped(),
        Drop::NoAdjacency
    );
}

#[test]
fn an_adjacency_knows_that_it_is_used() {
    let mut rig = Rig::new();
    let Target::Adjacency(id) = rig.neighbour(WAN, "10.0.1.5", PEER_MAC) else {
        panic!()
    };
    rig.route("9.0.0.0/8", Path::to(Target::Adjacency(id)));
    assert!(!rig.fib.adj_used_take(id));
    rig.one(0, &from_lan(IPV4, &udp4(HOST, "9.9.9.9", 9, 20)))
        .only_sent();
    assert!(rig.fib.adj_used_take(id));
    assert!(!rig.fib.adj_used_take(id));
}

/// The pieces, put together again: header of the first, data of all; and that each is legal.
fn reassemble(pieces: &[Vec<u8>], mtu: usize) -> (Vec<u8>, Vec<u8>) {
    let mut data = Vec::new();
    for (i, p) in pieces.iter().enumerate() {
        let ip = Ipv4Slice::from_slice(p).unwrap();
        let h = ip.header();
        assert!(p.len() <= mtu, "{} over {mtu}", p.len());
        assert_eq!(usize::from(h.fragments_offset().value()) * 8, data.len());
        assert_eq!(h.more_fragments(), i + 1 < pieces.len());
        data.extend_from_slice(ip.payload().payload);
    }
    (
        Ipv4Slice::from_slice(&pieces[0])
            .unwrap()
            .header()
            .slice()
            .to_vec(),
        data,
    )
}

fn clear_df(ip: &[u8]) -> Vec<u8> {
    edit4(ip, |p| {
        p[6] &= !0x40;
        p[5] = 77;
    })
}

#[test]
fn packets_too_long_for_the_link_are_cut_or_sent_back() {
    let mut rig = Rig::new();
    // The VLAN takes 1400 bytes.
    for (len, pieces) in [(1400, 1), (1401, 2), (1500, 2)] {
        let ip = clear_df(&udp4(HOST, "198.51.100.1", 9, len - 28));
        let seen = rig.one(0, &from_lan(IPV4, &ip));
        assert!(seen.drops.is_empty() && seen.up.is_empty());
        assert_eq!(
            (seen.sent.len(), seen.created()),
            (pieces, pieces as u64 - 1),
            "{len}"
        );
        assert_eq!(seen.counts[LAN.index()].created, pieces as u64 - 1);
        let got: Vec<_> = seen.sent.iter().map(|s| s.frame[18..].to_vec()).collect();
        assert!(
            seen.sent
                .iter()
                .all(|s| s.frame[..18]
                    == tagged(&eth(VPEER_MAC, WAN_MAC, IPV4, &[]), 0x8100, 100)[..])
        );
        let (head, data) = reassemble(&got, 1400);
        assert_eq!((data, head[8]), (ip[20..].to_vec(), 8));
    }
    let ip = udp4(HOST, "198.51.100.1", 9, 1401 - 28);
    let seen = rig.one(0, &from_lan(IPV4, &ip));
    assert_eq!(seen.dropped(), Drop::FragNeeded);
    let (src, _, what, quote) = icmp_error(&seen.one_sent().frame);
    let want = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
    assert_eq!(
        (src.to_string(), what),
        ("10.0.0.1".into(), Icmpv4Type::DestinationUnreachable(want))
    );
    assert_eq!(quote, ip[..576 - 28]);
    // Gleaned packets are cut before they wait.
    let ip = clear_df(&udp4(HOST, "10.0.2.99", 9, 1470));
    let seen = rig.one(0, &from_lan(IPV4, &ip));
    assert_eq!((seen.up.len(), seen.created()), (2, 1));
}

#[test]
fn a_fragment_and_options_are_cut_again() {
    let mut rig = Rig::new();
    let ip = udp4(HOST, "198.51.100.1", 9, 1452);
    let ip = edit4(&ip, |p| (p[6], p[7]) = (0x20, 100)); // MF, offset 800
    let seen = rig.one(0, &from_lan(IPV4, &ip));
    let flags: Vec<_> = seen
        .sent
        .iter()
        .map(|s| u16::from_be_bytes([s.frame[24], s.frame[25]]))
        .collect();
    assert_eq!(flags, [0x2000 | 100, 0x2000 | (100 + 1376 / 8)]);
    // Router alert is copied, record route is not.
    let options = [148, 4, 0, 0, 7, 3, 4, 0];
    let mut ip = with_options(HOST, "198.51.100.1", 9, &options);
    ip.resize(1500, 3);
    let ip = edit4(&ip, |p| {
        p[2..4].copy_from_slice(&1500u16.to_be_bytes());
        p[6] = 0;
    });
    let seen = rig.one(0, &from_lan(IPV4, &ip));
    let headers: Vec<_> = seen.sent.iter().map(|s| s.frame[18] & 15).collect();
    assert_eq!(headers, [7, 6]);
}

#[test]
fn an_mtu_that_nothing_fits_drops() {
    let mut rig = Rig::new();
    rig.ifaces[VLAN.index()].mtu = 27;
    rig.reconfigure();
    let ip = clear_df(&udp4(HOST, "10.0.2.99", 9, 100));
    assert_eq!(
        rig.one(0, &from_lan(IPV4, &ip)).only_dropped(),
        Drop::FragNeeded
    );
}

#[test]
fn fragments_without_buffers_are_counted() {
    let mut rig = Rig::new();
    rig.judged = false;
    let ip = clear_df(&udp4(HOST, "198.51.100.1", 9, 1472));
    let held = rig.hold_all_but(2); // one for the packet, one for the first piece
    let seen = rig.one_with_held(0, &from_lan(IPV4, &ip), held);
    // The output frees what it sees, so here each piece gets the other's buffer.
    assert_eq!((seen.sent.len(), seen.created()), (2, 1));
    let held = rig.hold_all_but(1);
    let seen = rig.one_with_held(0, &from_lan(IPV4, &ip), held);
    assert_eq!(seen.drops, [(LAN, Drop::NoBuffer, 2)]);
    assert_eq!((seen.sent.len(), seen.created()), (0, 1));
    // Nor is there one for an error.
    let held = rig.hold_all_but(1);
    let seen = rig.one_with_held(0, &from_lan(IPV4, &udp4(HOST, FAR, 1, 1)), held);
    assert_eq!((seen.only_dropped(), seen.created()), (Drop::TtlExpired, 0));
}

#[test]
fn labels_are_imposed() {
    let mut rig = Rig::new();
    // DSCP 46 (EF) has class selector 5.
    let ip = edit4(&udp4(HOST, "203.0.113.5", 9, 20), |p| p[1] = 46 << 2);
    let sent = rig.one(0, &from_lan(IPV4, &ip)).only_sent();
    assert_eq!((sent.port, sent.iface), (PortId(2), CORE));
    let want = labelled(&[(100, 5, 8), (200, 5, 8)], &ttl4(&ip, 8));
    assert_eq!(sent.frame, eth(CPEER_MAC, CORE_MAC, 0x8847, &want));
    let ip = edit4(&udp4(HOST, "203.0.114.5", 9, 20), |p| p[1] = 46 << 2);
    let sent = rig.one(0, &from_lan(IPV4, &ip)).only_sent();
    let want = labelled(&[(100, 0, 255), (200, 0, 255)], &ttl4(&ip, 8));
    assert_eq!(sent.frame, eth(CPEER_MAC, CORE_MAC, 0x8847, &want));
}

/// RFC 6790 4.2: below the label whose end can deal with it, and all of a flow have the same.
#[test]
fn an_entropy_label_is_imposed() {
    let mut rig = Rig::new();
    let dst = "203.0.115.5";
    let mut seen = std::collections::BTreeSet::new();
    for port in 1000..1100 {
        let ip = udp4_ports(HOST, dst, 9, (port, 53), 20);
        let ip = edit4(&ip, |p| p[1] = 46 << 2);
        let entropy = Label::entropy(net::flow::hash_ip4(&ip)).get();
        for ttl in [9, 8] {
            let ip = ttl4(&ip, ttl);
            let sent = rig.one(0, &from_lan(IPV4, &ip)).only_sent();
            let ttl = ttl - 1;
            let stack = [(100, 5, ttl), (7, 5, ttl), (entropy, 0, 0), (200, 5, ttl)];
            let want = labelled(&stack, &ttl4(&ip, ttl));
            assert_eq!(sent.frame, eth(CPEER_MAC, CORE_MAC, 0x8847, &want));
            // Whoever shares traffic on the way looks at nothing else.
            let other = labelled(&[(7, 0, 1), (entropy, 0, 0)], &[0; 20]);
            let hash = net::flow::hash_mpls;
            assert_eq!(hash(&sent.frame[14..]), hash(&other));
        }
        seen.insert(entropy);
    }
    assert!(seen.len() > 90, "{}", seen.len());
    // It takes from the MTU like the others.
    let ip = udp4(HOST, dst, 9, 1484 - 28);
    assert_eq!(
        rig.one(0, &from_lan(IPV4, &ip)).only_sent().frame.len(),
        1514
    );
    let ip = udp4(HOST, dst, 9, 1485 - 28);
    let seen = rig.one(0, &from_lan(IPV4, &ip));
    assert_eq!(seen.dropped(), Drop::FragNeeded);
    let want = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1484 };
    let (.., what, _) = icmp_error(&seen.one_sent().frame);
    assert_eq!(what, Icmpv4Type::DestinationUnreachable(want));
    // What comes from the kernel gets one too, and so does each piece of a packet that is cut: the same.
    let seen = rig.one(0, &from_lan(IPV4, &clear_df(&ip)));
    assert_eq!(seen.sent.len(), 2);
    assert_eq!(seen.sent[0].frame[18..30], seen.sent[1].frame[18..30]);
}

#[test]
fn labels_take_from_the_mtu() {
    let mut rig = Rig::new();
    let ip = udp4(HOST, "203.0.113.5", 9, 1492 - 28);
    rig.one(0, &from_lan(IPV4, &ip)).only_sent();
    let ip = udp4(HOST, "203.0.113.5", 9, 1493 - 28);
    let seen = rig.one(0, &from_lan(IPV4, &ip));
    assert_eq!(seen.dropped(), Drop::FragNeeded);
    let want = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1492 };
    let (.., what, _) = icmp_error(&seen.one_sent().frame);
    assert_eq!(what, Icmpv4Type::DestinationUnreachable(want));
    let seen = rig.one(0, &from_lan(IPV4, &clear_df(&ip)));
    assert_eq!(
        (seen.sent.len(), seen.created(), seen.drops.len()),
        (2, 1, 0)
    );
    let top = Lse::new(Label::new(100).unwrap(), 0, false, 8).to_bytes();
    assert!(
        seen.sent
            .iter()
            .all(|s| s.frame.len() <= 1514 && s.frame[14..18] == top)
    );
    let pieces: Vec<_> = seen.sent.iter().map(|s| s.frame[22..].to_vec()).collect();
    assert_eq!(reassemble(&pieces, 1492).1, ip[20..]);
}

#[test]
fn flows_share_equal_paths_and_stay_on_theirs() {
    let mut rig = Rig::new();
    let flow = |port| from_lan(IPV4, &udp4_ports(HOST, "172.20.0.1", 9, (port, 53), 4));
    let frames: Vec<_> = (0..400).map(flow).collect();
    let seen = rig.run(0, &frames);
    let by_wan = seen.sent.iter().filter(|s| s.iface == WAN).count();
    assert!((120..280).contains(&by_wan), "{by_wan} of 400");
    let again = rig.run(0, &vec![flow(7); 50]);
    assert!(again.sent.iter().all(|s| s.iface == again.sent[0].iface));
    // The fragments of a packet all go one way.
    let ip = clear_df(&udp4_ports(HOST, "172.20.0.1", 9, (7, 53), 40));
    let pieces = [0x2000u16, 0x2001, 2].map(|flags| {
        from_lan(
            IPV4,
            &edit4(&ip, |p| p[6..8].copy_from_slice(&flags.to_be_bytes())),
        )
    });
    let seen = rig.run(0, &pieces);
    assert!(seen.sent.len() == 3 && seen.sent.iter().all(|s| s.iface == seen.sent[0].iface));
}

#[test]
fn broadcasts_that_the_table_calls_local_are_no_unicast() {
    let mut rig = Rig::new();
    rig.route("10.0.1.255/32", Path::to(Target::Local(WAN)));
    let ip = udp4(HOST, "10.0.1.255", 9, 20);
    assert_eq!(
        rig.one(0, &from_lan(IPV4, &ip)).only_dropped(),
        Drop::Broadcast
    );
    let ip = udp4("10.0.1.2", "10.0.1.255", 9, 20);
    let up = rig
        .one(1, &eth(MacAddr::BROADCAST, PEER_MAC, IPV4, &ip))
        .only_up();
    assert_eq!((up.reason, up.iface), (PuntReason::Local, WAN));
}

#[test]
fn what_is_for_an_address_whose_interface_has_gone_is_dropped() {
    let mut rig = Rig::new();
    rig.route("10.0.9.1/32", Path::to(Target::Local(IfaceId(99))));
    let seen = rig.one(0, &from_lan(IPV4, &udp4(HOST, "10.0.9.1", 9, 20)));
    assert_eq!(seen.drops, [(LAN, Drop::PuntUnwanted, 1)]);
}
