//! DIR-24-8 (Gupta, Lin, McKeown, 1998) without the 8: a next hop for each /24, in 2 or 4 bytes.

use crate::big::Big;
use crate::{Candidate, Table};

/// 2^24 entries.
pub struct Dir24<T: Copy>(Big<T>);

impl<T: Copy + TryFrom<u32>> Dir24<T> {
    /// Of a table.
    pub fn build(t: &Table<u32>) -> Self {
        let narrow = |&hop: &u32| T::try_from(hop).ok().expect("next hops that fit");
        let entries: Vec<T> = t.blocks().iter().map(narrow).collect();
        Self(Big::new(&entries))
    }
}

impl<T: Copy + Into<u32>> Candidate<u32> for Dir24<T> {
    fn name(&self) -> &'static str {
        match size_of::<T>() {
            2 => "DIR-24-8, 2 bytes",
            _ => "DIR-24-8, 4 bytes",
        }
    }
    fn lookup(&self, dst: &[u32], out: &mut [u32]) {
        let table = &*self.0;
        for (out, &a) in out.iter_mut().zip(dst) {
            *out = table[(a >> 8) as usize].into();
        }
    }
    fn lookup_scalar(&self, dst: &[u32], out: &mut [u32]) {
        self.lookup(dst, out);
    }
    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
