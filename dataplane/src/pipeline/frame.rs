//! A frame between two stages.

use crate::burst::Burst;
use crate::interface::Interface;
use crate::mbuf::Mbuf;
use arrayvec::ArrayVec;
use net::{IfaceId, VrfId};

/// Whom the link layer addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cast {
    /// This router.
    Unicast,
    /// A group, or everybody.
    Group,
}

/// Who sent the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Another station: it is forwarded.
    Wire,
    /// This host's kernel: it is sent, so its TTL stays.
    Kernel,
    /// A stage, an ICMP error: it is sent, and never answered by another.
    Own,
}

/// A frame between two stages. Its data begins at the network header.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) m: Mbuf,
    /// Where it came in, or was made for. Its drops are counted there.
    pub(super) iface: IfaceId,
    /// Whose table it is looked up in, and whose addresses it is compared with: of the interface, until a label says other.
    pub(super) vrf: VrfId,
    /// Bytes of label stack entries popped, still in the headroom right in front of the data. Before them, if the frame
    /// came from the wire, lies its Ethernet header.
    pub(super) popped: u8,
    /// What the popped labels leave of the TTL (RFC 3443, uniform model); 255 where they say nothing.
    pub(super) ttl_cap: u8,
    pub(super) cast: Cast,
    pub(super) origin: Origin,
}

const _: () = assert!(size_of::<Frame>() == 16); // four a cache line

/// The frames that wait for a stage.
pub(super) type Frames = ArrayVec<Frame, { Burst::CAPACITY }>;

impl Frame {
    /// A packet from the wire, right behind its Ethernet header.
    #[inline]
    pub(super) fn received(m: Mbuf, iface: &Interface, cast: Cast) -> Self {
        Self {
            m,
            iface: iface.id,
            vrf: iface.vrf,
            popped: 0,
            ttl_cap: u8::MAX,
            cast,
            origin: Origin::Wire,
        }
    }

    /// A packet that was not received from a wire, so there is nothing in front of it.
    pub(super) fn sent(m: Mbuf, iface: IfaceId, vrf: VrfId, origin: Origin) -> Self {
        Self {
            m,
            iface,
            vrf,
            popped: 0,
            ttl_cap: u8::MAX,
            cast: Cast::Unicast,
            origin,
        }
    }

    /// Is its TTL to be taken down, and its source to be judged?
    #[inline]
    pub(super) fn forwarded(&self) -> bool {
        self.origin == Origin::Wire
    }
}
