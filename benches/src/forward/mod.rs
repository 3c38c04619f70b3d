//! Forwarding measured side by side: the appliance, DPDK's `testpmd` in mode io (the floor: receive, send, nothing else) and
//! its `l3fwd` with rte_fib, on the same frames, by turns, on one core. `cargo testbed bench forward`, or
//! `cargo run -p benches --release --bin bench-forward -- --help`.
//!
//! Two ports `net_pcap` that play a file for ever and drop what is sent stand for two cards: no wire limits anybody. All
//! programs of a case run at once, stopped but for the one whose turn it is; the thread that forwards is SCHED_FIFO on its
//! own core. A turn is read between two readings of the time stamp counter made together with the count of frames.
//!
//! Left out: real cards, and so what they and a wire add to the time that a frame takes.

pub mod case;
pub mod frames;
pub mod latency;
pub mod ours;
pub mod page;
pub mod process;
pub mod report;
pub mod rival;
pub mod updates;
