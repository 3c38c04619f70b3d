//! IPv6 in the express lane: RFC 8200 3, RFC 4291 2.4 to 2.8. Headers and addresses, [`Heads`] has checked.

use super::super::Scene;
use super::super::send::{self, imposed};
use super::rewrite::{self, untagged};
use super::{Lane, Push, Sent, way};
use crate::mbuf::Mbuf;
use fib::{Adjacency, Express, Path, Ways};
use net::eth::HEADER_LEN as ETH;
use net::eth::ethertype::{IPV6, MPLS};
use net::ip6::{Ip6, Ip6Mut};
use net::{GroupId, Lse, flow};

/// Where [`Heads::word`] belongs: payload length, next header, hop limit.
const AT: usize = ETH + 4;

/// Writes the new headers of those of `which`, and notes who leaves; returns who does not.
pub(super) fn rewrite(env: &Scene<'_>, lane: &mut Lane, which: u64, frames: &mut [Mbuf]) -> u64 {
    match plain(env.fib.ways(), lane, which, frames) {
        0 => 0,
        rest => others(env, lane, rest, frames),
    }
}

/// Those that leave as they came. A function of its own, so that all it needs is in registers.
#[inline(never)]
fn plain(ways: Ways<'_>, lane: &mut Lane, which: u64, frames: &mut [Mbuf]) -> u64 {
    lane.each(which, frames, |_, m, group, total, word| {
        let (way, adj) = ways.short(group)?;
        if !way.is_plain() {
            return None;
        }
        rewrite::stay::<AT>(m, adj, total, word).map(|len| (adj, len))
    })
}

/// All others.
#[inline(never)]
fn others(env: &Scene<'_>, lane: &mut Lane, which: u64, frames: &mut [Mbuf]) -> u64 {
    let ways = env.fib.ways();
    lane.each(which, frames, |_, m, group, total, word| {
        if let Some((way, adj)) = ways.short(group)
            && let Some(len) = labelled(m, adj, way, total, word)
        {
            return Some((adj, len));
        }
        by_group(env, group, m, total, word)
    })
}

/// A packet that leaves with a label and no tag.
#[inline]
fn labelled(
    m: &mut Mbuf,
    adj: &Adjacency,
    label: Express,
    total: usize,
    word: u32,
) -> Option<usize> {
    // The upper three bits of the traffic class, of which the version's byte has four.
    let class = m.data().get(ETH).map_or(0, |b| b >> 1 & 7);
    let ttl = word.to_ne_bytes()[3];
    rewrite::push::<AT>(m, adj, label, total, (word, ttl, class))
}

/// The same for one packet whose way is another: a choice, labels, a tag.
#[inline(never)]
fn by_group<'a>(
    env: &Scene<'a>,
    group: GroupId,
    m: &mut Mbuf,
    total: usize,
    word: u32,
) -> Option<Sent<'a>> {
    // Without the link's padding, which is no part of the flow.
    let hash = || flow::hash_ip6(m.data().get(ETH..ETH + total).unwrap_or(&[]));
    let (adj, push) = way(env, group, hash)?;
    let len = match push {
        Push::Nothing if untagged(adj) => rewrite::stay::<AT>(m, adj, total, word),
        Push::One(label) if untagged(adj) => labelled(m, adj, label, total, word),
        Push::Nothing => changed(m, adj, None, total),
        Push::One(_) => changed(m, adj, send::pick(env, group, || 0), total),
        Push::Path(path) => changed(m, adj, Some(path), total),
    };
    Some((adj, len?))
}

/// Hop limit, labels, link header of any kind. Returns the length of the frame; `None`, and nothing has changed, where the
/// packet does not fit.
#[inline(never)]
fn changed(m: &mut Mbuf, adj: &Adjacency, path: Option<&Path>, total: usize) -> Option<usize> {
    let h = Ip6::new(m.data().get(ETH..)?).ok()?;
    let hops = h.hop_limit() - 1;
    let labels = path.map_or(0, |p| p.imposes() * Lse::LEN);
    if total + labels > usize::from(adj.mtu) {
        return None;
    }
    let packet = match path {
        Some(path) if labels > 0 => {
            // Without the link's padding.
            let hash = || flow::hash_ip6(m.data().get(ETH..ETH + total).unwrap_or(&[]));
            let stack = imposed(path, hops, h.dscp(), hash);
            let data = rewrite::front(m, adj, (ETH, labels, total), MPLS)?;
            rewrite::stack(data, &stack)?
        }
        _ => rewrite::front(m, adj, (ETH, 0, total), IPV6)?,
    };
    Ip6Mut::new(packet).ok()?.set_hop_limit(hops);
    Some(m.len())
}
