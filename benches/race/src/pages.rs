//! IPv6: 2^12 entries name pages (shared where equal) of 2^12 entries, one for each /24; each of these names a B+-tree of
//! lines of 64 bytes over the next 32 bits.
//!
//! A leaf has 10 keys and 11 next hops of 16 bits; an inner line 15 keys and the number of its first child, which the others
//! follow. An entry says how many inner levels there are. /24s of one next hop share a leaf without keys.

use std::arch::x86_64::{
    _MM_HINT_T0, _mm_prefetch, _mm512_cmple_epu32_mask, _mm512_loadu_si512, _mm512_set1_epi32,
};
use std::collections::HashMap;

use crate::big::Big;
use crate::{Candidate, Table, avx512};

/// Keys of a leaf and of an inner line.
const LEAF: usize = 10;
const INNER: usize = 15;
const LANES: usize = 16;
/// One more inner level, in an entry.
const LEVEL: u32 = 1 << 30;

type Line = [u32; 16];

/// The root, its pages and the trees.
pub struct Pages6 {
    root: Big<u32>,
    pages: Big<u32>,
    lines: Big<Line>,
    avx512: bool,
}

fn leaf(first: u32, keys: &[(u32, u32)]) -> Line {
    let mut line = [u32::MAX; 16];
    let mut hops = [0u16; 12];
    hops[0] = first as u16;
    for (i, &(key, hop)) in keys.iter().enumerate() {
        line[i] = key;
        hops[i + 1] = hop as u16;
    }
    for (i, pair) in hops.chunks_exact(2).enumerate() {
        line[LEAF + i] = u32::from(pair[0]) | u32::from(pair[1]) << 16;
    }
    line
}

/// Keys that a tree of so many inner levels holds.
fn room(levels: u32) -> usize {
    match levels {
        0 => LEAF,
        n => room(n - 1) * (INNER + 1) + INNER,
    }
}

/// Writes a tree at line `at`; `first` is the next hop before the first key.
fn tree(lines: &mut Vec<Line>, at: usize, levels: u32, first: u32, keys: &[(u32, u32)]) {
    if levels == 0 {
        lines[at] = leaf(first, keys);
        return;
    }
    let each = room(levels - 1);
    let children = (keys.len() + 1).div_ceil(each + 1);
    let base = lines.len();
    lines.resize(base + children, [u32::MAX; 16]);
    let (mut rest, mut hop) = (keys, first);
    for child in 0..children {
        let (part, behind) = rest.split_at(each.min(rest.len()));
        tree(lines, base + child, levels - 1, hop, part);
        // The key between two children is in neither: it is where the right one begins.
        if let Some((&(key, next), behind)) = behind.split_first() {
            lines[at][child] = key;
            (rest, hop) = (behind, next);
        }
    }
    lines[at][INNER] = base as u32;
}

impl Pages6 {
    /// Of a table of at most 65,535 next hops.
    pub fn build(t: &Table<u64>) -> Self {
        let mut lines: Vec<Line> = vec![];
        let mut same: HashMap<u32, u32> = HashMap::new();
        let mut shared: HashMap<Vec<u32>, u32> = HashMap::new();
        let (mut root, mut pages) = (vec![], vec![]);
        for top in 0..1u64 << 12 {
            let entry = |low: u64| {
                let first = top << 52 | low << 40;
                let (hop, more) = t.within(first, first + ((1 << 40) - 1));
                if more.is_empty() {
                    return *same.entry(hop).or_insert_with(|| {
                        lines.push(leaf(hop, &[]));
                        lines.len() as u32 - 1
                    });
                }
                let keys: Vec<(u32, u32)> = more
                    .iter()
                    .map(|&(a, hop)| ((a >> 8) as u32, hop))
                    .collect();
                let levels = (0..).find(|&n| room(n) >= keys.len()).unwrap_or(0);
                let at = lines.len();
                lines.push([u32::MAX; 16]);
                tree(&mut lines, at, levels, hop, &keys);
                at as u32 | (levels * LEVEL)
            };
            let page: Vec<u32> = (0..1 << 12).map(entry).collect();
            root.push(*shared.entry(page).or_insert_with_key(|page| {
                pages.extend(page);
                (pages.len() - page.len()) as u32
            }));
        }
        Self {
            root: Big::new(&root),
            pages: Big::new(&pages),
            lines: Big::new(&lines),
            avx512: avx512(),
        }
    }

    #[inline(always)]
    fn search(&self, dst: &[u64], out: &mut [u32], mask: impl Fn(&Line, u32) -> u32) {
        let ask = |line: u32| {
            let line = self
                .lines
                .as_ptr()
                .wrapping_add((line & (LEVEL - 1)) as usize);
            // SAFETY: a hint; no memory is read, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
        };
        // Unused keys are all ones; no prefix ends at the last address alone.
        let key = |a: u64| ((a >> 8) as u32).min(u32::MAX - 1);
        for (dst, out) in dst.chunks(LANES).zip(out.chunks_mut(LANES)) {
            for (out, &a) in out.iter_mut().zip(dst) {
                *out = self.root[(a >> 52) as usize] + (a >> 40 & 0xfff) as u32;
            }
            let mut most = 0;
            for out in out.iter_mut() {
                *out = self.pages[*out as usize];
                most = most.max(*out);
                ask(*out);
            }
            while most >= LEVEL {
                most = 0;
                for (out, &a) in out.iter_mut().zip(dst) {
                    if *out >= LEVEL {
                        let line = &self.lines[(*out & (LEVEL - 1)) as usize];
                        let k = (mask(line, key(a)) & 0x7fff).count_ones();
                        *out = (*out & !(LEVEL - 1)) - LEVEL + line[INNER] + k;
                        most = most.max(*out);
                        ask(*out);
                    }
                }
            }
            for (out, &a) in out.iter_mut().zip(dst) {
                let line = &self.lines[*out as usize];
                let k = (mask(line, key(a)) & 0x3ff).count_ones();
                *out = line[LEAF + k as usize / 2] >> (k % 2 * 16) & 0xffff;
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
    fn wide(&self, dst: &[u64], out: &mut [u32]) {
        self.search(dst, out, |line, key| {
            // SAFETY: a line has 16 keys.
            unsafe {
                let keys = _mm512_loadu_si512(line.as_ptr().cast());
                _mm512_cmple_epu32_mask(keys, _mm512_set1_epi32(key as i32)).into()
            }
        });
    }
}

impl Candidate<u64> for Pages6 {
    fn name(&self) -> &'static str {
        "root 12, pages to /24, B+-trees of lines"
    }
    fn lookup(&self, dst: &[u64], out: &mut [u32]) {
        if self.avx512 {
            // SAFETY: the processor has it.
            unsafe { self.wide(dst, out) }
        } else {
            self.lookup_scalar(dst, out);
        }
    }
    fn lookup_scalar(&self, dst: &[u64], out: &mut [u32]) {
        self.search(dst, out, |line, key| {
            let at = line.iter().enumerate();
            at.map(|(i, &k)| u32::from(k <= key) << i).sum()
        });
    }
    fn bytes(&self) -> usize {
        self.root.bytes() + self.pages.bytes() + self.lines.bytes()
    }
}
