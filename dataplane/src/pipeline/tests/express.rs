//! The express lane against the stages proper: whatever comes in, the same goes out and is counted.

use super::law::{frames, harm, rig, spoil};
use super::packets::*;
use super::rig::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;

/// What a run gave, in an order that does not depend on which way a frame took.
fn run(rig: &mut Rig, express: bool, port: u16, frames: &[Vec<u8>]) -> Seen {
    rig.pipeline.express = express;
    rig.now += 1_000_000_000; // the ICMP bucket is full
    let mut seen = rig.run(port, frames);
    seen.sent
        .sort_by(|a, b| (a.iface, &a.frame).cmp(&(b.iface, &b.frame)));
    seen.up.sort_by(|a, b| a.frame.cmp(&b.frame));
    seen
}

#[track_caller]
fn same(rig: &mut Rig, port: u16, frames: &[Vec<u8>]) {
    let (with, without) = (run(rig, true, port, frames), run(rig, false, port, frames));
    let only = |a: &[Sent], b: &[Sent]| a.iter().find(|s| !b.contains(s)).cloned();
    assert_eq!(
        only(&with.sent, &without.sent),
        None,
        "sent only by the express lane"
    );
    assert_eq!(
        only(&without.sent, &with.sent),
        None,
        "sent only by the stages"
    );
    assert_eq!(with.sent.len(), without.sent.len());
    assert_eq!(with.up, without.up);
    assert_eq!(with.drops, without.drops);
    assert_eq!(with.counts, without.counts);
}

#[test]
fn spoilt_frames_fare_the_same() {
    let seeds = frames();
    let rig = RefCell::new(rig());
    let one = (
        any::<prop::sample::Index>(),
        prop::collection::vec(harm(), 0..3),
    );
    let burst = (0u16..4, prop::collection::vec(one, 1..80));
    let config = Config {
        cases: 2500,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&burst, |(port, burst)| {
            let ours: Vec<_> = seeds.iter().filter(|s| s.0 == port).collect();
            let pick = |i: prop::sample::Index| match ours.len() {
                0 => &seeds[i.index(seeds.len())],
                n => ours[i.index(n)],
            };
            let frame = |(seed, harms): (_, Vec<_>)| {
                let mut frame = pick(seed).1.clone();
                harms.into_iter().for_each(|h| spoil(&mut frame, h, &seeds));
                frame.truncate(9000);
                frame
            };
            let frames: Vec<_> = burst.into_iter().map(frame).collect();
            same(&mut rig.borrow_mut(), port, &frames);
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_byte_of_a_header_counts() {
    let mut rig = rig();
    for (port, frame) in frames() {
        let changed = |(at, v): (usize, u8)| {
            let mut f = frame.clone();
            f[at] = v;
            if f.len() > 34 && f[12..14] == [8, 0] && !(24..26).contains(&at) {
                fix4(&mut f[14..]);
            }
            f
        };
        let values = |at: usize| {
            let old = frame[at];
            [0, 1, 0xff, old ^ 1, old ^ 0x80, old.wrapping_sub(1)].map(|v| (at, v))
        };
        let some: Vec<_> = (0..frame.len().min(60))
            .flat_map(values)
            .map(changed)
            .collect();
        same(&mut rig, port, &some);
        let cut: Vec<_> = (14..frame.len().min(90))
            .map(|n| frame[..n].to_vec())
            .collect();
        same(&mut rig, port, &cut);
    }
}

#[test]
fn ordinary_frames_take_it() {
    let mut rig = Rig::new();
    let udp = |dst: &str| udp4("10.0.0.9", dst, 64, 18);
    let lan = [
        from_lan(0x0800, &udp("192.0.2.1")),
        from_lan(0x0800, &udp("203.0.113.1")),
        from_lan(0x0800, &udp("172.20.0.1")),
        from_lan(0x86dd, &udp6("2001:db8::9", "2001:db8:a::1", 64, 18)),
        // These do not: TTL, an unknown neighbour, an option, no route.
        from_lan(0x0800, &udp4("10.0.0.9", "192.0.2.1", 1, 18)),
        from_lan(0x0800, &udp("10.0.1.99")),
        from_lan(
            0x0800,
            &with_options("10.0.0.9", "192.0.2.1", 9, &[148, 4, 0, 0]),
        ),
        from_lan(0x0800, &udp("8.8.8.8")),
    ];
    let [yes, no] = [true, false];
    assert_eq!(rig.expressed(0, &lan), [yes, yes, yes, yes, no, no, no, no]);
    let labelled = |label| {
        let packet = labelled(&[(label, 0, 9)], &udp("9.9.9.9"));
        eth(CORE_MAC, CPEER_MAC, 0x8847, &packet)
    };
    assert_eq!(rig.expressed(2, &[labelled(300), labelled(999)]), [yes, no]);
}
