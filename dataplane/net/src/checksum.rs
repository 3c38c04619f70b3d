//! The Internet checksum: RFC 1071; RFC 1624 equation 3 for changes.
//!
//! A one's complement sum does not care about byte order (RFC 1071 2(B)), so we add native words into 64
//! bits, which the compiler turns into vector code, and swap once at the end.

/// A running one's complement sum, in native byte order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Nothing added yet.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes. Every piece but the last must have an even length.
    #[inline]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        // 32-bit words into 64 bits: no carry is lost before 2^32 words.
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum = self.0;
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        let tail = match *rest {
            [a] => u16::from_ne_bytes([a, 0]).into(),
            [a, b] => u16::from_ne_bytes([a, b]).into(),
            [a, b, c] => {
                u64::from(u16::from_ne_bytes([a, b])) + u64::from(u16::from_ne_bytes([c, 0]))
            }
            _ => 0,
        };
        Self(fold32(sum + tail))
    }

    /// Adds one 16-bit value.
    #[inline]
    #[must_use]
    pub fn add_u16(self, v: u16) -> Self {
        Self(self.0 + u64::from(v.to_be()))
    }

    /// Adds one 32-bit value.
    #[inline]
    #[must_use]
    pub fn add_u32(self, v: u32) -> Self {
        Self(self.0 + u64::from(v.to_be()))
    }

    /// The sum in 16 bits, not complemented, host order. All ones over data with a right checksum.
    #[inline]
    #[must_use]
    pub fn fold(self) -> u16 {
        u16::from_be(fold16(self.0))
    }

    /// The checksum, host order: the complement of the sum.
    #[inline]
    #[must_use]
    pub fn finish(self) -> u16 {
        !self.fold()
    }

    /// The pseudo-header of IPv4 (RFC 9293 3.1); `len` is that of the layer-4 header and data.
    #[inline]
    #[must_use]
    pub fn pseudo4(src: u32, dst: u32, proto: u8, len: u16) -> Self {
        Self::new()
            .add_u32(src)
            .add_u32(dst)
            .add_u16(proto.into())
            .add_u16(len)
    }

    /// The pseudo-header of IPv6 (RFC 8200 8.1); `len` is that of the upper-layer packet.
    #[inline]
    #[must_use]
    pub fn pseudo6(src: u128, dst: u128, proto: u8, len: u32) -> Self {
        Self::new()
            .add_bytes(&src.to_be_bytes())
            .add_bytes(&dst.to_be_bytes())
            .add_u32(len)
            .add_u32(proto.into())
    }
}

#[inline]
const fn fold32(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

#[inline]
const fn fold16(sum: u64) -> u16 {
    let sum = fold32(fold32(sum)); // at most 2^32 - 1
    let sum = (sum & 0xffff) + (sum >> 16); // at most 2^17 - 2
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The checksum of `bytes`, host order.
#[inline]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::new().add_bytes(bytes).finish()
}

/// Whether `bytes`, their checksum field included, add up.
#[inline]
#[must_use]
pub fn verify(bytes: &[u8]) -> bool {
    Sum::new().add_bytes(bytes).fold() == 0xffff
}

/// The checksum after one aligned 16-bit word of the data went from `old` to `new` (RFC 1624 equation 3).
#[inline]
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = !checksum as u32 + !old as u32 + new as u32; // below 3 * 2^16
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 4.1, word by word: the oracle.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(
            Sum::new()
                .add_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])
                .fold(),
            0xddf2
        );
    }

    #[test]
    fn the_example_of_rfc_1624() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn extremes() {
        assert_eq!(checksum(&[]), 0xffff);
        assert_eq!(checksum(&[0xff; 65535]), plain(&[0xff; 65535]));
        assert_eq!(checksum(&[0; 65535]), 0xffff);
        assert_eq!(Sum(u64::MAX).fold(), 0xffff);
    }

    proptest! {
        #[test]
        fn equals_the_plain_sum(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(checksum(&bytes), plain(&bytes));
        }

        #[test]
        fn pieces_equal_the_whole(words in prop::collection::vec(any::<[u8; 2]>(), 0..50), tail in prop::collection::vec(any::<u8>(), 0..50)) {
            let front = words.concat();
            let whole = [front.clone(), tail.clone()].concat();
            prop_assert_eq!(Sum::new().add_bytes(&front).add_bytes(&tail).finish(), plain(&whole));
        }

        #[test]
        fn update_equals_a_new_sum(mut bytes in prop::collection::vec(any::<u8>(), 2..60), at: prop::sample::Index, new: u16) {
            bytes.resize(bytes.len() & !1, 0);
            let at = at.index(bytes.len() / 2) * 2;
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let before = checksum(&bytes);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            // Data of zeros alone sums to +0, and the update knows -0 only: never the case in a header.
            prop_assume!(bytes.iter().any(|&b| b != 0));
            prop_assert_eq!(update(before, old, new), checksum(&bytes));
        }

        #[test]
        fn pseudo_headers(src: u128, dst: u128, proto: u8, len: u16, data in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut v6 = [src.to_be_bytes(), dst.to_be_bytes()].concat();
            v6.extend(u32::from(len).to_be_bytes());
            v6.extend([0, 0, 0, proto]);
            v6.extend(&data);
            prop_assert_eq!(Sum::pseudo6(src, dst, proto, len.into()).add_bytes(&data).finish(), plain(&v6));
            let (s4, d4) = (src as u32, dst as u32);
            let mut v4 = [s4.to_be_bytes(), d4.to_be_bytes()].concat();
            v4.extend([0, proto]);
            v4.extend(len.to_be_bytes());
            v4.extend(&data);
            prop_assert_eq!(Sum::pseudo4(s4, d4, proto, len).add_bytes(&data).finish(), plain(&v4));
        }
    }
}
