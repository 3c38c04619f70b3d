//! A quick look at lookups and changes at full table, Trunkline alone: 1,168,945 IPv4 and 279,855 IPv6 prefixes over 1,000
//! groups. `cargo testbed bench fib` compares with rivals.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::time::Duration;

use benches::contest::{BURST, Contestant, Destinations, Ours};
use benches::family::Family;
use benches::table::prefixes;
use benches::tables::hop;
use benches::traffic::{Kind, destinations, indexes};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use net::{Ip4Prefix, Ip6Prefix};

const GROUPS: u32 = 1000;
/// Addresses in one measured step.
const STEP: usize = 16 * BURST;
/// Destinations of each kind: more than caches hold.
const DESTINATIONS: usize = 1 << 20;

fn family<F: Family>(c: &mut Criterion) {
    let routes = F::make(1, F::SIZE);
    let mut table = Ours::<F>::empty(GROUPS).expect("memory for the tables");
    let batch = table.batch(&routes, hop(GROUPS));
    table.apply(&batch).expect("room");

    let mut g = c.benchmark_group(format!("lookup/{}", F::NAME));
    g.throughput(Throughput::Elements(STEP as u64));
    for kind in Kind::ALL {
        let to = Destinations::new(&destinations(2, kind, &prefixes(&routes), DESTINATIONS));
        let mut steps = (0..DESTINATIONS).step_by(STEP).cycle();
        for burst in [1, BURST] {
            g.bench_function(
                BenchmarkId::new(format!("burst-{burst}"), kind.name()),
                |b| {
                    b.iter(|| {
                        let at = steps.next().expect("endless");
                        table.run(&to, at..at + STEP, burst);
                    });
                },
            );
        }
    }
    g.finish();

    let mut g = c.benchmark_group(format!("change/{}", F::NAME));
    g.throughput(Throughput::Elements(2));
    let picks = indexes(3, routes.len(), 1 << 16);
    let mut picks = picks.iter().map(|&i| &routes[i]).cycle();
    g.bench_function("delete-insert", |b| {
        b.iter(|| {
            let r = picks.next().expect("endless");
            table.del(r.prefix);
            table.set(r.prefix, hop(GROUPS)(r)).expect("room");
            table.settle();
        });
    });
}

criterion_group! {
    name = all;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = family::<Ip4Prefix>, family::<Ip6Prefix>
}
criterion_main!(all);
