//! What goes to the control thread ("punt") and comes back ("inject"), and the 64 bytes that travel with each frame in its
//! mbuf's private area.
//!
//! | way | frame holds | metadata |
//! |-----|-------------|----------|
//! | punt `Echo` | a packet as it came, from its first label on, or from its IPv4 header | `iface` and `rx_iface` where it came in, `ethertype` |
//! | punt `Local`, `Arp`, `Nd` | the whole Ethernet frame, its VLAN tag taken off | `iface` (for `Local`: whose TAP gets it), `rx_iface` |
//! | punt `Glean`, `Incomplete` | a finished L3 or MPLS packet, no L2 header | `iface` to leave by, `ethertype`, `next_hop`, `adj` for `Incomplete`, `ttl` as received |
//! | inject `Raw` | a complete, untagged Ethernet frame; the worker adds the VLAN tag | `iface` |
//! | inject `ToAdj` | an L3 or MPLS packet, finished | `adj`, `ethertype` |
//! | inject `Route` | an IP packet from the kernel; looked up, TTL untouched | `vrf`, `iface` whose TAP it came from |

use crate::interface::NO_IFACE;
use crate::mbuf::Mbuf;
use net::{AdjId, IfaceId, PortId, VrfId};
use std::net::IpAddr;

/// Why a frame goes to the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PuntReason {
    /// Addressed to the router (its unicast addresses, broadcast, a group it listens to): for the kernel.
    Local = 1,
    /// ARP, RFC 826.
    Arp = 2,
    /// Neighbour Discovery, RFC 4861.
    Nd = 3,
    /// To a host of a connected prefix that has no adjacency yet.
    Glean = 4,
    /// To an adjacency whose link-layer address is not known yet.
    Incomplete = 5,
    /// An echo request of LSP ping, whose labels end here, or whose TTL does (RFC 8029 4.4).
    Echo = 6,
}

impl PuntReason {
    const fn from_raw(v: u8) -> Option<Self> {
        Some(match v {
            1 => Self::Local,
            2 => Self::Arp,
            3 => Self::Nd,
            4 => Self::Glean,
            5 => Self::Incomplete,
            6 => Self::Echo,
            _ => return None,
        })
    }
}

/// What the control thread wants done with a frame it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inject {
    /// A complete, untagged Ethernet frame, to leave by that interface as it is (the worker adds the VLAN tag).
    Raw {
        /// The interface to leave by.
        iface: IfaceId,
    },
    /// A finished L3 or MPLS packet, to be given the adjacency's L2 header.
    ToAdj {
        /// The adjacency.
        adj: AdjId,
        /// What the packet is: 0x0800, 0x86dd or 0x8847.
        ethertype: u16,
        /// The adjacency's interface, for counting.
        iface: IfaceId,
    },
    /// An IPv4 or IPv6 packet from the kernel, to be looked up; its TTL stays as it is.
    Route {
        /// The table to look it up in.
        vrf: VrfId,
        /// The interface from whose TAP it came, for counting.
        iface: IfaceId,
    },
}

const RAW: u8 = 0x81;
const TO_ADJ: u8 = 0x82;
const ROUTE: u8 = 0x83;

/// The metadata of a frame: the private area of its mbuf. Every bit pattern is valid; a frame fresh from a port has
/// whatever its buffer's last user left, so write before you read.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct FrameMeta {
    kind: u8,
    family: u8,
    /// The interface: see the table at the top of the module.
    pub iface: IfaceId,
    /// The port it came from or leaves by.
    pub port: PortId,
    /// The EtherType of a frame that carries no L2 header.
    pub ethertype: u16,
    adj: u32,
    /// The routing table: what an injected packet is looked up in, or whose packet a punted `Glean` or `Incomplete` is.
    pub vrf: VrfId,
    /// The interface it was received on.
    pub rx_iface: IfaceId,
    next_hop: [u8; 16],
    /// For the stages to use as they like while they hold the frame.
    pub scratch: [u64; 3],
    ttl: u8,
}

const _: () = assert!(size_of::<FrameMeta>() == 64);

impl FrameMeta {
    /// No kind, no interface.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            kind: 0,
            family: 0,
            iface: NO_IFACE,
            port: PortId(u16::MAX),
            ethertype: 0,
            adj: u32::MAX,
            vrf: VrfId(0),
            rx_iface: NO_IFACE,
            next_hop: [0; 16],
            scratch: [0; 3],
            ttl: 0,
        }
    }

    /// Marks the frame for the control thread.
    #[inline]
    pub fn set_punt(
        &mut self,
        reason: PuntReason,
        iface: IfaceId,
        rx_iface: IfaceId,
        ethertype: u16,
    ) {
        self.kind = reason as u8;
        self.family = 0;
        self.adj = u32::MAX;
        self.ttl = 0;
        self.vrf = VrfId::GLOBAL;
        self.iface = iface;
        self.rx_iface = rx_iface;
        self.ethertype = ethertype;
    }

    /// Adds where the frame was to go: for `Glean` and `Incomplete`, after [`set_punt`](Self::set_punt).
    #[inline]
    pub fn set_next_hop(&mut self, next_hop: IpAddr, adj: Option<AdjId>) {
        self.adj = adj.map_or(u32::MAX, |a| a.0);
        match next_hop {
            IpAddr::V4(a) => {
                self.family = 4;
                self.next_hop[..4].copy_from_slice(&a.octets());
            }
            IpAddr::V6(a) => {
                self.family = 6;
                self.next_hop = a.octets();
            }
        }
    }

    /// Adds what the packet's TTL or hop limit was when it came (0: what it is), after [`set_punt`](Self::set_punt): an
    /// ICMP error quotes it so.
    #[inline]
    pub fn set_received_ttl(&mut self, ttl: u8) {
        self.ttl = ttl;
    }

    /// The TTL or hop limit with which the packet came, if it is another by now.
    #[must_use]
    pub fn received_ttl(&self) -> Option<u8> {
        (self.ttl != 0).then_some(self.ttl)
    }

    /// Why the frame was punted, if it was.
    #[must_use]
    pub fn punt_reason(&self) -> Option<PuntReason> {
        PuntReason::from_raw(self.kind)
    }

    /// The next hop, if one was set.
    #[must_use]
    pub fn next_hop(&self) -> Option<IpAddr> {
        match self.family {
            4 => self.next_hop.first_chunk::<4>().map(|&a| IpAddr::from(a)),
            6 => Some(IpAddr::from(self.next_hop)),
            _ => None,
        }
    }

    /// The adjacency, if one was set.
    #[must_use]
    pub fn adj(&self) -> Option<AdjId> {
        (self.adj != u32::MAX).then_some(AdjId(self.adj))
    }

    /// Marks the frame for a worker.
    pub fn set_inject(&mut self, what: Inject) {
        *self = Self::new();
        match what {
            Inject::Raw { iface } => {
                self.kind = RAW;
                self.iface = iface;
            }
            Inject::ToAdj {
                adj,
                ethertype,
                iface,
            } => {
                self.kind = TO_ADJ;
                self.adj = adj.0;
                self.ethertype = ethertype;
                self.iface = iface;
            }
            Inject::Route { vrf, iface } => {
                self.kind = ROUTE;
                self.vrf = vrf;
                self.iface = iface;
            }
        }
    }

    /// What the control thread wants done with the frame, if it comes from there.
    #[must_use]
    pub fn inject(&self) -> Option<Inject> {
        let (iface, vrf) = (self.iface, self.vrf);
        Some(match self.kind {
            RAW => Inject::Raw { iface },
            TO_ADJ => Inject::ToAdj {
                adj: AdjId(self.adj),
                ethertype: self.ethertype,
                iface,
            },
            ROUTE => Inject::Route { vrf, iface },
            _ => return None,
        })
    }
}

impl Default for FrameMeta {
    fn default() -> Self {
        Self::new()
    }
}

/// A frame on the control thread.
#[derive(Debug)]
pub struct Punted {
    /// Why it came.
    pub reason: PuntReason,
    /// The interface: whose TAP gets it (`Local`), where it arrived (`Arp`, `Nd`, `Echo`), where it is to leave (the others).
    pub iface: IfaceId,
    /// The interface it was received on.
    pub rx_iface: IfaceId,
    /// Of `Glean` and `Incomplete`, whose packet it is: an ICMP error about it is looked up there.
    pub vrf: VrfId,
    /// The adjacency it waits for.
    pub adj: Option<AdjId>,
    /// The next hop to resolve.
    pub next_hop: Option<IpAddr>,
    /// What the packet is, where it has no Ethernet header.
    pub ethertype: u16,
    /// The TTL or hop limit with which the packet came, if it is another by now.
    pub received_ttl: Option<u8>,
    /// The bytes.
    pub frame: Mbuf,
}

impl Punted {
    /// Reads the metadata of a frame from a punt ring; hands it back if that says nothing of the kind.
    ///
    /// # Errors
    /// The frame, when its metadata was not set by [`FrameMeta::set_punt`].
    pub fn from_frame(frame: Mbuf) -> Result<Self, Mbuf> {
        let meta = *frame.meta();
        match meta.punt_reason() {
            None => Err(frame),
            Some(reason) => Ok(Self {
                reason,
                iface: meta.iface,
                rx_iface: meta.rx_iface,
                vrf: meta.vrf,
                adj: meta.adj(),
                next_hop: meta.next_hop(),
                ethertype: meta.ethertype,
                received_ttl: meta.received_ttl(),
                frame,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punt_metadata_comes_back() {
        let mut m = FrameMeta::new();
        m.set_inject(Inject::Raw { iface: IfaceId(3) });
        for (n, hop) in ["192.0.2.1", "2001:db8::1"].into_iter().enumerate() {
            let hop: IpAddr = hop.parse().unwrap();
            m.set_punt(PuntReason::Incomplete, IfaceId(4), IfaceId(9), 0x0800);
            assert_eq!((m.next_hop(), m.adj(), m.inject()), (None, None, None));
            m.set_next_hop(hop, Some(AdjId(n as u32)));
            assert_eq!(m.punt_reason(), Some(PuntReason::Incomplete));
            assert_eq!((m.next_hop(), m.adj()), (Some(hop), Some(AdjId(n as u32))));
            assert_eq!(m.received_ttl(), None);
            m.set_received_ttl(7);
            assert_eq!(m.received_ttl(), Some(7));
            assert_eq!(
                (m.iface, m.rx_iface, m.ethertype),
                (IfaceId(4), IfaceId(9), 0x0800)
            );
        }
        use PuntReason::*;
        for r in [Local, Arp, Nd, Glean, Incomplete, Echo] {
            assert_eq!(PuntReason::from_raw(r as u8), Some(r));
        }
    }

    #[test]
    fn inject_metadata_comes_back() {
        let mut m = FrameMeta::new();
        m.set_punt(PuntReason::Arp, IfaceId(4), IfaceId(4), 0x0806);
        for what in [
            Inject::Raw { iface: IfaceId(1) },
            Inject::ToAdj {
                adj: AdjId(77),
                ethertype: 0x8847,
                iface: IfaceId(2),
            },
            Inject::Route {
                vrf: VrfId(0),
                iface: IfaceId(3),
            },
        ] {
            m.set_inject(what);
            assert_eq!((m.inject(), m.punt_reason()), (Some(what), None));
        }
    }
}
