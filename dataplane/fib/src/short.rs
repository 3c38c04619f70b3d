//! The shortest prefixes, kept out of the big tables.
//!
//! A default route covers everything: written into every entry it would cost the writer milliseconds and the process
//! all the memory that an empty table saves. So prefixes of at most `bits` bits live in this little table, and a
//! lookup that finds nothing longer asks here.

use std::sync::atomic::{AtomicU32, Ordering};

use net::GroupId;

/// The prefix that an entry of a lookup table belongs to: its group and its length. Length 0 with no group: nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) group: GroupId,
    pub(crate) len: u8,
}

impl Owner {
    pub(crate) const NOBODY: Self = Self {
        group: GroupId::NONE,
        len: 0,
    };
}

/// One replica: a group for each value of the first `bits` bits, 0 for none.
pub(crate) struct Short {
    /// Counts changes, each *before* it is made; see [`Short::resolve`].
    changes: AtomicU32,
    slots: Box<[AtomicU32]>,
}

impl Short {
    pub(crate) fn new(bits: u32) -> Self {
        Self {
            changes: AtomicU32::new(0),
            slots: (0..1 << bits).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// The answer for an address whose entry in the big table was found to be 0. `again` loads that entry once more.
    ///
    /// Two loads are not one: between them a longer prefix may come and the short one go, and the address would seem
    /// to have no route though it had one all the time. So the entry is loaded again after `changes`, and the answer
    /// stands if `changes` stayed: then the short table was the same throughout, or is being changed right now, during
    /// which the one writer does not touch the big table.
    #[inline]
    pub(crate) fn resolve(&self, index: usize, again: impl Fn() -> u32) -> GroupId {
        loop {
            // Acquire: pairs with the Release store in `begin_change`; entries are as new as that change.
            let before = self.changes.load(Ordering::Acquire);
            let entry = again();
            if entry != 0 {
                return GroupId(entry);
            }
            // Acquire: pairs with the Release store in `ShortWriter::write`; who sees the slot sees that change begun.
            let group = self.slots[index].load(Ordering::Acquire);
            // Relaxed: the Acquire above keeps it in its place, and only equality is asked; pairs with `begin_change`.
            if before == self.changes.load(Ordering::Relaxed) {
                return GroupId(group);
            }
        }
    }

    /// How many changes were begun. Acquire: whoever loads a slot or an entry after this finds it as new as that.
    #[inline]
    pub(crate) fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire) // pairs with the Release store in `begin_change`
    }

    /// The slots, for a reader who asks [`Short::changes`] before and after.
    #[inline]
    pub(crate) fn slots(&self) -> &[AtomicU32] {
        &self.slots
    }

    /// Gives a slot to a group; for the writer, after [`Short::begin_change`].
    pub(crate) fn store(&self, slot: usize, group: GroupId) {
        self.slots[slot].store(group.0, Ordering::Release); // pairs with the Acquire load in `resolve`
    }

    /// Must come before a change, and after everything that came before it.
    pub(crate) fn begin_change(&self) {
        // Relaxed load: only the writer stores. Release: pairs with the Acquire load in `resolve`.
        self.changes.store(
            self.changes.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Release,
        );
    }
}

/// The writer's side: who owns each slot.
pub(crate) struct ShortWriter {
    bits: u32,
    depth: Box<[u8]>,
}

impl ShortWriter {
    pub(crate) fn new(bits: u32) -> Self {
        Self {
            bits,
            depth: vec![0; 1 << bits].into_boxed_slice(),
        }
    }

    /// Gives the slots of a prefix (its first bits, its length) to `to`, as far as `takes` says of their depth.
    pub(crate) fn write<'t>(
        &mut self,
        replicas: impl Iterator<Item = &'t Short> + Clone,
        (first, len): (usize, u8),
        to: Owner,
        takes: impl Fn(u8) -> bool,
    ) {
        replicas.clone().for_each(Short::begin_change);
        for slot in first..first + (1 << (self.bits - u32::from(len))) {
            if takes(self.depth[slot]) {
                self.depth[slot] = to.len;
                // Release: pairs with the Acquire load in `Short::resolve`.
                replicas
                    .clone()
                    .for_each(|t| t.slots[slot].store(to.group.0, Ordering::Release));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn give(writer: &mut ShortWriter, table: &Short, group: u32) {
        let to = Owner {
            group: GroupId(group),
            len: 4,
        };
        writer.write([table].into_iter(), (0, 4), to, |_| true);
    }

    /// Between the two loads of a lookup a longer prefix comes and the short one goes, or changes.
    #[test]
    fn what_happens_between_the_loads_is_noticed() {
        for (after, why) in [
            (0, "the short one went"),
            (9, "the short one is another's by now"),
        ] {
            let table = Short::new(4);
            let mut writer = ShortWriter::new(4);
            give(&mut writer, &table, 5);
            let writer = Cell::new(Some(writer));
            let loads = Cell::new(0);
            let found = table.resolve(0, || {
                loads.set(loads.get() + 1);
                let Some(mut writer) = writer.take() else {
                    return 7;
                };
                give(&mut writer, &table, after);
                0 // loaded before the longer prefix came, which was before that change
            });
            assert_eq!((found, loads.get()), (GroupId(7), 2), "{why}");
        }
    }

    #[test]
    fn a_quiet_table_is_asked_once() {
        let table = Short::new(4);
        give(&mut ShortWriter::new(4), &table, 5);
        assert_eq!(table.resolve(0, || 0), GroupId(5));
        assert_eq!(table.resolve(1, || 0), GroupId::NONE);
        assert_eq!(table.resolve(0, || 7), GroupId(7));
    }
}
