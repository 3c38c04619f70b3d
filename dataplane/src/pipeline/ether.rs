//! Stage 1: whose frame is it, and what is in it? IEEE 802.3 3.2, 802.1Q 9.6; RFC 894, RFC 1042 (not spoken), RFC 3032 5.
//!
//! The tag is taken out of the frame here, so that nobody after this has to know of it. A priority tag (VLAN 0) counts as
//! no tag. Left out on purpose: Q-in-Q, and 802.2 LLC framing, which RFC 1812 3.3.3 only asks for where it is in use.

use super::express::{self, Lane};
use super::frame::{Cast, Frame};
use super::{Cx, Lists, Output};
use crate::burst::Burst;
use crate::drops::Drop;
use crate::interface::{Interface, NO_IFACE};
use crate::mbuf::Mbuf;
use crate::punt::PuntReason;
use crate::select;
use net::eth::ethertype::{ARP, IPV4, IPV6, MPLS, QINQ, VLAN};
use net::eth::{Eth, HEADER_LEN, Tci, VLAN_LEN};
use net::{IfaceId, PortId, VrfId};

/// The least EtherType; below it the field is an 802.3 length.
const FIRST_ETHERTYPE: u16 = 0x0600;
/// Length of an ARP packet for Ethernet and IPv4 (RFC 826).
const ARP_LEN: usize = 28;

/// Counts a burst in as one sum as long as the interface stays the same, which it mostly does.
struct Tally {
    iface: IfaceId,
    packets: u64,
    bytes: u64,
}

impl Tally {
    #[inline]
    fn count<O: Output>(&mut self, cx: &mut Cx<'_, O>, iface: IfaceId, bytes: usize) {
        if iface != self.iface {
            self.flush(cx);
            self.iface = iface;
        }
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    fn flush<O: Output>(&mut self, cx: &mut Cx<'_, O>) {
        if self.packets > 0 {
            cx.out.counters().rx(self.iface, self.packets, self.bytes);
            (self.packets, self.bytes) = (0, 0);
        }
    }
}

/// Counts every frame of the burst on its interface and passes it on by its EtherType.
pub(super) fn classify<O: Output>(
    cx: &mut Cx<'_, O>,
    port: PortId,
    burst: &mut Burst,
    (lane, lists): (&mut Lane, &mut Lists),
) {
    let mut tally = Tally {
        iface: NO_IFACE,
        packets: 0,
        bytes: 0,
    };
    let untagged = cx.env.ifaces.untagged(port);
    // The lane knows the global table alone.
    let untagged = untagged.filter(|i| i.up && cx.express && i.vrf == VrfId::GLOBAL);
    let mut counted = 0;
    if let Some(iface) = untagged {
        let n = burst.len();
        let done = express::run(cx, lane, iface, burst);
        let packets = u64::from(done.plain.count_ones());
        if packets > 0 {
            cx.out.counters().rx(iface.id, packets, done.bytes);
        }
        counted = select::close_up(done.plain, select::lowest(n) & !done.left);
    }
    for (i, mut m) in burst.drain().enumerate() {
        let bytes = m.len();
        let found = untag(&mut m).and_then(|vlan| find(cx, port, vlan));
        match found {
            Ok(iface) => {
                if counted >> i & 1 == 0 {
                    tally.count(cx, iface.id, bytes);
                }
                one(cx, iface, m, lists);
            }
            Err(why) => {
                // Nobody's frame: it is counted on the interface of the untagged frames, if there is one.
                let iface = cx.env.ifaces.classify(port, None).unwrap_or(NO_IFACE);
                tally.count(cx, iface, bytes);
                cx.lose(m, iface, why);
            }
        }
    }
    tally.flush(cx);
}

fn find<'a, O>(cx: &Cx<'a, O>, port: PortId, vlan: Option<u16>) -> Result<&'a Interface, Drop> {
    let ifaces = cx.env.ifaces;
    match vlan {
        None => ifaces.untagged(port).ok_or(Drop::InterfaceDown),
        Some(v) => ifaces.vlan(port, v).ok_or(Drop::UnknownVlan),
    }
}

/// Takes the VLAN tag out, whoever carries it, and says which VLAN it was. Afterwards there is an untagged header.
#[inline]
fn untag(m: &mut Mbuf) -> Result<Option<u16>, Drop> {
    if m.nb_segs() != 1 {
        return Err(Drop::MultiSegment);
    }
    let stripped = m.vlan_stripped();
    let inside = match Eth::new(m.data()).map_err(|_| Drop::Runt)?.ethertype() {
        VLAN => Some(tag(m)?),
        QINQ => return Err(Drop::UnknownVlan),
        _ => None,
    };
    let tci = match (stripped, inside) {
        (Some(_), Some(_)) => return Err(Drop::UnknownVlan),
        (a, b) => a.or(b),
    };
    // Identifier 0 is only a priority (IEEE 802.1Q 9.6).
    Ok(tci.map(|t| Tci(t).vid()).filter(|&v| v != 0))
}

/// The tag's control information; the tag itself is cut out of the frame.
#[cold]
fn tag(m: &mut Mbuf) -> Result<u16, Drop> {
    let head: &mut [u8; HEADER_LEN + VLAN_LEN] =
        m.data_mut().first_chunk_mut().ok_or(Drop::Runt)?;
    let tci = u16::from_be_bytes([head[14], head[15]]);
    if matches!(u16::from_be_bytes([head[16], head[17]]), VLAN | QINQ) {
        return Err(Drop::UnknownVlan);
    }
    head.copy_within(..12, VLAN_LEN);
    m.trim_front(VLAN_LEN).ok_or(Drop::Runt)?;
    Ok(tci)
}

/// One frame with an untagged header, on its interface.
#[inline]
fn one<O: Output>(cx: &mut Cx<'_, O>, iface: &Interface, mut m: Mbuf, lists: &mut Lists) {
    match accept(iface, m.data()) {
        Err(why) => cx.lose(m, iface.id, why),
        Ok((_, ARP)) => arp(cx, iface.id, m),
        Ok((cast, kind)) => {
            let _ = m.trim_front(HEADER_LEN); // `accept` has seen it
            let f = Frame::received(m, iface, cast);
            match kind {
                IPV4 => lists.v4.push(f),
                IPV6 => lists.v6.push(f),
                _ => lists.mpls.push(f),
            }
        }
    }
}

/// Whether the interface takes the frame: who it is for, and its EtherType, one of the four that are spoken.
#[inline]
fn accept(iface: &Interface, frame: &[u8]) -> Result<(Cast, u16), Drop> {
    let head = Eth::new(frame).map_err(|_| Drop::Runt)?;
    if !iface.up {
        return Err(Drop::InterfaceDown);
    }
    let (to, from) = (head.dst(), head.src());
    let cast = if to == iface.mac {
        Cast::Unicast
    } else if to.is_multicast() {
        Cast::Group
    } else {
        return Err(Drop::NotForUs);
    };
    if from.is_multicast() || from == iface.mac {
        return Err(Drop::BadSourceMac);
    }
    if frame.len() - HEADER_LEN > usize::from(iface.mtu) {
        return Err(Drop::Giant);
    }
    match head.ethertype() {
        kind @ (IPV4 | IPV6 | ARP) => Ok((cast, kind)),
        MPLS if !iface.mpls => Err(Drop::MplsDisabled),
        MPLS if cast == Cast::Group => Err(Drop::LinkBroadcast),
        MPLS => Ok((cast, MPLS)),
        VLAN | QINQ => Err(Drop::UnknownVlan),
        len if len < FIRST_ETHERTYPE => Err(Drop::Llc),
        _ => Err(Drop::UnknownEthertype),
    }
}

/// ARP is the control thread's; only its length is checked here, so that it can rely on that.
#[cold]
fn arp<O: Output>(cx: &mut Cx<'_, O>, iface: IfaceId, mut m: Mbuf) {
    if m.len() < HEADER_LEN + ARP_LEN {
        return cx.lose(m, iface, Drop::BadArp);
    }
    m.meta_mut().set_punt(PuntReason::Arp, iface, iface, ARP);
    cx.out.punt(m);
}
