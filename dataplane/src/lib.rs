//! Everything a frame meets: ports, workers, the pipeline, and the rings to and from the control thread.
//!
//! Start with DESIGN section 2. A frame enters at [`port`], is run to completion by a [`worker`] through the stages of
//! [`pipeline`], and leaves by a port, by a ring to the control thread ([`punt`]), or under a named reason ([`drops`]).
//! [`Dataplane`] is the whole of it as the control thread sees it.

pub mod burst;
pub mod counters;
pub mod drops;
pub mod eal;
mod eventfd;
mod heads;
pub mod interface;
pub mod mbuf;
pub mod mempool;
pub mod pipeline;
pub mod plan;
pub mod port;
pub mod punt;
pub mod runtime;
mod select;
pub mod stats;
pub mod tap;
pub mod trace;
pub mod worker;

pub use rcu::{Changes, ReaderStatus, Stall, Watchdog};
pub use runtime::{Config, Dataplane};
