//! AS_PATH with AS numbers of four octets: RFC 4271 4.3 and 5.1.2, RFC 5065 (confederations), RFC 9774 (no AS_SETs).

use std::fmt;

use crate::types::Asn;

/// What a segment is, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SegmentKind {
    /// AS_SET: in no order; not used any more (RFC 9774).
    Set = 1,
    /// AS_SEQUENCE: nearest first.
    Sequence = 2,
    /// AS_CONFED_SEQUENCE, RFC 5065.
    ConfedSequence = 3,
    /// AS_CONFED_SET, RFC 5065.
    ConfedSet = 4,
}

impl SegmentKind {
    /// `None` for numbers that name none.
    #[must_use]
    pub const fn new(k: u8) -> Option<Self> {
        match k {
            1 => Some(Self::Set),
            2 => Some(Self::Sequence),
            3 => Some(Self::ConfedSequence),
            4 => Some(Self::ConfedSet),
            _ => None,
        }
    }

    /// Is it one of RFC 5065, which stay within the confederation?
    #[must_use]
    pub const fn is_confed(self) -> bool {
        matches!(self, Self::ConfedSequence | Self::ConfedSet)
    }
}

/// A segment: at most 255 AS numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// What it is.
    pub kind: SegmentKind,
    octets: &'a [[u8; 4]],
}

impl<'a> Segment<'a> {
    /// Its AS numbers.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Asn> + ExactSizeIterator + use<'a> {
        self.octets.iter().map(|a| Asn(u32::from_be_bytes(*a)))
    }
}

/// The value of an AS_PATH in canonical form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsPath<'a>(pub &'a [u8]);

impl<'a> AsPath<'a> {
    /// Its segments, nearest first; ends at the first that is cut off.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (&[kind, n], tail) = rest.split_first_chunk::<2>()?;
            let (octets, tail) = tail.split_at_checked(usize::from(n) * 4)?;
            rest = tail;
            let (octets, _) = octets.as_chunks();
            Some(Segment {
                kind: SegmentKind::new(kind)?,
                octets,
            })
        })
    }

    /// Every AS number in it, whatever the segment.
    pub fn iter(&self) -> impl Iterator<Item = Asn> + use<'a> {
        self.segments().flat_map(|s| s.iter())
    }

    /// How long it is when routes are compared: a set counts as one (RFC 4271 9.1.2.2 a), confederation segments not at
    /// all (RFC 5065 5.3).
    #[must_use]
    pub fn hops(&self) -> u32 {
        let count = |s: Segment<'_>| match s.kind {
            SegmentKind::Sequence => s.octets.len() as u32,
            SegmentKind::Set => 1,
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
        };
        self.segments().map(count).sum()
    }

    /// The neighbouring AS, whose MEDs are compared: the first of the path behind confederation segments, if that is in a
    /// sequence (RFC 4271 9.1.2.2 c, RFC 5065 5.3).
    #[must_use]
    pub fn neighbor(&self) -> Option<Asn> {
        let s = self.segments().find(|s| !s.kind.is_confed())?;
        (s.kind == SegmentKind::Sequence).then(|| s.iter().next())?
    }

    /// The first AS of the path, confederation or not: who sent it (RFC 4271 6.3).
    #[must_use]
    pub fn first(&self) -> Option<Asn> {
        self.segments().next()?.iter().next()
    }

    /// The AS of origin as RFC 6811 2 takes it: the last of the last segment if that is a sequence, else none.
    #[must_use]
    pub fn origin(&self) -> Option<Asn> {
        let last = self.segments().filter(|s| !s.kind.is_confed()).last()?;
        (last.kind == SegmentKind::Sequence).then(|| last.iter().next_back())?
    }

    /// How often an AS number stands in it.
    #[must_use]
    pub fn count(&self, asn: Asn) -> usize {
        self.iter().filter(|a| *a == asn).count()
    }

    /// True: no segments.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for AsPath<'_> {
    /// `64500 64501 {64502,64503}`; confederation segments as `(65001 65002)` and `[65001,65002]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, s) in self.segments().enumerate() {
            let (open, between, close) = match s.kind {
                SegmentKind::Sequence => ("", " ", ""),
                SegmentKind::Set => ("{", ",", "}"),
                SegmentKind::ConfedSequence => ("(", " ", ")"),
                SegmentKind::ConfedSet => ("[", ",", "]"),
            };
            write!(f, "{}{open}", if i == 0 { "" } else { " " })?;
            for (i, a) in s.iter().enumerate() {
                write!(f, "{}{a}", if i == 0 { "" } else { between })?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}
