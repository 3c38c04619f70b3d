//! UDP in IPv4, whole datagrams: what LSP ping sends and takes. RFC 768, RFC 791, RFC 2113 (router alert), RFC 8029 4.3 and 4.4.
//!
//! [`is_echo_request`] is for workers, which ask it of few packets and must not be slow; [`Datagram`] is for the control thread.
//! Left out: fragments (an echo that was cut has lost its way), options other than the router alert.

use std::net::Ipv4Addr;

use crate::checksum::{Sum, checksum};
use crate::error::WireError;
use crate::ip4::{self, HEADER_LEN, Ip4, option, proto};

/// The port of LSP ping.
pub const LSP_PING: u16 = 3503;
/// Bytes of a UDP header.
pub const UDP_LEN: usize = 8;
/// The router alert option: "every router shall examine packet".
const ALERT: [u8; 4] = [option::ROUTER_ALERT, 4, 0, 0];

/// Whether `packet` is one of IPv4 that asks for an echo of LSP ping: UDP to port 3503 of 127/8, not a fragment. Where labels end
/// early, or end here, such a one is the router's; nobody else's packet has such a destination.
#[must_use]
pub fn is_echo_request(packet: &[u8]) -> bool {
    let Ok(h) = Ip4::new(packet) else {
        return false;
    };
    h.dst_bits() >> 24 == 127 && is_lsp_ping(packet)
}

/// Whether `packet` is one of IPv4 that has UDP to the port of LSP ping, and is not a fragment.
#[must_use]
pub fn is_lsp_ping(packet: &[u8]) -> bool {
    let Ok(h) = Ip4::new(packet) else {
        return false;
    };
    if h.version() != 4 || h.protocol() != proto::UDP || h.is_fragment() {
        return false;
    }
    let ports = packet.get(h.header_len().max(HEADER_LEN)..);
    let to = ports.and_then(|p| p.get(2..4)).unwrap_or(&[]);
    to == LSP_PING.to_be_bytes()
}

/// Whether the header of `packet` has the router alert option.
#[must_use]
pub fn has_alert(packet: &[u8]) -> bool {
    let Ok(h) = Ip4::new(packet) else {
        return false;
    };
    let header = packet.get(..h.header_len()).unwrap_or(&[]);
    let mut options = ip4::Options::new(header);
    options.any(|o| o.is_ok_and(|o| o.kind == option::ROUTER_ALERT))
}

/// A datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// From this address,
    pub src: Ipv4Addr,
    /// to that one.
    pub dst: Ipv4Addr,
    /// DSCP and ECN.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// With the router alert option.
    pub alert: bool,
    /// From this port,
    pub sport: u16,
    /// to that one.
    pub dport: u16,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads a packet; what follows its total length, or the length that UDP states, is no part of it.
    ///
    /// # Errors
    /// It is no such packet, a fragment, a length contradicts another, or a checksum is wrong.
    pub fn parse(packet: &'a [u8]) -> Result<Self, WireError> {
        let p = ip4::check(packet)?;
        let h = p.header();
        if h.protocol() != proto::UDP || h.is_fragment() {
            return Err(WireError::Unsupported(h.protocol().into()));
        }
        let upper = p.payload();
        let udp: &[u8; UDP_LEN] = crate::error::head(upper)?;
        let word = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let len = usize::from(word(4));
        let whole = upper
            .get(..len)
            .filter(|w| w.len() >= UDP_LEN)
            .ok_or(WireError::TotalLength(len))?;
        let sum = Sum::pseudo4(h.src_bits(), h.dst_bits(), proto::UDP, word(4));
        // None was made if it says zero (RFC 768).
        if word(6) != 0 && sum.add_bytes(whole).fold() != 0xffff {
            return Err(WireError::Checksum);
        }
        Ok(Self {
            src: h.src(),
            dst: h.dst(),
            tos: h.tos(),
            ttl: h.ttl(),
            alert: has_alert(packet),
            sport: word(0),
            dport: word(2),
            payload: &whole[UDP_LEN..],
        })
    }

    /// Writes the packet, checksums and all: never to be cut, so with DF and id 0. `None`, and nothing is written, if it would be
    /// longer than a packet can be.
    #[must_use]
    pub fn emit(&self) -> Option<Vec<u8>> {
        let options: &[u8] = if self.alert { &ALERT } else { &[] };
        let (header, udp_len) = (HEADER_LEN + options.len(), UDP_LEN + self.payload.len());
        let total = u16::try_from(header + udp_len).ok()?;
        let udp_len = u16::try_from(udp_len).ok()?;
        let mut out = Vec::with_capacity(total.into());
        let words = 0x40 | u8::try_from(header / 4).ok()?;
        let [t0, t1] = total.to_be_bytes();
        out.extend([words, self.tos, t0, t1, 0, 0, 0x40, 0]);
        out.extend([self.ttl, proto::UDP, 0, 0]);
        out.extend(self.src.octets());
        out.extend(self.dst.octets());
        out.extend(options);
        let sum = checksum(&out);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
        out.extend(self.sport.to_be_bytes());
        out.extend(self.dport.to_be_bytes());
        out.extend(udp_len.to_be_bytes());
        out.extend([0, 0]);
        out.extend(self.payload);
        let sum = Sum::pseudo4(self.src.to_bits(), self.dst.to_bits(), proto::UDP, udp_len);
        // Zero would say that there is none (RFC 768).
        let sum = match sum.add_bytes(&out[header..]).finish() {
            0 => u16::MAX,
            sum => sum,
        };
        out[header + 6..header + 8].copy_from_slice(&sum.to_be_bytes());
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Ipv4Slice, UdpSlice};
    use proptest::prelude::*;

    fn request(payload: &[u8]) -> Datagram<'_> {
        Datagram {
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(127, 0, 0, 1),
            tos: 0xc0,
            ttl: 1,
            alert: true,
            sport: LSP_PING,
            dport: LSP_PING,
            payload,
        }
    }

    #[test]
    fn a_stranger_reads_what_is_written() {
        let packet = request(b"hello").emit().unwrap();
        let ip = Ipv4Slice::from_slice(&packet).unwrap();
        let h = ip.header().to_header();
        assert_eq!(h.header_checksum, h.calc_header_checksum());
        assert_eq!(h.options.as_slice(), [148, 4, 0, 0]);
        assert!(h.dont_fragment && h.time_to_live == 1);
        let udp = UdpSlice::from_slice(ip.payload().payload).unwrap();
        let header = udp.to_header();
        let sum = header.calc_checksum_ipv4(&h, udp.payload()).unwrap();
        assert_eq!(sum, header.checksum);
        assert_eq!(
            (udp.destination_port(), udp.payload()),
            (3503, &b"hello"[..])
        );
    }

    #[test]
    fn requests_are_known() {
        let packet = request(b"x").emit().unwrap();
        assert!(is_echo_request(&packet) && has_alert(&packet));
        let without = |change: &dyn Fn(&mut Datagram<'_>)| {
            let mut d = request(b"x");
            change(&mut d);
            d.emit().unwrap()
        };
        let plain = without(&|d| d.alert = false);
        assert!(is_echo_request(&plain) && !has_alert(&plain));
        for other in [
            without(&|d| d.dst = Ipv4Addr::new(126, 0, 0, 1)),
            without(&|d| d.dst = Ipv4Addr::new(128, 0, 0, 1)),
            without(&|d| d.dport = 3502),
        ] {
            assert!(!is_echo_request(&other));
        }
        for (at, octet) in [(0, 0x66), (9, 6), (6, 0x20), (7, 1)] {
            let mut other = packet.clone();
            other[at] = octet;
            assert!(!is_echo_request(&other), "{at}");
        }
        for n in 0..28 {
            assert!(!is_echo_request(&packet[..n]), "cut to {n}");
            assert!(Datagram::parse(&packet[..n]).is_err(), "cut to {n}");
        }
    }

    #[test]
    fn lengths_and_sums_are_not_trusted() {
        let packet = request(b"abcd").emit().unwrap();
        let with = |at: usize, octet: u8| {
            let mut p = packet.clone();
            p[at] = octet;
            p
        };
        // UDP's length, at 24 + 4: less than its header, more than there is; its checksum; the payload.
        for wrong in [
            with(29, 7),
            with(29, 13),
            with(28, 9),
            with(30, 9),
            with(32, 9),
        ] {
            assert!(Datagram::parse(&wrong).is_err(), "{wrong:02x?}");
        }
        let mut unsummed = packet.clone();
        unsummed[30..32].fill(0);
        assert_eq!(Datagram::parse(&unsummed), Ok(request(b"abcd")));
        let padded = [&packet[..], &[0; 9]].concat();
        assert_eq!(Datagram::parse(&padded), Ok(request(b"abcd")));
        assert_eq!(request(&[0; 65_505]).emit(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (src, dst) in any::<(u32, u32)>(),
            (tos, ttl, alert, sport, dport) in any::<(u8, u8, bool, u16, u16)>(),
            payload in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let d = Datagram { src: src.into(), dst: dst.into(), tos, ttl, alert, sport, dport, payload: &payload };
            let packet = d.emit().unwrap();
            prop_assert_eq!(Datagram::parse(&packet), Ok(d));
        }
    }
}
