//! The routes as candidates want them: intervals of addresses with one next hop each.

/// The part of an address that prefixes of the race differ in: 32 bits of IPv4, the first 64 of IPv6.
pub trait Addr: Copy + Ord + Default + 'static {
    /// Bits of it.
    const BITS: u32;
    /// As 64 bits, right-aligned.
    fn bits(self) -> u64;
    /// Back.
    fn of(x: u64) -> Self;
}

impl Addr for u32 {
    const BITS: u32 = 32;
    fn bits(self) -> u64 {
        self.into()
    }
    fn of(x: u64) -> Self {
        x as Self
    }
}

impl Addr for u64 {
    const BITS: u32 = 64;
    fn bits(self) -> u64 {
        self
    }
    fn of(x: u64) -> Self {
        x
    }
}

/// Routes, and the intervals that they make.
pub struct Table<A> {
    /// Where each interval begins and its next hop; neighbours differ, and the first begins at 0.
    pub intervals: Vec<(A, u32)>,
}

impl<A: Addr> Table<A> {
    /// Of prefixes (first address, length, next hop), sorted by address and length.
    pub fn new(routes: &[(A, u8, u32)]) -> Self {
        let mut intervals: Vec<(u64, u32)> = vec![(0, 0)];
        // Prefixes that cover the present place: last address and next hop, the longest last.
        let mut covers: Vec<(u64, u32)> = vec![];
        let put = |list: &mut Vec<(u64, u32)>, at, hop| match list.last_mut() {
            Some(last) if last.0 == at => last.1 = hop,
            _ => list.push((at, hop)),
        };
        let end = |list: &mut Vec<(u64, u32)>, covers: &mut Vec<(u64, u32)>| {
            let last = covers.pop().map_or(0, |c| c.0);
            if last < u64::MAX >> (64 - A::BITS) {
                put(list, last + 1, covers.last().map_or(0, |c| c.1));
            }
        };
        for &(first, len, hop) in routes {
            let first = first.bits();
            while covers.last().is_some_and(|c| c.0 < first) {
                end(&mut intervals, &mut covers);
            }
            put(&mut intervals, first, hop);
            let host = A::BITS - u32::from(len);
            let size = if host == 64 {
                u64::MAX
            } else {
                (1 << host) - 1
            };
            covers.push((first + size, hop));
        }
        while !covers.is_empty() {
            end(&mut intervals, &mut covers);
        }
        intervals.dedup_by_key(|i| i.1);
        Self {
            intervals: intervals
                .into_iter()
                .map(|(a, hop)| (A::of(a), hop))
                .collect(),
        }
    }

    /// The largest next hop, and none.
    pub fn hops(&self) -> usize {
        1 + self
            .intervals
            .iter()
            .map(|i| i.1 as usize)
            .max()
            .unwrap_or(0)
    }

    /// The next hop of an address: a binary search.
    pub fn find(&self, a: A) -> u32 {
        self.intervals[self.intervals.partition_point(|i| i.0 <= a) - 1].1
    }

    /// The intervals that begin strictly within a block, and the next hop at its first address.
    pub(crate) fn within(&self, first: u64, last: u64) -> (u32, &[(A, u32)]) {
        let begin = self.intervals.partition_point(|i| i.0.bits() <= first);
        let end = self.intervals.partition_point(|i| i.0.bits() <= last);
        (self.intervals[begin - 1].1, &self.intervals[begin..end])
    }
}

impl Table<u32> {
    /// The next hop of each block of /24.
    pub(crate) fn blocks(&self) -> Vec<u32> {
        let mut all = vec![0; 1 << 24];
        for (i, &(at, hop)) in self.intervals.iter().enumerate() {
            let end = self
                .intervals
                .get(i + 1)
                .map_or(1 << 24, |n| (n.0 >> 8) as usize);
            all[(at >> 8) as usize..end].fill(hop);
        }
        all
    }
}
