//! Frames from the control thread: see the table in [`crate::punt`].
//!
//! A packet of the kernel is sent by this host, not forwarded: its TTL stays, its source is not judged, and when it can't go
//! on, the ICMP error goes back into the kernel, so that path MTU discovery works through labels.

use super::frame::{Frame, Origin};
use super::send::{self, Arrived, Hop, Labels, send};
use super::{Cx, Output, ip4, ip6};
use crate::drops::Drop;
use crate::interface::NO_IFACE;
use crate::mbuf::Mbuf;
use crate::punt::Inject;
use net::eth::HEADER_LEN;
use net::mpls::{Under, under};
use net::{AdjId, IfaceId, VrfId};

/// Counts the frame in and does what its metadata asks for.
pub(super) fn run<O: Output>(cx: &mut Cx<'_, O>, frame: Mbuf) {
    let what = frame.meta().inject();
    let iface = match what {
        Some(Inject::Raw { iface } | Inject::ToAdj { iface, .. } | Inject::Route { iface, .. }) => {
            iface
        }
        None => NO_IFACE,
    };
    cx.out.counters().injected(iface, 1);
    match what {
        Some(Inject::Raw { iface }) => raw(cx, frame, iface),
        Some(Inject::ToAdj {
            adj,
            ethertype,
            iface,
        }) => to_adj(cx, frame, adj, ethertype, iface),
        Some(Inject::Route { iface, vrf }) => routed(cx, frame, iface, vrf),
        None => cx.lose(frame, iface, Drop::InjectStale),
    }
}

fn raw<O: Output>(cx: &mut Cx<'_, O>, m: Mbuf, iface: IfaceId) {
    match cx.env.ifaces.get(iface) {
        Some(iface) if m.len() >= HEADER_LEN => send::raw(cx, m, iface),
        _ => cx.lose(m, iface, Drop::InjectStale),
    }
}

fn to_adj<O: Output>(cx: &mut Cx<'_, O>, m: Mbuf, id: AdjId, ethertype: u16, iface: IfaceId) {
    match cx.env.fib.adj(id) {
        Some(adj) => send(
            cx,
            m,
            Arrived::unchanged(iface, VrfId::GLOBAL), // it goes nowhere else
            Hop::Adjacency(id, adj),
            &Labels::new(),
            ethertype,
        ),
        None => cx.lose(m, iface, Drop::InjectStale),
    }
}

fn routed<O: Output>(cx: &mut Cx<'_, O>, m: Mbuf, iface: IfaceId, vrf: VrfId) {
    let f = Frame::sent(m, iface, vrf, Origin::Kernel);
    match under(f.m.data()) {
        Under::Ip4 => ip4::from_kernel(cx, f),
        Under::Ip6 => ip6::from_kernel(cx, f),
        Under::Other => cx.drop(f, Drop::InjectStale),
    }
}
