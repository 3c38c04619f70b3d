//! The IPv4 header: RFC 791 3.1, RFC 1812 5.2.2 (validation) and 5.3.1 (TTL), RFC 2474 and 3168 (DSCP, ECN).

use std::net::Ipv4Addr;

use crate::checksum;
use crate::error::{WireError, head, head_mut};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of a header with the most options.
pub const MAX_HEADER_LEN: usize = 60;

/// IP protocol numbers that we look at (the same numbers are IPv6 next headers).
pub mod proto {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// DCCP (RFC 4340).
    pub const DCCP: u8 = 33;
    /// Encapsulating security payload (RFC 4303).
    pub const ESP: u8 = 50;
    /// ICMPv6 (RFC 4443).
    pub const ICMP6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
    /// UDP-Lite (RFC 3828).
    pub const UDP_LITE: u8 = 136;
}

/// The fixed part of an IPv4 header. Nothing but its length is known to be right; see [`check`].
#[derive(Clone, Copy, Debug)]
pub struct Ip4<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Ip4<'a> {
    /// The header at the start of `packet`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] below 20 bytes.
    #[inline]
    pub fn new(packet: &'a [u8]) -> Result<Self, WireError> {
        head(packet).map(Self)
    }

    #[inline]
    fn u16_at(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// Version: 4 when this is IPv4.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// Header length with options, in bytes: 0 to 60.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(self.0[0] & 0xf) * 4
    }

    /// The former TOS byte: DSCP (6 bits) and ECN (2).
    #[inline]
    #[must_use]
    pub fn tos(&self) -> u8 {
        self.0[1]
    }

    /// Differentiated services code point, 0 to 63.
    #[inline]
    #[must_use]
    pub fn dscp(&self) -> u8 {
        self.0[1] >> 2
    }

    /// Length of header and data, in bytes.
    #[inline]
    #[must_use]
    pub fn total_len(&self) -> usize {
        self.u16_at(2).into()
    }

    /// Identification.
    #[inline]
    #[must_use]
    pub fn id(&self) -> u16 {
        self.u16_at(4)
    }

    /// DF: fragmenting is forbidden.
    #[inline]
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        self.0[6] & 0x40 != 0
    }

    /// MF: this is not the last fragment.
    #[inline]
    #[must_use]
    pub fn more_fragments(&self) -> bool {
        self.0[6] & 0x20 != 0
    }

    /// Fragment offset in bytes.
    #[inline]
    #[must_use]
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.u16_at(6) & 0x1fff) * 8
    }

    /// Whether this is a fragment of a larger datagram, the first one too.
    #[inline]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.u16_at(6) & 0x3fff != 0
    }

    /// Time to live.
    #[inline]
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.0[8]
    }

    /// Protocol of the payload; see [`proto`].
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.0[9]
    }

    /// Header checksum.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        self.u16_at(10)
    }

    /// Source, host order.
    #[inline]
    #[must_use]
    pub fn src_bits(&self) -> u32 {
        let [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d, ..] = *self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Destination, host order.
    #[inline]
    #[must_use]
    pub fn dst_bits(&self) -> u32 {
        let [.., a, b, c, d] = *self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv4Addr {
        self.src_bits().into()
    }

    /// Destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv4Addr {
        self.dst_bits().into()
    }
}

/// An IPv4 packet that passed [`check`]: all lengths fit within the bytes there.
#[derive(Clone, Copy, Debug)]
pub struct Ip4Packet<'a> {
    header: Ip4<'a>,
    bytes: &'a [u8],
}

impl<'a> Ip4Packet<'a> {
    /// The fixed header.
    #[inline]
    #[must_use]
    pub fn header(&self) -> Ip4<'a> {
        self.header
    }

    /// Header and data, link-layer padding cut off.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.header.header_len()..).unwrap_or(&[])
    }

    /// The options of the header.
    #[inline]
    #[must_use]
    pub fn options(&self) -> Options<'a> {
        Options::new(self.bytes.get(..self.header.header_len()).unwrap_or(&[]))
    }
}

/// The checks of RFC 1812 5.2.2: 20 bytes there, checksum, version, header length, total length. `packet`
/// may be longer than the total length (link-layer padding).
///
/// One departure from its order: version and header length come before the checksum, whose extent they give.
///
/// # Errors
/// The first check that fails: [`WireError::Truncated`] (fewer bytes than the header or the total length),
/// `Checksum`, `Version`, `HeaderLength`, `TotalLength` (less than the header).
#[inline]
pub fn check(packet: &[u8]) -> Result<Ip4Packet<'_>, WireError> {
    check_with(packet, true)
}

/// As [`check`], without adding up the checksum when `verify` is false: for devices that have done it.
///
/// # Errors
/// As [`check`].
#[inline]
pub fn check_with(packet: &[u8], verify: bool) -> Result<Ip4Packet<'_>, WireError> {
    let fixed: &[u8; HEADER_LEN] = head(packet)?;
    let header = Ip4(fixed);
    if fixed[0] != 0x45 {
        // Version and length are read before the sum, as its extent depends on them.
        if header.version() != 4 {
            return Err(WireError::Version(header.version()));
        }
        if header.header_len() < HEADER_LEN {
            return Err(WireError::HeaderLength(header.header_len()));
        }
    }
    let header_len = header.header_len();
    if verify {
        // A constant length for the common case unrolls to five loads.
        let right = if header_len == HEADER_LEN {
            checksum::verify(fixed)
        } else {
            let need = header_len;
            let options = packet.get(..need).ok_or(WireError::Truncated {
                need,
                got: packet.len(),
            })?;
            checksum::verify(options)
        };
        if !right {
            return Err(WireError::Checksum);
        }
    }
    let total = header.total_len();
    if total < header_len {
        return Err(WireError::TotalLength(total));
    }
    let bytes = packet.get(..total).ok_or(WireError::Truncated {
        need: total,
        got: packet.len(),
    })?;
    Ok(Ip4Packet { header, bytes })
}

/// Whether an address may be the source of a packet from one host: not "this network", loopback,
/// multicast or class E (RFC 1812 4.2.2.11, 5.3.7). Directed broadcast is the caller's to know.
#[inline]
#[must_use]
pub const fn is_host_source(addr: u32) -> bool {
    let net = addr >> 24;
    net != 0 && net != 127 && net < 224
}

/// One option of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip4Option<'a> {
    /// Type byte: copied flag (0x80), class (0x60), number (0x1f).
    pub kind: u8,
    /// Where the type byte stands, from the start of the IP header: the pointer of a parameter problem.
    pub at: usize,
    /// The whole option: type, length and data; one byte for no-operation.
    pub bytes: &'a [u8],
}

impl Ip4Option<'_> {
    /// Whether every fragment carries the option (RFC 791 3.1).
    #[inline]
    #[must_use]
    pub const fn is_copied(&self) -> bool {
        self.kind & 0x80 != 0
    }
}

/// Option type bytes.
pub mod option {
    /// End of options.
    pub const END: u8 = 0;
    /// No operation.
    pub const NOP: u8 = 1;
    /// Record route.
    pub const RECORD_ROUTE: u8 = 7;
    /// Timestamp.
    pub const TIMESTAMP: u8 = 68;
    /// Loose source route.
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Strict source route.
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    /// Router alert (RFC 2113).
    pub const ROUTER_ALERT: u8 = 148;
}

/// Walks the options of a header; ends at the end-of-options byte, or after the first broken option.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    header: &'a [u8],
    at: usize,
}

impl<'a> Options<'a> {
    /// Over `header`, the whole IPv4 header with its options.
    #[inline]
    #[must_use]
    pub const fn new(header: &'a [u8]) -> Self {
        Self {
            header,
            at: HEADER_LEN,
        }
    }
}

impl<'a> Iterator for Options<'a> {
    /// An option, or the offset of the byte that breaks the list.
    type Item = Result<Ip4Option<'a>, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let rest = self.header.get(at..)?;
        let (&kind, tail) = rest.split_first()?;
        let len = match kind {
            option::END => {
                self.at = self.header.len();
                return None;
            }
            option::NOP => 1,
            _ => tail.first().copied().unwrap_or(0).into(),
        };
        if kind != option::NOP && len < 2 {
            self.at = self.header.len();
            return Some(Err(at + 1));
        }
        let Some(bytes) = rest.get(..len) else {
            self.at = self.header.len();
            return Some(Err(at + 1));
        };
        self.at += len;
        Some(Ok(Ip4Option { kind, at, bytes }))
    }
}

/// The fixed part of an IPv4 header, for writing. Setters that say so keep the checksum right.
#[derive(Debug)]
pub struct Ip4Mut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> Ip4Mut<'a> {
    /// The header at the start of `packet`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] below 20 bytes.
    #[inline]
    pub fn new(packet: &'a mut [u8]) -> Result<Self, WireError> {
        head_mut(packet).map(Self)
    }

    /// For reading.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Ip4<'_> {
        Ip4(self.0)
    }

    #[inline]
    fn put(&mut self, at: usize, v: u16) {
        let [hi, lo] = v.to_be_bytes();
        self.0[at] = hi;
        self.0[at + 1] = lo;
    }

    /// Writes a word and keeps the checksum right.
    #[inline]
    fn replace(&mut self, at: usize, new: u16) {
        let old = self.get().u16_at(at);
        let sum = checksum::update(self.get().checksum(), old, new);
        self.put(at, new);
        self.put(10, sum);
    }

    /// TTL less one, checksum kept; returns what is left. A TTL of 0 stays 0.
    ///
    /// What [`set_ttl`](Self::set_ttl) works out (RFC 1624 3) is here a constant, and a carry.
    #[inline]
    pub fn decrement_ttl(&mut self) -> u8 {
        let Some(left) = self.0[8].checked_sub(1) else {
            return 0;
        };
        let sum = self.get().checksum();
        let carry = u16::from(sum >= 0xfeff);
        self.0[8] = left;
        self.put(10, sum.wrapping_add(0x0100).wrapping_add(carry));
        left
    }

    /// Sets the TTL, checksum kept.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        let word = u16::from_be_bytes([ttl, self.0[9]]);
        self.replace(8, word);
    }

    /// Sets the DSCP (low six bits count) and leaves ECN, checksum kept.
    #[inline]
    pub fn set_dscp(&mut self, dscp: u8) {
        let word = u16::from_be_bytes([self.0[0], dscp << 2 | self.0[1] & 3]);
        self.replace(0, word);
    }

    /// Sets the ECN field (low two bits count) and leaves the DSCP, checksum kept.
    #[inline]
    pub fn set_ecn(&mut self, ecn: u8) {
        let word = u16::from_be_bytes([self.0[0], self.0[1] & !3 | ecn & 3]);
        self.replace(0, word);
    }

    /// Sets the total length, checksum kept.
    #[inline]
    pub fn set_total_len(&mut self, len: u16) {
        self.replace(2, len);
    }

    /// Writes a header without options, its checksum right: DF set and id 0 (RFC 6864 4.1, never fragmented).
    #[inline]
    pub fn init(&mut self, tos: u8, total_len: u16, ttl: u8, protocol: u8, src: u32, dst: u32) {
        let (l, s, d) = (
            total_len.to_be_bytes(),
            src.to_be_bytes(),
            dst.to_be_bytes(),
        );
        *self.0 = [
            0x45, tos, l[0], l[1], 0, 0, 0x40, 0, ttl, protocol, 0, 0, s[0], s[1], s[2], s[3],
            d[0], d[1], d[2], d[3],
        ];
        let sum = checksum::checksum(self.0);
        self.put(10, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpDscp, IpEcn, IpFragOffset, Ipv4Header, Ipv4HeaderSlice, Ipv4Options};
    use proptest::prelude::*;

    fn packet(options: &[u8], payload: usize) -> Vec<u8> {
        let mut h = Ipv4Header::new(
            payload as u16,
            9,
            proto::UDP.into(),
            [10, 0, 0, 1],
            [192, 0, 2, 1],
        )
        .unwrap();
        h.options = Ipv4Options::try_from(options).unwrap();
        h.set_payload_len(payload).unwrap();
        h.header_checksum = h.calc_header_checksum();
        let mut b = h.to_bytes().to_vec();
        b.resize(b.len() + payload, 0xa5);
        b
    }

    #[test]
    fn truncated_at_every_byte() {
        for options in [&[][..], &[option::NOP; 8]] {
            let p = packet(options, 30);
            for n in 0..p.len() {
                assert!(
                    matches!(check(&p[..n]), Err(WireError::Truncated { got, .. }) if got == n),
                    "{n}"
                );
            }
            assert_eq!(check(&p).unwrap().payload().len(), 30);
            let padded = [p.clone(), vec![0; 9]].concat();
            assert_eq!(check(&padded).unwrap().bytes(), p);
        }
    }

    #[test]
    fn each_check_has_its_error() {
        let good = packet(&[], 4);
        let with = |at: usize, v: u8, fix: bool| {
            let mut p = good.clone();
            p[at] = v;
            if fix {
                p[10..12].fill(0);
                let sum = checksum::checksum(&p[..20]);
                p[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            check(&p).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(0, 0x65, true), WireError::Version(6));
        assert_eq!(with(0, 0x44, true), WireError::HeaderLength(16));
        assert_eq!(
            with(0, 0x4f, true),
            WireError::Truncated { need: 60, got: 24 }
        );
        assert_eq!(with(12, 11, false), WireError::Checksum);
        assert_eq!(with(3, 19, true), WireError::TotalLength(19));
        assert_eq!(
            with(3, 25, true),
            WireError::Truncated { need: 25, got: 24 }
        );
        let mut p = good.clone();
        p[10] ^= 1;
        assert!(check(&p).is_err() && check_with(&p, false).is_ok());
    }

    #[test]
    fn options_are_walked_with_their_places() {
        let p = packet(
            &[
                option::NOP,
                option::ROUTER_ALERT,
                4,
                0,
                0,
                option::RECORD_ROUTE,
                3,
                4,
                0,
                99,
                0,
                0,
            ],
            0,
        );
        let kinds: Vec<_> = check(&p)
            .unwrap()
            .options()
            .map(|o| o.map(|o| (o.kind, o.at, o.bytes.len())))
            .collect();
        assert_eq!(kinds, [Ok((1, 20, 1)), Ok((148, 21, 4)), Ok((7, 25, 3))]);
        for bad in [
            [131, 1, 0, 0],
            [131, 0, 0, 0],
            [131, 5, 0, 0],
            [1, 1, 1, 131],
        ] {
            let p = packet(&bad, 0);
            let last = check(&p).unwrap().options().last().unwrap();
            let at = if bad[0] == 1 { 24 } else { 21 };
            assert_eq!(last, Err(at), "{bad:?}");
        }
    }

    #[test]
    fn hosts() {
        let host = |s: &str| is_host_source(s.parse::<Ipv4Addr>().unwrap().into());
        assert!(host("10.0.0.1") && host("223.255.255.255") && host("1.0.0.0"));
        assert!(
            !host("0.0.0.0")
                && !host("0.1.2.3")
                && !host("127.0.0.1")
                && !host("224.0.0.1")
                && !host("255.255.255.255")
        );
    }

    proptest! {
        #[test]
        fn etherparse_agrees(dscp in 0u8..64, ecn in 0u8..4, id: u16, df: bool, mf: bool, off in 0u16..8192, ttl: u8, p: u8,
                             src: [u8; 4], dst: [u8; 4], words in 0usize..=10, payload in 0u16..100) {
            let mut h = Ipv4Header::new(payload, ttl, p.into(), src, dst).unwrap();
            h.dscp = IpDscp::try_new(dscp).unwrap();
            h.ecn = IpEcn::try_new(ecn).unwrap();
            h.identification = id;
            h.dont_fragment = df;
            h.more_fragments = mf;
            h.fragment_offset = IpFragOffset::try_new(off).unwrap();
            h.options = Ipv4Options::try_from(&[1u8; 40][..words * 4]).unwrap();
            h.set_payload_len(payload.into()).unwrap();
            h.header_checksum = h.calc_header_checksum();
            let mut bytes = h.to_bytes().to_vec();
            bytes.resize(bytes.len() + usize::from(payload), 0);
            let v = check(&bytes).unwrap();
            let g = v.header();
            prop_assert_eq!((g.version(), g.header_len(), g.total_len()), (4, 20 + words * 4, bytes.len()));
            prop_assert_eq!((g.dscp(), g.tos() & 3, g.id()), (dscp, ecn, id));
            prop_assert_eq!((g.dont_fragment(), g.more_fragments(), g.fragment_offset()), (df, mf, usize::from(off) * 8));
            prop_assert_eq!(g.is_fragment(), mf || off != 0);
            prop_assert_eq!((g.ttl(), g.protocol(), g.src().octets(), g.dst().octets()), (ttl, p, src, dst));
            prop_assert_eq!(v.options().count(), words * 4);
        }

        #[test]
        fn setters_keep_the_checksum(src: u32, dst: u32, ttl: u8, tos: u8, new: u8, len in 20u16..) {
            let mut b = [0; 20];
            let mut m = Ip4Mut::new(&mut b).unwrap();
            m.init(tos, len, ttl, proto::TCP, src, dst);
            m.set_ttl(new);
            prop_assert_eq!(m.decrement_ttl(), new.saturating_sub(1));
            m.set_dscp(new);
            m.set_ecn(new);
            m.set_total_len(len ^ u16::from(new));
            let h = Ipv4HeaderSlice::from_slice(&b).unwrap();
            prop_assert_eq!(h.to_header().calc_header_checksum(), h.header_checksum());
            prop_assert_eq!((h.ttl(), h.total_len()), (new.saturating_sub(1), len ^ u16::from(new)));
            prop_assert_eq!((h.dcp().value(), h.ecn().value()), (new & 63, new & 3));
            prop_assert_eq!((h.source_addr(), h.destination_addr()), (src.into(), dst.into()));
            prop_assert!(h.dont_fragment() && h.identification() == 0);
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(p) = check_with(&bytes, false) {
                prop_assert!(p.payload().len() + p.header().header_len() == p.bytes().len());
                prop_assert!(p.options().count() <= 40);
            }
            prop_assert!(Options::new(&bytes).count() <= bytes.len());
        }
    }
}
