//! A router with four interfaces and a table full of cases, and what came out of it.
//!
//! ```text
//! 0 lan       port 0            10.0.0.1/24  2001:db8::1/64    mtu 1500   host .9
//! 1 wan       port 1            10.0.1.1/24  2001:db8:1::1/64  mtu 1500   peer .2, mpls
//! 2 wan.100   port 1, VLAN 100  10.0.2.1/24  2001:db8:2::1/64  mtu 1400   peer .2, mpls
//! 3 core      port 2            10.0.3.1/24  2001:db8:3::1/64  mtu 1500   peer .2, mpls
//! ```

use crate::burst::Burst;
use crate::counters::{CounterBlock, Counts, WorkerCounters};
use crate::drops::Drop;
use crate::eal::{Eal, EalConfig, Memory};
use crate::interface::{IFACE_SLOTS, Interface, InterfaceTable};
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;
use crate::pipeline::{Env, Output, Pipeline, PipelineConfig};
use crate::punt::{Inject, PuntReason, Punted};
use crate::trace::{Arrival, Trace, trace};
use fib::{Adjacency, Discard, FibWriter, LabelEntry, Path, Tables, Target, TcMode, TtlMode};
use net::{AdjId, GroupId, IfaceId, Label, MacAddr, PortId, VrfId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub(super) const LAN: IfaceId = IfaceId(0);
pub(super) const WAN: IfaceId = IfaceId(1);
pub(super) const VLAN: IfaceId = IfaceId(2);
pub(super) const CORE: IfaceId = IfaceId(3);

pub(super) const LAN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub(super) const WAN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub(super) const CORE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);
pub(super) const HOST_MAC: MacAddr = MacAddr([6, 0, 0, 0, 0, 9]);
pub(super) const PEER_MAC: MacAddr = MacAddr([6, 0, 0, 0, 1, 2]);
pub(super) const VPEER_MAC: MacAddr = MacAddr([6, 0, 0, 0, 2, 2]);
pub(super) const CPEER_MAC: MacAddr = MacAddr([6, 0, 0, 0, 3, 2]);

/// A frame that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) port: PortId,
    pub(super) iface: IfaceId,
    pub(super) frame: Vec<u8>,
}

/// A frame for the control thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Up {
    pub(super) reason: PuntReason,
    pub(super) iface: IfaceId,
    pub(super) rx_iface: IfaceId,
    pub(super) vrf: VrfId,
    pub(super) next_hop: Option<IpAddr>,
    pub(super) adj: Option<AdjId>,
    pub(super) ethertype: u16,
    pub(super) ttl: Option<u8>,
    pub(super) frame: Vec<u8>,
}

/// What one run gave.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) sent: Vec<Sent>,
    pub(super) up: Vec<Up>,
    pub(super) drops: Vec<(IfaceId, Drop, u64)>,
    pub(super) counts: Vec<Counts>,
}

impl Seen {
    /// The one frame that left, when nothing else happened.
    #[track_caller]
    pub(super) fn only_sent(self) -> Sent {
        assert!(self.up.is_empty() && self.drops.is_empty(), "{self:?}");
        self.one_sent()
    }

    #[track_caller]
    pub(super) fn one_sent(mut self) -> Sent {
        assert_eq!(self.sent.len(), 1, "{:?}", self.drops);
        self.sent.remove(0)
    }

    #[track_caller]
    pub(super) fn only_up(mut self) -> Up {
        assert!(
            self.sent.is_empty() && self.drops.is_empty() && self.up.len() == 1,
            "{self:?}"
        );
        self.up.remove(0)
    }

    /// The one drop, when nothing else happened but for ICMP errors.
    #[track_caller]
    pub(super) fn dropped(&self) -> Drop {
        match self.drops[..] {
            [(_, why, 1)] => why,
            _ => panic!("{self:?}"),
        }
    }

    /// The one drop, when nothing else happened.
    #[track_caller]
    pub(super) fn only_dropped(&self) -> Drop {
        assert!(self.sent.is_empty() && self.up.is_empty(), "{self:?}");
        self.dropped()
    }

    pub(super) fn created(&self) -> u64 {
        self.counts.iter().map(|c| c.created).sum()
    }
}

struct Collect {
    counters: WorkerCounters,
    sent: Vec<Sent>,
    up: Vec<Up>,
}

impl Output for Collect {
    fn tx(&mut self, port: PortId, iface: IfaceId, m: Mbuf) {
        self.counters.tx(iface, 1, m.len() as u64);
        self.sent.push(Sent {
            port,
            iface,
            frame: m.data().to_vec(),
        });
    }

    fn punt(&mut self, m: Mbuf) {
        let p = Punted::from_frame(m).expect("the metadata says why");
        self.counters.punted(p.iface, 1);
        self.up.push(Up {
            reason: p.reason,
            iface: p.iface,
            rx_iface: p.rx_iface,
            vrf: p.vrf,
            next_hop: p.next_hop,
            adj: p.adj,
            ethertype: p.ethertype,
            ttl: p.received_ttl,
            frame: p.frame.data().to_vec(),
        });
    }

    fn counters(&mut self) -> &mut WorkerCounters {
        &mut self.counters
    }
}

pub(super) struct Rig {
    pub(super) fib: FibWriter,
    tables: Arc<Tables>,
    reader: rcu::Reader,
    pub(super) ifaces: Vec<Interface>,
    table: InterfaceTable,
    pub(super) pool: Mempool,
    pub(super) pipeline: Pipeline,
    block: Arc<CounterBlock>,
    out: Collect,
    /// Buffers that are let go when a run is over.
    held: Vec<Mbuf>,
    /// Whether what leaves is given to the judge: not where the input was made to be wrong.
    pub(super) judged: bool,
    pub(super) now: u64,
    _eal: Eal,
}

fn interface(id: IfaceId, port: u16, vlan: Option<u16>, mac: MacAddr, mtu: u16) -> Interface {
    let n = id.0;
    Interface {
        id,
        port: PortId(port),
        vlan,
        mac,
        mtu,
        mpls: id != LAN,
        up: true,
        vrf: VrfId::GLOBAL,
        link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n + 1),
        v4: vec![(Ipv4Addr::new(10, 0, n as u8, 1), 24)],
        v6: vec![(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1), 64)],
        name: format!("if{n}"),
    }
}

pub(super) fn push(target: Target, labels: &[u32], ttl: TtlMode) -> Path {
    let push = labels.iter().map(|&l| Label::new(l).unwrap()).collect();
    Path {
        push,
        ttl,
        ..Path::to(target)
    }
}

/// What the stages look at, of a rig whose other fields stay free.
macro_rules! env_of {
    ($rig:expr) => {
        Env {
            tables: &$rig.tables,
            reader: &$rig.reader,
            ifaces: &$rig.table,
            pool: &$rig.pool,
            now: $rig.now,
        }
    };
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(PipelineConfig {
            mpls_ttl: TtlMode::Uniform,
            icmp_rate: 1_000_000,
            echo_rate: 100,
        })
    }

    pub(super) fn with(config: PipelineConfig) -> Self {
        let eal = Eal::init(&EalConfig {
            memory: Memory::NoHuge,
            mem_mb: 128,
            control_cpu: 0,
            pci: false,
        })
        .unwrap();
        let pool = Mempool::new(&eal, "rig", 1023, 9728, 0).unwrap();
        let domain = rcu::Domain::new();
        let fib = FibWriter::new(&[0], &domain).unwrap();
        let block = CounterBlock::new();
        let ifaces = vec![
            interface(LAN, 0, None, LAN_MAC, 1500),
            interface(WAN, 1, None, WAN_MAC, 1500),
            interface(VLAN, 1, Some(100), WAN_MAC, 1400),
            interface(CORE, 2, None, CORE_MAC, 1500),
        ];
        let mut rig = Self {
            tables: fib.replica(0),
            reader: domain.register("rig"),
            table: InterfaceTable::new(ifaces.clone()).unwrap(),
            fib,
            ifaces,
            pool,
            pipeline: Pipeline::new(config),
            out: Collect {
                counters: WorkerCounters::new(block.clone()),
                sent: Vec::new(),
                up: Vec::new(),
            },
            block,
            held: Vec::new(),
            judged: true,
            now: 1,
            _eal: eal,
        };
        rig.fill();
        rig
    }

    /// Takes over a change to `ifaces`.
    pub(super) fn reconfigure(&mut self) {
        self.table = InterfaceTable::new(self.ifaces.clone()).unwrap();
    }

    pub(super) fn group(&mut self, paths: &[(Path, u32)]) -> GroupId {
        self.fib.add_group(paths).unwrap()
    }

    pub(super) fn route(&mut self, prefix: &str, path: Path) {
        let group = self.group(&[(path, 1)]);
        self.route_to(prefix, group);
    }

    pub(super) fn route_to(&mut self, prefix: &str, group: GroupId) {
        if prefix.contains(':') {
            self.fib.set6(prefix.parse().unwrap(), group).unwrap();
        } else {
            self.fib.set4(prefix.parse().unwrap(), group).unwrap();
        }
    }

    /// A route of a VRF.
    pub(super) fn vrf_route(&mut self, vrf: VrfId, prefix: &str, path: Path) {
        let group = self.group(&[(path, 1)]);
        let done = match prefix.contains(':') {
            true => self.fib.set_vrf6(vrf, prefix.parse().unwrap(), group),
            false => self.fib.set_vrf4(vrf, prefix.parse().unwrap(), group),
        };
        done.unwrap();
    }

    pub(super) fn label(&mut self, label: u32, entry: LabelEntry) {
        self.fib
            .set_label(Label::new(label).unwrap(), entry)
            .unwrap();
    }

    pub(super) fn swap(&mut self, label: u32, path: Path, ttl: TtlMode) {
        let group = self.group(&[(path, 1)]);
        self.label(label, LabelEntry::forward(group, ttl));
    }

    /// A neighbour with a header.
    pub(super) fn neighbour(&mut self, iface: IfaceId, addr: &str, mac: MacAddr) -> Target {
        let i = self.ifaces[iface.index()].clone();
        let adj = Adjacency::incomplete(iface, i.port, i.mtu, addr.parse().unwrap());
        Target::Adjacency(self.fib.add_adj(adj.complete(i.mac, mac, i.vlan)).unwrap())
    }

    fn fill(&mut self) {
        for i in self.ifaces.clone() {
            let n = i.id.0;
            self.route(&format!("10.0.{n}.0/24"), Path::to(Target::Glean(i.id)));
            self.route(&format!("10.0.{n}.1/32"), Path::to(Target::Local(i.id)));
            self.route(
                &format!("2001:db8:{n:x}::/64"),
                Path::to(Target::Glean(i.id)),
            );
            self.route(
                &format!("2001:db8:{n:x}::1/128"),
                Path::to(Target::Local(i.id)),
            );
        }
        let host = self.neighbour(LAN, "10.0.0.9", HOST_MAC);
        let peer = self.neighbour(WAN, "10.0.1.2", PEER_MAC);
        let vpeer = self.neighbour(VLAN, "10.0.2.2", VPEER_MAC);
        let cpeer = self.neighbour(CORE, "10.0.3.2", CPEER_MAC);
        self.route("10.0.0.9/32", Path::to(host));
        self.route("2001:db8:0::9/128", Path::to(host));
        let silent = Adjacency::incomplete(WAN, PortId(1), 1500, "10.0.1.77".parse().unwrap());
        let silent = Target::Adjacency(self.fib.add_adj(silent).unwrap());
        let zero = Path {
            tc: TcMode::Zero,
            ..push(cpeer, &[100, 200], TtlMode::Pipe)
        };
        let entropy = Path {
            entropy: 1,
            ..push(cpeer, &[100, 200], TtlMode::Uniform)
        };
        for (v4, v6, path) in [
            ("192.0.2.0/24", "2001:db8:a::/48", Path::to(peer)),
            ("198.51.100.0/24", "2001:db8:b::/48", Path::to(vpeer)),
            (
                "203.0.113.0/24",
                "2001:db8:c::/48",
                push(cpeer, &[100, 200], TtlMode::Uniform),
            ),
            ("203.0.114.0/24", "2001:db8:d::/48", zero),
            ("203.0.115.0/24", "2001:db8:e::/48", entropy),
            (
                "172.16.0.0/16",
                "2001:db8:10::/48",
                Path::to(Target::Discard(Discard::Blackhole)),
            ),
            (
                "172.17.0.0/16",
                "2001:db8:11::/48",
                Path::to(Target::Discard(Discard::Unreachable)),
            ),
            (
                "172.18.0.0/16",
                "2001:db8:12::/48",
                Path::to(Target::Discard(Discard::Prohibit)),
            ),
            ("172.19.0.0/16", "2001:db8:13::/48", Path::to(silent)),
            (
                "172.21.0.0/16",
                "2001:db8:15::/48",
                Path::to(Target::Glean(IfaceId(77))),
            ),
            (
                "172.22.0.0/16",
                "2001:db8:16::/48",
                push(vpeer, &[100], TtlMode::Uniform),
            ),
        ] {
            self.route(v4, path.clone());
            self.route(v6, path);
        }
        let both = self.group(&[(Path::to(peer), 1), (Path::to(cpeer), 1)]);
        self.route_to("172.20.0.0/16", both);
        self.route_to("2001:db8:14::/48", both);
        use TtlMode::{Pipe, Uniform};
        self.swap(300, push(cpeer, &[400], Uniform), Uniform);
        self.swap(301, push(cpeer, &[401, 402], Pipe), Uniform);
        self.swap(302, Path::to(peer), Uniform);
        self.swap(303, Path::to(peer), Pipe);
        self.label(304, LabelEntry::pop_lookup(Uniform));
        self.label(305, LabelEntry::pop_lookup(Pipe));
        self.swap(306, push(vpeer, &[500], Uniform), Uniform);
        let paths = [
            (push(peer, &[601], Uniform), 1),
            (push(cpeer, &[602], Uniform), 1),
        ];
        let both = self.group(&paths);
        self.label(307, LabelEntry::forward(both, Uniform));
        self.swap(308, Path::to(Target::Local(CORE)), Uniform);
        self.swap(309, Path::to(Target::Discard(Discard::Blackhole)), Uniform);
        self.swap(310, Path::to(Target::Glean(LAN)), Uniform);
        self.swap(311, Path::to(silent), Uniform);
        self.swap(312, Path::to(vpeer), Uniform);
        self.swap(
            313,
            push(
                cpeer,
                &[1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007],
                Uniform,
            ),
            Uniform,
        );
        self.fib.flush();
    }

    /// A buffer that holds the frame, its private area and headroom full of rubbish as after an earlier use.
    pub(super) fn buffer(&self, frame: &[u8]) -> Mbuf {
        let mut m = self.pool.alloc_from(frame).expect("a buffer");
        *m.private_mut() = [0xa5a5_a5a5_a5a5_a5a5u64; 8];
        let room = m.headroom();
        m.prepend(room).expect("headroom").fill(0xa5);
        m.trim_front(room).expect("what was added");
        m
    }

    /// The same at the very beginning of the buffer, without any headroom.
    pub(super) fn buffer_without_headroom(&self, frame: &[u8]) -> Mbuf {
        let mut m = self.buffer(&[]);
        let room = m.headroom();
        assert!(frame.len() <= room);
        m.prepend(room).expect("headroom")[..frame.len()].copy_from_slice(frame);
        m.truncate(frame.len());
        assert_eq!(m.headroom(), 0);
        m
    }

    #[track_caller]
    pub(super) fn one_buffer(&mut self, port: u16, m: Mbuf) -> Seen {
        let before = self.counts();
        let mut burst = Burst::new();
        burst.push(m).unwrap();
        self.rx(port, &mut burst);
        self.seen(before)
    }

    /// Runs frames from `port` through the stages, 64 at a time.
    #[track_caller]
    pub(super) fn run<F: AsRef<[u8]>>(&mut self, port: u16, frames: &[F]) -> Seen {
        let before = self.counts();
        for some in frames.chunks(Burst::CAPACITY) {
            let mut burst = Burst::new();
            for f in some {
                burst.push(self.buffer(f.as_ref())).unwrap();
            }
            self.rx(port, &mut burst);
            assert!(burst.is_empty());
        }
        self.seen(before)
    }

    /// Runs a burst into another output, for measuring.
    pub(super) fn run_raw<O: Output>(&mut self, port: u16, burst: &mut Burst, out: &mut O) {
        self.pipeline.rx(&env_of!(self), PortId(port), burst, out);
    }

    fn rx(&mut self, port: u16, burst: &mut Burst) {
        self.pipeline
            .rx(&env_of!(self), PortId(port), burst, &mut self.out);
    }

    /// Whether each frame takes the express lane.
    pub(super) fn expressed<F: AsRef<[u8]>>(&mut self, port: u16, frames: &[F]) -> Vec<bool> {
        let mut burst = Burst::new();
        for f in frames {
            burst.push(self.buffer(f.as_ref())).unwrap();
        }
        let env = env_of!(self);
        let iface = self.table.untagged(PortId(port)).unwrap();
        let mut all = self
            .pipeline
            .expressed(&env, iface, &mut burst, &mut self.out);
        all.truncate(frames.len());
        all
    }

    #[track_caller]
    pub(super) fn one(&mut self, port: u16, frame: &[u8]) -> Seen {
        self.run(port, &[frame])
    }

    /// What [`trace`](crate::trace) says of a packet.
    pub(super) fn traced(&self, arrival: Arrival<'_>) -> Trace {
        let view = self.tables.read(&self.reader);
        trace(view, &self.table, TtlMode::Uniform, arrival)
    }

    /// Runs a frame from the control thread.
    #[track_caller]
    pub(super) fn inject(&mut self, what: Inject, frame: &[u8]) -> Seen {
        let mut m = self.buffer(frame);
        m.meta_mut().set_inject(what);
        self.inject_buffer(m)
    }

    /// Runs a frame that says nothing of what is to become of it.
    #[track_caller]
    pub(super) fn inject_unmarked(&mut self, frame: &[u8]) -> Seen {
        let m = self.buffer(frame);
        self.inject_buffer(m)
    }

    #[track_caller]
    fn inject_buffer(&mut self, m: Mbuf) -> Seen {
        let before = self.counts();
        self.pipeline.inject(&env_of!(self), m, &mut self.out);
        self.seen(before)
    }

    /// Takes buffers until `n` are left.
    pub(super) fn hold_all_but(&self, n: u32) -> Vec<Mbuf> {
        (n..self.pool.available())
            .map(|_| self.pool.alloc().expect("a buffer"))
            .collect()
    }

    /// As [`one`](Self::one), while others hold buffers.
    #[track_caller]
    pub(super) fn one_with_held(&mut self, port: u16, frame: &[u8], held: Vec<Mbuf>) -> Seen {
        self.held = held;
        self.one(port, frame)
    }

    fn counts(&self) -> Vec<Counts> {
        (0..IFACE_SLOTS)
            .map(|i| self.block.read(IfaceId(i as u16)))
            .collect()
    }

    /// Takes what came out, and checks what has to hold whatever it was.
    #[track_caller]
    fn seen(&mut self, before: Vec<Counts>) -> Seen {
        self.held.clear();
        let mut counts = self.counts();
        counts
            .iter_mut()
            .zip(&before)
            .for_each(|(now, then)| now.sub(then));
        let mut sum = Counts::default();
        counts.iter().for_each(|c| sum.add(c));
        assert_eq!(sum.entered(), sum.left(), "the counting law: {sum:?}");
        assert_eq!(self.pool.in_use(), 0, "a buffer is lost");
        let drops = counts
            .iter()
            .enumerate()
            .flat_map(|(i, c)| c.reasons().map(move |(why, n)| (IfaceId(i as u16), why, n)))
            .collect();
        let (sent, up) = (
            std::mem::take(&mut self.out.sent),
            std::mem::take(&mut self.out.up),
        );
        if self.judged {
            sent.iter().for_each(|s| judge(&s.frame));
        }
        Seen {
            sent,
            up,
            drops,
            counts,
        }
    }
}

/// Reads a frame as a stranger would: lengths and checksums have to be right.
#[track_caller]
pub(super) fn judge(frame: &[u8]) {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    let at = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    let mut payload = &frame[at..];
    match u16::from_be_bytes([frame[at - 2], frame[at - 1]]) {
        0x8847 => payload = &payload[net::mpls::stack_len(payload).unwrap()..],
        0x0800 | 0x86dd => {}
        _ => return,
    }
    let p = SlicedPacket::from_ip(payload).unwrap_or_else(|e| panic!("{e}: {frame:02x?}"));
    match p.net.expect("an IP packet") {
        NetSlice::Ipv4(ip) => {
            let h = ip.header().to_header();
            assert_eq!(h.header_checksum, h.calc_header_checksum(), "{frame:02x?}");
            assert_eq!(
                usize::from(h.total_len),
                payload.len(),
                "padding left on: {frame:02x?}"
            );
        }
        NetSlice::Ipv6(ip) => {
            assert_eq!(
                40 + usize::from(ip.header().payload_length()),
                payload.len()
            );
            if let Some(TransportSlice::Icmpv6(i)) = p.transport {
                let h = ip.header();
                assert!(
                    i.is_checksum_valid(h.source(), h.destination()),
                    "{frame:02x?}"
                );
            }
        }
        NetSlice::Arp(_) => {}
    }
}
