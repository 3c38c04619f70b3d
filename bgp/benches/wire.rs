//! How long an UPDATE takes to be read and to be written, in nanoseconds a prefix: `cargo bench -p trunkline-bgp --bench wire`.
//!
//! The messages are made here, the same each time: of the prefixes 61 % are /24, paths have 2 to 7 ASes, half of the
//! attribute sets have communities; 8 prefixes share a set on average (12.35 % are unique), as in a table of today. "read"
//! is parse, verdict, canonical attributes into a buffer that is used again, and every prefix visited; interning is not in
//! it. Each figure is the median of rounds.

use std::hint::black_box;
use std::time::Instant;

use bgp::attrs::{AttrBuf, Origin, SegmentKind, code, flag};
use bgp::types::{Asn, Family, FamilySet, NextHop, Relation};
use bgp::wire::{Context, Encoder, HEADER, Header, MAX, Update};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// xorshift64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as u32 % n
    }
}

fn attributes(rng: &mut Rng) -> AttrBuf {
    let mut b = AttrBuf::new();
    b.set_origin(Origin::Igp);
    let path: Vec<Asn> = (0..2 + rng.below(6))
        .map(|_| Asn(1 + rng.below(400_000)))
        .collect();
    b.set_as_path([(SegmentKind::Sequence, &path[..])]);
    if rng.below(2) == 0 {
        let n = 1 + rng.below(8);
        let all: Vec<u8> = (0..n)
            .flat_map(|_| rng.below(u32::MAX).to_be_bytes())
            .collect();
        b.set(flag::OPTIONAL | flag::TRANSITIVE, code::COMMUNITIES, &all);
    }
    b.next_hop = Some(NextHop::V4([192, 0, 2, 1].into()));
    b
}

/// Half are /48, the rest shorter.
fn nets6(rng: &mut Rng, n: u32) -> Vec<IpNet> {
    let net = |rng: &mut Rng| {
        let len = if rng.below(2) == 0 {
            48
        } else {
            [29, 32, 36, 40, 44][rng.below(5) as usize]
        };
        let high = 0x2001_0000 + u128::from(rng.below(0x00ff_0000));
        let addr = high << 96 | u128::from(rng.below(0xffff)) << 80;
        Ipv6Net::new(addr.into(), len).map(|n| n.trunc().into())
    };
    (0..n).filter_map(|_| net(rng).ok()).collect()
}

fn nets(rng: &mut Rng, n: u32) -> Vec<IpNet> {
    let net = |rng: &mut Rng| {
        let len = if rng.below(100) < 61 {
            24
        } else {
            16 + rng.below(9) as u8
        };
        Ipv4Net::new((0x0100_0000 + rng.below(0xd000_0000)).into(), len).map(|n| n.trunc().into())
    };
    (0..n).filter_map(|_| net(rng).ok()).collect()
}

struct Feed {
    name: &'static str,
    family: Family,
    sets: Vec<(AttrBuf, Vec<IpNet>)>,
    prefixes: usize,
}

fn feed(name: &'static str, family: Family, updates: u32, share: impl Fn(&mut Rng) -> u32) -> Feed {
    let mut rng = Rng(0x5eed_2026);
    let sets: Vec<_> = (0..updates)
        .map(|_| {
            let n = share(&mut rng);
            let mut attrs = attributes(&mut rng);
            if family == Family::Ipv6Unicast {
                attrs.next_hop = Some(NextHop::V6((0x2001_0db8 << 96 | 1).into()));
                return (attrs, nets6(&mut rng, n));
            }
            (attrs, nets(&mut rng, n))
        })
        .collect();
    let prefixes = sets.iter().map(|s| s.1.len()).sum();
    Feed {
        name,
        family,
        sets,
        prefixes,
    }
}

fn encode(feed: &Feed, ctx: &Context, encoder: &mut Encoder, out: &mut Vec<u8>) {
    out.clear();
    for (attrs, nets) in &feed.sets {
        let mut p = encoder
            .announce(attrs.view(), feed.family, ctx, out)
            .expect("short attributes");
        for n in nets {
            p.net(0, *n).expect("one family");
        }
    }
}

/// Visits every prefix of every message; `canonical`: with the attributes.
fn read(mut wire: &[u8], ctx: &Context, canonical: bool, buf: &mut AttrBuf) -> (usize, u64) {
    let (mut n, mut sum) = (0, 0);
    while let Ok(Some(h)) = Header::parse(wire, MAX) {
        let (message, rest) = wire.split_at(h.len.into());
        wire = rest;
        let u = Update::parse(&message[HEADER..], ctx).expect("good messages");
        for nlri in u.unreach() {
            n += nlri.count;
        }
        for r in u.reach() {
            if canonical {
                u.canonical(buf);
                buf.next_hop = r.next_hop;
                sum += buf.view().octets.len() as u64;
            }
            for (_, net) in r.nlri.ipv4() {
                sum += u64::from(u32::from(net.addr())) ^ u64::from(net.prefix_len());
                n += 1;
            }
            for (_, net) in r.nlri.ipv6() {
                sum += u128::from(net.addr()) as u64 ^ u64::from(net.prefix_len());
                n += 1;
            }
        }
    }
    (n, sum)
}

fn median(rounds: usize, prefixes: usize, mut one: impl FnMut()) -> f64 {
    let mut all: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            one();
            start.elapsed().as_nanos() as f64 / prefixes as f64
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[rounds / 2]
}

fn main() {
    let ctx = Context::new(
        Relation::External,
        FamilySet::from_iter([Family::Ipv4Unicast, Family::Ipv6Unicast]),
    );
    let short = Context { as4: false, ..ctx };
    let eight = |r: &mut Rng| 1 + r.below(4) * r.below(4) + r.below(10);
    let (v4, v6) = (Family::Ipv4Unicast, Family::Ipv6Unicast);
    let feeds = [
        feed("IPv4, 8 a set", v4, 12_500, eight),
        feed("IPv4, 1 a set", v4, 50_000, |_| 1),
        feed("IPv4, 200 a set", v4, 500, |_| 200),
        feed("IPv6, 8 a set", v6, 12_500, eight),
    ];
    println!("ns a prefix         parse+visit   +canonical   the same, AS2   encode");
    for f in &feeds {
        let mut wire = Vec::new();
        let mut wire2 = Vec::new();
        let mut encoder = Encoder::new();
        let mut buf = AttrBuf::new();
        encode(f, &short, &mut encoder, &mut wire2);
        encode(f, &ctx, &mut encoder, &mut wire);
        assert_eq!(read(&wire, &ctx, false, &mut buf).0, f.prefixes);
        // A profiler needs few.
        let rounds = std::env::var("ROUNDS").map_or(41, |r| r.parse().unwrap_or(41));
        let visit = median(rounds, f.prefixes, || {
            black_box(read(black_box(&wire), &ctx, false, &mut buf));
        });
        let full = median(rounds, f.prefixes, || {
            black_box(read(black_box(&wire), &ctx, true, &mut buf));
        });
        let two = median(rounds, f.prefixes, || {
            black_box(read(black_box(&wire2), &short, true, &mut buf));
        });
        let out = median(rounds, f.prefixes, || {
            encode(black_box(f), &ctx, &mut encoder, &mut wire);
        });
        println!("{:20}{visit:10.1}{full:13.1}{two:16.1}{out:9.1}", f.name);
    }
}
