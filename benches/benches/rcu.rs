//! A quick look at what sharing costs: a report, a read, a frame through a ring. `cargo testbed bench rcu` compares with
//! rivals, and goes from core to core.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rcu::{Cell, Domain, ring};

fn qsbr(c: &mut Criterion) {
    let domain = Domain::new();
    let mut reader = domain.register("bench");
    let mut writer = domain.writer().expect("the only one");
    let cell = Cell::new(&domain, Box::new(7u64));
    let mut g = c.benchmark_group("rcu");
    g.bench_function("quiescent", |b| {
        b.iter(|| black_box(&mut reader).quiescent())
    });
    g.bench_function("quiescent-after-advance", |b| {
        b.iter(|| {
            writer.advance();
            black_box(&mut reader).quiescent();
        });
    });
    g.bench_function("offline-online", |b| {
        b.iter(|| {
            black_box(&mut reader).offline();
            reader.online();
        });
    });
    g.bench_function("read", |b| b.iter(|| *black_box(&cell).read(&reader)));
    g.bench_function("publish-reclaim", |b| {
        b.iter(|| {
            cell.publish(&mut writer, Box::new(8));
            reader.quiescent();
            writer.reclaim()
        });
    });
}

fn rings(c: &mut Criterion) {
    let mut g = c.benchmark_group("ring");
    g.throughput(Throughput::Elements(1));
    for burst in [1usize, 32] {
        g.bench_function(BenchmarkId::new("one-thread", burst), |b| {
            let (mut tx, mut rx) = ring::spsc::<u64>(1024);
            b.iter_custom(|items| {
                let start = Instant::now();
                for _ in 0..items.div_ceil(burst as u64) {
                    tx.push_burst(&mut (0..burst as u64));
                    black_box(rx.drain(burst).map(black_box).count());
                }
                start.elapsed()
            });
        });
    }
}

criterion_group! {
    name = all;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = qsbr, rings
}
criterion_main!(all);
