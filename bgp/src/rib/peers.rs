//! Who paths come from: what the decision asks about neighbours, and which of their paths still count.
//!
//! A session's end, a graceful restart (RFC 4724, RFC 9494) and a refresh (RFC 7313) all say something about every path of a
//! neighbour at once. So paths carry the epoch in which they came, and what is said is said of the epoch; the paths
//! follow when the walk over the table gets to them.

use std::net::IpAddr;

use crate::types::{PeerId, Relation, RouterId};

/// What the decision asks about who a path is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// What the neighbour is.
    pub relation: Relation,
    /// Not a neighbour: routes of this router's own (redistributed, aggregates), preferred before others of the same LOCAL_PREF.
    pub local: bool,
    /// Not a neighbour: routes of another table, behind all that is equal up to MED and was learned here. Those that stood by
    /// where they are from have an odd path identifier.
    pub leaked: bool,
    /// A client of ours (RFC 4456).
    pub client: bool,
    /// Its BGP Identifier.
    pub router_id: RouterId,
    /// Its address.
    pub address: IpAddr,
}

impl PeerInfo {
    /// The address as the number that RFC 4271 9.1.2.2 g compares; IPv4 before IPv6.
    pub(super) fn address_number(&self) -> u128 {
        match self.address {
            IpAddr::V4(a) => a.to_bits().into(),
            IpAddr::V6(a) => a.to_bits(),
        }
    }
}

/// What the paths of an epoch are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// No path is in it.
    #[default]
    Free,
    /// Paths that come now.
    Current,
    /// To be announced again before the refresh ends; good until then.
    Refreshing,
    /// Kept through a graceful restart.
    Stale,
    /// Kept longer, and the last choice (RFC 9494).
    LongLived,
    /// Withdrawn; the walk takes them out.
    Gone,
}

/// A path's age in the sense of graceful restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// Announced in the session that is up.
    Fresh,
    /// Kept through a graceful restart (RFC 4724).
    Stale,
    /// Kept longer, and the last choice (RFC 9494).
    LongLived,
}

impl From<Status> for Staleness {
    fn from(s: Status) -> Self {
        match s {
            Status::Stale => Self::Stale,
            Status::LongLived => Self::LongLived,
            Status::Free | Status::Current | Status::Refreshing | Status::Gone => Self::Fresh,
        }
    }
}

pub(super) const EPOCHS: usize = 4;

/// One neighbour in one table.
#[derive(Clone, Debug)]
pub(super) struct PeerState {
    pub(super) current: u8,
    pub(super) status: [Status; EPOCHS],
    pub(super) paths: [u32; EPOCHS],
    /// Of those, so many passed the import policy.
    pub(super) accepted: u32,
}

impl Default for PeerState {
    fn default() -> Self {
        let mut status = [Status::Free; EPOCHS];
        status[0] = Status::Current;
        Self {
            current: 0,
            status,
            paths: [0; EPOCHS],
            accepted: 0,
        }
    }
}

impl PeerState {
    /// Paths held, those that are on their way out too.
    pub(super) fn held(&self) -> u32 {
        self.paths.iter().sum()
    }

    /// Paths held that count.
    pub(super) fn received(&self) -> u32 {
        let live = (0..EPOCHS).filter(|e| self.status[*e] != Status::Gone);
        live.map(|e| self.paths[e]).sum()
    }

    /// Every epoch for which `which` holds becomes `to`; the paths that became [`Status::Gone`] by it. The current epoch
    /// is left to [`PeerState::turn`].
    pub(super) fn set(&mut self, which: impl Fn(Status) -> bool, to: Status) -> u32 {
        let mut gone = 0;
        for e in 0..EPOCHS {
            if self.status[e] != Status::Current && which(self.status[e]) {
                if to == Status::Gone && self.status[e] != Status::Gone {
                    gone += self.paths[e];
                }
                self.status[e] = if self.paths[e] == 0 { Status::Free } else { to };
            }
        }
        gone
    }

    /// Paths that come from now on are of a new epoch; what was current becomes `to`. False: no epoch is free.
    pub(super) fn turn(&mut self, to: Status) -> bool {
        let now = usize::from(self.current);
        if self.paths[now] == 0 {
            return true;
        }
        let Some(free) = self.status.iter().position(|s| *s == Status::Free) else {
            return false;
        };
        self.status[now] = to;
        self.status[free] = Status::Current;
        self.current = free as u8;
        true
    }

    /// Would one more epoch leave none for the end of the session, before a walk has been over what is gone?
    pub(super) fn is_short(&self) -> bool {
        let count = |of| self.status.iter().filter(|s| **s == of).count();
        count(Status::Free) < 2 && count(Status::Gone) > 0
    }

    /// A path of that epoch is there no more; was the epoch gone?
    pub(super) fn removed(&mut self, epoch: u8) -> bool {
        let e = usize::from(epoch);
        self.paths[e] -= 1;
        let gone = self.status[e] == Status::Gone;
        if self.paths[e] == 0 && self.status[e] != Status::Current {
            self.status[e] = Status::Free;
        }
        gone
    }
}

/// The neighbours, by slot.
#[derive(Clone, Debug, Default)]
pub struct Peers(Vec<Option<PeerInfo>>);

impl Peers {
    /// A neighbour came up, or what it is changed. The slot of a neighbour that is gone may be given again once
    /// `Table::counts` holds none of its paths.
    pub fn set(&mut self, peer: PeerId, info: PeerInfo) {
        let n = usize::from(peer.0);
        if n >= self.0.len() {
            self.0.resize(n + 1, None);
        }
        self.0[n] = Some(info);
    }

    /// What is known of it.
    #[must_use]
    #[inline]
    pub fn get(&self, peer: PeerId) -> Option<&PeerInfo> {
        self.0.get(usize::from(peer.0))?.as_ref()
    }
}
