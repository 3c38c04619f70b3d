//! IPv4 in the express lane. What RFC 1812 5.2.2 and 5.3.4 to 5.3.7 want of a packet, [`Heads`] has checked.

use super::super::Scene;
use super::super::send::imposed;
use super::{Bits, Hops, Keys, neighbour, pushed, rewrite, ways};
use crate::burst::BURST;
use crate::heads::Heads;
use crate::mbuf::Mbuf;
use fib::{Adjacency, Path};
use net::eth::HEADER_LEN as ETH;
use net::eth::ethertype::{IPV4, MPLS};
use net::ip4::{HEADER_LEN, Ip4, Ip4Mut};
use net::{GroupId, Lse, flow};

pub(super) fn run<'a>(env: &Scene<'a>, heads: &Heads, frames: &mut [Mbuf], hops: &mut Hops<'a>) {
    let mut keys = Keys::new();
    for i in Bits(heads.good4) {
        keys.push(i, heads.dst[i], true);
    }
    let mut groups = [GroupId::NONE; BURST];
    let groups = &mut groups[..keys.keys().len()];
    env.fib.lookup4_burst(keys.keys(), groups);
    let hash = |k: usize| {
        let i = usize::from(keys.at[k]);
        // Without the link's padding, which is no part of the flow.
        let packet = frames[i].data().get(ETH..ETH + heads.total[i] as usize);
        flow::hash_ip4(packet.unwrap_or(&[]))
    };
    let ways = ways(env, groups, hash);
    for (i, (adj, path)) in keys.positions().zip(ways) {
        let Some(adj) = neighbour(env, adj) else {
            continue;
        };
        let Some(m) = frames.get_mut(i) else { continue };
        if leave(m, adj, path, heads.total[i] as usize).is_some() {
            hops[i] = Some(adj);
        }
    }
}

/// TTL, labels, link header. `None`, and nothing has changed, where the packet does not fit.
#[inline]
fn leave(m: &mut Mbuf, adj: &Adjacency, path: Option<&Path>, total: usize) -> Option<()> {
    let simple = pushed(path).is_empty() & rewrite::stays(m, adj, ETH + total);
    if !simple {
        return leave_changed(m, adj, path, total);
    }
    if total > usize::from(adj.mtu) {
        return None;
    }
    let (link, packet) = m.data_mut().split_first_chunk_mut()?;
    rewrite::link(link, adj, IPV4);
    Ip4Mut::new(packet).ok()?.decrement_ttl();
    adj.mark_used();
    Some(())
}

/// The same for a frame whose length changes: labels, a tag, or padding that goes.
#[inline(never)]
fn leave_changed(m: &mut Mbuf, adj: &Adjacency, path: Option<&Path>, total: usize) -> Option<()> {
    let ip: &[u8; HEADER_LEN] = m.data().get(ETH..)?.first_chunk()?;
    let h = Ip4::new(ip).ok()?;
    let labels = pushed(path).len() * Lse::LEN;
    if total + labels > usize::from(adj.mtu) {
        return None;
    }
    let packet = match path {
        Some(path) if labels > 0 => {
            let stack = imposed(path, h.ttl() - 1, h.dscp());
            let data = rewrite::front(m, adj, (ETH, labels, total), MPLS)?;
            rewrite::stack(data, &stack)?
        }
        _ => rewrite::front(m, adj, (ETH, 0, total), IPV4)?,
    };
    Ip4Mut::new(packet).ok()?.decrement_ttl();
    adj.mark_used();
    Some(())
}
