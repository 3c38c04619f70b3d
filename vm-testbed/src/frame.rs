//! Frames, built by hand: what the cases send and what they expect.
//!
//! This is the test bed's own oracle. It shares nothing with the router's code on purpose, and it can say wrong things:
//! every length, version and checksum field can be overridden. Read RFC 791, 8200, 792, 4443, 826, 4861, 3032, 4884, 4950.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A MAC address.
pub type Mac = [u8; 6];

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of a VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of MPLS unicast.
pub const MPLS: u16 = 0x8847;
/// The broadcast MAC address.
pub const BROADCAST: Mac = [0xff; 6];

/// An address out of `"10.0.0.1"`; for tables of cases, so it panics on a typing error.
#[must_use]
pub fn ip4(s: &str) -> Ipv4Addr {
    s.parse()
        .unwrap_or_else(|_| panic!("not an IPv4 address: {s}"))
}

/// An address out of `"2001:db8::1"`; for tables of cases, so it panics on a typing error.
#[must_use]
pub fn ip6(s: &str) -> Ipv6Addr {
    s.parse()
        .unwrap_or_else(|_| panic!("not an IPv6 address: {s}"))
}

/// An Ethernet frame.
#[must_use]
pub fn eth(dst: Mac, src: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &ethertype.to_be_bytes(), payload].concat()
}

/// The same frame with a VLAN tag; `tci` is priority and VLAN id.
#[must_use]
pub fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    [
        &frame[..12],
        &VLAN.to_be_bytes(),
        &tci.to_be_bytes(),
        &frame[12..],
    ]
    .concat()
}

/// RFC 1071 checksum of `parts` put together. Each but the last must have an even length.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The IPv6 group that solicits `a` (RFC 4291 2.7.1).
#[must_use]
pub fn solicited_node(a: Ipv6Addr) -> Ipv6Addr {
    let o = a.octets();
    let mut g = ip6("ff02::1:ff00:0").octets();
    g[13..].copy_from_slice(&o[13..]);
    g.into()
}

/// The MAC group of an IPv6 group (RFC 2464 7).
#[must_use]
pub fn mac_of_group(a: Ipv6Addr) -> Mac {
    let o = a.octets();
    [0x33, 0x33, o[12], o[13], o[14], o[15]]
}

/// The link-local address that EUI-64 makes of a MAC address (RFC 4291 appendix A).
#[must_use]
pub fn link_local(m: Mac) -> Ipv6Addr {
    let mut o = [0u8; 16];
    o[0] = 0xfe;
    o[1] = 0x80;
    o[8..].copy_from_slice(&[m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]]);
    o.into()
}

/// An IPv4 packet (RFC 791 3.1). Fields are public: a case changes what it is about.
#[derive(Clone, Debug)]
pub struct Ip4 {
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Don't fragment.
    pub df: bool,
    /// More fragments.
    pub mf: bool,
    /// Offset of this fragment, in bytes.
    pub offset: usize,
    /// Protocol.
    pub proto: u8,
    /// Options, padded by the writer of the case.
    pub options: Vec<u8>,
    /// What the header carries.
    pub payload: Vec<u8>,
    /// Instead of 4.
    pub version: u8,
    /// Instead of the right header length, in 32-bit words.
    pub ihl: Option<u8>,
    /// Instead of the right total length.
    pub total: Option<u16>,
    /// Added to the right checksum, to make it wrong.
    pub checksum_off_by: u16,
}

impl Ip4 {
    /// A packet of some protocol: TTL 64, DF set.
    #[must_use]
    pub fn new(src: &str, dst: &str, proto: u8, payload: Vec<u8>) -> Self {
        Self {
            src: ip4(src),
            dst: ip4(dst),
            ttl: 64,
            tos: 0,
            id: 0x1234,
            df: true,
            mf: false,
            offset: 0,
            proto,
            options: vec![],
            payload,
            version: 4,
            ihl: None,
            total: None,
            checksum_off_by: 0,
        }
    }

    /// A UDP datagram of `len` payload bytes.
    #[must_use]
    pub fn udp(src: &str, dst: &str, len: usize) -> Self {
        Self::udp_ports(src, dst, 4000, 5000, len)
    }

    /// The same between given ports.
    #[must_use]
    pub fn udp_ports(src: &str, dst: &str, sport: u16, dport: u16, len: usize) -> Self {
        let (s, d) = (ip4(src).octets(), ip4(dst).octets());
        let l = (len + 8) as u16;
        let pseudo = [&s[..], &d, &[0, 17], &l.to_be_bytes()].concat();
        Self::new(src, dst, 17, udp(sport, dport, len, &pseudo))
    }

    /// An ICMP message whose checksum is filled in.
    #[must_use]
    pub fn icmp(src: &str, dst: &str, ty: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Self {
        let mut m = [&[ty, code, 0, 0], &rest[..], body].concat();
        let c = checksum(&[&m]);
        m[2..4].copy_from_slice(&c.to_be_bytes());
        Self::new(src, dst, 1, m)
    }

    /// An echo request.
    #[must_use]
    pub fn echo(src: &str, dst: &str, id: u16, seq: u16) -> Self {
        Self::icmp(src, dst, 8, 0, word(id, seq), &pattern(32))
    }

    /// With another TTL.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Changed by a closure: for the fields that have no setter.
    #[must_use]
    pub fn with(mut self, f: impl FnOnce(&mut Self)) -> Self {
        f(&mut self);
        self
    }

    /// The packet's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let hl = 20 + self.options.len();
        let total = self.total.unwrap_or((hl + self.payload.len()) as u16);
        let frag = u16::from(self.df) << 14 | u16::from(self.mf) << 13 | (self.offset / 8) as u16;
        let mut h = vec![
            self.version << 4 | self.ihl.unwrap_or((hl / 4) as u8),
            self.tos,
        ];
        h.extend(total.to_be_bytes());
        h.extend(self.id.to_be_bytes());
        h.extend(frag.to_be_bytes());
        h.extend([self.ttl, self.proto, 0, 0]);
        h.extend(self.src.octets());
        h.extend(self.dst.octets());
        h.extend(&self.options);
        let c = checksum(&[&h]).wrapping_add(self.checksum_off_by);
        h[10..12].copy_from_slice(&c.to_be_bytes());
        h.extend(&self.payload);
        h
    }
}

/// An IPv6 packet (RFC 8200 3).
#[derive(Clone, Debug)]
pub struct Ip6 {
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// Hop limit.
    pub hops: u8,
    /// Traffic class.
    pub class: u8,
    /// Flow label.
    pub flow: u32,
    /// Next header.
    pub next: u8,
    /// What the header carries, extension headers too.
    pub payload: Vec<u8>,
    /// Instead of 6.
    pub version: u8,
    /// Instead of the right payload length.
    pub length: Option<u16>,
}

impl Ip6 {
    /// A packet of some next header: hop limit 64.
    #[must_use]
    pub fn new(src: &str, dst: &str, next: u8, payload: Vec<u8>) -> Self {
        Self {
            src: ip6(src),
            dst: ip6(dst),
            hops: 64,
            class: 0,
            flow: 0,
            next,
            payload,
            version: 6,
            length: None,
        }
    }

    /// A UDP datagram of `len` payload bytes.
    #[must_use]
    pub fn udp(src: &str, dst: &str, len: usize) -> Self {
        Self::udp_ports(src, dst, 4000, 5000, len)
    }

    /// The same between given ports.
    #[must_use]
    pub fn udp_ports(src: &str, dst: &str, sport: u16, dport: u16, len: usize) -> Self {
        let pseudo = pseudo6(ip6(src), ip6(dst), 17, len + 8);
        Self::new(src, dst, 17, udp(sport, dport, len, &pseudo))
    }

    /// An ICMPv6 message whose checksum is filled in.
    #[must_use]
    pub fn icmp(src: &str, dst: &str, ty: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Self {
        let mut m = [&[ty, code, 0, 0], &rest[..], body].concat();
        let c = checksum(&[&pseudo6(ip6(src), ip6(dst), 58, m.len()), &m]);
        m[2..4].copy_from_slice(&c.to_be_bytes());
        Self::new(src, dst, 58, m)
    }

    /// An echo request.
    #[must_use]
    pub fn echo(src: &str, dst: &str, id: u16, seq: u16) -> Self {
        Self::icmp(src, dst, 128, 0, word(id, seq), &pattern(32))
    }

    /// With another hop limit.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// Changed by a closure: for the fields that have no setter.
    #[must_use]
    pub fn with(mut self, f: impl FnOnce(&mut Self)) -> Self {
        f(&mut self);
        self
    }

    /// With an extension header in front of the payload; `body` is all after the next-header byte.
    #[must_use]
    pub fn extension(mut self, kind: u8, body: &[u8]) -> Self {
        let mut p = vec![self.next];
        p.extend(body);
        p.append(&mut self.payload);
        self.payload = p;
        self.next = kind;
        self
    }

    /// The packet's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let first = u32::from(self.version) << 28 | u32::from(self.class) << 20 | self.flow;
        let mut h = first.to_be_bytes().to_vec();
        h.extend(
            self.length
                .unwrap_or(self.payload.len() as u16)
                .to_be_bytes(),
        );
        h.extend([self.next, self.hops]);
        h.extend(self.src.octets());
        h.extend(self.dst.octets());
        h.extend(&self.payload);
        h
    }
}

fn pseudo6(src: Ipv6Addr, dst: Ipv6Addr, next: u8, len: usize) -> Vec<u8> {
    [
        &src.octets()[..],
        &dst.octets(),
        &(len as u32).to_be_bytes(),
        &[0, 0, 0, next],
    ]
    .concat()
}

fn udp(sport: u16, dport: u16, len: usize, pseudo: &[u8]) -> Vec<u8> {
    let mut u = Vec::with_capacity(len + 8);
    u.extend(sport.to_be_bytes());
    u.extend(dport.to_be_bytes());
    u.extend(((len + 8) as u16).to_be_bytes());
    u.extend([0, 0]);
    u.extend(pattern(len));
    let c = match checksum(&[pseudo, &u]) {
        0 => 0xffff,
        c => c,
    };
    u[6..8].copy_from_slice(&c.to_be_bytes());
    u
}

/// Two 16-bit fields as the second word of an ICMP header.
#[must_use]
pub fn word(a: u16, b: u16) -> [u8; 4] {
    let ([a0, a1], [b0, b1]) = (a.to_be_bytes(), b.to_be_bytes());
    [a0, a1, b0, b1]
}

/// Payload bytes that tell where a cut was made.
#[must_use]
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// A label stack entry (RFC 3032 2.1).
#[derive(Clone, Copy, Debug)]
pub struct Lse {
    /// The label, 20 bits.
    pub label: u32,
    /// Traffic class, 3 bits (RFC 5462).
    pub tc: u8,
    /// Time to live.
    pub ttl: u8,
}

impl Lse {
    /// An entry with traffic class 0 and TTL 64.
    #[must_use]
    pub const fn new(label: u32) -> Self {
        Self {
            label,
            tc: 0,
            ttl: 64,
        }
    }

    /// With another TTL.
    #[must_use]
    pub const fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// With another traffic class.
    #[must_use]
    pub const fn tc(self, tc: u8) -> Self {
        Self { tc, ..self }
    }

    /// The four bytes.
    #[must_use]
    pub fn bytes(self, bottom: bool) -> [u8; 4] {
        (self.label << 12 | u32::from(self.tc) << 9 | u32::from(bottom) << 8 | u32::from(self.ttl))
            .to_be_bytes()
    }
}

/// Labels, outermost first; the last has the bottom bit.
#[must_use]
pub fn stack(labels: &[Lse]) -> Vec<u8> {
    let last = labels.len().saturating_sub(1);
    labels
        .iter()
        .enumerate()
        .flat_map(|(i, l)| l.bytes(i == last))
        .collect()
}

/// Labels in front of a packet.
#[must_use]
pub fn labelled(labels: &[Lse], packet: &[u8]) -> Vec<u8> {
    [&stack(labels), packet].concat()
}

/// ARP operation: request.
pub const REQUEST: u16 = 1;
/// ARP operation: reply.
pub const REPLY: u16 = 2;

/// An ARP packet without its Ethernet header (RFC 826).
#[must_use]
pub fn arp(op: u16, sha: Mac, spa: &str, tha: Mac, tpa: &str) -> Vec<u8> {
    let mut a = vec![0, 1, 8, 0, 6, 4];
    a.extend(op.to_be_bytes());
    a.extend(sha);
    a.extend(ip4(spa).octets());
    a.extend(tha);
    a.extend(ip4(tpa).octets());
    a
}

/// A link-layer address option of Neighbour Discovery: 1 source, 2 target (RFC 4861 4.6.1).
#[must_use]
pub fn lladdr(kind: u8, mac: Mac) -> Vec<u8> {
    [&[kind, 1][..], &mac].concat()
}

/// A neighbour solicitation (RFC 4861 4.3) with its Ethernet header, as a host sends it to the target's group.
#[must_use]
pub fn solicit(src_mac: Mac, src: &str, target: &str) -> Vec<u8> {
    let group = solicited_node(ip6(target));
    let body = [&ip6(target).octets()[..], &lladdr(1, src_mac)].concat();
    let p = Ip6::icmp(src, &group.to_string(), 135, 0, [0; 4], &body).hops(255);
    eth(mac_of_group(group), src_mac, IPV6, &p.bytes())
}

/// A neighbour advertisement (RFC 4861 4.4) with its Ethernet header; `flags` are R 0x80, S 0x40, O 0x20.
#[must_use]
pub fn advertise(
    dst_mac: Mac,
    src_mac: Mac,
    src: &str,
    dst: &str,
    target: &str,
    flags: u8,
) -> Vec<u8> {
    let body = [&ip6(target).octets()[..], &lladdr(2, src_mac)].concat();
    let p = Ip6::icmp(src, dst, 136, 0, [flags, 0, 0, 0], &body).hops(255);
    eth(dst_mac, src_mac, IPV6, &p.bytes())
}

/// The label-stack extension (RFC 4884 7, RFC 4950 3) that follows the padded original datagram.
#[must_use]
pub fn label_extension(entries: &[u8]) -> Vec<u8> {
    let mut e = vec![0x20, 0, 0, 0];
    e.extend(((entries.len() + 4) as u16).to_be_bytes());
    e.extend([1, 1]);
    e.extend(entries);
    let c = checksum(&[&e]);
    e[2..4].copy_from_slice(&c.to_be_bytes());
    e
}

/// One line on a frame, as far as it can be read.
#[must_use]
pub fn describe(frame: &[u8]) -> String {
    let kind = match frame.get(12..14).map(|b| u16::from_be_bytes([b[0], b[1]])) {
        Some(IPV4) => "IPv4",
        Some(ARP) => "ARP",
        Some(VLAN) => "VLAN",
        Some(IPV6) => "IPv6",
        Some(MPLS) => "MPLS",
        Some(_) => "?",
        None => "runt",
    };
    format!("{kind}, {} bytes: {}", frame.len(), hex(frame))
}

/// Bytes as hex, in words of four digits; long ones cut.
#[must_use]
pub fn hex(b: &[u8]) -> String {
    let mut s = String::new();
    for (i, pair) in b.chunks(2).take(64).enumerate() {
        if i > 0 {
            s.push(' ');
        }
        for byte in pair {
            s.push_str(&format!("{byte:02x}"));
        }
    }
    if b.len() > 128 {
        s.push_str(" …");
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::SlicedPacket;

    /// etherparse, which nobody here wrote, reads what the builders make.
    #[test]
    fn packets_are_well_formed() {
        let f = eth(
            [2; 6],
            [4; 6],
            IPV4,
            &Ip4::udp("10.0.0.1", "10.0.0.2", 33).bytes(),
        );
        let p = etherparse::PacketHeaders::from_ethernet_slice(&f).unwrap();
        let etherparse::NetHeaders::Ipv4(h, _) = p.net.unwrap() else {
            panic!("not IPv4")
        };
        assert_eq!(h.calc_header_checksum(), h.header_checksum);
        let u = p.transport.unwrap().udp().unwrap();
        assert_eq!(
            u.calc_checksum_ipv4(&h, p.payload.slice()).unwrap(),
            u.checksum
        );

        let f = eth(
            [2; 6],
            [4; 6],
            IPV6,
            &Ip6::udp("2001:db8::1", "2001:db8::2", 7).bytes(),
        );
        let p = etherparse::PacketHeaders::from_ethernet_slice(&f).unwrap();
        let etherparse::NetHeaders::Ipv6(h, _) = p.net.unwrap() else {
            panic!("not IPv6")
        };
        let u = p.transport.unwrap().udp().unwrap();
        assert_eq!(
            u.calc_checksum_ipv6(&h, p.payload.slice()).unwrap(),
            u.checksum
        );
    }

    #[test]
    fn overrides_make_it_wrong() {
        let bad = Ip4::udp("10.0.0.1", "10.0.0.2", 8)
            .with(|p| p.checksum_off_by = 1)
            .bytes();
        assert_ne!(checksum(&[&bad[..20]]), 0);
        let f = eth(
            [2; 6],
            [4; 6],
            IPV4,
            &Ip4::udp("10.0.0.1", "10.0.0.2", 8)
                .with(|p| p.total = Some(900))
                .bytes(),
        );
        assert!(SlicedPacket::from_ethernet(&f).is_err());
    }

    #[test]
    fn labels_and_groups() {
        assert_eq!(
            stack(&[Lse::new(16).tc(5), Lse::new(0xfffff).ttl(1)]),
            [0, 1, 0x0a, 64, 0xff, 0xff, 0xf1, 1]
        );
        assert_eq!(
            solicited_node(ip6("2001:db8::12:3456")),
            ip6("ff02::1:ff12:3456")
        );
        assert_eq!(
            mac_of_group(ip6("ff02::1:ff12:3456")),
            [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]
        );
        assert_eq!(link_local([2, 0, 0, 0, 1, 9]), ip6("fe80::ff:fe00:109"));
    }
}
