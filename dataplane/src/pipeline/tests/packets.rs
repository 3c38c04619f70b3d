//! Packets for tests, made by etherparse.

use super::rig::{HOST_MAC, LAN_MAC};
use etherparse::{IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, PacketBuilder};
use net::{Label, Lse, MacAddr};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A frame of that EtherType.
pub(super) fn eth(to: MacAddr, from: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &ethertype.to_be_bytes(), payload].concat()
}

/// The frame with a VLAN tag.
pub(super) fn tagged(frame: &[u8], tpid: u16, tci: u16) -> Vec<u8> {
    [
        &frame[..12],
        &tpid.to_be_bytes(),
        &tci.to_be_bytes(),
        &frame[12..],
    ]
    .concat()
}

/// From the host on the LAN to the router's port there.
pub(super) fn from_lan(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    eth(LAN_MAC, HOST_MAC, ethertype, payload)
}

/// A UDP packet with `len` bytes of data.
pub(super) fn udp4(src: &str, dst: &str, ttl: u8, len: usize) -> Vec<u8> {
    udp4_ports(src, dst, ttl, (1000, 2000), len)
}

pub(super) fn udp4_ports(
    src: &str,
    dst: &str,
    ttl: u8,
    (from, to): (u16, u16),
    len: usize,
) -> Vec<u8> {
    let (src, dst): (Ipv4Addr, Ipv4Addr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut out = Vec::new();
    PacketBuilder::ipv4(src.octets(), dst.octets(), ttl)
        .udp(from, to)
        .write(&mut out, &vec![0x5a; len])
        .unwrap();
    out
}

/// An ICMP message of that type and code, with data to make it valid.
pub(super) fn icmp4(src: &str, dst: &str, ttl: u8, ty: u8, code: u8) -> Vec<u8> {
    let (src, dst): (Ipv4Addr, Ipv4Addr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut out = Vec::new();
    PacketBuilder::ipv4(src.octets(), dst.octets(), ttl)
        .icmpv4_raw(ty, code, [0; 4])
        .write(&mut out, &[1; 36])
        .unwrap();
    out
}

/// A UDP packet with IPv4 options (a multiple of four bytes).
pub(super) fn with_options(src: &str, dst: &str, ttl: u8, options: &[u8]) -> Vec<u8> {
    let (src, dst): (Ipv4Addr, Ipv4Addr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut h = Ipv4Header::new(8, ttl, IpNumber::UDP, src.octets(), dst.octets()).unwrap();
    h.options = Ipv4Options::try_from(options).unwrap();
    h.set_payload_len(8).unwrap();
    h.header_checksum = h.calc_header_checksum();
    let mut out = h.to_bytes().to_vec();
    out.extend([3, 232, 7, 208, 0, 8, 0, 0]);
    out
}

/// The packet after `change`, its header checksum made right again.
pub(super) fn edit4(packet: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut p = packet.to_vec();
    change(&mut p);
    fix4(&mut p);
    p
}

/// Makes the header checksum right, over as much of a header as there is.
pub(super) fn fix4(p: &mut [u8]) {
    let len = (usize::from(p[0] & 15) * 4).max(20).min(p.len());
    p[10..12].fill(0);
    let sum = net::checksum::checksum(&p[..len]);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The packet with another TTL.
pub(super) fn ttl4(packet: &[u8], ttl: u8) -> Vec<u8> {
    edit4(packet, |p| p[8] = ttl)
}

pub(super) fn udp6(src: &str, dst: &str, hops: u8, len: usize) -> Vec<u8> {
    let (src, dst): (Ipv6Addr, Ipv6Addr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut out = Vec::new();
    PacketBuilder::ipv6(src.octets(), dst.octets(), hops)
        .udp(1000, 2000)
        .write(&mut out, &vec![0x5a; len])
        .unwrap();
    out
}

/// An ICMPv6 message; `body` follows type, code and checksum.
pub(super) fn icmp6(src: &str, dst: &str, hops: u8, ty: u8, body: &[u8]) -> Vec<u8> {
    let (src, dst): (Ipv6Addr, Ipv6Addr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut message = [&[ty, 0, 0, 0], body].concat();
    let sum = net::icmp6::sum(src.into(), dst.into(), &message).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip6(src, dst, hops, IpNumber::IPV6_ICMP, &message)
}

/// An IPv6 packet with any payload.
pub(super) fn ip6(
    src: Ipv6Addr,
    dst: Ipv6Addr,
    hops: u8,
    next: IpNumber,
    payload: &[u8],
) -> Vec<u8> {
    let h = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: payload.len() as u16,
        next_header: next,
        hop_limit: hops,
        source: src.octets(),
        destination: dst.octets(),
    };
    [&h.to_bytes()[..], payload].concat()
}

/// The packet with another hop limit.
pub(super) fn hops6(packet: &[u8], hops: u8) -> Vec<u8> {
    let mut p = packet.to_vec();
    p[7] = hops;
    p
}

/// A label stack: (label, TC, TTL) from the outermost, the last one with the bottom bit.
pub(super) fn stack(labels: &[(u32, u8, u8)]) -> Vec<u8> {
    let last = labels.len() - 1;
    let entry = |(i, &(label, tc, ttl)): (usize, &(u32, u8, u8))| {
        Lse::new(Label::new(label).unwrap(), tc, i == last, ttl).to_bytes()
    };
    labels.iter().enumerate().flat_map(entry).collect()
}

/// A packet under a label stack.
pub(super) fn labelled(labels: &[(u32, u8, u8)], packet: &[u8]) -> Vec<u8> {
    [&stack(labels), packet].concat()
}
