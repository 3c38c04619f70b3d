//! How long the stages take for the packet that matters. Not a test that fails; run it on a release build:
//! `cargo nextest run -p trunkline-dataplane --release --run-ignored only --no-capture speed`

use super::packets::*;
use super::rig::*;
use crate::burst::Burst;
use crate::counters::{CounterBlock, WorkerCounters};
use crate::mbuf::Mbuf;
use crate::pipeline::{Output, PipelineConfig};
use net::{IfaceId, PortId};
use std::time::{Duration, Instant};

/// Keeps the frames, so that they can go again.
struct Keep {
    counters: WorkerCounters,
    frames: Burst,
}

impl Output for Keep {
    fn tx(&mut self, _: PortId, _: IfaceId, m: Mbuf) {
        self.frames.push(m).expect("no more than came in");
    }

    fn punt(&mut self, _: Mbuf) {
        panic!("nothing here is for the control thread");
    }

    fn counters(&mut self) -> &mut WorkerCounters {
        &mut self.counters
    }
}

/// Makes the frame of that number.
type Make<'a> = &'a dyn Fn(u32) -> Vec<u8>;

#[test]
#[ignore = "a measurement"]
fn cycles_of_a_64_byte_packet() {
    let mut rig = Rig::with(PipelineConfig::default());
    let far = |i: u32| format!("192.0.2.{}", i % 250);
    let v4 = |i| from_lan(0x0800, &udp4("10.0.0.9", &far(i), 64, 18));
    let ecmp = |i: u32| {
        from_lan(
            0x0800,
            &udp4_ports("10.0.0.9", "172.20.0.1", 64, (i as u16, 1), 18),
        )
    };
    let push = |_| from_lan(0x0800, &udp4("10.0.0.9", "203.0.113.1", 64, 18));
    let v6 = |i: u32| {
        from_lan(
            0x86dd,
            &udp6("2001:db8::9", &format!("2001:db8:a::{i:x}"), 64, 0),
        )
    };
    let swap = |_| {
        eth(
            CORE_MAC,
            CPEER_MAC,
            0x8847,
            &labelled(&[(300, 0, 9)], &udp4("10.0.0.9", "9.9.9.9", 64, 14)),
        )
    };
    let cases: [(&str, u16, Make<'_>); 5] = [
        ("IPv4", 0, &v4),
        ("IPv4, two paths", 0, &ecmp),
        ("IPv4, two labels pushed", 0, &push),
        ("IPv6", 0, &v6),
        ("label swapped", 2, &swap),
    ];
    for (what, port, make) in cases {
        let frames: Vec<_> = (0..64).map(make).collect();
        let mut out = Keep {
            counters: WorkerCounters::new(CounterBlock::new()),
            frames: Burst::new(),
        };
        let mut burst = Burst::new();
        frames
            .iter()
            .for_each(|f| burst.push(rig.buffer(f)).unwrap());
        let (mut best, mut sum) = (Duration::MAX, Duration::ZERO);
        let rounds = std::env::var("ROUNDS").map_or(200_000, |n| n.parse().unwrap());
        for _ in 0..rounds {
            for (m, f) in burst.iter_mut().zip(&frames) {
                m.reset();
                m.extend_from_slice(f).unwrap();
            }
            let then = Instant::now();
            rig.run_raw(port, &mut burst, &mut out);
            let took = then.elapsed();
            best = best.min(took);
            sum += took;
            assert_eq!(out.frames.len(), 64, "{what}");
            burst = out.frames.take();
        }
        let each = |d: Duration, n: u32| d.as_secs_f64() * 1e9 / 64.0 / f64::from(n);
        println!(
            "{what}: {:.1} ns a packet, {:.1} at best",
            each(sum, rounds),
            each(best, 1)
        );
    }
}
