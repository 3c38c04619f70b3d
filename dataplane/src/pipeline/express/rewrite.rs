//! A packet's new front: labels, and the link header that the adjacency has ready.
//!
//! What comes untagged and leaves untagged with the same EtherType keeps all of its front but the addresses: sixteen bytes
//! are stored in all. What is longer or shorter afterwards is reshaped in one step.

use super::super::send::Labels;
use crate::mbuf::Mbuf;
use fib::{Adjacency, Express, TcMode, TtlMode};
use net::Lse;
use net::eth::ethertype::MPLS;
use net::eth::{HEADER_LEN, MAC_PAIR, VLAN_LEN};

/// Whether frames leave without a tag.
#[inline]
pub(super) fn untagged(adj: &Adjacency) -> bool {
    usize::from(adj.header_len) == HEADER_LEN
}

/// Writes both MAC addresses.
#[inline]
fn addresses<const N: usize>(to: &mut [u8; N], adj: &Adjacency) {
    const { assert!(N >= MAC_PAIR) };
    to[..MAC_PAIR].copy_from_slice(&adj.header[..MAC_PAIR]);
}

/// Sends a packet of `total` bytes as it is: untagged, the word at `AT` of the frame replaced, and without the link's padding.
/// Returns the length of the frame; `None`, and nothing has changed, where the neighbour is unknown or has a tag, or the
/// packet does not fit.
#[inline]
pub(super) fn stay<const AT: usize>(
    m: &mut Mbuf,
    adj: &Adjacency,
    total: usize,
    word: u32,
) -> Option<usize> {
    if total > usize::from(adj.plain_mtu()) {
        return None;
    }
    let frame: &mut [u8; HEADER_LEN + 20] = m.data_mut().first_chunk_mut()?;
    addresses(frame, adj);
    frame[AT..AT + 4].copy_from_slice(&word.to_ne_bytes());
    m.truncate(HEADER_LEN + total);
    Some(HEADER_LEN + total)
}

/// The same with a label in front of the packet, whose own TTL will be `ttl` and whose class is `class` (RFC 2474 4.2.2).
#[inline]
pub(super) fn push<const AT: usize>(
    m: &mut Mbuf,
    adj: &Adjacency,
    label: Express,
    total: usize,
    (word, ttl, class): (u32, u8, u8),
) -> Option<usize> {
    let len = total + Lse::LEN;
    if len > usize::from(adj.plain_mtu()) {
        return None;
    }
    let ttl = match label.ttl() {
        TtlMode::Uniform => ttl,
        TtlMode::Pipe => u8::MAX,
    };
    let class = match label.tc() {
        TcMode::Dscp => class,
        TcMode::Zero => 0,
    };
    let lse = Lse::new(label.label()?, class, true, ttl);
    let front = HEADER_LEN + Lse::LEN;
    let frame = m.reshape(HEADER_LEN, front, HEADER_LEN + len)?;
    let frame: &mut [u8; HEADER_LEN + Lse::LEN + 20] = frame.first_chunk_mut()?;
    addresses(frame, adj);
    frame[MAC_PAIR..HEADER_LEN].copy_from_slice(&MPLS.to_be_bytes());
    frame[HEADER_LEN..front].copy_from_slice(&lse.to_bytes());
    frame[AT + Lse::LEN..AT + 2 * Lse::LEN].copy_from_slice(&word.to_ne_bytes());
    Some(HEADER_LEN + len)
}

/// Writes an untagged link header.
#[inline]
pub(super) fn link(to: &mut [u8; HEADER_LEN], adj: &Adjacency, ethertype: u16) {
    addresses(to, adj);
    to[MAC_PAIR..].copy_from_slice(&ethertype.to_be_bytes());
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
    let tagged = !untagged(adj);
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
