//! What came of VPN prefixes into VRFs, noted in little room: there may be a million of them.

use std::collections::HashMap;

use crate::rib::Vpn4;
use crate::types::{PathId, PeerId, Rd, VrfNo};

/// A path that came into a VRF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) vrf: VrfNo,
    pub(super) peer: PeerId,
    pub(super) path_id: PathId,
}

/// What came of one VPN prefix: mostly one path into one VRF, and there may be a million such.
#[derive(Debug)]
pub(super) enum Came {
    One(Taken),
    /// Boxed twice, so that one takes no more room for it.
    #[expect(clippy::box_collection, reason = "a thin pointer")]
    Many(Box<Vec<Taken>>),
}

const _: () = assert!(size_of::<(Vpn4, Came)>() <= 32);

impl Came {
    /// `None`: nothing.
    pub(super) fn of(all: Vec<Taken>) -> Option<Self> {
        match all[..] {
            [] => None,
            [one] => Some(Self::One(one)),
            _ => Some(Self::Many(Box::new(all))),
        }
    }

    pub(super) fn all(&self) -> &[Taken] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }
}

/// Route distinguishers by number: a VRF may have a path of one neighbour from each.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    of: HashMap<Rd, (u32, usize)>,
    free: Vec<u32>,
}

impl Numbers {
    /// The number of `rd`, with one holder more.
    pub(super) fn hold(&mut self, rd: Rd) -> u32 {
        let new = self.free.pop().unwrap_or(self.of.len() as u32 + 1);
        let one = self.of.entry(rd).or_insert((new, 0));
        one.1 += 1;
        if one.0 != new {
            self.free.push(new);
        }
        one.0
    }

    /// The one with that number.
    pub(super) fn rd(&self, number: u32) -> Option<Rd> {
        let mut all = self.of.iter();
        all.find(|(_, one)| one.0 == number).map(|(rd, _)| *rd)
    }

    pub(super) fn release(&mut self, rd: Rd) {
        if let Some(one) = self.of.get_mut(&rd) {
            one.1 -= 1;
            if one.1 == 0 {
                self.free.push(one.0);
                self.of.remove(&rd);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Numbers {
        /// Nobody holds one.
        pub(in crate::speaker::vpn) fn is_empty(&self) -> bool {
            self.of.is_empty()
        }
    }

    /// The lowest that are free are given again, so that they fit beside the count of paths.
    #[test]
    fn numbers_of_distinguishers_are_used_again() {
        let rd = |n| Rd([0, 0, 0xfc, 0, 0, 0, 0, n]);
        let mut all = Numbers::default();
        assert_eq!((all.hold(rd(1)), all.hold(rd(2))), (1, 2));
        assert_eq!(all.hold(rd(1)), 1, "one holder more");
        all.release(rd(1));
        assert_eq!((all.rd(1), all.rd(2)), (Some(rd(1)), Some(rd(2))));
        all.release(rd(1));
        assert_eq!(all.rd(1), None);
        assert_eq!(all.hold(rd(2)), 2, "and it takes none");
        assert_eq!(all.hold(rd(3)), 1);
        assert_eq!((all.hold(rd(4)), all.rd(1)), (3, Some(rd(3))));
        for n in [2, 2, 3, 4] {
            all.release(rd(n));
        }
        assert!(all.is_empty());
        let mut again: Vec<u32> = (5..8).map(|n| all.hold(rd(n))).collect();
        again.sort_unstable();
        assert_eq!(again, [1, 2, 3]);
    }
}
