//! The headers of a burst, field by field: what decides whether a frame is an ordinary IPv4 packet, for eight frames at once.
//!
//! Read RFC 894, RFC 1812 5.2.2 and 5.3.4 to 5.3.7, and [`crate::pipeline`] for who wants to know. The 32 bytes from the
//! third on of an Ethernet frame are eight words that an IPv4 header without options fills exactly:
//!
//! ```text
//! 2 dst MAC (its last 4) | 6 src MAC | 10 src MAC, EtherType | 14 version, length, TOS, total length
//! 18 id, fragment | 22 TTL, protocol, checksum | 26 source | 30 destination
//! ```
//!
//! Those of eight frames are turned from rows into columns, and each check is one comparison for all eight. Nothing here
//! branches on what is in a frame. Where there is no AVX2 the same is done frame by frame; a test compares the two.
//!
//! Left out on purpose: tags, options, and every other reason why a frame is not ordinary: those bits are just not set.

use crate::burst::BURST;
use crate::interface::{Bloom, Interface, InterfaceTable};
use crate::mbuf::Mbuf;
use net::MacAddr;
use net::eth::HEADER_LEN as ETH;
use net::eth::ethertype::{IPV4, IPV6, MPLS};
use net::ip4::HEADER_LEN;

/// Bytes that a frame must have to be looked at: Ethernet and IPv4.
const NEEDED: usize = ETH + HEADER_LEN;
/// 169.254/16, RFC 3927.
const LINK_LOCAL: u32 = 0xa9fe;

/// What the headers of a burst say. Frames are bits, by their position.
#[derive(Debug, PartialEq, Eq)]
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
    /// Bytes of all these frames.
    pub bytes: u64,
    /// Destinations in host order, by position; of any use for `good4` only.
    pub dst: [u32; BURST],
    /// Total lengths, likewise.
    pub total: [u32; BURST],
}

/// What a frame is compared with.
struct Wanted<'a> {
    mac: MacAddr,
    longest: u32,
    own: &'a Bloom,
}

impl Heads {
    /// Of a burst without frames.
    const NONE: Self = Self {
        ip4: 0,
        ip6: 0,
        mpls: 0,
        good4: 0,
        bytes: 0,
        dst: [0; BURST],
        total: [0; BURST],
    };

    /// Reads the burst, which came in by `iface`.
    #[inline]
    pub(crate) fn read(ifaces: &InterfaceTable, iface: &Interface, frames: &[Mbuf]) -> Self {
        let wanted = Wanted {
            mac: iface.mac,
            longest: ETH as u32 + u32::from(iface.mtu),
            own: ifaces.own_filter4(),
        };
        let mut heads = Self::NONE;
        if frames.iter().fold(true, |all, m| all & m.is_simple()) {
            read(&wanted, frames, &mut heads);
        }
        heads
    }

    /// Frames that are the interface's beyond doubt.
    #[inline]
    pub(crate) fn plain(&self) -> u64 {
        self.ip4 | self.ip6 | self.mpls
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
#[inline]
fn read(wanted: &Wanted<'_>, frames: &[Mbuf], heads: &mut Heads) {
    let n = frames.len().min(BURST);
    let mut rows = [std::ptr::from_ref(&NOTHING).cast::<u8>(); BURST];
    let mut lens = [0u32; BURST];
    let mut firsts = [0u32; BURST];
    for (((m, row), len), first) in frames.iter().zip(&mut rows).zip(&mut lens).zip(&mut firsts) {
        let data = m.data();
        // One that is too short is looked at as zeros, so it is nothing ordinary.
        if let Some(head) = data.first_chunk::<NEEDED>() {
            *row = head.as_ptr();
            *len = data.len() as u32;
            *first = u32::from(u16::from_ne_bytes([head[0], head[1]]));
        }
    }
    for at in (0..n.next_multiple_of(8)).step_by(8) {
        // SAFETY: the build says that there is AVX2 (see `cfg`); each row has NEEDED bytes that can be read: a frame's, or
        // those of NOTHING; `at + 8 <= BURST`.
        unsafe { avx2::eight(wanted, at, &rows, &lens, &firsts, heads) };
    }
}

/// What is read where there is no frame.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
static NOTHING: [u8; NEEDED] = [0; NEEDED];

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
use one_by_one::read;

/// Frame by frame: the oracle of the other.
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "avx2"))))]
mod one_by_one {
    use super::*;
    use net::checksum;
    use net::eth::Eth;
    use net::ip4::{self, Ip4};

    pub(super) fn read(wanted: &Wanted<'_>, frames: &[Mbuf], heads: &mut Heads) {
        for (i, m) in frames.iter().enumerate().take(BURST) {
            let Some(head) = m.data().first_chunk::<NEEDED>() else {
                continue;
            };
            let (Ok(eth), Some(ip)) = (Eth::new(head), head.last_chunk::<HEADER_LEN>()) else {
                continue;
            };
            let (to, from) = (eth.dst(), eth.src());
            if to != wanted.mac
                || from == wanted.mac
                || from.is_multicast()
                || m.len() as u32 > wanted.longest
            {
                continue;
            }
            let bit = 1 << i;
            match eth.ethertype() {
                IPV4 => heads.ip4 |= bit,
                IPV6 => heads.ip6 |= bit,
                MPLS => heads.mpls |= bit,
                _ => continue,
            }
            heads.bytes += m.len() as u64;
            if heads.ip4 & bit != 0
                && let Ok(h) = Ip4::new(ip)
                && forwardable(wanted, ip, &h, m.len())
            {
                heads.good4 |= bit;
                heads.dst[i] = h.dst_bits();
                heads.total[i] = h.total_len() as u32;
            }
        }
    }

    fn forwardable(wanted: &Wanted<'_>, ip: &[u8; HEADER_LEN], h: &Ip4<'_>, len: usize) -> bool {
        let (src, dst, total) = (h.src_bits(), h.dst_bits(), h.total_len());
        ip[0] == 0x45
            && (HEADER_LEN..=len - ETH).contains(&total)
            && h.ttl() > 1
            && checksum::verify(ip)
            && [src, dst]
                .iter()
                .all(|&a| ip4::is_host_source(a) && a >> 16 != LINK_LOCAL)
            && !wanted.own.may_contain4(src)
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
mod avx2 {
    use super::*;
    use std::arch::x86_64::*;

    /// The words of eight frames from the third byte on, as columns.
    ///
    /// # Safety
    /// Each row has [`NEEDED`] bytes that can be read.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn columns(rows: &[*const u8; 8]) -> [__m256i; 8] {
        // The halves of a register are frames `i` and `i + 4`, so no word has to change its half.
        let pair = |i: usize, at: usize| {
            // SAFETY: 16 bytes from `at` on, and `at` is 2 or 18: within NEEDED.
            let half = |row: *const u8| unsafe { _mm_loadu_si128(row.add(at).cast()) };
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(half(rows[i])), half(rows[i + 4]))
        };
        let turn = |at: usize| {
            let r: [__m256i; 4] = [pair(0, at), pair(1, at), pair(2, at), pair(3, at)];
            let (a, b) = (
                _mm256_unpacklo_epi32(r[0], r[1]),
                _mm256_unpacklo_epi32(r[2], r[3]),
            );
            let (c, d) = (
                _mm256_unpackhi_epi32(r[0], r[1]),
                _mm256_unpackhi_epi32(r[2], r[3]),
            );
            [
                _mm256_unpacklo_epi64(a, b),
                _mm256_unpackhi_epi64(a, b),
                _mm256_unpacklo_epi64(c, d),
                _mm256_unpackhi_epi64(c, d),
            ]
        };
        let ([c0, c1, c2, c3], [c4, c5, c6, c7]) = (turn(2), turn(18));
        [c0, c1, c2, c3, c4, c5, c6, c7]
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn all(v: u32) -> __m256i {
        _mm256_set1_epi32(v as i32)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn is(a: __m256i, b: u32) -> __m256i {
        _mm256_cmpeq_epi32(a, all(b))
    }

    /// As signed numbers: both are small here.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn above(a: __m256i, b: __m256i) -> __m256i {
        _mm256_cmpgt_epi32(a, b)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn or<const N: usize>(of: [__m256i; N]) -> __m256i {
        of.into_iter()
            .fold(_mm256_setzero_si256(), |a, b| _mm256_or_si256(a, b))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn bits(mask: __m256i) -> u64 {
        (_mm256_movemask_ps(_mm256_castsi256_ps(mask)) as u64) & 0xff
    }

    /// The bytes of each word reversed.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn swapped(v: __m256i) -> __m256i {
        let order = _mm256_setr_epi8(
            3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, //
            3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
        );
        _mm256_shuffle_epi8(v, order)
    }

    /// Not an address of packets that are forwarded.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn stays(addr: __m256i) -> __m256i {
        let net = _mm256_srli_epi32::<24>(addr);
        let scoped = is(_mm256_srli_epi32::<16>(addr), LINK_LOCAL);
        or([is(net, 0), is(net, 127), above(net, all(223)), scoped])
    }

    /// Whether the ones' complement sum of the five words is not that of a header that is right.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn wrong_sum(words: &[__m256i]) -> __m256i {
        let low = all(0xffff);
        let mut sum = _mm256_setzero_si256();
        for &w in words {
            let halves = _mm256_add_epi32(_mm256_and_si256(w, low), _mm256_srli_epi32::<16>(w));
            sum = _mm256_add_epi32(sum, halves);
        }
        for _ in 0..2 {
            sum = _mm256_add_epi32(_mm256_and_si256(sum, low), _mm256_srli_epi32::<16>(sum));
        }
        _mm256_xor_si256(is(sum, 0xffff), all(u32::MAX))
    }

    /// [`Bloom::may_contain4`] of each.
    ///
    /// # Safety
    /// None beyond AVX2: it reads the filter's 64 bytes.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn may_be_ours(own: &Bloom, addr: __m256i) -> __m256i {
        let words = own.words().as_ptr();
        // SAFETY: 16 words.
        let (low, high) = unsafe {
            (
                _mm256_loadu_si256(words.cast()),
                _mm256_loadu_si256(words.add(8).cast()),
            )
        };
        let hash = _mm256_mullo_epi32(addr, all(Bloom::FACTOR4));
        let bit = |at: __m256i| {
            // Nine bits: which half, which of its eight words, which of that one's 32 bits.
            let word = _mm256_srli_epi32::<5>(at);
            let (l, h) = (
                _mm256_permutevar8x32_epi32(low, word),
                _mm256_permutevar8x32_epi32(high, word),
            );
            let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(at));
            let (l, h) = (_mm256_castsi256_ps(l), _mm256_castsi256_ps(h));
            let w = _mm256_castps_si256(_mm256_blendv_ps(l, h, upper));
            _mm256_srlv_epi32(w, _mm256_and_si256(at, all(31)))
        };
        let first = bit(_mm256_srli_epi32::<23>(hash));
        let second = bit(_mm256_and_si256(_mm256_srli_epi32::<14>(hash), all(511)));
        is(_mm256_and_si256(_mm256_and_si256(first, second), all(1)), 1)
    }

    /// Reads frames `at..at + 8`.
    ///
    /// # Safety
    /// Each row has [`NEEDED`] bytes that can be read, and `at + 8 <= BURST`.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) unsafe fn eight(
        wanted: &Wanted<'_>,
        at: usize,
        rows: &[*const u8; BURST],
        lens: &[u32; BURST],
        firsts: &[u32; BURST],
        heads: &mut Heads,
    ) {
        let range = at..at + 8;
        let Some(eight) = rows[range.clone()].first_chunk() else {
            return;
        };
        // SAFETY: as the caller says.
        let c = unsafe { columns(eight) };
        // SAFETY: the ranges have eight words each.
        let (len, first) = unsafe {
            (
                _mm256_loadu_si256(lens[range.clone()].as_ptr().cast()),
                _mm256_loadu_si256(firsts[range.clone()].as_ptr().cast()),
            )
        };
        let [m0, m1, m2, m3, m4, m5] = wanted.mac.0;
        let word = u32::from_le_bytes;
        let source = _mm256_and_si256(
            is(c[1], word([m0, m1, m2, m3])),
            is(_mm256_and_si256(c[2], all(0xffff)), word([m4, m5, 0, 0])),
        );
        let group = is(_mm256_and_si256(c[1], all(1)), 1);
        let too_long = above(len, all(wanted.longest));
        let to = _mm256_and_si256(
            is(first, word([m0, m1, 0, 0])),
            is(c[0], word([m2, m3, m4, m5])),
        );
        let plain = _mm256_andnot_si256(or([source, group, too_long]), to);
        let kind = _mm256_srli_epi32::<16>(c[2]);
        let of = |ethertype: u16| _mm256_and_si256(plain, is(kind, ethertype.swap_bytes().into()));
        let (ip4, ip6, mpls) = (of(IPV4), of(IPV6), of(MPLS));
        let counted = _mm256_and_si256(len, or([ip4, ip6, mpls]));

        let (src, dst) = (swapped(c[6]), swapped(c[7]));
        let total = _mm256_and_si256(swapped(c[3]), all(0xffff));
        let bad = or([
            above(all(HEADER_LEN as u32), total),
            above(_mm256_add_epi32(total, all(ETH as u32)), len),
            above(all(2), _mm256_and_si256(c[5], all(0xff))),
            wrong_sum(&c[3..8]),
            stays(src),
            stays(dst),
            // SAFETY: AVX2 is there, as here.
            unsafe { may_be_ours(wanted.own, src) },
        ]);
        let shaped = is(_mm256_and_si256(c[3], all(0xff)), 0x45);
        let good = _mm256_andnot_si256(bad, _mm256_and_si256(ip4, shaped));

        heads.ip4 |= bits(ip4) << at;
        heads.ip6 |= bits(ip6) << at;
        heads.mpls |= bits(mpls) << at;
        heads.good4 |= bits(good) << at;
        heads.bytes += add_up(counted);
        // SAFETY: the ranges have eight words each.
        unsafe {
            let (dst, total) = (_mm256_and_si256(dst, good), _mm256_and_si256(total, good));
            _mm256_storeu_si256(heads.dst[range.clone()].as_mut_ptr().cast(), dst);
            _mm256_storeu_si256(heads.total[range].as_mut_ptr().cast(), total);
        }
    }

    /// The sum of the eight words.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn add_up(v: __m256i) -> u64 {
        let four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
        u64::from(_mm_cvtsi128_si32(one) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eal::{Eal, EalConfig, Memory};
    use crate::mempool::Mempool;
    use net::checksum;
    use net::{IfaceId, PortId, VrfId};
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    fn iface() -> Interface {
        Interface {
            id: IfaceId(0),
            port: PortId(0),
            vlan: None,
            mac: MacAddr([2, 0, 0, 0x80, 0xff, 1]),
            mtu: 100,
            mpls: true,
            up: true,
            vrf: VrfId(0),
            link_local: std::net::Ipv6Addr::UNSPECIFIED,
            v4: vec![("10.0.0.1".parse().unwrap(), 24)],
            v6: vec![],
            name: "i".into(),
        }
    }

    /// A frame that is all right, but for the bytes that are changed.
    fn frame(changes: &[(usize, u8)], len: usize, sum: bool) -> Vec<u8> {
        let mut f = iface().mac.0.to_vec();
        f.extend([
            2, 0xaa, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 50, 1, 2, 0x40, 0, 64, 17, 0, 0,
        ]);
        f.extend([198, 51, 100, 9, 203, 0, 113, 7]);
        f.resize(len.max(38), 0);
        for &(at, v) in changes {
            f[at] = v;
        }
        if sum {
            f[24..26].fill(0);
            let sum = checksum::checksum(&f[14..34]).to_be_bytes();
            f[24..26].copy_from_slice(&sum);
        }
        f.truncate(len);
        f
    }

    #[test]
    fn eight_at_once_are_as_one_by_one() {
        let eal = Eal::init(&EalConfig {
            memory: Memory::NoHuge,
            mem_mb: 64,
            control_cpu: 0,
            pci: false,
        })
        .unwrap();
        let pool = Mempool::new(&eal, "heads", 255, 2048, 0).unwrap();
        let table = InterfaceTable::new([iface()]).unwrap();
        let byte = prop_oneof![
            any::<u8>(),
            prop::sample::select(vec![
                0u8, 1, 2, 10, 127, 169, 223, 224, 254, 255, 0x44, 0x46, 0x86, 0xdd, 0x88, 0x47
            ])
        ];
        let changes = prop::collection::vec((0usize..38, byte), 0..4);
        let one = (
            changes,
            prop_oneof![4 => Just(64usize), 1 => 0usize..130],
            any::<bool>(),
        );
        let config = Config {
            cases: 3000,
            failure_persistence: None,
            ..Config::default()
        };
        let good = std::cell::Cell::new(0);
        TestRunner::new(config)
            .run(&prop::collection::vec(one, 0..=BURST), |frames| {
                let frames: Vec<Mbuf> = frames
                    .iter()
                    .map(|(changes, len, sum)| {
                        pool.alloc_from(&frame(changes, *len, *sum)).unwrap()
                    })
                    .collect();
                let got = Heads::read(&table, &iface(), &frames);
                let mut want = Heads::NONE;
                let wanted = Wanted {
                    mac: iface().mac,
                    longest: 114,
                    own: table.own_filter4(),
                };
                one_by_one::read(&wanted, &frames, &mut want);
                good.set(good.get() + got.good4.count_ones());
                prop_assert_eq!(got, want);
                Ok(())
            })
            .unwrap();
        assert!(good.get() > 1000, "only {} frames were good", good.get());
    }
}
