//! Candidates for the prefix tables: what is read, without what it takes to change it.
//!
//! Each is built in one go from a table whose prefixes have at most 24 (IPv4) or 48 bits (IPv6), as those of the Internet
//! do, and looks up bursts. That is enough to tell which shapes are fast and small; `docs/decisions/0007` tells which won,
//! and which also can be changed in place. Each has the lookup that seemed best with AVX-512 and one without.

mod big;
mod btree;
mod dir;
mod dxr;
mod lines;
mod pages;
mod poptrie;
mod table;

pub use btree::{BTree4, BTree6};
pub use dir::Dir24;
pub use dxr::Dxr;
pub use lines::{BitmapLines, ByteLines};
pub use pages::Pages6;
pub use poptrie::{Poptrie4, Poptrie6};
pub use table::{Addr, Table};

/// A way to find the longest prefix that covers an address.
pub trait Candidate<A: Addr> {
    /// Its name in results.
    fn name(&self) -> &'static str;
    /// The next hop of each address, 0 for none.
    fn lookup(&self, dst: &[A], out: &mut [u32]);
    /// The same without AVX-512.
    fn lookup_scalar(&self, dst: &[A], out: &mut [u32]);
    /// Bytes that lookups read.
    fn bytes(&self) -> usize;
}

/// All for IPv4 that the processor can run and the number of next hops allows.
pub fn all4(t: &Table<u32>) -> Vec<Box<dyn Candidate<u32>>> {
    let mut all: Vec<Box<dyn Candidate<u32>>> = vec![
        Box::new(Dir24::<u32>::build(t)),
        Box::new(Dir24::<u16>::build(t)),
        Box::new(Poptrie4::build(t, 16, "poptrie, root 16")),
        Box::new(Poptrie4::build(t, 18, "poptrie, root 18")),
        Box::new(Dxr::build(t, 18, "DXR-18")),
        Box::new(Dxr::build(t, 20, "DXR-20")),
        Box::new(BTree4::build(t)),
        Box::new(BitmapLines::build(t)),
    ];
    if t.hops() < 256 {
        if let Some(narrow) = ByteLines::<u16>::build(t) {
            all.push(Box::new(narrow));
        }
        if let Some(wide) = ByteLines::<u32>::build(t) {
            all.push(Box::new(wide));
        }
    }
    all
}

/// All for IPv6.
pub fn all6(t: &Table<u64>) -> Vec<Box<dyn Candidate<u64>>> {
    vec![
        Box::new(Poptrie6::build(t, 18, "compressed trie, root 18")),
        Box::new(BTree6::build(t)),
        Box::new(Pages6::build(t)),
    ]
}

/// Whether the processor has what the AVX-512 lookups use.
pub(crate) fn avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vpopcntdq")
}

#[cfg(test)]
mod tests;
