//! IPv6 in the express lane: RFC 8200 3, RFC 4291 2.4 to 2.8.

use super::super::Scene;
use super::super::send::imposed;
use super::{Bits, Hops, Keys, neighbour, pushed, rewrite, ways};
use crate::burst::BURST;
use crate::interface::InterfaceTable;
use crate::mbuf::Mbuf;
use fib::{Adjacency, Path};
use net::eth::HEADER_LEN as ETH;
use net::eth::ethertype::{IPV6, MPLS};
use net::ip6::{self, HEADER_LEN, Ip6, Ip6Mut, ext, is_link_local, is_multicast};
use net::{GroupId, Lse, flow};

pub(super) fn run<'a>(env: &Scene<'a>, which: u64, frames: &mut [Mbuf], hops: &mut Hops<'a>) {
    let keys = pick(env.ifaces, which, frames);
    let mut groups = [GroupId::NONE; BURST];
    let groups = &mut groups[..keys.keys().len()];
    env.fib.lookup6_burst(keys.keys(), groups);
    let hash = |k: usize| {
        let m = &frames[usize::from(keys.at[k])];
        // Without the link's padding, which is no part of the flow.
        let packet = ip6::check(m.data().get(ETH..).unwrap_or(&[]));
        packet.map_or(0, |p| flow::hash_ip6(p.bytes()))
    };
    let ways = ways(env, groups, hash);
    for (i, (adj, path)) in keys.positions().zip(ways) {
        let Some(adj) = neighbour(env, adj) else {
            continue;
        };
        let Some(m) = frames.get_mut(i) else { continue };
        if leave(m, adj, path).is_some() {
            hops[i] = Some(adj);
        }
    }
}

/// An address that packets come from or go to beyond a link: not ::, ::1, a group, link-local, or IPv4 in disguise.
#[inline]
fn is_global(addr: u128) -> bool {
    ip6::is_host_source(addr) & !is_multicast(addr) & !is_link_local(addr) & (addr >> 32 != 0xffff)
}

/// The packets that are to be looked up, and their destinations.
#[inline]
fn pick(ifaces: &InterfaceTable, which: u64, frames: &[Mbuf]) -> Keys<u128> {
    let mut keys = Keys::new();
    for i in Bits(which) {
        let Some(m) = frames.get(i) else { break };
        let Some(ip) = m.data().get(ETH..) else {
            continue;
        };
        let Ok(h) = Ip6::new(ip) else { continue };
        let (src, dst) = (h.src_bits(), h.dst_bits());
        let len = h.payload_len();
        let jumbo = (len == 0) & (h.next_header() == ext::HOP_BY_HOP);
        let shape = (h.version() == 6) & (HEADER_LEN + len <= ip.len()) & !jumbo;
        let places = is_global(src) & is_global(dst) & !ifaces.may_own6(src);
        keys.push(i, dst, shape & places & (h.hop_limit() > 1));
    }
    keys
}

/// Hop limit, labels, link header. `None`, and nothing has changed, where the packet does not fit.
#[inline]
fn leave(m: &mut Mbuf, adj: &Adjacency, path: Option<&Path>) -> Option<()> {
    let h = Ip6::new(m.data().get(ETH..)?).ok()?;
    let (total, hops) = (HEADER_LEN + h.payload_len(), h.hop_limit() - 1);
    let labels = pushed(path).len() * Lse::LEN;
    if total + labels > usize::from(adj.mtu) {
        return None;
    }
    let packet = match path {
        Some(path) if labels > 0 => {
            let stack = imposed(path, hops, h.dscp());
            let data = rewrite::front(m, adj, (ETH, labels, total), MPLS)?;
            rewrite::stack(data, &stack)?
        }
        _ => rewrite::front(m, adj, (ETH, 0, total), IPV6)?,
    };
    Ip6Mut::new(packet).ok()?.set_hop_limit(hops);
    adj.mark_used();
    Some(())
}
