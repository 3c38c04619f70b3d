//! The memory orderings of the protocol, in one place, as a type parameter.
//!
//! What ships is [`Proven`]. The tests put weaker ones in its place ("negative controls") and the model checker must
//! then find a reader that looks at freed memory: if it does not, it would not find our own mistakes either. The
//! values are constants, so that the parameter costs nothing, and nobody outside this crate can choose others.

use std::sync::atomic::Ordering;

/// Which orderings a domain uses.
pub trait Orders: Send + Sync + 'static {
    /// Of the store by which a reader reports the epoch it has seen.
    const SEEN: Ordering;
    /// Of the store by which the writer opens an epoch.
    const EPOCH: Ordering;
    /// Whether a reader that comes online fences between its report and its first read.
    const READER_FENCE: bool;
    /// Whether the writer fences between opening an epoch and looking at the readers.
    const WRITER_FENCE: bool;
}

/// The orderings that ship, each needed: see the negative controls in this crate's loom tests.
#[derive(Debug, Clone, Copy)]
pub struct Proven;

impl Orders for Proven {
    // Pairs with the Acquire load in `Domain::horizon`: what the reader read before it reported happens before the free.
    const SEEN: Ordering = Ordering::Release;
    // Pairs with the Acquire load in `Reader::quiescent` and `Reader::online`: who has seen the epoch sees what was
    // published before it.
    const EPOCH: Ordering = Ordering::Release;
    // Each pairs with the other. Without either, the reader's report and the writer's publication can pass each
    // other: the writer sees nobody online, and the reader gets the old pointer.
    const READER_FENCE: bool = true;
    const WRITER_FENCE: bool = true;
}
