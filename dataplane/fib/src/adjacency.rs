//! Adjacencies: what is written before a frame that goes to a neighbour.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use net::{IfaceId, MacAddr, PortId};

/// Whether the neighbour's link address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum AdjState {
    /// The header is valid.
    Complete,
    /// Frames go to the control thread, which resolves the neighbour.
    Incomplete,
}

/// A neighbour on an interface, and the link header that reaches it. All that a frame needs is in the first half of its
/// line, the header first, so that it can be copied in two loads.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Adjacency {
    /// Destination, source, 802.1Q tag if any, and two bytes for the EtherType, which the rewrite stage fills in.
    pub header: [u8; 18],
    /// How much of `header` is used: 14, or 18 with a tag.
    pub header_len: u8,
    /// Whether `header` is valid.
    pub state: AdjState,
    /// The largest layer-3 packet that the interface takes, in bytes.
    pub mtu: u16,
    /// The interface that frames leave by.
    pub iface: IfaceId,
    /// Its port.
    pub port: PortId,
    /// The neighbour's address.
    pub next_hop: IpAddr,
    /// `mtu` where the header is valid and has no tag, else 0: what most frames ask for, in one field.
    plain_mtu: u16,
    /// Set by workers that forward by it, taken by the control thread to decide on a refresh.
    used: AtomicBool,
}

const _: () = assert!(std::mem::offset_of!(Adjacency, port) + 2 <= 32);
const _: () = assert!(size_of::<Adjacency>() == 64); // one cache line

impl Adjacency {
    /// A neighbour whose link address is not known yet.
    pub fn incomplete(iface: IfaceId, port: PortId, mtu: u16, next_hop: IpAddr) -> Self {
        let used = AtomicBool::new(false);
        Self {
            iface,
            port,
            mtu,
            header: [0; 18],
            header_len: 0,
            state: AdjState::Incomplete,
            next_hop,
            plain_mtu: 0,
            used,
        }
    }

    /// The same neighbour, reached at `to`. `vlan` is the 802.1Q tag control information, if frames are tagged.
    #[must_use]
    pub fn complete(mut self, from: MacAddr, to: MacAddr, vlan: Option<u16>) -> Self {
        self.header[..6].copy_from_slice(&to.0);
        self.header[6..12].copy_from_slice(&from.0);
        self.header_len = 14;
        self.plain_mtu = if vlan.is_none() { self.mtu } else { 0 };
        if let Some(tci) = vlan {
            self.header[12..14].copy_from_slice(&0x8100u16.to_be_bytes());
            self.header[14..16].copy_from_slice(&tci.to_be_bytes());
            self.header_len = 18;
        }
        self.state = AdjState::Complete;
        self
    }

    /// The link header with its EtherType still zero; empty while incomplete.
    #[inline]
    pub fn header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_len)]
    }

    /// Whether the header is valid.
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.state == AdjState::Complete
    }

    /// The largest layer-3 packet that can leave at once with an untagged header: 0 where there is no such header.
    #[inline]
    pub fn plain_mtu(&self) -> u16 {
        self.plain_mtu
    }

    /// Notes that a frame went this way. Stores only when that is news, so that workers do not fight for the line.
    #[inline]
    pub fn mark_used(&self) {
        // Relaxed, both: a hint that orders nothing; pairs with the swap in `take_used`.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a frame went this way since the last call.
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed) // pairs with the store in `mark_used`; orders nothing
    }
}

impl Clone for Adjacency {
    fn clone(&self) -> Self {
        let used = AtomicBool::new(self.used.load(Ordering::Relaxed)); // a hint, as in `mark_used`
        Self { used, ..*self }
    }
}

impl PartialEq for Adjacency {
    /// Whether frames are treated alike; that one has been used does not count.
    fn eq(&self, other: &Self) -> bool {
        (self.iface, self.port, self.mtu, self.state, self.next_hop)
            == (
                other.iface,
                other.port,
                other.mtu,
                other.state,
                other.next_hop,
            )
            && self.header() == other.header()
    }
}

impl Eq for Adjacency {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let adj = Adjacency::incomplete(IfaceId(1), PortId(2), 1500, "192.0.2.1".parse().unwrap());
        assert!(!adj.is_complete() && adj.header().is_empty());
        let (from, to) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 9]));
        let plain = adj.clone().complete(from, to, None);
        assert_eq!(plain.header(), [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0, 0]);
        let tagged = adj.complete(from, to, Some(100));
        assert_eq!(
            tagged.header(),
            [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 100, 0, 0]
        );
        assert_ne!(plain, tagged);
        tagged.mark_used();
        assert_eq!(tagged, tagged.clone());
        assert_eq!((tagged.take_used(), tagged.take_used()), (true, false));
    }
}
