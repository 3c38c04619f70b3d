//! A data plane of memory ports, and stages that do what the first byte of a frame says.

// A module of each test binary that wants it, or some of it.
#![allow(unreachable_pub, dead_code)]

use dataplane::burst::Burst;
use dataplane::counters::Counts;
use dataplane::drops::Drop as Reason;
use dataplane::eal::{EalConfig, Memory};
use dataplane::interface::{Interface, InterfaceTable, NO_IFACE};
use dataplane::mbuf::Mbuf;
use dataplane::mempool::Mempool;
use dataplane::pipeline::{Env, Output, PipelineConfig};
use dataplane::port::{MemPort, MemWire};
use dataplane::punt::{Inject, PuntReason};
use dataplane::worker::Stages;
use dataplane::worker::idle::Poll;
use dataplane::{Config, Dataplane};
use net::{IfaceId, MacAddr, PortId, VrfId};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Stands in for the pipeline. A frame is: what to do, the port to leave by, then anything.
#[derive(Clone, Default)]
pub struct Toy {
    /// `b'S'` holds the worker for as long as this is set.
    pub stall: Arc<AtomicBool>,
}

/// Forward by port `data[1]`.
pub const FORWARD: u8 = b'F';
/// Punt.
pub const PUNT: u8 = b'P';
/// Drop.
pub const DROP: u8 = b'D';
/// Forward, and a copy of it.
pub const DOUBLE: u8 = b'2';
/// Hold the worker until the test lets it go, then drop.
pub const STALL: u8 = b'S';
/// Hold the worker until the test lets it go, then panic.
pub const DIE: u8 = b'X';
/// Count two drops, and panic.
pub const DIE_LATE: u8 = b'Y';

impl Toy {
    fn hold(&self) {
        while self.stall.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn one<O: Output>(&mut self, env: &Env<'_>, iface: IfaceId, mut m: Mbuf, out: &mut O) {
        let port = u16::from(m.data()[1]);
        let to = env.ifaces.untagged(PortId(port)).map_or(NO_IFACE, |i| i.id);
        match m.data()[0] {
            FORWARD => out.tx(PortId(port), to, m),
            PUNT => {
                m.meta_mut()
                    .set_punt(PuntReason::Local, iface, iface, 0x0800);
                out.punt(m);
            }
            DOUBLE => {
                if let Some(copy) = env.pool.alloc_from(m.data()) {
                    out.counters().created(to, 1);
                    out.tx(PortId(port), to, copy);
                }
                out.tx(PortId(port), to, m);
            }
            DIE => {
                self.hold();
                panic!("as the test wants");
            }
            DIE_LATE => {
                out.counters().drops(iface, Reason::NoRoute, 2);
                panic!("as the test wants");
            }
            what => {
                if what == STALL {
                    self.hold();
                }
                out.counters().drop(iface, Reason::NoRoute);
            }
        }
    }
}

impl Stages for Toy {
    fn rx<O: Output>(&mut self, env: &Env<'_>, port: PortId, burst: &mut Burst, out: &mut O) {
        let iface = env.ifaces.untagged(port).map_or(NO_IFACE, |i| i.id);
        for m in burst.drain() {
            out.counters().rx(iface, 1, m.len() as u64);
            self.one(env, iface, m, out);
        }
    }

    fn inject<O: Output>(&mut self, env: &Env<'_>, frame: Mbuf, out: &mut O) {
        let Some(Inject::Raw { iface } | Inject::Route { iface, .. } | Inject::ToAdj { iface, .. }) =
            frame.meta().inject()
        else {
            panic!("a frame without metadata in the inject ring");
        };
        out.counters().injected(iface, 1);
        self.one(env, iface, frame, out);
    }
}

/// A configuration for tests: no huge pages, `workers` of them on CPUs 0, 1, 0, 1, …
pub fn config(workers: usize, poll: Poll) -> Config {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Config {
        eal: EalConfig {
            memory: Memory::NoHuge,
            mem_mb: 128,
            control_cpu: 0,
            pci: false,
        },
        // From the last CPU on, so that the control thread's is the last to be shared.
        workers: (0..workers).map(|i| cpus - 1 - i % cpus).collect(),
        poll,
        frames: 16_383,
        jumbo_frames: 1023,
        pipeline: PipelineConfig::default(),
    }
}

/// A data plane and the wires of its ports; port `i` carries interface `i`.
pub struct Lab {
    pub toy: Toy,
    pub wires: Vec<MemWire>,
    pub ids: Vec<PortId>,
    pub pool: Arc<Mempool>,
    /// Dropped last: it ends the EAL.
    pub dp: Dataplane,
}

impl Lab {
    /// `queues[i]` is how many queues port `i` has.
    pub fn new(workers: usize, queues: &[u16]) -> Self {
        Self::with(config(workers, Poll::Adaptive), queues)
    }

    pub fn with(config: Config, queues: &[u16]) -> Self {
        let toy = Toy::default();
        let dp = Dataplane::start_with(&config, |_| toy.clone()).unwrap();
        let pool = dp.pools().iter().next().unwrap().clone();
        let mut lab = Self {
            dp,
            toy,
            wires: vec![],
            ids: vec![],
            pool,
        };
        for &q in queues {
            lab.add(q, 1024);
        }
        lab.publish();
        lab
    }

    /// Opens a port; returns its index. Not polled before [`publish`](Self::publish).
    pub fn add(&mut self, queues: u16, depth: usize) -> usize {
        self.plug(MemPort::new(queues, depth))
    }

    /// Opens that port; returns its index.
    pub fn plug(&mut self, mem: MemPort) -> usize {
        self.wires.push(mem.wire());
        let mac = MacAddr([2, 0, 0, 0, 0, self.ids.len() as u8]);
        self.ids
            .push(self.dp.open_mem_port(mac, 1500, mem).unwrap());
        self.ids.len() - 1
    }

    /// Publishes an interface on each open port.
    pub fn publish(&mut self) {
        let table = table(&self.dp.open_ports());
        self.dp.publish_interfaces(table).unwrap();
    }

    /// A frame of the pool that does `what` and leaves by port `to`.
    pub fn frame(&self, what: u8, to: PortId, rest: &[u8]) -> Mbuf {
        frame(&self.pool, what, to, rest)
    }

    /// Waits until the law holds with that many frames gone in, and returns the totals.
    pub fn at_rest(&self, entered: u64) -> Counts {
        eventually("the law at rest", || {
            let c = self.dp.totals();
            (c.entered() == entered && c.left() == entered)
                .then(|| c.clone())
                .ok_or_else(|| format!("{c:?}"))
        })
    }
}

pub fn frame(pool: &Mempool, what: u8, to: PortId, rest: &[u8]) -> Mbuf {
    let mut bytes = vec![what, to.0 as u8];
    bytes.extend_from_slice(rest);
    bytes.resize(bytes.len().max(60), 0);
    eventually("a free frame", || {
        pool.alloc_from(&bytes).ok_or_else(|| format!("{pool:?}"))
    })
}

pub fn table(ports: &[PortId]) -> InterfaceTable {
    let iface = |&port: &PortId| Interface {
        id: IfaceId(port.0),
        port,
        vlan: None,
        mac: MacAddr([2, 0, 0, 0, 0, port.0 as u8]),
        mtu: 1500,
        mpls: false,
        up: true,
        vrf: VrfId::GLOBAL,
        link_local: Ipv6Addr::UNSPECIFIED,
        v4: vec![],
        v6: vec![],
        name: format!("mem{port}"),
    };
    InterfaceTable::new(ports.iter().map(iface)).unwrap()
}

/// Sends, waiting for room.
pub fn send(wire: &MemWire, queue: u16, make: impl Fn() -> Mbuf) {
    eventually("room on the wire", || {
        wire.send(queue, make()).then_some(()).ok_or(String::new())
    });
}

/// Waits for a state, with a deadline and a reason.
pub fn eventually<T>(what: &str, mut f: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match f() {
            Ok(t) => return t,
            Err(state) if Instant::now() > deadline => panic!("waited in vain for {what}: {state}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}
