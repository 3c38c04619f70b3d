//! What a speaker costs: several neighbours send a table, another is told the best of it.
//!
//! `cargo run --release -p trunkline-bgp --example relay -- PREFIXES SENDERS [RECEIVERS]`. Messages are made before the clock
//! runs, and what comes out is only counted. No sockets: what they cost is in `cargo testbed bench bgp`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bgp::attrs::{AttrBuf, Origin, SegmentKind, code, flag};
use bgp::policy::{Policies, Sets};
use bgp::rib::HopEvent;
use bgp::session::{PeerAs, SessionConfig};
use bgp::speaker::{
    Action, Config, ConnId, Ends, Local, Neighbor, OwnAddresses, PeerKey, Speaker, Use,
};
use bgp::types::{Asn, Family, FamilySet, NextHop, Relation, RouterId};
use bgp::wire::{Capabilities, Context, Encoder, Message, Open};
use ipnet::{IpNet, Ipv4Net};

const US: u32 = 65_000;

/// Pseudo-random numbers, the same each time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + 1 + n as u32)
}

fn asn(n: usize) -> Asn {
    Asn(64_512 + n as u32)
}

/// The UPDATEs of one sender: one set of attributes for some eight prefixes, paths of 2 to 7, communities on half.
fn updates(prefixes: &[Ipv4Net], sender: usize) -> Vec<u8> {
    let (mut out, mut dice, mut encoder) = (Vec::new(), Dice(1), Encoder::new());
    let context = Context::new(
        Relation::External,
        FamilySet::from_iter([Family::Ipv4Unicast]),
    );
    let mut at = 0;
    while at < prefixes.len() {
        let run = (1 + dice.roll(15) as usize).min(prefixes.len() - at);
        let mut path = vec![asn(sender)];
        path.extend((0..1 + dice.roll(6)).map(|_| Asn(1 + dice.roll(400_000) as u32)));
        let mut a = AttrBuf::new();
        a.set_origin(Origin::Igp);
        a.set_as_path([(SegmentKind::Sequence, &path[..])]);
        if dice.roll(2) == 0 {
            let some: Vec<u8> = (0..(1 + dice.roll(6)) * 4)
                .map(|_| dice.roll(256) as u8)
                .collect();
            a.set(flag::OPTIONAL | flag::TRANSITIVE, code::COMMUNITIES, &some);
        }
        a.next_hop = Some(NextHop::V4(address(sender)));
        let mut packer = encoder
            .announce(a.view(), Family::Ipv4Unicast, &context, &mut out)
            .expect("it fits");
        for p in &prefixes[at..at + run] {
            packer.ipv4(0, *p).expect("a prefix of the family");
        }
        packer.finish();
        at += run;
    }
    out
}

fn main() {
    let arg = |n: usize, or: usize| {
        std::env::args()
            .nth(n)
            .map_or(or, |a| a.parse().expect("a number"))
    };
    let (count, senders, receivers) = (arg(1, 1_000_000), arg(2, 1), arg(3, 1));
    let mut dice = Dice(7);
    let mut all: Vec<Ipv4Net> = (0..count as u32 * 2)
        .map(|i| Ipv4Net::new(Ipv4Addr::from((1 << 24) + (i << 8)), 24).expect("24"))
        .collect();
    for i in (1..all.len()).rev() {
        all.swap(i, dice.roll(i as u64 + 1) as usize);
    }
    all.truncate(count);
    let router_id = RouterId::new(Ipv4Addr::new(10, 255, 0, 1)).expect("not zero");
    let policies = Policies::compile(&BTreeMap::new(), &Sets::default(), &Policies::default())
        .expect("built in");
    let accept = policies.get("accept-all").expect("built in").clone();
    let neighbors = (0..senders + receivers).map(|n| {
        let mut session = SessionConfig::new(Asn(US), router_id, PeerAs::Is(asn(n)));
        session.passive = true;
        let mut neighbor = Neighbor::new(session);
        neighbor.import = Some(accept.clone());
        neighbor.export = Some(accept.clone());
        (
            PeerKey::Address(address(n).into(), None),
            Arc::new(neighbor),
        )
    });
    let local = Local {
        asn: Asn(US),
        router_id,
        cluster_id: None,
        confederation: None,
    };
    let config = Config {
        local,
        options: Default::default(),
        neighbors: neighbors.collect(),
        dynamic: Vec::new(),
    };
    let began = Instant::now();
    let mut speaker = Speaker::new(config, 1, began);
    let conns: Vec<ConnId> = (0..senders + receivers)
        .map(|n| establish(&mut speaker, n, began))
        .collect();
    let feeds: Vec<Vec<u8>> = (0..senders).map(|n| updates(&all, n)).collect();
    drop(all);
    let before = resident();
    let start = Instant::now();
    let (mut fed, mut sent, mut told) = (vec![0; senders], 0usize, 0usize);
    loop {
        let mut more = false;
        for n in 0..senders {
            let rest = &feeds[n][fed[n]..];
            if !rest.is_empty() {
                fed[n] += speaker.received(conns[n], &rest[..rest.len().min(64 << 10)], began);
                more = true;
            }
        }
        more |= turn(&mut speaker, &conns, began, &mut sent, &mut told);
        if !more {
            break;
        }
    }
    let took = start.elapsed();
    let paths = count * senders;
    println!(
        "{senders} x {count}: {:.3} s, {:.0} ns a path; {} octets and {told} best routes out; {:.1} octets a path by the tables, {:.1} resident",
        took.as_secs_f64(),
        took.as_nanos() as f64 / paths as f64,
        sent,
        speaker.memory() as f64 / paths as f64,
        (resident() - before) as f64 / paths as f64,
    );
    if senders > 1 {
        let start = Instant::now();
        speaker.failed(conns[0], "cut", began);
        (sent, told) = (0, 0);
        while turn(&mut speaker, &conns, began, &mut sent, &mut told) {}
        println!(
            "the first sender is lost: {:.3} s, {sent} octets and {told} best routes out",
            start.elapsed().as_secs_f64()
        );
    }
}

/// Next hops, a piece of work, and what is to be written.
fn turn(
    speaker: &mut Speaker,
    conns: &[ConnId],
    now: Instant,
    sent: &mut usize,
    told: &mut usize,
) -> bool {
    let hops: Vec<HopEvent> = speaker.next_hops().collect();
    for h in hops {
        if let HopEvent::Wanted(id, ..) = h {
            speaker.set_next_hop(id, Some(1));
        }
    }
    let mut best = |net: IpNet, by: &[Use<'_>]| {
        black_box((net, by));
        *told += 1;
    };
    let mut more = speaker.work(4096, &mut best, now);
    for conn in conns {
        let n = black_box(speaker.output(*conn)).len();
        if n > 0 {
            speaker.wrote(*conn, n, now);
            *sent += n;
            more = true;
        }
    }
    while speaker.next_action().is_some() {}
    more
}

/// Makes a session with neighbour `n`.
fn establish(speaker: &mut Speaker, n: usize, now: Instant) -> ConnId {
    let at = |a: Ipv4Addr, port| SocketAddr::new(IpAddr::from(a), port);
    let own = OwnAddresses {
        v4: Some(Ipv4Addr::new(10, 255, 0, 1)),
        v6: None,
        link_local: None,
    };
    let ends = Ends {
        local: at(Ipv4Addr::new(10, 255, 0, 1), 179),
        remote: at(address(n), 40_000),
        interface: None,
        own,
    };
    let conn = speaker.accepted(ends, now).expect("it is configured");
    let open = Open {
        asn: asn(n),
        hold_time: 0,
        id: RouterId::new(address(n)).expect("not zero"),
        capabilities: Capabilities {
            families: FamilySet::from_iter([Family::Ipv4Unicast]),
            as4: Some(asn(n)),
            ..Capabilities::default()
        },
    };
    let mut octets = Vec::new();
    Message::Open(open).emit(&mut octets);
    Message::Keepalive.emit(&mut octets);
    let mut taken = 0;
    while taken < octets.len() {
        taken += speaker.received(conn, &octets[taken..], now);
        while let Some(action) = speaker.next_action() {
            assert!(!matches!(action, Action::Close(_)), "{action:?}");
        }
    }
    let n = speaker.output(conn).len();
    speaker.wrote(conn, n, now);
    conn
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|p| p.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
