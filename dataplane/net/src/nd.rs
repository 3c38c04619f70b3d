//! Neighbour discovery for IPv6 over Ethernet: RFC 4861 4 (formats) and 6.1, 7.1 (validation), RFC 2464 6
//! (link-layer address option), RFC 6980 (no fragments), RFC 4862 5.4 (duplicate address detection).
//!
//! Left out: SEND (RFC 3971), the nonce of enhanced DAD (RFC 7527; looped frames are known by their
//! Ethernet source), and what router advertisements say beyond their router's link-layer address.

use std::net::Ipv6Addr;

use arrayvec::ArrayVec;

use crate::MacAddr;
use crate::error::{WireError, head};
use crate::eth::{self, ethertype};
use crate::icmp6::{self, ty};
use crate::ip4::proto;
use crate::ip6::{self, Ip6Mut};

/// The hop limit of every message: it has crossed no router (RFC 4861 11.2).
pub const HOP_LIMIT: u8 = 255;
/// Longest frame that the builders make.
pub const MAX_FRAME: usize = eth::HEADER_LEN + ip6::HEADER_LEN + 24 + 8;
/// Options that are walked; a message with more is refused.
pub const MAX_OPTIONS: usize = 32;

/// A built frame.
pub type NdFrame = ArrayVec<u8, MAX_FRAME>;

/// ff02::1.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// ff02::2.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Option types.
mod option {
    pub(super) const SOURCE: u8 = 1;
    pub(super) const TARGET: u8 = 2;
}

/// The flags of a neighbour advertisement (RFC 4861 4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdvertFlags {
    /// The sender is a router.
    pub router: bool,
    /// Sent to answer a solicitation.
    pub solicited: bool,
    /// Replaces a link-layer address already known.
    pub override_: bool,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Routers, where are you?
    RouterSolicit,
    /// I am a router.
    RouterAdvert {
        /// Seconds that it may serve as default router; 0: not at all.
        lifetime: u16,
    },
    /// Who has the target?
    NeighborSolicit {
        /// Asked for; never multicast.
        target: Ipv6Addr,
    },
    /// The target is here.
    NeighborAdvert {
        /// Spoken of; never multicast.
        target: Ipv6Addr,
        /// Router, solicited, override.
        flags: AdvertFlags,
    },
    /// Another first hop is better; a router ignores it (RFC 4861 8.2).
    Redirect,
}

/// A message that passed the validity rules of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Source; unspecified in duplicate address detection.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// What it says.
    pub body: Body,
    /// Source link-layer address option.
    pub source_mac: Option<MacAddr>,
    /// Target link-layer address option.
    pub target_mac: Option<MacAddr>,
}

/// Reads the neighbour-discovery message in an IPv6 packet (from the IPv6 header on; padding is ignored)
/// and checks all of RFC 4861 6.1.1, 6.1.2, 7.1.1 and 7.1.2.
///
/// # Errors
/// What [`ip6::check`] and [`ip6::walk`] say, `Unsupported` for other protocols and types, `Checksum`, and
/// `Illegal` for a rule that is broken.
pub fn parse(packet: &[u8]) -> Result<Message, WireError> {
    let p = ip6::check(packet)?;
    let up = ip6::walk(p.bytes())?;
    if up.fragment.is_some() {
        return Err(WireError::Illegal("fragmented (RFC 6980 5)"));
    }
    if up.proto != proto::ICMP6 {
        return Err(WireError::Unsupported(up.proto.into()));
    }
    let (h, m) = (p.header(), p.bytes().get(up.offset..).unwrap_or(&[]));
    let icmp = icmp6::Icmp6::new(m)?;
    if !icmp6::is_nd(icmp.ty()) {
        return Err(WireError::Unsupported(icmp.ty().into()));
    }
    if h.hop_limit() != HOP_LIMIT {
        return Err(WireError::Illegal("hop limit is not 255"));
    }
    if icmp6::sum(h.src_bits(), h.dst_bits(), m).fold() != 0xffff {
        return Err(WireError::Checksum);
    }
    if icmp.code() != 0 {
        return Err(WireError::Illegal("code is not 0"));
    }
    let (src, dst) = (h.src(), h.dst());
    if src.is_multicast() {
        return Err(WireError::Illegal("multicast source"));
    }
    let (body, fixed) = read_body(icmp.ty(), m)?;
    let (source_mac, target_mac) = read_options(m.get(fixed..).unwrap_or(&[]))?;
    let message = Message {
        src,
        dst,
        body,
        source_mac,
        target_mac,
    };
    message.validate()?;
    Ok(message)
}

/// The body, and the bytes before the options.
fn read_body(kind: u8, m: &[u8]) -> Result<(Body, usize), WireError> {
    let target = || -> Result<(Ipv6Addr, [u8; 4]), WireError> {
        let b: &[u8; 24] = head(m)?;
        let mut octets = [0; 16];
        octets.copy_from_slice(&b[8..]);
        Ok((octets.into(), [b[4], b[5], b[6], b[7]]))
    };
    Ok(match kind {
        ty::ROUTER_SOLICIT => (Body::RouterSolicit, 8),
        ty::ROUTER_ADVERT => {
            let b: &[u8; 16] = head(m)?;
            (
                Body::RouterAdvert {
                    lifetime: u16::from_be_bytes([b[6], b[7]]),
                },
                16,
            )
        }
        ty::NEIGHBOR_SOLICIT => (
            Body::NeighborSolicit {
                target: target()?.0,
            },
            24,
        ),
        ty::NEIGHBOR_ADVERT => {
            let (target, rest) = target()?;
            let flags = AdvertFlags {
                router: rest[0] & 0x80 != 0,
                solicited: rest[0] & 0x40 != 0,
                override_: rest[0] & 0x20 != 0,
            };
            (Body::NeighborAdvert { target, flags }, 24)
        }
        _ => {
            head::<40>(m)?;
            (Body::Redirect, 40)
        }
    })
}

/// Source and target link-layer address. Unknown options are skipped (RFC 4861 4.6), a repeated one counts once.
fn read_options(mut rest: &[u8]) -> Result<(Option<MacAddr>, Option<MacAddr>), WireError> {
    let (mut source, mut target) = (None, None);
    for _ in 0..MAX_OPTIONS {
        if rest.is_empty() {
            return Ok((source, target));
        }
        let &[kind, units] = head::<2>(rest)?;
        let len = usize::from(units) * 8;
        if len == 0 {
            return Err(WireError::Illegal("option of length 0"));
        }
        let Some((bytes, after)) = rest.split_at_checked(len) else {
            return Err(WireError::Truncated {
                need: len,
                got: rest.len(),
            });
        };
        if (kind == option::SOURCE || kind == option::TARGET) && len == 8 {
            let &[_, _, a, b, c, d, e, f] = head::<8>(bytes)?;
            let mac = MacAddr([a, b, c, d, e, f]);
            if !mac.is_unicast() {
                return Err(WireError::Illegal("link-layer address is no station's"));
            }
            let slot = if kind == option::SOURCE {
                &mut source
            } else {
                &mut target
            };
            slot.get_or_insert(mac);
        }
        rest = after;
    }
    if rest.is_empty() {
        Ok((source, target))
    } else {
        Err(WireError::TooDeep(MAX_OPTIONS))
    }
}

impl Message {
    /// The rules that need more than one field.
    fn validate(&self) -> Result<(), WireError> {
        let broken = |why| Err(WireError::Illegal(why));
        match self.body {
            Body::NeighborSolicit { target } | Body::NeighborAdvert { target, .. }
                if target.is_multicast() =>
            {
                broken("multicast target")
            }
            Body::RouterSolicit | Body::NeighborSolicit { .. }
                if self.src.is_unspecified() && self.source_mac.is_some() =>
            {
                broken("source link-layer address from the unspecified address")
            }
            // Any solicited-node group: the target's own one is checked by the address it names.
            Body::NeighborSolicit { .. }
                if self.src.is_unspecified() && !is_solicited_node(self.dst) =>
            {
                broken("duplicate address detection not to a solicited-node group")
            }
            Body::NeighborAdvert { flags, .. } if self.dst.is_multicast() && flags.solicited => {
                broken("solicited, yet to a multicast group")
            }
            Body::NeighborAdvert { .. } | Body::RouterAdvert { .. } | Body::Redirect
                if self.src.is_unspecified() =>
            {
                broken("advertisement from the unspecified address")
            }
            Body::RouterAdvert { .. } | Body::Redirect if !ip6::is_link_local(self.src.into()) => {
                broken("router advertisement or redirect not from a link-local address")
            }
            _ => Ok(()),
        }
    }
}

fn is_solicited_node(addr: Ipv6Addr) -> bool {
    let addr = u128::from(addr);
    ip6::solicited_node(addr) == addr
}

/// A neighbour solicitation from `src` (unspecified: duplicate address detection). `unicast`: a probe of a
/// neighbour at this Ethernet address; else to the target's solicited-node group.
#[must_use]
pub fn solicit(mac: MacAddr, src: Ipv6Addr, target: Ipv6Addr, unicast: Option<MacAddr>) -> NdFrame {
    let (eth_dst, dst) = match unicast {
        Some(to) => (to, target),
        None => {
            let group = Ipv6Addr::from(ip6::solicited_node(target.into()));
            (MacAddr::ipv6_multicast(group), group)
        }
    };
    let source = (!src.is_unspecified()).then_some((option::SOURCE, mac));
    build(
        (mac, eth_dst),
        (src, dst),
        (ty::NEIGHBOR_SOLICIT, [0; 4]),
        Some(target),
        source,
    )
}

/// A neighbour advertisement for `target`, with our Ethernet address as the target's.
#[must_use]
pub fn advert(
    mac: MacAddr,
    eth_dst: MacAddr,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    target: Ipv6Addr,
    flags: AdvertFlags,
) -> NdFrame {
    let bits = u8::from(flags.router) << 7
        | u8::from(flags.solicited) << 6
        | u8::from(flags.override_) << 5;
    let option = Some((option::TARGET, mac));
    build(
        (mac, eth_dst),
        (src, dst),
        (ty::NEIGHBOR_ADVERT, [bits, 0, 0, 0]),
        Some(target),
        option,
    )
}

/// The Ethernet frame of a message.
fn build(
    (eth_src, eth_dst): (MacAddr, MacAddr),
    (src, dst): (Ipv6Addr, Ipv6Addr),
    (kind, rest): (u8, [u8; 4]),
    target: Option<Ipv6Addr>,
    option: Option<(u8, MacAddr)>,
) -> NdFrame {
    // Every part is bounded, and MAX_FRAME is their sum.
    let mut m: ArrayVec<u8, 32> = ArrayVec::new();
    m.extend([kind, 0, 0, 0]);
    m.extend(rest);
    m.extend(target.iter().flat_map(|t| t.octets()));
    if let Some((number, mac)) = option {
        m.extend([number, 1]);
        m.extend(mac.0);
    }
    let sum = icmp6::sum(src.into(), dst.into(), &m).finish();
    for (to, from) in m.iter_mut().skip(2).zip(sum.to_be_bytes()) {
        *to = from;
    }
    let mut frame = NdFrame::new();
    frame.extend(eth::header(eth_dst, eth_src, ethertype::IPV6));
    let mut header = [0; ip6::HEADER_LEN];
    if let Ok(mut h) = Ip6Mut::new(&mut header) {
        h.init(
            0,
            m.len() as u16,
            proto::ICMP6,
            HOP_LIMIT,
            src.into(),
            dst.into(),
        );
    }
    frame.extend(header);
    frame.extend(m);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn a(s: &str) -> Ipv6Addr {
        s.parse().unwrap()
    }

    /// The packet of a frame after a change, its checksum made right again.
    fn changed(frame: &NdFrame, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut p = frame[14..].to_vec();
        change(&mut p);
        let len = (p.len() - 40) as u16;
        p[4..6].copy_from_slice(&len.to_be_bytes());
        p[42..44].fill(0);
        let h = ip6::Ip6::new(&p).unwrap();
        let sum = icmp6::sum(h.src_bits(), h.dst_bits(), &p[40..]).finish();
        p[42..44].copy_from_slice(&sum.to_be_bytes());
        p
    }

    #[test]
    fn solicitation() {
        let f = solicit(MAC, a("fe80::1"), a("2001:db8::abcd:2"), None);
        assert_eq!(
            eth::Eth::new(&f).unwrap().dst().to_string(),
            "33:33:ff:cd:00:02"
        );
        let m = parse(&f[14..]).unwrap();
        assert_eq!(
            m.body,
            Body::NeighborSolicit {
                target: a("2001:db8::abcd:2")
            }
        );
        assert_eq!(
            (m.src, m.dst, m.source_mac),
            (a("fe80::1"), a("ff02::1:ffcd:2"), Some(MAC))
        );
        let f = solicit(MAC, a("fe80::1"), a("fe80::2"), Some(PEER));
        let m = parse(&f[14..]).unwrap();
        assert_eq!(
            (eth::Eth::new(&f).unwrap().dst(), m.dst),
            (PEER, a("fe80::2"))
        );
        let f = solicit(MAC, Ipv6Addr::UNSPECIFIED, a("fe80::2"), None);
        assert_eq!(f.len(), 78);
        assert_eq!(parse(&f[14..]).unwrap().source_mac, None);
    }

    #[test]
    fn advertisement() {
        let flags = AdvertFlags {
            router: true,
            solicited: true,
            override_: true,
        };
        let f = advert(MAC, PEER, a("fe80::1"), a("fe80::2"), a("fe80::1"), flags);
        assert_eq!(f.len(), MAX_FRAME);
        let m = parse(&f[14..]).unwrap();
        assert_eq!(
            m.body,
            Body::NeighborAdvert {
                target: a("fe80::1"),
                flags
            }
        );
        assert_eq!((m.target_mac, m.source_mac), (Some(MAC), None));
    }

    #[test]
    fn truncated_at_every_byte() {
        let f = solicit(MAC, a("fe80::1"), a("fe80::2"), None);
        for n in 14..f.len() {
            assert!(
                matches!(parse(&f[14..n]), Err(WireError::Truncated { .. })),
                "{n}"
            );
            // With the IPv6 length telling the truth, too.
            if n >= 14 + 44 {
                let p = changed(&f, |p| p.truncate(n - 14));
                let bare = n == 14 + 64; // all but the option is a whole solicitation
                assert_eq!(parse(&p).is_ok(), bare, "{n}");
            }
        }
    }

    #[test]
    fn each_rule_is_checked() {
        let ns = solicit(MAC, a("fe80::1"), a("fe80::2"), None);
        let dad = solicit(MAC, Ipv6Addr::UNSPECIFIED, a("fe80::2"), None);
        let solicited = AdvertFlags {
            solicited: true,
            ..Default::default()
        };
        let na = advert(
            MAC,
            PEER,
            a("fe80::2"),
            a("fe80::1"),
            a("fe80::2"),
            solicited,
        );
        let illegal = |p: Vec<u8>| match parse(&p) {
            Err(WireError::Illegal(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            illegal(changed(&ns, |p| p[7] = 254)),
            "hop limit is not 255"
        );
        assert_eq!(illegal(changed(&ns, |p| p[41] = 1)), "code is not 0");
        assert_eq!(illegal(changed(&ns, |p| p[48] = 0xff)), "multicast target");
        assert_eq!(illegal(changed(&ns, |p| p[8] = 0xff)), "multicast source");
        assert_eq!(illegal(changed(&ns, |p| p[65] = 0)), "option of length 0");
        assert_eq!(
            illegal(changed(&ns, |p| p[66] = 1)),
            "link-layer address is no station's"
        );
        assert_eq!(
            illegal(changed(&dad, |p| p.extend([1, 1, 2, 0, 0, 0, 0, 1]))),
            "source link-layer address from the unspecified address"
        );
        assert_eq!(
            illegal(changed(&dad, |p| p[24..40].copy_from_slice(&a("ff02::1").octets()))),
            "duplicate address detection not to a solicited-node group"
        );
        assert_eq!(
            illegal(changed(&na, |p| p[24..40].copy_from_slice(&ALL_NODES.octets()))),
            "solicited, yet to a multicast group"
        );
        assert_eq!(
            illegal(changed(&na, |p| p[8..24].fill(0))),
            "advertisement from the unspecified address"
        );
        let ra = |src: Ipv6Addr| {
            changed(&na, |p| {
                p[40] = ty::ROUTER_ADVERT;
                p[8..24].copy_from_slice(&src.octets());
                p.truncate(56);
            })
        };
        assert!(matches!(
            parse(&ra(a("fe80::9"))).unwrap().body,
            Body::RouterAdvert { .. }
        ));
        assert_eq!(
            illegal(ra(a("2001:db8::9"))),
            "router advertisement or redirect not from a link-local address"
        );
        let mut p = ns[14..].to_vec();
        p[60] ^= 1;
        assert_eq!(parse(&p), Err(WireError::Checksum));
        // A fragment header, even an atomic one.
        let p = changed(&ns, |p| {
            p[6] = ip6::ext::FRAGMENT;
            p.splice(40..40, [proto::ICMP6, 0, 0, 0, 0, 0, 0, 1]);
        });
        assert_eq!(illegal(p), "fragmented (RFC 6980 5)");
    }

    #[test]
    fn options_are_bounded_and_unknown_ones_skipped() {
        let ns = solicit(MAC, a("fe80::1"), a("fe80::2"), None);
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        let m = parse(&changed(&ns, |p| {
            p.splice(64..64, nonce);
        }));
        assert_eq!(m.unwrap().source_mac, Some(MAC));
        let m = parse(&changed(&ns, |p| p.extend(nonce.repeat(31))));
        assert_eq!(m.unwrap().source_mac, Some(MAC));
        let m = parse(&changed(&ns, |p| p.extend(nonce.repeat(32))));
        assert_eq!(m, Err(WireError::TooDeep(MAX_OPTIONS)));
    }

    proptest! {
        #[test]
        fn etherparse_agrees(src: u128, target: u128, mac: [u8; 6], probe: bool) {
            let (src, target) = (Ipv6Addr::from(src), Ipv6Addr::from(target));
            let frame = solicit(MacAddr(mac), src, target, probe.then_some(PEER));
            let s = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(NetSlice::Ipv6(ip)) = s.net else { panic!("not IPv6") };
            let Some(TransportSlice::Icmpv6(icmp)) = s.transport else { panic!("not ICMPv6") };
            prop_assert_eq!((ip.header().hop_limit(), ip.header().source_addr()), (255, src));
            let dst = ip.header().destination_addr();
            prop_assert!(icmp.is_checksum_valid(src.octets(), dst.octets()));
            prop_assert!(matches!(icmp.icmp_type(), Icmpv6Type::NeighborSolicitation));
            let flags = AdvertFlags { router: true, solicited: probe, override_: !probe };
            let frame = advert(MacAddr(mac), PEER, src, dst, target, flags);
            let s = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Icmpv6(icmp)) = s.transport else { panic!("not ICMPv6") };
            prop_assert!(icmp.is_checksum_valid(src.octets(), dst.octets()));
            let Icmpv6Type::NeighborAdvertisement(h) = icmp.icmp_type() else { panic!("not an advertisement") };
            prop_assert_eq!((h.router, h.solicited, h.r#override), (true, probe, !probe));
        }

        #[test]
        fn any_bytes(b in prop::collection::vec(any::<u8>(), 0..160), kind in 132u8..139) {
            let _ = parse(&b);
            // Bytes behind a right header and checksum get to the options.
            let ns = solicit(MAC, a("fe80::1"), a("fe80::2"), None);
            let p = changed(&ns, |p| {
                p[40] = kind;
                p.truncate(48);
                p.extend(&b);
            });
            let _ = parse(&p);
        }
    }
}
