//! A packet's new front: labels, and the link header that the adjacency has ready.

use super::super::send::Labels;
use crate::mbuf::Mbuf;
use fib::Adjacency;
use net::Lse;
use net::eth::{HEADER_LEN, VLAN_LEN};

/// Whether a frame that came untagged and is to leave with `len` bytes keeps its length and place.
#[inline]
pub(super) fn stays(m: &Mbuf, adj: &Adjacency, len: usize) -> bool {
    (usize::from(adj.header_len) == HEADER_LEN) & (m.len() == len)
}

/// Writes an untagged link header.
#[inline]
pub(super) fn link(to: &mut [u8; HEADER_LEN], adj: &Adjacency, ethertype: u16) {
    if let Some(header) = adj.header.first_chunk() {
        *to = *header;
    }
    if let Some(kind) = to.last_chunk_mut() {
        *kind = ethertype.to_be_bytes();
    }
}

/// Puts the adjacency's header in the place of the first `cut` bytes, with `more` bytes behind it that the caller writes,
/// and cuts the packet behind them to `len` bytes. Returns everything from those `more` bytes on. `None`, and nothing has
/// changed, where there is no room.
#[inline]
pub(super) fn front<'m>(
    m: &'m mut Mbuf,
    adj: &Adjacency,
    (cut, more, len): (usize, usize, usize),
    ethertype: u16,
) -> Option<&'m mut [u8]> {
    let tagged = usize::from(adj.header_len) != HEADER_LEN;
    let header = if tagged {
        HEADER_LEN + VLAN_LEN
    } else {
        HEADER_LEN
    };
    let data = m.reshape(cut, header + more, header + more + len)?;
    // Lengths that the compiler knows are a few moves instead of a call.
    if tagged {
        let (to, rest) = data.split_first_chunk_mut::<{ HEADER_LEN + VLAN_LEN }>()?;
        *to = adj.header;
        *to.last_chunk_mut()? = ethertype.to_be_bytes();
        Some(rest)
    } else {
        let (to, rest) = data.split_first_chunk_mut::<HEADER_LEN>()?;
        link(to, adj, ethertype);
        Some(rest)
    }
}

/// Writes a stack of labels; returns what follows it.
#[inline]
pub(super) fn stack<'d>(data: &'d mut [u8], labels: &Labels) -> Option<&'d mut [u8]> {
    let (to, rest) = data.split_at_mut_checked(labels.len() * Lse::LEN)?;
    for (slot, lse) in to.as_chunks_mut::<4>().0.iter_mut().zip(labels) {
        *slot = lse.to_bytes();
    }
    Some(rest)
}
