//! What happens to a frame between a port and a port. Read DESIGN section 2, then RFC 1812 5.2, RFC 8200 and RFC 3031/3032.
//!
//! A fixed list of stages, each over the whole burst, in this order:
//!
//! | stage | file | from | to |
//! |-------|------|------|----|
//! | express | [`express`] | a burst from a port | what is nothing special: rewritten, and sent |
//! | classify | [`ether`] | what is left of the burst | by EtherType: MPLS, IPv4, IPv6, punt ARP |
//! | label lookup | [`mpls`] | labelled frames | a next hop, or what lay under the stack: IPv4, IPv6 |
//! | input | [`ip4`], [`ip6`] | IP packets | forward, the router itself, or a named drop |
//! | lookup | [`ip4`], [`ip6`] | packets to forward | prefetch pass, load pass, group, path |
//! | forward | [`ip4`], [`ip6`] | packet and path | TTL, MTU, [`fragment`], labels |
//! | send | [`send`] | a finished packet and its next hop | link header and TX, or punt |
//!
//! Beside them, off the path of most frames: [`error`] (ICMP errors), [`punt`] and [`inject`]. While a frame is between
//! `classify` and `send` its data begins at the network header; what was in front is still in the headroom, so that a punt
//! or an ICMP error can look at it again.
//!
//! Nothing here allocates from the heap, locks, or makes a system call. Every frame is handed to [`Output`], or dropped
//! under a [`Drop`] reason, exactly once.
//!
//! Left out on purpose: ICMP redirects (a packet may leave by the interface it came in by, and nobody is told; RFC 1812
//! 5.2.7.2 lets a router be configured so), multicast routing, Q-in-Q, frames of VRFs in the express lane.

mod bucket;
mod error;
mod ether;
mod express;
mod fragment;
mod frame;
mod inject;
mod ip4;
mod ip6;
mod mpls;
mod punt;
mod send;
#[cfg(test)]
mod tests;

use crate::burst::{BURST, Burst, Open};
use crate::counters::WorkerCounters;
use crate::drops::Drop;
use crate::interface::InterfaceTable;
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;
use crate::select::Bits;
use crate::worker::meter::Stage;
use bucket::Bucket;
use fib::{Tables, TtlMode, View};
use frame::{Frame, Frames};
use net::{IfaceId, PortId};

/// Where finished frames go. The worker implements it; tests collect.
///
/// An implementation counts `tx` and `punted` on the frame's interface, or the drop when it can't take the frame.
pub trait Output {
    /// A complete Ethernet frame, to leave by `port`; `iface` is the interface to count it on.
    fn tx(&mut self, port: PortId, iface: IfaceId, frame: Mbuf);
    /// Frames of a burst, `which` by their positions, as [`tx`](Self::tx) of each. `lens` are their lengths, by position.
    #[inline]
    fn tx_some(
        &mut self,
        (port, iface): (PortId, IfaceId),
        frames: &mut Open<'_>,
        which: u64,
        lens: &[u32; BURST],
    ) {
        let _ = lens;
        for i in Bits(which) {
            if let Some(m) = frames.take_one(i) {
                self.tx(port, iface, m);
            }
        }
    }
    /// A frame for the control thread; its metadata says why (see [`crate::punt`]).
    fn punt(&mut self, frame: Mbuf);
    /// The counters of this worker.
    fn counters(&mut self) -> &mut WorkerCounters;
    /// A stage is over: where cycles are counted, those since the mark before are its.
    #[inline]
    fn mark(&mut self, _: Stage) {}
}

/// What the stages look at, and may not change. All of one loop of the worker.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The forwarding tables of the worker's node.
    pub tables: &'a Tables,
    /// The worker's RCU reader: while it is borrowed, nothing read from the tables is freed.
    pub reader: &'a rcu::Reader,
    /// The interfaces.
    pub ifaces: &'a InterfaceTable,
    /// Where fragments and ICMP errors are made.
    pub pool: &'a Mempool,
    /// Monotonic, in nanoseconds, read once a loop.
    pub now: u64,
}

impl<'a> Env<'a> {
    fn open(&self) -> Scene<'a> {
        Scene {
            fib: self.tables.read(self.reader),
            ifaces: self.ifaces,
            pool: self.pool,
            now: self.now,
        }
    }
}

/// What can be chosen about a pipeline when its worker starts.
#[derive(Clone, Copy, Debug)]
pub struct PipelineConfig {
    /// What becomes of the TTL at an explicit null or entropy label (RFC 3443); entries and paths say it for themselves.
    pub mpls_ttl: TtlMode,
    /// ICMP errors a second that one worker makes at most; 0: none.
    pub icmp_rate: u32,
    /// Echo requests of LSP ping a second that one worker hands on at most; 0: none.
    pub echo_rate: u32,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            mpls_ttl: TtlMode::Uniform,
            icmp_rate: 1000,
            echo_rate: 200,
        }
    }
}

/// The stages and the little state they keep. One a worker.
pub struct Pipeline {
    mpls_ttl: TtlMode,
    /// Always, but for the test that compares.
    express: bool,
    bucket: Bucket,
    echoes: Bucket,
    lists: Box<Lists>,
    lane: Box<express::Lane>,
    dead: Burst,
}

/// What waits for its stage. Aligned, so that no two workers write to one cache line or its neighbour.
#[derive(Default)]
#[repr(align(128))]
struct Lists {
    mpls: Frames,
    v4: Frames,
    v6: Frames,
    /// The packets of one family that passed their input stage.
    go: Frames,
}

/// [`Env`], with the tables opened for reading.
#[derive(Clone, Copy)]
struct Scene<'a> {
    fib: View<'a>,
    ifaces: &'a InterfaceTable,
    pool: &'a Mempool,
    now: u64,
}

/// What every stage is given.
struct Cx<'a, O> {
    env: Scene<'a>,
    out: &'a mut O,
    bucket: &'a mut Bucket,
    /// Of echo requests.
    echoes: &'a mut Bucket,
    /// Dropped frames, to be freed together.
    dead: &'a mut Burst,
    mpls_ttl: TtlMode,
    express: bool,
}

impl<O: Output> Cx<'_, O> {
    /// The end of a frame.
    #[inline]
    fn drop(&mut self, f: Frame, why: Drop) {
        self.lose(f.m, f.iface, why);
    }

    /// The end of a buffer that is counted on `iface`.
    #[inline]
    fn lose(&mut self, m: Mbuf, iface: IfaceId, why: Drop) {
        self.out.counters().drop(iface, why);
        self.bury(m);
    }

    /// Frees a buffer that has been accounted for, with others at the end of the burst.
    #[inline]
    fn bury(&mut self, m: Mbuf) {
        // A full burst hands it back, and it is freed here alone.
        let _ = self.dead.push(m);
    }
}

impl Pipeline {
    /// A pipeline with a full ICMP bucket.
    #[must_use]
    pub fn new(cfg: PipelineConfig) -> Self {
        Self {
            mpls_ttl: cfg.mpls_ttl,
            express: true,
            bucket: Bucket::new(cfg.icmp_rate),
            echoes: Bucket::new(cfg.echo_rate),
            lists: Box::default(),
            lane: Box::default(),
            dead: Burst::new(),
        }
    }

    /// Where its lists lie, and what the express lane writes.
    pub(crate) fn written_at(&self) -> Vec<std::ops::Range<usize>> {
        use crate::worker::place;
        vec![place(&*self.lists), place(&*self.lane)]
    }

    /// Runs a burst that came from `port` to completion; leaves it empty.
    pub fn rx<O: Output>(&mut self, env: &Env<'_>, port: PortId, burst: &mut Burst, out: &mut O) {
        let Self {
            mpls_ttl,
            express,
            bucket,
            echoes,
            lists,
            lane,
            dead,
        } = self;
        let mut cx = Cx {
            env: env.open(),
            out,
            bucket,
            echoes,
            dead,
            mpls_ttl: *mpls_ttl,
            express: *express,
        };
        ether::classify(&mut cx, port, burst, (lane, lists));
        lists.run(&mut cx);
        dead.clear();
    }

    /// Whether each position of the burst takes the express lane.
    #[cfg(test)]
    fn expressed<O: Output>(
        &mut self,
        env: &Env<'_>,
        iface: &crate::interface::Interface,
        burst: &mut Burst,
        out: &mut O,
    ) -> Vec<bool> {
        let mut cx = Cx {
            env: env.open(),
            out,
            bucket: &mut self.bucket,
            echoes: &mut self.echoes,
            dead: &mut self.dead,
            mpls_ttl: self.mpls_ttl,
            express: true,
        };
        let left = express::run(&mut cx, &mut self.lane, iface, burst).left;
        burst.clear();
        (0..BURST).map(|i| left >> i & 1 != 0).collect()
    }

    /// Runs a frame that came from the control thread to completion.
    pub fn inject<O: Output>(&mut self, env: &Env<'_>, frame: Mbuf, out: &mut O) {
        let Self {
            mpls_ttl,
            express,
            bucket,
            echoes,
            dead,
            ..
        } = self;
        let mut cx = Cx {
            env: env.open(),
            out,
            bucket,
            echoes,
            dead,
            mpls_ttl: *mpls_ttl,
            express: *express,
        };
        inject::run(&mut cx, frame);
        dead.clear();
    }
}

impl Lists {
    fn run<O: Output>(&mut self, cx: &mut Cx<'_, O>) {
        if !self.mpls.is_empty() {
            mpls::run(cx, &mut self.mpls, &mut self.v4, &mut self.v6);
        }
        if !self.v4.is_empty() {
            ip4::input(cx, &mut self.v4, &mut self.go);
            ip4::lookup(cx, &mut self.go);
        }
        if !self.v6.is_empty() {
            ip6::input(cx, &mut self.v6, &mut self.go);
            ip6::lookup(cx, &mut self.go);
        }
    }
}
