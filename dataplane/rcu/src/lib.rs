//! What threads share without locks: quiescent-state based reclamation (QSBR) and burst rings.
//!
//! To read: McKenney, "Is Parallel Programming Hard", chapter 9 (RCU); Hart et al., "Performance of memory reclamation
//! for lockless synchronization", 2007 (QSBR). Left out on purpose: several writers, nested read sections, and any
//! cost per read; readers report once a loop.
//!
//! # Reclamation
//! One [`Domain`] for a process. Each worker has a [`Reader`] and calls [`Reader::quiescent`] once a loop, when it
//! holds no reference into shared tables; the borrow checker proves that it does not, since that call needs
//! `&mut self` and every reference borrows the reader. Before it sleeps it goes [`Reader::offline`]. The control
//! thread has the one [`Writer`]: it publishes through [`Cell`] and [`Table`], and what it replaced is freed when
//! every reader that was online has reported since.
//!
//! ```
//! let domain = rcu::Domain::new();
//! let mut writer = domain.writer().unwrap();
//! let mut reader = domain.register("worker 0");
//! let cell = rcu::Cell::new(&domain, Box::new(1));
//! assert_eq!(*cell.read(&reader), 1);
//! cell.publish(&mut writer, Box::new(2));
//! assert_eq!((writer.reclaim(), writer.pending()), (0, 1)); // the reader might still look at the 1
//! reader.quiescent();
//! assert_eq!((writer.reclaim(), writer.pending()), (1, 0));
//! ```
//!
//! A reference held across a report does not compile:
//! ```compile_fail,E0502
//! let domain = rcu::Domain::new();
//! let mut reader = domain.register("worker 0");
//! let cell = rcu::Cell::new(&domain, Box::new(1));
//! let one = cell.read(&reader);
//! reader.quiescent();
//! println!("{one}");
//! ```
//! Nor does one that outlives its cell:
//! ```compile_fail,E0505
//! let domain = rcu::Domain::new();
//! let mut reader = domain.register("worker 0");
//! let cell = rcu::Cell::new(&domain, Box::new(1));
//! let one = cell.read(&reader);
//! drop(cell);
//! println!("{one}");
//! ```
//!
//! # Rings
//! [`ring::spsc`]: one producer, one consumer, whole bursts at a time.

mod cell;
#[cfg(all(test, loom))]
mod loom_tests;
mod order;
mod qsbr;
pub mod ring;
mod status;
mod sync;

pub use cell::{Cell, Table, View};
pub use qsbr::{Domain, Guard, Reader, Stalled, Writer, WriterTaken};
pub use status::{Changes, ReaderStatus, Stall, Status, Watchdog};
