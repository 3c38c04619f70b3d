//! What routes cost: nanoseconds and octets, for the tables that BGP speakers are compared by.
//!
//! `cargo run --release -p trunkline-bgp --example rib-measure [-- CASE…]`, cases `1x1M 10x100k 30x100k 4x1M failover
//! churn`. A route is taken in, decided, exported (prepended, next hop set) and encoded; what sessions, policies and sockets
//! cost comes on top. Octets are what the process has resident more than before, all included.

use std::time::{Duration, Instant};

use bgp::attrs::{AttrBuf, Origin, SegmentKind, View, code, flag};
use bgp::rib::{
    Advertise, Announce, Audience, Export, GroupId, HopEvent, Path, Rib, Room, Sink, V4,
};
use bgp::types::{Asn, Family, FamilySet, NextHop, PathId, PeerId, Relation, RouterId};
use bgp::wire::{Context, Encoder};
use ipnet::Ipv4Net;

/// Prefixes of an UPDATE: 12.35 % of routes have attributes of their own.
const PER_SET: f64 = 1.0 / 0.1235;

fn random(n: u64) -> u64 {
    // splitmix64.
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// So many prefixes, 61 % of them /24, shuffled.
fn prefixes(n: usize) -> Vec<V4> {
    let mut all: Vec<Ipv4Net> = Vec::with_capacity(n);
    let mut at = 1u32 << 24;
    for i in 0..n as u64 {
        let r = random(i);
        let len = match r % 100 {
            0..61 => 24,
            61..73 => 22,
            73..82 => 23,
            82..90 => 20,
            90..95 => 21,
            95..98 => 19,
            _ => 16,
        };
        // At most 2^32 for the million: gaps are small.
        let size = 1u32 << (32 - len);
        at = at.next_multiple_of(size);
        all.push(Ipv4Net::new_assert(at.into(), len as u8));
        at = at.saturating_add(if len < 20 { 1 << 11 } else { size });
    }
    for i in (1..n).rev() {
        all.swap(i, (random(i as u64 ^ 77) % (i as u64 + 1)) as usize);
    }
    all.into_iter().map(V4::from).collect()
}

/// The attributes of a set of a peer: some 100 octets.
fn attributes(peer: u16, set: u64, out: &mut AttrBuf) {
    let r = random(set);
    *out = AttrBuf::new();
    out.next_hop = Some(NextHop::V4([10, 0, (peer >> 8) as u8, peer as u8].into()));
    out.set_origin(Origin::Igp);
    let hops = 2 + r % 6;
    let mut path = vec![Asn(64512 + u32::from(peer))];
    path.extend((1..hops).map(|h| Asn((random(r + h) % 400_000) as u32)));
    out.set_as_path([(SegmentKind::Sequence, &path[..])]);
    if r & 64 != 0 {
        let n = 2 + random(r) % 18;
        let value: Vec<u8> = (0..n)
            .flat_map(|i| (random(r + i) as u32).to_be_bytes())
            .collect();
        out.set(flag::OPTIONAL | flag::TRANSITIVE, code::COMMUNITIES, &value);
    }
    let value: Vec<u8> = (0..4)
        .flat_map(|i| (random(r * 3 + i) as u32).to_be_bytes())
        .collect();
    out.set(flag::OPTIONAL | flag::TRANSITIVE, 99, &value);
}

/// Prepends, and sets the next hop.
struct Ebgp;

impl Export<V4> for Ebgp {
    fn by_prefix(&self, _: GroupId) -> bool {
        false
    }

    fn export(&mut self, _: GroupId, _: V4, _: &Path, v: View<'_>, out: &mut AttrBuf) -> bool {
        out.copy_from(v);
        out.remove(code::MED);
        out.prepend(SegmentKind::Sequence, Asn(64500), 1);
        out.next_hop = Some(NextHop::V4([10, 255, 0, 1].into()));
        true
    }
}

/// Encodes, and throws it away.
struct Wire {
    encoder: Encoder,
    context: Context,
    out: Vec<u8>,
    octets: usize,
    routes: usize,
    copies: usize,
    withdrawn: usize,
    runs: usize,
}

impl Wire {
    fn new() -> Self {
        let families = FamilySet::from_iter([Family::Ipv4Unicast]);
        Self {
            encoder: Encoder::new(),
            context: Context::new(Relation::External, families),
            out: Vec::new(),
            octets: 0,
            routes: 0,
            copies: 0,
            withdrawn: 0,
            runs: 0,
        }
    }
}

impl Sink<V4> for Wire {
    fn room(&mut self, _: PeerId) -> Room {
        Room::Yes
    }

    fn announce(&mut self, to: &Audience<'_>, v: View<'_>, run: &[(PathId, V4)]) {
        self.runs += 1;
        self.routes += run.len();
        self.copies += run.len() * to.iter().count();
        self.out.clear();
        let (context, out) = (&self.context, &mut self.out);
        let mut p = self
            .encoder
            .announce(v, Family::Ipv4Unicast, context, out)
            .expect("fits");
        for (id, k) in run {
            p.ipv4(*id, (*k).into()).expect("of the family");
        }
        p.finish();
        self.octets += self.out.len();
    }

    fn withdraw(&mut self, _: &Audience<'_>, run: &[(PathId, V4)]) {
        self.withdrawn += run.len();
    }

    fn end_of_rib(&mut self, _: PeerId) {}
}

fn resident() -> usize {
    let s = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    s.split(' ')
        .nth(1)
        .and_then(|n| n.parse::<usize>().ok())
        .unwrap_or(0)
        * 4096
}

struct Bench {
    rib: Rib,
    group: GroupId,
    wire: Wire,
    changes: usize,
    times: [Duration; 4],
}

impl Bench {
    fn new(peers: u16, members: impl Iterator<Item = u16>) -> Self {
        let mut rib = Rib::new();
        for p in 0..peers {
            let info = bgp::rib::PeerInfo {
                relation: Relation::External,
                local: false,
                leaked: false,
                client: false,
                router_id: RouterId::new([1, 1, 1, p as u8 + 1].into()).expect("not zero"),
                address: [10, 1, 0, p as u8 + 1].into(),
            };
            rib.common.peers.set(PeerId(p), info);
        }
        let group = rib.v4.add_group(Advertise::Best);
        members.for_each(|m| rib.v4.join(group, PeerId(m)));
        Self {
            rib,
            group,
            wire: Wire::new(),
            changes: 0,
            times: [Duration::ZERO; 4],
        }
    }

    /// The prefixes of a peer from `from` on, as UPDATEs; how many.
    fn updates(
        &mut self,
        p: u16,
        keys: &[V4],
        from: usize,
        most: usize,
        buf: &mut AttrBuf,
    ) -> usize {
        let mut at = from;
        while at < keys.len() && at < from + most {
            let set = (at as f64 / PER_SET) as u64;
            let end = (((set + 1) as f64 * PER_SET).ceil() as usize).clamp(at + 1, keys.len());
            attributes(p, set, buf);
            let t = Instant::now();
            let common = &mut self.rib.common;
            let pre = common.store.intern(buf.view());
            let wanted: Vec<_> = common.store.hops.events().collect();
            for e in wanted {
                if let HopEvent::Wanted(id, ..) = e {
                    self.rib.set_next_hop(id, Some(1));
                }
            }
            let common = &mut self.rib.common;
            let some = keys[at..end].iter().map(|k| (0, *k));
            self.rib
                .v4
                .announce_all(common, some, |_, path_id, _| Announce {
                    peer: PeerId(p),
                    path_id,
                    pre,
                    post: Some(pre),
                    now: 1,
                });
            common.store.release(pre);
            self.times[0] += t.elapsed();
            at = end;
        }
        at - from
    }

    /// One turn of the loop behind the reading; true: there is more.
    fn turn(&mut self, budget: usize) -> bool {
        let (t0, changes) = (Instant::now(), &mut self.changes);
        let (common, v4) = (&mut self.rib.common, &mut self.rib.v4);
        if v4.working() {
            v4.work(common, budget * 4, &mut |_: &mut _, _, _, _, _| None);
        }
        let t1 = Instant::now();
        v4.drain(common, budget, |_, c| *changes += c.best.len());
        let t2 = Instant::now();
        let more = v4.advertise(common, self.group, budget, &mut Ebgp, &mut self.wire);
        self.times[1] += t1 - t0;
        self.times[2] += t2 - t1;
        self.times[3] += t2.elapsed();
        more || v4.working() || v4.waiting() > 0
    }

    fn report(&self, name: &str, paths: usize, before: usize) {
        let ns = |d: Duration| d.as_nanos() as f64 / paths as f64;
        let sum: Duration = self.times.iter().sum();
        let grown = resident().saturating_sub(before);
        println!(
            "{name}: {:.3} s, {:.0} ns a path (in {:.0}, work {:.0}, decide {:.0}, tell {:.0}); {:.1} octets a path resident ({:.1} store, {:.1} table); {} sets; told {} in {} runs, {} withdrawn, {:.1} MB",
            sum.as_secs_f64(),
            ns(sum),
            ns(self.times[0]),
            ns(self.times[1]),
            ns(self.times[2]),
            ns(self.times[3]),
            grown as f64 / paths as f64,
            self.rib.common.store.memory() as f64 / paths as f64,
            self.rib.v4.memory() as f64 / paths as f64,
            self.rib.common.store.len(),
            self.wire.routes,
            self.wire.runs,
            self.wire.withdrawn,
            self.wire.octets as f64 / 1e6,
        );
    }
}

/// `peers` neighbours with the same `n` prefixes, who come at the same time, or one after the other.
fn fill(name: &str, peers: u16, n: usize, together: bool) -> Bench {
    let keys = prefixes(n);
    let mut buf = AttrBuf::new();
    let before = resident();
    let members: Vec<u16> = if peers == 1 {
        vec![99]
    } else {
        (0..peers).collect()
    };
    let mut b = Bench::new(peers, members.into_iter());
    let mut at = vec![0; usize::from(peers)];
    loop {
        let mut more = false;
        for p in 0..peers {
            let from = at[usize::from(p)];
            if from < n {
                at[usize::from(p)] += b.updates(p, &keys, from, 4000, &mut buf);
                more = true;
                if !together {
                    break;
                }
            }
        }
        b.turn(20_000);
        if !more && !b.turn(20_000) {
            break;
        }
    }
    b.report(name, n * usize::from(peers), before);
    b
}

fn failover() {
    let keys = prefixes(1_000_000);
    let mut other = keys.clone();
    // The second has the same routes, but others of them share attributes.
    for i in (1..other.len()).rev() {
        other.swap(i, (random(i as u64 ^ 99) % (i as u64 + 1)) as usize);
    }
    let mut buf = AttrBuf::new();
    let before = resident();
    let mut b = Bench::new(2, [99].into_iter());
    for (p, keys) in [(1, &other), (0, &keys)] {
        let mut at = 0;
        while at < keys.len() {
            at += b.updates(p, keys, at, 4000, &mut buf);
            b.turn(20_000);
        }
    }
    while b.turn(20_000) {}
    b.report("failover, before", 2_000_000, before);
    (b.times, b.wire) = ([Duration::ZERO; 4], Wire::new());
    let t = Instant::now();
    b.rib.v4.peer_down(&mut b.rib.common, PeerId(0));
    let mut longest = Duration::ZERO;
    loop {
        let t = Instant::now();
        let more = b.turn(20_000);
        longest = longest.max(t.elapsed());
        if !more {
            break;
        }
    }
    b.report("failover", 1_000_000, before);
    println!(
        "failover: {:.3} s, longest turn {:.1} ms",
        t.elapsed().as_secs_f64(),
        longest.as_secs_f64() * 1e3
    );
}

/// Single changes in a table of 500,000: what one takes from the first octet read to the encoded message.
fn churn() {
    let n = 500_000;
    let keys = prefixes(n);
    let mut b = fill("churn, before", 2, n, true);
    let mut buf = AttrBuf::new();
    let mut times: Vec<Duration> = (0..50_000u64)
        .map(|i| {
            attributes(0, i + 10_000_000, &mut buf);
            let t = Instant::now();
            let common = &mut b.rib.common;
            let pre = common.store.intern(buf.view());
            let a = Announce {
                peer: PeerId(0),
                path_id: 0,
                pre,
                post: Some(pre),
                now: 2,
            };
            b.rib.v4.announce(common, keys[random(i) as usize % n], a);
            common.store.release(pre);
            b.turn(20_000);
            t.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |f: f64| times[(times.len() as f64 * f) as usize].as_nanos() as f64 / 1e3;
    println!(
        "churn: p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, most {:.1} us",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.999_999)
    );
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let wants = |name: &str| asked.is_empty() || asked.iter().any(|a| a == name);
    if wants("1x1M") {
        fill("1x1M", 1, 1_000_000, true);
    }
    if wants("10x100k") {
        fill("10x100k", 10, 100_000, true);
    }
    if wants("30x100k") {
        fill("30x100k", 30, 100_000, true);
    }
    if wants("4x1M") {
        fill("4x1M", 4, 1_000_000, true);
    }
    if wants("4x1M-after") {
        fill("4x1M one after the other", 4, 1_000_000, false);
    }
    if wants("failover") {
        failover();
    }
    if wants("churn") {
        churn();
    }
}
