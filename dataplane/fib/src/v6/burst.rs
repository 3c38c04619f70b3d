//! Many lookups at once, without vectors: step by step, so that the misses of all overlap.

use net::GroupId;

use super::node::{self, Entry, INDEX, Kind, PAGE_BITS};
use super::{Table6, index_slot, top};
use crate::prefetch::prefetch;

/// Addresses looked up together: as many misses as a core keeps in flight, and a little more.
const LANES: usize = 32;

impl Table6 {
    /// [`Table6::lookup`] of each address.
    #[inline]
    pub(crate) fn lookup_burst(&self, dst: &[u128], out: &mut [GroupId]) {
        #[cfg(target_arch = "x86_64")]
        if self.vector {
            // SAFETY: the CPU was asked when the table was made.
            return unsafe { self.lookup_burst_avx512(dst, out) };
        }
        self.lookup_burst_scalar(dst, out);
    }

    /// [`Table6::lookup_burst`] for every CPU.
    pub(crate) fn lookup_burst_scalar(&self, dst: &[u128], out: &mut [GroupId]) {
        for (dst, out) in dst.chunks(LANES).zip(out.chunks_mut(LANES)) {
            self.lookup_chunk(dst, out);
        }
    }

    fn lookup_chunk(&self, dst: &[u128], out: &mut [GroupId]) {
        let n = dst.len().min(out.len());
        let mut entries = [Entry::NONE; LANES];
        let mut keys = [0; LANES];
        let mut leaves = [0; LANES];
        for ip in &dst[..n] {
            self.prefetch_index(*ip);
        }
        for (i, ip) in dst[..n].iter().enumerate() {
            entries[i] = self.index_entry(*ip);
            keys[i] = node::key(*ip, INDEX);
            self.prefetch_node(entries[i], keys[i]);
        }
        let mut steps = 0;
        let mut pages = true;
        // As in `avx512`: two steps for all without a branch, which would be taken at random.
        while pages || steps < 2 {
            pages = false;
            for (entry, key) in entries.iter_mut().zip(&mut keys).take(n) {
                let is_page = entry.kind() == Kind::Page;
                let page = if is_page { *entry } else { Entry::NONE };
                let slot_key = if is_page { *key } else { 0 };
                let next = self.page_entry(page, slot_key);
                *entry = if is_page { next } else { *entry };
                *key <<= PAGE_BITS * u32::from(is_page);
                self.prefetch_node(*entry, *key);
                pages |= entry.kind() == Kind::Page;
            }
            steps += 1;
        }
        for i in 0..n {
            // Who names no tree compares with the dummy.
            let tree = match entries[i].kind() {
                Kind::Tree => entries[i],
                _ => Entry::NONE,
            };
            leaves[i] = tree.leaf(&self.lines, keys[i]);
            prefetch(&self.lines[leaves[i] as usize]);
        }
        for i in 0..n {
            let group = self.lines[leaves[i] as usize].narrow(keys[i]);
            let found = match entries[i].kind() {
                Kind::Tree => group,
                _ => entries[i].0,
            };
            out[i] = GroupId(found);
            if found == 0 || entries[i].is_more_than_narrow() {
                out[i] = self.lookup(dst[i]);
            }
        }
    }

    #[inline]
    fn prefetch_index(&self, dst: u128) {
        // Relaxed: only a hint; the lookup loads it again.
        let page = self.root[0][top(dst)].load(std::sync::atomic::Ordering::Relaxed) as usize;
        prefetch(&self.index[page / super::INDEX_PAGE][index_slot(dst)]);
    }

    /// Asks for the line that the next step needs; without a branch, so the dummy where none is needed.
    #[inline]
    fn prefetch_node(&self, entry: Entry, key: u32) {
        let slot = if entry.kind() == Kind::Page {
            key >> (32 - PAGE_BITS)
        } else {
            0
        };
        let node = if entry.is_node() { entry } else { Entry::NONE };
        let (line, _) = node.page_slot(slot);
        prefetch(&self.lines[line as usize]);
    }
}
