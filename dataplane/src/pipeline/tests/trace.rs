//! What [`crate::trace`] says against what the stages do: random tables, stacks and packets, byte for byte.

use super::packets::*;
use super::rig::*;
use crate::drops::Drop;
use crate::punt::{Inject, PuntReason};
use crate::trace::{Arrival, End, LabelAct, Step};
use fib::{Discard, LabelEntry, Path, Target, TcMode, TtlMode};
use net::{GroupId, IfaceId, Label, Lse, VrfId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;
/// The tables: the LAN is in one of them.
const VRFS: [VrfId; 3] = [VrfId::GLOBAL, VrfId(1), VrfId(2)];

/// The labels that the tables have something for, or not.
const LABELS: std::ops::Range<u32> = 16..40;

fn mode() -> impl Strategy<Value = TtlMode> {
    prop_oneof![Just(TtlMode::Uniform), Just(TtlMode::Pipe)]
}

/// One of what the rig knows by number, and what a path puts on.
fn path() -> impl Strategy<Value = Way> {
    let tc = prop_oneof![Just(TcMode::Dscp), Just(TcMode::Zero)];
    let push = prop_oneof![
        3 => prop::collection::vec(100u32..110, 0..4),
        1 => prop::collection::vec(100u32..110, 4..=net::MAX_PUSH),
    ];
    let entropy = prop_oneof![2 => Just(0usize), 1 => 0usize..=net::MAX_PUSH];
    (0usize..11, push, mode(), tc, entropy).prop_map(|(end, push, ttl, tc, entropy)| {
        let entropy = entropy.min(push.len()) as u8;
        (end, push, ttl, tc, entropy)
    })
}

#[derive(Clone, Debug)]
enum Entry {
    /// Looked up in that one of [`VRFS`].
    Pop(usize, TtlMode),
    Forward(prop::sample::Index, TtlMode),
    PopForward(prop::sample::Index, TtlMode),
}

/// A path: the number of its end, the labels it pushes, and how; below how many of them an entropy label goes.
type Way = (usize, Vec<u32>, TtlMode, TcMode, u8);

/// Tables: groups of weighted paths, prefixes to them, labels.
#[derive(Clone, Debug)]
struct Tables {
    groups: Vec<Vec<(Way, u32)>>,
    routes4: Vec<(u32, u8, prop::sample::Index)>,
    routes6: Vec<(u128, u8, prop::sample::Index)>,
    /// Of the VRFs: of either family.
    vrf4: Vec<(usize, u32, u8, prop::sample::Index)>,
    vrf6: Vec<(usize, u128, u8, prop::sample::Index)>,
    labels: Vec<(u32, Entry)>,
    /// Connected networks that are in that one of [`VRFS`], whichever their interface is in: with hosts that are known, or not.
    leaks: Vec<(usize, u8, bool)>,
}

/// Few addresses, so that prefixes lie within each other.
fn near4() -> impl Strategy<Value = u32> {
    (0u32..4, 0u32..4).prop_map(|(a, b)| 0x0b00_0000 | a << 22 | a << 9 | b)
}

fn near6() -> impl Strategy<Value = u128> {
    (0u128..4, 0u128..4).prop_map(|(a, b)| 0x2001_0db8_f000 << 80 | a << 76 | a << 62 | b)
}

fn tables() -> impl Strategy<Value = Tables> {
    let group = prop::collection::vec((path(), 1u32..5), 1..4);
    let entry = prop_oneof![
        (0..=VRFS.len(), mode()).prop_map(|(v, t)| Entry::Pop(v, t)),
        (any::<prop::sample::Index>(), mode()).prop_map(|(g, t)| Entry::Forward(g, t)),
        (any::<prop::sample::Index>(), mode()).prop_map(|(g, t)| Entry::PopForward(g, t)),
    ];
    let index = any::<prop::sample::Index>;
    (
        prop::collection::vec(group, 1..8),
        prop::collection::vec((near4(), 8u8..=32, index()), 0..8),
        prop::collection::vec((near6(), 36u8..=128, index()), 0..8),
        prop::collection::vec((1..VRFS.len(), near4(), 8u8..=32, index()), 0..12),
        prop::collection::vec((1..VRFS.len(), near6(), 36u8..=128, index()), 0..12),
        prop::collection::vec((LABELS, entry), 0..16),
        prop::collection::vec((0..VRFS.len(), 0u8..4, any::<bool>()), 0..6),
    )
        .prop_map(
            |(groups, routes4, routes6, vrf4, vrf6, labels, leaks)| Tables {
                groups,
                routes4,
                routes6,
                vrf4,
                vrf6,
                labels,
                leaks,
            },
        )
}

/// A packet: its stack, and what is under it.
#[derive(Clone, Debug)]
struct Sample {
    stack: Vec<(u32, u8, u8)>,
    to: Result<u32, u128>,
    ttl: u8,
    port: u16,
    len: usize,
    df: bool,
    dscp: u8,
}

fn ttl() -> impl Strategy<Value = u8> {
    prop_oneof![0u8..4, Just(64), Just(255)]
}

fn sample() -> impl Strategy<Value = Sample> {
    let label = prop_oneof![8 => LABELS, 1 => Just(0), 1 => Just(1), 1 => Just(2), 1 => Just(7), 1 => Just(13)];
    let to = prop_oneof![
        near4().prop_map(Ok),
        near6().prop_map(Err),
        prop_oneof![
            Just(0x0a00_0009),
            Just(0x0a00_0101),
            Just(0x0a00_0263),
            Just(0xa9fe_0001),
            Just(0x7f00_0001),
        ]
        .prop_map(Ok),
        Just(Err(0x2001_0db8_0003 << 80 | 1)),
        // On a link: the router, a host that is known, one that is not, all.
        (
            0u32..4,
            prop_oneof![Just(1u32), Just(7), Just(88), Just(255)]
        )
            .prop_map(|(n, host)| Ok(0x0a00_0000 | n << 8 | host)),
        (0u128..4, prop_oneof![Just(1u128), Just(7), Just(88)])
            .prop_map(|(n, host)| Err(0x2001_0db8_0000 << 80 | n << 80 | host)),
    ];
    let len = prop_oneof![3 => 0usize..60, 1 => 1340usize..1452];
    (
        prop_oneof![
            4 => prop::collection::vec((label.clone(), 0u8..8, ttl()), 0..4),
            1 => prop::collection::vec((label.clone(), 0u8..8, ttl()), 4..9),
            // One more than is read.
            1 => prop::collection::vec((label, 0u8..8, ttl()), net::mpls::MAX_DEPTH + 1),
        ],
        to,
        ttl(),
        any::<u16>(),
        len,
        any::<bool>(),
        0u8..64,
    )
        .prop_map(|(stack, to, ttl, port, len, df, dscp)| Sample {
            stack,
            to,
            ttl,
            port,
            len,
            df,
            dscp,
        })
}

impl Sample {
    fn packet(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, &(label, tc, ttl)) in self.stack.iter().enumerate() {
            let bottom = i + 1 == self.stack.len();
            out.extend(Lse::new(Label::new(label).unwrap(), tc, bottom, ttl).to_bytes());
        }
        match self.to {
            Ok(to) => {
                let to = Ipv4Addr::from(to).to_string();
                // Half of what goes to 127/8 is LSP ping's.
                let dport = 3503 - u16::from(self.df);
                let ports = (self.port, dport);
                let ip = udp4_ports("10.0.0.9", &to, self.ttl, ports, self.len);
                out.extend(edit4(&ip, |p| {
                    p[1] = self.dscp << 2;
                    p[6] = if self.df { 0x40 } else { 0 };
                }));
            }
            Err(to) => {
                let to = Ipv6Addr::from(to).to_string();
                let mut ip = udp6("2001:db8::9", &to, self.ttl, self.len);
                (ip[0], ip[1]) = (0x60 | self.dscp >> 2, self.dscp << 6);
                let at = ip.len() - self.len - 8;
                ip[at..at + 2].copy_from_slice(&self.port.to_be_bytes());
                out.extend(ip);
            }
        }
        out
    }

    fn kind(&self) -> u16 {
        match (self.stack.is_empty(), self.to) {
            (false, _) => MPLS,
            (true, Ok(_)) => IPV4,
            (true, Err(_)) => IPV6,
        }
    }
}

fn fill(rig: &mut Rig, t: &Tables, ends: &[Target]) {
    let groups: Vec<GroupId> = t
        .groups
        .iter()
        .map(|paths| {
            let path = |((end, labels, ttl, tc, entropy), weight): &(Way, u32)| {
                let (tc, entropy) = (*tc, *entropy);
                (
                    Path {
                        tc,
                        entropy,
                        ..push(ends[*end], labels, *ttl)
                    },
                    *weight,
                )
            };
            rig.group(&paths.iter().map(path).collect::<Vec<_>>())
        })
        .collect();
    for &(a, len, g) in &t.routes4 {
        rig.route_to(&format!("{}/{len}", masked4(a, len)), *g.get(&groups));
    }
    for &(a, len, g) in &t.routes6 {
        rig.route_to(&format!("{}/{len}", masked6(a, len)), *g.get(&groups));
    }
    for &(vrf, a, len, g) in &t.vrf4 {
        let prefix = format!("{}/{len}", masked4(a, len)).parse().unwrap();
        rig.fib
            .set_vrf4(VRFS[vrf], prefix, *g.get(&groups))
            .unwrap();
    }
    for &(vrf, a, len, g) in &t.vrf6 {
        let prefix = format!("{}/{len}", masked6(a, len)).parse().unwrap();
        rig.fib
            .set_vrf6(VRFS[vrf], prefix, *g.get(&groups))
            .unwrap();
    }
    for (label, e) in &t.labels {
        let e = match e {
            Entry::Pop(vrf, ttl) => match VRFS.get(*vrf) {
                Some(vrf) => LabelEntry::pop_lookup_in(*vrf, *ttl),
                None => LabelEntry::pop_last(*ttl),
            },
            Entry::Forward(g, ttl) => LabelEntry::forward(*g.get(&groups), *ttl),
            Entry::PopForward(g, ttl) => LabelEntry::pop_forward(*g.get(&groups), *ttl),
        };
        rig.label(*label, e);
    }
    for &(vrf, n, known) in &t.leaks {
        let link = Target::Glean(rig.ifaces[usize::from(n)].id);
        let put = |rig: &mut Rig, prefix: &str, to| match VRFS[vrf] {
            VrfId::GLOBAL => rig.route(prefix, Path::to(to)),
            vrf => rig.vrf_route(vrf, prefix, Path::to(to)),
        };
        put(rig, &format!("10.0.{n}.0/24"), link);
        put(rig, &format!("2001:db8:{n}::/64"), link);
        // Neighbours are there beside their network.
        let host = if known { ends[usize::from(n)] } else { link };
        put(rig, &format!("10.0.{n}.7/32"), host);
        put(rig, &format!("2001:db8:{n}::7/128"), host);
    }
    rig.fib.flush();
}

fn masked4(a: u32, len: u8) -> Ipv4Addr {
    Ipv4Addr::from(a & u32::MAX << (32 - len))
}

fn masked6(a: u128, len: u8) -> Ipv6Addr {
    Ipv6Addr::from(a & u128::MAX << (128 - len))
}

/// Targets for the paths of random tables.
fn ends(rig: &mut Rig) -> Vec<Target> {
    let silent =
        fib::Adjacency::incomplete(WAN, net::PortId(1), 1500, "10.0.1.88".parse().unwrap());
    vec![
        rig.neighbour(LAN, "10.0.0.7", HOST_MAC),
        rig.neighbour(WAN, "10.0.1.7", PEER_MAC),
        rig.neighbour(VLAN, "10.0.2.7", VPEER_MAC),
        rig.neighbour(CORE, "10.0.3.7", CPEER_MAC),
        Target::Adjacency(rig.fib.add_adj(silent).unwrap()),
        Target::Glean(LAN),
        Target::Glean(IfaceId(77)),
        Target::Local(CORE),
        Target::Discard(Discard::Blackhole),
        Target::Discard(Discard::Unreachable),
        Target::Discard(Discard::Prohibit),
    ]
}

#[track_caller]
fn agree(end: &End, seen: Seen, what: &dyn std::fmt::Debug) {
    match end {
        End::Sent {
            port, iface, frame, ..
        } => {
            let sent = seen.only_sent();
            assert_eq!((sent.port, sent.iface), (*port, *iface), "{what:?}");
            assert_eq!(sent.frame, *frame, "{what:?}");
        }
        End::Unresolved { iface, next_hop } => {
            let up = seen.only_up();
            assert!(
                matches!(up.reason, PuntReason::Incomplete | PuntReason::Glean),
                "{what:?}"
            );
            assert_eq!(
                (up.iface, up.next_hop),
                (*iface, Some(*next_hop)),
                "{what:?}"
            );
        }
        // In pieces: by a link, or to the control thread if its next hop is not known.
        End::Cut { .. } => assert!(seen.sent.len() + seen.up.len() > 1, "{what:?}: {seen:?}"),
        End::Local(iface) => {
            let up = seen.only_up();
            assert!(
                matches!(up.reason, PuntReason::Local | PuntReason::Echo),
                "{what:?}"
            );
            assert_eq!(up.iface, *iface, "{what:?}");
        }
        // A label said IPv4 of what is IPv6, or the other way: the stages say which byte was wrong first.
        End::Dropped(Drop::Ip4BadVersion | Drop::Ip6BadVersion) => {
            seen.dropped();
        }
        End::Dropped(why) => assert_eq!(seen.dropped(), *why, "{what:?}"),
    }
}

#[test]
fn what_is_told_is_what_is_done() {
    let rig = RefCell::new(Rig::new());
    let ends = ends(&mut rig.borrow_mut());
    rig.borrow_mut()
        .ifaces
        .iter_mut()
        .for_each(|i| i.mpls = i.id != VLAN);
    rig.borrow_mut().reconfigure();
    let config = Config {
        cases: 800,
        failure_persistence: None,
        ..Config::default()
    };
    let reached = RefCell::new([0usize; 5]);
    // The same of what goes to, or by, an interface of another table than it was looked up in last.
    let across = RefCell::new([0usize; 3]);
    let case = (
        0..VRFS.len(),
        tables(),
        prop::collection::vec((sample(), any::<bool>()), 1..40),
    );
    TestRunner::new(config)
        .run(&case, |(vrf, tables, samples)| {
            let rig = &mut rig.borrow_mut();
            let vrf = VRFS[vrf];
            rig.ifaces[LAN.index()].vrf = vrf;
            rig.reconfigure();
            fill(rig, &tables, &ends);
            for (s, own) in samples {
                let packet = s.packet();
                let everybody = s.to.is_ok_and(|a| a & 0xffff_fcff == 0x0a00_00ff);
                // The kernel asks everybody on a link itself.
                let own = own && s.stack.is_empty() && !everybody;
                let arrival = Arrival {
                    from: (!own).then_some(LAN),
                    vrf,
                    labelled: !s.stack.is_empty(),
                    packet: &packet,
                };
                let said = rig.traced(arrival);
                rig.now += 1_000_000_000; // the ICMP bucket is full
                let seen = if own {
                    rig.inject(Inject::Route { vrf, iface: WAN }, &packet)
                } else {
                    rig.one(0, &from_lan(s.kind(), &packet))
                };
                agree(&said.end, seen, &(&s, &said));
                let last = said.steps.iter().rev().find_map(|s| match s {
                    Step::Lookup { vrf, .. } => Some(*vrf),
                    _ => None,
                });
                let to = match &said.end {
                    End::Sent { iface, .. } => Some((0, *iface)),
                    End::Unresolved { iface, .. } => Some((1, *iface)),
                    End::Local(iface) => Some((2, *iface)),
                    End::Cut { .. } | End::Dropped(_) => None,
                };
                if let (Some(last), Some((n, iface))) = (last, to)
                    && rig.ifaces.iter().any(|i| i.id == iface && i.vrf != last)
                {
                    across.borrow_mut()[n] += 1;
                }
                reached.borrow_mut()[match said.end {
                    End::Sent { .. } => 0,
                    End::Unresolved { .. } => 1,
                    End::Cut { .. } => 2,
                    End::Local(_) => 3,
                    End::Dropped(_) => 4,
                }] += 1;
            }
            Ok(())
        })
        .unwrap();
    assert!(
        reached.borrow().iter().all(|n| *n > 20),
        "each way is taken: {reached:?}"
    );
    let across = across.into_inner();
    assert!(across.iter().all(|n| *n > 20), "and across: {across:?}");
}

#[test]
fn each_decision_is_told() {
    let mut rig = Rig::new();
    let stack = |labels: &[u32]| {
        let mut out = vec![0; 4 * labels.len()];
        let labels: Vec<Label> = labels.iter().map(|&l| Label::new(l).unwrap()).collect();
        net::mpls::write(&mut out, &labels, 0, 9, true).unwrap();
        out
    };
    // 304 is popped, 300 becomes 400.
    let packet = [stack(&[304, 300]), udp4("10.0.0.9", "192.0.2.1", 9, 18)].concat();
    let arrival = Arrival {
        from: Some(CORE),
        vrf: VrfId::GLOBAL,
        labelled: true,
        packet: &packet,
    };
    let told = rig.traced(arrival);
    let acts: Vec<LabelAct> = told
        .steps
        .iter()
        .filter_map(|s| match s {
            Step::Label { act, .. } => Some(*act),
            _ => None,
        })
        .collect();
    assert!(
        matches!(
            acts[..],
            [LabelAct::Pop(Some(VrfId::GLOBAL)), LabelAct::Forward(_)]
        ),
        "{told:?}"
    );
    let Some(Step::Choice {
        hash: None,
        buckets: 1,
        path,
        ..
    }) = told.steps.last()
    else {
        panic!("{told:?}");
    };
    assert_eq!(path.push.iter().map(|l| l.get()).collect::<Vec<_>>(), [400]);
    // Two paths: the bucket is one of theirs.
    let packet = udp4("10.0.0.9", "172.20.0.1", 9, 18);
    let arrival = Arrival {
        from: None,
        vrf: VrfId::GLOBAL,
        labelled: false,
        packet: &packet,
    };
    let told = rig.traced(arrival);
    let [
        Step::Lookup { .. },
        Step::Choice {
            hash: Some(hash),
            bucket,
            buckets,
            ..
        },
    ] = told.steps[..]
    else {
        panic!("{told:?}");
    };
    assert!(buckets > 1 && bucket == hash as usize % buckets);
    assert!(matches!(told.end, End::Sent { .. }));
    rig.fib.flush();
}
