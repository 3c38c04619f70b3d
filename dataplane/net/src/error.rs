//! What can be wrong with bytes from the wire. One enum for all headers, so that a caller maps it to a
//! drop reason in one `match`.

/// Why bytes are not the header they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than the header, or the length it states, needs.
    #[error("truncated: {got} bytes, {need} needed")]
    Truncated {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        got: usize,
    },
    /// The IP version nibble is another one.
    #[error("IP version {0}")]
    Version(u8),
    /// A header length below the smallest legal one, or beyond the packet.
    #[error("header length {0} is out of bounds")]
    HeaderLength(usize),
    /// A total or payload length that contradicts the rest of the packet.
    #[error("stated length {0} contradicts the packet")]
    TotalLength(usize),
    /// The checksum does not match.
    #[error("bad checksum")]
    Checksum,
    /// More nested headers or labels than we are willing to walk.
    #[error("more than {0} nested headers")]
    TooDeep(usize),
    /// A hop-by-hop options header elsewhere than right after the IPv6 header (RFC 8200 4.1).
    #[error("hop-by-hop options are not first")]
    Misplaced,
    /// A type, code, operation or option we do not take, or not here.
    #[error("unsupported or illegal value {0}")]
    Unsupported(u32),
    /// A field breaks a validity rule of its protocol (RFC 4861 6.1 and 7.1, RFC 826).
    #[error("illegal: {0}")]
    Illegal(&'static str),
}

/// The first `N` bytes as an array, or how many are missing.
#[inline]
pub(crate) fn head<const N: usize>(b: &[u8]) -> Result<&[u8; N], WireError> {
    b.first_chunk().ok_or(WireError::Truncated {
        need: N,
        got: b.len(),
    })
}

/// As [`head`], for writing.
#[inline]
pub(crate) fn head_mut<const N: usize>(b: &mut [u8]) -> Result<&mut [u8; N], WireError> {
    let got = b.len();
    b.first_chunk_mut()
        .ok_or(WireError::Truncated { need: N, got })
}
