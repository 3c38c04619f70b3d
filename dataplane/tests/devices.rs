//! The runtime over DPDK's own software devices: net_pcap, net_null, net_ring. Each test is a process of its own (one EAL
//! a process): nextest.

mod common;

use common::*;
use dataplane::port::PortSpec;
use net::{IfaceId, PortId};
use std::time::Duration;

fn spec(device: &str) -> PortSpec {
    PortSpec::new(device.parse().unwrap())
}

/// A capture file, as `tcpdump -w` makes them: draft-ietf-opsawg-pcap.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![];
    out.extend(0xa1b2_c3d4u32.to_ne_bytes());
    out.extend([2u16.to_ne_bytes(), 4u16.to_ne_bytes()].concat());
    out.extend([0u32, 0, 65_535, 1].map(u32::to_ne_bytes).concat());
    for f in frames {
        let n = f.len() as u32;
        out.extend([0, 0, n, n].map(u32::to_ne_bytes).concat());
        out.extend(f);
    }
    out
}

/// How many frames are in a capture file.
fn frames_in(pcap: &[u8]) -> usize {
    let (mut rest, mut n) = (&pcap[24..], 0);
    while let Some(len) = rest.get(8..12) {
        let len = u32::from_ne_bytes(len.try_into().unwrap()) as usize;
        rest = &rest[16 + len..];
        n += 1;
    }
    n
}

#[test]
fn a_capture_file_goes_through_whole() {
    let dir = std::env::temp_dir().join(format!("tl-work-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (from, to) = (dir.join("in.pcap"), dir.join("out.pcap"));
    let mut lab = Lab::new(2, &[]);
    // Ids are given in turn: the second port will be 1.
    let frame = |what: u8, i: usize| [&[what, 1][..], &[0; 58 - 1], &[i as u8]].concat();
    let kinds = [FORWARD, FORWARD, PUNT, DROP, DOUBLE];
    let frames: Vec<_> = (0..1000).map(|i| frame(kinds[i % 5], i)).collect();
    std::fs::write(&from, pcap(&frames)).unwrap();
    let a = lab
        .dp
        .open_port(&spec(&format!("dpdk:net_pcap0,rx_pcap={}", from.display())))
        .unwrap();
    let b = lab
        .dp
        .open_port(&spec(&format!("dpdk:net_pcap1,tx_pcap={}", to.display())))
        .unwrap();
    assert_eq!((a, b), (PortId(0), PortId(1)));
    lab.publish();
    let c = lab.at_rest(1200);
    assert_eq!(
        (c.rx_packets, c.created, c.tx_packets, c.punted, c.dropped()),
        (1000, 200, 800, 200, 200)
    );
    lab.dp.close_port(b).unwrap();
    assert_eq!(frames_in(&std::fs::read(&to).unwrap()), 800);
    lab.dp.shutdown().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_endless_device_is_closed_under_load_and_opened_again() {
    let mut lab = Lab::new(2, &[]);
    let steady = lab.dp.open_port(&spec("dpdk:net_null0,size=64")).unwrap();
    let mut last = 0;
    for _ in 0..5 {
        let coming = lab.dp.open_port(&spec("dpdk:net_null1,size=64")).unwrap();
        lab.publish();
        eventually("frames of both", || {
            let (a, b) = (
                lab.dp.counts(IfaceId(steady.0)),
                lab.dp.counts(IfaceId(coming.0)),
            );
            (a.rx_packets > last + 1000 && b.rx_packets > 1000)
                .then_some(())
                .ok_or(format!("{a:?} {b:?}"))
        });
        last = lab.dp.counts(IfaceId(steady.0)).rx_packets;
        lab.dp.publish_interfaces(table(&[steady])).unwrap();
        lab.dp.close_port(coming).unwrap();
        let c = lab.dp.counts(IfaceId(coming.0));
        assert_eq!(c.entered(), c.left(), "at rest for good: {c:?}");
    }
    lab.dp.shutdown().unwrap();
    let c = lab.dp.totals();
    assert_eq!(c.entered(), c.left(), "{c:?}");
    assert!(c.rx_packets > 10_000);
    assert_eq!(lab.pool.in_use(), 0);
}

#[test]
fn a_ring_device_gives_back_what_it_was_sent() {
    let mut lab = Lab::new(1, &[1]);
    let ring = lab.dp.open_port(&spec("dpdk:net_ring0")).unwrap();
    lab.publish();
    // To the ring, which is received again, and forwarded to it again, round and round.
    for _ in 0..10 {
        send(&lab.wires[0], 0, || lab.frame(FORWARD, ring, &[]));
    }
    eventually("many rounds", || {
        let c = lab.dp.counts(IfaceId(ring.0));
        (c.rx_packets > 10_000)
            .then_some(())
            .ok_or(format!("{c:?}"))
    });
    lab.dp.publish_interfaces(table(&lab.ids)).unwrap();
    lab.dp.close_port(ring).unwrap();
    std::thread::sleep(Duration::from_millis(1));
    let c = lab.dp.totals();
    assert_eq!(c.entered(), c.left(), "{c:?}");
}

#[test]
fn a_device_that_is_not_there_changes_nothing() {
    let mut lab = Lab::new(1, &[1]);
    for device in [
        "af_packet:tl-none",
        "dpdk:net_nosuch0",
        "dpdk:net_pcap0,rx_pcap=/no/such/file",
    ] {
        let Ok(device) = device.parse() else { continue };
        let e = lab
            .dp
            .open_port(&PortSpec::new(device))
            .unwrap_err()
            .to_string();
        assert!(e.len() > 20, "{e}");
    }
    assert_eq!(lab.dp.open_ports(), lab.ids);
    send(&lab.wires[0], 0, || lab.frame(FORWARD, lab.ids[0], &[]));
    assert_eq!(lab.at_rest(1).tx_packets, 1);
}
