//! What policies and the RPKI cost: `cargo run --release -p trunkline-bgp --example policy-speed`.
//!
//! Prefixes are made up, in the shape of a routing registry's: most are /24, bunched in a third of the /16s.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use bgp::attrs::{AttrBuf, Origin, SegmentKind};
use bgp::policy::{
    Input, Peer, Policies, PolicySpec, PrefixRange, PrefixSet, Protocol, RuleSpec, Sets, Word,
    read_list,
};
use bgp::rpki::{CacheId, RoaTable, Validity, Vrp, route_origin};
use bgp::types::{Asn, Family, NextHop, Relation};
use ipnet::IpNet;

const MILLION: usize = 1_000_000;

/// Marsaglia's xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn net4(r: &mut Random) -> IpNet {
    let n = r.next();
    // A third of the space is in use.
    let high = ((n >> 32) as u32 % 20_000).wrapping_mul(0x9e37_79b1) & 0xffff_0000;
    let len = [24, 24, 24, 24, 24, 23, 22, 22, 21, 20, 19, 16][n as usize % 12];
    let a = high | (n >> 8) as u32 & 0xffff;
    let address = IpAddr::V4(Ipv4Addr::from(a));
    IpNet::new(address, len).map_or(address.into(), |p| p.trunc())
}

fn net6(r: &mut Random) -> IpNet {
    let n = r.next();
    let len = [48, 48, 48, 48, 32, 32, 44, 40, 36, 29][n as usize % 10];
    let a = 0x2a00_u128 << 112 | u128::from(n & 0x03ff_ffff_ffff) << 64 >> 2;
    let address = IpAddr::V6(Ipv6Addr::from(a));
    IpNet::new(address, len).map_or(address.into(), |p| p.trunc())
}

/// Nanoseconds each of `n` took, the least of five rounds.
fn least(n: usize, mut f: impl FnMut()) -> f64 {
    let round = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_nanos() as f64 / n as f64
    };
    (0..5).map(round).fold(f64::INFINITY, f64::min)
}

fn sets() -> PrefixSet {
    let mut r = Random(7);
    let mut text = String::new();
    for i in 0..MILLION {
        let p = if i % 6 == 0 {
            net6(&mut r)
        } else {
            net4(&mut r)
        };
        let _ = match p {
            IpNet::V4(_) if i % 2 == 0 => writeln!(text, "{p} le 24"),
            _ => writeln!(text, "{p}"),
        };
    }
    let start = Instant::now();
    let entries: Vec<PrefixRange> = read_list(&text, 1).unwrap_or_default();
    let read = start.elapsed();
    let set = PrefixSet::new(entries);
    println!(
        "prefix set of a million lines: read {:.0} ms, built {:.0} ms, {:.1} MB",
        read.as_secs_f64() * 1e3,
        (start.elapsed() - read).as_secs_f64() * 1e3,
        set.bytes() as f64 / 1e6
    );
    set
}

fn asked(n: usize, six: bool) -> Vec<IpNet> {
    let mut r = Random(7);
    let mut all: Vec<IpNet> = (0..n)
        .map(|i| match (six, i % 2) {
            (true, _) => net6(&mut r),
            (false, 0) => net4(&mut r),
            _ => IpAddr::V4(Ipv4Addr::from(r.next() as u32)).into(),
        })
        .collect();
    // Not in the order in which they were made.
    for i in (1..n).rev() {
        all.swap(i, r.next() as usize % (i + 1));
    }
    all
}

fn route(r: &mut Random) -> AttrBuf {
    let mut b = AttrBuf::new();
    b.set_origin(Origin::Igp);
    let path: Vec<Asn> = (0..4).map(|_| Asn(1 + r.next() as u32 % 80_000)).collect();
    b.set_as_path([(SegmentKind::Sequence, &path[..])]);
    b.set_med(1);
    let communities: Vec<u8> = (0..3)
        .flat_map(|_| (r.next() as u32).to_be_bytes())
        .collect();
    b.set(0xc0, 8, &communities);
    b.next_hop = Some(NextHop::V4(Ipv4Addr::new(198, 51, 100, 1)));
    b
}

fn rule(matches: &[(&str, &str)], set: &[(&str, &str)], action: &str) -> RuleSpec {
    let mut spec = RuleSpec::default();
    let word = |w: &str| [Word::Text(w.to_owned().into())];
    for (key, w) in matches {
        spec.matches
            .put(key, &word(w))
            .unwrap_or_else(|e| panic!("{}", e.message));
    }
    for (key, w) in set {
        spec.set
            .put(key, &word(w))
            .unwrap_or_else(|e| panic!("{}", e.message));
    }
    spec.action = action.parse().unwrap_or_default();
    spec
}

fn policies(set: PrefixSet) {
    let mut sets = Sets::default();
    sets.prefix.insert("irr".into(), set.into());
    let rules = vec![
        rule(
            &[("as-path", "[64512-65534 4200000000-4294967294]")],
            &[],
            "reject",
        ),
        rule(&[("path-length", "ge 50")], &[], "reject"),
        rule(&[("rpki", "invalid")], &[], "reject"),
        rule(
            &[("community", "graceful-shutdown")],
            &[("local-pref", "0")],
            "next",
        ),
        rule(
            &[("prefix-set", "irr")],
            &[("local-pref", "200"), ("add-community", "64512:100")],
            "accept",
        ),
    ];
    let spec = PolicySpec {
        rules,
        default: false,
    };
    let specs = BTreeMap::from([("p".to_owned(), spec)]);
    let all = Policies::compile(&specs, &sets, &Policies::default());
    let Some(policy) = all.ok().and_then(|all| all.get("p").cloned()) else {
        panic!("the policy is good");
    };
    let mut r = Random(9);
    let routes: Vec<AttrBuf> = (0..1000).map(|_| route(&mut r)).collect();
    let nets = asked(100_000, false);
    let peer = Peer {
        address: Ipv4Addr::new(198, 51, 100, 1).into(),
        asn: Asn(64500),
        local_as: Asn(64512),
        relation: Relation::External,
        group: None,
    };
    let mut buf = AttrBuf::new();
    let mut taken = 0;
    let ns = least(nets.len(), || {
        taken = 0;
        for (i, prefix) in nets.iter().enumerate() {
            let input = Input {
                family: Family::Ipv4Unicast,
                prefix: Some(*prefix),
                view: routes[i % routes.len()].view(),
                peer,
                protocol: Protocol::Bgp,
                from: None,
                rpki: Validity::NotFound,
                igp_metric: None,
            };
            taken += usize::from(policy.run(black_box(&input), &mut buf).accept);
        }
    });
    println!(
        "policy of five rules: {ns:.0} ns a route, {taken} of {} taken",
        nets.len()
    );
    let ns = least(nets.len(), || {
        for prefix in &nets {
            black_box(policy.prefix_key(Some(*prefix), Validity::NotFound));
        }
    });
    println!("its key of a prefix: {ns:.0} ns");
}

fn rpki() {
    let mut r = Random(7);
    let mut table = RoaTable::new();
    let cache = CacheId::new(0).unwrap_or_else(|| unreachable!("0 is a cache"));
    let vrps: Vec<Vrp> = (0..800_000)
        .map(|i| {
            let prefix = if i % 4 == 0 {
                net6(&mut r)
            } else {
                net4(&mut r)
            };
            Vrp {
                prefix,
                max_len: prefix.prefix_len().max(24),
                asn: Asn(r.next() as u32 % 80_000),
            }
        })
        .collect();
    let start = Instant::now();
    for v in &vrps {
        table.stage(cache, v);
    }
    let staged = start.elapsed();
    table.commit(cache);
    println!(
        "800,000 payloads ({} different): staged {:.0} ms, committed {:.0} ms, {:.1} MB",
        table.len(),
        staged.as_secs_f64() * 1e3,
        (start.elapsed() - staged).as_secs_f64() * 1e3,
        table.bytes() as f64 / 1e6
    );
    let routes: Vec<AttrBuf> = (0..1000).map(|_| route(&mut r)).collect();
    for (name, nets) in [
        ("IPv4", asked(MILLION, false)),
        ("IPv6", asked(MILLION, true)),
    ] {
        let mut counts = [0; 3];
        let ns = least(nets.len(), || {
            counts = [0; 3];
            for (i, p) in nets.iter().enumerate() {
                let path = routes[i % routes.len()].view().as_path();
                counts[table.validate(p, route_origin(path, Asn(1))) as usize] += 1;
            }
        });
        println!("origin validation, {name}: {ns:.0} ns a route {counts:?}");
    }
}

fn main() {
    let set = sets();
    for (name, nets) in [
        ("IPv4", asked(MILLION, false)),
        ("IPv6", asked(MILLION, true)),
    ] {
        let mut found = 0;
        let ns = least(nets.len(), || {
            found = nets.iter().filter(|p| set.contains(p)).count()
        });
        println!("lookup, {name}: {ns:.0} ns, {found} of a million found");
    }
    policies(set);
    rpki();
}
