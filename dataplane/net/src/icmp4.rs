//! The ICMP header: RFC 792, RFC 1191 (next-hop MTU), RFC 1812 4.3. Errors are built in [`crate::icmp_error`].

use crate::error::{WireError, head};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// Types.
pub mod ty {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench; obsolete, yet an error (RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Codes of [`ty::UNREACHABLE`] (RFC 792, RFC 1122 3.2.2.1, RFC 1812 5.2.7.1).
pub mod unreachable {
    /// No route to the network.
    pub const NET: u8 = 0;
    /// The host does not answer.
    pub const HOST: u8 = 1;
    /// Fragmentation needed and DF set.
    pub const FRAG_NEEDED: u8 = 4;
    /// Source route failed.
    pub const SOURCE_ROUTE: u8 = 5;
    /// Forbidden by administration.
    pub const PROHIBITED: u8 = 13;
}

/// Whether a type is an error message: never answered by another error (RFC 1812 4.3.2.7).
#[inline]
#[must_use]
pub const fn is_error(ty: u8) -> bool {
    matches!(
        ty,
        ty::UNREACHABLE
            | ty::SOURCE_QUENCH
            | ty::REDIRECT
            | ty::TIME_EXCEEDED
            | ty::PARAMETER_PROBLEM
    )
}

/// An ICMP header.
#[derive(Clone, Copy, Debug)]
pub struct Icmp4<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Icmp4<'a> {
    /// The header at the start of an IP payload.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_truncation() {
        let b = [3, 4, 0xab, 0xcd, 0, 0, 5, 0xdc];
        for n in 0..8 {
            assert_eq!(
                Icmp4::new(&b[..n]).unwrap_err(),
                WireError::Truncated { need: 8, got: n }
            );
        }
        let h = Icmp4::new(&b).unwrap();
        assert_eq!(
            (h.ty(), h.code(), h.checksum(), h.rest()),
            (3, 4, 0xabcd, [0, 0, 5, 0xdc])
        );
        assert_eq!(
            (0..=255).filter(|&t| is_error(t)).collect::<Vec<_>>(),
            [3, 4, 5, 11, 12]
        );
    }
}
