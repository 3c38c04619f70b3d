//! Ethernet II and 802.1Q headers: IEEE 802.3 3.2, IEEE 802.1Q 9.6.
//!
//! One VLAN tag is read; a second one shows as EtherType 0x8100 or 0x88a8 of what follows. LLC frames
//! (a length below 0x600 where the type is) are left to the caller as "EtherType" below 0x600.

use crate::MacAddr;
use crate::error::{WireError, head, head_mut};

/// EtherTypes, host order.
pub mod ethertype {
    /// IPv4 (RFC 894).
    pub const IPV4: u16 = 0x0800;
    /// ARP (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad service tag.
    pub const QINQ: u16 = 0x88a8;
    /// IPv6 (RFC 2464).
    pub const IPV6: u16 = 0x86dd;
    /// MPLS with a downstream-assigned top label (RFC 5332).
    pub const MPLS: u16 = 0x8847;
    /// MPLS with an upstream-assigned top label (RFC 5332); we do not forward these.
    pub const MPLS_UPSTREAM: u16 = 0x8848;
}

/// Bytes of an untagged header.
pub const HEADER_LEN: usize = 14;
/// Of which the two addresses are the first.
pub const MAC_PAIR: usize = 12;
/// Bytes of a VLAN tag.
pub const VLAN_LEN: usize = 4;
/// Shortest frame on a wire, without FCS; shorter ones are padded by the driver.
pub const MIN_FRAME: usize = 60;

/// The header of an Ethernet frame.
#[derive(Clone, Copy, Debug)]
pub struct Eth<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Eth<'a> {
    /// The header at the start of `frame`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when `frame` is shorter than a header.
    #[inline]
    pub fn new(frame: &'a [u8]) -> Result<Self, WireError> {
        head(frame).map(Self)
    }

    /// Destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = *self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// Source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> MacAddr {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// EtherType (of the tag, when there is one).
    #[inline]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.0[12], self.0[13]])
    }
}

/// 802.1Q tag control information: priority (3 bits), drop eligible (1), VLAN id (12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tci(pub u16);

impl Tci {
    /// Priority code point, 0 to 7.
    #[inline]
    #[must_use]
    pub const fn pcp(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// VLAN id, 0 to 4095; 0 means priority only, the frame is untagged (IEEE 802.1Q 9.6).
    #[inline]
    #[must_use]
    pub const fn vid(self) -> u16 {
        self.0 & 0xfff
    }
}

/// What [`classify`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2 {
    /// Destination.
    pub dst: MacAddr,
    /// Source.
    pub src: MacAddr,
    /// The tag, when there is one.
    pub tag: Option<Tci>,
    /// EtherType of the payload.
    pub ethertype: u16,
    /// Bytes before the payload: 14 or 18.
    pub header_len: usize,
}

impl L2 {
    /// The VLAN of the frame; a priority tag (id 0) is no VLAN.
    #[inline]
    #[must_use]
    pub fn vlan(&self) -> Option<u16> {
        self.tag.map(Tci::vid).filter(|&vid| vid != 0)
    }
}

/// Reads the header and one tag.
///
/// # Errors
/// [`WireError::Truncated`] when the frame ends within them.
#[inline]
pub fn classify(frame: &[u8]) -> Result<L2, WireError> {
    let eth = Eth::new(frame)?;
    let (dst, src, outer) = (eth.dst(), eth.src(), eth.ethertype());
    if outer != ethertype::VLAN && outer != ethertype::QINQ {
        return Ok(L2 {
            dst,
            src,
            tag: None,
            ethertype: outer,
            header_len: HEADER_LEN,
        });
    }
    let h: &[u8; HEADER_LEN + VLAN_LEN] = head(frame)?;
    let tag = Some(Tci(u16::from_be_bytes([h[14], h[15]])));
    let ethertype = u16::from_be_bytes([h[16], h[17]]);
    Ok(L2 {
        dst,
        src,
        tag,
        ethertype,
        header_len: HEADER_LEN + VLAN_LEN,
    })
}

/// The header of an Ethernet frame, for writing.
#[derive(Debug)]
pub struct EthMut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> EthMut<'a> {
    /// The header at the start of `frame`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when `frame` is shorter than a header.
    #[inline]
    pub fn new(frame: &'a mut [u8]) -> Result<Self, WireError> {
        head_mut(frame).map(Self)
    }

    /// Sets all three fields.
    #[inline]
    pub fn set(&mut self, dst: MacAddr, src: MacAddr, ethertype: u16) {
        *self.0 = header(dst, src, ethertype);
    }

    /// Sets the EtherType alone.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: u16) {
        let [hi, lo] = ethertype.to_be_bytes();
        self.0[12] = hi;
        self.0[13] = lo;
    }
}

/// The bytes of an untagged header.
#[inline]
#[must_use]
pub fn header(dst: MacAddr, src: MacAddr, ethertype: u16) -> [u8; HEADER_LEN] {
    let (d, s, t) = (dst.0, src.0, ethertype.to_be_bytes());
    [
        d[0], d[1], d[2], d[3], d[4], d[5], s[0], s[1], s[2], s[3], s[4], s[5], t[0], t[1],
    ]
}

/// The bytes of a header with one 802.1Q tag.
#[inline]
#[must_use]
pub fn tagged_header(
    dst: MacAddr,
    src: MacAddr,
    tci: Tci,
    ethertype: u16,
) -> [u8; HEADER_LEN + VLAN_LEN] {
    let h = header(dst, src, ethertype::VLAN);
    let mut out = [0; HEADER_LEN + VLAN_LEN];
    let (front, back) = out.split_at_mut(HEADER_LEN);
    front.copy_from_slice(&h);
    let (c, t) = (tci.0.to_be_bytes(), ethertype.to_be_bytes());
    back.copy_from_slice(&[c[0], c[1], t[0], t[1]]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Ethernet2HeaderSlice, SingleVlanHeaderSlice};
    use proptest::prelude::*;

    #[test]
    fn truncated_at_every_byte() {
        let frame = tagged_header(
            MacAddr::BROADCAST,
            MacAddr([2; 6]),
            Tci(0x2064),
            ethertype::IPV4,
        );
        for n in 0..frame.len() {
            let need = if n < HEADER_LEN {
                HEADER_LEN
            } else {
                HEADER_LEN + VLAN_LEN
            };
            assert_eq!(
                classify(&frame[..n]),
                Err(WireError::Truncated { need, got: n })
            );
        }
        let l2 = classify(&frame).unwrap();
        assert_eq!(
            (l2.vlan(), l2.tag.unwrap().pcp(), l2.ethertype),
            (Some(100), 1, ethertype::IPV4)
        );
    }

    #[test]
    fn a_priority_tag_is_no_vlan() {
        let frame = tagged_header(
            MacAddr::BROADCAST,
            MacAddr([2; 6]),
            Tci(0xe000),
            ethertype::ARP,
        );
        let l2 = classify(&frame).unwrap();
        assert_eq!(
            (l2.vlan(), l2.tag, l2.header_len),
            (None, Some(Tci(0xe000)), 18)
        );
    }

    proptest! {
        #[test]
        fn etherparse_agrees(dst: [u8; 6], src: [u8; 6], tci: u16, ty: u16) {
            let bytes = tagged_header(MacAddr(dst), MacAddr(src), Tci(tci), ty);
            let eth = Ethernet2HeaderSlice::from_slice(&bytes).unwrap();
            prop_assert_eq!((eth.destination(), eth.source(), eth.ether_type().0), (dst, src, 0x8100));
            let vlan = SingleVlanHeaderSlice::from_slice(&bytes[14..]).unwrap();
            prop_assert_eq!(vlan.vlan_identifier().value(), Tci(tci).vid());
            prop_assert_eq!(vlan.priority_code_point().value(), Tci(tci).pcp());
            prop_assert_eq!(vlan.ether_type().0, ty);
            let l2 = classify(&bytes).unwrap();
            prop_assert_eq!((l2.dst.0, l2.src.0, l2.tag, l2.ethertype), (dst, src, Some(Tci(tci)), ty));

            let mut plain = [0; 14];
            EthMut::new(&mut plain).unwrap().set(MacAddr(dst), MacAddr(src), ty);
            let eth = Eth::new(&plain).unwrap();
            prop_assert_eq!((eth.dst().0, eth.src().0, eth.ethertype()), (dst, src, ty));
            EthMut::new(&mut plain).unwrap().set_ethertype(ethertype::MPLS);
            prop_assert_eq!(Eth::new(&plain).unwrap().ethertype(), ethertype::MPLS);
        }
    }
}
