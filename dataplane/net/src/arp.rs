//! ARP for IPv4 over Ethernet: RFC 826, RFC 5227 (probes and announcements). Others are refused.

use std::net::Ipv4Addr;

use crate::MacAddr;
use crate::error::{WireError, head};
use crate::eth::{self, ethertype};

/// Bytes of a packet.
pub const LEN: usize = 28;
/// Bytes of a frame; the driver pads it to [`eth::MIN_FRAME`].
pub const FRAME_LEN: usize = eth::HEADER_LEN + LEN;

/// What a packet asks or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub op: Op,
    /// Sender's Ethernet address.
    pub sender_mac: MacAddr,
    /// Sender's IPv4 address; unspecified in a probe (RFC 5227 1.1).
    pub sender: Ipv4Addr,
    /// Target's Ethernet address; zero in a request.
    pub target_mac: MacAddr,
    /// Target's IPv4 address.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads a packet (what follows the Ethernet header; padding is ignored).
    ///
    /// # Errors
    /// [`WireError::Truncated`] below 28 bytes, `Unsupported` for another hardware, protocol or operation,
    /// `Illegal` when the sender's Ethernet address is no single station's.
    pub fn parse(packet: &[u8]) -> Result<Self, WireError> {
        let b: &[u8; LEN] = head(packet)?;
        // Hardware Ethernet, protocol IPv4, address lengths 6 and 4.
        if b[..6] != [0, 1, 8, 0, 6, 4] {
            return Err(WireError::Unsupported(u32::from_be_bytes([
                b[0], b[1], b[2], b[3],
            ])));
        }
        let op = match u16::from_be_bytes([b[6], b[7]]) {
            1 => Op::Request,
            2 => Op::Reply,
            other => return Err(WireError::Unsupported(other.into())),
        };
        let mac =
            |at: usize| MacAddr([b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5]]);
        let ip = |at: usize| Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3]);
        let arp = Self {
            op,
            sender_mac: mac(8),
            sender: ip(14),
            target_mac: mac(18),
            target: ip(24),
        };
        if !arp.sender_mac.is_unicast() {
            return Err(WireError::Illegal("ARP sender is not a station"));
        }
        Ok(arp)
    }

    /// The bytes of the packet.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut b = [0; LEN];
        b[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        b[7] = match self.op {
            Op::Request => 1,
            Op::Reply => 2,
        };
        b[8..14].copy_from_slice(&self.sender_mac.0);
        b[14..18].copy_from_slice(&self.sender.octets());
        b[18..24].copy_from_slice(&self.target_mac.0);
        b[24..].copy_from_slice(&self.target.octets());
        b
    }

    /// The bytes of an untagged frame from the sender to `dst`.
    #[must_use]
    pub fn frame(&self, dst: MacAddr) -> [u8; FRAME_LEN] {
        let mut b = [0; FRAME_LEN];
        let (front, back) = b.split_at_mut(eth::HEADER_LEN);
        front.copy_from_slice(&eth::header(dst, self.sender_mac, ethertype::ARP));
        back.copy_from_slice(&self.to_bytes());
        b
    }

    /// A question for `target`, from a station with an address.
    #[must_use]
    pub const fn request(mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            op: Op::Request,
            sender_mac: mac,
            sender,
            target_mac: MacAddr::ZERO,
            target,
        }
    }

    /// Asks whether anybody uses `target`, without claiming it (RFC 5227 2.1.1).
    #[must_use]
    pub const fn probe(mac: MacAddr, target: Ipv4Addr) -> Self {
        Self::request(mac, Ipv4Addr::UNSPECIFIED, target)
    }

    /// Tells everybody that `addr` is ours: gratuitous ARP as a request (RFC 5227 3).
    #[must_use]
    pub const fn announcement(mac: MacAddr, addr: Ipv4Addr) -> Self {
        Self::request(mac, addr, addr)
    }

    /// The answer to this packet when `addr` is ours.
    #[must_use]
    pub const fn reply(&self, mac: MacAddr, addr: Ipv4Addr) -> Self {
        Self {
            op: Op::Reply,
            sender_mac: mac,
            sender: addr,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }

    /// A probe: nobody's address is claimed.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.sender.is_unspecified()
    }

    /// Gratuitous: the sender speaks of its own address.
    #[must_use]
    pub fn is_gratuitous(&self) -> bool {
        self.sender == self.target && !self.is_probe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{ArpEthIpv4Packet, ArpPacketSlice, EtherType, SlicedPacket};
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    #[test]
    fn kinds() {
        let ask = Arp::request(MAC, A, B);
        assert!(!ask.is_probe() && !ask.is_gratuitous());
        assert!(Arp::probe(MAC, A).is_probe() && !Arp::probe(MAC, A).is_gratuitous());
        assert!(Arp::announcement(MAC, A).is_gratuitous());
        let answer = ask.reply(MacAddr([2; 6]), B);
        assert_eq!(
            (answer.op, answer.sender, answer.target_mac, answer.target),
            (Op::Reply, B, MAC, A)
        );
    }

    #[test]
    fn truncated_at_every_byte_and_padded() {
        let b = Arp::request(MAC, A, B).to_bytes();
        for n in 0..LEN {
            assert_eq!(
                Arp::parse(&b[..n]),
                Err(WireError::Truncated { need: LEN, got: n })
            );
        }
        assert!(Arp::parse(&[&b[..], &[0; 18]].concat()).is_ok());
    }

    #[test]
    fn refuses_other_kinds() {
        for at in 0..8 {
            let mut b = Arp::request(MAC, A, B).to_bytes();
            b[at] ^= 0x10;
            assert!(
                matches!(Arp::parse(&b), Err(WireError::Unsupported(_))),
                "{at}"
            );
        }
        for mac in [
            MacAddr::ZERO,
            MacAddr::BROADCAST,
            MacAddr([1, 0, 0x5e, 0, 0, 1]),
        ] {
            let b = Arp::request(mac, A, B).to_bytes();
            assert!(matches!(Arp::parse(&b), Err(WireError::Illegal(_))));
        }
    }

    proptest! {
        #[test]
        fn etherparse_agrees(reply: bool, mut sm: [u8; 6], s: [u8; 4], tm: [u8; 6], t: [u8; 4], dst: [u8; 6]) {
            sm[0] = sm[0] & 0xfe | 2;
            let op = if reply { Op::Reply } else { Op::Request };
            let arp = Arp { op, sender_mac: MacAddr(sm), sender: s.into(), target_mac: MacAddr(tm), target: t.into() };
            let frame = arp.frame(MacAddr(dst));
            let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
            let eth = sliced.link.unwrap().to_header().unwrap().ethernet2().unwrap();
            prop_assert_eq!((eth.destination, eth.source, eth.ether_type), (dst, sm, EtherType::ARP));
            let theirs: ArpEthIpv4Packet = ArpPacketSlice::from_slice(&frame[14..]).unwrap().to_packet().try_eth_ipv4().unwrap();
            prop_assert_eq!((theirs.sender_mac, theirs.sender_ipv4, theirs.target_mac, theirs.target_ipv4), (sm, s, tm, t));
            prop_assert_eq!(theirs.operation.0, if reply { 2 } else { 1 });
            prop_assert_eq!(Arp::parse(&frame[14..]), Ok(arp));
        }

        #[test]
        fn any_bytes(b in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(arp) = Arp::parse(&b) {
                prop_assert_eq!(&arp.to_bytes()[..], &b[..LEN]);
            }
        }
    }
}
