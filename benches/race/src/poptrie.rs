//! Poptrie (Asai, Ohara, 2015): a direct table, then nodes of 6 bits that count bits to find their children and leaves;
//! equal neighbouring leaves are one.
//!
//! Many addresses go down together, a level at a time, so that their misses overlap.

use crate::big::Big;
use crate::{Addr, Candidate, Table};

/// In an entry of the root: the number of a node, not a next hop.
const NODE: u32 = 1 << 31;
/// Addresses that go down together.
const LANES: usize = 16;

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Node {
    /// Slots that lead to a node.
    children: u64,
    /// Slots where a run of equal leaves begins.
    leaves: u64,
    /// Number of the first child and of the first leaf.
    child: u32,
    leaf: u32,
}

/// For IPv4.
pub type Poptrie4 = Poptrie<u32>;
/// For IPv6.
pub type Poptrie6 = Poptrie<u64>;

/// The trie.
pub struct Poptrie<A> {
    name: &'static str,
    root_bits: u32,
    root: Big<u32>,
    nodes: Big<Node>,
    leaves: Big<u32>,
    _of: std::marker::PhantomData<A>,
}

struct Builder<'t, A> {
    table: &'t Table<A>,
    nodes: Vec<Node>,
    leaves: Vec<u32>,
}

impl<A: Addr> Builder<'_, A> {
    /// Fills node `at` for the block that begins at `first` and has `depth` bits.
    fn node(&mut self, at: usize, first: u64, depth: u32) {
        // The last level may have less than 6 bits: its slots are shorter than one address, and repeat.
        let step = A::BITS.checked_sub(depth + 6);
        let slot = |i: u64| match step {
            Some(s) => (first + (i << s), first + (i << s) + ((1 << s) - 1)),
            None => {
                let a = first + (i >> (depth + 6 - A::BITS));
                (a, a)
            }
        };
        let mut node = Node {
            leaf: self.leaves.len() as u32,
            ..Node::default()
        };
        let mut deeper = vec![];
        let mut last = None;
        for i in 0..64 {
            let (from, to) = slot(i);
            let (hop, more) = self.table.within(from, to);
            if !more.is_empty() {
                node.children |= 1 << i;
                deeper.push(from);
            } else if last != Some(hop) {
                node.leaves |= 1 << i;
                self.leaves.push(hop);
                last = Some(hop);
            }
        }
        node.child = self.nodes.len() as u32;
        self.nodes
            .resize(self.nodes.len() + deeper.len(), Node::default());
        for (k, from) in deeper.into_iter().enumerate() {
            self.node(node.child as usize + k, from, depth + 6);
        }
        self.nodes[at] = node;
    }
}

impl<A: Addr> Poptrie<A> {
    /// Of a table, with a root of so many bits.
    pub fn build(table: &Table<A>, root_bits: u32, name: &'static str) -> Self {
        let mut b = Builder {
            table,
            nodes: vec![],
            leaves: vec![],
        };
        let shift = A::BITS - root_bits;
        let entry = |block: u64| {
            let first = block << shift;
            let (hop, more) = table.within(first, first + ((1 << shift) - 1));
            if more.is_empty() {
                return hop;
            }
            let at = b.nodes.len();
            b.nodes.push(Node::default());
            b.node(at, first, root_bits);
            NODE | at as u32
        };
        let root: Vec<u32> = (0..1 << root_bits).map(entry).collect();
        Self {
            name,
            root_bits,
            root: Big::new(&root),
            nodes: Big::new(&b.nodes),
            leaves: Big::new(&b.leaves),
            _of: std::marker::PhantomData,
        }
    }
}

/// Asks for the line of an entry that is read soon.
fn prefetch<T>(of: &[T], i: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint; no memory is read, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(of.as_ptr().wrapping_add(i).cast()) };
}

impl<A: Addr> Candidate<A> for Poptrie<A> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn lookup(&self, dst: &[A], out: &mut [u32]) {
        for (dst, out) in dst.chunks(LANES).zip(out.chunks_mut(LANES)) {
            let mut any = 0;
            for (out, a) in out.iter_mut().zip(dst) {
                *out = self.root[(a.bits() >> (A::BITS - self.root_bits)) as usize];
                any |= *out;
                if *out & NODE != 0 {
                    prefetch(&self.nodes, (*out & !NODE) as usize);
                }
            }
            let mut depth = self.root_bits;
            while any & NODE != 0 {
                any = 0;
                for (out, a) in out.iter_mut().zip(dst) {
                    if *out & NODE == 0 {
                        continue;
                    }
                    let node = &self.nodes[(*out & !NODE) as usize];
                    let slot = (a.bits() << (64 - A::BITS) << depth) >> 58;
                    let below = 2u64.wrapping_shl(slot as u32).wrapping_sub(1);
                    if node.children >> slot & 1 != 0 {
                        let k = (node.children & below).count_ones() - 1;
                        *out = NODE | (node.child + k);
                        any |= NODE;
                        prefetch(&self.nodes, (node.child + k) as usize);
                    } else {
                        let k = (node.leaves & below).count_ones() - 1;
                        *out = self.leaves[(node.leaf + k) as usize];
                    }
                }
                depth += 6;
            }
        }
    }
    fn lookup_scalar(&self, dst: &[A], out: &mut [u32]) {
        self.lookup(dst, out);
    }
    fn bytes(&self) -> usize {
        self.root.bytes() + self.nodes.bytes() + self.leaves.bytes()
    }
}
