//! MPLS labels and label stack entries: RFC 3032 2.1, RFC 5462 (TC), RFC 7274 (special-purpose labels), RFC 6790 (ELI).

use arrayvec::ArrayVec;
use std::fmt;
use std::str::FromStr;

/// Most labels that one path pushes.
pub const MAX_PUSH: usize = 8;

/// Labels to push, outermost first, as the configuration writes them.
pub type LabelStack = ArrayVec<Label, MAX_PUSH>;

/// A 20-bit label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Label(u32);

impl Label {
    /// Pop, then IPv4 (RFC 3032 2.1).
    pub const IPV4_EXPLICIT_NULL: Self = Self(0);
    /// To the software of each hop (RFC 3032 2.1).
    pub const ROUTER_ALERT: Self = Self(1);
    /// Pop, then IPv6 (RFC 3032 2.1).
    pub const IPV6_EXPLICIT_NULL: Self = Self(2);
    /// Never on the wire: asks the hop before to pop (RFC 3032 2.1).
    pub const IMPLICIT_NULL: Self = Self(3);
    /// The next label is an entropy label (RFC 6790 4).
    pub const ENTROPY_INDICATOR: Self = Self(7);
    /// Generic associated channel (RFC 5586).
    pub const GAL: Self = Self(13);
    /// OAM alert (RFC 3429).
    pub const OAM_ALERT: Self = Self(14);
    /// The next label is an extended special-purpose label (RFC 7274).
    pub const EXTENSION: Self = Self(15);
    /// The greatest label.
    pub const MAX: Self = Self((1 << 20) - 1);

    /// A label of this value; `None` when it needs more than 20 bits.
    #[inline]
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value < 1 << 20 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The value.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The value as an array index.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The entropy label of the flow with this hash (RFC 6790 4.2): none of those that are reserved. It is made of the upper bits,
    /// as paths are chosen by the lower ones: so flows that go by one path here differ further on.
    #[inline]
    #[must_use]
    pub const fn entropy(hash: u32) -> Self {
        let high = hash >> 12;
        if high < 16 {
            Self(high + 16)
        } else {
            Self(high)
        }
    }

    /// Special-purpose: 0 to 15 (RFC 7274). Never a key for load balancing.
    #[inline]
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.0 < 16
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Label> for u32 {
    #[inline]
    fn from(l: Label) -> Self {
        l.0
    }
}

/// The text is not a number from 0 to 1048575.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a label: a number from 0 to 1048575 is wanted")]
pub struct ParseLabelError;

impl FromStr for Label {
    type Err = ParseLabelError;

    fn from_str(s: &str) -> Result<Self, ParseLabelError> {
        if !s.bytes().all(|c| c.is_ascii_digit()) {
            return Err(ParseLabelError);
        }
        s.parse().ok().and_then(Self::new).ok_or(ParseLabelError)
    }
}

/// A label stack entry, host order: label (20 bits), TC (3), bottom of stack (1), TTL (8).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Lse(pub u32);

impl Lse {
    /// Bytes of an entry on the wire.
    pub const LEN: usize = 4;

    /// An entry; only the low three bits of `tc` count.
    #[inline]
    #[must_use]
    pub const fn new(label: Label, tc: u8, bottom: bool, ttl: u8) -> Self {
        Self(label.0 << 12 | ((tc & 7) as u32) << 9 | (bottom as u32) << 8 | ttl as u32)
    }

    /// The label.
    #[inline]
    #[must_use]
    pub const fn label(self) -> Label {
        Label(self.0 >> 12)
    }

    /// The traffic class (RFC 5462), 0 to 7.
    #[inline]
    #[must_use]
    pub const fn tc(self) -> u8 {
        (self.0 >> 9 & 7) as u8
    }

    /// Whether this is the last entry of the stack.
    #[inline]
    #[must_use]
    pub const fn bottom(self) -> bool {
        self.0 & 0x100 != 0
    }

    /// The TTL.
    #[inline]
    #[must_use]
    pub const fn ttl(self) -> u8 {
        self.0 as u8
    }

    /// The same entry with another TTL.
    #[inline]
    #[must_use]
    pub const fn with_ttl(self, ttl: u8) -> Self {
        Self(self.0 & !0xff | ttl as u32)
    }

    /// The same entry with another label.
    #[inline]
    #[must_use]
    pub const fn with_label(self, label: Label) -> Self {
        Self(self.0 & 0xfff | label.0 << 12)
    }

    /// From the wire.
    #[inline]
    #[must_use]
    pub const fn from_bytes(b: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(b))
    }

    /// To the wire.
    #[inline]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

impl fmt::Debug for Lse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tc {} s {} ttl {}",
            self.label(),
            self.tc(),
            u8::from(self.bottom()),
            self.ttl()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds() {
        assert_eq!(Label::new(1 << 20), None);
        assert_eq!(Label::new((1 << 20) - 1), Some(Label::MAX));
        assert!(Label::EXTENSION.is_reserved() && !Label(16).is_reserved());
        assert_eq!("1048576".parse::<Label>(), Err(ParseLabelError));
        assert_eq!("+5".parse::<Label>(), Err(ParseLabelError));
        assert_eq!("".parse::<Label>(), Err(ParseLabelError));
        assert_eq!("300".parse::<Label>(), Ok(Label(300)));
    }

    #[test]
    fn the_wire_form_is_that_of_rfc_3032() {
        let lse = Lse::new(Label(100), 5, true, 64);
        assert_eq!(lse.to_bytes(), [0x00, 0x06, 0x4b, 0x40]);
        // A traffic class of more than three bits does not reach the label.
        assert_eq!(Lse::new(Label(100), 0xfd, true, 64), lse);
    }

    proptest! {
        #[test]
        fn an_entropy_label_is_never_reserved(hash: u32, small in 0u32..1 << 16) {
            for hash in [hash, small] {
                let label = Label::entropy(hash);
                prop_assert!(!label.is_reserved() && label <= Label::MAX);
                prop_assert_eq!(label, Label::entropy(hash ^ 0xfff));
            }
        }

        #[test]
        fn encode_and_back(label in 0u32..1 << 20, tc in 0u8..8, bottom: bool, ttl: u8) {
            let lse = Lse::new(Label(label), tc, bottom, ttl);
            prop_assert_eq!(Lse::from_bytes(lse.to_bytes()), lse);
            prop_assert_eq!((lse.label().get(), lse.tc(), lse.bottom(), lse.ttl()), (label, tc, bottom, ttl));
            let other = Lse::new(Label(7), tc, bottom, 9);
            prop_assert_eq!(lse.with_label(Label(7)).with_ttl(9), other);
        }

        #[test]
        fn any_word_is_an_entry(word: u32) {
            let lse = Lse(word);
            prop_assert_eq!(Lse::new(lse.label(), lse.tc(), lse.bottom(), lse.ttl()), lse);
        }
    }
}
