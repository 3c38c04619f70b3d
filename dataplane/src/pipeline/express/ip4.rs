//! IPv4 in the express lane. What RFC 1812 5.2.2 and 5.3.4 to 5.3.7 want of a packet, [`Heads`] has checked.

use super::super::Scene;
use super::super::send::{self, imposed};
use super::rewrite::{self, untagged};
use super::{Lane, Push, Sent, way};
use crate::mbuf::Mbuf;
use fib::{Adjacency, Express, Path, Ways};
use net::eth::HEADER_LEN as ETH;
use net::eth::ethertype::{IPV4, MPLS};
use net::ip4::{HEADER_LEN, Ip4, Ip4Mut};
use net::{GroupId, Lse, flow};

/// Where [`Heads::word`] belongs: TTL, protocol, checksum.
const AT: usize = ETH + 8;

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
    let class = m.data().get(ETH + 1).map_or(0, |tos| tos >> 5);
    let ttl = word.to_ne_bytes()[0];
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
    let hash = || flow::hash_ip4(m.data().get(ETH..ETH + total).unwrap_or(&[]));
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

/// TTL, labels, link header of any kind. Returns the length of the frame; `None`, and nothing has changed, where the packet
/// does not fit.
#[inline(never)]
fn changed(m: &mut Mbuf, adj: &Adjacency, path: Option<&Path>, total: usize) -> Option<usize> {
    let ip: &[u8; HEADER_LEN] = m.data().get(ETH..)?.first_chunk()?;
    let h = Ip4::new(ip).ok()?;
    let labels = path.map_or(0, |p| p.imposes() * Lse::LEN);
    if total + labels > usize::from(adj.mtu) {
        return None;
    }
    let packet = match path {
        Some(path) if labels > 0 => {
            // Without the link's padding.
            let hash = || flow::hash_ip4(m.data().get(ETH..ETH + total).unwrap_or(&[]));
            let stack = imposed(path, h.ttl() - 1, h.dscp(), hash);
            let data = rewrite::front(m, adj, (ETH, labels, total), MPLS)?;
            rewrite::stack(data, &stack)?
        }
        _ => rewrite::front(m, adj, (ETH, 0, total), IPV4)?,
    };
    Ip4Mut::new(packet).ok()?.decrement_ttl();
    Some(m.len())
}
