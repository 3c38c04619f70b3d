//! Prefixes with ranges of lengths, and sets of a million of them.
//!
//! An entry `P ge a le b` holds for the prefixes within `P` whose length is from `a` to `b`. As `a` is never less than
//! `P`'s own length, a prefix of length `n` is within `P` whenever its first address is, so an entry is: a range of
//! addresses, and the set of lengths that it accepts for prefixes that begin there. A set is therefore a function from
//! addresses to sets of lengths, constant between the bounds of its entries: a sorted list of bounds, and beside each the
//! number of its set of lengths, of which there are few. Neighbouring ranges that accept the same are one.
//!
//! A lookup finds the last bound that is not above the address, in a static B-tree of 16 keys a node: five nodes for a
//! million, each a cache line or two, without branches on what is in them (Khuong and Morin, "Array layouts for
//! comparison-based searching", 2017). Left out: changing a set in place; it is built anew.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A prefix, and how long the prefixes within it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixRange {
    prefix: IpNet,
    min: u8,
    max: u8,
}

impl PrefixRange {
    /// Those prefixes within `prefix` that are at least `min` and at most `max` long. `None` unless
    /// `prefix`'s length <= `min` <= `max` <= 32 or 128, and `prefix` has no bits set after its length.
    #[must_use]
    pub fn new(prefix: IpNet, min: u8, max: u8) -> Option<Self> {
        let good = prefix.prefix_len() <= min
            && min <= max
            && max <= prefix.max_prefix_len()
            && prefix.trunc() == prefix;
        good.then_some(Self { prefix, min, max })
    }

    /// That prefix alone; bits after its length are taken as zero.
    #[must_use]
    pub fn exact(prefix: IpNet) -> Self {
        let len = prefix.prefix_len();
        Self {
            prefix: prefix.trunc(),
            min: len,
            max: len,
        }
    }

    /// What they are within.
    #[must_use]
    pub fn prefix(&self) -> IpNet {
        self.prefix
    }

    /// The least and the greatest length.
    #[must_use]
    pub fn lengths(&self) -> (u8, u8) {
        (self.min, self.max)
    }

    /// Is `p` one of them?
    #[must_use]
    pub fn contains(&self, p: &IpNet) -> bool {
        (self.min..=self.max).contains(&p.prefix_len()) && self.prefix.contains(p)
    }

    /// In the order of addresses, wider ones first: as [`PrefixSet`] wants to have them.
    fn order(&self, other: &Self) -> Ordering {
        let key = |r: &Self| (r.prefix.addr(), r.prefix.prefix_len());
        key(self).cmp(&key(other))
    }
}

impl fmt::Display for PrefixRange {
    /// `203.0.113.0/24`, `203.0.113.0/24 le 28`, `2001:db8::/32 ge 40 le 48`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.prefix.prefix_len();
        self.prefix.fmt(f)?;
        if (self.min, self.max) == (len, len) {
            return Ok(());
        }
        if self.min != len {
            write!(f, " ge {}", self.min)?;
        }
        if self.max != self.prefix.max_prefix_len() || self.min == len {
            write!(f, " le {}", self.max)?;
        }
        Ok(())
    }
}

/// Not a prefix with a range of lengths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not even a prefix.
    #[error(
        "{0:?} is no prefix such as \"203.0.113.0/24\", \"203.0.113.0/24 le 28\", \"2001:db8::/32 ge 40 le 48\""
    )]
    Shape(String),
    /// An address without a length.
    #[error("{0:?} lacks its length; write \"{0}/{1}\" for the address alone")]
    NoLength(String, u8),
    /// Bits after the length.
    #[error("{0:?} has bits set after its length; the prefix is {1}")]
    HostBits(String, IpNet),
    /// The lengths make no sense.
    #[error("{0:?} holds for nothing: from {1} on, lengths go up to {2}, the smaller first")]
    Lengths(String, u8, u8),
}

impl FromStr for PrefixRange {
    type Err = PrefixError;

    /// As shown, and as routing registries write it: `/24^+`, `/24^-`, `/24^26`, `/24^25-28` (RFC 2622 2).
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let shape = || PrefixError::Shape(s.to_owned());
        let text = s.trim();
        let (prefix, rest) = match text.find(|c: char| c.is_ascii_whitespace() || c == '^') {
            Some(at) => (&text[..at], text[at..].trim_start()),
            None => (text, ""),
        };
        let net: IpNet = prefix.parse().map_err(|_| match prefix.parse::<IpAddr>() {
            Ok(a) => PrefixError::NoLength(prefix.to_owned(), if a.is_ipv4() { 32 } else { 128 }),
            Err(_) => shape(),
        })?;
        if net.trunc() != net {
            return Err(PrefixError::HostBits(prefix.to_owned(), net.trunc()));
        }
        let (len, most) = (net.prefix_len(), net.max_prefix_len());
        let (min, max) = if rest.is_empty() {
            (len, len)
        } else if let Some(operator) = rest.strip_prefix('^') {
            registry(operator.trim(), len, most).ok_or_else(shape)?
        } else {
            words(rest, len, most).ok_or_else(shape)?
        };
        Self::new(net, min, max).ok_or_else(|| PrefixError::Lengths(s.to_owned(), len, most))
    }
}

/// `ge A`, `le B`, `ge A le B`.
fn words(rest: &str, len: u8, most: u8) -> Option<(u8, u8)> {
    let mut words = rest.split_ascii_whitespace();
    let (mut min, mut max) = (None, None);
    while let Some(word) = words.next() {
        let slot = match word {
            "ge" => &mut min,
            "le" => &mut max,
            _ => return None,
        };
        if slot.replace(words.next()?.parse().ok()?).is_some() {
            return None;
        }
    }
    Some((min.unwrap_or(len), max.unwrap_or(most)))
}

/// RFC 2622 2: `+` with the prefix itself, `-` without, `n`, `n-m`.
fn registry(operator: &str, len: u8, most: u8) -> Option<(u8, u8)> {
    match operator {
        "+" => Some((len, most)),
        "-" => Some((len + 1, most)),
        _ => {
            let (a, b) = operator.split_once('-').unwrap_or((operator, operator));
            Some((a.parse().ok()?, b.parse().ok()?))
        }
    }
}

/// Keys of a node.
const NODE: usize = 16;

/// What bounds are: addresses as numbers, as short as the set allows.
trait Bound: Copy + Ord + fmt::Debug {
    const MAX: Self;
}

impl Bound for u32 {
    const MAX: Self = Self::MAX;
}

impl Bound for u64 {
    const MAX: Self = Self::MAX;
}

impl Bound for u128 {
    const MAX: Self = Self::MAX;
}

/// Sorted bounds as a static B-tree. The first bound is the least key there is, so every key has one that is not above it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree<K> {
    /// From the leaves to the root; a level has the first key of each node of the one below. Padded with the greatest key.
    levels: Vec<Vec<[K; NODE]>>,
    /// Bounds in the leaves.
    len: usize,
}

impl<K: Bound> Tree<K> {
    fn new(bounds: &[K]) -> Self {
        let mut levels = Vec::new();
        let mut keys = bounds.to_vec();
        loop {
            let nodes: Vec<[K; NODE]> = keys
                .chunks(NODE)
                .map(|part| std::array::from_fn(|i| part.get(i).copied().unwrap_or(K::MAX)))
                .collect();
            keys = nodes.iter().map(|node| node[0]).collect();
            let done = nodes.len() <= 1;
            levels.push(nodes);
            if done {
                break;
            }
        }
        Self {
            levels,
            len: bounds.len(),
        }
    }

    /// The place of the last bound that is not above `key`. There must be a bound.
    fn place(&self, key: K) -> usize {
        let mut at = 0;
        for level in self.levels.iter().rev() {
            // Padding is the greatest key: a search for that key may count it, and is brought back to the last node.
            let node = &level[at.min(level.len() - 1)];
            let below: usize = node.iter().map(|k| usize::from(*k <= key)).sum();
            at = at.min(level.len() - 1) * NODE + below.max(1) - 1;
        }
        at.min(self.len - 1)
    }

    fn bytes(&self) -> usize {
        self.levels.iter().map(|l| size_of_val(&l[..])).sum()
    }
}

/// Numbers of sets of lengths, as short as their count allows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Numbers {
    Short(Box<[u8]>),
    Long(Box<[u32]>),
}

impl Numbers {
    fn get(&self, at: usize) -> usize {
        match self {
            Self::Short(all) => usize::from(all[at]),
            Self::Long(all) => all[at] as usize,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Short(all) => all.len(),
            Self::Long(all) => size_of_val(&all[..]),
        }
    }
}

/// The addresses of one family: bounds, and for each the lengths that are accepted from there on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ranges<K> {
    tree: Tree<K>,
    numbers: Numbers,
    /// Sets of lengths. Bit n: length n. Length 128 has no bit, see `Lengths`.
    lengths: Box<[Lengths]>,
}

/// A set of prefix lengths from 0 to 128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Lengths {
    bits: u128,
    /// 128 itself.
    host: bool,
}

impl Lengths {
    fn range(min: u8, max: u8) -> Self {
        let upto = |n: u8| 1_u128.checked_shl(n.into()).map_or(u128::MAX, |b| b - 1);
        Self {
            bits: upto(max.saturating_add(1)) & !upto(min),
            host: max == 128,
        }
    }

    fn union(self, other: Self) -> Self {
        Self {
            bits: self.bits | other.bits,
            host: self.host | other.host,
        }
    }

    fn contains(self, len: u8) -> bool {
        match 1_u128.checked_shl(len.into()) {
            Some(bit) => self.bits & bit != 0,
            None => self.host,
        }
    }
}

/// The steps of the function from addresses to lengths: (from this address on, these).
fn steps(entries: &[PrefixRange]) -> Vec<(u128, Lengths)> {
    let mut out: Vec<(u128, Lengths)> = vec![(0, Lengths::default())];
    let mut put = |at: u128, lengths: Lengths| {
        if let Some(last) = out.last_mut()
            && last.0 == at
        {
            last.1 = lengths;
            return;
        }
        out.push((at, lengths));
    };
    // What we are within: the last address, and what is accepted there. Prefixes nest or are apart.
    let mut open: Vec<(u128, Lengths)> = Vec::new();
    let accepted = |open: &[(u128, Lengths)]| open.last().map(|o| o.1).unwrap_or_default();
    for entry in entries {
        let (first, last) = ends(&entry.prefix);
        while let Some((end, _)) = open.last().copied().filter(|(end, _)| *end < first) {
            open.pop();
            put(end + 1, accepted(&open));
        }
        let lengths = accepted(&open).union(Lengths::range(entry.min, entry.max));
        put(first, lengths);
        open.push((last, lengths));
    }
    while let Some((end, _)) = open.pop() {
        if let Some(next) = end.checked_add(1) {
            put(next, accepted(&open));
        }
    }
    out.dedup_by(|next, before| next.1 == before.1);
    out
}

/// First and last address as numbers, on the left of 128 bits.
fn ends(p: &IpNet) -> (u128, u128) {
    let first = number(p.network());
    let host = u128::MAX.checked_shr(p.prefix_len().into()).unwrap_or(0);
    (first, first | host)
}

fn number(a: IpAddr) -> u128 {
    match a {
        IpAddr::V4(a) => u128::from(u32::from(a)) << 96,
        IpAddr::V6(a) => a.into(),
    }
}

impl<K: Bound> Ranges<K> {
    fn new(steps: &[(u128, Lengths)], key: impl Fn(u128) -> K) -> Self {
        let bounds: Vec<K> = steps.iter().map(|(at, _)| key(*at)).collect();
        let mut known: HashMap<Lengths, u32> = HashMap::new();
        let mut lengths = Vec::new();
        let numbers: Vec<u32> = steps
            .iter()
            .map(|(_, these)| {
                *known.entry(*these).or_insert_with(|| {
                    lengths.push(*these);
                    lengths.len() as u32 - 1
                })
            })
            .collect();
        let short: Result<Box<[u8]>, _> = numbers.iter().map(|n| u8::try_from(*n)).collect();
        Self {
            tree: Tree::new(&bounds),
            numbers: short.map_or_else(|_| Numbers::Long(numbers.into()), Numbers::Short),
            lengths: lengths.into(),
        }
    }

    fn contains(&self, key: K, len: u8) -> bool {
        self.lengths[self.numbers.get(self.tree.place(key))].contains(len)
    }

    fn bytes(&self) -> usize {
        self.tree.bytes() + self.numbers.bytes() + size_of_val(&self.lengths[..])
    }
}

/// IPv6, with bounds of 64 bits where no entry is within a /64.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Six {
    Short(Ranges<u64>),
    Long(Ranges<u128>),
}

/// A set of prefixes of both families. Two that hold for the same prefixes are equal, however they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixSet {
    four: Ranges<u32>,
    six: Six,
}

impl PrefixSet {
    /// The set of everything that one of the entries holds for. Sorts them.
    #[must_use]
    pub fn new(mut entries: Vec<PrefixRange>) -> Self {
        entries.sort_unstable_by(PrefixRange::order);
        let split = entries.partition_point(|e| e.prefix.addr().is_ipv4());
        let (four, six) = entries.split_at(split);
        let six = steps(six);
        Self {
            four: Ranges::new(&steps(four), |at| (at >> 96) as u32),
            six: if six.iter().all(|(at, _)| *at as u64 == 0) {
                Six::Short(Ranges::new(&six, |at| (at >> 64) as u64))
            } else {
                Six::Long(Ranges::new(&six, |at| at))
            },
        }
    }

    /// Is that prefix in it?
    #[must_use]
    pub fn contains(&self, p: &IpNet) -> bool {
        let len = p.prefix_len();
        match (p, &self.six) {
            (IpNet::V4(p), _) => self.four.contains(p.network().into(), len),
            (IpNet::V6(p), Six::Short(six)) => {
                six.contains((u128::from(p.network()) >> 64) as u64, len)
            }
            (IpNet::V6(p), Six::Long(six)) => six.contains(p.network().into(), len),
        }
    }

    /// Octets of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let six = match &self.six {
            Six::Short(six) => six.bytes(),
            Six::Long(six) => six.bytes(),
        };
        self.four.bytes() + six
    }
}

impl FromIterator<PrefixRange> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = PrefixRange>>(entries: I) -> Self {
        Self::new(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(s: &str) -> Result<PrefixRange, PrefixError> {
        s.parse()
    }

    #[test]
    fn ranges_are_shown_as_they_are_read() {
        for s in [
            "203.0.113.0/24",
            "203.0.113.0/24 le 28",
            "203.0.113.0/24 ge 25",
            "203.0.113.0/24 le 32",
            "0.0.0.0/0 le 32",
            "2001:db8::/32 ge 40 le 48",
            "::/0",
            "::/0 ge 128",
        ] {
            assert_eq!(range(s).unwrap().to_string(), s);
        }
        for (s, same) in [
            ("203.0.113.0/24^+", "203.0.113.0/24 le 32"),
            ("203.0.113.0/24^-", "203.0.113.0/24 ge 25"),
            ("203.0.113.0/24^26", "203.0.113.0/24 ge 26 le 26"),
            ("203.0.113.0/24 ^25-28", "203.0.113.0/24 ge 25 le 28"),
            (" 203.0.113.0/24 le 28 ge 26 ", "203.0.113.0/24 ge 26 le 28"),
            ("203.0.113.0/24 ge 24 le 24", "203.0.113.0/24"),
        ] {
            assert_eq!(range(s).unwrap(), range(same).unwrap());
            assert_eq!(range(same).unwrap().to_string().parse(), range(s));
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_what_would_be() {
        for (s, part) in [
            ("", "no prefix such as"),
            ("203.0.113.0", "write \"203.0.113.0/32\""),
            ("2001:db8::1", "write \"2001:db8::1/128\""),
            ("203.0.113.1/24", "the prefix is 203.0.113.0/24"),
            ("203.0.113.0/33", "no prefix such as"),
            ("203.0.113.0/24 le 23", "from 24 on, lengths go up to 32"),
            ("203.0.113.0/24 ge 28 le 26", "the smaller first"),
            ("203.0.113.0/24 le 33", "go up to 32"),
            ("203.0.113.0/24 le", "no prefix such as"),
            ("203.0.113.0/24 le 26 le 27", "no prefix such as"),
            ("203.0.113.0/24^", "no prefix such as"),
            ("203.0.113.0/32^-", "go up to 32"),
            ("::/128^-", "go up to 128"),
            ("203.0.113.0/24 upto 25", "no prefix such as"),
        ] {
            let error = range(s).unwrap_err().to_string();
            assert!(error.contains(part), "{s}: {error}");
        }
    }

    /// Prefixes that nest and touch: few bits in few places, at both ends of the space.
    fn prefix() -> impl Strategy<Value = IpNet> {
        let four = (
            any::<u32>(),
            prop::sample::select(vec![0, 0xffff_0000, 0x0a00_0000]),
            0u8..=32,
        )
            .prop_map(|(a, high, len)| {
                let a = high | (a & 0x0000_0303) | (a & 0x0300_0000 & !high);
                IpNet::new(IpAddr::V4(a.into()), len).unwrap().trunc()
            });
        let six = (
            any::<u128>(),
            prop::sample::select(vec![0, u128::MAX << 64, 0x2001_0db8 << 96]),
            0u8..=128,
        )
            .prop_map(|(a, high, len)| {
                let a = high | (a & (0x3 << 62 | 0x3 << 64 | 0x3 << 125 | 3));
                IpNet::new(IpAddr::V6(a.into()), len).unwrap().trunc()
            });
        prop_oneof![four, six]
    }

    fn entry() -> impl Strategy<Value = PrefixRange> {
        (prefix(), any::<(u8, u8)>(), 0..3).prop_map(|(prefix, (a, b), kind)| {
            let (len, most) = (prefix.prefix_len(), prefix.max_prefix_len());
            let within = |x: u8| len + (u32::from(x) * u32::from(most - len) / 255) as u8;
            match kind {
                0 => PrefixRange::exact(prefix),
                1 => PrefixRange::new(prefix, len, within(b)).unwrap(),
                _ => PrefixRange::new(prefix, within(a.min(b)), within(a.max(b))).unwrap(),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn a_set_is_the_union_of_its_entries(
            entries in prop::collection::vec(entry(), 0..40), asked in prop::collection::vec(prefix(), 40),
        ) {
            let set = PrefixSet::new(entries.clone());
            let bounds = entries.iter().map(|e| e.prefix);
            for p in asked.iter().copied().chain(bounds) {
                let want = entries.iter().any(|e| e.contains(&p));
                prop_assert_eq!(set.contains(&p), want, "{} in {:?}", p, entries);
            }
            let mut other = entries.clone();
            other.reverse();
            other.extend(entries.first());
            prop_assert_eq!(PrefixSet::new(other), set);
        }

        #[test]
        fn what_is_shown_is_read(entry in entry()) {
            prop_assert_eq!(entry.to_string().parse(), Ok(entry));
        }

        #[test]
        fn trees_find_the_last_bound_not_above(
            bounds in prop::collection::btree_set(any::<u16>(), 0..3000), keys in prop::collection::vec(any::<u16>(), 20),
            top in any::<bool>(),
        ) {
            let wide = |b: u16| u64::from(b) * 0x0001_0001_0001_0001;
            let mut all: Vec<u64> = std::iter::once(0).chain(bounds.into_iter().map(wide)).collect();
            if top {
                all.push(u64::MAX);
            }
            all.dedup();
            let tree = Tree::new(&all);
            for key in keys.into_iter().map(wide).chain([0, 1, u64::MAX]) {
                prop_assert_eq!(tree.place(key), all.partition_point(|b| *b <= key) - 1);
            }
        }
    }
}
