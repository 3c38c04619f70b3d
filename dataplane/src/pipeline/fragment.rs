//! Cutting IPv4 packets: RFC 791 2.3, RFC 1812 4.2.2.7 and 5.2.6, RFC 3032 3.4 (under labels, each piece under all of them).

use super::frame::Frame;
use super::send::{self, Arrived, Hop, Labels};
use super::{Cx, Output};
use crate::drops::Drop;
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;
use net::IfaceId;
use net::eth::ethertype::IPV4;
use net::frag::{self, Fragment};

/// Cuts the packet into pieces of at most `room` bytes and sends each. The first piece counts as the packet, the others as
/// created. Pieces there is no buffer for are dropped: the receiver asks again for all of them anyway.
pub(super) fn send<O: Output>(
    cx: &mut Cx<'_, O>,
    f: Frame,
    room: usize,
    hop: Hop<'_>,
    labels: &Labels,
) {
    let pieces = match frag::fragments(f.m.data(), room) {
        Ok(pieces) => pieces,
        Err(_) => return cx.drop(f, Drop::FragNeeded),
    };
    let mut sent = 0;
    for piece in pieces {
        if sent > 0 {
            cx.out.counters().created(f.iface, 1);
        }
        sent += 1;
        match copy(cx.env.pool, f.m.data(), &piece) {
            Some(m) => send::send(cx, m, Arrived::unchanged(f.iface, f.vrf), hop, labels, IPV4),
            None => lost(cx, f.iface),
        }
    }
    if sent == 0 {
        return cx.drop(f, Drop::FragNeeded);
    }
    cx.bury(f.m);
}

fn lost<O: Output>(cx: &mut Cx<'_, O>, iface: IfaceId) {
    cx.out.counters().drop(iface, Drop::NoBuffer);
}

fn copy(pool: &Mempool, packet: &[u8], piece: &Fragment) -> Option<Mbuf> {
    let mut m = pool.alloc()?;
    m.extend_from_slice(piece.header())?;
    m.extend_from_slice(packet.get(piece.payload.clone())?)?;
    Some(m)
}
