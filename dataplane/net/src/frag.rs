//! Fragmentation of IPv4 packets by a router: RFC 791 2.3 and 3.2, RFC 1812 5.2.6.
//!
//! The whole plan is made before the first fragment: a packet is cut whole or not at all. IPv6 routers do
//! not fragment (RFC 8200 5).

use std::ops::Range;

use crate::checksum;
use crate::error::WireError;
use crate::ip4::{self, HEADER_LEN, MAX_HEADER_LEN, Options};

/// One fragment: its header, and where its data stands in the packet that is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The header with its checksum; `header_len` bytes count.
    pub header: [u8; MAX_HEADER_LEN],
    /// Bytes of the header: 20 to 60.
    pub header_len: usize,
    /// Where the data stands in the original packet.
    pub payload: Range<usize>,
}

impl Fragment {
    /// The bytes of the header.
    #[inline]
    #[must_use]
    pub fn header(&self) -> &[u8] {
        self.header.get(..self.header_len).unwrap_or(&self.header)
    }

    /// Bytes of the fragment: header and data.
    #[inline]
    #[must_use]
    pub fn total_len(&self) -> usize {
        self.header_len + self.payload.len()
    }
}

/// Why a packet cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// DF is set: answer with "fragmentation needed".
    #[error("don't fragment is set")]
    DontFragment,
    /// The MTU has no room for the header and eight bytes.
    #[error("MTU too small for one fragment")]
    MtuTooSmall,
    /// Not an IPv4 packet with consistent lengths, or a fragment that reaches beyond 64 KiB.
    #[error("malformed: {0}")]
    Malformed(WireError),
}

/// Cuts `packet` (from the IPv4 header on; padding is ignored) into fragments of at most `mtu` bytes each.
/// A packet that fits comes back as one fragment.
///
/// # Errors
/// See [`FragmentError`]. The header checksum of `packet` is not verified: the pipeline has.
pub fn fragments(packet: &[u8], mtu: usize) -> Result<Fragments, FragmentError> {
    let p = ip4::check_with(packet, false).map_err(FragmentError::Malformed)?;
    let h = p.header();
    let total = p.bytes().len();
    if h.dont_fragment() && total > mtu {
        return Err(FragmentError::DontFragment);
    }
    let first_len = h.header_len();
    let mut first = [0; MAX_HEADER_LEN];
    for (to, from) in first.iter_mut().zip(p.bytes().iter().take(first_len)) {
        *to = *from;
    }
    let (later, later_len) = later_header(&first, first_len);
    let end = h.fragment_offset() + (total - first_len);
    if end > 0xffff {
        return Err(FragmentError::Malformed(WireError::TotalLength(end)));
    }
    let room = |header: usize| mtu.saturating_sub(header) & !7;
    // When the first fragment has room, later ones have too: their header is no longer.
    if total > mtu && room(first_len) == 0 {
        return Err(FragmentError::MtuTooSmall);
    }
    let first_room = if total <= mtu {
        total - first_len
    } else {
        room(first_len)
    };
    Ok(Fragments {
        first,
        later,
        header_len: [first_len, later_len],
        room: [first_room, room(later_len)],
        mtu,
        more: h.more_fragments(),
        base: h.fragment_offset(),
        start: first_len,
        at: first_len,
        end: total,
        done: false,
    })
}

/// The header of the fragments after the first: options without the copied flag left out (RFC 791 3.1).
fn later_header(first: &[u8; MAX_HEADER_LEN], first_len: usize) -> ([u8; MAX_HEADER_LEN], usize) {
    let mut later = [0; MAX_HEADER_LEN];
    later[..HEADER_LEN].copy_from_slice(&first[..HEADER_LEN]);
    let mut len = HEADER_LEN;
    let options = Options::new(first.get(..first_len).unwrap_or(first));
    // A broken option ends the list; what stood before it is kept.
    for o in options
        .map_while(Result::ok)
        .filter(ip4::Ip4Option::is_copied)
    {
        if let Some(to) = later.get_mut(len..len + o.bytes.len()) {
            to.copy_from_slice(o.bytes);
            len += o.bytes.len();
        }
    }
    let len = len.next_multiple_of(4); // the array is zero: end of options
    later[0] = 0x40 | (len / 4) as u8;
    (later, len)
}

/// The fragments of a packet, in order. [`ExactSizeIterator`]: their number is known before.
#[derive(Clone, Debug)]
pub struct Fragments {
    first: [u8; MAX_HEADER_LEN],
    later: [u8; MAX_HEADER_LEN],
    /// Bytes of the first header and of the later ones.
    header_len: [usize; 2],
    /// Data bytes of a full first fragment and of later ones that are not the last.
    room: [usize; 2],
    mtu: usize,
    /// MF of the original.
    more: bool,
    /// Fragment offset of the original, bytes.
    base: usize,
    /// Where the data starts, where the next fragment does, and where the data ends.
    start: usize,
    at: usize,
    end: usize,
    done: bool,
}

impl Fragments {
    fn remaining(&self) -> usize {
        if self.done {
            return 0;
        }
        let left = self.end - self.at;
        if self.at == self.start {
            1 + pieces(
                left.saturating_sub(self.room[0]),
                self.room[1],
                self.mtu - self.header_len[1].min(self.mtu),
            )
        } else {
            pieces(
                left,
                self.room[1],
                self.mtu - self.header_len[1].min(self.mtu),
            )
        }
    }
}

/// Fragments for `left` bytes: full ones take `room`, the last may take `last_room`, up to 7 bytes more.
fn pieces(left: usize, room: usize, last_room: usize) -> usize {
    if left == 0 {
        0
    } else if room == 0 {
        1
    } else {
        1 + left.saturating_sub(last_room).div_ceil(room)
    }
}

impl Iterator for Fragments {
    type Item = Fragment;

    fn next(&mut self) -> Option<Fragment> {
        if self.done {
            return None;
        }
        let which = usize::from(self.at != self.start);
        let mut header = if which == 0 { self.first } else { self.later };
        let header_len = self.header_len[which];
        let left = self.end - self.at;
        let last =
            header_len + left <= self.mtu || left <= self.room[which] || self.room[which] == 0;
        let take = if last { left } else { self.room[which] };

        let offset = self.base + (self.at - self.start);
        let flags = (header[6] & 0xc0, u16::from(self.more || !last) << 13);
        let word = (offset / 8) as u16 & 0x1fff | flags.1 | u16::from(flags.0) << 8;
        header[2..4].copy_from_slice(&((header_len + take) as u16).to_be_bytes());
        header[6..8].copy_from_slice(&word.to_be_bytes());
        header[10..12].fill(0);
        let sum = checksum::checksum(header.get(..header_len).unwrap_or(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());

        let payload = self.at..self.at + take;
        self.at += take;
        self.done = last;
        Some(Fragment {
            header,
            header_len,
            payload,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.remaining();
        (n, Some(n))
    }
}

impl ExactSizeIterator for Fragments {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip4::{Ip4Mut, option};
    use etherparse::defrag::{IpDefragPayloadVec, IpDefragPool};
    use etherparse::{Ipv4HeaderSlice, SlicedPacket};
    use proptest::prelude::*;

    /// A packet with these options (padded) and bytes of data; of a protocol that etherparse doesn't read.
    fn packet(options: &[u8], data: usize, flags: u16) -> Vec<u8> {
        let header_len = (20 + options.len()).next_multiple_of(4);
        let mut p = vec![0; header_len];
        Ip4Mut::new(&mut p).unwrap().init(
            0x12,
            (header_len + data) as u16,
            64,
            253,
            0x0a00_0001,
            0xc000_0201,
        );
        p[0] = 0x40 | (header_len / 4) as u8;
        p[4..8].copy_from_slice(&[0xbe, 0xef, (flags >> 8) as u8, flags as u8]);
        p[20..20 + options.len()].copy_from_slice(options);
        p[10..12].fill(0);
        let sum = checksum::checksum(&p);
        p[10..12].copy_from_slice(&sum.to_be_bytes());
        p.extend((0..data).map(|i| (i * 7 + i / 256) as u8));
        p
    }

    fn bytes(f: &Fragment, of: &[u8]) -> Vec<u8> {
        [f.header(), &of[f.payload.clone()]].concat()
    }

    #[test]
    fn one_that_fits_is_left_alone() {
        for flags in [0, 0x4000] {
            let p = packet(&[], 100, flags);
            let f: Vec<_> = fragments(&p, 120).unwrap().collect();
            assert_eq!(f.len(), 1);
            assert_eq!(bytes(&f[0], &p), p);
        }
        let empty = packet(&[], 0, 0);
        assert_eq!(fragments(&empty, 20).unwrap().count(), 1);
    }

    #[test]
    fn refusals() {
        assert_eq!(
            fragments(&packet(&[], 101, 0x4000), 120).unwrap_err(),
            FragmentError::DontFragment
        );
        for mtu in [0, 19, 20, 27] {
            assert_eq!(
                fragments(&packet(&[], 101, 0), mtu).unwrap_err(),
                FragmentError::MtuTooSmall,
                "{mtu}"
            );
        }
        assert_eq!(fragments(&packet(&[], 101, 0), 28).unwrap().count(), 13);
        assert!(matches!(
            fragments(&[0x45; 19], 1500),
            Err(FragmentError::Malformed(_))
        ));
        // A last fragment that would end beyond 65535 bytes ("ping of death").
        assert!(matches!(
            fragments(&packet(&[], 101, 0x1fff), 68),
            Err(FragmentError::Malformed(_))
        ));
    }

    #[test]
    fn options_are_copied_by_their_flag() {
        // A security option (130, copied), record route (7, not copied), router alert (148, copied).
        let options = [
            130,
            3,
            1,
            option::RECORD_ROUTE,
            7,
            4,
            0,
            0,
            0,
            0,
            option::ROUTER_ALERT,
            4,
            0,
            0,
        ];
        let p = packet(&options, 200, 0);
        let f: Vec<_> = fragments(&p, 100).unwrap().collect();
        assert_eq!(f[0].header_len, 36);
        assert_eq!(&f[0].header()[20..34], &options);
        assert_eq!(f[1].header_len, 28);
        assert_eq!(
            &f[1].header()[20..],
            &[130, 3, 1, option::ROUTER_ALERT, 4, 0, 0, 0]
        );
    }

    #[test]
    fn a_fragment_is_cut_again() {
        let p = packet(&[], 1000, 0x2000 | 100);
        let f: Vec<_> = fragments(&p, 500).unwrap().collect();
        let heads: Vec<_> = f
            .iter()
            .map(|f| Ipv4HeaderSlice::from_slice(f.header()).unwrap())
            .collect();
        assert_eq!(
            heads
                .iter()
                .map(|h| h.fragments_offset().value())
                .collect::<Vec<_>>(),
            [100, 160, 220]
        );
        assert!(heads.iter().all(|h| h.more_fragments()));
    }

    proptest! {
        /// etherparse puts the pieces together again, in any order.
        #[test]
        fn etherparse_reassembles(nops in 0usize..=8, data in 1usize..4000, mtu in 68usize..1600, order: u64) {
            let p = packet(&[option::NOP; 8][..nops], data, 0);
            let planned = fragments(&p, mtu).unwrap();
            let n = planned.len();
            let mut f: Vec<_> = planned.collect();
            prop_assert_eq!(f.len(), n);
            prop_assert!(f.iter().all(|f| f.total_len() <= mtu && f.payload.start >= 20));
            prop_assert!(f.iter().rev().skip(1).all(|f| f.payload.len() % 8 == 0 && !f.payload.is_empty()));
            f.sort_by_key(|f| (f.payload.start as u64).wrapping_mul(order | 1));
            let mut pool = IpDefragPool::<(), ()>::new();
            let mut whole: Option<IpDefragPayloadVec> = None;
            for piece in &f {
                let b = bytes(piece, &p);
                let h = Ipv4HeaderSlice::from_slice(&b).unwrap();
                prop_assert_eq!(h.header_checksum(), h.to_header().calc_header_checksum());
                prop_assert_eq!(h.identification(), 0xbeef);
                let sliced = SlicedPacket::from_ip(&b).unwrap();
                if n > 1 {
                    whole = pool.process_sliced_packet(&sliced, (), ()).unwrap();
                }
            }
            if n > 1 {
                prop_assert_eq!(whole.unwrap().payload, &p[p.len() - data..]);
            }
        }

        #[test]
        fn any_bytes(mut p in prop::collection::vec(any::<u8>(), 0..300), mtu in 0usize..400, shape: bool) {
            if shape && p.len() >= 20 {
                p[0] = 0x40 | p[0] & 0xf;
                let total = p.len() as u16;
                p[2..4].copy_from_slice(&total.to_be_bytes());
                p[6] &= !0x40;
            }
            if let Ok(f) = fragments(&p, mtu) {
                let n = f.len();
                let all: Vec<_> = f.collect();
                prop_assert_eq!(all.len(), n);
                let mut at = None;
                for f in &all {
                    prop_assert!(f.total_len() <= mtu && f.payload.end <= p.len());
                    prop_assert!(at.is_none_or(|at| at == f.payload.start));
                    at = Some(f.payload.end);
                }
            }
        }
    }
}
