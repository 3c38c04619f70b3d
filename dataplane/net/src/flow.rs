//! Flow hashes for ECMP: RFC 2992 (why per flow), RFC 6790 (entropy label), RFC 7325 2.4.5 (labelled packets).
//!
//! A hash never looks at what may differ between two packets of one flow. So a fragment, the first one too,
//! hashes on addresses and protocol alone, and the IPv6 flow label is left out: hosts change it while a TCP
//! connection lives (RFC 6438 4 asks for it in tunnels only).

use crate::ip4::{self, Ip4};
use crate::ip6::{self, Ip6};
use crate::mpls::{self, Under};
use crate::{Label, Lse, l4};

/// The hash of an IPv4 packet (from its header on): addresses, protocol, ports. 0 when it has no whole header.
#[inline]
#[must_use]
pub fn hash_ip4(packet: &[u8]) -> u32 {
    let Ok(h) = Ip4::new(packet) else { return 0 };
    let bits = if h.is_fragment() {
        0
    } else {
        l4::flow_bits(h.protocol(), packet.get(h.header_len()..).unwrap_or(&[]))
    };
    let addrs = u64::from(h.src_bits()) << 32 | u64::from(h.dst_bits());
    fold(mix(addrs, u64::from(h.protocol()) << 32 | u64::from(bits)))
}

/// The hash of an IPv6 packet (from its header on): addresses, and protocol and ports behind the extension
/// headers. Fragments, and chains that cannot be followed, hash on the addresses alone: the fragments of
/// one packet need not agree on the protocol (RFC 8200 4.5). 0 when it has no whole header.
#[inline]
#[must_use]
pub fn hash_ip6(packet: &[u8]) -> u32 {
    let Ok(h) = Ip6::new(packet) else { return 0 };
    let l4 = match ip6::walk(packet) {
        Ok(up) if up.fragment.is_none_or(|f| f.is_atomic()) => {
            let bits = l4::flow_bits(up.proto, packet.get(up.offset..).unwrap_or(&[]));
            u64::from(up.proto) << 32 | u64::from(bits)
        }
        _ => 0,
    };
    let (src, dst) = (h.src_bits(), h.dst_bits());
    let addrs =
        mix((src >> 64) as u64, src as u64) ^ mix((dst >> 64) as u64, dst as u64).rotate_left(17);
    fold(mix(addrs, l4))
}

/// The hash of a labelled packet, from the top label on: the entropy label when there is one; else the IP
/// packet under the stack, when what lies there looks like one whole; else the labels, special-purpose
/// ones left out (RFC 6790 4.3, RFC 7274 3.1).
#[inline]
#[must_use]
pub fn hash_mpls(after_eth: &[u8]) -> u32 {
    let mut labels = 0u64;
    let mut before = None;
    let mut entries = after_eth.as_chunks::<4>().0.iter().take(mpls::MAX_DEPTH);
    let mut depth = 0;
    let bottom = loop {
        let Some(b) = entries.next() else { break false };
        depth += 1;
        let lse = Lse::from_bytes(*b);
        let label = lse.label();
        if before == Some(Label::ENTROPY_INDICATOR) {
            return fold(mix(
                u64::from(label.get()),
                u64::from(Label::ENTROPY_INDICATOR.get()),
            ));
        }
        // The label after an extension label is special-purpose too.
        if !label.is_reserved() && before != Some(Label::EXTENSION) {
            labels = mix(labels, u64::from(label.get()));
        }
        before = Some(label);
        if lse.bottom() {
            break true;
        }
    };
    if bottom {
        let payload = after_eth.get(depth * Lse::LEN..).unwrap_or(&[]);
        // A pseudowire without a control word may start with 4 or 6, so we want the lengths right as well.
        match mpls::under(payload) {
            Under::Ip4 if ip4::check_with(payload, false).is_ok() => return hash_ip4(payload),
            Under::Ip6 if ip6::check(payload).is_ok() => return hash_ip6(payload),
            _ => {}
        }
    }
    fold(labels)
}

/// The hash as one router among many sees it: mixes in the router's own seed, so that a row of routers does
/// not make the same choice at each hop (polarization).
#[inline]
#[must_use]
pub fn seeded(hash: u32, seed: u32) -> u32 {
    fold(mix(u64::from(hash), u64::from(seed)))
}

/// Multiplies to 128 bits and folds the halves together; the constants are those of wyhash.
#[inline]
const fn mix(a: u64, b: u64) -> u64 {
    let wide = (a ^ 0xa076_1d64_78bd_642f) as u128 * (b ^ 0xe703_7ed1_a0b4_28db) as u128;
    wide as u64 ^ (wide >> 64) as u64
}

#[inline]
const fn fold(v: u64) -> u32 {
    v as u32 ^ (v >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip4::proto;
    use proptest::prelude::*;

    fn udp4(src: u32, dst: u32, sport: u16, dport: u16, flags: [u8; 2]) -> Vec<u8> {
        let mut p = vec![0; 28];
        ip4::Ip4Mut::new(&mut p)
            .unwrap()
            .init(0, 28, 64, proto::UDP, src, dst);
        p[6..8].copy_from_slice(&flags);
        p[20..22].copy_from_slice(&sport.to_be_bytes());
        p[22..24].copy_from_slice(&dport.to_be_bytes());
        p
    }

    fn udp6(src: u128, dst: u128, sport: u16, ext: Option<[u8; 8]>) -> Vec<u8> {
        let ext_len = ext.map_or(0, |e| e.len());
        let mut p = vec![0; 40 + ext_len + 8];
        let next = if ext.is_some() {
            ip6::ext::FRAGMENT
        } else {
            proto::UDP
        };
        ip6::Ip6Mut::new(&mut p)
            .unwrap()
            .init(0, 8 + ext_len as u16, next, 64, src, dst);
        if let Some(e) = ext {
            p[40..48].copy_from_slice(&e);
        }
        p[40 + ext_len..][..2].copy_from_slice(&sport.to_be_bytes());
        p
    }

    fn labelled(labels: &[u32], payload: &[u8]) -> Vec<u8> {
        let labels: Vec<_> = labels.iter().map(|&l| Label::new(l).unwrap()).collect();
        let mut p = vec![0; labels.len() * 4];
        mpls::write(&mut p, &labels, 0, 9, true).unwrap();
        p.extend(payload);
        p
    }

    /// Chi-square over 16 buckets stays near its 15 degrees of freedom.
    fn even(hashes: impl Iterator<Item = u32>) {
        let mut low = [0f64; 16];
        let mut high = [0f64; 16];
        let mut n = 0.;
        for h in hashes {
            low[(h & 15) as usize] += 1.;
            high[(h >> 28) as usize] += 1.;
            n += 1.;
        }
        for buckets in [low, high] {
            let chi: f64 = buckets
                .iter()
                .map(|c| (c - n / 16.).powi(2) / (n / 16.))
                .sum();
            assert!(chi < 45., "{chi}: {buckets:?}"); // one in 10,000 by chance
        }
    }

    #[test]
    fn neighbouring_flows_spread() {
        even((0..4096).map(|i| hash_ip4(&udp4(0x0a00_0001, 0xc000_0201, i, 53, [0, 0]))));
        even((0..4096).map(|i| hash_ip4(&udp4(0x0a00_0000 + i, 0xc000_0201, 1, 53, [0, 0]))));
        even((0..4096).map(|i| hash_ip6(&udp6(0x2001_0db8 << 96, 7, i, None))));
        even((0..4096u16).map(|i| hash_ip6(&udp6(0x2001_0db8 << 96, u128::from(i), 7, None))));
        even((16..4112).map(|l| hash_mpls(&labelled(&[l], &[0; 20]))));
        even((16..4112).map(|l| hash_mpls(&labelled(&[100, 7, l], &[0; 20]))));
        // A second router with another seed spreads what the first one put into one bucket.
        let bucket = (0..u16::MAX)
            .map(|i| hash_ip4(&udp4(1 << 24, 2 << 24, i, 53, [0, 0])))
            .filter(|h| h & 15 == 3);
        even(bucket.map(|h| seeded(h, 77)));
    }

    #[test]
    fn fragments_of_a_flow_go_together() {
        let (first, later, whole) = ([0x20, 0], [0, 5], [0x40, 0]);
        let h = |flags, port| hash_ip4(&udp4(1, 2, port, 53, flags));
        assert_eq!(h(first, 1000), h(later, 2000));
        assert_ne!(h(whole, 1000), h(whole, 2000));
        let h = |ext, port| hash_ip6(&udp6(1, 2, port, ext));
        assert_eq!(
            h(Some([17, 0, 0, 1, 0, 0, 0, 9]), 1000),
            h(Some([60, 0, 0, 8, 0, 0, 0, 9]), 2000)
        );
        // An atomic fragment is a whole packet (RFC 6946).
        assert_eq!(h(Some([17, 0, 0, 0, 0, 0, 0, 9]), 1000), h(None, 1000));
    }

    #[test]
    fn labelled_packets() {
        let a = udp4(1 << 24, 2 << 24, 1000, 53, [0, 0]);
        let b = udp4(1 << 24, 2 << 24, 1001, 53, [0, 0]);
        // Without an entropy label, the packet under the stack decides, whatever the labels are.
        assert_eq!(hash_mpls(&labelled(&[100, 200], &a)), hash_ip4(&a));
        assert_ne!(
            hash_mpls(&labelled(&[100], &a)),
            hash_mpls(&labelled(&[100], &b))
        );
        let six = udp6(1, 2, 3, None);
        assert_eq!(hash_mpls(&labelled(&[100], &six)), hash_ip6(&six));
        // With one, nothing else does.
        let el = |e, payload: &[u8]| hash_mpls(&labelled(&[100, 7, e, 300], payload));
        assert_eq!(el(5000, &a), el(5000, &b));
        assert_ne!(el(5000, &a), el(5001, &a));
        // What only looks like IP does not count; labels do, but not the reserved ones.
        let fake = [0x45; 19];
        assert_eq!(
            hash_mpls(&labelled(&[100, 1, 200], &fake)),
            hash_mpls(&labelled(&[100, 200, 14], &[0; 30]))
        );
        assert_ne!(
            hash_mpls(&labelled(&[100], &fake)),
            hash_mpls(&labelled(&[101], &fake))
        );
        assert_eq!(
            hash_mpls(&labelled(&[100, 15, 20], &fake)),
            hash_mpls(&labelled(&[100, 15, 21], &fake))
        );
    }

    proptest! {
        #[test]
        fn any_bytes(b in prop::collection::vec(any::<u8>(), 0..120)) {
            // The same bytes twice, behind each other: no state, no panic.
            prop_assert_eq!((hash_ip4(&b), hash_ip6(&b), hash_mpls(&b)), (hash_ip4(&b), hash_ip6(&b), hash_mpls(&b)));
        }

        #[test]
        fn ttl_dscp_and_id_do_not_count(src: u32, dst: u32, sport: u16, ttl: u8, tos: u8, id: [u8; 2]) {
            let a = udp4(src, dst, sport, 53, [0, 0]);
            let mut b = a.clone();
            b[1] = tos;
            b[8] = ttl;
            b[4..6].copy_from_slice(&id);
            prop_assert_eq!(hash_ip4(&a), hash_ip4(&b));
        }
    }
}
