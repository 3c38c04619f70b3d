//! The headers of a burst, field by field: which frames are ordinary packets, and what is to be written into them.
//!
//! Read RFC 894, RFC 1812 5.2.2 and 5.3.4 to 5.3.7, RFC 1624, RFC 8200 3, RFC 3032 2.1, and [`crate::pipeline`] for who wants
//! to know. The 32 bytes from the third on of an Ethernet frame are eight words, which an IPv4 header without options fills
//! exactly:
//!
//! ```text
//! IPv4: 2 dst MAC (its last 4) | 6 src MAC | 10 src MAC, EtherType | 14 version, length, TOS, total length
//!       18 id, fragment | 22 TTL, protocol, checksum | 26 source | 30 destination
//! IPv6: 14 version, class, flow | 18 payload length, next header, hop limit | 22 source | 38 destination
//! MPLS: 14 the top of the stack | 18, 22, 26, 30 what is beneath
//! ```
//!
//! Those of sixteen frames (AVX-512), or of eight (AVX2), are turned from rows into columns, and each check is one comparison
//! for all of them. Nothing here branches on what is in a frame. AVX2 does so for IPv4 alone. What is not done at once is
//! done frame by frame; tests compare the three.
//!
//! Left out on purpose: tags, options, and every other reason why a frame is not ordinary: those bits are just not set.

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
mod avx2;
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
mod avx512;
mod one_by_one;
#[cfg(test)]
mod tests;

use crate::burst::BURST;
use crate::interface::{Bloom, Interface, InterfaceTable};
use crate::mbuf::Mbuf;
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
use crate::select::{self, Bits};
use net::MacAddr;
use net::eth::HEADER_LEN as ETH;
use net::eth::ethertype::{IPV4, IPV6, MPLS};
use net::{ip4, ip6};

/// Bytes that a frame must have to be looked at: Ethernet and IPv4.
const NEEDED: usize = ETH + ip4::HEADER_LEN;
/// 169.254/16, RFC 3927.
const LINK_LOCAL: u32 = 0xa9fe;
/// Labels of a stack that are looked at for its bottom: as many as there are words.
const LABELS: usize = 5;

/// What the headers of a burst say. Frames are bits, by their position; arrays hold what is of use at those positions only.
///
/// Made once and read into again and again, as writing zeros first would take as long as the reading.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Heads {
    /// Untagged, for the interface's own address, from another's, and not too long: IPv4.
    pub ip4: u64,
    /// Likewise: IPv6.
    pub ip6: u64,
    /// Likewise: labelled.
    pub mpls: u64,
    /// Those of `ip4` whose header is right and without options, TTL above 1, and whose addresses are those of packets
    /// to be forwarded.
    pub good4: u64,
    /// Those of `ip6` that are whole and no jumbogram, hop limit above 1, and likewise their addresses.
    pub good6: u64,
    /// Those of `mpls` with a top label that is no special one, TTL above 1, the bottom of the stack soon after and
    /// something behind it.
    pub labelled: u64,
    /// Bytes of all these frames.
    pub bytes: u64,
    /// Destinations of `good4` in host order, by position.
    pub dst: [u32; BURST],
    /// Lengths of the packets of `good4` and `good6` with their headers, by position.
    pub total: [u32; BURST],
    /// By position. Of `good4`, what bytes 22 to 25 of the frame are to be, the TTL one less and the checksum right; of
    /// `good6`, bytes 18 to 21 with the hop limit one less; both as they lie in memory. Of `labelled`, the top of the stack
    /// in host order, as it is.
    pub word: [u32; BURST],
    /// Destinations of `good6` in host order, by position.
    pub dst6: [u128; BURST],
}

/// What a frame is compared with.
struct Wanted<'a> {
    mac: MacAddr,
    longest: u32,
    own4: &'a Bloom,
    own6: &'a Bloom,
}

impl<'a> Wanted<'a> {
    fn new(ifaces: &'a InterfaceTable, iface: &Interface) -> Self {
        Self {
            mac: iface.mac,
            longest: ETH as u32 + u32::from(iface.mtu),
            own4: ifaces.own_filter4(),
            own6: ifaces.own_filter6(),
        }
    }
}

impl Default for Heads {
    /// Of a burst without frames.
    fn default() -> Self {
        Self {
            ip4: 0,
            ip6: 0,
            mpls: 0,
            good4: 0,
            good6: 0,
            labelled: 0,
            bytes: 0,
            dst: [0; BURST],
            total: [0; BURST],
            word: [0; BURST],
            dst6: [0; BURST],
        }
    }
}

impl Heads {
    /// Forgets which frames there were.
    #[inline]
    fn forget(&mut self) {
        (self.ip4, self.ip6, self.mpls) = (0, 0, 0);
        (self.good4, self.good6, self.labelled) = (0, 0, 0);
        self.bytes = 0;
    }

    /// Reads the burst, which came in by `iface`.
    #[inline]
    pub(crate) fn read(&mut self, ifaces: &InterfaceTable, iface: &Interface, frames: &[Mbuf]) {
        self.forget();
        read(&Wanted::new(ifaces, iface), frames, self);
    }

    /// Frames that are the interface's beyond doubt.
    #[inline]
    pub(crate) fn plain(&self) -> u64 {
        self.ip4 | self.ip6 | self.mpls
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
use vector::read;

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
fn read(wanted: &Wanted<'_>, frames: &[Mbuf], heads: &mut Heads) {
    if frames.iter().all(|m| m.oddness() == 0) {
        one_by_one::read(wanted, frames, heads);
    }
}

/// What both ways of doing several at once need.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
mod vector {
    use super::*;
    use std::mem::MaybeUninit;

    /// Where frames begin, and what is not among the words. Up to a multiple of 16 above the number of frames all is set.
    pub(super) struct Rows {
        at: [MaybeUninit<*const u8>; BURST],
        lens: [MaybeUninit<u32>; BURST],
        /// The first two bytes.
        firsts: [MaybeUninit<u32>; BURST],
    }

    impl Rows {
        /// The rows of these frames; `None` where one of them is odd.
        ///
        /// What has less than [`NEEDED`] bytes is looked at as zeros and of no length, so it is nothing ordinary.
        #[inline(always)]
        fn of(frames: &[Mbuf]) -> Option<Self> {
            let mut rows = Self {
                at: [const { MaybeUninit::uninit() }; BURST],
                lens: [const { MaybeUninit::uninit() }; BURST],
                firsts: [const { MaybeUninit::uninit() }; BURST],
            };
            let mut odd = 0;
            let n = frames.len().min(BURST);
            for (i, m) in frames[..n].iter().enumerate() {
                odd |= m.oddness();
                match m.data().first_chunk::<NEEDED>() {
                    Some(head) => {
                        let first = u16::from_ne_bytes([head[0], head[1]]);
                        rows.set(i, head.as_ptr(), m.len() as u32, first.into());
                    }
                    None => rows.set(i, NOTHING.as_ptr(), 0, 0),
                }
            }
            for i in n..n.next_multiple_of(16) {
                rows.set(i, NOTHING.as_ptr(), 0, 0);
            }
            (odd == 0).then_some(rows)
        }

        #[inline(always)]
        fn set(&mut self, i: usize, at: *const u8, len: u32, first: u32) {
            self.at[i].write(at);
            self.lens[i].write(len);
            self.firsts[i].write(first);
        }

        /// Where the row begins.
        ///
        /// # Safety
        /// It is set.
        #[inline(always)]
        pub(super) unsafe fn at(&self, i: usize) -> *const u8 {
            // SAFETY: as the caller says.
            unsafe { self.at[i].assume_init() }
        }

        /// The frames' lengths from there on.
        #[inline(always)]
        pub(super) fn lens(&self, i: usize) -> *const u32 {
            self.lens[i..].as_ptr().cast()
        }

        /// The frames' first two bytes from there on.
        #[inline(always)]
        pub(super) fn firsts(&self, i: usize) -> *const u32 {
            self.firsts[i..].as_ptr().cast()
        }
    }

    /// What is read where there is no frame, or no IPv6 packet.
    pub(super) static NOTHING: [u8; ETH + ip6::HEADER_LEN] = [0; ETH + ip6::HEADER_LEN];

    #[inline]
    pub(super) fn read(wanted: &Wanted<'_>, frames: &[Mbuf], heads: &mut Heads) {
        let n = frames.len().min(BURST);
        let Some(mut rows) = Rows::of(frames) else {
            return;
        };
        if avx512::is_available() {
            // SAFETY: the CPU was asked; the rows of `n` frames are set, and have NEEDED bytes that can be read: a frame's,
            // or those of NOTHING.
            unsafe { avx512::read(wanted, n, &rows, heads) };
            if heads.good6 != 0 {
                for i in Bits(!heads.good6 & select::lowest(n.next_multiple_of(8))) {
                    rows.at[i].write(NOTHING.as_ptr());
                }
                // SAFETY: as above, and now each row has as many bytes as an IPv6 header ends at: that of a packet that
                // is whole, or NOTHING.
                unsafe { avx512::addresses(wanted.own6, n, &rows, heads) };
            }
        } else {
            read_eights(wanted, frames, &rows, heads);
        }
    }

    fn read_eights(wanted: &Wanted<'_>, frames: &[Mbuf], rows: &Rows, heads: &mut Heads) {
        for at in (0..frames.len().min(BURST)).step_by(8) {
            // SAFETY: the build says that there is AVX2 (see `cfg`); these rows are made by `Rows::of`, so they are set and
            // have NEEDED bytes.
            unsafe { avx2::eight(wanted, at, rows, heads) };
        }
        one_by_one::others(wanted, frames, heads);
    }

    /// What is done where there is no AVX-512.
    #[cfg(test)]
    pub(super) fn read_avx2(wanted: &Wanted<'_>, frames: &[Mbuf], heads: &mut Heads) {
        if let Some(rows) = Rows::of(frames) {
            read_eights(wanted, frames, &rows, heads);
        }
    }
}
