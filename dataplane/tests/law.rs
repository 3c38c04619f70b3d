//! The counting law of DESIGN section 2 under the real pipeline: two workers, a port with fewer queues than workers, a
//! VLAN, and tens of thousands of frames that are right, wrong and mutilated, on every way out at once. A process of its
//! own (one EAL a process): nextest.

mod common;

use common::{config, eventually, send};
use dataplane::Dataplane;
use dataplane::counters::Counts;
use dataplane::drops::Drop as Reason;
use dataplane::interface::{Interface, InterfaceTable};
use dataplane::port::MemPort;
use dataplane::punt::{Inject, PuntReason};
use dataplane::worker::idle::Poll;
use etherparse::PacketBuilder;
use fib::{Adjacency, Discard, LabelEntry, Path, Target, TtlMode};
use net::{GroupId, IfaceId, Ip4Prefix, Ip6Prefix, Label, LabelStack, MacAddr, PortId, VrfId};
use std::net::{Ipv4Addr, Ipv6Addr};

const ME: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn iface(id: u16, port: PortId, vlan: Option<u16>, mpls: bool) -> Interface {
    Interface {
        id: IfaceId(id),
        port,
        vlan,
        mac: ME,
        mtu: 1500,
        mpls,
        up: true,
        vrf: VrfId::GLOBAL,
        link_local: ME.eui64_link_local(),
        v4: vec![(Ipv4Addr::new(10, 0, id as u8, 1), 24)],
        v6: vec![(Ipv6Addr::new(0x2001, 0xdb8, id, 0, 0, 0, 0, 1), 64)],
        name: format!("i{id}"),
    }
}

/// Routes and labels of every kind: 10.N.0.0/16 and 2001:db8:100+N::/48 go the Nth way.
fn fill(dp: &mut Dataplane, ports: &[PortId]) -> u16 {
    let fib = dp.fib();
    let hop = |n: u8| Ipv4Addr::new(10, 0, n, 9).into();
    let adj = |iface: u16, port: usize, mtu| {
        Adjacency::incomplete(IfaceId(iface), ports[port], mtu, hop(iface as u8))
    };
    let plain = fib
        .add_adj(adj(1, 1, 1500).complete(ME, PEER, None))
        .unwrap();
    let narrow = fib
        .add_adj(adj(2, 1, 600).complete(ME, PEER, Some(100)))
        .unwrap();
    let waiting = fib.add_adj(adj(1, 1, 1500)).unwrap();
    let back = fib
        .add_adj(adj(0, 0, 1500).complete(ME, PEER, None))
        .unwrap();
    let gone = fib
        .add_adj(
            Adjacency::incomplete(IfaceId(1), PortId(77), 1500, hop(1)).complete(ME, PEER, None),
        )
        .unwrap();
    let label = |v| Label::new(v).unwrap();
    let mut pushing = Path::to(Target::Adjacency(plain));
    pushing.push = LabelStack::from_iter([label(500), label(600)]);
    let to = |t| vec![(Path::to(t), 1)];
    let kinds = [
        to(Target::Adjacency(plain)),
        to(Target::Adjacency(narrow)),
        to(Target::Adjacency(waiting)),
        to(Target::Adjacency(back)),
        to(Target::Adjacency(gone)),
        to(Target::Glean(IfaceId(1))),
        to(Target::Local(IfaceId(0))),
        to(Target::Discard(Discard::Blackhole)),
        to(Target::Discard(Discard::Unreachable)),
        to(Target::Discard(Discard::Prohibit)),
        vec![(pushing, 1)],
        vec![
            (Path::to(Target::Adjacency(plain)), 1),
            (Path::to(Target::Adjacency(narrow)), 3),
        ],
    ];
    for (n, paths) in kinds.iter().enumerate() {
        let group: GroupId = fib.add_group(paths).unwrap();
        let n = n as u16;
        fib.set4(
            Ip4Prefix::new(u32::from_be_bytes([10, 100 + n as u8, 0, 0]), 16).unwrap(),
            group,
        )
        .unwrap();
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0x100 + n, 0, 0, 0, 0, 0);
        fib.set6(Ip6Prefix::new(v6.into(), 48).unwrap(), group)
            .unwrap();
        fib.set_label(
            label(1000 + u32::from(n)),
            LabelEntry::forward(group, TtlMode::Uniform),
        )
        .unwrap();
    }
    // The way back to who sent the frames, for ICMP errors.
    let back = fib
        .add_group(&[(Path::to(Target::Adjacency(back)), 1)])
        .unwrap();
    fib.set4(
        Ip4Prefix::new(u32::from_be_bytes([10, 0, 0, 0]), 24).unwrap(),
        back,
    )
    .unwrap();
    fib.set6(Ip6Prefix::new(0x2001_0db8_u128 << 96, 64).unwrap(), back)
        .unwrap();
    fib.set_label(label(2000), LabelEntry::pop_lookup(TtlMode::Uniform))
        .unwrap();
    fib.flush();
    kinds.len() as u16
}

/// xorshift64*, Vigna 2016: the same frames each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// A well-formed frame for the way `n`, of one of the kinds.
fn sound(r: &mut Random, n: u16) -> Vec<u8> {
    let payload = vec![0xa5; [10, 100, 700, 1400][r.below(4)]];
    let ttl = [1, 2, 64, 255][r.below(4)];
    let host = r.below(256) as u8;
    let eth = PacketBuilder::ethernet2(PEER.0, ME.0);
    let v4 = [10, 100 + n as u8, host, 7];
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0x100 + n, 0, 0, 0, 0, u16::from(host)).octets();
    let from6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).octets();
    let mut out = Vec::new();
    match r.below(8) {
        0..3 => eth
            .ipv4([10, 0, 0, 9], v4, ttl)
            .udp(1000 + u16::from(host), 53)
            .write(&mut out, &payload)
            .unwrap(),
        3..5 => eth
            .ipv6(from6, v6, ttl)
            .udp(1000 + u16::from(host), 53)
            .write(&mut out, &payload)
            .unwrap(),
        5 => {
            // What the router itself is asked, and what concerns its neighbours.
            let to = [
                [10, 0, 0, 1],
                [10, 0, 1, 1],
                [255; 4],
                [224, 0, 0, 1],
                [127, 0, 0, 1],
            ][r.below(5)];
            eth.ipv4([10, 0, 0, 9], to, ttl)
                .icmpv4_echo_request(1, 2)
                .write(&mut out, &payload)
                .unwrap();
        }
        6 => {
            out.extend([0xff; 6]);
            out.extend(PEER.0);
            out.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            out.extend(PEER.0);
            out.extend([10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
        }
        _ => {
            eth.ipv4([10, 0, 0, 9], v4, ttl)
                .udp(5, 6)
                .write(&mut out, &payload)
                .unwrap();
            let mut stack = vec![];
            let depth = r.below(3);
            for i in 0..=depth {
                let label = if i < depth {
                    2000
                } else {
                    [1000 + u32::from(n), 2000, 0, 3, 77][r.below(5)]
                };
                let bottom = u32::from(i == depth && r.below(8) > 0);
                stack.extend((label << 12 | bottom << 8 | u32::from(ttl)).to_be_bytes());
            }
            out[12..14].copy_from_slice(&0x8847u16.to_be_bytes());
            out.splice(14..14, stack);
        }
    }
    out
}

/// As often as not, something is wrong with it.
fn harmed(r: &mut Random, mut f: Vec<u8>) -> Vec<u8> {
    match r.below(16) {
        0 => f.truncate(1 + r.below(60)),
        1 => f.truncate(1 + r.below(f.len())),
        2 => f.extend(std::iter::repeat_n(0, r.below(400))),
        3..6 => {
            // One byte, most likely of a header.
            let at = r.below(f.len().min(64));
            f[at] ^= 1 << r.below(8);
        }
        6 => f
            .splice(12..12, [0x81, 0, 0, [100, 7][r.below(2)]])
            .for_each(drop),
        _ => {}
    }
    f
}

#[test]
fn the_law_holds_on_every_way_out() {
    let mut cfg = config(2, Poll::Adaptive);
    cfg.pipeline.icmp_rate = 1_000_000;
    let mut dp = Dataplane::start(&cfg).unwrap();
    let (a, b) = (MemPort::new(2, 1024), MemPort::new(1, 1024));
    let wires = [a.wire(), b.wire()];
    let ports = [
        dp.open_mem_port(ME, 1500, a).unwrap(),
        dp.open_mem_port(ME, 1500, b).unwrap(),
    ];
    let ways = fill(&mut dp, &ports);
    let table = [
        iface(0, ports[0], None, true),
        iface(1, ports[1], None, false),
        iface(2, ports[1], Some(100), true),
    ];
    dp.publish_interfaces(InterfaceTable::new(table).unwrap())
        .unwrap();
    let pool = dp.pools().iter().next().unwrap().clone();

    let mut r = Random(0x5eed);
    let mut taken = 0u64;
    let sent = 60_000u64;
    for i in 0..sent {
        let n = r.below(usize::from(ways) + 1) as u16; // one way too many: no route
        let f = sound(&mut r, n);
        let f = harmed(&mut r, f);
        let (wire, queue) = if r.below(8) == 0 {
            (1, 0)
        } else {
            (0, i as u16 % 2)
        };
        send(&wires[wire], queue, || {
            eventually("a frame", || pool.alloc_from(&f).ok_or(String::new()))
        });
        taken += drain(&wires);
        if i % 64 == 0 {
            control(&mut dp, &mut r);
        }
        if i % 20_000 == 10_000 {
            // Interfaces change meanwhile: one goes down and comes back.
            let mut down = iface(2, ports[1], Some(100), true);
            down.up = i > 20_000;
            let table = [
                iface(0, ports[0], None, true),
                iface(1, ports[1], None, false),
                down,
            ];
            dp.publish_interfaces(InterfaceTable::new(table).unwrap())
                .unwrap();
        }
    }
    let c: Counts = eventually("the law at rest", || {
        taken += drain(&wires);
        control(&mut dp, &mut r);
        let c = dp.totals();
        let rest = c.rx_packets == sent && c.entered() == c.left() && c.tx_packets == taken;
        rest.then(|| c.clone())
            .ok_or_else(|| format!("{sent} sent, {taken} taken, {c:?}"))
    });
    let reasons: Vec<_> = c.reasons().map(|(d, n)| format!("{d} {n}")).collect();
    println!(
        "rx {} tx {} punted {} injected {} created {}; {}",
        c.rx_packets,
        c.tx_packets,
        c.punted,
        c.injected,
        c.created,
        reasons.join(", ")
    );
    assert!(c.tx_packets > 10_000 && c.punted > 1000 && c.injected > 1000 && c.created > 1000);
    assert!(reasons.len() >= 20, "the frames are too tame: {reasons:?}");
    dp.shutdown().unwrap();
    dp.punts(usize::MAX, drop);
    drain(&wires);
    let end = dp.totals();
    assert_eq!(end.entered(), end.left());
    // Per interface the same, added up.
    let mut sum = Counts::default();
    dp.counters().iter().for_each(|(_, c)| sum.add(c));
    assert_eq!(sum, end, "nothing is counted where nobody looks");
    assert_eq!(pool.in_use(), 0, "every buffer was given back");
    drop(pool);
}

fn drain(wires: &[dataplane::port::MemWire]) -> u64 {
    let take = |(w, q): (usize, u16)| std::iter::from_fn(|| wires[w].recv(q)).count() as u64;
    [(0, 0), (0, 1), (1, 0)].into_iter().map(take).sum()
}

/// What the control thread does: gives some of what was punted up, and sends some on.
fn control(dp: &mut Dataplane, r: &mut Random) {
    let mut punted = vec![];
    dp.punts(256, |p| punted.push(p));
    for p in punted {
        let bytes = p.frame.data().to_vec();
        match (p.reason, r.below(4)) {
            (PuntReason::Glean | PuntReason::Incomplete, 0) => {
                dp.count_given_up(p.iface, Reason::Unresolved);
            }
            (PuntReason::Glean | PuntReason::Incomplete, _) => {
                let adj = net::AdjId(r.below(12) as u32); // some of them not there
                let _ = dp.inject(
                    Inject::ToAdj {
                        adj,
                        ethertype: p.ethertype,
                        iface: p.iface,
                    },
                    &bytes,
                );
            }
            (PuntReason::Arp, _) => {
                let _ = dp.inject(Inject::Raw { iface: p.iface }, &bytes);
            }
            (_, 0) => {
                let _ = dp.inject(Inject::Raw { iface: IfaceId(2) }, &bytes);
            }
            (_, 1) => {
                let ip = bytes.get(14..).unwrap_or(&[]);
                let _ = dp.inject(
                    Inject::Route {
                        vrf: VrfId::GLOBAL,
                        iface: p.iface,
                    },
                    ip,
                );
            }
            _ => {} // the kernel had it
        }
    }
}
