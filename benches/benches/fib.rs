//! Lookups and changes at full table: 1,168,945 IPv4 and 279,855 IPv6 prefixes over 1,000 groups, unless `TABLE4` or
//! `TABLE6` names a file.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::table::{self, Prefix};
use benches::traffic::{Kind, destinations, indexes};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fib::{Discard, FibError, FibWriter, Path, Target, View};
use net::{GroupId, Ip4Prefix, Ip6Prefix};
use rcu::Domain;

const GROUPS: usize = 1000;
const BURST: usize = 256;
/// Addresses in one measured step.
const STEP: usize = 16 * BURST;
/// Destinations of each kind: more than caches hold.
const DESTINATIONS: usize = 1 << 20;

trait Family: Prefix {
    const NAME: &str;
    type Addr: Copy;
    fn table() -> Vec<Self>;
    fn addr(a: u128) -> Self::Addr;
    fn set(w: &mut FibWriter, p: Self, g: GroupId) -> Result<(), FibError>;
    fn del(w: &mut FibWriter, p: Self) -> bool;
    fn one(v: View<'_>, a: Self::Addr) -> GroupId;
    fn burst(v: View<'_>, a: &[Self::Addr], out: &mut [GroupId]);
}

impl Family for Ip4Prefix {
    const NAME: &str = "ipv4";
    type Addr = u32;
    fn table() -> Vec<Self> {
        table::from_env("TABLE4", || table::ipv4(1, 1_168_945))
    }
    fn addr(a: u128) -> u32 {
        a as u32
    }
    fn set(w: &mut FibWriter, p: Self, g: GroupId) -> Result<(), FibError> {
        w.set4(p, g)
    }
    fn del(w: &mut FibWriter, p: Self) -> bool {
        w.del4(p)
    }
    fn one(v: View<'_>, a: u32) -> GroupId {
        v.lookup4(a)
    }
    fn burst(v: View<'_>, a: &[u32], out: &mut [GroupId]) {
        v.lookup4_burst(a, out);
    }
}

impl Family for Ip6Prefix {
    const NAME: &str = "ipv6";
    type Addr = u128;
    fn table() -> Vec<Self> {
        table::from_env("TABLE6", || table::ipv6(1, 279_855))
    }
    fn addr(a: u128) -> u128 {
        a
    }
    fn set(w: &mut FibWriter, p: Self, g: GroupId) -> Result<(), FibError> {
        w.set6(p, g)
    }
    fn del(w: &mut FibWriter, p: Self) -> bool {
        w.del6(p)
    }
    fn one(v: View<'_>, a: u128) -> GroupId {
        v.lookup6(a)
    }
    fn burst(v: View<'_>, a: &[u128], out: &mut [GroupId]) {
        v.lookup6_burst(a, out);
    }
}

/// Tables with groups and no prefixes.
fn empty() -> (Arc<Domain>, FibWriter, Vec<GroupId>) {
    let domain = Domain::new();
    let mut w = FibWriter::new(&[], &domain).expect("memory for the tables");
    let path = Path::to(Target::Discard(Discard::Blackhole));
    let groups = (0..GROUPS)
        .map(|_| w.add_group(&[(path.clone(), 1)]).expect("room"))
        .collect();
    (domain, w, groups)
}

fn group(groups: &[GroupId], i: usize) -> GroupId {
    groups[i.wrapping_mul(0x9e37_79b1) % groups.len()]
}

fn fill<F: Family>(w: &mut FibWriter, groups: &[GroupId], routes: &[F]) {
    for (i, &p) in routes.iter().enumerate() {
        F::set(w, p, group(groups, i)).expect("room");
    }
}

fn lookup<F: Family>(c: &mut Criterion) {
    let routes = F::table();
    let (domain, mut w, groups) = empty();
    fill(&mut w, &groups, &routes);
    eprintln!("{}: {} prefixes, {:?}", F::NAME, routes.len(), w.memory());
    let tables = w.replica(0);
    let reader = domain.register("bench");
    let mut g = c.benchmark_group(format!("lookup/{}", F::NAME));
    g.throughput(Throughput::Elements(STEP as u64));
    let kinds = Kind::ALL
        .into_iter()
        .map(|kind| (kind.name(), kind, DESTINATIONS));
    for (name, kind, n) in kinds.chain([("replay-64k", Kind::RouteRandom, 1 << 16)]) {
        let to: Vec<F::Addr> = destinations(2, kind, &routes, n)
            .into_iter()
            .map(F::addr)
            .collect();
        let mut steps = to.chunks_exact(STEP).cycle();
        g.bench_function(BenchmarkId::new("burst-256", name), |b| {
            let mut out = [GroupId::NONE; BURST];
            b.iter(|| {
                let view = tables.read(&reader);
                for burst in steps.next().expect("endless").chunks_exact(BURST) {
                    F::burst(view, burst, &mut out);
                    black_box(&out);
                }
            });
        });
        g.bench_function(BenchmarkId::new("single", name), |b| {
            b.iter(|| {
                let view = tables.read(&reader);
                for &ip in steps.next().expect("endless") {
                    black_box(F::one(view, ip));
                }
            });
        });
    }
}

fn change<F: Family>(c: &mut Criterion) {
    let routes = F::table();
    let mut g = c.benchmark_group(format!("change/{}", F::NAME));
    g.sample_size(10);
    g.throughput(Throughput::Elements(routes.len() as u64));
    g.bench_function("build", |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let (_domain, mut w, groups) = empty();
                let start = Instant::now();
                fill(&mut w, &groups, &routes);
                spent += start.elapsed();
            }
            spent
        });
    });

    let (domain, mut w, groups) = empty();
    fill(&mut w, &groups, &routes);
    let mut reader = domain.register("bench");
    let picks = indexes(3, routes.len(), 1 << 16);
    let mut picks = picks.iter().copied().cycle();
    g.throughput(Throughput::Elements(2));
    g.bench_function("delete-insert", |b| {
        b.iter(|| {
            let i = picks.next().expect("endless");
            F::del(&mut w, routes[i]);
            F::set(&mut w, routes[i], group(&groups, i)).expect("room");
            reader.quiescent();
            w.flush();
        });
    });
    g.throughput(Throughput::Elements(1));
    let mut turn = 0;
    g.bench_function("replace", |b| {
        b.iter(|| {
            turn += 1;
            let i = picks.next().expect("endless");
            F::set(&mut w, routes[i], group(&groups, i + turn)).expect("room");
        });
    });

    // One by one, for what a mean hides.
    let mut spent: Vec<Duration> = Vec::with_capacity(200_000);
    for i in picks.take(100_000) {
        let start = Instant::now();
        F::del(&mut w, routes[i]);
        let between = Instant::now();
        F::set(&mut w, routes[i], group(&groups, i)).expect("room");
        spent.extend([between - start, between.elapsed()]);
        reader.quiescent();
        w.flush();
    }
    spent.sort_unstable();
    let at = |part: f64| spent[((spent.len() - 1) as f64 * part) as usize];
    let (p50, p99, p999, max) = (at(0.5), at(0.99), at(0.999), at(1.0));
    eprintln!(
        "{}: a change: p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, max {max:?}",
        F::NAME
    );
}

criterion_group! {
    name = all;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = lookup::<Ip4Prefix>, lookup::<Ip6Prefix>, change::<Ip4Prefix>, change::<Ip6Prefix>
}
criterion_main!(all);
