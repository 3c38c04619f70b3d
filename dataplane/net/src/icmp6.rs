//! The ICMPv6 header: RFC 4443 2.1. Errors are built in [`crate::icmp_error`], neighbour discovery in [`crate::nd`].

use crate::checksum::Sum;
use crate::error::{WireError, head};
use crate::ip4::proto;

/// Bytes of the header, the four that are the type's included.
pub const HEADER_LEN: usize = 8;

/// Types.
pub mod ty {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Router solicitation (RFC 4861).
    pub const ROUTER_SOLICIT: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOR_SOLICIT: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOR_ADVERT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
}

/// Codes of [`ty::UNREACHABLE`] (RFC 4443 3.1).
pub mod unreachable {
    /// No route.
    pub const NO_ROUTE: u8 = 0;
    /// Forbidden by administration.
    pub const PROHIBITED: u8 = 1;
    /// Beyond the scope of the source address.
    pub const SCOPE: u8 = 2;
    /// The address does not answer.
    pub const ADDRESS: u8 = 3;
    /// Reject route.
    pub const REJECT: u8 = 6;
}

/// Whether a type is an error message: never answered by another error (RFC 4443 2.1).
#[inline]
#[must_use]
pub const fn is_error(ty: u8) -> bool {
    ty < 128
}

/// Whether a type belongs to neighbour discovery, which the control thread answers.
#[inline]
#[must_use]
pub const fn is_nd(ty: u8) -> bool {
    matches!(ty, ty::ROUTER_SOLICIT..=ty::REDIRECT)
}

/// An ICMPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct Icmp6<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Icmp6<'a> {
    /// The header at the start of an upper-layer packet.
    ///
    /// # Errors
    /// [`WireError::Truncated`] below 8 bytes.
    #[inline]
    pub fn new(payload: &'a [u8]) -> Result<Self, WireError> {
        head(payload).map(Self)
    }

    /// Type; see [`ty`].
    #[inline]
    #[must_use]
    pub fn ty(&self) -> u8 {
        self.0[0]
    }

    /// Code.
    #[inline]
    #[must_use]
    pub fn code(&self) -> u8 {
        self.0[1]
    }

    /// Checksum.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// The four bytes whose meaning is the type's.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> [u8; 4] {
        [self.0[4], self.0[5], self.0[6], self.0[7]]
    }
}

/// The sum over the pseudo-header and `message`: what its checksum field makes all ones.
#[inline]
#[must_use]
pub fn sum(src: u128, dst: u128, message: &[u8]) -> Sum {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    Sum::pseudo6(src, dst, proto::ICMP6, len).add_bytes(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::Icmpv6Slice;
    use proptest::prelude::*;

    #[test]
    fn fields_and_truncation() {
        let b = [2, 0, 0xab, 0xcd, 0, 0, 5, 0];
        for n in 0..8 {
            assert_eq!(
                Icmp6::new(&b[..n]).unwrap_err(),
                WireError::Truncated { need: 8, got: n }
            );
        }
        let h = Icmp6::new(&b).unwrap();
        assert_eq!(
            (h.ty(), h.code(), h.checksum(), h.rest()),
            (2, 0, 0xabcd, [0, 0, 5, 0])
        );
        assert!(
            is_error(127)
                && !is_error(128)
                && is_nd(133)
                && is_nd(137)
                && !is_nd(132)
                && !is_nd(138)
        );
    }

    proptest! {
        #[test]
        fn etherparse_agrees_on_the_checksum(src: u128, dst: u128, mut m in prop::collection::vec(any::<u8>(), 8..90)) {
            m[2..4].fill(0);
            let c = sum(src, dst, &m).finish();
            m[2..4].copy_from_slice(&c.to_be_bytes());
            prop_assert!(Icmpv6Slice::from_slice(&m).unwrap().is_checksum_valid(src.to_be_bytes(), dst.to_be_bytes()));
            prop_assert_eq!(sum(src, dst, &m).fold(), 0xffff);
        }
    }
}
