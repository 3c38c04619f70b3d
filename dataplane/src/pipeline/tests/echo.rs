//! Echo requests of LSP ping (RFC 8029 4.4): which go to the control thread, how they look there, and how many.

use super::packets::*;
use super::rig::*;
use crate::drops::Drop;
use crate::punt::PuntReason;
use fib::{Discard, LabelEntry, Path, Target, TtlMode};
use net::VrfId;
use net::udp4::{Datagram, LSP_PING};

const IPV4: u16 = 0x0800;
const MPLS: u16 = 0x8847;

fn request(alert: bool, dport: u16, dst: &str) -> Vec<u8> {
    let d = Datagram {
        src: "10.0.0.9".parse().unwrap(),
        dst: dst.parse().unwrap(),
        tos: 0,
        ttl: 1,
        alert,
        sport: 3503,
        dport,
        payload: &[7; 32],
    };
    d.emit().unwrap()
}

fn from_core(kind: u16, packet: &[u8]) -> Vec<u8> {
    eth(CORE_MAC, CPEER_MAC, kind, packet)
}

#[test]
fn those_that_end_here_come_as_they_were() {
    let mut rig = Rig::new();
    rig.label(700, LabelEntry::pop_lookup_in(VrfId(1), TtlMode::Pipe));
    let ce = rig.neighbour(LAN, "10.0.0.7", HOST_MAC);
    let dead = Target::Discard(Discard::Unreachable);
    for (label, to) in [(710, ce), (711, dead)] {
        let group = rig.group(&[(Path::to(to), 1)]);
        rig.label(label, LabelEntry::pop_forward(group, TtlMode::Uniform));
    }
    let ping = request(true, LSP_PING, "127.0.0.1");
    for labels in [
        vec![(300, 0, 1)],              // swap
        vec![(301, 5, 1), (77, 0, 9)],  // swap, with another under it
        vec![(302, 0, 1)],              // the last but one pops
        vec![(304, 0, 9)],              // the end of the path
        vec![(304, 0, 1)],              // uniform: the packet's own TTL is to say
        vec![(305, 0, 1)],              // pipe
        vec![(305, 0, 9), (0, 0, 9)],   // an explicit null under it
        vec![(0, 0, 255)],              // alone
        vec![(304, 0, 9), (300, 0, 1)], // popped, then swapped
        vec![(999, 0, 9)],              // nobody's
        vec![(308, 0, 9)],              // to the router itself
        vec![(309, 0, 9)],              // its next hop has gone
        vec![(700, 0, 9)],              // into a VRF
        vec![(700, 0, 9), (300, 0, 9)], // into a VRF, and on
        vec![(710, 0, 9)],              // to a CE
        vec![(710, 0, 9), (300, 0, 9)], // to a CE, and on
        vec![(711, 0, 9)],              // to a CE that has gone
    ] {
        let packet = labelled(&labels, &ping);
        rig.now += 1_000_000_000; // the bucket is full
        let up = rig.one(2, &from_core(MPLS, &packet)).only_up();
        assert_eq!(up.reason, PuntReason::Echo, "{labels:?}");
        assert_eq!((up.iface, up.rx_iface), (CORE, CORE));
        assert_eq!((up.ethertype, up.frame), (MPLS, packet), "{labels:?}");
    }
    // The router before has taken the last label off.
    let up = rig.one(2, &from_core(IPV4, &ping)).only_up();
    assert_eq!((up.reason, up.ethertype), (PuntReason::Echo, IPV4));
    assert_eq!(up.frame, ping);
}

#[test]
fn no_others_do() {
    let mut rig = Rig::new();
    let ping = request(true, LSP_PING, "127.0.0.1");
    // On its way.
    rig.one(2, &from_core(MPLS, &labelled(&[(300, 0, 9)], &ping)))
        .only_sent();
    // Without a label: no alert, or from where no labels come.
    let plain = request(false, LSP_PING, "127.0.0.1");
    let seen = rig.one(2, &from_core(IPV4, &plain));
    assert_eq!(seen.only_dropped(), Drop::MartianDestination);
    let lan = rig.ifaces[LAN.index()].mpls;
    assert!(!lan);
    let seen = rig.one(0, &from_lan(IPV4, &ping));
    assert_eq!(seen.only_dropped(), Drop::MartianDestination);
    // Another port, another destination, a source that is none.
    for other in [
        request(true, 3502, "127.0.0.1"),
        request(true, LSP_PING, "128.0.0.1"),
    ] {
        let seen = rig.one(2, &from_core(MPLS, &labelled(&[(300, 0, 1)], &other)));
        assert_eq!(seen.dropped(), Drop::MplsTtlExpired);
        let seen = rig.one(2, &from_core(MPLS, &labelled(&[(999, 0, 1)], &other)));
        assert_eq!(seen.dropped(), Drop::UnknownLabel);
    }
    let own = edit4(&ping, |p| p[12..16].copy_from_slice(&[10, 0, 3, 1]));
    let seen = rig.one(2, &from_core(MPLS, &labelled(&[(304, 0, 9)], &own)));
    assert_eq!(seen.only_dropped(), Drop::MartianSource);
    let seen = rig.one(2, &from_core(IPV4, &own));
    assert_eq!(seen.only_dropped(), Drop::MartianSource);
    // A checksum that is wrong.
    let mut wrong = ping.clone();
    wrong[10] ^= 1;
    rig.judged = false;
    let seen = rig.one(2, &from_core(MPLS, &labelled(&[(304, 0, 9)], &wrong)));
    assert_eq!(seen.only_dropped(), Drop::Ip4BadChecksum);
}

/// The rig lets a hundred a second through: ten at once.
#[test]
fn beyond_their_rate_they_are_dropped() {
    let mut rig = Rig::new();
    let ping = request(true, LSP_PING, "127.0.0.1");
    let frames = [
        from_core(MPLS, &labelled(&[(300, 0, 1)], &ping)),
        from_core(MPLS, &labelled(&[(304, 0, 9)], &ping)),
        from_core(IPV4, &ping),
    ];
    let many: Vec<&Vec<u8>> = frames.iter().cycle().take(90).collect();
    let seen = rig.run(2, &many);
    assert_eq!(seen.up.len(), 10);
    assert_eq!(seen.drops, [(CORE, Drop::LspPingLimit, 80)]);
    rig.now += 1_000_000_000;
    assert_eq!(rig.run(2, &many).up.len(), 10);
}
