//! DXR (Zec, Rizzo, Mikuc, 2012): a table by the first 18 or 20 bits, and for each of its blocks that has more than one
//! next hop a sorted list of where they begin, searched by halves.

use crate::big::Big;
use crate::{Candidate, Table};

/// Blocks by the first bits; lists of begins (the bits behind) and next hops.
pub struct Dxr {
    name: &'static str,
    shift: u32,
    /// Where the list begins, and how long it is.
    root: Big<[u32; 2]>,
    begins: Big<u16>,
    hops: Big<u32>,
}

impl Dxr {
    /// Of a table.
    pub fn build(t: &Table<u32>, bits: u32, name: &'static str) -> Self {
        let shift = 32 - bits;
        let (mut root, mut begins, mut hops) = (vec![], vec![], vec![]);
        for block in 0..1u64 << bits {
            let first = block << shift;
            let (hop, more) = t.within(first, first + ((1 << shift) - 1));
            root.push([begins.len() as u32, more.len() as u32 + 1]);
            begins.push(0);
            hops.push(hop);
            for &(at, hop) in more {
                begins.push((u64::from(at) - first) as u16);
                hops.push(hop);
            }
        }
        Self {
            name,
            shift,
            root: Big::new(&root),
            begins: Big::new(&begins),
            hops: Big::new(&hops),
        }
    }
}

impl Candidate<u32> for Dxr {
    fn name(&self) -> &'static str {
        self.name
    }
    fn lookup(&self, dst: &[u32], out: &mut [u32]) {
        for (out, &a) in out.iter_mut().zip(dst) {
            let [mut at, mut n] = self.root[(a >> self.shift) as usize];
            let low = (a & ((1 << self.shift) - 1)) as u16;
            while n > 1 {
                let half = n / 2;
                let right = self.begins[(at + half) as usize] <= low;
                at += half * u32::from(right);
                n -= half;
            }
            *out = self.hops[at as usize];
        }
    }
    fn lookup_scalar(&self, dst: &[u32], out: &mut [u32]) {
        self.lookup(dst, out);
    }
    fn bytes(&self) -> usize {
        self.root.bytes() + self.begins.bytes() + self.hops.bytes()
    }
}
