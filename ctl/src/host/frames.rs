//! Frames between the kernel and the workers: what becomes of each, without I/O.
//!
//! The kernel does not resolve neighbours on a TAP, so the destination MAC address of what it sends means nothing. An IP
//! packet to a routable address is looked up like any other; what is bound to the link (multicast, broadcast,
//! link-local) leaves by the interface of the TAP. RFC 1112 6.4 and RFC 2464 7 give the multicast MAC addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use net::MacAddr;
use net::eth::{self, Eth, ethertype};
use net::ip4::Ip4;
use net::ip6::Ip6;

/// What becomes of a frame that the kernel has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromKernel<'a> {
    /// An IP packet, to be looked up.
    Route(&'a [u8]),
    /// To leave by the TAP's interface, with this destination.
    Link(MacAddr),
    /// To a neighbour on the link: its address, the EtherType, the packet.
    Neighbor(IpAddr, u16, &'a [u8]),
    /// Nothing that the kernel is to send here (it has no ARP to do), or cut short.
    Drop,
}

/// Sorts a frame from the TAP of an interface with these addresses.
#[must_use]
pub fn from_kernel<'a>(frame: &'a [u8], addresses: &[IpNet]) -> FromKernel<'a> {
    let Ok(header) = Eth::new(frame) else {
        return FromKernel::Drop;
    };
    let packet = &frame[eth::HEADER_LEN..];
    match header.ethertype() {
        ethertype::IPV4 => match Ip4::new(packet) {
            Ok(ip) => from_kernel4(ip.dst(), packet, addresses),
            Err(_) => FromKernel::Drop,
        },
        ethertype::IPV6 => match Ip6::new(packet) {
            Ok(ip) => from_kernel6(ip.dst(), packet),
            Err(_) => FromKernel::Drop,
        },
        _ => FromKernel::Drop,
    }
}

fn from_kernel4<'a>(to: Ipv4Addr, packet: &'a [u8], addresses: &[IpNet]) -> FromKernel<'a> {
    let is_broadcast = |a: &IpNet| match a {
        IpNet::V4(a) => a.prefix_len() < 31 && a.broadcast() == to,
        IpNet::V6(_) => false,
    };
    if to.is_multicast() {
        FromKernel::Link(MacAddr::ipv4_multicast(to))
    } else if to.is_broadcast() || addresses.iter().any(is_broadcast) {
        FromKernel::Link(MacAddr::BROADCAST)
    } else if to.is_unspecified() || to.is_loopback() {
        FromKernel::Drop
    } else {
        FromKernel::Route(packet)
    }
}

fn from_kernel6(to: Ipv6Addr, packet: &[u8]) -> FromKernel<'_> {
    if to.is_multicast() {
        FromKernel::Link(MacAddr::ipv6_multicast(to))
    } else if to.is_unicast_link_local() {
        FromKernel::Neighbor(IpAddr::V6(to), ethertype::IPV6, packet)
    } else if to.is_unspecified() || to.is_loopback() {
        FromKernel::Drop
    } else {
        FromKernel::Route(packet)
    }
}

/// Gives a frame another destination. False when it is too short to have one.
pub fn set_destination(frame: &mut [u8], to: MacAddr) -> bool {
    match frame.first_chunk_mut::<6>() {
        Some(d) => {
            *d = to.0;
            true
        }
        None => false,
    }
}

/// The frame that takes `packet` to a neighbour.
pub fn to_neighbor(out: &mut Vec<u8>, to: MacAddr, from: MacAddr, ethertype: u16, packet: &[u8]) {
    out.clear();
    out.extend_from_slice(&eth::header(to, from, ethertype));
    out.extend_from_slice(packet);
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn frame4(to: [u8; 4]) -> Vec<u8> {
        let mut v = Vec::new();
        PacketBuilder::ethernet2(OWN, OWN)
            .ipv4([10, 0, 1, 1], to, 64)
            .udp(1, 2)
            .write(&mut v, b"x")
            .unwrap();
        v
    }

    fn frame6(to: &str) -> Vec<u8> {
        let to: Ipv6Addr = to.parse().unwrap();
        let mut v = Vec::new();
        PacketBuilder::ethernet2(OWN, OWN)
            .ipv6([1; 16], to.octets(), 64)
            .udp(1, 2)
            .write(&mut v, b"x")
            .unwrap();
        v
    }

    #[test]
    fn routable_packets_are_looked_up() {
        let a = ["10.0.1.1/24".parse().unwrap()];
        let f = frame4([192, 0, 2, 1]);
        assert_eq!(from_kernel(&f, &a), FromKernel::Route(&f[14..]));
        let f = frame4([10, 0, 2, 255]);
        assert_eq!(
            from_kernel(&f, &a),
            FromKernel::Route(&f[14..]),
            "another subnet's broadcast"
        );
        let f = frame6("2001:db8::9");
        assert_eq!(from_kernel(&f, &a), FromKernel::Route(&f[14..]));
    }

    #[test]
    fn what_is_bound_to_the_link_leaves_by_it() {
        let a = [
            "10.0.1.1/24".parse().unwrap(),
            "10.9.0.0/31".parse().unwrap(),
        ];
        let link = |f: Vec<u8>| match from_kernel(&f, &a) {
            FromKernel::Link(m) => m.0,
            other => panic!("{other:?}"),
        };
        assert_eq!(link(frame4([10, 0, 1, 255])), [255; 6]);
        assert_eq!(link(frame4([255; 4])), [255; 6]);
        assert_eq!(link(frame4([224, 0, 0, 5])), [1, 0, 0x5e, 0, 0, 5]);
        assert_eq!(link(frame6("ff02::1:ff00:7")), [0x33, 0x33, 0xff, 0, 0, 7]);
        assert!(
            matches!(
                from_kernel(&frame4([10, 9, 0, 1]), &a),
                FromKernel::Route(_)
            ),
            "/31 has no broadcast"
        );
        let f = frame6("fe80::7");
        let expected = FromKernel::Neighbor("fe80::7".parse().unwrap(), 0x86dd, &f[14..]);
        assert_eq!(from_kernel(&f, &a), expected);
    }

    #[test]
    fn everything_else_is_dropped() {
        let f = frame4([10, 0, 1, 9]);
        for n in 0..34 {
            assert_eq!(from_kernel(&f[..n], &[]), FromKernel::Drop, "cut to {n}");
        }
        assert_eq!(from_kernel(&frame4([127, 0, 0, 1]), &[]), FromKernel::Drop);
        assert_eq!(from_kernel(&frame6("::1"), &[]), FromKernel::Drop);
        let mut arp = f.clone();
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(from_kernel(&arp, &[]), FromKernel::Drop);
    }
}
