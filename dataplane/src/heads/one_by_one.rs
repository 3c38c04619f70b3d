//! Frame by frame: what is not done at once, and the oracle of what is.

use super::{Heads, LABELS, Wanted};
use crate::burst::BURST;
use crate::mbuf::Mbuf;
use net::eth::HEADER_LEN as ETH;
use net::ip6::{self, Ip6, ext};
use net::mpls::top;

/// The frames of `ip6` and `mpls`.
pub(super) fn others(wanted: &Wanted<'_>, frames: &[Mbuf], heads: &mut Heads) {
    if heads.ip6 | heads.mpls == 0 {
        return;
    }
    for (i, m) in frames.iter().enumerate().take(BURST) {
        let Some(packet) = m.data().get(ETH..) else {
            continue;
        };
        if heads.ip6 >> i & 1 != 0
            && let Some((total, word)) = whole6(packet)
            && let Some(dst) = addressed6(wanted, packet)
        {
            heads.good6 |= 1 << i;
            (heads.total[i], heads.word[i], heads.dst6[i]) = (total, word, dst);
        }
        if heads.mpls >> i & 1 != 0
            && let Some(word) = labelled(packet)
        {
            heads.labelled |= 1 << i;
            heads.word[i] = word;
        }
    }
}

/// Its length and the word with the new hop limit, if it is there and to be forwarded.
fn whole6(packet: &[u8]) -> Option<(u32, u32)> {
    let h = Ip6::new(packet).ok()?;
    let total = ip6::HEADER_LEN + h.payload_len();
    let jumbo = h.payload_len() == 0 && h.next_header() == ext::HOP_BY_HOP;
    let good = h.version() == 6 && total <= packet.len() && !jumbo && h.hop_limit() > 1;
    let word = u32::from_ne_bytes([packet[4], packet[5], packet[6], packet[7] - u8::from(good)]);
    good.then_some((total as u32, word))
}

/// The top of its stack, if that is one to be switched by.
fn labelled(packet: &[u8]) -> Option<u32> {
    let lse = top(packet).ok()?;
    let words = packet.as_chunks::<4>().0.iter().take(LABELS);
    let bottom = words.into_iter().position(|w| w[2] & 1 != 0)?;
    let whole = (bottom + 1) * 4 < packet.len();
    (whole && !lse.label().is_reserved() && lse.ttl() > 1).then_some(lse.0)
}

/// Its destination, if both addresses are those of packets to be forwarded.
fn addressed6(wanted: &Wanted<'_>, packet: &[u8]) -> Option<u128> {
    let h = Ip6::new(packet).ok()?;
    let (src, dst) = (h.src_bits(), h.dst_bits());
    let good = is_global(src) && is_global(dst) && !wanted.own6.may_contain6(src);
    good.then_some(dst)
}

/// An address that packets come from or go to beyond a link: not of ::/64 (::, ::1, IPv4 in disguise), no group, not
/// link-local. RFC 4291 2.4 to 2.8.
fn is_global(addr: u128) -> bool {
    addr >> 64 != 0 && !ip6::is_multicast(addr) && !ip6::is_link_local(addr)
}

/// All of it, where there are no vectors; and for the test.
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "avx2"))))]
mod whole {
    use super::super::{LINK_LOCAL, NEEDED};
    use super::*;
    use net::checksum;
    use net::eth::Eth;
    use net::eth::ethertype::{IPV4, IPV6, MPLS};
    use net::ip4::{self, Ip4, Ip4Mut};

    pub(in super::super) fn read(wanted: &Wanted<'_>, frames: &[Mbuf], heads: &mut Heads) {
        for (i, m) in frames.iter().enumerate().take(BURST) {
            let Some(head) = m.data().first_chunk::<NEEDED>() else {
                continue;
            };
            let Some(kind) = plain(wanted, head, m.len()) else {
                continue;
            };
            let bit = 1 << i;
            match kind {
                IPV4 => heads.ip4 |= bit,
                IPV6 => heads.ip6 |= bit,
                MPLS => heads.mpls |= bit,
                _ => continue,
            }
            heads.bytes += m.len() as u64;
            if kind == IPV4 {
                forwardable(wanted, m, i, heads);
            }
        }
        others(wanted, frames, heads);
    }

    /// The EtherType of a frame that is the interface's beyond doubt.
    fn plain(wanted: &Wanted<'_>, head: &[u8; NEEDED], len: usize) -> Option<u16> {
        let eth = Eth::new(head).ok()?;
        let (to, from) = (eth.dst(), eth.src());
        let ours = to == wanted.mac && from != wanted.mac && !from.is_multicast();
        (ours && len as u32 <= wanted.longest).then_some(eth.ethertype())
    }

    fn forwardable(wanted: &Wanted<'_>, m: &Mbuf, i: usize, heads: &mut Heads) {
        let Some(Some(&ip)) = m.data().get(ETH..).map(<[u8]>::first_chunk) else {
            return;
        };
        let mut ip: [u8; ip4::HEADER_LEN] = ip;
        let Ok(h) = Ip4::new(&ip) else { return };
        let (src, dst, total) = (h.src_bits(), h.dst_bits(), h.total_len());
        let good = ip[0] == 0x45
            && (ip4::HEADER_LEN..=m.len() - ETH).contains(&total)
            && h.ttl() > 1
            && checksum::verify(&ip)
            && [src, dst]
                .iter()
                .all(|&a| ip4::is_host_source(a) && a >> 16 != LINK_LOCAL)
            && !wanted.own4.may_contain4(src);
        if !good {
            return;
        }
        if let Ok(mut h) = Ip4Mut::new(&mut ip) {
            h.decrement_ttl();
        }
        heads.good4 |= 1 << i;
        heads.dst[i] = dst;
        heads.total[i] = total as u32;
        heads.word[i] = u32::from_ne_bytes([ip[8], ip[9], ip[10], ip[11]]);
    }
}

#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "avx2"))))]
pub(super) use whole::read;
