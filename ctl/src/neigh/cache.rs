//! The entries, and what finds them: by key, by next deadline, by who makes room first. The three never disagree, as
//! every change of an entry goes through [`Cache::update`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Instant;

use net::{IfaceId, MacAddr};

use super::{Held, State};

/// Where and who.
pub(super) type Key = (IfaceId, IpAddr);

/// Every key of an interface.
pub(super) fn range_of(id: IfaceId) -> RangeInclusive<Key> {
    let first = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let last = IpAddr::V6(Ipv6Addr::from(u128::MAX));
    (id, first)..=(id, last)
}

/// A neighbour.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    /// Known in every resolved state.
    pub(super) mac: Option<MacAddr>,
    /// When [`super::Neighbours::tick`] looks at it again.
    pub(super) deadline: Option<Instant>,
    /// Questions asked in this state.
    pub(super) probes: u32,
    /// Frames that wait; only while incomplete.
    pub(super) held: VecDeque<Held>,
    /// When it last answered us.
    pub(super) confirmed: Option<Instant>,
    /// When it came into its state.
    pub(super) since: Instant,
    /// When its Ethernet address last changed from another one.
    pub(super) changed: Option<Instant>,
    pub(super) router: bool,
    pub(super) wanted: bool,
    /// Order of creation.
    seq: u64,
}

impl Entry {
    pub(super) fn new(now: Instant, state: State) -> Self {
        Self {
            state,
            mac: None,
            deadline: None,
            probes: 0,
            held: VecDeque::new(),
            confirmed: None,
            since: now,
            changed: None,
            router: false,
            wanted: false,
            seq: 0,
        }
    }

    /// Moves to a state, to be looked at again at `deadline`.
    pub(super) fn enter(&mut self, now: Instant, state: State, deadline: Instant) {
        self.state = state;
        self.since = now;
        self.probes = 0;
        self.deadline = Some(deadline);
    }

    /// Who makes room first: those that never answered, then the stale; oldest first. Others stay.
    fn rank(&self) -> Option<(u8, u64)> {
        match self.state {
            _ if self.wanted => None,
            State::Incomplete | State::Failed => Some((0, self.seq)),
            State::Stale => Some((1, self.seq)),
            State::Reachable | State::Probe | State::Permanent => None,
        }
    }

    fn held_bytes(&self) -> usize {
        self.held.iter().map(|h| h.bytes.len()).sum()
    }
}

/// The entries.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<Key, Entry>,
    deadlines: BTreeSet<(Instant, Key)>,
    evictable: BTreeSet<((u8, u64), Key)>,
    held_bytes: usize,
    seq: u64,
}

impl Cache {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.entries.get(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    pub(super) fn keys_of(&self, id: IfaceId) -> Vec<Key> {
        self.entries.range(range_of(id)).map(|(k, _)| *k).collect()
    }

    /// Bytes held for all entries.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|d| d.0)
    }

    /// The entry whose deadline has come, if there is one.
    pub(super) fn due(&self, now: Instant) -> Option<Key> {
        self.deadlines.first().filter(|d| d.0 <= now).map(|d| d.1)
    }

    /// Who makes room first.
    pub(super) fn evictable(&self) -> Option<Key> {
        self.evictable.first().map(|e| e.1)
    }

    /// Enters or replaces; returns the one replaced.
    pub(super) fn insert(&mut self, key: Key, mut entry: Entry) -> Option<Entry> {
        let old = self.remove(key);
        self.seq += 1;
        entry.seq = self.seq;
        self.index(key, &entry);
        self.entries.insert(key, entry);
        old
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.unindex(key, entry.deadline, entry.rank(), entry.held_bytes());
        Some(entry)
    }

    /// Changes an entry. The only way to.
    pub(super) fn update<R>(
        &mut self,
        key: Key,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let entry = self.entries.get_mut(&key)?;
        let (deadline, rank, held) = (entry.deadline, entry.rank(), entry.held_bytes());
        let result = change(entry);
        let (new_deadline, new_rank, new_held) = (entry.deadline, entry.rank(), entry.held_bytes());
        if deadline != new_deadline {
            deadline.map(|d| self.deadlines.remove(&(d, key)));
            new_deadline.map(|d| self.deadlines.insert((d, key)));
        }
        if rank != new_rank {
            rank.map(|r| self.evictable.remove(&(r, key)));
            new_rank.map(|r| self.evictable.insert((r, key)));
        }
        self.held_bytes = self.held_bytes - held + new_held;
        Some(result)
    }

    fn index(&mut self, key: Key, entry: &Entry) {
        entry.deadline.map(|d| self.deadlines.insert((d, key)));
        entry.rank().map(|r| self.evictable.insert((r, key)));
        self.held_bytes += entry.held_bytes();
    }

    fn unindex(
        &mut self,
        key: Key,
        deadline: Option<Instant>,
        rank: Option<(u8, u64)>,
        held: usize,
    ) {
        deadline.map(|d| self.deadlines.remove(&(d, key)));
        rank.map(|r| self.evictable.remove(&(r, key)));
        self.held_bytes -= held;
    }

    /// Whether the indexes say what the entries say.
    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        let deadlines: BTreeSet<_> = self
            .entries
            .iter()
            .filter_map(|(k, e)| Some((e.deadline?, *k)))
            .collect();
        let evictable: BTreeSet<_> = self
            .entries
            .iter()
            .filter_map(|(k, e)| Some((e.rank()?, *k)))
            .collect();
        let held: usize = self.entries.values().map(Entry::held_bytes).sum();
        deadlines == self.deadlines
            && evictable == self.evictable
            && held == self.held_bytes
            && self.entries.values().all(|e| {
                e.state.is_resolved() == e.mac.is_some()
                    && (e.held.is_empty() || e.state == State::Incomplete)
                    && (e.deadline.is_some() || e.state == State::Permanent)
            })
    }
}
