//! Labels in the express lane: one swapped for another, or one popped. RFC 3031 3, RFC 3032 2 and 3, RFC 3443.
//!
//! As in [`super::super::mpls`], a stack is read to its bottom first.

use super::super::Scene;
use super::{Bits, Hops, Keys, neighbour, pushed, rewrite, ways};
use crate::burst::BURST;
use crate::mbuf::Mbuf;
use fib::{Adjacency, LabelEntry, LabelOp, TtlMode};
use net::eth::HEADER_LEN as ETH;
use net::eth::ethertype::{IPV4, IPV6, MPLS};
use net::ip4::{self, Ip4Mut};
use net::ip6::{self, Ip6Mut};
use net::mpls::{Under, stack_len, top, under};
use net::{GroupId, Label, Lse, flow};

pub(super) fn run<'a>(env: &Scene<'a>, which: u64, frames: &mut [Mbuf], hops: &mut Hops<'a>) {
    let keys = pick(env, which, frames);
    let mut entries = [LabelEntry::UNKNOWN; BURST];
    let mut groups = [GroupId::NONE; BURST];
    for ((entry, group), &label) in entries.iter_mut().zip(&mut groups).zip(keys.keys()) {
        *entry = env.fib.label(label);
        if entry.op() == LabelOp::Forward {
            *group = entry.group();
        }
    }
    let hash = |k: usize| {
        let m = &frames[usize::from(keys.at[k])];
        flow::hash_mpls(m.data().get(ETH..).unwrap_or(&[]))
    };
    let ways = ways(env, &groups[..keys.keys().len()], hash);
    for ((i, (adj, path)), entry) in keys.positions().zip(ways).zip(entries) {
        let Some(adj) = neighbour(env, adj) else {
            continue;
        };
        let Some(m) = frames.get_mut(i) else { continue };
        let done = match pushed(path) {
            [] => pop(m, adj, entry.ttl()),
            &[label] => swap(m, adj, label),
            _ => None,
        };
        if done.is_some() {
            adj.mark_used();
            hops[i] = Some(adj);
        }
    }
}

/// The packets that are to be looked up, and their top labels.
#[inline]
fn pick(env: &Scene<'_>, which: u64, frames: &[Mbuf]) -> Keys<Label> {
    let mut keys = Keys::new();
    for i in Bits(which) {
        let Some(m) = frames.get(i) else { break };
        let Some(labelled) = m.data().get(ETH..) else {
            continue;
        };
        let (Ok(lse), Ok(len)) = (top(labelled), stack_len(labelled)) else {
            continue;
        };
        env.fib.prefetch_label(lse.label());
        let whole = len < labelled.len();
        keys.push(
            i,
            lse.label(),
            whole & !lse.label().is_reserved() & (lse.ttl() > 1),
        );
    }
    keys
}

/// Another label in the place of the top one, which keeps its TC.
#[inline]
fn swap(m: &mut Mbuf, adj: &Adjacency, label: Label) -> Option<()> {
    let labelled = m.data().get(ETH..)?;
    let (lse, len) = (top(labelled).ok()?, labelled.len());
    if len > usize::from(adj.mtu) {
        return None;
    }
    let data = rewrite::front(m, adj, (ETH, 0, len), MPLS)?;
    let to = lse.with_label(label).with_ttl(lse.ttl() - 1);
    *data.first_chunk_mut()? = to.to_bytes();
    Some(())
}

/// The top label off: to the labels beneath, or to the packet, which loses the link's padding.
#[inline]
fn pop(m: &mut Mbuf, adj: &Adjacency, mode: TtlMode) -> Option<()> {
    let labelled = m.data().get(ETH..)?;
    let lse = top(labelled).ok()?;
    let ttl = match mode {
        TtlMode::Uniform => lse.ttl() - 1,
        TtlMode::Pipe => u8::MAX, // lowers nothing
    };
    let beneath = labelled.get(Lse::LEN..)?;
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
    Some(())
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
