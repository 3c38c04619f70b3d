//! The one thing a router reads of layer 4: the ports, or what stands in for them.

use crate::ip4::proto;

/// Source and destination port of the segment at `payload`; `None` for a protocol without ports, or too few bytes.
#[inline]
#[must_use]
pub fn ports(protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    if !has_ports(protocol) {
        return None;
    }
    let b: &[u8; 4] = payload.first_chunk()?;
    Some((
        u16::from_be_bytes([b[0], b[1]]),
        u16::from_be_bytes([b[2], b[3]]),
    ))
}

/// Whether the protocol starts with two 16-bit ports.
#[inline]
#[must_use]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(
        protocol,
        proto::TCP | proto::UDP | proto::DCCP | proto::SCTP | proto::UDP_LITE
    )
}

/// 32 bits that tell the flows between two hosts apart: both ports, the SPI of ESP, or 0.
#[inline]
#[must_use]
pub fn flow_bits(protocol: u8, payload: &[u8]) -> u32 {
    if !has_ports(protocol) && protocol != proto::ESP {
        return 0;
    }
    payload.first_chunk().map_or(0, |b| u32::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_their_bounds() {
        let b = [0x12, 0x34, 0x56, 0x78];
        assert_eq!(ports(proto::UDP, &b), Some((0x1234, 0x5678)));
        assert_eq!(flow_bits(proto::ESP, &b), 0x1234_5678);
        for n in 0..4 {
            assert_eq!(ports(proto::TCP, &b[..n]), None);
            assert_eq!(flow_bits(proto::TCP, &b[..n]), 0);
        }
        assert_eq!(
            (ports(proto::ICMP, &b), flow_bits(proto::ICMP, &b)),
            (None, 0)
        );
        assert_eq!(ports(proto::ESP, &b), None);
    }
}
