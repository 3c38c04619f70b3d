//! Ports come and go while workers run. See [`crate::worker::command`] for the steps of leaving.

use super::{Dataplane, ORDER_TIMEOUT, WorkerError};
use crate::interface::{InterfaceTable, MAX_PORTS};
use crate::mempool::{PoolError, SMALL_MTU};
use crate::plan::{self, Assignment};
use crate::port::{AnyTx, Link, MemPort, Port, PortError, PortSpec};
use crate::stats::QueueRef;
use crate::worker::command::{Command, Outcome, RxSlot, Way};
use crate::worker::idle::Poll;
use net::{MacAddr, PortId, WorkerId};
use std::time::{Duration, Instant};

/// Why a port could not be opened. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The device.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The frames.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// As many ports as there can be.
    #[error("{MAX_PORTS} ports are open already; remove one first")]
    Full,
    /// A worker does not take it.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// Why a port could not be closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// No such port.
    #[error("there is no port {0}")]
    Unknown(PortId),
    /// A worker does not give it back. The port stays open; trying again is harmless.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The device does not close. The port is gone from the workers all the same.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What is known of an open port.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// Its id.
    pub id: PortId,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its NUMA node.
    pub node: u32,
    /// Who polls and sends.
    pub queues: Assignment,
}

/// An open port.
pub(super) struct PortEntry {
    port: Port,
    pub queues: Assignment,
    /// The RX queues while nobody polls them.
    resting: Vec<RxSlot>,
    polled: bool,
}

impl Dataplane {
    /// The ids of the open ports.
    #[must_use]
    pub fn open_ports(&self) -> Vec<PortId> {
        let open = |(i, p): (usize, &Option<PortEntry>)| p.as_ref().map(|_| PortId(i as u16));
        self.ports.iter().enumerate().filter_map(open).collect()
    }

    /// What is known of a port.
    #[must_use]
    pub fn port_info(&self, id: PortId) -> Option<PortInfo> {
        let e = self.ports.get(id.index())?.as_ref()?;
        Some(PortInfo {
            id,
            mac: e.port.mac(),
            node: e.port.node(),
            queues: e.queues.clone(),
        })
    }

    /// The device of a port: its link, its counters, its MTU.
    pub fn port_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports
            .get_mut(id.index())?
            .as_mut()
            .map(|e| &mut e.port)
    }

    /// The link of a port; `None` when it is not open.
    #[must_use]
    pub fn link(&self, id: PortId) -> Option<Link> {
        self.ports.get(id.index())?.as_ref().map(|e| e.port.link())
    }

    /// The next id. Ids are used in turn, so that one is not soon given to another port while frames or adjacencies of
    /// the last still carry it.
    fn free_port(&mut self) -> Option<PortId> {
        let at = |i: usize| (self.next_port + i) % MAX_PORTS;
        let i = (0..MAX_PORTS).map(at).find(|&i| self.ports[i].is_none())?;
        self.next_port = i + 1;
        Some(PortId(i as u16))
    }

    /// Opens a device and lets all workers send to it. It is polled once an interface stands on it: see
    /// [`publish_interfaces`](Self::publish_interfaces). `workers`, `nodes` and `interrupts` of the
    /// specification are filled in here.
    ///
    /// # Errors
    /// When the device can't be opened, there is no memory for its frames, or a worker died or hangs.
    pub fn open_port(&mut self, spec: &PortSpec) -> Result<PortId, OpenError> {
        let id = self.free_port().ok_or(OpenError::Full)?;
        let spec = PortSpec {
            workers: self.workers.len() as u16,
            nodes: self.seats().iter().map(|s| s.node).collect(),
            interrupts: self.poll == Poll::Adaptive,
            ..spec.clone()
        };
        if spec.mtu > SMALL_MTU {
            self.use_jumbo()?;
        }
        let eal = self.eal.as_ref().expect("only dropped at the end");
        let port = Port::open(eal, &spec, id, &mut self.pools)?;
        self.plug(id, port)?;
        Ok(id)
    }

    /// Opens a port that is a pair of rings in memory, for tests and measurements.
    ///
    /// # Errors
    /// When a worker died or hangs, or there is no port left.
    pub fn open_mem_port(
        &mut self,
        mac: MacAddr,
        mtu: u16,
        mem: MemPort,
    ) -> Result<PortId, OpenError> {
        let id = self.free_port().ok_or(OpenError::Full)?;
        self.plug(id, Port::mem(id, mac, mtu, mem))?;
        Ok(id)
    }

    /// Lets workers make fragments in buffers that are long enough.
    fn use_jumbo(&mut self) -> Result<(), OpenError> {
        let mut orders = Vec::new();
        for i in 0..self.workers.len() {
            let pool = self.pool(self.workers[i].seat.node, u16::MAX)?;
            orders.push((self.workers[i].seat.id, Command::UsePool(pool)));
        }
        self.carry_out(orders)?;
        Ok(())
    }

    /// Gives out the queues of a port.
    fn plug(&mut self, id: PortId, mut port: Port) -> Result<(), OpenError> {
        let seats = self.seats();
        let given = |w: &plan::Seat| {
            let polled = self.ports.iter().flatten().flat_map(|e| &e.queues.rx);
            polled.filter(|&&p| p == w.id).count()
        };
        let load: Vec<usize> = seats.iter().map(given).collect();
        let (rx, tx) = (port.rx_queues(), port.tx_queues());
        let queues = plan::assign(&seats, &load, port.node(), rx.into(), tx.into());
        let mut orders = Vec::new();
        // Owners first: who sends over a ring needs one at its end.
        for (&w, queue) in queues.tx.iter().zip(0..) {
            if let Some(tx) = port.take_tx(queue) {
                orders.push((w, Command::StartTx(id, Way::Own(Box::new(tx)))));
            }
        }
        let rest = |queue| {
            Some(RxSlot {
                port: id,
                queue,
                rx: port.take_rx(queue)?,
            })
        };
        let resting = (0..rx).filter_map(rest).collect();
        let entry = PortEntry {
            port,
            queues,
            resting,
            polled: false,
        };
        let via = entry.queues.via.clone();
        self.ports[id.index()] = Some(entry);
        let mut result = self.carry_out(orders).map(|_| ());
        if result.is_ok() {
            let far = |(s, &v): (&plan::Seat, &WorkerId)| {
                (s.id != v).then(|| (s.id, Command::StartTx(id, Way::Via(v))))
            };
            let orders = seats.iter().zip(&via).filter_map(far).collect();
            result = self.carry_out(orders).map(|_| ());
        }
        if let Err(e) = result {
            let _ = self.close_port(id); // as far as the others answer
            return Err(e.into());
        }
        Ok(())
    }

    /// Sends orders, and waits for all answers. Queues that come late, after an earlier failure, are let go: whoever
    /// waits for a queue asks its worker again.
    fn carry_out(&mut self, orders: Vec<(WorkerId, Command)>) -> Result<Vec<Outcome>, WorkerError> {
        let mut error = None;
        let mut open = Vec::with_capacity(orders.len());
        for (w, command) in orders {
            match self.workers[w.index()].order(command) {
                Ok(seq) => open.push((w, seq)),
                Err(e) => error = Some(e),
            }
        }
        let deadline = Instant::now() + ORDER_TIMEOUT;
        let mut outcomes = Vec::with_capacity(open.len());
        let mut waited = 0;
        loop {
            for w in &mut self.workers {
                while let Some(answer) = w.answer() {
                    if let Some(i) = open.iter().position(|&o| o == (w.seat.id, answer.seq)) {
                        open.swap_remove(i);
                        outcomes.push(answer.outcome);
                    }
                }
            }
            let Some(&(worker, _)) = open.first() else {
                break;
            };
            if !self.workers[worker.index()].alive() {
                error = Some(WorkerError::Died { worker });
                open.retain(|o| o.0 != worker);
            } else if Instant::now() >= deadline {
                return Err(WorkerError::Stalled { worker });
            }
            waited += 1;
            if waited > 20 {
                std::thread::sleep(Duration::from_micros(20));
            } else {
                std::thread::yield_now();
            }
        }
        error.map_or(Ok(outcomes), Err)
    }

    /// Starts (or stops) polling the ports that have (have no) interface in the table.
    pub(super) fn follow_table(
        &mut self,
        table: &InterfaceTable,
        start: bool,
    ) -> Result<(), WorkerError> {
        let mut result = Ok(());
        for id in self.open_ports() {
            let Some(e) = &self.ports[id.index()] else {
                continue;
            };
            if table.has_port(id) == start && e.polled != start {
                let r = if start {
                    self.start_rx(id)
                } else {
                    self.stop_rx(id)
                };
                result = result.and(r);
            }
        }
        result
    }

    fn start_rx(&mut self, id: PortId) -> Result<(), WorkerError> {
        let Some(e) = self.ports[id.index()].as_mut() else {
            return Ok(());
        };
        e.polled = true;
        let mut orders = Vec::new();
        for slot in e.resting.drain(..) {
            let w = e.queues.rx[usize::from(slot.queue)];
            self.workers[w.index()].queues.push(QueueRef {
                port: id,
                queue: slot.queue,
            });
            orders.push((w, Command::StartRx(Box::new(slot))));
        }
        self.carry_out(orders).map(|_| ())
    }

    /// Afterwards nobody polls the port, and what came from it has gone through the stages.
    fn stop_rx(&mut self, id: PortId) -> Result<(), WorkerError> {
        let Some(e) = &self.ports[id.index()] else {
            return Ok(());
        };
        let mut pollers = e.queues.rx.clone();
        pollers.sort_unstable();
        pollers.dedup();
        let mut slots = Vec::new();
        for w in pollers {
            match self.carry_out(vec![(w, Command::StopRx(id))]) {
                Ok(outcomes) => {
                    for o in outcomes {
                        if let Outcome::Rx(s) = o {
                            slots.extend(s);
                        }
                    }
                }
                Err(WorkerError::Died { .. }) => {} // and its queues with it
                Err(e) => return Err(e),
            }
            self.workers[w.index()].queues.retain(|q| q.port != id);
        }
        if let Some(e) = self.ports[id.index()].as_mut() {
            e.polled = false;
            e.resting.extend(slots);
        }
        Ok(())
    }

    /// Closes a port. Frames for it that are inside are sent, or dropped as `port_removed`; other ports lose none. Its
    /// interfaces and adjacencies are the caller's to take out before.
    ///
    /// # Errors
    /// When there is no such port, or a worker hangs.
    pub fn close_port(&mut self, id: PortId) -> Result<(), CloseError> {
        let Some(Some(e)) = self.ports.get(id.index()) else {
            return Err(CloseError::Unknown(id));
        };
        let queues = e.queues.clone();
        self.stop_rx(id)?;
        let far = self
            .workers
            .iter()
            .map(|w| w.seat.id)
            .filter(|w| !queues.tx.contains(w));
        let orders = far.map(|w| (w, Command::ShutTx(id))).collect();
        tolerate_death(self.carry_out(orders))?;
        let orders = queues
            .tx
            .iter()
            .map(|&w| (w, Command::StopTx(id)))
            .collect();
        let queue = |o| {
            if let Outcome::Tx(q) = o {
                Some(q)
            } else {
                None
            }
        };
        let outcomes = tolerate_death(self.carry_out(orders))?;
        // Queues and device end here, on this thread, in this order.
        drop(
            outcomes
                .into_iter()
                .filter_map(queue)
                .collect::<Vec<Box<AnyTx>>>(),
        );
        if let Some(PortEntry { port, resting, .. }) = self.ports[id.index()].take() {
            drop(resting);
            port.close()?;
        }
        Ok(())
    }
}

/// A worker that is dead holds nothing any more.
fn tolerate_death(r: Result<Vec<Outcome>, WorkerError>) -> Result<Vec<Outcome>, WorkerError> {
    match r {
        Err(WorkerError::Died { .. }) => Ok(Vec::new()),
        other => other,
    }
}
