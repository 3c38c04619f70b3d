//! ICMP and ICMPv6 errors: RFC 792, RFC 1812 4.3.2, RFC 4443 2.4 and 3; the extension structure of RFC 4884
//! with the label stack of RFC 4950.
//!
//! What these functions cannot see is the caller's to check: whether the frame came as a link-layer
//! broadcast, whether an address is a directed broadcast, and the rate limit (RFC 1812 4.3.2.8, RFC 4443 2.4(f)).
//!
//! With an extension, the original datagram is cut or padded to 128 bytes exactly: readers that predate
//! RFC 4884's length field look for the extension there (RFC 4884 5).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::checksum;
use crate::ip4::{self, Ip4, Ip4Mut, proto};
use crate::ip6::{self, Ip6, Ip6Mut};
use crate::{Lse, icmp4, icmp6, mpls};

/// Longest IPv4 error (RFC 1812 4.3.2.3).
pub const MAX_LEN4: usize = 576;
/// Longest IPv6 error (RFC 4443 2.4(c)).
pub const MAX_LEN6: usize = ip6::MIN_MTU;
/// TTL and hop limit of errors.
pub const TTL: u8 = 64;
/// Traffic class of errors: network control, as RFC 1812 4.3.2.5 asks for (precedence 6).
pub const TOS: u8 = 0xc0;
/// Bytes of the original datagram before an extension (RFC 4884 4).
const PADDED: usize = 128;

/// An ICMP error: type, code, and the four bytes that are the type's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error4 {
    /// Type.
    pub ty: u8,
    /// Code.
    pub code: u8,
    /// MTU, pointer, or zeros.
    pub rest: [u8; 4],
}

impl Error4 {
    /// TTL expired in transit.
    pub const TTL_EXPIRED: Self = Self::plain(icmp4::ty::TIME_EXCEEDED, 0);
    /// No route (RFC 1812 5.2.7.1).
    pub const NET_UNREACHABLE: Self = Self::plain(icmp4::ty::UNREACHABLE, icmp4::unreachable::NET);
    /// The next hop or host does not answer.
    pub const HOST_UNREACHABLE: Self =
        Self::plain(icmp4::ty::UNREACHABLE, icmp4::unreachable::HOST);
    /// Forbidden by administration.
    pub const PROHIBITED: Self =
        Self::plain(icmp4::ty::UNREACHABLE, icmp4::unreachable::PROHIBITED);
    /// A source route we do not follow.
    pub const SOURCE_ROUTE_FAILED: Self =
        Self::plain(icmp4::ty::UNREACHABLE, icmp4::unreachable::SOURCE_ROUTE);

    const fn plain(ty: u8, code: u8) -> Self {
        Self {
            ty,
            code,
            rest: [0; 4],
        }
    }

    /// DF is set and the packet is longer than this MTU (RFC 1191 4).
    #[must_use]
    pub const fn frag_needed(mtu: u16) -> Self {
        let [hi, lo] = mtu.to_be_bytes();
        Self {
            ty: icmp4::ty::UNREACHABLE,
            code: icmp4::unreachable::FRAG_NEEDED,
            rest: [0, 0, hi, lo],
        }
    }

    /// The header byte at `pointer` is wrong.
    #[must_use]
    pub const fn parameter_problem(pointer: u8) -> Self {
        Self {
            ty: icmp4::ty::PARAMETER_PROBLEM,
            code: 0,
            rest: [pointer, 0, 0, 0],
        }
    }
}

/// An ICMPv6 error: type, code, and the four bytes that are the type's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error6 {
    /// Type.
    pub ty: u8,
    /// Code.
    pub code: u8,
    /// MTU, pointer, or zeros.
    pub rest: [u8; 4],
}

impl Error6 {
    /// Hop limit exceeded in transit.
    pub const HOP_LIMIT_EXCEEDED: Self = Self::plain(icmp6::ty::TIME_EXCEEDED, 0);
    /// No route.
    pub const NO_ROUTE: Self = Self::plain(icmp6::ty::UNREACHABLE, icmp6::unreachable::NO_ROUTE);
    /// The next hop or host does not answer.
    pub const ADDRESS_UNREACHABLE: Self =
        Self::plain(icmp6::ty::UNREACHABLE, icmp6::unreachable::ADDRESS);
    /// Forbidden by administration.
    pub const PROHIBITED: Self =
        Self::plain(icmp6::ty::UNREACHABLE, icmp6::unreachable::PROHIBITED);
    /// The source address is not valid where the packet would go.
    pub const BEYOND_SCOPE: Self = Self::plain(icmp6::ty::UNREACHABLE, icmp6::unreachable::SCOPE);
    /// A route that rejects.
    pub const REJECT: Self = Self::plain(icmp6::ty::UNREACHABLE, icmp6::unreachable::REJECT);

    const fn plain(ty: u8, code: u8) -> Self {
        Self {
            ty,
            code,
            rest: [0; 4],
        }
    }

    /// The packet is longer than this MTU (RFC 4443 3.2).
    #[must_use]
    pub const fn packet_too_big(mtu: u32) -> Self {
        Self {
            ty: icmp6::ty::PACKET_TOO_BIG,
            code: 0,
            rest: mtu.to_be_bytes(),
        }
    }

    /// The byte at `pointer` is wrong; code 0 erroneous field, 1 unknown next header, 2 unknown option.
    #[must_use]
    pub const fn parameter_problem(code: u8, pointer: u32) -> Self {
        Self {
            ty: icmp6::ty::PARAMETER_PROBLEM,
            code,
            rest: pointer.to_be_bytes(),
        }
    }

    /// May answer a packet to a multicast group (RFC 4443 2.4(e.3)).
    const fn may_answer_multicast(self) -> bool {
        self.ty == icmp6::ty::PACKET_TOO_BIG
            || self.ty == icmp6::ty::PARAMETER_PROBLEM && self.code == 2
    }
}

/// Whether RFC 1812 4.3.2.7 allows an error about this packet (from its IPv4 header on): not about ICMP
/// errors, fragments but the first, multicast, broadcast, or a source that is no single host.
#[inline]
#[must_use]
pub fn may_answer4(offending: &[u8]) -> bool {
    let Ok(h) = Ip4::new(offending) else {
        return false;
    };
    let dst = h.dst_bits();
    if h.version() != 4
        || h.fragment_offset() != 0
        || !ip4::is_host_source(h.src_bits())
        || dst >> 28 == 0xe
        || dst == u32::MAX
    {
        return false;
    }
    // Without its type byte, an ICMP message might be an error.
    h.protocol() != proto::ICMP
        || offending
            .get(h.header_len().max(ip4::HEADER_LEN))
            .is_some_and(|&ty| !icmp4::is_error(ty))
}

/// Whether RFC 4443 2.4(e) allows this error about this packet (from its IPv6 header on): not about
/// ICMPv6 errors and redirects, nor to a source that is no single node; about multicast only a packet too
/// big or an unknown option.
#[inline]
#[must_use]
pub fn may_answer6(offending: &[u8], error: Error6) -> bool {
    let Ok(h) = Ip6::new(offending) else {
        return false;
    };
    if h.version() != 6
        || !ip6::is_host_source(h.src_bits())
        || ip6::is_multicast(h.dst_bits()) && !error.may_answer_multicast()
    {
        return false;
    }
    match ip6::walk(offending) {
        // A piece of an ICMPv6 message: whether it is an error shows in the first one only.
        Ok(up) if up.proto == proto::ICMP6 && up.fragment.is_some_and(|f| f.offset != 0) => {
            error.ty == icmp6::ty::PACKET_TOO_BIG
        }
        Ok(up) if up.proto == proto::ICMP6 => offending
            .get(up.offset)
            .is_some_and(|&ty| !icmp6::is_error(ty) && ty != icmp6::ty::REDIRECT),
        Ok(_) => true,
        // Headers we cannot follow to their end may hide an error, unless they are what we complain of.
        Err(_) => error.ty == icmp6::ty::PARAMETER_PROBLEM,
    }
}

/// Builds an ICMP error about `offending` (as received: from its IPv4 header on, TTL not yet decremented)
/// into `out`, IPv4 header first. `labels` are the bytes of the label stack it came with, outermost first;
/// they go into an extension for the types that may carry one. Returns the length, at most [`MAX_LEN4`].
///
/// `None` when [`may_answer4`] says no, or `out` is too short.
pub fn build_error4(
    out: &mut [u8],
    src: Ipv4Addr,
    error: Error4,
    offending: &[u8],
    labels: Option<&[u8]>,
) -> Option<usize> {
    if !may_answer4(offending) {
        return None;
    }
    let h = Ip4::new(offending).ok()?;
    let whole = offending.get(..h.total_len()).unwrap_or(offending);
    let (ip, message) = out.split_at_mut_checked(ip4::HEADER_LEN)?;
    let extensible = matches!(
        error.ty,
        icmp4::ty::UNREACHABLE | icmp4::ty::TIME_EXCEEDED | icmp4::ty::PARAMETER_PROBLEM
    );
    let stack = labels.filter(|_| extensible).and_then(usable);
    let room = MAX_LEN4 - ip4::HEADER_LEN - icmp4::HEADER_LEN;
    let mut rest = error.rest;
    if stack.is_some() {
        rest[1] = (PADDED / 4) as u8; // RFC 4884 4: in 32-bit words
    }
    let len = fill(message, [error.ty, error.code], rest, whole, room, stack)?;
    let message = message.get_mut(..len)?;
    let sum = checksum(message);
    message.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
    let total = ip4::HEADER_LEN + len;
    Ip4Mut::new(ip).ok()?.init(
        TOS,
        total as u16,
        TTL,
        proto::ICMP,
        src.into(),
        h.src_bits(),
    );
    Some(total)
}

/// Builds an ICMPv6 error about `offending` (as received: from its IPv6 header on) into `out`, IPv6 header
/// first; as [`build_error4`]. Returns the length, at most [`MAX_LEN6`].
///
/// `None` when [`may_answer6`] says no, or `out` is too short.
pub fn build_error6(
    out: &mut [u8],
    src: Ipv6Addr,
    error: Error6,
    offending: &[u8],
    labels: Option<&[u8]>,
) -> Option<usize> {
    if !may_answer6(offending, error) {
        return None;
    }
    let h = Ip6::new(offending).ok()?;
    let whole = offending
        .get(..ip6::HEADER_LEN + h.payload_len())
        .unwrap_or(offending);
    let (ip, message) = out.split_at_mut_checked(ip6::HEADER_LEN)?;
    let extensible = matches!(error.ty, icmp6::ty::UNREACHABLE | icmp6::ty::TIME_EXCEEDED);
    let stack = labels.filter(|_| extensible).and_then(usable);
    let room = MAX_LEN6 - ip6::HEADER_LEN - icmp6::HEADER_LEN;
    let mut rest = error.rest;
    if stack.is_some() {
        rest[0] = (PADDED / 8) as u8; // RFC 4884 4: in 64-bit words
    }
    let len = fill(message, [error.ty, error.code], rest, whole, room, stack)?;
    let message = message.get_mut(..len)?;
    let sum = icmp6::sum(src.into(), h.src_bits(), message).finish();
    message.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
    Ip6Mut::new(ip)
        .ok()?
        .init(TOS, len as u16, proto::ICMP6, TTL, src.into(), h.src_bits());
    Some(ip6::HEADER_LEN + len)
}

/// Whole entries, as many as we are willing to show; `None` when there is none.
fn usable(labels: &[u8]) -> Option<&[u8]> {
    let n = (labels.len() / Lse::LEN).min(mpls::MAX_DEPTH);
    labels.get(..n * Lse::LEN).filter(|b| !b.is_empty())
}

/// The ICMP message with a checksum of zero: header, original datagram, extension. Returns its length.
fn fill(
    message: &mut [u8],
    [ty, code]: [u8; 2],
    rest: [u8; 4],
    original: &[u8],
    room: usize,
    stack: Option<&[u8]>,
) -> Option<usize> {
    let head = message.get_mut(..8)?;
    head.copy_from_slice(&[ty, code, 0, 0, rest[0], rest[1], rest[2], rest[3]]);
    let body = message.get_mut(8..)?;
    let Some(stack) = stack else {
        let cut = original.get(..room).unwrap_or(original);
        body.get_mut(..cut.len())?.copy_from_slice(cut);
        return Some(8 + cut.len());
    };
    let cut = original.get(..PADDED).unwrap_or(original);
    let (copy, pad) = body.get_mut(..PADDED)?.split_at_mut(cut.len());
    copy.copy_from_slice(cut);
    pad.fill(0);
    let extension = body.get_mut(PADDED..PADDED + 8 + stack.len())?;
    let (front, entries) = extension.split_at_mut(8);
    // Version 2; then an object of class 1 (MPLS), type 1 (incoming stack) (RFC 4884 7 and 8, RFC 4950 3).
    let object = ((4 + stack.len()) as u16).to_be_bytes();
    front.copy_from_slice(&[0x20, 0, 0, 0, object[0], object[1], 1, 1]);
    entries.copy_from_slice(stack);
    let sum = checksum(extension);
    extension.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
    Some(8 + PADDED + 8 + stack.len())
}

#[cfg(test)]
#[path = "icmp_error_tests.rs"]
mod tests;
