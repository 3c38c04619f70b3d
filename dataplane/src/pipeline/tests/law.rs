//! Whatever comes in: nothing panics, no buffer is lost, and every frame is counted once on either side of the law. [`Rig`]
//! checks that after each run; here is what is put in. Valid packets of all kinds are the seed, because random bytes would
//! hardly get past the first header.

use super::packets::*;
use super::rig::*;
use crate::punt::Inject;
use etherparse::IpNumber;
use fib::{Path, Target};
use net::{AdjId, IfaceId, MacAddr, VrfId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;

/// IP packets that are valid and go every way there is.
fn packets() -> Vec<Vec<u8>> {
    let host6 = "2001:db8::9";
    let mut all = vec![
        with_options("10.0.0.9", "192.0.2.1", 9, &[148, 4, 0, 0]),
        with_options("10.0.0.9", "192.0.2.1", 9, &[131, 7, 4, 10, 0, 0, 1, 0]),
        with_options("10.0.0.9", "192.0.2.1", 9, &[7, 0, 4, 10]),
        icmp4("10.0.0.9", "192.0.2.1", 1, 8, 0),
        icmp4("10.0.0.9", "192.0.2.1", 1, 3, 0),
        udp4("0.0.0.0", "255.255.255.255", 1, 4),
        icmp6("::", "ff02::1:ff00:1", 255, 135, &[0; 20]),
        icmp6(host6, "2001:db8::1", 255, 136, &[0; 20]),
        icmp6(host6, "ff02::1", 255, 128, &[0; 20]),
        udp6("fe80::99", "2001:db8:a::1", 9, 4),
    ];
    for dst in [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "203.0.114.1",
        "203.0.115.1",
        "172.16.0.1",
        "172.17.0.1",
        "172.18.0.1",
        "172.19.0.1",
        "172.20.0.1",
        "172.21.0.1",
        "172.22.0.1",
        "10.0.0.1",
        "10.0.0.255",
        "10.0.1.255",
        "10.0.1.99",
        "10.0.2.99",
        "224.0.0.1",
        "8.8.8.8",
    ] {
        all.push(udp4("10.0.0.9", dst, 64, 18));
        all.push(udp4("10.0.0.9", dst, 1, 18));
    }
    for len in [1380, 1472] {
        let ip = udp4("10.0.0.9", "198.51.100.1", 64, len);
        all.push(edit4(&ip, |p| p[6] = 0));
        all.push(ip);
        all.push(udp6(host6, "2001:db8:b::1", 64, len - 20));
    }
    for n in [
        "a", "b", "c", "d", "10", "11", "12", "13", "14", "15", "16", "1", "77",
    ] {
        all.push(udp6(host6, &format!("2001:db8:{n}::1"), 64, 18));
        all.push(udp6(host6, &format!("2001:db8:{n}::1"), 1, 18));
    }
    let (a, b) = (host6.parse().unwrap(), "2001:db8::1".parse().unwrap());
    for chain in [[0, 1, 60], [0, 0, 43], [44, 0, 58], [60, 0, 51], [0, 9, 59]] {
        let payload = [
            chain[2], chain[1], 0, 1, 0, 0, 0, 1, 58, 0, 1, 4, 0, 0, 0, 0,
        ];
        all.push(ip6(a, b, 255, IpNumber(chain[0]), &payload));
    }
    all
}

/// Frames for a port, from those packets.
pub(super) fn frames() -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    let stacks: [&[(u32, u8, u8)]; 16] = [
        &[(300, 0, 9)],
        &[(300, 0, 1)],
        &[(301, 0, 9), (16, 0, 9)],
        &[(302, 0, 9)],
        &[(302, 0, 1)],
        &[(303, 0, 9), (17, 0, 9)],
        &[(304, 0, 9)],
        &[(305, 0, 1)],
        &[(304, 0, 9), (306, 0, 9)],
        &[(307, 0, 9), (7, 0, 9), (99, 0, 0)],
        &[(308, 0, 9)],
        &[(310, 0, 9)],
        &[(311, 0, 9)],
        &[(0, 0, 9), (2, 0, 9)],
        &[(1, 0, 9), (313, 0, 9)],
        &[(312, 0, 2)],
    ];
    for (i, p) in packets().into_iter().enumerate() {
        let ethertype = if p[0] >> 4 == 6 { IPV6 } else { IPV4 };
        let lan = from_lan(ethertype, &p);
        all.push((
            1,
            tagged(&eth(WAN_MAC, VPEER_MAC, ethertype, &p), 0x8100, 100),
        ));
        all.push((0, eth(MacAddr::BROADCAST, HOST_MAC, ethertype, &p)));
        all.push((
            2,
            eth(CORE_MAC, CPEER_MAC, MPLS, &labelled(stacks[i % 16], &p)),
        ));
        all.push((
            2,
            eth(
                CORE_MAC,
                CPEER_MAC,
                MPLS,
                &labelled(stacks[(i + 5) % 16], &p),
            ),
        ));
        all.push((0, lan));
    }
    all.push((0, eth(MacAddr::BROADCAST, HOST_MAC, 0x0806, &[0; 28])));
    all
}

pub(super) fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.judged = false; // what goes in is broken
    // The whole world is routed, so that more goes on.
    rig.route("0.0.0.0/1", Path::to(Target::Glean(VLAN)));
    rig
}

/// What has to hold of every frame that leaves, whatever it was made of.
fn bounds(rig: &Rig, seen: &Seen) {
    for s in &seen.sent {
        let i = &rig.ifaces[s.iface.index()];
        let header = if i.vlan.is_some() { 18 } else { 14 };
        assert!(
            s.frame.len() <= header + usize::from(i.mtu),
            "{} bytes by {}",
            s.frame.len(),
            i.name
        );
        assert_eq!(
            (s.port, s.frame[6..12].to_vec()),
            (i.port, i.mac.0.to_vec())
        );
    }
}

#[test]
fn frames_cut_at_every_byte() {
    let mut rig = rig();
    for (port, frame) in frames() {
        let some: Vec<_> = (0..frame.len().min(160)).map(|n| &frame[..n]).collect();
        let seen = rig.run(port, &some);
        bounds(&rig, &seen);
    }
}

#[test]
fn frames_with_every_byte_changed() {
    let mut rig = rig();
    for (port, frame) in frames() {
        let mut some = Vec::new();
        for at in 0..frame.len().min(96) {
            for v in [
                0,
                0xff,
                frame[at] ^ 1,
                frame[at] ^ 0x80,
                frame[at].wrapping_add(1),
            ] {
                let mut f = frame.clone();
                f[at] = v;
                some.push(f);
            }
        }
        let seen = rig.run(port, &some);
        bounds(&rig, &seen);
    }
}

/// As above, but with the IPv4 checksum right, so that the change gets past it.
#[test]
fn ipv4_headers_with_every_byte_changed() {
    let mut rig = rig();
    for ip in packets().into_iter().filter(|p| p[0] >> 4 == 4) {
        let mut some = Vec::new();
        for at in 0..(usize::from(ip[0] & 15) * 4).min(ip.len()) {
            for v in 0..=255u8 {
                some.push(from_lan(IPV4, &edit4(&ip, |p| p[at] = v)));
            }
        }
        let seen = rig.run(0, &some);
        bounds(&rig, &seen);
    }
}

/// How a frame is spoilt.
#[derive(Clone, Debug)]
pub(super) enum Harm {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Word(prop::sample::Index, u16),
    Grow(Vec<u8>),
    /// Label stack entries put in at the front of the payload.
    Labels(Vec<u32>),
    Tag(u16, u16),
    /// The bytes of another frame from there on.
    Splice(prop::sample::Index, prop::sample::Index),
    FixChecksum,
}

pub(super) fn harm() -> impl Strategy<Value = Harm> {
    use prop::sample::Index;
    let entry = prop_oneof![
        (
            prop::sample::select(vec![
                0u32, 1, 2, 3, 7, 13, 300, 301, 302, 303, 304, 305, 306, 307, 311, 313
            ]),
            any::<u16>()
        )
            .prop_map(|(label, low)| label << 12 | u32::from(low & 0xfff)),
        any::<u32>(),
    ];
    prop_oneof![
        1 => any::<Index>().prop_map(Harm::Cut),
        4 => (any::<Index>(), any::<u8>()).prop_map(|(i, v)| Harm::Flip(i, v)),
        2 => (any::<Index>(), any::<u16>()).prop_map(|(i, v)| Harm::Word(i, v)),
        1 => prop::collection::vec(any::<u8>(), 0..2000).prop_map(Harm::Grow),
        2 => prop::collection::vec(entry, 1..24).prop_map(Harm::Labels),
        1 => (prop::sample::select(vec![0x8100u16, 0x88a8]), prop_oneof![Just(100u16), any::<u16>()])
            .prop_map(|(tpid, tci)| Harm::Tag(tpid, tci)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Harm::Splice(a, b)),
        2 => Just(Harm::FixChecksum),
    ]
}

pub(super) fn spoil(frame: &mut Vec<u8>, harm: Harm, seeds: &[(u16, Vec<u8>)]) {
    if frame.len() < 34 {
        return frame.resize(34, 0x45);
    }
    // Most of what matters is in front.
    let front = frame.len().min(80);
    match harm {
        Harm::Cut(i) => frame.truncate(i.index(frame.len())),
        Harm::Flip(i, v) => frame[i.index(front)] ^= v,
        Harm::Word(i, v) => {
            let at = i.index(front - 1);
            frame[at..at + 2].copy_from_slice(&v.to_be_bytes());
        }
        Harm::Grow(more) => frame.extend(more),
        Harm::Labels(entries) => {
            let bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_be_bytes()).collect();
            frame[12..14].copy_from_slice(&MPLS.to_be_bytes());
            frame.splice(14..14, bytes);
        }
        Harm::Tag(tpid, tci) => *frame = tagged(frame, tpid, tci),
        Harm::Splice(i, j) => {
            let other = &seeds[i.index(seeds.len())].1;
            let at = j.index(front.min(other.len()));
            frame.splice(at.., other[at..].iter().copied());
        }
        Harm::FixChecksum => fix4(&mut frame[14..]),
    }
}

#[test]
fn spoilt_frames_keep_the_law() {
    let seeds = frames();
    let rig = RefCell::new(rig());
    let one = (
        any::<prop::sample::Index>(),
        prop::collection::vec(harm(), 0..6),
    );
    let burst = (0u16..4, prop::collection::vec(one, 1..80));
    let config = Config {
        cases: 1500,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&burst, |(port, burst)| {
            let ours: Vec<_> = seeds.iter().filter(|s| s.0 == port).collect();
            let frames: Vec<_> = burst
                .into_iter()
                .map(|(seed, harms)| {
                    let from = if ours.is_empty() {
                        &seeds[seed.index(seeds.len())]
                    } else {
                        ours[seed.index(ours.len())]
                    };
                    let mut frame = from.1.clone();
                    harms.into_iter().for_each(|h| spoil(&mut frame, h, &seeds));
                    frame.truncate(9000);
                    frame
                })
                .collect();
            let mut rig = rig.borrow_mut();
            rig.now += 1_000_000;
            let seen = rig.run(port, &frames);
            bounds(&rig, &seen);
            Ok(())
        })
        .unwrap();
}

#[test]
fn anything_injected_keeps_the_law() {
    let seeds = packets();
    let rig = RefCell::new(rig());
    let what = prop_oneof![
        (0u16..6).prop_map(|i| Inject::Raw { iface: IfaceId(i) }),
        (0u32..8, any::<u16>(), 0u16..6).prop_map(|(a, ethertype, i)| Inject::ToAdj {
            adj: AdjId(a),
            ethertype,
            iface: IfaceId(i)
        }),
        (0u16..6).prop_map(|i| Inject::Route {
            vrf: VrfId::GLOBAL,
            iface: IfaceId(i)
        }),
    ];
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
            any::<u8>(),
            any::<bool>()
        )
            .prop_map(move |(i, at, v, fix)| {
                let mut p = seeds[i.index(seeds.len())].clone();
                let at = at.index(p.len().min(60));
                p[at] = v;
                if fix {
                    fix4(&mut p);
                }
                p
            }),
    ];
    let config = Config {
        cases: 4_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&(what, bytes), |(what, bytes)| {
            rig.borrow_mut().inject(what, &bytes);
            Ok(())
        })
        .unwrap();
}

#[test]
fn bytes_at_random_keep_the_law() {
    let rig = RefCell::new(rig());
    let head = prop::sample::select(vec![IPV4, IPV6, MPLS, 0x0806]);
    let burst = prop::collection::vec((head, prop::collection::vec(any::<u8>(), 0..120)), 1..64);
    let config = Config {
        cases: 500,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&burst, |burst| {
            let frames: Vec<_> = burst
                .iter()
                .map(|(ethertype, p)| eth(WAN_MAC, PEER_MAC, *ethertype, p))
                .collect();
            rig.borrow_mut().run(1, &frames);
            Ok(())
        })
        .unwrap();
}
