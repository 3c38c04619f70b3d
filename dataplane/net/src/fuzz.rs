//! One door to every parser and builder, for fuzzers: `cargo fuzz` sets `cfg(fuzzing)`, and a short seeded
//! run with mutations is an ordinary test below.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::icmp_error::{self, Error4, Error6};
use crate::{arp, checksum, eth, flow, frag, icmp4, icmp6, ip4, ip6, l4, mpls, nd, udp4};

/// Reads `data` as a frame and as every header there is, and builds what can be built from it. Panics only
/// when one of our own promises is broken.
pub fn one(data: &[u8]) {
    if let Ok(l2) = eth::classify(data) {
        assert!(l2.header_len <= data.len());
        let payload = data.get(l2.header_len..).unwrap_or(&[]);
        match l2.ethertype {
            eth::ethertype::IPV4 => ip4(payload),
            eth::ethertype::IPV6 => ip6(payload),
            eth::ethertype::ARP => arp(payload),
            eth::ethertype::MPLS => mpls(payload),
            _ => {}
        }
    }
    // What a wrong EtherType would lead to, too.
    ip(data);
    arp(data);
    mpls(data);
}

/// Reads `data` as an IP packet of either version, cuts it up, and complains about it.
pub fn ip(data: &[u8]) {
    ip4(data);
    ip6(data);
}

fn ip4(data: &[u8]) {
    let _ = flow::hash_ip4(data);
    udp(data);
    let Ok(p) = ip4::check_with(data, false) else {
        return;
    };
    assert!(p.bytes().len() <= data.len() && p.options().count() <= 40);
    let _ = (
        l4::ports(p.header().protocol(), p.payload()),
        icmp4::Icmp4::new(p.payload()),
    );
    let mtu = usize::from(data.last().copied().unwrap_or(0)) * 4;
    if let Ok(fragments) = frag::fragments(p.bytes(), mtu) {
        let planned = fragments.len();
        let mut cut = 0;
        for (i, f) in fragments.enumerate() {
            assert!(i < planned && f.total_len() <= mtu && checksum::verify(f.header()));
            cut += f.payload.len();
        }
        assert_eq!(cut, p.payload().len());
    }
    let mut out = [0; icmp_error::MAX_LEN4];
    for labels in [None, Some(data)] {
        let src = Ipv4Addr::new(192, 0, 2, 1);
        if let Some(n) =
            icmp_error::build_error4(&mut out, src, Error4::TTL_EXPIRED, p.bytes(), labels)
        {
            let error = ip4::check(out.get(..n).unwrap_or(&[])).expect("a whole packet");
            assert!(checksum::verify(error.payload()));
            assert!(
                !icmp_error::may_answer4(error.bytes()),
                "an error about an error"
            );
        }
    }
}

/// Reads `data` as a datagram of LSP ping; what is understood is written, and read as the same again.
pub fn udp(data: &[u8]) {
    let _ = (udp4::is_echo_request(data), udp4::has_alert(data));
    if let Ok(d) = udp4::Datagram::parse(data)
        && let Some(packet) = d.emit()
    {
        assert_eq!(udp4::Datagram::parse(&packet), Ok(d));
    }
}

fn ip6(data: &[u8]) {
    let _ = (flow::hash_ip6(data), nd::parse(data), ip6::walk(data));
    let Ok(p) = ip6::check(data) else { return };
    assert!(p.bytes().len() <= data.len());
    if let Ok(up) = ip6::walk(p.bytes()) {
        assert!(up.offset <= p.bytes().len());
        let upper = p.bytes().get(up.offset..).unwrap_or(&[]);
        let _ = (l4::ports(up.proto, upper), icmp6::Icmp6::new(upper));
    }
    let mut out = [0; icmp_error::MAX_LEN6];
    for error in [Error6::HOP_LIMIT_EXCEEDED, Error6::packet_too_big(1280)] {
        let src = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        if let Some(n) = icmp_error::build_error6(&mut out, src, error, p.bytes(), Some(data)) {
            let built = ip6::check(out.get(..n).unwrap_or(&[])).expect("a whole packet");
            assert!(
                !icmp_error::may_answer6(built.bytes(), error),
                "an error about an error"
            );
        }
    }
}

/// Reads `data` as an ARP packet; what is understood is written as it was.
pub fn arp(data: &[u8]) {
    if let Ok(arp) = arp::Arp::parse(data) {
        assert_eq!(Some(&arp.to_bytes()[..]), data.get(..arp::LEN));
    }
}

/// Reads `data` as a Neighbour Discovery message: the first byte chooses type and addresses, the rest is what follows the
/// type. Hop limit, length and checksum are right, so that a fuzzer need not find out about them.
pub fn nd(data: &[u8]) {
    let Some((&kind, body)) = data.split_first() else {
        return;
    };
    let near = 0xfe80 << 112 | 1;
    let dst = [0xff02 << 112 | 1, ip6::solicited_node(near), near][usize::from(kind >> 4) % 3];
    let src = if kind & 8 == 0 { near + 1 } else { 0 };
    let len = u16::try_from(body.len() + 1).unwrap_or(u16::MAX);
    let mut packet = vec![0; ip6::HEADER_LEN];
    if let Ok(mut h) = ip6::Ip6Mut::new(&mut packet) {
        h.init(0, len, ip4::proto::ICMP6, 255, src, dst);
    }
    packet.push(133 + (kind & 7) % 5);
    packet.extend_from_slice(body);
    seal6(&mut packet);
    let _ = nd::parse(&packet);
    ip6(&packet);
}

/// Fills in the checksum of an ICMPv6 message right behind the fixed header.
fn seal6(packet: &mut [u8]) {
    if let Some(field) = packet.get_mut(42..44) {
        field.fill(0);
    }
    let sum = match (ip6::Ip6::new(packet), packet.get(ip6::HEADER_LEN..)) {
        (Ok(h), Some(message)) => icmp6::sum(h.src_bits(), h.dst_bits(), message).finish(),
        _ => return,
    };
    if let Some(field) = packet.get_mut(42..44) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Reads `data` as an ICMP message of either family.
pub fn icmp(data: &[u8]) {
    if let Ok(m) = icmp4::Icmp4::new(data) {
        let _ = format!("{m:?}");
    }
    if let Ok(m) = icmp6::Icmp6::new(data) {
        let _ = format!("{m:?}");
    }
}

/// Reads `data` as a label stack and what is under it.
pub fn mpls(data: &[u8]) {
    let _ = flow::hash_mpls(data);
    let walked = mpls::walk(data);
    assert_eq!(
        walked.as_ref().map(mpls::Stack::len).map_err(|e| *e),
        mpls::stack_len(data)
    );
    if let Ok(stack) = walked {
        let payload = data.get(stack.len()..).unwrap_or(&[]);
        match mpls::under(payload) {
            mpls::Under::Ip4 => ip4(payload),
            mpls::Under::Ip6 => ip6(payload),
            mpls::Under::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Label, MacAddr};

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    /// Frames of every kind, each right: what mutations start from.
    fn seeds() -> Vec<Vec<u8>> {
        let six = Ipv6Addr::LOCALHOST;
        let group: Ipv6Addr = "fe80::1".parse().unwrap();
        let framed = |ty, body: &[u8]| [&eth::header(A, B, ty)[..], body].concat();
        let mut v4 = vec![0; 60];
        ip4::Ip4Mut::new(&mut v4).unwrap().init(
            0,
            60,
            9,
            ip4::proto::UDP,
            0x0a00_0001,
            0x0a00_0002,
        );
        let mut options = v4.clone();
        options[0] = 0x4b;
        options[20..44].copy_from_slice(&[
            1, 148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 1, 2, 3, 4, 68, 5, 5, 0, 0,
        ]);
        let mut v6 = vec![0; 40];
        ip6::Ip6Mut::new(&mut v6).unwrap().init(0, 32, 0, 9, 5, 6);
        let asks = udp4::Datagram {
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::LOCALHOST,
            tos: 0,
            ttl: 1,
            alert: true,
            sport: 9,
            dport: udp4::LSP_PING,
            payload: &[5; 40],
        };
        let asks = asks.emit().unwrap();
        v6.extend([
            60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 1, 0, 0, 0, 7, 128, 0, 0,
            0, 0, 0, 0, 0,
        ]);
        let mut labels = vec![0; 16];
        let stack = [100, 7, 5000, 300].map(|l| Label::new(l).unwrap());
        mpls::write(&mut labels, &stack, 0, 9, true).unwrap();
        vec![
            framed(eth::ethertype::IPV4, &v4),
            framed(eth::ethertype::IPV4, &options),
            framed(eth::ethertype::IPV6, &v6),
            framed(eth::ethertype::MPLS, &[&labels[..], &v4].concat()),
            framed(eth::ethertype::MPLS, &[&labels[12..], &v6].concat()),
            framed(eth::ethertype::MPLS, &[&labels[12..], &asks].concat()),
            framed(eth::ethertype::IPV4, &asks),
            [
                &eth::tagged_header(A, B, eth::Tci(7), eth::ethertype::IPV4)[..],
                &v4,
            ]
            .concat(),
            arp::Arp::request(A, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)
                .frame(B)
                .to_vec(),
            nd::solicit(A, group, six, None).to_vec(),
            nd::advert(A, B, group, six, six, nd::AdvertFlags::default()).to_vec(),
        ]
    }

    /// xorshift64: the same run each time.
    struct Rng(u64);

    impl Rng {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as usize % n.max(1)
        }
    }

    fn mutate(rng: &mut Rng, frame: &mut Vec<u8>) {
        const EDGES: [u8; 8] = [0, 1, 3, 0x45, 0x60, 0x7f, 0x80, 0xff];
        for _ in 0..=rng.below(4) {
            let at = rng.below(frame.len());
            match rng.below(6) {
                0 => frame.truncate(at),
                1 => frame.insert(at, EDGES[rng.below(8)]),
                2 => frame.extend_from_within(at..),
                3 => _ = frame.get_mut(at).map(|b| *b ^= 1 << rng.below(8)),
                4 => _ = frame.get_mut(at).map(|b| *b = rng.below(256) as u8),
                _ => _ = frame.get_mut(at).map(|b| *b = EDGES[rng.below(8)]),
            }
        }
        frame.truncate(2000);
    }

    #[test]
    fn a_seeded_run_with_mutations() {
        let seeds = seeds();
        let mut rng = Rng(0x5eed_2026);
        for s in &seeds {
            for n in 0..=s.len() {
                one(&s[..n]);
            }
        }
        for _ in 0..2_000_000 {
            let mut frame = seeds[rng.below(seeds.len())].clone();
            mutate(&mut rng, &mut frame);
            one(&frame);
            // The message alone, behind Ethernet and IPv6.
            if let Some(message) = frame.get(54..) {
                nd(message);
                icmp(message);
            }
        }
    }
}
