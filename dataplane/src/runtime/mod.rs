//! The data plane as the control thread sees it: start it, give it ports, tables and frames, read what it counts, stop it.
//!
//! One thread uses a [`Dataplane`]: the one that started it, which is the EAL's main lcore and the only writer of tables.
//! Nothing here waits for the control thread: while it is busy elsewhere, or gone, workers forward by the tables they have.

pub mod explain;
mod handle;
mod ports;
#[cfg(test)]
mod tests;

pub use handle::{HANDOVER_RING, INJECT_RING, PUNT_RING};
pub use ports::{CloseError, OpenError, PortInfo};

use crate::counters::{ControlCounters, CounterBlock, Counts};
use crate::drops::Drop as Reason;
use crate::eal::{Eal, EalConfig, EalError};
use crate::interface::InterfaceTable;
use crate::mempool::{PoolError, Pools, SMALL_MTU, SMALL_ROOM};
use crate::pipeline::{Pipeline, PipelineConfig};
use crate::plan::Seat;
use crate::punt::{Inject, Punted};
use crate::stats::WorkerStats;
use crate::worker::Stages;
use crate::worker::command::Command;
use crate::worker::idle::Poll;
use crate::worker::park::{Bed, ControlBell};
use fib::FibWriter;
use handle::{Handle, Parts, Shared};
use net::{IfaceId, WorkerId};
use ports::PortEntry;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a worker may take to carry out an order. It takes microseconds, unless the machine has no time for it.
const ORDER_TIMEOUT: Duration = Duration::from_secs(2);

/// How to start the data plane.
#[derive(Clone, Debug)]
pub struct Config {
    /// The EAL.
    pub eal: EalConfig,
    /// The CPU of each worker. At least one.
    pub workers: Vec<usize>,
    /// How they wait for frames.
    pub poll: Poll,
    /// Frames in the pool of each NUMA node, for usual MTUs.
    pub frames: u32,
    /// Frames in the pool of each NUMA node for greater MTUs, made when the first such port is opened.
    pub jumbo_frames: u32,
    /// What the stages are to know.
    pub pipeline: PipelineConfig,
}

/// Why the data plane did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The EAL.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// The frames.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The tables.
    #[error(transparent)]
    Tables(#[from] fib::NewError),
    /// No CPU for a worker.
    #[error("no CPU for a worker; name at least one in `workers`")]
    NoWorkers,
    /// A worker did not come up.
    #[error("worker {worker} can't run on CPU {cpu}: {cause}")]
    Worker {
        /// The worker.
        worker: WorkerId,
        /// Its CPU.
        cpu: usize,
        /// The cause, and what to do.
        cause: String,
    },
    /// The machine could not be read, or gave no descriptor.
    #[error("the machine refuses: {0}")]
    Machine(String),
}

/// A worker does not do what it is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// Its thread has ended by itself: a bug.
    #[error("worker {worker} has died; restart the appliance and report its last words on stderr")]
    Died {
        /// The worker.
        worker: WorkerId,
    },
    /// It did not answer in time.
    #[error(
        "worker {worker} did not answer within {ORDER_TIMEOUT:?}; is its CPU taken by a real-time process?"
    )]
    Stalled {
        /// The worker.
        worker: WorkerId,
    },
}

/// Why a frame was not taken. It has been counted already, `injected` and dropped, on the interface it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// The worker's ring is full.
    #[error("the ring to the worker is full")]
    Full,
    /// No buffer is free.
    #[error("no free frame")]
    NoBuffer,
    /// Longer than any frame.
    #[error("longer than a frame can be")]
    TooLong,
    /// The worker has died.
    #[error("the worker has died")]
    Died,
}

/// The workers, their ports and tables.
pub struct Dataplane {
    // In the order of their end: whoever holds frames goes before the pools, and those before the EAL.
    workers: Vec<Handle>,
    ports: Vec<Option<PortEntry>>,
    next_port: usize,
    fib: FibWriter,
    ifaces: Arc<rcu::Cell<InterfaceTable>>,
    domain: Arc<rcu::Domain>,
    bell: Arc<ControlBell>,
    counters: ControlCounters,
    control_block: Arc<CounterBlock>,
    /// What the counters of an interface showed when its id was given to another.
    baselines: BTreeMap<IfaceId, Counts>,
    /// Where the next round over the punt rings begins.
    punt_turn: usize,
    poll: Poll,
    pipeline: PipelineConfig,
    pools: Pools,
    /// `None` once it must not be cleaned up, because a worker that hangs still uses it.
    eal: Option<Eal>,
    stopped: bool,
}

impl Dataplane {
    /// Starts the EAL and the workers, without ports. The calling thread is pinned to the EAL's control CPU, and is the
    /// one to use what is returned.
    ///
    /// # Errors
    /// When the EAL does not start, there is no memory for frames, or a worker can't run on its CPU.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, |_| Pipeline::new(config.pipeline))
    }

    /// As [`start`](Self::start), with other stages.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with<S: Stages>(
        config: &Config,
        mut stages: impl FnMut(WorkerId) -> S,
    ) -> Result<Self, StartError> {
        if config.workers.is_empty() {
            return Err(StartError::NoWorkers);
        }
        let machine = hugepages::topology::Machine::detect()
            .map_err(|e| StartError::Machine(e.to_string()))?;
        let seat = |(i, &cpu): (usize, &usize)| Seat {
            id: WorkerId(i as u16),
            cpu,
            node: machine.node_of(cpu),
        };
        let seats: Vec<Seat> = config.workers.iter().enumerate().map(seat).collect();
        // Tables lie where the workers are, or next to them where there is no memory.
        let sys = hugepages::sys::Sys::default();
        let memory_of = |cpu| machine.memory_of(&sys, cpu);
        let (tables, nodes) = crate::plan::replicas(&config.workers, memory_of);
        let refused = |e: std::io::Error| StartError::Machine(e.to_string());
        let beds: Vec<Arc<Bed>> = seats
            .iter()
            .map(|_| Bed::new().map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(refused)?;
        let bell = Arc::new(ControlBell::new().map_err(refused)?);

        let eal = Eal::init(&config.eal)?;
        let pools = Pools::new(config.frames, config.jumbo_frames);
        let domain = rcu::Domain::new();
        let fib = FibWriter::new(&nodes, &domain)?;
        let ifaces = Arc::new(rcu::Cell::new(&domain, Box::new(InterfaceTable::default())));
        let control_block = CounterBlock::new();
        let mut dp = Self {
            workers: Vec::with_capacity(seats.len()),
            ports: (0..crate::interface::MAX_PORTS).map(|_| None).collect(),
            next_port: 0,
            fib,
            ifaces: ifaces.clone(),
            domain: domain.clone(),
            bell: bell.clone(),
            counters: ControlCounters::new(control_block.clone()),
            control_block,
            baselines: BTreeMap::new(),
            punt_turn: 0,
            poll: config.poll,
            pipeline: config.pipeline,
            pools,
            eal: Some(eal),
            stopped: false,
        };
        let shared = Shared {
            domain,
            ifaces,
            control: bell,
            poll: config.poll,
        };
        // From here on, dropping `dp` ends the workers started so far.
        for (((seat, bed), (to_peers, from_peers)), node) in
            (seats.iter().zip(&beds).zip(handle::mesh(&beds))).zip(tables)
        {
            let parts = Parts {
                seat: *seat,
                stages: stages(seat.id),
                tables: dp.fib.replica(node),
                pool: dp.pool(seat.node, SMALL_MTU)?,
                bed: bed.clone(),
                to_peers,
                from_peers,
            };
            dp.workers.push(Handle::start(&shared, parts)?);
        }
        Ok(dp)
    }

    fn pool(&mut self, node: u32, mtu: u16) -> Result<Arc<crate::mempool::Mempool>, PoolError> {
        let eal = self.eal.as_ref().expect("only dropped at the end");
        self.pools.get(eal, node, mtu)
    }

    /// The places of the workers.
    #[must_use]
    pub fn seats(&self) -> Vec<Seat> {
        self.workers.iter().map(|w| w.seat).collect()
    }

    /// The pools that frames come from.
    #[must_use]
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// The forwarding tables.
    pub fn fib(&mut self) -> &mut FibWriter {
        &mut self.fib
    }

    /// Replaces the interfaces. Ports that have none any more are not polled from then on; ports that have some now are.
    /// So a frame is only ever taken from a port when there is an interface to count it on.
    ///
    /// # Errors
    /// When a worker died or hangs. The table is published all the same.
    pub fn publish_interfaces(&mut self, table: InterfaceTable) -> Result<(), WorkerError> {
        let stopped = self.follow_table(&table, false);
        self.ifaces.publish(self.fib.rcu(), Box::new(table.clone()));
        let started = self.follow_table(&table, true);
        self.fib.rcu().reclaim();
        stopped.and(started)
    }

    /// The interfaces published last.
    pub fn interfaces(&mut self) -> &InterfaceTable {
        self.ifaces.peek(self.fib.rcu())
    }

    /// Gives what workers punted to `f`, at most `budget` frames; returns how many. As many as the budget: there may be
    /// more. Call it when [`wake_fd`](Self::wake_fd) is readable, and at the latest after
    /// [`punt_timeout`](Self::punt_timeout).
    pub fn punts(&mut self, budget: usize, mut f: impl FnMut(Punted)) -> usize {
        self.bell.clear();
        let (n, mut taken) = (self.workers.len(), 0);
        for i in 0..n {
            let w = &mut self.workers[(self.punt_turn + i) % n];
            for frame in w.punts.drain(budget - taken) {
                taken += 1;
                match Punted::from_frame(frame) {
                    Ok(p) => f(p),
                    Err(m) => self.counters.given_up(m.meta().iface, Reason::PuntUnwanted),
                }
            }
        }
        self.punt_turn = (self.punt_turn + 1) % n.max(1);
        taken
    }

    /// Readable when a worker has punted something and gone idle. [`punts`](Self::punts) clears it.
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// How long the control thread may wait before it calls [`punts`](Self::punts), beside
    /// [`wake_fd`](Self::wake_fd): workers ring only when they run out of work, and in busy mode never.
    #[must_use]
    pub fn punt_timeout(&self) -> Duration {
        match self.poll {
            Poll::Busy => Duration::from_micros(250),
            Poll::Adaptive if self.workers.iter().any(|w| !w.bed.looks_asleep()) => {
                Duration::from_millis(1)
            }
            // One that wakes to more work than it can do, and so never rings, waits that long once.
            Poll::Adaptive => Duration::from_millis(20),
        }
    }

    /// Gives a frame to a worker: always the same one for an interface, an adjacency or a flow, so that order is kept.
    ///
    /// # Errors
    /// When it can't be taken; it has been counted then.
    pub fn inject(&mut self, what: Inject, frame: &[u8]) -> Result<(), InjectError> {
        let (iface, w) = self.inject_target(what, frame);
        let result = self.try_inject(what, frame, w);
        if let Err(e) = result {
            let why = match e {
                InjectError::Full => Reason::InjectFull,
                InjectError::NoBuffer => Reason::NoBuffer,
                InjectError::TooLong => Reason::Giant,
                InjectError::Died => Reason::WorkerDied,
            };
            self.counters.given_up(iface, why);
        }
        result
    }

    /// The interface to count on, and the worker's index.
    fn inject_target(&mut self, what: Inject, frame: &[u8]) -> (IfaceId, usize) {
        let n = self.workers.len();
        match what {
            Inject::Raw { iface } => {
                let port = self.interfaces().get(iface).map(|i| i.port);
                // One that owns a TX queue of the port, so that the frame takes no further ring.
                let entry = port.and_then(|p| self.ports.get(p.index())?.as_ref());
                let w = entry.map(|e| e.queues.tx[iface.index() % e.queues.tx.len()].index());
                (iface, w.unwrap_or(0))
            }
            Inject::ToAdj { adj, iface, .. } => (iface, adj.index() % n),
            Inject::Route { iface, .. } => {
                let hash = match frame.first().map(|b| b >> 4) {
                    Some(4) => net::flow::hash_ip4(frame),
                    Some(6) => net::flow::hash_ip6(frame),
                    _ => 0,
                };
                (iface, hash as usize % n)
            }
        }
    }

    fn try_inject(&mut self, what: Inject, frame: &[u8], w: usize) -> Result<(), InjectError> {
        let jumbo = frame.len() > usize::from(SMALL_ROOM);
        let node = self.workers[w].seat.node;
        let pool = self
            .pools
            .iter()
            .filter(|p| (p.data_room() > SMALL_ROOM) == jumbo);
        let pool = pool
            .min_by_key(|p| p.node() != node)
            .ok_or(InjectError::TooLong)?;
        if frame.len() > usize::from(pool.data_room()) {
            return Err(InjectError::TooLong);
        }
        let mut m = pool.alloc_from(frame).ok_or(InjectError::NoBuffer)?;
        m.meta_mut().set_inject(what);
        let w = &mut self.workers[w];
        if w.bed.is_dead() {
            return Err(InjectError::Died);
        }
        w.inject.push(m).map_err(|_| InjectError::Full)?;
        w.bed.wake();
        Ok(())
    }

    /// Counts a punted frame that is not coming back: `injected += 1, drops[why] += 1`.
    pub fn count_given_up(&mut self, iface: IfaceId, why: Reason) {
        self.counters.given_up(iface, why);
    }

    fn raw_counts(&self, iface: IfaceId) -> Counts {
        let mut sum = self.control_block.read(iface);
        for w in &self.workers {
            sum.add(&w.block.read(iface));
        }
        sum
    }

    /// What was counted for an interface, over all workers and the control thread.
    #[must_use]
    pub fn counts(&self, iface: IfaceId) -> Counts {
        let mut sum = self.raw_counts(iface);
        if let Some(b) = self.baselines.get(&iface) {
            sum.sub(b);
        }
        sum
    }

    /// What was counted for each interface of the table.
    pub fn counters(&mut self) -> Vec<(IfaceId, Counts)> {
        let ids: Vec<IfaceId> = self.interfaces().iter().map(|i| i.id).collect();
        ids.into_iter().map(|i| (i, self.counts(i))).collect()
    }

    /// What was counted in all, removed interfaces too. At rest the law holds for it: `entered() == left()`.
    #[must_use]
    pub fn totals(&self) -> Counts {
        let mut sum = Counts::default();
        for i in 0..crate::interface::IFACE_SLOTS {
            sum.add(&self.raw_counts(IfaceId(i as u16)));
        }
        sum
    }

    /// Lets the counters of an interface begin at zero: to be called when its id is given to another one.
    pub fn reset_counts(&mut self, iface: IfaceId) {
        let now = self.raw_counts(iface);
        self.baselines.insert(iface, now);
    }

    /// How each worker is doing.
    pub fn worker_stats(&mut self) -> Vec<WorkerStats> {
        let (now, rcu) = (Instant::now(), self.domain.status());
        self.workers
            .iter_mut()
            .map(|w| w.stats(now, &rcu))
            .collect()
    }

    /// Lets the longest loop, and the histogram of loops, of every worker begin anew.
    pub fn reset_longest(&mut self) {
        self.workers.iter_mut().for_each(Handle::reset_longest);
    }

    /// The epoch and where each reader is.
    #[must_use]
    pub fn rcu_status(&self) -> rcu::Status {
        self.domain.status()
    }

    /// Closes the ports and ends the workers. Every frame still inside is counted, so that [`totals`](Self::totals) obey
    /// the law afterwards. Does nothing the second time.
    ///
    /// # Errors
    /// The first that went wrong; all that can be ended is ended, and it never takes longer than a few seconds.
    pub fn shutdown(&mut self) -> Result<(), WorkerError> {
        if std::mem::replace(&mut self.stopped, true) {
            return Ok(());
        }
        let mut result = Ok(());
        for port in self.open_ports() {
            if let Err(CloseError::Worker(e)) = self.close_port(port) {
                result = result.and(Err(e));
            }
        }
        for w in &mut self.workers {
            let ordered = w.order(Command::Stop).map(|_| ());
            result = result.and(ordered);
        }
        let deadline = Instant::now() + ORDER_TIMEOUT;
        for w in &mut self.workers {
            let joined = w.join(deadline);
            result = result.and(joined);
        }
        if self.workers.iter().any(Handle::alive) {
            // It may still touch frames and devices: leave those to the end of the process.
            std::mem::forget(self.eal.take());
            std::mem::forget(std::mem::take(&mut self.ports));
        }
        result
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        let _ = self.shutdown();
    }
}
