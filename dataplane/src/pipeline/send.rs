//! The last stage: a finished packet gets its labels, its link header, and goes out; or to the control thread, when the link
//! address of its next hop is not known. RFC 3032 2.1 (encoding), RFC 894 and RFC 2464 (IP over Ethernet).

use super::frame::Frame;
use super::{Cx, Output, Scene};
use crate::drops::Drop;
use crate::interface::Interface;
use crate::mbuf::Mbuf;
use crate::punt::PuntReason;
use arrayvec::ArrayVec;
use fib::{Adjacency, Path, Target, TcMode, TtlMode};
use net::eth::ethertype::{MPLS, VLAN};
use net::eth::{HEADER_LEN, VLAN_LEN};
use net::{AdjId, GroupId, IfaceId, Label, Lse, MAX_PUSH, MacAddr, VrfId, mpls};
use std::net::IpAddr;

/// The label stack of a packet that leaves, outermost first: at most a router alert label, what a path pushes, and what was
/// under the label received, or an entropy label.
pub(super) type Labels = ArrayVec<Lse, { 1 + MAX_PUSH + mpls::MAX_DEPTH }>;

/// Where a packet came from.
#[derive(Clone, Copy)]
pub(super) struct Arrived {
    /// The interface; drops are counted there.
    pub(super) iface: IfaceId,
    /// Whose packet it was, for an answer to it.
    pub(super) vrf: VrfId,
    /// Its TTL or hop limit then; 0 if it is that still.
    pub(super) ttl: u8,
}

impl Arrived {
    /// A packet whose TTL is untouched, or under labels.
    #[inline]
    pub(super) fn unchanged(iface: IfaceId, vrf: VrfId) -> Self {
        Self { iface, vrf, ttl: 0 }
    }
}

/// Who gets the packet next.
#[derive(Clone, Copy)]
pub(super) enum Hop<'a> {
    /// A neighbour with an adjacency.
    Adjacency(AdjId, &'a Adjacency),
    /// A host on that interface whose adjacency has yet to be made.
    Glean(&'a Interface, IpAddr),
}

impl<'a> Hop<'a> {
    /// The next hop of a path that has one; `dst` is the host itself where the path ends on a connected network.
    ///
    /// # Errors
    /// When the path names what is there no more (it is being withdrawn), or is no way out.
    #[inline]
    pub(super) fn of(env: &Scene<'a>, path: &Path, dst: IpAddr) -> Result<Self, Drop> {
        match path.target {
            Target::Adjacency(id) => match env.fib.adj(id) {
                Some(adj) => Ok(Self::Adjacency(id, adj)),
                None => Err(Drop::NoAdjacency),
            },
            Target::Glean(iface) => match env.ifaces.get(iface) {
                Some(iface) => Ok(Self::Glean(iface, dst)),
                None => Err(Drop::NoAdjacency),
            },
            Target::Local(_) | Target::Discard(_) => Err(Drop::NoAdjacency),
        }
    }

    /// The largest packet the link takes, its labels included (RFC 3032 3.2).
    #[inline]
    pub(super) fn mtu(&self) -> usize {
        usize::from(match self {
            Self::Adjacency(_, adj) => adj.mtu,
            Self::Glean(iface, _) => iface.mtu,
        })
    }

    /// Bytes of packet that fit beneath those labels.
    #[inline]
    pub(super) fn room(&self, labels: &Labels) -> usize {
        self.mtu().saturating_sub(labels.len() * Lse::LEN)
    }
}

/// Asks for the adjacency of a path, which is needed soon.
#[inline]
pub(super) fn prefetch(env: &Scene<'_>, path: Option<&Path>) {
    if let Some(Target::Adjacency(id)) = path.map(|p| p.target) {
        env.fib.prefetch_adj(id);
    }
}

/// The path of a group that a flow takes; the hash is only made where there is a choice.
#[inline]
pub(super) fn pick<'a>(
    env: &Scene<'a>,
    group: GroupId,
    hash: impl FnOnce() -> u32,
) -> Option<&'a Path> {
    let group = env.fib.group(group)?;
    Some(if group.is_single() {
        group.select(0)
    } else {
        group.select(hash())
    })
}

/// The labels that a path puts on an IP packet with that TTL (RFC 3443 5: copied, or 255) and DSCP; `hash` is that of its flow.
#[inline]
pub(super) fn imposed(path: &Path, ttl: u8, dscp: u8, hash: impl FnOnce() -> u32) -> Labels {
    let mut labels = Labels::new();
    let ttl = match path.ttl {
        TtlMode::Uniform => ttl,
        TtlMode::Pipe => u8::MAX,
    };
    let tc = match path.tc {
        TcMode::Dscp => dscp >> 3, // the class selector, RFC 2474 4.2.2
        TcMode::Zero => 0,
    };
    let last = path.push.len().wrapping_sub(1);
    for (i, &label) in path.push.iter().enumerate() {
        labels.push(Lse::new(label, tc, i == last, ttl));
    }
    if path.entropy != 0 {
        entropy(&mut labels, usize::from(path.entropy), hash());
    }
    labels
}

/// Puts an entropy label and its indicator below so many labels: RFC 6790 4.2. The indicator is as the label above it, as it
/// may be on top one day; the entropy label never is, and has a TTL of 0 so that nobody goes by it.
#[inline(never)]
fn entropy(labels: &mut Labels, above: usize, hash: u32) {
    let Some(over) = labels.get_mut(above - 1) else {
        return;
    };
    let bottom = over.bottom();
    let lse = Lse::new(over.label(), over.tc(), false, over.ttl());
    *over = lse;
    // There is room: a path pushes fewer than a stack holds.
    labels.insert(above, lse.with_label(Label::ENTROPY_INDICATOR));
    labels.insert(above + 1, Lse::new(Label::entropy(hash), 0, bottom, 0));
}

/// Sends a packet of that EtherType under those labels. What is dropped here is counted on `from`.
#[inline]
pub(super) fn send<O: Output>(
    cx: &mut Cx<'_, O>,
    mut m: Mbuf,
    from: Arrived,
    hop: Hop<'_>,
    labels: &Labels,
    mut ethertype: u16,
) {
    if !labels.is_empty() {
        ethertype = MPLS;
        let Some(room) = m.prepend(labels.len() * Lse::LEN) else {
            return cx.lose(m, from.iface, Drop::NoHeadroom);
        };
        for (slot, lse) in room.as_chunks_mut::<4>().0.iter_mut().zip(labels) {
            *slot = lse.to_bytes();
        }
    }
    match hop {
        Hop::Adjacency(_, adj) if adj.is_complete() => {
            if !link_header(&mut m, adj, ethertype) {
                return cx.lose(m, from.iface, Drop::NoHeadroom);
            }
            adj.mark_used();
            cx.out.tx(adj.port, adj.iface, m);
        }
        Hop::Adjacency(id, adj) => {
            let way = (adj.iface, adj.next_hop, Some(id));
            unresolved(cx, m, from, PuntReason::Incomplete, way, ethertype);
        }
        Hop::Glean(iface, dst) => {
            unresolved(
                cx,
                m,
                from,
                PuntReason::Glean,
                (iface.id, dst, None),
                ethertype,
            );
        }
    }
}

/// Puts the adjacency's header in front; false when there is no room for it.
#[inline]
fn link_header(m: &mut Mbuf, adj: &Adjacency, ethertype: u16) -> bool {
    let header = adj.header();
    let Some(room) = m.prepend(header.len()) else {
        return false;
    };
    // A length that the compiler knows is two moves instead of a call.
    match (room.first_chunk_mut(), header.first_chunk::<HEADER_LEN>()) {
        (Some(to), Some(from)) if header.len() == HEADER_LEN => *to = *from,
        _ => room.copy_from_slice(header),
    }
    if let Some(kind) = room.last_chunk_mut() {
        *kind = ethertype.to_be_bytes();
    }
    true
}

/// To the control thread, which finds the link address and sends the packet as it is.
#[cold]
fn unresolved<O: Output>(
    cx: &mut Cx<'_, O>,
    mut m: Mbuf,
    from: Arrived,
    reason: PuntReason,
    (iface, next_hop, adj): (IfaceId, IpAddr, Option<AdjId>),
    ethertype: u16,
) {
    let meta = m.meta_mut();
    meta.set_punt(reason, iface, from.iface, ethertype);
    meta.set_next_hop(next_hop, adj);
    meta.set_received_ttl(from.ttl);
    meta.vrf = from.vrf;
    cx.out.punt(m);
}

/// Sends a packet of this host to everybody, or to a group, on a link: the group needs no resolving.
pub(super) fn group<O: Output>(
    cx: &mut Cx<'_, O>,
    mut f: Frame,
    iface: IfaceId,
    to: MacAddr,
    ethertype: u16,
) {
    let Some(iface) = cx.env.ifaces.get(iface) else {
        return cx.drop(f, Drop::InjectStale);
    };
    if f.m.len() > usize::from(iface.mtu) {
        return cx.drop(f, Drop::FragNeeded); // the kernel knows the MTU, so it does not come to this
    }
    let Some(room) = f.m.prepend(HEADER_LEN) else {
        return cx.drop(f, Drop::NoHeadroom);
    };
    room[..6].copy_from_slice(&to.0);
    room[6..12].copy_from_slice(&iface.mac.0);
    room[12..].copy_from_slice(&ethertype.to_be_bytes());
    raw(cx, f.m, iface);
}

/// Sends an untagged Ethernet frame by an interface, with its tag if it has one.
pub(super) fn raw<O: Output>(cx: &mut Cx<'_, O>, mut m: Mbuf, iface: &Interface) {
    if !iface.up {
        // Routes and neighbours of an interface that is down are gone; these frames ask for neither.
        return cx.lose(m, iface.id, Drop::TxDown);
    }
    if let Some(vlan) = iface.vlan {
        if m.len() < HEADER_LEN || m.prepend(VLAN_LEN).is_none() {
            return cx.lose(m, iface.id, Drop::NoHeadroom);
        }
        let frame = m.data_mut();
        frame.copy_within(VLAN_LEN..VLAN_LEN + 12, 0);
        frame[12..14].copy_from_slice(&VLAN.to_be_bytes());
        frame[14..16].copy_from_slice(&vlan.to_be_bytes());
    }
    cx.out.tx(iface.port, iface.id, m);
}
