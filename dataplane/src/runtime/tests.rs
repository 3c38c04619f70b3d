//! Frames through a worker that no port hands to one and no frame on a wire turns into: buffers of drivers that do not keep
//! what [`crate::port`] promises.

use super::*;
use crate::eal::Memory;
use crate::interface::Interface;
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;
use crate::pipeline::PipelineConfig;
use crate::port::{MemPort, MemWire};
use fib::{Adjacency, Path, Target};
use net::{Ip4Prefix, Label, MacAddr, PortId, VrfId};
use std::net::{Ipv4Addr, Ipv6Addr};

const ME: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

/// One worker between two ports in memory. Everything for 203.0.113.0/24 leaves by port 1, under eight labels.
struct Rig {
    wires: [MemWire; 2],
    pool: Arc<Mempool>,
    dp: Dataplane,
}

fn rig() -> Rig {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut dp = Dataplane::start(&Config {
        eal: EalConfig {
            memory: Memory::NoHuge,
            mem_mb: 128,
            ..EalConfig::default()
        },
        workers: vec![cpus - 1],
        poll: Poll::Adaptive,
        frames: 4095,
        jumbo_frames: 63,
        pipeline: PipelineConfig::default(),
    })
    .unwrap();
    let mut ifaces = Vec::new();
    let wires = [0u16, 1].map(|n| {
        let mem = MemPort::new(1, 64);
        let wire = mem.wire();
        let port = dp.open_mem_port(ME, 1500, mem).unwrap();
        assert_eq!(port, PortId(n));
        ifaces.push(Interface {
            id: IfaceId(n),
            port,
            vlan: None,
            mac: ME,
            mtu: 1500,
            mpls: false,
            up: true,
            vrf: VrfId::GLOBAL,
            link_local: ME.eui64_link_local(),
            v4: vec![(Ipv4Addr::new(10, 0, n as u8, 1), 24)],
            v6: Vec::<(Ipv6Addr, u8)>::new(),
            name: format!("i{n}"),
        });
        wire
    });
    let hop = Ipv4Addr::new(10, 0, 1, 9).into();
    let adj = Adjacency::incomplete(IfaceId(1), PortId(1), 1500, hop).complete(ME, PEER, None);
    let adj = dp.fib().add_adj(adj).unwrap();
    let mut path = Path::to(Target::Adjacency(adj));
    path.push = (100..108).filter_map(Label::new).collect();
    let group = dp.fib().add_group(&[(path, 1)]).unwrap();
    let prefix = Ip4Prefix::new(u32::from_be_bytes([203, 0, 113, 0]), 24).unwrap();
    dp.fib().set4(prefix, group).unwrap();
    dp.fib().flush();
    dp.publish_interfaces(InterfaceTable::new(ifaces).unwrap())
        .unwrap();
    let pool = dp.pools().iter().next().unwrap().clone();
    Rig { wires, pool, dp }
}

fn frame() -> Vec<u8> {
    let mut f = Vec::new();
    etherparse::PacketBuilder::ethernet2(PEER.0, ME.0)
        .ipv4([10, 0, 0, 9], [203, 0, 113, 7], 64)
        .udp(4000, 5000)
        .write(&mut f, &[0; 30])
        .unwrap();
    f
}

impl Rig {
    /// Lets a frame through, and the usual one after it, which must come out. Returns what was counted of port 0's
    /// interface meanwhile.
    fn pass(&mut self, m: Mbuf) -> Counts {
        let before = self.dp.totals();
        let usual = self.pool.alloc_from(&frame()).unwrap();
        assert!(self.wires[0].send(0, m) && self.wires[0].send(0, usual));
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut c = loop {
            let c = self.dp.totals();
            if c.entered() == before.entered() + 2 && c.left() == c.entered() {
                break c;
            }
            assert!(Instant::now() < deadline, "{c:?}");
            std::thread::sleep(Duration::from_micros(100));
        };
        let out = self.wires[1].recv(0).expect("the usual frame");
        assert_eq!(out.len(), frame().len() + 8 * 4);
        assert!(self.wires[1].recv(0).is_none());
        c.sub(&before);
        assert_eq!((c.rx_packets, c.tx_packets, c.dropped()), (2, 1, 1));
        c
    }
}

#[test]
fn a_frame_in_several_buffers_is_dropped_and_freed() {
    let mut r = rig();
    for segments in [2, 3, u16::MAX] {
        let mut m = r.pool.alloc_from(&frame()).unwrap();
        m.set_nb_segs(segments);
        let c = r.pass(m);
        assert_eq!(c.drops(Reason::MultiSegment), 1, "{c:?}");
    }
    r.dp.shutdown().unwrap();
    assert_eq!(r.pool.in_use(), 0);
}

#[test]
fn a_frame_without_room_for_its_labels_is_dropped_and_freed() {
    let mut r = rig();
    // Eight labels and a header take the place of a header, and 32 bytes before it.
    for (headroom, fits) in [(0, false), (31, false), (32, true)] {
        let mut m = r.pool.alloc().unwrap();
        let more = m.headroom() - headroom;
        let bytes = frame();
        m.prepend(more).unwrap()[..bytes.len()].copy_from_slice(&bytes);
        m.truncate(bytes.len());
        assert_eq!(m.headroom(), headroom);
        if fits {
            assert!(r.wires[0].send(0, m));
            let deadline = Instant::now() + Duration::from_secs(10);
            while r.wires[1].recv(0).is_none() {
                assert!(Instant::now() < deadline, "{:?}", r.dp.totals());
                std::thread::sleep(Duration::from_micros(100));
            }
        } else {
            let c = r.pass(m);
            assert_eq!(c.drops(Reason::NoHeadroom), 1, "{headroom}: {c:?}");
        }
    }
    r.dp.shutdown().unwrap();
    assert_eq!(r.pool.in_use(), 0);
}

/// No cache line that a worker writes for each frame is another's, nor its neighbour, which is fetched with it.
#[test]
fn workers_share_no_line_that_they_write() {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let dp = Dataplane::start(&Config {
        eal: EalConfig {
            memory: Memory::NoHuge,
            mem_mb: 128,
            ..EalConfig::default()
        },
        workers: (0..4).map(|i| i % cpus).collect(),
        poll: Poll::Adaptive,
        frames: 4095,
        jumbo_frames: 63,
        pipeline: PipelineConfig::default(),
    })
    .unwrap();
    let written = crate::worker::WRITTEN.lock().unwrap();
    let mut owner = std::collections::HashMap::new();
    for (worker, range) in written.iter() {
        for pair in range.start / 128..range.end.div_ceil(128) {
            let first = *owner.entry(pair).or_insert(*worker);
            assert_eq!(
                first,
                *worker,
                "both write to the lines at {:#x}",
                pair * 128
            );
        }
    }
    let all: std::collections::HashSet<_> = owner.values().collect();
    assert_eq!(all.len(), 4, "every worker has said where it writes");
    drop(dp);
}
