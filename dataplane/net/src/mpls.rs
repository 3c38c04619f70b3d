//! Label stacks: RFC 3032 2.1, RFC 6790 (entropy labels), RFC 7325 2.4.5.1 (what to look at under a stack).

use arrayvec::ArrayVec;

use crate::error::{WireError, head};
use crate::{Label, Lse};

/// Entries that [`walk`] reads. A deeper stack is refused, so that one without a bottom bit costs little.
pub const MAX_DEPTH: usize = 16;

/// The top entry of the stack at the start of `bytes`.
///
/// # Errors
/// [`WireError::Truncated`] below 4 bytes.
#[inline]
pub fn top(bytes: &[u8]) -> Result<Lse, WireError> {
    head(bytes).map(|b| Lse::from_bytes(*b))
}

/// Writes the top entry in place.
///
/// # Errors
/// [`WireError::Truncated`] below 4 bytes.
#[inline]
pub fn set_top(bytes: &mut [u8], lse: Lse) -> Result<(), WireError> {
    *crate::error::head_mut(bytes)? = lse.to_bytes();
    Ok(())
}

/// A whole stack, outermost entry first, the last one with the bottom bit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The entries.
    pub entries: ArrayVec<Lse, MAX_DEPTH>,
}

impl Stack {
    /// Bytes of the stack: where its payload starts.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() * Lse::LEN
    }

    /// Never true of a stack that [`walk`] returned.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Reads a stack to its bottom.
///
/// # Errors
/// [`WireError::Truncated`] when the bytes end before the bottom, `TooDeep` beyond [`MAX_DEPTH`] entries.
#[inline]
pub fn walk(bytes: &[u8]) -> Result<Stack, WireError> {
    let mut stack = Stack::default();
    for b in bytes.as_chunks::<4>().0.iter().take(MAX_DEPTH) {
        let lse = Lse::from_bytes(*b);
        stack.entries.push(lse); // take() keeps it within the capacity
        if lse.bottom() {
            return Ok(stack);
        }
    }
    if stack.entries.is_full() {
        return Err(WireError::TooDeep(MAX_DEPTH));
    }
    Err(WireError::Truncated {
        need: stack.len() + Lse::LEN,
        got: bytes.len(),
    })
}

/// Bytes of the stack to its bottom, as [`walk`] but without keeping the entries.
///
/// # Errors
/// As [`walk`].
#[inline]
pub fn stack_len(bytes: &[u8]) -> Result<usize, WireError> {
    for (i, b) in bytes.as_chunks::<4>().0.iter().take(MAX_DEPTH).enumerate() {
        if Lse::from_bytes(*b).bottom() {
            return Ok((i + 1) * Lse::LEN);
        }
    }
    if bytes.len() >= MAX_DEPTH * Lse::LEN {
        return Err(WireError::TooDeep(MAX_DEPTH));
    }
    Err(WireError::Truncated {
        need: bytes.len() / Lse::LEN * Lse::LEN + Lse::LEN,
        got: bytes.len(),
    })
}

/// Writes `labels` (outermost first) into the end of `out`, each with this TC and TTL; the innermost gets
/// the bottom bit when `bottom`. Returns the bytes written, `None` when `out` is too short.
#[inline]
pub fn write(out: &mut [u8], labels: &[Label], tc: u8, ttl: u8, bottom: bool) -> Option<usize> {
    let len = labels.len().checked_mul(Lse::LEN)?;
    let start = out.len().checked_sub(len)?;
    let (slots, _) = out.get_mut(start..)?.as_chunks_mut::<4>();
    let last = labels.len().wrapping_sub(1);
    for (i, (slot, label)) in slots.iter_mut().zip(labels).enumerate() {
        *slot = Lse::new(*label, tc, bottom && i == last, ttl).to_bytes();
    }
    Some(len)
}

/// What lies under a stack, guessed from its first nibble as RFC 7325 2.4.5.1 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// 4.
    Ip4,
    /// 6.
    Ip6,
    /// A control word, a pseudowire, or nothing.
    Other,
}

/// Guesses what lies at `payload`.
#[inline]
#[must_use]
pub fn under(payload: &[u8]) -> Under {
    match payload.first().map(|b| b >> 4) {
        Some(4) => Under::Ip4,
        Some(6) => Under::Ip6,
        _ => Under::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn truncated_at_every_byte() {
        let mut b = [0; 12];
        let labels = [100, 200, 300].map(|l| Label::new(l).unwrap());
        assert_eq!(write(&mut b, &labels, 3, 64, true), Some(12));
        for n in 0..12 {
            assert!(matches!(walk(&b[..n]), Err(WireError::Truncated { got, .. }) if got == n));
            assert_eq!(walk(&b[..n]).map(|s| s.len()), stack_len(&b[..n]));
        }
        let s = walk(&b).unwrap();
        assert_eq!(
            s.entries
                .iter()
                .map(|e| e.label().get())
                .collect::<Vec<_>>(),
            [100, 200, 300]
        );
        assert_eq!(
            s.entries.iter().map(|e| e.bottom()).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert!(s.entries.iter().all(|e| e.ttl() == 64 && e.tc() == 3));
    }

    #[test]
    fn a_stack_without_bottom_is_refused() {
        assert_eq!(walk(&[0; 1500]), Err(WireError::TooDeep(MAX_DEPTH)));
        assert_eq!(walk(&[0; 64]), Err(WireError::TooDeep(MAX_DEPTH)));
        let mut deepest = [0; 64];
        deepest[62] = 1;
        assert_eq!(walk(&deepest).unwrap().len(), 64);
    }

    #[test]
    fn writing_fills_the_end() {
        let mut b = [0xee; 6];
        assert_eq!(write(&mut b, &[Label::MAX], 0, 1, false), Some(4));
        assert_eq!(b, [0xee, 0xee, 0xff, 0xff, 0xf0, 1]);
        assert_eq!(write(&mut b, &[Label::MAX; 2], 0, 1, false), None);
        assert_eq!(write(&mut b, &[], 0, 1, true), Some(0));
        set_top(&mut b, Lse(7)).unwrap();
        assert_eq!(top(&b), Ok(Lse(7)));
    }

    proptest! {
        #[test]
        fn any_bytes(b in prop::collection::vec(any::<u8>(), 0..80)) {
            let walked = walk(&b);
            prop_assert_eq!(walked.clone().map(|s| s.len()), stack_len(&b));
            if let Ok(s) = walked {
                prop_assert!(s.len() <= b.len() && !s.is_empty());
                let (last, rest) = s.entries.split_last().unwrap();
                prop_assert!(last.bottom() && rest.iter().all(|e| !e.bottom()));
            }
        }
    }
}
