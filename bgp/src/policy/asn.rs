//! Ranges and sets of AS numbers.

use std::fmt;
use std::str::FromStr;

use crate::types::Asn;

/// AS numbers from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsnRange {
    first: Asn,
    last: Asn,
}

impl AsnRange {
    /// Every number there is.
    pub const ALL: Self = Self {
        first: Asn(0),
        last: Asn(u32::MAX),
    };

    /// `None` if the first is above the last.
    #[must_use]
    pub fn new(first: Asn, last: Asn) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Is it one of them?
    #[must_use]
    pub fn contains(self, asn: Asn) -> bool {
        (self.first..=self.last).contains(&asn)
    }

    /// The number if it is one alone.
    #[must_use]
    pub fn single(self) -> Option<Asn> {
        (self.first == self.last).then_some(self.first)
    }
}

impl From<Asn> for AsnRange {
    fn from(asn: Asn) -> Self {
        Self {
            first: asn,
            last: asn,
        }
    }
}

impl fmt::Display for AsnRange {
    /// `64500`, `64512-65534`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(asn) => asn.fmt(f),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// Not an AS number, nor a range of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsnError {
    /// Something else.
    #[error("{0:?} is no AS number and no range of them: 64500, \"64512-65534\"")]
    Shape(String),
    /// The wrong way round.
    #[error("{0:?} counts down; write \"{2}-{1}\"")]
    Down(String, Asn, Asn),
}

impl FromStr for AsnRange {
    type Err = AsnError;

    /// As shown; `AS64500` as well, as registries write it.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let number = |t: &str| -> Option<Asn> {
            let t = t.trim();
            let t = t.strip_prefix("AS").unwrap_or(t);
            let plain = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            Some(t).filter(|_| plain)?.parse().ok()
        };
        let (a, b) = s.split_once('-').unwrap_or((s, s));
        let (Some(a), Some(b)) = (number(a), number(b)) else {
            return Err(AsnError::Shape(s.to_owned()));
        };
        Self::new(a, b).ok_or_else(|| AsnError::Down(s.to_owned(), a, b))
    }
}

/// A set of AS numbers: ranges, sorted, apart from each other. Two that have the same numbers are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsnSet(Box<[AsnRange]>);

impl AsnSet {
    /// Sorts the ranges, and joins those that touch.
    #[must_use]
    pub fn new(mut ranges: Vec<AsnRange>) -> Self {
        ranges.sort_unstable();
        let mut out: Vec<AsnRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match out.last_mut() {
                Some(last) if u64::from(range.first.0) <= u64::from(last.last.0) + 1 => {
                    last.last = last.last.max(range.last);
                }
                _ => out.push(range),
            }
        }
        Self(out.into())
    }

    /// Is it in the set?
    #[must_use]
    pub fn contains(&self, asn: Asn) -> bool {
        let after = self.0.partition_point(|r| r.first <= asn);
        after > 0 && asn <= self.0[after - 1].last
    }

    /// True: none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every number that is not in it.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut out = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(0);
        for range in &self.0 {
            if let Some(from) = next.filter(|from| *from < range.first.0) {
                out.push(AsnRange {
                    first: Asn(from),
                    last: Asn(range.first.0 - 1),
                });
            }
            next = range.last.0.checked_add(1);
        }
        out.extend(next.map(|from| AsnRange {
            first: Asn(from),
            last: Asn(u32::MAX),
        }));
        Self(out.into())
    }

    /// Its ranges, ascending.
    #[must_use]
    pub fn ranges(&self) -> &[AsnRange] {
        &self.0
    }
}

impl FromIterator<AsnRange> for AsnSet {
    fn from_iter<I: IntoIterator<Item = AsnRange>>(ranges: I) -> Self {
        Self::new(ranges.into_iter().collect())
    }
}

/// Numbers that nobody has on the Internet: private use (RFC 6996).
#[must_use]
pub fn is_private(asn: Asn) -> bool {
    matches!(asn.0, 64_512..=65_534 | 4_200_000_000..=4_294_967_294)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_and_refused() {
        for s in ["64500", "64512-65534", "0-4294967295"] {
            assert_eq!(s.parse::<AsnRange>().unwrap().to_string(), s);
        }
        assert_eq!(
            "AS64500 - AS64501".parse::<AsnRange>().unwrap().to_string(),
            "64500-64501"
        );
        for s in ["", "-", "1-", "4294967296", "x", "+5", "1.5"] {
            let error = s.parse::<AsnRange>().unwrap_err().to_string();
            assert!(error.contains("64512-65534"), "{error}");
        }
        let error = "65534-64512".parse::<AsnRange>().unwrap_err().to_string();
        assert!(error.contains("\"64512-65534\""), "{error}");
    }

    proptest! {
        #[test]
        fn a_set_has_the_numbers_of_its_ranges(
            pairs in prop::collection::vec((0u32..60, 0u32..9, any::<bool>()), 0..12),
        ) {
            let ranges: Vec<AsnRange> = pairs
                .iter()
                .map(|(a, n, high)| {
                    let base = if *high { u32::MAX - 70 } else { 0 };
                    AsnRange::new(Asn(base + a), Asn(base + a + n)).unwrap()
                })
                .collect();
            let set = AsnSet::new(ranges.clone());
            let rest = set.complement();
            for n in (0..80).chain(u32::MAX - 80..=u32::MAX) {
                let want = ranges.iter().any(|r| r.contains(Asn(n)));
                prop_assert_eq!(set.contains(Asn(n)), want);
                prop_assert_eq!(rest.contains(Asn(n)), !want);
            }
            prop_assert_eq!(rest.complement(), set);
        }
    }
}
