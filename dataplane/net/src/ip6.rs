//! The IPv6 header and its extension headers: RFC 8200 3 and 4, RFC 7045 (what a forwarder may look at).
//!
//! Left out: jumbograms (RFC 2675); a payload length of 0 means no payload. A router passes extension
//! headers on unread; [`walk`] is for flow hashing, for ICMPv6 errors and for what is addressed to us.

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::error::{WireError, head, head_mut};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;
/// The smallest MTU that a link with IPv6 may have (RFC 8200 5).
pub const MIN_MTU: usize = 1280;
/// Extension headers that [`walk`] follows. A sane packet has at most seven (RFC 8200 4.1).
pub const MAX_EXTENSIONS: usize = 8;

/// Next-header numbers of extension headers.
pub mod ext {
    /// Hop-by-hop options; legal right after the fixed header only.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Fragment.
    pub const FRAGMENT: u8 = 44;
    /// Authentication (RFC 4302).
    pub const AUTH: u8 = 51;
    /// Nothing follows.
    pub const NONE: u8 = 59;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
    /// Mobility (RFC 6275).
    pub const MOBILITY: u8 = 135;
}

/// The fixed IPv6 header. Nothing but its length is known to be right; see [`check`].
#[derive(Clone, Copy, Debug)]
pub struct Ip6<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Ip6<'a> {
    /// The header at the start of `packet`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] below 40 bytes.
    #[inline]
    pub fn new(packet: &'a [u8]) -> Result<Self, WireError> {
        head(packet).map(Self)
    }

    /// Version: 6 when this is IPv6.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// Traffic class: DSCP (6 bits) and ECN (2).
    #[inline]
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        self.0[0] << 4 | self.0[1] >> 4
    }

    /// Differentiated services code point, 0 to 63.
    #[inline]
    #[must_use]
    pub fn dscp(&self) -> u8 {
        self.traffic_class() >> 2
    }

    /// Flow label, 20 bits.
    #[inline]
    #[must_use]
    pub fn flow_label(&self) -> u32 {
        u32::from_be_bytes([0, self.0[1] & 0xf, self.0[2], self.0[3]])
    }

    /// Bytes after the fixed header.
    #[inline]
    #[must_use]
    pub fn payload_len(&self) -> usize {
        u16::from_be_bytes([self.0[4], self.0[5]]).into()
    }

    /// What follows the fixed header.
    #[inline]
    #[must_use]
    pub fn next_header(&self) -> u8 {
        self.0[6]
    }

    /// Hop limit.
    #[inline]
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.0[7]
    }

    #[inline]
    fn addr_at(&self, at: usize) -> u128 {
        // Both callers stay inside the array, so this is one load and a swap.
        self.0[at..]
            .first_chunk()
            .map_or(0, |b| u128::from_be_bytes(*b))
    }

    /// Source, host order.
    #[inline]
    #[must_use]
    pub fn src_bits(&self) -> u128 {
        self.addr_at(8)
    }

    /// Destination, host order.
    #[inline]
    #[must_use]
    pub fn dst_bits(&self) -> u128 {
        self.addr_at(24)
    }

    /// Source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv6Addr {
        self.src_bits().into()
    }

    /// Destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv6Addr {
        self.dst_bits().into()
    }
}

/// An IPv6 packet that passed [`check`]: its payload is all there.
#[derive(Clone, Copy, Debug)]
pub struct Ip6Packet<'a> {
    header: Ip6<'a>,
    bytes: &'a [u8],
}

impl<'a> Ip6Packet<'a> {
    /// The fixed header.
    #[inline]
    #[must_use]
    pub fn header(&self) -> Ip6<'a> {
        self.header
    }

    /// Header and payload, link-layer padding cut off.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the fixed header.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or(&[])
    }
}

/// Length and version of a packet. `packet` may be longer than it states (link-layer padding).
///
/// # Errors
/// [`WireError::Truncated`] (fewer bytes than the header or the payload length need), `Version`.
#[inline]
pub fn check(packet: &[u8]) -> Result<Ip6Packet<'_>, WireError> {
    let header = Ip6::new(packet)?;
    if header.version() != 6 {
        return Err(WireError::Version(header.version()));
    }
    let need = HEADER_LEN + header.payload_len();
    let bytes = packet.get(..need).ok_or(WireError::Truncated {
        need,
        got: packet.len(),
    })?;
    Ok(Ip6Packet { header, bytes })
}

/// What a fragment header says (RFC 8200 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset of this piece in the fragmentable part, bytes.
    pub offset: usize,
    /// More pieces follow.
    pub more: bool,
    /// Identification.
    pub id: u32,
}

impl Fragment {
    /// A whole packet that carries a fragment header all the same (RFC 6946).
    #[inline]
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// Where the extension headers of a packet end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The first next-header value that is no extension header we follow: the upper-layer protocol, or
    /// [`ext::NONE`]. In a fragment that is not the first, what the fragment header says, at its payload.
    pub proto: u8,
    /// Where that header starts, from the start of the packet. May be the packet's end.
    pub offset: usize,
    /// Where the next-header byte that names `proto` stands: the pointer of a parameter problem.
    pub named_at: usize,
    /// The fragment header, when there was one.
    pub fragment: Option<Fragment>,
    /// The options of the hop-by-hop header, when there was one.
    pub hop_by_hop: Option<Range<usize>>,
}

/// Follows the extension headers of a packet (fixed header included), [`MAX_EXTENSIONS`] at most. Stops at
/// a fragment that is not the first: what follows it is data.
///
/// # Errors
/// [`WireError::Truncated`] when a header runs past the packet, `Misplaced` for hop-by-hop options that are
/// not first, `TooDeep`.
#[inline]
pub fn walk(packet: &[u8]) -> Result<Upper, WireError> {
    let fixed = Ip6::new(packet)?;
    let up = Upper {
        proto: fixed.next_header(),
        offset: HEADER_LEN,
        named_at: 6,
        fragment: None,
        hop_by_hop: None,
    };
    if is_extension(up.proto) {
        walk_extensions(packet, up)
    } else {
        Ok(up)
    }
}

/// Whether [`walk`] follows this next-header value.
#[inline]
#[must_use]
pub const fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        ext::HOP_BY_HOP
            | ext::ROUTING
            | ext::FRAGMENT
            | ext::AUTH
            | ext::DESTINATION
            | ext::MOBILITY
    )
}

/// The part of [`walk`] that ordinary packets never reach.
#[inline(never)]
fn walk_extensions(packet: &[u8], mut up: Upper) -> Result<Upper, WireError> {
    let truncated = |need| WireError::Truncated {
        need,
        got: packet.len(),
    };
    for depth in 0..MAX_EXTENSIONS {
        if up.proto == ext::HOP_BY_HOP && depth != 0 {
            return Err(WireError::Misplaced);
        }
        let start = up.offset;
        let h: &[u8; 8] = packet
            .get(start..)
            .and_then(|b| b.first_chunk())
            .ok_or_else(|| truncated(start + 8))?;
        let len = match up.proto {
            ext::FRAGMENT => 8,
            ext::AUTH => (usize::from(h[1]) + 2) * 4, // RFC 4302 2.2
            _ => (usize::from(h[1]) + 1) * 8,
        };
        let end = start + len;
        if packet.len() < end {
            return Err(truncated(end));
        }
        match up.proto {
            ext::FRAGMENT => {
                let word = u16::from_be_bytes([h[2], h[3]]);
                up.fragment = Some(Fragment {
                    offset: (word & !7).into(),
                    more: word & 1 != 0,
                    id: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
                });
            }
            ext::HOP_BY_HOP => up.hop_by_hop = Some(start + 2..end),
            _ => {}
        }
        up.proto = h[0];
        up.named_at = start;
        up.offset = end;
        if up.fragment.is_some_and(|f| f.offset != 0) || !is_extension(up.proto) {
            return Ok(up);
        }
    }
    Err(WireError::TooDeep(MAX_EXTENSIONS))
}

/// Whether an address may be the source of a packet from one host: neither unspecified, loopback nor
/// multicast (RFC 4291 2.5.2, 2.5.3, 2.7).
#[inline]
#[must_use]
pub const fn is_host_source(addr: u128) -> bool {
    addr > 1 && !is_multicast(addr)
}

/// ff00::/8.
#[inline]
#[must_use]
pub const fn is_multicast(addr: u128) -> bool {
    addr >> 120 == 0xff
}

/// fe80::/10.
#[inline]
#[must_use]
pub const fn is_link_local(addr: u128) -> bool {
    addr >> 118 == 0xfe80 >> 6
}

/// The solicited-node multicast address of an address (RFC 4291 2.7.1).
#[inline]
#[must_use]
pub const fn solicited_node(addr: u128) -> u128 {
    0xff02_0000_0000_0000_0000_0001_ff00_0000 | addr & 0xff_ffff
}

/// The fixed IPv6 header, for writing.
#[derive(Debug)]
pub struct Ip6Mut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> Ip6Mut<'a> {
    /// The header at the start of `packet`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] below 40 bytes.
    #[inline]
    pub fn new(packet: &'a mut [u8]) -> Result<Self, WireError> {
        head_mut(packet).map(Self)
    }

    /// For reading.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Ip6<'_> {
        Ip6(self.0)
    }

    /// Hop limit less one; returns what is left. 0 stays 0.
    #[inline]
    pub fn decrement_hop_limit(&mut self) -> u8 {
        self.0[7] = self.0[7].saturating_sub(1);
        self.0[7]
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, hops: u8) {
        self.0[7] = hops;
    }

    /// Sets the traffic class: DSCP and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, tc: u8) {
        self.0[0] = self.0[0] & 0xf0 | tc >> 4;
        self.0[1] = self.0[1] & 0x0f | tc << 4;
    }

    /// Sets the DSCP (low six bits count) and leaves ECN.
    #[inline]
    pub fn set_dscp(&mut self, dscp: u8) {
        let ecn = self.get().traffic_class() & 3;
        self.set_traffic_class(dscp << 2 | ecn);
    }

    /// Sets the payload length.
    #[inline]
    pub fn set_payload_len(&mut self, len: u16) {
        let [hi, lo] = len.to_be_bytes();
        self.0[4] = hi;
        self.0[5] = lo;
    }

    /// Writes the whole header; flow label 0.
    #[inline]
    pub fn init(
        &mut self,
        tc: u8,
        payload_len: u16,
        next_header: u8,
        hop_limit: u8,
        src: u128,
        dst: u128,
    ) {
        let mut h = [0; HEADER_LEN];
        h[0] = 0x60 | tc >> 4;
        h[1] = tc << 4;
        h[4..6].copy_from_slice(&payload_len.to_be_bytes());
        h[6] = next_header;
        h[7] = hop_limit;
        h[8..24].copy_from_slice(&src.to_be_bytes());
        h[24..].copy_from_slice(&dst.to_be_bytes());
        *self.0 = h;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip4::proto;
    use etherparse::{IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice};
    use proptest::prelude::*;

    /// A packet with these extension headers (type, bytes after the next-header byte) and then UDP.
    fn packet(chain: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for (i, (_, rest)) in chain.iter().enumerate() {
            body.push(chain.get(i + 1).map_or(proto::UDP, |n| n.0));
            body.extend(*rest);
        }
        body.extend(payload);
        let mut p = vec![0; 40];
        let first = chain.first().map_or(proto::UDP, |n| n.0);
        Ip6Mut::new(&mut p)
            .unwrap()
            .init(0, body.len() as u16, first, 64, 5, 6);
        p.extend(body);
        p
    }

    const HBH: (u8, &[u8]) = (ext::HOP_BY_HOP, &[0, 1, 4, 0, 0, 0, 0]);
    const DST: (u8, &[u8]) = (ext::DESTINATION, &[0, 1, 4, 0, 0, 0, 0]);
    const FIRST: (u8, &[u8]) = (ext::FRAGMENT, &[0, 0, 1, 0, 0, 0, 9]);
    const LATER: (u8, &[u8]) = (ext::FRAGMENT, &[0, 0, 8, 0, 0, 0, 9]);
    const AUTH: (u8, &[u8]) = (ext::AUTH, &[1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);

    #[test]
    fn extensions_are_walked() {
        let p = packet(&[HBH, DST, AUTH, FIRST], &[0; 8]);
        let up = walk(&p).unwrap();
        assert_eq!(
            (up.proto, up.offset, up.named_at),
            (proto::UDP, 40 + 8 + 8 + 12 + 8, 68)
        );
        assert_eq!(up.hop_by_hop, Some(42..48));
        assert_eq!(
            up.fragment,
            Some(Fragment {
                offset: 0,
                more: true,
                id: 9
            })
        );
        // What follows a later fragment is data, whatever its header claims.
        let p = packet(&[LATER, DST], &[0xff; 8]);
        let up = walk(&p).unwrap();
        assert_eq!(
            (up.proto, up.offset, up.fragment.unwrap().offset),
            (ext::DESTINATION, 48, 8)
        );
        let up = walk(&packet(&[], &[])).unwrap();
        assert_eq!((up.proto, up.offset), (proto::UDP, 40));
    }

    #[test]
    fn hop_by_hop_is_first_or_refused() {
        assert_eq!(walk(&packet(&[DST, HBH], &[])), Err(WireError::Misplaced));
        assert_eq!(walk(&packet(&[HBH, HBH], &[])), Err(WireError::Misplaced));
    }

    #[test]
    fn the_walk_is_bounded() {
        assert!(walk(&packet(&[DST; MAX_EXTENSIONS], &[])).is_ok());
        assert_eq!(
            walk(&packet(&[DST; MAX_EXTENSIONS + 1], &[])),
            Err(WireError::TooDeep(MAX_EXTENSIONS))
        );
    }

    #[test]
    fn truncated_at_every_byte() {
        let p = packet(&[HBH, DST, AUTH, FIRST], &[]);
        for n in 0..p.len() {
            assert!(matches!(check(&p[..n]), Err(WireError::Truncated { got, .. }) if got == n));
            assert!(
                matches!(walk(&p[..n]), Err(WireError::Truncated { got, .. }) if got == n),
                "{n}"
            );
        }
        assert!(walk(&p).is_ok());
        assert!(check(&[p.clone(), vec![0; 3]].concat()).is_ok_and(|c| c.bytes() == p));
        let mut q = p;
        q[0] = 0x45;
        assert!(matches!(check(&q), Err(WireError::Version(4))));
    }

    #[test]
    fn kinds_of_address() {
        let a = |s: &str| u128::from(s.parse::<Ipv6Addr>().unwrap());
        assert!(
            is_link_local(a("fe80::1"))
                && is_link_local(a("febf::1"))
                && !is_link_local(a("fec0::1"))
        );
        assert!(is_multicast(a("ff02::1")) && !is_multicast(a("fe80::1")));
        assert!(
            !is_host_source(a("::")) && !is_host_source(a("::1")) && !is_host_source(a("ff02::1"))
        );
        assert!(is_host_source(a("2001:db8::1")) && is_host_source(a("fe80::1")));
        assert_eq!(
            solicited_node(a("4037::01:800:200e:8c6c")),
            a("ff02::1:ff0e:8c6c")
        ); // RFC 4291 2.7.1
    }

    proptest! {
        #[test]
        fn etherparse_agrees(tc: u8, tc2: u8, len: u16, nh: u8, hops: u8, src: u128, dst: u128) {
            let mut p = [0; 40];
            let mut m = Ip6Mut::new(&mut p).unwrap();
            m.init(tc, len, nh, hops, src, dst);
            let h = Ipv6HeaderSlice::from_slice(&p).unwrap();
            prop_assert_eq!((h.traffic_class(), h.payload_length(), h.next_header(), h.hop_limit()), (tc, len, IpNumber(nh), hops));
            prop_assert_eq!((h.source_addr(), h.destination_addr()), (src.into(), dst.into()));
            let g = Ip6::new(&p).unwrap();
            prop_assert_eq!((g.traffic_class(), g.flow_label(), g.src_bits(), g.dst_bits()), (tc, 0, src, dst));
            prop_assert_eq!((g.payload_len(), g.next_header(), g.hop_limit(), g.version()), (len.into(), nh, hops, 6));
            let mut m = Ip6Mut::new(&mut p).unwrap();
            m.set_dscp(tc2);
            m.set_hop_limit(hops);
            prop_assert_eq!(m.decrement_hop_limit(), hops.saturating_sub(1));
            m.set_payload_len(!len);
            let h = Ipv6HeaderSlice::from_slice(&p).unwrap();
            prop_assert_eq!((h.traffic_class(), h.payload_length()), (tc2 << 2 | tc & 3, !len));
        }

        #[test]
        fn fields_of_any_header(p: [u8; 40]) {
            let mut p = p;
            p[0] = 0x60 | p[0] & 0xf;
            let (h, g) = (Ipv6HeaderSlice::from_slice(&p).unwrap(), Ip6::new(&p).unwrap());
            prop_assert_eq!((g.traffic_class(), g.flow_label()), (h.traffic_class(), h.flow_label().value()));
            prop_assert_eq!((g.src(), g.dst()), (h.source_addr(), h.destination_addr()));
        }

        /// Where both of us reach the end of a chain, we reach the same end.
        #[test]
        fn etherparse_ends_where_we_end(first in prop::sample::select(vec![0u8, 43, 44, 51, 60, 17]),
                                        mut body in prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 17, 43, 44, 51, 60]), 8..120)) {
            let mut p = vec![0; 40];
            Ip6Mut::new(&mut p).unwrap().init(0, body.len() as u16, first, 64, 5, 6);
            p.append(&mut body);
            let ours = walk(&p);
            if let (Ok(ours), Ok((theirs, next, rest))) = (&ours, Ipv6ExtensionsSlice::from_slice(first.into(), &p[40..])) {
                let later = theirs.clone().into_iter().any(|e| matches!(e, Ipv6ExtensionSlice::Fragment(f) if f.fragment_offset().value() != 0));
                if !later {
                    prop_assert_eq!((ours.proto, ours.offset), (next.0, p.len() - rest.len()));
                }
            }
        }

        #[test]
        fn any_bytes(p in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&p);
            if let Ok(up) = walk(&p) {
                prop_assert!(up.offset <= p.len() && up.named_at < up.offset);
            }
        }
    }
}
