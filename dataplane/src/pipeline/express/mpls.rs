//! Labels in the express lane: one swapped for another, or one popped. RFC 3031 3, RFC 3032 2 and 3, RFC 3443.
//!
//! As in [`super::super::mpls`], a stack is read to its bottom first; [`Heads`] does that.

use super::super::Scene;
use super::rewrite::{self, untagged};
use super::{Lane, Push, Sent, way};
use crate::mbuf::Mbuf;
use fib::{Adjacency, Ways};
use net::eth::HEADER_LEN as ETH;
use net::eth::ethertype::{IPV4, IPV6, MPLS};
use net::ip4::{self, Ip4Mut};
use net::ip6::{self, Ip6Mut};
use net::mpls::{Under, under};
use net::{GroupId, Label, Lse, flow};

/// Where what is beneath the top label begins.
const UNDER: usize = ETH + Lse::LEN;
/// Where an IPv4 header there ends; labelled frames that are shorter do not come here.
const END4: usize = UNDER + ip4::HEADER_LEN;

/// Writes the new headers of those of `which`, whose groups are known, and notes who leaves; returns who does not. `pipe`: of
/// whom the label leaves the TTL beneath alone.
pub(super) fn rewrite(
    env: &Scene<'_>,
    lane: &mut Lane,
    (which, pipe): (u64, u64),
    frames: &mut [Mbuf],
) -> u64 {
    match swapped(env.fib.ways(), lane, which, frames) {
        0 => 0,
        rest => others(env, lane, (rest, pipe), frames),
    }
}

/// Those that get another label in the place of the top one. A function of its own, so that all it needs is in registers.
#[inline(never)]
fn swapped(ways: Ways<'_>, lane: &mut Lane, which: u64, frames: &mut [Mbuf]) -> u64 {
    lane.each(which, frames, |_, m, group, _, word| {
        let (way, adj) = ways.short(group)?;
        replace(m, adj, Lse(word), way.label()?).map(|len| (adj, len))
    })
}

/// All others.
#[inline(never)]
fn others(env: &Scene<'_>, lane: &mut Lane, (which, pipe): (u64, u64), frames: &mut [Mbuf]) -> u64 {
    let ways = env.fib.ways();
    lane.each(which, frames, |i, m, group, _, word| {
        let lse = Lse(word);
        let beneath = match pipe >> i & 1 {
            0 => lse.ttl() - 1,
            _ => u8::MAX, // lowers nothing
        };
        if let Some((way, adj)) = ways.short(group)
            && way.is_plain()
            && let Some(len) = pop_plain(m, adj, lse, beneath)
        {
            return Some((adj, len));
        }
        by_group(env, group, m, lse, beneath)
    })
}

/// The same for one packet whose way is another: a choice, a tag.
#[inline(never)]
fn by_group<'a>(
    env: &Scene<'a>,
    group: GroupId,
    m: &mut Mbuf,
    lse: Lse,
    beneath: u8,
) -> Option<Sent<'a>> {
    let hash = || flow::hash_mpls(m.data().get(ETH..).unwrap_or(&[]));
    let (adj, push) = way(env, group, hash)?;
    let label = match push {
        Push::Nothing => None,
        Push::One(e) => e.label(),
        Push::Path(path) => match path.push.as_slice() {
            &[label] => Some(label),
            _ => return None,
        },
    };
    let len = match label {
        Some(label) if untagged(adj) => replace(m, adj, lse, label),
        Some(label) => swap(m, adj, lse, label),
        None => pop(m, adj, lse, beneath),
    };
    Some((adj, len?))
}

/// Another label in the place of the top one, which keeps its TC.
#[inline]
fn replace(m: &mut Mbuf, adj: &Adjacency, lse: Lse, label: Label) -> Option<usize> {
    let to = lse.with_label(label).with_ttl(lse.ttl() - 1);
    let word = u32::from_ne_bytes(to.to_bytes());
    rewrite::stay::<ETH>(m, adj, m.len().checked_sub(ETH)?, word)
}

/// [`replace`] where the frame gets a tag.
#[inline(never)]
fn swap(m: &mut Mbuf, adj: &Adjacency, lse: Lse, label: Label) -> Option<usize> {
    let len = m.len().checked_sub(ETH)?;
    if len > usize::from(adj.mtu) {
        return None;
    }
    let data = rewrite::front(m, adj, (ETH, 0, len), MPLS)?;
    let to = lse.with_label(label).with_ttl(lse.ttl() - 1);
    *data.first_chunk_mut()? = to.to_bytes();
    Some(m.len())
}

/// The last label off an IPv4 packet that leaves without a tag; it loses the link's padding. `None`, and nothing has
/// changed, where it is anything else, or does not fit.
#[inline]
fn pop_plain(m: &mut Mbuf, adj: &Adjacency, lse: Lse, ttl: u8) -> Option<usize> {
    let head: &[u8; END4] = m.data().first_chunk()?;
    let total = usize::from(u16::from_be_bytes([head[UNDER + 2], head[UNDER + 3]]));
    // A header without options, as almost always.
    let there = ip4::HEADER_LEN <= total && UNDER + total <= m.len();
    let bare = lse.bottom() && head[UNDER] == 0x45;
    if !bare || !there || total > usize::from(adj.plain_mtu()) {
        return None;
    }
    let frame = m.reshape(UNDER, ETH, ETH + total)?;
    let frame: &mut [u8; ETH + ip4::HEADER_LEN] = frame.first_chunk_mut()?;
    let (to, packet) = frame.split_first_chunk_mut()?;
    rewrite::link(to, adj, IPV4);
    if packet[8] > ttl {
        Ip4Mut::new(packet).ok()?.set_ttl(ttl);
    }
    Some(ETH + total)
}

/// The top label off: to the labels beneath, or to the packet, which loses the link's padding.
#[inline(never)]
fn pop(m: &mut Mbuf, adj: &Adjacency, lse: Lse, ttl: u8) -> Option<usize> {
    pop_plain(m, adj, lse, ttl).or_else(|| pop_other(m, adj, lse, ttl))
}

/// The same whatever is beneath.
#[inline(never)]
fn pop_other(m: &mut Mbuf, adj: &Adjacency, lse: Lse, ttl: u8) -> Option<usize> {
    let beneath = m.data().get(UNDER..)?;
    let (len, ethertype) = if !lse.bottom() {
        (beneath.len(), MPLS)
    } else {
        match under(beneath) {
            Under::Ip4 => (ip4::check_with(beneath, false).ok()?.bytes().len(), IPV4),
            Under::Ip6 => (ip6::check(beneath).ok()?.bytes().len(), IPV6),
            Under::Other => return None,
        }
    };
    if len > usize::from(adj.mtu) {
        return None;
    }
    let data = rewrite::front(m, adj, (ETH + Lse::LEN, 0, len), ethertype)?;
    lower(data, ethertype, ttl);
    Some(m.len())
}

/// Gives what was beneath the label its TTL, unless that is lower already.
#[inline]
fn lower(data: &mut [u8], ethertype: u16, ttl: u8) {
    match ethertype {
        IPV4 => {
            if let Ok(mut h) = Ip4Mut::new(data)
                && h.get().ttl() > ttl
            {
                h.set_ttl(ttl);
            }
        }
        IPV6 => {
            if let Ok(mut h) = Ip6Mut::new(data)
                && h.get().hop_limit() > ttl
            {
                h.set_hop_limit(ttl);
            }
        }
        _ => {
            if let Some(slot) = data.first_chunk_mut::<4>() {
                let lse = Lse::from_bytes(*slot);
                *slot = lse.with_ttl(lse.ttl().min(ttl)).to_bytes();
            }
        }
    }
}
