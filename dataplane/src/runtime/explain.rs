//! Following one packet, for `trunkctl explain`: by [`crate::trace`], and through the stages themselves into no port.
//!
//! Both on the control thread, by the tables that the workers have. The stages are the same code as in a worker, on a real
//! buffer; what comes out is kept instead of sent, and counted on counters of its own. Left out: the cards and the rings.

use std::net::IpAddr;

use fib::Tables;
use net::eth::ethertype::{IPV4, IPV6, MPLS, VLAN};
use net::mpls::{Under, under};
use net::{IfaceId, MacAddr, PortId};

use super::Dataplane;
use crate::burst::Burst;
use crate::counters::{CounterBlock, WorkerCounters};
use crate::drops::Drop;
use crate::interface::IFACE_SLOTS;
use crate::mbuf::Mbuf;
use crate::mempool::SMALL_MTU;
use crate::pipeline::{Env, Output, Pipeline};
use crate::punt::{Inject, PuntReason, Punted};
use crate::trace::{Arrival, End, Trace, trace};

/// Who the probes come from; a locally administered address.
const SENDER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

/// What the stages did with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A frame left.
    Sent {
        /// By this port,
        port: PortId,
        /// counted here.
        iface: IfaceId,
        /// It.
        frame: Vec<u8>,
    },
    /// The control thread was given it.
    Punted {
        /// What for.
        reason: PuntReason,
        /// The interface that is meant.
        iface: IfaceId,
        /// Who is asked for, if a neighbour is.
        next_hop: Option<IpAddr>,
    },
    /// It was dropped; the sender may have been told.
    Dropped(Drop),
    /// It left, or went to the control thread, in so many pieces.
    Pieces(usize),
}

impl Seen {
    /// Whether that is what was foretold.
    #[must_use]
    pub fn is(&self, said: &End) -> bool {
        match (self, said) {
            (
                Self::Sent { port, iface, frame },
                End::Sent {
                    port: p,
                    iface: i,
                    frame: f,
                    ..
                },
            ) => (port, iface, frame) == (p, i, f),
            (
                Self::Punted {
                    reason: PuntReason::Incomplete | PuntReason::Glean,
                    iface,
                    next_hop,
                },
                End::Unresolved {
                    iface: i,
                    next_hop: n,
                },
            ) => (iface, *next_hop) == (i, Some(*n)),
            (Self::Punted { reason, iface, .. }, End::Local(i)) => {
                iface == i
                    && matches!(
                        reason,
                        PuntReason::Local | PuntReason::Nd | PuntReason::Echo
                    )
            }
            (Self::Dropped(a), End::Dropped(b)) => a == b,
            (Self::Pieces(n), End::Cut { .. }) => *n > 1,
            _ => false,
        }
    }
}

/// Keeps what comes out of the stages.
struct Keep {
    counters: WorkerCounters,
    sent: Vec<(PortId, IfaceId, Vec<u8>)>,
    punted: Vec<(PuntReason, IfaceId, Option<IpAddr>)>,
}

impl Output for Keep {
    fn tx(&mut self, port: PortId, iface: IfaceId, m: Mbuf) {
        self.counters.tx(iface, 1, m.len() as u64);
        self.sent.push((port, iface, m.data().to_vec()));
    }

    fn punt(&mut self, m: Mbuf) {
        if let Ok(p) = Punted::from_frame(m) {
            self.counters.punted(p.iface, 1);
            self.punted.push((p.reason, p.iface, p.next_hop));
        }
    }

    fn counters(&mut self) -> &mut WorkerCounters {
        &mut self.counters
    }
}

impl Dataplane {
    /// What the tables say of a packet: those of the first node, which are the same on all.
    pub fn trace(&mut self, arrival: Arrival<'_>) -> Trace {
        let reader = self.domain.register("explain");
        let node = self.fib.nodes().next().unwrap_or(0);
        let tables = self.fib.replica(node);
        let ifaces = self.ifaces.read(&reader);
        trace(
            tables.read(&reader),
            ifaces,
            self.pipeline.mpls_ttl,
            arrival,
        )
    }

    /// Sends a packet through the stages, once by the tables of each node; nothing leaves.
    ///
    /// # Errors
    /// When it can't come in that way: there is no such interface, or no buffer for it.
    pub fn probe(&mut self, arrival: Arrival<'_>) -> Result<Vec<(u32, Seen)>, String> {
        let nodes: Vec<u32> = self.fib.nodes().collect();
        nodes
            .into_iter()
            .map(|node| Ok((node, self.probe_on(node, arrival)?)))
            .collect()
    }

    fn probe_on(&mut self, node: u32, arrival: Arrival<'_>) -> Result<Seen, String> {
        let seat = self.workers.first().map_or(0, |w| w.seat.node);
        let pool = self.pool(seat, SMALL_MTU).map_err(|e| e.to_string())?;
        let tables = self.fib.replica(node);
        let reader = self.domain.register("explain");
        let ifaces = self.ifaces.read(&reader);
        let buffer = |bytes: &[u8]| {
            let m = pool.alloc_from(bytes);
            m.ok_or("no buffer is free, or none is large enough for the packet")
        };
        let block = CounterBlock::new();
        let mut keep = Keep {
            counters: WorkerCounters::new(block.clone()),
            sent: Vec::new(),
            punted: Vec::new(),
        };
        let mut pipeline = Pipeline::new(self.pipeline);
        let tables: &Tables = &tables;
        let env = Env {
            tables,
            reader: &reader,
            ifaces,
            pool: &pool,
            now: 0,
        };
        if let Some(from) = arrival.from {
            let i = ifaces.get(from).ok_or("there is no such interface")?;
            let mut frame = [i.mac.0, SENDER.0].concat();
            if let Some(vlan) = i.vlan {
                frame.extend(VLAN.to_be_bytes());
                frame.extend(vlan.to_be_bytes());
            }
            frame.extend(kind(&arrival).to_be_bytes());
            frame.extend(arrival.packet);
            let mut burst = Burst::new();
            let _ = burst.push(buffer(&frame)?); // it is empty
            pipeline.rx(&env, i.port, &mut burst, &mut keep);
        } else {
            let mut m = buffer(arrival.packet)?;
            m.meta_mut().set_inject(Inject::Route {
                vrf: arrival.vrf,
                iface: IfaceId(0),
            });
            pipeline.inject(&env, m, &mut keep);
        }
        drop(pipeline);
        let why = (0..IFACE_SLOTS).find_map(|i| {
            let counts = block.read(IfaceId(i as u16));
            counts.reasons().next().map(|(why, _)| why)
        });
        let Keep {
            mut sent,
            mut punted,
            ..
        } = keep;
        Ok(match (why, sent.len(), punted.len()) {
            (Some(why), ..) => Seen::Dropped(why),
            (None, 1, 0) => {
                let (port, iface, frame) = sent.remove(0);
                Seen::Sent { port, iface, frame }
            }
            (None, 0, 1) => {
                let (reason, iface, next_hop) = punted.remove(0);
                Seen::Punted {
                    reason,
                    iface,
                    next_hop,
                }
            }
            (None, sent, punted) => Seen::Pieces(sent + punted),
        })
    }
}

fn kind(arrival: &Arrival<'_>) -> u16 {
    match (arrival.labelled, under(arrival.packet)) {
        (true, _) => MPLS,
        (false, Under::Ip6) => IPV6,
        (false, _) => IPV4,
    }
}
