//! Labels in the express lane: one swapped for another, or one popped. RFC 3031 3, RFC 3032 2 and 3, RFC 3443.
//!
//! As in [`super::super::mpls`], a stack is read to its bottom first; [`Heads`] does that.

use super::super::Scene;
use super::rewrite::{self, untagged};
use super::{Groups, Leaving, Push, way};
use crate::burst::BURST;
use crate::heads::Heads;
use crate::mbuf::Mbuf;
use crate::select::Bits;
use fib::{Adjacency, LabelOp, TtlMode};
use net::eth::HEADER_LEN as ETH;
use net::eth::ethertype::{IPV4, IPV6, MPLS};
use net::ip4::{self, Ip4Mut};
use net::ip6::{self, Ip6Mut};
use net::mpls::{Under, under};
use net::{GroupId, Label, Lse, flow};

/// Groups of the labels that are switched; returns of which of them the label leaves the TTL beneath alone.
#[inline]
pub(super) fn lookup(env: &Scene<'_>, which: u64, tops: &[u32; BURST], groups: &mut Groups) -> u64 {
    for i in Bits(which) {
        env.fib.prefetch_label(Lse(tops[i]).label());
    }
    let mut pipe = 0;
    for i in Bits(which) {
        let entry = env.fib.label(Lse(tops[i]).label());
        groups[i] = match entry.op() {
            LabelOp::Forward => entry.group(),
            _ => GroupId::NONE,
        };
        pipe |= u64::from(entry.ttl() == TtlMode::Pipe) << i;
    }
    pipe
}

/// Writes the new headers. Returns who leaves.
pub(super) fn rewrite(
    env: &Scene<'_>,
    (heads, which, pipe): (&Heads, u64, u64),
    groups: &Groups,
    frames: &mut [Mbuf],
    leaving: &mut Leaving,
) -> u64 {
    let mut left = 0;
    for i in Bits(which) {
        let Some(m) = frames.get_mut(i) else { break };
        let lse = Lse(heads.word[i]);
        let hash = || flow::hash_mpls(m.data().get(ETH..).unwrap_or(&[]));
        let Some((adj, push)) = way(env, groups[i], hash) else {
            continue;
        };
        let label = match push {
            Push::Nothing => None,
            Push::One(e) => e.label(),
            Push::Path(path) => match path.push.as_slice() {
                &[label] => Some(label),
                _ => continue,
            },
        };
        let len = match label {
            Some(label) if untagged(adj) => {
                let to = lse.with_label(label).with_ttl(lse.ttl() - 1);
                let word = u32::from_ne_bytes(to.to_bytes());
                rewrite::stay::<ETH>(m, adj, m.len() - ETH, word)
            }
            Some(label) => swap(m, adj, lse, label),
            None => {
                let ttl = if pipe >> i & 1 == 0 {
                    lse.ttl() - 1
                } else {
                    u8::MAX // lowers nothing
                };
                pop(m, adj, lse, ttl)
            }
        };
        if let Some(len) = len {
            left |= leaving.note(i, adj, len);
        }
    }
    left
}

/// Another label in the place of the top one, which keeps its TC; the frame gets a tag.
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

/// The top label off: to the labels beneath, or to the packet, which loses the link's padding.
#[inline]
fn pop(m: &mut Mbuf, adj: &Adjacency, lse: Lse, ttl: u8) -> Option<usize> {
    let beneath = m.data().get(ETH + Lse::LEN..)?;
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
