//! Validated ROA payloads of several caches, and origin validation over them: RFC 6811 2.
//!
//! A hash table by prefix for each family, a slot for each payload: payloads of one prefix are neighbours in it. A route
//! asks for each length of prefix that could cover it, and which those are is known for each 65,536th of the address
//! space (and, for IPv6 beyond /32, by a filter over the first 32 bits): four or five places where all of the Internet's
//! payloads are there. Each slot says which caches announce its payload; it counts while one does.
//!
//! A whole new set of a cache is staged beside the old one, in the same slots, and takes its place at once: nothing is
//! ever missing in between, and what differs is known.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::types::Asn;

use super::Validity;

/// A validated ROA payload: this AS may originate this prefix and what is within, to that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrp {
    /// Without bits after its length.
    pub prefix: IpNet,
    /// From the prefix's own length to 32 or 128.
    pub max_len: u8,
    /// AS 0: nobody may (RFC 7607).
    pub asn: Asn,
}

/// One of at most [`CacheId::MOST`] caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheId(u8);

impl CacheId {
    /// So many caches there may be.
    pub const MOST: usize = 8;

    /// `None` from [`CacheId::MOST`] on.
    #[must_use]
    pub fn new(nth: usize) -> Option<Self> {
        (nth < Self::MOST).then_some(Self(nth as u8))
    }

    /// Counted from 0.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }

    fn bit(self) -> u8 {
        1 << self.0
    }
}

/// Routes to be validated again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Those within these prefixes; none of them is within another.
    Within(Vec<IpNet>),
    /// All: too much changed to go by prefixes.
    All,
}

impl Changes {
    /// From so many prefixes on it is all.
    const MOST: usize = 4096;

    /// True: none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::Within(Vec::new())
    }

    fn add(&mut self, prefix: IpNet) {
        match self {
            Self::Within(all) if all.last() == Some(&prefix) => {}
            Self::Within(all) if all.len() < Self::MOST => all.push(prefix),
            _ => *self = Self::All,
        }
    }

    fn tidy(mut self) -> Self {
        if let Self::Within(all) = &mut self {
            all.sort_unstable();
            all.dedup_by(|next, before| before.contains(&*next));
        }
        self
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::Within(Vec::new())
    }
}

/// Addresses as kept in slots; elsewhere they are on the left of 128 bits.
trait Key: Copy + Eq {
    fn new(n: u128) -> Self;
    fn number(self) -> u128;
    fn net(self, len: u8) -> IpNet;
}

impl Key for u32 {
    fn new(n: u128) -> Self {
        (n >> 96) as Self
    }

    fn number(self) -> u128 {
        u128::from(self) << 96
    }

    fn net(self, len: u8) -> IpNet {
        let address = IpAddr::V4(self.into());
        IpNet::new(address, len).unwrap_or_else(|_| address.into())
    }
}

/// Four words, so that a slot is aligned to four octets.
impl Key for [u32; 4] {
    fn new(n: u128) -> Self {
        std::array::from_fn(|i| (n >> (96 - 32 * i)) as u32)
    }

    fn number(self) -> u128 {
        self.iter().fold(0, |n, w| n << 32 | u128::from(*w))
    }

    fn net(self, len: u8) -> IpNet {
        let address = IpAddr::V6(self.number().into());
        IpNet::new(address, len).unwrap_or_else(|_| address.into())
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot<K> {
    key: K,
    asn: Asn,
    len: u8,
    max_len: u8,
    /// Caches that announce it.
    live: u8,
    /// Caches whose next whole set has it.
    staged: u8,
}

impl<K: Key> Slot<K> {
    fn is_free(&self) -> bool {
        self.live | self.staged == 0
    }

    fn same(&self, other: &Self) -> bool {
        (self.key, self.len, self.max_len, self.asn)
            == (other.key, other.len, other.max_len, other.asn)
    }
}

const _: () = assert!(size_of::<Slot<u32>>() == 12 && size_of::<Slot<[u32; 4]>>() == 24);

/// The payloads of one family.
#[derive(Clone, Debug)]
struct Half<K> {
    slots: Vec<Slot<K>>,
    used: usize,
    /// Slots whose payload counts.
    live: usize,
    seed: [u64; 2],
    /// Bit n - 1: a payload of length n, up to 32, covers or is within that 65,536th. May say so when it is gone.
    near: Vec<u32>,
    /// Bit n - 33: a payload of length n, up to 64, whose first 32 bits have this hash.
    far: Vec<u32>,
    /// Bit n: a payload of length n, 0 or above 64, somewhere.
    rare: u128,
}

fn number(a: IpAddr) -> u128 {
    match a {
        IpAddr::V4(a) => u128::from(u32::from(a)) << 96,
        IpAddr::V6(a) => a.into(),
    }
}

fn mask(n: u128, len: u8) -> u128 {
    n & !u128::MAX.checked_shr(len.into()).unwrap_or(0)
}

fn far(n: u128) -> usize {
    (((n >> 96) as u32).wrapping_mul(0x9e37_79b1) >> 16) as usize
}

impl<K: Key> Half<K> {
    fn new() -> Self {
        let random = RandomState::new();
        Self {
            slots: Vec::new(),
            used: 0,
            live: 0,
            seed: [random.hash_one(1), random.hash_one(2) | 1],
            near: Vec::new(),
            far: Vec::new(),
            rare: 0,
        }
    }

    /// Where the payloads of a prefix begin. `slots` is not empty, its length a power of two.
    fn home(&self, n: u128, len: u8) -> usize {
        let word = (n >> 64) as u64 ^ (n as u64).rotate_left(31) ^ u64::from(len) << 1;
        let product = u128::from(word ^ self.seed[0]) * u128::from(self.seed[1]);
        let hash = (product >> 64) as u64 ^ product as u64;
        hash as usize & (self.slots.len() - 1)
    }

    /// The slot of a payload, or the free one where it would be.
    fn find(&self, want: &Slot<K>) -> usize {
        let mut at = self.home(want.key.number(), want.len);
        while !self.slots[at].is_free() && !self.slots[at].same(want) {
            at = (at + 1) & (self.slots.len() - 1);
        }
        at
    }

    /// The slot of a payload, made if there is none.
    fn slot(&mut self, want: &Slot<K>) -> &mut Slot<K> {
        if self.slots.len() * 3 <= self.used * 4 {
            self.rebuild((self.slots.len() * 2).max(64), want);
        }
        let at = self.find(want);
        if self.slots[at].is_free() {
            self.slots[at] = *want;
            self.used += 1;
            self.mark(want.key.number(), want.len);
        }
        &mut self.slots[at]
    }

    fn rebuild(&mut self, len: usize, example: &Slot<K>) {
        let free = Slot {
            live: 0,
            staged: 0,
            ..*example
        };
        let old = std::mem::replace(&mut self.slots, vec![free; len]);
        self.near = vec![0; 1 << 16];
        self.far = vec![0; if size_of::<K>() > 4 { 1 << 16 } else { 0 }];
        self.rare = 0;
        for slot in old.iter().filter(|s| !s.is_free()) {
            let at = self.find(slot);
            self.slots[at] = *slot;
            self.mark(slot.key.number(), slot.len);
        }
    }

    /// Notes that there is a payload of that prefix.
    fn mark(&mut self, n: u128, len: u8) {
        match len {
            1..=32 => {
                let first = (n >> 112) as usize;
                let places = 1 << 16_u8.saturating_sub(len);
                for near in &mut self.near[first..first + places] {
                    *near |= 1 << (len - 1);
                }
            }
            33..=64 => self.far[far(n)] |= 1 << (len - 33),
            _ => self.rare |= 1_u128.checked_shl(len.into()).unwrap_or(1 << 127),
        }
    }

    /// Takes an empty slot out of its chain: those behind it move up (Knuth, vol. 3, 6.4, algorithm R).
    fn free(&mut self, at: usize) {
        let last = self.slots.len() - 1;
        let (mut hole, mut next) = (at, at);
        loop {
            next = (next + 1) & last;
            let slot = self.slots[next];
            if slot.is_free() {
                break;
            }
            let home = self.home(slot.key.number(), slot.len);
            // It may move if its home is not between the hole and itself.
            if (next.wrapping_sub(home) & last) >= (next.wrapping_sub(hole) & last) {
                self.slots[hole] = slot;
                hole = next;
            }
        }
        let slot = &mut self.slots[hole];
        (slot.live, slot.staged) = (0, 0);
        self.used -= 1;
    }

    /// Sets a cache's bit; true: the payload counts from now on.
    fn announce(&mut self, want: &Slot<K>, bit: u8) -> bool {
        let slot = self.slot(&Slot {
            live: 0,
            staged: bit,
            ..*want
        });
        // A new slot must not look free while it is filled: it came staged, and that is taken back.
        let new = slot.live == 0;
        slot.live |= bit;
        slot.staged &= !bit;
        self.live += usize::from(new);
        new
    }

    /// Takes a cache's bit away: `None` if it was not there; true: the payload does not count any more.
    fn withdraw(&mut self, want: &Slot<K>, bit: u8) -> Option<bool> {
        if self.slots.is_empty() {
            return None;
        }
        let at = self.find(want);
        let slot = &mut self.slots[at];
        if slot.live & bit == 0 {
            return None;
        }
        slot.live &= !bit;
        let gone = slot.live == 0;
        self.live -= usize::from(gone);
        if slot.is_free() {
            // For a moment not free, so that the chain holds while it is closed.
            slot.staged = bit;
            self.free(at);
        }
        Some(gone)
    }

    /// Notes that a cache's next whole set has it; false: it was noted already.
    fn stage(&mut self, want: &Slot<K>, bit: u8) -> bool {
        let used = self.used;
        let slot = self.slot(&Slot {
            live: 0,
            staged: bit,
            ..*want
        });
        let new = slot.staged & bit == 0;
        slot.staged |= bit;
        new || self.used > used
    }

    /// Puts what `take` makes of each slot in its place: the new (live, staged).
    fn sweep(&mut self, changes: &mut Changes, take: impl Fn(&Slot<K>) -> (u8, u8)) {
        let mut left = 0;
        for slot in self.slots.iter_mut().filter(|s| !s.is_free()) {
            let (live, staged) = take(slot);
            if (live == 0) != (slot.live == 0) {
                changes.add(slot.key.net(slot.len));
                self.live = if live == 0 {
                    self.live - 1
                } else {
                    self.live + 1
                };
            }
            (slot.live, slot.staged) = (live, staged);
            left += usize::from(!slot.is_free());
        }
        if left == self.used {
            return;
        }
        // Slots became free in the middle of chains: all of them are laid out anew, in as much room as they need.
        self.used = left;
        let len = (left * 3 / 2).next_power_of_two().max(64);
        if let Some(example) = self.slots.first().copied() {
            self.rebuild(len, &example);
        }
    }

    fn validate(&self, n: u128, len: u8, origin: Option<Asn>) -> Validity {
        if self.live == 0 {
            return Validity::NotFound;
        }
        let mut covered = false;
        let mut allows = |by: u8| {
            let key = K::new(mask(n, by));
            let mut at = self.home(key.number(), by);
            loop {
                let slot = &self.slots[at];
                if slot.is_free() {
                    return false;
                }
                if slot.live != 0 && slot.key == key && slot.len == by {
                    covered = true;
                    if len <= slot.max_len && origin == Some(slot.asn) && !slot.asn.is_zero() {
                        return true;
                    }
                }
                at = (at + 1) & (self.slots.len() - 1);
            }
        };
        let near = self.near[(n >> 112) as usize];
        let within = |bits: u32, below: u8| bits & ((1_u64 << below) - 1) as u32;
        let mut bits = within(near, len.min(32));
        while bits != 0 {
            if allows(32 - bits.leading_zeros() as u8) {
                return Validity::Valid;
            }
            bits &= !(1 << (31 - bits.leading_zeros()));
        }
        if len > 32 && !self.far.is_empty() {
            let mut bits = within(self.far[far(n)], (len - 32).min(32));
            while bits != 0 {
                if allows(33 + bits.trailing_zeros() as u8) {
                    return Validity::Valid;
                }
                bits &= bits - 1;
            }
        }
        let mut bits = self.rare;
        while bits != 0 {
            let by = match bits.trailing_zeros() as u8 {
                // 127 and 128 share the last bit.
                127 => 127..=128,
                by => by..=by,
            };
            if by.into_iter().any(|by| by <= len && allows(by)) {
                return Validity::Valid;
            }
            bits &= bits - 1;
        }
        match covered {
            true => Validity::Invalid,
            false => Validity::NotFound,
        }
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.slots[..]) + size_of_val(&self.near[..]) + size_of_val(&self.far[..])
    }
}

fn slot<K: Key>(v: &Vrp) -> Slot<K> {
    Slot {
        key: K::new(number(v.prefix.network())),
        asn: v.asn,
        len: v.prefix.prefix_len(),
        max_len: v.max_len,
        live: 0,
        staged: 0,
    }
}

/// The payloads of all caches.
#[derive(Clone, Debug)]
pub struct RoaTable {
    four: Half<u32>,
    six: Half<[u32; 4]>,
}

impl Default for RoaTable {
    fn default() -> Self {
        Self::new()
    }
}

impl RoaTable {
    /// Without any: every route is not-found.
    #[must_use]
    pub fn new() -> Self {
        Self {
            four: Half::new(),
            six: Half::new(),
        }
    }

    /// What is to be said about a route to `prefix` that originates in `origin` ([`super::route_origin`]).
    #[must_use]
    pub fn validate(&self, prefix: &IpNet, origin: Option<Asn>) -> Validity {
        let (n, len) = (number(prefix.network()), prefix.prefix_len());
        match prefix {
            IpNet::V4(_) => self.four.validate(n, len, origin),
            IpNet::V6(_) => self.six.validate(n, len, origin),
        }
    }

    /// A cache announces a payload. The routes within its prefix may have changed.
    pub fn announce(&mut self, cache: CacheId, v: &Vrp, changes: &mut Changes) {
        let new = match v.prefix {
            IpNet::V4(_) => self.four.announce(&slot(v), cache.bit()),
            IpNet::V6(_) => self.six.announce(&slot(v), cache.bit()),
        };
        if new {
            changes.add(v.prefix);
        }
    }

    /// A cache withdraws a payload; false: it never announced it.
    pub fn withdraw(&mut self, cache: CacheId, v: &Vrp, changes: &mut Changes) -> bool {
        let gone = match v.prefix {
            IpNet::V4(_) => self.four.withdraw(&slot(v), cache.bit()),
            IpNet::V6(_) => self.six.withdraw(&slot(v), cache.bit()),
        };
        if gone == Some(true) {
            changes.add(v.prefix);
        }
        gone.is_some()
    }

    /// Is it announced by that cache?
    #[must_use]
    pub fn has(&self, cache: CacheId, v: &Vrp) -> bool {
        fn has<K: Key>(half: &Half<K>, want: &Slot<K>, bit: u8) -> bool {
            !half.slots.is_empty() && half.slots[half.find(want)].live & bit != 0
        }
        match v.prefix {
            IpNet::V4(_) => has(&self.four, &slot(v), cache.bit()),
            IpNet::V6(_) => has(&self.six, &slot(v), cache.bit()),
        }
    }

    /// Puts a payload into the next whole set of a cache, which counts from [`RoaTable::commit`] on; false: it is there
    /// already.
    pub fn stage(&mut self, cache: CacheId, v: &Vrp) -> bool {
        match v.prefix {
            IpNet::V4(_) => self.four.stage(&slot(v), cache.bit()),
            IpNet::V6(_) => self.six.stage(&slot(v), cache.bit()),
        }
    }

    /// The set that was staged takes the place of what the cache had announced.
    pub fn commit(&mut self, cache: CacheId) -> Changes {
        let bit = cache.bit();
        self.sweep(|live, staged| ((live & !bit) | (staged & bit), staged & !bit))
    }

    /// The set that was staged is thrown away.
    pub fn abort(&mut self, cache: CacheId) {
        let bit = cache.bit();
        self.sweep(|live, staged| (live, staged & !bit));
    }

    /// Everything of a cache is thrown away.
    pub fn forget(&mut self, cache: CacheId) -> Changes {
        let bit = cache.bit();
        self.sweep(|live, staged| (live & !bit, staged & !bit))
    }

    fn sweep(&mut self, take: impl Fn(u8, u8) -> (u8, u8)) -> Changes {
        let mut changes = Changes::default();
        self.four.sweep(&mut changes, |s| take(s.live, s.staged));
        self.six.sweep(&mut changes, |s| take(s.live, s.staged));
        changes.tidy()
    }

    /// Payloads that count, of both families.
    #[must_use]
    pub fn len(&self) -> usize {
        self.four.live + self.six.live
    }

    /// True: none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Payloads that one cache announces, IPv4 and IPv6. Looks at all.
    #[must_use]
    pub fn count(&self, cache: CacheId) -> (usize, usize) {
        fn count<K>(half: &Half<K>, bit: u8) -> usize {
            half.slots.iter().filter(|s| s.live & bit != 0).count()
        }
        (
            count(&self.four, cache.bit()),
            count(&self.six, cache.bit()),
        )
    }

    /// The payloads that count, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Vrp> {
        fn each<K: Key>(half: &Half<K>) -> impl Iterator<Item = Vrp> {
            half.slots.iter().filter(|s| s.live != 0).map(|s| Vrp {
                prefix: s.key.net(s.len),
                max_len: s.max_len,
                asn: s.asn,
            })
        }
        each(&self.four).chain(each(&self.six))
    }

    /// The payloads that cover a prefix, in no order: why its routes are valid or not. Looks at all.
    pub fn covering(&self, prefix: IpNet) -> impl Iterator<Item = Vrp> {
        self.iter().filter(move |v| v.prefix.contains(&prefix))
    }

    /// Octets of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.four.bytes() + self.six.bytes()
    }
}

/// Tidies what was gathered by [`RoaTable::announce`] and [`RoaTable::withdraw`].
pub(super) fn tidy(changes: Changes) -> Changes {
    changes.tidy()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn vrp(s: &str, max_len: u8, asn: u32) -> Vrp {
        Vrp {
            prefix: s.parse().unwrap(),
            max_len,
            asn: Asn(asn),
        }
    }

    /// RFC 6811 2, word for word.
    fn oracle<'v>(all: impl Iterator<Item = &'v Vrp>, p: &IpNet, origin: Option<Asn>) -> Validity {
        let covering: Vec<&Vrp> = all.filter(|v| v.prefix.contains(p)).collect();
        let matches =
            |v: &&Vrp| p.prefix_len() <= v.max_len && v.asn != Asn(0) && Some(v.asn) == origin;
        match () {
            () if covering.is_empty() => Validity::NotFound,
            () if covering.iter().any(matches) => Validity::Valid,
            () => Validity::Invalid,
        }
    }

    #[test]
    fn validation_by_example() {
        let mut t = RoaTable::new();
        let cache = CacheId::new(0).unwrap();
        let mut changes = Changes::default();
        for v in [
            vrp("10.0.0.0/8", 16, 1),
            vrp("10.1.0.0/16", 24, 2),
            vrp("192.0.2.0/24", 24, 0),
            vrp("2001:db8::/32", 48, 3),
            vrp("::1/128", 128, 4),
            vrp("::2/127", 127, 4),
        ] {
            t.announce(cache, &v, &mut changes);
        }
        use Validity::{Invalid, NotFound, Valid};
        for (p, asn, want) in [
            ("10.0.0.0/8", 1, Valid),
            ("10.0.0.0/16", 1, Valid),
            ("10.0.0.0/17", 1, Invalid),
            ("10.1.0.0/24", 2, Valid),
            ("10.1.0.0/16", 1, Valid),
            ("10.1.0.0/24", 3, Invalid),
            ("11.0.0.0/8", 1, NotFound),
            ("8.0.0.0/6", 1, NotFound),
            ("192.0.2.0/24", 0, Invalid),
            ("2001:db8:1::/48", 3, Valid),
            ("2001:db8:1::/49", 3, Invalid),
            ("::1/128", 4, Valid),
            ("::2/127", 4, Valid),
            ("::3/128", 4, Invalid),
            ("0.0.0.0/0", 1, NotFound),
        ] {
            let p: IpNet = p.parse().unwrap();
            assert_eq!(t.validate(&p, Some(Asn(asn))), want, "{p} {asn}");
        }
        let p = "10.0.0.0/8".parse().unwrap();
        assert_eq!(t.validate(&p, None), Invalid, "an AS_SET is no origin");
        assert_eq!(t.covering("10.1.2.0/24".parse().unwrap()).count(), 2);
        assert_eq!((t.len(), t.count(cache)), (6, (3, 3)));
    }

    fn some_vrp() -> impl Strategy<Value = Vrp> {
        let four = (0u32..4, 0u32..4, 0u8..=32).prop_map(|(a, b, len)| {
            let a = 0x0a00_0000 | a << 16 | a << 30 | b << 8 | b;
            IpNet::new(IpAddr::V4(a.into()), len).unwrap().trunc()
        });
        let six = (0u128..4, 0u128..4, 0u8..=128).prop_map(|(a, b, len)| {
            let a = 0x2001 << 112 | a << 94 | b << 62 | a;
            IpNet::new(IpAddr::V6(a.into()), len).unwrap().trunc()
        });
        (prop_oneof![four, six], 0u8..8, 0u32..3).prop_map(|(prefix, more, asn)| Vrp {
            prefix,
            max_len: (prefix.prefix_len() + more).min(prefix.max_prefix_len()),
            asn: Asn(asn),
        })
    }

    #[derive(Clone, Debug)]
    enum Op {
        Announce(usize, Vrp),
        Withdraw(usize, usize),
        Whole(usize, Vec<Vrp>, bool),
        Forget(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let whole = (
            0usize..3,
            prop::collection::vec(some_vrp(), 0..60),
            any::<bool>(),
        );
        prop_oneof![
            12 => (0usize..3, some_vrp()).prop_map(|(c, v)| Op::Announce(c, v)),
            6 => (0usize..3, any::<usize>()).prop_map(|(c, at)| Op::Withdraw(c, at)),
            2 => whole.prop_map(|(c, all, keep)| Op::Whole(c, all, keep)),
            1 => (0usize..3).prop_map(Op::Forget),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn the_table_is_what_the_caches_said(
            ops in prop::collection::vec(op(), 0..80), asked in prop::collection::vec(some_vrp(), 30),
        ) {
            let mut t = RoaTable::new();
            let mut caches: Vec<BTreeSet<Vrp>> = vec![BTreeSet::new(); 3];
            let union = |caches: &[BTreeSet<Vrp>]| caches.iter().flatten().copied().collect::<BTreeSet<Vrp>>();
            for op in ops {
                let before = union(&caches);
                let mut changes = Changes::default();
                match op {
                    Op::Announce(c, v) => {
                        t.announce(CacheId::new(c).unwrap(), &v, &mut changes);
                        caches[c].insert(v);
                    }
                    Op::Withdraw(c, at) => {
                        let id = CacheId::new(c).unwrap();
                        let v = caches[c].iter().nth(at % caches[c].len().max(1)).copied();
                        let Some(v) = v else { continue };
                        prop_assert!(t.has(id, &v));
                        prop_assert!(t.withdraw(id, &v, &mut changes));
                        prop_assert!(!t.withdraw(id, &v, &mut changes));
                        caches[c].remove(&v);
                    }
                    Op::Whole(c, all, keep) => {
                        let id = CacheId::new(c).unwrap();
                        let mut set = BTreeSet::new();
                        for v in all {
                            prop_assert_eq!(t.stage(id, &v), set.insert(v));
                        }
                        let same: BTreeSet<Vrp> = t.iter().collect();
                        prop_assert_eq!(&same, &union(&caches), "what is staged does not count");
                        if keep {
                            changes = t.commit(id);
                            caches[c] = set;
                        } else {
                            t.abort(id);
                        }
                    }
                    Op::Forget(c) => {
                        changes = t.forget(CacheId::new(c).unwrap());
                        caches[c].clear();
                    }
                }
                let now = union(&caches);
                let found: BTreeSet<Vrp> = t.iter().collect();
                prop_assert_eq!(&found, &now);
                prop_assert_eq!(t.len(), now.len());
                // Whatever changed for anybody is within a prefix that was named.
                let named = match tidy(changes) { Changes::Within(all) => all, Changes::All => vec![] };
                for v in before.symmetric_difference(&now) {
                    prop_assert!(named.iter().any(|n| n.contains(&v.prefix)), "{:?} not in {:?}", v, named);
                }
                for n in &named {
                    prop_assert!(before.symmetric_difference(&now).any(|v| v.prefix == *n));
                }
            }
            let now = union(&caches);
            for q in asked {
                let origin = Some(q.asn).filter(|_| q.max_len % 7 != 0);
                prop_assert_eq!(t.validate(&q.prefix, origin), oracle(now.iter(), &q.prefix, origin), "{:?}", q);
            }
        }
    }
}
