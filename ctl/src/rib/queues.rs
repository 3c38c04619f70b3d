//! Prefixes that wait to be written into the forwarding tables: single changes first, then what hangs on great sets and full
//! tables.
//!
//! Single changes go in the order in which they came. The rest goes by address: neighbours share lines of the tables, and a
//! slice that has many neighbours writes each line once for all of them (a full table in one batch takes a third of the time
//! that it takes route by route). Left out: any order among those of the same 16 bits.

use std::collections::VecDeque;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Entry;
use super::table::{Slot, Table};

/// Where a prefix waits to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Queued {
    #[default]
    No,
    Soon,
    Later,
    /// Nowhere: it is in the slice that is being made.
    Slice,
}

/// Prefixes to look at. One that is queued twice is looked at once: what it says itself counts.
#[derive(Debug, Default)]
pub(super) struct Queues {
    soon: VecDeque<Slot>,
    /// What comes by address already.
    next: VecDeque<Slot>,
    later: ByAddress,
}

impl Queues {
    pub(super) fn soon(&mut self, slot: Slot, entry: &mut Entry) {
        if entry.queued != Queued::Soon {
            entry.queued = Queued::Soon;
            self.soon.push_back(slot);
        }
    }

    pub(super) fn later(&mut self, slot: Slot, table: &mut Table<Entry>) {
        let p = table.prefix(slot);
        let entry = &mut table[slot];
        if entry.queued == Queued::No {
            entry.queued = Queued::Later;
            self.later.push(&p, slot);
        }
    }

    /// Behind the single changes, before all others, in the order in which it is called.
    pub(super) fn next(&mut self, slot: Slot, entry: &mut Entry) {
        if entry.queued == Queued::No {
            entry.queued = Queued::Later;
            self.next.push_back(slot);
        }
    }

    /// How many single changes there are.
    pub(super) fn soons(&self) -> usize {
        self.soon.len()
    }

    /// How many of the others there are, some of them queued with the single changes since.
    pub(super) fn many(&self) -> usize {
        self.next.len() + self.later.len
    }

    pub(super) fn pop(&mut self, which: Queued, table: &mut Table<Entry>) -> Option<Slot> {
        loop {
            let slot = match which {
                Queued::Soon => self.soon.pop_front(),
                _ => self.next.pop_front().or_else(|| self.later.pop()),
            }?;
            let entry = &mut table[slot];
            if entry.queued == which {
                entry.queued = Queued::No;
                return Some(slot);
            }
        }
    }
}

/// Values of 16 bits of an address.
const PLACES: usize = 1 << 16;

/// Slots by 16 bits of their prefixes' addresses, round and round, so that each comes, however many are put in.
#[derive(Debug, Default)]
struct ByAddress {
    /// Empty until there is a slot.
    places: Vec<Vec<Slot>>,
    /// A bit for each place that has some.
    any: Vec<u64>,
    /// What is left of the place at hand.
    current: Vec<Slot>,
    /// Where it goes on.
    next: usize,
    len: usize,
}

impl ByAddress {
    fn push(&mut self, p: &IpNet, slot: Slot) {
        if self.places.is_empty() {
            self.places.resize(PLACES, Vec::new());
            self.any.resize(PLACES / 64, 0);
        }
        let first = match p.network() {
            IpAddr::V4(a) => (a.to_bits() >> 16) as usize,
            // The first 4 bits are the same all over the Internet.
            IpAddr::V6(a) => (a.to_bits() >> 108) as usize % PLACES,
        };
        self.places[first].push(slot);
        self.any[first / 64] |= 1 << (first % 64);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Slot> {
        if self.len == 0 {
            return None;
        }
        if self.current.is_empty() {
            let at = self
                .find(self.next..PLACES)
                .or_else(|| self.find(0..self.next))?;
            self.any[at / 64] &= !(1 << (at % 64));
            self.current = std::mem::take(&mut self.places[at]);
            self.next = (at + 1) % PLACES;
        }
        self.len -= 1;
        self.current.pop()
    }

    /// The first place of these that has some.
    fn find(&self, places: std::ops::Range<usize>) -> Option<usize> {
        let mut at = places.start;
        while at < places.end {
            let rest = self.any.get(at / 64)? & (u64::MAX << (at % 64));
            if rest != 0 {
                let found = at / 64 * 64 + rest.trailing_zeros() as usize;
                return (found < places.end).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(first: u32) -> IpNet {
        ipnet::Ipv4Net::new_assert((first << 16).into(), 16).into()
    }

    #[test]
    fn slots_come_by_address_and_each_in_its_turn() {
        let mut table = Table::<Entry>::default();
        let mut q = Queues::default();
        let firsts = [65_535, 7, 64, 63, 0, 300, 8];
        for first in firsts {
            let slot = table.entry(prefix(first));
            q.later(slot, &mut table);
            q.later(slot, &mut table);
        }
        assert_eq!(q.many(), firsts.len(), "each once");
        let mut seen = Vec::new();
        while let Some(slot) = q.pop(Queued::Later, &mut table) {
            if seen.len() == 2 {
                // Before where it is: that comes in the next round. So does what is put in again and again.
                let first = table.entry(prefix(1));
                q.later(first, &mut table);
                q.later(slot, &mut table);
            }
            seen.push(table.prefix(slot).network().to_string());
        }
        let want = [
            "0.0", "0.7", "0.8", "0.63", "0.64", "1.44", "255.255", "0.1", "0.8",
        ];
        assert_eq!(seen, want.map(|w| format!("{w}.0.0")));
        assert_eq!(q.many(), 0);
    }

    #[test]
    fn what_becomes_urgent_is_not_looked_at_twice() {
        let mut table = Table::<Entry>::default();
        let mut q = Queues::default();
        let slot = table.entry(prefix(9));
        q.later(slot, &mut table);
        q.soon(slot, &mut table[slot]);
        assert_eq!(q.pop(Queued::Soon, &mut table), Some(slot));
        assert_eq!(q.pop(Queued::Later, &mut table), None);
    }
}
