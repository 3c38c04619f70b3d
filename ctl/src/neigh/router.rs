//! Router advertisements (RFC 4861 4.2), for who finds a BGP neighbour by them on a link without configured addresses.
//!
//! They say that a router is here and nothing else: a lifetime of 0, so that no host takes it for its default router (6.2.5), no
//! prefixes, no parameters. Left out: everything that hosts would want of a router.

use net::eth::{self, ethertype};
use net::ip6::{self, Ip6Mut};
use net::nd::{ALL_NODES, HOP_LIMIT};
use net::{IfaceId, MacAddr, icmp6, ip4::proto};

use super::{Act, Neighbours};

/// ICMPv6 type 134.
const ROUTER_ADVERT: u8 = 134;
/// The option with our Ethernet address.
const SOURCE: u8 = 1;

impl Neighbours {
    /// Tells the stations of a link that a router is there.
    pub fn advertise_router(&self, iface: IfaceId, out: &mut Vec<Act>) {
        let Some(here) = self.ifaces.get(&iface) else {
            return;
        };
        if let Some(link_local) = here.link_local {
            let frame = frame(here.mac, link_local);
            out.push(Act::Send { iface, frame });
        }
    }
}

fn frame(mac: MacAddr, src: std::net::Ipv6Addr) -> Vec<u8> {
    let mut m = vec![0; 16];
    m[0] = ROUTER_ADVERT;
    m.extend([SOURCE, 1]);
    m.extend(mac.0);
    let sum = icmp6::sum(src.into(), ALL_NODES.into(), &m).finish();
    m[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut header = [0; ip6::HEADER_LEN];
    if let Ok(mut h) = Ip6Mut::new(&mut header) {
        let len = m.len() as u16;
        h.init(
            0,
            len,
            proto::ICMP6,
            HOP_LIMIT,
            src.into(),
            ALL_NODES.into(),
        );
    }
    let to = MacAddr::ipv6_multicast(ALL_NODES);
    let mut frame = eth::header(to, mac, ethertype::IPV6).to_vec();
    frame.extend(header);
    frame.extend(m);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::nd::{self, Body};

    #[test]
    fn others_understand_it() {
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        let frame = frame(mac, "fe80::9".parse().unwrap());
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        let m = nd::parse(&frame[14..]).unwrap();
        assert!(matches!(m.body, Body::RouterAdvert { .. }), "{m:?}");
        assert_eq!(m.source_mac, Some(mac));
        let headers = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::TransportSlice::Icmpv6(icmp)) = headers.transport else {
            panic!("{headers:?}");
        };
        assert!(icmp.is_checksum_valid(
            [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
            ALL_NODES.octets()
        ));
        assert_eq!(frame[14 + 40 + 6..][..2], [0, 0], "nobody's default router");
    }
}
