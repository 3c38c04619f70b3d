//! Blocks of a few words each, of many sizes, without holes.
//!
//! The paths of a prefix beyond the first live here. Peers come one after the other, so nearly every block grows step by
//! step, and an allocator of size classes would keep a heap of holes of each size passed through. Here the last block of
//! a size is moved into the hole at once; so a block names its owner in its first word, and who frees a block is told
//! which other moved.

/// Words of a chunk that many blocks share.
const CHUNK: usize = 4096;
/// Unused words at the end of a block.
pub(super) const UNUSED: u32 = u32::MAX;

/// How many words the blocks of a class have: exact for what is common, at most a fifth too much else.
const SIZES: [u32; 64] = sizes();

const fn sizes() -> [u32; 64] {
    let mut out = [0; 64];
    let (mut n, mut words) = (0, 2u32);
    while n < 64 {
        out[n] = words;
        n += 1;
        // Blocks of paths have 1 + 4n words, or 2 + 5n with path identifiers; others 1 + 3n.
        words += 1;
        while words < 42 && !(words % 4 == 1 || words % 5 == 2 || words % 3 == 1) {
            words += 1;
        }
        if words >= 42 {
            words += words / 5;
        }
    }
    out
}

/// The most words that a block can have.
pub(super) const MOST: usize = SIZES[63] as usize;

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(pub(super) u32);

impl Handle {
    pub(super) const NONE: Self = Self(u32::MAX);

    fn new(class: usize, n: usize) -> Self {
        debug_assert!(n < 1 << 26);
        Self((class as u32) << 26 | n as u32)
    }

    const fn class(self) -> usize {
        (self.0 >> 26) as usize
    }

    const fn n(self) -> usize {
        (self.0 & ((1 << 26) - 1)) as usize
    }
}

#[derive(Clone, Debug, Default)]
struct Class {
    chunks: Vec<Box<[u32]>>,
    len: usize,
}

/// The blocks.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    classes: Vec<Class>,
    /// Chunks of `CHUNK` words that no class needs.
    spare: Vec<Box<[u32]>>,
}

const fn per_chunk(class: usize) -> usize {
    let n = CHUNK / SIZES[class] as usize;
    if n == 0 { 1 } else { n }
}

/// The class for so many words.
fn class_for(words: usize) -> usize {
    debug_assert!(words <= MOST);
    SIZES.partition_point(|s| (*s as usize) < words)
}

/// How many words a block asked for with `words` really has.
pub(super) fn room_for(words: usize) -> usize {
    SIZES[class_for(words)] as usize
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            classes: vec![Class::default(); 64],
            spare: Vec::new(),
        }
    }

    /// A block of at least so many words: the first is `owner`, the others [`UNUSED`].
    pub(super) fn alloc(&mut self, words: usize, owner: u32) -> Handle {
        let class = class_for(words);
        let c = &mut self.classes[class];
        let (n, per) = (c.len, per_chunk(class));
        if n / per == c.chunks.len() {
            let want = CHUNK.max(SIZES[class] as usize);
            let chunk = if want == CHUNK {
                self.spare.pop()
            } else {
                None
            };
            c.chunks
                .push(chunk.unwrap_or_else(|| vec![0; want].into_boxed_slice()));
        }
        c.len += 1;
        let h = Handle::new(class, n);
        let block = self.block_mut(h);
        block.fill(UNUSED);
        block[0] = owner;
        h
    }

    /// Frees a block. Another may have moved into its place: then this is its owner, who finds it at `h` from now on.
    pub(super) fn free(&mut self, h: Handle) -> Option<u32> {
        let (class, per, words) = (h.class(), per_chunk(h.class()), SIZES[h.class()] as usize);
        let c = &mut self.classes[class];
        c.len -= 1;
        let last = c.len;
        let moved = (last != h.n()).then(|| {
            let (from, at) = (last / per, last % per * words);
            let (to, into) = (h.n() / per, h.n() % per * words);
            if from == to {
                c.chunks[to].copy_within(at..at + words, into);
            } else {
                let (low, high) = c.chunks.split_at_mut(from);
                low[to][into..into + words].copy_from_slice(&high[0][at..at + words]);
            }
            c.chunks[to][into]
        });
        // One empty chunk is kept, so that a block that comes and goes costs no allocation each time.
        if c.len.div_ceil(per) + 1 < c.chunks.len()
            && let Some(chunk) = c.chunks.pop()
            && chunk.len() == CHUNK
            && self.spare.len() < 64
        {
            self.spare.push(chunk);
        }
        moved
    }

    /// Writes what is in a block behind its first word into another, as far as it has room.
    pub(super) fn copy(&mut self, from: Handle, to: Handle) {
        let n = SIZES[from.class()].min(SIZES[to.class()]) as usize;
        let (a, b) = (from.class(), to.class());
        let at = |h: Handle| {
            let (words, per) = (SIZES[h.class()] as usize, per_chunk(h.class()));
            (h.n() / per, h.n() % per * words)
        };
        let ((fc, fo), (tc, to)) = (at(from), at(to));
        if let Ok([x, y]) = self.classes.get_disjoint_mut([a, b]) {
            y.chunks[tc][to + 1..to + n].copy_from_slice(&x.chunks[fc][fo + 1..fo + n]);
        }
    }

    #[inline]
    pub(super) fn block(&self, h: Handle) -> &[u32] {
        let (words, per) = (SIZES[h.class()] as usize, per_chunk(h.class()));
        &self.classes[h.class()].chunks[h.n() / per][h.n() % per * words..][..words]
    }

    /// Who owns the block that will be the last of a block's size once so many of them were freed.
    #[inline]
    pub(super) fn owner_from_end(&self, h: Handle, freed: usize) -> Option<u32> {
        let (words, per) = (SIZES[h.class()] as usize, per_chunk(h.class()));
        let c = &self.classes[h.class()];
        let n = c.len.checked_sub(freed + 1)?;
        c.chunks.get(n / per)?.get(n % per * words).copied()
    }

    #[inline]
    pub(super) fn block_mut(&mut self, h: Handle) -> &mut [u32] {
        let (words, per) = (SIZES[h.class()] as usize, per_chunk(h.class()));
        &mut self.classes[h.class()].chunks[h.n() / per][h.n() % per * words..][..words]
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        let chunks = self.classes.iter().flat_map(|c| &c.chunks);
        chunks.chain(&self.spare).map(|c| c.len() * 4).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn sizes_grow_and_fit_what_is_common() {
        assert!(SIZES.is_sorted());
        for n in 1..=10 {
            assert_eq!(room_for(1 + 4 * n), 1 + 4 * n, "{n} paths");
        }
        for n in 0..=7 {
            assert_eq!(room_for(2 + 5 * n), 2 + 5 * n, "{n} paths with identifiers");
        }
        const { assert!(MOST > 20_000) };
    }

    proptest! {
        #[test]
        fn blocks_keep_what_is_written(ops in prop::collection::vec((any::<bool>(), 2usize..60, 0u32..40), 0..400)) {
            let mut pool = Pool::new();
            let mut model: BTreeMap<u32, (Handle, Vec<u32>)> = BTreeMap::new();
            for (i, (put, words, owner)) in ops.into_iter().enumerate() {
                if let Some((h, _)) = model.remove(&owner)
                    && let Some(moved) = pool.free(h)
                {
                    model.get_mut(&moved).unwrap().0 = h;
                }
                if put {
                    let h = pool.alloc(words, owner);
                    let content: Vec<u32> = (1..words as u32).map(|w| w * 1000 + i as u32).collect();
                    pool.block_mut(h)[1..words].copy_from_slice(&content);
                    model.insert(owner, (h, content));
                }
                for (owner, (h, content)) in &model {
                    prop_assert_eq!(pool.block(*h)[0], *owner);
                    prop_assert_eq!(&pool.block(*h)[1..=content.len()], &content[..]);
                    prop_assert!(pool.block(*h)[1 + content.len()..].iter().all(|w| *w == UNUSED));
                }
            }
            let live: usize = pool.classes.iter().map(|c| c.len).sum();
            prop_assert_eq!(live, model.len());
        }
    }
}
