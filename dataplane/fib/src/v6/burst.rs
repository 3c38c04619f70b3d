//! Many lookups at once, without AVX-512: step by step, so that the misses of all overlap.

#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "avx2"))))]
use std::hint::select_unpredictable;

use net::GroupId;

use super::Table6;
use super::node::{self, Entry, INDEX, Kind, PAGE_BITS, WINDOW};
use crate::prefetch::prefetch;

/// Addresses looked up together: as many misses as a core keeps in flight, and a little more.
pub(super) const LANES: usize = 32;

/// A word for each of them.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
pub(super) struct Lanes(pub(super) [u32; LANES]);

/// An address as a caller has it: 16 bytes, of which those of the first 56 bits are taken out by vectors.
pub(crate) trait Address: Copy {
    /// Which of its bytes are the bits 0 to 32, and which the bits 24 to 56, each from the last byte to the first.
    const WORDS: [u8; 8];
    /// The address as an integer.
    fn host(self) -> u128;
    /// Its bits 0 to 32, and 24 to 56.
    #[inline(always)]
    fn bits(self) -> (u32, u32) {
        let addr = self.host();
        (node::key(addr, 0), node::key(addr, INDEX))
    }
}

/// As it is in a frame.
impl Address for [u8; 16] {
    const WORDS: [u8; 8] = [3, 2, 1, 0, 6, 5, 4, 3];

    #[inline(always)]
    fn host(self) -> u128 {
        u128::from_be_bytes(self)
    }
}

impl Address for u128 {
    const WORDS: [u8; 8] = match cfg!(target_endian = "little") {
        true => [12, 13, 14, 15, 9, 10, 11, 12],
        false => [3, 2, 1, 0, 6, 5, 4, 3],
    };

    #[inline(always)]
    fn host(self) -> u128 {
        self
    }
}

impl Table6 {
    /// [`Table6::lookup`] of each address.
    #[inline]
    pub(crate) fn lookup_burst<A: Address>(&self, dst: &[A], out: &mut [GroupId]) {
        #[cfg(target_arch = "x86_64")]
        if self.vector {
            // SAFETY: the CPU was asked when the table was made.
            return unsafe { self.lookup_burst_avx512(dst, out) };
        }
        self.lookup_burst_scalar(dst, out);
    }

    /// [`Table6::lookup_burst`] for every CPU.
    pub(crate) fn lookup_burst_scalar<A: Address>(&self, dst: &[A], out: &mut [GroupId]) {
        for (dst, out) in dst.chunks(LANES).zip(out.chunks_mut(LANES)) {
            let n = dst.len().min(out.len());
            self.lookup_chunk(&dst[..n], &mut out[..n]);
        }
    }

    fn lookup_chunk<A: Address>(&self, dst: &[A], out: &mut [GroupId]) {
        let n = dst.len();
        let (mut entries, mut keys) = (Lanes::default(), Lanes::default());
        for ((dst, entry), key) in dst.iter().zip(&mut entries.0).zip(&mut keys.0) {
            (*entry, *key) = dst.bits();
        }
        #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
        super::avx2::to_trees(self, &mut entries, &mut keys, n);
        #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
        self.to_trees(&mut entries, &mut keys, n);
        let mut rest = 0u64;
        let found = entries.0.iter().map(|&entry| Entry(entry)).zip(&keys.0);
        for (i, ((entry, &key), out)) in found.zip(out.iter_mut()).enumerate() {
            let is_tree = u32::from(entry.is_node()).wrapping_neg();
            // Who names no tree compares with the dummy.
            let leaf = Entry(entry.0 & is_tree).leaf(&self.lines, key);
            let group = self.lines[leaf as usize].narrow(key);
            out.0 = group & is_tree | entry.0 & !is_tree;
            rest |= u64::from(entry.is_more_than_narrow()) << i;
        }
        if rest != 0 {
            self.finish(dst, out, rest, |i| (Entry(entries.0[i]), keys.0[i]));
        }
        for (dst, out) in dst.iter().zip(out) {
            if out.is_none() {
                *out = self.fall_back(dst.host());
            }
        }
    }

    /// Takes so many addresses through the index and the pages: from the bits 0 to 32 of each in `tops`, which become the
    /// entries, and the bits 24 to 56 in `keys`, which become what is left of them.
    #[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "avx2"))))]
    fn to_trees(&self, tops: &mut Lanes, keys: &mut Lanes, n: usize) {
        for top in &mut tops.0[..n] {
            *top = self.index_entry(u128::from(*top) << 96).0;
        }
        let mut steps = 0;
        let mut pages = false;
        // Two steps for all without a branch, which would be taken at random.
        while steps < 2 || pages {
            pages = false;
            for (entry, key) in tops.0.iter_mut().zip(&mut keys.0).take(n) {
                // Who names no page loads a word of the dummy line.
                let is_page = *entry >= Entry::PAGES;
                let page = Entry(select_unpredictable(is_page, *entry, 0));
                let next = self.page_entry(page, select_unpredictable(is_page, *key, 0));
                *entry = select_unpredictable(is_page, next.0, *entry);
                *key <<= select_unpredictable(is_page, PAGE_BITS, 0);
                pages |= *entry >= Entry::PAGES;
            }
            steps += 1;
        }
    }

    /// Takes those that need more (a bit for each) through their steps, one step of each after the other, so that their
    /// misses overlap. `at` says where they are: an entry of the first window, and what of the key is not used up. Who
    /// finds nothing is given nothing.
    #[inline(never)]
    pub(super) fn finish<A: Address>(
        &self,
        dst: &[A],
        out: &mut [GroupId],
        mut rest: u64,
        at: impl Fn(usize) -> (Entry, u32),
    ) {
        let mut pending = [(0, INDEX, 0, Entry::NONE); u64::BITS as usize];
        let mut len = 0;
        while rest != 0 {
            let lane = rest.trailing_zeros() as usize;
            let (entry, key) = at(lane);
            pending[len] = (lane, INDEX, key, entry);
            len += 1;
            rest &= rest - 1;
        }
        while len > 0 {
            let mut left = 0;
            for i in 0..len {
                let (lane, mut window, mut key, mut entry) = pending[i];
                match entry.kind() {
                    Kind::Group => {
                        out[lane] = GroupId(entry.0);
                        continue;
                    }
                    Kind::Page => {
                        entry = self.page_entry(entry, key);
                        key <<= PAGE_BITS;
                    }
                    Kind::Tree => entry = entry.search(&self.lines, key),
                    Kind::Beyond => {
                        window += WINDOW;
                        key = node::key(dst[lane].host(), window);
                        entry = entry.crossed();
                    }
                }
                if entry.is_node() {
                    let slot = if entry.kind() == Kind::Page {
                        key >> (32 - PAGE_BITS)
                    } else {
                        0
                    };
                    prefetch(&self.lines[entry.page_slot(slot).0 as usize]);
                }
                pending[left] = (lane, window, key, entry);
                left += 1;
            }
            len = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FibWriter;
    use net::Ip6Prefix;

    /// What one processor does by gathers another does without: both ways through the index agree.
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    #[test]
    fn both_ways_through_the_pages_agree() {
        let domain = rcu::Domain::new();
        let mut writer = FibWriter::new(&[], &domain).unwrap();
        let discard = crate::Path::to(crate::Target::Discard(crate::Discard::Blackhole));
        let group = writer.add_group(&[(discard, 1)]).unwrap();
        let mut seed = 1u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            u128::from(seed) << 64 | u128::from(seed.rotate_left(32))
        };
        for _ in 0..20_000 {
            // Few first bits, so that they crowd under few pages.
            let addr = 0x2001 << 112 | random() >> 20 & 0x3ff << 84 | random() >> 40;
            let len = 20 + (random() % 30) as u8;
            let prefix = Ip6Prefix::new(addr & (u128::MAX << (128 - len)), len).unwrap();
            writer.set6(prefix, group).unwrap();
        }
        let tables = writer.replica(0);
        for _ in 0..500 {
            let (mut tops, mut keys) = (Lanes::default(), Lanes::default());
            for (top, key) in tops.0.iter_mut().zip(&mut keys.0) {
                (*top, *key) =
                    (0x2001 << 112 | random() >> 20 & 0x3ff << 84 | random() >> 40).bits();
            }
            let (mut tops2, mut keys2) = (tops, keys);
            super::super::avx2::to_trees(&tables.v6, &mut tops, &mut keys, LANES);
            tables.v6.to_trees(&mut tops2, &mut keys2, LANES);
            assert_eq!((tops.0, keys.0), (tops2.0, keys2.0));
        }
    }
}
