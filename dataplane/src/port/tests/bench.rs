//! Figures of this machine, to be read, not asserted: `cargo nextest run -p trunkline-dataplane --run-ignored only
//! --no-capture -E 'test(figures)'`.

use super::kernel::{resident_kib, veth};
use super::*;

/// Nanoseconds of a call that finds nothing.
fn empty_poll(rx: &mut AnyRx) -> f64 {
    const CALLS: u32 = 2_000_000;
    let mut burst = Burst::new();
    let start = Instant::now();
    for _ in 0..CALLS {
        rx.rx(&mut burst);
        burst.clear();
    }
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

/// Thousand frames a second through the two halves of a port, sent and received by this thread.
fn through(out: &mut AnyTx, back: &mut AnyRx, pool: &Mempool, len: usize) -> f64 {
    let (mut sent, mut seen) = (0u64, 0u64);
    let bytes = frame(0x88b5, len, 0);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let mut burst = Burst::new();
        for _ in 0..32 {
            burst.extend(pool.alloc_from(&bytes));
        }
        sent += out.tx(&mut burst) as u64;
        burst.clear();
        back.rx(&mut burst);
        seen += burst.len() as u64;
    }
    assert!(seen > 0 && seen <= sent);
    seen as f64 / start.elapsed().as_secs_f64() / 1000.0
}

#[test]
#[ignore = "figures to be read"]
fn figures() {
    if !own_network() {
        return;
    }
    veth(1);
    run("ip link set pb mtu 1540");
    let rss = resident_kib();
    let start = Instant::now();
    let eal = eal();
    println!(
        "EAL: {:?}, {} KiB resident (before: {rss})",
        start.elapsed(),
        resident_kib()
    );
    let mut pools = Pools::new(16383, 63);
    for kind in ["af_packet", "af_xdp"] {
        let start = Instant::now();
        let mut a = Open::new(&eal, &spec(&format!("{kind}:pa")), 0, &mut pools).unwrap();
        let opened = start.elapsed();
        let mut b = Open::new(&eal, &spec(&format!("{kind}:pb")), 1, &mut pools).unwrap();
        println!(
            "{kind}: opened in {opened:?}; with two ports {} KiB resident",
            resident_kib()
        );
        println!("{kind}: empty poll {:.1} ns", empty_poll(&mut a.rx[0]));
        for len in [60, 1514] {
            let kpps = through(&mut a.tx[0], &mut b.rx[0], &a.pool, len);
            println!(
                "{kind}: {len} bytes: {kpps:.0} thousand frames a second, one thread both ends"
            );
        }
        println!("{kind}: {:?}", b.port.stats());
        a.close().unwrap();
        let start = Instant::now();
        b.close().unwrap();
        println!("{kind}: closed in {:?}", start.elapsed());
    }
    let mut ring = Open::new(&eal, &spec("dpdk:net_ring0"), 2, &mut pools).unwrap();
    println!("net_ring: empty poll {:.1} ns", empty_poll(&mut ring.rx[0]));
    let kpps = through(&mut ring.tx[0], &mut ring.rx[0], &ring.pool, 60);
    println!("net_ring: {kpps:.0} thousand frames a second");
}
