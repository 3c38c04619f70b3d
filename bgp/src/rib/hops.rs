//! Next hops: each once, by number, with what the router knows about reaching it. One for routes with labels is another than the same
//! without: packets may get there by one and not by the other.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::types::{NextHop, VrfNo};

/// The number of a next hop; given again when nothing uses it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHopId(pub u32);

impl NextHopId {
    /// Routes without a next hop (FlowSpec) have this, and it is reachable.
    pub const NONE: Self = Self(u32::MAX);
}

/// A next hop that somebody has to resolve, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopEvent {
    /// Routes have it, by that table: tell how it is reached, now and whenever that changes (`Rib::set_next_hop`).
    Wanted(NextHopId, NextHop, Lookup),
    /// No route has it any more; the number may be given to another.
    Unwanted(NextHopId, NextHop, Lookup),
}

/// How a next hop is looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lookup {
    /// In this table.
    pub table: VrfNo,
    /// For packets with labels that only the next hop knows: it is on the link, or an LSP leads there.
    pub labeled: bool,
}

/// How a next hop is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The IGP metric.
    pub metric: u32,
    /// It may not get all packets on yet: taken only where a prefix has no other way, and nobody else is told of that.
    pub last_resort: bool,
}

impl Reach {
    /// There is nothing against it.
    pub const fn at(metric: u32) -> Self {
        Self {
            metric,
            last_resort: false,
        }
    }
}

#[derive(Clone, Debug)]
struct Hop {
    hop: NextHop,
    lookup: Lookup,
    /// Sets of attributes with it.
    refs: u32,
    /// `None`: not reachable.
    reach: Option<Reach>,
    /// A decision looked at it: if it changes, prefixes have to be looked at again.
    looked: bool,
}

/// All next hops.
#[derive(Debug, Default)]
pub struct NextHops {
    hops: Vec<Hop>,
    by_hop: HashMap<(Lookup, NextHop), u32>,
    free: Vec<u32>,
    /// Most UPDATEs have the next hop of the one before.
    last: Option<(NextHop, Lookup, NextHopId)>,
    events: VecDeque<HopEvent>,
    /// How many are a last resort. Mostly none is.
    last_resorts: usize,
}

impl NextHops {
    /// The number of a next hop that is looked up like that, given now if it is new.
    pub(super) fn find(&mut self, hop: Option<NextHop>, lookup: Lookup) -> NextHopId {
        let Some(hop) = hop else {
            return NextHopId::NONE;
        };
        if let Some((last, of, id)) = self.last
            && last == hop
            && of == lookup
        {
            return id;
        }
        let id = NextHopId(*self.by_hop.entry((lookup, hop)).or_insert_with(|| {
            let new = Hop {
                hop,
                lookup,
                refs: 0,
                reach: None,
                looked: false,
            };
            if let Some(n) = self.free.pop() {
                self.hops[n as usize] = new;
                return n;
            }
            self.hops.push(new);
            (self.hops.len() - 1) as u32
        }));
        self.last = Some((hop, lookup, id));
        id
    }

    pub(super) fn retain(&mut self, id: NextHopId) {
        if let Some(h) = self.hops.get_mut(id.0 as usize) {
            h.refs += 1;
            if h.refs == 1 {
                self.events.push_back(HopEvent::Wanted(id, h.hop, h.lookup));
            }
        }
    }

    pub(super) fn release(&mut self, id: NextHopId) {
        let Some(h) = self.hops.get_mut(id.0 as usize) else {
            return;
        };
        h.refs -= 1;
        if h.refs == 0 {
            self.events
                .push_back(HopEvent::Unwanted(id, h.hop, h.lookup));
            self.by_hop.remove(&(h.lookup, h.hop));
            let last = h.reach.take().is_some_and(|r| r.last_resort);
            self.last_resorts -= usize::from(last);
            self.free.push(id.0);
            self.last = None;
        }
    }

    /// What happened since this was asked last, in order. A next hop that went and came again is in it twice.
    pub fn events(&mut self) -> impl Iterator<Item = HopEvent> + '_ {
        self.events.drain(..)
    }

    /// The next hop of that number, if there is one.
    #[must_use]
    pub fn get(&self, id: NextHopId) -> Option<NextHop> {
        let h = self.hops.get(id.0 as usize)?;
        (h.refs > 0).then_some(h.hop)
    }

    /// The IGP metric; `None`: not reachable, or not said yet.
    #[must_use]
    #[inline]
    pub fn metric(&self, id: NextHopId) -> Option<u32> {
        match self.hops.get(id.0 as usize) {
            Some(h) => h.reach.map(|r| r.metric),
            None => Some(0),
        }
    }

    /// Is it a last resort?
    pub(super) fn is_last_resort(&self, id: NextHopId) -> bool {
        let hop = self.hops.get(id.0 as usize);
        hop.and_then(|h| h.reach).is_some_and(|r| r.last_resort)
    }

    /// Is any?
    #[inline]
    pub(super) const fn any_last_resort(&self) -> bool {
        self.last_resorts > 0
    }

    /// How it is reached; remembers that somebody depends on it.
    #[inline]
    pub(super) fn look(&mut self, id: NextHopId) -> Option<Reach> {
        match self.hops.get_mut(id.0 as usize) {
            Some(h) => {
                h.looked = true;
                h.reach
            }
            None => Some(Reach::at(0)),
        }
    }

    /// Sets how it is reached; must prefixes be looked at again?
    pub(super) fn set(&mut self, id: NextHopId, reach: Option<Reach>) -> bool {
        let hop = self.hops.get_mut(id.0 as usize);
        let Some(h) = hop.filter(|h| h.refs > 0) else {
            return false;
        };
        let was = std::mem::replace(&mut h.reach, reach);
        let last = |r: Option<Reach>| usize::from(r.is_some_and(|r| r.last_resort));
        self.last_resorts = self.last_resorts + last(reach) - last(was);
        was != reach && h.looked
    }

    /// How many are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_hop.len()
    }

    /// True: none is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_hop.is_empty()
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        self.hops.capacity() * size_of::<Hop>() + self.by_hop.allocation_size()
    }
}
