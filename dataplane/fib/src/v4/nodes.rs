//! The writer's own prefixes of a piece of address space, numbered as a heap is: 1 is the piece itself, 2n and 2n + 1
//! are the halves of n. So a longer prefix has a greater number than a shorter one, and to paint a piece is to paint
//! its prefixes in order: what is longer comes later and stays.

use net::GroupId;

/// The number of a prefix in the piece of `above` bits that holds it.
pub(crate) fn number(addr: u32, len: u8, above: u8) -> u32 {
    let depth = u32::from(len - above);
    let bits = u64::from(addr) >> (32 - u32::from(len));
    1 << depth | bits as u32 & ((1 << depth) - 1)
}

/// The leaves under a number, in a piece of so many leaves.
pub(crate) fn leaves(number: u32, all: usize) -> std::ops::Range<usize> {
    let depth = number.ilog2();
    let each = all >> depth;
    let first = (number - (1 << depth)) as usize * each;
    first..first + each
}

/// Prefixes of a piece, in order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Nodes(Vec<Node>);

#[derive(Debug, Clone, Copy)]
struct Node {
    number: u16,
    group: GroupId,
}

impl Nodes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, number: u32) -> Option<GroupId> {
        let at = self.find(number).ok()?;
        Some(self.0[at].group)
    }

    /// Sets or (with `None`) removes a prefix, and returns what it had.
    pub(crate) fn set(&mut self, number: u32, group: Option<GroupId>) -> Option<GroupId> {
        match (self.find(number), group) {
            (Ok(at), Some(group)) => Some(std::mem::replace(&mut self.0[at].group, group)),
            (Ok(at), None) => {
                let old = self.0.remove(at).group;
                if self.0.len() * 4 < self.0.capacity() {
                    self.0.shrink_to(self.0.len() * 2);
                }
                Some(old)
            }
            (Err(at), Some(group)) => {
                let number = number as u16;
                self.0.insert(at, Node { number, group });
                None
            }
            (Err(_), None) => None,
        }
    }

    /// Gives each leaf to the longest prefix that covers it; the others keep what they have.
    pub(crate) fn paint<const N: usize>(&self, to: &mut [u32; N]) {
        for node in &self.0 {
            to[leaves(node.number.into(), N)].fill(node.group.0);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Node>()
    }

    fn find(&self, number: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&number, |n| n.number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers() {
        assert_eq!(number(0xc000_0000, 18, 18), 1);
        assert_eq!(number(0x0a0b_0cff, 24, 18), 64 + 0x0c);
        assert_eq!(number(0xffff_ffff, 32, 24), 511);
        assert_eq!((number(0, 0, 0), number(0xff00_0000, 8, 0)), (1, 511));
        assert_eq!(leaves(1, 64), 0..64);
        assert_eq!((leaves(2, 64), leaves(3, 64)), (0..32, 32..64));
        assert_eq!(leaves(127, 64), 63..64);
    }

    proptest! {
        #[test]
        fn paint_gives_the_longest(ops in proptest::collection::vec((1u32..128, proptest::option::of(1u32..9)), 0..60)) {
            let mut nodes = Nodes::default();
            let mut plain = std::collections::BTreeMap::new();
            for (number, group) in ops {
                let old = match group {
                    Some(group) => plain.insert(number, group),
                    None => plain.remove(&number),
                };
                prop_assert_eq!(nodes.set(number, group.map(GroupId)).map(|g| g.0), old);
                prop_assert_eq!(nodes.get(number).map(|g| g.0), group);
            }
            let mut leaves = [9; 64];
            nodes.paint(&mut leaves);
            for (leaf, &got) in (64u32..).zip(&leaves) {
                let longest = (0..7).find_map(|up| plain.get(&(leaf >> up))).copied();
                prop_assert_eq!(got, longest.unwrap_or(9));
            }
        }
    }
}
