//! What the control thread tells a worker to do between two loops, and the answers. Rare, so boxed and unhurried; queues
//! travel in them as owned values, so no queue ever has two users.
//!
//! Removing a port takes three steps, so that no frame is lost or left behind:
//! 1. [`Command::StopRx`] to whoever polls it: nothing new comes in, and what came in has been run to completion.
//! 2. [`Command::ShutTx`] to every worker that sends over a ring: it puts what it had collected for the port into the
//!    ring; later frames are dropped as `port_removed`.
//! 3. [`Command::StopTx`] to each owner of a TX queue: it empties the rings up to where they were filled by then, sends
//!    what it holds (or drops it when the driver won't take it) and gives the queue back.

use crate::mempool::Mempool;
use crate::port::{AnyRx, AnyTx};
use net::{PortId, WorkerId};
use std::sync::Arc;

/// An RX queue and whose it is.
pub(crate) struct RxSlot {
    pub port: PortId,
    pub queue: u16,
    pub rx: AnyRx,
}

/// How a worker is to send to a port.
pub(crate) enum Way {
    /// By its own queue.
    Own(Box<AnyTx>),
    /// Over the ring to that worker, which owns one.
    Via(WorkerId),
}

pub(crate) enum Command {
    /// Poll that queue from now on.
    StartRx(Box<RxSlot>),
    /// Poll no queue of that port any more, and give them back.
    StopRx(PortId),
    /// Send frames for that port that way.
    StartTx(PortId, Way),
    /// Take no more frames for that port, except for those who send over rings to its queue.
    ShutTx(PortId),
    /// Empty and give back the queue of that port.
    StopTx(PortId),
    /// Make new frames in that pool.
    UsePool(Arc<Mempool>),
    /// Drop what is left and end the thread.
    Stop,
}

/// A command with the number that its answer will carry.
pub(crate) struct Order {
    pub seq: u64,
    pub command: Command,
}

/// What a worker gives back.
pub(crate) enum Outcome {
    Done,
    Rx(Vec<RxSlot>),
    Tx(Box<AnyTx>),
}

/// The answer to the [`Order`] of that number.
pub(crate) struct Answer {
    pub seq: u64,
    pub outcome: Outcome,
}
