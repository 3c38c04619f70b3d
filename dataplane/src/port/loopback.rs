//! `loopback`: a port without a wire, for addresses of the router that no link's failure takes away.
//!
//! Nothing is received, so no worker polls it; what is sent (the kernel's own multicast, mostly) goes nowhere. Its link is up.

use super::{Link, Tx};
use crate::burst::Burst;
use net::{MacAddr, PortId};

/// Locally administered; on no wire, so the number of the port is enough to tell one from another here.
pub(super) fn mac(id: PortId) -> MacAddr {
    let [high, low] = id.0.to_be_bytes();
    MacAddr([0x02, 0, 0, 0, high, low])
}

/// Up, as fast as one likes.
pub(super) const LINK: Link = Link { up: true, mbps: 0 };

/// A sending queue: takes all, and frees it.
#[derive(Debug)]
pub struct LoopbackTx;

impl Tx for LoopbackTx {
    fn tx(&mut self, burst: &mut Burst) -> usize {
        let n = burst.len();
        while burst.pop_front().is_some() {}
        n
    }
}
